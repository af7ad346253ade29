"""Repair damaged or unclosed shards: readable episodes stay in the set, damaged files are kept beside it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from demos.messages import END_OF_STREAM
from demos.store import Shard, shard_entry


def mend(shard: Shard) -> tuple[dict[str, Any] | None, str | None]:
    """Replace a shard by a closed one that holds exactly its readable episodes.

    A partly written last episode is cut off. A file with any other damage is kept as
    `shard-00000.arrow.damaged`. An interruption at any point loses no readable episode.

    Returns:
        The shard's manifest entry, or None if no episode is left; and a notice for the user, or None.
    """
    path, was_closed = shard.path, shard.closed is not None
    if not os.path.lexists(path):
        return None, f"{path}: the file is missing"
    if was_closed and shard.problem(verify=True) is not None:
        shard = shard.unclosed()
    intact = shard.intact()
    if shard.problem(verify=False) is None and intact.all():
        if not shard.unfinished and shard.found.complete and len(intact):
            return _entry(shard, intact), None
        if not was_closed and shard.is_torn() and not path.is_symlink():
            return _end(shard, intact), None
    kept = _free_name(path)
    if not intact.any():
        os.rename(path, kept)
        return None, f"{path}: no episode in it is readable; kept as {kept.name}"
    temporary = path.with_suffix(".arrow.tmp")
    temporary.unlink(missing_ok=True)
    with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644), "wb") as file:
        file.write(shard.schema.serialize().to_pybytes())
        view = memoryview(shard.buffer).cast("B")
        places = zip(shard.found.starts[intact], shard.found.ends[intact], strict=True)
        file.writelines(view[start:end] for start, end in places)
        file.write(END_OF_STREAM)
        file.flush()
        os.fsync(file.fileno())
    _keep(path, kept)
    os.replace(temporary, path)
    notice = (
        f"{path}: {intact.sum()} episodes are readable; the damaged file is kept as {kept.name}"
    )
    return _entry(shard, intact), notice


def _entry(shard: Shard, intact: np.ndarray) -> dict[str, Any]:
    return shard_entry(shard.path, int(intact.sum()), int(shard.found.lengths[intact].sum()))


def _end(shard: Shard, intact: np.ndarray) -> dict[str, Any] | None:
    """Cut off a partly written episode and end the stream; a file without episodes is deleted."""
    if not len(intact):
        shard.path.unlink()
        return None
    with open(shard.path, "r+b", buffering=0) as file:
        file.truncate(shard.end)
        file.seek(shard.end)
        file.write(END_OF_STREAM)
        os.fsync(file.fileno())
    return _entry(shard, intact)


def _free_name(path: Path) -> Path:
    """An unused name for a damaged file, in the same folder."""
    kept, number = path.with_name(f"{path.name}.damaged"), 1
    while os.path.lexists(kept):
        number += 1
        kept = path.with_name(f"{path.name}.damaged-{number}")
    return kept


def _keep(path: Path, kept: Path) -> None:
    """Give a file a second name, so that it always has a name; rename it where hard links do not work."""
    try:
        os.link(path, kept, follow_symlinks=False)
    except (OSError, NotImplementedError):
        os.rename(path, kept)
