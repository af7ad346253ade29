"""Metadata that describe the environment in which a set of demonstrations was recorded."""

from __future__ import annotations

import importlib.metadata
import platform
import sys
from dataclasses import asdict
from typing import Any

from demos.layout import Layout


def describe(
    env: Any,
    demonstrator: str = "unknown",
    random_return: float | None = None,
    expert_return: float | None = None,
) -> dict[str, Any]:
    """Metadata of a set recorded in `env`, a `VectorGame`: everything needed to simulate it again.

    `random_return` and `expert_return` are the references for normalized returns; by default those in the
    game's metadata, if any.
    """
    published = dict(getattr(env, "metadata", None) or {})
    # The null action is stored as participation 0, not as an action.
    phi = env.null_action == "as_action"
    action_dims = [int(n) - phi for n in env.action_dims]
    layout = Layout(
        num_agents=env.num_agents,
        observation_size=max(env.observation_dims),
        num_actions=max(action_dims),
        state_size=int(env.state_space.shape[0]),
        discrete=bool(env.discrete),
        masked=bool(env.discrete),
    )
    return {
        "id": env.id,
        "arguments": dict(env.arguments),
        "player_function": env.player_function.to_config(),
        "null_action": env.null_action,
        "max_rounds": int(env.max_rounds),
        "fixed_horizon": bool(getattr(env, "fixed_horizon", False)),
        "agents": list(env.agents),
        "observation_dims": [int(d) for d in env.observation_dims],
        "action_dims": action_dims,
        "return_agents": [env.agents[i] for i in counted_agents(env)],
        "convention": published.get("convention"),
        "demonstrator": demonstrator,
        "versions": versions("mail_envs", "numpy", "numba", "pyarrow"),
        "random_return": published.get("random_return") if random_return is None else random_return,
        "expert_return": published.get("expert_return") if expert_return is None else expert_return,
        "layout": asdict(layout),
    }


def counted_agents(env: Any) -> list[int]:
    """Indices of the agents over which this game's return is averaged; by default all."""
    return [env.agents.index(a) for a in env.metadata.get("return_agents") or env.agents]


def versions(*packages: str) -> dict[str, str]:
    """The versions of Python and of these packages, by name; those that are imported know their build, too."""
    found = {"python": platform.python_version()}
    for package in packages:
        known = getattr(sys.modules.get(package), "__version__", None)
        found[package] = str(known or importlib.metadata.version(package))
    return found
