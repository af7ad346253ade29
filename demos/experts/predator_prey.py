"""Scripted demonstrators of predator-prey: a prey that flees inside the box, adversaries that chase it.

The prey plans first: it expects the adversaries to run straight at it, and takes the best of all sequences
of four pushes against contacts, closeness and the walls. The adversaries then run to where it plans to be,
a moment ahead, around the obstacles and not into each other.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numba import njit

from demos.experts.planning import APPROACH, FLEE, bodies_of, coast, plan, pursue, unpack

DEPTH = 4
CROWDING = 0.3


def predator_prey(env: Any):
    """The demonstrators for `env`: the prey is the first agent; any number of adversaries and obstacles."""
    bodies = bodies_of(env)

    def scripted(observations: np.ndarray, info: Mapping[str, Any], rng: Any) -> np.ndarray:
        states = np.ascontiguousarray(info["state"])
        return chase_and_flee(states, np.ascontiguousarray(info["participation"]), DEPTH, bodies)

    return scripted


@njit(cache=True)
def chase_and_flee(states, participation, depth, bodies):
    """Pushes of the prey (agent 0) and the adversaries: int32 (K, N)."""
    num_envs, n = participation.shape
    actions = np.zeros((num_envs, n), np.int32)
    for e in range(num_envs):
        agents, obstacles = unpack(states[e], n)
        paths = coast(agents, depth, bodies)
        for j in range(1, n):
            paths[j] = pursue(agents[j], agents[0, :2], depth, j, bodies)
        if participation[e, 0]:
            reach = bodies.radius + bodies.radius[0]
            reach[0] = 0.0
            actions[e, 0], paths[0] = plan(
                FLEE, 0, agents[0], paths[0], paths, obstacles, reach, 0.0, depth, bodies
            )
        for j in range(1, n):
            if participation[e, j]:
                reach = bodies.radius + bodies.radius[j]
                reach[0] = reach[j] = 0.0
                actions[e, j], paths[j] = plan(
                    APPROACH,
                    j,
                    agents[j],
                    paths[0],
                    paths,
                    obstacles,
                    reach,
                    CROWDING,
                    depth,
                    bodies,
                )
    return actions
