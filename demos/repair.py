"""Repair of damaged or unclosed shards: readable episodes stay in the set, damaged files are kept beside it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from demos.messages import END_OF_STREAM
from demos.store import Shard, shard_entry


def mend(shard: Shard) -> tuple[dict[str, Any] | None, str | None]:
    """Make a shard's file a closed one that holds its readable episodes, all of them and nothing else.

    A file that has anything else, other than the torn end of a write that a kill interrupted, is kept as
    it is under another name, `shard-00000.arrow.damaged`. Whenever this is interrupted, the readable episodes are
    in the set.

    Returns:
        The shard's manifest entry, or None when no episode is left; and what a user should know, or None.
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
        file.writelines(
            view[shard.found.starts[k] : shard.found.ends[k]] for k in np.flatnonzero(intact)
        )
        file.write(END_OF_STREAM)
        file.flush()
        os.fsync(file.fileno())
    _keep(path, kept)
    os.replace(temporary, path)
    count = int(intact.sum())
    return _entry(
        shard, intact
    ), f"{path}: {count} episodes are readable; kept as it was as {kept.name}"


def _entry(shard: Shard, intact: np.ndarray) -> dict[str, Any]:
    return shard_entry(shard.path, int(intact.sum()), int(shard.found.lengths[intact].sum()))


def _end(shard: Shard, intact: np.ndarray) -> dict[str, Any] | None:
    """Cut a torn write off, and say where the stream ends; a file without an episode goes away."""
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
    """A name beside a damaged file that is not taken."""
    kept, number = path.with_name(f"{path.name}.damaged"), 1
    while os.path.lexists(kept):
        number += 1
        kept = path.with_name(f"{path.name}.damaged-{number}")
    return kept


def _keep(path: Path, kept: Path) -> None:
    """Give a file another name, without a moment in which it has none of both where there are hard links."""
    try:
        os.link(path, kept, follow_symlinks=False)
    except (OSError, NotImplementedError):
        os.rename(path, kept)
