"""The availability mask.

0 no-op (of dead agents only), 1 stop, 2 to 5 move north, south, east, west, then with cones one action per
direction, then one per target: enemies by id, or, for a medivac, allies by id.
"""

import numpy as np

from mail_envs.games.starcraft.layout import FIRST_LOOK, NO_OP, NORTH, STOP
from mail_envs.games.starcraft.sight import in_reach, lives
from mail_envs.games.starcraft.units import MEDIVAC
from mail_envs.kernels import device_function


@device_function
def is_medic(state, params, j):
    return params.medics != 0 and state.type[j] == MEDIVAC


@device_function
def walkable(params, x, y):
    """Whether a cell is on the map and open."""
    inside = 0 <= x < params.pathing.shape[0] and 0 <= y < params.pathing.shape[1]
    return inside and params.pathing[x, y] != 0


@device_function
def can_move(state, params, i, move):
    """Whether the one cell that the original checks is open; `move`: 0 north, 1 south, 2 east, 3 west."""
    x, y = state.pos[i, 0], state.pos[i, 1]
    if move < 2:
        y += params.probe if move == 0 else -params.probe
    else:
        x += params.probe if move == 2 else -params.probe
    return walkable(params, np.int32(x), np.int32(y))


@device_function
def target_row(state, params, i, target):
    """The unit that agent i's action targets; -1 if it can never target it."""
    n = params.num_agents
    if is_medic(state, params, i):
        return target if target < n and not is_medic(state, params, target) else -1
    return n + target if target < params.num_enemies else -1


@device_function
def can_target(state, params, i, target):
    """Whether agent i's target is alive and in range; units with full health can be healed."""
    j = target_row(state, params, i, target)
    return j >= 0 and lives(state, j) and in_reach(state, params, i, j)


@device_function
def attackable(state, params, i, k):
    """Whether observations show enemy k as attackable. For medivacs, the original shows whether they can heal ally k."""
    if params.faithful == 0 and is_medic(state, params, i):
        return False
    return can_target(state, params, i, k)


@device_function
def may_order(state, params, i, target):
    if params.mask_targets != 0:
        return can_target(state, params, i, target)
    j = target_row(state, params, i, target)
    return j >= 0 and lives(state, j)


@device_function
def write_mask(state, params, i, mask):
    """Agent i's row of the availability mask: int8 (A,)."""
    alive = lives(state, i)
    mask[NO_OP] = not alive
    mask[STOP] = alive
    for move in range(4):
        mask[NORTH + move] = alive and can_move(state, params, i, move)
    for look in range(params.num_looks):
        mask[FIRST_LOOK + look] = alive
    for target in range(params.num_actions - params.first_target):
        allowed = alive and may_order(state, params, i, target)
        mask[params.first_target + target] = allowed


@device_function
def note_action(state, params, i, action):
    """Store the action of agent i (-1: none) and turn its cone."""
    state.last_action[i] = action
    if FIRST_LOOK <= action < params.first_target:
        state.look[i, 0] = params.looks[action - FIRST_LOOK, 0]
        state.look[i, 1] = params.looks[action - FIRST_LOOK, 1]
