"""Hand-made frames of raw units."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from mail_envs.games.starcraft.frames import ALLY, ENEMY
from mail_envs.games.starcraft.units import UNITS


@dataclass(frozen=True)
class Raw:
    """A unit in a frame; health and shield are full unless said otherwise."""

    owner: int
    name: str
    x: float
    y: float
    health: float | None = None
    shield: float | None = None
    energy: float = 0.0
    cooldown: float = 0.0

    def at(self, x, y) -> Raw:
        return replace(self, x=x, y=y)

    def with_health(self, health, shield=None) -> Raw:
        return replace(self, health=health, shield=shield)


def ally(name, x, y, **values) -> Raw:
    return Raw(ALLY, name, x, y, **values)


def enemy(name, x, y, **values) -> Raw:
    return Raw(ENEMY, name, x, y, **values)


def columns(*frames: list[Raw]) -> dict[str, np.ndarray]:
    """Columns (T, U) of frames that list the same units in the same order."""

    def column(value):
        return np.array([[value(k, unit) for k, unit in enumerate(frame)] for frame in frames])

    def full(given, default):
        return default if given is None else given

    stats = UNITS
    return {
        "tag": column(lambda k, u: k + 1),
        "owner": column(lambda k, u: u.owner),
        "type": column(lambda k, u: stats[u.name].raw_id),
        "x": column(lambda k, u: float(u.x)),
        "y": column(lambda k, u: float(u.y)),
        "hp": column(lambda k, u: full(u.health, stats[u.name].health)),
        "hpm": column(lambda k, u: stats[u.name].health),
        "sh": column(lambda k, u: full(u.shield, stats[u.name].shield)),
        "shm": column(lambda k, u: stats[u.name].shield),
        "en": column(lambda k, u: u.energy),
        "cd": column(lambda k, u: u.cooldown),
    }


def army(owner, text: str, x: float, y: float = 10.0) -> list[Raw]:
    """`"2 stalker, 3 zealot"` in a column at x, a unit apart."""
    names = [n for group in text.split(", ") for n in [group.split()[1]] * int(group.split()[0])]
    return [Raw(owner, name, x, y + 0.5 * k) for k, name in enumerate(names)]


def stops(frames: dict, alive_only: bool = True) -> np.ndarray:
    """Actions (T - 1, N): the living stop, the dead do nothing. For allies listed in the order of their ids."""
    health = frames["hp"][:, frames["owner"][0] == ALLY]
    return np.where(health[:-1] > 0, 1, 0)
