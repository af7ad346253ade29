"""Scripted demonstrator of cooperative navigation.

Landmarks are assigned to agents so that the sum of distances is smallest, measured from where each agent
would come to rest. Every agent then plans its way to its landmark by exhaustive search over four rounds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

from demos.experts.planning import approach_all, bodies_of

DEPTH = 4
DRIFT = 0.3  # a body at speed v comes to rest after another 0.3 v
CROWDING = 0.3


def coop_nav(env: Any):
    """The demonstrator for `env`; any number of agents and landmarks."""
    n = env.num_agents
    bodies = bodies_of(env)
    weight = CROWDING if env.game.params[0]["penalty"] else 0.0

    def scripted(observations: np.ndarray, info: Mapping[str, Any], rng: Any) -> np.ndarray:
        states = np.ascontiguousarray(info["state"])
        targets = assigned_landmarks(states, n)
        acts = np.ascontiguousarray(info["participation"])
        return approach_all(states, acts, targets, weight, DEPTH, bodies)

    return scripted


def assigned_landmarks(states: np.ndarray, num_agents: int) -> np.ndarray:
    """Each agent's target, float64 (K, N, 2). Surplus agents go to the nearest landmark."""
    bodies = states[:, : 4 * num_agents].reshape(len(states), num_agents, 4).astype(np.float64)
    landmarks = states[:, 4 * num_agents :].reshape(len(states), -1, 2).astype(np.float64)
    rest = bodies[..., :2] + DRIFT * bodies[..., 2:]
    distance = np.linalg.norm(rest[:, :, None] - landmarks[:, None], axis=-1)
    choice = distance.argmin(axis=-1)
    for e in range(len(states)):
        agents, chosen = linear_sum_assignment(distance[e])
        choice[e, agents] = chosen
    return np.take_along_axis(landmarks, choice[..., None], axis=1)
