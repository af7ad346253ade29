"""`python -m mail_envs bench`: speeds on this machine, next to others' measured in the same run."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Annotated, Any

import numpy as np
import tyro

from mail_envs.commands import CommandError

SIZES = (1, 64, 1024, 8192)
MANY = 65_536  # number of environments whose memory is measured

# Run in processes of their own, with a warm cache: what a user waits for at the start.
IMPORT = """
import time
begin = time.perf_counter()
import mail_envs
print(time.perf_counter() - begin)
"""
START = """
import sys, time
import mail_envs
begin = time.perf_counter()
mail_envs.make(sys.argv[1]).reset(seed=0)
print(time.perf_counter() - begin)
"""
MEMORY = """
import os, resource, sys
import numpy as np
import mail_envs

def used():  # bytes now; where that is not known, at most so far
    try:
        return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit

def play(num_envs):
    vector = mail_envs.make_vec(sys.argv[1], num_envs, seed=0)
    vector.step(np.zeros_like(vector.buffers.actions))
    return vector

small = play(1)
before = used()
large = play(int(sys.argv[2]))
print(used() - before)
"""


def bench(
    ids: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="ID")] = (
        "stochastic_coop_nav",
    ),
    against: str = "installed",
    seconds: float = 1.5,
    json_output: Annotated[bool, tyro.conf.arg(name="json")] = False,
) -> None:
    """Measure steps a second, start-up times and memory; one thread, rates per CPU-second.

    Args:
        ids: games to measure.
        against: peers to measure with them, e.g. `mpe2,vmas,jaxmarl`; `installed` or `none`.
        seconds: CPU time for each rate.
        json_output: print JSON instead of tables.
    """
    peers = choose_peers(against)
    jobs = [*game_jobs(ids, seconds), *peer_jobs(peers, seconds)]
    results = run_jobs(jobs, silent=json_output)
    if json_output:
        report = {"machine": describe_machine(), "seconds": seconds, "results": results}
        print(json.dumps(report, indent=2))
    else:
        print_tables(results, ids, peers)


def choose_peers(against: str) -> list[str]:
    """Names of the peers to measure; an unknown or absent one is an error."""
    from mail_envs.commands.peers import PEERS, installed

    if against in ("none", ""):
        return []
    if against == "installed":
        return installed()
    chosen = [name.strip() for name in against.split(",")]
    for name in chosen:
        if name not in PEERS:
            raise CommandError(f"--against {name}: not one of {', '.join(PEERS)}")
        if name not in installed():
            raise CommandError(f"--against {name} is not installed here: pip install {name}")
    return chosen


Job = tuple[str, str, Callable[[], Any]]  # who, what, measurement


def game_jobs(ids: tuple[str, ...], seconds: float) -> Iterator[Job]:
    """All measurements of our games."""
    import mail_envs
    from mail_envs.commands.peers import aec_turns

    for id in ids:
        try:
            mail_envs.spec(id)
        except ValueError as error:
            raise CommandError(str(error)) from error
        for size in SIZES:
            yield id, f"vector {size}", lambda id=id, size=size: vector_steps(id, size, seconds)
        yield id, "aec", lambda id=id: vars(aec_turns(mail_envs.make(id), seconds))
        yield id, "import", lambda: best_of(3, IMPORT)
        yield id, "start", lambda id=id: best_of(3, START, id)
        yield id, "memory", lambda id=id: run_python(MEMORY, id, str(MANY))


def peer_jobs(peers: list[str], seconds: float) -> Iterator[Job]:
    """All measurements of the peers."""
    from mail_envs.commands.peers import PEERS, mpe2_aec

    for peer in peers:
        for size in SIZES:
            yield (
                peer,
                f"vector {size}",
                lambda peer=peer, size=size: _rate(PEERS[peer](size, seconds)),
            )
        if peer == "mpe2":
            yield peer, "aec", lambda: vars(mpe2_aec(seconds))


def _rate(rate: Any) -> dict[str, float] | None:
    return None if rate is None else vars(rate)


def vector_steps(id: str, num_envs: int, seconds: float) -> dict[str, float]:
    """Environment steps a second of `make_vec(id, num_envs)`, everything included."""
    import mail_envs
    from mail_envs.commands.peers import measure

    vector = mail_envs.make_vec(id, num_envs, seed=0)
    rng = np.random.default_rng(0)
    shape = (16, *vector.buffers.actions.shape)
    if vector.discrete:
        # int32 is what the game stores: no conversion is measured.
        actions = rng.integers(0, vector.num_actions, shape).astype(np.int32)
    else:
        actions = rng.random(shape, dtype=np.float32)

    def run(calls: int) -> int:
        for k in range(calls):
            vector.step(actions[k % 16])
        return calls * num_envs

    return vars(measure(run, seconds))


def run_python(code: str, *arguments: str) -> float:
    """The number that `code` prints in a Python process of its own."""
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CommandError(f"a measurement failed: {done.stderr.strip().splitlines()[-1:]}")
    return float(done.stdout.strip().splitlines()[-1])


def best_of(trials: int, code: str, *arguments: str) -> float:
    """The smallest of several measurements; the first one warms the caches."""
    return min(run_python(code, *arguments) for _ in range(trials))


def run_jobs(jobs: list[Job], silent: bool) -> dict[str, dict[str, Any]]:
    """Run the measurements one after the other under a progress bar: who -> what -> result."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (TextColumn("{task.description:40}"), BarColumn(), MofNCompleteColumn())
    results: dict[str, dict[str, Any]] = {}
    with Progress(
        *columns, console=Console(stderr=True), transient=True, disable=silent
    ) as progress:
        task = progress.add_task("", total=len(jobs))
        for who, what, measurement in jobs:
            progress.update(task, description=f"{who}: {what}")
            results.setdefault(who, {})[what] = measurement()
            progress.advance(task)
    return results


def describe_machine() -> dict[str, Any]:
    """What the figures depend on."""
    import importlib.metadata

    packages = ("numpy", "numba", "pettingzoo")
    return {
        "system": platform.platform(),
        "processor": _processor(),
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in packages},
    }


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as file:
            names = [line.split(":", 1)[1].strip() for line in file if "model name" in line]
        return names[0]
    except (OSError, IndexError):
        return platform.processor() or platform.machine()


def print_tables(
    results: dict[str, dict[str, Any]], ids: tuple[str, ...], peers: list[str]
) -> None:
    """Rates, with ratios to the peers, then start-up times and memory."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    whats = [*(f"vector {size}" for size in SIZES), "aec"]
    heads = [*(f"E = {size:,}" for size in SIZES), "AEC turns"]
    rates = Table(title="Steps per CPU-second, one thread", box=None, title_justify="left")
    rates.add_column("", style="bold")
    for head in heads:
        rates.add_column(head, justify="right")
    for who in (*ids, *peers):
        cells = (results[who].get(what) for what in whats)
        rates.add_row(who, *("–" if cell is None else short(cell["cpu"]) for cell in cells))
    for peer in peers:
        ours, theirs = results[ids[0]], results[peer]
        pairs = ((ours[what], theirs.get(what)) for what in whats)
        cells = ("–" if b is None else f"{a['cpu'] / b['cpu']:,.0f}×" for a, b in pairs)
        rates.add_row(f"{ids[0]} / {peer}", *cells, style="dim")
    console.print(rates)
    starts = Table(title="\nStart and memory", box=None, title_justify="left")
    for head in ("", "import mail_envs", "make + reset, warm", f"E = {MANY:,}"):
        starts.add_column(head, justify="right" if head else "left", style=None if head else "bold")
    for id in ids:
        row = results[id]
        starts.add_row(
            id, f"{row['import']:.2f} s", f"{row['start']:.2f} s", f"{row['memory'] / 2**20:.0f} MB"
        )
    console.print(starts)
    machine = describe_machine()
    console.print(f"\n[dim]{machine['processor']}, Python {machine['python']}[/]")


def short(rate: float) -> str:
    """1234567 -> '1.23 M'."""
    for unit, size in (("M", 1e6), ("k", 1e3)):
        if rate >= size:
            return f"{rate / size:.3g} {unit}"
    return f"{rate:.3g}"
