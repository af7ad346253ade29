"""Gold Miner's arguments, observations, state, picture and keys."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from gold_miner_world import DIG, LEFT, REST, RIGHT, World, cell

import mail_envs
from mail_envs.games.gold_miner import bots

COMPILED = [(2, 2), (4, 0)]  # other tests compile these anyway; the rest takes minutes
SIDES = [(n, m) for n, m in itertools.product(range(1, 5), range(4)) if n + m <= 4]
SIDES = [s if s in COMPILED else pytest.param(*s, marks=pytest.mark.slow) for s in SIDES]


@pytest.mark.parametrize("allies, enemies", SIDES)
def test_any_one_to_four_players_can_play(allies, enemies):
    vector = mail_envs.make_vec(
        "gold_miner_medium_2_vs_2", 3, num_allies=allies, num_enemies=enemies, seed=0
    )
    assert vector.agents == [f"miner_{i}" for i in range(allies)]
    dims = 2 * (allies + enemies) + 191
    assert vector.observation_dims == [dims] * allies
    assert vector.state_space.shape == (allies * dims,)
    rng = np.random.default_rng(0)
    for _ in range(110):
        vector.step(rng.integers(6, size=(3, allies)))
    assert vector.render().shape == (700, 700, 3)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"num_allies": 0}, "num_allies=0"),
        ({"num_allies": 3}, "together at most 4"),
        ({"difficulty": "brutal"}, "'easy', 'medium', 'hard'"),
        ({"enemies": ["greedy", "gredy"]}, "enemies='gredy'"),
        ({"enemies": ["greedy"]}, "names 1 bots"),
        ({"state": "all"}, "'concatenated', 'compact'"),
        ({"null_dynamics": "coast"}, "'idle', 'rest'"),
        ({"turns": 0}, "turns=0"),
        ({"maps": "nowhere.json"}, "nowhere.json"),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        mail_envs.make_vec("gold_miner_easy_2_vs_2", **arguments)


def test_bots_and_the_mask_know_the_time_limit_of_the_view():
    """A game of 90 turns that the view ends after 30 rounds is one of 30 turns."""
    limits = {"turns": 30}, {"turns": 90, "max_rounds": 30}
    views = [mail_envs.make_vec("gold_miner_hard_2_vs_2", 4, **limit) for limit in limits]
    infos, truncated = [view.reset(seed=0)[1] for view in views], np.zeros(4, bool)
    rng = np.random.default_rng(0)
    while not truncated.all():
        mask = infos[0]["action_mask"]
        assert np.array_equal(mask, infos[1]["action_mask"])
        chosen = (rng.random(mask.shape) * mask).argmax(-1)
        assert views[0].buffers.world.tobytes() == views[1].buffers.world.tobytes()
        _, truncated = [view.step(chosen)[3] for view in views]


@pytest.mark.parametrize(
    "difficulty, kinds",
    [
        ("easy", {"greedy"}),
        ("medium", {"greedy", "deepmind"}),
        ("hard", {"deepmind", "black_panther"}),
    ],
)
def test_difficulties_have_their_bots_in_an_order_that_is_shuffled(difficulty, kinds):
    vector = mail_envs.make_vec(f"gold_miner_{difficulty}_2_vs_2", 200, seed=0)
    pairs = vector.buffers.world["bot"][:, 2:]
    assert {bots.NAMES[k] for k in np.unique(pairs)} == kinds
    if len(kinds) == 2:
        assert (pairs[:, 0] != pairs[:, 1]).all()
        assert 60 < (pairs[:, 0] == pairs[0, 0]).sum() < 140


def test_enemies_can_be_named():
    vector = mail_envs.make_vec(
        "gold_miner_easy_2_vs_2", seed=0, enemies=["black_panther", "black_panther"]
    )
    assert vector.buffers.world["bot"][0].tolist() == [-1, -1, 2, 2]


def test_an_observation_shows_players_map_energy_and_round(tmp_path):
    world = World(
        tmp_path, ["fts"], {(3, 1): 450}, players=[(4, 2), (7, 8), (9, 0), (20, 5)],
        num_allies=2, num_enemies=2,
    )  # fmt: skip
    world.put("energy", [30, 20, 50, 50])
    world.put("status", [0, 0, 1, 1])  # these do nothing
    world.play(REST, REST)
    seen = world.vector.buffers.observations[0]
    assert seen.shape == (2, 199)
    own = [4 / 21, 2 / 9, 7 / 21, 8 / 9, 9 / 21, 0, 20 / 21, 5 / 9]
    assert np.allclose(seen[0, :8], own)
    assert np.allclose(seen[1, :8], [*own[2:4], *own[:2], *own[4:]]), "oneself, allies, enemies"
    for row in seen:
        ground = row[8:197].reshape(21, 9)
        assert np.allclose(ground[:4, 0], [-1, -1 / 2, -1 / 3, 0])
        assert ground[3, 1] == pytest.approx(0.45)
        assert np.count_nonzero(ground) == 4
    assert np.allclose(seen[:, 197:], [[42 / 50, 0.01], [32 / 50, 0.01]])
    assert np.array_equal(world.vector.buffers.state[0], seen.ravel())


@pytest.mark.parametrize("stale", [True, False])
def test_obstacles_look_as_at_the_start_or_as_they_are(tmp_path, stale):
    world = World(tmp_path, [".ts"], {(9, 0): 100}, stale_obstacles=stale)
    for action in (RIGHT, RIGHT, LEFT, RIGHT):
        world.put("energy", 50)
        world.play(action)
    ground = world.vector.buffers.observations[0, 0, 8:197].reshape(21, 9)
    assert np.allclose(ground[1:3, 0], [-1 / 2, -1 / 3] if stale else [0, -8 / 3])


def test_gold_that_was_dug_is_gone_from_the_observation(tmp_path):
    world = World(tmp_path, gold={(1, 0): 150, (9, 0): 50}, players=[(1, 0)])
    for amount in (0.1, 0.05, 0.0):
        world.play(DIG)
        assert world.vector.buffers.observations[0, 0, 8 + cell(1, 0)] == pytest.approx(amount)


def test_the_compact_state_says_everything_once_and_as_it_is(tmp_path):
    world = World(tmp_path, [".ts"], {(9, 0): 100}, players=[(1, 0), (2, 0)], state="compact")
    world.put("score", [300, 0])
    world.play(LEFT, LEFT)
    world.play(REST, RIGHT)
    state = world.vector.buffers.state[0]
    assert state.shape == (5 * 4 + 190,)
    assert np.allclose(state[:10], [0, 0, 1.0, 1 / 4, 0.3, 2 / 21, 0, 35 / 50, 0, 0])
    assert np.allclose(state[20:209].reshape(21, 9)[:3, 0], [0, 0, -4 / 3])
    assert state[209] == pytest.approx(0.02)


def test_keys_for_people_mean_legal_actions():
    game = mail_envs.make_vec("gold_miner_hard_2_vs_2").game
    assert set(game.key_actions.values()) == set(range(6))
    assert game.key_actions["left"] == LEFT and game.key_actions["space"] == REST


def test_games_look_different_as_they_go_on():
    vector = mail_envs.make_vec("gold_miner_hard_2_vs_2", seed=3, autoreset=False)
    before = vector.render().astype(int)
    for _ in range(20):
        vector.step(np.full((1, 2), REST))
    world = vector.buffers.world
    world["status"][0, 3], world["x"][0, 3] = 1, 21  # left the map
    assert (abs(vector.render().astype(int) - before).sum(axis=2) > 30).mean() > 0.01
