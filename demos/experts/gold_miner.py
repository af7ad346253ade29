"""Scripted demonstrators of Gold Miner: the game's own bots play the allies, or a search that plays on with them.

`scripted` is BlackPanther; `scripted:greedy`, `scripted:deepmind` and `scripted:black_panther` choose one, and
`scripted:search` wins most, at a quarter of a second per game. They read the game's state, where the bots' memory is kept
too, instead of observations. Where the game enforces the action mask, a masked action is replaced by a random allowed one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from demos.policies import environments
from mail_envs.games.gold_miner.advice import Advice
from mail_envs.games.gold_miner.bots import NAMES
from mail_envs.games.gold_miner.search import Search

STYLES = (*NAMES, "search")


def gold_miner(env: Any, style: str = "black_panther"):
    """The demonstrator for `env`; any number of allies and enemies."""
    advice = Search(env) if style == "search" else Advice(env, style)

    def scripted(observations: np.ndarray, info: Mapping[str, Any], rng: Any) -> np.ndarray:
        seeds = np.asarray(info["seed"])
        keys = rng.integers(0, 2**53, (len(seeds), 1))[:, 0].astype(np.uint64)
        return advice(environments(info), np.asarray(info["participation"]), keys)

    return scripted
