"""The combat engine: one game loop, a sixteenth of a second.

In every loop the enemies choose targets; all units act, in the order of their rows or, at random, in the reverse order;
missiles move and delayed hits land; banelings explode; overlapping units are pushed apart; units regenerate.
"""

from __future__ import annotations

import numpy as np

from mail_envs.games.starcraft import paths
from mail_envs.games.starcraft.maps import Scenario
from mail_envs.games.starcraft.movement import IDLE, separate, travel, walk
from mail_envs.games.starcraft.orders import GUARD, MARCH, PURSUE, halt, heal, think
from mail_envs.games.starcraft.sight import ONE, ZERO, lives
from mail_envs.games.starcraft.units import (
    COLOSSUS,
    ENERGY_REGENERATION,
    LOOPS_PER_SECOND,
    LOOPS_PER_STEP,
    MAX_ENERGY,
    MEDIVAC,
    MIN_SCAN_RANGE,
    RANGE_SLOP,
    SHIELD_DELAY,
    SHIELD_REGENERATION,
    SPINE_CRAWLER,
    UNITS,
    ZEALOT,
    ZERG_REGENERATION,
    Unit,
)
from mail_envs.games.starcraft.weapons import engage, explode, fly_missiles, late_hits
from mail_envs.kernels import device_function
from mail_envs.random import uniform

AT_ONCE = 1000.0  # acceleration of units on the ground
BEAMS_LAND = 10.0  # loops after the shot, because beams sweep
BLAST_ON_STRUCTURES = 80.0
PLANS = {"attack_move": MARCH, "attack": PURSUE, "closest": PURSUE, "none": GUARD}
FULL_ENERGY = np.float32(MAX_ENERGY)
SHIELD_PER_LOOP = np.float32(SHIELD_REGENERATION / LOOPS_PER_SECOND)
ENERGY_PER_LOOP = np.float32(ENERGY_REGENERATION / LOOPS_PER_SECOND)
HALF = np.float32(0.5)


def combat_fields(num_units: int) -> list[tuple]:
    """Further fields of a battle's record, besides `layout.unit_fields`."""
    u = num_units
    return [
        ("goal", "f4", (u, 2)),  # where a unit walks
        ("walks", "i4", (u,)),  # whether it does, when it has no target
        ("target", "i4", (u,)),  # row of the unit to attack or heal, -1: none
        ("bound", "i4", (u,)),  # whether it keeps its target until that is dead
        ("alert", "i4", (u,)),  # loops for which it follows a distant target
        ("shot", "i4", (u,)),  # row that it has fired at in this round, -1: none
        ("stance", "i4", (u,)),  # of `movement.STANCES`, in this loop
        ("speed", "f4", (u,)),  # now, per loop
        ("blocker", "i4", (u,)),  # row of the unit that blocks it, -1: none
        ("detour", "i4", (u,)),  # loops for which it passes that unit on one side
        ("turn", "f4", (u,)),  # the side: 1 left, -1 right
        ("windup", "f4", (u,)),  # loops until the shot, negative: not aiming
        ("calm", "i4", (u,)),  # loops since it was hit
        ("late", "f4", (u,)),  # loops until delayed hits
        ("marked", "u8", (u,)),  # units that they will hit: bits, by index on the other side
        ("missile", "f4", (u, 2)),  # where the missile is
        ("missile_target", "i4", (u,)),  # row, -1: there is none
        ("bursts", "i4", (u,)),  # baneling about to explode
        ("phase", "i4"),  # loop of the half second in which pursuers are told whom to attack
        ("team_return", "f4"),  # sum of the rewards
    ]


def damage_table() -> list[list[float]]:
    """Damage of one hit, by the types of attacker and target; 0 if the weapon cannot hit ground or air."""
    return [[_damage(name, by, target) for target in UNITS.values()] for name, by in UNITS.items()]


def _damage(name: str, by: Unit, target: Unit) -> float:
    if ("air" if target.flies else "ground") not in by.targets:
        return 0.0
    if name == "baneling" and "structure" in target.attributes:
        return BLAST_ON_STRUCTURES
    return by.damage + by.bonus * (by.bonus_against in target.attributes)


def combat_params(of: Scenario) -> dict[str, np.ndarray]:
    """Parameters of the fight, by name: tables by type (10,), in loops where there is time in them."""
    units, second = list(UNITS.values()), LOOPS_PER_SECOND
    weaponless = [not u.targets for u in units]
    reals = {
        "full_health": [u.health for u in units],
        "armor": [u.armor for u in units],
        "radius": [u.radius for u in units],
        "separation": [u.separation for u in units],
        "speed": [u.speed / second for u in units],
        "acceleration": [(u.acceleration or AT_ONCE) / second**2 for u in units],
        "range": [u.range for u in units],
        "slop": [0.0 if k in (COLOSSUS, SPINE_CRAWLER) else RANGE_SLOP for k in range(len(units))],
        "scan": [0.0 if w else max(MIN_SCAN_RANGE, u.range) for u, w in zip(units, weaponless)],
        "period": [u.period * second for u in units],
        "damage_point": [u.damage_point * second for u in units],
        "missile_speed": [(u.missile_speed or 0.0) / second for u in units],
        "late_after": [BEAMS_LAND if k == COLOSSUS else u.hit_gap * second for k, u in enumerate(units)],
        "regeneration": [ZERG_REGENERATION / second * (u.race == "Z") for u in units],
        "damage": damage_table(),
    }  # fmt: skip
    number, bends = paths.ways(of.terrain)
    late = {COLOSSUS: UNITS["colossus"].hits, ZEALOT: UNITS["zealot"].hits - 1}
    integers = {
        "flies": [u.flies for u in units],
        "biological": ["biological" in u.attributes for u in units],
        "late_hits": [late.get(k, 0) for k in range(len(units))],
        "enemy_plan": PLANS[of.enemy_order],
        "called_always": of.enemy_order == "attack",
        "has_walls": of.terrain != "flat",
        "has_corners": of.terrain in paths.WITH_CORNERS,
        "has_banelings": "baneling" in (*of.ally_types, *(name for name, _ in of.enemies)),
    }
    return {
        **{k: np.asarray(v, np.float32) for k, v in reals.items()},
        **{k: np.asarray(v, np.int64) for k, v in integers.items()},
        "ground": paths.ground(of.terrain),
        "cell_number": number,
        "first_bend": bends,
    }


@device_function
def fight(state, rng, params):
    """One round: eight loops."""
    for j in range(params.num_units):
        state.shot[j] = -1
    for loop in range(LOOPS_PER_STEP):
        called = params.called_always != 0 or loop == state.phase
        for j in range(params.num_agents, params.num_units):
            if lives(state, j):
                think(state, params, j, called)
        backwards = uniform(rng) < HALF
        for turn in range(params.num_units):
            j = params.num_units - 1 - turn if backwards else turn
            if lives(state, j):
                act(state, rng, params, j)
        fly_missiles(state, params)
        late_hits(state, params)
        explode(state, params)
        separate(state, params)
        for j in range(params.num_units):
            if lives(state, j):
                recover(state, params, j)


@device_function
def act(state, rng, params, j):
    """Let unit j fight, heal, walk or idle."""
    state.stance[j] = IDLE
    if state.target[j] >= 0 and not lives(state, state.target[j]):
        halt_if_done(state, params, j)
    if state.target[j] >= 0:
        if state.type[j] == MEDIVAC:
            heal(state, params, j)
        else:
            engage(state, rng, params, j)
    elif state.walks[j] != 0:
        go(state, params, j)
    if state.stance[j] == IDLE:
        state.speed[j] = ZERO


@device_function
def halt_if_done(state, params, j):
    """The target is dead: agents idle, enemies look for another one in the next loop."""
    walks = state.walks[j] if j >= params.num_agents else 0
    halt(state, j)
    state.walks[j] = walks


@device_function
def go(state, params, j):
    """Agents walk in a straight line and stop at the goal; enemies find paths."""
    x, y = state.goal[j, 0], state.goal[j, 1]
    if j >= params.num_agents:
        travel(state, params, j, x, y)
    elif walk(state, params, j, x, y):
        state.walks[j] = 0


@device_function
def recover(state, params, j):
    """Update the cooldown, shield, health and energy of unit j."""
    kind = state.type[j]
    state.cooldown[j] = max(state.cooldown[j] - ONE, ZERO)
    full = params.max_shield[kind]
    if state.calm[j] >= SHIELD_DELAY and state.shield[j] < full:
        state.shield[j] = min(state.shield[j] + SHIELD_PER_LOOP, full)
    state.calm[j] += 1
    if params.regeneration[kind] > ZERO:
        state.health[j] = min(state.health[j] + params.regeneration[kind], state.max_health[j])
    if kind == MEDIVAC:
        state.energy[j] = min(state.energy[j] + ENERGY_PER_LOOP, FULL_ENERGY)
