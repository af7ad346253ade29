"""Scripted demonstrator of cooperative reaching.

The agents gather on a circle around the landmark, evenly spaced so that they do not touch: they keep their
angular order, and the polygon is rotated to fit their positions. Every agent plans its way to its corner by
exhaustive search over four rounds, with a high cost of overlapping with the others.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from demos.experts.planning import approach_all, bodies_of

DEPTH = 4
DRIFT = 0.3  # a body at speed v comes to rest after another 0.3 v
SPACING = 1.1  # corners are at least this many diameters apart
CROWDING = 1.0


def coop_reaching(env: Any):
    """The demonstrator for `env`; any number of agents."""
    n = env.num_agents
    bodies = bodies_of(env)
    weight = CROWDING if env.game.params[0]["penalty"] else 0.0
    radius = 0.0 if n == 1 or not weight else SPACING * bodies.radius.max() / np.sin(np.pi / n)

    def scripted(observations: np.ndarray, info: Mapping[str, Any], rng: Any) -> np.ndarray:
        states = np.ascontiguousarray(info["state"])
        acts = np.ascontiguousarray(info["participation"])
        return approach_all(states, acts, corners(states, n, radius), weight, DEPTH, bodies)

    return scripted


def corners(states: np.ndarray, num_agents: int, radius: float) -> np.ndarray:
    """Each agent's corner of a regular polygon around the landmark, float64 (K, N, 2)."""
    bodies = states[:, : 4 * num_agents].reshape(len(states), num_agents, 4).astype(np.float64)
    landmark = states[:, None, 4 * num_agents : 4 * num_agents + 2].astype(np.float64)
    offset = bodies[..., :2] + DRIFT * bodies[..., 2:] - landmark
    angle = np.arctan2(offset[..., 1], offset[..., 0])
    rank = angle.argsort(axis=1).argsort(axis=1)
    corner = 2.0 * np.pi * rank / num_agents
    turn = np.angle(np.exp(1j * (angle - corner)).sum(axis=1, keepdims=True))
    return landmark + radius * np.stack([np.cos(turn + corner), np.sin(turn + corner)], axis=-1)
