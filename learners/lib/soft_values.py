"""Soft values of agents: Q(o, a) of the actions they took, and V(o) of what they would do, for inverse Q-learning.

    V(o) = temperature * log sum_a exp(Q(o, a) / temperature)             discrete actions, allowed ones only
    V(o) = E[Q(o, a) - temperature * log pi(a | o)],  a ~ pi(. | o)       continuous actions, one sample
    V(o) = temperature * log integral exp(Q(o, a) / temperature) da       continuous actions, Langevin samples

`SoftQ`: the outputs of the policy's networks are Q / temperature, so the policy is their softmax: the same network is
values and policy. `SoftActorCritic`: critics, and a policy that is trained to be the softmax of the first critic's
values (the smaller ones of two critics). `SoftEnergy`: critics alone, whose softmax is sampled.

`SoftQ` and `SoftEnergy` also take weights of the agents' values, between 0 and 1, which stand inside the soft maximum:
Q and V are then those of weight * Q.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from learners.lib.batch import Batch, Seen, mean
from learners.lib.distributions import masked
from learners.lib.langevin import annealed, with_slope
from learners.lib.mlp import MLP
from learners.lib.networks import Policy

Values = tuple[
    Tensor, Tensor
]  # Q of the actions that were taken, (L, B, N), and V of all rows, (L + 1, B, N)

SMALLEST = -80.0  # exponent; float32 underflows at -87
ROWS = 4096  # whose actions are sampled at once


def soft_maximum(q: Tensor, temperature: float) -> Tensor:
    """Soft maximum over the last dimension: temperature * log sum exp(q / temperature).

    torch's own is 40 times as slow on a CPU where an exponential underflows, as those of forbidden actions do.
    """
    top = q.detach().amax(-1, keepdim=True)
    below = ((q - top) / temperature).clamp(min=SMALLEST)
    return top.squeeze(-1) + temperature * below.exp().sum(-1).log()


class SoftQ(nn.Module):
    """Soft values of discrete actions; `policy` samples from their softmax."""

    def __init__(self, policy: Policy, temperature: float):
        super().__init__()
        self.policy, self.temperature = policy, temperature

    def of_actions(self, batch: Batch, where: Tensor | None = None) -> Tensor:
        """Values of all own actions, (L + 1, B, N, A); very low where an action is forbidden.

        Without a memory they are computed where agents live, or in the rows `where`, bool (L + 1, B, N); others are 0.
        """
        rows, policy = batch.rows, self.policy
        if not policy.memory_size:
            where = rows.alive if where is None else where
            out = policy.outputs_where(rows.observations.flatten(0, 1), where.flatten(0, 1))
            out = out.unflatten(0, where.shape[:2])
        else:
            actions = torch.cat([batch.actions, torch.zeros_like(batch.actions[:1])])
            memory = rows.observations.new_zeros(*batch.actions.shape[1:3], policy.memory_size)
            out, _ = policy.unroll(rows.observations, memory, rows.participation, actions=actions)
        return masked(out, rows.action_mask) * self.temperature

    def values(
        self, batch: Batch, rng: torch.Generator | None = None, weights: Tensor | None = None
    ) -> list[Values]:
        """One pair of Q and V of the agents that act, with weights (L + 1, B, N, 1). `rng` is not used."""
        q = self.of_actions(batch, batch.rows.acts)
        if weights is not None:
            q = masked(q * weights, batch.rows.action_mask)
        taken = q[:-1].gather(-1, batch.actions.unsqueeze(-1)).squeeze(-1)
        return [(taken, soft_maximum(q, self.temperature))]

    @torch.no_grad()
    def entropy(self, batch: Batch, counts: Tensor) -> float:
        """Mean entropy of the policy where `counts`, bool (L, B, N)."""
        logs = torch.log_softmax(self.of_actions(batch)[:-1] / self.temperature, -1)
        return float(mean(-(logs.exp() * logs).sum(-1), counts))


class Critics(nn.Module):
    """Values of continuous actions: a network per group of agents, from an agent's observation and action.

    `policy`: any with `seats` and `outputs`; its own networks are not used.
    """

    def __init__(self, policy: Any, hidden: tuple[int, ...]):
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


class SoftEnergy(nn.Module):
    """Soft values of continuous actions, in units of half their range, and `policy`, which takes the best ones.

    V and its gradient are estimated from the same chains, which sample exp(weight * Q / temperature), see
    `learners.lib.langevin`: V is temperature * log of the integral that they estimate, and its gradient is that of Q at
    their ends, averaged with the chains' weights.

    Args:
        policy: an `EnergyPolicy`.
        temperature: of the soft values.
        samples, steps: number of chains for a value, and of their steps.
    """

    def __init__(self, policy: Any, temperature: float, samples: int, steps: int):
        super().__init__()
        self.policy, self.temperature = policy, temperature
        self.samples, self.steps = samples, steps
        self.log_volume = math.log(2) * torch.tensor(policy.action_dims)

    def chains(
        self, observations: Tensor, weights: Tensor, rng: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Actions (K, B, N, A), and logarithms of the chains' weights (K, B, N), without gradient.

        Args:
            observations: (B, N, D).
            weights: of the agents' values, (B, N).
            rng: on their device.
        """
        scale = (weights / self.temperature).detach()

        def f(units: Tensor) -> Tensor:
            return scale * self.policy.values(observations, units)

        shape = (self.samples, *weights.shape)
        return annealed(f, self.policy.own, shape, self.steps, rng)

    @torch.inference_mode(False)  # chains need gradients
    @torch.no_grad()
    def draw(self, observations: Tensor, weights: Tensor, rng: torch.Generator) -> Tensor:
        """One action of the game for every agent, (B, N, A): the end of one of its chains, chosen by their weights."""
        units, logs = self.chains(observations, weights, rng)
        noise = torch.empty_like(logs).exponential_(generator=rng).log_()
        chosen = (logs - noise).argmax(0)[None, ..., None].expand(1, -1, -1, units.shape[-1])
        return self.policy.in_game(units.gather(0, chosen)[0])

    def soft_values(self, observations: Tensor, weights: Tensor, rng: torch.Generator) -> Tensor:
        """V (B, N); the arguments are those of `chains`."""
        units, logs = self.chains(observations, weights, rng)
        q = weights * self.policy.values(observations, units)
        integral = torch.logsumexp(logs, 0) - math.log(len(logs)) + self.log_volume.to(logs)
        average = (torch.softmax(logs, 0) * (q - q.detach())).sum(0)  # 0, with V's gradient
        return self.temperature * integral + average

    def values(
        self, batch: Batch, rng: torch.Generator, weights: Tensor | None = None
    ) -> list[Values]:
        """One pair of Q and V, with weights (L + 1, B, N, 1)."""
        observations, (L, B) = batch.rows.observations, batch.filled.shape
        factors = observations.new_ones((L + 1, B, *observations.shape[2:-1], 1))
        if weights is not None:
            factors = factors * weights
        parts = zip(
            observations.flatten(0, 1).split(ROWS), factors.flatten(0, 1).squeeze(-1).split(ROWS),
            strict=True,
        )  # fmt: skip
        v = torch.cat([self.soft_values(o, w, rng) for o, w in parts]).view(L + 1, B, -1)
        taken = self.policy.units(batch.actions)
        q = self.policy.critics(observations[:-1].flatten(0, 1), taken.flatten(0, 1))
        return [(factors[:-1].squeeze(-1) * q.view(L, B, -1), v)]

    def slopes(self, batch: Batch, rng: torch.Generator) -> Tensor:
        """Lengths of Q's gradients in the actions that were taken, and in random ones: (2, L, B, N), differentiable."""
        taken = self.policy.units(batch.actions)
        anywhere = 2 * torch.rand(taken.shape, generator=rng, device=taken.device) - 1
        units = torch.stack([taken, anywhere * self.policy.own]).flatten(1, 2)
        observations = batch.seen.observations.flatten(0, 1)
        _, found = with_slope(lambda u: self.policy.values(observations, u), units, graph=True)
        return (found.square().sum(-1) + 1e-12).sqrt().view(2, *batch.actions.shape[:-1])
