"""Engines: one interface for both packages, and a pool, because an engine that is dropped is never freed.

`Engine` subclasses wrap EnvPool's wheel (`engine_envpool`) and gfootball's own build (`engine_gfootball`). Their
episodes are equal bit for bit.
"""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mail_envs.adapters.football.scenarios import GOAL, OUT, POSSESSION, Scenario

TICKS = 10  # of 10 ms, per round
NO_SECOND_HALF = 999_999_999
# The engine's numbers of the nineteen actions, and of builtin_ai.
ACTIONS = (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 18, 20, 30, 14, 19, 31, 32)
STICKY = (1, 2, 3, 4, 5, 6, 7, 8, 18, 19)  # those that last: eight directions, sprint, dribble
KINDS = {
    "envpool": "mail_envs.adapters.football.engine_envpool:EnvPoolEngine",
    "gfootball": "mail_envs.adapters.football.engine_gfootball:GfootballEngine",
}
MISSING = (
    "football needs an engine: pip install 'mail-envs[football]' (EnvPool), or build gfootball from source: "
    "pip install --no-build-isolation --no-deps gfootball==2.10.2"
)


@dataclass(frozen=True)
class Setup:
    """How an episode begins.

    Attributes:
        scenario: its table.
        left, right: numbers of the controlled players of each team, in the order of their slots.
        seed: of the engine, in [0, 2**31).
        reverse: whether the engine handles the right team first.
        swapped: whether the teams swap their line-ups.
    """

    scenario: Scenario
    left: tuple[int, ...]
    right: tuple[int, ...]
    seed: int
    reverse: bool
    swapped: bool

    def players(self) -> tuple[list[tuple], list[tuple]]:
        """x, y, role, lazy and controllable of the players of both teams.

        Only players with a slot are controllable: then the engine never moves a slot to another player.
        """
        left, right = self.scenario.teams(self.swapped)
        lazy = self.scenario.lazy
        return (
            [(*p, False, k in self.left) for k, p in enumerate(left)],
            [(*p, lazy and k > 0, k in self.right or not self.right) for k, p in enumerate(right)],
        )

    def ends(self) -> tuple[bool, bool, bool]:
        """Whether a goal, a ball out of play and a change of possession end the episode."""
        return tuple(end in self.scenario.ends for end in (GOAL, OUT, POSSESSION))  # pyright: ignore


class Engine(ABC):
    """One running engine."""

    name: str

    @classmethod
    @abstractmethod
    def load(cls) -> None:
        """Import the package. ImportError: it is not installed, or not the known one."""

    @abstractmethod
    def reset(self, setup: Setup) -> None:
        """Begin an episode, up to the first round in which the ball is in play."""

    @abstractmethod
    def act(self, left: bool, slot: int, action: int) -> None:
        """Give the player of a slot one of `ACTIONS`."""

    @abstractmethod
    def step(self) -> None:
        """Play a round."""

    @abstractmethod
    def info(self) -> dict[str, Any]:
        """The state, by the names of gfootball's engine."""

    @abstractmethod
    def sticky(self, left: bool, slot: int) -> Sequence[bool]:
        """Which of the `STICKY` actions last for the player of a slot."""


_free: dict[str, list[Engine]] = {name: [] for name in KINDS}


def choose(backend: str) -> type[Engine]:
    """The class of `backend`, or of the first that works for "auto". ImportError: none does."""
    reasons = []
    for name in KINDS if backend == "auto" else (backend,):
        module, _, kind = KINDS[name].partition(":")
        found = getattr(importlib.import_module(module), kind)
        try:
            found.load()
        except ImportError as error:
            reasons.append(str(error))
        else:
            return found
    raise ImportError(f"{MISSING}\n{'; '.join(reasons)}")


def borrow(kind: type[Engine]) -> Engine:
    """An engine that nobody else uses."""
    free = _free[kind.name]
    return free.pop() if free else kind()


def give_back(engine: Engine) -> None:
    """Keep the engine for the next game."""
    _free[engine.name].append(engine)
