"""Where units can walk: the maps' path flags, 32 x 32 cells of one unit.

The original's grid comes from the game and is not known here; these are the flags stored in the map files, by row.
Blocked cells come in squares of four. Where a wall runs diagonally, the contour that the game derives from them cuts
the squares' corners; `diagonals` opens a blocked cell between an open horizontal and an open vertical neighbor, which
joins the rooms of `corridor`. Without it, they touch at corners only.
"""

from __future__ import annotations

import numpy as np

SIZE = 32

# Open cells: (first row, last row): ranges of columns, first and last.
Rows = dict[tuple[int, int], tuple[tuple[int, int], ...]]
ROWS: dict[str, Rows] = {
    "flat": {(0, 31): ((0, 31),)},
    "strip": {(8, 23): ((0, 31),)},
    "octagon": {
        (6, 7): ((10, 21),), (8, 9): ((8, 23),), (10, 21): ((6, 25),),
        (22, 23): ((8, 23),), (24, 25): ((10, 21),),
    },
    "spine": {(8, 19): ((8, 19),), (20, 21): ((10, 17),), (22, 23): ((12, 15),)},
    "den": {(8, 9): ((10, 19),), (10, 17): ((8, 21),), (18, 19): ((10, 19),)},
    "corridor": {
        (2, 11): ((2, 11),), (12, 13): ((12, 13),), (14, 15): ((14, 25),), (16, 17): ((14, 27),),
        (18, 21): ((12, 29),), (22, 23): ((14, 29),), (24, 25): ((16, 29),), (26, 27): ((18, 29),),
        (28, 29): ((20, 29),),
    },
    "ravine": {
        (2, 3): ((2, 7),), (4, 7): ((2, 11),), (8, 11): ((4, 15),), (12, 15): ((8, 19),),
        (16, 17): ((10, 19),), (18, 21): ((14, 25),), (22, 23): ((16, 29),), (24, 27): ((20, 29),),
        (28, 29): ((22, 29),),
    },
    "plateau": {
        (6, 7): ((4, 27),), (8, 9): ((2, 29),), (10, 11): ((0, 31),), (12, 13): ((0, 3), (28, 31)),
        (14, 15): ((0, 31),), (16, 17): ((2, 29),), (18, 19): ((8, 23),),
    },
}  # fmt: skip
WALLED = ("spine", "den")  # a wall two cells thick; what is outside is flagged open, too

# `terrain_height` in the game's API is a byte. [inferred] level 0, 1 and 2 of the cliffs are 175, 191 and 207.
LEVEL_0, LEVEL_STEP = 175.0, 16.0
PLATEAU = (slice(7, 25), slice(13, 21))  # columns, rows
RAMPS = {4: 0.125, 5: 0.375, 6: 0.625, 25: 0.625, 26: 0.375, 27: 0.125}  # columns
RAMP_ROWS = slice(13, 19)


def _inside(name: str) -> np.ndarray:
    cells = np.zeros((SIZE, SIZE), bool)
    for (bottom, top), ranges in ROWS[name].items():
        for first, last in ranges:
            cells[first : last + 1, bottom : top + 1] = True
    return cells


def _grown(cells: np.ndarray) -> np.ndarray:
    """The cells and those that touch them, corners included."""
    padded, grown = np.pad(cells, 1), np.pad(cells, 1)
    for dx in (-1, 0, 1):
        for dy in (-1, 0, 1):
            grown |= np.roll(padded, (dx, dy), (0, 1))
    return grown[1:-1, 1:-1]


def _smoothed(cells: np.ndarray) -> np.ndarray:
    """The cells and those between a horizontal and a vertical neighbor: diagonals instead of stairs."""
    padded = np.pad(cells, 1)
    beside = padded[:-2, 1:-1] | padded[2:, 1:-1]
    above = padded[1:-1, :-2] | padded[1:-1, 2:]
    return cells | (beside & above)


def pathing(name: str, diagonals: bool = True) -> np.ndarray:
    """Which cells can be walked on, bool (32, 32), indexed [x, y].

    diagonals: open the corners that diagonal walls leave; the original's flags without.
    """
    cells = _inside(name)
    if name in WALLED:
        cells |= ~np.kron(_grown(cells[::2, ::2]), np.ones((2, 2), bool))
    return _smoothed(cells) if diagonals else cells


def height(name: str) -> np.ndarray:
    """Terrain height as the original scales it (the game's byte / 255), float64 (32, 32), [x, y].

    By the cliff levels of the map files: arenas and the edges of their walls are on level 1, what surrounds them on
    level 0; `plateau` rises to level 2 by ramps.
    """
    level = _smoothed(_grown(_inside(name))).astype(float)
    if name == "plateau":
        level[PLATEAU] = 2.0
        for column, rise in RAMPS.items():
            level[column, RAMP_ROWS] = 1.0 + rise
    return (LEVEL_0 + LEVEL_STEP * level) / 255.0
