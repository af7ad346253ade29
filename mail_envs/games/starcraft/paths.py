"""Paths around walls: for every pair of cells, the first waypoint of the shortest path between them.

Most maps are a single room in which straight lines suffice. The others get a table, computed once per process: two cells
are connected if a unit fits along the line between them, and shortest paths consist of such lines.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from mail_envs.games.starcraft import terrain
from mail_envs.kernels import device_function

WITH_CORNERS = ("corridor", "ravine", "plateau")  # names of `terrain.ROWS`
CLEARANCE = 0.35  # kept from walls on both sides
SAMPLES_PER_CELL = 4
START, END = np.float32(0), np.float32(terrain.SIZE)  # of the map


def ground(name: str) -> np.ndarray:
    """Where units can stand, uint8 (2, 32, 32): those that walk, and those that climb cliffs."""
    walk = terrain.pathing(name)
    climb = walk.copy()
    if name == "plateau":  # the one band that is a cliff between two levels
        climb[4:28, 12:14] = True
    return np.stack([walk, climb]).astype(np.uint8)


@cache
def ways(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of the open cells, int16 (32, 32), -1: blocked; and int16 (C, C): [from, to] the cell to walk to first.

    Where straight lines do, no cell has a number.
    """
    number = np.full((terrain.SIZE, terrain.SIZE), -1, np.int16)
    if name not in WITH_CORNERS:
        return number, np.zeros((1, 1), np.int16)
    cells = np.argwhere(ground(name)[0])
    number[cells[:, 0], cells[:, 1]] = np.arange(len(cells))
    length = np.linalg.norm(cells[:, None] - cells[None], axis=-1)
    length[~_sees(cells, number >= 0, length)] = np.inf
    first = np.tile(np.arange(len(cells), dtype=np.int16), (len(cells), 1))
    for via in range(len(cells)):  # Floyd and Warshall's algorithm
        detour = length[:, via, None] + length[None, via]
        shorter = detour < length - 1e-6
        length[shorter] = detour[shorter]
        first = np.where(shorter, first[:, via, None], first)
    # As stored, a node is x * 32 + y.
    return number, (cells[:, 0] * terrain.SIZE + cells[:, 1]).astype(np.int16)[first]


def _sees(cells: np.ndarray, is_open: np.ndarray, length: np.ndarray) -> np.ndarray:
    """Whether a unit fits along the line between the centers of two cells, bool (C, C)."""
    along = cells[None] - cells[:, None]
    across = np.stack([-along[..., 1], along[..., 0]], axis=-1) / np.maximum(length, 1)[..., None]
    clear = np.ones(length.shape, bool)
    for share in np.linspace(0, 1, SAMPLES_PER_CELL * terrain.SIZE // 2):
        for side in (-CLEARANCE, 0.0, CLEARANCE):
            points = cells[:, None] + 0.5 + share * along + side * across
            x, y = points[..., 0].astype(int), points[..., 1].astype(int)
            clear &= is_open[x, y]
    return clear | (length <= 1)


@device_function
def next_cell(params, x, y, goal_x, goal_y):
    """The next waypoint on the path to a goal, as x * 32 + y; -1: the goal itself."""
    if not (on_map(x, y) and on_map(goal_x, goal_y)):
        return -1
    here = params.cell_number[np.int32(x), np.int32(y)]
    there = params.cell_number[np.int32(goal_x), np.int32(goal_y)]
    if here < 0 or there < 0 or here == there:
        return -1
    cell = np.int32(params.first_bend[here, there])
    last = np.int32(goal_x) * terrain.SIZE + np.int32(goal_y)
    return -1 if cell == last else cell


@device_function
def on_map(x, y):
    return START <= x < END and START <= y < END
