"""Google Research Football: the engines, who plays whom, and what is computed from a round."""

import ctypes
import dataclasses
import importlib.util
import os
import signal
import sys
from pathlib import Path

import numpy as np
import pettingzoo.test
import pytest

import mail_envs
from demos.record import record
from demos.replay import verify
from mail_envs.adapters.football import encoders, engine_envpool, engine_gfootball, engines, rules
from mail_envs.adapters.football.frame import CORNER, NORMAL, Frame
from mail_envs.adapters.football.game import Football
from mail_envs.adapters.football.scenarios import SCENARIOS
from mail_envs.player_functions import Synchronous
from mail_envs.vector import VectorGame

try:
    engines.choose("envpool")
except ImportError as missing:
    pytest.skip(str(missing), allow_module_level=True)

THREE, COUNTER = "football_3_vs_1_with_keeper", "football_counterattack_easy"
PAIR, CORNER_KICK = "football_pass_and_shoot_with_keeper", "football_corner"
ALONE, MATCH = "football_empty_goal_close", "football_11_vs_11_easy_stochastic"
RIGHT, SHOT, SPRINT, BUILTIN = 5, 12, 13, 19


def one(id=THREE, **arguments):
    return mail_envs.make_vec(id, 1, num_workers=0, autoreset=False, **arguments)


def play(vec, seed, rounds, choose=None):
    """Everything that a game shows in an episode of random actions, or of `choose(t)`."""
    rng = np.random.default_rng(seed)
    seen = [vec.reset(seed=seed)[0].copy()]
    for t in range(rounds):
        if choose is None:
            actions = rng.integers(0, vec.action_dims[0], (vec.num_envs, vec.num_agents))
        else:
            actions = np.full((vec.num_envs, vec.num_agents), choose(t))
        observations, rewards, terminated, truncated, info = vec.step(actions)
        seen += [
            observations.copy(),
            rewards.copy(),
            info["state"].copy(),
            info["action_mask"].copy(),
        ]
        if (terminated | truncated).all():
            break
    return seen


def assert_equal(first, second):
    assert len(first) == len(second)
    for a, b in zip(first, second):
        np.testing.assert_array_equal(a, b)


def engine_of(vec):
    return vec.launches.copies.games[0].engine


# -- the contract ------------------------------------------------------------------------------------


def test_it_is_a_pettingzoo_environment():
    pettingzoo.test.api_test(mail_envs.make(THREE, player_function=mail_envs.Stochastic(0.5)), 60)
    pettingzoo.test.parallel_api_test(mail_envs.make(COUNTER, api="parallel"), 60)


def test_episodes_are_recorded_and_replayed(tmp_path):
    keywords = {"random_return": 0.0, "observation": "mat", "reward": "shaped"}
    half = mail_envs.Stochastic(0.5)
    found = record(THREE, "random", 2, 1, tmp_path / "set", player_function=half, **keywords)
    assert len(found) == 2 and verify(found) == []


@pytest.mark.parametrize(
    ("id", "agents", "mat", "state"),
    [
        (THREE, 3, 105, 137),
        (PAIR, 2, 98, 126),
        (COUNTER, 4, 217, 148),
        (CORNER_KICK, 10, 217, 214),
        (ALONE, 1, 84, 115),
        ("football_5_vs_5", 4, 133, 148),
        (MATCH, 11, 217, 225),
    ],
)
def test_sizes(id, agents, mat, state):
    for observation, size in (("simple115v2", 115), ("mat", mat), ("smm", 72 * 96 * 4)):
        vec = one(id, observation=observation)
        observations, info = vec.reset(seed=0)
        assert vec.num_agents == agents and observations.shape == (1, agents, size)
        assert info["state"].shape == (1, state)
        vec.close()
    space = mail_envs.make(id, observation="smm").observation_space("player_0")
    assert space.shape == (72, 96, 4) and space.dtype == np.uint8


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"observation": "pixels"}, "observation='pixels' is not one of 'simple115v2'"),
        ({"reward": "dense"}, "reward='dense' is not one of 'scoring'"),
        ({"team_reward": "max"}, "team_reward='max'"),
        ({"teams": "right"}, "teams='right' is not one of 'left', 'both'"),
        ({"action_set": "full"}, "action_set='full'"),
        ({"absent": "gone"}, "absent='gone'"),
        ({"controlled": (1, 4)}, "controlled=.1, 4. .* from 0 to 3"),
        ({"controlled": ()}, "controlled=.. "),
        ({"controlled": "keepers"}, "controlled='keepers'"),
        ({"controlled": (2, 1)}, "controlled=.2, 1. is neither 'attackers', 'all' nor ascending"),
        ({"controlled": (-1, 1)}, "controlled=.-1, 1. .* from 0 to 3"),
        ({"controlled": (1.0, 2.0)}, r"controlled=.1\.0, 2\.0. .* from 0 to 3"),
        ({"controlled": (True, 2)}, "controlled=.True, 2. .* from 0 to 3"),
        ({"controlled": ("a", 1)}, "controlled=.'a', 1. .* from 0 to 3"),
        ({"controlled": 3}, "controlled=3 .* from 0 to 3"),
        ({"controlled": None}, "controlled=None .* from 0 to 3"),
        ({"scenario": ["football_corner"]}, "scenario=.'football_corner'. is not one of"),
        ({"mask_actions": "no"}, "mask_actions='no' is not None, True or False"),
        ({"mask_actions": 1}, "mask_actions=1 is not"),
        ({"controlled": (1, 4), "teams": "both"}, "controlled=.1, 4. .* from 0 to 1"),
        ({"backend": "gfotball"}, "it has 'native', 'envpool', 'gfootball'"),
    ],
)
def test_a_wrong_argument_is_named(arguments, said):
    with pytest.raises(ValueError, match=said):
        mail_envs.make(THREE, **arguments)


@pytest.mark.parametrize("id", SCENARIOS)
@pytest.mark.parametrize("controlled", ["attackers", "all"])
def test_both_teams_are_playable_or_refused_at_once(id, controlled):
    scenario = SCENARIOS[id]
    arguments = {"controlled": controlled, "teams": "both"}
    if controlled == "attackers" and scenario.attackers[-1] >= len(scenario.right):
        said = f"controlled='attackers' with teams='both': the right team has only {len(scenario.right)} players, from 0 to"
        with pytest.raises(ValueError, match=said):
            mail_envs.make(id, **arguments)
        return
    vec = one(id, **arguments)
    vec.reset(seed=0)
    vec.close()


# -- engines -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("id", SCENARIOS)
@pytest.mark.parametrize("episode", [1, 2])
def test_line_ups_and_rules_are_those_that_envpool_sets_up(id, episode):
    scenario = SCENARIOS[id]
    library = engine_envpool.EnvPoolEngine.library
    engine = engines.borrow(engine_envpool.EnvPoolEngine)
    engine.game.reset(scenario.name, episode, 7, 0)
    theirs = library.configuration().contents
    everyone = tuple(range(1 if id == "football_5_vs_5" else 0, len(scenario.left)))
    right = tuple(range(everyone[0], len(scenario.right)))
    setup = engines.Setup(scenario, everyone, right, 7, True, episode == 1)
    ours, _arrays = engine_envpool.configuration(setup)
    agents = {"left_agents": 1, "right_agents": 0}
    assert engine_envpool.scalars(theirs) == {**engine_envpool.scalars(ours), **agents}
    assert engine_envpool.players(theirs) == engine_envpool.players(ours)
    engines.give_back(engine)


def assert_unknown():
    with pytest.raises(ImportError, match=r"not the one of EnvPool 1\.2\.5 to 1\.2\.7"):
        engine_envpool.Library().check()


def test_another_layout_of_the_configuration_is_noticed(monkeypatch):
    probe = SCENARIOS[engine_envpool.PROBE]
    for changed in ({"rounds": 500}, {"left": probe.left[:-1] + ((0.36, 0.3, 9),)}):
        other = {engine_envpool.PROBE: dataclasses.replace(probe, **changed)}
        monkeypatch.setattr(engine_envpool, "SCENARIOS", other)
        assert_unknown()


@pytest.fixture
def unchecked(monkeypatch):
    """EnvPool as in a new process, its module, and how many engines were made since."""
    kind, module, made = engine_envpool.EnvPoolEngine, sys.modules[engine_envpool.MODULE], []
    real = module._GfootballOracleEngine  # pyright: ignore

    def count(*arguments):
        made.append(real(*arguments))
        return made[-1]

    monkeypatch.setattr(module, "_GfootballOracleEngine", count)
    monkeypatch.setattr(kind, "library", None)
    monkeypatch.setattr(kind, "refusal", "")
    return module, made


@pytest.mark.parametrize(
    "other",
    [
        lambda assets: None,  # other arguments: TypeError
        lambda assets, ticks: object(),  # no such method: AttributeError
    ],
)
def test_another_interface_is_noticed_and_auto_takes_the_next_engine(other, unchecked, monkeypatch):
    monkeypatch.setattr(unchecked[0], "_GfootballOracleEngine", other)
    with pytest.raises(ImportError, match=r"not the one of EnvPool 1\.2\.5 to 1\.2\.7"):
        engines.choose("envpool")
    next_one = engine_gfootball.GfootballEngine
    monkeypatch.setattr(next_one, "load", classmethod(lambda cls: None))
    assert engines.choose("auto") is next_one


def test_the_engine_of_the_check_plays_the_first_game(unchecked):
    kind = engines.choose("envpool")
    first = kind()
    assert unchecked[1] == [first.game]  # pyright: ignore
    assert kind().game is unchecked[1][1]  # pyright: ignore


def test_a_failed_check_is_not_repeated(unchecked, monkeypatch):
    name = engine_envpool.PROBE
    other = {name: dataclasses.replace(SCENARIOS[name], rounds=500)}
    monkeypatch.setattr(engine_envpool, "SCENARIOS", other)
    for _ in range(2):
        with pytest.raises(ImportError, match="not the one of EnvPool"):
            engines.choose("envpool")
    assert len(unchecked[1]) == 1


def test_a_missing_symbol_is_noticed(monkeypatch):
    class Renamed(ctypes.CDLL):
        def __getitem__(self, name):
            raise AttributeError(f"undefined symbol: {name}")

    monkeypatch.setattr(ctypes, "CDLL", Renamed)
    assert_unknown()


def test_without_an_engine_the_error_says_what_to_install(monkeypatch):
    find = importlib.util.find_spec
    absent = ("envpool", "gfootball_engine")
    monkeypatch.setattr(importlib.util, "find_spec", lambda n: None if n in absent else find(n))
    monkeypatch.setitem(__import__("sys").modules, "gfootball_engine", None)
    monkeypatch.setattr(engine_envpool.EnvPoolEngine, "library", None)
    for backend in (None, "envpool"):
        with pytest.raises(ImportError, match=r"mail-envs\[football\].*gfootball==2\.10\.2"):
            mail_envs.make(THREE, backend=backend)
    assert THREE in mail_envs.specs()


@pytest.mark.parametrize("absent", ["envpool", "envpool_assets"])
def test_the_missing_package_of_envpool_is_named(absent, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda n: None if n == absent else find(n))
    with pytest.raises(ImportError, match=f"^{absent} is not installed"):
        engine_envpool.Library()


@pytest.mark.parametrize("id", [THREE, PAIR, COUNTER, CORNER_KICK])
def test_both_engines_play_equal_episodes(id):
    pytest.importorskip("gfootball_engine")
    views = [one(id, backend=b, observation="mat") for b in ("envpool", "gfootball")]
    for seed in (0, 1, 2**40 + 3):
        assert_equal(*(play(vec, seed, 80) for vec in views))


def test_a_closed_game_leaves_its_engine_to_the_next():
    vec = one()
    vec.reset(seed=0)
    engine = engine_of(vec)
    vec.close()
    other = one(PAIR)
    other.reset(seed=0)
    assert engine_of(other) is engine
    both = one()
    both.reset(seed=0)
    assert engine_of(both) is not engine
    del other  # never closed
    third = one()
    third.reset(seed=0)
    assert engine_of(third) is engine


def memory():
    """What this process uses now, in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_300_resets_take_no_memory():
    vec = one(PAIR)
    for seed in range(60):
        vec.reset(seed=seed)
    before = memory()
    for seed in range(300):
        vec.reset(seed=seed)
    assert memory() - before < 10e6


# -- equal episodes ---------------------------------------------------------------------------------


def test_equal_seeds_give_equal_episodes_in_any_order():
    vec, other = one(), one(COUNTER)
    first = play(vec, 3, 60)
    play(vec, 4, 60)
    play(other, 5, 20)
    assert_equal(first, play(vec, 3, 60))
    with pytest.raises(AssertionError):
        assert_equal(first, play(vec, 4, 60))


def test_two_games_of_one_process_do_not_disturb_each_other():
    ids = (THREE, COUNTER)
    alone = [play(one(id), 1, 40, lambda t: t % 19) for id in ids]
    views = [one(id) for id in ids]
    seen = [[vec.reset(seed=1)[0].copy()] for vec in views]
    for t in range(40):
        for vec, rows in zip(views, seen):
            observations, rewards, over, _, info = vec.step(np.full((1, vec.num_agents), t % 19))
            if not over[0] or len(rows) < len(alone[views.index(vec)]):
                rows += [
                    observations.copy(),
                    rewards.copy(),
                    info["state"].copy(),
                    info["action_mask"].copy(),
                ]
    for rows, expected in zip(seen, alone):
        assert_equal(rows[: len(expected)], expected)


def test_worker_processes_play_the_same_and_survive_a_dead_engine():
    vec = mail_envs.make_vec(THREE, 2, num_workers=1, autoreset=False)
    here = mail_envs.make_vec(THREE, 2, num_workers=0, autoreset=False)
    assert_equal(play(vec, 6, 25), play(here, 6, 25))
    vec.reset(seed=6)
    os.kill(vec.launches.copies.workers[0].process.pid, signal.SIGKILL)
    info = vec.step(np.zeros((2, 3), np.int64))[4]
    assert info["worker_restarted"].all()
    assert_equal(play(vec, 7, 5), play(here, 7, 5))
    vec.close()


class FatalShot(Football):
    """Its engine ends the process at a shot, as EnvPool's does after a fatal error."""

    def _give(self, side, actions):
        if SHOT in actions:
            os._exit(1)
        super()._give(side, actions)


def test_a_fatal_error_of_an_engine_costs_the_episode_of_its_worker():
    workers, here = (
        VectorGame(FatalShot(PAIR), Synchronous(), 2, num_workers=k, autoreset=False)
        for k in (2, 0)
    )
    for vec in (workers, here):
        vec.reset(seed=5)
    actions = np.full((2, 2), RIGHT)
    for t in range(10):
        actions[1] = SHOT if t == 4 else RIGHT
        info = workers.step(actions)[4]
        here.step(np.full((2, 2), RIGHT))
        assert info["worker_restarted"].tolist() == [False, t == 4]
        np.testing.assert_array_equal(workers.buffers.state[0], here.buffers.state[0])
        assert workers.buffers.truncated.tolist() == [False, t >= 4]
    workers.reset(seed=6)
    here.reset(seed=6)
    np.testing.assert_array_equal(workers.buffers.state, here.buffers.state)
    workers.close()


def test_a_copy_goes_on_where_the_original_is():
    vec = one()
    play(vec, 8, 15, lambda t: RIGHT)
    other = one()
    other.set_state(vec.get_state())
    actions = np.full((1, 3), SPRINT)
    np.testing.assert_array_equal(vec.step(actions)[0], other.step(actions)[0])


# -- who plays whom -----------------------------------------------------------------------------------


def slots(engine, left=True):
    return tuple(engine.info()["left_controllers" if left else "right_controllers"])


@pytest.mark.parametrize(
    ("id", "arguments"),
    [
        (THREE, {}),
        (THREE, {"controlled": (2, 3)}),
        (PAIR, {"controlled": "all"}),
        (COUNTER, {}),
        (CORNER_KICK, {}),
        ("football_5_vs_5", {"teams": "both"}),
        (MATCH, {"teams": "both"}),
    ],
)
def test_a_slot_always_is_the_same_player(id, arguments):
    vec = one(id, **arguments)
    sides, rng = vec.game.sides, np.random.default_rng(0)
    rounds = 25 if vec.num_agents > 10 else 60
    for seed in range(3):
        vec.reset(seed=seed)
        for _ in range(rounds):
            for side in sides:
                assert slots(engine_of(vec), side.left)[: side.size] == side.players
            over = vec.step(rng.integers(0, 19, (1, vec.num_agents)))[2]
            if over[0]:
                break


def test_a_player_who_is_sent_off_leaves():
    env = mail_envs.make(THREE, api="parallel")
    env.reset(seed=0)
    game = env.vector.launches.copies.games[0]
    engine, sent_off = game.engine, game.engine.info()
    sent_off["left_team"][2] = {**sent_off["left_team"][2], "is_active": False}

    class Ruled(type(engine)):
        """The same engine, whose player 2 is sent off."""

        def __init__(self):
            vars(self).update(vars(engine))

        def info(self):
            return sent_off

    game.engine = Ruled()
    terminated = env.step(dict.fromkeys(env.agents, 0))[2]
    assert terminated == {"player_0": False, "player_1": True, "player_2": False}
    assert env.agents == ["player_0", "player_2"]
    game.engine = engine


def test_slots_that_the_engine_moves_are_an_error(monkeypatch):
    real = engines.Setup.players

    def all_controllable(self):
        return tuple([(*p[:4], True) for p in team] for team in real(self))

    monkeypatch.setattr(engines.Setup, "players", all_controllable)
    with pytest.raises(RuntimeError, match=r"controls the players .* instead of \(1, 2, 3\)"):
        one().reset(seed=0)


def distance_run(absent):
    """How far player 1, who is always absent, runs in 15 rounds."""
    vec = one(PAIR, player_function=mail_envs.TurnOrder([[1]]), absent=absent)
    vec.reset(seed=0)
    start = vec.buffers.state[0, 2:4].copy()
    for _ in range(15):
        vec.step(np.zeros((1, 2), np.int64))
    return np.abs(vec.buffers.state[0, 2:4] - start).max()


def test_an_absent_player_stands_idle_or_is_played_by_the_engine():
    assert distance_run("idle") < 0.001
    assert distance_run("builtin_ai") > 0.02


def test_builtin_ai_is_an_action_of_set_v2():
    vec = one(PAIR, action_set="v2")
    assert vec.action_dims == [20, 20]
    seen = play(vec, 0, 15, lambda t: BUILTIN)
    assert np.abs(seen[-4][0, 0, 2:6] - seen[0][0, 0, 2:6]).max() > 0.02


def test_the_right_team_sees_the_pitch_turned_and_runs_the_other_way():
    vec = one(MATCH, teams="both")
    observations, _ = vec.reset(seed=0)
    left, right = observations[0, 5, :88].reshape(2, -1), observations[0, 16, :88].reshape(2, -1)
    np.testing.assert_array_equal(left[0], -right[1])
    assert observations[0, 16, 97:108].argmax() == 5
    before = observations[0, 16, 10:12].copy()
    for _ in range(12):
        observations = vec.step(np.full((1, 22), RIGHT))[0]
    assert observations[0, 16, 10] > before[0] + 0.03  # to the right in their own view
    assert vec.buffers.state[0, 44 + 10] < -before[0] - 0.03  # to the left on the pitch
    game = vec.launches.copies.games[0]
    sticky = game.sides[1].sticky(game.engine)
    assert sticky[5].tolist() == [False] * 4 + [True] + [False] * 5


def test_the_kick_off_changes_with_the_seed():
    vec = one(MATCH)
    at_ball = [np.abs(vec.reset(seed=seed)[0][0, 0, 2:6]).max() < 0.05 for seed in range(4)]
    assert at_ball == [True, True, False, False]


# -- rewards, ends, masks ---------------------------------------------------------------------------


def shoot(t):
    return RIGHT if t < 4 else SHOT


@pytest.mark.parametrize(
    ("reward", "expected"), [("scoring", 1.0), ("scoring,checkpoints", 2.0), ("shaped", 5.1)]
)
def test_a_goal(reward, expected):
    vec = one(ALONE, reward=reward)
    play(vec, 0, 100, shoot)
    assert vec.clock["last_returns"][0, 0] == pytest.approx(
        expected, abs=0.15 * (reward == "shaped") + 1e-6
    )
    metrics = {name: float(values[0]) for name, values in vec.metrics.items()}
    assert metrics == {"won": 1, "score": 1, "end": 1}
    assert vec.buffers.terminated[0] and not vec.buffers.truncated[0]


def test_the_limit_truncates_in_round_401():
    vec = one(PAIR)
    play(vec, 0, 500, lambda t: 0)
    assert vec.clock["last_length"][0] == 401
    assert vec.buffers.truncated[0] and not vec.buffers.terminated[0]
    assert vec.metrics["won"][0] == vec.metrics["end"][0] == 0


def ends_of(id, choose, seeds):
    found = set()
    vec = one(id)
    for seed in seeds:
        play(vec, seed, 401, choose)
        found.add(int(vec.metrics["end"][0]))
        assert vec.buffers.terminated[0]
    return found


def test_a_lost_ball_and_a_ball_out_of_play_end_the_episode():
    assert ends_of(COUNTER, lambda t: 0, range(2)) == {3}
    assert ends_of(PAIR, lambda t: 3, range(2)) == {2}  # up, over the line


def frame(**changes):
    """A round in which player 1 of three has the ball at (0.5, 0.1)."""
    rows = np.zeros((3, 5))
    rows[:, 0], rows[1, :2] = (-1, 0.5, 0.3), (0.5, 0.1)
    rest = {"owner": 0, "holder": 1, "mode": NORMAL, "goals": (0, 0), "round": 0}
    seen = {"own": rows, "other": rows[:2] * -1, "ball": (0.5, 0.1, 0.1), "motion": np.zeros(3)}
    seen |= {"cards": (0, 0)}
    seen |= {name: changes.pop(name) for name in seen if name in changes}
    rest |= changes
    owner, mode = np.eye(3)[rest["owner"] + 1], np.eye(7)[rest["mode"]]
    teams = [seen["own"], seen["other"]]
    players = np.concatenate(teams).ravel()
    numbers = np.concatenate([(-1, 0, 1), owner, mode, seen["ball"], seen["motion"], players])
    said = [
        [{"role": k, "is_active": True, "has_card": k < cards} for k in range(len(team))]
        for team, cards in zip(teams, seen["cards"])
    ]
    return Frame(numbers, *said, **rest)


def test_checkpoints_belong_to_the_player_with_the_ball():
    checkpoints = rules.Checkpoints((1, 2))
    near = frame(ball=np.array([0.85, 0.0, 0.1]))
    assert checkpoints.rewards(frame(), False) == pytest.approx([0.6, 0])  # 0.51 from the goal
    assert checkpoints.rewards(frame(), False) == pytest.approx([0, 0])
    assert checkpoints.rewards(frame(owner=1), False) == pytest.approx([0, 0])
    assert checkpoints.rewards(near, False) == pytest.approx([0.4, 0])
    assert checkpoints.rewards(near, True) == pytest.approx([0, 1.0])
    assert checkpoints.rewards(near, True) == pytest.approx([0, 0])  # a second goal is worth 1


def test_what_agents_get_from_the_rewards_of_the_team():
    returns = {}
    for team_reward in ("own", "mean", "sum", "slot0"):
        vec = one(THREE, team_reward=team_reward)
        play(vec, 3, 60, lambda t: RIGHT)
        returns[team_reward] = vec.clock["returns"][0] + vec.clock["last_returns"][0]
    own = returns["own"]
    assert len(set(own.tolist())) > 1
    for name, expected in (("mean", own.mean()), ("sum", own.sum()), ("slot0", own[0])):
        assert returns[name] == pytest.approx([expected] * 3, abs=1e-5)


def test_the_shaped_reward_by_hand():
    def of(now, before, last=False):
        return pytest.approx(rules.shaped(now, before, last))

    assert of(frame(), frame()) == 0.003
    loose = frame(owner=-1, ball=np.array([0.3, 0.4, 0]))
    assert of(loose, frame()) == 0.003 - 0.003 * np.hypot(0.2, 0.3)
    assert of(frame(goals=(0, 1), cards=(1, 0)), frame()) == -6 + 0.003
    zones = {-0.9: -2, -0.5: -1, 0.1: 0, 0.5: 1, 0.9: 2}
    for x, value in zones.items():
        there = frame(ball=np.array([x, 0.0, 0.0]))
        assert of(there, there) == 0.003 * value
    ahead, behind = frame(goals=(3, 1)), frame(goals=(1, 3))
    assert of(ahead, ahead, last=True) == 10 + 0.003
    assert of(ahead, frame(goals=(2, 1)), last=True) == 5 + 10 + 0.003
    assert of(behind, behind, last=True) == of(behind, behind) == 0.003
    keeper = frame(own=frame().own[:1], owner=1)
    assert of(keeper, keeper) == 0.003


@pytest.mark.parametrize("arguments", [{"reward": "shaped"}, {"observation": "mat"}])
def test_a_team_may_be_one_player(arguments):
    vec = one("football_empty_goal", teams="both", controlled="all", **arguments)
    assert np.isfinite(np.concatenate([seen.ravel() for seen in play(vec, 0, 20)])).all()
    vec.close()


@pytest.mark.parametrize(("lead", "expected"), [((2, 0), (10, 0)), ((0, 2), (0, 10))])
def test_the_shaped_reward_pays_the_lead_at_the_time_limit(lead, expected, monkeypatch):
    """To the team that leads, in the round that truncates."""
    game, rewards, metrics = (
        Football(MATCH, teams="both", reward="shaped"),
        np.zeros(22),
        np.zeros(3),
    )
    game.reset(0)
    start = game.sides[0].frame
    for rounds in (2998, 2999, 3000):
        now = dataclasses.replace(start, goals=lead, round=rounds)
        monkeypatch.setattr(game, "_play", lambda now=now: see(game, now))
        _, late = game.step(np.zeros(22, int), np.ones(22), rewards, metrics)
        small = rewards[[0, 11]] - np.array(expected) * late
        assert late == (rounds == 3000)
        assert rounds == 2998 or np.abs(small).max() < 0.01
    game.close()


def see(game, now):
    """Let both teams see this frame of the left one."""
    for side in game.sides:
        side.frame = now if side.left else now.turned()


def test_a_goal_that_ends_nothing_is_followed_by_the_kick_off(monkeypatch):
    """The round of the goal lasts until the ball is in play again, and shows that."""
    endless = dataclasses.replace(SCENARIOS[ALONE], ends=())
    monkeypatch.setitem(SCENARIOS, ALONE, endless)
    vec = one(ALONE, reward="scoring")
    vec.reset(seed=0)
    engine, steps = engine_of(vec), []
    step = engine.step
    monkeypatch.setattr(engine, "step", lambda: steps.append(step()))
    for t in range(30):
        steps.clear()
        observations, rewards, terminated, *_ = vec.step(np.full((1, 1), shoot(t)))
        assert not terminated[0] and engine.info()["is_in_play"]
        if rewards[0, 0]:
            break
        assert len(steps) < 5
    assert rewards[0, 0] == 1 and len(steps) > 5
    np.testing.assert_allclose(observations[0, 0, 88:90], 0, atol=1e-6)  # the ball is in the middle
    assert observations[0, 0, 2] == pytest.approx(0.75, abs=0.02)  # the player is back in his place
    assert engine.info()["step"] == t  # the rounds between do not count
    assert vec.step(np.zeros((1, 1), int))[1][0, 0] == 0


def test_a_stopped_game_is_not_held_up():
    umpire = rules.Umpire(SCENARIOS[MATCH])
    for waiting in range(45):
        assert umpire.replaces == (waiting >= 20)
        expected = {True: rules.SHORT_PASS, False: rules.SHORT_PASS}
        if waiting > 20:
            expected = {True: rules.RIGHT if waiting < 30 else rules.LEFT, False: rules.IDLE}
        if umpire.replaces:
            assert {ball: umpire.instead(ball) for ball in (True, False)} == expected
        umpire.see(frame(mode=CORNER))
    umpire.see(frame())
    assert not umpire.replaces


def masks(sticky=(), actions=19, **changes):
    flags = np.zeros((2, 10), bool)
    flags[:, list(sticky)] = True
    seen = encoders.mat_masks(frame(**changes), np.array([1, 2]), flags, actions)
    return [set(np.flatnonzero(row == 0).tolist()) for row in seen]


def test_masks_by_hand():
    releases = {14, 15, 18}
    assert masks() == [releases | {12, 16}, releases | {9, 10, 11, 12, 16, 17}]
    near = np.array([0.7, 0.1, 0.1])
    close = frame().own.copy()
    close[1, :2] = near[:2]
    assert masks(ball=near, own=close)[0] == releases | {9, 10, 16}
    assert masks(owner=1)[0] == releases | {9, 10, 11, 12, 17}
    assert masks(sticky=[0, 8, 9])[0] == {12, 16}
    assert masks(owner=1, sticky=[9])[0] == {9, 10, 11, 12, 14, 15, 16, 17}
    corner = masks(mode=CORNER, ball=np.array([0.99, 0.4, 0.1]), actions=20)[0]
    assert set(range(20)) - corner == {0, 9, 10, 11}


def test_simple115v2_by_hand():
    seen = frame(mode=CORNER, owner=1).numbers[encoders.simple115v2(3, 2, (1, 2))]
    expected = [-1, 0, 0.5, 0.1, 0.3, 0] + [-1] * 16 + [0] * 6 + [-1] * 16
    expected += [1, 0, -0.5, -0.1] + [-1] * 18 + [0] * 4 + [-1] * 18
    expected += [0.5, 0.1, 0.1, 0, 0, 0] + [0, 0, 1]
    one_hot = [0] * 11
    one_hot[2] = 1
    assert seen[1].tolist() == [*expected, *one_hot, 0, 0, 0, 0, 1, 0, 0]


def test_mat_by_hand():
    """Blocks: allowed actions, ball, nearest team-mate, team-mates, himself, nearest opponent, opponents."""
    own = np.array([[-1, 0, 0, 0, 0], [0.5, 0.1, 0.01, 0, 0.2], [0.3, 0, 0, -0.02, 0.4]])
    other = np.array([[1, 0, 0, 0, 0], [0.5, -0.2, 0, 0.01, 0.1]])
    ball, motion = np.array([0.5, 0.14, 0.2]), np.array([0.03, 0.04, 0.01])
    now = frame(own=own, other=other, ball=ball, motion=motion)
    sticky = np.zeros((2, 10), bool)
    sticky[0, 9], sticky[1, 8] = True, True  # one dribbles, two sprints
    masks = np.stack([np.arange(19), -np.arange(19)])
    one, two = encoders.mat(now, np.array([1, 2]), sticky, masks)
    keeper, second = [-2, 0, 0, 0, 0], [0.6, 0, 0, -2, 2]
    their_keeper, defender = [2, 0, 0, 0, 0], [1, -0.4, 0, 1, 1]

    def far(*offset):
        return 2 * np.hypot(*offset)

    nearest = [*second, far(0.2, 0.1), 0.4]
    marker = [*defender, far(0, 0.3), 0.1]
    expected = [
        *range(19),
        *(0.5, 0.14, 0.2), *(0, 0, 0, 0, 1, 0), *(0, 0.04), *(0.6, 0.8, 0.2), 1, 0.04, *(1, 1),
        *nearest, *keeper, far(1.5, 0.1), 0, *nearest,
        *(0.5, 0.1), *(1, 0), 1, *(0, 1, 0, 0, 0, 0, 0, 0, 0, 0), *(1, 0.2, 1, 0),
        *marker, *their_keeper, far(0.5, 0.1), 0, *marker,
    ]  # fmt: skip
    np.testing.assert_allclose(one, expected, atol=1e-12)
    first = [1, 0.2, 1, 0, 1, far(0.2, 0.1), 0.2]  # the other team-mate
    himself = [0.3, 0, 0, -2, 2, 0, 0, 1, *[0] * 7, 1, 0.4, 0, 1]
    np.testing.assert_allclose(two[37:44], first, atol=1e-12)
    np.testing.assert_allclose(two[51:58], first, atol=1e-12)
    np.testing.assert_allclose(two[58:77], himself, atol=1e-12)
    alone = encoders.mat(frame(own=own[:1], other=other), np.array([0]), sticky[:1], masks[:1])
    assert alone.shape == (1, encoders.mat_size(1, 2, 19)) and not alone[0, 37:44].any()


def test_the_minimap_by_hand():
    seen = encoders.smm(frame(), np.array([2]))[0]
    assert sorted(map(tuple, np.argwhere(seen[..., 0]))) == [(36, 0), (36, 62), (44, 72)]
    assert np.argwhere(seen[..., 2]).tolist() == [[44, 72]]
    assert np.argwhere(seen[..., 3]).tolist() == [[36, 62]] and seen.max() == 255


def test_the_frame_is_turned_twice_to_itself():
    game = Football(MATCH)
    game.reset(5)
    there = game.sides[0].frame
    back = there.turned().turned()
    for name, value in vars(there).items():
        np.testing.assert_array_equal(value, getattr(back, name), err_msg=name)
    game.close()


def test_the_other_team_sees_the_ball_in_its_own_possession():
    for owner, other in ((0, 1), (1, 0), (-1, -1)):
        now = frame(owner=owner, mode=CORNER, motion=np.array([0.1, 0.2, 0.3]))
        seen = now.turned()
        assert seen.owner == other and seen.roles == [0, 1]
        row = seen.numbers[encoders.simple115v2(2, 3, (1,))][0]
        assert row[94:97].tolist() == np.eye(3)[other + 1].tolist()
        assert row[88:94].tolist() == [-0.5, -0.1, 0.1, -0.1, -0.2, 0.3]
        np.testing.assert_array_equal(seen.own[:, :4], -now.other[:, :4])
        np.testing.assert_array_equal(seen.other[:, :4], -now.own[:, :4])


def test_a_picture_shows_who_acts(tmp_path):
    pytest.importorskip("pygame")
    vec = one(COUNTER, player_function=mail_envs.TurnOrder([[0]]))
    vec.reset(seed=0)
    few = vec.render()
    vec.close()
    vec = one(COUNTER)
    vec.reset(seed=0)
    all_four = vec.render()
    gold = (np.abs(all_four.astype(int) - (245, 183, 30)).max(-1) < 8)[60:].sum()
    assert few.shape == (700, 700, 3)
    assert gold > 2.5 * (np.abs(few.astype(int) - (245, 183, 30)).max(-1) < 8)[60:].sum() > 0
