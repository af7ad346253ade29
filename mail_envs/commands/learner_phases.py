"""Speed of one learner, and the share of time in every phase of an update.

    python -m mail_envs.commands.learner_phases LEARNER SETTINGS      SETTINGS: JSON, of the learner, and `seconds`

It trains with the learner's own `train` in a temporary run folder and prints JSON. Functions are replaced by versions
that measure CPU time for this process only: training itself holds no timers.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import io
import json
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

WARM_UP = 2  # updates that are not measured: they compile
TRIALS = 3  # the best one counts: on a shared machine, other processes slow down the others
PHASES = (
    "environment",  # steps of the games
    "acting",  # forward passes and sampling of actions
    "storing",  # the rest of the rollout
    "advantages",  # values and advantages
    "batches",  # rows of the update: pairs, groups of agents, minibatches
    "forward",  # forward passes and losses
    "backward",
    "optimizer",  # Adam, or factors and steps of K-FAC
    "other",  # statistics and metrics
)
# What is measured, and as which phase. Time in a measured function that another one calls is that of the inner one.
MEASURED = {
    "mail_envs.vector.VectorGame.step": "environment",
    "learners.lib.networks.Policy.act": "acting",
    "learners.lib.rollout.Rollout.collect": "storing",
    "learners.ippo.estimate_advantages": "advantages",
    "learners.mack.estimate_advantages": "advantages",
    "learners.ippo.actor_batch": "batches",
    "learners.lib.actor_critic.critic_batch": "batches",
    "learners.lib.ppo.selected": "batches",
    "learners.lib.occupancy.Occupancy.of_expert": "batches",
    "learners.lib.occupancy.Occupancy.of_policy": "batches",
    "learners.ippo.update": "forward",
    "learners.mack.update": "forward",
    "learners.magail.update_discriminators": "forward",
    "learners.magail.rewards_of": "forward",
    "torch.autograd.grad": "backward",
    "learners.lib.optimizers.Adam.step": "optimizer",
    "learners.lib.kfac.KFAC.step": "optimizer",
}


class Enough(Exception):
    """Training has been measured for long enough."""


class Phases:
    """CPU seconds by phase; time inside nested phases counts for the inner one only.

    Attributes:
        seconds: by phase.
        updates: steps and CPU seconds of every measured update.
    """

    def __init__(self, budget: float):
        self.budget, self.begin = budget, 0.0
        self.seconds: dict[str, float] = defaultdict(float)
        self.updates: list[tuple[int, float, float]] = []
        self.phase, self.since = "other", time.process_time()
        self.count, self.clock = 0, time.perf_counter()

    def enter(self, phase: str) -> str:
        """Begin a phase; returns the one that it interrupts."""
        now = time.process_time()
        self.seconds[self.phase] += now - self.since
        before, self.phase, self.since = self.phase, phase, now
        return before

    def measured(self, phase: str, function: Callable) -> Callable:
        """`function`, with its time counted as `phase`."""

        @functools.wraps(function)
        def call(*arguments: Any, **named: Any) -> Any:
            before = self.enter(phase)
            try:
                return function(*arguments, **named)
            finally:
                self.enter(before)

        return call

    def end_update(self, steps: int) -> None:
        """Count one update. Enough: the time is over."""
        self.enter("other")
        self.count += 1
        clock = time.perf_counter()
        if self.count <= WARM_UP:
            self.seconds.clear()
            self.begin = self.since
        else:
            self.updates.append((steps, self.since - self.last, clock - self.clock))
        self.last, self.clock = self.since, clock
        if len(self.updates) >= TRIALS and self.since - self.begin >= self.budget:
            raise Enough

    def report(self) -> dict[str, Any]:
        """Best rate of steps per second of CPU time and of wall time, and shares of the phases."""
        size = len(self.updates) // TRIALS
        trials = [self.updates[k * size : (k + 1) * size] for k in range(TRIALS)]
        sums = [[sum(column) for column in zip(*trial, strict=True)] for trial in trials]
        total = sum(self.seconds.values())
        return {
            "cpu": max(steps / cpu for steps, cpu, _ in sums),
            "wall": max(steps / wall for steps, _, wall in sums),
            "phases": {phase: self.seconds[phase] / total for phase in PHASES},
        }


def resolve(path: str) -> tuple[Any, str]:
    """The module or class that holds a function, and the function's name."""
    holder, _, name = path.rpartition(".")
    try:
        return importlib.import_module(holder), name
    except ModuleNotFoundError:
        module, _, kind = holder.rpartition(".")
        return getattr(importlib.import_module(module), kind), name


@contextlib.contextmanager
def measuring(budget: float) -> Iterator[Phases]:
    """Measure phases in everything that runs inside the block."""
    from learners.lib.run import Run

    phases, advance = Phases(budget), Run.advance

    def counted(run: Any, steps: int, metrics: dict) -> None:
        advance(run, steps, metrics)
        phases.end_update(steps)

    with contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch.object(Run, "advance", counted))
        for path, phase in MEASURED.items():
            holder, name = resolve(path)
            function = phases.measured(phase, getattr(holder, name))
            stack.enter_context(mock.patch.object(holder, name, function))
        yield phases


def measure_learner(learner: str, settings: dict[str, Any], seconds: float) -> dict[str, Any]:
    """Rate and phases of a learner, measured for `seconds` of CPU time after compilation."""
    module = importlib.import_module(f"learners.{learner}")
    with tempfile.TemporaryDirectory() as folder:
        fixed = {"run_dir": f"{folder}/run", "progress": False, "eval_episodes": 0, "device": "cpu"}
        with contextlib.redirect_stdout(io.StringIO()), measuring(seconds) as phases:
            with contextlib.suppress(Enough):
                module.train(module.Args(**fixed, **settings))
    if len(phases.updates) < TRIALS:
        raise ValueError(f"{learner} made only {len(phases.updates)} measured updates")
    return phases.report()


if __name__ == "__main__":
    given = json.loads(sys.argv[2])
    print(json.dumps(measure_learner(sys.argv[1], given["settings"], given["seconds"])))
