"""metrics.jsonl of a run folder: one JSON mapping per line, one line every few updates."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from learners.lib.files import number, read_bytes, whole


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
