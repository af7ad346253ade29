"""Find and read the Arrow IPC messages in an untrusted or damaged file.

No metadata are trusted: lengths are checked against the file, and a record batch is fully validated before
its values are read.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

import numpy as np
import pyarrow as pa

CONTINUATION = b"\xff\xff\xff\xff"
END_OF_STREAM = CONTINUATION + bytes(4)
SCHEMA, RECORD_BATCH = 1, 3  # MessageHeader in Arrow's Message.fbs
PADDING = 64  # writers align buffers to 8 or to 64 bytes
ALIGNMENT = 8  # of messages in a stream


class Header(NamedTuple):
    """Metadata of a message.

    Attributes:
        kind: SCHEMA, RECORD_BATCH or another. body, end: start and end of the body in the file.
        rows: number of rows of a record batch. needed: bytes of the body that its buffers use.
    """

    kind: int
    body: int
    end: int
    rows: int
    needed: int


def header_at(view: memoryview, start: int) -> Header | None:
    """The header of the message at `start`, or None if there is no consistent one.

    The body may extend beyond the end of the file. The few fields of `Message.fbs` are read by hand because
    indexing a shard of ten thousand episodes then touches one page per episode and creates no Arrow objects.
    """
    if start + 8 > len(view) or view[start : start + 4] != CONTINUATION:
        return None
    try:
        size = struct.unpack_from("<i", view, start + 4)[0]
        body = start + 8 + size
        if size <= 0 or body > len(view):
            return None
        message = _target(view, start + 8)
        kind, table, length = (_field(view, message, k) for k in (1, 2, 3))
        body_length = struct.unpack_from("<q", view, length)[0] if length else 0
        if not kind or body_length < 0:
            return None
        if view[kind] != RECORD_BATCH:
            return Header(view[kind], body, body + body_length, 0, 0)
        batch = _target(view, table)
        rows, _, buffers, compression = (_field(view, batch, k) for k in range(4))
        if compression or not buffers:  # what we write is never compressed
            return None
        vector = _target(view, buffers)
        count = struct.unpack_from("<I", view, vector)[0]
        offset, size = struct.unpack_from("<qq", view, vector + 4 + 16 * (count - 1))
        if not 0 <= body_length - offset - size < PADDING:
            return None
        number = struct.unpack_from("<q", view, rows)[0] if rows else 0
        return Header(RECORD_BATCH, body, body + body_length, number, offset + size)
    except (struct.error, IndexError):
        return None


def _target(view: memoryview, position: int) -> int:
    """The position that the FlatBuffers offset at `position` points to."""
    return position + struct.unpack_from("<I", view, position)[0]


def _field(view: memoryview, table: int, index: int) -> int:
    """Position of field `index` of a FlatBuffers table, 0 if it is absent."""
    vtable = table - struct.unpack_from("<i", view, table)[0]
    slot = 4 + 2 * index
    if slot >= struct.unpack_from("<H", view, vtable)[0]:
        return 0
    offset = struct.unpack_from("<H", view, vtable + slot)[0]
    return table + offset if offset else 0


def possible_starts(view: memoryview, start: int) -> np.ndarray:
    """Possible starts of messages from `start` on, int64 (K,): continuation markers followed by a plausible size."""
    begin = -(-start // ALIGNMENT) * ALIGNMENT
    words = np.frombuffer(view[begin : begin + (len(view) - begin) // 8 * 8], "<u8")
    sizes = words >> np.uint64(32)
    marked = (words & np.uint64(0xFFFFFFFF)) == 0xFFFFFFFF
    fits = (sizes > 0) & (sizes < max(len(view) - begin, 1)) & (sizes % ALIGNMENT == 0)
    return begin + 8 * np.flatnonzero(marked & fits)


def is_torn(view: memoryview, start: int, smallest: int) -> bool:
    """Whether the file ends with a partly written message that begins at `start`.

    `smallest`: the minimum size of a message in bytes.
    """
    header = header_at(view, start)
    if header is not None:
        return header.kind == RECORD_BATCH and header.body + header.needed > len(view)
    begun = bytes(view[start : start + 4])
    return CONTINUATION.startswith(begun) and len(view) - start < smallest


def read_schema(view: memoryview, end: int) -> pa.Schema:
    """Read the schema, the first message of a stream, which ends at `end`; ValueError if it is invalid."""
    try:
        return pa.ipc.read_schema(pa.py_buffer(view[:end]))
    except (pa.ArrowException, OSError, ValueError) as error:
        raise ValueError(_reason(error)) from None


def read_batch(buffer: pa.Buffer, start: int, end: int, schema: pa.Schema) -> pa.RecordBatch:
    """The record batch between two positions, as a view of `buffer`; ValueError if it is invalid."""
    try:
        message = pa.ipc.read_message(buffer.slice(start, end - start))
        batch = pa.ipc.read_record_batch(message, schema)
        batch.validate(full=True)
    except (pa.ArrowException, OSError, ValueError, EOFError) as error:
        raise ValueError(_reason(error)) from None
    for name, column in zip(schema.names, batch.columns, strict=True):
        items = column.flatten() if pa.types.is_fixed_size_list(column.type) else column
        if column.null_count or items.null_count:
            raise ValueError(f"{name} has empty entries")
    return batch


def _reason(error: BaseException) -> str:
    """Arrow's error message, shortened to one line."""
    return (" ".join(str(error).split()) or type(error).__name__)[:200]
