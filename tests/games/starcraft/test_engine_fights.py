"""What single units do, against the game's data: speeds, damage, cycles, shields, healing, beams and blasts."""

from __future__ import annotations

import numpy as np
import pytest
from starcraft_skirmish import ATTACK, EAST, NEVER, NORTH, SOUTH, STOP, WEST, Skirmish

from mail_envs.games.starcraft.units import STALKER, UNITS

LOOPS = 8


@pytest.mark.parametrize(
    ("name", "distance"),
    [
        ("marine", 1.125), ("marauder", 1.125), ("zealot", 1.125), ("hydralisk", 1.125),
        ("colossus", 1.125), ("baneling", 1.25), ("stalker", 1.4766), ("zergling", 1.4766),
    ],
)  # fmt: skip
def test_units_walk_at_their_speed(name, distance):
    battle = Skirmish().put(0, name, 10, 10).put(3, "marine", 30, 30)
    for k in range(1, 5):
        battle.play(EAST)
        assert battle.world["pos"][0, 0] == pytest.approx((10 + k * distance, 10), abs=0.01)


def test_medivacs_gather_speed():
    battle = Skirmish().put(0, "medivac", 3, 10).put(1, "marine", 2, 2).put(3, "marine", 30, 30)
    places = [3.0]
    for _ in range(6):
        battle.play(EAST)
        places.append(float(battle.world["pos"][0, 0, 0]))
    steps = np.diff(places)
    assert steps[0] == pytest.approx(0.29, abs=0.01)
    assert steps[-1] == pytest.approx(1.375, abs=0.01)
    assert (np.diff(steps) > -1e-4).all()


def attack_once(attacker, target, shield):
    """What the target has lost when an agent of type `attacker` has attacked it once."""
    battle = Skirmish()
    reach = UNITS[attacker].radius + UNITS[attacker].range + UNITS[target].radius
    battle.put(0, attacker, 10, 10).put(1, "marine", 2, 2).put(4, "marine", 30, 30)
    battle.put(3, target, 10 + min(reach - 0.05, 5.9), 10, shield=shield, cooldown=NEVER)
    before = battle.strength(3)
    for _ in range(3):
        if battle.world["cooldown"][0, 0] == 0:
            battle.play(ATTACK)
    battle.play(STOP, rounds=2)
    return float((before - battle.strength(3))[0])


@pytest.mark.parametrize(
    ("attacker", "target", "shield", "damage"),
    [
        ("marine", "marine", 0, 6),
        ("marine", "zealot", 0, 5),
        ("marine", "marauder", 0, 5),
        ("marine", "medivac", 0, 5),
        ("hydralisk", "zealot", 0, 11),
        ("hydralisk", "zealot", 50, 12),
        ("zealot", "zergling", 0, 16),
        ("zealot", "zealot", 50, 16),
        ("zealot", "zealot", 0, 14),
        ("zealot", "zealot", 10, 15),  # the second hit finds two points of shield
        ("stalker", "stalker", 80, 14),
        ("stalker", "stalker", 0, 13),
        ("stalker", "zealot", 0, 9),
        ("stalker", "spine_crawler", 0, 12),
        ("spine_crawler", "stalker", 80, 30),
        ("spine_crawler", "stalker", 0, 29),
        ("marauder", "marauder", 0, 19),
        ("marauder", "marine", 0, 10),
        ("colossus", "zealot", 50, 40),
        ("colossus", "zealot", 0, 38),
        ("baneling", "zealot", 50, 35),
        ("baneling", "zealot", 0, 34),
        ("baneling", "stalker", 80, 20),
        ("baneling", "baneling", 0, 20),
    ],
)
def test_a_hit_takes_the_shield_first_and_armor_counts_for_the_rest(
    attacker, target, shield, damage
):
    assert attack_once(attacker, target, shield) == pytest.approx(damage, abs=1e-3)


def test_weapons_for_the_ground_do_not_reach_medivacs():
    for name in ("marauder", "zealot", "zergling", "colossus"):
        battle = Skirmish().put(0, name, 10, 10).put(3, "medivac", 11, 10).put(4, "marine", 30, 30)
        battle.play(ATTACK, rounds=5)
        assert battle.strength(3) == 150 and battle.world["target"][0, 0] == -1


def test_a_marine_shoots_every_fourteen_and_a_quarter_loops_on_average():
    battle = Skirmish(copies=64).put(0, "marine", 10, 10)
    battle.put(3, "marine", 14, 10, health=1e5, max_health=1e5, cooldown=NEVER)
    rounds = 150
    battle.play(ATTACK, rounds=rounds)
    shots = (1e5 - battle.strength(3)) / 6
    assert (rounds * LOOPS / shots).mean() == pytest.approx(14.27, abs=0.15)
    assert shots.std() > 0, "cycles are jittered"


@pytest.mark.parametrize(
    ("name", "period", "hit"),
    [("stalker", 23.04, 10), ("zealot", 19.2, 16), ("marauder", 24, 10), ("zergling", 11.14, 5), ("hydralisk", 13.28, 12)],
)  # fmt: skip
def test_every_weapon_has_its_period(name, period, hit):
    battle = Skirmish(copies=16).put(0, name, 10, 10)
    battle.put(3, "marine", 10.8, 10, health=1e5, max_health=1e5, cooldown=NEVER)
    battle.play(ATTACK, rounds=200)
    shots = (1e5 - battle.strength(3)) / hit
    assert (200 * LOOPS / shots).mean() == pytest.approx(period + 0.5, rel=0.02)


def test_a_marine_kills_a_passive_marine_with_eight_shots_in_a_hundred_loops():
    battle = Skirmish(copies=256).put(0, "marine", 10, 10).put(3, "marine", 15, 10, cooldown=NEVER)
    battle.put(4, "marine", 30, 30)
    died = np.zeros(256)
    for k in range(1, 20):
        battle.play(ATTACK)
        died[(died == 0) & (battle.world["health"][:, 3] == 0)] = k
    # It falls in the middle of a round, on average.
    assert died.mean() - 0.5 == pytest.approx(12.5, abs=0.3)
    assert battle.world["target"][:, 0].max() == -1, "agents idle when their target is dead"


def test_three_marines_need_three_volleys():
    battle = Skirmish()
    for i in range(3):
        battle.put(i, "marine", 10, 9 + i)
    battle.put(3, "marine", 14, 10, cooldown=NEVER).put(4, "marine", 30, 30)
    seen = []
    for _ in range(5):
        battle.play(ATTACK, ATTACK, ATTACK)
        seen.append(float(battle.world["health"][0, 3]))
    assert seen[0] == 27 and seen[-1] == 0
    assert (np.array(seen) % 6 == 3).sum() == np.count_nonzero(seen)


def test_missiles_in_flight_can_be_too_many():
    battle = Skirmish().put(0, "stalker", 10, 10).put(1, "stalker", 10, 12)
    battle.put(3, "zealot", 15.9, 11, health=5, shield=0, cooldown=NEVER).put(4, "marine", 30, 30)
    battle.play(ATTACK, ATTACK)
    assert (battle.world["cooldown"][0, :2] > 10).all(), "both have fired"
    battle.play(STOP, STOP)
    assert battle.strength(3) == 0 and (battle.world["missile_target"] == -1).all()


def test_missiles_take_their_time_and_hits_at_once_do_not():
    battle = (
        Skirmish(missile_speed=0.4 * (np.arange(10) == STALKER))
        .put(0, "stalker", 10, 10)
        .put(1, "marine", 12, 10)
    )
    battle.put(3, "zealot", 15.9, 10, cooldown=NEVER).put(4, "zealot", 17, 12, cooldown=NEVER)
    battle.play(ATTACK, ATTACK + 1)
    # A damage point of 2.7 loops, then 4.8 from edge to edge.
    assert battle.strength(3) == 150 and battle.strength(4) == 144
    assert battle.world["missile_target"][0, 0] == 3
    battle.play(STOP, STOP)
    assert battle.strength(3) == 140


def test_shields_regenerate_after_ten_seconds_by_an_eighth_per_loop():
    battle = Skirmish().put(0, "stalker", 10, 10, shield=40, health=50, calm=0)
    battle.put(3, "marine", 30, 30)
    battle.play(STOP, rounds=20)
    assert battle.strength(0) == 90
    battle.play(STOP)
    assert battle.strength(0) == pytest.approx(91)
    battle.play(STOP, rounds=100)
    assert battle.world["shield"][0, 0] == 80 and battle.world["health"][0, 0] == 50


def test_zerg_always_regenerate():
    battle = Skirmish(regenerates=True).put(0, "hydralisk", 10, 10, health=40)
    battle.put(3, "marine", 30, 30, health=20).play(STOP, rounds=10)
    assert battle.strength(0) == pytest.approx(40 + 80 * 0.2734 / 16, abs=1e-3)
    assert battle.strength(3) == 20


def test_medivacs_heal_four_and_a_half_a_round_for_energy():
    battle = Skirmish().put(0, "medivac", 10, 10).put(1, "marauder", 12, 10, health=40)
    battle.put(3, "marine", 30, 30).play(ATTACK + 1)
    assert battle.strength(1) == pytest.approx(44.5, abs=1e-3)
    assert battle.world["energy"][0, 0] == pytest.approx(50 - 1.485 + 0.28125, abs=1e-3)
    battle.play(ATTACK + 1, rounds=200)
    assert battle.strength(1) == 125 and battle.world["target"][0, 0] == -1


def test_a_medivac_heals_what_its_energy_is_good_for():
    battle = Skirmish().put(0, "medivac", 10, 10, energy=0.33)
    battle.put(1, "marauder", 12, 10, health=40).put(3, "marine", 30, 30)
    battle.play(ATTACK + 1)
    assert battle.strength(1) == pytest.approx(40 + (0.33 + 0.28125) / 0.33, abs=0.12)


def test_a_beam_kills_all_zerglings_on_it_and_no_friends():
    battle = Skirmish(scan=-1).put(0, "colossus", 10, 10).put(1, "zealot", 15, 11)
    for k, y in enumerate((10, 11.4, 12.1)):
        battle.put(3 + k, "zergling", 15, y, cooldown=NEVER)
    battle.play(ATTACK, rounds=2)
    assert battle.world["health"][0, 3:].tolist() == [0, 0, 35]
    assert battle.strength(1) == 150


def test_banelings_explode_when_they_are_killed_and_set_off_no_friends():
    battle = Skirmish(scan=-1).put(0, "marine", 10, 10).put(1, "zealot", 15, 11, shield=0)
    battle.put(3, "baneling", 15, 10, health=3, cooldown=NEVER)
    battle.put(4, "zealot", 15, 9, cooldown=NEVER)
    battle.play(ATTACK)
    assert battle.strength(1) == 66 and battle.strength(4) == 150 and battle.strength(3) == 0


def test_explosions_set_off_banelings_of_the_other_side():
    battle = Skirmish(scan=-1).put(0, "marine", 10, 10).put(1, "baneling", 15, 11, health=10)
    battle.put(3, "baneling", 15, 10, health=3, cooldown=NEVER)
    battle.put(4, "marine", 15, 12, cooldown=NEVER)
    battle.play(ATTACK)
    assert battle.strength(1) == 0 and battle.strength(4) == 10


def test_a_stop_holds_fire_and_agents_do_not_strike_back():
    battle = Skirmish().put(0, "marine", 10, 10).put(3, "marine", 14, 10, health=1000)
    battle.play(STOP, rounds=4)
    assert battle.strength(3) == 1000 and battle.strength(0) < 45


def test_an_attack_order_walks_until_the_target_is_in_range():
    battle = Skirmish(scan=-1).put(0, "zealot", 10, 10).put(3, "marine", 15, 10, cooldown=NEVER)
    battle.play(ATTACK)
    assert battle.world["pos"][0, 0, 0] == pytest.approx(11.125, abs=0.01)
    battle.play(ATTACK, rounds=3)
    assert battle.world["pos"][0, 0, 0] == pytest.approx(15 - 0.1 - 0.875, abs=0.15)
    assert battle.strength(3) < 45


def test_idle_friends_give_way_and_enemies_do_not():
    battle = Skirmish(scan=-1).put(0, "zealot", 10, 10).put(1, "marine", 11, 10.05)
    battle.put(3, "marine", 20, 20, cooldown=NEVER)
    battle.play(EAST, STOP, rounds=2)
    assert battle.world["pos"][0, 0, 0] == pytest.approx(12.25, abs=0.05)
    assert np.linalg.norm(battle.world["pos"][0, 1] - battle.world["pos"][0, 0]) >= 0.74
    battle = Skirmish(scan=-1).put(0, "zealot", 10, 10).put(3, "marine", 11, 10, cooldown=NEVER)
    battle.play(EAST, rounds=2)
    assert battle.world["pos"][0, 3].tolist() == [11, 10]


def test_units_go_around_those_that_fight():
    battle = Skirmish(scan=-1).put(0, "zealot", 13.1, 10).put(1, "zealot", 11, 10)
    battle.put(3, "spine_crawler", 14.5, 10, health=1e4, max_health=1e4, cooldown=NEVER)
    battle.play(ATTACK, ATTACK, rounds=12)
    assert (battle.world["stance"][0, :2] == 2).all()


def test_medivacs_fly_over_others():
    battle = Skirmish(scan=-1).put(0, "medivac", 10, 10, speed=0.17).put(1, "marine", 11, 10)
    battle.put(3, "marine", 30, 30).play(EAST)
    assert battle.world["pos"][0, 1].tolist() == [11, 10]


def test_nobody_leaves_the_map():
    battle = Skirmish(scan=-1).put(0, "stalker", 0.5, 31.5).put(3, "marine", 30, 3)
    battle.play(WEST, rounds=2).play(NORTH, rounds=2)
    assert battle.world["pos"][0, 0] == pytest.approx([0, 32])


@pytest.mark.parametrize(
    ("way", "along"), [(NORTH, EAST), (EAST, NORTH), (SOUTH, WEST), (WEST, SOUTH)]
)
def test_who_stands_at_the_edge_of_the_map_can_walk_along_it(way, along):
    """Also where the coordinates end: the mask looks at the cell that is one unit ahead."""
    edge = {NORTH: (16, 31.5), EAST: (31.5, 16), SOUTH: (16, 0.5), WEST: (0.5, 16)}[way]
    battle = Skirmish(scan=-1, pathing=1).put(0, "stalker", *edge).put(3, "marine", 3, 3)
    mask = battle.play(way, rounds=2).vector.buffers.action_mask[0, 0]
    assert not mask[way] and mask[along]


def test_enemies_notice_who_is_near_and_go_after_who_hits_them_from_afar():
    battle = Skirmish(scan=3).put(0, "stalker", 10, 10).put(3, "zealot", 15.8, 10, health=1e4)
    battle.play(STOP)
    assert battle.world["target"][0, 3] == -1
    battle.play(ATTACK, rounds=2)
    assert battle.world["target"][0, 3] == 0
    battle.put(0, "stalker", 2, 2, target=-1).play(STOP, rounds=8)
    assert battle.world["target"][0, 3] == -1, "it forgets who got away"
    battle.put(0, "stalker", *(battle.world["pos"][0, 3] - (4, 0))).play(STOP)
    assert battle.world["target"][0, 3] == 0


def test_enemies_prefer_what_is_in_range():
    battle = Skirmish().put(0, "stalker", 10, 10).put(3, "zealot", 14, 10, health=1e4)
    battle.play(STOP)
    assert battle.world["target"][0, 3] == 0
    battle.put(1, "marine", *(battle.world["pos"][0, 3] + (0.8, 0)), health=1e4)
    battle.play(STOP)
    assert battle.world["target"][0, 3] == 1


def test_enemy_medivacs_heal_whoever_needs_it_most():
    battle = Skirmish(scan=-1).put(0, "marine", 2, 2).put(3, "medivac", 10, 10)
    battle.put(4, "marine", 12, 10, health=30).put(5, "marauder", 8, 10, health=20)
    battle.play(STOP)
    assert battle.strength(5) == pytest.approx(24.5, abs=0.6) and battle.strength(4) == 30


def test_foes_do_not_push_who_stands():
    battle = Skirmish().put(0, "colossus", 10, 10).put(1, "marine", 2, 2)
    for row, y in ((3, 9.6), (4, 10), (5, 10.4)):  # closer than they can get by themselves
        battle.put(row, "zergling", 10.6, y, health=1e4)
    before = battle.strength(0).copy()
    battle.play(STOP, rounds=6)
    assert (battle.strength(0) < before).all(), "they fight"
    assert np.allclose(battle.world["pos"][:, 0], 10)
