"""Discriminator networks: which agents' observations and actions one network sees."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from learners.lib.mlp import MLP
from learners.lib.networks import Policy, own_columns

Architecture = Literal["decentralized", "centralized", "single"]


class Discriminator(nn.Module):
    """Logits of (observation, action) pairs; a high logit means "expert".

    decentralized: one network per group of agents; input: the agent's own observation and action.
    centralized: one network for all agents; input: all agents' observations and actions; one logit per agent.
    single: as centralized, but one logit for all agents.

    Discrete actions are encoded one-hot. In centralized and single networks the action of an agent that
    does not participate is all zeros. The last inputs flag agents in an absorbing state (see
    `learners.lib.occupancy`), where they have no action.
    """

    def __init__(self, kind: Architecture, policy: Policy, hidden: tuple[int, ...]):
        super().__init__()
        self.kind, self.policy_rows = kind, policy.rows
        self.dims, self.group_dims = policy.observation_dims, policy.dims
        self.members, self.outputs = policy.members, policy.outputs
        self.discrete, self.num_actions = policy.discrete, policy.num_actions
        self.columns = own_columns(policy.action_dims, policy.num_actions)
        if kind == "decentralized":
            self.tails = [n + 1 for n in policy.outputs]
            shapes = [(d + n, 1) for d, n in zip(policy.dims, self.tails, strict=True)]
        else:
            self.tails = [sum(policy.action_dims) + len(self.dims)]
            outputs = len(self.dims) if kind == "centralized" else 1
            shapes = [(sum(self.dims) + self.tails[0], outputs)]
        self.networks: Any = nn.ModuleList(MLP([size, *hidden, out]) for size, out in shapes)

    def normalize_with(self, observations: Tensor, limit: float | None = None) -> None:
        """Fix the normalization of the observation inputs from the expert's (B, N, D), clipped."""
        if self.kind == "decentralized":
            for g, network in enumerate(self.networks):
                rows = self.policy_rows(g, observations)[:, : self.group_dims[g]]
                network.normalize_with(rows, self.tails[g], limit)
        else:
            rows = torch.cat([observations[:, i, :d] for i, d in enumerate(self.dims)], 1)
            self.networks[0].normalize_with(rows, self.tails[0], limit)

    def inputs(
        self,
        g: int,
        observations: Tensor,
        actions: Tensor,
        participation: Tensor,
        absorbing: Tensor,
    ) -> Tensor:
        """Input rows of network g from (B, N, D), (B, N[, A]), bool (B, N) and bool (B, N)."""
        if self.discrete:
            choices = torch.arange(self.num_actions, device=actions.device)
            actions = (actions.unsqueeze(-1) == choices).to(observations.dtype)
        actions = actions * ~absorbing.unsqueeze(-1)
        flags = absorbing.to(observations.dtype)
        if self.kind == "decentralized":
            seen = self.policy_rows(g, observations)[:, : self.group_dims[g]]
            done = self.policy_rows(g, actions)[:, : self.outputs[g]]
            return torch.cat([seen, done, self.policy_rows(g, flags).unsqueeze(1)], 1)
        seen = [observations[:, i, :d] for i, d in enumerate(self.dims)]
        done = (actions * participation.unsqueeze(-1)).flatten(1)
        done = done if self.columns is None else done[:, self.columns]
        return torch.cat([*seen, done, flags], 1)

    def weights(self, g: int, weights: Tensor) -> Tensor:
        """Weights of network g's logits, (rows, outputs), from those of the pairs, (B, N)."""
        if self.kind == "decentralized":
            return self.policy_rows(g, weights).unsqueeze(1)
        return weights if self.kind == "centralized" else weights.mean(1, keepdim=True)

    def put(self, g: int, result: Tensor, weights: Tensor, values: Tensor) -> None:
        """Write values (rows, outputs) of network g's rows that count into result (B, N)."""
        counts = (self.weights(g, weights) > 0).any(1)
        if self.kind == "decentralized":
            members = self.members[g]
            own = result.new_zeros(len(counts)).masked_scatter(counts, values)
            result[:, members] = own.view(-1, len(members))
        else:
            result[counts] = values.expand(-1, result.shape[1])
            result.masked_fill_(weights == 0, 0.0)

    def forward(
        self,
        observations: Tensor,
        actions: Tensor,
        participation: Tensor,
        absorbing: Tensor,
    ) -> Tensor:
        """One logit per agent, (B, N)."""
        x = (observations, actions, participation, absorbing)
        B, N = observations.shape[:2]
        if self.kind != "decentralized":
            return self.networks[0](self.inputs(0, *x)).expand(B, N)
        logits = observations.new_empty(B, N)
        for g, network in enumerate(self.networks):
            logits[:, self.members[g]] = network(self.inputs(g, *x)).view(B, -1)
        return logits
