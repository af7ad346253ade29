"""What a report holds, and its page in Markdown."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from typing import Any

from learners.lib import plots
from learners.lib.records import Key, RunRecord
from learners.lib.results import Figures


@dataclasses.dataclass(frozen=True)
class Report:
    """Content of a report: the runs, references per task, figures per cell, comparisons, remarks, and a paper's figures
    by task and algorithm, returns or win rates such as `63 % won`.
    """

    records: list[RunRecord]
    references: dict[str, dict[str, float]]
    table: dict[Key, Figures]
    aggregate: list[dict[str, Any]]
    differences: list[dict[str, Any]]
    cross_play: list[dict[str, Any]]
    remarks: list[str]
    paper: dict[tuple[str, str], float | str]

    @property
    def tasks(self) -> list[str]:
        return sorted({key[0] for key in self.table})

    @property
    def algorithms(self) -> list[str]:
        return sorted({key[1] for key in self.table})

    @property
    def numbers(self) -> list[int | None]:
        return sorted({key[2] for key in self.table}, key=lambda n: -1 if n is None else n)


def slug(task: str) -> str:
    """A task's name as part of a file name."""
    return re.sub(r"[^A-Za-z0-9.-]+", "_", task).strip("_")  # . and -: 1.5 is not 15, nor -1


def wins(cell: Figures) -> str:
    """`97.5 % [96.3, 98.3]`; empty where the game does not report who won."""
    if cell.win_rate is None or cell.win_low is None or cell.win_high is None:
        return ""
    return f"{100 * cell.win_rate:.1f} % [{100 * cell.win_low:.1f}, {100 * cell.win_high:.1f}]"


def cell_text(cell: Figures | None) -> str:
    """A cell of the Markdown table."""
    if cell is None:
        return "–"
    if cell.mean is None:
        return cell.state
    text = f"**{cell.mean:.2f}** ± {cell.sd_episodes:.2f}"
    if cell.low is not None:
        text += f" [{cell.low:.2f}, {cell.high:.2f}]"
    if cell.interval == "episodes":
        text += "ᵉ"
    if cell.normalized is not None:
        text += f", normalized {cell.normalized:.3f}"
    if cell.win_rate is not None:
        text += f", wins {wins(cell)}"
    seeds = cell.state or f"{cell.seeds} seed{'s' * (cell.seeds > 1)}"
    return f"{text}, {seeds}"


def markdown(report: Report, files: set[str]) -> str:
    """The whole report as a page."""
    lines = [
        "# Results", "",
        "Mean evaluated return **±** standard deviation over episodes, [95 % interval of the mean]: the wider "
        "one of Student's t over seeds (three or more) and, marked ᵉ, over episodes. Normalized: 0 is "
        "random play, 1 the expert. Wins: share of the episodes, with its interval. –: not planned.", "",
    ]  # fmt: skip
    for task in report.tasks:
        known = ", ".join(
            f"{k} {v:.2f}" for k, v in sorted(report.references.get(task, {}).items())
        )
        lines += [f"## {task}", "", f"References: {known}." if known else "No references.", ""]
        ran = {n for t, _, n in report.table if t == task}
        numbers = [n for n in report.numbers if n in ran]
        stated = any(key[0] == task for key in report.paper)
        lines += _header(["algorithm", *map(plots.demos_text, numbers), *["paper"] * stated])
        for name in report.algorithms:
            texts = [cell_text(report.table.get((task, name, n))) for n in numbers]
            value = report.paper.get((task, name))
            text = f"{value:g}" if isinstance(value, (int, float)) else value or "–"
            texts += [text] * stated
            lines.append(f"| {name} | {' | '.join(texts)} |")
        names = [f"{kind}_{slug(task)}.png" for kind in ("returns", "curves", "wins")]
        lines += ["", *(f"![{n.split('_')[0]}]({n})" for n in names if n in files), ""]
    lines += _differences_page(report) + _aggregate_page(report) + _cross_play_page(report)
    if report.remarks:
        lines += ["## Remarks", "", *(f"- {text}" for text in report.remarks), ""]
    return "\n".join(lines)


def _header(names: Sequence[str]) -> list[str]:
    return [f"| {' | '.join(names)} |", "|---" * len(names) + "|"]


def _differences_page(report: Report) -> list[str]:
    if not report.differences:
        return []
    name = report.differences[0]["algorithm"]
    text = (
        f"Return of {name} minus that of the other algorithm, over pairs of runs with equal seeds."
    )
    lines = ["## Differences", "", f"{text} [95 % interval: Student's t over pairs]", "",
             *_header(["environment", "demonstrations", "other", "difference", "pairs"])]  # fmt: skip
    for r in report.differences:
        number = "none" if r["num_demos"] is None else r["num_demos"]
        interval = "" if r["low"] is None else f" [{r['low']:+.2f}, {r['high']:+.2f}]"
        lines.append(f"| {r['environment']} | {number} | {r['other']} | {r['difference']:+.2f}{interval} | "
                     f"{r['pairs']} |")  # fmt: skip
    return [*lines, ""]


def _aggregate_page(report: Report) -> list[str]:
    if not report.aggregate:
        return []
    lines = ["## Over all tasks", "",
             "Interquartile mean of normalized returns, 95 % stratified bootstrap interval (where every cell has "
             "three or more runs).", "",
             *_header(["algorithm", "demonstrations", "IQM", "interval", "tasks", "runs"])]  # fmt: skip
    for r in report.aggregate:
        number = "none" if r["num_demos"] is None else r["num_demos"]
        interval = "–" if r["low"] is None else f"{r['low']:.3f} to {r['high']:.3f}"
        lines.append(f"| {r['algorithm']} | {number} | {r['iqm']:.3f} | {interval} | "
                     f"{r['tasks']} of {r['all_tasks']} | {r['runs']} |")  # fmt: skip
    return [*lines, "", "![aggregate](aggregate.png)", ""]


def _cross_play_page(report: Report) -> list[str]:
    lines: list[str] = []
    keys = ("environment", "returns_of", "against_plays", "mode")
    games = dict.fromkeys(tuple(r[k] for k in keys) for r in report.cross_play)
    for game in games:
        rows = [r for r in report.cross_play if tuple(r[k] for k in keys) == game]
        env, whose, theirs, mode = game
        columns = list(dict.fromkeys((r["against"], r["against_demos"]) for r in rows))
        how = "sampled" if mode == "sample" else "most likely"
        text = f"Return of {whose} ({how} actions), mean over pairs of runs."
        text += f" The opponent plays {theirs}." if theirs else ""
        lines += [f"## Cross-play on {env}", "", text, ""]
        lines += _header(["policy", *(f"against {_side(*c)}" for c in columns)])
        for side in dict.fromkeys((r["policy"], r["policy_demos"]) for r in rows):
            found = {(r["against"], r["against_demos"]): r for r in rows
                     if (r["policy"], r["policy_demos"]) == side}  # fmt: skip
            texts = [f"{found[c]['return']:.2f} ({found[c]['pairs']})" if c in found else "not run"
                     for c in columns]  # fmt: skip
            lines.append(f"| {_side(*side)} | {' | '.join(texts)} |")
        lines.append("")
    return lines


def _side(name: str, number: int | None) -> str:
    return name if number is None else f"{name}, {plots.demos_text(number)}"
