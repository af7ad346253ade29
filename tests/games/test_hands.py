"""Bi-DexHands on MuJoCo: sizes, geometry, observations, rewards, ends, and episodes that repeat."""

from __future__ import annotations

import copy
import importlib.util

import numpy as np
import pytest
import scipy.optimize

import mail_envs
from mail_envs.commands import hands_peers, peers
from mail_envs.commands.rates import drawn_rounds
from mail_envs.conformance import CHECKS, Subject
from mail_envs.devices import Cpu
from mail_envs.games.hands.tasks import TASKS

mujoco = pytest.importorskip("mujoco")
pytest.importorskip("gymnasium_robotics")

from mail_envs.games.hands import game, native, rules  # noqa: E402
from mail_envs.games.hands.game import Hands  # noqa: E402
from mail_envs.games.hands.picture import Picture  # noqa: E402
from mail_envs.games.hands.worlds import SEEN, Rules, hand_velocities  # noqa: E402

DOORS = [name for name, task in TASKS.items() if task.door]
CATCHES = [name for name in TASKS if "catch" in name or name == "over"]
FULL = 2 * np.pi
# Observation, state, action, time limit: the tables of the original.
SIZES = {
    **dict.fromkeys(DOORS, (218, 417, 26, 250)),
    "catch_over2underarm": (223, 422, 26, 75),
    "catch_underarm": (223, 422, 26, 75),
    "catch_abreast": (223, 422, 26, 150),
    "over": (211, 398, 20, 75),
    "two_catch_underarm": (247, 446, 26, 75),
    "push_block": (229, 428, 26, 125),
    "block_stack": (229, 428, 26, 250),
    "re_orientation": (235, 422, 20, 600),
}


def make(task, num_envs=1, **arguments):
    return mail_envs.make_vec(f"bidexhands_{task}", num_envs, **arguments)


def world_of(vec):
    """The worlds of a single copy and MuJoCo's data of the first one."""
    worlds = vec.launches.copies.games[0].worlds
    return worlds, worlds.datas[0]


def untrained(vec, rng):
    """Actions of HAPPO's initial policy."""
    return np.clip(rng.normal(0, 0.37, vec.buffers.actions.shape), -1, 1).astype(np.float32)


def played(vec, rounds, seed=0):
    """`rounds` rounds of an untrained policy: the observations and rewards of each."""
    rng, seen = np.random.default_rng(seed), []
    for _ in range(rounds):
        vec.step(untrained(vec, rng))
        seen.append((vec.buffers.observations.copy(), vec.buffers.rewards.copy()))
    return seen


def set_to(worlds, data):
    """Let the rules see what was changed in `data`, the first world's."""
    assert data is worlds.datas[0]
    worlds._settle()
    rules_alone = Rules(worlds.params, worlds.arrays, worlds.out, Cpu(1))
    rules_alone.judge()
    rules_alone.look()


@pytest.mark.parametrize("task", TASKS)
def test_sizes_are_those_of_the_original(task):
    vec = make(task, seed=0)
    observation, state, action, rounds = SIZES[task]
    assert vec.agents == ["hand_0", "hand_1"] and vec.max_rounds == rounds
    assert vec.buffers.observations.shape == (1, 2, observation)
    assert vec.buffers.state.shape == (1, state) and vec.action_dims == [action] * 2
    own, both = vec.game.task.block, vec.buffers.state[0]
    for i in range(2):
        seen = np.concatenate([both[i * own : (i + 1) * own], both[2 * own :]])
        np.testing.assert_array_equal(vec.buffers.observations[0, i], seen)


def test_the_model_is_the_one_that_the_rules_assume():
    model = Hands("catch_over2underarm").worlds.model
    assert (model.nq, model.nv, model.nu, model.ntendon) == (69, 66, 40, 8)
    for k in range(2):
        mount = model.body(f"robot{k}:hand mount").id
        assert model.body_subtreemass[mount] == pytest.approx(5.011)
        joints = slice(1 + 25 * k, 25 + 25 * k)
        np.testing.assert_allclose(model.jnt_range[joints, 0], rules.LOW, atol=1e-6)
        np.testing.assert_allclose(model.jnt_range[joints, 1], rules.HIGH, atol=1e-6)
        moved = model.actuator_trnid[20 * k : 20 * k + 20, 0] - joints.start
        np.testing.assert_array_equal(moved, rules.MOTORIZED)
        tips = [model.body(f"robot{k}:{f}distal").id for f in ("ff", "mf", "rf", "lf", "th")]
        np.testing.assert_array_equal(tips, mount + rules.TIPS)
        assert model.body(f"robot{k}:palm").id == mount + rules.PALM
    assert model.body("object_0").mass == pytest.approx(0.0754, abs=1e-4)


@pytest.mark.parametrize(
    ("task", "angle", "right", "left"),
    [
        ("door_open_inward", 0.0, (0.048, 0.036, 0.717), (0.046, -0.030, 0.717)),
        ("door_close_outward", np.pi / 2, (-0.398, 0.38, 0.683), (-0.396, -0.38, 0.683)),
        ("door_close_inward", np.pi / 2, (0.399, 0.46, 0.717), (0.397, -0.46, 0.717)),
    ],
)
def test_handles_are_where_they_are_in_the_original(task, angle, right, left):
    vec = make(task, seed=0)
    worlds, data = world_of(vec)
    data.qpos[-2:] = angle
    set_to(worlds, data)
    tail = worlds.out.state[0, -6:]
    np.testing.assert_allclose(tail[:3], left, atol=0.008)
    np.testing.assert_allclose(tail[3:], right, atol=0.008)


@pytest.mark.parametrize(
    ("task", "closed", "wide"),
    [("door_open_inward", 0.067, 0.935), ("door_open_outward", 0.067, 0.775)],
)
def test_the_gap_between_the_handles(task, closed, wide):
    vec = make(task, seed=0)
    worlds, data = world_of(vec)
    for angle, expected in ((0.0, closed), (np.pi / 2, wide)):
        data.qpos[-2:] = angle
        set_to(worlds, data)
        gap = abs(worlds.out.state[0, -5] - worlds.out.state[0, -2])
        assert gap == pytest.approx(expected, abs=0.01)


def aims(task, model, data):
    """What the fingers of each hand reach for: handles, or blocks."""
    if not task.door:
        return [data.body(f"object_{k}").xpos for k in range(2)]
    # The handle in the leaf's frame, whose axes are x, y and z of the door's.
    off, leaves = 0.04 if task.outward else -0.04, [data.body(f"leaf_{k}") for k in range(2)]
    return [
        leaf.xpos + leaf.xmat.reshape(3, 3) @ np.array([off, side * 0.39, -0.5])
        for leaf, side in zip(leaves, (-1, 1), strict=True)
    ]


def reaches(task, model, data):
    """The sum of the distances of each hand's five fingers from that."""
    found = []
    for k, target in enumerate(aims(task, model, data)):
        tips = [data.body(f"robot{k}:{f}distal") for f in ("ff", "mf", "rf", "lf", "th")]
        points = [tip.xpos + 0.02 * tip.xmat.reshape(3, 3)[:, 2] for tip in tips]
        found.append(sum(np.linalg.norm(point - target) for point in points))
    return found


def plain_reward(task, data, model, goals, last):
    """Reward and whether the task is done, from the formulas, with MuJoCo's arrays."""
    t = TASKS[task]
    turn = {b: data.xmat[b].reshape(3, 3) for b in range(model.nbody)}

    def of(name):
        return data.body(name).xpos

    def angle(k):
        mine = turn[model.body(f"object_{k}").id]
        goal = np.zeros(9)
        mujoco.mju_quat2Mat(goal, np.roll(goals[k, 3:], 1).astype(float))
        cosine = (np.trace(mine @ goal.reshape(3, 3).T) - 1) / 2
        return np.arccos(np.clip(cosine, -1, 1))

    gaps = [np.linalg.norm(of(f"object_{k}") - goals[k, :3]) for k in range(len(t.goals))]
    if task in CATCHES:
        reward = sum(np.exp(-0.2 * (t.scale * g + angle(k))) for k, g in enumerate(gaps))
        return reward, sum(gaps) < 0.03 * len(gaps)
    if t.door:
        handles, f = aims(t, model, data), reaches(t, model, data)
        gap = abs(handles[0][1] - handles[1][1])
        near = max(f) < 0.5
        moved = (2 * gap if t.door > 0 else 1 - 2 * gap) if near else 0.0
        return t.constant - sum(f) + moved, gap > 0.5 if t.door > 0 else gap < 0.5
    if task == "re_orientation":
        angles = [angle(k) for k in range(2)]
        reward = -10 * sum(gaps) + sum(1 / (a + 0.1) for a in angles) - 2e-4 * (last**2).sum()
        return reward + 500 * (angles[1] < 0.1), angles[1] < 0.1
    f = reaches(t, model, data)
    if task == "push_block":
        return 7.4 - sum(f) - 5 * sum(gaps), max(gaps) <= 0.1
    near = 2 * (0.24 - sum(gaps)) if max(f) < 0.5 else 0.0
    height = abs(goals[1, 2] - of("object_1")[2])
    stacked = 50 * (0.05 - height) if max(gaps) < 0.07 else 0.0
    return 1.5 - sum(f) + near + stacked, stacked > 1


def objects_at_their_goals(worlds, data):
    """Move the objects to their goals, or the leaves to the end; the hands stay."""
    task, goals = worlds.task, worlds.arrays.goals[0]
    if task.door:
        data.qpos[-2:] = 1.5 if task.door > 0 else 0.1
        return
    first = worlds.model.nq - 7 * len(task.objects)
    for k in range(len(task.objects)):
        data.qpos[first + 7 * k : first + 7 * k + 3] = goals[k, :3] + 0.004
        data.qpos[first + 7 * k + 3 : first + 7 * k + 7] = np.roll(goals[k, 3:], 1)


def hands_at_their_targets(worlds, data):
    """Move the hands so that their fingers are at the handles or blocks."""
    points = worlds.out.state[0, -6:].reshape(2, 3)[::-1]
    if not worlds.task.door:
        points = [data.body(f"object_{k}").xpos for k in range(2)]
    for k in range(2):
        tips = [worlds.params["mounts"][0][k] + tip for tip in rules.TIPS]
        data.qpos[31 * k : 31 * k + 3] += points[k] - data.xpos[tips].mean(0)


@pytest.mark.parametrize("task", TASKS)
def test_rewards_are_the_formulas(task):
    vec = make(task, seed=2)
    worlds, data = world_of(vec)
    moves = [lambda: played(vec, 3)]
    if task not in CATCHES and task != "re_orientation":
        moves.append(lambda: hands_at_their_targets(worlds, data))
    moves.append(lambda: objects_at_their_goals(worlds, data))
    successes = []
    for move in moves:
        move()
        set_to(worlds, data)
        goals, last = worlds.arrays.goals[0], worlds.arrays.last[0]
        reward, done = plain_reward(task, data, worlds.model, goals, last)
        assert worlds.out.rewards[0, 0] == pytest.approx(reward, rel=2e-4, abs=2e-4)
        assert worlds.out.rewards[0, 1] == worlds.out.rewards[0, 0]
        successes.append(done)
        expected = sum(successes) if task == "re_orientation" else any(successes)
        assert worlds.out.metrics[0, 0] == expected
    assert successes[-1]


def over(worlds, data):
    """Whether the state that was written into `data` ends the episode."""
    set_to(worlds, data)
    return worlds.out.outcome[0] == 1


@pytest.mark.parametrize(
    ("task", "lowest"),
    [
        ("catch_over2underarm", 0.3),
        ("catch_underarm", 0.1),
        ("catch_abreast", 0.2),
        ("over", 0.2),
        ("two_catch_underarm", 0.2),
        ("re_orientation", 0.2),
    ],
)
def test_an_episode_ends_when_an_object_falls(task, lowest):
    worlds, data = world_of(make(task, seed=0))
    objects = len(TASKS[task].objects)
    assert not over(worlds, data)
    for k in range(objects):
        at = worlds.model.nq - 7 * (objects - k) + 2
        height = data.qpos[at]
        for low, ended in ((lowest + 0.001, False), (lowest - 0.001, True)):
            data.qpos[at] = low
            assert over(worlds, data) == ended
        data.qpos[at] = height


@pytest.mark.parametrize(
    ("task", "leash"),
    [
        ("catch_over2underarm", 0.1),
        ("catch_abreast", 0.1),
        ("catch_underarm", None),
        ("two_catch_underarm", None),
    ],
)
def test_an_episode_of_two_catching_tasks_ends_when_a_hand_leaves(task, leash):
    worlds, data = world_of(make(task, seed=0))
    for k in range(2):
        for away in (0.099, 0.101, 5.0):
            data.qpos[31 * k + 2] += away
            assert over(worlds, data) == (leash is not None and away > leash)
            data.qpos[31 * k + 2] -= away


@pytest.mark.parametrize(
    ("task", "limit"),
    [
        ("door_open_inward", 1.5),
        ("door_open_outward", 1.5),
        ("door_close_inward", 1.5),
        ("door_close_outward", 3.0),
        ("push_block", 1.2),
        ("block_stack", 0.75),
    ],
)
def test_an_episode_ends_when_fingers_are_too_far_from_their_aim(task, limit):
    worlds, data = world_of(make(task, seed=0))
    assert not over(worlds, data)
    for k in range(2):
        start = data.qpos[31 * k + 2]

        def beyond(height, reach, k=k, start=start):
            data.qpos[31 * k + 2] = start + height
            mujoco.mj_kinematics(worlds.model, data)
            return reaches(TASKS[task], worlds.model, data)[k] - reach

        for reach, ended in ((limit - 0.005, False), (limit + 0.005, True)):
            height = scipy.optimize.brentq(beyond, 0, 2, args=(reach,))
            data.qpos[31 * k + 2] = start + height
            assert over(worlds, data) == ended
        data.qpos[31 * k + 2] = start


def test_half_a_success_is_the_left_block_alone():
    worlds, data = world_of(make("push_block", seed=0))
    goals = worlds.arrays.goals[0]
    places = [worlds.model.nq - 14, worlds.model.nq - 7]  # of the right and the left block
    for right, left, expected in (
        (0.05, 0.11, 0),
        (0.11, 0.05, 0.5),
        (0.11, 0.11, 0.5),
        (0.05, 0.05, 1),
    ):
        for k, off in enumerate((right, left)):
            data.qpos[places[k] : places[k] + 3] = goals[k, :3] + [off, 0, 0]
        set_to(worlds, data)
        assert worlds.out.metrics[0, 0] == expected  # the best of the episode


def test_a_hand_observes_what_mujoco_measures():
    vec = make("door_close_inward", seed=0)
    played(vec, 40)
    worlds, data = world_of(vec)
    model, seen = worlds.model, vec.buffers.observations[0, 0]
    low, high = rules.LOW, rules.HIGH
    np.testing.assert_allclose(
        seen[:24], (2 * data.qpos[7:31] - high - low) / (high - low), atol=1e-4
    )
    np.testing.assert_allclose(seen[24:48], np.clip(0.2 * data.qvel[6:30], -5, 5), atol=1e-4)
    np.testing.assert_allclose(
        seen[48:72], np.clip(10 * data.qfrc_actuator[6:30], -5, 5), atol=1e-4
    )
    for t, finger in enumerate(("ff", "mf", "rf", "lf", "th")):
        body = model.body(f"robot0:{finger}distal").id
        part, speed = seen[72 + 13 * t : 85 + 13 * t], np.zeros(6)
        mujoco.mj_objectVelocity(model, data, mujoco.mjtObj.mjOBJ_XBODY, body, speed, 0)
        np.testing.assert_allclose(part[:3], data.xpos[body], atol=1e-5)
        np.testing.assert_allclose(part[3:7], np.roll(data.xquat[body], -1), atol=1e-5)
        np.testing.assert_allclose(part[7:], np.r_[speed[3:], speed[:3]].clip(-5, 5), atol=1e-4)
    np.testing.assert_array_equal(seen[173:199], worlds.arrays.last[0, 0])
    palm = model.body("robot0:palm").id
    point = data.xpos[palm] + data.xmat[palm].reshape(3, 3) @ [0, -0.02, 0.08]
    np.testing.assert_allclose(seen[167:170], point, atol=1e-5)


@pytest.mark.parametrize("task", ["catch_abreast", "door_open_inward", "push_block"])
def test_the_base_shows_the_angles_that_it_was_placed_with(task):
    vec = make(task, seed=0)
    for i, angles in enumerate(TASKS[task].turns):
        seen, expected = vec.buffers.observations[0, i, 170:173].astype(float), np.mod(angles, FULL)
        # Clipped at 5, as in the original: also a full turn less some rounding.
        around = (expected == 0) & (seen == 5)
        np.testing.assert_allclose(seen[~around], np.minimum(expected, 5)[~around], atol=2e-3)


def test_a_fingertip_feels_a_contact():
    """The force on a finger that rests on the table, in world axes, points up."""
    vec = make("push_block", seed=0)
    worlds, data = world_of(vec)
    down = np.zeros((1, 2, 26), np.float32)
    down[..., 2], down[..., 6:] = -0.5, 0.0
    pressed = False
    for _ in range(60):
        vec.step(down)
        wrench = vec.buffers.observations[0, 0, 137:167].reshape(5, 6)
        for t in np.flatnonzero(np.abs(wrench[:, :3]).max(1) > 0.5):
            body = worlds.params["mounts"][0][0] + rules.TIPS[t]
            pressed = pressed or (data.xmat[body].reshape(3, 3) @ wrench[t, :3])[2] > 0.3
        if pressed or vec.buffers.terminated[0]:
            break
    assert pressed


@pytest.mark.parametrize(
    ("task", "length", "returns"),
    [
        # The published first rows: episodes of 32 rounds with a return of 3.9; doors last until the limit.
        ("catch_over2underarm", (24, 40), (2.5, 4.5)),
        ("door_open_inward", (250, 250), (-200, 307)),
        ("door_open_outward", (250, 250), (-200, 307)),
        ("door_close_inward", (250, 250), (80, 180)),
    ],
)
def test_an_untrained_policy_plays_as_published(task, length, returns):
    vec = make(task, 8, seed=0, autoreset=False)
    played(vec, vec.max_rounds)
    info = vec._info
    assert length[0] <= info["episode_length"].mean() <= length[1]
    assert returns[0] <= info["episode_return"].mean() <= returns[1]
    assert not info["metrics"]["simulation_errors"].any()


def test_short_episodes_of_closing_outward_return_what_is_published():
    """Episodes of at most 32 and 40 rounds: 9.2 and 10.6; the first reward is 0.69 to 0.72."""
    vec = make("door_close_outward", 32, seed=0)
    rng, short, first = np.random.default_rng(0), [], []
    for t in range(120):
        _, rewards, terminated, _, info = vec.step(untrained(vec, rng))
        first += rewards[:, 0].tolist() if t == 0 else []
        ended = np.flatnonzero(terminated & (info["episode_length"] <= 40))
        short += info["episode_return"][ended, 0].tolist()
    assert np.mean(first) == pytest.approx(0.7, abs=0.06)
    assert len(short) > 10 and 7.5 < np.mean(short) < 12.5


@pytest.mark.parametrize("task", TASKS)
def test_violent_actions_do_not_break_the_simulation(task):
    """1,500 rounds of full forces that change their signs every eight rounds."""
    vec = make(task, seed=0, autoreset=True)
    rng = np.random.default_rng(0)
    for t in range(1500):
        if t % 8 == 0:
            actions = rng.choice([-1.0, 1.0], vec.buffers.actions.shape).astype(np.float32)
        vec.step(actions)
        assert vec.metrics["simulation_errors"][0] == 0
    assert np.isfinite(vec.buffers.state).all()


@pytest.mark.parametrize("num_envs", [1, 3])
def test_a_failed_simulation_truncates_and_is_not_observed(num_envs):
    vec = make("catch_over2underarm", num_envs, seed=0)
    played(vec, 3)
    copies = vec.launches.copies
    worlds = copies.worlds if num_envs > 1 else copies.games[0].worlds
    worlds.datas[0].qvel[3] = np.nan
    before = vec.buffers.observations.copy()
    _, rewards, terminated, truncated, info = vec.step(np.zeros_like(vec.buffers.actions))
    assert truncated[0] and not terminated[0] and not truncated[1:].any()
    assert rewards[0].tolist() == [0, 0] and info["metrics"]["simulation_errors"][0] == 1
    np.testing.assert_array_equal(info["final_observation"][0], before[0])
    seen = played(vec, 10)
    assert np.isfinite([o for o, _ in seen]).all() and np.isfinite([r for _, r in seen]).all()
    assert vec.metrics["simulation_errors"][0] == 0


@pytest.mark.parametrize("task", ["catch_underarm", "door_close_outward", "re_orientation"])
def test_copies_in_threads_and_workers_play_the_same_bits(task):
    alone, threads, workers = (
        make(task, 3, seed=4, max_rounds=30, num_workers=k) for k in (0, None, 2)
    )
    assert hasattr(threads.launches.copies, "worlds")
    first, second, third = (played(v, 70) for v in (alone, threads, workers))
    for a, b, c in zip(first, second, third, strict=True):
        for x, y, z in zip(a, b, c, strict=True):
            np.testing.assert_array_equal(x, y)
            np.testing.assert_array_equal(x, z)
    workers.close()


def test_copies_in_threads_are_saved_and_restored():
    first, second = (make("catch_underarm", 3, seed=s) for s in (4, 9))
    played(first, 20)
    second.set_state(first.get_state())
    for (a, _), (b, _) in zip(played(first, 60, 1), played(second, 60, 1), strict=True):
        np.testing.assert_array_equal(a, b)


def test_an_absent_hand_is_not_pushed_and_its_joints_hold():
    vec = make("door_open_inward", seed=0, player_function=mail_envs.TurnOrder([[0, 1], [1]]))
    worlds, data = world_of(vec)
    rng = np.random.default_rng(0)
    vec.step(untrained(vec, rng))
    targets = data.ctrl[:20].copy()
    actions = untrained(vec, rng)
    actions[0, 0] = np.nan
    vec.step(actions)
    forearms = data.xfrc_applied[worlds.forearms]
    np.testing.assert_array_equal(data.ctrl[:20], targets)
    assert not forearms[0].any() and forearms[1].all()
    assert not vec.buffers.observations[0, 0, 173:179].any()
    assert vec.buffers.rewards[0, 0] == 0 and vec.buffers.rewards[0, 1] != 0


def test_actions_are_force_torque_and_targets():
    """The nominal wrench of a door task: 833.3 N and 8.33 N m."""
    vec = make("door_open_inward", seed=0, wrench_scale=1.0)
    worlds, data = world_of(vec)
    actions = np.zeros((1, 2, 26), np.float32)
    actions[0, 0, :6], actions[0, 0, 6:] = (1, 0, 0, 0, 1, 0), 1
    actions[0, 1, 6:] = -1
    vec.step(actions)
    forearms = data.xfrc_applied[worlds.forearms]
    np.testing.assert_allclose(forearms[0], [833.33, 0, 0, 0, 8.333, 0], rtol=1e-4)
    np.testing.assert_allclose(data.ctrl[:20], rules.HIGH[rules.MOTORIZED], rtol=1e-6)
    np.testing.assert_allclose(data.ctrl[20:], rules.LOW[rules.MOTORIZED], rtol=1e-6)


@pytest.mark.parametrize(
    ("task", "speed"), [("catch_over2underarm", 0.055), ("door_open_inward", 0.28)]
)
def test_a_base_reaches_the_speed_that_the_damping_allows(task, speed):
    vec = make(task, seed=0, substeps=4)
    _, data = world_of(vec)
    actions = np.zeros_like(vec.buffers.actions)
    actions[..., 2] = 1
    for _ in range(20):
        vec.step(actions)
    assert data.qvel[2] == pytest.approx(speed, rel=0.1)


def test_turning_a_block_to_its_goal_counts_and_draws_another_goal():
    vec = make("re_orientation", seed=0)
    worlds, data = world_of(vec)
    before = worlds.arrays.goals[0].copy()
    objects_at_their_goals(worlds, data)
    mujoco.mj_step1(worlds.model, data)
    vec.step(np.zeros_like(vec.buffers.actions))
    assert vec.metrics["success"][0] == 1 and vec.buffers.rewards[0, 0] > 490
    assert not np.allclose(worlds.arrays.goals[0, :, 3:], before[:, 3:], atol=1e-2)
    seen = vec.buffers.observations[0, 0, 187 + 13 : 187 + 20]
    np.testing.assert_array_equal(seen, worlds.arrays.goals[0, 0])


@pytest.mark.parametrize(
    "task", ["catch_over2underarm", "two_catch_underarm", "block_stack", "re_orientation"]
)
def test_the_official_tests_pass(task):
    subject = Subject(f"bidexhands_{task}")
    for name in ("PettingZoo api_test", "PettingZoo parallel_api_test", "PettingZoo seed_test"):
        CHECKS[name](subject)
    CHECKS["agents that do not participate"](subject)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"task": "juggle"}, "task='juggle' is not one of catch_over2underarm"),
        ({"substeps": 0}, "substeps=0"),
        ({"link_damping": -1.0}, r"link_damping=-1\.0 is not a number of at least 0"),
        ({"wrench_scale": float("nan")}, "wrench_scale=nan"),
        ({"door_spring": float("inf")}, "door_spring=inf"),
        ({"link_damping": "100"}, "link_damping='100' is not a number of at least 0"),
        ({"wrench_scale": True}, "wrench_scale=True is not a number"),
        ({"door_spring": None}, "door_spring=None is not a number"),
        ({"door_spring": 5.0}, r"door_spring=5\.0 must be 0 in a task without a door"),
        ({"task": ["over"]}, r"task=\['over'\] is not one of catch_over2underarm"),
    ],
)
def test_a_bad_argument_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        mail_envs.make_game("bidexhands_over", **arguments)


def friction(task, first, second):
    """That of a contact of two kinds of bodies: hand, block, table or floor. MuJoCo takes the larger one."""
    model = Hands(task).worlds.model
    bodies = {"hand": "robot0:palm", "block": "object_0"}

    def of(kind):
        if kind in bodies:
            solid = (model.geom_contype | model.geom_conaffinity) != 0
            return model.geom_friction[
                solid & (model.geom_bodyid == model.body(bodies[kind]).id), 0
            ]
        return model.geom(kind).friction[:1]

    assert not model.geom_priority.any()
    (found,) = set(np.maximum.outer(of(first), of(second)).ravel().tolist())
    return found


@pytest.mark.parametrize(
    ("task", "bodies", "ours", "original"),
    [
        ("push_block", ("hand", "block"), 1.0, 1.0),
        ("push_block", ("block", "table"), 0.75, 0.75),
        ("push_block", ("hand", "table"), 1.0, 0.75),
        ("push_block", ("block", "block"), 0.75, 1.0),
        ("block_stack", ("hand", "block"), 0.375, 0.375),
        ("block_stack", ("block", "block"), 0.25, 0.25),
        ("block_stack", ("block", "table"), 0.25, 0.225),
        ("block_stack", ("hand", "table"), 0.375, 0.35),
        ("block_stack", ("block", "floor"), 1.0, 0.625),
        ("block_stack", ("hand", "floor"), 1.0, 0.75),
    ],
)
def test_the_page_says_which_frictions_differ_from_the_originals(task, bodies, ours, original):
    assert friction(task, *bodies) == ours
    said = f"{' and '.join(bodies)} {ours} instead of {original}"
    page = " ".join(game.__doc__.split()).partition(f"In `{task}`: ")[2]
    assert (said in page) == (ours != original)


def test_the_bench_compares_with_mujoco_alone():
    assert peers.scenario_of("mj_step", "bidexhands_over", "bidexhands") == "bidexhands_over"
    assert peers.scenario_of("mj_step", "coop_nav", "particle") is None
    assert peers.scenario_of("vmas", "bidexhands_over", "bidexhands") is None
    assert peers.PEERS["mj_step"]("bidexhands_over", 2)(3) == 6


@pytest.mark.parametrize("task", ["door_open_inward", "over"])
def test_mujoco_alone_is_measured_where_the_game_is(task):
    """From a state that is loaded, with the damping that is left out, MuJoCo comes to the next one of the game."""
    kind = mujoco.mjtState.mjSTATE_INTEGRATION
    states = hands_peers.random_play(f"bidexhands_{task}", 1, kind)
    vec = make(task, seed=0)
    worlds, _ = world_of(vec)
    data, hands = mujoco.MjData(worlds.model), hand_velocities(worlds.task)
    np.testing.assert_array_equal(
        states[0][1 : 1 + worlds.model.nq], worlds.datas[0].qpos
    )  # [0] is time
    vec.step(drawn_rounds(vec)[0])
    for k in range(20):
        mujoco.mj_setState(worlds.model, data, states[k], kind)
        if k == 0:
            np.testing.assert_array_equal(data.ctrl, worlds.arrays.control[0])
            assert data.xfrc_applied[worlds.forearms].any() == worlds.task.free
        for _ in range(2):
            mujoco.mj_step(worlds.model, data)
            data.qvel[hands] *= worlds.physics.kept
        reached = data.qpos.copy()
        mujoco.mj_setState(worlds.model, data, states[k + 1], kind)
        np.testing.assert_array_equal(reached, data.qpos)


@pytest.mark.parametrize("num_envs", [2, 64])
def test_mujoco_alone_is_measured_in_rounds_of_all_copies(num_envs):
    kind = mujoco.mjtState.mjSTATE_INTEGRATION
    states = hands_peers.random_play("bidexhands_over", num_envs, kind)
    played = set(np.round(states[:, 0] * 60).astype(int))  # time
    assert {0, 10, 30, 60} <= played and 0.9 * hands_peers.STATES < len(
        states
    ) <= hands_peers.STATES


@pytest.mark.parametrize("task", ["catch_underarm", "door_close_inward", "re_orientation"])
def test_a_round_is_what_mujocos_functions_do_in_turn(task):
    vec = make(task, 2, seed=0)
    played(vec, 8)
    worlds = vec.launches.copies.worlds
    model, a = worlds.model, worlds.arrays
    data, hands = copy.copy(worlds.datas[1]), hand_velocities(worlds.task)
    played(vec, 1, seed=1)
    data.ctrl[:], data.xfrc_applied[worlds.forearms] = a.control[1], a.wrench[1]
    for last in (False, True):
        mujoco.mj_step2(model, data)
        if last:
            mujoco.mj_rnePostConstraint(model, data)
        data.qvel[hands] *= worlds.physics.kept
        mujoco.mj_step1(model, data)
    for name in SEEN:
        np.testing.assert_array_equal(getattr(a, name)[1], getattr(data, name))


@pytest.mark.parametrize("num_envs", [1, 3])
def test_a_world_that_has_ended_is_not_simulated(num_envs):
    vec = make("over", num_envs, seed=0, autoreset=False, max_rounds=2)
    copies = vec.launches.copies
    worlds = copies.worlds if num_envs > 1 else copies.games[0].worlds
    played(vec, 2)
    before = [data.qpos.copy() for data in worlds.datas]
    played(vec, 1, seed=1)
    np.testing.assert_array_equal(before, [data.qpos for data in worlds.datas])


def test_mujocos_functions_can_also_be_called_from_python(monkeypatch):
    monkeypatch.setattr(native.config, "DISABLE_JIT", 1)
    to, source = np.zeros(3), np.arange(3.0)
    native.external("mju_copy")(to.ctypes.data, source.ctypes.data, 2)
    native.external("mju_scl")(to.ctypes.data, to.ctypes.data, np.float64(0.5), np.int32(3))
    assert to.tolist() == [0, 0.5, 0]


def test_a_missing_package_is_named(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda n: None if n == "gymnasium_robotics" else find(n)
    )
    from mail_envs.games.hands import model

    model.build.cache_clear()
    with pytest.raises(
        ImportError, match=r"need gymnasium_robotics: pip install 'mail-envs\[hands\]'"
    ):
        make("over")


@pytest.mark.parametrize("task", ["catch_over2underarm", "door_close_outward"])
def test_pictures_with_and_without_opengl(task, monkeypatch):
    pytest.importorskip("pygame")
    vec = make(task, seed=0)
    worlds, data = world_of(vec)
    shapes = Picture(worlds.task, worlds.model).draw_shapes(data, worlds.arrays.goals[0])
    for picture in (vec.launches.picture(0), shapes):
        assert picture.shape == (480, 480, 3) and picture.dtype == np.uint8
        reds = (picture[..., 0] > 1.6 * picture[..., 2].clip(1)).mean()
        blues = (picture[..., 2] > 1.4 * picture[..., 0].clip(1)).mean()
        assert reds > 0.002 and blues > 0.002  # both hands can be seen
    vec.close()
