"""Actions of each agent, in arrays that are padded to the agent with the most actions; sampling from weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


def own_actions(action_dims: Sequence[int]) -> np.ndarray:
    """uint8 (N, A): 1 for the actions (or components) that an agent has, 0 for padding."""
    dims = np.asarray(action_dims)
    return (np.arange(dims.max()) < dims[:, None]).astype(np.uint8)


def action_bounds(env: Any) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest continuous actions, float32 (N, A) each; zero beyond an agent's own components."""
    low, high = np.zeros((2, env.num_agents, env.num_actions), np.float32)
    for i, (agent, n) in enumerate(zip(env.agents, env.action_dims, strict=True)):
        low[i, :n], high[i, :n] = env.action_spaces[agent].low, env.action_spaces[agent].high
    return low, high


def inverse_cdf(weights: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """Sample categories: weights float64 (..., A) >= 0, draws (...) in [0, 1) -> int32 (...)."""
    cumulative = np.cumsum(weights, axis=-1)
    threshold = draws[..., None] * cumulative[..., -1:]
    chosen = (cumulative <= threshold).sum(axis=-1)
    return np.minimum(chosen, weights.shape[-1] - 1).astype(np.int32)
