"""Show the contents of a set of demonstrations, or of a trained policy: `python -m demos.inspect PATH [--json]`."""

from __future__ import annotations

import json
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from rich.console import Console
from rich.table import Table

from demos.dataset import Demonstrations
from demos.layout import DemonstrationWarning
from demos.manifest import MANIFEST
from demos.policies import policy_path
from demos.policy_file import read_policy_file
from demos.writer import DemonstrationWriter
from mail_envs.commands.errors import exit_status

MANY_AGENTS = 12  # with more agents than this, plots do not separate or label them
ACTS = {
    True: "joint: one policy acts for the whole team, from all observations",
    False: "decentralized: every agent acts from its own observation",
}
HIDDEN = ("layout", "shards", "statistics", "format", "versions", "policy_files", "first_seed")


def report(demonstrations: Demonstrations) -> dict[str, Any]:
    """Metadata, statistics and action counts as a JSON-compatible dictionary."""
    out = {**demonstrations.metadata, "statistics": demonstrations.statistics()}
    if demonstrations.layout.discrete and len(demonstrations):
        counts = action_counts(demonstrations)
        dims, agents = demonstrations.metadata["action_dims"], demonstrations.metadata["agents"]
        own = {a: counts[i, :n].tolist() for i, (a, n) in enumerate(zip(agents, dims, strict=True))}
        out["statistics"]["actions"] = own
    return {**out, "notices": list(demonstrations.notices)}


def action_counts(demonstrations: Demonstrations) -> np.ndarray:
    """How often each agent took each action when it participated, int64 (N, A)."""
    layout = demonstrations.layout
    counts = np.zeros((layout.num_agents, layout.num_actions), np.int64)
    for shard, _, chosen in demonstrations.by_shard():
        columns = shard.rows(chosen, ["actions", "participation"])
        played = np.ones(len(columns["actions"]), bool)
        played[np.cumsum(shard.lengths[chosen] + 1) - 1] = False
        for i in range(layout.num_agents):
            acted = played & (columns["participation"][:, i] > 0)
            counts[i] += np.bincount(columns["actions"][acted, i], minlength=layout.num_actions)
    return counts


def printable(text: str) -> str:
    """Escape control characters in a string from a file: terminals would execute them."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def show(demonstrations: Demonstrations, console: Console) -> None:
    """Print tables."""
    figures = report(demonstrations)
    about = Table(title=printable(str(demonstrations)), show_header=False, title_justify="left")
    for key, value in figures.items():
        if key not in HIDDEN and value not in (None, [], {}):
            text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
            about.add_row(printable(key), printable(text))
    versions = ", ".join(f"{k} {v}" for k, v in (figures.get("versions") or {}).items())
    about.add_row("versions", printable(versions))
    s = figures["statistics"]
    for key in ("episodes", "transitions"):
        about.add_row(key, f"{s[key]:,}")
    if len(demonstrations):
        about.add_row("return", f"{s['return_mean']:.2f} ± {s['return_sd']:.2f}")
        if "normalized_return" in s:
            about.add_row("normalized return", f"{s['normalized_return']:.3f}")
        about.add_row(
            "rounds", f"{s['length_mean']:.1f} on average, {s['terminated']:.1%} ended early"
        )
        for name, value in s["metrics"].items():
            about.add_row(printable(name), f"{value:.3f} on average")
    console.print(about)
    if not len(demonstrations):
        return
    discrete = "actions" in s
    agents = Table("agent", "return", "participation", *["actions taken"] * discrete)
    for name in demonstrations.metadata["agents"]:
        row = [
            printable(name),
            f"{s['agent_return_mean'][name]:.2f}",
            f"{s['participation'][name]:.1%}",
        ]
        if discrete:
            counts = np.array(s["actions"][name])
            taken = (f"{k}: {c / max(counts.sum(), 1):.0%}" for k, c in enumerate(counts) if c)
            row.append("  ".join(taken))
        agents.add_row(*row)
    console.print(agents)


def policy_file(path: Path) -> Path | None:
    """The policy file that `path` is or names (a run folder, RUN@STEP); None: it is a set of demonstrations."""
    if path.suffix == ".safetensors":
        return path
    inside = policy_path(path)
    named = inside != path and inside.is_file() and not (path / MANIFEST).exists()
    return inside if named else None


def show_policy(path: Path, console: Console, as_json: bool = False) -> None:
    """Print a policy file's metadata and number of parameters."""
    tensors, metadata = read_policy_file(path)
    about = {**metadata, "parameters": sum(x.size for x in tensors.values())}
    if as_json:
        print(json.dumps(about, indent=1))
        return
    table = Table(title=printable(str(path)), show_header=False, title_justify="left")
    table.add_row("acts", ACTS[about.pop("joint")])
    for key, value in about.items():
        if value not in (None, [], {}):
            text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
            table.add_row(printable(key), printable(text))
    console.print(table)


def plot(demonstrations: Demonstrations, folder: Path) -> list[Path]:
    """Write returns.png, lengths.png, participation.png and actions.png; returns their paths."""
    from matplotlib.figure import Figure

    folder.mkdir(parents=True, exist_ok=True)
    table = demonstrations.table()
    agents = demonstrations.metadata["agents"]
    paths = []

    def save(name: str, title: str, xlabel: str, ylabel: str, draw) -> None:
        figure = Figure(figsize=(6, 3.6), layout="constrained")
        axes = figure.subplots()
        draw(axes)
        axes.set(title=title, xlabel=xlabel, ylabel=ylabel)
        axes.spines[["top", "right"]].set_visible(False)
        figure.savefig(folder / name, dpi=150)
        paths.append(folder / name)

    def draw_returns(axes) -> None:
        axes.hist(demonstrations.episode_returns(table), bins=40, color="tab:blue")
        for key, color in (("random_return", "tab:red"), ("expert_return", "tab:green")):
            if (value := demonstrations.metadata.get(key)) is not None:
                axes.axvline(value, color=color, label=key.replace("_", " "))
                axes.legend(frameon=False)

    def draw_lengths(axes) -> None:
        top = int(table.lengths.max())
        bins = np.linspace(0.5, top + 0.5, min(top, 60) + 1)
        axes.hist(table.lengths, bins=bins, color="tab:blue")

    def draw_participation(axes) -> None:
        axes.bar(range(len(agents)), table.participation.mean(axis=0), color="tab:blue")
        axes.set_ylim(0, 1)
        labels = agents if len(agents) <= MANY_AGENTS else [""] * len(agents)
        axes.set_xticks(range(len(agents)), labels)

    def draw_actions(axes) -> None:
        counts = action_counts(demonstrations)
        if len(agents) > MANY_AGENTS:
            axes.bar(range(counts.shape[1]), counts.sum(axis=0) / counts.sum())
            return
        shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        for i, name in enumerate(agents):
            x = np.arange(counts.shape[1]) + (i - (len(agents) - 1) / 2) * 0.8 / len(agents)
            axes.bar(x, shares[i], width=0.8 / len(agents), label=name)
        axes.legend(frameon=False, fontsize="small")

    name = demonstrations.metadata["id"]
    save("returns.png", f"{name}: returns", "return", "episodes", draw_returns)
    save("lengths.png", f"{name}: lengths", "rounds", "episodes", draw_lengths)
    title = f"{name}: participation"
    save("participation.png", title, "agent", "fraction of rounds", draw_participation)
    if demonstrations.layout.discrete:
        save("actions.png", f"{name}: actions", "action", "fraction of turns", draw_actions)
    return paths


def repair(path: Path) -> str:
    """Rebuild a damaged set from its readable episodes, and report what was kept.

    A damaged shard is replaced by one that holds its readable episodes; the original is kept as
    `shard-….arrow.damaged`.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DemonstrationWarning)
        with DemonstrationWriter.extend(path, repair=True) as writer:
            pass
    return "\n".join([*writer.notices, f"{path}: repaired; it holds {writer.episodes} episodes"])


@dataclass
class Args:
    """Show the contents of a set of demonstrations, or of a trained policy."""

    path: tyro.conf.Positional[Path]
    """Folder of the set; or a run folder, RUN@STEP or a policy file, whose architecture and training are shown."""
    plots: Path | None = None
    """Write PNG plots of returns, lengths, participation and actions into this folder."""
    json: bool = False
    """Print JSON instead of tables."""
    recover: bool = False
    """Show the readable part of a damaged set."""
    repair: bool = False
    """Close the shard of an interrupted recording, and rebuild damaged shards from their readable episodes."""


def main(args: Args) -> int:
    """Run the command; returns its exit status, see `mail_envs.commands.errors`."""
    return exit_status(lambda: command(args))


def command(args: Args) -> None:
    """Repair, show and plot as the options say."""
    policy = policy_file(args.path)
    if policy is not None:
        if args.plots is not None or args.recover or args.repair:
            raise ValueError(
                f"{args.path} is a policy; --plots, --recover and --repair are for sets"
            )
        show_policy(policy, Console(markup=False, emoji=False), args.json)
        return
    beside = sys.stderr if args.json else sys.stdout
    if args.repair:
        print(repair(args.path), file=beside)
    with warnings.catch_warnings(record=True):
        warnings.simplefilter("always", DemonstrationWarning)
        demonstrations = Demonstrations.open(args.path, recover=args.recover)
    if args.json:
        print(json.dumps(report(demonstrations), indent=1))
    else:
        show(demonstrations, Console(markup=False, emoji=False))
    if args.plots is not None:
        if not len(demonstrations):
            raise ValueError(f"{args.path} has no episodes to plot")
        written = plot(demonstrations, args.plots)
        print("wrote " + ", ".join(map(str, written)), file=beside)


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Args, prog="python -m demos.inspect")))
