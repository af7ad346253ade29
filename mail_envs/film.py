"""Films of episodes: pictures of some of the rounds, so that long episodes take neither long to draw nor to watch."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

MOST_FRAMES = 200
MOST_SECONDS = 15.0  # of drawing


class Film:
    """Pictures of every k-th round of an episode, evenly spaced.

    k is `every`. Without it k is 1 and doubles, and every second picture is dropped, whenever there are more than
    `most_frames` pictures, or drawing the rest of the episode would take longer than `MOST_SECONDS`.

    Attributes:
        every: k. pictures: uint8 (H, W, 3), by round.
    """

    def __init__(
        self, rounds: int, every: int | None = None, most_frames: int = MOST_FRAMES
    ) -> None:
        """`rounds`: the episode's time limit."""
        self.rounds, self.most_frames, self.fixed = rounds, most_frames, every is not None
        self.every = every or 1
        self.pictures: dict[int, np.ndarray] = {}
        self._spent, self._drawn = 0.0, 0

    def see(self, t: int, draw: Callable[[], np.ndarray], last: bool = False) -> None:
        """Draw round t if it is one of those shown. `last`: the end of the episode, which is always shown."""
        if t % self.every and not last:
            return
        began = time.perf_counter()
        self.pictures[t] = draw()
        if self._drawn:  # the first picture also opens the screen
            self._spent += time.perf_counter() - began
        self._drawn += 1
        while not (self.fixed or last) and self._too_many(t):
            self.every *= 2
            self.pictures = {k: x for k, x in self.pictures.items() if k % self.every == 0}

    def _too_many(self, t: int) -> bool:
        each = self._spent / max(self._drawn - 1, 1)
        coming = (self.rounds - t) // self.every
        slow = coming > 0 and self._spent + coming * each > MOST_SECONDS
        return len(self.pictures) >= self.most_frames or slow

    @property
    def frames(self) -> list[np.ndarray]:
        return [self.pictures[t] for t in sorted(self.pictures)]

    def __str__(self) -> str:
        return "every round" if self.every == 1 else f"one round in {self.every}"
