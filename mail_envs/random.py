"""Counter-based random numbers: the same bits for any number of environments, threads, and on any device.

A stream is a 64-bit key; its k-th number is SplitMix64's output function applied to `key + k * GOLDEN`
(Steele, Lea & Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014). Numbers are indexed
by position, so there is no generator to pass around, lock or save.

Every *episode* has one integer seed. Two independent keys are derived from it, one for the dynamics and one for
the player function; so is the seed of the next episode. One number is therefore enough to replay any episode of a
long vectorized run.

The compiled functions are called from CPU loops and from CUDA kernels.
"""

import numpy as np

from mail_envs.kernels import device_function

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
DYNAMICS = np.uint64(0xD1B54A32D192ED03)  # salts: three arbitrary odd constants
PLAYERS = np.uint64(0x8CB92BA72F3D8DD7)
NEXT_EPISODE = np.uint64(0xABC98388FB8FAC03)

_30, _27, _31, _40, _1 = (np.uint64(n) for n in (30, 27, 31, 40, 1))
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_2_POW_MINUS_24 = np.float32(2.0**-24)
_TWO = np.float32(2.0)
_ONE = np.float32(1.0)


@device_function
def hash64(x):
    """SplitMix64's output function: a bijection of the 64-bit integers that looks random."""
    x = (x ^ (x >> _30)) * _MIX_1
    x = (x ^ (x >> _27)) * _MIX_2
    return x ^ (x >> _31)


@device_function
def stream_key(seed, salt):
    """The key of one stream of an episode. `seed`: int64, `salt`: DYNAMICS or PLAYERS."""
    return hash64(hash64(np.uint64(seed) + GOLDEN) ^ salt)


@device_function
def next_seed(seed):
    """The seed of the episode after the one with `seed`, in [0, 2**63)."""
    return np.int64(hash64(hash64(np.uint64(seed) + GOLDEN) ^ NEXT_EPISODE) >> _1)


@device_function
def uniform_at(key, counter):
    """Number `counter` of stream `key`: float32 in [0, 1)."""
    bits = hash64(key + np.uint64(counter) * GOLDEN) >> _40
    return np.float32(np.int32(bits)) * _2_POW_MINUS_24


@device_function
def uniform(rng):
    """The next number of an environment's stream: float32 in [0, 1).

    `rng` is a record with the fields `key` (uint64) and `counter` (int64), which is increased.
    """
    number = uniform_at(rng.key, rng.counter)
    rng.counter += 1
    return number


@device_function
def uniform_symmetric(rng):
    """Like `uniform`, in [-1, 1)."""
    return uniform(rng) * _TWO - _ONE


def check_seed(seed: int | None) -> int:
    """Check a seed in [0, 2**63); None: one in [0, 2**62) from the operating system."""
    if seed is None:
        return int(np.random.SeedSequence().generate_state(1, np.uint64)[0] >> np.uint64(2))
    if not isinstance(seed, (int, np.integer)) or not 0 <= seed < 2**63:
        raise ValueError(f"seed={seed!r} is not an integer in [0, 2**63)")
    return int(seed)


def following_seeds(seeds: np.ndarray) -> np.ndarray:
    """Seeds of the episodes that follow those with `seeds`, int64 (E,)."""
    return np.array([next_seed(s) for s in seeds], np.int64)
