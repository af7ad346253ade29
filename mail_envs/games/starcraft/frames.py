"""Identifies agents, enemies and their types in recorded frames of raw units."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from mail_envs.games.starcraft.maps import Scenario
from mail_envs.games.starcraft.units import TYPES, UNITS

COLUMNS = ("tag", "owner", "type", "x", "y", "hp", "hpm", "sh", "shm", "en", "cd")
ALLY, ENEMY = 1, 2  # owners


def unit_rows(
    of: Scenario, frames: Mapping[str, Any], names=None
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Columns (T, N + M) with the units in the order of their ids, and the units' types (N + M,)."""
    frames = {name: np.asarray(column) for name, column in frames.items()}
    missing = [c for c in COLUMNS if c not in frames]
    if missing:
        raise ValueError(f"frames lack the columns {', '.join(missing)}")
    first = {c: frames[c][0] for c in COLUMNS}
    present = np.flatnonzero(np.isfinite(first["tag"]))
    kinds = _types(of, first, present, frames.get("names", names))
    allies = present[first["owner"][present] == ALLY]
    enemies = present[first["owner"][present] == ENEMY]
    if (len(allies), len(enemies)) != (of.num_agents, of.num_enemies):
        raise ValueError(
            f"the first frame has {len(allies)} agents and {len(enemies)} enemies; "
            f"{of.id} has {of.num_agents} and {of.num_enemies}"
        )
    # As in the original: agents sorted by type and position, enemies in the given order.
    by_type = np.lexsort((first["y"][allies], first["x"][allies], kinds[allies]))
    rows = np.concatenate([allies[by_type], enemies])
    return _follow(frames, first["tag"][rows]), kinds[rows]


def _types(of: Scenario, first: dict, present: np.ndarray, names) -> np.ndarray:
    """Places in `TYPES` of the units of the first frame; -1 where there is none."""
    kinds = np.full(len(first["tag"]), -1)
    if names is not None:
        named = np.asarray(names)
        named = named[0] if named.ndim == 2 else named
        kinds[present] = [TYPES.index(str(name)) for name in named[present]]
        return kinds
    stock = {unit.raw_id: place for place, unit in enumerate(UNITS.values())}
    raw = first["type"][present].astype(np.int64)
    # The agents' copies have numbers of their own, in the order of `TYPES`.
    copies = sorted(set(raw[first["owner"][present] == ALLY].tolist()) - set(stock))
    expected = sorted({TYPES.index(name) for name, _ in of.allies})
    if copies and len(copies) != len(expected):
        raise ValueError(
            f"type numbers {copies} of the agents cannot be told apart in {of.id}: give names= (U,)"
        )
    known = {**stock, **dict(zip(copies, expected))}
    unknown = sorted(set(raw.tolist()) - set(known))
    if unknown:
        raise ValueError(f"type numbers {unknown} are no units of {of.id}")
    kinds[present] = [known[number] for number in raw.tolist()]
    return kinds


def _follow(frames: dict, tags: np.ndarray) -> dict[str, np.ndarray]:
    """Columns (T, N + M) of the units with these tags; units that are gone keep their last values, without health."""
    length = len(frames["tag"])
    out = {c: np.zeros((length, len(tags))) for c in COLUMNS}
    for t in range(length):
        here = {tag: place for place, tag in enumerate(frames["tag"][t].tolist())}
        rows = np.array([here.get(tag, -1) for tag in tags.tolist()])
        found = rows >= 0
        for c in COLUMNS:
            if t:
                out[c][t] = out[c][t - 1]
            out[c][t, found] = frames[c][t, rows[found]]
        out["hp"][t, ~found] = 0.0
    return out
