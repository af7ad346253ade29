"""Maps: the default set, its generator, and a reader of the competition's format.

A map is an array int (9, 21), rows from top to bottom: 0 land, -1 forest, -2 trap, -3 swamp, and positive
numbers for gold. `load` reads the competition's format, a list of nine rows `[[450, -2, 0, ...], ...]`,
or as nine lines of numbers; several of them as a JSON object of named maps, as a JSON list, or as a folder.

The generator draws numbers of mines and of cells of each terrain with the statistics of the twelve official maps.
As in these, mines keep a distance from each other and are slightly more frequent at the border, and equal terrain is
clustered to a degree that varies between maps.
"""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from mail_envs.games.gold_miner.rules import FOREST, HEIGHT, LAND, NUGGET, SWAMP, TRAP, WIDTH

SHAPE = (HEIGHT, WIDTH)
MAX_MAPS = 64
NUM_MAPS = 24  # in the default set
FIRST_SEED = 312  # the first of 24 seeds whose mean cell counts match the official maps
MAX_GOLD = 30_000  # in one cell
MAX_TRIES = 1000

# (mean, standard deviation, least, most) cells per map, measured on the official ones.
MINES = (20.8, 1.95, 17, 24)
FORESTS = (35.9, 6.8, 24, 45)
TRAPS = (38.2, 7.6, 23, 48)
SWAMPS = (38.9, 6.4, 27, 50)
LANDS = (38, 80)  # least, most
MEAN_NUGGETS = 6.3  # amounts in the map; resets draw others
MOST_NUGGETS = 30
RIM = 1.7  # factor of the probability of a mine in border cells
NEXT, NEAR = 0.45, 0.18  # factors one and two steps away from another mine
GUARD = 0.9  # penalty for land next to a mine, in standard deviations
CLUSTER = (0.7, 0.2, 0.2, 0.2)  # largest influence of neighbors on land, forest, trap, swamp


def generate(seed: int) -> np.ndarray:
    """The map of a seed: int64 (9, 21)."""
    rng = np.random.RandomState(seed)  # its streams never change between versions of NumPy
    for _ in range(MAX_TRIES):
        mines, *ground = (_count(rng, *kind) for kind in (MINES, FORESTS, TRAPS, SWAMPS))
        land = HEIGHT * WIDTH - mines - sum(ground)
        if LANDS[0] <= land <= LANDS[1]:
            break
    cells = _place_mines(rng, mines)
    terrain = _place_ground(rng, cells, (land, *ground))
    nuggets = np.ceil(rng.exponential(MEAN_NUGGETS, SHAPE)).clip(1, MOST_NUGGETS)
    return np.where(cells, NUGGET * nuggets, -terrain).astype(np.int64)


def _count(rng, mean, deviation, least, most) -> int:
    return int(np.clip(round(rng.normal(mean, deviation)), least, most))


def _place_mines(rng, count: int) -> np.ndarray:
    """The positions of mines: bool (9, 21)."""
    mines = np.zeros(SHAPE, bool)
    liking = np.ones(SHAPE)
    liking[[0, -1], :] = liking[:, [0, -1]] = RIM
    for _ in range(count):
        close = _around(mines)
        chance = liking * np.where(close, NEXT, np.where(_around(close), NEAR, 1.0)) * ~mines
        cell = np.searchsorted(np.cumsum(chance / chance.sum()), rng.random_sample())
        mines.flat[min(cell, mines.size - 1)] = True
    return mines


def _around(cells: np.ndarray) -> np.ndarray:
    """The neighbors of cells, bool; of numbers (..., 9, 21), the sum over every cell's neighbors."""
    padded = np.pad(cells, [(0, 0)] * (cells.ndim - 2) + [(1, 1), (1, 1)])
    pairs = padded[..., :-2, 1:-1] + padded[..., 2:, 1:-1]
    return pairs + (padded[..., 1:-1, :-2] + padded[..., 1:-1, 2:])


def _place_ground(rng, mines: np.ndarray, counts: tuple[int, ...]) -> np.ndarray:
    """Terrain int (9, 21) with these counts of land, forest, trap and swamp outside the mines.

    Each terrain has a random score for each cell, which is correlated between neighbors; the score of land is
    lower next to mines. Cells are assigned in the order of scores, up to the count of each terrain.
    """
    share = np.array(CLUSTER)[:, None, None] * rng.random_sample() ** 2
    noise = rng.normal(size=(4, *SHAPE))
    liking = noise + share * _around(noise)
    liking[LAND] -= GUARD * _around(mines)
    liking[:, mines] = -np.inf
    terrain = np.full(SHAPE, -1)
    left = list(counts)
    for choice in np.argsort(-liking, axis=None):
        kind, cell = divmod(int(choice), mines.size)
        if terrain.flat[cell] < 0 and left[kind] > 0 and not mines.flat[cell]:
            terrain.flat[cell] = (LAND, FOREST, TRAP, SWAMP)[kind]
            left[kind] -= 1
    return np.where(mines, LAND, terrain)


@cache
def numbered() -> dict[str, np.ndarray]:
    """The default set: maps `0` to `23`, with seeds 312 to 335."""
    return {str(k): generate(FIRST_SEED + k) for k in range(NUM_MAPS)}


def load(path: str | Path) -> dict[str, np.ndarray]:
    """Maps by name from a file or from all files of a folder.

    If a JSON object contains several named groups of maps, the first group is used.
    """
    path = Path(path)
    if path.is_dir():
        files = sorted(f for f in path.iterdir() if f.is_file() and not f.name.startswith("."))
        found = {name: grid for file in files for name, grid in _read(file).items()}
    else:
        found = _read(path)
    if not found or len(found) > MAX_MAPS:
        raise ValueError(
            f"maps={str(path)!r}: holds {len(found)} maps; 1 to {MAX_MAPS} can be used"
        )
    return found


def _read(path: Path) -> dict[str, np.ndarray]:
    """The maps of one file."""
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"maps={str(path)!r}: cannot be read ({error})") from error
    try:
        content = json.loads(text)
    except json.JSONDecodeError:
        numbers = [re.split(r"[\s,]+", line.strip(" \t,")) for line in text.split("\n")]
        content = [row for row in numbers if row != [""]]
    try:
        found = _grids(path.stem, content)
        return {name: check_map(grid) for name, grid in found.items()}
    except (TypeError, ValueError) as error:
        raise ValueError(f"maps={str(path)!r}: {error}") from error


def _grids(name: str, content: Any) -> dict[str, Any]:
    """The first group of grids in the content of a file."""
    if isinstance(content, dict):
        named = {k: v for k, v in content.items() if isinstance(v, list)}
        groups = [v for v in content.values() if isinstance(v, dict)]
        return named or (_grids(name, groups[0]) if groups else {})
    if np.ndim(content) == 3:
        return {f"{name}_{k}": grid for k, grid in enumerate(content)}
    return {name: content}


def check_map(grid: Any) -> np.ndarray:
    """A map as int64 (9, 21); ValueError if it is not one."""
    array = np.array(grid, np.int64)
    if array.shape != SHAPE:
        raise ValueError(f"a map has the shape {array.shape}, not {HEIGHT} rows of {WIDTH} numbers")
    if array.min() < -SWAMP or array.max() > MAX_GOLD:
        raise ValueError(
            f"numbers of a map are -3 (swamp) to 0 (land), or gold up to {MAX_GOLD}; this one has "
            f"{array.min()} to {array.max()}"
        )
    if not (array > 0).any():
        raise ValueError("a map has no gold")
    return array


def as_cells(grids: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Terrain and gold of maps, by cell number: int (M, 189) each."""
    cells = np.stack([grid.T.ravel() for grid in grids])
    return np.where(cells > 0, LAND, -cells), np.where(cells > 0, cells, 0)
