"""Checks of counts that users pass: numbers of environments, agents, rounds, frames."""

from __future__ import annotations

from typing import Any

import numpy as np


def at_least(least: int, **counts: Any) -> None:
    """Raise TypeError or ValueError for the first of `counts` that is no whole number or is below `least`."""
    for name, count in counts.items():
        if isinstance(count, bool) or not isinstance(count, (int, np.integer)):
            raise TypeError(f"{name}={count!r} must be a whole number")
        if count < least:
            raise ValueError(f"{name}={count!r} must be at least {least}")
