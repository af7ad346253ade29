"""Scores of single runs in one small file, `runs.csv`: every evaluation of a report, without the run folders.

Reports write it, and read it in place of the folders: further runs join a table whose first ones are on another machine,
or gone. Learning curves are not in it.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from learners.lib.evaluation_file import check_evaluation
from learners.lib.files import read_bytes, whole, wrong
from learners.lib.records import RunRecord

# One row per evaluation: of sampled actions (of what the learner plays, where it does not sample), or of the best ones.
ACTIONS = ("played", "best")
REFERENCES = ("random", "expert")
WHOLE = ("num_demos", "seed", "steps", "episodes")
NUMBERS = ("return", "sd", "win_rate", *REFERENCES)
RUN = ("environment", "algorithm", "num_demos", "seed")
RESULT = ("steps", "episodes", "return", "sd", "win_rate")
COLUMNS = (*RUN, "actions", *RESULT, *REFERENCES)


def score_rows(
    records: Iterable[RunRecord], references: dict[str, dict[str, float]]
) -> list[dict[str, Any]]:
    """A row per evaluation of every run; `references` by task."""
    rows = []
    for record in sorted(records, key=lambda r: (*map(str, r.key), r.seed)):
        task, algorithm, number = record.key
        cell = {"environment": task, "algorithm": algorithm, "num_demos": number}
        known = {k: references.get(task, {}).get(k) for k in REFERENCES}
        for actions, result in zip(ACTIONS, (record.evaluation, record.greedy), strict=True):
            if result is not None:
                figures = {k: result.get(k) for k in RESULT}
                rows.append({**cell, "seed": record.seed, "actions": actions, **figures, **known})
    return rows


def read_scores(path: Path) -> list[RunRecord]:
    """The finished runs in a `runs.csv`; ValueError naming the file, the line and the value that is wrong."""
    try:
        lines = list(csv.DictReader(io.StringIO(read_bytes(path).decode()), strict=True))
    except (csv.Error, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is damaged: {error}") from None
    runs: dict[tuple, dict[str, dict[str, Any]]] = {}
    for k, line in enumerate(lines, start=2):
        where = path.with_name(f"{path.name}, line {k},")
        if tuple(line) != COLUMNS or None in line.values():
            raise ValueError(
                f"{where} is damaged: it does not have the columns {', '.join(COLUMNS)}"
            )
        row = {key: _value(where, key, text) for key, text in line.items()}
        whole(where, row, "seed")
        if row["actions"] not in ACTIONS:
            raise wrong(where, "actions", row["actions"], " or ".join(ACTIONS))
        if row["num_demos"] is not None:
            whole(where, row, "num_demos")
        known = {k: row[k] for k in REFERENCES if row[k] is not None}
        result = {k: row[k] for k in RESULT if row[k] is not None}
        check_evaluation(where, {**result, "references": known})
        run = runs.setdefault(tuple(row[k] for k in RUN), {})
        if row["actions"] in run:
            raise ValueError(f"{where} is damaged: it repeats an evaluation")
        run[row["actions"]] = {**result, "references": known}
    if not runs:
        raise ValueError(f"{path} holds no run")
    none = np.zeros(0)
    return [
        RunRecord(
            path, {"num_demos": number, "seed": seed}, run.get("played"), none, none, algorithm=algorithm, task=task,
            greedy=run.get("best") if "played" in run else None,
        )
        for (task, algorithm, number, seed), run in runs.items()
    ]  # fmt: skip


def _value(path: Path, key: str, text: str) -> Any:
    """A field's value: a number where the column holds numbers, None where it is empty."""
    kind = int if key in WHOLE else float if key in NUMBERS else None
    if kind is None:
        if not text:
            raise wrong(path, key, text, "a name")
        return text
    try:
        return kind(text) if text else None
    except ValueError:
        raise wrong(path, key, text, "a whole number" if kind is int else "a number") from None
