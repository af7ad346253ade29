"""The Multi-Agent Transformer (Wen et al., 2022): one policy that acts for the whole team.

An encoder turns the observations of all agents into representations, from which every agent's value is predicted. A
decoder chooses the actions one agent after the other, each given the representations and the actions of the agents
before it. Training feeds it the actions that were taken, for all agents at once (teacher forcing).

Agents that do not act in a round, because they are absent or dead, are masked: nobody attends to them, and the decoder
skips their actions. Their own values are predicted from their own observation and the agents that act.
"""

from __future__ import annotations

import math
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn

from demos.actions import own_actions
from learners.lib.distributions import DISTRIBUTIONS, Source
from learners.lib.networks import groups_of
from learners.lib.time_limit import time_inputs

Name = Literal["categorical", "gaussian", "sigmoid_gaussian"]
SMALL = 0.01  # scale of the initial weights of residual branches and heads


class TransformerPolicy(nn.Module):
    """Actions and values of N agents, in the order of the game's agents.

    Args:
        groups: agents of a group share the embedding of their observations, (N,).
        observation_dims: length of every agent's observation, (N,); equal within a group.
        action_dims: every agent's number of discrete actions, or of components of continuous ones, (N,).
        distribution: of the actions, see `learners.lib.distributions`.
        width: of all layers, H. blocks: of encoder and decoder, each. heads: of every attention; divides `width`.
        encoder: False: representations are embedded observations, and values are predicted from the decoder's
            outputs. decoder: False: actions are chosen from the representations, independently of each other.
        time_input: values also depend on the remaining time, see `learners.lib.time_limit`.
    """

    joint = True
    memory_size = 0

    def __init__(
        self,
        groups: list[int],
        observation_dims: list[int],
        action_dims: list[int],
        distribution: Name,
        width: int = 64,
        blocks: int = 1,
        heads: int = 1,
        encoder: bool = True,
        decoder: bool = True,
        time_input: bool = False,
    ):
        super().__init__()
        self.distribution_name, self.distribution = distribution, DISTRIBUTIONS[distribution]()
        self.discrete = self.distribution.discrete
        self.groups, self.observation_dims = list(groups), list(observation_dims)
        self.action_dims, self.num_actions = list(action_dims), max(action_dims)
        self.width, self.blocks, self.heads = width, blocks, heads
        self.has_encoder, self.has_decoder, self.time_input = encoder, decoder, time_input
        N, A = len(groups), self.num_actions
        sizes = [observation_dims[groups.index(g)] + N for g in range(max(groups) + 1)]
        self.embeddings: Any = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(size), linear(size, width), nn.GELU(), nn.LayerNorm(width))
            for size in sizes
        )
        self.encoder: Any = nn.ModuleList(
            EncoderBlock(width, heads) for _ in range(blocks * encoder)
        )
        self.value_head: Any = head(width + time_input, width, 1)
        if decoder:  # a discrete token has one more number, set if no agent has acted before
            first = nn.Linear(A + 1, width, bias=False) if self.discrete else nn.Linear(A, width)
            nn.init.orthogonal_(first.weight, math.sqrt(2))
            self.tokens = nn.Sequential(first, nn.GELU(), nn.LayerNorm(width))
        self.decoder: Any = nn.ModuleList(
            DecoderBlock(width, heads) for _ in range(blocks * decoder)
        )
        self.action_head = head(width, width, self.distribution.width(A))
        self.log_std = None
        if self.distribution.has_log_std:
            self.log_std = nn.Parameter(torch.full((A,), float(self.distribution.initial)))

    @classmethod
    def of(cls, vec: Any, **form: Any) -> Self:
        """A policy for a game; `form`: more arguments of the class."""
        groups = groups_of(vec, "role")
        kind: Name = "categorical" if vec.discrete else "sigmoid_gaussian"
        dims, actions = list(vec.observation_dims), list(vec.action_dims)
        return cls(groups, dims, actions, kind, **form, time_input=bool(time_inputs(vec)))

    def form(self) -> dict[str, Any]:
        """What policy files say of the architecture, see `learners.lib.architectures`."""
        return {
            "architecture": "mat",
            "groups": self.groups,
            "observation_dims": self.observation_dims,
            "action_dims": self.action_dims,
            "distribution": self.distribution_name,
            "width": self.width,
            "blocks": self.blocks,
            "heads": self.heads,
            "encoder": self.has_encoder,
            "decoder": self.has_decoder,
            "time_input": self.time_input,
        }

    # ---------------------------------------------------------------------------------------- acting
    def act(
        self,
        observations: Tensor,
        mask: Tensor | None,
        rng: Source,
        memory: Tensor | None = None,
        acts: Tensor | None = None,
    ) -> Tensor:
        """Actions (E, N[, A]), chosen one agent after the other; the arguments are those of `Policy.act`.

        `acts` None: all agents act. There is no memory.
        """
        acts = self._all(observations) if acts is None else acts
        allowed = attended(acts)
        representations = self._represent(observations, allowed)
        token = self._first_token(observations)
        earlier: list[Any] = [None] * len(self.decoder)
        actions, owned = [], self._own(observations)
        for i in range(len(self.groups)):
            out = representations[:, i : i + 1]
            if self.has_decoder:
                x = self.tokens(token).unsqueeze(1)
                for k, block in enumerate(self.decoder):
                    x, earlier[k] = block(x, out, allowed[:, i : i + 1, : i + 1], earlier[k])
                out = x
            own = owned[i]
            legal = own.expand(len(out), -1) if mask is None else mask[:, i].bool() & own
            draws = rng[:, i] if isinstance(rng, Tensor) else rng
            chosen = self.distribution.choose(self, self.action_head(out)[:, 0], legal, draws)
            actions.append(chosen if self.discrete else chosen * own)
            token = self._next_token(token, actions[i], acts[:, i])
        return torch.stack(actions, 1)

    # -------------------------------------------------------------------------------------- learning
    def outputs(
        self, observations: Tensor, acts: Tensor, actions: Tensor | None, left: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The distribution's outputs (B, N, W) and values (B, N) of all agents at once.

        Args:
            observations: (B, N, D).
            acts: bool (B, N).
            actions: the actions that were taken, (B, N[, A]); agent i's output depends on those before i. None: all
                zero, for the values of an encoder, which do not depend on them.
            left: the remaining fraction of the time limit, (B, 1) with `time_input`, else (B, 0).
        """
        allowed = attended(acts)
        out = valued = self._represent(observations, allowed)
        if self.has_decoder and (actions is not None or not self.has_encoder):
            if actions is None:
                raise TypeError("without an encoder, values depend on the actions")
            x = self.tokens(self._tokens(observations, acts, actions))
            for block in self.decoder:
                x, _ = block(x, out, allowed.tril())
            out = x
            valued = valued if self.has_encoder else out
        times = left.to(out.dtype).unsqueeze(1).expand(-1, out.shape[1], -1)
        return self.action_head(out), self.value_head(torch.cat([valued, times], 2)).squeeze(2)

    def log_prob(self, out: Tensor, actions: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """Log-likelihoods and entropies of every component, (B, N, A), or (B, N, 1) of discrete actions.

        Those of components that an agent does not have are 0.
        """
        own = self._own(out)
        legal = own.expand(len(out), -1, -1) if mask is None else mask.bool() & own
        flat = (x.flatten(0, 1) for x in (out, actions, legal))
        found = self.distribution.log_prob(self, *flat, each=True)
        log_prob, entropy = (x.unflatten(0, out.shape[:2]) for x in found)
        return (log_prob, entropy) if self.discrete else (log_prob * own, entropy * own)

    # ----------------------------------------------------------------------------------------- parts
    def _all(self, observations: Tensor) -> Tensor:
        return torch.ones(observations.shape[:2], dtype=torch.bool, device=observations.device)

    def _own(self, like: Tensor) -> Tensor:
        """The actions or components that agents have, bool (N, A)."""
        return torch.as_tensor(own_actions(self.action_dims), device=like.device).bool()

    def _represent(self, observations: Tensor, allowed: Tensor) -> Tensor:
        """Representations (B, N, H) of observations (B, N, D)."""
        identity = torch.eye(len(self.groups), dtype=observations.dtype, device=observations.device)
        parts = []
        for i, (g, size) in enumerate(zip(self.groups, self.observation_dims, strict=True)):
            seen = [observations[:, i, :size], identity[i].expand(len(observations), -1)]
            parts.append(self.embeddings[g](torch.cat(seen, 1)))
        x = torch.stack(parts, 1)
        for block in self.encoder:
            x = block(x, allowed)
        return x

    def _first_token(self, like: Tensor) -> Tensor:
        """What the decoder sees of the actions before the first agent that acts: (B, A + 1) or (B, A)."""
        token = like.new_zeros((len(like), self.num_actions + self.discrete))
        if self.discrete:
            token[:, 0] = 1.0
        return token

    def _next_token(self, token: Tensor, actions: Tensor, acts: Tensor) -> Tensor:
        """The token after an agent: its actions (B[, A]) where it acts, bool (B,), else the same token."""
        if self.discrete:
            taken = nn.functional.one_hot(actions + 1, self.num_actions + 1)
        else:
            taken = actions
        return torch.where(acts.unsqueeze(1), taken.to(token.dtype), token)

    def _tokens(self, observations: Tensor, acts: Tensor, actions: Tensor) -> Tensor:
        """The tokens of all agents, (B, N, A + 1) or (B, N, A)."""
        tokens = [self._first_token(observations)]
        for i in range(len(self.groups) - 1):
            tokens.append(self._next_token(tokens[i], actions[:, i], acts[:, i]))
        return torch.stack(tokens, 1)


def attended(acts: Tensor) -> Tensor:
    """Which agents each agent attends to: those that act, bool (B, N), and itself; bool (B, N, N)."""
    return acts.unsqueeze(1) | torch.eye(acts.shape[1], dtype=torch.bool, device=acts.device)


class Attention(nn.Module):
    """Multi-head attention of L positions to M positions."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        parts = (linear(width, width, SMALL) for _ in range(4))
        self.query, self.key, self.value, self.out = parts

    def forward(self, x: Tensor, seen: Tensor, allowed: Tensor) -> Tensor:
        """From x (B, L, H) and seen (B, M, H) to (B, L, H); `allowed`: bool (B, L, M)."""
        parts = (self.query(x), self.key(seen), self.value(seen))
        q, k, v = (p.unflatten(2, (self.heads, -1)).transpose(1, 2) for p in parts)
        mixed = nn.functional.scaled_dot_product_attention(q, k, v, allowed.unsqueeze(1))
        return self.out(mixed.transpose(1, 2).flatten(2))


class EncoderBlock(nn.Module):
    """Attention to all agents, and a small network for each."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.attention, self.mlp = Attention(width, heads), feed_forward(width)
        self.norms: Any = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))

    def forward(self, x: Tensor, allowed: Tensor) -> Tensor:
        """(B, N, H) -> (B, N, H); `allowed`: bool (B, N, N)."""
        x = self.norms[0](x + self.attention(x, x, allowed))
        return self.norms[1](x + self.mlp(x))


class DecoderBlock(nn.Module):
    """Attention to earlier actions, first among themselves, then by the representations; a small network."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.own, self.cross = Attention(width, heads), Attention(width, heads)
        self.mlp = feed_forward(width)
        self.norms: Any = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))

    def forward(
        self,
        x: Tensor,
        representations: Tensor,
        allowed: Tensor,
        earlier: tuple[Tensor, Tensor] | None = None,
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Outputs (B, L, H) of L successive agents, and what later calls need of these and earlier ones.

        Args:
            x: their tokens, or the outputs of the block before, (B, L, H).
            representations: theirs, (B, L, H).
            allowed: which of these and earlier agents they attend to, bool (B, L, M).
            earlier: the second result of the call for the agents before; None: there are none.
        """
        tokens = x if earlier is None else torch.cat([earlier[0], x], 1)
        x = self.norms[0](x + self.own(x, tokens, allowed))
        mixed = x if earlier is None else torch.cat([earlier[1], x], 1)
        x = self.norms[1](representations + self.cross(representations, mixed, allowed))
        return self.norms[2](x + self.mlp(x)), (tokens, mixed)


def linear(inputs: int, outputs: int, gain: float = math.sqrt(2)) -> nn.Linear:
    """A Linear layer with orthogonal weights and zero bias."""
    layer = nn.Linear(inputs, outputs)
    nn.init.orthogonal_(layer.weight, gain)
    nn.init.zeros_(layer.bias)
    return layer


def feed_forward(width: int) -> nn.Sequential:
    """The network of a block."""
    return nn.Sequential(linear(width, width), nn.GELU(), linear(width, width, SMALL))


def head(inputs: int, width: int, outputs: int) -> nn.Sequential:
    """The network that predicts values or actions."""
    return nn.Sequential(
        linear(inputs, width), nn.GELU(), nn.LayerNorm(width), linear(width, outputs, SMALL)
    )
