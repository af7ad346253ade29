"""Rows of demonstrations: sizes, Arrow schema, and conversion between arrays and columns."""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

try:
    import pyarrow as pa
except ImportError as error:
    raise ImportError("demonstrations need pyarrow: pip install 'mail-envs[demos]'") from error


class DemonstrationError(ValueError):
    """A set of demonstrations cannot be read, or does not fit its use."""


class DemonstrationWarning(UserWarning):
    """Something in a set of demonstrations was skipped or repaired."""


@dataclass(frozen=True)
class Layout:
    """Array sizes, the same in all episodes of a set; they determine the Arrow schema."""

    num_agents: int  # N
    observation_size: int  # D, the largest of all agents
    num_actions: int  # A, the largest of all agents
    state_size: int  # S
    discrete: bool
    masked: bool  # whether episodes have action masks
    metrics: tuple[str, ...] = ()
    alive: bool = True  # episodes say who is alive, and their last row who would act next: schema 2

    def __post_init__(self) -> None:
        object.__setattr__(self, "metrics", tuple(self.metrics))

    @lru_cache(maxsize=64)  # noqa: B019 - layouts are small, few and equal by value
    def arrays(self) -> dict[str, tuple[np.dtype, tuple[int, ...]]]:
        """Column name -> dtype and shape of one row."""
        n, a = self.num_agents, self.num_actions
        f4, i4, u1 = (np.dtype(t) for t in (np.float32, np.int32, np.uint8))
        columns = {
            "observations": (f4, (n, self.observation_size)),
            "state": (f4, (self.state_size,)),
            "actions": (i4, (n,)) if self.discrete else (f4, (n, a)),
            "participation": (u1, (n,)),
            "rewards": (f4, (n,)),
        }
        if self.masked:
            columns["action_mask"] = (u1, (n, a))
        if self.alive:
            columns["alive"] = (u1, (n,))
        return columns

    @lru_cache(maxsize=64)  # noqa: B019
    def row_bytes(self) -> int:
        """Bytes of one row in all columns."""
        arrays = sum(t.itemsize * math.prod(shape) for t, shape in self.arrays().values())
        episode_seed, round_number, flags, crc = 2 * 8, 4, 2, 4
        return arrays + episode_seed + round_number + flags + 4 * len(self.metrics) + crc

    @lru_cache(maxsize=64)  # noqa: B019
    def schema(self) -> pa.Schema:
        """One Arrow field per column; arrays are fixed-size lists in C order."""
        fields = [pa.field(k, pa.int64()) for k in ("episode", "seed")]
        fields.append(pa.field("round", pa.int32()))
        for name, (dtype, shape) in self.arrays().items():
            fields.append(pa.field(name, pa.list_(pa.from_numpy_dtype(dtype), math.prod(shape))))
        fields += [pa.field(k, pa.uint8()) for k in ("terminated", "truncated")]
        fields += [pa.field(f"metric.{name}", pa.float32()) for name in self.metrics]
        fields.append(pa.field("crc32", pa.uint32()))
        return pa.schema([field.with_nullable(False) for field in fields])


def to_columns(layout: Layout, number: int, episode: Any) -> dict[str, np.ndarray]:
    """One episode as columns of T + 1 rows; `number` is its position in the set."""
    rows = len(episode.observations)
    last = np.zeros(rows, np.uint8)
    last[-1] = 1
    per_row: dict[str, np.ndarray] = {
        "episode": np.full(rows, number, np.int64),
        "seed": np.full(rows, episode.seed, np.int64),
        "round": np.arange(rows, dtype=np.int32),
        "terminated": last * np.uint8(episode.terminated),
        "truncated": last * np.uint8(episode.truncated),
    }
    source = {
        "observations": episode.observations,
        "state": episode.states,
        "actions": episode.actions,
        "participation": np.concatenate([episode.participation, episode.final_participation[None]]),
        "rewards": episode.rewards,
        "action_mask": episode.action_masks,
        "alive": episode.alive,
    }
    for name, (dtype, shape) in layout.arrays().items():
        padded = np.zeros((rows, *shape), dtype)
        padded[: len(source[name])] = source[name]
        per_row[name] = padded
    if not layout.alive:
        for name in ("participation", "action_mask"):
            if name in per_row:
                per_row[name][-1] = 0
    for name in layout.metrics:
        per_row[f"metric.{name}"] = np.full(rows, episode.metrics.get(name, np.nan), np.float32)
    per_row["crc32"] = np.full(rows, checksum(layout, per_row), np.uint32)
    return per_row


def encode(schema: pa.Schema, columns: Mapping[str, np.ndarray]) -> pa.RecordBatch:
    """Columns as a record batch."""
    arrays = [_to_arrow(field, columns[field.name]) for field in schema]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _to_arrow(field: pa.Field, values: np.ndarray) -> pa.Array:
    flat = pa.array(values.reshape(-1))
    if pa.types.is_fixed_size_list(field.type):
        return pa.FixedSizeListArray.from_arrays(flat, type=field.type)
    return flat


def checksum(layout: Layout, columns: Mapping[str, np.ndarray], rows: slice = slice(None)) -> int:
    """CRC-32 of the given rows over all columns but `episode` and `crc32`."""
    crc = 0
    names = ["seed", "round", *layout.arrays(), "terminated", "truncated"]
    for name in names + [f"metric.{m}" for m in layout.metrics]:
        crc = zlib.crc32(columns[name][rows].view(np.uint8).data, crc)
    return crc


def decode(
    layout: Layout, table: pa.Table | pa.RecordBatch, names: Sequence[str] | None = None
) -> dict[str, np.ndarray]:
    """Columns as NumPy arrays, by default all; without copying if `table` is a record batch."""
    columns = {}
    arrays = layout.arrays()
    for name in names or table.schema.names:
        column = table.column(name)
        if isinstance(column, pa.ChunkedArray):
            column = column.combine_chunks()
        if name in arrays:
            values = column.flatten().to_numpy()
            columns[name] = values.reshape(len(table), *arrays[name][1])
        else:
            columns[name] = column.to_numpy()
    return columns
