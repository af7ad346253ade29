"""Exhaustive search over short action sequences in the particle games, compiled.

An agent simulates its own dynamics for every sequence of pushes over a few rounds, and takes the first push of
the one with the lowest cost. The other agents are assumed to follow `paths`: those of `coast` or `pursue`, or
their plans if they have planned in this round. Branches that cost more than the best plan so far are pruned.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from mail_envs.code_keys import disk_cached

DT = 0.1
KEEP = 0.75
PUSHES = 5  # none, left, right, down, up
MAX_DEPTH = 8
APPROACH, FLEE = 0, 1

CONTACT_COST = 10.0  # for the prey, per contact
# the prey's cost of an adversary at distance d: FEAR * exp(-d / FEAR_RANGE)
FEAR, FEAR_RANGE = 1.0, 0.3
OBSTACLE_COST = 10.0  # per unit of overlap with a solid landmark


class Bodies(NamedTuple):
    """Physical constants of the agents."""

    accel: np.ndarray  # float64 (N,)
    max_speed: np.ndarray  # float64 (N,)
    radius: np.ndarray  # float64 (N,)
    obstacle_radius: float  # 0 when landmarks are not solid
    position_first: bool
    hard_penalty: bool


def bodies_of(env: Any) -> Bodies:
    """The constants of a particle game."""
    p = env.game.params[0]
    solid = bool(p["landmarks_collide"])
    return Bodies(
        *(np.array(p[k], np.float64) for k in ("accel", "max_speed", "radius")),
        obstacle_radius=float(p["landmark_radius"]) if solid else 0.0,
        position_first=bool(p["position_first"]),
        hard_penalty="penalty" in p.dtype.names and int(p["penalty"]) == 2,
    )


@disk_cached
def advance(body, ux, uy, accel, max_speed, position_first):
    """Advance a body (x, y, vx, vy) by one round under the push (ux, uy), ignoring contacts."""
    x, y, vx, vy = body
    new_vx = KEEP * vx + DT * accel * ux
    new_vy = KEEP * vy + DT * accel * uy
    square = new_vx * new_vx + new_vy * new_vy
    if square > max_speed * max_speed:
        scale = max_speed / np.sqrt(square)
        new_vx *= scale
        new_vy *= scale
    if position_first:
        return x + DT * vx, y + DT * vy, new_vx, new_vy
    return x + DT * new_vx, y + DT * new_vy, new_vx, new_vy


@disk_cached
def coast(states, depth, bodies):
    """Positions of agents (N, 4) in the next rounds if they do not push: float64 (N, depth, 2)."""
    paths = np.empty((len(states), depth, 2))
    for i in range(len(states)):
        body = (states[i, 0], states[i, 1], states[i, 2], states[i, 3])
        for k in range(depth):
            body = advance(body, 0.0, 0.0, 0.0, bodies.max_speed[i], bodies.position_first)
            paths[i, k, 0], paths[i, k, 1] = body[0], body[1]
    return paths


@disk_cached
def pursue(state, target, depth, i, bodies):
    """Positions of agent i in the next rounds if it pushes straight toward `target`: (depth, 2)."""
    path = np.empty((depth, 2))
    body = (state[0], state[1], state[2], state[3])
    for k in range(depth):
        dx, dy = target[0] - body[0], target[1] - body[1]
        d = max(np.sqrt(dx * dx + dy * dy), 1e-9)
        ux, uy = dx / d, dy / d
        body = advance(body, ux, uy, bodies.accel[i], bodies.max_speed[i], bodies.position_first)
        path[k, 0], path[k, 1] = body[0], body[1]
    return path


@disk_cached
def distance(x, y, point):
    """Distance from (x, y) to a point (2,)."""
    dx, dy = x - point[0], y - point[1]
    return np.sqrt(dx * dx + dy * dy)


@disk_cached
def crowding(x, y, k, paths, reach, hard):
    """Overlap with the other agents' predicted positions in round k; agents with `reach` 0 are ignored."""
    total = 0.0
    for j in range(len(paths)):
        if reach[j] > 0.0:
            d = distance(x, y, paths[j, k])
            if d < reach[j]:
                total += 1.0 if hard else reach[j] - d
    return total


@disk_cached
def fear(x, y, k, paths, reach):
    """The prey's cost of being at (x, y) in round k: contacts, proximity of adversaries, walls."""
    total = wall(x) + wall(y)
    for j in range(len(paths)):
        if reach[j] > 0.0:
            d = distance(x, y, paths[j, k])
            total += FEAR * np.exp(-d / FEAR_RANGE)
            if d < reach[j]:
                total += CONTACT_COST
    return total


@disk_cached
def wall(x):
    """Cost of leaving the box along one axis; it begins a little earlier than the game's penalty."""
    return 10.0 * max(abs(x) - 0.85, 0.0)


@disk_cached
def overlap(x, y, obstacles, reach):
    """Overlap with solid landmarks (L, 2)."""
    total = 0.0
    for m in range(len(obstacles)):
        total += max(reach - distance(x, y, obstacles[m]), 0.0)
    return total


@disk_cached
def plan(kind, i, state, target, paths, obstacles, reach, weight, depth, bodies):
    """First push of agent i's lowest-cost plan, and the positions of that plan: (action, (depth, 2)).

    Cost per round: for kind APPROACH the distance to `target` (depth, 2) plus `weight` times the crowding;
    for FLEE the prey's `fear`. Overlap with solid landmarks is added to both.
    """
    nodes = np.empty((MAX_DEPTH + 1, 5))  # x, y, vx, vy, cost so far
    nodes[0, :4] = state
    nodes[0, 4] = 0.0
    choice = np.full(MAX_DEPTH, -1, np.int64)
    trail, best_trail = np.zeros((depth, 2)), np.zeros((depth, 2))
    best, best_action = np.inf, 0
    k = 0
    while k >= 0:
        choice[k] += 1
        a = choice[k]
        if a == PUSHES:
            choice[k] = -1
            k -= 1
            continue
        ux, uy = 1.0 * (a == 2) - 1.0 * (a == 1), 1.0 * (a == 4) - 1.0 * (a == 3)
        body = (nodes[k, 0], nodes[k, 1], nodes[k, 2], nodes[k, 3])
        x, y, vx, vy = advance(
            body, ux, uy, bodies.accel[i], bodies.max_speed[i], bodies.position_first
        )
        cost = nodes[k, 4]
        if kind == FLEE:
            cost += fear(x, y, k, paths, reach)
        else:
            cost += distance(x, y, target[k])
            if weight > 0.0:
                cost += weight * crowding(x, y, k, paths, reach, bodies.hard_penalty)
        if bodies.obstacle_radius > 0.0:
            reach_solid = bodies.radius[i] + bodies.obstacle_radius
            cost += OBSTACLE_COST * overlap(x, y, obstacles, reach_solid)
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


@disk_cached
def unpack(state, n):
    """Split one row of the global state into agents (N, 4) and landmarks (L, 2), float64."""
    whole = state.astype(np.float64)
    return whole[: 4 * n].copy().reshape(n, 4), whole[4 * n :].copy().reshape(-1, 2)


@disk_cached
def approach_all(states, participation, targets, weight, depth, bodies):
    """Pushes of all agents toward fixed targets (K, N, 2), planned one agent at a time: int32 (K, N)."""
    num_envs, n = participation.shape
    actions = np.zeros((num_envs, n), np.int32)
    goal = np.empty((depth, 2))
    for e in range(num_envs):
        agents, obstacles = unpack(states[e], n)
        paths = coast(agents, depth, bodies)
        for i in range(n):
            if participation[e, i]:
                goal[:] = targets[e, i]
                reach = bodies.radius + bodies.radius[i]
                reach[i] = 0.0
                actions[e, i], paths[i] = plan(
                    APPROACH, i, agents[i], goal, paths, obstacles, reach, weight, depth, bodies
                )
    return actions
