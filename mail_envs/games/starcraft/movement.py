"""Unit movement: speed, walls, pathing around obstacles, and collisions.

In every game loop a walking unit takes one step and slides along walls. Then overlapping units are pushed apart, air
and ground units separately: fighting units do not move, idle units give way to friends, and standing units never give
way to foes. How units get past each other is inferred from the original: melee units, such as zerglings, go around a
crowd; ranged units only sidestep, which reproduces the length of battles between marines.
"""

import math
from typing import Any

import numpy as np
from numba import njit

from mail_envs.games.starcraft.paths import next_cell
from mail_envs.games.starcraft.sight import ONE, ZERO, lives
from mail_envs.games.starcraft.terrain import SIZE
from mail_envs.games.starcraft.units import COLOSSUS
from mail_envs.kernels import device_function

STANCES = IDLE, WALKING, FIGHTING = 0, 1, 2
HALF = np.float32(0.5)
DETOUR = 16  # loops for which a unit stays on the same side
CROWD = np.float32(4.0)  # radius in which a unit counts others to choose a side
TURNS = 4  # most units that one step goes around
TOUCH = np.float32(0.1)  # units with a smaller gap count as touching
AHEAD = np.float32(0.05)  # least cosine at which a unit is in the way
NEAR = np.float32(1e-3)  # smaller distances count as zero
MAP_END = np.nextafter(np.float32(SIZE), np.float32(0))  # still in the last cell, as masks ask

# Long functions with several callers are compiled once and not inlined: their arguments are records.
_OPTIONS: dict[str, Any] = {"error_model": "numpy", "_nrt": False}
shared_function = njit(**_OPTIONS)


@device_function
def gap(state, params, i, j):
    """Distance between the edges of two units."""
    dx = state.pos[j, 0] - state.pos[i, 0]
    dy = state.pos[j, 1] - state.pos[i, 1]
    radii = params.radius[state.type[i]] + params.radius[state.type[j]]
    return math.sqrt(dx * dx + dy * dy) - radii


@device_function
def can_stand(params, kind, x, y):
    """Whether a unit of a type may be at a point; flying units may be anywhere on the map."""
    if not (ZERO <= x <= MAP_END and ZERO <= y <= MAP_END):
        return False
    if params.flies[kind] != 0:
        return True
    return params.ground[np.int32(kind == COLOSSUS), np.int32(x), np.int32(y)] != 0


@shared_function
def slide(state, params, j, dx, dy):
    """Move unit j along each axis unless blocked: its edge stays out of walls, its center inside the map."""
    kind = state.type[j]
    x, y = state.pos[j, 0], state.pos[j, 1]
    body = params.separation[kind] if params.has_walls != 0 else ZERO
    new_x = min(max(x + dx, ZERO), MAP_END)
    edge = min(max(new_x + (body if dx > ZERO else -body), ZERO), MAP_END)
    if can_stand(params, kind, edge, y):
        x = new_x
    new_y = min(max(y + dy, ZERO), MAP_END)
    edge = min(max(new_y + (body if dy > ZERO else -body), ZERO), MAP_END)
    if can_stand(params, kind, x, edge):
        y = new_y
    state.pos[j, 0] = x
    state.pos[j, 1] = y


@device_function
def pace(state, params, j):
    """Distance that unit j moves in this loop; types with limited acceleration speed up."""
    kind = state.type[j]
    before = state.speed[j]
    state.speed[j] = min(before + params.acceleration[kind], params.speed[kind])
    if params.acceleration[kind] >= params.speed[kind]:
        return params.speed[kind]
    return HALF * (before + state.speed[j])


@device_function
def walk(state, params, j, x, y):
    """Move unit j one step straight toward a point; returns whether it has arrived."""
    dx = x - state.pos[j, 0]
    dy = y - state.pos[j, 1]
    distance = math.sqrt(dx * dx + dy * dy)
    if distance < NEAR:
        return True
    state.stance[j] = WALKING
    share = min(pace(state, params, j) / distance, ONE)
    if share < ONE:
        if params.range[state.type[j]] >= ONE:
            dx, dy = sidestep(state, j, dx, dy)
        elif state.blocker[j] >= 0 or state.detour[j] > 0:
            dx, dy = around(state, params, j, dx, dy, distance)
    state.blocker[j] = -1
    state.detour[j] = max(state.detour[j] - 1, 0)
    slide(state, params, j, dx * share, dy * share)
    return share == ONE


@device_function
def sidestep(state, j, dx, dy):
    """Direction (dx, dy) of a ranged unit, turned aside if it leads into the unit that blocked its last step.

    It turns to the nearer side, and keeps to that side while other units block it soon after.
    """
    if state.blocker[j] < 0:
        return dx, dy
    x = state.pos[state.blocker[j], 0] - state.pos[j, 0]
    y = state.pos[state.blocker[j], 1] - state.pos[j, 1]
    if dx * x + dy * y <= ZERO:
        return dx, dy
    if state.detour[j] == 0:
        state.turn[j] = ONE if dy * x - dx * y >= ZERO else -ONE
    state.detour[j] = DETOUR
    scale = state.turn[j] * math.sqrt((dx * dx + dy * dy) / (x * x + y * y))
    return -y * scale, x * scale


@shared_function
def around(state, params, j, dx, dy, length):
    """Direction (dx, dy), turned aside until no standing unit blocks it: along the edge of a crowd.

    It turns to the side with fewer units, and keeps to that side while other units block it soon after.
    """
    if state.detour[j] == 0:
        state.turn[j] = emptier_side(state, params, j, dx, dy)
    for _ in range(TURNS):
        k = in_the_way(state, params, j, dx, dy)
        if k < 0:
            break
        x = state.pos[k, 0] - state.pos[j, 0]
        y = state.pos[k, 1] - state.pos[j, 1]
        scale = state.turn[j] * length / math.sqrt(x * x + y * y)
        dx, dy = -y * scale, x * scale
        state.detour[j] = DETOUR
    return dx, dy


@device_function
def emptier_side(state, params, j, dx, dy):
    """The side of direction (dx, dy) with fewer units near unit j; 1: left, -1: right."""
    left = ZERO
    for k in range(params.num_units):
        x = state.pos[k, 0] - state.pos[j, 0]
        y = state.pos[k, 1] - state.pos[j, 1]
        square = x * x + y * y
        if square < CROWD * CROWD and k != j and lives(state, k):
            left += (dx * y - dy * x) / math.sqrt(max(square, NEAR))
    return -ONE if left > ZERO else ONE


@device_function
def in_the_way(state, params, j, dx, dy):
    """Row of the standing unit that (nearly) touches unit j and is most directly ahead; -1: none."""
    kind = state.type[j]
    best = -1
    most = AHEAD * math.sqrt(dx * dx + dy * dy)
    for k in range(params.num_units):
        x = state.pos[k, 0] - state.pos[j, 0]
        y = state.pos[k, 1] - state.pos[j, 1]
        other = state.type[k]
        reach = params.separation[kind] + params.separation[other] + TOUCH
        square = x * x + y * y
        if square < reach * reach and k != j and state.stance[k] != WALKING and lives(state, k):
            ahead = (dx * x + dy * y) / math.sqrt(max(square, NEAR))
            if ahead > most and params.flies[kind] == params.flies[other]:
                best, most = k, ahead
    return best


@shared_function
def travel(state, params, j, x, y):
    """`walk` that goes around walls."""
    cell = -1
    if params.has_corners != 0 and params.flies[state.type[j]] == 0 and state.type[j] != COLOSSUS:
        cell = next_cell(params, state.pos[j, 0], state.pos[j, 1], x, y)
    if cell >= 0:
        x = np.float32(cell // SIZE) + HALF
        y = np.float32(cell % SIZE) + HALF
    return walk(state, params, j, x, y) and cell < 0


@device_function
def yielding(state, i, j, friends):
    """Share of an overlap by which unit i gives way; unit j gives way by the rest."""
    if state.stance[i] == state.stance[j]:
        return HALF
    if state.stance[j] == FIGHTING:
        return ONE
    if state.stance[i] == FIGHTING:
        return ZERO
    # One is walking, the other idle.
    return np.float32((state.stance[i] == IDLE) == friends)


@device_function
def push_apart(state, params, i, j, reach):
    """Move two units until their centers are `reach` apart."""
    dx = state.pos[j, 0] - state.pos[i, 0]
    dy = state.pos[j, 1] - state.pos[i, 1]
    distance = math.sqrt(dx * dx + dy * dy)
    if distance < NEAR:
        dx, dy, distance = ONE, ZERO, ONE
        overlap = reach
    else:
        overlap = reach - distance
    friends = (i < params.num_agents) == (j < params.num_agents)
    if not friends and state.stance[i] != WALKING and state.stance[j] != WALKING:
        return  # foes never push each other
    mine = yielding(state, i, j, friends)
    x = dx / distance * overlap
    y = dy / distance * overlap
    if mine == ONE:
        state.blocker[i] = j
    elif mine == ZERO:
        state.blocker[j] = i
    if mine > ZERO:
        slide(state, params, i, -x * mine, -y * mine)
    if mine < ONE:
        slide(state, params, j, x * (ONE - mine), y * (ONE - mine))


@device_function
def separate(state, params):
    """Push apart all overlapping pairs of living units, air and ground separately."""
    for i in range(params.num_units):
        if not lives(state, i):
            continue
        kind = state.type[i]
        for j in range(i + 1, params.num_units):
            dx = state.pos[j, 0] - state.pos[i, 0]
            dy = state.pos[j, 1] - state.pos[i, 1]
            other = state.type[j]
            reach = params.separation[kind] + params.separation[other]
            if (
                dx * dx + dy * dy < reach * reach
                and lives(state, j)
                and params.flies[kind] == params.flies[other]
            ):
                push_apart(state, params, i, j, reach)
