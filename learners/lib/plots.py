"""Plots of a report: learning curves, final returns, interquartile means."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from learners.lib.records import Key, RunRecord
from learners.lib.results import Figures, binned

BINS = 100
PALETTE = (
    "#4269d0", "#efb118", "#ff725c", "#6cc5b0", "#3ca951", "#a463f2", "#97bbf5", "#9c6b4e",
    "#ff8ab7", "#333333", "#1b7837", "#8c2d04", "#54278f", "#00708a", "#b5a100", "#9498a0",
)  # fmt: skip
MARKS = {"random": ":", "expert": "--"}
DPI = 150


def colors(algorithms: Sequence[str]) -> dict[str, str]:
    """Color of each algorithm, the same in all plots of a report."""
    return {a: PALETTE[k % len(PALETTE)] for k, a in enumerate(algorithms)}


def demos_text(count: int | None) -> str:
    """Title for a number of demonstrations."""
    return "no demonstrations" if count is None else f"{count:,} demonstration{'s' * (count > 1)}"


def curves(
    path: Path,
    task: str,
    records: Sequence[RunRecord],
    references: Mapping[str, float],
    color: Mapping[str, str],
    figure: str = "return",
) -> None:
    """Training return, or win rate, over environment steps: one panel per number of demonstrations.

    Lines are means over seeds, bands extend from the lowest to the highest seed. Algorithms without a
    training curve (behavioral cloning does not play) are horizontal lines at the evaluated figure.

    `figure`: "return" or "win_rate".
    """
    numbers = sorted({r.key[2] for r in records}, key=lambda n: -1 if n is None else n)
    picture, panels = _panels(len(numbers))
    for axes, number in zip(panels, numbers):
        here = [r for r in records if r.key[2] == number]
        last = max((r.steps[-1] for r in here if len(r.steps)), default=1.0)
        for algorithm in color:
            runs = [r for r in here if r.algorithm == algorithm]
            _draw_runs(axes, runs, last, color[algorithm], figure)
        _draw_references(axes, references)
        axes.set(title=demos_text(number), xlabel="environment steps")
    name = figure.replace("_", " ")
    panels[0].set_ylabel(name)
    _save(picture, path, f"{task}: {name} in training")


def _draw_runs(axes, runs: Sequence[RunRecord], last: float, color: str, figure: str) -> None:
    if not runs:
        return
    label = runs[0].algorithm
    with_curve = [r for r in runs if len(r.steps)]
    if not with_curve:
        finals = [r.evaluation[figure] for r in runs if r.evaluation and figure in r.evaluation]
        if finals:
            axes.axhline(np.mean(finals), color=color, linewidth=1.5, label=label + ", evaluated")
        return
    count = min(BINS, max(len(r.steps) for r in with_curve))
    edges = np.linspace(0, last, count + 1)
    curves = [r.wins if figure == "win_rate" else r.returns for r in with_curve]
    lines = np.array([binned(r.steps, y, edges) for r, y in zip(with_curve, curves)])
    seen = ~np.isnan(lines).any(axis=0)
    x, lines = (edges[:-1] + edges[1:])[seen] / 2, lines[:, seen]
    axes.plot(x, lines.mean(axis=0), color=color, linewidth=1.5, label=label)
    if len(lines) > 1:
        low, high = lines.min(axis=0), lines.max(axis=0)
        axes.fill_between(x, low, high, color=color, alpha=0.2, linewidth=0)


def finals(
    path: Path,
    task: str,
    table: Mapping[Key, Figures],
    references: Mapping[str, float],
    color: Mapping[str, str],
) -> None:
    """Evaluated returns with 95 % intervals: one panel per number of demonstrations."""
    numbers = sorted({k[2] for k in table}, key=lambda n: -1 if n is None else n)
    names = [a for a in color if any((task, a, n) in table for n in numbers)]
    figure, panels = _panels(len(numbers))
    for axes, number in zip(panels, numbers):
        for row, name in enumerate(names):
            cell = table.get((task, name, number))
            if cell is None:
                continue
            if cell.mean is None:
                axes.annotate(
                    cell.state, (0.5, row), xycoords=("axes fraction", "data"), ha="center",
                    va="center", color="0.5", fontsize="small",
                )  # fmt: skip
                continue
            if cell.low is not None and cell.high is not None:
                bar = [cell.low, cell.high]
                axes.plot(bar, [row, row], color=color[name], linewidth=5, alpha=0.4)
            axes.plot(cell.mean, row, "o", color=color[name])
        for key, value in references.items():
            axes.axvline(value, linestyle=MARKS.get(key, "-"), color="0.4", linewidth=1, label=key)
        axes.set_yticks(range(len(names)), names)
        axes.set(title=demos_text(number), xlabel="return", ylim=(len(names) - 0.5, -0.5))
    _save(figure, path, f"{task}: evaluated return, 95 % intervals")


def aggregates(path: Path, rows: Sequence[Mapping[str, Any]], color: Mapping[str, str]) -> None:
    """Interquartile means of normalized returns with bootstrap intervals."""
    groups: dict[int | None, list] = defaultdict(list)
    for row in rows:
        groups[row["num_demos"]].append(row)
    numbers = sorted(groups, key=lambda n: -1 if n is None else n)
    figure, panels = _panels(len(numbers))
    names = [a for a in color if any(a == row["algorithm"] for row in rows)]
    for axes, number in zip(panels, numbers):
        for row in groups[number]:
            k, shade = names.index(row["algorithm"]), color[row["algorithm"]]
            if row["low"] is not None:
                axes.plot([row["low"], row["high"]], [k, k], color=shade, linewidth=5, alpha=0.4)
            axes.plot(row["iqm"], k, "o", color=shade)
        axes.set_yticks(range(len(names)), names)
        axes.set(
            title=demos_text(number), xlabel="normalized return", ylim=(len(names) - 0.5, -0.5)
        )
    _save(figure, path, "Interquartile means,\n95 % stratified bootstrap intervals")


def _panels(count: int) -> tuple[Any, list]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(max(6.0, 4.6 * count), 4.2), layout="constrained")
    return figure, list(figure.subplots(1, count, squeeze=False, sharey=True)[0])


def _draw_references(axes, references: Mapping[str, float]) -> None:
    for key, value in references.items():
        axes.axhline(value, linestyle=MARKS.get(key, "-"), color="0.4", linewidth=1, label=key)


def _save(figure, path: Path, title: str) -> None:
    figure.suptitle(title)
    marks: dict[str, Any] = {}  # one legend below for all panels
    for axes in figure.axes:
        for handle, label in zip(*axes.get_legend_handles_labels()):
            marks.setdefault(label, handle)
        axes.spines[["top", "right"]].set_visible(False)
    if marks:
        places = {"loc": "outside lower center", "ncols": 4, "frameon": False, "fontsize": "small"}
        figure.legend(list(marks.values()), list(marks), **places)
    figure.savefig(path, dpi=DPI)
