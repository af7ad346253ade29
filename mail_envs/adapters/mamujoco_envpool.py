"""Robots of Multi-Agent MuJoCo in EnvPool's threads."""

from __future__ import annotations

from typing import Any

import numpy as np

from mail_envs.adapters.mamujoco_gather import Motors, ObservationWriter
from mail_envs.adapters.mamujoco_robots import open_screen
from mail_envs.buffers import Buffers
from mail_envs.cores import usable_cores
from mail_envs.rounds import RUNNING, TERMINATED

NO_LIMIT = 2**31 - 1  # rounds; the time limit is applied by the view
SEEDS = 2**31  # EnvPool accepts 32-bit seeds


class EnvPoolCopies:
    """E robots with the methods of `copies.Copies`.

    EnvPool accepts seeds only at construction, so a reset of all episodes makes a new pool with the new seeds;
    later episodes are drawn from each robot's own random stream.
    """

    def __init__(
        self, id: str, writer: ObservationWriter, motors: Motors, buffers: Buffers, metrics: bool
    ):
        self.id, self.writer, self.motors, self.buffers = id, writer, motors, buffers
        self.num_envs, self.metrics = len(buffers.which), metrics
        self.states = np.zeros((self.num_envs, writer.num_states))
        self.torques = np.zeros((self.num_envs, len(motors.slots)))
        self._scratch = np.zeros_like(buffers.observations), np.zeros_like(buffers.state)
        self.pool: Any = None
        self._screen: Any = None

    def step(self, which: np.ndarray) -> None:
        b = self.buffers
        self.motors.drive(b.actions, b.acts, self.torques)
        if which.all():
            out = self.pool.step(self.torques)
        elif which.any():
            out = self.pool.step(self.torques[which], which.nonzero()[0])
        else:
            return
        states, rewards, terminated, _, info = out
        ids = info["env_id"]
        self.states[ids] = states
        b.rewards[ids] = rewards[:, None]
        b.world["outcome"][ids] = np.where(terminated, TERMINATED, RUNNING)
        if self.metrics:
            b.metrics[ids, 0] = info["x_position"]
        self._write_observations(which)

    def reset(self, which: np.ndarray) -> None:
        b = self.buffers
        if self.pool is None or (which.all() and not (b.terminated | b.truncated).any()):
            self.pool = self._make()
            states, info = self.pool.reset()
        else:
            states, info = self.pool.reset(which.nonzero()[0])
        self.states[info["env_id"]] = states
        b.alive[which] = True
        self._write_observations(which)

    def picture(self, e: int) -> np.ndarray:
        """An image of copy e, uint8 (480, 480, 3). RenderingError without OpenGL."""
        if self._screen is None:
            self._screen = open_screen()
        self._screen.make_current()
        return self.pool.render(env_ids=e)[0]

    def close(self) -> None:
        self.pool = self._screen = None

    def _make(self) -> Any:
        import envpool

        return envpool.make(
            self.id,
            env_type="gymnasium",
            num_envs=self.num_envs,
            num_threads=min(self.num_envs, usable_cores()),
            seed=(self.buffers.seeds % SEEDS).tolist(),
            max_episode_steps=NO_LIMIT,
            render_mode="rgb_array",
        )

    def _write_observations(self, which: np.ndarray) -> None:
        b = self.buffers
        if which.all():
            self.writer.write(self.states, b.observations, b.state)
        else:
            self.writer.write(self.states, *self._scratch)
            b.observations[which], b.state[which] = (array[which] for array in self._scratch)
