"""Demonstrations on disk: a folder of append-only Arrow shards and a JSON manifest.

```
PATH/manifest.json        what was recorded, by whom, with which versions; one entry per closed shard
PATH/shard-00000.arrow    an Arrow IPC stream: one record batch = one episode of T+1 rows
```

A row is a round. Row t holds the observation and the state of round t, who acted on them, the actions and
the rewards they led to; row T holds the final observation and state, who was alive, which actions would have been
allowed and who would have acted, with the other columns zero. (Sets of schema 1 say less: `demos.schema_one`.)
Every column is plain and of fixed size, so that any Arrow reader opens a shard (`pyarrow.ipc.open_stream`),
and nothing is ever unpickled.

Why nothing finished is lost: an episode is handed to the operating system in one write, as one complete
IPC message. A process that is killed leaves at most one torn message at the end, and readers stop before
it. A shard that reaches its size limit is closed: an end-of-stream mark, synced to the disk, and its size,
SHA-256 and episode count put into the manifest, which is replaced atomically. The last column of every
batch is a CRC-32 of the episode, checked when the episode is first read, as its values are.

A shard may be damaged, or made by somebody who means harm: reading it gives what was recorded or raises a
`DemonstrationError`. Episodes behind a damaged place are found again by the mark of the next message.
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
from demos.manifest import SHARD_NAME, shown, values_of
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
LEAST_ROWS = 2  # of an episode: one round, and what was seen after it

# The search for episodes behind a damaged place ends after so many bytes for each byte of the file. Only a
# file that was made to be slow has that many false beginnings.
SEARCH = 16
LOOK = 1024  # bytes that one look at a header counts as


@dataclass(frozen=True)
class Found:
    """What lies in a shard's file.

    Attributes:
        starts, ends, lengths: int64 (episodes,), positions of each episode's message, and its T.
        first: where the schema ends. damaged: where damaged places begin, in order.
        complete: whether the file ends as a closed shard does.
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
    """One file of episodes, memory-mapped; indexed when it is first used.

    `closed` is the shard's manifest entry (`file, bytes, sha256, episodes, transitions`), or None for a
    shard that was never closed: its complete episodes are found by walking it.
    """

    def __init__(self, path: Path, values: Values, closed: Mapping[str, Any] | None = None) -> None:
        self.path, self.values, self.closed = path, values, closed
        self.layout, self.schema = values.layout, values.layout.schema()
        self._mapped: pa.Buffer | None = None
        self._found: Found | None = None
        self._checked = np.zeros(0, bool)  # the episodes whose values were looked at

    def __len__(self) -> int:
        """Number of episodes; of a closed shard as the manifest says."""
        return self.closed["episodes"] if self.closed else len(self.found.starts)

    def unclosed(self) -> Shard:
        """The same file without its manifest entry: what is readable of it counts."""
        return Shard(self.path, self.values)

    @property
    def buffer(self) -> pa.Buffer:
        """The whole file, without a copy. A `DemonstrationError` when there is no such file."""
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
        """What lies where in the file."""
        if self._found is None:
            self._found = self._search(memoryview(self.buffer).cast("B"))
            self._checked = np.zeros(len(self._found.starts), bool)
        return self._found

    @property
    def lengths(self) -> np.ndarray:
        """T of each episode, int64 (episodes,)."""
        self._insist()
        return self.found.lengths

    def _insist(self) -> None:
        """Raise a `DemonstrationError` unless a closed shard holds what the manifest says."""
        if self.closed is not None and (problem := self.found.foreign or self._miscounted()):
            raise DemonstrationError(f"{self.path}: {problem}")

    # --- what is wrong -----------------------------------------------------------------------------------

    def problem(self, verify: bool) -> str | None:
        """What is wrong with the file, or None.

        A closed shard is only read for that when `verify` is set; episodes of one that was never closed
        are checked in any case.
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
        """What is damaged before the last readable episode of a shard that was never closed."""
        if self.found.damaged and self.found.damaged[0] < self.end:
            return f"damaged from byte {self.found.damaged[0]} on"
        lost = np.flatnonzero(~self.intact())
        return f"episode {lost[0]} is damaged" if len(lost) else None

    def _miscounted(self) -> str | None:
        """How a closed shard's file differs from what the manifest says of it."""
        assert self.closed is not None
        expected = self.closed["episodes"], self.closed["transitions"]
        counted = len(self.found.starts), int(self.found.lengths.sum())
        if expected != counted:
            return "expected {} episodes of {} rounds, found {} of {}".format(*expected, *counted)
        if self.found.damaged:
            return f"damaged from byte {self.found.damaged[0]} on"
        return None if self.found.complete else "the end of the stream is missing"

    def intact(self) -> np.ndarray:
        """Which of the episodes that can be found are readable, bool (episodes,)."""
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
        """Where the last episode ends."""
        return int(self.found.ends[-1]) if len(self.found.ends) else self.found.first

    @property
    def unfinished(self) -> int:
        """Bytes behind the last readable episode of a shard that was never closed, without a proper end."""
        left = len(self.buffer) - self.end
        return 0 if self.found.complete and left == len(END_OF_STREAM) else left

    def is_torn(self) -> bool:
        """Whether these bytes are none, or the beginning of an episode whose rest was never written."""
        smallest = (
            LEAST_ROWS * self.layout.row_bytes() if self.end else self.schema.serialize().size
        )
        return is_torn(memoryview(self.buffer).cast("B"), self.end, smallest)

    # --- the index -----------------------------------------------------------------------------------------

    def _search(self, view: memoryview) -> Found:
        """Walk through the messages; behind a damaged place, look for the next readable episode."""
        first, foreign = self._read_schema(view)
        messages: list[tuple[int, int, int]] = []  # start, end, rows
        damaged = [0] if len(view) and (foreign or not first) else []
        start, complete = first, False
        while start < len(view) and not complete:
            header = header_at(view, start)
            if header is not None and self._fits(header, view):
                messages.append((start, header.end, header.rows))
                start = header.end
            elif view[start:] == END_OF_STREAM:
                complete = True
            else:
                if messages and not self._reads(*messages[-1]):
                    start = messages.pop()[0]  # it may have told a wrong length
                damaged.append(start)
                start = self._next_readable(view, start + 8)
        while self.closed is None and messages and not self._reads(*messages[-1]):
            damaged.append(messages.pop()[0])  # a page of the last write never reached the disk
        table = np.array(messages, np.int64).reshape(-1, 3)
        found = Found(table[:, 0], table[:, 1], table[:, 2] - 1, first, tuple(damaged), complete)
        if first == 0 and not messages and not is_torn(view, 0, self.schema.serialize().size):
            foreign = "not an Arrow stream of demonstrations" if len(view) else None
        return dataclasses.replace(found, foreign=foreign)

    def _read_schema(self, view: memoryview) -> tuple[int, str | None]:
        """Where the schema's message ends, 0 when it is not readable; and how it differs from the set's."""
        header = header_at(view, 0)
        if header is None or header.kind != SCHEMA or header.end > len(view):
            return 0, None
        try:
            schema = read_schema(view, header.end)
            found = {f.name: str(f.type) for f in schema}
        except ValueError:
            return header.end, "the names of its columns are damaged"
        if schema.equals(self.schema):
            return header.end, None
        expected = {f.name: str(f.type) for f in self.schema}
        names = [k for k in expected | found if expected.get(k) != found.get(k)]
        differing = "; ".join(
            f"{shown(k)}: expected {expected.get(k)}, found {shown(found.get(k))}"
            for k in names[:3]
        )
        return (
            header.end,
            f"the columns are not those of the manifest: {differing or 'their order'}",
        )

    def _fits(self, header: Header, view: memoryview) -> bool:
        """Whether a message can be an episode of this set, judged by its lengths."""
        rows, needed = header.rows, header.needed
        return (
            header.kind == RECORD_BATCH
            and header.end <= len(view)
            and rows >= LEAST_ROWS
            and rows * self.layout.row_bytes() <= needed
        )

    def _next_readable(self, view: memoryview, start: int) -> int:
        """Where the next readable episode begins; the end of the file when there is none."""
        left = SEARCH * len(view)
        for position in possible_starts(view, start):
            header = header_at(view, position)
            left -= LOOK
            if header is not None and self._fits(header, view):
                left -= header.end - position
                if self._reads(position, header.end, header.rows):
                    return position
            if left < 0:
                break
        return len(view)

    # --- episodes ------------------------------------------------------------------------------------------

    def rows(
        self, chosen: Sequence[int] | np.ndarray, names: Sequence[str] | None = None
    ) -> dict[str, np.ndarray]:
        """The rows of some episodes, one behind the other; of a single one as views of the file.

        Args:
            chosen: numbers of episodes.
            names: the columns that are wanted, by default all.

        Raises:
            DemonstrationError: one of them is damaged, or its values cannot have been recorded.
        """
        self._insist()
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
        """The first of some episodes, with these numbers of rows, that is not as it was written, and why."""
        stops = np.cumsum(rows)
        for k, (start, stop) in enumerate(
            zip((stops - rows).tolist(), stops.tolist(), strict=True)
        ):
            part = slice(start, stop)
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
    """What the manifest says about a closed shard."""
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
    """All shards in the order in which they were written, those that were never closed included."""
    closed = {entry["file"]: entry for entry in manifest["shards"]}
    beside = {path.name for path in folder.iterdir() if SHARD_NAME.fullmatch(path.name)}
    names = sorted(closed.keys() | beside, key=shard_number)
    values = values_of(manifest)
    return [Shard(folder / name, values, closed.get(name)) for name in names]


def shard_number(name: str) -> int:
    """12 of `shard-00012.arrow`."""
    return int(name.removeprefix("shard-").removesuffix(".arrow"))


def shard_name(number: int) -> str:
    """`shard-00012.arrow` for 12; a `DemonstrationError` beyond the last possible one."""
    name = f"shard-{number:05d}.arrow"
    if not SHARD_NAME.fullmatch(name):
        raise DemonstrationError(f"{name}: there is no further number for a shard")
    return name


def lock(folder: Path) -> int:
    """Keep other writers out until the returned file is closed, or this process dies; -1 without locks."""
    if fcntl is None:
        return -1
    number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(number)
        raise DemonstrationError(f"{folder}: another process is recording into this set") from None
    return number


class ShardWriter:
    """The open end of a set: appends messages, and closes a shard when it has reached its size.

    `first`: number of the first shard. `held`: the folder's lock, given back by `release`.
    """

    def __init__(self, folder: Path, schema: pa.Schema, first: int, limit: int, held: int) -> None:
        self.folder, self.schema, self.limit = folder, schema, limit
        self.next_index = first
        self.path: Path | None = None
        self._fd = -1
        self._size = self.episodes = self.transitions = 0
        self._lock = held

    def append(self, message: bytes, transitions: int) -> dict[str, Any] | None:
        """Write one episode; returns the manifest entry of the shard when this closed it."""
        if self._fd < 0:
            self.path = self.folder / shard_name(self.next_index)
            self._fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
            self.next_index += 1
            self._size = self._write(self.schema.serialize().to_pybytes())
            self.episodes = self.transitions = 0
        self._size += self._write(message)
        self.episodes += 1
        self.transitions += transitions
        return self.close_shard() if self._size >= self.limit else None

    def _write(self, data: bytes) -> int:
        written = 0
        while written < len(data):
            written += os.write(self._fd, data[written:] if written else data)
        return written

    def close_shard(self) -> dict[str, Any] | None:
        """End the running shard, if there is one, and return its manifest entry."""
        if self._fd < 0 or self.path is None:
            return None
        self._write(END_OF_STREAM)
        os.fsync(self._fd)
        os.close(self._fd)
        self._fd = -1
        return shard_entry(self.path, self.episodes, self.transitions)

    def sync(self) -> None:
        """Wait until the running shard is on the disk (the system keeps it safe from a kill without this)."""
        if self._fd >= 0:
            os.fsync(self._fd)

    def release(self) -> None:
        """Give the folder's lock back."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1
