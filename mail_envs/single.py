"""Code shared by the AEC and the parallel view."""

from __future__ import annotations

from typing import Any, Literal, get_args

import gymnasium
import numpy as np

from mail_envs.vector import VectorGame

Dead = Literal["leave", "stay"]


def dead_stay(dead: Dead) -> bool:
    """Whether agents that die stay in `agents` until the episode ends."""
    if dead not in get_args(Dead):
        raise ValueError(f"dead={dead!r} is not one of 'leave', 'stay'")
    return dead == "stay"


def check_render_mode(render_mode: str | None) -> str | None:
    if render_mode not in (None, "human", "rgb_array"):
        raise ValueError(f"render_mode={render_mode!r} is not one of None, 'human', 'rgb_array'")
    return render_mode


def mask_in_observation(vector: VectorGame, action_mask: str) -> bool:
    if action_mask not in ("info", "observation"):
        raise ValueError(f"action_mask={action_mask!r} is not one of 'info', 'observation'")
    if action_mask == "observation" and not vector.discrete:
        raise ValueError("action_mask='observation' needs discrete actions; these are continuous")
    return action_mask == "observation"


def shared_info(vector: VectorGame) -> dict[str, Any]:
    """The infos that are the same for all agents; the keys are the same in every round."""
    b = vector.buffers
    return {
        "round": int(b.clock["rounds"][0]),
        "illegal_actions": int(b.clock["illegal_actions"][0]),
        "worker_restarted": bool(b.restarted[0]),
        **{name: float(values[0]) for name, values in vector.metrics.items()},
    }


def observation_space(vector: VectorGame, agent: str, mask_in_observation: bool):
    """One agent's observation space in the AEC and parallel views."""
    box = vector.observation_spaces[agent]
    if not mask_in_observation:
        return box
    own = vector.action_dims[vector.agents.index(agent)]
    mask = gymnasium.spaces.Box(0, 1, (own,), np.int8)
    return gymnasium.spaces.Dict({"observation": box, "action_mask": mask})
