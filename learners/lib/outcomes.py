"""How often the agents won, in games that say so."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from learners.lib.statistics import wilson_interval

WON = ("battle_won", "won")  # metrics of games that are 1 when the agents won the episode, else 0


def won(metrics: Mapping[str, Any]) -> Any:
    """What `metrics` holds of victories; None of games without a winner."""
    return next((metrics[name] for name in WON if name in metrics), None)


def winning(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """`win_rate` and its 95 % `win_interval` (Wilson), of a metric's values per episode; {} without wins."""
    wins = won(metrics)
    if wins is None:
        return {}
    rate = float(np.asarray(wins, np.float64).mean())
    return {"win_rate": rate, "win_interval": list(wilson_interval(rate, len(wins)))}


def wins_text(result: Mapping[str, Any]) -> str:
    """`97.5 % (96.3 to 98.3)`."""
    low, high = result["win_interval"]
    return f"{result['win_rate']:.1%} ({low:.1%} to {high:.1%})"
