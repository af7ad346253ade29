"""Observations and the global state, written in place.

Functions named `write_*` take the position k in `out` where they begin and return the next one.
"""

import math

import numpy as np

from mail_envs.games.starcraft.actions import attackable, is_medic, walkable, write_mask
from mail_envs.games.starcraft.layout import NORTH
from mail_envs.games.starcraft.sight import hidden, lives, sees, square_distance
from mail_envs.games.starcraft.units import MAX_ENERGY
from mail_envs.kernels import device_function

ZERO = np.float32(0.0)
ONE = np.float32(1.0)
CENTER = np.float32(16.0)
MAP_SIZE = np.float32(32.0)
FULL_ENERGY = np.float32(MAX_ENERGY)


@device_function
def observe_env(state, params, observations, action_mask, alive, global_state):
    """Write all outputs of one battle: float32 (N, D), int8 (N, A), bool (N,), float32 (S,)."""
    for i in range(params.num_agents):
        alive[i] = lives(state, i)
        write_mask(state, params, i, action_mask[i])
        write_observation(state, params, i, action_mask[i], observations[i])
    if params.obs_instead_of_state != 0:
        k = 0
        for i in range(params.num_agents):
            for d in range(params.observation_size):
                global_state[k + d] = observations[i, d]
            k += params.observation_size
    else:
        write_state(state, params, global_state)


@device_function
def write_observation(state, params, i, mask, out):
    """Agent i's observation; for a dead agent, all entries but the time are 0."""
    for d in range(out.shape[0]):
        out[d] = ZERO
    if lives(state, i) and params.obs_starcraft != 0:
        k = write_surroundings(state, params, i, mask, out)
        k = write_enemies(state, params, i, out, k)
        k = write_allies(state, params, i, out, k)
        write_oneself(state, params, i, out, k)
    if params.obs_timestep_number != 0:
        out[params.observation_size - 1] = played(state, params)


@device_function
def played(state, params):
    """Rounds played, as a fraction of the time limit."""
    return np.float32(state.rounds) / np.float32(params.max_rounds)


@device_function
def write_surroundings(state, params, i, mask, out):
    """Legal moves, and the pathing grid and terrain height around the agent."""
    for move in range(4):
        out[move] = np.float32(mask[NORTH + move])
    k = 4
    if params.obs_pathing_grid != 0:
        for point in range(8):
            x, y = nearby(state, params, i, point)
            out[k + point] = np.float32(walkable(params, x, y) or not on_map(params, x, y))
        k += 8
    if params.obs_terrain_height != 0:
        for point in range(9):
            x, y = nearby(state, params, i, point)
            out[k + point] = params.height[x, y] if on_map(params, x, y) else ONE
        k += 9
    return k


@device_function
def on_map(params, x, y):
    return 0 <= x < params.pathing.shape[0] and 0 <= y < params.pathing.shape[1]


@device_function
def nearby(state, params, i, point):
    """Sample cells, as in the original: far N, S, E, W; near NE, SW, SE, NW; the agent's own cell."""
    x, y = np.int32(state.pos[i, 0]), np.int32(state.pos[i, 1])
    sign = 1 if point % 2 == 0 else -1
    if point < 2:
        y += sign * params.far_cells
    elif point < 4:
        x += sign * params.far_cells
    elif point < 8:
        x += sign * params.near_cells
        y += params.near_cells if point == 4 or point == 7 else -params.near_cells
    return x, y


@device_function
def write_offset(state, params, i, j, out, k):
    """Distance and offset from agent i to unit j, divided by i's sight range."""
    sight = params.sight[state.type[i]]
    out[k] = math.sqrt(square_distance(state, i, j)) / sight
    out[k + 1] = (state.pos[j, 0] - state.pos[i, 0]) / sight
    out[k + 2] = (state.pos[j, 1] - state.pos[i, 1]) / sight
    return k + 3


@device_function
def write_health(state, params, j, shields, out, k):
    """Health and, if that side has shields, shield of unit j, as fractions of their maxima."""
    out[k] = state.health[j] / state.max_health[j]
    if shields == 0:
        return k + 1
    out[k + 1] = state.shield[j] / params.max_shield[state.type[j]]
    return k + 2


@device_function
def write_bit(slot, bits, out, k):
    """A one-hot code; `out` must be zero there."""
    if slot >= 0:
        out[k + slot] = ONE
    return k + bits


@device_function
def first_enemy_shown(state, params, i):
    """First enemy in the observation: SMACv2 erases the enemies before one that is hidden from the agent."""
    first = 0
    if params.shares_sightings != 0 and params.faithful != 0:
        for k in range(params.num_enemies):
            if hidden(state, params, i, k):
                first = k + 1
    return first


@device_function
def shows_enemy(state, params, i, k):
    j = params.num_agents + k
    if not lives(state, j):
        return False
    return params.fully_observable != 0 or (
        not hidden(state, params, i, k) and sees(state, params, i, j)
    )


@device_function
def write_enemies(state, params, i, out, start):
    """Per enemy: attackable, distance, dx, dy, (health, (shield)), (type)."""
    for e in range(first_enemy_shown(state, params, i), params.num_enemies):
        if shows_enemy(state, params, i, e):
            j = params.num_agents + e
            k = start + e * params.enemy_size
            out[k] = np.float32(attackable(state, params, i, e))
            k = write_offset(state, params, i, j, out, k + 1)
            if params.obs_all_health != 0:
                k = write_health(state, params, j, params.enemy_shields, out, k)
            write_bit(params.enemy_slot[state.type[j]], params.type_bits, out, k)
    return start + params.num_enemies * params.enemy_size


@device_function
def write_allies(state, params, i, out, k):
    """Per other ally: visible, distance, dx, dy, (health, (shield)), (type), (last action)."""
    for j in range(params.num_agents):
        if j == i:
            continue
        if lives(state, j) and (params.fully_observable != 0 or sees(state, params, i, j)):
            out[k] = ONE
            at = write_offset(state, params, i, j, out, k + 1)
            if params.obs_all_health != 0:
                at = write_health(state, params, j, params.ally_shields, out, at)
            at = write_bit(params.ally_slot[state.type[j]], params.type_bits, out, at)
            if params.obs_last_action != 0:
                write_bit(state.last_action[j], 0, out, at)
        k += params.ally_size
    return k


@device_function
def write_oneself(state, params, i, out, k):
    """(Health, (shield)), (x, y), (cone), (type)."""
    if params.own_health != 0:
        k = write_health(state, params, i, params.ally_shields, out, k)
    if params.obs_own_pos != 0:
        out[k] = state.pos[i, 0] / MAP_SIZE
        out[k + 1] = state.pos[i, 1] / MAP_SIZE
        k += 2
    if params.conic_fov != 0:
        out[k] = state.look[i, 0]
        out[k + 1] = state.look[i, 1]
        k += 2
    return write_bit(params.ally_slot[state.type[i]], params.type_bits, out, k)


@device_function
def write_state(state, params, out):
    """Allies, enemies, last actions, time."""
    for d in range(out.shape[0]):
        out[d] = ZERO
    n = params.num_agents
    k = 0
    for j in range(n):
        k = write_ally_state(state, params, j, out, k)
    for j in range(n, params.num_units):
        k = write_enemy_state(state, params, j, out, k)
    if params.state_last_action != 0:
        for i in range(n):
            k = write_bit(state.last_action[i], params.num_actions, out, k)
    if params.state_timestep_number != 0:
        out[k] = played(state, params)


@device_function
def write_place(state, j, out, k):
    """Position relative to the map's center, divided by the map's size."""
    out[k] = (state.pos[j, 0] - CENTER) / MAP_SIZE
    out[k + 1] = (state.pos[j, 1] - CENTER) / MAP_SIZE
    return k + 2


@device_function
def write_ally_state(state, params, j, out, k):
    """Health, cooldown (energy of a medivac), x, y, (shield), (cone), (type); 0 if dead."""
    end = k + 4 + params.ally_shields + 2 * params.conic_fov + params.type_bits
    if lives(state, j):
        out[k] = state.health[j] / state.max_health[j]
        if is_medic(state, params, j):
            out[k + 1] = state.energy[j] / FULL_ENERGY
        else:
            out[k + 1] = state.cooldown[j] / params.max_cooldown[state.type[j]]
        k = write_place(state, j, out, k + 2)
        if params.ally_shields != 0:
            out[k] = state.shield[j] / params.max_shield[state.type[j]]
            k += 1
        if params.conic_fov != 0:
            out[k] = state.look[j, 0]
            out[k + 1] = state.look[j, 1]
            k += 2
        write_bit(params.ally_slot[state.type[j]], params.type_bits, out, k)
    return end


@device_function
def write_enemy_state(state, params, j, out, k):
    """Health, x, y, (shield), (type); 0 if dead."""
    end = k + 3 + params.enemy_shields + params.type_bits
    if lives(state, j):
        out[k] = state.health[j] / state.max_health[j]
        k = write_place(state, j, out, k + 1)
        if params.enemy_shields != 0:
            out[k] = state.shield[j] / params.max_shield[state.type[j]]
            k += 1
        write_bit(params.enemy_slot[state.type[j]], params.type_bits, out, k)
    return end
