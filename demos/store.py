"""Demonstrations on disk: a folder of append-only Arrow shards and a JSON manifest.

```
PATH/manifest.json        the recording's game, demonstrator and versions; one entry per closed shard
PATH/shard-00000.arrow    an Arrow IPC stream: one record batch = one episode of T+1 rows
```

A row is a round. Row t holds the observation and state of round t, the participation, the actions and the
rewards; row T holds the final observation and state, who was alive, which actions would have been allowed and who
would have acted, and zeros in the other columns. (Sets of schema 1 say less: `demos.schema_one`.) Columns are plain
and of fixed size: any Arrow reader opens a shard (`pyarrow.ipc.open_stream`), and nothing is ever unpickled.

No finished episode is lost: each is written in one call, as one complete IPC message. A killed process leaves
at most one partly written message at the end, which readers ignore. A shard that reaches its size limit is
closed: it ends with an end-of-stream marker and is synced to disk, and its size, SHA-256 and number of episodes
are added to the manifest, which is replaced atomically. The last column of every batch is a CRC-32 of the
episode; checksum and values are checked when the episode is first read.

Shards may be damaged or malicious: reading one gives what was recorded or raises a `DemonstrationError`.
Episodes after a damaged place are found by the marker of the next message.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from demos.actions import own_actions
from demos.layout import DemonstrationError, checksum, decode
from demos.manifest import MANIFEST, SHARD_NAME, shown, values_of
from demos.messages import (
    END_OF_STREAM,
    RECORD_BATCH,
    SCHEMA,
    Header,
    header_at,
    is_torn,
    possible_starts,
    read_batch,
    read_schema,
)
from demos.schema_one import fill_in
from demos.values import Values
from mail_envs.plain_files import open_regular

try:
    import fcntl
except ImportError:  # no advisory locks on this platform
    fcntl = None

SHARD_BYTES = 64 * 2**20
# What the process does that holds a folder's lock, by the file that it writes first.
WRITERS = {MANIFEST: "recording into this set", "config.yaml": "training in this folder"}
MIN_ROWS = 2  # of an episode: one round and the final observation

# The search for episodes after damaged places reads at most SEARCH bytes per byte of the file, all places together.
# Only a file that is crafted to be slow has so many false starts of messages; what follows is then not found.
SEARCH = 16
HEADER_COST = 1024  # bytes that parsing one header counts as


@dataclass(frozen=True)
class Found:
    """Index of a shard's file.

    Attributes:
        starts, ends, lengths: int64 (episodes,), start and end of each episode's message, and its T.
        first: end of the schema. damaged: starts of damaged places, in order.
        complete: whether the file ends with the end-of-stream marker.
        foreign: why the file does not seem to belong to the set, or None.
    """

    starts: np.ndarray
    ends: np.ndarray
    lengths: np.ndarray
    first: int = 0
    damaged: tuple[int, ...] = ()
    complete: bool = False
    foreign: str | None = None


NONE = np.zeros(0, np.int64)
NOTHING = Found(NONE, NONE, NONE)


class Shard:
    """One file of episodes, memory-mapped, and indexed when it is first used.

    `closed` is the shard's manifest entry (`file, bytes, sha256, episodes, transitions`), or None for a
    shard that was never closed: its complete episodes are found by scanning the file.
    """

    def __init__(self, path: Path, values: Values, closed: Mapping[str, Any] | None = None) -> None:
        self.path, self.values, self.closed = path, values, closed
        self.layout, self.schema = values.layout, values.layout.schema()
        self._mapped: pa.Buffer | None = None
        self._found: Found | None = None
        self._checked = np.zeros(0, bool)  # episodes whose checksums and values were checked

    def __len__(self) -> int:
        """Number of episodes; of a closed shard according to the manifest."""
        return self.closed["episodes"] if self.closed else len(self.found.starts)

    def unclosed(self) -> Shard:
        """The same file without its manifest entry: it holds whatever episodes are found."""
        return Shard(self.path, self.values)

    @property
    def buffer(self) -> pa.Buffer:
        """The memory-mapped file. `DemonstrationError` if it cannot be read."""
        if self._mapped is None:
            try:
                with open_regular(self.path) as file:
                    empty = os.fstat(file.fileno()).st_size == 0
                with pa.memory_map(os.devnull if empty else str(self.path)) as mapped:
                    self._mapped = mapped.read_buffer()
            except FileNotFoundError:
                raise DemonstrationError(f"{self.path}: the file is missing") from None
            except OSError as error:
                reason = error.strerror or str(error).removeprefix(f"{self.path}: ")
                raise DemonstrationError(f"{self.path}: cannot be read: {reason}") from None
        assert self._mapped is not None
        return self._mapped

    @property
    def found(self) -> Found:
        """Index of the file."""
        if self._found is None:
            self._found = self._search(memoryview(self.buffer).cast("B"))
            self._checked = np.zeros(len(self._found.starts), bool)
        return self._found

    @property
    def lengths(self) -> np.ndarray:
        """T of each episode, int64 (episodes,)."""
        self._check_manifest()
        return self.found.lengths

    def _check_manifest(self) -> None:
        """Raise a `DemonstrationError` unless a closed shard holds what the manifest says."""
        if self.closed is not None and (problem := self.found.foreign or self._miscounted()):
            raise DemonstrationError(f"{self.path}: {problem}")

    # --- damage ------------------------------------------------------------------------------------------

    def problem(self, verify: bool) -> str | None:
        """What is wrong with the file, or None.

        A closed shard is only read if `verify` is set; the episodes of an unclosed shard are always checked.
        """
        try:
            if self.closed is None:
                return self.found.foreign or self._damage()
            size = len(self.buffer)
            if size != self.closed["bytes"]:
                return f"expected {self.closed['bytes']} bytes, found {size}"
            if not verify:
                return None
            digest = hashlib.sha256(memoryview(self.buffer)).hexdigest()
            if digest != self.closed["sha256"]:
                return f"expected sha256 {self.closed['sha256'][:12]}..., found {digest[:12]}..."
            return self.found.foreign or self._miscounted()
        except DemonstrationError as error:
            return str(error).removeprefix(f"{self.path}: ")

    def _damage(self) -> str | None:
        """Damage before the last readable episode of an unclosed shard, or None."""
        if self.found.damaged and self.found.damaged[0] < self.end:
            return f"damaged from byte {self.found.damaged[0]} on"
        lost = np.flatnonzero(~self.intact())
        return f"episode {lost[0]} is damaged" if len(lost) else None

    def _miscounted(self) -> str | None:
        """How a closed shard's file differs from its manifest entry, or None."""
        assert self.closed is not None
        expected = self.closed["episodes"], self.closed["transitions"]
        counted = len(self.found.starts), int(self.found.lengths.sum())
        if expected != counted:
            text = "expected {} episodes with {} rounds in total, found {} with {}"
            return text.format(*expected, *counted)
        if self.found.damaged:
            return f"damaged from byte {self.found.damaged[0]} on"
        return None if self.found.complete else "the end of the stream is missing"

    def intact(self) -> np.ndarray:
        """Which of the episodes found are readable, bool (episodes,)."""
        try:
            found = self.found
        except DemonstrationError:
            return np.zeros(0, bool)
        if not self._checked.all():
            messages = zip(found.starts, found.ends, found.lengths + 1, strict=True)
            for k, message in enumerate(messages):
                self._checked[k] = self._checked[k] or self._reads(*message)
        return self._checked.copy()

    @property
    def end(self) -> int:
        """End of the last episode."""
        return int(self.found.ends[-1]) if len(self.found.ends) else self.found.first

    @property
    def unfinished(self) -> int:
        """Bytes after the last episode of an unclosed shard, 0 if the stream ends properly."""
        left = len(self.buffer) - self.end
        return 0 if self.found.complete and left == len(END_OF_STREAM) else left

    def is_torn(self) -> bool:
        """Whether `unfinished` bytes are none, or a partly written episode."""
        episode, schema = MIN_ROWS * self.layout.row_bytes(), self.schema.serialize().size
        return is_torn(memoryview(self.buffer).cast("B"), self.end, episode if self.end else schema)

    # --- the index -----------------------------------------------------------------------------------------

    def _search(self, view: memoryview) -> Found:
        """Scan the messages; after a damaged place, search for the next readable episode."""
        first, foreign = self._read_schema(view)
        messages: list[tuple[int, int, int]] = []  # start, end, rows
        damaged = [0] if len(view) and (foreign or not first) else []
        start, complete = first, False
        starts = None  # where messages may begin
        left = SEARCH * len(view)  # bytes that may still be read
        while start < len(view) and not complete:
            header = header_at(view, start)
            if header is not None and self._fits(header, view):
                messages.append((start, header.end, header.rows))
                start = header.end
            elif view[start:] == END_OF_STREAM:
                complete = True
            else:
                if messages:
                    left -= messages[-1][1] - messages[-1][0]
                    if not self._reads(*messages[-1]):
                        start = messages.pop()[0]  # its length may be wrong
                damaged.append(start)
                starts = possible_starts(view, first) if starts is None else starts
                later = starts[np.searchsorted(starts, start + 8) :]
                start, left = self._next_readable(view, later, left)
        while self.closed is None and messages and not self._reads(*messages[-1]):
            damaged.append(messages.pop()[0])  # a page of the last write never reached the disk
        table = np.array(messages, np.int64).reshape(-1, 3)
        found = Found(table[:, 0], table[:, 1], table[:, 2] - 1, first, tuple(damaged), complete)
        if first == 0 and not messages and not is_torn(view, 0, self.schema.serialize().size):
            foreign = "not an Arrow stream of demonstrations" if len(view) else None
        return dataclasses.replace(found, foreign=foreign)

    def _read_schema(self, view: memoryview) -> tuple[int, str | None]:
        """End of the schema's message, 0 if it is not readable; and how it differs from the set's, or None."""
        header = header_at(view, 0)
        if header is None or header.kind != SCHEMA or header.end > len(view):
            return 0, None
        try:
            schema = read_schema(view, header.end)
            found = {f.name: str(f.type) for f in schema}
        except ValueError:
            return header.end, "the column names are damaged"
        if schema.equals(self.schema):
            return header.end, None
        expected = {f.name: str(f.type) for f in self.schema}
        names = [k for k in expected | found if expected.get(k) != found.get(k)]
        differing = "; ".join(
            f"{shown(k)}: expected {expected.get(k)}, found {shown(found.get(k))}"
            for k in names[:3]
        )
        text = f"the columns are not those of the manifest: {differing or 'their order'}"
        return header.end, text

    def _fits(self, header: Header, view: memoryview) -> bool:
        """Whether a message can be an episode of this set, judged by its lengths."""
        in_file = header.kind == RECORD_BATCH and header.end <= len(view)
        room = header.rows * self.layout.row_bytes() <= header.needed
        return in_file and room and header.rows >= MIN_ROWS

    def _next_readable(self, view: memoryview, starts: np.ndarray, left: int) -> tuple[int, int]:
        """The first of the possible `starts` where an episode is readable, or the end of the file if there is none.

        `left`: how many bytes the search may still read; returns it, too, less what was read.
        """
        for position in map(int, starts):
            if left < 0:
                break
            header = header_at(view, position)
            left -= HEADER_COST
            if header is not None and self._fits(header, view):
                left -= header.end - position
                if self._reads(position, header.end, header.rows):
                    return position, left
        return len(view), left

    # --- episodes ------------------------------------------------------------------------------------------

    def rows(
        self, chosen: Sequence[int] | np.ndarray, names: Sequence[str] | None = None
    ) -> dict[str, np.ndarray]:
        """The rows of some episodes, concatenated; of a single episode as views of the file.

        Args:
            chosen: indices of episodes.
            names: columns to read, by default all.

        Raises:
            DemonstrationError: an episode is damaged, or has values that cannot have been recorded.
        """
        self._check_manifest()
        chosen, found = np.asarray(chosen, np.int64), self.found
        batches = []
        for k in chosen.tolist():
            place = int(found.starts[k]), int(found.ends[k]), int(found.lengths[k]) + 1
            try:
                batches.append(self._batch(*place))
            except ValueError as error:
                raise DemonstrationError(f"{self.path}: episode {k} is damaged ({error})") from None
        table = batches[0] if len(batches) == 1 else pa.Table.from_batches(batches, self.schema)
        lengths = found.lengths[chosen] + 1
        if self._checked[chosen].all():
            columns = decode(self.layout, table, names)
        else:
            columns = decode(self.layout, table)
            if wrong := self._wrong(columns, lengths):
                raise DemonstrationError(f"{self.path}: episode {chosen[wrong[0]]} {wrong[1]}")
            self._checked[chosen] = True
        if not self.layout.alive:
            fill_in(columns, lengths, own_actions(self.values.action_dims))
        return columns

    def _batch(self, start: int, end: int, rows: int) -> pa.RecordBatch:
        batch = read_batch(self.buffer, start, end, self.schema)
        if batch.num_rows != rows:
            raise ValueError(f"expected {rows} rows, found {batch.num_rows}")
        return batch

    def _wrong(self, columns: dict[str, np.ndarray], rows: np.ndarray) -> tuple[int, str] | None:
        """The first of some episodes with a wrong checksum or impossible values, and why; or None.

        rows: int64 (K,), the number of rows of each episode.
        """
        stops = np.cumsum(rows)
        for k, (stop, count) in enumerate(zip(stops.tolist(), rows.tolist(), strict=True)):
            part = slice(stop - count, stop)
            if (columns["crc32"][part] != checksum(self.layout, columns, part)).any():
                return k, "is damaged (its checksum does not match)"
        problem = self.values.problem(columns, stops - rows)
        return None if problem is None else (problem[0], f"cannot have been recorded: {problem[1]}")

    def _reads(self, start: int, end: int, rows: int) -> bool:
        """Whether there is a readable episode between two positions."""
        try:
            columns = decode(self.layout, self._batch(start, end, rows))
        except ValueError:
            return False
        return self._wrong(columns, np.array([rows])) is None


def shard_entry(path: Path, episodes: int, transitions: int) -> dict[str, Any]:
    """The manifest entry of a closed shard."""
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {
        "file": path.name,
        "bytes": path.stat().st_size,
        "sha256": digest,
        "episodes": episodes,
        "transitions": transitions,
    }


def open_shards(folder: Path, manifest: Mapping[str, Any]) -> list[Shard]:
    """All shards in the order of writing, including unclosed ones."""
    closed = {entry["file"]: entry for entry in manifest["shards"]}
    beside = {path.name for path in folder.iterdir() if SHARD_NAME.fullmatch(path.name)}
    names = sorted(closed.keys() | beside, key=shard_number)
    values = values_of(manifest)
    return [Shard(folder / name, values, closed.get(name)) for name in names]


def shard_number(name: str) -> int:
    """12 for `shard-00012.arrow`."""
    return int(name.removeprefix("shard-").removesuffix(".arrow"))


def shard_name(number: int) -> str:
    """`shard-00012.arrow` for 12; `DemonstrationError` if the number is too large."""
    name = f"shard-{number:05d}.arrow"
    if not SHARD_NAME.fullmatch(name):
        raise DemonstrationError(f"{name}: the set has too many shards")
    return name


def lock(folder: Path) -> int:
    """Lock the folder for writing; returns what `unlock` takes, -1 where there are no locks (some network file systems
    have none).

    DemonstrationError: another process holds the lock. The lock ends with this process.
    """
    if fcntl is None:
        return -1
    number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(number)
        doing = (what for name, what in WRITERS.items() if os.path.lexists(folder / name))
        raise DemonstrationError(
            f"{folder}: another process is {next(doing, 'writing into this folder')}"
        ) from None
    except OSError:
        os.close(number)
        return -1
    return number


def unlock(held: int) -> None:
    """Release what `lock` returned."""
    if held >= 0:
        os.close(held)


class ShardWriter:
    """Appends messages to shards, and closes a shard when it has reached its size limit.

    `first`: number of the first shard. `held`: the folder's lock, which `release` releases.
    """

    def __init__(self, folder: Path, schema: pa.Schema, first: int, limit: int, held: int) -> None:
        self.folder, self.schema, self.limit = folder, schema, limit
        self.next_index = first
        self.path: Path | None = None
        self._fd = -1
        self._size = self.episodes = self.transitions = 0
        self._lock = held

    def append(self, message: bytes, transitions: int) -> dict[str, Any] | None:
        """Write one episode; returns the manifest entry of the shard if this closed it."""
        if self._fd < 0:
            self.path = self.folder / shard_name(self.next_index)
            self._size = self.episodes = self.transitions = 0
            self._fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
            self.next_index += 1
        if not self._size:
            self._size = self._write(self.schema.serialize().to_pybytes())
        end = self._size + self._write(message)
        self._size, self.episodes, self.transitions = (
            end, self.episodes + 1, self.transitions + transitions
        )  # fmt: skip
        return self.close_shard() if self._size >= self.limit else None

    def _write(self, data: bytes) -> int:
        """Write at the end of the last whole message, over what an interrupted call may have left there."""
        os.lseek(self._fd, self._size, os.SEEK_SET)
        written = 0
        while written < len(data):
            written += os.write(self._fd, data[written:] if written else data)
        return written

    def close_shard(self) -> dict[str, Any] | None:
        """Close the current shard, if any, and return its manifest entry.

        An episode whose writing was interrupted, by Ctrl-C or a full disk, is cut off; a shard without episodes
        is deleted.
        """
        if self._fd < 0 or self.path is None:
            return None
        os.ftruncate(self._fd, self._size)
        if self.episodes:
            self._write(END_OF_STREAM)
            os.fsync(self._fd)
        number, self._fd = self._fd, -1
        os.close(number)
        if self.episodes:
            return shard_entry(self.path, self.episodes, self.transitions)
        self.path.unlink()
        return None

    def sync(self) -> None:
        """Wait until the current shard is on disk (needed for power failures only, not for kills)."""
        if self._fd >= 0:
            os.fsync(self._fd)

    def release(self) -> None:
        """Release the folder's lock."""
        unlock(self._lock)
        self._lock = -1
