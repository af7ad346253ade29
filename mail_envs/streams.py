"""Seeds of independent streams: no two seeds and no two purposes share an episode or a random number.

`reset(seed=s)` of E copies plays the episodes of seeds s to s + E - 1. Used as they are, the seeds 0 and 1
of two runs would therefore share all episodes but one. A run asks for the first seed of a stream instead,
named by its own seed and by what the stream is for.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np

Purpose = Literal["games", "networks", "updates", "demonstrations", "evaluation", "references"]
"""games: episodes that a learner trains on. networks: initial weights. updates: sampled actions and
minibatches. demonstrations: recorded episodes. evaluation: episodes (and actions in them) that measure a policy.
references: episodes of random play and of the expert, to which returns are normalized."""


def stream_seed(seed: int, purpose: Purpose) -> int:
    """First seed of a stream, in [0, 2**62); numpy's `SeedSequence` keeps streams apart.

    Streams are counted up by one from here. With streams of a million seeds each, two of a thousand runs
    overlap with probability 1e-6. ValueError when `seed` is negative or `purpose` unknown.
    """
    purposes = get_args(Purpose)
    if purpose not in purposes:
        raise ValueError(f"purpose={purpose!r} is not one of {', '.join(purposes)}")
    if not isinstance(seed, (int, np.integer)) or not 0 <= seed < 2**63:
        raise ValueError(f"seed={seed!r} is not an integer in [0, 2**63)")
    words = np.random.SeedSequence((int(seed), purposes.index(purpose))).generate_state(
        1, np.uint64
    )
    return int(words[0] >> np.uint64(2))
