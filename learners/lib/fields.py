"""Check values from files or callers against the types of a dataclass's fields."""

from __future__ import annotations

import dataclasses
import functools
import math
import re
import types
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints


@dataclasses.dataclass(frozen=True)
class Between:
    """Bounds of a number, both included; part of a field's type: `Annotated[int, Between(1, 10)]`."""

    least: float
    most: float = math.inf


@dataclasses.dataclass(frozen=True)
class NonEmpty:
    """A list with at least one item; `item` names it in messages."""

    item: str


@dataclasses.dataclass(frozen=True)
class Time:
    """A string that is a time, such as 90s, 10m or 1.5h; `seconds_of` reads it."""


Count = Annotated[int, Between(1, 2**31 - 1)]
"""A whole number, at least 1."""
Whole = Annotated[int, Between(0, 2**31 - 1)]
"""A whole number, at least 0."""
Steps = Annotated[int, Between(0, 2**53)]
"""A number of steps, at least 0."""
Fraction = Annotated[float, Between(0.0, 1.0)]
"""A number between 0 and 1."""
Positive = Annotated[float, Between(math.ulp(0.0))]
"""A number above 0."""
Weight = Annotated[float, Between(0.0)]
"""The weight of a term in a loss, at least 0."""
Duration = Annotated[str, Time()]
"""A time, such as 90s, 10m or 1.5h."""
Sizes = Annotated[tuple[Count, ...], NonEmpty("layer")]
"""Widths of successive layers, at least one."""


@functools.cache
def field_types(kind: type) -> dict[str, Any]:
    """Name and type of every field of a dataclass."""
    hints = get_type_hints(kind, include_extras=True)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}


def fitting(name: str, value: Any, kind: Any) -> Any:
    """Convert `value` to the type `kind` of field `name`: lists to tuples, integers to floats.

    Raises:
        TypeError, ValueError: naming the field, the value and what is allowed.
    """
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Annotated:
        value = fitting(name, value, inner[0])
        for mark in inner[1:]:
            if isinstance(mark, Between) and value is not None:
                _check_bounds(name, value, mark)
            if isinstance(mark, Time) and value is not None:
                seconds_of(value, name)
            if isinstance(mark, NonEmpty) and not value:
                raise ValueError(f"{name}={_short(value)} must have at least one {mark.item}")
        return value
    if origin in (Union, types.UnionType):
        if value is None and type(None) in inner:
            return None
        return fitting(name, value, next(t for t in inner if t is not type(None)))
    if origin is Literal:
        if not isinstance(value, str | int) or value not in inner:
            choices = ", ".join(map(str, inner))
            raise ValueError(f"{name}={_short(value)} is unknown; choose {choices}")
        return value
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise TypeError(f"{name}={_short(value)} must be a list")
        return tuple(fitting(name, v, inner[0]) for v in value)
    return _plain(name, value, kind)


def seconds_of(text: str, name: str = "time") -> float:
    """The seconds in a time such as 90s, 10m or 1.5h; ValueError naming `name` for other texts."""
    found = re.fullmatch(r"(\d{1,6}(?:\.\d{1,6})?)([smh])", text)
    seconds = float(found[1]) * {"s": 1, "m": 60, "h": 3600}[found[2]] if found else 0.0
    if not seconds:
        raise ValueError(f"{name}={_short(text)} must be a time such as 90s, 10m or 1.5h")
    return seconds


def _plain(name: str, value: Any, kind: Any) -> Any:
    words = {int: "a whole number", float: "a number", bool: "true or false", str: "a string"}
    good = type(value) is kind or (kind is float and type(value) is int)
    if kind in words and not good:
        raise TypeError(f"{name}={_short(value)} must be {words[kind]}")
    if kind is not float:
        return value
    try:
        value = float(value)
    except OverflowError:
        value = math.nan
    if math.isnan(value):
        raise ValueError(f"{name} must be a number")
    return value


def _check_bounds(name: str, value: Any, mark: Between) -> None:
    if value < mark.least == math.ulp(0.0):
        raise ValueError(f"{name}={_short(value)} must be above 0")
    if value < mark.least:
        raise ValueError(f"{name}={_short(value)} must be at least {mark.least}")
    if value > mark.most:
        raise ValueError(f"{name}={_short(value)} must be at most {mark.most}")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 60 else text[:57] + "..."


def fit(instance: Any) -> None:
    """Check and convert all fields of a dataclass, in its `__post_init__`."""
    for name, kind in field_types(type(instance)).items():
        object.__setattr__(instance, name, fitting(name, getattr(instance, name), kind))


def check_mapping(kind: type, mapping: Mapping[str, Any]) -> None:
    """Check the values that a mapping gives for fields of dataclass `kind`; other keys are ignored."""
    for name, type_ in field_types(kind).items():
        if name in mapping:
            fitting(name, mapping[name], type_)
