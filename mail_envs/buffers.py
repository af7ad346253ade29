"""The arrays of E environments of one game, which kernels read and write in place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from mail_envs.devices import Cpu, Cuda
from mail_envs.kernels import clock_dtype
from mail_envs.markov_game import KernelGame


@dataclass
class Buffers:
    """All arrays of E environments; games and player functions write into them in place."""

    world: Any  # the game's records (E,)
    clock: Any  # bookkeeping records (E,), see `kernels.clock_dtype`
    seeds: Any  # int64 (E,): seeds of the next reset
    which: Any  # bool (E,): environments of the next reset
    actions: Any  # int32 (E, N) or float32 (E, N, A)
    acts: Any  # uint8 (E, N): participation less dead agents and illegal actions
    participation: Any  # uint8 (E, N): who acts in the round that comes next
    observations: Any  # float32 (E, N, D)
    rewards: Any  # float32 (E, N)
    terminated: Any  # bool (E,)
    truncated: Any  # bool (E,)
    alive: Any  # bool (E, N)
    action_mask: Any  # int8 (E, N, A)
    state: Any  # float32 (E, S)
    final_observations: Any  # float32 (E, N, D)
    final_state: Any  # float32 (E, S)
    metrics: Any  # float32 (E, K)
    errors: Any  # int32 (2,)

    @classmethod
    def allocate(
        cls, game: KernelGame, device: Cpu | Cuda, num_envs: int, num_actions: int, discrete: bool
    ) -> Buffers:
        n, d = len(game.agents), max(s.shape[0] for s in game.observation_spaces.values())
        s = game.state_space.shape[0]
        e = num_envs
        shapes = {
            "world": (e, game.state_dtype),
            "clock": (e, clock_dtype(n)),
            "seeds": (e, np.int64),
            "which": (e, np.bool_),
            "actions": ((e, n), np.int32) if discrete else ((e, n, num_actions), np.float32),
            "acts": ((e, n), np.uint8),
            "participation": ((e, n), np.uint8),
            "observations": ((e, n, d), np.float32),
            "rewards": ((e, n), np.float32),
            "terminated": (e, np.bool_),
            "truncated": (e, np.bool_),
            "alive": ((e, n), np.bool_),
            "action_mask": ((e, n, num_actions if discrete else 0), np.int8),
            "state": ((e, s), np.float32),
            "final_observations": ((e, n, d), np.float32),
            "final_state": ((e, s), np.float32),
            "metrics": ((e, len(game.metric_names)), np.float32),
            "errors": (2, np.int32),
        }
        buffers = cls(**{k: device.zeros(*v) for k, v in shapes.items()})
        buffers.alive[...] = True
        buffers.action_mask[...] = 1
        return buffers
