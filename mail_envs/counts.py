"""Checks of numbers and switches that users pass: of environments, agents, rounds, frames, seconds."""

from __future__ import annotations

from typing import Any

import numpy as np


def at_least(least: int, **counts: Any) -> None:
    """Raise TypeError or ValueError for the first of `counts` that is no whole number or is below `least`."""
    for name, count in counts.items():
        if not is_whole(count):
            raise TypeError(f"{name}={count!r} must be a whole number")
        if count < least:
            raise ValueError(f"{name}={count!r} must be at least {least}")


def seconds_above_zero(**given: Any) -> None:
    """Raise ValueError for the first of `given` that is no finite number above 0."""
    for name, seconds in given.items():
        if not (is_number(seconds) and 0 < seconds < np.inf):
            raise ValueError(f"{name}={seconds!r} must be a finite number of seconds above 0")


def is_whole(value: Any) -> bool:
    """Whether it is a whole number; True and False are none."""
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def is_number(value: Any) -> bool:
    """Whether it is a whole number or a float, which may be NaN; True and False are none."""
    return is_whole(value) or isinstance(value, (float, np.floating))


def check_kind(name: str, value: Any, kind: str) -> None:
    """Raise TypeError unless a value fits its annotation: `bool`, `int`, `float`; or `int | None`, and so on.

    Values with other annotations are not checked.
    """
    kind, _, other = kind.partition(" | ")
    if value is None and other == "None":
        return
    if kind == "bool" and not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name}={value!r} must be True or False")
    if kind == "int" and not is_whole(value):
        raise TypeError(f"{name}={value!r} must be a whole number")
    if kind == "float" and not is_number(value):
        raise TypeError(f"{name}={value!r} must be a number")
