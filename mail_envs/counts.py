"""Numbers that users give: one clear error for those that cannot be."""

from __future__ import annotations

from typing import Any

import numpy as np


def at_least(least: int, **counts: Any) -> None:
    """TypeError or ValueError naming the first of `counts` that is no whole number from `least` on."""
    for name, count in counts.items():
        if isinstance(count, bool) or not isinstance(count, (int, np.integer)):
            raise TypeError(f"{name}={count!r} must be a whole number")
        if count < least:
            raise ValueError(f"{name}={count!r} must be at least {least}")
