"""A stand-in for Bi-DexHands: environments that count rounds, with lazy resets like the original's.

Environment e ends after `5 + e` rounds, or 250 in the task that is probed; environment 0 succeeds in its third round.
FAKE_ISAACGYM_FAULT makes the process die (`die:7`), fall silent (`hang:7`), give NaN (`nan:7`) or end all episodes (`end:7`)
in that round of the process, or makes it quit (`quit`) instead of making environments.
"""

import os
import signal
import sys
import time

import torch

SIZES = {
    "ShadowHandDoorOpenInward": (199, 19, 26, 5),
    "ShadowHandDoorOpenOutward": (199, 19, 26, 250),
    "ShadowHandOver": (187, 24, 20, 5),
}
SPRING, SHARE, INERTIA, DAMPING = 5.0, 0.25, 0.303, 1.0  # what the probe is to find


def make(task, algo):
    assert algo == "happo" and os.path.exists("cfg/base.yaml")  # settings are read from the folder
    flags = dict(flag[2:].partition("=")[::2] for flag in sys.argv[1:])
    assert "headless" in flags
    if os.environ.get("FAKE_ISAACGYM_FAULT") == "quit":
        sys.exit("no simulation")
    return Env(Task(task, int(flags["num_envs"]), float(flags.get("offset", 0))))


class Gym:
    def set_dof_state_tensor(self, sim, state):
        sim.leaf = [state[0][0], 0.0]  # angle, speed


class Task:
    def __init__(self, name, num_envs, offset):
        self.block, self.tail, self.width, self.limit = SIZES[name]
        self.num_envs, self.offset, self.fault = (
            num_envs,
            offset,
            os.environ.get("FAKE_ISAACGYM_FAULT"),
        )
        self.reset_buf, self.progress = [1] * num_envs, [0] * num_envs
        self.episodes, self.total = [0] * num_envs, 0
        self.successes = torch.Tensor([0.0] * num_envs, (num_envs,))
        self.gym, self.sim, self.leaf = Gym(), self, [0.0, 0.0]
        self.object_dof_pos, self.object_dof_vel = [[0.0, 0.0]], [[0.0, 0.0]]
        self.dof_state = self.object_dof_pos
        self.hand_indices, self.hand_linvels = [0, 1], [[0.0, 0.0, 0.0]] * 2

    def step(self, actions):
        for e in range(self.num_envs):
            if self.reset_buf[e]:
                self.reset_buf[e], self.progress[e] = 0, 0
                self.episodes[e] += 1
                self.successes.values[e] = 0.0
                self.leaf = [0.0, 0.0]
        self.total += 1
        kind, _, when = (self.fault or "").partition(":")
        if when and self.total == int(when):
            if kind == "die":
                os.kill(os.getpid(), signal.SIGKILL)
            if kind == "hang":
                time.sleep(600)
        for e in range(self.num_envs):
            self.progress[e] += 1
            self.reset_buf[e] = int(self.progress[e] >= self.limit + e)
            if kind == "end" and self.total == int(when):
                self.reset_buf[e] = 1
            if e == 0 and self.progress[e] == 3:
                self.successes.values[e] = 1.0
        self.broken = when and kind == "nan" and self.total == int(when)
        force = actions[0][0].values[0]
        speed = SHARE * force * 0.5 * 1e5 / 60 / 5.011 / 100
        self.hand_linvels = [[speed, 0.0, 0.0]] * 2
        for _ in range(1000):
            angle, speed = self.leaf
            speed -= (SPRING * angle + DAMPING * speed) / INERTIA / 60000
            self.leaf = [angle + speed / 60000, speed]
        self.object_dof_pos[0][:] = [self.leaf[0]] * 2
        self.object_dof_vel[0][:] = [self.leaf[1]] * 2


class Env:
    """`MultiVecTaskPython`: results are doubled, one for each agent."""

    rl_device = "cuda:0"

    def __init__(self, task):
        self.task = task

    def step(self, actions):
        self.task.step(actions)
        t, n = self.task, self.task.num_envs
        rewards, done = [], []
        for e in range(n):
            moved = sum(sum(hand[e].values) for hand in actions)
            rewards += [
                float("nan") if t.broken and e == 0 else t.progress[e] + moved + t.offset
            ] * 2
            done += [float(t.reset_buf[e])] * 2
        doubled = torch.Tensor(done, (n, 2))
        return (*self.look(actions), torch.Tensor(rewards, (n, 2, 1)), doubled, None, None)

    def reset(self):
        still = [
            torch.Tensor(
                [0.01] * (self.task.num_envs * self.task.width),
                (self.task.num_envs, self.task.width),
            )
        ] * 2
        self.task.step(still)
        return (*self.look(still), None)

    def look(self, actions):
        """Observations start with: episode, round, agent. They end with the agent's action."""
        t, seen, state = self.task, [], []
        for e in range(t.num_envs):
            for i in range(2):
                head = [float(t.episodes[e]), float(t.progress[e]), float(i)]
                own = actions[i][e].values
                seen += head + [0.0] * (t.block + t.tail - 3 - len(own)) + list(own)
                state += [float(e)] * (2 * t.block + t.tail)
        shape = (t.num_envs, 2)
        return torch.Tensor(seen, (*shape, t.block + t.tail)), torch.Tensor(
            state, (*shape, 2 * t.block + t.tail)
        )
