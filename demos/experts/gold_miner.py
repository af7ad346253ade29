"""Scripted demonstrators of Gold Miner: the game's own bots in the allies' places.

`scripted` is BlackPanther, `scripted:greedy`, `scripted:deepmind` and `scripted:black_panther` name one. They
decide from the game's record, where they also keep their notes, and not from observations. Where the game
enforces the availability mask they keep to it: an action that it forbids gives way to a random one that it
allows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from demos.policies import environments
from mail_envs.games.gold_miner.advice import Advice
from mail_envs.games.gold_miner.bots import NAMES

STYLES = NAMES


def gold_miner(env: Any, style: str = "black_panther"):
    """The demonstrator for `env`; any number of allies and enemies."""
    advice = Advice(env, style)

    def scripted(observations: np.ndarray, info: Mapping[str, Any], rng: Any) -> np.ndarray:
        seeds = np.asarray(info["seed"])
        keys = rng.integers(0, 2**53, (len(seeds), 1))[:, 0].astype(np.uint64)
        return advice(environments(info), np.asarray(info["participation"]), keys)

    return scripted
