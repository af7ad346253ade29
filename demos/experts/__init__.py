"""Demonstrators: scripted ones, made here from a table, and trained ones (`<id>.safetensors`)."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

SCRIPTED = {
    "coop_nav": "coop_nav",
    "deterministic_coop_nav": "coop_nav",
    "stochastic_coop_nav": "coop_nav",
    "coop_reaching": "coop_reaching",
    "deterministic_coop_reaching": "coop_reaching",
    "predator_prey": "predator_prey",
    "stochastic_predator_prey": "predator_prey",
}


def scripted_expert(env: Any):
    """The scripted demonstrator of `env`'s game; ValueError when there is none."""
    if env.id not in SCRIPTED:
        raise ValueError(
            f"there is no scripted demonstrator for {env.id!r}; there is one for {', '.join(SCRIPTED)}"
        )
    name = SCRIPTED[env.id]
    policy = getattr(importlib.import_module(f"demos.experts.{name}"), name)(env)
    return policy if env.discrete else continuous(policy, env.num_actions)


def continuous(policy, num_actions: int):
    """Play a discrete policy's choices as continuous actions: 1 for the chosen push, 0 for the others."""
    one_hot = np.eye(num_actions, dtype=np.float32)

    def pushes(observations, info, rng):
        return one_hot[policy(observations, info, rng)]

    return pushes
