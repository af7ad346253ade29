"""Tables of many runs: those that are found, and the results of every cell.

A cell is (task, algorithm, number of demonstrations); its runs differ in their seed. A task is a game with
its arguments. Returns are normalized with one pair of references per task, so that its runs are
comparable.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from learners.lib import references
from learners.lib.evaluation import normalized
from learners.lib.records import FREE, Key, RunRecord, read_run, with_names
from learners.lib.scores import read_scores
from learners.lib.sources import known_references
from learners.lib.statistics import half_width, mean_interval, wilson_interval

ENOUGH_SEEDS = 3  # with fewer, an interval over seeds is meaningless


@dataclasses.dataclass(frozen=True)
class Figures:
    """Results of one cell: `seeds` of `planned` runs are finished; the other fields are None when none is.

    `sd_seeds` is the standard deviation of the runs' means, `sd_episodes` that within a run. The 95 %
    interval `low` to `high` of the mean is the wider of two, and `interval` names it: "seeds" (Student's t,
    with three or more) or "episodes" of one run (also Student's t; if runs have different numbers of episodes, the
    root mean square of their intervals). It is None if neither is known. The interval of the win rate is chosen
    the same way, with Wilson's interval over episodes, those of the run with the fewest.
    """

    seeds: int
    planned: int
    unfinished: int = 0
    mean: float | None = None
    sd_seeds: float | None = None
    sd_episodes: float | None = None
    low: float | None = None
    high: float | None = None
    interval: str = ""
    normalized: float | None = None
    win_rate: float | None = None
    win_low: float | None = None
    win_high: float | None = None

    @property
    def state(self) -> str:
        if self.seeds:
            return "" if self.seeds >= self.planned else f"{self.seeds} of {self.planned} seeds"
        return "not finished" if self.unfinished else "not run"


# ------------------------------------------------------------------------------------------- gathering
def gather(paths: Iterable[Path]) -> tuple[list[RunRecord], list[str]]:
    """All runs in these folders and below and in these `runs.csv`, and remarks about runs that were left out."""
    records: dict[Path, RunRecord] = {}
    scores: list[RunRecord] = []
    for path in map(Path, paths):
        if path.is_file() and path.suffix == ".csv":
            scores += read_scores(path)
        elif not path.is_dir():
            raise ValueError(f"{path} is neither a folder nor a CSV file")
        for file in sorted(path.rglob("config.yaml")):
            records.setdefault(file.parent.resolve(), read_run(file.parent))
    if not records and not scores:
        raise ValueError(f"no run folder (with config.yaml) in {', '.join(map(str, paths))}")
    kept: dict[tuple, RunRecord] = {}
    remarks = []
    for record in with_names(list(records.values())) + scores:
        evaluated = (record.evaluation or {}).get("steps", record.trained)
        if evaluated < record.trained:
            remarks.append(
                f"{record.folder} is not finished: it was evaluated after {evaluated:,} steps, and then trained on"
            )
            record = dataclasses.replace(record, evaluation=None, greedy=None)
        key = (*record.key, record.seed)
        if key in kept:
            used, unused = kept[key], record
            if record.evaluation and not used.evaluation:
                used, unused = record, used
            if unused.has_folder or not same_score(used, unused):
                remarks.append(f"{unused.folder} is left out: it repeats the cell of {used.folder}")
            record = used
        kept[key] = record
    return list(kept.values()), remarks + mixed(list(kept.values()))


def same_score(a: RunRecord, b: RunRecord) -> bool:
    """Whether two finished runs are one: a folder and its line in `runs.csv`."""
    results = [r.evaluation or {} for r in (a, b)]
    return len({(x.get("return"), x.get("sd"), x.get("steps")) for x in results}) == 1


def mixed(records: list[RunRecord]) -> list[str]:
    """A remark for every cell whose runs differ in a setting other than those in `FREE`.

    Settings that only some of the runs have are those of another version, and are not compared.
    """
    cells: dict[Key, list[RunRecord]] = defaultdict(list)
    for record in records:
        cells[record.key].append(record)
    remarks = []
    for runs in cells.values():
        shared = set.intersection(*(set(r.config) for r in runs)) - FREE
        values = {k: list(dict.fromkeys(json.dumps(r.config[k]) for r in runs)) for k in shared}
        unlike = [f"{k} is {' or '.join(v)}" for k, v in sorted(values.items()) if len(v) > 1]
        if unlike:
            folders = ", ".join(str(r.folder) for r in runs)
            remarks.append(
                f"one cell holds runs of different settings ({'; '.join(unlike)}): {folders}"
            )
    return remarks


# -------------------------------------------------------------------------------------------- figures
def references_of(records: list[RunRecord]) -> dict[str, dict[str, float]]:
    """Random and expert return of every task: those measured for its game, else means over its runs."""
    found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for record in records:
        noted = (record.evaluation or {}).get("references", {})
        if record.has_folder:
            measured = references.of_settings(record.config)
            noted = measured or noted or known_references(record.folder)
        for key, value in noted.items():
            found[record.task][key].append(float(value))
    return {t: {k: float(np.mean(v)) for k, v in pair.items()} for t, pair in found.items()}


def figures(
    records: list[RunRecord],
    references: dict[str, dict[str, float]],
    planned: dict[Key, int] | None = None,
) -> dict[Key, Figures]:
    """Results of every planned cell or, without a plan, of every cell of the full table."""
    planned = planned or {}
    runs: dict[Key, list[RunRecord]] = defaultdict(list)
    for record in records:
        runs[record.key].append(record)
    expected = [len(runs.get(k, [])) for k in runs]
    usual = max(expected, default=0)
    keys = dict.fromkeys([*planned, *runs] if planned else _product(list(runs)))
    result = {}
    for key in keys:
        count = planned.get(key, usual if not planned else len(runs.get(key, [])))
        result[key] = cell_figures(runs.get(key, []), count, references.get(key[0], {}))
    return result


def _product(keys: Sequence[Key]) -> list[Key]:
    """The full table: every algorithm on every task, imitation learners with every number of demonstrations."""
    tasks, numbers = {k[0] for k in keys}, {k[2] for k in keys}
    imitates = {k[1]: k[2] is not None for k in keys}
    cells = [
        (t, a, n)
        for t in tasks
        for a in imitates
        for n in numbers
        if (n is not None) == imitates[a]
    ]
    return sorted(cells, key=str)


def cell_figures(runs: Sequence[RunRecord], planned: int, references: dict[str, float]) -> Figures:
    """Results of the runs of one cell."""
    results = [r.evaluation for r in runs if r.evaluation is not None]
    if not results:
        return Figures(0, planned, unfinished=len(runs))
    mean, sd, over_seeds = mean_interval([e["return"] for e in results])
    within = [(e.get("sd", 0.0), e.get("episodes", 1)) for e in results]
    sd_episodes = root_mean_square([s for s, _ in within])
    half = root_mean_square([half_width(s, n) for s, n in within])
    low, high, kind = mean - half, mean + half, "episodes"
    if min(n for _, n in within) < 2:
        half, low, high, kind = 0.0, None, None, ""
    if over_seeds and len(results) >= ENOUGH_SEEDS and over_seeds[1] - mean > half:
        (low, high), kind = over_seeds, "seeds"
    return Figures(
        seeds=len(results),
        planned=max(planned, len(results)),
        unfinished=len(runs) - len(results),
        mean=mean,
        sd_seeds=sd if len(results) > 1 else None,
        sd_episodes=sd_episodes,
        low=low,
        high=high,
        interval=kind,
        normalized=normalized(mean, references),
        **win_figures(results),
    )


def root_mean_square(values: Sequence[float]) -> float:
    """Square root of the mean square."""
    return math.sqrt(float(np.mean(np.square(values))))


def win_figures(results: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Win rate of a cell's evaluations and its interval; {} where the game does not report who won."""
    rates = [float(e["win_rate"]) for e in results if e.get("win_rate") is not None]
    if not rates:
        return {}
    mean, _, over_seeds = mean_interval(rates)
    low, high = wilson_interval(mean, min(e.get("episodes", 1) for e in results))
    if over_seeds and len(rates) >= ENOUGH_SEEDS and over_seeds[1] - over_seeds[0] > high - low:
        low, high = max(over_seeds[0], 0.0), min(over_seeds[1], 1.0)
    return {"win_rate": mean, "win_low": low, "win_high": high}


def normalized_scores(
    records: list[RunRecord], references: dict[str, dict[str, float]]
) -> dict[str, dict[tuple[str, int | None], list[float]]]:
    """Algorithm -> (task, number of demonstrations) -> normalized return of every finished run."""
    scores: dict[str, dict] = defaultdict(lambda: defaultdict(list))
    for record in records:
        task, algorithm, demos = record.key
        if record.evaluation is not None:
            value = normalized(record.evaluation["return"], references.get(task, {}))
            if value is not None:
                scores[algorithm][task, demos].append(value)
    return {a: dict(tasks) for a, tasks in scores.items()}


def differences(records: Sequence[RunRecord], baseline: str) -> list[dict[str, Any]]:
    """Return of `baseline` minus that of every other algorithm, over pairs of runs with equal seeds.

    Such runs share demonstrations and initial weights, so a difference varies less than the returns themselves. The
    95 % interval is Student's t over pairs, None for a single pair. ValueError when the baseline has no finished run.
    """
    runs: dict[Key, dict[int, float]] = defaultdict(dict)
    for record in records:
        if record.evaluation is not None:
            runs[record.key][record.seed] = float(record.evaluation["return"])
    names = sorted({algorithm for _, algorithm, _ in runs})
    if baseline not in names:
        raise ValueError(
            f"--compare {baseline}: no finished run of it; there are {', '.join(names) or 'none'}"
        )
    rows = []
    for (task, algorithm, number), others in sorted(runs.items(), key=str):
        own = runs.get((task, baseline, number), {})
        found = [own[seed] - others[seed] for seed in sorted(own.keys() & others.keys())]
        if algorithm == baseline or not found:
            continue
        mean, _, interval = mean_interval(found)
        low, high = interval or (None, None)
        rows.append({
            "environment": task, "num_demos": number, "algorithm": baseline, "other": algorithm,
            "difference": mean, "low": low, "high": high, "pairs": len(found),
        })  # fmt: skip
    return rows


def binned(steps: np.ndarray, returns: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Mean return in each bin between the edges (B+1,) of steps, float64 (B,); NaN in empty bins."""
    steps, returns = steps[~np.isnan(returns)], returns[~np.isnan(returns)]
    place = np.searchsorted(edges, steps, side="left") - 1
    inside = (place >= 0) & (place < len(edges) - 1)
    counts = np.bincount(place[inside], minlength=len(edges) - 1)
    sums = np.bincount(place[inside], weights=returns[inside], minlength=len(edges) - 1)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
