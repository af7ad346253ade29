"""Returns as marl-eval reads them, raw and normalized."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from learners.lib.evaluation import normalized
from learners.lib.records import Key, RunRecord
from learners.lib.report_page import Report, slug
from learners.lib.results import binned

MARL_EVAL_STEPS = 20


def marl_eval(report: Report) -> dict[str, Any]:
    """Environment -> task -> algorithm -> seed -> step_k, absolute_metrics; returns by episode where known.

    marl-eval averages step_k over seeds, so all runs of a cell have the same steps, up to the end of the shortest.
    """
    tree: dict[str, Any] = {}
    cells: dict[Key, list[RunRecord]] = defaultdict(list)
    for record in report.records:
        if record.evaluation is not None:
            cells[record.key].append(record)
    for (task, algorithm, number), records in cells.items():
        known = report.references.get(task, {})
        last = min(r.steps[-1] if len(r.steps) else 0 for r in records)
        edges = np.linspace(0, last, MARL_EVAL_STEPS + 1) if last else np.zeros(1)
        values = [binned(r.steps, r.returns, edges) for r in records]
        everywhere = np.flatnonzero(~np.isnan(values).any(axis=0))
        name = slug(task) if number is None else f"{slug(task)}_{number}_demos"
        runs = tree.setdefault(name, {}).setdefault(algorithm, {})
        for record, own in zip(records, values, strict=True):
            run: dict[str, Any] = {
                f"step_{k}": {"step_count": int(edges[b + 1]), **_metrics([own[b]], known)}
                for k, b in enumerate(everywhere)
            }
            result = record.evaluation or {}
            final = result.get("episode_returns") or [result["return"]]
            run["absolute_metrics"] = _metrics(final, known)
            runs[f"seed_{record.seed}"] = run
    return {"mail_envs": tree}


def _metrics(values: Sequence[float], references: Mapping[str, float]) -> dict[str, list[float]]:
    scores = [normalized(float(v), dict(references)) for v in values]
    result = {"return": [float(v) for v in values]}
    if scores[0] is not None:
        result["normalized_return"] = [s for s in scores if s is not None]
    return result
