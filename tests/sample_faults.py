"""A simulator that counts rounds and fails on request."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import gymnasium
import numpy as np

from mail_envs.simulator import SimulatorGame

FINE, KILLED, RAISES, SLEEPS, RAISES_LATE, ENDS = range(6)  # actions of `agent_0`
ALWAYS_RAISES = 13  # a seed that cannot be played


class Faulty(SimulatorGame):
    """Two agents observe the seed and the round; the reward is the round.

    `fragile`: a file; when it is missing, the next reset creates it and kills the process.
    `broken`: it cannot be made. `child`: it starts a process of its own.
    """

    agents = ["agent_0", "agent_1"]
    observation_spaces = {a: gymnasium.spaces.Box(-np.inf, np.inf, (2,)) for a in agents}
    action_spaces = {a: gymnasium.spaces.Discrete(6) for a in agents}
    state_space = gymnasium.spaces.Box(-np.inf, np.inf, (1,))
    max_rounds = 20
    metric_names = ("rounds",)

    def __init__(self, fragile: Path | None = None, broken: bool = False, child: bool = False):
        self.fragile, self.seed, self.rounds, self.late = fragile, 0, 0, False
        self.owner = os.environ.get("FAULTY_OWNER", str(os.getpid())) == str(os.getpid())
        os.environ.setdefault("FAULTY_OWNER", str(os.getpid()))
        if broken and not self.owner:
            raise OSError("there is no such simulator")
        self.child = None
        if child and not self.owner:
            self.child = subprocess.Popen(["sleep", "600"])

    def reset(self, seed):
        if seed == ALWAYS_RAISES:
            raise ValueError("an unlucky number")
        if self.fragile and not self.fragile.exists():
            self.fragile.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        self.seed, self.rounds = seed, 0

    def step(self, actions, acts, rewards, metrics):
        fault = actions[0]
        if fault == KILLED:
            os.kill(os.getpid(), signal.SIGKILL)
        if fault == SLEEPS:
            time.sleep(600)
        rewards[:] = self.rounds
        metrics[0] = self.rounds
        if fault == RAISES:
            raise RuntimeError("the simulator is on fire")
        self.rounds += 1
        self.late = fault == RAISES_LATE
        return fault == ENDS, False

    def observe(self, observations, action_mask, alive, state):
        observations[:] = self.seed % 1000, self.rounds
        if self.late:
            raise RuntimeError("the simulator is on fire")
        state[0] = self.rounds

    def picture(self):
        if self.rounds == 0:
            raise ValueError("nothing to see yet")
        return np.full((4, 6, 3), self.rounds, np.uint8)
