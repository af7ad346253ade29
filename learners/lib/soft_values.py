"""Soft values of agents: Q(o, a) of the actions they took, and V(o) of what they would do, for inverse Q-learning.

    V(o) = temperature * log sum_a exp(Q(o, a) / temperature)             discrete actions, allowed ones only
    V(o) = E[Q(o, a) - temperature * log pi(a | o)],  a ~ pi(. | o)       continuous actions, one sample

`SoftQ`: the outputs of the policy's networks are Q / temperature, so the policy is their softmax: the same network is
values and policy. `SoftActorCritic`: critics, and a policy that is trained to be the softmax of the first critic's
values (the smaller ones of two critics).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from learners.lib.batch import Batch, Seen, mean
from learners.lib.distributions import masked
from learners.lib.mlp import MLP
from learners.lib.networks import Policy

Values = tuple[
    Tensor, Tensor
]  # Q of the actions that were taken, (L, B, N), and V of all rows, (L + 1, B, N)


class SoftQ(nn.Module):
    """Soft values of discrete actions; `policy` samples from their softmax."""

    def __init__(self, policy: Policy, temperature: float):
        super().__init__()
        self.policy, self.temperature = policy, temperature

    def of_actions(self, batch: Batch) -> Tensor:
        """Values of all own actions, (L + 1, B, N, A); very low where an action is forbidden."""
        rows, nothing = batch.rows, torch.zeros_like(batch.actions[:1])
        memory = rows.observations.new_zeros(*batch.actions.shape[1:3], self.policy.memory_size)
        actions = torch.cat([batch.actions, nothing])
        out, _ = self.policy.unroll(rows.observations, memory, rows.participation, actions=actions)
        return masked(out, rows.action_mask) * self.temperature

    def values(self, batch: Batch, rng: torch.Generator | None = None) -> list[Values]:
        """One pair of Q and V. `rng` is not used."""
        q = self.of_actions(batch)
        v = self.temperature * torch.logsumexp(q / self.temperature, -1)
        return [(q[:-1].gather(-1, batch.actions.unsqueeze(-1)).squeeze(-1), v)]

    @torch.no_grad()
    def entropy(self, batch: Batch, counts: Tensor) -> float:
        """Mean entropy of the policy where `counts`, bool (L, B, N)."""
        logs = torch.log_softmax(self.of_actions(batch)[:-1] / self.temperature, -1)
        return float(mean(-(logs.exp() * logs).sum(-1), counts))


class Critics(nn.Module):
    """Values of continuous actions: a network per group of agents, from an agent's observation and action."""

    def __init__(self, policy: Policy, hidden: tuple[int, ...]):
        super().__init__()
        self.seats, self.outputs = policy.seats, policy.outputs
        widths = zip(policy.seats.widths, policy.outputs, strict=True)
        self.networks: Any = nn.ModuleList(MLP([d + n, *hidden, 1]) for d, n in widths)

    def forward(self, observations: Tensor, actions: Tensor) -> Tensor:
        """Values (B, N) of actions (B, N, A)."""
        values = actions.new_empty(actions.shape[:2])
        for g, network in enumerate(self.networks):
            own = self.seats.rows(g, actions)[:, : self.outputs[g]]
            x = torch.cat([self.seats.inputs(g, observations), own], 1)
            values[:, self.seats.members[g]] = network(x).view(len(actions), -1)
        return values

    def normalize_with(self, observations: Tensor) -> None:
        """Fix the normalization of the observations, (B, N, D); that of actions and agents passes through."""
        for g, network in enumerate(self.networks):
            rows = self.seats.rows(g, observations)[:, : self.seats.dims[g]]
            tail = network.layers[0].in_features - self.seats.dims[g]
            network.normalize_with(rows, tail)


class SoftActorCritic(nn.Module):
    """Soft values of continuous actions: one or two critics and the policy.

    Gradients of `values` are those of the critics; `policy_loss` trains the policy.
    """

    def __init__(self, policy: Policy, critics: int, hidden: tuple[int, ...], temperature: float):
        super().__init__()
        self.policy, self.temperature = policy, temperature
        self.critics: Any = nn.ModuleList(Critics(policy, hidden) for _ in range(critics))

    def draw(self, observations: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """The policy's actions (B, N, A), padded with zeros, and their log-likelihoods (B, N), differentiable."""
        policy, B = self.policy, len(observations)
        actions = observations.new_zeros(B, len(policy.groups), policy.num_actions)
        logs = observations.new_zeros(B, len(policy.groups))
        for g, network in enumerate(policy.networks):
            out, members, n = (
                network(policy.inputs(g, observations)),
                policy.members[g],
                policy.outputs[g],
            )
            chosen = policy.distribution.choose(network, out, None, rng)
            log_prob, _ = policy.distribution.log_prob(network, out, chosen, None)
            actions[:, members, :n] = chosen.view(B, -1, n)
            logs[:, members] = log_prob.view(B, -1)
        return actions, logs

    def values(self, batch: Batch, rng: torch.Generator) -> list[Values]:
        """A pair of Q and V per critic."""
        everything, (L, B) = batch.rows.observations.flatten(0, 1), batch.filled.shape
        with torch.no_grad():
            drawn, logs = self.draw(everything, rng)
        before, taken = batch.seen.observations.flatten(0, 1), batch.actions.flatten(0, 1)
        found = []
        for critic in self.critics:
            both = critic(torch.cat([before, everything]), torch.cat([taken, drawn]))
            q, v = both[: L * B], both[L * B :] - self.temperature * logs
            found.append((q.view(L, B, -1), v.view(L + 1, B, -1)))
        return found

    def policy_loss(self, seen: Seen, counts: Tensor, rng: torch.Generator) -> tuple[Tensor, float]:
        """E[temperature * log pi - Q] where `counts`, bool (L, B, N), and the mean entropy there."""
        observations = seen.observations.flatten(0, 1)
        actions, logs = self.draw(observations, rng)
        q = torch.stack([critic(observations, actions) for critic in self.critics]).amin(0)
        where = counts.flatten(0, 1)
        return mean(self.temperature * logs - q, where), -float(mean(logs.detach(), where))
