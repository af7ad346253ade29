"""Policies whose actions are the best ones in the eyes of a critic: the `energy` architecture.

An agent's critic values its observation and a continuous action, and the agent takes the action of the largest value: the
best of `CANDIDATES` actions that cover the action space evenly (a Sobol sequence), improved by gradient steps. The action
is a function of the observation, without random numbers.
"""

from __future__ import annotations

import functools
from typing import Any, Self

import torch
from torch import Tensor, nn

from demos.actions import action_bounds, own_actions
from learners.lib.distributions import Source
from learners.lib.langevin import with_slope
from learners.lib.networks import Seats, Share, check_finite, groups_of
from learners.lib.soft_values import Critics

CANDIDATES, STARTS = 64, 8  # actions that are compared, and how many of them are improved
STEP_SIZES = tuple(0.3 * 0.8**k for k in range(12))  # of the component that moves most


class EnergyPolicy(nn.Module):
    """One critic per group of agents; see `Policy` for arguments and attributes of the same names.

    Critics see actions in units of half their range, from -1 to 1; other actions are in those of the game.

    Attributes:
        critics: see `Critics`.
        low, high: bounds of the actions, (N, A) each.
    """

    joint, discrete, memory_size = False, False, 0
    low: Tensor
    high: Tensor

    def __init__(
        self,
        groups: list[int],
        observation_dims: list[int],
        action_dims: list[int],
        hidden: tuple[int, ...],
        agent_id: bool,
        bounds: tuple[Any, Any] | None = None,
    ):
        super().__init__()
        self.groups, self.observation_dims = list(groups), list(observation_dims)
        self.action_dims, self.num_actions = list(action_dims), max(action_dims)
        self.hidden, self.agent_id = tuple(hidden), agent_id
        self.seats = Seats(groups, observation_dims, agent_id)
        self.outputs = [action_dims[m[0]] for m in self.seats.members]
        self.critics = Critics(self, self.hidden)
        ones = torch.as_tensor(own_actions(action_dims)).float()
        low, high = (-ones, ones) if bounds is None else map(torch.as_tensor, bounds)
        self.register_buffer("low", low)
        self.register_buffer("high", high)

    @classmethod
    def of(cls, vec: Any, share: Share, **form: Any) -> Self:
        """A policy for a game; `form`: more arguments of the class."""
        dims, actions = list(vec.observation_dims), list(vec.action_dims)
        bounds = action_bounds(vec)
        check_finite(vec.agents, *bounds)
        return cls(groups_of(vec, share), dims, actions, **form, bounds=bounds)

    def form(self) -> dict[str, Any]:
        """What policy files say of the architecture, see `learners.lib.architectures`."""
        return {
            "architecture": "energy",
            "groups": self.groups,
            "observation_dims": self.observation_dims,
            "action_dims": self.action_dims,
            "hidden": list(self.hidden),
            "agent_id": self.agent_id,
        }

    @property
    def own(self) -> Tensor:
        """Components that an agent's actions have, bool (N, A)."""
        return self.high > self.low

    def units(self, actions: Tensor) -> Tensor:
        """Actions of the game (..., N, A) in units of half their range."""
        size = torch.where(self.own, self.high - self.low, 1.0)
        return torch.where(self.own, 2 * (actions - self.low) / size - 1, 0.0)

    def in_game(self, units: Tensor) -> Tensor:
        """The reverse of `units`."""
        return self.low + 0.5 * (units + 1) * (self.high - self.low)

    def values(self, observations: Tensor, units: Tensor) -> Tensor:
        """Values (K, B, N) of actions (K, B, N, A), in units of half their range, for observations (B, N, D)."""
        rows = observations.expand(len(units), *observations.shape).flatten(0, 1)
        return self.critics(rows, units.flatten(0, 1)).view(units.shape[:-1])

    @torch.inference_mode(False)
    def act(
        self,
        observations: Tensor,
        mask: Tensor | None,
        rng: Source,
        memory: Tensor | None = None,
        acts: Tensor | None = None,
    ) -> Tensor:
        """The best actions (E, N, A) for observations (E, N, D); nothing else has an influence."""
        seen = observations.clone()  # a tensor that may take part in gradients

        def f(units: Tensor) -> Tensor:
            return self.values(seen, units)

        points = candidates(self.num_actions).to(seen).view(-1, 1, 1, self.num_actions) * self.own
        points = points.expand(-1, *seen.shape[:2], -1)
        with torch.no_grad():
            top = f(points).topk(STARTS, 0).indices.unsqueeze(-1)
        at = points.gather(0, top.expand(-1, -1, -1, self.num_actions))
        values, slopes = with_slope(f, at)
        best, highest = at, values
        for size in STEP_SIZES:
            steepest = slopes.abs().amax(-1, keepdim=True).clamp(min=1e-12)
            at = (at + size * slopes / steepest).clamp(-1, 1)
            values, slopes = with_slope(f, at)
            better = values > highest
            best = torch.where(better.unsqueeze(-1), at, best)
            highest = torch.where(better, values, highest)
        chosen = highest.argmax(0)[None, ..., None].expand(1, -1, -1, self.num_actions)
        return self.in_game(best.gather(0, chosen)[0])


@functools.cache
def candidates(dims: int) -> Tensor:
    """The points of a Sobol sequence in [-1, 1]^dims, (CANDIDATES, dims)."""
    return 2 * torch.quasirandom.SobolEngine(dims).draw(CANDIDATES) - 1
