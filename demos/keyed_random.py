"""Random numbers for policies, which depend only on the episode and the round.

With one `numpy.random.Generator` for many environments, the actions in an episode would depend on the number
of environments. Here a number is a function of the episode's seed, the round, and how many were drawn before
in this round: SplitMix64's output function over a counter, as in `mail_envs.random`, with another key.
Therefore there are only `random`, `standard_normal` and `integers`, with one row per environment.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

import numpy as np

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
POLICY = np.uint64(0xDA3E39CB94B95BDB)  # differs from the salts of the dynamics and player function
ROUND_BITS = np.uint64(24)  # numbers per round and environment


def hash64(x: np.ndarray) -> np.ndarray:
    """SplitMix64's output function, on uint64 arrays."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


class KeyedRandom:
    """Draws for K environments; the first axis of every draw is the environment.

    Args:
        seeds: int64 (K,), the running episodes' seeds. rounds: int (K,), their current rounds.
    """

    def __init__(self, seeds: np.ndarray, rounds: np.ndarray) -> None:
        keys = hash64(hash64(np.asarray(seeds).astype(np.uint64) + GOLDEN) ^ POLICY)
        self._start = keys + (np.asarray(rounds).astype(np.uint64) << ROUND_BITS) * GOLDEN
        self._drawn = 0

    def random(self, size: Sequence[int]) -> np.ndarray:
        """Uniform numbers in [0, 1), float64 of shape `size` = (K, ...)."""
        if len(size) == 0 or size[0] != len(self._start):
            raise ValueError(
                f"the first axis of a draw must be the {len(self._start)} environments, got size={size!r}"
            )
        count = int(np.prod(size[1:], dtype=np.int64))
        counters = np.arange(self._drawn, self._drawn + count, dtype=np.uint64)
        self._drawn += count
        bits = hash64(self._start[:, None] + counters * GOLDEN) >> np.uint64(11)
        return (bits.astype(np.float64) * 2.0**-53).reshape(size)

    def standard_normal(self, size: Sequence[int]) -> np.ndarray:
        """Normal numbers, float64 (K, ...) (Box and Muller)."""
        radius = np.sqrt(-2.0 * np.log1p(-self.random(size)))
        return radius * np.cos(2.0 * np.pi * self.random(size))

    def integers(self, low: int, high: int, size: Sequence[int]) -> np.ndarray:
        """Integers in [low, high), int64 (K, ...)."""
        return (low + np.floor(self.random(size) * (high - low))).astype(np.int64)

    def __getattr__(self, name: str) -> NoReturn:
        raise AttributeError(
            f"rng.{name} is not available: so that episodes do not depend on num_envs, policies draw with "
            f"rng.random, rng.standard_normal or rng.integers, one row per environment"
        )
