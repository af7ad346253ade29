"""Distance between a policy's (observation, action) pairs and the demonstrated ones: model selection without rewards.

The energy distance (Székely & Rizzo, 2013) of two distributions, 2 E|X - Y| - E|X - X'| - E|Y - Y'|, is 0 when
they are equal and positive otherwise. X and Y are the standardized inputs of the discriminators, sampled in
proportion to the occupancy measures up to the time limit, so that they also reflect how often and how early
episodes end. The discriminators' own loss is no criterion: they are trained against the policy that they would
judge.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from learners.lib.discriminators import Discriminator
from learners.lib.occupancy import Occupancy, Pairs
from learners.lib.rollout import Rollout
from learners.lib.weights import copied, restore

ROWS = 2048  # sampled per source and network


class Closeness:
    """Measures the distance every few updates and stores the weights of the closest policy.

    Attributes:
        first, last, best: distance of the initial policy, latest distance, smallest distance.
        step: environment steps at the smallest distance.
    """

    def __init__(self, policy, occupancy: Occupancy, discriminator: Discriminator, every: int, rng):
        """`every`: updates per measurement. The demonstrated pairs are drawn once, here.

        `occupancy` must include absorbing states; `discriminator` only encodes and standardizes the inputs.
        """
        self.occupancy, self.discriminator, self.every = occupancy, discriminator, every
        demonstrated = occupancy.of_expert(ROWS, rng)[2]
        networks = range(len(discriminator.networks))
        self.expert = [self._draw(g, demonstrated, ROWS, rng) for g in networks]
        self.drawn: list[list[Tensor]] = [[] for _ in networks]
        self.policy, self.weights = policy, copied(policy)
        self.first = self.last = self.best = math.nan
        self.step = 0

    def pairs(self, occupancy: Occupancy, found: Pairs, rollout: Rollout, valid: Tensor) -> Pairs:
        """A fragment's pairs that are `valid` (T, E, N): those `found` by `occupancy`, if it is the one judged by."""
        if occupancy is self.occupancy:
            return found
        return self.occupancy.of_policy(rollout, valid)[0]

    def observe(self, pairs: Pairs, step: int, rng: torch.Generator) -> dict[str, float]:
        """Sample from the pairs of a fragment; returns metrics when a measurement is due.

        `step`: environment steps that the policy was trained on by now.
        """
        for g, rows in enumerate(self.drawn):
            rows.append(self._draw(g, pairs, math.ceil(ROWS / self.every), rng))
        if len(self.drawn[0]) < self.every:
            return {}
        self.last = sum(map(self._distance, range(len(self.drawn)))) / len(self.drawn)
        self.drawn = [[] for _ in self.drawn]
        if math.isnan(self.first):
            self.first = self.last
        if not self.last >= self.best:
            self.best, self.step, self.weights = self.last, step, copied(self.policy)
        return {"distance": self.last}

    def _distance(self, g: int) -> float:
        x, y = torch.cat(self.drawn[g]), self.expert[g]
        if not len(x):
            return 0.0
        return 2 * mean_distance(x, y) - mean_distance(x, x) - mean_distance(y, y)

    def keep(self) -> None:
        """Restore the weights of the closest policy."""
        restore(self.policy, self.weights)

    def _draw(self, g: int, pairs: Pairs, count: int, rng: torch.Generator) -> Tensor:
        inputs, weights = pairs.inputs(self.discriminator, g)
        if not len(inputs):
            return inputs
        rows = torch.multinomial(weights.sum(1), count, replacement=True, generator=rng)
        return self.discriminator.networks[g].standardize(inputs[rows])

    def state_dict(self) -> dict:
        figures = {"first": self.first, "last": self.last, "best": self.best, "step": self.step}
        figures["occupancy"] = self.occupancy.state_dict()
        return {**figures, "expert": self.expert, "drawn": self.drawn, "weights": self.weights}

    def load_state_dict(self, state: dict) -> None:
        self.first, self.last, self.best = state["first"], state["last"], state["best"]
        self.occupancy.load_state_dict(state["occupancy"])
        device, self.step = self.expert[0].device, state["step"]
        self.expert = [x.to(device) for x in state["expert"]]
        self.drawn = [[x.to(device) for x in rows] for rows in state["drawn"]]
        self.weights = [x.to(device) for x in state["weights"]]


def mean_distance(x: Tensor, y: Tensor) -> float:
    """Mean Euclidean distance between rows of x (n, D) and y (m, D)."""
    return float(torch.cdist(x, y).mean())
