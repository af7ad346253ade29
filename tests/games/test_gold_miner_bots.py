"""The availability mask and the three bots of Gold Miner, in scenarios worked out by hand."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from gold_miner_world import DIG, DOWN, LEFT, OFFICIAL, REST, RIGHT, UP, World

from mail_envs.games.gold_miner import tournament
from mail_envs.games.gold_miner.advice import Advice
from mail_envs.games.gold_miner.mask import available
from mail_envs.games.gold_miner.tournament import figures, gap, play


class Masked(World):
    """A world with the availability mask; `allowed()` after a change of the record."""

    def __init__(self, folder, rows=(), gold=None, players=((0, 0),), **arguments):
        super().__init__(folder, rows, gold, players, mask=True, **arguments)

    def allowed(self, player: int = 0) -> set[int]:
        turns = int(self.vector.game.params["max_rounds"][0])
        bits = available(self.record[0], player, turns - int(self.record["step"][0]), -1)
        return {a for a in range(6) if bits >> a & 1}


# -- the mask -------------------------------------------------------------------------------------


def test_moves_stay_on_the_map_and_between_the_mines(tmp_path):
    world = Masked(tmp_path, gold={(2, 2): 100, (6, 2): 100, (4, 6): 100}, players=[(4, 4)])
    assert world.allowed() == {LEFT, RIGHT, UP, DOWN}
    for place, allowed in (
        ((2, 4), {RIGHT, UP, DOWN}), ((6, 4), {LEFT, UP, DOWN}), ((4, 2), {LEFT, RIGHT, DOWN}),
        ((1, 5), {RIGHT, UP, DOWN}), ((0, 0), {RIGHT, DOWN}), ((20, 8), {LEFT, UP}),
    ):  # fmt: skip
        world.record["x"][0, 0], world.record["y"][0, 0] = place
        assert world.allowed() == allowed, place


@pytest.mark.parametrize("ground, worst", [(".", 1), ("f", 20), ("t", 10), ("s", 5)])
def test_moves_leave_energy_in_the_worst_case(tmp_path, ground, worst):
    world = Masked(tmp_path, [".." + ground], {(3, 0): 100}, players=[(1, 0)])
    assert RIGHT in world.put("energy", worst + 1).allowed()
    assert RIGHT not in world.put("energy", worst).allowed()


def test_a_mine_costs_4_and_a_deep_swamp_its_price(tmp_path):
    world = Masked(tmp_path, ["..s"], {(0, 1): 100, (5, 0): 100}, players=[(1, 0)])
    world.record["terrain"][0, 2 * 9] = 5  # entered twice: 40
    assert RIGHT in world.put("energy", 41).allowed()
    assert RIGHT not in world.put("energy", 40).allowed()
    world = Masked(tmp_path, gold={(2, 0): 40, (5, 0): 40}, players=[(1, 0)])
    assert RIGHT in world.put("energy", 5).allowed()
    assert RIGHT not in world.put("energy", 4).allowed()


def test_only_mines_that_can_be_reached_in_time_count(tmp_path):
    world = Masked(tmp_path, gold={(2, 0): 100, (9, 5): 100}, players=[(4, 0)])
    world.put("energy", 50)
    world.record["step"][0] = 100 - 5
    assert world.allowed() == {LEFT}
    world.record["step"][0] = 100 - 2
    assert world.allowed() == {LEFT, RIGHT, DOWN}, "none is: all count"


def test_rich_mines_next_to_oneself_are_obligatory(tmp_path):
    gold = {(4, 3): 100, (3, 4): 50, (9, 9 - 1): 500, (0, 0): 500}
    world = Masked(tmp_path, gold=gold, players=[(4, 4)])
    assert world.allowed() == {LEFT, UP}
    assert world.put("energy", 20).allowed() == {LEFT, UP, REST}
    crowd = Masked(tmp_path, gold=gold, players=[(4, 4), (5, 3)])
    assert crowd.allowed() == {LEFT, UP}, "100 is enough for two next to it"
    crowd = Masked(tmp_path, gold=gold, players=[(4, 4), (4, 3), (3, 4)])
    assert crowd.allowed() == {LEFT, RIGHT, UP, DOWN}, "whoever stands there counts twice"


def test_rest_is_allowed_below_38(tmp_path):
    world = Masked(tmp_path, gold={(5, 5): 100, (9, 0): 100}, players=[(3, 3)])
    assert REST in world.put("energy", 37).allowed()
    assert REST not in world.put("energy", 38).allowed()


def test_a_mine_with_enough_for_all_who_stand_there_must_be_dug(tmp_path):
    gold = {(4, 4): 100, (9, 8): 500, (0, 0): 500}
    world = Masked(tmp_path, gold=gold, players=[(4, 4), (4, 4)])
    assert world.put("energy", 30).allowed() == {DIG}
    assert world.put("energy", 5).allowed() == {REST}, "no energy for it: stay"
    crowd = Masked(tmp_path, gold=gold, players=[(4, 4)] * 3)
    assert crowd.put("energy", 30).allowed() == {LEFT, RIGHT, UP, DOWN, REST, DIG}
    assert DIG not in crowd.put("energy", 5).allowed()


def test_the_only_mine_that_counts_must_be_dug(tmp_path):
    crowd = Masked(tmp_path, gold={(4, 4): 50}, players=[(4, 4)] * 3)
    assert crowd.allowed() == {DIG}


def test_if_nothing_is_left_one_rests(tmp_path):
    world = Masked(tmp_path, ["ff", "f"], {(5, 5): 100}, players=[(0, 0)])
    world.record["terrain"][0, :] = 6  # swamps of 100 everywhere
    assert world.put("energy", 50).allowed() == {REST}


def test_the_view_shows_the_mask(tmp_path):
    world = Masked(tmp_path, gold={(5, 0): 500}, players=[(0, 0)])
    world.play()
    info = world.play(RIGHT)
    assert np.flatnonzero(info["action_mask"][0, 0]).tolist() == [RIGHT]
    info = world.play(LEFT)
    assert info["illegal_actions"][0] >= 1 and world.x == [1], "a forbidden action is φ"


# -- the bots -------------------------------------------------------------------------------------


def choices(world: World, style: str, key: int = 0) -> list[int]:
    """What the allies would do."""
    everybody = np.ones((1, world.vector.num_agents), np.uint8)
    return Advice(world.vector, style)(np.zeros(1, int), everybody, np.uint64([key]))[0].tolist()


def choice(world: World, bot: str, key: int = 0) -> int:
    """What a bot would do as the first player."""
    return choices(world, bot, key)[0]


def test_greedy_goes_to_one_of_the_two_nearest_mines_and_keeps_its_choice(tmp_path):
    gold = {(6, 0): 500, (0, 5): 500, (20, 0): 1000}
    counts: Counter[int] = Counter()
    for key in range(200):
        world = World(tmp_path, gold=gold, players=[(2, 0)])
        counts[choice(world, "greedy", key)] += 1
        target = world.target[0]
        assert target in (6 * 9, 5)
        for other in range(5):
            assert (choice(world, "greedy", 1000 + other) == RIGHT) == (target == 6 * 9)
    assert set(counts) == {RIGHT, LEFT, DOWN} and 60 < counts[RIGHT] < 140


def test_greedy_digs_on_any_mine_and_chooses_again_when_its_own_has_50_left(tmp_path):
    world = World(tmp_path, gold={(2, 0): 100, (9, 0): 500, (15, 0): 500}, players=[(2, 0)])
    world.put("target", 9 * 9)
    assert choice(world, "greedy") == DIG and world.target == [9 * 9]
    world.record["gold"][0, 9 * 9] = 50
    choice(world, "greedy")
    assert world.target[0] in (2 * 9, 9 * 9)


def test_deepmind_goes_for_the_most_gold_per_step(tmp_path):
    world = World(tmp_path, gold={(3, 0): 100, (10, 0): 1000, (0, 8): 50}, players=[(5, 0)])
    assert choice(world, "deepmind") == RIGHT, "1000 / 5 beats 100 / 2"
    world = World(tmp_path, gold={(3, 0): 500, (10, 0): 1000, (0, 8): 50}, players=[(5, 0)])
    assert choice(world, "deepmind") == LEFT, "500 / 2 beats 1000 / 5"


def test_deepmind_walks_around_what_it_believes_expensive(tmp_path):
    world = World(tmp_path, [".f.", "..."], {(2, 1): 500, (20, 0): 50}, players=[(0, 0)])
    assert choice(world, "deepmind") == DOWN
    world = World(tmp_path, ["...", "fff"], {(2, 1): 500, (20, 0): 50}, players=[(0, 0)])
    assert choice(world, "deepmind") == RIGHT


def test_deepmind_rests_in_blocks(tmp_path):
    """One rest would be enough for the next step, two for the way and the digging."""
    world = World(tmp_path, gold={(2, 0): 1000, (20, 0): 50}, players=[(0, 0)]).put("energy", 1)
    rounds = 0
    while choice(world, "deepmind") == REST:
        world.play(REST)
        rounds += 1
    assert rounds == 2 and world.energy == [29]


def test_deepmind_takes_a_step_that_the_mask_forbids_by_chance(tmp_path):
    world = World(tmp_path, [".f"], {(2, 0): 500, (20, 0): 50}, players=[(0, 0)])
    world.put("energy", 20)
    seen = {choice(world, "deepmind", key) for key in range(40)}
    assert seen == {REST}, "it would walk with 20, the mask wants 21 for a forest"


def test_black_panther_takes_the_most_gold_per_round(tmp_path):
    near_and_poor = {(4, 0): 50, (11, 0): 1000}
    world = World(tmp_path, gold=near_and_poor, players=[(5, 0)])
    assert choice(world, "black_panther") == RIGHT, "1000 in 6 + 20 rounds, 50 in 2"
    world = World(tmp_path, gold={(4, 0): 100, (11, 0): 200}, players=[(5, 0)])
    assert choice(world, "black_panther") == LEFT, "100 in 3 rounds, 200 in 10"
    world = World(tmp_path, gold={(5, 0): 500, (11, 0): 1000}, players=[(5, 0)])
    assert choice(world, "black_panther") == DIG


def test_black_panther_knows_what_swamps_cost_by_now(tmp_path):
    rows = [".s.", "..."]
    world = World(tmp_path, rows, {(2, 0): 500, (20, 8): 50}, players=[(0, 0)])
    world.record["terrain"][0, 9] = 6  # 100
    assert choice(world, "black_panther") == DOWN


def test_black_panther_rests_until_it_can_pay(tmp_path):
    world = World(tmp_path, ["ff", "ff"], {(2, 0): 500}, players=[(0, 0)]).put("energy", 20)
    assert choice(world, "black_panther") == REST
    assert choice(world.put("energy", 21), "black_panther") == RIGHT


def test_black_panther_rests_longer_the_emptier_it_is(tmp_path):
    for energy, rests in ((3, 3), (4, 3), (8, 0)):
        world = World(tmp_path, gold={(0, 0): 1000}, players=[(0, 0)]).put("energy", energy)
        count = 0
        while choice(world, "black_panther") == REST:
            world.play(REST)
            count += 1
        assert count == rests


def test_asking_twice_changes_nothing(tmp_path):
    for bot in ("deepmind", "black_panther", "greedy"):
        world = World(tmp_path, gold={(0, 0): 1000, (9, 0): 500}, players=[(0, 0)]).put("energy", 2)
        first = choice(world, bot)
        notes = world.target, world.rest_down_to
        assert choice(world, bot) == first and (world.target, world.rest_down_to) == notes


def test_a_team_does_not_choose_the_same_mine(tmp_path):
    """Each takes the best of the mines without that of the one before, if one is left and within reach."""
    gold, players = {(6, 4): 1000, (2, 4): 500}, [(5, 4), (4, 4), (5, 4), (4, 4)]
    world = World(tmp_path, gold=gold, players=players)
    assert choices(world, "black_panther") == [RIGHT] * 4
    assert choices(world, "team") == [RIGHT, LEFT, RIGHT, LEFT]
    world = World(tmp_path, gold={(6, 4): 1000}, players=players)
    assert choices(world, "team") == [RIGHT] * 4, "only one mine"
    world = World(tmp_path, gold={(6, 4): 1000, (20, 8): 1000}, players=players, max_rounds=10)
    assert choices(world, "team") == [RIGHT] * 4, "the other one is too far"


# -- everybody against everybody ------------------------------------------------------------------

needs_official_maps = pytest.mark.skipif(
    not OFFICIAL.is_file(), reason="the official maps are not here (shared/golden/goldminer)"
)


@needs_official_maps
@pytest.mark.parametrize("player", ["random", "greedy", "deepmind", "black_panther"])
@pytest.mark.parametrize("difficulty", ["easy", "medium", "hard"])
def test_pairings_on_the_official_maps_go_as_with_the_public_code(player, difficulty):
    """400 games each, against samples of the public code with its mask as intended (see docs)."""
    expected = tournament.REFERENCE[player, difficulty]
    played = play(player, difficulty, 400, str(OFFICIAL))
    assert gap(played, expected) < 4.0, (figures(played), expected)


def test_pairings_on_our_own_maps_are_of_the_same_kind():
    players = ("random", "greedy", "black_panther", "team")
    rates = {p: figures(play(p, "easy", 400)).wins for p in players}
    assert rates["random"] < 5 and 42 < rates["greedy"] < 56 and 65 < rates["black_panther"] < 85
    assert rates["team"] > 90


def test_the_tournament_prints_a_table(capsys):
    tournament.main(games=4)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 + 6 * 3 and all(line.count("|") == 11 for line in lines)
