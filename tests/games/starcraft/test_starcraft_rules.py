"""What agents see, may do and are paid for, in battles made by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starcraft_battles import ALLY, ENEMY, ally, army, columns, enemy, stops

from mail_envs.games.starcraft import encode_episode, observation_names, state_names

NORTH, SOUTH, EAST, WEST = 2, 3, 4, 5


def encode(id, *frames, actions=None, **options):
    raw = columns(*frames)
    options.setdefault("faithful", False)
    return encode_episode(id, raw, stops(raw) if actions is None else actions, **options)


def feature(result, id, agent, name, t=0, **options):
    return result["observations"][t, agent, observation_names(id, **options).index(name)]


MARINES = [*army(ALLY, "3 marine", 9), *army(ENEMY, "3 marine", 12)]


def changed(units, **changes):
    """The units with those at the places `u0`, `u1`, ... given another health, or (health, shield)."""
    units = list(units)
    for place, values in changes.items():
        values = values if isinstance(values, tuple) else (values,)
        units[int(place[1:])] = units[int(place[1:])].with_health(*values)
    return units


# -- rewards --------------------------------------------------------------------------------------


def test_reward_is_damage_and_kills_over_a_twentieth_of_the_largest():
    result = encode("smac_3m", MARINES, changed(MARINES, u3=39, u4=0))
    assert result["rewards"] == pytest.approx([(6 + 45 + 10) / (365 / 20)])


def test_a_victory_without_regeneration_returns_exactly_twenty():
    hurt = changed(MARINES, u3=20, u4=0)
    result = encode("smac_3m", MARINES, hurt, changed(hurt, u3=0, u5=0))
    assert result["rewards"].sum() == pytest.approx(20.0)
    assert list(result["terminated"]) == list(result["won"]) == [False, True]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, (6 + 10 + 39) / (365 / 20)),
        ({"reward_scale": False}, 55),
        ({"reward_scale_rate": 10}, 55 / (365 / 10)),
        ({"reward_death_value": 0}, 45 / ((365 - 30) / 20)),
        ({"reward_win": 1000}, 55 / ((365 + 800) / 20)),
        ({"reward_only_positive": False}, (55 - 0.5 * (5 + 45 + 10)) / (365 / 20)),
        ({"reward_only_positive": False, "reward_negative_scale": 2.0}, (55 - 120) / (365 / 20)),
        ({"reward_sparse": True}, 0),
    ],
    ids=str,
)
def test_variants_of_the_reward(options, expected):
    """Enemies lose 6 and 39 of their health, one dies; allies lose 5 and 45, one dies."""
    before = changed(MARINES, u4=39)
    after = changed(before, u0=40, u1=0, u3=39, u4=0)
    result = encode("smac_3m", before, after, **options)
    assert result["rewards"] == pytest.approx([expected])


@pytest.mark.parametrize(("fallen", "sign"), [((3, 4, 5), 1), ((0, 1, 2), -1)])
def test_sparse_rewards_are_scaled_like_all_others(fallen, sign):
    after = changed(MARINES, **{f"u{k}": 0 for k in fallen})
    sparse = {"reward_sparse": True}
    scaled = encode("smac_3m", MARINES, after, **sparse)["rewards"]
    plain = encode("smac_3m", MARINES, after, **sparse, reward_scale=False)["rewards"]
    assert scaled == pytest.approx([sign / (365 / 20)])
    assert list(plain) == [sign]


def test_a_defeat_can_cost():
    after = changed(MARINES, u0=0, u1=0, u2=0)
    result = encode("smac_3m", MARINES, after, reward_defeat=-73)
    assert result["rewards"] == pytest.approx([-4.0])


def test_regenerating_enemies_pay_in_the_original_smac_only():
    mixed = [*army(ALLY, "2 stalker, 3 zealot", 9), *army(ENEMY, "2 stalker, 3 zealot", 12)]
    worn = changed(mixed, u5=(80, 40))
    paid = {
        faithful: encode("smac_2s3z", worn, changed(worn, u5=(80, 50)), faithful=faithful)[
            "rewards"
        ]
        for faithful in (True, False)
    }
    assert paid[True] == pytest.approx([10 / (1020 / 20)])
    assert list(paid[False]) == [0]
    protoss = [*army(ALLY, "5 zealot", 9), *army(ENEMY, "5 zealot", 12)]
    worn = changed(protoss, u5=(100, 40))
    again = changed(worn, u5=(100, 50))
    assert list(encode_v2("protoss_5_vs_5", worn, again, faithful=True)["rewards"]) == [0]


def test_the_scale_can_be_that_of_another_battle():
    after = changed(MARINES, u3=39)
    assert encode("smac_3m", MARINES, after, max_reward=730)["rewards"] == pytest.approx([6 / 36.5])


# -- ends -----------------------------------------------------------------------------------------


def test_nobody_left_is_a_draw():
    result = encode("smac_3m", MARINES, changed(MARINES, **{f"u{k}": 0 for k in range(6)}))
    assert result["terminated"].all() and not result["won"].any()
    assert result["rewards"] == pytest.approx([(3 * 55) / (365 / 20)])
    assert (result["dead_allies"][0], result["dead_enemies"][0]) == (3, 3)


def test_the_limit_truncates_and_is_called_an_end_by_the_original():
    frames = [MARINES] * 4
    clean = encode("smac_3m", *frames, max_rounds=2)
    assert not clean["terminated"].any() and list(clean["truncated"]) == [False, True, True]
    faithful = encode("smac_3m", *frames, max_rounds=2, faithful=True)
    assert list(faithful["terminated"]) == [False, True, True]


def test_a_victory_at_the_limit_is_no_timeout():
    over = changed(MARINES, u3=0, u4=0, u5=0)
    result = encode("smac_3m", MARINES, over, max_rounds=1)
    assert result["won"][0] and result["terminated"][0] and not result["truncated"][0]


SQUADS = [  # in the order of agents' ids; enemies as created
    *army(ALLY, "2 marauder, 7 marine, 1 medivac", 9),
    *army(ENEMY, "7 marine, 2 marauder, 1 medivac", 12),
]
FIGHTERS, FOES = range(9), range(10, 19)


@pytest.mark.parametrize(
    ("fallen", "terminated", "won"),
    [
        (FIGHTERS, True, False),
        (FOES, True, True),
        ([*FIGHTERS, *FOES], True, False),
        ([*FIGHTERS, 9, *FOES, 19], True, False),
        ([*FIGHTERS][1:], False, False),
    ],
    ids=["allied medivac left", "enemy medivac left", "both left", "nobody", "one marauder left"],
)
def test_a_side_of_medivacs_has_lost_allies_first(fallen, terminated, won):
    result = encode("smac_mmm", SQUADS, changed(SQUADS, **{f"u{k}": 0 for k in fallen}))
    assert (result["terminated"][0], result["won"][0]) == (terminated, won)


# -- actions --------------------------------------------------------------------------------------


def test_dead_agents_do_nothing_and_see_nothing_but_the_time():
    frames = [MARINES, changed(MARINES, u0=0)]
    result = encode("smac_3m", *frames, obs_timestep_number=True)
    assert result["action_mask"][1, 0].tolist() == [1] + [0] * 8
    assert result["observations"][1, 0].tolist()[:-1] == [0] * 30
    assert result["observations"][1, 0, -1] == np.float32(1 / 60)
    assert not result["alive"][1, 0] and result["action_mask"][1, 1, 0] == 0


def test_targets_are_at_most_six_away_and_visible_closer_than_nine():
    units = [
        ally("marine", 9, 16), ally("marine", 18, 16), ally("marine", 9, 20),
        enemy("marine", 15, 16), enemy("marine", 9, 22.001), enemy("marine", 18.001, 16),
    ]  # fmt: skip
    result = encode("smac_3m", units)
    assert result["ally_tags"].tolist() == [1, 3, 2]
    assert result["action_mask"][0, 0, 6:].tolist() == [1, 0, 0]
    seen = [feature(result, "smac_3m", 0, f"enemy_{k}.distance") for k in range(3)]
    assert seen == pytest.approx([6 / 9, 6.001 / 9, 0], abs=1e-6)
    assert [feature(result, "smac_3m", 0, f"ally_{k}.visible") for k in range(2)] == [1, 0]
    assert result["visibility"][0, 0].tolist() == [False, True, False, True, True, False]


def test_medivacs_heal_allies_that_are_no_medivacs_healthy_or_not():
    units = changed(SQUADS, u0=0)
    mask = encode("smac_mmm", units)["action_mask"][0]
    assert mask[9, 6:].tolist() == [0] + [1] * 8 + [0]
    assert mask[1, 6:].tolist() == [1] * 10  # enemies, all within 6


def test_attackable_means_healable_to_a_medivac_in_the_original_only():
    units = changed(SQUADS, u0=0)
    names = [f"enemy_{k}.attackable" for k in range(10)]
    for faithful, expected in ((True, [0] + [1] * 8 + [0]), (False, [0] * 10)):
        result = encode("smac_mmm", units, faithful=faithful)
        seen = [feature(result, "smac_mmm", 9, name) for name in names]
        assert seen == expected


def test_moves_need_an_open_cell_one_unit_ahead():
    mask = encode("smac_3m", [unit.at(0.5, 23.5) for unit in MARINES])["action_mask"][0, 0]
    assert mask[NORTH : WEST + 1].tolist() == [0, 1, 1, 1]  # int(-0.5) is 0: the original rounds so
    mask = encode("smac_3m", [unit.at(31.5, 8.2) for unit in MARINES])["action_mask"][0, 0]
    assert mask[NORTH : WEST + 1].tolist() == [1, 0, 0, 1]


def test_surroundings_are_sampled_at_eight_points():
    options = {"obs_pathing_grid": True}
    result = encode("smac_3m", [unit.at(2.5, 21.5) for unit in MARINES], **options)
    points = ("north", "south", "east", "west")
    far = [feature(result, "smac_3m", 0, f"path.far_{p}", **options) for p in points]
    assert far == [0, 1, 1, 1]  # what lies off the map counts as open
    assert feature(result, "smac_3m", 0, "path.northeast", **options) == 1


def test_last_actions_are_those_of_visible_allies_and_all_of_the_state():
    options = {"obs_last_action": True}
    result = encode("smac_3m", MARINES, MARINES, actions=[[1, 3, 6]], **options)
    assert feature(result, "smac_3m", 0, "ally_0.last_action_3", t=1, **options) == 1
    assert feature(result, "smac_3m", 0, "ally_1.last_action_6", t=1, **options) == 1
    names = state_names("smac_3m")
    for i, action in enumerate([1, 3, 6]):
        assert result["state"][1, names.index(f"ally_{i}.last_action_{action}")] == 1
    assert result["state"][0, -27:].sum() == 0 and result["state"][1, -27:].sum() == 3


# -- features -------------------------------------------------------------------------------------


def test_the_original_swaps_the_enemies_type_bits():
    mixed = [*army(ALLY, "2 stalker, 3 zealot", 9), *army(ENEMY, "2 stalker, 3 zealot", 12)]
    faithful = encode("smac_2s3z", mixed, faithful=True)["observations"][0, 0]
    clean = encode("smac_2s3z", mixed)["observations"][0, 0]
    at = 4 + 6  # of the first enemy, a stalker
    assert faithful[at : at + 2].tolist() == [0, 1] and clean[at : at + 2].tolist() == [1, 0]
    assert faithful[4 + 5 * 8 + 6 :][:2].tolist() == clean[4 + 5 * 8 + 6 :][:2].tolist() == [1, 0]


@pytest.mark.parametrize(("faithful", "divisors"), [(True, (24, 35)), (False, (37.2, 25.04))])
def test_cooldowns_of_colossus_and_stalker(faithful, divisors):
    allies = army(ALLY, "1 colossus, 3 stalker, 5 zealot", 9)
    allies[0] = ally("colossus", 9, 10, cooldown=12.0)
    allies[1] = ally("stalker", 9, 11, cooldown=12.0)
    units = [*allies, *army(ENEMY, "1 colossus, 3 stalker, 5 zealot", 12)]
    result = encode("smac_1c3s5z", units, faithful=faithful)
    place = state_names("smac_1c3s5z").index("ally_0.cooldown_or_energy")
    found = result["state"][0, [place, place + 8]]
    assert found == pytest.approx([12 / d for d in divisors], rel=1e-5)


def test_a_medivacs_energy_stands_in_for_its_cooldown():
    units = [*SQUADS]
    units[9] = ally("medivac", 9, 16, energy=50.0)
    place = state_names("smac_mmm").index("ally_9.cooldown_or_energy")
    assert encode("smac_mmm", units)["state"][0, place] == 0.25


def test_agents_are_numbered_by_type_and_position_enemies_as_they_come():
    allies = [ally("zealot", 5, 12), ally("stalker", 9, 12), ally("zealot", 4, 12)]
    allies += [ally("stalker", 9, 11), ally("zealot", 5, 10)]
    result = encode("smac_2s3z", [*allies, *army(ENEMY, "2 stalker, 3 zealot", 12)])
    assert result["ally_tags"].tolist() == [4, 2, 3, 5, 1]
    assert result["enemy_tags"].tolist() == [6, 7, 8, 9, 10]


@settings(deadline=None, max_examples=25)
@given(st.permutations(range(6)), st.permutations(range(5)), st.integers(0, 2**31))
def test_the_order_of_raw_units_numbers_the_enemies_and_nothing_else(enemies, allies, seed):
    rng = np.random.default_rng(seed)
    units = [ally("marine", *rng.uniform(6, 20, 2), health=rng.integers(1, 46)) for _ in range(5)]
    units += [enemy("marine", *rng.uniform(6, 20, 2), health=rng.integers(1, 46)) for _ in range(6)]
    after = [u.with_health(max(0, u.health - rng.integers(0, 20))) for u in units]
    order = [*allies, *(5 + k for k in enemies)]
    first = encode("smac_5m_vs_6m", units, after, actions=[[1] * 5])
    other = encode(
        "smac_5m_vs_6m", *([f[k] for k in order] for f in (units, after)), actions=[[1] * 5]
    )
    for name in ("rewards", "terminated", "won", "truncated"):
        assert np.array_equal(first[name], other[name]), name
    size, ids = 5, np.array(enemies)
    blocks = [
        r["observations"][:, :, 4 : 4 + 6 * size].reshape(2, 5, 6, size) for r in (first, other)
    ]
    assert np.array_equal(blocks[0][:, :, ids], blocks[1])
    assert np.array_equal(first["observations"][:, :, 34:], other["observations"][:, :, 34:])
    assert np.array_equal(first["action_mask"][:, :, 6:][:, :, ids], other["action_mask"][:, :, 6:])


def test_units_that_leave_the_frames_are_dead_where_they_were():
    frames = columns(MARINES, MARINES)
    for name, column in frames.items():
        frames[name] = column.astype(float)
        frames[name][1, 4] = np.nan
    result = encode_episode("smac_3m", frames, [[1, 1, 1]])
    assert result["dead_enemies"].tolist() == [1]
    assert result["rewards"] == pytest.approx([55 / 18.25])


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda f: f.pop("hp"), "columns hp"),
        (lambda f: f.update(owner=f["owner"] * 0 + ALLY), "6 agents and 0 enemies"),
        (lambda f: f.update(type=f["tag"] + 1000), "type numbers"),
    ],
)
def test_frames_that_cannot_be_of_this_map_are_refused(change, match):
    frames = columns(MARINES, MARINES)
    change(frames)
    with pytest.raises(ValueError, match=match):
        encode_episode("smac_3m", frames, [[1, 1, 1]])


def test_actions_of_another_shape_are_refused():
    with pytest.raises(ValueError, match="actions have shape"):
        encode_episode("smac_3m", columns(MARINES, MARINES), [[1, 1]])


# -- SMACv2 ---------------------------------------------------------------------------------------


def encode_v2(scenario, *frames, **options):
    names = [unit.name for unit in frames[0]]
    return encode(f"smacv2_{scenario}", *frames, names=names, **options)


def row(owner, name, *xs, y=16.0):
    return [(ally if owner == ALLY else enemy)(name, x, y) for x in xs]


ZERG = "smacv2_zerg_5_vs_5"


def test_ranges_are_those_of_the_type():
    """An agent sees and reaches as its type does, from center to center; melee reaches 2."""
    units = [
        ally("baneling", 4, 16),
        *row(ALLY, "zergling", 4, 4, 4, y=10),
        ally("hydralisk", 4, 16),
    ]
    units += row(ENEMY, "zergling", 6, 6.01, 9, 11.99, 12)
    result = encode_v2("zerg_5_vs_5", units)
    assert result["ally_tags"].tolist() == [1, 5, 2, 3, 4]  # baneling, hydralisk, zerglings
    assert result["action_mask"][0, 0, 6:].tolist() == [1, 0, 0, 0, 0]
    assert result["action_mask"][0, 1, 6:].tolist() == [1, 1, 1, 0, 0]
    assert feature(result, ZERG, 0, "enemy_3.distance") == pytest.approx(7.99 / 8)
    assert feature(result, ZERG, 0, "enemy_4.distance") == 0
    assert feature(result, ZERG, 1, "enemy_4.distance") == pytest.approx(8 / 9)
    assert feature(result, ZERG, 0, "own.x") == 4 / 32


def test_the_original_wipes_enemies_before_one_that_nobody_has_seen():
    units = [*row(ALLY, "zergling", 4, 4, 4, 4, 4), *row(ENEMY, "zergling", 6, 7, 30, 8, 9)]
    seen = {
        faithful: encode_v2("zerg_5_vs_5", units, faithful=faithful)["observations"][0, 0, 5:44:8]
        for faithful in (True, False)
    }
    assert seen[True] == pytest.approx([0, 0, 0, 4 / 8, 5 / 8])
    assert seen[False] == pytest.approx([2 / 8, 3 / 8, 0, 4 / 8, 5 / 8])


def spotted(result, t):
    """Which of five zerg agents are shown enemy 0."""
    return (result["observations"][t, :, 5] > 0).tolist()


def test_in_epo_only_who_sees_an_enemy_first_is_shown_it():
    units = [*row(ALLY, "zergling", 4, 4.1, 4.2, 4.3, 4.4), *row(ENEMY, "zergling", 6, 6, 6, 6, 6)]
    order = [3, 0, 1, 2, 4]
    options = {"variant": "epo", "agent_order": [order, order], "first_order": order}
    result = encode_v2("zerg_5_vs_5", units, changed(units, u3=0), **options)
    assert spotted(result, 0) == [False, False, False, True, False]
    assert spotted(result, 1) == [True, False, False, False, False], "the next in line"
    assert result["action_mask"][0, :, 6:].all(), "all living targets are allowed"


def test_sightings_may_be_shared_by_chance():
    units = [*row(ALLY, "zergling", 4, 4.1, 4.2, 4.3, 4.4), *row(ENEMY, "zergling", 6, 6, 6, 6, 6)]
    shown = np.array(
        [
            encode_v2("zerg_5_vs_5", units, prob_obs_enemy=0.5, seed=s)["observations"][0, :, 5] > 0
            for s in range(200)
        ]
    )
    assert shown[:, 0].all()
    assert shown[:, 1:].mean() == pytest.approx(0.5, abs=0.08)


CONIC = {"variant": "conic"}
AROUND = [ally("marine", 16, 16), *row(ALLY, "marine", 2, 2, 2, 2, y=2)] + [
    enemy("marine", 16 + x, 16 + y) for x, y in ((4, 0), (-4, 0), (0, 4), (0, -4), (3, 3))
]


def shown_to_the_middle(result, t):
    agent = result["ally_tags"].tolist().index(1)
    return (result["observations"][t, agent, 5:44:8] > 0).tolist()


@pytest.mark.parametrize(("faithful", "west"), [(True, True), (False, False)])
def test_cones_begin_to_the_east_and_the_original_sees_west_too(faithful, west):
    result = encode_v2("terran_5_vs_5", AROUND, faithful=faithful, **CONIC)
    expected = (
        [False, False, False, False, False] if faithful else [True, west, False, False, False]
    )
    assert shown_to_the_middle(result, 0) == expected, "the original's wipe hides them all"
    agent = result["ally_tags"].tolist().index(1)
    assert result["action_mask"][0, agent, 18:].tolist() == [1, int(west), 0, 0, 0]
    assert result["action_mask"][0, agent, 6:18].all()


def test_looking_turns_the_cone():
    actions = np.full((2, 5), 1)
    first = encode_v2("terran_5_vs_5", AROUND, **CONIC)
    agent = first["ally_tags"].tolist().index(1)
    actions[0, agent] = 6 + 3  # 90 degrees
    result = encode_v2("terran_5_vs_5", AROUND, AROUND, AROUND, actions=actions, **CONIC)
    assert shown_to_the_middle(result, 1) == [False, False, True, False, False]
    assert shown_to_the_middle(result, 2) == [False, False, True, False, False], "it stays turned"
    look = [
        feature(result, "smacv2_terran_5_vs_5", agent, f"own.look_{a}", t=1, **CONIC) for a in "xy"
    ]
    assert look == pytest.approx([0, 1], abs=1e-6)


def test_nothing_but_the_time_can_be_observed():
    units = [*row(ALLY, "zergling", 4, 5, 6, 7, 8), *row(ENEMY, "zergling", 6, 7, 8, 9, 10)]
    result = encode_v2("zerg_5_vs_5", units, units, obs_starcraft=False, obs_timestep_number=True)
    assert result["observations"].shape == (2, 5, 1)
    assert result["observations"][1] == pytest.approx(1 / 200)
