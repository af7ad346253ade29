"""Copies and pickles of environments continue as the original would, independently of it."""

from __future__ import annotations

import copy
import logging
import pickle
import subprocess
import sys
from pathlib import Path

import cloudpickle
import numpy as np
import pytest
from sample_faults import KILLED, Faulty
from sample_games import LastStanding
from sample_simulator import Twin
from three_games import ASYNCHRONOUS, SIMULATOR, make

import mail_envs
from mail_envs.player_functions import HistoryDependent, Stochastic, Synchronous
from mail_envs.saving import OPENED
from mail_envs.vector import VectorGame

WAYS = {
    "deepcopy": copy.deepcopy,
    "copy": copy.copy,
    "pickle": lambda env: pickle.loads(pickle.dumps(env)),
    "cloudpickle": lambda env: cloudpickle.loads(cloudpickle.dumps(env)),
}
CONNECT_FOUR = "pettingzoo:classic/connect_four_v3"
LIMIT = 25  # rounds


@pytest.fixture(scope="module", autouse=True)
def registered():
    mail_envs.register("last_standing_to_copy", LastStanding)


def seldom_twice(history, rounds):
    last = history[np.arange(len(rounds)), np.maximum(rounds - 1, 0)]
    return np.where(last != 0, 0.3, 0.8)


# A game of every family, every kind of simulator and of bookkeeping: id, package it needs, arguments.
GAMES = {
    "navigation": ("stochastic_coop_nav", None, {}),
    "horizon": ("coop_nav", None, {"fixed_horizon": True, "null_action": "as_action"}),
    "history": ("coop_nav", None, {"player_function": HistoryDependent(seldom_twice)}),
    "deaths": ("last_standing_to_copy", None, {"player_function": Stochastic(0.7)}),
    "continuous": ("mpe_simple_crypto", None, {"continuous_actions": True}),
    "gold_miner": ("gold_miner_easy_2_vs_2", None, {}),
    "smac": ("smac_3m", None, {}),
    "smacv2": ("smacv2_terran_5_vs_5", None, {"faithful": True}),
    "hopper": ("mamujoco_hopper_3x1", "mujoco", {}),
    "reacher": ("mamujoco_reacher_2x1", "mujoco", {"player_function": Stochastic(0.5)}),
    "mamujoco_v1": ("mamujoco_hopper_3x1", "gymnasium_robotics", {"backend": "mamujoco_v1"}),
    "mpe2": ("mpe_simple_tag", "mpe2", {"backend": "mpe2", "fixed_horizon": True}),
    "turns": (CONNECT_FOUR, "pettingzoo.classic.connect_four_v3", {}),
}


def arguments_of(name: str) -> tuple[str, dict]:
    id, package, arguments = GAMES[name]
    if package is not None:
        pytest.importorskip(package, reason=f"{package} is not installed")
    return id, {"max_rounds": LIMIT, **arguments}


def open_vector(name: str, num_envs: int = 2, num_workers: int = 0, **more) -> VectorGame:
    id, arguments = arguments_of(name)
    return mail_envs.make_vec(id, num_envs, num_workers=num_workers, **arguments, **more)


def legal_actions(vec: VectorGame, rng: np.random.Generator) -> np.ndarray:
    b = vec.buffers
    if vec.discrete:
        return np.argmax(rng.random(b.action_mask.shape) * (b.action_mask + 1e-9), -1)
    return rng.uniform(0, 0.4, b.actions.shape).astype(np.float32)


def all_of(vec: VectorGame) -> dict[str, np.ndarray]:
    """Copies of all arrays; records as records, between whose fields there may be anything."""
    return {name: np.array(array) for name, array in vars(vec.buffers).items()}


def play_vector(vec: VectorGame, rounds: int, seed: int) -> list[dict[str, np.ndarray]]:
    """A view's data after every round of legal random actions."""
    rng, seen = np.random.default_rng(seed), []
    for _ in range(rounds):
        vec.step(legal_actions(vec, rng))
        seen.append(all_of(vec))
    return seen


def assert_equal(one: list[dict], two: list[dict]) -> None:
    for t, (a, b) in enumerate(zip(one, two, strict=True)):
        for name in a:
            np.testing.assert_array_equal(a[name], b[name], err_msg=f"{name}, round {t}")


def assert_copy_plays_on(vec: VectorGame, way) -> None:
    """In the middle of an episode: the copy, its copy and the original play the same, through ends."""
    before = all_of(vec)
    other = way(vec)
    expected = play_vector(other, 70, seed=1)
    assert_equal([before], [all_of(vec)])
    third = way(vec)
    assert_equal(play_vector(vec, 70, seed=1), expected)
    assert_equal(play_vector(third, 70, seed=1), expected)
    ended = [round["terminated"] | round["truncated"] for round in expected]
    assert np.any(ended, 0).all()  # every episode did, and another began
    for copied in (other, third):
        copied.close()


@pytest.mark.parametrize("way", ["deepcopy", "pickle"])
@pytest.mark.parametrize("name", GAMES)
def test_a_copied_vector_plays_on_as_the_original_would(name, way):
    vec = open_vector(name)
    vec.reset(seed=3)
    play_vector(vec, 8, seed=0)
    assert_copy_plays_on(vec, WAYS[way])
    vec.close()


@pytest.mark.parametrize("way", ["deepcopy", "pickle"])
def test_a_copy_of_a_vector_with_workers_has_workers_of_its_own(way):
    vec = open_vector("hopper", 3, num_workers=2)
    vec.reset(seed=3)
    play_vector(vec, 8, seed=0)
    other = WAYS[way](vec)
    pids = [{w.process.pid for w in v.launches.copies.workers} for v in (vec, other)]
    assert len(pids[0] | pids[1]) == 4
    other.close()
    assert_copy_plays_on(vec, WAYS[way])
    vec.close()


def play(env, turns: int, seed: int) -> list:
    """What an AEC or parallel environment returns over some steps and episodes, acting at random."""
    rng, seen = np.random.default_rng(seed), []
    for _ in range(turns):
        if not env.agents:
            env.reset()
        chosen = legal_actions(env.vector, rng)[0]
        own = {
            a: int(chosen[i]) if env.vector.discrete else chosen[i, : env.vector.action_dims[i]]
            for i, a in enumerate(env.possible_agents)
        }
        if hasattr(env, "agent_iter"):
            observation, reward, terminated, truncated, info = env.last()
            seen.append((env.agent_selection, observation.tolist(), reward, str(info)))
            env.step(None if terminated or truncated else own[env.agent_selection])
        else:
            observations, *rest = env.step({a: own[a] for a in env.agents})
            seen.append(([o.tolist() for o in observations.values()], str(rest)))
    return seen


@pytest.mark.parametrize("api", ["aec", "parallel"])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", ["navigation", "deaths", "hopper", "turns"])
def test_a_copied_environment_plays_on_as_the_original_would(name, way, api):
    id, arguments = arguments_of(name)
    env = mail_envs.make(id, api=api, **arguments)
    env.reset(seed=3)
    play(env, 8, seed=0)
    other, before = WAYS[way](env), env.state()
    expected = play(other, 120, seed=1)
    assert np.array_equal(env.state(), before)
    assert play(env, 120, seed=1) == expected


def test_a_hoppers_copy_falls_when_the_hopper_does():
    pytest.importorskip("mujoco", reason="mujoco is not installed")
    env = mail_envs.make("mamujoco_hopper_3x1", api="parallel")
    env.reset(seed=0)
    lengths = []
    for hopper in (env, copy.deepcopy(env)):
        actions = {a: np.full(1, 0.9, np.float32) for a in hopper.agents}
        while hopper.agents:
            *_, infos = hopper.step(actions)
        lengths.append(infos["agent_0"]["round"])
        assert (hopper.vector.buffers.world["actions"][0, : lengths[-1]] == np.float32(0.9)).all()
    assert lengths[0] == lengths[1] < 50


@pytest.mark.parametrize("array", ["numpy", "torch"])
def test_a_copied_vector_hands_out_its_own_buffers(array):
    vector = mail_envs.make_vec(ASYNCHRONOUS, 4, array=array, seed=1)
    other = copy.deepcopy(vector)
    for name in OPENED:  # what the constructor makes is made anew, all of it
        own = getattr(other, name)
        assert own is None or isinstance(own, bool) or own is not getattr(vector, name), name
    for _ in range(60):
        one, two = (v.step(np.ones((4, 3), np.int64)) for v in (vector, other))
    assert all(np.array_equal(a, b) for a, b in zip(one[:4], two[:4], strict=True))
    for name in ("round", "seed", "episode_return", "participation"):
        assert np.array_equal(one[-1][name], two[-1][name])
    arrays = [vars(v.buffers).values() for v in (vector, other)]
    assert not any(np.shares_memory(a, b) for a, b in zip(*arrays, strict=True))


@pytest.mark.parametrize("api", ["aec", "parallel"])
def test_copies_of_a_fresh_environment_play_different_episodes(api):
    env = make(ASYNCHRONOUS, api)
    copies = [copy.deepcopy(env) for _ in range(3)]
    for one in copies:
        one.reset()
    assert len({one.state().tobytes() for one in copies}) == 3


def test_what_was_added_to_a_view_is_copied_and_its_copies_copies_too():
    vector = mail_envs.make_vec(ASYNCHRONOUS, 2, seed=1)
    vars(vector)["notes"] = ["mine"]
    other = copy.deepcopy(copy.deepcopy(vector))
    assert vars(other)["notes"] == ["mine"] and vars(other)["notes"] is not vars(vector)["notes"]
    assert (other.id, other.arguments) == (vector.id, vector.arguments) and other.num_envs == 2


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", ["navigation", "mpe2", "turns"])
def test_pictures_are_no_part_of_a_copy(name, way):
    pytest.importorskip("pygame", reason="pygame is not installed")
    id, arguments = arguments_of(name)
    env = mail_envs.make(id, api="parallel", render_mode="rgb_array", **arguments)
    env.reset(seed=3)
    play(env, 3, seed=0)
    image = env.render()
    other = WAYS[way](env)
    np.testing.assert_array_equal(other.render(), image)
    env.close()
    assert len(play(other, 5, seed=1)) == 5


IN_ANOTHER_PROCESS = """
import pickle, sys
env = pickle.load(sys.stdin.buffer)
for _ in range(12):
    env.step(dict.fromkeys(env.agents, 1))
    if not env.agents:
        env.reset()
print(env.state().tolist())
"""


@pytest.mark.parametrize("kind", ["own file", "simulator", "function"])
def test_a_pickle_plays_on_in_another_process(kind, tmp_path):
    def half(history, rounds):
        return np.full((len(rounds), 3), 0.5)

    if kind == "own file":
        source = Path(__file__).parents[1] / "sample_games.py"
        (tmp_path / "copied_game.py").write_text(source.read_text())
        env = mail_envs.make(str(tmp_path / "copied_game.py"), api="parallel")
    elif kind == "simulator":
        env = make(SIMULATOR, "parallel", max_rounds=10)
    else:
        env = mail_envs.make("coop_nav", api="parallel", player_function=HistoryDependent(half))
    env.reset(seed=1)
    env.step(dict.fromkeys(env.agents, 1))
    done = subprocess.run(
        [sys.executable, "-c", IN_ANOTHER_PROCESS], input=pickle.dumps(env), capture_output=True
    )
    for _ in range(12):
        env.step(dict.fromkeys(env.agents, 1))
        if not env.agents:
            env.reset()
    assert done.stdout.decode().strip() == str(env.state().tolist()), done.stderr.decode()


def test_an_environment_that_exists_is_copied_itself():
    connect_four_v3 = pytest.importorskip("pettingzoo.classic.connect_four_v3")
    env = mail_envs.from_pettingzoo(connect_four_v3.env(), api="parallel")
    env.reset(seed=3)
    play(env, 4, seed=0)
    other = copy.deepcopy(env)
    expected = play(other, 60, seed=1)
    assert play(env, 60, seed=1) == expected


# -- environments that cannot be copied --------------------------------------------------------------


class Moody(Twin):
    """Its episodes do not follow from their seeds, without its knowing."""

    moods = iter(range(100))

    def reset(self, seed):
        super().reset(seed + next(self.moods))


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_simulator_that_replays_differently_is_not_copied(num_workers, caplog):
    vec = VectorGame(Moody(), Synchronous(), 2, num_workers=num_workers)
    vec.reset(seed=0)
    vec.reset(seed=0)
    with pytest.raises(
        RuntimeError, match=r"Moody cannot be copied or pickled after reset\(\): with"
    ):
        copy.deepcopy(vec)
    with caplog.at_level(logging.WARNING):
        vec.set_state(vec.get_state())
    assert "Moody: copies 0, 1 did not reach" in caplog.text
    vec.close()


@pytest.mark.parametrize("way", WAYS)
def test_a_simulator_whose_seeds_do_not_decide_is_not_copied_while_it_plays(way):
    game = Twin()
    game.replayable = False
    vec = VectorGame(game, Synchronous())
    fresh = WAYS[way](vec)
    fresh.reset(seed=1)
    vec.reset(seed=1)
    with pytest.raises(
        RuntimeError, match=r"Twin cannot be copied .* Make a new environment and reset"
    ):
        WAYS[way](vec)


@pytest.mark.parametrize("way", WAYS)
def test_robots_in_envpool_are_not_copied_while_they_play(way):
    pytest.importorskip("envpool", reason="EnvPool is not installed")
    vec = mail_envs.make_vec("mamujoco_hopper_3x1", 2, seed=1)
    with pytest.raises(RuntimeError, match="if it runs on EnvPool, make it with replayable=True"):
        WAYS[way](vec)


def test_an_environment_that_cannot_be_copied_is_named():
    class Locked(Twin):
        def __init__(self):
            super().__init__()
            self.factory, self.file = None, sys.stderr

    for way in WAYS.values():
        with pytest.raises(
            TypeError, match=r"Locked cannot be copied .*: TypeError.*pass a function"
        ):
            way(VectorGame(Locked(), Synchronous()))


def test_a_lost_episode_stays_lost_in_a_copy():
    vec = VectorGame(Faulty(), Synchronous(), 2, num_workers=1, autoreset=False)
    vec.reset(seed=0)
    vec.step([[0, 0], [KILLED, 0]])
    other = copy.deepcopy(vec)
    for view in (vec, other):
        view.step(np.zeros((2, 2), np.int32))
        assert view.buffers.truncated.all() and view.buffers.restarted.tolist() == [False] * 2
        with pytest.raises(RuntimeError, match="copy 1 was lost with its worker"):
            view.launches.picture(1)
        view.reset(seed=5)
        view.step(np.zeros((2, 2), np.int32))
        assert view.buffers.observations[:, 0].tolist() == [[5, 1], [6, 1]]
        view.close()
