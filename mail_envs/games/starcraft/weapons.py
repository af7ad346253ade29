"""Weapons: damage points, cooldowns, missiles, delayed hits, beams and explosions.

A unit whose target is in range and whose weapon is nearly ready stops, waits out the damage point and fires. Then the
weapon cools down, for its period and a jitter, which is the only chance in a fight. Marines and zerglings hit at once;
stalkers, marauders, hydralisks and spine crawlers launch a missile, which follows its target; the zealot's second
hit and the colossus' beams come later. Banelings explode, also when they are killed.
"""

import math

import numpy as np

from mail_envs.games.starcraft.movement import FIGHTING, gap, shared_function, travel
from mail_envs.games.starcraft.sight import ONE, ZERO, lives
from mail_envs.games.starcraft.units import BANELING, COLOSSUS, COOLDOWN_JITTER, MIN_DAMAGE
from mail_envs.kernels import device_function
from mail_envs.random import uniform

NOT_AIMING = np.float32(-1.0)
JITTER_FROM = np.float32(COOLDOWN_JITTER[0])
JITTER_SPAN = np.float32(COOLDOWN_JITTER[1] - COOLDOWN_JITTER[0])
LEAST_DAMAGE = np.float32(MIN_DAMAGE)
BEAM_LENGTH = np.float32(1.25)  # to both sides of the target, across the shot
BEAM_WIDTH = np.float32(0.15)  # to both sides of the line
BLAST = np.float32(2.2)  # radius of an explosion, to the edge of what it hits
HELP = np.float32(5.0)  # [inferred] distance in which allies react to an attack
ALERT = 48  # [inferred] loops for which a unit pursues a distant attacker
BIT = np.uint64(1)
NOBODY = np.uint64(0)


@device_function
def can_hit(state, params, i, j):
    """Whether unit i's weapon can hit units of j's type at all."""
    return params.damage[state.type[i], state.type[j]] > ZERO


@device_function
def first_foe(params, j):
    return params.num_agents if j < params.num_agents else 0


@device_function
def past_foes(params, j):
    return params.num_units if j < params.num_agents else params.num_agents


@shared_function
def hurt(state, params, j, by):
    """Apply one hit to unit j: the shield absorbs damage first, armor reduces the rest."""
    damage = params.damage[state.type[by], state.type[j]]
    absorbed = min(state.shield[j], damage)
    state.shield[j] -= absorbed
    damage -= absorbed
    if damage > ZERO:
        damage = max(damage - params.armor[state.type[j]], LEAST_DAMAGE)
        state.health[j] = max(state.health[j] - damage, ZERO)
    state.calm[j] = 0
    if not lives(state, j):
        state.bursts[j] = state.type[j] == BANELING
    elif j >= params.num_agents:
        raise_alarm(state, params, j, by)


@device_function
def raise_alarm(state, params, j, by):
    """Let an enemy that was hit, and idle allies of it nearby, pursue the attacker. Agents only follow orders."""
    for k in range(params.num_agents, params.num_units):
        hears = k == j or gap(state, params, j, k) <= HELP
        if (
            hears
            and lives(state, k)
            and (state.target[k] < 0 or (k == j and state.target[j] == by))
        ):
            if can_hit(state, params, k, by):
                aim_at(state, k, by)
                state.alert[k] = ALERT


@device_function
def aim_at(state, j, target):
    """Set the target of unit j, -1: none. A new target interrupts the damage point."""
    if state.target[j] != target:
        state.target[j] = target
        state.windup[j] = NOT_AIMING


@device_function
def engage(state, rng, params, j):
    """Let unit j attack its target: fire if possible, else approach."""
    kind = state.type[j]
    target = state.target[j]
    distance = gap(state, params, j, target)
    in_range = distance <= params.range[kind]
    if state.windup[j] >= ZERO and distance > params.range[kind] + params.slop[kind]:
        state.windup[j] = NOT_AIMING
    delay = params.damage_point[kind]
    if state.windup[j] < ZERO and in_range and state.cooldown[j] < delay + ONE:
        state.windup[j] = delay
    if state.windup[j] >= ZERO:
        state.stance[j] = FIGHTING
        if state.windup[j] < ONE and state.cooldown[j] < ONE:
            fire(state, rng, params, j, target)
        else:
            state.windup[j] = max(state.windup[j] - ONE, ZERO)
    elif in_range:
        state.stance[j] = FIGHTING
    else:
        travel(state, params, j, state.pos[target, 0], state.pos[target, 1])


@device_function
def fire(state, rng, params, j, target):
    kind = state.type[j]
    state.windup[j] = NOT_AIMING
    state.shot[j] = target
    state.cooldown[j] += params.period[kind] + JITTER_FROM + JITTER_SPAN * uniform(rng)
    if kind == BANELING:
        state.health[j] = ZERO
        state.bursts[j] = 1
    elif params.missile_speed[kind] > ZERO:
        launch(state, params, j, target)
    elif kind == COLOSSUS:
        sweep(state, params, j, target)
    else:
        hurt(state, params, target, j)
        if params.late_hits[kind] > 0:
            state.marked[j] = BIT << np.uint64(target - first_foe(params, j))
            state.late[j] = params.late_after[kind]


# -- missiles -------------------------------------------------------------------------------------


@device_function
def launch(state, params, j, target):
    """Launch a missile from the attacker's edge."""
    dx = state.pos[target, 0] - state.pos[j, 0]
    dy = state.pos[target, 1] - state.pos[j, 1]
    distance = math.sqrt(dx * dx + dy * dy)
    share = min(params.radius[state.type[j]] / max(distance, LEAST_DAMAGE), ONE)
    state.missile[j, 0] = state.pos[j, 0] + dx * share
    state.missile[j, 1] = state.pos[j, 1] + dy * share
    state.missile_target[j] = target


@device_function
def fly_missiles(state, params):
    """Move missiles towards their targets, which they hit at their edges; without a living target they disappear."""
    for j in range(params.num_units):
        target = state.missile_target[j]
        if target < 0:
            continue
        if not lives(state, target):
            state.missile_target[j] = -1
            continue
        dx = state.pos[target, 0] - state.missile[j, 0]
        dy = state.pos[target, 1] - state.missile[j, 1]
        distance = math.sqrt(dx * dx + dy * dy)
        step = params.missile_speed[state.type[j]]
        if distance - params.radius[state.type[target]] <= step:
            state.missile_target[j] = -1
            hurt(state, params, target, j)
        else:
            state.missile[j, 0] += dx / distance * step
            state.missile[j, 1] += dy / distance * step


# -- delayed hits -------------------------------------------------------------------------


@device_function
def sweep(state, params, j, target):
    """Mark the enemies on the beam, which is perpendicular to the shot and passes through the target."""
    dx = state.pos[target, 0] - state.pos[j, 0]
    dy = state.pos[target, 1] - state.pos[j, 1]
    distance = max(math.sqrt(dx * dx + dy * dy), LEAST_DAMAGE)
    dx, dy = dx / distance, dy / distance
    first = first_foe(params, j)
    marked = NOBODY
    for k in range(first, past_foes(params, j)):
        x = state.pos[k, 0] - state.pos[target, 0]
        y = state.pos[k, 1] - state.pos[target, 1]
        along = y * dx - x * dy
        beyond = max(abs(along) - BEAM_LENGTH, ZERO)
        off = x * dx + y * dy
        reach = BEAM_WIDTH + params.radius[state.type[k]]
        if lives(state, k) and beyond * beyond + off * off <= reach * reach:
            if can_hit(state, params, j, k):
                marked |= BIT << np.uint64(k - first)
    state.marked[j] = marked
    state.late[j] = params.late_after[state.type[j]]


@device_function
def late_hits(state, params):
    """Apply the second hits of zealots and the marked hits of colossi."""
    for j in range(params.num_units):
        if state.marked[j] == NOBODY:
            continue
        state.late[j] -= ONE
        if state.late[j] >= ONE:
            continue
        first = first_foe(params, j)
        for k in range(first, past_foes(params, j)):
            if (state.marked[j] >> np.uint64(k - first)) & BIT != NOBODY:
                for _ in range(params.late_hits[state.type[j]]):
                    if lives(state, k):
                        hurt(state, params, k, j)
        state.marked[j] = NOBODY


@device_function
def explode(state, params):
    """Let banelings that have died explode, including those killed by explosions."""
    again = params.has_banelings != 0
    while again:
        again = False
        for j in range(params.num_units):
            if state.bursts[j] != 0:
                state.bursts[j] = 0
                again = True
                for k in range(first_foe(params, j), past_foes(params, j)):
                    if lives(state, k) and can_hit(state, params, j, k):
                        if gap(state, params, j, k) + params.radius[BANELING] <= BLAST:
                            hurt(state, params, k, j)
