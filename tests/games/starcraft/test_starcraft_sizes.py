"""Sizes of observations, states and action spaces, and what their numbers are called."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mail_envs.games.starcraft import observation_names, state_names
from mail_envs.games.starcraft.layout import (
    as_record,
    layout_params,
    num_actions,
    observation_size,
    state_size,
)
from mail_envs.games.starcraft.maps import SCENARIOS, scenario
from mail_envs.games.starcraft.options import V2_ONLY, make_options

# As the original packages report them: agents, enemies, limit, observation, state, actions, largest reward.
SMAC = {
    "3m": (3, 3, 60, 30, 48, 9, 365),
    "8m": (8, 8, 120, 80, 168, 14, 640),
    "25m": (25, 25, 150, 250, 950, 31, 1575),
    "5m_vs_6m": (5, 6, 70, 55, 98, 12, 530),
    "8m_vs_9m": (8, 9, 120, 85, 179, 15, 695),
    "10m_vs_11m": (10, 11, 150, 105, 243, 17, 805),
    "27m_vs_30m": (27, 30, 180, 285, 1170, 36, 1850),
    "MMM": (10, 10, 150, 160, 290, 16, 1015),
    "MMM2": (10, 12, 180, 176, 322, 18, 1205),
    "2s3z": (5, 5, 120, 80, 120, 11, 1020),
    "3s5z": (8, 8, 150, 128, 216, 14, 1510),
    "3s5z_vs_3s6z": (8, 9, 170, 136, 230, 15, 1670),
    "3s_vs_3z": (3, 3, 150, 36, 54, 9, 680),
    "3s_vs_4z": (3, 4, 200, 42, 61, 10, 840),
    "3s_vs_5z": (3, 5, 250, 48, 68, 11, 1000),
    "1c3s5z": (9, 9, 180, 162, 270, 15, 1870),
    "2m_vs_1z": (2, 1, 150, 16, 26, 7, 360),
    "corridor": (6, 24, 400, 156, 282, 30, 1280),
    "6h_vs_8z": (6, 8, 150, 78, 140, 14, 1480),
    "2s_vs_1sc": (2, 1, 300, 17, 27, 7, 510),
    "so_many_baneling": (7, 32, 100, 202, 397, 38, 1480),
    "bane_vs_bane": (24, 24, 200, 336, 984, 30, 1260),
    "2c_vs_64zg": (2, 64, 400, 332, 342, 70, 3080),
}
# Observation, state, actions; the same with cones. Terran and zerg, then protoss.
SMACV2 = {
    (5, 5): ((82, 120, 11), (84, 190, 23), (92, 130, 11), (94, 200, 23)),
    (10, 10): ((162, 290, 16), (164, 430, 28), (182, 310, 16), (184, 450, 28)),
    (20, 20): ((322, 780, 26), (324, 1060, 38), (362, 820, 26), (364, 1100, 38)),
    (10, 11): ((170, 306, 17), (172, 446, 29), (191, 327, 17), (193, 467, 29)),
    (20, 23): ((346, 858, 29), (348, 1138, 41), (389, 901, 29), (391, 1181, 41)),
}


def sizes(id, variant="standard", **options):
    of = scenario(id)
    chosen = make_options(of, variant, **options)
    return observation_size(of, chosen), state_size(of, chosen), num_actions(of, chosen)


def test_every_scenario_is_in_the_tables():
    ids = {f"smac_{name.lower()}" for name in SMAC}
    ids |= {f"smacv2_{r}_{a}_vs_{b}" for r in ("protoss", "terran", "zerg") for a, b in SMACV2}
    assert set(SCENARIOS) == ids
    assert all(re.fullmatch(r"[a-z0-9][a-z0-9_]*", id) for id in SCENARIOS)


@pytest.mark.parametrize("name", SMAC)
def test_sizes_of_the_smac_maps(name):
    agents, enemies, limit, *expected, _ = SMAC[name]
    of = scenario(f"smac_{name.lower()}")
    assert (of.num_agents, of.num_enemies, of.max_rounds) == (agents, enemies, limit)
    assert sizes(of.id) == tuple(expected)
    bits, shields = of.type_bits, ((of.ally_race == "P"), (of.enemy_race == "P"))
    per_enemy, per_ally = 5 + shields[1] + bits, 5 + shields[0] + bits
    assert expected[0] == 4 + enemies * per_enemy + (agents - 1) * per_ally + per_ally - 4
    with_actions = expected[0] + (agents - 1) * expected[2]
    assert sizes(of.id, obs_last_action=True)[0] == with_actions


@pytest.mark.parametrize("size", SMACV2, ids=str)
@pytest.mark.parametrize("race", ["protoss", "terran", "zerg"])
def test_sizes_of_the_smacv2_scenarios(race, size):
    id = "smacv2_{}_{}_vs_{}".format(race, *size)
    plain, cones = SMACV2[size][2:] if race == "protoss" else SMACV2[size][:2]
    assert sizes(id) == sizes(id, "epo") == plain
    assert sizes(id, "conic") == cones
    assert scenario(id).max_rounds == 200


def test_smac_adds_a_zero_before_the_time_and_announces_one_number_less():
    assert sizes("smac_3m", obs_timestep_number=True)[0] == 31
    assert sizes("smac_3m", obs_timestep_number=True, faithful=True)[0] == 32
    assert sizes("smacv2_zerg_5_vs_5", obs_timestep_number=True, faithful=True)[0] == 83


def test_observations_can_be_the_state():
    obs, state, _ = sizes("smac_2s3z", obs_instead_of_state=True, obs_pathing_grid=True)
    assert (obs, state) == (88, 5 * 88)


FLAGS = (
    "faithful", "obs_all_health", "obs_own_health", "obs_last_action", "obs_pathing_grid",
    "obs_terrain_height", "obs_instead_of_state", "obs_timestep_number", "state_last_action",
    "state_timestep_number", "obs_own_pos", "conic_fov", "use_unit_ranges",
)  # fmt: skip


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(sorted(SCENARIOS)), st.fixed_dictionaries({f: st.booleans() for f in FLAGS}))
def test_every_number_has_a_name(id, options):
    of = scenario(id)
    if of.version == 1:
        options = {k: v for k, v in options.items() if k not in V2_ONLY}
    observation, state, _ = sizes(id, **options)
    names, global_names = observation_names(id, **options), state_names(id, **options)
    assert (len(names), len(set(names))) == (observation, observation)
    assert (len(global_names), len(set(global_names))) == (state, state)


def test_names_say_where_a_number_is():
    names = observation_names("smac_2s3z")
    assert names[:5] == [*(f"can_move.{m}" for m in ("north", "south", "east", "west")), "enemy_0.attackable"]  # fmt: skip
    assert names[-4:] == ["own.health", "own.shield", "own.is_stalker", "own.is_zealot"]
    assert observation_names("smac_2s3z", faithful=True)[10:12] == ["enemy_0.is_zealot", "enemy_0.is_stalker"]  # fmt: skip


@pytest.mark.parametrize(
    ("id", "options", "error", "match"),
    [
        ("smac_3n", {}, ValueError, "smac_3m"),
        ("smac_3m", {"conic_fov": True}, TypeError, "smacv2_"),
        ("smac_3m", {"obs_lastaction": True}, TypeError, "obs_last_action"),
        ("smac_3m", {"variant": "epo"}, ValueError, "smacv2_"),
        ("smacv2_zerg_5_vs_5", {"variant": "blind"}, ValueError, "'conic'"),
        ("smacv2_zerg_5_vs_5", {"prob_obs_enemy": 2.0}, ValueError, "prob_obs_enemy"),
        ("smacv2_zerg_5_vs_5", {"obs_starcraft": False}, ValueError, "obs_timestep_number"),
    ],
)
def test_what_does_not_exist_is_refused_with_a_hint(id, options, error, match):
    with pytest.raises(error, match=match):
        observation_names(id, **options)


def test_the_original_name_of_an_option_is_understood():
    assert not make_options(scenario("smacv2_zerg_5_vs_5"), action_mask=False).mask_targets


def test_parameters_make_one_aligned_record():
    of = scenario("smac_corridor")
    params = as_record(layout_params(of, make_options(of)))
    assert params.shape == (1,)
    assert params["num_units"][0] == 30
    assert params["sight"].dtype == np.float32
    assert params.nbytes < 8192
