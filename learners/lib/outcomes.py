"""Win rates, in games that report who won."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from learners.lib.statistics import wilson_interval

WON = (
    "battle_won",
    "won",
    "success",
)  # metrics of games that are 1 when the agents won the episode, else 0


def won(metrics: Mapping[str, Any]) -> Any:
    """The entry of `metrics` that says whether the agents won; None in games without one."""
    return next((metrics[name] for name in WON if name in metrics), None)


def winning(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """`win_rate` and its 95 % `win_interval` (Wilson) from metrics per episode; {} in games without wins."""
    wins = won(metrics)
    if wins is None:
        return {}
    rate = float(np.asarray(wins, np.float64).mean())
    return {"win_rate": rate, "win_interval": list(wilson_interval(rate, len(wins)))}


def wins_text(result: Mapping[str, Any]) -> str:
    """`97.5 % (96.3 to 98.3)`."""
    low, high = result["win_interval"]
    return f"{result['win_rate']:.1%} ({low:.1%} to {high:.1%})"
