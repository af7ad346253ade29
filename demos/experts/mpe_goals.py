"""Scripted demonstrators of MPE scenarios in which agents move to targets that they observe.

Every agent plans its way to its target by exhaustive search over five rounds, in coordinates relative to itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from demos.experts.planning import Bodies, approach_all, bodies_of

DEPTH = 5


def simple(env: Any):
    """The agent goes to the landmark."""
    bodies = bodies_of(env)

    def scripted(observations: np.ndarray, info: Mapping[str, Any], rng: Any) -> np.ndarray:
        return go(observations[..., :2], observations[..., 2:4], info, bodies)

    return scripted


def push(env: Any):
    """The agent goes to its goal, the adversary to the agent."""
    bodies = bodies_of(env)
    adversary = env.observation_dims[0]

    def scripted(observations: np.ndarray, info: Mapping[str, Any], rng: Any) -> np.ndarray:
        to_agent, to_goal = observations[:, 0, adversary - 2 : adversary], observations[:, 1, 2:4]
        return go(observations[..., :2], np.stack([to_agent, to_goal], axis=1), info, bodies)

    return scripted


def go(
    velocity: np.ndarray, target: np.ndarray, info: Mapping[str, Any], bodies: Bodies
) -> np.ndarray:
    """Pushes int32 (K, N) of agents with `velocity` (K, N, 2) to targets relative to them (K, N, 2)."""
    agents = np.concatenate([np.zeros_like(velocity), velocity], axis=-1)
    acts = np.ascontiguousarray(info["participation"])
    states = agents.reshape(len(agents), -1)
    return approach_all(states, acts, target.astype(np.float64), 0.0, DEPTH, bodies)
