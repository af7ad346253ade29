"""The vector view: E copies in arrays, each of which could be alone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sample_players import ALL, COMPILED, PLAIN

import mail_envs
from mail_envs.conformance.episodes import check_autoreset, check_save_and_restore
from mail_envs.conformance.subject import Subject, random_actions

NAMES = ("observations", "rewards", "terminated", "truncated", "participation", "state",
         "action_mask", "final_observations", "final_state", "final_action_mask", "metrics",
         "alive")  # fmt: skip


def play(vector, rounds=15, seed=0):
    """Everything that random play shows, as bytes per round."""
    _, info = vector.reset(seed=seed)
    trace = []
    for _ in range(rounds):
        *_, info = vector.step(random_actions(vector, info))
        trace.append(b"".join(getattr(vector.buffers, n).tobytes() for n in NAMES))
        trace.append(vector.buffers.clock.tobytes())
    return trace


# -- copies do not know of each other -------------------------------------------------------------


@pytest.mark.parametrize("num_envs", [1, 2, 5])
def test_environment_e_is_the_game_with_seed_s_plus_e(num_envs):
    seed = 1000
    vector = mail_envs.make_vec("stochastic_coop_nav", num_envs, seed=seed)
    observations, info = vector.reset(seed=seed)
    envs = [mail_envs.make("stochastic_coop_nav", api="parallel") for _ in range(num_envs)]
    seen, infos = map(list, zip(*(env.reset(seed=seed + e) for e, env in enumerate(envs))))
    for _ in range(15):
        actions = random_actions(vector, info)
        observations, rewards, *_, info = vector.step(actions)
        for e, env in enumerate(envs):
            played = env.step(dict(zip(env.agents, actions[e], strict=True)))
            seen[e], infos[e] = played[0], played[-1]
            assert np.array_equal(list(seen[e].values()), observations[e])
            assert list(played[1].values()) == rewards[e].tolist()
            assert np.array_equal(infos[e]["agent_0"]["participation"], info["participation"][e])


@pytest.mark.parametrize("name", ALL)
def test_results_depend_neither_on_num_envs_nor_on_the_others(name):
    keywords = {"player_function": ALL[name], "max_rounds": 6}
    few = mail_envs.make_vec("coop_nav", 2, **keywords)
    many = mail_envs.make_vec("coop_nav", 7, **keywords)
    _, a = few.reset(seed=5)
    _, b = many.reset(seed=2)
    for _ in range(20):
        one, other = few.step(random_actions(few, a)), many.step(random_actions(many, b))
        a, b = one[-1], other[-1]
        assert all(np.array_equal(x, y[3:5]) for x, y in zip(one[:-1], other[:-1], strict=True))
        for key in ("participation", "action_mask", "seed", "round", "state", "episode_return",
                    "final_observation", "illegal_actions"):  # fmt: skip
            assert np.array_equal(a[key], b[key][3:5]), key


@pytest.mark.parametrize("id", ["stochastic_coop_nav", "stochastic_predator_prey"])
def test_results_do_not_depend_on_num_threads(id):
    serial, threaded = (mail_envs.make_vec(id, 33, num_threads=k, max_rounds=9) for k in (1, 2))
    assert play(serial, 20) == play(threaded, 20)


def test_seeds_of_different_environments_give_different_games():
    vector = mail_envs.make_vec("stochastic_coop_nav", 500, seed=0)
    assert len(np.unique(vector.buffers.state[:, 0])) > 490
    assert len(np.unique(vector.reset(seed=0)[1]["seed"])) == 500


# -- ends and new beginnings ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["Stochastic", "HistoryDependent, compiled", "StateDependent, plain"]
)
def test_an_ended_game_begins_anew_in_the_same_step(name):
    check_autoreset(Subject("coop_nav", {"player_function": ALL[name], "max_rounds": 7}))


def test_an_episodes_seed_plays_it_again():
    keywords = {"player_function": PLAIN["HistoryDependent"], "max_rounds": 5}
    vector = mail_envs.make_vec("coop_nav", 3, **keywords)
    again = mail_envs.make_vec("coop_nav", **keywords, autoreset=False)
    _, info = vector.reset(seed=8)
    for _ in range(22):
        *_, truncated, info = vector.step(random_actions(vector, info))
        for e in np.flatnonzero(truncated):
            _, known = again.reset(seed=int(info["episode_seed"][e]))
            for _ in range(5):
                *_, known = again.step(random_actions(again, known))
            assert np.array_equal(info["final_state"][e], known["state"][0])
            assert np.array_equal(info["episode_return"][e], known["episode_return"][0])


def test_seeds_of_later_episodes_never_repeat_and_are_legal_seeds():
    vector = mail_envs.make_vec("coop_nav", 50, max_rounds=1, seed=0)
    seeds = []
    for _ in range(40):
        *_, info = vector.step(np.zeros((50, 3), int))
        seeds.append(info["seed"].copy())
    seeds = np.concatenate(seeds)
    assert len(np.unique(seeds)) == len(seeds) and seeds.min() >= 0


def test_a_reset_without_a_seed_goes_on_to_new_episodes():
    vector = mail_envs.make_vec("coop_nav", 2, seed=4)
    first = vector.reset(seed=4)[1]["seed"].copy()
    second = vector.reset()[1]["seed"].copy()
    third = vector.reset()[1]["seed"].copy()
    assert not (set(first) & set(second)) and not (set(second) & set(third))
    vector.reset(seed=4)
    assert np.array_equal(vector.reset()[1]["seed"], second)


def test_returns_and_lengths_are_those_of_the_episode():
    vector = mail_envs.make_vec("stochastic_coop_nav", 6, max_rounds=4, seed=0)
    sums, info = np.zeros((6, 3)), vector.reset(seed=0)[1]
    for t in range(12):
        _, rewards, terminated, truncated, info = vector.step(random_actions(vector, info))
        sums += rewards
        ended = terminated | truncated
        assert ended.all() == (t % 4 == 3) or terminated.any()
        assert np.allclose(info["episode_return"][ended], sums[ended], atol=1e-4)
        sums[ended] = 0
    assert set(info["metrics"]) == {"landmarks_covered"}
    assert info["metrics"]["landmarks_covered"].shape == (6,)


def test_without_autoreset_an_ended_game_keeps_its_last_observation():
    vector = mail_envs.make_vec("coop_nav", 2, max_rounds=3, autoreset=False, seed=0)
    for _ in range(3):
        observations, _, _, truncated, info = vector.step(np.full((2, 3), 2))
    assert truncated.all() and (info["round"] == 3).all() and (info["episode_length"] == 3).all()
    assert np.array_equal(info["seed"], [0, 1]) and observations.any()


STEP_ON = """
import numpy as np
from sample_players import COMPILED, PLAIN
import mail_envs
for players, compiled in ((COMPILED, True), (PLAIN, False)):
    for kind in ("HistoryDependent", "StateDependent"):
        player = players[kind]
        player.compiled = compiled  # which nobody can tell without the compiler
        vector = mail_envs.make_vec("coop_nav", player_function=player, max_rounds=2,
                                    autoreset=False, seed=0)
        for t in range(5):
            try:
                vector.step(np.zeros((1, 3), int))
            except RuntimeError as error:
                assert t >= 2 and "after the end" in str(error), error
            if t == 1:
                world = vector.buffers.world.tobytes()
        assert vector.buffers.world.tobytes() == world
"""


def test_without_autoreset_an_ended_game_stays_as_it_is():
    """In plain Python, which sees when something is written behind the end of a history."""
    here = str(Path(__file__).parent)
    run = subprocess.run(
        [sys.executable, "-c", STEP_ON], capture_output=True, text=True,
        env={**os.environ, "NUMBA_DISABLE_JIT": "1", "PYTHONPATH": here},
    )  # fmt: skip
    assert run.returncode == 0, run.stderr


# -- saved states ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALL)
def test_a_saved_state_continues_exactly(name):
    check_save_and_restore(Subject("coop_nav", {"player_function": ALL[name], "max_rounds": 9}))


def test_a_state_can_be_restored_many_times():
    vector = mail_envs.make_vec(
        "coop_nav", 4, player_function=COMPILED["StateDependent"], max_rounds=12
    )
    _, info = vector.reset(seed=0)
    for _ in range(7):
        *_, info = vector.step(random_actions(vector, info))
    saved, futures = vector.get_state(), []
    for _ in range(3):
        vector.set_state(saved)
        trace, (_, info) = [], (None, vector._info)
        for _ in range(10):
            observations, rewards, *_, info = vector.step(random_actions(vector, info))
            trace += [observations.copy(), rewards.copy(), info["participation"].copy()]
        futures.append(trace)
    for other in futures[1:]:
        assert all(np.array_equal(a, b) for a, b in zip(futures[0], other, strict=True))


def test_a_saved_state_is_plain_arrays_that_stay_as_they_are():
    vector = mail_envs.make_vec("coop_nav", 2, seed=0)
    saved = vector.get_state()
    kept = {k: v.copy() for k, v in saved.items()}
    vector.step(np.full((2, 3), 2))
    assert all(type(v) is np.ndarray and v.dtype.names is None for v in saved.values())
    assert all(np.array_equal(saved[k], kept[k]) for k in kept)


def test_a_state_of_another_number_of_environments_is_refused():
    two, three = (mail_envs.make_vec("coop_nav", k, seed=0) for k in (2, 3))
    with pytest.raises(ValueError, match="bytes; this game needs"):
        three.set_state(two.get_state())


def test_a_state_of_another_game_is_refused_and_changes_nothing():
    relative = mail_envs.make_vec("coop_nav", 2, seed=0)
    absolute = mail_envs.make_vec("coop_nav", 2, observation="absolute", seed=5)
    before = relative.get_state()
    with pytest.raises(ValueError, match="the saved observations has 432 bytes"):
        relative.set_state(absolute.get_state())
    after = relative.get_state()
    assert all(np.array_equal(before[k], after[k]) for k in before)


def test_a_state_of_another_player_function_is_refused():
    plain = mail_envs.make_vec("coop_nav", 2, seed=0)
    history = mail_envs.make_vec(
        "coop_nav", 2, player_function=COMPILED["HistoryDependent"], seed=0
    )
    with pytest.raises(ValueError, match="history"):
        plain.set_state(history.get_state())
    with pytest.raises(ValueError, match="history"):
        history.set_state(plain.get_state())


# -- arrays ---------------------------------------------------------------------------------------


def test_returned_arrays_are_the_games_own_buffers():
    vector = mail_envs.make_vec("stochastic_coop_nav", 3)
    first, info = vector.reset(seed=0)
    observations, *_, later = vector.step(random_actions(vector, info))
    assert observations is first is vector.buffers.observations
    assert later["participation"] is vector.buffers.participation


def test_shapes_and_types_are_those_of_the_contract():
    vector = mail_envs.make_vec("stochastic_predator_prey", 5)
    observations, info = vector.reset(seed=0)
    _, rewards, terminated, truncated, info = vector.step(np.zeros((5, 4), int))
    shapes = {
        "participation": ((5, 4), np.uint8), "action_mask": ((5, 4, 5), np.int8),
        "alive": ((5, 4), np.bool_), "state": ((5, 20), np.float32), "round": ((5,), np.int32),
        "seed": ((5,), np.int64), "illegal_actions": ((5,), np.int32),
        "final_observation": ((5, 4, 16), np.float32), "final_state": ((5, 20), np.float32),
        "final_action_mask": ((5, 4, 5), np.int8), "final_alive": ((5, 4), np.bool_),
        "final_participation": ((5, 4), np.uint8),
        "episode_return": ((5, 4), np.float32), "episode_length": ((5,), np.int32),
        "episode_seed": ((5,), np.int64), "worker_restarted": ((5,), np.bool_),
    }  # fmt: skip
    assert {k: (v.shape, v.dtype.type) for k, v in info.items() if k != "metrics"} == shapes
    assert observations.shape == (5, 4, 16) and observations.dtype == np.float32
    assert rewards.shape == (5, 4) and rewards.dtype == np.float32
    assert terminated.shape == truncated.shape == (5,) and terminated.dtype == np.bool_
    assert vector.observation_dims == [14, 16, 16, 16] and vector.agents[0] == "prey_0"
    assert not observations[:, 0, 14:].any()


def test_continuous_games_have_no_mask():
    vector = mail_envs.make_vec("coop_nav", 2, continuous_actions=True)
    _, info = vector.reset(seed=0)
    assert (
        "action_mask" not in info
        and "final_action_mask" not in info
        and vector.num_actions == 5
        and not vector.discrete
    )


def test_torch_arrays_are_views_of_the_buffers():
    torch = pytest.importorskip("torch")
    vector = mail_envs.make_vec("stochastic_coop_nav", 4, array="torch")
    observations, info = vector.reset(seed=0)
    actions = torch.as_tensor(random_actions(vector, vector.step(np.zeros((4, 3), int))[-1]))
    played = vector.step(actions)
    arrays = [
        *played[:-1],
        *(v for k, v in info.items() if k != "metrics"),
        *info["metrics"].values(),
    ]
    assert all(isinstance(a, torch.Tensor) for a in arrays)
    b = vector.buffers
    for tensor, array in (
        (observations, b.observations), (played[1], b.rewards), (played[2], b.terminated),
        (info["participation"], b.participation), (info["state"], b.state),
        (info["seed"], b.clock["seed"]), (info["episode_return"], b.clock["last_returns"]),
        (info["final_action_mask"], b.final_action_mask),
        (info["final_participation"], b.clock["last_participation"]),
        (info["final_alive"], b.clock["last_alive"]),
    ):  # fmt: skip
        assert tensor.data_ptr() == array.ctypes.data and tuple(tensor.shape) == array.shape
        assert np.array_equal(tensor.numpy(), array)


def test_torch_and_numpy_games_are_equal():
    torch = pytest.importorskip("torch")
    a, b = (mail_envs.make_vec("coop_nav", 3, seed=1, array=k) for k in ("numpy", "torch"))
    for t in range(5):
        actions = np.full((3, 3), t)
        one, other = a.step(actions)[0], b.step(torch.as_tensor(actions))[0]
        assert np.array_equal(one, other.numpy())


@pytest.mark.parametrize("continuous", [False, True])
def test_the_callers_actions_are_not_changed(continuous):
    vector = mail_envs.make_vec("coop_nav", 2, continuous_actions=continuous, seed=0)
    actions = np.ones((2, 3, 5), np.float32) if continuous else np.ones((2, 3), np.int64)
    kept = actions.copy()
    vector.step(actions)
    assert np.array_equal(actions, kept)


def test_lists_and_small_integers_are_actions_too():
    vector, twin = (mail_envs.make_vec("coop_nav", 2, seed=0) for _ in range(2))
    a = vector.step([[1, 2, 3], [4, 0, 1]])[0]
    assert np.array_equal(a, twin.step(np.array([[1, 2, 3], [4, 0, 1]], np.uint8))[0])
