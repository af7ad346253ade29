"""Scripted demonstrators of Gold Miner: the game's own bots play the allies.

`scripted` is a team of BlackPanthers that do not choose the same mine; `scripted:greedy`, `scripted:deepmind` and
`scripted:black_panther` play each for itself. They read the game's state, where their memory is kept too, instead of
observations. Where the game enforces the action mask, a masked action is replaced by a random allowed one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from demos.policies import environments
from mail_envs.games.gold_miner.advice import STYLES, Advice

__all__ = ["STYLES", "gold_miner"]


def gold_miner(env: Any, style: str = "team"):
    """The demonstrator for `env`; any number of allies and enemies."""
    advice = Advice(env, style)

    def scripted(observations: np.ndarray, info: Mapping[str, Any], rng: Any) -> np.ndarray:
        seeds = np.asarray(info["seed"])
        keys = rng.integers(0, 2**53, (len(seeds), 1))[:, 0].astype(np.uint64)
        return advice(environments(info), np.asarray(info["participation"]), keys)

    return scripted
