"""`python -m mail_envs bench`: compare speeds on this machine with other libraries."""

from __future__ import annotations

import functools
import itertools
import json
import platform
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import tyro

from mail_envs.commands import CommandError
from mail_envs.commands.learner_bench import learner_jobs, peer_interpreter, print_learners
from mail_envs.commands.peers import (
    PEERS,
    SOURCES,
    installed,
    mpe2_aec,
    scenario_of,
)
from mail_envs.commands.rates import Run, aec_turns, drawn_rounds, last_line_of, measure
from mail_envs.cores import one_core

DEFAULT = ("stochastic_coop_nav",)
SIZES = (1, 64, 1024, 8192)
SIMULATOR_SIZES = (1, 64)
# Numbers of environments for which the memory of native games is measured: the largest that fits.
MANY, FEWER = 65_536, 4_096
MEMORY_LIMIT = 2**30  # bytes

# Start-up times, measured in separate processes with a warm cache.
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
# CPU time of compilation, which uses one thread, with an empty cache.
COMPILE = """
import os, sys, tempfile, time
import numpy as np
import mail_envs
with tempfile.TemporaryDirectory() as folder:
    os.environ["MAIL_ENVS_CACHE"] = folder
    begin = time.process_time()
    vector = mail_envs.make_vec(sys.argv[1], 1, seed=0)
    vector.step(np.zeros_like(vector.buffers.actions))
    print(time.process_time() - begin)
"""
MEMORY = """
import os, resource, sys
import numpy as np
import mail_envs

def used():  # bytes in use; if that is unknown, the maximum so far
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
    ids: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="ID")] = DEFAULT,
    against: str = "installed",
    seconds: float = 1.5,
    start: bool = True,
    learners: bool = False,
    jaxmarl_python: str | None = None,
    json_output: Annotated[bool, tyro.conf.arg(name="json")] = False,
) -> None:
    """Measure steps per CPU-second on one core, start-up times and memory.

    Args:
        ids: games or families (such as `mpe`) to measure.
        against: other libraries to compare with, e.g. `mpe2,vmas,jaxmarl`; `installed` or `none`. Each is
            measured on the same scenario, in turns with the game.
        seconds: CPU time per rate.
        start: also measure start-up, compilation and memory.
        learners: measure training instead of games: IPPO beside the same algorithm on JaxMARL's environments,
            AMAGAIL, and the share of time in every phase of an update.
        jaxmarl_python: with --learners, the interpreter that has jaxmarl and optax, if it is another one.
        json_output: print JSON instead of tables.
    """
    if learners:
        if ids != DEFAULT:
            raise CommandError(f"--learners measures its own games; leave out {', '.join(ids)}")
        bench_learners(against, jaxmarl_python, seconds, json_output)
        return
    if jaxmarl_python is not None:
        raise CommandError("--jaxmarl-python needs --learners")
    peers = choose_peers(against)
    ids = expand(ids)
    pairs = rivals(ids, peers)
    jobs: list[Job] = []
    met: set[Rival] = set()
    for id in ids:
        jobs += game_jobs(id, [rival for rival in pairs[id] if rival not in met], seconds, start)
        met |= set(pairs[id])
    with one_core():
        results = run_jobs(jobs, silent=json_output)
    if json_output:
        print_json(results, seconds)
    else:
        print_tables(results, pairs, start)


def bench_learners(against: str, python: str | None, seconds: float, json_output: bool) -> None:
    """Measure training, see `mail_envs.commands.learner_bench`."""
    python = peer_interpreter(against, python)
    results = run_jobs(list(learner_jobs(python, seconds)), silent=json_output)
    if json_output:
        print_json(results, seconds)
    else:
        print_learners(results, compared=python is not None or against == "none")


def print_json(results: dict[str, dict[str, Any]], seconds: float) -> None:
    """Print the results and what they depend on."""
    report = {"machine": describe_machine(), "seconds": seconds, "results": results}
    print(json.dumps(report, indent=2))


def expand(names: tuple[str, ...]) -> tuple[str, ...]:
    """Ids, with each family name expanded to its ids."""
    import mail_envs

    ids: dict[str, None] = {}
    for name in names:
        family = [id for id, spec in mail_envs.specs().items() if spec.family == name]
        try:
            ids |= dict.fromkeys(family or [mail_envs.spec(name).id])
        except ValueError as error:
            raise CommandError(str(error)) from error
    return tuple(ids)


@dataclass(frozen=True)
class Rival:
    """A scenario of a peer."""

    peer: str
    scenario: str

    @property
    def name(self) -> str:
        return f"{self.peer} {self.scenario}"


def rivals(ids: tuple[str, ...], peers: list[str]) -> dict[str, list[Rival]]:
    """The scenarios of peers with which each game is compared."""
    import mail_envs

    found = {
        id: [(peer, scenario_of(peer, id, mail_envs.spec(id).family)) for peer in peers]
        for id in ids
    }
    return {id: [Rival(p, s) for p, s in pairs if s is not None] for id, pairs in found.items()}


def choose_peers(against: str) -> list[str]:
    """Names of the peers to measure. CommandError: one is unknown or not installed."""
    if against in ("none", ""):
        return []
    if against == "installed":
        return installed()
    chosen = [name.strip() for name in against.split(",")]
    for name in chosen:
        if name not in PEERS:
            raise CommandError(f"--against {name}: not one of {', '.join(PEERS)}")
        if name not in installed():
            source = SOURCES.get(name, name)
            raise CommandError(f"--against {name} is not installed here: pip install {source}")
    return chosen


# Who, what, and a measurement, also of others: {who: result}.
Job = tuple[str, str, Callable[[], dict[str, Any]]]


def game_jobs(id: str, others: list[Rival], seconds: float, start: bool) -> Iterator[Job]:
    """All measurements of one game of this suite, and of the peers that are measured beside it."""
    for size in sizes_of(id):
        yield id, f"vector {size}", lambda size=size: vector_rates(id, others, size, seconds)
    yield id, "aec", lambda: turn_rates(id, others, seconds)
    if start:
        yield id, "import", lambda: {id: best_of(3, IMPORT)}
        yield id, "start", lambda: {id: best_of(3, START, id)}
        if sizes_of(id) == SIZES:
            yield id, "compile", lambda: {id: run_python(COMPILE, id)}
            yield id, "memory", lambda: {id: memory(id)}


def sizes_of(id: str) -> tuple[int, ...]:
    """Numbers of environments to measure; fewer for simulators."""
    import mail_envs
    from mail_envs.markov_game import KernelGame

    if mail_envs.spec(id).family == "football":
        return SIMULATOR_SIZES[:1]  # more copies run in processes, whose CPU time is not measured
    return SIZES if issubclass(mail_envs.spec(id).load(), KernelGame) else SIMULATOR_SIZES


def vector_rates(id: str, others: list[Rival], size: int, seconds: float) -> dict[str, Any]:
    """Rates of `size` copies of a game and of its peers, as far as they have so many."""
    made = {r.name: PEERS[r.peer](r.scenario, size) for r in others}
    runs = {id: vector_steps(id, size), **{k: run for k, run in made.items() if run is not None}}
    return {name: vars(rate) for name, rate in measure(runs, seconds).items()}


def turn_rates(id: str, others: list[Rival], seconds: float) -> dict[str, Any]:
    """Rates of agent turns of a game and of MPE2, the peer that has them."""
    made = {r.name: mpe2_aec(r.scenario) for r in others if r.peer == "mpe2"}
    return {k: vars(rate) for k, rate in measure({id: agent_turns(id), **made}, seconds).items()}


def memory(id: str) -> dict[str, float]:
    """Memory in bytes of `num_envs` environments."""
    import mail_envs

    arrays = vars(mail_envs.make_vec(id, 1).buffers).values()
    num_envs = MANY if MANY * sum(a.nbytes for a in arrays) < MEMORY_LIMIT else FEWER
    return {"bytes": run_python(MEMORY, id, str(num_envs)), "num_envs": num_envs}


def vector_steps(id: str, num_envs: int) -> Run:
    """Plays steps of `make_vec(id, num_envs)`, everything included.

    Actions are random. In games with action masks, legal actions are drawn in every step, within the measured
    time; in all others they are drawn beforehand.
    """
    import mail_envs

    vector = mail_envs.make_vec(id, num_envs, seed=0)
    masked = vector.discrete and vector.game.has_action_mask
    step = masked_steps(vector) if masked else drawn_steps(vector)

    def run(calls: int) -> int:
        for k in range(calls):
            step(k)
        return calls * num_envs

    return run


def masked_steps(vector: Any) -> Callable[[int], Any]:
    """A function that plays step k with random legal actions."""
    draw, calls = compiled_draw(), itertools.count()
    actions, mask = np.zeros_like(vector.buffers.actions), vector.buffers.action_mask

    def step(k: int) -> Any:
        draw(mask, next(calls) * actions.size, actions)
        return vector.step(actions)

    return step


@functools.cache
def compiled_draw() -> Callable[..., None]:
    """A function (mask, index of the first draw, actions) that fills in random legal actions.

    It is a compiled loop, because NumPy would take as long as some of the games.
    """
    from numba import njit

    from mail_envs.random import uniform_at

    @njit
    def draw_allowed(mask, counter, actions):
        for e in range(actions.shape[0]):
            for i in range(actions.shape[1]):
                allowed = 0
                for a in range(mask.shape[2]):
                    allowed += mask[e, i, a] != 0
                number = uniform_at(np.uint64(0), counter + e * actions.shape[1] + i)
                actions[e, i] = kth_allowed(mask[e, i], np.int64(number * np.float32(allowed)))

    @njit
    def kth_allowed(mask, k):
        for a in range(mask.size):
            if mask[a] != 0:
                if k == 0:
                    return a
                k -= 1
        return 0

    return draw_allowed


def agent_turns(id: str) -> Run:
    """Plays agent turns of `make(id)`, with random legal actions."""
    import mail_envs

    env = mail_envs.make(id)
    if not (env.vector.discrete and env.vector.game.has_action_mask):
        return aec_turns(env)
    draw, calls, action = compiled_draw(), itertools.count(), np.zeros((1, 1), np.int32)

    def choose(agent: str, turn: int, info: dict[str, Any]) -> int:
        draw(info["action_mask"][None, None], next(calls), action)
        return int(action[0, 0])

    return aec_turns(env, choose)


def drawn_steps(vector: Any) -> Callable[[int], Any]:
    """A function that plays step k with one of sixteen random arrays of actions."""
    actions = drawn_rounds(vector)
    return lambda k: vector.step(actions[k % len(actions)])


def run_python(code: str, *arguments: str) -> float:
    """Run `code` in a separate Python process; returns the number that it prints."""
    return float(last_line_of([sys.executable, "-c", code, *arguments]))


def best_of(trials: int, code: str, *arguments: str) -> float:
    """The smallest of several measurements; the first one warms the caches."""
    return min(run_python(code, *arguments) for _ in range(trials))


def run_jobs(jobs: list[Job], silent: bool) -> dict[str, dict[str, Any]]:
    """Run the measurements with a progress bar; returns results by name and measurement."""
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
            for name, result in measurement().items():
                results.setdefault(name, {})[what] = result
            progress.advance(task)
    return results


def describe_machine() -> dict[str, Any]:
    """The hardware and software that the results depend on."""
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
    results: dict[str, dict[str, Any]], pairs: dict[str, list[Rival]], start: bool
) -> None:
    """Rates, each with its ratios to the peers, then start-up times and memory."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    whats = [*(f"vector {size}" for size in SIZES), "aec"]
    heads = [*(f"E = {size:,}" for size in SIZES), "AEC turns"]
    rates = Table(title="Steps per CPU-second, one core", box=None, title_justify="left")
    rates.add_column("", style="bold", overflow="fold")
    for head in heads:
        rates.add_column(head, justify="right", no_wrap=True)
    for who, result in results.items():
        cells = (result.get(what) for what in whats)
        rates.add_row(who, *("–" if cell is None else short(cell["cpu"]) for cell in cells))
    for id, opponents in pairs.items():
        for rival in opponents:
            ratios = [ratio(results[id], results[rival.name], what) for what in whats]
            rates.add_row(f"{id} / {rival.peer}", *ratios, style="dim")
    console.print(rates)
    peers = {rival.name for opponents in pairs.values() for rival in opponents}
    if any(results[peer].get(what) is None for peer in peers for what in whats[:-1]):
        console.print("[dim]A library without as many copies (–) is compared at its best rate.[/]")
    if start:
        print_starts(console, {id: results[id] for id in pairs})
    machine = describe_machine()
    console.print(f"\n[dim]{machine['processor']}, Python {machine['python']}[/]")


def ratio(game: dict[str, Any], peer: dict[str, Any], what: str) -> str:
    """The speed-up over a peer; if it was not measured with as many copies, over its best rate."""
    rate = peer.get(what)
    if rate is None and what != "aec":
        rates = [r for other, r in peer.items() if r is not None and other != "aec"]
        rate = max(rates, key=lambda r: r["cpu"], default=None)
    if rate is None or what not in game:
        return "–"
    times = game[what]["cpu"] / rate["cpu"]
    return f"{times:,.0f}×" if times >= 10 else f"{times:.2f}×"


def print_starts(console: Any, results: dict[str, dict[str, Any]]) -> None:
    from rich.table import Table

    starts = Table(title="\nStart and memory", box=None, title_justify="left")
    heads = ("import\nmail_envs", "make + reset,\nwarm", "first use:\ncompiles", "memory")
    for head in ("", *heads):
        justify = "right" if head else "left"
        starts.add_column(head, justify=justify, style=None if head else "bold", no_wrap=True)
    for id, row in results.items():
        compiles = f"{row['compile']:.1f} CPU-s" if "compile" in row else "–"
        size = row.get("memory")
        bytes = f"{size['bytes'] / 2**20:.0f} MB (E = {size['num_envs']:,})" if size else "–"
        starts.add_row(id, f"{row['import']:.2f} s", f"{row['start']:.2f} s", compiles, bytes)
    console.print(starts)


def short(rate: float) -> str:
    """1234567 -> '1.23 M'."""
    for unit, size in (("M", 1e6), ("k", 1e3)):
        if rate >= size:
            return f"{rate / size:.3g} {unit}"
    return f"{rate:.3g}"
