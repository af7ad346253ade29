"""Shipped demonstrators: scripted policies, and trained networks (`<id>.safetensors`)."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

import mail_envs
from mail_envs.games.starcraft.maps import SCENARIOS

PUSHES = 5  # none, left, right, down, up

# id -> module in this folder and its function that makes the policy for an environment
SCRIPTED = {
    "coop_nav": "coop_nav:coop_nav",
    "deterministic_coop_nav": "coop_nav:coop_nav",
    "stochastic_coop_nav": "coop_nav:coop_nav",
    "coop_reaching": "coop_reaching:coop_reaching",
    "deterministic_coop_reaching": "coop_reaching:coop_reaching",
    "predator_prey": "predator_prey:predator_prey",
    "stochastic_predator_prey": "predator_prey:predator_prey",
    "mpe_simple": "mpe_goals:simple",
    "mpe_simple_spread": "mpe_spread:spread",
    "mpe_simple_reference": "mpe_words:reference",
    "mpe_simple_speaker_listener": "mpe_words:speaker_listener",
    "mpe_simple_tag": "predator_prey:tag",
    "mpe_simple_push": "mpe_goals:push",
    "mpe_simple_crypto": "mpe_words:crypto",
    "gold_miner_easy_2_vs_2": "gold_miner:gold_miner",
    "gold_miner_medium_2_vs_2": "gold_miner:gold_miner",
    "gold_miner_hard_2_vs_2": "gold_miner:gold_miner",
    "football_3_vs_1_with_keeper": "football:football",
    "football_counterattack_easy": "football:football",
    "football_pass_and_shoot_with_keeper": "football:football",
    **dict.fromkeys(SCENARIOS, "starcraft:starcraft"),
    "bidexhands_door_open_inward": "hands:doors",
    "bidexhands_door_open_outward": "hands:doors",
    "bidexhands_door_close_inward": "hands:doors",
    "bidexhands_door_close_outward": "hands:doors",
    "bidexhands_catch_over2underarm": "hands_catch:catching",
}


def scripted_expert(env: Any, style: str = ""):
    """The scripted demonstrator for `env`; ValueError if there is none.

    `style` is one of the module's `STYLES`, where there are several. In continuous games, a module whose policies return
    vectors, not the numbers of moves, says so: `VECTORS = True`.
    """
    if env.id not in SCRIPTED:
        raise ValueError(
            f"there is no scripted demonstrator for {env.id!r}; there is one for "
            f"{', '.join(id for id in SCRIPTED if id not in SCENARIOS)}, and all smac_ and smacv2_ ids"
        )
    if not isinstance(env.game, mail_envs.spec(env.id).load()):
        raise ValueError(
            f"the scripted demonstrator of {env.id!r} needs the state of the native game, but this is "
            f"{type(env.game).__name__}: use the native backend, or the policy 'random'"
        )
    file, _, name = SCRIPTED[env.id].partition(":")
    module = importlib.import_module(f"demos.experts.{file}")
    styles = getattr(module, "STYLES", ())
    if style and style not in styles:
        known = ", ".join(styles) or "there is only one"
        raise ValueError(
            f"policy 'scripted:{style}' of {env.id!r} is unknown; choose from: {known}"
        )
    policy = getattr(module, name)(env, *([style] if style else []))
    own_vectors = getattr(module, "VECTORS", False)
    return policy if env.discrete or own_vectors else continuous(policy, env)


def continuous(policy, env: Any):
    """Convert a discrete policy to continuous actions: 1 for the chosen components, 0 for the others."""
    vectors = np.stack(
        [choices(env.action_spaces[a].shape[0], env.num_actions) for a in env.agents]
    )
    agents = np.arange(env.num_agents)

    def pushes(observations, info, rng):
        return vectors[agents, policy(observations, info, rng)]

    return pushes


def choices(own: int, width: int) -> np.ndarray:
    """The continuous action (width,) for each discrete action of an agent with `own` components.

    With at most five components an action is a move. With more it is `move + 5 * word`: five components
    for the move, the others for the word.
    """
    moves, words = min(own, PUSHES), max(own - PUSHES, 0)
    table = np.zeros((PUSHES * max(width - PUSHES, 1), width), np.float32)
    for word in range(max(words, 1)):
        for move in range(moves):
            table[move + moves * word, move] = 1.0
            if words:
                table[move + moves * word, moves + word] = 1.0
    return table
