"""Invalid input: each mistake gives one clear error, and no data is lost."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete, MultiDiscrete
from sample_games import LastStanding, finish
from sample_players import COMPILED

import mail_envs
from mail_envs.actions import _copy_tensor
from mail_envs.conformance.subject import random_actions
from mail_envs.vector import VectorGame

# -- the AEC and parallel views ------------------------------------------------------------------

WRONG = [
    (5, ValueError), (-1, ValueError), (2.5, TypeError), (None, TypeError), ("left", TypeError),
    ([1], TypeError), (np.array([1, 2]), TypeError), (np.float32(0.5), ValueError),
    (float("nan"), TypeError), (2**40, ValueError),
]  # fmt: skip
WRONG_CONTINUOUS = [
    (np.full(5, 1.5), ValueError), (np.full(5, np.nan), ValueError), (np.zeros(4), ValueError),
    (3, ValueError), ("left", TypeError), (None, (TypeError, ValueError)),
    ([0, 0, 0, 0, -0.1], ValueError),
]  # fmt: skip


@pytest.mark.parametrize(
    ("continuous", "action", "error"),
    [(False, *case) for case in WRONG] + [(True, *case) for case in WRONG_CONTINUOUS],
    ids=str,
)
def test_a_wrong_action_names_the_agent_and_loses_nothing(continuous, action, error):
    good = np.full(5, 0.25) if continuous else 2
    keywords = {"continuous_actions": continuous}
    for api in ("aec", "parallel"):
        env, twin = (mail_envs.make("coop_nav", api=api, **keywords) for _ in range(2))
        for which in (env, twin):
            which.reset(seed=0)
        for _ in range(4):
            if api == "parallel":
                with pytest.raises(error, match="agent_1"):
                    env.step({"agent_0": good, "agent_1": action, "agent_2": good})
            else:
                with pytest.raises(error, match=env.agent_selection):
                    env.step(action)
            assert np.array_equal(env.state(), twin.state())
            for which in (env, twin):
                which.step(dict.fromkeys(which.agents, good) if api == "parallel" else good)
        assert env.vector.clock["rounds"] == twin.vector.clock["rounds"]
        assert np.array_equal(env.state(), twin.state())


def test_a_missing_action_of_a_participant_is_named_and_loses_nothing():
    env = mail_envs.make(
        "coop_nav", api="parallel", player_function=mail_envs.TurnOrder([[0, 1], [2]])
    )
    env.reset(seed=0)
    before = env.state()
    with pytest.raises(KeyError, match="agent_1 participates"):
        env.step({"agent_0": 1, "agent_2": 1})
    assert np.array_equal(env.state(), before)
    env.step({"agent_0": 1, "agent_1": 1})


def test_an_action_of_an_unknown_agent_is_named():
    env = mail_envs.make("coop_nav", api="parallel")
    env.reset(seed=0)
    actions = dict.fromkeys(env.agents, 0)
    with pytest.raises((KeyError, ValueError), match="agent_7"):
        env.step({**actions, "agent_7": 0})
    env.step(actions)


def test_stepping_before_reset_and_after_the_end_raises():
    for api in ("aec", "parallel"):
        env = mail_envs.make("coop_nav", api=api, max_rounds=2)
        action = 0 if api == "aec" else dict.fromkeys(env.possible_agents, 0)
        with pytest.raises(RuntimeError, match="before reset"):
            env.step(action)
        for seed in range(2):
            env.reset(seed=seed)
            if api == "aec":
                finish(env)
            else:
                env.step(action)
                env.step(action)
            with pytest.raises(RuntimeError, match="after the end"):
                env.step(action)


def test_a_view_can_be_left_and_reset_at_any_time():
    for interrupted_after in (1, 2, 4):
        env, fresh = mail_envs.make("stochastic_coop_nav"), mail_envs.make("stochastic_coop_nav")
        env.reset(seed=9)
        for _ in range(interrupted_after):
            env.step(1)
        env.reset(seed=3)
        fresh.reset(seed=3)
        assert finish(env) == finish(fresh)


def test_a_failing_player_function_can_be_left_by_reset():
    probability = {"now": 1.0}
    player = mail_envs.HistoryDependent(
        lambda history, rounds: np.full((len(rounds), 3), probability["now"])
    )
    for api in ("aec", "parallel"):
        env = mail_envs.make("coop_nav", api=api, player_function=player)
        probability["now"] = 1.0
        env.reset(seed=0)
        probability["now"] = 7.0
        with pytest.raises(ValueError, match="probabilities"):
            for _ in range(3):
                env.step(0 if api == "aec" else dict.fromkeys(env.agents, 0))
        probability["now"] = 1.0
        env.reset(seed=0)
        env.step(0 if api == "aec" else dict.fromkeys(env.agents, 0))


# -- the vector view ---------------------------------------------------------------


def played_nothing(vector, before):
    return all(np.array_equal(v, getattr(vector.buffers, k)) for k, v in before.items())


def snapshot(vector):
    keys = ("world", "clock", "observations", "participation", "rewards", "state")
    return {k: getattr(vector.buffers, k).copy() for k in keys}


@pytest.mark.parametrize("num_threads", [1, 2])
@pytest.mark.parametrize("value", [5, -1, 1000, 2**31, 2**32])
def test_an_invalid_action_names_agent_environment_and_value(value, num_threads):
    vector = mail_envs.make_vec("coop_nav", 4, num_threads=num_threads, seed=0)
    actions = np.ones((4, 3), np.int64)
    actions[2, 1] = value
    before = snapshot(vector)
    with pytest.raises(
        ValueError, match=rf"action {value} of agent_1 in environment 2 .*Discrete\(5\)"
    ):
        vector.step(actions)
    assert played_nothing(vector, before)
    vector.step(np.ones((4, 3), np.int64))


@pytest.mark.parametrize("value", [np.int64(-(2**32)), np.int64(2**33 + 1), np.uint64(2**63)])
def test_numbers_that_would_become_legal_ones_in_32_bits_are_refused(value):
    player = mail_envs.TurnOrder([[0], [1, 2]])
    vector = mail_envs.make_vec("coop_nav", 2, player_function=player, seed=0)
    actions = np.array([[2, value, value]] * 2, value.dtype)
    vector.step(actions)  # of agents that wait, anything is taken
    before = snapshot(vector)
    with pytest.raises(ValueError, match=f"action {value} of agent_1 in environment 0 is not in"):
        vector.step(actions)
    assert played_nothing(vector, before)


@pytest.mark.parametrize("value", [-(2**32), 2**32, 2**40 + 1])
def test_such_numbers_are_rejected_on_devices_too(value):
    torch = pytest.importorskip("torch")
    target = torch.zeros((1, 2), dtype=torch.int32)
    _copy_tensor(target, torch.tensor([[3, value]]), discrete=True)
    assert target[0, 0] == 3 and not 0 <= target[0, 1] < 2**20


@pytest.mark.parametrize("value", [1.5, -0.1, np.nan, np.inf])
def test_an_invalid_component_names_agent_and_environment(value):
    vector = mail_envs.make_vec("coop_nav", 3, continuous_actions=True, seed=0)
    actions = np.full((3, 3, 5), 0.5, np.float32)
    actions[1, 2, 4] = value
    before = snapshot(vector)
    with pytest.raises(ValueError, match=r"of agent_2 in environment 1 is not in Box"):
        vector.step(actions)
    assert played_nothing(vector, before)


def test_nan_is_refused_also_beyond_an_agents_own_components():
    """The speaker's actions have three components, the listener's five."""
    vector = mail_envs.make_vec("mpe_simple_speaker_listener", continuous_actions=True, seed=0)
    actions = np.zeros((1, 2, 5), np.float32)
    actions[0, 0, 3:] = np.nan
    with pytest.raises(ValueError, match=r"nan.* of speaker_0 in environment 0"):
        vector.step(actions)
    assert vector.clock["rounds"][0] == 0
    actions[0, 0, 3:] = 7.0
    assert vector.step(actions)[4]["round"][0] == 1


@pytest.mark.parametrize("kind", ["HistoryDependent", "StateDependent"])
def test_histories_survive_an_invalid_action(kind):
    vector, twin = (
        mail_envs.make_vec("coop_nav", 4, player_function=COMPILED[kind], seed=0) for _ in range(2)
    )
    _, info = vector.reset(seed=0)
    twin.reset(seed=0)
    for _ in range(6):
        if info["participation"].any():
            with pytest.raises(ValueError, match="nothing was played"):
                vector.step(np.full((4, 3), 77))
        actions = random_actions(vector, info)
        twin.step(actions)
        *_, info = vector.step(actions)
        assert played_nothing(vector, snapshot(twin))


@pytest.mark.parametrize("value", [99, -5, 2**31 - 1])
def test_whatever_a_non_participant_sends_is_ignored(value):
    player = mail_envs.TurnOrder([[0], [1, 2]])
    vector, twin = (mail_envs.make_vec("coop_nav", 2, player_function=player) for _ in range(2))
    vector.reset(seed=0)
    twin.reset(seed=0)
    sent = np.array([[2, value, value]] * 2)
    assert np.array_equal(vector.step(sent)[0], twin.step(np.array([[2, 0, 0]] * 2))[0])
    assert not vector.buffers.clock["illegal_actions"].any()


@pytest.mark.parametrize("value", [99.0, -5.0, np.inf, np.nan])
@pytest.mark.parametrize("null_dynamics", ["coast", "brake", "hold"])
def test_whatever_a_non_participant_sends_to_a_continuous_game_is_ignored(value, null_dynamics):
    player = mail_envs.TurnOrder([[0], [1, 2]])
    keywords = {
        "player_function": player, "continuous_actions": True, "null_dynamics": null_dynamics
    }  # fmt: skip
    vector, twin = (mail_envs.make_vec("coop_nav", **keywords) for _ in range(2))
    vector.reset(seed=0)
    twin.reset(seed=0)
    for acts in ([1, 0, 0], [0, 1, 1], [1, 0, 0]):
        good = np.full((1, 3, 5), 0.25, np.float32)
        good[..., 2] = 0.75
        sent = np.where(np.array(acts)[None, :, None] > 0, good, np.float32(value))
        observations = vector.step(sent)[0]
        assert np.array_equal(observations, twin.step(good)[0])


@pytest.mark.parametrize(
    "actions", [np.zeros((2, 3), int), np.zeros((3, 2), int), np.zeros(3, int), [0, 1, 2], 3]
)
def test_a_wrong_shape_names_both_shapes(actions):
    vector = mail_envs.make_vec("coop_nav", 3, seed=0)
    with pytest.raises(ValueError, match=r"shape .*expected \(3, 3\)"):
        vector.step(actions)


@pytest.mark.parametrize(
    "actions", [np.zeros((2, 3)), np.zeros((2, 3), bool), np.zeros((2, 3), "U1"), [[0.5] * 3] * 2]
)
def test_a_wrong_dtype_is_named(actions):
    vector = mail_envs.make_vec("coop_nav", 2, seed=0)
    with pytest.raises(TypeError, match=r"dtype .* pass integers"):
        vector.step(actions)


@pytest.mark.parametrize("actions", [np.full((2, 3, 5), "0.5"), np.full((2, 3, 5), None)])
def test_continuous_actions_are_numbers(actions):
    vector = mail_envs.make_vec("coop_nav", 2, continuous_actions=True, seed=0)
    with pytest.raises(TypeError, match="numbers"):
        vector.step(actions)


def test_stepping_before_reset_raises():
    vector = mail_envs.make_vec("coop_nav", 2)
    with pytest.raises(RuntimeError, match="before reset"):
        vector.step(np.zeros((2, 3), int))


@pytest.mark.parametrize("seed", [-1, 2**63, 2**63 - 1, 1.5, "seven"])
def test_seeds_out_of_range_are_named(seed):
    """All E of them: seed + E - 1 is a seed, too."""
    vector = mail_envs.make_vec("coop_nav", 2)
    with pytest.raises(ValueError, match="seed="):
        vector.reset(seed=seed)


def test_the_largest_seeds_are_seeds():
    vector = mail_envs.make_vec("coop_nav", 2, seed=2**63 - 2)
    assert vector.reset(seed=2**63 - 2)[1]["seed"].tolist() == [2**63 - 2, 2**63 - 1]


@pytest.mark.parametrize(
    ("keywords", "error"),
    [
        ({"num_envs": 0}, "num_envs=0"),
        ({"num_envs": -3}, "num_envs=-3"),
        ({"max_rounds": 0}, "max_rounds=0"),
        ({"array": "jax"}, "'numpy', 'torch'"),
        ({"device": "tpu"}, "'cpu', 'cuda'"),
        ({"null_action": "skip"}, "'null', 'as_action'"),
        ({"num_threads": 0}, "num_threads=0"),
    ],
)
def test_impossible_settings_are_named(keywords, error):
    with pytest.raises(ValueError, match=error):
        mail_envs.make_vec("coop_nav", **keywords)


@pytest.mark.parametrize(
    ("id", "arguments", "error"),
    [
        ("coop_nav", {"continuous_actions": "no"}, "'no' must be True or False"),
        ("coop_nav", {"terminate_on_success": None}, "None must be True or False"),
        ("gold_miner_easy_2_vs_2", {"mask": 2}, "mask=2 must be True or False"),
        ("gold_miner_easy_2_vs_2", {"turns": 2.5}, "turns=2.5 must be a whole number"),
        ("gold_miner_easy_2_vs_2", {"reward_scale": "1"}, "reward_scale='1' must be a number"),
        ("mpe_simple_spread", {"num_agent_neighbors": 1.5}, "1.5 must be a whole number"),
        ("mpe_simple_spread", {"local_ratio": "half"}, "local_ratio='half' must be a number"),
    ],
)
def test_arguments_of_games_are_of_the_kind_that_the_game_declares(id, arguments, error):
    with pytest.raises(TypeError, match=error):
        mail_envs.make_game(id, **arguments)


def test_arguments_may_be_numbers_of_numpy_and_none_where_that_is_declared():
    game, _ = mail_envs.make_game("coop_nav", num_agents=np.int64(2), continuous_actions=np.True_)
    assert len(game.agents) == 2
    mail_envs.make_game("mpe_simple_spread", num_agent_neighbors=None, local_ratio=1)


@pytest.mark.parametrize(
    ("id", "name"),
    [
        ("predator_prey", "num_obstacles"),
        ("mpe_simple_tag", "num_obstacles"),
        ("mpe_simple_world_comm", "num_obstacles"),
        ("mpe_simple_world_comm", "num_forests"),
    ],
)
def test_there_cannot_be_fewer_landmarks_than_none(id, name):
    with pytest.raises(ValueError, match=f"{name}=-1 must be at least 0"):
        mail_envs.make_game(id, **{name: -1})


def test_a_missing_gpu_is_one_clear_error():
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises((RuntimeError, ImportError), match="device='cuda'"):
        mail_envs.make_vec("coop_nav", device="cuda")


def test_a_game_written_in_main_works():
    """As in a notebook: no module to import its functions from, and no disk cache."""
    here = Path(__file__).parent
    code = f"exec(open({str(here / 'sample_games.py')!r}).read())\n" + (
        "import mail_envs; from mail_envs.vector import VectorGame\n"
        "vector = VectorGame(LastStanding(), mail_envs.Stochastic(0.9), 4)\n"
        "vector.reset(seed=0); vector.step(np.ones((4, 3), int))\n"
        "print(vector.buffers.state.tolist())"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    vector = VectorGame(LastStanding(), mail_envs.Stochastic(0.9), 4)
    vector.reset(seed=0)
    vector.step(np.ones((4, 3), int))
    assert run.stdout.strip() == str(vector.buffers.state.tolist())


@pytest.mark.parametrize(
    ("spaces", "named"),
    [
        ([Discrete(3, start=1)] * 3, r"fighter_0 in LastStanding is Discrete\(3, start=1\)"),
        ([MultiDiscrete([3, 2])] * 3, r"fighter_0 in LastStanding is MultiDiscrete"),
        ([Discrete(3), Box(0, 1, (3,)), Discrete(3)], r"fighter_1 in LastStanding is Box"),
        ([Box(0, 1, (3,)), Discrete(3), Discrete(3)], r"fighter_1 in LastStanding is Discrete"),
        ([Box(0, 1, (3, 1))] * 3, r"fighter_0 in LastStanding is Box"),
    ],
    ids=str,
)
def test_a_game_with_other_action_spaces_is_refused(spaces, named):
    game = LastStanding()
    game.action_spaces = dict(zip(game.agents, spaces, strict=True))
    with pytest.raises(ValueError, match=named):
        VectorGame(game, mail_envs.Synchronous())


def test_a_game_without_kernels_names_what_it_lacks():
    class Incomplete(LastStanding):
        __module__ = "json"

    with pytest.raises(TypeError, match="json must define reset_env, step_env, observe_env"):
        VectorGame(Incomplete(), mail_envs.Synchronous())


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["--episodes", "0"], "episodes=0 must be at least 1"),
        (["--size", "0"], "size=0 must be at least 1"),
        (["--fps", "0"], "--fps 0.0: must be more than 0 frames per second"),
        (["--fps", "nan"], "--fps nan: must be more than 0 frames per second"),
        (["--policy", "my_policy.py:make"], "my_policy.py: there is no such file"),
        (["--policy", "nowhere"], "'nowhere' is neither 'random', 'scripted', 'expert'"),
        (["--seed", "-1"], "seed=-1"),
    ],
)
def test_render_says_what_is_wrong_in_one_line(words, error, tmp_path, capsys):
    from mail_envs.__main__ import main

    out = tmp_path / "film.gif"
    assert main(["render", "coop_nav", "--out", str(out), *words]) == 2
    stderr = capsys.readouterr().err.splitlines()
    assert len(stderr) == 1 and stderr[0].startswith("error: ") and error in stderr[0]
    assert not out.exists()


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"out": Path("x.png")}, "--out x.png: the file name must end in .gif"),
        ({"all": True}, "--all needs --verify"),
    ],
)
def test_replay_says_what_is_wrong_before_it_opens_a_set(options, error, capsys):
    from demos import replay

    assert replay.main(replay.Args(Path("no_such_set"), **options)) == 2
    assert error in capsys.readouterr().err
