"""Demonstrations on disk: a folder of append-only Arrow shards and a JSON manifest.

```
PATH/manifest.json        what was recorded, by whom, with which versions; one entry per closed shard
PATH/shard-00000.arrow    an Arrow IPC stream: one record batch = one episode of T+1 rows
```

A row is a round. Row t holds the observation and the state of round t, who acted on them, the actions and
the rewards they led to; row T holds the final observation and state, with the other columns zero.
Every column is plain and of fixed size, so that any Arrow reader opens a shard (`pyarrow.ipc.open_stream`),
and nothing is ever unpickled.

Why nothing finished is lost: an episode is handed to the operating system in one write, as one complete
IPC message. A process that is killed leaves at most one torn message at the end, and readers stop before
it. A shard that reaches its size limit is closed: an end-of-stream mark, synced to the disk, and its size,
SHA-256 and episode count put into the manifest, which is replaced atomically. The last column of every
batch is a CRC-32 of the episode, checked whenever the episode is read.
"""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from demos.layout import DemonstrationError, Layout, Rows, checksum, decode

try:
    import fcntl
except ImportError:  # no advisory locks on this platform
    fcntl = None

SHARD_PATTERN = "shard-*.arrow"
SHARD_BYTES = 64 * 2**20

END_OF_STREAM = struct.pack("<Ii", 0xFFFFFFFF, 0)
CONTINUATION = 0xFFFFFFFF
RECORD_BATCH = 3  # MessageHeader.RecordBatch in Arrow's Message.fbs


def _field(buffer: memoryview, table: int, index: int) -> int:
    """Position of field `index` of a FlatBuffers table, 0 when it is absent."""
    vtable = table - struct.unpack_from("<i", buffer, table)[0]
    slot = 4 + 2 * index
    if slot >= struct.unpack_from("<H", buffer, vtable)[0]:
        return 0
    offset = struct.unpack_from("<H", buffer, vtable + slot)[0]
    return table + offset if offset else 0


def _message(buffer: memoryview, start: int) -> tuple[int, int] | None:
    """End and number of rows of the IPC message at `start`; None at the end or before a torn message.

    A hand-written reader of two fields of Arrow's `Message.fbs`: indexing a shard of ten thousand episodes
    this way touches one page per episode, and makes no objects.
    """
    if start + 8 > len(buffer):
        return None
    mark, metadata_size = struct.unpack_from("<Ii", buffer, start)
    body = start + 8 + metadata_size
    if mark != CONTINUATION or metadata_size <= 0 or body > len(buffer):
        return None
    message = start + 8 + struct.unpack_from("<I", buffer, start + 8)[0]
    try:
        kind, header, length = (_field(buffer, message, k) for k in (1, 2, 3))
        end = body + (struct.unpack_from("<q", buffer, length)[0] if length else 0)
        if not body <= end <= len(buffer):
            return None
        if not kind or buffer[kind] != RECORD_BATCH:
            return end, 0
        batch = header + struct.unpack_from("<I", buffer, header)[0]
        return end, struct.unpack_from("<q", buffer, _field(buffer, batch, 0))[0]
    except struct.error:
        return None


class Shard:
    """One file of episodes, memory-mapped; indexed when it is first used.

    `closed` is the shard's manifest entry (`file, bytes, sha256, episodes, transitions`), or None for a
    shard that was never closed: its complete episodes are found by walking it, and a torn tail is ignored.
    """

    def __init__(self, path: Path, layout: Layout, closed: Mapping[str, Any] | None = None) -> None:
        self.path, self.layout, self.closed = path, layout, closed
        self._buffer: pa.Buffer | None = None
        self._offsets: np.ndarray | None = None
        self._lengths: np.ndarray | None = None
        self.end = 0  # bytes up to the last complete episode
        self.torn_bytes = 0

    def __len__(self) -> int:
        """Number of episodes."""
        return self.closed["episodes"] if self.closed else len(self.lengths)

    @property
    def lengths(self) -> np.ndarray:
        """T of each episode, (episodes,)."""
        self._index()
        assert self._lengths is not None
        return self._lengths

    def problem(self, verify: bool) -> str | None:
        """What is wrong with a closed shard, or None. `verify` compares the SHA-256 as well."""
        if self.closed is None:
            return None
        if not self.path.is_file():
            return "the file is missing"
        size = self.path.stat().st_size
        if size != self.closed["bytes"]:
            return f"expected {self.closed['bytes']} bytes, found {size}"
        if verify:
            with open(self.path, "rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            if digest != self.closed["sha256"]:
                return f"expected sha256 {self.closed['sha256'][:12]}..., found {digest[:12]}..."
        return None

    def intact(self) -> np.ndarray:
        """Which of the episodes that can be reached pass their own checksum, bool (episodes,)."""
        if not self.path.is_file():
            return np.zeros(0, bool)
        try:
            self._index()
        except DemonstrationError:
            return np.zeros(0, bool)
        return np.array([self._passes(k) for k in range(len(self.lengths))], bool)

    def _passes(self, k: int) -> bool:
        try:
            self.episode(k)
        except DemonstrationError:
            return False
        return True

    def _index(self) -> None:
        if self._offsets is not None:
            return
        if self.path.stat().st_size == 0:
            self._buffer = pa.py_buffer(b"")
        else:
            with pa.memory_map(str(self.path)) as file:
                self._buffer = file.read_buffer()
        assert self._buffer is not None
        view = memoryview(self._buffer).cast("B")
        start, offsets, lengths = self._check_schema(view), [], []
        while (message := _message(view, start)) is not None and message[1] > 0:
            offsets.append(start)
            lengths.append(message[1] - 1)
            start = message[0]
        self._offsets, self._lengths = np.array(offsets, np.int64), np.array(lengths, np.int64)
        self.end = start
        if self.closed is None:
            while len(self._lengths) and not self._passes(len(self._lengths) - 1):
                self.end = int(self._offsets[-1])  # a page of the last write never reached the disk
                self._offsets, self._lengths = self._offsets[:-1], self._lengths[:-1]
            tail = bytes(view[self.end :])
            self.torn_bytes = 0 if tail == END_OF_STREAM else len(tail)

    def _check_schema(self, view: memoryview) -> int:
        """End of the schema message; 0 when even that is torn."""
        message = _message(view, 0)
        if message is None:
            if bytes(view[:4]) != END_OF_STREAM[: min(4, len(view))]:
                raise DemonstrationError(f"{self.path}: not an Arrow stream of demonstrations")
            return 0
        try:
            schema = pa.ipc.read_schema(pa.py_buffer(view[: message[0]]))
        except (pa.ArrowInvalid, OSError) as error:
            raise DemonstrationError(
                f"{self.path}: not an Arrow stream of demonstrations ({error})"
            ) from None
        if not schema.equals(self.layout.schema()):
            expected = {f.name: str(f.type) for f in self.layout.schema()}
            found = {f.name: str(f.type) for f in schema}
            names = [k for k in expected | found if expected.get(k) != found.get(k)]
            raise DemonstrationError(
                f"{self.path}: the columns are not those of the manifest: "
                + "; ".join(f"{k}: expected {expected.get(k)}, found {found.get(k)}" for k in names)
            )
        return message[0]

    def episode(self, k: int) -> Rows:
        """The rows of episode k, checked against their checksum; views of the memory map."""
        self._index()
        assert self._offsets is not None and self._buffer is not None
        try:
            message = pa.ipc.read_message(self._buffer.slice(int(self._offsets[k])))
            rows = decode(self.layout, pa.ipc.read_record_batch(message, self.layout.schema()))
        except (pa.ArrowInvalid, OSError) as error:
            raise DemonstrationError(f"{self.path}: episode {k} is damaged ({error})") from None
        self._check(rows, slice(None), k)
        return rows

    def _check(self, rows: Rows, part: slice, k: int) -> None:
        if checksum(self.layout, rows.columns, part) != rows.columns["crc32"][part][-1]:
            raise DemonstrationError(
                f"{self.path}: episode {k} is damaged (its checksum does not match)"
            )

    def rows(self, columns: list[str] | None = None) -> Rows:
        """All rows of all episodes; with `columns` only those, unchecked."""
        self._index()
        assert self._buffer is not None
        options = None
        if columns is not None:
            names = self.layout.schema().names
            options = pa.ipc.IpcReadOptions(included_fields=[names.index(c) for c in columns])
        try:
            with pa.ipc.open_stream(self._buffer.slice(0, self.end), options=options) as reader:
                rows = decode(self.layout, reader.read_all())
        except (pa.ArrowInvalid, OSError) as error:
            raise DemonstrationError(f"{self.path}: the shard is damaged ({error})") from None
        if columns is None:
            stops = np.cumsum(self.lengths + 1)
            for k, (start, stop) in enumerate(zip(stops - self.lengths - 1, stops, strict=True)):
                self._check(rows, slice(int(start), int(stop)), k)
        return rows

    def close(self) -> dict[str, Any]:
        """Close a shard that was left open: cut the torn tail off, and return its manifest entry."""
        self._index()
        self._buffer = None
        with open(self.path, "r+b", buffering=0) as file:
            file.truncate(self.end)
            file.seek(self.end)
            file.write(END_OF_STREAM)
            os.fsync(file.fileno())
        return shard_entry(self.path, len(self.lengths), int(self.lengths.sum()))


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


def open_shards(folder: Path, manifest: Mapping[str, Any], layout: Layout) -> Iterator[Shard]:
    """The closed shards of the manifest in order, then those that were never closed."""
    closed = set()
    for entry in manifest["shards"]:
        closed.add(entry["file"])
        yield Shard(folder / entry["file"], layout, entry)
    for path in sorted(folder.glob(SHARD_PATTERN)):
        if path.name not in closed:
            yield Shard(path, layout)


class ShardWriter:
    """The open end of a set: appends messages, and closes a shard when it has reached its size.

    Only one writer at a time: it holds an advisory lock on the folder until it is closed or dies.
    """

    def __init__(self, folder: Path, layout: Layout, first: int, limit: int) -> None:
        self.folder, self.layout, self.limit = folder, layout, limit
        self.schema = layout.schema()
        self.next_index = first
        self.path: Path | None = None
        self._fd = -1
        self._size = self.episodes = self.transitions = 0
        self._lock = self._acquire()

    def _acquire(self) -> int:
        if fcntl is None:
            return -1
        lock = os.open(self.folder, os.O_RDONLY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock)
            raise DemonstrationError(
                f"{self.folder}: another process is recording into this set"
            ) from None
        return lock

    def append(self, message: bytes, transitions: int) -> dict[str, Any] | None:
        """Write one episode; returns the manifest entry of the shard when this closed it."""
        if self._fd < 0:
            self.path = self.folder / f"shard-{self.next_index:05d}.arrow"
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
