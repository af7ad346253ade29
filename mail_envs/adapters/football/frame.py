"""One round of the engine as arrays, seen by one team."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

X, Y, DX, DY, TIRED = range(5)
NORMAL, KICK_OFF, GOAL_KICK, FREE_KICK, CORNER, THROW_IN, PENALTY = range(7)  # game modes


@dataclass(frozen=True)
class Frame:
    """What the engine says after a round, from the view of a team that attacks to the right.

    Attributes:
        own, other: float64 (P, 5), position, displacement per round, and tiredness of every player.
        roles, other_roles: of every player. here, other_here: whether he is playing, and not sent off.
        cards: how many players of both teams have one.
        ball: float64 (3,), z in metres; motion: its displacement per round.
        owner: 0: the own team has the ball, 1: the other, -1: nobody. holder: the player's number.
        mode: of the game, `NORMAL` and so on.
        goals: of both teams. round: the engine's count.
    """

    own: np.ndarray
    other: np.ndarray
    roles: list[int]
    other_roles: list[int]
    here: list[bool]
    other_here: list[bool]
    cards: tuple[int, ...]
    ball: np.ndarray
    motion: np.ndarray
    owner: int
    holder: int
    mode: int
    goals: tuple[int, ...]
    round: int

    @classmethod
    def read(cls, info: dict[str, Any]) -> Frame:
        """The frame of the left team, from an engine's `info`."""
        left, right = info["left_team"], info["right_team"]
        return cls(
            table(left),
            table(right),
            [p["role"] for p in left],
            [p["role"] for p in right],
            [p["is_active"] for p in left],
            [p["is_active"] for p in right],
            (sum(p["has_card"] for p in left), sum(p["has_card"] for p in right)),
            np.array(info["ball_position"]),
            np.array(info["ball_direction"]),
            info["ball_owned_team"],
            info["ball_owned_player"],
            info["game_mode"],
            (info["left_goals"], info["right_goals"]),
            info["step"],
        )

    def turned(self) -> Frame:
        """The same from the other team's view: the pitch is turned by half a circle."""
        turn = np.array([-1, -1, -1, -1, 1])
        return Frame(
            self.other * turn,
            self.own * turn,
            self.other_roles,
            self.roles,
            self.other_here,
            self.here,
            self.cards[::-1],
            self.ball * (-1, -1, 1),
            self.motion * (-1, -1, 1),
            self.owner if self.owner < 0 else 1 - self.owner,
            self.holder,
            self.mode,
            self.goals[::-1],
            self.round,
        )

    @property
    def lead(self) -> int:
        """Goal difference."""
        return self.goals[0] - self.goals[1]


def table(team: list[dict[str, Any]]) -> np.ndarray:
    return np.array([(*p["position"], *p["direction"], p["tired_factor"]) for p in team])
