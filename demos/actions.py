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


def forbidden(actions: np.ndarray, mask: np.ndarray, acts: np.ndarray) -> np.ndarray:
    """Where an agent that acts chose an action that its mask forbids, bool (*L, N).

    An agent that is allowed nothing has no choice, and is left out.

    Args:
        actions: int (*L, N), from 0 to A - 1.
        mask: (*L, N, A), 0 for what is forbidden.
        acts: bool (*L, N).
    """
    allowed = np.take_along_axis(mask, actions[..., None].astype(np.int64), -1)[..., 0]
    wrong = acts & (allowed == 0)
    wrong[wrong] = mask[wrong].any(-1)
    return wrong


def checked_actions(actions: Any, env: Any, count: int) -> np.ndarray:
    """A policy's actions for `count` environments. ValueError, TypeError: they have the wrong shape or type."""
    found = np.asarray(actions)
    shape = (count, env.num_agents) + (() if env.discrete else (env.num_actions,))
    if found.shape != shape:
        raise ValueError(f"the policy returned actions of shape {found.shape}, expected {shape}")
    if found.dtype.kind not in ("iu" if env.discrete else "fiu"):
        kind = "whole numbers" if env.discrete else "numbers"
        raise TypeError(f"the policy returned actions of the type {found.dtype}, expected {kind}")
    return found


def inverse_cdf(weights: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """Sample categories: weights float64 (..., A) >= 0, draws (...) in [0, 1) -> int32 (...)."""
    cumulative = np.cumsum(weights, axis=-1)
    threshold = draws[..., None] * cumulative[..., -1:]
    chosen = (cumulative <= threshold).sum(axis=-1)
    return np.minimum(chosen, weights.shape[-1] - 1).astype(np.int32)
