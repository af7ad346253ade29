"""The arrays of E environments of one game, which compiled functions read and write in place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from mail_envs.devices import Cpu, Cuda
from mail_envs.markov_game import MarkovGame
from mail_envs.rounds import clock_dtype


@dataclass
class Buffers:
    """All arrays of E environments; games and player functions write into them in place."""

    world: Any  # records (E,): the game's state, or the actions of a simulator's episode so far
    clock: Any  # bookkeeping records (E,), see `rounds.clock_dtype`
    seeds: Any  # int64 (E,): seeds of the next reset
    which: Any  # bool (E,): environments of the next reset
    actions: Any  # int32 (E, N) or float32 (E, N, A)
    acts: Any  # uint8 (E, N): participation without dead agents and illegal actions
    participation: Any  # uint8 (E, N): who acts in the next round
    turns: Any  # uint8 (E, N): whose turn it is, in games that decide it themselves; else (E, 0)
    observations: Any  # float32 (E, N, D), or uint8 if all observations are uint8
    rewards: Any  # float32 (E, N)
    terminated: Any  # bool (E,)
    truncated: Any  # bool (E,)
    alive: Any  # bool (E, N)
    action_mask: Any  # int8 (E, N, A)
    state: Any  # float32 (E, S)
    final_observations: Any  # like observations
    final_action_mask: Any  # like action_mask
    final_state: Any  # float32 (E, S)
    metrics: Any  # float32 (E, K)
    restarted: Any  # bool (E,): the worker process died and was restarted
    errors: Any  # int32 (2,): flags, see `kernels.INVALID_ACTION`

    @classmethod
    def allocate(
        cls,
        game: MarkovGame,
        world_dtype: np.dtype,
        device: Cpu | Cuda,
        num_envs: int,
        action_dims: list[int],
        discrete: bool,
    ) -> Buffers:
        n, num_actions = len(action_dims), max(action_dims)
        d = max(int(np.prod(s.shape)) for s in game.observation_spaces.values())
        s = game.state_space.shape[0]
        dtype = observation_dtype(game)
        e = num_envs
        shapes = {
            "world": (e, world_dtype),
            "clock": (e, clock_dtype(n)),
            "seeds": (e, np.int64),
            "which": (e, np.bool_),
            "actions": ((e, n), np.int32) if discrete else ((e, n, num_actions), np.float32),
            "acts": ((e, n), np.uint8),
            "participation": ((e, n), np.uint8),
            "turns": ((e, n if game.has_turns else 0), np.uint8),
            "observations": ((e, n, d), dtype),
            "rewards": ((e, n), np.float32),
            "terminated": (e, np.bool_),
            "truncated": (e, np.bool_),
            "alive": ((e, n), np.bool_),
            "action_mask": ((e, n, num_actions if discrete else 0), np.int8),
            "state": ((e, s), np.float32),
            "final_observations": ((e, n, d), dtype),
            "final_action_mask": ((e, n, num_actions if discrete else 0), np.int8),
            "final_state": ((e, s), np.float32),
            "metrics": ((e, len(game.metric_names)), np.float32),
            "restarted": (e, np.bool_),
            "errors": (2, np.int32),
        }
        buffers = cls(**{k: device.zeros(*v) for k, v in shapes.items()})
        buffers.alive[...] = True
        for i, own in enumerate(action_dims):
            buffers.action_mask[:, i, :own] = 1
            buffers.final_action_mask[:, i, :own] = 1
        return buffers


def observation_dtype(game: MarkovGame) -> type:
    """uint8 for a game whose observations are images, else float32."""
    kinds = {space.dtype for space in game.observation_spaces.values()}
    return np.uint8 if kinds == {np.dtype(np.uint8)} else np.float32
