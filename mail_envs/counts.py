"""Checks of whole numbers that users give: copies, agents, rounds, frames."""

from __future__ import annotations

from typing import Any

import numpy as np


def at_least(least: int, **counts: Any) -> None:
    """TypeError or ValueError that names the first of `counts` that is not a whole number or is below `least`."""
    for name, count in counts.items():
        if isinstance(count, bool) or not isinstance(count, (int, np.integer)):
            raise TypeError(f"{name}={count!r} must be a whole number")
        if count < least:
            raise ValueError(f"{name}={count!r} must be at least {least}")
