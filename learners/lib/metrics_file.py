"""metrics.jsonl of a run folder: one JSON mapping per line, one line every few updates; TensorBoard's events beside it."""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from learners.lib.files import number, read_bytes, whole, write_text


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """All lines; [] when there is no file. An incomplete last line, left by a killed process, is ignored.

    ValueError naming the file, the line and the damaged key.
    """
    try:
        lines = read_bytes(path, None).split(b"\n")
    except FileNotFoundError:
        return []
    records = []
    for k, line in enumerate(lines[:-1], 1):  # text after the last line end is incomplete
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            record = None
        if not isinstance(record, dict):
            raise ValueError(f"{path} is damaged: line {k} is not a JSON mapping")
        try:
            whole(path, record, "step")
            whole(path, record, "update")
            for key in ("return", "win_rate", "normalized_return"):
                value = record.get(key, 0.0)
                if value == value:  # nan is allowed
                    number(path, {key: value}, key)
        except ValueError as error:
            raise ValueError(f"{error} (line {k})") from None
        records.append(record)
    return records


class MetricsLog:
    """Appends lines to metrics.jsonl: means over the updates since the line before.

    Args:
        folder: the run folder.
        lines: what stays of the file, mappings.
        per_episode: metrics that are means over an update's episodes; their means over updates are weighted by the
            updates' `episodes`, of which lines have the sum.
        steps: done so far.

    Attributes:
        pending: values since the last line, a list for every metric.
    """

    def __init__(self, folder: Path, lines: Iterable[dict], per_episode: Iterable[str], steps: int):
        self.pending: dict[str, list[float]] = defaultdict(list)
        self._per_episode = set(per_episode)
        self._mark = (time.perf_counter(), steps)
        write_text(folder / "metrics.jsonl", "".join(json.dumps(x) + "\n" for x in lines))
        self._file = open(folder / "metrics.jsonl", "a")
        self._board = _tensorboard(folder)

    def add(self, metrics: Mapping[str, float]) -> None:
        """Note the metrics of an update."""
        for key, value in metrics.items():
            self.pending[key].append(value)

    def means(self) -> dict[str, float]:
        """Means of what is pending, which is then forgotten."""
        counts = self.pending.pop("episodes", [])
        episodes = [n for n in counts if n]  # only such updates have means over episodes
        weights = dict.fromkeys(self._per_episode, episodes)
        found = {k: float(np.average(x, weights=weights.get(k))) for k, x in self.pending.items()}
        if counts:
            found["episodes"] = sum(counts)
        self.pending.clear()
        return found

    def write(self, line: Mapping[str, Any], seconds: float) -> None:
        """Append a line with the speed since the one before. `seconds`: of training so far."""
        now, steps = time.perf_counter(), line["step"]
        before, at = self._mark
        self._mark = (now, steps)
        speed = (steps - at) / max(now - before, 1e-9)
        record = {**line, "steps_per_second": speed, "seconds": seconds}
        self._file.write(json.dumps(record) + "\n")
        self._file.flush()
        if self._board:
            for key, value in record.items():
                self._board.add_scalar(key, value, steps)

    def close(self) -> None:
        self._file.close()
        if self._board:
            self._board.close()


def _tensorboard(folder: Path):
    """A writer of TensorBoard events; None where it is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder))
