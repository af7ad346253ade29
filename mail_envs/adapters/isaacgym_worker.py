"""The process that runs Isaac Gym: `python3.8 isaacgym_worker.py COMMANDS ANSWERS MEMORY` (file descriptors).

It runs under the interpreter in which Isaac Gym is installed, Python 3.7 or 3.8, so it imports nothing of this suite.
Commands and answers are lines of JSON; arrays are in shared memory, whose layout the first command describes.
"""

from __future__ import annotations

import importlib
import json
import mmap
import os
import sys
import traceback

OPENED = 0.2  # rad, to which the probe opens a leaf: away from the hands, which it does not touch
FALLING = 6  # rounds for which a leaf moves
PUSHED = 4  # rounds; a hand has 99 % of its final speed in the fourth, and in the fifth it may be too far


class Worker:
    """An environment of Bi-DexHands, and the arrays that it shares with the other process."""

    def __init__(self, setup, memory):
        self.places, self.num_envs, self.width = setup["places"], setup["num_envs"], setup["width"]
        sys.argv = ["isaacgym_worker", *setup["flags"]]  # Bi-DexHands reads it
        self.gymtorch = importlib.import_module("isaacgym.gymtorch")  # before torch
        self.torch = importlib.import_module("torch")
        package = importlib.import_module("bidexhands")
        os.chdir(package.__path__[0])  # its settings are found from there
        self.env = package.make(setup["task"], "happo")
        self.task = self.env.task
        self.shared = mmap.mmap(memory, setup["bytes"])

    def step(self, reset):
        """Play a round in all environments; those in `reset` begin an episode first, as the original does it."""
        for e in reset:
            self.task.reset_buf[e] = 1
        observations, state, rewards, done, _, _ = self.env.step(self.actions())
        self.write("observations", observations)
        self.write("state", state[:, 0])
        self.write("rewards", rewards)
        self.write("done", done[:, 0])
        self.write("success", self.task.successes)

    def reset(self):
        """Begin an episode in all environments. The original then plays a round of very small actions."""
        for e in range(self.num_envs):
            self.task.reset_buf[e] = 1
        observations, state, _ = self.env.reset()
        self.write("observations", observations)
        self.write("state", state[:, 0])

    def actions(self):
        """One tensor (E, A) for each hand."""
        at, length = self.places["actions"]
        data = bytes(self.shared[at : at + length])
        storage = self.torch.FloatStorage.from_buffer(data, "native")
        both = self.torch.FloatTensor(storage).view(self.num_envs, 2, self.width)
        both = both.to(self.env.rl_device)
        return [both[:, 0], both[:, 1]]

    def write(self, name, tensor):
        at, length = self.places[name]
        numbers = tensor.detach().float().cpu().contiguous().numpy()
        self.shared[at : at + length] = memoryview(numbers).cast("B")

    def probe(self):
        """What is not known of Isaac Gym, in environment 0: see `isaacgym_probe`."""
        angles, speed = self.probe_leaf()
        return {"angles": angles, "leaf_speed": speed, "hand_speed": self.probe_hand()}

    def probe_leaf(self):
        """A leaf let go at OPENED rad; the target of its drive is 0. Its angles by round, and its final speed, in rad/s."""
        self.reset()
        task = self.task
        for leaf in range(2):
            task.object_dof_pos[0][leaf] = OPENED
            task.object_dof_vel[0][leaf] = 0.0
        task.gym.set_dof_state_tensor(task.sim, self.gymtorch.unwrap_tensor(task.dof_state))
        angles = [OPENED]
        for _ in range(FALLING):
            self.go_on()
            angles.append(float(task.object_dof_pos[0][0]))
        return angles, float(task.object_dof_vel[0][0])

    def probe_hand(self):
        """The speed in x of the first hand's base under full force, in m/s."""
        self.reset()
        at, _ = self.places["actions"]
        view = memoryview(self.shared)[at : at + 4].cast("f")
        view[0] = 1.0
        for _ in range(PUSHED):
            self.go_on()
        view[0] = 0.0
        view.release()
        return float(self.task.hand_linvels[int(self.task.hand_indices[0])][0])

    def go_on(self):
        """Play a round of the same episode. RuntimeError: the episode is over, so what is measured is not free."""
        self.task.reset_buf[0] = 0
        self.step([])
        if self.task.reset_buf[0]:
            raise RuntimeError("the probe's episode has ended: a hand went too far from its handle")


def work(commands, answers, memory):
    """Answer commands until there are no more."""
    worker = None
    for line in commands:
        command = json.loads(line)
        try:
            if worker is None:
                worker = Worker(command, memory)
                value = None
            elif command["name"] == "step":
                value = worker.step(command["reset"])
            else:
                value = {"reset": worker.reset, "probe": worker.probe}[command["name"]]()
            answer = {"value": value}
        except (Exception, SystemExit):  # argparse exits at wrong flags, Bi-DexHands on no GPU
            answer = {"error": traceback.format_exc()}
        answer["number"] = command["number"]
        answers.write(json.dumps(answer) + "\n")
        answers.flush()
    os._exit(0)  # Isaac Gym may hang when it is closed


if __name__ == "__main__":
    del sys.path[0]  # this folder, whose modules are named after the packages that they adapt
    given = [int(argument) for argument in sys.argv[1:4]]
    work(os.fdopen(given[0], "r"), os.fdopen(given[1], "w"), given[2])
