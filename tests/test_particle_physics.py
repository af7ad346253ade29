"""The particle world: the same physics as its ancestors, and the rewards of the three games."""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import reference_rollouts

import mail_envs

NONE, LEFT, RIGHT, DOWN, UP = range(5)
DT, DAMPING, ACCEL = 0.1, 0.25, 5.0


def world_of(vector, **fields):
    """Write fields of the state; returns the records (E,)."""
    for name, value in fields.items():
        vector.buffers.world[name] = value
    return vector.buffers.world


def single(id="coop_nav", **keywords):
    return mail_envs.make_vec(id, seed=0, autoreset=False, **keywords)


FAR_APART = [[-5.0, 0.0], [0.0, 0.0], [5.0, 0.0]]


# -- python == compiled ---------------------------------------------------------------------------


def test_plain_python_gives_the_same_games_as_compiled_code(tmp_path):
    script = Path(reference_rollouts.__file__)
    subprocess.run(
        [sys.executable, script, tmp_path / "python.npz", "cpu"],
        env={**os.environ, "NUMBA_DISABLE_JIT": "1"}, check=True,
    )  # fmt: skip
    compiled = reference_rollouts.all_rollouts()
    with np.load(tmp_path / "python.npz") as python:
        assert set(python.files) == set(compiled)
        for name, array in compiled.items():
            if array.dtype.kind == "f":
                assert np.allclose(python[name], array, rtol=1e-5, atol=1e-5), name
            else:
                assert np.array_equal(python[name], array), name


# -- integration ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("action", "direction"), [(LEFT, (-1, 0)), (RIGHT, (1, 0)), (DOWN, (0, -1)), (UP, (0, 1))]
)
@pytest.mark.parametrize("order", ["velocity_first", "position_first"])
def test_one_push_moves_an_agent_and_fades_by_three_quarters(action, direction, order):
    vector = single(integration=order, num_landmarks=3)
    world = world_of(vector, pos=FAR_APART, vel=0, landmark=9.0)
    x, v = 0.0, 0.0
    for t in range(12):
        force = ACCEL if t == 0 else 0.0
        if order == "position_first":
            x, v = x + DT * v, (1 - DAMPING) * v + DT * force
        else:
            v = (1 - DAMPING) * v + DT * force
            x += DT * v
        vector.step(np.array([[NONE, action if t == 0 else NONE, NONE]]))
        assert np.allclose(world["vel"][0, 1], np.array(direction) * v, atol=1e-6)
        assert np.allclose(world["pos"][0, 1], np.array(direction) * x, atol=1e-6)
        if t == 0:
            assert v == 0.5 and x == (0.05 if order == "velocity_first" else 0.0)
    assert x == pytest.approx(0.2, abs=0.01), "one push moves the point of rest by 0.2"


def test_a_held_push_approaches_two_units_per_second():
    vector = single(max_rounds=100)
    world = world_of(vector, pos=FAR_APART, vel=0)
    for _ in range(60):
        vector.step(np.array([[UP] * 3]))
    assert np.allclose(world["vel"][0], [[0, 2.0]] * 3, atol=1e-4)


def test_continuous_actions_push_by_their_differences():
    vector = single(continuous_actions=True)
    world = world_of(vector, pos=FAR_APART, vel=0)
    actions = np.zeros((1, 3, 5), np.float32)
    actions[0, 0] = [0.9, 0.25, 0.75, 0.0, 1.0]
    vector.step(actions)
    assert np.allclose(world["vel"][0, 0], [0.25, 0.5], atol=1e-6)
    assert not world["vel"][0, 1:].any()


@pytest.mark.parametrize("null_dynamics", ["coast", "brake", "hold"])
def test_null_dynamics_move_absent_agents(null_dynamics):
    player = mail_envs.TurnOrder([[0, 1, 2], [0], []])
    vector = single(player_function=player, null_dynamics=null_dynamics)
    world = world_of(vector, pos=FAR_APART, vel=0)
    vector.step(np.array([[RIGHT, RIGHT, NONE]]))
    assert np.allclose(world["vel"][0, :, 0], [0.5, 0.5, 0.0])
    after = {"coast": 0.375, "brake": 0.0, "hold": 0.875}[null_dynamics]
    vector.step(np.array([[RIGHT, UP, UP]]))
    assert np.allclose(world["vel"][0], [[0.875, 0], [after, 0], [0, 0]])
    last = {
        "coast": (0.75 * 0.875, 0.75 * 0.375), "brake": (0, 0),
        "hold": (0.75 * 0.875 + 0.5, 0.75 * 0.875 + 0.5),
    }[null_dynamics]  # fmt: skip
    vector.step(np.array([[LEFT, LEFT, LEFT]]))
    assert np.allclose(world["vel"][0, :2, 0], last, atol=1e-6)


@pytest.mark.parametrize("order", ["velocity_first", "position_first"])
def test_speeds_are_limited(order):
    vector = single("predator_prey", integration=order, max_rounds=100)
    pos = [[-5.0, 0.0], [0.0, 0.0], [5.0, 0.0], [10.0, 0.0]]
    world = world_of(vector, pos=pos, vel=0, landmark=50.0)
    for _ in range(30):
        before = world["pos"][0].copy()
        vector.step(np.array([[RIGHT, RIGHT, UP, LEFT]]))
    assert np.allclose(np.linalg.norm(world["vel"][0], axis=1), [1.3, 1, 1, 1], atol=1e-5)
    moved = np.linalg.norm(world["pos"][0] - before, axis=1)
    assert np.allclose(moved, [0.13, 0.1, 0.1, 0.1], atol=1e-5)


def test_prey_and_adversaries_push_with_their_own_force():
    vector = single("predator_prey")
    pos = [[-5.0, 0.0], [0.0, 0.0], [5.0, 0.0], [10.0, 0.0]]
    world = world_of(vector, pos=pos, vel=0, landmark=50.0)
    vector.step(np.full((1, 4), RIGHT))
    assert np.allclose(world["vel"][0, :, 0], [0.4, 0.3, 0.3, 0.3])


# -- contacts -------------------------------------------------------------------------------------


@pytest.mark.parametrize("distance", [0.05, 0.2, 0.29, 0.299, 0.301, 0.34])
def test_contact_forces_are_equal_and_opposite(distance):
    vector = single()
    direction = np.array([0.6, 0.8])
    pos = [[0.1, -0.2], [0.1, -0.2] + distance * direction, [4.0, 4.0]]
    world = world_of(vector, pos=pos, vel=0)
    vector.step(np.zeros((1, 3), int))
    force = world["vel"][0].astype(float) / DT
    penetration = 1e-3 * np.logaddexp(0, (0.3 - distance) / 1e-3)
    assert np.allclose(force[1], 100 * penetration * direction, rtol=2e-3, atol=1e-4)
    assert np.allclose(force[0], -force[1], atol=1e-6) and not force[2].any()


def test_agents_out_of_reach_do_not_push():
    vector = single()
    world = world_of(vector, pos=[[0.0, 0.0], [0.36, 0.0], [4.0, 4.0]], vel=0)
    vector.step(np.zeros((1, 3), int))
    assert not world["vel"].any()


def test_coincident_agents_stay_finite():
    vector = single()
    world = world_of(vector, pos=0.0, vel=0)
    observations, rewards, *_ = vector.step(np.zeros((1, 3), int))
    assert np.isfinite(world["pos"]).all() and np.isfinite(rewards).all()
    assert np.isfinite(observations).all()


def test_obstacles_push_back_and_landmarks_do_not():
    prey = single("predator_prey")
    pos = [[0.0, 0.2], [9.0, 0.0], [9.0, 3.0], [9.0, 6.0]]
    world = world_of(prey, pos=pos, vel=0, landmark=[[0.0, 0.0], [-9.0, 0.0]])
    prey.step(np.zeros((1, 4), int))
    expected = 100 * DT * 1e-3 * np.logaddexp(0, 50)
    assert np.allclose(world["vel"][0, 0], [0, expected], rtol=1e-4)
    assert np.allclose(world["landmark"][0], [[0, 0], [-9, 0]])
    nav = single()
    world = world_of(nav, pos=FAR_APART, vel=0, landmark=[[-5.0, 0.01], [0.0, 0.01], [5.0, 0.01]])
    nav.step(np.zeros((1, 3), int))
    assert not world["vel"].any()


# -- MPE2 -----------------------------------------------------------------------------------------


def play_beside_mpe2(ours, theirs, order, seed):
    """25 rounds of one game in both, from the same positions; largest difference of positions.

    `order`: our agents' names in MPE2.
    """
    rng = np.random.default_rng(seed)
    theirs.reset(seed=seed)
    ours.reset(seed=seed)
    world = theirs.unwrapped.world
    bodies = {agent.name: agent for agent in world.agents}
    spread = 0.4  # close together, so that there are contacts
    n, m = len(order), len(world.landmarks)
    pos, vel = rng.uniform(-spread, spread, (n, 2)), rng.uniform(-0.3, 0.3, (n, 2))
    landmarks = rng.uniform(-1, 1, (m, 2))
    for k, name in enumerate(order):
        bodies[name].state.p_pos, bodies[name].state.p_vel = pos[k].copy(), vel[k].copy()
    for k, landmark in enumerate(world.landmarks):
        landmark.state.p_pos = landmarks[k].copy()
    state = world_of(ours, pos=pos, vel=vel, landmark=landmarks)
    worst = 0.0
    for _ in range(25):
        actions = rng.integers(5, size=n)
        ours.step(actions[None])
        theirs.step(dict(zip(order, actions.tolist(), strict=True)))
        for k, name in enumerate(order):
            body = bodies[name].state
            worst = max(worst, np.abs(state["pos"][0, k] - body.p_pos).max())
            worst = max(worst, np.abs(state["vel"][0, k] - body.p_vel).max())
    return worst


def test_navigation_moves_as_in_mpe2():
    spread = pytest.importorskip("mpe2.simple_spread_v3")
    ours = single(integration="position_first", terminate_on_success=False)
    theirs = spread.parallel_env(N=3, max_cycles=50)
    order = [f"agent_{i}" for i in range(3)]
    differences = [play_beside_mpe2(ours, theirs, order, seed) for seed in range(10)]
    assert np.median(differences) < 1e-5 and max(differences) < 1e-3, differences


def test_predator_prey_moves_as_in_mpe2():
    tag = pytest.importorskip("mpe2.simple_tag_v3")
    ours = single("predator_prey", integration="position_first")
    theirs = tag.parallel_env(max_cycles=50)
    order = ["agent_0", *(f"adversary_{i}" for i in range(3))]
    differences = [play_beside_mpe2(ours, theirs, order, seed) for seed in range(10)]
    assert np.median(differences) < 1e-5 and max(differences) < 1e-3, differences


# -- rewards --------------------------------------------------------------------------------------


def distances(a, b):
    return np.linalg.norm(a[:, None].astype(float) - b[None].astype(float), axis=-1)


def crowding(pos, penalty):
    """What overlapping costs each agent, itself included."""
    overlap = np.maximum(0.3 - distances(pos, pos), 0)
    return {"none": 0 * overlap, "soft": overlap, "hard": 1.0 * (overlap > 0)}[penalty].sum(1)


@pytest.mark.parametrize("penalty", ["soft", "hard", "none"])
@pytest.mark.parametrize("num_agents", [3, 4])
def test_navigation_rewards_depend_on_distance_and_crowding(penalty, num_agents):
    vector = mail_envs.make_vec("coop_nav", 200, penalty=penalty, num_agents=num_agents, seed=1,
                                autoreset=False)  # fmt: skip
    world = vector.buffers.world
    world["pos"] *= np.float32(0.5)
    rng = np.random.default_rng(0)
    for _ in range(3):
        _, rewards, terminated, *_ = vector.step(rng.integers(5, size=(200, num_agents)))
        for e in range(200):
            pos, landmarks = world["pos"][e], world["landmark"][e]
            nearest = distances(pos, landmarks).min(0)
            expected = -nearest.sum() - crowding(pos, penalty)
            assert np.allclose(rewards[e], expected, atol=2e-5)
            assert terminated[e] == (nearest <= 0.1).all()


@pytest.mark.parametrize("penalty", ["soft", "hard", "none"])
def test_reaching_rewards_depend_on_all_distances(penalty):
    vector = mail_envs.make_vec("coop_reaching", 200, penalty=penalty, seed=1)
    world = vector.buffers.world
    world["pos"] *= np.float32(0.4)
    rng = np.random.default_rng(0)
    for _ in range(3):
        _, rewards, terminated, *_ = vector.step(rng.integers(5, size=(200, 3)))
        for e in range(200):
            pos = world["pos"][e]
            expected = -distances(pos, world["landmark"][e]).sum() - crowding(pos, penalty)
            assert np.allclose(rewards[e], expected, atol=2e-5)
        assert not terminated.any()


def test_the_default_penalties_are_those_of_the_papers():
    for id, cost in (("coop_nav", 0.3), ("coop_reaching", 1.0)):
        vector = single(id)
        world_of(vector, pos=FAR_APART, vel=0, landmark=0.0)
        _, rewards, *_ = vector.step(np.zeros((1, 3), int))
        shared = 0.0 if id == "coop_nav" else -10.0
        assert np.allclose(rewards[0], shared - cost, atol=1e-5), "its own disc counts, too"


def leaving(x):
    """What leaving the box costs the prey along one axis."""
    x = abs(x)
    return 0.0 if x < 0.9 else (x - 0.9) * 10 if x < 1 else min(np.exp(2 * x - 2), 10)


def test_predator_prey_rewards_depend_on_contacts_and_walls():
    vector = mail_envs.make_vec("predator_prey", 300, seed=1)
    world = vector.buffers.world
    rng = np.random.default_rng(0)
    world["pos"][:150] *= np.float32(0.3)
    world["pos"][150:] *= np.float32(2.5)
    touched = outside = 0
    for _ in range(4):
        _, rewards, *_ = vector.step(rng.integers(5, size=(300, 4)))
        for e in range(300):
            pos = world["pos"][e].astype(float)
            contacts = (np.linalg.norm(pos[1:] - pos[0], axis=1) < 0.125).sum()
            walls = leaving(pos[0, 0]) + leaving(pos[0, 1])
            touched, outside = touched + contacts, outside + (walls > 0)
            assert rewards[e, 0] == pytest.approx(-10 * contacts - walls, abs=2e-4)
            assert np.allclose(rewards[e, 1:], 10 * contacts)
    assert touched > 20 and outside > 100


@pytest.mark.parametrize("x", [0.0, 0.89, 0.91, 0.95, 0.999, 1.001, 1.5, 2.0, 2.2, 9.0])
def test_the_wall_grows_from_zero_to_ten(x):
    vector = single("predator_prey")
    pos = [[x, -x], [50.0, 0.0], [60.0, 0.0], [70.0, 0.0]]
    world_of(vector, pos=pos, vel=0, landmark=90.0)
    _, rewards, *_ = vector.step(np.zeros((1, 4), int))
    assert rewards[0, 0] == pytest.approx(-2 * leaving(np.float32(x)), abs=1e-4)


@pytest.mark.parametrize(
    ("id", "mean", "sd"), [("stochastic_coop_nav", -59.6, 16.5), ("coop_nav", -128.8, 32.4)]
)
def test_random_play_returns_what_the_papers_report(id, mean, sd):
    num_envs = 4000
    vector = mail_envs.make_vec(id, num_envs, seed=0)
    rng = np.random.default_rng(1)
    returns, ended = np.zeros(num_envs), np.zeros(num_envs, bool)
    for _ in range(vector.max_rounds):
        actions = rng.integers(5, size=(num_envs, 3))
        _, _, terminated, truncated, info = vector.step(actions)
        first = (terminated | truncated) & ~ended
        returns[first] = info["episode_return"][first].mean(1)
        ended |= first
    assert ended.all()
    assert returns.mean() == pytest.approx(mean, abs=1.5)
    assert returns.std() == pytest.approx(sd, abs=1.5)


# -- ends -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("success", [True, False])
@pytest.mark.parametrize(("gap", "covered"), [(0.0, True), (0.099, True), (0.101, False)])
def test_navigation_ends_when_every_landmark_is_covered(success, gap, covered):
    vector = single(terminate_on_success=success)
    landmarks = np.array(FAR_APART)
    world_of(vector, pos=landmarks[[2, 0, 1]] + [gap, 0], vel=0, landmark=landmarks)
    *_, terminated, truncated, info = vector.step(np.zeros((1, 3), int))
    assert terminated[0] == (success and covered) and not truncated[0]
    assert info["metrics"]["landmarks_covered"][0] == 3 * covered


def test_two_covered_landmarks_of_three_do_not_end_the_game():
    vector = single()
    pos = [[-5.0, 0.0], [0.0, 0.0], [0.05, 9.0]]
    world_of(vector, pos=pos, vel=0, landmark=FAR_APART)
    *_, terminated, _, info = vector.step(np.zeros((1, 3), int))
    assert not terminated[0] and info["metrics"]["landmarks_covered"][0] == 2


def test_without_success_an_episode_lasts_fifty_rounds():
    vector = mail_envs.make_vec("coop_nav", 64, terminate_on_success=False, seed=0)
    for t in range(1, 51):
        *_, terminated, truncated, _ = vector.step(np.zeros((64, 3), int))
        assert not terminated.any() and truncated.all() == (t == 50) == truncated.any()


def test_max_rounds_is_the_same_as_argument_of_the_game_or_of_make():
    assert single(max_rounds=7).max_rounds == 7
    game, _ = mail_envs.make_game("coop_nav", max_rounds=7)
    assert game.max_rounds == 7


def test_metadata_do_not_claim_another_time_limit_than_the_views():
    assert "50" not in mail_envs.make_vec("coop_nav", max_rounds=7).metadata["convention"]


# -- starts and observations ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("id", "reach"), [("coop_nav", 1.0), ("coop_reaching", 1.0), ("predator_prey", 0.9)]
)
def test_bodies_start_at_rest_at_uniform_positions(id, reach):
    world = mail_envs.make_vec(id, 3000, seed=0).buffers.world
    assert not world["vel"].any()
    for places, limit in ((world["pos"], 1.0), (world["landmark"], reach)):
        flat = places.astype(float).reshape(3000, -1)
        assert 0.98 * limit < np.abs(flat).max() <= limit
        assert np.abs(flat.mean(0)).max() < 5 * limit / np.sqrt(3 * 3000)
        assert np.allclose(flat.var(0), limit**2 / 3, rtol=0.1)
        correlations = np.corrcoef(flat, rowvar=False) - np.eye(flat.shape[1])
        assert np.abs(correlations).max() < 5 / np.sqrt(3000)


def observed(world, i, *, absolute=False):
    """Agent i's observation by its page, without communication."""
    pos, vel = world["pos"], world["vel"]
    others = [pos[j] - pos[i] for j in range(len(pos)) if j != i]
    own = [vel[i], pos[i]] if absolute else [vel[i]]
    return np.concatenate([*own, *(world["landmark"] - pos[i]), *others])


@pytest.mark.parametrize(
    ("observation", "num_agents", "size"),
    [("relative", 3, 16), ("absolute", 3, 18), ("relative", 4, 20)],
)
def test_navigation_observations(observation, num_agents, size):
    vector = single(observation=observation, num_agents=num_agents)
    for _ in range(3):
        observations, *_ = vector.step(np.full((1, num_agents), UP))
        for i in range(num_agents):
            row = observed(vector.buffers.world[0], i, absolute=observation == "absolute")
            silent = np.zeros(2 * (num_agents - 1))
            assert np.array_equal(observations[0, i], np.concatenate([row, silent]))
    assert vector.observation_spaces["agent_0"].shape == (size,)


def test_reaching_observations():
    vector = single("coop_reaching")
    observations, *_ = vector.step(np.full((1, 3), UP))
    for i in range(3):
        row = observed(vector.buffers.world[0], i)
        assert np.array_equal(observations[0, i], np.concatenate([row, np.zeros(4)]))


def test_adversaries_observe_the_preys_velocity_and_the_prey_observes_less():
    vector = single("predator_prey")
    for _ in range(3):
        observations, *_ = vector.step(np.array([[UP, LEFT, RIGHT, DOWN]]))
    world = vector.buffers.world[0]
    assert vector.observation_spaces["prey_0"].shape == (14,)
    assert np.array_equal(observations[0, 0, :14], observed(world, 0, absolute=True))
    for i in range(1, 4):
        row = np.concatenate([observed(world, i, absolute=True), world["vel"][0]])
        assert np.array_equal(observations[0, i], row) and row.shape == (16,)


@pytest.mark.parametrize("id", ["coop_nav", "coop_reaching", "predator_prey"])
def test_the_global_state_is_all_bodies(id):
    vector = single(id)
    *_, info = vector.step(np.full((1, vector.num_agents), UP))
    world = vector.buffers.world[0]
    agents = np.concatenate([world["pos"], world["vel"]], axis=1).ravel()
    assert np.array_equal(info["state"][0], np.concatenate([agents, world["landmark"].ravel()]))


def test_waiting_agents_do_not_stop_the_others():
    """Participation decides who pushes and who is paid; physics goes on for all."""
    player = mail_envs.TurnOrder([[0], [1], [2], []])
    vector = single(player_function=player)
    world = world_of(vector, pos=FAR_APART, vel=[[0.4, 0.0]] * 3)
    speeds = []
    for t in range(4):
        _, rewards, *_ = vector.step(np.zeros((1, 3), int))
        assert (rewards[0] != 0).tolist() == [t == i for i in range(3)]
        speeds.append(world["vel"][0, :, 0].copy())
    for before, after in pairwise(speeds):
        assert np.allclose(after, 0.75 * before)
