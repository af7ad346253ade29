"""Orders of units: agents get them from actions, enemies from their maps.

Agents are passive: they follow their last order and then idle. Enemies choose targets automatically (`choose_target`),
and otherwise go where their map sends them.
"""

import numpy as np

from mail_envs.games.starcraft.actions import can_target, target_row
from mail_envs.games.starcraft.layout import NORTH, STOP
from mail_envs.games.starcraft.movement import FIGHTING, gap, travel
from mail_envs.games.starcraft.sight import ONE, ZERO, lives, square_distance
from mail_envs.games.starcraft.units import ENERGY_PER_LIFE, HEAL, LOOPS_PER_SECOND, MEDIVAC
from mail_envs.games.starcraft.weapons import NOT_AIMING, aim_at, can_hit
from mail_envs.kernels import device_function

# Enemies go to a point; after the nearest agent; stay where they are.
MARCH, PURSUE, GUARD = 0, 1, 2
HEAL_SCAN = np.float32(6.0)  # distance in which medivacs choose targets automatically
HEAL_ENERGY = np.float32(5.0)  # energy needed to begin healing
HEAL_PER_LOOP = np.float32(HEAL / LOOPS_PER_SECOND)
ENERGY_COST = np.float32(ENERGY_PER_LIFE)
FAR = np.float32(1e6)
TWO = np.float32(2.0)

# -- agents ---------------------------------------------------------------------------------------


@device_function
def give_order(state, params, i, action):
    """Agent i's action as an order. Looks, and targets that it cannot have, leave the last order in force."""
    if action == STOP:
        halt(state, i)
    elif NORTH <= action < NORTH + 4:
        halt(state, i)
        move = action - NORTH
        state.walks[i] = 1
        state.goal[i, 0] = state.pos[i, 0] + params.probe * TWO * east(move)
        state.goal[i, 1] = state.pos[i, 1] + params.probe * TWO * north(move)
    elif action >= params.first_target:
        target = target_row(state, params, i, action - params.first_target)
        if target >= 0 and can_target(state, params, i, action - params.first_target):
            if can_hit(state, params, i, target) or state.type[i] == MEDIVAC:
                aim_at(state, i, target)
                state.walks[i] = 0


@device_function
def halt(state, i):
    state.target[i] = -1
    state.windup[i] = NOT_AIMING
    state.walks[i] = 0


@device_function
def north(move):
    return np.float32(move == 0) - np.float32(move == 1)


@device_function
def east(move):
    return np.float32(move == 2) - np.float32(move == 3)


# -- enemies --------------------------------------------------------------------------------------


@device_function
def think(state, params, j, called):
    """Choose what enemy j does. `called`: pursuers get their orders in this loop."""
    if state.alert[j] > 0:
        state.alert[j] -= 1
    if state.type[j] == MEDIVAC:
        choose_patient(state, params, j)
    else:
        choose_target(state, params, j, called)


@device_function
def choose_target(state, params, j, called):
    """Keep the target while it is in range; otherwise choose the nearest agent in range or close enough to notice.

    A target that leaves is dropped, unless it has just hit the enemy or a nearby ally of it. Enemies that were ordered
    to attack a unit do so until it is dead.
    """
    target = state.target[j]
    keeps = target >= 0 and lives(state, target)
    if keeps:
        if state.bound[j] != 0:
            return
        distance = gap(state, params, j, target)
        if distance <= params.range[state.type[j]]:
            return
        keeps = distance <= params.scan[state.type[j]] or state.alert[j] > 0
    state.bound[j] = 0
    best, nearest = nearest_agent(state, params, j)
    if keeps and nearest > params.range[state.type[j]]:
        return
    if nearest <= params.scan[state.type[j]]:
        aim_at(state, j, best)
    elif called and params.enemy_plan == PURSUE and best >= 0:
        aim_at(state, j, best)
        state.bound[j] = 1
    else:
        aim_at(state, j, -1)


@device_function
def nearest_agent(state, params, j):
    """The agent nearest to enemy j that it can hit, and the gap to it."""
    best = -1
    nearest = FAR
    for i in range(params.num_agents):
        if lives(state, i) and can_hit(state, params, j, i):
            distance = gap(state, params, j, i)
            if distance < nearest:
                best, nearest = i, distance
    return best, nearest


@device_function
def choose_patient(state, params, j):
    """The enemies' medivac heals whoever has the smallest share of its life left, and follows the army if that marches."""
    target = state.target[j]
    if target >= 0 and lives(state, target) and is_hurt(state, target) and state.energy[j] > ONE:
        if gap(state, params, j, target) <= HEAL_SCAN:
            return
    best = -1
    friend = -1
    least = ONE
    nearest = FAR
    for k in range(params.num_agents, params.num_units):
        if k == j or not lives(state, k) or params.biological[state.type[k]] == 0:
            continue
        distance = square_distance(state, j, k)
        if distance < nearest:
            friend, nearest = k, distance
        share = state.health[k] / state.max_health[k]
        if share < least and gap(state, params, j, k) <= HEAL_SCAN:
            best, least = k, share
    aim_at(state, j, best if state.energy[j] >= HEAL_ENERGY else -1)
    state.walks[j] = params.enemy_plan == MARCH and friend >= 0 and nearest > ONE
    if friend >= 0:
        state.goal[j, 0] = state.pos[friend, 0]
        state.goal[j, 1] = state.pos[friend, 1]


# -- medivacs -------------------------------------------------------------------------------------


@device_function
def is_hurt(state, j):
    return state.health[j] < state.max_health[j]


@device_function
def heal(state, params, j):
    """Medivac j heals its target, or comes closer; it is done when that is whole."""
    target = state.target[j]
    if not is_hurt(state, target):
        aim_at(state, j, -1)
    elif gap(state, params, j, target) <= params.range[MEDIVAC]:
        state.stance[j] = FIGHTING
        state.speed[j] = ZERO
        life = min(HEAL_PER_LOOP, state.max_health[target] - state.health[target])
        life = min(life, state.energy[j] / ENERGY_COST)
        state.health[target] += life
        state.energy[j] -= life * ENERGY_COST
    else:
        travel(state, params, j, state.pos[target, 0], state.pos[target, 1])
