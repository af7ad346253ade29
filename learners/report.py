"""Learning curves and tables of many runs.

    python -m learners.report runs/ --out report/
    python -m learners.report runs/navigation --spec docs/results/navigation.yaml --out report/

Reads every run folder in the given ones (config.yaml, metrics.jsonl, evaluation.json), and the scores of runs whose
folders are elsewhere from the `runs.csv` of an earlier report, where that is given, too. It writes
- `report.md`: everything below on one page; cells without runs are marked "not run";
- `curves_TASK.png`, `returns_TASK.png`: training curves and evaluated returns; `wins_TASK.png`: win rates
  during training, in games that report who won;
- `results.csv`: mean, standard deviations, 95 % interval and number of seeds of every cell, and what the sweep file says
  that a paper reports;
- `runs.csv`: every evaluation of every run;
- `aggregate.csv`, `aggregate.png`: interquartile mean of normalized returns over tasks and seeds with
  stratified bootstrap intervals (three or more seeds), for each number of demonstrations and for all together (`all`);
- `differences.csv`: with `--compare ALGORITHM`, its return minus that of every other algorithm, over runs with
  equal seeds, which share demonstrations and initial weights;
- `cross_play.csv`: results of `learners.evaluate --against`, if there are any;
- with `--figures`, `agents_RUN.png`: rewards and advantages of every agent and the discriminator's loss, of runs that
  logged them (mild2);
- `marl_eval.json`: the same runs in the format of marl-eval.

A cell is an algorithm on a task with a number of demonstrations. Its interval is the wider of two: Student's t
over seeds (three or more) and Student's t over evaluation episodes, which is marked ᵉ.
"""

from __future__ import annotations

import csv
import dataclasses
import sys
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from learners.lib import agent_figures, plots
from learners.lib.evaluation import make_copies, measure_references
from learners.lib.evaluation_file import read_cross_play
from learners.lib.files import write_json
from learners.lib.marl_eval import marl_eval
from learners.lib.metrics_file import read_metrics
from learners.lib.records import FREE, Key, RunRecord, task_of
from learners.lib.report_page import Report, markdown, slug, wins
from learners.lib.results import (
    ENOUGH_SEEDS,
    Figures,
    differences,
    figures,
    gather,
    normalized_scores,
    references_of,
)
from learners.lib.scores import score_rows
from learners.lib.statistics import RESAMPLES, stratified_bootstrap
from learners.lib.sweep_spec import Cell, cells, read_spec
from mail_envs.commands.errors import exit_status
from mail_envs.recorded import run_game_of
from mail_envs.streams import stream_seed

REFERENCE_EPISODES = 1000
ALL = "all"


@dataclasses.dataclass(frozen=True)
class Args:
    """Gather runs into curves and tables."""

    runs: tyro.conf.Positional[tuple[Path, ...]]
    """Run folders, folders of run folders, and `runs.csv` of earlier reports."""
    out: Path = Path("report")
    """Folder of the report."""
    spec: Path | None = None
    """Sweep file of the runs: its cells that have no run are reported as not run."""
    references: bool = False
    """Evaluate random play and the expert on every task, over 1,000 episodes, to normalize returns."""
    compare: str | None = None
    """Algorithm whose return is compared with that of all others, by pairs of runs with equal seeds."""
    resamples: int = RESAMPLES
    """Number of bootstrap samples."""
    figures: bool = False
    """Also draw rewards and advantages of every agent, of runs that logged them."""


def build(args: Args) -> Report:
    """Read the runs and compute all figures."""
    if not args.runs:
        raise ValueError("give one or more run folders, or folders of them")
    if args.resamples < 1:
        raise ValueError(f"resamples={args.resamples} must be at least 1")
    records, remarks = gather(args.runs)
    references = references_of(records)
    if args.references:
        for task, record in {r.task: r for r in records if r.has_folder}.items():
            try:
                references[task] = measured(record)
            except ValueError as error:
                text = f"{error} (of learners.evaluate {record.folder} --references)"
                remarks.append(f"the references of {task} were not measured: {text}")
    plan, paper = ({}, {}) if args.spec is None else planned(args.spec)
    remarks += unplanned(records, plan)
    counts = Counter(key for key, _ in plan)
    table = figures(records, references, counts or None) | best(records, references, counts)
    for task in sorted({r.task for r in records}):
        if not {"random", "expert"} <= references.get(task, {}).keys():
            remarks.append(f"{task} has no references: --references measures random and expert")
    aggregate = aggregated(normalized_scores(records, references), args.resamples)
    compared = [] if args.compare is None else differences(records, args.compare)
    played = cross_play(records)
    return Report(records, references, table, aggregate, compared, played, remarks, paper)


def best(records: list[RunRecord], references: dict, planned: Mapping[Key, int]) -> dict:
    """Figures of the most likely actions, where runs were evaluated with them: {(task, "X, best actions", demos): ...}."""
    greedy = [r for r in records if r.greedy is not None]
    named = [
        dataclasses.replace(r, algorithm=f"{r.algorithm}, best actions", evaluation=r.greedy)
        for r in greedy
    ]
    counts = {new.key: planned.get(old.key, 0) for old, new in zip(greedy, named, strict=True)}
    return figures(named, references, counts)


def measured(record: RunRecord) -> dict[str, float]:
    """Measure the references of a run's task; ValueError when its game needs the user's own code."""
    seeds = stream_seed(0, "references") + np.arange(REFERENCE_EPISODES)
    id, arguments = run_game_of(record.config, record.folder / "config.yaml")
    vec = make_copies(id, len(seeds), arguments)
    try:
        return measure_references(vec, seeds)
    finally:
        vec.close()


def planned(path: Path) -> tuple[dict[tuple[Key, int], Cell], dict[tuple[str, str], float | str]]:
    """A sweep's runs by cell and seed, and the paper's figures by task and algorithm."""
    spec = read_spec(path)
    runs, paper = {}, {}
    for c in cells(spec):
        task = task_of({"env": c.env, **c.settings})
        runs[(task, c.algorithm, c.num_demos), c.seed] = c
        found = spec["paper"].get(c.game, {})
        if c.algorithm in found:
            paper[task, c.algorithm] = found[c.algorithm]
    return runs, paper


def unplanned(records: Sequence[RunRecord], plan: Mapping[tuple[Key, int], Cell]) -> list[str]:
    """Remarks about runs in the cells of a sweep that are not runs of the sweep: of other seeds, or other settings."""
    remarks, cells = [], {key for key, _ in plan}
    for record in (r for r in records if r.key in cells):
        cell, config = plan.get((record.key, record.seed)), record.config
        settings = {} if cell is None else {"learner": cell.learner, **cell.settings}
        unlike = [
            f"{k} is {config[k]}, not {v}"
            for k, v in settings.items()
            if k in config and k not in FREE and config[k] != v
        ]
        if cell is None:
            unlike = [f"its seed, {record.seed}, is not in it"]
        if unlike:
            remarks.append(f"{record.folder} is not as in the sweep file: {'; '.join(unlike)}")
    return remarks


def aggregated(scores: Mapping[str, Mapping], resamples: int) -> list[dict[str, Any]]:
    """One row per algorithm and number of demonstrations; it ran on `tasks` of the `all_tasks` tasks.

    Without an interval (None) where a cell has fewer than three runs: one run has no spread to resample.
    """
    everything = {task for tasks in scores.values() for task in tasks}
    numbers = sorted({n for _, n in everything}, key=lambda n: -1 if n is None else n)
    rows = []
    for number in [*numbers, *([ALL] if len(numbers) > 1 else [])]:
        wanted = {t for t in everything if number in (ALL, t[1])}
        for algorithm in sorted(scores):
            own = {t: x for t, x in sorted(scores[algorithm].items(), key=str) if t in wanted}
            if own:
                counts = [len(x) for x in own.values()]
                value, bounds = stratified_bootstrap(own, resamples=resamples)
                low, high = bounds if min(counts) >= ENOUGH_SEEDS else (None, None)
                figures = {"tasks": len(own), "all_tasks": len(wanted), "runs": sum(counts)}
                interval = {"iqm": value, "low": low, "high": high}
                rows.append({"algorithm": algorithm, "num_demos": number, **interval, **figures})
    return rows


def cross_play(records: Sequence[RunRecord]) -> list[dict[str, Any]]:
    """Cross-play results, averaged over all pairs of runs of the two algorithms that play the same sides."""
    found: dict[tuple, list[float]] = defaultdict(list)
    for record in records:
        for path in sorted(record.folder.glob("cross_play_*.json")):
            result = read_cross_play(path)
            sides = [dict(result[side]) for side in ("policy", "against")]
            home = 1 if path.name.startswith("cross_play_by_") else 0
            sides[home]["name"] = record.algorithm
            names = tuple((s["name"], s.get("num_demos")) for s in sides)
            agents = (", ".join(result.get(k, ())) for k in ("return_agents", "against_plays"))
            key = (result["env"], *agents, result["mode"])
            found[key + names].append(result["return"])
    return [
        {
            "environment": env, "returns_of": whose, "against_plays": theirs, "mode": mode,
            "policy": a, "policy_demos": n, "against": b, "against_demos": m,
            "return": float(np.mean(x)), "pairs": len(x),
            "sd_pairs": float(np.std(x, ddof=1)) if len(x) > 1 else None,
        }
        for (env, whose, theirs, mode, (a, n), (b, m)), x in sorted(found.items(), key=str)
    ]  # fmt: skip


# --------------------------------------------------------------------------------------------- writing
def order(item: tuple[Key, Figures]) -> tuple:
    """Sort key of cells: task, algorithm, number of demonstrations (none first)."""
    task, algorithm, number = item[0]
    return task, algorithm, -1 if number is None else number


def write(report: Report, out: Path) -> list[Path]:
    """Write all files of a report; returns their paths."""
    out.mkdir(parents=True, exist_ok=True)
    color = plots.colors(report.algorithms)
    written = []
    for task in report.tasks:
        here = [r for r in report.records if r.task == task]
        known = report.references.get(task, {})
        if any(len(r.steps) for r in here):
            written.append(out / f"curves_{slug(task)}.png")
            plots.curves(written[-1], task, here, known, color)
        if any(np.isfinite(r.wins).any() for r in here):
            written.append(out / f"wins_{slug(task)}.png")
            plots.curves(written[-1], task, here, {}, color, "win_rate")
        part = {k: v for k, v in report.table.items() if k[0] == task}
        if any(cell.seeds for cell in part.values()):
            written.append(out / f"returns_{slug(task)}.png")
            plots.finals(written[-1], task, part, known, color)
    written.append(write_csv(out / "results.csv", result_rows(report)))
    scores = score_rows(report.records, report.references)
    if scores:
        written.append(write_csv(out / "runs.csv", scores))
    if report.aggregate:
        written.append(write_csv(out / "aggregate.csv", report.aggregate))
        single = [r for r in report.aggregate if r["num_demos"] != ALL]
        plots.aggregates(out / "aggregate.png", single, color)
        written.append(out / "aggregate.png")
    if report.differences:
        written.append(write_csv(out / "differences.csv", report.differences))
    if report.cross_play:
        written.append(write_csv(out / "cross_play.csv", report.cross_play))
    write_json(out / "marl_eval.json", marl_eval(report))
    # Where all runs of a task are from a runs.csv, the curves of an earlier report are still the best picture of them.
    (out / "report.md").write_text(markdown(report, {p.name for p in out.glob("*.png")}))
    return [*written, out / "marl_eval.json", out / "report.md"]


def write_agents(report: Report, out: Path) -> list[Path]:
    """Draw rewards and advantages of every agent, one figure per run that logged them."""
    written = []
    for record in report.records:
        lines = read_metrics(record.folder / "metrics.jsonl")
        if agent_figures.agents_in(lines):
            task, algorithm, number = record.key
            demos = "" if number is None else f" {number} demos"
            title = f"{task}: {algorithm}{demos}, seed {record.seed}"
            written.append(out / f"agents_{slug(title)}.png")
            agent_figures.draw(written[-1], title, lines, plots.PALETTE)
    return written


def result_rows(report: Report) -> list[dict[str, Any]]:
    """One dictionary per cell."""
    rows = []
    for (task, algorithm, number), cell in sorted(report.table.items(), key=order):
        key = {"environment": task, "algorithm": algorithm, "num_demos": number}
        values = dataclasses.asdict(cell)
        state = {"state": cell.state or "complete", "paper": report.paper.get((task, algorithm))}
        rows.append({**key, **values, **state})
    return rows


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Write rows with equal keys as a CSV file; None becomes an empty field."""
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return path


def show(report: Report, console: Console) -> None:
    """Print the tables."""
    for task in report.tasks:
        columns = ["algorithm", "demos", "return ± sd", "95 % interval", "norm.", "seeds"]
        won = any(c.win_rate is not None for key, c in report.table.items() if key[0] == task)
        columns += ["wins, 95 % interval"] * won
        table = Table(*columns, title=escape(task), title_justify="left")
        for (t, algorithm, number), c in sorted(report.table.items(), key=order):
            if t != task:
                continue
            demos = "none" if number is None else f"{number:,}"
            if c.mean is None:
                table.add_row(escape(algorithm), demos, c.state)
                continue
            mark = "ᵉ" if c.interval == "episodes" else ""
            table.add_row(
                escape(algorithm),
                demos,
                f"{c.mean:.2f} ± {c.sd_episodes:.2f}",
                "" if c.low is None else f"{c.low:.2f} to {c.high:.2f}{mark}",
                "" if c.normalized is None else f"{c.normalized:.3f}",
                c.state.removesuffix(" seeds") or str(c.seeds),
                *[wins(c)] * won,
            )
        console.print(table)
    if any(c.interval == "episodes" for c in report.table.values()):
        print("± is the sd over episodes; ᵉ: interval over episodes, elsewhere over seeds")
    for text in report.remarks:
        console.print(f"note: {text}", highlight=False, markup=False, soft_wrap=True)


def main(args: Args) -> int:
    """The command; returns its exit status, see `mail_envs.commands.errors`."""
    return exit_status(lambda: command(args))


def command(args: Args) -> None:
    """Gather, write and show."""
    report = build(args)
    written = write(report, args.out)
    if args.figures:
        written += write_agents(report, args.out)
    show(report, Console())
    print(f"wrote {', '.join(p.name for p in written)} to {args.out}")


if __name__ == "__main__":
    prog = "python -m learners.report"
    sys.exit(main(tyro.cli(Args, prog=prog, description=Args.__doc__)))
