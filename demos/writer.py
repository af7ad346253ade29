"""Write demonstrations: append episodes to a new or existing set."""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from demos.dataset import Demonstrations
from demos.episode import Episode
from demos.layout import (
    DemonstrationError,
    DemonstrationWarning,
    Layout,
    encode,
    to_columns,
)
from demos.manifest import (
    FORMAT,
    MANIFEST,
    SCHEMA_VERSION,
    UNWRITTEN,
    read_manifest,
    values_of,
    write_manifest,
)
from demos.repair import mend
from demos.store import SHARD_BYTES, ShardWriter, lock, open_shards, shard_number, unlock


class DemonstrationWriter:
    """Appends episodes to a set. Once `append` has returned, killing the process does not lose the episode.

    Use it as a context manager, which closes the current shard at the end, also after an exception.

    Attributes:
        episodes: number of episodes in the set. notices: damage found when the set was opened for extension.
    """

    def __init__(self, folder: Path, manifest: dict[str, Any], limit: int, held: int) -> None:
        self.folder, self.manifest, self.notices = folder, manifest, []
        self.values = values_of(manifest)
        shards = open_shards(folder, manifest)
        self.episodes = self._following = 0  # the number of the next episode
        if filled := [shard for shard in shards if len(shard)]:
            self.episodes = sum(map(len, filled))
            last = filled[-1].rows([len(filled[-1]) - 1], ["episode"])["episode"]
            self._following = max(self.episodes, int(last[-1]) + 1)
        first = shard_number(shards[-1].path.name) + 1 if shards else 0
        self._writer = ShardWriter(folder, self.layout.schema(), first, limit, held)
        self._metrics_known = self.episodes > 0  # the first episode determines their names

    @property
    def layout(self) -> Layout:
        """Array sizes, the same in all episodes."""
        return self.values.layout

    @classmethod
    def create(
        cls, path: str | Path, metadata: Mapping[str, Any], shard_bytes: int = SHARD_BYTES
    ) -> DemonstrationWriter:
        """Create a set in a new or empty folder."""
        folder = Path(path)
        check_new(folder)
        folder.mkdir(parents=True, exist_ok=True)
        version = metadata.get("schema_version", SCHEMA_VERSION)  # 1 where an older set comes back
        manifest = {
            "format": FORMAT,
            "schema_version": version,
            **metadata,
            "layout": {"alive": version > 1, **metadata["layout"]},
            "statistics": {"episodes": 0, "transitions": 0},
            "shards": [],
        }
        held = lock(folder)
        try:
            write_manifest(folder, manifest)
            return cls(folder, manifest, shard_bytes, held)
        except BaseException:
            unlock(held)
            raise

    @classmethod
    def extend(
        cls, path: str | Path, shard_bytes: int = SHARD_BYTES, repair: bool = False
    ) -> DemonstrationWriter:
        """Continue a set. Shards left open by a killed process are closed first, without a partly written episode.

        Readable episodes are kept. A shard with other damage is kept beside the set under another name, see
        `demos.repair`, with a `DemonstrationWarning`.

        Args:
            path: the set's folder.
            shard_bytes: size at which a shard is closed.
            repair: repair closed shards too, and drop missing ones from the manifest. Otherwise a shard that
                is missing or has the wrong size is an error.
        """
        folder = Path(path)
        if not folder.is_dir():
            read_manifest(folder)  # raises the error that says what is there
        held = lock(folder)
        try:
            manifest = read_manifest(folder)
            notices = _mend(folder, manifest, repair)
            writer = cls(folder, manifest, shard_bytes, held)
        except BaseException:
            unlock(held)
            raise
        writer.notices += notices
        for notice in notices:
            warnings.warn(notice, DemonstrationWarning, stacklevel=2)
        return writer

    def append(self, episode: Episode) -> None:
        """Write one episode. `DemonstrationError` if it does not fit the set, or has impossible values."""
        self._check(episode)
        if not self._metrics_known:
            layout = replace(self.layout, metrics=tuple(episode.metrics))
            self.values = replace(self.values, layout=layout)
            self.manifest["layout"] = asdict(layout)
            write_manifest(self.folder, self.manifest)
            self._writer.schema = layout.schema()
            self._metrics_known = True
        columns = to_columns(self.layout, self._following, episode)
        if problem := self.values.problem(columns, np.zeros(1, np.int64)):
            raise DemonstrationError(
                f"{self.folder}: the episode of seed {episode.seed} is rejected: {problem[1]}"
            )
        message = encode(self._writer.schema, columns).serialize().to_pybytes()
        closed = self._writer.append(message, len(episode))
        self.episodes += 1
        self._following += 1
        if closed:
            self._closed(closed)

    def _check(self, episode: Episode) -> None:
        if episode.derived and self.layout.alive:
            raise DemonstrationError(
                f"{self.folder}: the episode of seed {episode.seed} comes from a set of schema 1, which does not "
                f"say who was alive; this set is of schema {SCHEMA_VERSION}: record it again"
            )
        given = {
            "observations": episode.observations,
            "state": episode.states,
            "actions": episode.actions,
            "participation": episode.participation,
            "rewards": episode.rewards,
            "alive": episode.alive,
            **({"action_mask": episode.action_masks} if self.layout.masked else {}),
        }
        for name, (_, shape) in self.layout.arrays().items():
            found = None if given[name] is None else given[name].shape[1:]
            if found != shape:
                raise DemonstrationError(
                    f"{self.folder}: {name} of one round has shape {found} in this episode, "
                    f"{shape} in the set ({self.manifest['id']})"
                )
        unknown = set(episode.metrics) - set(self.layout.metrics)
        if self._metrics_known and unknown:
            raise DemonstrationError(
                f"{self.folder}: metrics {sorted(unknown)} are not in the set's columns"
            )

    def _closed(self, entry: dict[str, Any]) -> None:
        self.manifest["shards"].append(entry)
        write_manifest(self.folder, self.manifest)

    def flush(self) -> None:
        """Wait until all appended episodes are on disk, so that a power failure does not lose them."""
        self._writer.sync()

    def annotate(self, **entries: Any) -> None:
        """Change entries of the manifest, such as `expert_return`."""
        self.manifest.update(entries)
        write_manifest(self.folder, self.manifest)

    def close(self) -> None:
        """Close the current shard, and write its checksum and the set's statistics into the manifest."""
        try:
            entry = self._writer.close_shard()
            if entry:
                self._closed(entry)
            whole = Demonstrations.open(self.folder, verify=False)
            self.manifest["statistics"] = whole.statistics()
            write_manifest(self.folder, self.manifest)
        finally:
            self._writer.release()

    def __enter__(self) -> DemonstrationWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


@contextmanager
def new_set(path: str | Path, metadata: Mapping[str, Any]) -> Iterator[DemonstrationWriter]:
    """A writer whose set appears in the new or empty folder `path` only if the block ends without an error.

    Until then it is beside it. For sets that cannot be continued, where a part must not look like the whole.
    """
    out = Path(path).resolve()
    check_new(out)
    beside = out.with_name(f".{out.name}.{os.getpid()}.unfinished")
    try:
        with DemonstrationWriter.create(beside, metadata) as writer:
            yield writer
        if out.exists():
            (out / UNWRITTEN).unlink(missing_ok=True)
            out.rmdir()
        beside.rename(out)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise


def check_new(folder: Path) -> None:
    """DemonstrationError: the folder of a new set holds more than what a killed `create` left."""
    if folder.exists() and (
        not folder.is_dir() or {p.name for p in folder.iterdir()} - {UNWRITTEN}
    ):
        is_set = (folder / MANIFEST).exists()
        hint = "; DemonstrationWriter.extend continues it" if is_set else ""
        raise DemonstrationError(f"{folder}: already exists and is not an empty folder{hint}")


def _mend(folder: Path, manifest: dict[str, Any], repair: bool) -> list[str]:
    """Close unclosed shards, or repair all if `repair` is set, update the manifest; returns notices."""
    notices = []
    for shard in open_shards(folder, manifest):
        if shard.closed is not None and not repair:
            if problem := shard.problem(verify=False):
                raise DemonstrationError(
                    f"{shard.path}: {problem}; `python -m demos.inspect {folder} --repair` keeps what is "
                    f"readable"
                )
            continue
        if shard.closed is not None and not shard.problem(verify=True) and shard.intact().all():
            continue
        entry, notice = mend(shard)
        notices += [notice] if notice else []
        entries = {e["file"]: e for e in manifest["shards"] if e["file"] != shard.path.name}
        entries |= {shard.path.name: entry} if entry else {}
        manifest["shards"] = [entries[name] for name in sorted(entries, key=shard_number)]
        write_manifest(folder, manifest)
    return notices
