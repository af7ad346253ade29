"""Small worlds for the tests of Gold Miner: a map drawn in letters, players where the test wants them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

import mail_envs
from mail_envs.games.gold_miner.rules import HEIGHT, WIDTH

OFFICIAL = Path(__file__).parents[2] / "../shared/golden/goldminer/maps.json"
GROUND = {".": 0, "f": -1, "t": -2, "s": -3}
LEFT, RIGHT, UP, DOWN, REST, DIG = range(6)


def grid(rows: list[str], gold: dict[tuple[int, int], int] | None = None) -> list[list[int]]:
    """A map: `rows` in letters (land, forest, trap, swamp) in the upper left, land elsewhere; gold at (x, y)."""
    cells = np.zeros((HEIGHT, WIDTH), int)
    for y, row in enumerate(rows):
        for x, letter in enumerate(row):
            cells[y, x] = GROUND[letter]
    for (x, y), amount in (gold or {(20, 8): 1000}).items():
        cells[y, x] = amount
    return cells.tolist()


def cell(x: int, y: int) -> int:
    return x * HEIGHT + y


class World:
    """One game on a drawn map. All its players are allies, without a mask, unless `arguments` say otherwise.

    Whoever is eliminated stays until all allies are. Players beyond `players` rest in a corner: four
    allies are one game to compile, three, two and one would be others.
    """

    CORNER = (20, 0)

    def __init__(self, folder: Path, rows=(), gold=None, players=((0, 0),), seed=0, **arguments):
        path = folder / "map.json"
        path.write_text(json.dumps(grid(list(rows), gold)))
        defaults = {
            "num_allies": 4, "num_enemies": 0, "mask": False, "redraw_gold": False,
            "end_on_elimination": False, "maps": str(path), "autoreset": False,
        }  # fmt: skip
        self.vector = mail_envs.make_vec("gold_miner_easy_2_vs_2", **{**defaults, **arguments})
        self.vector.reset(seed=seed)
        self.record = self.vector.buffers.world
        self.count = len(players)
        for i in range(self.vector.game.num_players):
            place = players[i] if i < self.count else self.CORNER
            self.record["x"][0, i], self.record["y"][0, i] = place

    def put(self, name: str, values) -> World:
        """Set a field of the players, such as `energy`."""
        self.record[name][0, : self.count] = values
        return self

    def play(self, *actions: int) -> dict:
        """One round; returns the info."""
        idle = [REST] * (self.vector.num_agents - len(actions))
        step = self.vector.step(np.array([[*actions, *idle]], np.int32))
        self.rewards, self.terminated = step[1][0], bool(step[2][0])
        return step[4]

    def __getattr__(self, name: str):
        """A field of the players' as a list, such as `energy`; or of the map."""
        values = self.record[name][0].tolist()
        return values[: self.count] if self.record[name].shape[-1] <= 4 else values

    def price_of_entering(self, action: int = RIGHT) -> int:
        """What the first player pays for a move."""
        before = self.energy[0]
        self.play(action)
        return before - self.energy[0]
