"""The state record of a battle, and the sizes of its observations, states and masks.

Units are rows: the N agents in the order of their ids, then the M enemies in the order of theirs, U = N + M.
The functions that observe and score a battle (`sight`, `actions`, `observation`, `scoring`) accept anything with
the fields of `unit_fields`: an engine's record or a tuple of arrays.
"""

from __future__ import annotations

import math

import numpy as np

from mail_envs.games.starcraft import terrain
from mail_envs.games.starcraft.maps import Scenario
from mail_envs.games.starcraft.options import Options
from mail_envs.games.starcraft.units import (
    SMAC_COOLDOWN,
    SMAC_OTHER_COOLDOWN,
    SMAC_RANGE,
    SMAC_SIGHT,
    SMACV2_RANGE,
    SMACV2_SIGHT,
    TYPES,
    UNITS,
)

# Actions: no-op, stop, north, south, east, west, looks, targets.
NO_OP, STOP, NORTH, FIRST_LOOK = 0, 1, 2, 6
NUM_MOVES, NUM_PATHING, NUM_HEIGHT = 4, 8, 9
OUTCOMES = ONGOING, WON, LOST, DRAWN = 0, 1, 2, 3


def shares_sightings(scenario: Scenario, options: Options) -> bool:
    """Whether observations depend on who saw an enemy first; otherwise each agent is shown all that it sees."""
    return scenario.version == 2 and (options.faithful or options.prob_obs_enemy < 1.0)


def unit_fields(num_agents: int, num_enemies: int, sharing: bool, real: str = "f4") -> list[tuple]:
    """Fields that every battle record has; an engine adds its own.

    A record may have room for more units than the battle has; the counts are in the parameters.
    sharing: include the fields that `sight.share_sightings` needs. real: "f4" or "f8".
    """
    n, u = num_agents, num_agents + num_enemies
    m = num_enemies if sharing else 1
    pairs = (n, m) if sharing else (1, 1)
    return [
        ("pos", real, (u, 2)),  # of dead units: where they were last alive
        ("health", real, (u,)),  # 0: dead
        ("shield", real, (u,)),
        ("max_health", real, (u,)),
        ("before", real, (u,)),  # health + shield at the start of the round, 0: dead; see `scoring`
        ("energy", real, (u,)),
        ("cooldown", real, (u,)),  # loops until the weapon is ready
        ("type", "i4", (u,)),  # index in `units.TYPES`
        ("last_action", "i4", (n,)),  # -1: none yet
        ("look", real, (n, 2)),  # direction of the cone, a unit vector
        ("max_reward", real),  # scale of the rewards, see `scoring.largest_reward`
        ("rounds", "i4"),  # played so far
        # SMACv2: who has seen whom, see `sight.share_sightings`
        ("order", "i4", (n,)),  # in which agents observe in this round
        ("tagger", "i4", (m,)),  # who saw this enemy first, -1: nobody
        ("told", "u1", pairs),  # [agent, enemy]: whether the agent may be shown it
        ("shown", "u1", pairs),  # `told` at the time when the agent observed
    ]


def num_actions(scenario: Scenario, options: Options) -> int:
    """No-op, stop, four moves, looks, and one target for each enemy; medivacs target allies."""
    targets = scenario.num_enemies
    if scenario.version == 2 and scenario.medics:
        targets = max(targets, scenario.num_agents)
    return FIRST_LOOK + options.num_looks + targets


def block_sizes(scenario: Scenario, options: Options) -> dict[str, int]:
    """Length of each block of an observation: moves, one enemy, one ally, the agent itself, the time."""
    bits, shield = scenario.type_bits, (scenario.ally_race == "P", scenario.enemy_race == "P")
    health = options.obs_all_health
    actions = num_actions(scenario, options) * options.obs_last_action
    grid = NUM_PATHING * options.obs_pathing_grid + NUM_HEIGHT * options.obs_terrain_height
    own = (1 + shield[0]) * options.sees_own_health
    # SMAC counts the time among the own features, leaves that entry 0, and appends the time at the end.
    padding = options.faithful and scenario.version == 1 and options.obs_timestep_number
    return {
        "move": NUM_MOVES + grid,
        "enemy": 4 + bits + health * (1 + shield[1]),
        "ally": 4 + bits + health * (1 + shield[0]) + actions,
        "own": own + 2 * options.obs_own_pos + 2 * options.conic_fov + bits + padding,
        "time": int(options.obs_timestep_number),
    }


def observation_size(scenario: Scenario, options: Options) -> int:
    size = block_sizes(scenario, options)
    if not options.obs_starcraft:
        return size["time"]
    others = scenario.num_enemies * size["enemy"] + (scenario.num_agents - 1) * size["ally"]
    return size["move"] + others + size["own"] + size["time"]


def state_size(scenario: Scenario, options: Options) -> int:
    n, m, bits = scenario.num_agents, scenario.num_enemies, scenario.type_bits
    if options.obs_instead_of_state:
        return n * observation_size(scenario, options)
    ally = 4 + (scenario.ally_race == "P") + 2 * options.conic_fov + bits
    enemy = 3 + (scenario.enemy_race == "P") + bits
    actions = n * num_actions(scenario, options) * options.state_last_action
    return n * ally + m * enemy + actions + options.state_timestep_number


def max_cooldowns(faithful: bool) -> list[float]:
    """Scale of the cooldowns in the state, by type: the original's constants, or the longest possible cooldown."""
    if faithful:
        return [SMAC_COOLDOWN.get(t, SMAC_OTHER_COOLDOWN) for t in TYPES]
    return [u.longest_cooldown for u in UNITS.values()]


def ranges(scenario: Scenario, options: Options) -> tuple[list[float], list[float]]:
    """Sight and attack ranges by type, between centers."""
    if not options.use_unit_ranges:
        return [SMAC_SIGHT] * len(TYPES), [SMAC_RANGE] * len(TYPES)
    reach = [max(SMACV2_RANGE.get(t, SMAC_RANGE), options.min_attack_range) for t in TYPES]
    return [SMACV2_SIGHT.get(t, SMAC_SIGHT) for t in TYPES], reach


def _one_hot(types: tuple[str, ...], bits: int) -> list[int]:
    """Index of the bit of each type; -1 if it has none."""
    return [types.index(t) if bits and t in types else -1 for t in TYPES]


def _reals(scenario: Scenario, options: Options) -> dict:
    """Parameters that are real numbers, and their values."""
    sight, reach = ranges(scenario, options)
    looks = max(options.num_looks, 1)
    angles = 2 * np.pi * np.arange(max(looks, Options.num_fov_actions)) / looks
    return {
        "sight": sight,  # by type
        "reach": reach,  # by type
        "max_cooldown": max_cooldowns(options.faithful),  # by type
        "max_shield": [u.shield for u in UNITS.values()],  # by type
        "half_angle": np.pi / looks,  # of the cone
        "cos_half_angle": math.cos(np.pi / looks),
        "looks": np.stack([np.cos(angles), np.sin(angles)], axis=1),  # (12, 2), or more
        "probe": options.move_amount / 2,
        "prob_obs_enemy": options.prob_obs_enemy,
        "death_value": options.reward_death_value,
        "win": options.reward_win,
        "defeat": options.reward_defeat,
        "negative_scale": options.reward_negative_scale,
        "scale_rate": options.reward_scale_rate,
        "height": terrain.height(scenario.terrain),  # (32, 32)
    }


def _integers(scenario: Scenario, options: Options) -> dict:
    """Parameters that are integers or flags, and their values."""
    enemy_types = scenario.enemy_types if options.faithful else scenario.ally_types
    v1 = scenario.version == 1
    size = block_sizes(scenario, options)
    return {
        "num_agents": scenario.num_agents,
        "num_enemies": scenario.num_enemies,
        "num_units": scenario.num_agents + scenario.num_enemies,
        "ally_slot": _one_hot(scenario.ally_types, scenario.type_bits),  # by type
        "enemy_slot": _one_hot(enemy_types, scenario.type_bits),  # by type
        "type_bits": scenario.type_bits,
        "enemy_size": size["enemy"],
        "ally_size": size["ally"],
        "observation_size": observation_size(scenario, options),
        "state_size": state_size(scenario, options),
        "num_actions": num_actions(scenario, options),
        "first_target": FIRST_LOOK + options.num_looks,
        "num_looks": options.num_looks,
        "max_rounds": options.max_rounds or scenario.max_rounds,
        "far_cells": int(2 * options.move_amount),  # how far away the pathing grid is sampled
        "near_cells": int(options.move_amount),
        "medics": scenario.medics,
        "ally_shields": scenario.ally_race == "P",
        "enemy_shields": scenario.enemy_race == "P",
        "own_health": options.sees_own_health,
        "shares_sightings": shares_sightings(scenario, options),
        "regeneration_pays": options.faithful and v1,
        **{name: getattr(options, name) for name in _FLAGS},
    }


_FLAGS = (
    "faithful", "obs_all_health", "obs_last_action", "obs_pathing_grid", "obs_terrain_height",
    "obs_instead_of_state", "obs_timestep_number", "state_last_action", "state_timestep_number",
    "reward_sparse", "reward_only_positive", "reward_scale", "obs_own_pos", "obs_starcraft",
    "conic_fov", "fully_observable", "mask_targets",
)  # fmt: skip


def layout_params(scenario: Scenario, options: Options, real: str = "f4") -> dict[str, np.ndarray]:
    """Parameters of the functions that observe and score a battle, by name. `real`: "f4" or "f8".

    A game combines them with its own into one record, see `as_record`.
    """
    reals = {k: np.asarray(v, real) for k, v in _reals(scenario, options).items()}
    # int64, like loop counters, so that every function is compiled only once.
    integers = {k: np.asarray(v, np.int64) for k, v in _integers(scenario, options).items()}
    open_cells = terrain.pathing(scenario.terrain, diagonals=not options.faithful)
    return {**reals, **integers, "pathing": open_cells.astype(np.uint8)}  # (32, 32)


def as_record(fields: dict[str, np.ndarray]) -> np.ndarray:
    """A structured array of one record."""
    record = np.zeros(1, np.dtype([(k, v.dtype, v.shape) for k, v in fields.items()], align=True))
    for name, value in fields.items():
        record[name] = value
    return record
