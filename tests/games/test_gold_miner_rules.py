"""Gold Miner's rules, line by line, in scenarios worked out by hand."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from gold_miner_world import DIG, DOWN, LEFT, REST, RIGHT, UP, World, cell

import mail_envs

# -- entering cells -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "action, place", [(LEFT, (1, 2)), (RIGHT, (3, 2)), (UP, (2, 1)), (DOWN, (2, 3))]
)
def test_moves_go_left_right_up_and_down_where_y_grows_downward(tmp_path, action, place):
    world = World(tmp_path, players=[(2, 2)])
    world.play(action)
    assert (world.x[0], world.y[0]) == place


def test_land_costs_1_and_a_mine_4(tmp_path):
    world = World(tmp_path, gold={(2, 0): 100})
    assert world.price_of_entering() == 1
    assert world.price_of_entering() == 4


def test_a_forest_costs_5_to_20_by_chance_and_stays_a_forest(tmp_path):
    prices: Counter[int] = Counter()
    world = World(tmp_path, ["ff" + "." * 19], max_rounds=3200)
    for k in range(3200):
        world.put("energy", 50)
        prices[world.price_of_entering(RIGHT if k % 2 == 0 else LEFT)] += 1
    assert set(prices) == set(range(5, 21))
    assert 140 < min(prices.values()) and max(prices.values()) < 260, "uniform"
    assert world.terrain[cell(0, 0)] == world.terrain[cell(1, 0)] == 1


def test_every_player_has_its_own_forest_price(tmp_path):
    differ = 0
    for seed in range(20):
        world = World(tmp_path, [".f"], players=[(0, 0)] * 2, seed=seed)
        world.play(RIGHT, RIGHT)
        differ += world.energy[0] != world.energy[1]
    assert differ > 10


def test_a_trap_costs_10_and_then_is_land(tmp_path):
    world = World(tmp_path, [".t."])
    assert world.price_of_entering(RIGHT) == 10
    world.play(LEFT)
    assert world.price_of_entering(RIGHT) == 1


def test_a_swamp_costs_5_20_40_and_from_then_on_100(tmp_path):
    world = World(tmp_path, [".s."])
    for price in (5, 20, 40, 100, 100):
        world.put("energy", 150)
        assert world.price_of_entering(RIGHT) == price
        world.play(LEFT)


def test_two_who_enter_a_trap_together_both_pay_10(tmp_path):
    world = World(tmp_path, [".t."], players=[(0, 0), (2, 0)])
    world.play(RIGHT, LEFT)
    assert world.energy == [40, 40] and world.terrain[cell(1, 0)] == 0


def test_two_who_enter_a_swamp_together_both_pay_5_and_its_price_rises_once(tmp_path):
    world = World(tmp_path, [".s."], players=[(0, 0), (2, 0), (1, 1)])
    world.play(RIGHT, LEFT, REST)
    assert world.energy == [45, 45, 50]
    world.play(REST, REST, UP)
    assert world.energy[2] == 30


def test_standing_on_a_swamp_does_not_raise_its_price(tmp_path):
    world = World(tmp_path, [".s."], players=[(0, 0), (1, 1)])
    world.play(RIGHT, REST)
    for _ in range(3):
        world.play(REST, REST)
    world.play(REST, UP)
    assert world.energy[1] == 30


def test_any_number_of_players_may_share_a_cell(tmp_path):
    world = World(tmp_path, players=[(3, 3), (5, 3), (4, 2), (4, 4)])
    world.play(RIGHT, LEFT, DOWN, UP)
    assert world.x == [4] * 4 and world.y == [3] * 4


# -- resting --------------------------------------------------------------------------------------


def test_rests_in_a_row_give_12_16_25_and_then_everything(tmp_path):
    world = World(tmp_path).put("energy", 1)
    seen = []
    for _ in range(3):
        world.play(REST)
        seen.append(world.energy[0])
    assert seen == [13, 29, 50]
    world = World(tmp_path).put("energy", 1).put("streak", 3)
    world.play(REST)
    assert world.energy == [50], "the fourth fills up"


def test_energy_never_exceeds_50(tmp_path):
    world = World(tmp_path).put("energy", 45)
    world.play(REST)
    assert world.energy == [50]


@pytest.mark.parametrize("action, price", [(RIGHT, 1), (DIG, 10)])
def test_a_move_or_a_dig_even_in_vain_ends_a_streak_of_rests(tmp_path, action, price):
    world = World(tmp_path).put("energy", 20)
    world.play(REST)
    world.play(action)
    world.play(REST)
    assert world.energy == [20 + 12 - price + 12]


# -- digging --------------------------------------------------------------------------------------


def test_a_dig_costs_5_at_a_mine_and_10_in_vain(tmp_path):
    world = World(tmp_path, gold={(0, 0): 100}, players=[(0, 0), (1, 0)])
    world.play(DIG, DIG)
    assert world.energy == [45, 40] and world.score == [50, 0]


def test_a_lone_digger_gets_50_or_what_is_left(tmp_path):
    world = World(tmp_path, gold={(0, 0): 80, (9, 0): 50})
    world.play(DIG)
    world.play(DIG)
    assert world.score == [80] and world.gold[cell(0, 0)] == 0


@pytest.mark.parametrize(
    "gold, diggers, each, left",
    [
        (500, 1, 50, 450), (500, 2, 50, 400), (500, 4, 50, 300),
        (100, 2, 50, 0), (100, 3, 34, 0), (150, 4, 38, 0), (50, 4, 13, 0), (50, 2, 25, 0),
        (200, 4, 50, 0), (75, 2, 38, 0), (7, 3, 3, 0), (160, 3, 50, 10),
    ],
)  # fmt: skip
def test_diggers_of_one_mine_share_it_rounded_up(tmp_path, gold, diggers, each, left):
    players = [(2, 2)] * diggers + [(9, 2)] * (4 - diggers)
    world = World(tmp_path, gold={(2, 2): gold, (20, 8): 50}, players=players)
    world.play(*[DIG] * diggers, *[REST] * (4 - diggers))
    assert world.score == [each] * diggers + [0] * (4 - diggers)
    assert world.gold[cell(2, 2)] == left


def test_who_stands_by_does_not_share(tmp_path):
    world = World(tmp_path, gold={(2, 2): 50, (9, 9 - 1): 50}, players=[(2, 2), (2, 2), (1, 2)])
    world.play(DIG, REST, RIGHT)
    assert world.score == [50, 0, 0]


def test_an_emptied_mine_is_land_from_the_next_round_on(tmp_path):
    world = World(tmp_path, gold={(1, 0): 50, (9, 0): 50}, players=[(1, 0), (0, 0), (2, 0)])
    world.play(DIG, RIGHT, REST)
    assert world.energy[1] == 50 - 4, "it was a mine when the round began"
    world.play(REST, REST, LEFT)
    assert world.energy[2] == 50 - 1


def test_whoever_has_no_energy_left_after_a_dig_is_out_without_gold(tmp_path):
    world = World(tmp_path, gold={(0, 0): 100}, players=[(0, 0), (0, 0)]).put("energy", [5, 6])
    world.play(DIG, DIG)
    assert world.status == [2, 0] and world.score == [0, 50]
    assert world.gold[cell(0, 0)] == 50, "the eliminated do not count among the diggers"


# -- elimination and end --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "start, action", [((0, 4), LEFT), ((20, 4), RIGHT), ((4, 0), UP), ((4, 8), DOWN)]
)
def test_whoever_leaves_the_map_is_out(tmp_path, start, action):
    world = World(tmp_path, players=[start, (9, 4)])
    world.play(action, REST)
    assert world.status == [1, 0]


def test_whoever_cannot_pay_is_out_and_keeps_its_gold(tmp_path):
    world = World(tmp_path, [".t"], players=[(0, 0), (5, 5)])
    world.put("energy", [10, 50]).put("score", [700, 0])
    world.play(RIGHT, REST)
    assert world.status == [2, 0]
    info = world.play(REST, RIGHT)
    assert world.score == [700, 0] and world.energy[0] == 0, "the eliminated do nothing"
    assert info["alive"][0].tolist() == [False, True, True, True]


@pytest.mark.parametrize("end_on_elimination", [True, False])
def test_an_elimination_ends_the_game_or_not(tmp_path, end_on_elimination):
    places = [(0, 0), (5, 5)]
    world = World(tmp_path, players=places, end_on_elimination=end_on_elimination)
    world.play(LEFT, REST)
    assert world.terminated == end_on_elimination
    if not end_on_elimination:
        world.record["energy"][0] = 1
        world.play(REST, *[RIGHT] * 3)
        assert world.terminated, "no ally is left"


def test_the_elimination_of_an_enemy_ends_the_game_too(tmp_path):
    world = World(
        tmp_path, players=[(9, 4), (9, 4), (0, 0), (5, 5)], num_allies=2, num_enemies=2,
        end_on_elimination=True,
    )  # fmt: skip
    world.put("status", [0, 0, 2, 0])
    world.play(REST, REST)
    assert world.terminated


def test_the_game_ends_when_no_gold_is_left(tmp_path):
    world = World(tmp_path, gold={(0, 0): 60})
    world.play(DIG)
    assert not world.terminated
    world.play(DIG)
    assert world.terminated and world.score == [60]


def test_a_game_lasts_100_rounds():
    vector = mail_envs.make_vec("gold_miner_easy_2_vs_2", 2, seed=0)
    for t in range(100):
        *_, terminated, truncated, info = vector.step(np.full((2, 2), REST))
        assert truncated.all() == (t == 99) and not terminated.any()
    assert (info["episode_length"] == 100).all()


# -- the start ------------------------------------------------------------------------------------


def test_all_start_in_one_cell_with_50_units_anywhere_on_the_map():
    vector = mail_envs.make_vec("gold_miner_easy_2_vs_2", 4000, seed=0)
    world = vector.buffers.world
    assert (world["x"] == world["x"][:, :1]).all() and (world["y"] == world["y"][:, :1]).all()
    assert (world["energy"] == 50).all()
    assert len(set(zip(world["x"][:, 0].tolist(), world["y"][:, 0].tolist()))) == 21 * 9
    assert set(world["map"].tolist()) == set(range(24))


def test_gold_is_drawn_row_by_row_until_the_budget_is_spent():
    vector = mail_envs.make_vec("gold_miner_easy_2_vs_2", 1000, seed=0)
    largest = np.zeros(1000)
    for e, record in enumerate(vector.buffers.world):
        budget = 10_000
        assert (
            np.diff([m % 9 * 21 + m // 9 for m in record["mines"][: record["num_mines"]]]) > 0
        ).all()
        for mine in record["mines"][: record["num_mines"]]:
            amount = int(record["gold"][mine])
            assert amount % 50 == 0
            assert 50 <= amount <= 50 * min(25, max(budget // 50, 1))
            budget -= amount
            largest[e] = max(largest[e], amount)
    total = vector.buffers.world["gold"].sum(axis=1, dtype=int)
    assert 9_800 < total.mean() < 10_400 and largest.max() == 1250


def test_without_redrawing_the_amounts_are_those_of_the_map(tmp_path):
    world = World(tmp_path, gold={(3, 1): 450, (4, 2): 1500})
    assert world.gold[cell(3, 1)] == 450 and world.gold[cell(4, 2)] == 1500


# -- φ, reward, figures ---------------------------------------------------------------------------


@pytest.mark.parametrize("null_dynamics, energy", [("idle", 22), ("rest", 38)])
def test_phi_stands_still_or_rests(tmp_path, null_dynamics, energy):
    turns = mail_envs.TurnOrder([[0], [1]])
    world = World(
        tmp_path, players=[(0, 0), (5, 5)], player_function=turns, null_dynamics=null_dynamics
    ).put("energy", 10)
    world.play(REST, DIG)
    world.play(RIGHT, REST)
    assert world.x == [0, 5] and world.energy[0] == energy
    world.play(REST, DIG)
    assert world.energy[0] == (38 if null_dynamics == "idle" else 50), "the streak went on"


def test_allies_share_a_hundredth_of_the_gold_they_dig_and_enemies_do_not_matter(tmp_path):
    world = World(
        tmp_path, gold={(0, 0): 500, (2, 0): 500, (4, 0): 500}, num_allies=2, num_enemies=2,
        players=[(0, 0), (0, 0), (2, 0), (4, 0)],
    )  # fmt: skip
    info = world.play(DIG, DIG)
    assert np.allclose(world.rewards, [1.0, 1.0]) and world.score == [50, 50, 50, 50]
    assert [float(v[0]) for v in info["metrics"].values()] == [0.0, 50.0, 50.0], "a tie is not won"
    info = world.play(DIG, REST)
    assert np.allclose(world.rewards, [0.5, 0.5])
    assert [float(v[0]) for v in info["metrics"].values()] == [0.0, 75.0, 100.0]
    world.put("energy", [50, 50, 3, 3])
    info = world.play(DIG, DIG)
    assert [float(v[0]) for v in info["metrics"].values()] == [1.0, 125.0, 100.0]


def test_absent_allies_get_no_reward(tmp_path):
    world = World(
        tmp_path, gold={(0, 0): 500}, players=[(0, 0), (5, 5)],
        player_function=mail_envs.TurnOrder([[0], [1]]),
    )  # fmt: skip
    world.play(DIG, REST)
    assert np.allclose(world.rewards[:2], [0.5, 0.0])
