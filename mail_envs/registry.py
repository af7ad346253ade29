"""The registry of ids; `mail_envs.making` makes environments from them."""

from __future__ import annotations

import difflib
import importlib
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pettingzoo

NATIVE = "native"  # the default backend
NATIVE_IN_OLD_FILES = "own"  # its former name, in old demonstrations
PETTINGZOO = "pettingzoo:"


@dataclass(frozen=True)
class EnvSpec:
    """The entry of an id.

    Attributes:
        id: in snake case.
        entry_point: the game's class, or "module:Class", imported when the game is made.
        player_function: makes the default player function from the number of agents.
        arguments: defaults that differ from the class's own.
        family: groups ids in tables.
        summary: one line.
        backends: other simulators of the same game, by their names for `make(backend=...)`;
            "native" is `entry_point`.
    """

    id: str
    entry_point: str | type
    player_function: Callable[[int], Any] | None = None
    arguments: dict[str, Any] = field(default_factory=dict)
    family: str = "user"
    summary: str = ""
    backends: dict[str, str | type] = field(default_factory=dict)

    def load(self, backend: str | None = None) -> Any:
        """The game's class, or that of another backend; ValueError if there is no such backend."""
        if backend in (None, NATIVE, NATIVE_IN_OLD_FILES):
            entry_point = self.entry_point
        elif backend in self.backends:
            entry_point = self.backends[backend]
        else:
            known = ", ".join(map(repr, (NATIVE, *self.backends)))
            raise ValueError(f"{self.id} has no backend={backend!r}; it has {known}")
        if not isinstance(entry_point, str):
            return entry_point
        module, _, name = entry_point.partition(":")
        return getattr(importlib.import_module(module), name)


_SPECS: dict[str, EnvSpec] = {}


def register(
    id: str,
    entry_point: str | type,
    *,
    player_function: Callable[[int], Any] | None = None,
    arguments: dict[str, Any] | None = None,
    family: str = "user",
    summary: str = "",
    backends: dict[str, str | type] | None = None,
) -> None:
    """Add an id, here and as `mail/<id>-v0` in PettingZoo's registry.

    `player_function` is a player function, or makes one from the number of agents; None: synchronous.
    """
    if not re.fullmatch(r"[a-z0-9][a-z0-9_]*", id):
        raise ValueError(f"the id {id!r} must be lower-case letters, digits and underscores")
    if id in _SPECS:
        raise ValueError(f"the id {id!r} is already registered")
    if player_function is not None and not callable(player_function):
        player_function = partial(_always, player_function)
    _SPECS[id] = EnvSpec(
        id,
        entry_point,
        player_function,
        dict(arguments or {}),
        family,
        summary,
        dict(backends or {}),
    )
    for api in ("aec", "parallel"):
        pettingzoo.register(
            api, f"mail/{id}-v0", "mail_envs.making:for_pettingzoo", kwargs={"id": id, "api": api}
        )


def _always(player_function, num_agents: int):
    return player_function


def specs() -> dict[str, EnvSpec]:
    """All ids with their entries."""
    return dict(_SPECS)


def registered(id: str) -> EnvSpec:
    """The entry of `id`; nothing is imported.

    Raises:
        TypeError: `id` is not a string.
        ValueError: there is no such id; the message suggests similar ones.
    """
    if not isinstance(id, str):
        raise TypeError(f"id={id!r} is not a string such as 'coop_nav'")
    if id not in _SPECS:
        near = _near(id)
        hint = f"did you mean {' or '.join(map(repr, near))}?" if near else "see mail_envs.specs()"
        raise ValueError(f"unknown id {id!r}; {hint}")
    return _SPECS[id]


def _near(id: str) -> list[str]:
    """Similar ids, for an id with a typo, in upper case, or without its family (`3m`)."""
    name = id.lower()
    same = [known for known in _SPECS if known == name or known.partition("_")[2] == name]
    return same or difflib.get_close_matches(name, _SPECS, n=3, cutoff=0.5)


def pettingzoo_spec(id: str) -> EnvSpec:
    """The entry of `pettingzoo:namespace/name-vN`; whether it exists is checked when it is made."""
    return EnvSpec(
        id,
        "mail_envs.adapters.pettingzoo:PettingZooGame",
        arguments={"env": id.removeprefix(PETTINGZOO)},
        family="pettingzoo",
        summary="an environment of PettingZoo",
    )
