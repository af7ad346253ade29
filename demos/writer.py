"""Writing demonstrations: appending episodes to a set."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from types import TracebackType
from typing import Any

from demos.dataset import Demonstrations
from demos.episode import Episode
from demos.layout import DemonstrationError, DemonstrationWarning, Layout, encode
from demos.manifest import (
    FORMAT,
    MANIFEST,
    SCHEMA_VERSION,
    layout_of,
    read_manifest,
    write_manifest,
)
from demos.store import SHARD_BYTES, SHARD_PATTERN, ShardWriter, open_shards


class DemonstrationWriter:
    """Appends episodes to a set. Each is safe from a kill of the process once `append` has returned.

    Use it as a context manager; leaving it, also by an exception, closes the running shard.
    """

    def __init__(self, folder: Path, manifest: dict[str, Any], limit: int, episodes: int) -> None:
        self.folder, self.manifest, self.episodes = folder, manifest, episodes
        self.layout = Layout(**manifest["layout"])
        numbers = [_number(p.name) for p in folder.glob(SHARD_PATTERN)]
        self._writer = ShardWriter(folder, self.layout, max(numbers, default=-1) + 1, limit)
        self._fixed = episodes > 0  # the names of the metrics are known from the first episode on

    @classmethod
    def create(
        cls, path: str | Path, metadata: Mapping[str, Any], shard_bytes: int = SHARD_BYTES
    ) -> DemonstrationWriter:
        """Start a set in an absent or empty folder."""
        folder = Path(path)
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            hint = (
                "; DemonstrationWriter.extend continues it" if (folder / MANIFEST).exists() else ""
            )
            raise DemonstrationError(f"{folder}: already exists and is not an empty folder{hint}")
        folder.mkdir(parents=True, exist_ok=True)
        manifest = {
            "format": FORMAT,
            "schema_version": SCHEMA_VERSION,
            **metadata,
            "statistics": {"episodes": 0, "transitions": 0},
            "shards": [],
        }
        write_manifest(folder, manifest)
        return cls(folder, manifest, shard_bytes, 0)

    @classmethod
    def extend(cls, path: str | Path, shard_bytes: int = SHARD_BYTES) -> DemonstrationWriter:
        """Continue a set. Shards that a kill left open are closed first, without their torn tail."""
        folder = Path(path)
        manifest = read_manifest(folder)
        writer = cls(folder, manifest, shard_bytes, 0)
        try:
            writer.episodes = writer._close_open_shards()
        except BaseException:
            writer._writer.release()
            raise
        writer._fixed = writer.episodes > 0
        return writer

    def _close_open_shards(self) -> int:
        episodes = 0
        for shard in open_shards(self.folder, self.manifest, layout_of(self.manifest, self.folder)):
            problem = shard.problem(verify=False)
            if problem:
                raise DemonstrationError(f"{shard.path}: {problem}")
            count = len(shard)
            episodes += count
            if shard.closed is None and count:
                self.manifest["shards"].append(shard.close())
                write_manifest(self.folder, self.manifest)
            elif shard.closed is None:
                shard.path.unlink()
        return episodes

    def append(self, episode: Episode) -> None:
        """Write one episode."""
        self._check(episode)
        if not self._fixed:
            self.layout = replace(self.layout, metrics=tuple(episode.metrics))
            self.manifest["layout"] = asdict(self.layout)
            write_manifest(self.folder, self.manifest)
            self._writer.layout, self._writer.schema = self.layout, self.layout.schema()
            self._fixed = True
        message = encode(self.layout, self._writer.schema, self.episodes, episode)
        closed = self._writer.append(message, len(episode))
        self.episodes += 1
        if closed:
            self._closed(closed)

    def _check(self, episode: Episode) -> None:
        given = {
            "observations": episode.observations,
            "state": episode.states,
            "actions": episode.actions,
            "participation": episode.participation,
            "rewards": episode.rewards,
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
        if self._fixed and unknown:
            raise DemonstrationError(
                f"{self.folder}: metrics {sorted(unknown)} are not in the set's columns"
            )

    def _closed(self, entry: dict[str, Any]) -> None:
        self.manifest["shards"].append(entry)
        write_manifest(self.folder, self.manifest)

    def flush(self) -> None:
        """Wait until all appended episodes are on the disk, safe from a power failure."""
        self._writer.sync()

    def annotate(self, **entries: Any) -> None:
        """Change entries of the manifest, such as `expert_return`."""
        self.manifest.update(entries)
        write_manifest(self.folder, self.manifest)

    def close(self) -> None:
        """Close the running shard, and write checksums and statistics into the manifest."""
        try:
            entry = self._writer.close_shard()
            if entry:
                self._closed(entry)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DemonstrationWarning)
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


def _number(name: str) -> int:
    match = re.fullmatch(r"shard-(\d+)\.arrow", name)
    return int(match[1]) if match else -1
