"""Who sees whom: distances, cones of sight, and SMACv2's sharing of sightings.

`state` is one battle's record, `params` that of `layout.layout_params`; i is an agent, j any unit's row, k an
enemy's id, whose row is N + k.
"""

import math

import numpy as np

from mail_envs.kernels import device_function
from mail_envs.random import uniform

ZERO = np.float32(0.0)
ONE = np.float32(1.0)
TINY = np.float32(1e-7)  # SMACv2's smallest horizontal offset


@device_function
def lives(state, j):
    return state.health[j] > ZERO


@device_function
def square_distance(state, i, j):
    dx = state.pos[j, 0] - state.pos[i, 0]
    dy = state.pos[j, 1] - state.pos[i, 1]
    return dx * dx + dy * dy


@device_function
def slope_angle(y, x, positive):
    """atan(y / x), with x at least TINY away from 0 on the side that `positive` says."""
    return math.atan(y / (max(x, TINY) if positive else min(x, -TINY)))


@device_function
def in_cone(state, params, i, j, reach):
    """Whether unit j is in agent i's cone and at most `reach` away.

    The original compares slopes instead of directions: cones to the east and to the west see both sides.
    """
    square = square_distance(state, i, j)
    if square > reach * reach:
        return False
    dx = state.pos[j, 0] - state.pos[i, 0]
    dy = state.pos[j, 1] - state.pos[i, 1]
    if params.faithful != 0:
        east = dx > ZERO
        offset = slope_angle(dy, dx, east) - slope_angle(state.look[i, 1], state.look[i, 0], east)
        return abs(offset) < params.half_angle
    along = dx * state.look[i, 0] + dy * state.look[i, 1]
    return along >= params.cos_half_angle * math.sqrt(square)


@device_function
def sees(state, params, i, j):
    """Whether unit j, dead or alive, is in the field of view of agent i."""
    sight = params.sight[state.type[i]]
    if params.conic_fov != 0:
        return in_cone(state, params, i, j, sight)
    return square_distance(state, i, j) < sight * sight


@device_function
def in_reach(state, params, i, j):
    """Whether unit j is close enough for agent i's orders to target it."""
    reach = params.reach[state.type[i]]
    if params.conic_fov != 0:
        return in_cone(state, params, i, j, reach)
    return square_distance(state, i, j) <= reach * reach


@device_function
def share_sightings(state, rng, params):
    """Update the sightings of all agents in the order of `state.order`; once per observation, before it is written.

    Who sees an enemy first tags it; everybody else may be shown it with probability `prob_obs_enemy`, until the
    tagger or the enemy dies. An agent that looked before its neighbor saw the enemy learns of it in the next round.
    """
    n = params.num_agents
    for turn in range(n):
        i = state.order[turn]
        for k in range(params.num_enemies):
            if state.tagger[k] < 0 and lives(state, i) and sees(state, params, i, n + k):
                state.tagger[k] = i
                for other in range(n):
                    if other == i or lucky(rng, params):
                        state.told[other, k] = 1
            state.shown[i, k] = state.told[i, k]


@device_function
def lucky(rng, params):
    p = params.prob_obs_enemy
    return p >= ONE or (p > ZERO and uniform(rng) < p)


@device_function
def forget_sightings(state, params):
    """Enemies whose tagger is dead and dead enemies can be tagged anew; after every round."""
    n = params.num_agents
    for k in range(params.num_enemies):
        tagger = state.tagger[k]
        if tagger >= 0 and not lives(state, tagger):
            for other in range(params.num_enemies):
                state.told[tagger, other] = 0
        if not lives(state, n + k) or (tagger >= 0 and not lives(state, tagger)):
            state.tagger[k] = -1
            for i in range(n):
                state.told[i, k] = 0


@device_function
def update_sightings(state, rng, params):
    """After a round: clear tags of dead units, then update sightings in the new `state.order`."""
    if params.shares_sightings != 0:
        forget_sightings(state, params)
        share_sightings(state, rng, params)


@device_function
def clear_sightings(state, params):
    """Clear all sightings, at the start of a battle."""
    for k in range(params.num_enemies):
        state.tagger[k] = -1
        for i in range(params.num_agents):
            state.told[i, k] = 0
            state.shown[i, k] = 0


@device_function
def hidden(state, params, i, k):
    """Whether enemy k is hidden from agent i, even if it is close."""
    return params.shares_sightings != 0 and state.shown[i, k] == 0


@device_function
def visible_between(state, params, i, j):
    """The original's visibility matrix, cones or not; among allies, the lower id's sight counts."""
    sight = params.sight[state.type[min(i, j)]]
    both = lives(state, i) and lives(state, j)
    return both and i != j and square_distance(state, i, j) < sight * sight
