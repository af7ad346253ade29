"""One round of the engine as one array of numbers, seen by one team."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

X, Y, DX, DY, TIRED = range(5)
NORMAL, KICK_OFF, GOAL_KICK, FREE_KICK, CORNER, THROW_IN, PENALTY = range(7)  # game modes
# Places in `Frame.numbers`. The constants let an observation be a single selection from it.
CONSTANTS = (-1.0, 0.0, 1.0)
MINUS_ONE, ZERO, ONE, OWNER, MODE, BALL, MOTION, PLAYERS = 0, 1, 2, 3, 6, 13, 16, 19
OWNERS, MODES = np.eye(3).tolist(), np.eye(7).tolist()
FIELDS = 5  # of a player


@dataclass
class Frame:
    """What the engine says after a round, from the view of a team that attacks to the right. Nobody changes it.

    Attributes:
        numbers: float64 (19 + 5 P,): -1, 0, 1; whether nobody, the own or the other team has the ball; the game
            mode, one-hot (7,); the ball's position, z in metres, and its displacement per round (3 each); and of
            every player, own ones first, position and displacement per round (2 each), and tiredness.
        mates, foes: what the engine says of the own and of the other team's players.
        owner: 0: the own team has the ball, 1: the other, -1: nobody. holder: the player's number.
        mode: of the game, `NORMAL` and so on.
        goals: of both teams. round: the engine's count.
    """

    numbers: np.ndarray
    mates: list[dict[str, Any]]
    foes: list[dict[str, Any]]
    owner: int
    holder: int
    mode: int
    goals: tuple[int, ...]
    round: int

    @classmethod
    def read(cls, info: dict[str, Any]) -> Frame:
        """The frame of the left team, from an engine's `info`.

        After the engine's step little of NumPy is in the caches: one array for everything takes a third of the time
        of one for each part.
        """
        left, right = info["left_team"], info["right_team"]
        owner, mode = info["ball_owned_team"], info["game_mode"]
        ball, motion = info["ball_position"], info["ball_direction"]
        numbers = [*CONSTANTS, *OWNERS[owner + 1], *MODES[mode], *ball, *motion]
        for p in left + right:
            numbers += p["position"]
            numbers += p["direction"]
            numbers.append(p["tired_factor"])
        return cls(
            np.fromiter(numbers, np.float64, len(numbers)),
            left,
            right,
            owner,
            info["ball_owned_player"],
            mode,
            (info["left_goals"], info["right_goals"]),
            info["step"],
        )

    def turned(self) -> Frame:
        """The same from the other team's view: the pitch is turned by half a circle."""
        places, signs = turn(len(self.mates), len(self.foes))
        return Frame(
            self.numbers.take(places) * signs,
            self.foes,
            self.mates,
            self.owner if self.owner < 0 else 1 - self.owner,
            self.holder,
            self.mode,
            self.goals[::-1],
            self.round,
        )

    @property
    def own(self) -> np.ndarray:
        """Position, displacement per round, and tiredness of the own players, float64 (P, 5)."""
        return self.numbers[PLAYERS : PLAYERS + FIELDS * len(self.mates)].reshape(-1, FIELDS)

    @property
    def other(self) -> np.ndarray:
        """The same of the other team's players."""
        return self.numbers[PLAYERS + FIELDS * len(self.mates) :].reshape(-1, FIELDS)

    @property
    def ball(self) -> np.ndarray:
        """Its position, float64 (3,), z in metres."""
        return self.numbers[BALL:MOTION]

    @property
    def motion(self) -> np.ndarray:
        """The ball's displacement per round, float64 (3,)."""
        return self.numbers[MOTION:PLAYERS]

    @property
    def roles(self) -> list[int]:
        """Of the own players."""
        return [player["role"] for player in self.mates]

    @property
    def cards(self) -> tuple[int, int]:
        """How many players of the own and of the other team have one."""
        own, other = (sum([p["has_card"] for p in team]) for team in (self.mates, self.foes))
        return own, other

    def here(self, players: tuple[int, ...]) -> list[bool]:
        """Whether these own players are playing, and not sent off."""
        return [self.mates[k]["is_active"] for k in players]

    @property
    def lead(self) -> int:
        """Goal difference."""
        return self.goals[0] - self.goals[1]


@lru_cache
def turn(own: int, other: int) -> tuple[np.ndarray, np.ndarray]:
    """Where the numbers of the other team's view are in those of the own team's, and their signs, both (L,)."""
    middle, end = PLAYERS + FIELDS * own, PLAYERS + FIELDS * (own + other)
    places = [*range(OWNER), OWNER, OWNER + 2, OWNER + 1, *range(MODE, PLAYERS)]
    places += [*range(middle, end), *range(PLAYERS, middle)]
    signs = [1.0] * BALL + [-1.0, -1.0, 1.0] * 2 + [-1.0, -1.0, -1.0, -1.0, 1.0] * (own + other)
    return np.array(places), np.array(signs)
