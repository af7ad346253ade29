"""A short random battle, saved. Run with NUMBA_DISABLE_JIT=1 by a test."""

import sys

import numpy as np
from starcraft_players import at_random

from mail_envs.games.starcraft.game import StarCraft
from mail_envs.player_functions import Synchronous
from mail_envs.vector import VectorGame


def rollout(rounds: int = 16) -> dict[str, np.ndarray]:
    vector = VectorGame(StarCraft("smac_3m"), Synchronous(), 2)
    _, info = vector.reset(seed=5)
    rng = np.random.default_rng(0)
    seen = {"observations": [], "state": [], "rewards": [], "mask": []}
    for _ in range(rounds):
        observations, rewards, _, _, info = vector.step(at_random(vector, info, rng))
        arrays = (observations, info["state"], rewards, info["action_mask"])
        for name, array in zip(seen, arrays):
            seen[name].append(np.array(array))
    return {name: np.stack(arrays) for name, arrays in seen.items()}


if __name__ == "__main__":
    np.savez(sys.argv[1], **rollout())
