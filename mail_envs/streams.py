"""Seeds of independent streams: runs with different seeds, and different purposes, share no episode.

`reset(seed=s)` of E copies plays the episodes with seeds s to s + E - 1, so two runs that used 0 and 1 directly would
share all episodes but one. A run uses the first seed of a stream instead, which is derived from the run's seed
and the purpose of the stream.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np

Purpose = Literal[
    "games", "networks", "updates", "demonstrations", "evaluation", "references", "discriminators"
]
"""games: episodes for training. networks: initial weights. updates: sampled actions and minibatches.
demonstrations: recorded episodes. evaluation: episodes and actions in evaluations of a policy. references: episodes
of random play and of the expert, by which returns are normalized. discriminators: minibatches of discriminators whose
learner otherwise draws the same numbers as one without."""


def stream_seed(seed: int, purpose: Purpose) -> int:
    """The first seed of a stream, in [0, 2**62), from numpy's `SeedSequence`; the following seeds add 1 each.

    Among a thousand streams of a million seeds each, any two overlap with probability 1e-6. ValueError if `seed`
    is negative or `purpose` unknown.
    """
    purposes = get_args(Purpose)
    if purpose not in purposes:
        raise ValueError(f"purpose={purpose!r} is not one of {', '.join(purposes)}")
    if not isinstance(seed, (int, np.integer)) or not 0 <= seed < 2**63:
        raise ValueError(f"seed={seed!r} is not an integer in [0, 2**63)")
    sequence = np.random.SeedSequence((int(seed), purposes.index(purpose)))
    return int(sequence.generate_state(1, np.uint64)[0] >> np.uint64(2))
