"""The three bots by name, and a function that plays any of them."""

from __future__ import annotations

from mail_envs.games.gold_miner.black_panther import black_panther
from mail_envs.games.gold_miner.deepmind import deepmind
from mail_envs.games.gold_miner.greedy import greedy
from mail_envs.kernels import device_function

NAMES = ("greedy", "deepmind", "black_panther")
GREEDY, DEEPMIND, BLACK_PANTHER = range(3)
ENEMIES = {  # by difficulty; repeated if there are more than two enemies
    "easy": ("greedy", "greedy"),
    "medium": ("deepmind", "greedy"),
    "hard": ("black_panther", "deepmind"),
}
NO_PLAN = 1 << 20


@device_function
def forget(state, i):
    """Clear the plans of bots for player i."""
    state.target[i] = -1
    state.rest_down_to[i] = NO_PLAN


@device_function
def decide(state, i, bot, rng, params, turns, rounds_left):
    """The action of player i if it is played by `bot` (an index in NAMES).

    turns: remaining rounds, including this one. rounds_left: the same, as the mask counts them.
    """
    if bot == GREEDY:
        return greedy(state, i, rng, rounds_left)
    if bot == DEEPMIND:
        return deepmind(state, i, rng, params, turns - 1, rounds_left)
    return black_panther(state, i, params, turns)
