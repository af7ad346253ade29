"""Multi-Agent MuJoCo: observations, rewards and states equal those of gymnasium-robotics."""

import importlib.metadata
import importlib.util
import os
import subprocess
import sys

import numpy as np
import pytest

import mail_envs
from mail_envs.drawing import RenderingError

pytest.importorskip("mujoco")
pytest.importorskip("gymnasium_robotics")

IDS = [id for id, spec in mail_envs.specs().items() if spec.family == "mamujoco"]
ROBOTS = [id for id in IDS if "coupled" not in id]
HEAVY = [id for id in ROBOTS if "humanoid" in id or "segment" in id]
CHEETAH = "mamujoco_halfcheetah_6x1"


def pair(id, player=None, **arguments):
    """The native game and gymnasium-robotics', in equal views."""
    player = player or mail_envs.Stochastic(0.8)
    backends = (None, "mamujoco_v1")
    return [
        mail_envs.make_vec(id, player_function=player, backend=b, seed=3, **arguments)
        for b in backends
    ]


def actions_for(vec, rng):
    actions = np.zeros_like(vec.buffers.actions)
    for i, (agent, own) in enumerate(zip(vec.agents, vec.action_dims, strict=True)):
        space = vec.action_spaces[agent]
        actions[:, i, :own] = rng.uniform(space.low, space.high, (vec.num_envs, own))
    return actions


def equal_observations(id, ours, theirs):
    """Two of the pusher's joints have one name, and no order there."""
    if id == "mamujoco_pusher_3p":
        return np.allclose(np.sort(ours, -1), np.sort(theirs, -1))
    return np.array_equal(ours, theirs)


def assert_equal_rounds(id, ours, theirs, rounds):
    rng = np.random.default_rng(0)
    for _ in range(rounds):
        actions = actions_for(ours, rng)
        mine, others = ours.step(actions), theirs.step(actions)
        assert equal_observations(id, mine[0], others[0])
        for a, b in zip(mine[1:4], others[1:4], strict=True):
            np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(mine[4]["state"], others[4]["state"])
        for name, metric in mine[4]["metrics"].items():
            np.testing.assert_array_equal(metric, others[4]["metrics"][name])


@pytest.mark.parametrize("id", ROBOTS)
def test_the_native_game_is_the_original(id):
    ours, theirs = pair(id)
    assert ours.agents == theirs.agents and ours.max_rounds == theirs.max_rounds
    assert ours.observation_spaces == theirs.observation_spaces
    assert ours.action_spaces == theirs.action_spaces
    assert ours.state_space == theirs.state_space
    assert_equal_rounds(id, ours, theirs, 60 if id in HEAVY else 300)


@pytest.mark.parametrize("id", ROBOTS)
@pytest.mark.parametrize("agent_obsk", [0, 2, 3])
def test_agents_observe_as_far_as_the_argument_says(id, agent_obsk):
    ours, theirs = pair(id, agent_obsk=agent_obsk)
    assert ours.observation_spaces == theirs.observation_spaces
    assert_equal_rounds(id, ours, theirs, 5)


@pytest.mark.parametrize(
    ("id", "state", "dims"),
    [
        (CHEETAH, 17, ([7] * 6, [9, 9, 8, 9, 9, 8], [11, 10, 9, 11, 10, 9])),
        ("mamujoco_ant_4x2", 105, ([39] * 4, [42] * 4, [45] * 4)),
        ("mamujoco_humanoid_9p8", 348, ([236, 167], [242, 170], [244, 174])),
        ("mamujoco_reacher_2x1", 10, ([5, 8], [7, 10], [7, 10])),
        ("mamujoco_pusher_3p", 23, ([15, 11, 15], [16, 13, 16], [17, 15, 17])),
        ("mamujoco_many_segment_ant_2x3", 311, ([161] * 2, [165, 167], [165, 167])),
    ],
)
def test_observations_are_as_long_as_the_papers_table_says(id, state, dims):
    for agent_obsk, lengths in enumerate(dims):
        game, _ = mail_envs.make_game(id, agent_obsk=agent_obsk)
        assert game.writer.dims == lengths
        assert game.state_space.shape == (state,)


def test_absent_agents_apply_no_torque():
    vec = mail_envs.make_vec(CHEETAH, player_function=mail_envs.TurnOrder([[1, 4]]), seed=0)
    garbage = np.full((1, 6, 1), np.nan, np.float32)
    garbage[0, [1, 4], 0] = 0.5, -0.25
    vec.step(garbage)
    game = vec.launches.copies.games[0]
    assert game.env.data.ctrl.tolist() == [0, 0.5, 0, 0, -0.25, 0]
    assert vec.buffers.rewards[0, [0, 2, 3, 5]].tolist() == [0] * 4
    assert np.isfinite(vec.buffers.observations).all() and vec.buffers.rewards[0, 1] != 0


def test_the_form_of_mat_and_happo():
    vec = mail_envs.make_vec(CHEETAH, observations="mat", seed=5)
    own = mail_envs.make_vec(CHEETAH, agent_obsk=0, seed=5)
    rng = np.random.default_rng(0)
    for _ in range(20):
        actions = actions_for(own, rng)
        observations, _, _, _, info = vec.step(actions)
        plain, _, _, _, plain_info = own.step(actions)
        assert observations.shape == (1, 6, 13) and info["state"].shape == (1, 6 * 23)
        for i in range(6):
            one_hot = np.eye(6)[i]
            expected = np.concatenate([plain[0, i], one_hot])
            expected = (expected - expected.mean()) / expected.std()
            np.testing.assert_allclose(observations[0, i], expected, atol=1e-5)
            share = np.concatenate([plain_info["state"][0], one_hot])
            share = (share - share.mean()) / share.std()
            np.testing.assert_allclose(info["state"].reshape(6, 23)[i], share, atol=1e-5)
    game, _ = mail_envs.make_game("mamujoco_humanoid_9p8", observations="mat")
    assert {s.shape for s in game.observation_spaces.values()} == {(236 + 2,)}


@pytest.mark.parametrize("id", [CHEETAH, "mamujoco_hopper_3x1", "mamujoco_pusher_3p"])
def test_an_episode_is_determined_by_its_seed_and_actions(id):
    first, second = (mail_envs.make_vec(id, seed=s, num_workers=0) for s in (1, 2))
    rng = np.random.default_rng(0)
    drawn = [actions_for(first, rng) for _ in range(120)]
    for actions in drawn[:20]:
        second.step(actions)
    second.reset(seed=1)
    for actions in drawn:
        first.step(actions)
        second.step(actions)
    np.testing.assert_array_equal(first.buffers.observations, second.buffers.observations)
    second.reset(seed=9)
    second.set_state(first.get_state())
    for actions in drawn[:20]:
        first.step(actions)
        second.step(actions)
        np.testing.assert_array_equal(first.buffers.observations, second.buffers.observations)


def test_workers_play_the_same_bits():
    one, many = (
        mail_envs.make_vec("mamujoco_hopper_3x1", 3, seed=4, num_workers=k) for k in (0, 2)
    )
    rng = np.random.default_rng(0)
    for _ in range(60):
        actions = actions_for(one, rng)
        one.step(actions)
        many.step(actions)
        np.testing.assert_array_equal(one.buffers.observations, many.buffers.observations)
        np.testing.assert_array_equal(one.buffers.rewards, many.buffers.rewards)
    many.close()


def test_the_time_limit_is_the_views():
    vec = mail_envs.make_vec("mamujoco_swimmer_2x1", max_rounds=1003, seed=0)
    actions = actions_for(vec, np.random.default_rng(0))
    for t in range(1003):
        _, _, terminated, truncated, info = vec.step(actions)
        assert not terminated[0] and truncated[0] == (t == 1002)
    assert info["episode_length"][0] == 1003
    assert mail_envs.make_vec("mamujoco_reacher_2x1").max_rounds == 50


@pytest.mark.parametrize("api", ["aec", "parallel"])
def test_any_player_function_in_all_views(api):
    env = mail_envs.make(
        "mamujoco_ant_2x4", api=api, player_function=mail_envs.Stochastic(0.5), max_rounds=30
    )
    env.reset(seed=0)
    if api == "aec":
        for agent in env.agent_iter():
            _, _, terminated, truncated, _ = env.last()
            env.step(None if terminated or truncated else env.action_space(agent).sample())
    while api == "parallel" and env.agents:
        env.step({agent: env.action_space(agent).sample() for agent in env.agents})
    assert not env.agents and env.state().shape == (105,)
    env.close()


def test_a_picture_of_the_robot():
    vec = mail_envs.make_vec(CHEETAH, seed=0)
    try:
        picture = vec.launches.picture(0)
    except RenderingError as error:
        pytest.skip(str(error))
    assert picture.shape == (480, 480, 3) and picture.dtype == np.uint8 and picture.std() > 20
    vec.close()


PICTURES = """
import mail_envs
from mail_envs.drawing import RenderingError
for backend in ({}, {"num_envs": 2}):
    vec = mail_envs.make_vec("mamujoco_halfcheetah_6x1", seed=0, **backend)
    for _ in range(2):
        try:
            print(vec.launches.picture(0).shape)
        except RenderingError as error:
            print(str(error).count("MuJoCo has no OpenGL"), "libegl1" in str(error))
"""


def pictures(**environment: str) -> list[str]:
    """Output of two attempts to render, for one robot and for copies, in a separate process."""
    done = subprocess.run(
        [sys.executable, "-c", PICTURES], env={**os.environ, **environment},
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_a_dead_display_does_not_prevent_rendering(monkeypatch):
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    found = pictures(DISPLAY=":99")
    assert len(set(found)) == 1 and found[0] in ("(480, 480, 3)", "1 True")


def test_without_opengl_every_picture_is_the_same_clear_error():
    assert pictures(DISPLAY=":99", MUJOCO_GL="glfw") == ["1 True"] * 4


def test_the_coupled_cheetahs_need_an_old_mujoco(monkeypatch):
    version = importlib.metadata.version
    monkeypatch.setattr(
        importlib.metadata, "version", lambda name: "3.6.0" if name == "mujoco" else version(name)
    )
    for arguments in ({}, {"id": CHEETAH, "scenario": "CoupledHalfCheetah", "conf": "1p1"}):
        with pytest.raises(
            ImportError, match=r"needs MuJoCo 3\.5\.0 or older, 3\.6\.0 is installed"
        ):
            mail_envs.make(**{"id": "mamujoco_coupled_halfcheetah_1p1", **arguments})


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"needs mujoco: pip install 'mail-envs\[mamujoco\]'"):
        mail_envs.make(CHEETAH)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"scenario": "Cheetah"}, "scenario='Cheetah' is not one of HalfCheetah, Ant"),
        ({"conf": "3x2"}, "HalfCheetah can be divided as 6x1, 2x3"),
        ({"scenario": "ManySegmentAnt", "conf": "2"}, "such as 10x2"),
        ({"agent_obsk": -1}, "agent_obsk=-1"),
        ({"observations": "happo"}, "observations='happo' is not one of 'mamujoco_v1', 'mat'"),
    ],
)
def test_arguments_that_do_not_exist(arguments, message):
    with pytest.raises(ValueError, match=message):
        mail_envs.make(CHEETAH, **arguments)


def test_settings_reach_the_robot():
    vec = mail_envs.make_vec(CHEETAH, settings={"reset_noise_scale": 0.0}, seed=0)
    assert not vec.buffers.state[0, 1:].any()


UNSTABLE = """
import numpy as np, mail_envs
vec = mail_envs.make_vec(ID, 1, backend=BACKEND)
vec.reset(seed=0)
vec.game.env.unwrapped.data.qvel[:] = np.nan
vec.step(np.zeros_like(vec.buffers.actions))
"""


@pytest.mark.parametrize("backend", [None, "mamujoco_v1"])
def test_robots_leave_no_log_file(tmp_path, backend):
    """Also when MuJoCo warns that a simulation is unstable."""
    code = UNSTABLE.replace("ID", repr(CHEETAH)).replace("BACKEND", repr(backend))
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True)
    assert done.returncode == 0 and not list(tmp_path.iterdir()), done.stderr
    assert b"MuJoCo: Nan, Inf or huge value in QVEL" in done.stderr
    assert b"deprecated" not in done.stdout + done.stderr


# -- EnvPool --------------------------------------------------------------------------------------


def in_envpool(id, num_envs=4, **arguments):
    pytest.importorskip("envpool")
    vec = mail_envs.make_vec(id, num_envs, **arguments)
    assert type(vec.launches.copies).__name__ == "EnvPoolCopies"
    return vec


def test_envpool_plays_the_same_robots():
    """Its states, given to a robot of ours, lead to its observations, and to its next states."""
    vec = in_envpool(CHEETAH, seed=0)
    game, _ = mail_envs.make_game(CHEETAH)
    game.reset(0)
    rng, place = np.random.default_rng(0), game.env.data.qpos
    for _ in range(30):
        state = vec.buffers.state[1].astype(np.float64)
        game.env.set_state(np.concatenate([place[:1], state[:8]]), state[8:])
        actions = actions_for(vec, rng)
        vec.step(actions)
        rewards = np.zeros(6, np.float32)
        game.step(actions[1], np.ones(6, np.uint8), rewards, np.zeros(1, np.float32))
        observations = np.zeros((6, 9), np.float32)
        game.observe(observations, None, None, np.zeros(17, np.float32))
        np.testing.assert_allclose(vec.buffers.observations[1], observations, atol=2e-3)
        np.testing.assert_allclose(vec.buffers.rewards[1], rewards, atol=2e-3)


@pytest.mark.parametrize("id", ROBOTS)
def test_envpool_is_used_where_it_has_the_robot(id):
    pytest.importorskip("envpool")
    game, _ = mail_envs.make_game(id)
    batch = game.batch(2)
    native = any(name in id for name in ("segment", "walker", "reacher"))
    assert (batch is None) == native
    if batch is not None:
        vec = in_envpool(id, 2, seed=0)
        for _ in range(5):
            vec.step(actions_for(vec, np.random.default_rng(0)))
        assert vec.buffers.observations.any() and vec.buffers.state.any()


@pytest.mark.parametrize("view", [{}, {"autoreset": False}, {"fixed_horizon": True}], ids=str)
def test_envpool_resets_only_finished_copies(view):
    vec = in_envpool("mamujoco_hopper_3x1", 6, seed=0, max_rounds=60, **view)
    rng = np.random.default_rng(0)
    before = vec.buffers.observations.copy()
    for _ in range(100):
        over = (vec.buffers.terminated | vec.buffers.truncated).copy()
        observations, rewards, terminated, truncated, info = vec.step(actions_for(vec, rng))
        ended = terminated | truncated
        if view == {"autoreset": False}:
            np.testing.assert_array_equal(observations[over], before[over])
            assert not rewards[over].any()
        else:
            assert (info["round"][ended] == 0).all() and (info["round"][~ended] > 0).all()
        if view == {"fixed_horizon": True}:
            assert not terminated.any() and not observations[vec.clock["idle"] != 0].any()
        before = observations.copy()
    assert view != {} or len(set(info["episode_length"].tolist())) > 1


def test_envpool_repeats_a_run_from_its_seed_but_cannot_restore_it():
    vec = in_envpool("mamujoco_hopper_3x1", 3)
    runs = []
    for _ in range(2):
        first = vec.reset(seed=11)[0].copy()
        rng = np.random.default_rng(0)
        later = [vec.step(actions_for(vec, rng))[0].copy() for _ in range(80)]
        runs.append((first, *later))
    np.testing.assert_array_equal(*runs)
    assert not vec.game.replayable
    with pytest.raises(RuntimeError, match=r"go back to a saved state.*replayable=True"):
        vec.set_state(vec.get_state())


def test_without_envpool_copies_are_played_by_workers(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda n: None if n == "envpool" else find(n))
    vec = mail_envs.make_vec(CHEETAH, 2, seed=0)
    assert type(vec.launches.copies).__name__ == "Workers" and vec.game.replayable
    vec.close()


def test_envpool_takes_pictures():
    vec = in_envpool(CHEETAH, 2, seed=0)
    try:
        picture = vec.launches.picture(1)
    except RenderingError as error:
        pytest.skip(str(error))
    assert picture.shape == (480, 480, 3) and picture.std() > 20
    vec.close()
