"""Policy files of formats 1 and 2, read as those of today: multi-layer perceptrons, with a GRU if `recurrent`.

    group{g}.{k}.weight, .bias       layer k of the network that the agents of group g share
    group{g}.mean, .std              of the observed numbers, where they are normalized
    group{g}.log_std                 of Gaussian policies
    group{g}.gru.weight_ih, ...      of recurrent policies, after the hidden layers

They do not state the networks' sizes, which follow from the tensors.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

Tensors = dict[str, np.ndarray]


def upgraded(tensors: Tensors, metadata: Mapping[str, Any]) -> tuple[Tensors, dict[str, Any]]:
    """Tensors and metadata in today's form.

    KeyError, ValueError: they are not those of a policy. What today's files state, too, is checked later.
    """
    groups, recurrent = metadata["groups"], metadata.get("recurrent", False)
    if type(recurrent) is not bool:
        raise ValueError(f"recurrent cannot be {recurrent!r}")
    depth = 1
    while f"group0.{depth}.weight" in tensors:
        depth += 1
    agent_id = metadata.get("agent_id", False) is True
    identity = [groups.count(g) * agent_id for g in range(max(groups) + 1)]
    shapes = [_matrix(tensors, f"group{g}.0.weight") for g in range(max(groups) + 1)]
    outputs = [_matrix(tensors, f"group{g}.{depth - 1}.weight")[0] for g in range(max(groups) + 1)]
    observed = [shapes[g][1] - identity[g] for g in groups]
    if metadata.get("observation_dims", observed) != observed:
        raise ValueError(
            f"observation_dims say {str(metadata['observation_dims'])[:80]}, the networks take "
            f"{str(observed)[:80]}"
        )
    form = {
        "architecture": "gru" if recurrent else "mlp",
        "joint": False,
        "observation_dims": observed,
        "action_dims": [outputs[g] for g in groups],
        "hidden": [_matrix(tensors, f"group0.{k}.weight")[0] for k in range(depth - 1)],
        "layer_norm": "none",
        "agent_id": metadata.get("agent_id", False),
        "last_action": False,
        "normalized": "group0.mean" in tensors,
    }
    renamed = {_new_name(name): tensor for name, tensor in tensors.items()}
    for g, tail in enumerate(identity):  # the agent's index is not standardized
        for name, fill in (("mean", 0.0), ("std", 1.0)):
            key = f"networks.{g}.{name}"
            if tail and key in renamed and renamed[key].ndim == 1:
                old = renamed[key]
                renamed[key] = np.concatenate([old, np.full(tail, fill, old.dtype)])
    return renamed, {k: v for k, v in metadata.items() if k != "recurrent"} | form


def _new_name(name: str) -> str:
    """`group0.1.weight` -> `networks.0.layers.1.weight`; ValueError for names that old files do not have."""
    found = re.fullmatch(r"group(0|[1-9]\d{0,8})\.((0|[1-9]\d{0,8})\.)?([a-z_.]+)", name)
    if found is None:
        raise ValueError(f"{name[:80]!r} is not a tensor of these networks")
    group, _, layer, rest = found.groups()
    return f"networks.{group}." + (rest if layer is None else f"layers.{layer}.{rest}")


def _matrix(tensors: Tensors, name: str) -> tuple[int, int]:
    """The shape of a matrix."""
    shape = tensors[name].shape
    if len(shape) != 2:
        raise ValueError(f"{name} has the shape {shape}, expected a matrix")
    return shape
