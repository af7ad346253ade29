"""Small networks, policies whose agents may share parameters, and policy files.

Agents with the same role and the same spaces form a *group* and share one network (`share="role"`), or every
agent has its own (`share="none"`), or all share one (`share="all"`). A policy maps observations (E, N, D) to
actions (E, N) for discrete games or (E, N, A) for continuous ones, with one batched forward pass per group.
"""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from demos.policy_file import read_policy_file, write_policy_file
from learners.lib.recurrent import GRU

Share = Literal["role", "none", "all"]
# Logit of an action that the mask forbids; finite, so that gradients stay finite.
FORBIDDEN = -1e10


class MLP(nn.Module):
    """Linear layers with ReLU or tanh between them, and an optional fixed normalization of the input.

    With `recurrent`, a GRU of the same width follows the last hidden layer.
    """

    def __init__(
        self,
        sizes: list[int],
        gain: float = 1.0,
        activation: str = "relu",
        log_std: int = 0,
        recurrent: bool = False,
    ):
        super().__init__()
        self.layers: Any = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))
        self.activation = {"relu": torch.relu, "tanh": torch.tanh}[activation]
        hidden = math.sqrt(2) if activation == "relu" else 5 / 3
        for k, layer in enumerate(self.layers):
            nn.init.orthogonal_(layer.weight, hidden if k < len(self.layers) - 1 else gain)
            nn.init.zeros_(layer.bias)
        self.log_std = nn.Parameter(torch.zeros(log_std)) if log_std else None
        self.gru = GRU(sizes[-2]) if recurrent else None
        self.limit: float | None = None
        self.register_buffer("mean", None)
        self.register_buffer("std", None)

    def normalize_with(self, rows: Tensor, tail: int = 0, limit: float | None = None) -> None:
        """Standardize inputs by the columns of `rows` (B, D); the last `tail` inputs pass through.

        With `limit`, standardized inputs are clipped to +-limit, which prevents extrapolation far from the data.
        """
        self.limit = limit
        std, mean = torch.std_mean(rows.float(), 0)
        constant = std < 1e-3
        mean, std = torch.where(constant, 0.0, mean), torch.where(constant, 1.0, std)
        device = self.layers[0].weight.device
        self.mean = torch.cat([mean, mean.new_zeros(tail)]).to(device)
        self.std = torch.cat([std, std.new_ones(tail)]).to(device)

    def forward(self, x: Tensor) -> Tensor:
        """Outputs (B, outputs) of inputs (B, D); only for networks without a memory."""
        if self.gru is not None:
            raise TypeError("a recurrent network needs its memory: use `sequence`")
        return self.layers[-1](self._features(x))

    def sequence(
        self, x: Tensor, memory: Tensor, acts: Tensor, fresh: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Outputs (L, B, outputs) of L rounds (L, B, D), and the memories (L, B, H) after them.

        `memory`, `acts` and `fresh` are those of `GRU`; networks without one have H = 0.
        """
        x, memories = self._features(x), memory.expand(len(x), *memory.shape)
        if self.gru is not None:
            x, memories = self.gru(x, memory, acts, fresh)
        return self.layers[-1](x), memories

    def standardize(self, x: Tensor) -> Tensor:
        """Inputs (..., D), standardized and clipped for the first layer."""
        if self.mean is None:
            return x
        x = (x - self.mean) / self.std
        return x if self.limit is None else x.clamp(-self.limit, self.limit)

    def _features(self, x: Tensor) -> Tensor:
        x = self.standardize(x)
        for layer in self.layers[:-1]:
            x = self.activation(layer(x))
        return x


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


class Policy(nn.Module):
    """One network per group of agents; categorical (discrete games) or Gaussian (continuous ones).

    Args:
        groups: group of every agent, (N,).
        observation_dims: length of every agent's observation, (N,).
        action_dims: every agent's number of discrete actions, or of components of continuous ones, (N,);
            equal within a group. Actions are padded to A, the largest, with zeros.
        agent_id: append the one-hot index of the agent inside its group to the observation.
        recurrent: agents have a memory of width H = `memory_size`; otherwise `memory_size` is 0.
        gain: scale of the initial weights of the last layer; None: 1 for logits, 0.01 for means.
    """

    def __init__(
        self,
        groups: list[int],
        observation_dims: list[int],
        action_dims: list[int],
        discrete: bool = True,
        hidden: tuple[int, ...] = (128, 128),
        activation: str = "relu",
        agent_id: bool = False,
        recurrent: bool = False,
        gain: float | None = None,
    ):
        super().__init__()
        self.memory_size = hidden[-1] if recurrent else 0
        if gain is None:
            gain = 1.0 if discrete else 0.01
        self.groups, self.observation_dims = list(groups), list(observation_dims)
        self.action_dims, self.num_actions = list(action_dims), max(action_dims)
        self.discrete, self.activation, self.agent_id = discrete, activation, agent_id
        self.members = [[i for i, g in enumerate(groups) if g == k] for k in range(max(groups) + 1)]
        self.dims = [observation_dims[m[0]] for m in self.members]
        self.outputs = [action_dims[m[0]] for m in self.members]
        self.networks: Any = nn.ModuleList(
            MLP(
                [d + len(m) * agent_id, *hidden, n],
                gain=gain,
                activation=activation,
                log_std=0 if discrete else n,
                recurrent=recurrent,
            )
            for d, m, n in zip(self.dims, self.members, self.outputs, strict=True)
        )

    # ------------------------------------------------------------------------------------ row layout
    def rows(self, g: int, x: Tensor) -> Tensor:
        """Rows of group g: (B, N, ...) -> (B * members, ...)."""
        members = self.members[g]
        x = x if len(members) == x.shape[1] else x[:, members]
        return x.flatten(0, 1)

    def inputs(self, g: int, observations: Tensor) -> Tensor:
        """Network inputs of group g: (B, N, D) -> (B * members, D_g [+ members])."""
        x = self.rows(g, observations)
        if self.dims[g] != x.shape[1]:
            x = x[:, : self.dims[g]]
        if self.agent_id:
            one_hot = torch.eye(len(self.members[g]), device=x.device)
            x = torch.cat([x, one_hot.repeat(len(observations), 1)], 1)
        return x

    def normalize_with(self, observations: Tensor) -> None:
        """Fix every group's input normalization from observations (B, N, D)."""
        for g, network in enumerate(self.networks):
            rows = self.rows(g, observations)[:, : self.dims[g]]
            network.normalize_with(rows, tail=len(self.members[g]) * self.agent_id)

    # ---------------------------------------------------------------------------------------- acting
    def act(
        self,
        observations: Tensor,
        mask: Tensor | None,
        rng: torch.Generator | None,
        memory: Tensor | None = None,
        acts: Tensor | None = None,
    ) -> Tensor:
        """Sampled actions (E, N[, A]) for observations (E, N, D); rng=None takes the most likely ones.

        Recurrent policies also take the agents' memory (E, N, H), zeros when an episode begins, and which
        agents act, bool (E, N); the memory of the acting agents is updated in place.
        """
        parts = []
        for g, network in enumerate(self.networks):
            if memory is None or acts is None:
                out = network(self.inputs(g, observations))
            else:
                out = self._recall(g, observations, memory, acts)
            if self.discrete:
                out = masked(out, None if mask is None else self.rows(g, mask))
                if rng is not None:
                    # Gumbel-max: -log of an exponential variable is Gumbel distributed.
                    out = out - torch.empty_like(out).exponential_(generator=rng).log_()
                parts.append(out.argmax(-1).view(len(observations), -1))
            else:
                if rng is not None:
                    noise = torch.empty_like(out).normal_(generator=rng)
                    out = out + noise * network.log_std.exp()
                out = nn.functional.pad(out, (0, self.num_actions - self.outputs[g]))
                parts.append(out.view(len(observations), -1, self.num_actions))
        if len(parts) == 1:
            return parts[0]
        order = [i for members in self.members for i in members]
        return torch.cat(parts, 1)[:, [order.index(i) for i in range(len(order))]]

    def _recall(self, g: int, observations: Tensor, memory: Tensor, acts: Tensor) -> Tensor:
        """Outputs of group g's network for one round; updates the group's part of `memory`."""
        inputs, before = self.inputs(g, observations), self.rows(g, memory)
        acting = self.rows(g, acts).unsqueeze(0)
        out, after = self.networks[g].sequence(inputs.unsqueeze(0), before, acting)
        memory[:, self.members[g]] = after[0].view(len(memory), -1, memory.shape[2])
        return out[0]

    # ------------------------------------------------------------------------- likelihoods, per group
    def log_prob(
        self, g: int, inputs: Tensor, actions: Tensor, mask: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Log-likelihood and entropy per row of group g, both (rows,)."""
        return self.likelihood(g, self.networks[g](inputs), actions, mask)

    def likelihood(
        self, g: int, out: Tensor, actions: Tensor, mask: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """`log_prob` from the network's outputs (rows, outputs)."""
        if self.discrete:
            logs = torch.log_softmax(masked(out, mask), -1)
            return logs.gather(1, actions.unsqueeze(1)).squeeze(1), -(logs.exp() * logs).sum(1)
        log_std, count = self.networks[g].log_std, self.outputs[g]
        z = (actions[:, :count] - out) * (-log_std).exp()
        constant = log_std.sum() + 0.5 * count * math.log(2 * math.pi)
        entropy = (log_std.sum() + 0.5 * count * (1 + math.log(2 * math.pi))).expand(len(out))
        return -0.5 * (z * z).sum(1) - constant, entropy

    def sampled_nll(
        self, g: int, inputs: Tensor, mask: Tensor | None, rng: torch.Generator
    ) -> Tensor:
        """-log pi(a | o) of one newly sampled action per row: K-FAC's Fisher loss, (rows,)."""
        out = self.networks[g](inputs)
        if self.discrete:
            logs = torch.log_softmax(masked(out, mask), -1)
            with torch.no_grad():
                noise = torch.empty_like(logs).exponential_(generator=rng).log_()
                actions = (logs - noise).argmax(1, keepdim=True)
            return -logs.gather(1, actions).squeeze(1)
        log_std = self.networks[g].log_std
        noise = torch.empty_like(out).normal_(generator=rng)
        z = (out.detach() + noise * log_std.detach().exp() - out) * (-log_std).exp()
        return 0.5 * (z * z).sum(1) + log_std.sum()


def masked(logits: Tensor, mask: Tensor | None) -> Tensor:
    """Logits, with a large negative number for actions that `mask` (padded to A) forbids."""
    if mask is None:
        return logits
    return torch.where(mask[:, : logits.shape[1]].bool(), logits, FORBIDDEN)


def own_columns(action_dims: list[int], num_actions: int) -> list[int] | None:
    """Columns of the flattened, padded actions that are not padding; None if there is no padding."""
    columns = [i * num_actions + a for i, n in enumerate(action_dims) for a in range(n)]
    return None if len(columns) == num_actions * len(action_dims) else columns


# ------------------------------------------------------------------------------------------ policy file
def save_policy(path: Path | str, policy: Policy, metadata: dict) -> None:
    """Write the policy as safetensors; `metadata` holds id, arguments, player_function, agents, ..."""
    tensors = {}
    for g, network in enumerate(policy.networks):
        for k, layer in enumerate(network.layers):
            tensors[f"group{g}.{k}.weight"] = layer.weight.detach().cpu().contiguous()
            tensors[f"group{g}.{k}.bias"] = layer.bias.detach().cpu().contiguous()
        if network.mean is not None:
            tensors[f"group{g}.mean"] = network.mean[: policy.dims[g]].cpu().contiguous()
            tensors[f"group{g}.std"] = network.std[: policy.dims[g]].cpu().contiguous()
        if network.log_std is not None:
            tensors[f"group{g}.log_std"] = network.log_std.detach().cpu()
        if network.gru is not None:
            for name, parameter in network.gru.named_parameters():
                tensors[f"group{g}.gru.{name}"] = parameter.detach().cpu().contiguous()
    fields = {
        "groups": policy.groups,
        "activation": policy.activation,
        "distribution": "categorical" if policy.discrete else "gaussian",
        "agent_id": policy.agent_id,
        "observation_dims": policy.observation_dims,
        "recurrent": True if policy.memory_size else None,
        **metadata,
    }
    arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
    write_policy_file(path, arrays, fields)


def read_policy(path: Path | str) -> tuple[Policy, dict[str, Any]]:
    """The policy in a file and its metadata; ValueError when the file is damaged."""
    arrays, fields = read_policy_file(path)
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    groups, agent_id = fields["groups"], fields.get("agent_id", False)
    sizes = [groups.count(g) * agent_id for g in range(max(groups) + 1)]
    dims = [tensors[f"group{g}.0.weight"].shape[1] - sizes[g] for g in groups]
    depth = sum(name.startswith("group0.") and name.endswith(".weight") for name in tensors)
    hidden = tuple(tensors[f"group0.{k}.weight"].shape[0] for k in range(depth - 1))
    action_dims = [tensors[f"group{g}.{depth - 1}.weight"].shape[0] for g in groups]
    discrete = fields["distribution"] == "categorical"
    recurrent = fields.get("recurrent", False)
    activation = fields["activation"]
    policy = Policy(groups, dims, action_dims, discrete, hidden, activation, agent_id, recurrent)
    with torch.no_grad():
        for g, network in enumerate(policy.networks):
            for k, layer in enumerate(network.layers):
                layer.weight.copy_(tensors[f"group{g}.{k}.weight"])
                layer.bias.copy_(tensors[f"group{g}.{k}.bias"])
            if f"group{g}.mean" in tensors:
                mean, std = tensors[f"group{g}.mean"], tensors[f"group{g}.std"]
                network.mean = torch.cat([mean, mean.new_zeros(sizes[g])])
                network.std = torch.cat([std, std.new_ones(sizes[g])])
            if network.log_std is not None:
                network.log_std.copy_(tensors[f"group{g}.log_std"])
            if network.gru is not None:
                for name, parameter in network.gru.named_parameters():
                    parameter.copy_(tensors[f"group{g}.gru.{name}"])
    return policy, fields
