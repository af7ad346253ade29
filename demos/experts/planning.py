"""Short exhaustive plans for bodies of the particle world, compiled.

An agent tries every sequence of pushes over a few rounds with its own dynamics, the others being expected
to coast (or, when they have planned already in this round, to do as they planned). Branches whose cost
already exceeds the best plan's are cut.
"""

from __future__ import annotations

import numpy as np
from numba import njit

DT = 0.1
KEEP = 0.75
PUSHES = 5  # none, left, right, down, up
MAX_DEPTH = 6


@njit(cache=True)
def advance(x, y, vx, vy, action, accel, max_speed, position_first):
    """One round of one body without contacts; returns the new x, y, vx, vy."""
    new_vx = KEEP * vx + DT * accel * ((action == 2) - (action == 1))
    new_vy = KEEP * vy + DT * accel * ((action == 4) - (action == 3))
    speed = np.sqrt(new_vx * new_vx + new_vy * new_vy)
    if speed > max_speed:
        new_vx *= max_speed / speed
        new_vy *= max_speed / speed
    if position_first:
        return x + DT * vx, y + DT * vy, new_vx, new_vy
    return x + DT * new_vx, y + DT * new_vy, new_vx, new_vy


@njit(cache=True)
def coast(bodies, depth, max_speed, position_first):
    """Where bodies (N, 4) will be in the next rounds when nobody pushes: float64 (N, depth, 2)."""
    path = np.empty((len(bodies), depth, 2))
    for i in range(len(bodies)):
        x, y, vx, vy = bodies[i]
        for k in range(depth):
            x, y, vx, vy = advance(x, y, vx, vy, 0, 0.0, max_speed[i], position_first)
            path[i, k, 0], path[i, k, 1] = x, y
    return path


@njit(cache=True)
def crowding(i, x, y, paths, k, reach, hard):
    """Price of being at (x, y) in round k: overlap with the others' expected places."""
    total = 0.0
    for j in range(len(paths)):
        if j != i:
            dx, dy = x - paths[j, k, 0], y - paths[j, k, 1]
            square = dx * dx + dy * dy
            if square < reach * reach:
                total += 1.0 if hard else reach - np.sqrt(square)
    return total


@njit(cache=True)
def approach(i, body, target, paths, depth, accel, max_speed, position_first, reach, hard, weight):
    """First push of the best plan to `target`, and where the plan leads: (action, (depth, 2)).

    Cost of a plan: over its rounds, the distance to the target plus `weight` times the crowding.
    """
    nodes = np.empty((MAX_DEPTH + 1, 5))  # x, y, vx, vy, cost so far
    nodes[0, :4] = body
    nodes[0, 4] = 0.0
    trail = np.empty((depth, 2))
    choice = np.full(MAX_DEPTH, -1, np.int64)
    best, best_action = np.inf, 0
    best_trail = np.empty((depth, 2))
    k = 0
    while k >= 0:
        choice[k] += 1
        if choice[k] == PUSHES:
            choice[k] = -1
            k -= 1
            continue
        x, y, vx, vy = advance(
            nodes[k, 0], nodes[k, 1], nodes[k, 2], nodes[k, 3], choice[k], accel, max_speed, position_first
        )
        dx, dy = x - target[0], y - target[1]
        cost = nodes[k, 4] + np.sqrt(dx * dx + dy * dy)
        if weight > 0.0:
            cost += weight * crowding(i, x, y, paths, k, reach, hard)
        if cost >= best:
            continue
        trail[k, 0], trail[k, 1] = x, y
        if k + 1 == depth:
            best, best_action = cost, choice[0]
            best_trail[:] = trail
        else:
            k += 1
            nodes[k, 0], nodes[k, 1], nodes[k, 2], nodes[k, 3], nodes[k, 4] = x, y, vx, vy, cost
    return best_action, best_trail


@njit(cache=True)
def approach_all(
    states, participation, targets, depth, accel, max_speed, size, position_first, hard, weight
):
    """Pushes of all agents towards targets (K, N, 2), one agent after the other: int32 (K, N)."""
    num_envs, n = participation.shape
    actions = np.zeros((num_envs, n), np.int32)
    for e in range(num_envs):
        bodies = states[e, : 4 * n].copy().reshape(n, 4).astype(np.float64)
        paths = coast(bodies, depth, max_speed, position_first)
        for i in range(n):
            if participation[e, i]:
                actions[e, i], paths[i] = approach(
                    i, bodies[i], targets[e, i], paths, depth, accel[i], max_speed[i], position_first,
                    2.0 * size[i], hard, weight,
                )  # fmt: skip
    return actions
