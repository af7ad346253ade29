"""`python -m mail_envs bench --learners`: training steps per CPU-second beside JaxMARL's environments, and phases.

Every measurement is a process of its own with one thread: this suite's in `mail_envs.commands.learner_phases`, the
peer's in `mail_envs.commands.jaxmarl_ppo`, with the same network, batch, epochs and minibatches.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from mail_envs.commands import CommandError
from mail_envs.commands.rates import last_line_of

NEEDED = ["jaxmarl", "optax"]
PEER = Path(__file__).with_name("jaxmarl_ppo.py")
# Settings of PPO that both sides get; they are the defaults of `learners.ippo`.
SETTINGS = {
    "num_envs": 64, "rounds": 50, "epochs": 5, "minibatches": 4, "hidden": [64, 64], "gamma": 0.99, "lam": 0.95,
    "clip": 0.2, "entropy": 0.01, "max_grad_norm": 10.0, "lr": 1e-3,
}  # fmt: skip
DEMONSTRATIONS = 200
ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "JAX_PLATFORMS": "cpu",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
}


class Pair(NamedTuple):
    """A learner on a game, and the peer's scenario with which it is compared, if there is one."""

    learner: str
    env: str
    scenario: str | None

    @property
    def name(self) -> str:
        return f"{self.learner} {self.env}"


PAIRS = (
    Pair("ippo", "coop_nav", "simple_spread"),
    Pair("ippo", "smac_3m", "smax_3m"),
    Pair("amagail", "stochastic_coop_nav", None),
)


def peer_interpreter(against: str, python: str | None) -> str | None:
    """The interpreter that has JaxMARL, or None if it is not compared. CommandError: it was asked for and lacks it."""
    if against not in ("installed", "none", "jaxmarl"):
        raise CommandError(f"--against {against}: learners are compared with jaxmarl only")
    if against == "none":
        return None
    if python is None:
        if all(importlib.util.find_spec(name) for name in NEEDED):
            return sys.executable
        if against == "jaxmarl":
            raise CommandError(
                "--against jaxmarl is not installed here: pip install jaxmarl optax, or give --jaxmarl-python, an "
                "interpreter that has them"
            )
        return None
    code = f"import importlib.util as u, sys; sys.exit(not all(map(u.find_spec, {NEEDED})))"
    try:
        found = (
            subprocess.run([python, "-c", code], capture_output=True, check=False).returncode == 0
        )
    except OSError as error:
        raise CommandError(f"--jaxmarl-python {python}: {error.strerror}") from error
    if not found:
        raise CommandError(
            f"--jaxmarl-python {python} lacks jaxmarl or optax: pip install jaxmarl optax"
        )
    return python


def learner_jobs(
    python: str | None, seconds: float
) -> Iterator[tuple[str, str, Callable[[], dict[str, Any]]]]:
    """All measurements: who, what, and a function that measures."""
    for pair in PAIRS:
        yield pair.name, "rate", lambda pair=pair: {pair.name: learner_rate(pair, seconds)}
        if python is not None and pair.scenario is not None:
            peer, scenario = f"jaxmarl {pair.scenario}", pair.scenario
            yield peer, "rate", lambda k=peer, s=scenario: {k: peer_rate(python, s, seconds)}


def learner_rate(pair: Pair, seconds: float) -> dict[str, Any]:
    """Rates and phases of a learner."""
    command = [sys.executable, "-m", "mail_envs.commands.learner_phases", pair.learner]
    if pair.learner == "ippo":
        return child(command, {"settings": {"env": pair.env, **SETTINGS}, "seconds": seconds})
    with tempfile.TemporaryDirectory() as folder:
        demos = f"{folder}/demos"
        record(pair.env, demos)
        settings = {"env": pair.env, "demos": demos, "num_demos": DEMONSTRATIONS, "warm_start": 0}
        return child(command, {"settings": settings, "seconds": seconds})


def record(env: str, path: str) -> None:
    """Record the expert's demonstrations."""
    words = ["--env", env, "--policy", "expert", "--episodes", str(DEMONSTRATIONS), "--out", path]
    last_line_of([sys.executable, "-m", "demos.record", *words], ONE_THREAD)


def peer_rate(python: str, scenario: str, seconds: float) -> dict[str, Any]:
    """Rates of PPO over JaxMARL's environments."""
    return child([python, str(PEER), scenario], {**SETTINGS, "seconds": seconds})


def child(command: list[str], given: dict[str, Any]) -> dict[str, Any]:
    """The JSON that a process prints last."""
    return json.loads(last_line_of([*command, json.dumps(given)], ONE_THREAD))


def print_learners(results: dict[str, dict[str, Any]], compared: bool) -> None:
    """Rates with their ratios to the peer, then the shares of the phases."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    rates = Table(title="Training steps per CPU-second, one thread", box=None, title_justify="left")
    for head in ("", "this suite", "JaxMARL", "ratio"):
        rates.add_column(head, justify="right" if head else "left", no_wrap=True)
    for pair in PAIRS:
        peer = results.get(f"jaxmarl {pair.scenario}")
        own, other = results[pair.name]["rate"]["cpu"], peer and peer["rate"]["cpu"]
        cells = ("–", "–") if other is None else (f"{other:,.0f}", f"{own / other:.2f}×")
        rates.add_row(pair.name, f"{own:,.0f}", *cells)
    console.print(rates)
    phases = Table(title="\nShare of CPU time", box=None, title_justify="left")
    names = list(results[PAIRS[0].name]["rate"]["phases"])
    for head in ("", *(pair.name.replace(" ", "\n") for pair in PAIRS)):
        phases.add_column(head, justify="right" if head else "left", no_wrap=True)
    for name in names:
        shares = (results[pair.name]["rate"]["phases"][name] for pair in PAIRS)
        phases.add_row(name, *(f"{share:.0%}" for share in shares))
    console.print(phases)
    if not compared:
        console.print(
            "\nJaxMARL was not measured: pip install jaxmarl optax, or give --jaxmarl-python, an interpreter that has them"
        )
