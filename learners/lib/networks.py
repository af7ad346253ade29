"""Policies in which every agent acts from its own observation, and agents may share parameters.

Agents with the same role and the same spaces form a *group* and share one network (`share="role"`), or every
agent has its own (`share="none"`), or all share one (`share="all"`). A policy maps observations (E, N, D) to
actions (E, N) for discrete games or (E, N, A) for continuous ones, with one batched forward pass per group.

    Policy.of(vec, args.share, hidden=(64, 64), layer_norm="before", distribution="greedy", recurrent=True)

`learners.lib.architectures` saves policies and reads them again.
"""

from __future__ import annotations

from typing import Any, Literal, Self

import numpy as np
import torch
from torch import Tensor, nn

from demos.actions import action_bounds
from learners.lib.distributions import DISTRIBUTIONS, Name, Source
from learners.lib.mlp import MLP, Activation, Norm

BOUNDED = ("tanh_gaussian", "tanh")  # distributions over the actions between finite bounds

Share = Literal["role", "none", "all"]


def check_finite(agents: list[str], low: np.ndarray, high: np.ndarray) -> None:
    """ValueError naming the first agent whose actions, between low and high (N, A), have no finite bounds."""
    for agent, least, most in zip(agents, low, high, strict=True):
        if not np.isfinite([least, most]).all():
            raise ValueError(
                f"the actions of {agent} range from {least.min():g} to {most.max():g}: this learner's policies need an action "
                "space with finite bounds"
            )


def group_agents(agents: list[str], spaces: list, share: Share) -> list[int]:
    """Group number of each agent; `spaces` are any objects that can be compared.

    `share`: "role", agents with the same role and equal spaces form a group; "none", every agent is its own
    group; "all", there is one group.
    """
    if share == "none":
        return list(range(len(agents)))
    if share == "all":
        if any(space != spaces[0] for space in spaces):
            raise ValueError("share='all' needs agents with equal spaces; choose role")
        return [0] * len(agents)
    kinds: list = []
    for agent, space in zip(agents, spaces, strict=True):
        kind = (agent.rsplit("_", 1)[0], space)
        if kind not in kinds:
            kinds.append(kind)
    return [kinds.index((a.rsplit("_", 1)[0], s)) for a, s in zip(agents, spaces, strict=True)]


def groups_of(vec: Any, share: Share) -> list[int]:
    """Group number of each agent of a game, (N,)."""
    spaces = [(vec.observation_spaces[a], vec.action_spaces[a]) for a in vec.agents]
    return group_agents(list(vec.agents), spaces, share)


class Seats:
    """Which agents share a network, and the rows that they are to it.

    Args:
        groups: group of every agent, (N,).
        observation_dims: length of every agent's observation, (N,); equal within a group.
        agent_id: the agent's one-hot index inside its group follows its observation.

    Attributes:
        members: agents of every group. dims: observed numbers. widths: `dims` and the length of the index.
    """

    def __init__(self, groups: list[int], observation_dims: list[int], agent_id: bool):
        self.members = [[i for i, g in enumerate(groups) if g == k] for k in range(max(groups) + 1)]
        self.dims = [observation_dims[m[0]] for m in self.members]
        self.agent_id = agent_id
        self.widths = [d + len(m) * agent_id for d, m in zip(self.dims, self.members, strict=True)]

    def rows(self, g: int, x: Tensor) -> Tensor:
        """Rows of group g: (B, N, ...) -> (B * members, ...)."""
        members = self.members[g]
        return (x if len(members) == x.shape[1] else x[:, members]).flatten(0, 1)

    def inputs(self, g: int, observations: Tensor, picked: Tensor | None = None) -> Tensor:
        """Observations of group g: (B, N, D) -> (B * members, `widths[g]`), or only rows `picked`, int64 (R,), of these."""
        x, members = self.rows(g, observations), len(self.members[g])
        x = (x if picked is None else x.index_select(0, picked))[:, : self.dims[g]]
        if not self.agent_id:
            return x
        one_hot = torch.eye(members, dtype=x.dtype, device=x.device)
        if picked is None:
            return torch.cat([x, one_hot.repeat(len(observations), 1)], 1)
        return torch.cat([x, one_hot.index_select(0, picked % members)], 1)


class Policy(nn.Module):
    """One network per group of agents: every agent acts from its own observation.

    Agents may have a memory (E, N, M), M = `memory_size`, zeros when an episode begins. It holds the state of the
    GRU of recurrent policies, and with `last_action` the action that the agent took last (one-hot if discrete).
    It changes only in rounds in which its agent acts.

    Args:
        groups: group of every agent, (N,).
        observation_dims: length of every agent's observation, (N,).
        action_dims: every agent's number of discrete actions, or of components of continuous ones, (N,);
            equal within a group. Actions are padded to A, the largest, with zeros.
        discrete: whether actions are discrete.
        hidden: widths of the hidden layers.
        activation: relu or tanh.
        agent_id: append the one-hot index of the agent inside its group to the observation.
        recurrent: a GRU follows the hidden layers.
        gain: scale of the initial weights of the last layer; None: 1 for discrete actions, 0.01 for continuous ones.
        distribution: of the actions, see `learners.lib.distributions`; None: categorical or gaussian. "greedy" makes
            the outputs values of actions.
        layer_norm: see `MLP`.
        last_action: append the agent's last action to the observation.
        bounds: of continuous actions, float32 (N, A) each, for tanh_gaussian and tanh; None: -1 and 1.

    Attributes:
        networks: of the groups. members: agents of every group. dims, outputs: their observed numbers, and their
            actions or components.
        distribution: an object of `learners.lib.distributions`.
        joint: False; joint policies act for the whole team from all observations.
    """

    joint = False

    def __init__(
        self,
        groups: list[int],
        observation_dims: list[int],
        action_dims: list[int],
        discrete: bool = True,
        hidden: tuple[int, ...] = (128, 128),
        activation: Activation = "relu",
        agent_id: bool = False,
        recurrent: bool = False,
        gain: float | None = None,
        *,
        distribution: Name | None = None,
        layer_norm: Norm = "none",
        last_action: bool = False,
        bounds: tuple[Any, Any] | None = None,
    ):
        super().__init__()
        self.distribution_name: Name = distribution or ("categorical" if discrete else "gaussian")
        self.distribution = chosen = DISTRIBUTIONS[self.distribution_name]()
        if chosen.discrete != discrete:
            kind = "discrete" if discrete else "continuous"
            raise ValueError(f"distribution={distribution} cannot choose {kind} actions")
        if gain is None:
            gain = 1.0 if discrete else 0.01
        self.groups, self.observation_dims = list(groups), list(observation_dims)
        self.action_dims, self.num_actions = list(action_dims), max(action_dims)
        self.discrete, self.hidden, self.activation = discrete, tuple(hidden), activation
        self.agent_id, self.last_action, self.layer_norm = agent_id, last_action, layer_norm
        self.gru_size = hidden[-1] if recurrent else 0
        self.memory_size = self.gru_size + self.num_actions * last_action
        self.seats = Seats(groups, observation_dims, agent_id)
        self.members, self.dims = self.seats.members, self.seats.dims
        self.outputs = [action_dims[m[0]] for m in self.members]
        self.tails = [
            len(m) * agent_id + n * last_action
            for m, n in zip(self.members, self.outputs, strict=True)
        ]
        self.networks: Any = nn.ModuleList(
            MLP(
                [d + tail, *hidden, chosen.width(n)],
                gain=gain,
                activation=activation,
                log_std=n if chosen.has_log_std else 0,
                recurrent=recurrent,
                layer_norm=layer_norm,
            )
            for d, tail, n in zip(self.dims, self.tails, self.outputs, strict=True)
        )
        for network, members, n in zip(self.networks, self.members, self.outputs, strict=True):
            if self.distribution_name == "sigmoid_gaussian":
                nn.init.constant_(network.log_std, chosen.initial)
            if self.distribution_name in BOUNDED:
                low, high = (-torch.ones(n), torch.ones(n)) if bounds is None else (
                    torch.as_tensor(x[members[0], :n]).clone() for x in bounds
                )  # fmt: skip
                network.low, network.high = low, high

    @classmethod
    def of(cls, vec: Any, share: Share, **form: Any) -> Self:
        """A policy for a game; `form`: more arguments of `Policy`, such as `hidden`."""
        groups = groups_of(vec, share)
        bounds = None if vec.discrete else action_bounds(vec)
        if bounds is not None and form.get("distribution") in BOUNDED:
            check_finite(vec.agents, *bounds)
        dims, actions = list(vec.observation_dims), list(vec.action_dims)
        return cls(groups, dims, actions, vec.discrete, bounds=bounds, **form)

    def form(self) -> dict[str, Any]:
        """What policy files say of the architecture, see `learners.lib.architectures`."""
        return {
            "architecture": "gru" if self.gru_size else "mlp",
            "groups": self.groups,
            "observation_dims": self.observation_dims,
            "action_dims": self.action_dims,
            "hidden": list(self.hidden),
            "activation": self.activation,
            "layer_norm": self.layer_norm,
            "distribution": self.distribution_name,
            "agent_id": self.agent_id,
            "last_action": self.last_action,
            "normalized": self.networks[0].mean is not None,
        }

    # ------------------------------------------------------------------------------------ row layout
    def rows(self, g: int, x: Tensor) -> Tensor:
        """Rows of group g: (B, N, ...) -> (B * members, ...)."""
        return self.seats.rows(g, x)

    def inputs(self, g: int, observations: Tensor, last: Tensor | None = None) -> Tensor:
        """Network inputs of group g: (B, N, D) -> (B * members, D_g [+ members] [+ A_g]).

        `last`: with `last_action`, the agents' last actions (B, N, A), as in the memory.
        """
        x = self.seats.inputs(g, observations)
        if self.last_action:
            if last is None:
                raise TypeError("a policy that sees its last action needs its memory")
            x = torch.cat([x, self.rows(g, last)[:, : self.outputs[g]]], 1)
        return x

    def normalize_with(self, observations: Tensor) -> None:
        """Fix every group's input normalization from observations (B, N, D)."""
        for g, network in enumerate(self.networks):
            rows = self.rows(g, observations)[:, : self.dims[g]]
            network.normalize_with(rows, tail=self.tails[g])

    # ---------------------------------------------------------------------------------------- acting
    def act(
        self,
        observations: Tensor,
        mask: Tensor | None,
        rng: Source,
        memory: Tensor | None = None,
        acts: Tensor | None = None,
    ) -> Tensor:
        """Actions (E, N[, A]) for observations (E, N, D).

        Args:
            observations: (E, N, D).
            mask: allowed discrete actions, (E, N, A); None: all.
            rng: a generator, to sample; None, for the most likely actions; or standard draws that determine them,
                uniform in [0, 1) of shape (E, N) for discrete actions, normal (E, N, A) for continuous ones.
            memory: (E, N, M), of policies that have one; updated in place.
            acts: which agents act, bool (E, N); needed with a memory.
        """
        parts = []
        for g, network in enumerate(self.networks):
            out = self._outputs(g, observations, memory, acts)
            allowed = None if mask is None else self.rows(g, mask)
            source = self.rows(g, rng) if isinstance(rng, Tensor) else rng
            if self.discrete:
                chosen = self.distribution.choose(network, out, allowed, source)
                parts.append(chosen.view(len(observations), -1))
                continue
            if isinstance(source, Tensor):
                source = source[:, : self.outputs[g]]
            chosen = self.distribution.choose(network, out, allowed, source)
            chosen = nn.functional.pad(chosen, (0, self.num_actions - self.outputs[g]))
            parts.append(chosen.view(len(observations), -1, self.num_actions))
        actions = self._in_order(parts, 1)
        if self.last_action and memory is not None and acts is not None:
            last = memory[..., self.gru_size :]
            last.copy_(torch.where(acts.unsqueeze(-1), self.encoded(actions, last), last))
        return actions

    def _outputs(
        self, g: int, observations: Tensor, memory: Tensor | None, acts: Tensor | None
    ) -> Tensor:
        """Outputs of group g's network for one round; updates the group's GRU states in `memory`."""
        if self.memory_size == 0 or memory is None or acts is None:
            return self.networks[g](self.inputs(g, observations))
        states = memory[..., : self.gru_size]
        inputs = self.inputs(g, observations, memory[..., self.gru_size :])
        acting = self.rows(g, acts).unsqueeze(0)
        out, after = self.networks[g].sequence(inputs.unsqueeze(0), self.rows(g, states), acting)
        if self.gru_size:
            states[:, self.members[g]] = after[0].view(len(memory), -1, self.gru_size)
        return out[0]

    def _in_order(self, parts: list[Tensor], dim: int) -> Tensor:
        """Join the groups' parts along `dim`, with the agents in their order."""
        if len(parts) == 1:
            return parts[0]
        order = [i for members in self.members for i in members]
        back = [order.index(i) for i in range(len(order))]
        return torch.cat(parts, dim).index_select(dim, torch.tensor(back, device=parts[0].device))

    def encoded(self, actions: Tensor, like: Tensor) -> Tensor:
        """Actions as the memory holds them, (..., N, A): one-hot if they are discrete. `like`: for the dtype."""
        if self.discrete:
            actions = nn.functional.one_hot(actions, self.num_actions)
        return actions.to(like.dtype)

    def unroll(
        self,
        observations: Tensor,
        memory: Tensor,
        acts: Tensor,
        fresh: Tensor | None = None,
        actions: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Outputs in L successive rounds, and the memories after each of them.

        Args:
            observations: (L, B, N, D).
            memory: before the first round, (B, N, M); M may be 0.
            acts: which agents act, bool (L, B, N).
            fresh: bool (L, B), where an episode begins, which resets the memory; None: nowhere.
            actions: the actions that were taken, (L, B, N[, A]); needed with `last_action`.

        Returns:
            outputs (L, B, N, W), logits, values or means, padded with zeros to the widest network's, and
            memories (L, B, N, M).
        """
        L, B = observations.shape[:2]
        last = memory[..., self.gru_size :]
        before, after = self._last_actions(last, acts, fresh, actions)
        widest = max(network.layers[-1].out_features for network in self.networks)
        outs, states = [], []
        for g, network in enumerate(self.networks):
            members = self.members[g]
            inputs = self.inputs(g, observations.flatten(0, 1), before.flatten(0, 1))
            out, state = network.sequence(
                inputs.unflatten(0, (L, -1)),
                self.rows(g, memory[..., : self.gru_size]),
                self.rows(g, acts.flatten(0, 1)).unflatten(0, (L, -1)),
                None if fresh is None else fresh.repeat_interleave(len(members), 1),
            )
            out = nn.functional.pad(out, (0, widest - out.shape[2]))
            outs.append(out.view(L, B, len(members), widest))
            states.append(state.reshape(L, B, len(members), self.gru_size))
        memories = torch.cat([self._in_order(states, 2), after], -1)
        return self._in_order(outs, 2), memories

    def outputs_where(self, observations: Tensor, where: Tensor) -> Tensor:
        """Outputs of networks without a memory for the agents at `where`, 0 for the others: (B, N, W), padded with zeros.

        Others' rows are not computed: in battles and where agents are absent, these are many.

        Args:
            observations: (B, N, D).
            where: bool (B, N).
        """
        B, widest = len(observations), max(n.layers[-1].out_features for n in self.networks)
        outs = []
        for g, network in enumerate(self.networks):
            picked, members = self.rows(g, where).nonzero().squeeze(1), len(self.members[g])
            # Few different sizes: libraries prepare products for every new one.
            rows = nn.functional.pad(picked, (0, -len(picked) % 128))
            out = network(self.seats.inputs(g, observations, rows))[: len(picked)]
            out = nn.functional.pad(out, (0, widest - out.shape[1]))
            everybody = out.new_zeros(B * members, widest)
            outs.append(everybody.index_copy(0, picked, out).view(B, members, widest))
        return self._in_order(outs, 1)

    def _last_actions(
        self, last: Tensor, acts: Tensor, fresh: Tensor | None, actions: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """The last actions before and after each of L rounds, (L, B, N, A) each; `last` before the first."""
        if not self.last_action:
            nothing = last.expand(len(acts), *last.shape)
            return nothing, nothing
        if actions is None:
            raise TypeError("a policy that sees its last action needs the actions that were taken")
        before, after = [], []
        for t, taken in enumerate(self.encoded(actions, last)):
            if fresh is not None:
                last = last.masked_fill(fresh[t].view(-1, 1, 1), 0.0)
            before.append(last)
            last = torch.where(acts[t].unsqueeze(-1), taken, last)
            after.append(last)
        return torch.stack(before), torch.stack(after)

    # ------------------------------------------------------------------------- likelihoods, per group
    def log_prob(
        self, g: int, inputs: Tensor, actions: Tensor, mask: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Log-likelihood and entropy per row of group g, both (rows,)."""
        return self.likelihood(g, self.networks[g](inputs), actions, mask)

    def likelihood(
        self, g: int, out: Tensor, actions: Tensor, mask: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """`log_prob` from the network's outputs (rows, W)."""
        if not self.discrete:
            actions = actions[:, : self.outputs[g]]
        return self.distribution.log_prob(self.networks[g], out, actions, mask)

    def sampled_nll(
        self, g: int, inputs: Tensor, mask: Tensor | None, rng: torch.Generator
    ) -> Tensor:
        """-log pi(a | o) of one newly sampled action per row: K-FAC's Fisher loss, (rows,)."""
        network = self.networks[g]
        return self.distribution.sampled_nll(network, network(inputs), mask, rng)


def own_columns(action_dims: list[int], num_actions: int) -> list[int] | None:
    """Columns of the flattened, padded actions that are not padding; None if there is no padding."""
    columns = [i * num_actions + a for i, n in enumerate(action_dims) for a in range(n)]
    return None if len(columns) == num_actions * len(action_dims) else columns
