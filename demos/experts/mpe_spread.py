"""Scripted demonstrator of MPE's spread: that of cooperative navigation, applied to the observations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from demos.experts.coop_nav import assigned_landmarks
from demos.experts.planning import approach_all, bodies_of

DEPTH = 5
CROWDING = 0.3


def spread(env: Any):
    """The demonstrator for `env`; any number of agents, every preset."""
    n, bodies, p = env.num_agents, bodies_of(env), env.game.params[0]
    if p["agents_shown"] >= 0 or p["landmarks_shown"] >= 0:
        raise ValueError(
            "the scripted demonstrator of mpe_simple_spread needs observations of everything"
        )
    first = 2 + 2 * int(p["absolute"])  # where the landmarks begin in an observation

    def scripted(observations: np.ndarray, info: Mapping[str, Any], rng: Any) -> np.ndarray:
        num_envs = len(observations)
        seen = observations[:, 0, first : first + 4 * n - 2]  # relative to the first agent
        agents = np.zeros((num_envs, n, 4), np.float32)
        agents[:, 1:, :2] = seen[:, 2 * n :].reshape(num_envs, n - 1, 2)
        agents[:, :, 2:] = observations[:, :, :2]
        states = np.concatenate([agents.reshape(num_envs, -1), seen[:, : 2 * n]], axis=1)
        acts = np.ascontiguousarray(info["participation"])
        targets = assigned_landmarks(states, n)
        return approach_all(states, acts, targets, CROWDING, DEPTH, bodies)

    return scripted
