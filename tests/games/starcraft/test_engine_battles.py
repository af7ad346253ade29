"""Whole battles: where they begin, how they go, and what is known of the original's."""

from __future__ import annotations

import numpy as np
import pytest
from starcraft_players import at_random, built_in, focus_fire, kite, play

import mail_envs
from mail_envs.games.starcraft import paths, terrain
from mail_envs.games.starcraft.game import StarCraft
from mail_envs.games.starcraft.maps import SCENARIOS
from mail_envs.games.starcraft.movement import FIGHTING
from mail_envs.games.starcraft.units import BANELING, MEDIVAC, TYPES, UNITS
from mail_envs.player_functions import Stochastic, Synchronous
from mail_envs.vector import VectorGame

STOP, EAST = 1, 4


def begin(id, copies=64, player=None, **options):
    vector = VectorGame(StarCraft(id, **options), player or Synchronous(), copies, autoreset=False)
    _, info = vector.reset(seed=0)
    return vector, info


# -- where battles begin ----------------------------------------------------------------------------


@pytest.mark.parametrize("id", [id for id, of in SCENARIOS.items() if of.version == 1])
def test_armies_stand_at_their_points_in_the_order_of_creation(id):
    of, params = SCENARIOS[id], StarCraft(id).params[0]
    names = [name for army in (of.allies, of.enemies) for name, n in army for _ in range(n)]
    assert [TYPES[k] for k in params["start_type"]] == names
    if len(of.ally_points) == len(of.enemy_points) == 1:
        starts = params["start"][: of.num_agents], params["start"][of.num_agents :]
        for start, point in zip(starts, (*of.ally_points, *of.enemy_points)):
            assert np.abs(start - point).max() < 5
    gaps = np.linalg.norm(params["start"][:, None] - params["start"][None], axis=-1)
    np.fill_diagonal(gaps, 9)
    size = np.array([UNITS[name].separation for name in names])
    assert (gaps >= size[:, None] + size[None] - 1e-4).all()
    x, y = params["start"].astype(int).T
    assert paths.ground(of.terrain)[0][x, y].all(), "nobody begins in a wall"


def test_agents_are_sorted_and_named_by_type():
    vector, _ = begin("smac_mmm", 2)
    assert vector.agents[:3] == ["marauder_0", "marauder_1", "marine_0"]
    assert vector.agents[-1] == "medivac_0"
    kinds = [TYPES[k] for k in vector.buffers.world["type"][0, :10]]
    assert kinds == ["marauder"] * 2 + ["marine"] * 7 + ["medivac"]
    marines = vector.buffers.world["pos"][0, 2:9]
    assert (np.lexsort((marines[:, 1], marines[:, 0])) == np.arange(7)).all()


def test_starts_are_equal_unless_noise_is_asked_for():
    still, noisy = begin("smac_3m", 8)[0], begin("smac_3m", 8, start_noise=0.1)[0]
    assert (still.buffers.world["pos"] == still.buffers.world["pos"][0]).all()
    off = noisy.buffers.world["pos"][:, 3:] - still.buffers.world["pos"][:, 3:]
    assert 0.02 < np.abs(off).max() <= 0.2 and off.std(axis=0).min() > 0


@pytest.fixture(scope="module")
def drawn():
    return begin("smacv2_zerg_5_vs_5", 2000)[0].buffers.world.copy()


def test_drawn_teams_are_equal_and_follow_the_weights(drawn):
    ours, theirs = drawn["type"][:, :5], drawn["type"][:, 5:]
    assert (np.sort(ours, axis=1) == np.sort(theirs, axis=1)).all()
    assert (np.diff(ours, axis=1) >= 0).all(), "agents are sorted by type"
    assert not (ours == BANELING).all(axis=1).any(), "not of exceptions alone"
    share = (ours == BANELING).mean()
    assert share == pytest.approx(0.1, abs=0.02)


def test_half_of_the_drawn_battles_are_mirrored(drawn):
    mirrored = drawn["pos"][:, 5:, 0].mean(axis=1) + drawn["pos"][:, :5, 0].mean(axis=1)
    surrounded = np.abs(drawn["pos"][:, :5] - 16).max(axis=(1, 2)) < 2
    assert surrounded.mean() == pytest.approx(0.5, abs=0.05)
    assert np.allclose(mirrored[~surrounded], 32, atol=1.0)
    places = drawn["pos"][~surrounded][:, :5]
    assert places[..., 0].max() < 15.8 and places[..., 1].std() == pytest.approx(
        32 / 12**0.5, abs=0.5
    )
    around = drawn["pos"][surrounded][:, 5:] - 16
    quadrants = np.sign(around[..., 0]) + 2 * np.sign(around[..., 1])
    groups = np.array([len(set(q)) for q in quadrants.tolist()])
    assert set(groups) == {1, 2, 3, 4}
    assert ((0 <= drawn["pos"]) & (drawn["pos"] <= 32)).all()


def test_units_are_not_created_on_top_of_one_another(drawn):
    size = np.array([u.separation for u in UNITS.values()])[drawn["type"]]
    gaps = np.linalg.norm(drawn["pos"][:, :, None] - drawn["pos"][:, None], axis=-1)
    overlap = size[:, :, None] + size[:, None] - gaps
    overlap[:, np.arange(10), np.arange(10)] = 0
    assert np.quantile(overlap.max(axis=(1, 2)), 0.99) < 0.1


# -- what they are like -----------------------------------------------------------------------------


def test_random_play_of_smacv2_is_like_the_originals():
    """Recorded: 39.6 rounds, 2.43 +- 1.73."""
    result = play("smacv2_terran_5_vs_5", at_random, 1024)
    assert result["length"].mean() == pytest.approx(39.6, abs=4.0)
    assert result["team_return"].mean() == pytest.approx(2.43, abs=0.3)
    assert result["team_return"].std() == pytest.approx(1.73, abs=0.4)


@pytest.mark.parametrize(
    ("id", "rounds"), [("smac_3m", 22.9), pytest.param("smac_8m", 32.6, marks=pytest.mark.slow)]
)
def test_won_marine_battles_last_as_long_as_the_originals_and_pay_twenty(id, rounds):
    for player in (focus_fire, built_in):
        result = play(id, player, 96)
        won = result["battle_won"] > 0
        assert won.mean() > 0.25
        assert result["length"][won].mean() == pytest.approx(rounds, abs=5)
        assert result["team_return"][won] == pytest.approx(20.0, abs=1e-4)
        assert (result["dead_enemies"][won] == int(id[5])).all()
        assert (result["team_return"][~won] < 20).all()


@pytest.mark.parametrize(
    ("id", "rounds"),
    [("smac_3s_vs_5z", 120), pytest.param("smac_3s_vs_4z", 115, marks=pytest.mark.slow)],
)
def test_stalkers_that_kite_beat_zealots(id, rounds):
    result = play(id, kite, 32)
    assert result["battle_won"].mean() > 0.9
    assert result["length"].mean() == pytest.approx(rounds, abs=20)
    assert (result["dead_allies"] < 3).all()
    assert result["team_return"].min() >= 19.999


def test_regenerating_enemies_pay_in_the_faithful_game_only():
    for faithful in (False, True):
        vector, _ = begin("smac_3s_vs_5z", 2, faithful=faithful)
        world = vector.buffers.world
        world["shield"][:, 3:], world["calm"][:, 3:] = 10, 1000
        rewards = vector.step(np.full((2, 3), STOP))[1]
        assert np.allclose(world["shield"][:, 3:], 11), "an eighth per loop"
        assert np.allclose(rewards, 20 * 5 / world["max_reward"][0] if faithful else 0)


def test_armies_of_marines_meet_after_seven_rounds():
    vector, _ = begin("smac_3m", 8)
    rounds = 0
    while (vector.buffers.world["health"][:, :3] == 45).all() and rounds < 12:
        vector.step(np.full((8, 3), STOP))
        rounds += 1
    assert rounds in (7, 8)


def test_zerglings_find_their_way_through_the_corridor():
    game = StarCraft("smac_corridor")
    game.params["scan"] = -1  # nobody distracts them
    vector = VectorGame(game, Synchronous(), 2, autoreset=False)
    vector.reset(seed=0)
    vector.buffers.world["pos"][:, :6] = (28.5, 20.5)
    for _ in range(60):
        vector.step(np.full((2, 6), STOP))
    goal = SCENARIOS["smac_corridor"].enemy_goal[0]
    left = np.linalg.norm(vector.buffers.world["pos"][:, 6:] - goal, axis=-1)
    assert np.quantile(left, 0.9) < 5


def test_zerglings_surround_whom_they_attack():
    vector, _ = begin("smac_corridor", 8)
    world = vector.buffers.world
    world["health"][:, :6] = 1e4
    for _ in range(13):  # six after the first contact
        vector.step(np.full((8, 6), STOP))
    assert (world["stance"][:, 6:] == FIGHTING).sum(axis=1).mean() > 10
    assert np.allclose(world["pos"][:, :6].mean(axis=1), SCENARIOS["smac_corridor"].ally_points)


def test_paths_lead_around_walls_and_are_short():
    number, bends = paths.ways("corridor")
    cells = np.argwhere(number >= 0)
    assert len(cells) == 343 and bends.shape == (343, 343)
    here, goal = number[28, 19], number[3, 10]  # from room to room
    steps, length = 0, 0.0
    while here != goal:
        bend = bends[here, goal]
        x, y = bend // terrain.SIZE, bend % terrain.SIZE
        length += np.linalg.norm(cells[here] - (x, y))
        here = number[x, y]
        assert here >= 0
        steps += 1
    assert 2 <= steps <= 4
    assert np.hypot(25, 9) < length < np.hypot(28 - 13, 19 - 13) + np.hypot(13 - 3, 13 - 10) + 3
    assert paths.ways("flat")[1].shape == (1, 1)


@pytest.mark.parametrize("start_noise", [0.0, 4.0])
def test_nobody_stands_in_walls(start_noise):
    vector, info = begin("smac_corridor", 8, start_noise=start_noise)
    rng = np.random.default_rng(0)
    for t in range(30):
        if t:
            *_, info = vector.step(at_random(vector, info, rng))
        x, y = np.clip(vector.buffers.world["pos"].astype(int), 0, 31).transpose(2, 0, 1)
        alive = vector.buffers.world["health"] > 0
        assert paths.ground("corridor")[0][x, y][alive].all()


# -- asynchronous play --------------------------------------------------------------------------------


@pytest.mark.parametrize(("null_orders", "goes_on"), [("keep", True), ("stop", False)])
def test_an_agent_that_does_not_act_keeps_its_order_or_stops(null_orders, goes_on):
    vector, _ = begin("smac_3m", 1, null_orders=null_orders)
    start = vector.buffers.world["pos"][0, :3].copy()
    vector.step(np.full((1, 3), EAST))
    vector.buffers.participation[...] = 0
    vector.step(np.full((1, 3), EAST))
    moved = vector.buffers.world["pos"][0, :3, 0] - start[:, 0]
    assert np.allclose(moved, 2.0 if goes_on else 1.125, atol=0.05)
    assert (vector.buffers.world["last_action"][0, :3] == -1).all()


def test_agents_of_three_marines_may_act_by_chance():
    vector, info = begin("smac_3m", 64, Stochastic(0.5))
    rng = np.random.default_rng(0)
    paid = np.zeros((64, 3))
    for _ in range(60):
        acts = np.asarray(info["participation"]).astype(bool).copy()
        assert not (acts & ~np.asarray(info["alive"])).any(), "the dead do not act"
        _, rewards, terminated, truncated, info = vector.step(focus_fire(vector, info, rng))
        assert not rewards[~acts].any()
        paid += rewards
        if (terminated | truncated).all():
            break
    assert paid.max() > 5 and (info["metrics"]["dead_enemies"] > 0).any()


def test_dead_agents_stay_as_rows_without_life():
    vector, info = begin("smac_3m", 64)
    rng = np.random.default_rng(0)
    for _ in range(18):
        _, _, _, _, info = vector.step(at_random(vector, info, rng))
    dead = ~vector.buffers.alive
    assert 0 < dead.sum() < dead.size
    assert np.array_equal(dead, vector.buffers.world["health"][:, :3] == 0)
    own = vector.buffers.action_mask[dead]
    assert own[:, 0].all() and not own[:, 1:].any()
    assert not vector.buffers.observations[dead].any()


def test_a_longer_limit_is_what_agents_see_of_it():
    vector = mail_envs.make_vec("smac_3m", 2, obs_timestep_number=True, max_rounds=100)
    observations = vector.reset(seed=0)[0]
    for _ in range(10):
        observations = vector.step(np.full((2, 3), STOP))[0]
    assert np.allclose(observations[..., -1], 0.1)


def test_a_shot_is_remembered_for_the_picture_though_it_killed():
    vector, info = begin("smac_3m", 32)
    world, rng, killers = vector.buffers.world, np.random.default_rng(0), 0
    for _ in range(20):
        *_, info = vector.step(focus_fire(vector, info, rng))
        shot = np.take_along_axis(world["health"], world["shot"], 1)
        killers += ((world["shot"] >= 0) & (shot == 0)).sum()
        if np.asarray(vector.buffers.terminated).any():
            break
    assert killers > 0


def test_looking_around_leaves_the_order_in_force():
    vector, _ = begin("smacv2_terran_5_vs_5", 4, variant="conic")
    world = vector.buffers.world
    vector.step(np.full((4, 5), EAST))
    before = world["pos"][:, :5].copy()
    vector.step(np.full((4, 5), 6 + 3))
    walkers = (world["type"][:, :5] != MEDIVAC) & (before[..., 0] < 30)
    assert ((world["pos"][:, :5] - before)[..., 0][walkers] > 0.5).mean() > 0.8
    assert np.allclose(world["look"][:, :5], (0, 1), atol=1e-6)


def faithful(scale_seed: int) -> VectorGame:
    game = StarCraft("smacv2_terran_5_vs_5", faithful=True, scale_seed=scale_seed)
    return VectorGame(game, Synchronous(), 1)


def test_the_faithful_scale_is_that_of_one_battle_whatever_is_played():
    scales = {}
    for scale_seed in (0, 3):
        vector = faithful(scale_seed)
        world = vector.buffers.world
        vector.reset(seed=scale_seed)
        scales[scale_seed] = 200 + 5 * 10 + world["max_health"][0, 5:].sum()
        for seed in (0, 3, 8):
            vector.reset(seed=seed)
            assert world["max_reward"][0] == scales[scale_seed]
    assert scales[0] != scales[3]


def test_the_battle_that_sets_the_scale_leaves_nothing_else_behind():
    worlds = []
    for scale_seed in (0, 3):
        vector = faithful(scale_seed)
        vector.reset(seed=8)
        worlds.append((vector.buffers.world, vector.buffers.clock))
    (world, clock), (other, other_clock) = worlds
    for name in world.dtype.names:
        assert np.array_equal(world[name], other[name]) == (name != "max_reward"), name
    for name in clock.dtype.names:
        assert np.array_equal(clock[name], other_clock[name]), name


def test_every_faithful_battle_plays_again_from_its_seed():
    """Battles in a row, each with its own teams, and each alone in a game made anew: the same rewards."""
    vector, rng = faithful(0), np.random.default_rng(0)
    _, info = vector.reset(seed=5)
    battles, teams = [], set()
    while len(battles) < 4:
        seed = int(vector.buffers.clock["seed"][0])
        teams.add(tuple(vector.buffers.world["type"][0, 5:]))
        played, done = [], False
        while not done:
            actions = at_random(vector, info, rng)
            _, rewards, terminated, truncated, info = vector.step(actions)
            done = bool(np.asarray(terminated | truncated).any())
            played.append((actions.copy(), np.array(rewards)))
        battles.append((seed, played))
    assert len(teams) > 1
    for seed, played in battles:
        alone = faithful(0)
        alone.reset(seed=seed)
        for actions, rewards in played:
            assert np.array_equal(alone.step(actions)[1], rewards)
        assert sum(rewards.sum() for _, rewards in played) > 0


@pytest.mark.parametrize(
    ("id", "options", "error", "match"),
    [
        ("smac_3n", {}, ValueError, "smac_3m"),
        ("smac_3m", {"null_orders": "hold"}, ValueError, "'keep', 'stop'"),
        ("smac_3m", {"start_noise": -1.0}, ValueError, "start_noise"),
        ("smac_3m", {"start_noise": float("nan")}, ValueError, "start_noise=nan"),
        ("smacv2_terran_5_vs_5", {"start_noise": 1.0}, ValueError, "draws all places"),
        ("smacv2_terran_5_vs_5", {"scale_seed": 3}, ValueError, "scale_seed=3: only .* faithful"),
        ("smac_3m", {"scale_seed": 3, "faithful": True}, ValueError, "only smacv2_"),
        ("smac_3m", {"faithful": 2}, TypeError, "faithful=2 must be True or False"),
        ("smac_3m", {"obs_last_action": "yes"}, TypeError, "obs_last_action='yes'"),
        ("smac_3m", {"move_amount": "two"}, TypeError, "move_amount='two' must be a number"),
        ("smac_3m", {"reward_scale_rate": 0}, ValueError, "reward_scale_rate=0"),
        ("smac_3m", {"conic_fov": True}, TypeError, "smacv2_"),
        ("smacv2_terran_5_vs_5", {"scale_seed": None}, ValueError, "scale_seed=None"),
        ("smacv2_terran_5_vs_5", {"scale_seed": -1}, ValueError, "scale_seed=-1"),
    ],
)
def test_what_does_not_exist_is_refused(id, options, error, match):
    with pytest.raises(error, match=match):
        StarCraft(id, **options)
