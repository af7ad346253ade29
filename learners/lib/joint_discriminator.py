"""The discriminator of MILD²: a transformer that judges all agents' observations and actions together.

An encoder sees the observations of all agents, a decoder their actions; unlike that of MAT it is not masked, because
all actions are known. Every agent gets a score; a high one means "expert". Agents that do not count in a round, because
they are absent or dead, are masked in attention: nobody attends to them, and their own scores mean nothing.
"""

from __future__ import annotations

from typing import Any, Literal, Self

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize

from learners.lib.mlp import MLP, standardizer
from learners.lib.networks import groups_of
from learners.lib.transformer import attended, linear

AttentionKind = Literal["l2", "dot"]
INPUT_LIMIT = 5.0  # standardized observations are clipped to +- this: no extrapolation far from the demonstrations


class PairInputs(nn.Module):
    """Observations, standardized by those of the demonstrations, and actions, one-hot if they are discrete.

    Args:
        groups: agents of a group are standardized alike, (N,).
        observation_dims, action_dims: of every agent, (N,).
        discrete: whether actions are discrete.
    """

    def __init__(
        self, groups: list[int], observation_dims: list[int], action_dims: list[int], discrete: bool
    ):
        super().__init__()
        self.groups, self.discrete = groups, discrete
        self.observation_dims, self.action_dims = observation_dims, action_dims
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.zeros(len(groups), max(observation_dims)))
        self.register_buffer("std", torch.ones(len(groups), max(observation_dims)))

    @classmethod
    def of(cls, vec: Any) -> Self:
        dims, actions = list(vec.observation_dims), list(vec.action_dims)
        return cls(groups_of(vec, "role"), dims, actions, bool(vec.discrete))

    def normalize_with(self, observations: Tensor, counts: Tensor) -> None:
        """Standardize by observations (B, N, D), where `counts`, bool (B, N), is true."""
        for g in set(self.groups):
            members = [i for i, k in enumerate(self.groups) if k == g]
            rows = observations[:, members][counts[:, members]]
            if len(rows) > 1:
                mean, std = standardizer(rows.to(self.mean.device))
                self.mean[members], self.std[members] = mean, std

    def forward(self, observations: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        """What networks see: (B, N, D) and (B, N, A); 0 in columns that an agent does not have."""
        seen = ((observations - self.mean) / self.std).clamp(-INPUT_LIMIT, INPUT_LIMIT)
        own = torch.arange(seen.shape[2], device=seen.device)
        dims = torch.tensor(self.observation_dims, device=seen.device).unsqueeze(1)
        if self.discrete:
            actions = nn.functional.one_hot(actions, max(self.action_dims))
        return seen.masked_fill(own >= dims, 0.0), actions.to(seen.dtype)


class IndependentDiscriminator(nn.Module):
    """An ablation: one network per agent, which sees the agent's own observation and action."""

    def __init__(self, pairs: PairInputs, width: int):
        super().__init__()
        self.sizes = list(zip(pairs.observation_dims, pairs.action_dims, strict=True))
        self.networks: Any = nn.ModuleList(MLP([d + a, width, width, 1]) for d, a in self.sizes)

    def forward(self, seen: Tensor, done: Tensor, counts: Tensor) -> Tensor:
        """Scores (B, N); the arguments are those of `JointDiscriminator`."""
        rows = (
            torch.cat([seen[:, i, :d], done[:, i, :a]], 1) for i, (d, a) in enumerate(self.sizes)
        )
        return torch.cat([network(x) for network, x in zip(self.networks, rows, strict=True)], 1)


class SingleDiscriminator(nn.Module):
    """One network for the team: it sees all observations and actions at once, and gives all agents the same score.

    Agents that do not count are zeros, and are flagged.
    """

    def __init__(self, pairs: PairInputs, width: int):
        super().__init__()
        size = max(pairs.observation_dims) + max(pairs.action_dims) + 1
        self.network = MLP([size * len(pairs.groups), width, width, 1])

    def forward(self, seen: Tensor, done: Tensor, counts: Tensor) -> Tensor:
        """Scores (B, N); the arguments are those of `JointDiscriminator`."""
        flags = counts.unsqueeze(2)
        x = torch.cat([seen * flags, done * flags, flags.to(seen.dtype)], 2)
        return self.network(x.flatten(1)).expand(-1, counts.shape[1])


class JointDiscriminator(nn.Module):
    """Scores of N agents from all their observations and actions.

    Args:
        pairs: sizes of the inputs; agents of a group share the embedding of their observations.
        width: of all layers, H. blocks: of encoder and decoder, each. heads: of every attention; divides `width`.
        attention: l2: agents attend to those that are like them (Kim et al., 2021); dot: as in MAT.
        spectral: spectral normalization of all layers, see `bounded`.
        agent_id: agents are told apart by a one-hot index; otherwise swapping two agents of a group swaps their scores.
    """

    def __init__(
        self,
        pairs: PairInputs,
        width: int = 64,
        blocks: int = 1,
        heads: int = 1,
        attention: AttentionKind = "l2",
        spectral: bool = True,
        agent_id: bool = True,
    ):
        super().__init__()
        self.groups, self.dims, self.agent_id = pairs.groups, pairs.observation_dims, agent_id
        N = len(self.groups)
        sizes = [
            self.dims[self.groups.index(g)] + N * agent_id for g in range(max(self.groups) + 1)
        ]
        self.embeddings: Any = nn.ModuleList(embedding(size, width) for size in sizes)
        self.actions = embedding(max(pairs.action_dims), width)
        self.encoder: Any = nn.ModuleList(
            Block(width, [Attention(width, heads, attention)]) for _ in range(blocks)
        )
        self.decoder: Any = nn.ModuleList(
            Block(width, [Attention(width, heads, attention) for _ in range(2)])
            for _ in range(blocks)
        )
        self.head = nn.Sequential(
            linear(width, width), nn.GELU(), nn.LayerNorm(width), linear(width, 1, 1.0)
        )
        if spectral:
            for layer in [x for x in self.modules() if isinstance(x, nn.Linear)]:
                bounded(layer)

    def forward(self, seen: Tensor, done: Tensor, counts: Tensor) -> Tensor:
        """Scores (B, N).

        Args:
            seen: observations (B, N, D), as `PairInputs` gives them.
            done: actions (B, N, A), the same.
            counts: which agents count, bool (B, N).
        """
        with (
            parametrize.cached()
        ):  # one step of power iteration per call, also for weights that are used twice
            allowed = attended(counts)
            x = self._embedded(seen)
            for block in self.encoder:
                x = block(x, x, allowed)
            y = self.actions(done)
            for block in self.decoder:
                y = block(y, x, allowed)
            return self.head(y).squeeze(2)

    def _embedded(self, seen: Tensor) -> Tensor:
        identity = torch.eye(len(self.groups), dtype=seen.dtype, device=seen.device)
        parts = []
        for i, (g, size) in enumerate(zip(self.groups, self.dims, strict=True)):
            own = [seen[:, i, :size], identity[i].expand(len(seen), -1)]
            parts.append(self.embeddings[g](torch.cat(own[: 1 + self.agent_id], 1)))
        return torch.stack(parts, 1)


class Block(nn.Module):
    """Attention among the inputs, then by the representations if there is a second one; a small network."""

    def __init__(self, width: int, attentions: list[nn.Module]):
        super().__init__()
        self.attentions: Any = nn.ModuleList(attentions)
        self.mlp = nn.Sequential(linear(width, width), nn.GELU(), linear(width, width, 1.0))
        self.norms: Any = nn.ModuleList(nn.LayerNorm(width) for _ in range(len(attentions) + 1))

    def forward(self, x: Tensor, representations: Tensor, allowed: Tensor) -> Tensor:
        """(B, N, H), (B, N, H) -> (B, N, H); `allowed`: bool (B, N, N)."""
        x = self.norms[0](x + self.attentions[0](x, x, allowed))
        if len(self.attentions) > 1:
            mixed = self.attentions[1](representations, x, allowed)
            x = self.norms[1](representations + x + mixed)  # x: who did what, see above
        return self.norms[-1](x + self.mlp(x))


class Attention(nn.Module):
    """Multi-head attention of L positions to M positions.

    With kind="l2" queries and keys have the same projection, and scores are minus their squared distances: unlike dot
    products, these do not grow without bound where both are long.
    """

    def __init__(self, width: int, heads: int, kind: AttentionKind):
        super().__init__()
        self.heads, self.kind, self.scale = heads, kind, (width // heads) ** -0.5
        self.query = linear(width, width, 1.0)
        self.key = self.query if kind == "l2" else linear(width, width, 1.0)
        self.value, self.out = linear(width, width, 1.0), linear(width, width, 1.0)

    def weights(self, x: Tensor, seen: Tensor, allowed: Tensor) -> Tensor:
        """Attention weights, (B, heads, L, M)."""
        q, k = self._parts(self.query(x)), self._parts(self.key(seen))
        scores = q @ k.mT
        if self.kind == "l2":
            scores = 2 * scores - q.square().sum(-1, True) - k.square().sum(-1).unsqueeze(-2)
        hidden = ~allowed.unsqueeze(1)
        return torch.softmax((scores * self.scale).masked_fill(hidden, -1e10), -1)

    def forward(self, x: Tensor, seen: Tensor, allowed: Tensor) -> Tensor:
        """From x (B, L, H) and seen (B, M, H) to (B, L, H); `allowed`: bool (B, L, M)."""
        mixed = self.weights(x, seen, allowed) @ self._parts(self.value(seen))
        return self.out(mixed.transpose(1, 2).flatten(2))

    def _parts(self, x: Tensor) -> Tensor:
        """(B, L, H) -> (B, heads, L, H / heads)."""
        return x.unflatten(2, (self.heads, -1)).transpose(1, 2)


class Scale(nn.Module):
    """Multiplies a weight by a constant."""

    def __init__(self, factor: Tensor):
        super().__init__()
        self.factor: Tensor
        self.register_buffer("factor", factor)

    def forward(self, weight: Tensor) -> Tensor:
        return weight * self.factor


def bounded(layer: nn.Linear) -> None:
    """Keep the layer's largest singular value at that of its initial weights (as in ViTGAN, Lee et al., 2022).

    It is estimated by a step of power iteration at every use in training mode.
    """
    initial = torch.linalg.matrix_norm(layer.weight.detach(), 2)
    parametrizations.spectral_norm(layer)
    parametrize.register_parametrization(layer, "weight", Scale(initial))


def embedding(inputs: int, width: int) -> nn.Sequential:
    """The network that turns an observation or action into a token."""
    return nn.Sequential(linear(inputs, width), nn.GELU(), nn.LayerNorm(width))
