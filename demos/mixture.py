"""Several demonstrators in one set: every episode is played by one of them, as often as its share says.

    python -m demos.record --env smac_3m --mixture 0.3:runs/happo@200000 0.7:expert --out mixed_demos

Who plays an episode depends on its number alone. The first episodes of a set are therefore a mixture too, and an interrupted
recording is completed with the same ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from demos.actions import checked_actions
from demos.keyed_random import KeyedRandom
from demos.policies import Policy, load_policy

STEP = 0.6180339887498949  # multiples of the golden ratio's fraction are spread evenly over [0, 1)


class Mixture:
    """A policy that lets one of several play each episode.

    Attributes:
        shares: of the episodes, they add up to 1.
        specs: what `load_policy` made the policies from. policies: one for each share.
    """

    def __init__(self, parts: Sequence[str], env: Any, first: int, greedy: bool = False) -> None:
        """`parts`: SHARE:POLICY; `first`: seed of the set's first episode. ValueError: they are no mixture."""
        pairs = [part.partition(":")[::2] for part in parts]
        try:
            self.shares = [float(share) for share, _ in pairs]
        except ValueError:
            self.shares = []
        positive = all(share > 0 for share in self.shares)  # NaN is not
        if not self.shares or not positive or abs(sum(self.shares) - 1) > 1e-6:
            raise ValueError(
                f"mixture {' '.join(parts)!r}: give SHARE:POLICY for each, such as 0.3:random 0.7:expert, with "
                f"shares above 0 that add up to 1"
            )
        self.env, self.first, self.specs = env, first, [spec for _, spec in pairs]
        self.policies: list[Policy] = [load_policy(spec, env, greedy) for spec in self.specs]

    def player_of(self, seeds: np.ndarray) -> np.ndarray:
        """Which of the policies plays the episodes of these seeds, int (K,)."""
        place = (np.asarray(seeds, np.int64) - self.first + 1) * STEP % 1.0
        return np.minimum((np.cumsum(self.shares) <= place[:, None]).sum(1), len(self.shares) - 1)

    def __call__(self, observations: np.ndarray, info: Mapping[str, Any], rng: Any) -> np.ndarray:
        players, parts = self.player_of(info["seed"]), []
        for k, policy in enumerate(self.policies):
            rows = np.flatnonzero(players == k)
            if not len(rows):
                continue
            view = {name: x[rows] for name, x in info.items()}
            own = KeyedRandom(view["seed"], view["round"])
            chosen = checked_actions(policy(observations[rows], view, own), self.env, len(rows))
            parts.append((rows, chosen))
        kind = np.int64 if self.env.discrete else np.result_type(*(x for _, x in parts))
        found = np.zeros((len(observations), *parts[0][1].shape[1:]), kind)
        for rows, chosen in parts:
            found[rows] = chosen
        return found
