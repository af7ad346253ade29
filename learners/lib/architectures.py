"""Architectures of policies: the table of what a policy file can name, and how files become policies.

    mlp     decentralized: hidden layers, shared by the agents of a group (`learners.lib.networks.Policy`)
    gru     the same with a memory
    energy  decentralized: critics, whose best actions are taken (`learners.lib.energy.EnergyPolicy`)
    mat     joint: the Multi-Agent Transformer (`learners.lib.transformer.TransformerPolicy`)

Training, evaluation, recording, cross-play and `play` all use these. A joint policy acts for the whole team from all
observations; in a decentralized one every agent acts from its own. All have the methods `act` and `form`, and the
attributes `joint`, `discrete`, `memory_size`, `observation_dims` and `action_dims`.

    policy = Policy.of(vec, "role", hidden=(64,), recurrent=True, distribution="greedy", last_action=True)
    save_policy(path, policy, describe(vec))
    policy, metadata = read_policy(path)

Files are untrusted: all their entries are checked against the fields of the dataclasses here, and their tensors against
the shapes of the policy that these describe. Nothing that a file names is imported.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from demos.policy_file import read_policy_file, write_policy_file
from learners.lib.distributions import DISTRIBUTIONS, Name
from learners.lib.energy import EnergyPolicy
from learners.lib.fields import Count, Whole, field_types, fit
from learners.lib.mlp import Activation, Norm
from learners.lib.networks import Policy
from learners.lib.transformer import Name as TransformerName
from learners.lib.transformer import TransformerPolicy


@dataclasses.dataclass(frozen=True)
class Critics:
    """Form of `energy` policies; the fields are arguments of `EnergyPolicy`, and lists have an entry per agent."""

    groups: tuple[Whole, ...]
    observation_dims: tuple[Count, ...]
    action_dims: tuple[Count, ...]
    hidden: tuple[Count, ...]
    agent_id: bool

    def __post_init__(self):
        fit(self)
        if not self.hidden:
            raise ValueError("hidden=() must have at least one layer")
        check_agents(self.groups, self.observation_dims, self.action_dims)

    @property
    def layers(self) -> int:
        """Number of Linear layers; each has two tensors."""
        return (max(self.groups) + 1) * (len(self.hidden) + 1)

    @property
    def largest(self) -> int:
        """The largest number that must be a side of some tensor."""
        return max(*self.hidden, *self.observation_dims, *self.action_dims)

    def build(self) -> nn.Module:
        return EnergyPolicy(**{name: getattr(self, name) for name in field_types(Critics)})


@dataclasses.dataclass(frozen=True)
class Layers(Critics):
    """Form of `mlp` and `gru` policies; the fields are arguments of `Policy`."""

    activation: Activation
    layer_norm: Norm
    distribution: Name
    last_action: bool
    normalized: bool
    """Whether the networks standardize their inputs with the mean and standard deviation in the file."""

    def build(self, recurrent: bool = False) -> Policy:
        policy = Policy(
            list(self.groups), list(self.observation_dims), list(self.action_dims),
            DISTRIBUTIONS[self.distribution]().discrete, self.hidden, self.activation, self.agent_id,
            recurrent, distribution=self.distribution, layer_norm=self.layer_norm,
            last_action=self.last_action,
        )  # fmt: skip
        for network in policy.networks if self.normalized else ():
            size = network.layers[0].in_features
            network.mean, network.std = torch.empty(size), torch.empty(size)
        return policy


@dataclasses.dataclass(frozen=True)
class Transformer:
    """Form of `mat` policies; the fields are arguments of `TransformerPolicy`."""

    groups: tuple[Whole, ...]
    observation_dims: tuple[Count, ...]
    action_dims: tuple[Count, ...]
    distribution: TransformerName
    width: Count
    blocks: Count
    heads: Count
    encoder: bool
    decoder: bool
    time_input: bool

    def __post_init__(self):
        fit(self)
        check_agents(self.groups, self.observation_dims, self.action_dims)
        if self.width % self.heads:
            raise ValueError(f"heads={self.heads} must divide width={self.width}")

    @property
    def layers(self) -> int:
        """A lower bound on the number of Linear layers; each has two tensors."""
        return max(self.groups) + 1 + self.blocks

    @property
    def largest(self) -> int:
        """The largest number that must be a side of some tensor."""
        return max(self.width, *self.observation_dims, *self.action_dims)

    def build(self) -> TransformerPolicy:
        return TransformerPolicy(**{name: getattr(self, name) for name in field_types(type(self))})


@dataclasses.dataclass(frozen=True)
class Architecture:
    """An entry of the table: the form, a dataclass; how to build the policy from it; whether it is joint."""

    form: type
    build: Callable[[Any], nn.Module]
    joint: bool


ARCHITECTURES = {
    "mlp": Architecture(Layers, Layers.build, joint=False),
    "gru": Architecture(Layers, lambda form: form.build(recurrent=True), joint=False),
    "energy": Architecture(Critics, Critics.build, joint=False),
    "mat": Architecture(Transformer, Transformer.build, joint=True),
}


def check_agents(
    groups: tuple[int, ...], observation_dims: tuple[int, ...], action_dims: tuple[int, ...]
) -> None:
    """ValueError unless the sizes are given for every agent, and are equal within each group."""
    for name, sizes in (("observation_dims", observation_dims), ("action_dims", action_dims)):
        if len(sizes) != len(groups):
            raise ValueError(f"{name} has {len(sizes)} entries, groups {len(groups)}")
        if len(set(zip(groups, sizes, strict=True))) != len(set(groups)):
            raise ValueError(f"{name} differ between agents of one group")


def save_policy(
    path: Path | str, policy: Any, metadata: Mapping[str, Any], float16: bool = False
) -> None:
    """Write a policy; `metadata` describe the game and the training: id, arguments, player_function, agents, ...

    `float16` halves the size of the file, see `write_policy_file`.
    """
    arrays = {k: x.detach().cpu().contiguous().numpy() for k, x in policy.state_dict().items()}
    write_policy_file(path, arrays, {"joint": policy.joint, **policy.form(), **metadata}, float16)


def read_policy(path: Path | str, dtype: torch.dtype = torch.float32) -> tuple[Any, dict[str, Any]]:
    """The policy in a file, computing in `dtype`, and the file's metadata; ValueError when it is damaged."""
    tensors, metadata = read_policy_file(path)
    try:
        return build(tensors, metadata).to(dtype), metadata
    except (KeyError, TypeError, ValueError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else error
        text = f"{path}: the policy file is incomplete or inconsistent: {reason}"
        raise ValueError(text) from None


def build(tensors: Mapping[str, np.ndarray], metadata: Mapping[str, Any]) -> nn.Module:
    """The policy that `metadata` describe, with these tensors.

    KeyError, TypeError, ValueError: entries are missing, of the wrong type, or do not fit the tensors.
    """
    name = metadata["architecture"]
    if name not in ARCHITECTURES:
        raise ValueError(f"architecture {name!r} is unknown; known: {', '.join(ARCHITECTURES)}")
    entry = ARCHITECTURES[name]
    if metadata["joint"] is not entry.joint:
        raise ValueError(f"joint cannot be {metadata['joint']!r} with architecture {name!r}")
    form = entry.form(**{field: metadata[field] for field in field_types(entry.form)})
    sides = [side for x in tensors.values() for side in x.shape]
    if 2 * form.layers > len(tensors) or form.largest > max(sides):  # before anything is built
        raise ValueError(f"its {len(tensors)} tensors are too few or too small for its {name}")
    with torch.device("meta"):  # shapes without memory
        policy = entry.build(form)
    check_shapes(policy, tensors)
    policy.load_state_dict({k: torch.from_numpy(x) for k, x in tensors.items()}, assign=True)
    return policy


def check_shapes(policy: nn.Module, tensors: Mapping[str, np.ndarray]) -> None:
    """KeyError or ValueError unless the tensors are those of the policy."""
    expected = {name: tuple(x.shape) for name, x in policy.state_dict().items()}
    for name, shape in expected.items():
        if tensors[name].shape != shape:
            raise ValueError(f"{name} has the shape {tensors[name].shape}, not {shape}")
    unknown = sorted(tensors.keys() - expected.keys())
    if unknown:
        raise ValueError(f"{unknown[0][:80]!r} is not a tensor of this policy")
