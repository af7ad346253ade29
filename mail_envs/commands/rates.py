"""Measures steps per CPU-second and per second of wall time of any environment."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from mail_envs.commands.errors import CommandError

DRAWN = 1024  # actions drawn beforehand
TRIALS = 6
Run = Callable[[int], int]  # makes so many calls; returns the number of steps


@dataclass(frozen=True)
class Rate:
    """Steps per second of CPU time and of wall time."""

    cpu: float
    wall: float


def measure(runs: Mapping[str, Run], seconds: float) -> dict[str, Rate]:
    """The rates of several runs, each from `seconds` of CPU time: the best of their trials.

    Trials alternate between the runs: on a shared machine, other processes slow down some of them, and so all runs alike.
    """
    calls = {name: calls_in(run, seconds / TRIALS) for name, run in runs.items()}
    best = dict.fromkeys(runs, Rate(0.0, 0.0))
    for _ in range(TRIALS):
        for name, run in runs.items():
            begin, clock = time.process_time(), time.perf_counter()
            steps = run(calls[name])
            cpu, wall = time.process_time() - begin, time.perf_counter() - clock
            best[name] = Rate(max(best[name].cpu, steps / cpu), max(best[name].wall, steps / wall))
    return best


def calls_in(run: Run, seconds: float) -> int:
    """About as many calls as fit into so much CPU time."""
    run(2)  # compiles; JAX may compile again for the types that the first call returned
    calls, spent = 1, 0.0
    while spent < seconds / 4:
        calls *= 2
        begin = time.process_time()
        run(calls)
        spent = time.process_time() - begin
    return max(1, int(calls * seconds / max(spent, 1e-9)))


def drawn_actions(env) -> dict[str, list]:
    """DRAWN random actions for every agent of a PettingZoo environment."""
    rng = np.random.default_rng(0)
    drawn = {}
    for agent in env.possible_agents:
        space = env.action_space(agent)
        if hasattr(space, "n"):
            drawn[agent] = rng.integers(0, space.n, DRAWN).tolist()
        else:
            actions = rng.uniform(space.low, space.high, (DRAWN, *space.shape))
            drawn[agent] = list(actions.astype(np.float32))
    return drawn


def drawn_rounds(vector: Any) -> np.ndarray:
    """Sixteen random arrays of actions for `make_vec`'s games, int32 (16, E, N) or float32 (16, E, N, A)."""
    rng = np.random.default_rng(0)
    shape = (16, *vector.buffers.actions.shape)
    if vector.discrete:
        # int32 is the buffers' dtype, so no conversion is measured.
        return rng.integers(0, vector.action_dims, shape).astype(np.int32)
    actions = np.zeros(shape, np.float32)
    for i, agent in enumerate(vector.agents):
        space, own = vector.action_spaces[agent], vector.action_dims[i]
        actions[:, :, i, :own] = rng.uniform(space.low, space.high, (*shape[:2], own))
    return actions


def drawn_choices(env) -> Callable:
    """A function (agent, turn, info) that returns random actions drawn beforehand."""
    actions = drawn_actions(env)

    def choose(agent, turn, info):
        return actions[agent][turn % DRAWN]

    return choose


def aec_turns(env, choose: Callable | None = None) -> Run:
    """Plays agent turns of an AEC environment, including `last` and `step`.

    `choose(agent, turn, info)` returns the action; by default, random actions are drawn beforehand.
    """
    choose = choose or drawn_choices(env)
    env.reset(seed=0)

    def run(calls: int) -> int:
        turns = 0
        while turns < calls:
            for agent in env.agent_iter():
                _, _, terminated, truncated, info = env.last()
                env.step(None if terminated or truncated else choose(agent, turns, info))
                turns += 1
            env.reset()
        return turns

    return run


def last_line_of(command: list[str], variables: Mapping[str, str] | None = None) -> str:
    """The last line that a process prints, with these further environment variables. CommandError: it failed."""
    environment = {**os.environ, **(variables or {})}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or [f"exit status {done.returncode}"]
        raise CommandError(f"a measurement failed: {last[0]}")
    return "".join(done.stdout.strip().splitlines()[-1:])
