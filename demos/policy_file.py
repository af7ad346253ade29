"""Policy files: networks as safetensors, metadata about the game and the training, and a checksum over both.

    group{g}.{k}.weight, .bias       layer k of the network that the agents of group g share
    group{g}.mean, .std              of the inputs, where they are normalized
    group{g}.log_std                 of Gaussian policies
    group{g}.gru.weight_ih, ...      of recurrent policies, after the hidden layers

The metadata are JSON, or plain strings (`TEXTS`): `groups` (the group of every agent), `activation`,
`distribution`, `agent_id`, `recurrent`, `null_action`, and the description of the game by `demos.describe`.
Files are untrusted input: everything is checked when a file is read, and nothing that it names is imported.
Files of format 1 have no checksum.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from mail_envs.plain_files import open_regular

FORMAT = "mail_envs policy 2"
WITHOUT_CHECKSUM = "mail_envs policy 1"
TEXTS = ("format", "id", "learner", "activation", "distribution", "null_action")  # not JSON
ACTIVATIONS = ("relu", "tanh")
DISTRIBUTIONS = ("categorical", "gaussian")


def write_policy_file(
    path: str | Path, tensors: Mapping[str, np.ndarray], metadata: Mapping[str, Any]
) -> None:
    """Write a file. Entries of `metadata` that are None are omitted; strings are stored unchanged."""
    entries = {**metadata, "format": FORMAT}
    texts = {
        name: value if isinstance(value, str) else json.dumps(value)
        for name, value in entries.items()
        if value is not None
    }
    save_file(dict(tensors), path, metadata={**texts, "checksum": checksum(tensors, texts)})


def read_policy_file(path: str | Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Tensors and decoded metadata of a file; ValueError with the file's name if it is not valid."""
    try:
        open_regular(path).close()  # opening a named pipe would block forever
        with safe_open(str(path), "numpy") as file:
            texts = file.metadata() or {}
            found = texts.get("format")
            if found not in (FORMAT, WITHOUT_CHECKSUM):
                raise ValueError(f"{path}: expected a {FORMAT!r} file, found {found!r}")
            names = list(file.keys())
            kinds = {file.get_slice(name).get_dtype() for name in names}
            if kinds - {"F32", "F64"}:
                raise ValueError(f"{path}: tensors must be F32 or F64, not {', '.join(kinds)}")
            tensors = {name: file.get_tensor(name) for name in names}
    except (SafetensorError, OSError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{path}: not a readable safetensors file ({reason})") from None
    said = texts.pop("checksum", None)
    if said != (checksum(tensors, texts) if found == FORMAT else None):
        raise ValueError(f"{path}: the policy file is damaged: its checksum does not fit")
    try:
        metadata = {k: text if k in TEXTS else _decoded(text) for k, text in texts.items()}
        check_metadata(metadata)
        check_tensors(tensors, metadata)
    except (KeyError, ValueError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else error
        raise ValueError(
            f"{path}: the policy file is incomplete or inconsistent: {reason}"
        ) from None
    return tensors, metadata


def checksum(tensors: Mapping[str, np.ndarray], texts: Mapping[str, str]) -> str:
    """SHA-256 over all metadata and tensors, independent of their order in the file."""
    digest = hashlib.sha256(json.dumps(sorted(texts.items())).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(json.dumps([name, tensor.dtype.str, tensor.shape]).encode())
        digest.update(np.ascontiguousarray(tensor).tobytes())
    return digest.hexdigest()


def _decoded(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text  # a plain string under a name that is not in TEXTS
    except RecursionError:
        raise ValueError("an entry is nested too deep") from None


def check_metadata(metadata: Mapping[str, Any]) -> None:
    """KeyError or ValueError for entries that are missing or of the wrong type."""
    groups = metadata["groups"]
    whole = isinstance(groups, list) and bool(groups) and all(type(g) is int for g in groups)
    if not whole or set(groups) != set(range(len(set(groups)))):
        raise ValueError(f"groups cannot be {_short(groups)}")
    entries: dict[str, tuple[bool, Callable[[Any], bool]]] = {  # name: required, what fits
        "activation": (True, lambda v: v in ACTIVATIONS),
        "distribution": (True, lambda v: v in DISTRIBUTIONS),
        "agent_id": (False, lambda v: type(v) is bool),
        "recurrent": (False, lambda v: type(v) is bool),
        "null_action": (False, lambda v: v in ("null", "as_action")),
        "id": (False, lambda v: isinstance(v, str)),
        "learner": (False, lambda v: isinstance(v, str)),
        "steps": (False, lambda v: type(v) is int and v >= 0),
        "arguments": (False, lambda v: isinstance(v, dict)),
        "player_function": (False, lambda v: isinstance(v, dict)),
        "agents": (False, lambda v: _names(v) and len(v) == len(groups)),
        "observation_dims": (False, lambda v: isinstance(v, list) and len(v) == len(groups)),
    }
    for name, (required, fits) in entries.items():
        if required and name not in metadata:
            raise KeyError(name)
        if name in metadata and not fits(metadata[name]):
            raise ValueError(f"{name} cannot be {_short(metadata[name])}")


def check_tensors(tensors: Mapping[str, np.ndarray], metadata: Mapping[str, Any]) -> None:
    """KeyError or ValueError unless the tensors are networks for these groups and finite."""
    groups = metadata["groups"]
    shapes = expected_shapes(tensors, metadata)
    for name, shape in shapes.items():
        found = tensors[name].shape
        if found != shape or min(shape) < 1:
            raise ValueError(f"{name} has the shape {found}, not {shape}")
    unknown = sorted(tensors.keys() - shapes.keys())
    if unknown:
        raise ValueError(f"{_short(unknown[0])} is not a tensor of these networks")
    for name, tensor in tensors.items():
        if not np.isfinite(tensor).all():
            raise ValueError(f"{name} has numbers that are not finite")
        if name.endswith(".std") and not (tensor > 0).all():
            raise ValueError(f"{name} must be positive")
    observed = [observed_numbers(tensors, metadata, g) for g in groups]
    if metadata.get("observation_dims", observed) != observed:
        raise ValueError(
            f"observation_dims say {_short(metadata['observation_dims'])}, the networks take {observed}"
        )


def expected_shapes(
    tensors: Mapping[str, np.ndarray], metadata: Mapping[str, Any]
) -> dict[str, tuple[int, ...]]:
    """Required tensors and their shapes, derived from the inputs, outputs and hidden layers found."""
    depth = 1
    while f"group0.{depth}.weight" in tensors:
        depth += 1
    hidden = [_rows(tensors, f"group0.{k}.weight") for k in range(depth - 1)]
    shapes: dict[str, tuple[int, ...]] = {}
    for g in range(max(metadata["groups"]) + 1):
        at = f"group{g}."
        observed = observed_numbers(tensors, metadata, g)
        inputs = tensors[f"{at}0.weight"].shape[1]
        outputs = _rows(tensors, f"{at}{depth - 1}.weight")
        widths = [inputs, *hidden, outputs]
        for k, (before, after) in enumerate(pairwise(widths)):
            shapes |= {f"{at}{k}.weight": (after, before), f"{at}{k}.bias": (after,)}
        if f"{at}mean" in tensors or f"{at}std" in tensors:
            shapes |= {f"{at}mean": (observed,), f"{at}std": (observed,)}
        if metadata["distribution"] == "gaussian":
            shapes[f"{at}log_std"] = (outputs,)
        if metadata.get("recurrent"):
            h = widths[-2]
            shapes |= {f"{at}gru.{n}": (3 * h, h) for n in ("weight_ih", "weight_hh")}
            shapes |= {f"{at}gru.{n}": (3 * h,) for n in ("bias_ih", "bias_hh")}
    return shapes


def observed_numbers(
    tensors: Mapping[str, np.ndarray], metadata: Mapping[str, Any], group: int
) -> int:
    """Observation size of the group's agents: the network's inputs without the one-hot agent id."""
    name = f"group{group}.0.weight"
    _rows(tensors, name)
    identity = metadata["groups"].count(group) if metadata.get("agent_id") else 0
    return tensors[name].shape[1] - identity


def _rows(tensors: Mapping[str, np.ndarray], name: str) -> int:
    shape = tensors[name].shape
    if len(shape) != 2:
        raise ValueError(f"{name} has the shape {shape}, expected a matrix")
    return shape[0]


def _names(value: Any) -> bool:
    texts = isinstance(value, list) and all(isinstance(name, str) for name in value)
    return texts and len(set(value)) == len(value)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:76] + " ..."
