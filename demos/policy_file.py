"""Policy files: networks as safetensors, metadata about the game and the training, and a checksum over both.

The tensors are the parameters of the policy, in float64, float32 or float16; the latter are read as float32. The metadata are JSON, or plain strings (`TEXTS`): `architecture` and what
describes its form (`learners.lib.architectures`), with `joint`, whether it acts for the whole team from all
observations; `groups` (the group of every agent), `null_action`, and the description of the game by `demos.describe`.

Files are untrusted input: everything is checked when a file is read, and nothing that it names is imported. What is
checked here needs no torch; `learners.lib.architectures` checks the form and the tensors' shapes. Files of format 1
have no checksum; they and those of format 2 are read as files of today (`demos.old_policy_files`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from demos.old_policy_files import upgraded
from mail_envs.plain_files import open_regular

FORMAT = "mail_envs policy 3"
WITHOUT_FORM = "mail_envs policy 2"
WITHOUT_CHECKSUM = "mail_envs policy 1"
TEXTS = (
    "format", "id", "learner", "architecture", "activation", "layer_norm", "distribution", "null_action",
)  # not JSON  # fmt: skip
KINDS = {"F16", "F32", "F64"}


def write_policy_file(
    path: str | Path,
    tensors: Mapping[str, np.ndarray],
    metadata: Mapping[str, Any],
    float16: bool = False,
) -> None:
    """Write a file. Entries of `metadata` that are None are omitted; strings are stored unchanged.

    With `float16`, parameters are stored in half precision; input statistics keep their precision, because
    observations are divided by standard deviations that may be tiny. ValueError: a parameter is too large for it.
    """
    if float16:
        tensors = {name: halved(name, tensor) for name, tensor in tensors.items()}
    entries = {**metadata, "format": FORMAT}
    texts = {
        name: value if isinstance(value, str) else json.dumps(value)
        for name, value in entries.items()
        if value is not None
    }
    sealed = {**texts, "checksum": checksum(tensors, texts)}
    Path(path).write_bytes(save(dict(tensors), sealed))  # `save_file` hides files from other users


def read_policy_file(path: str | Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Tensors and decoded metadata of a file; ValueError with the file's name if it is not valid."""
    try:
        open_regular(path).close()  # opening a named pipe would block forever
        with safe_open(str(path), "numpy") as file:
            texts = file.metadata() or {}
            found = texts.get("format")
            if found not in (FORMAT, WITHOUT_FORM, WITHOUT_CHECKSUM):
                raise ValueError(f"{path}: expected a {FORMAT!r} file, found {found!r}")
            names = list(file.keys())
            kinds = {file.get_slice(name).get_dtype() for name in names}
            if kinds - KINDS:
                raise ValueError(
                    f"{path}: tensors must be {', '.join(sorted(KINDS))}, not {', '.join(kinds)}"
                )
            tensors = {name: file.get_tensor(name) for name in names}
    except (SafetensorError, OSError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{path}: not a readable safetensors file ({reason})") from None
    said = texts.pop("checksum", None)
    if said != (None if found == WITHOUT_CHECKSUM else checksum(tensors, texts)):
        raise ValueError(f"{path}: the policy file is damaged: its checksum does not fit")
    tensors = {k: x.astype(np.float32) if x.dtype == np.float16 else x for k, x in tensors.items()}
    try:
        metadata = {k: text if k in TEXTS else _decoded(text) for k, text in texts.items()}
        check_metadata(metadata)
        if found != FORMAT:
            tensors, metadata = upgraded(tensors, metadata)
        if type(metadata.get("joint")) is not bool:
            raise ValueError(f"joint cannot be {metadata.get('joint')!r}")
        check_numbers(tensors)
    except (KeyError, ValueError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else error
        raise ValueError(
            f"{path}: the policy file is incomplete or inconsistent: {reason}"
        ) from None
    return tensors, metadata


def halved(name: str, tensor: np.ndarray) -> np.ndarray:
    """A parameter in float16; means and standard deviations of inputs are returned unchanged."""
    if name.endswith((".mean", ".std")):
        return tensor
    with np.errstate(over="ignore"):
        half = tensor.astype(np.float16)
    if np.isfinite(tensor).all() and not np.isfinite(half).all():
        raise ValueError(
            f"{name} has the number {np.abs(tensor).max():g}, beyond float16, whose largest is 65504"
        )
    return half


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
    """KeyError or ValueError for entries about game and training that are missing or of the wrong type."""
    groups = metadata["groups"]
    whole = isinstance(groups, list) and bool(groups) and all(type(g) is int for g in groups)
    if not whole or set(groups) != set(range(len(set(groups)))):
        raise ValueError(f"groups cannot be {_short(groups)}")
    entries: dict[str, Callable[[Any], bool]] = {  # what fits, where it is given
        "null_action": lambda v: v in ("null", "as_action"),
        "id": lambda v: isinstance(v, str),
        "learner": lambda v: isinstance(v, str),
        "steps": lambda v: type(v) is int and v >= 0,
        "arguments": lambda v: isinstance(v, dict),
        "player_function": lambda v: isinstance(v, dict),
        "agents": lambda v: _names(v) and len(v) == len(groups),
    }
    for name, fits in entries.items():
        if name in metadata and not fits(metadata[name]):
            raise ValueError(f"{name} cannot be {_short(metadata[name])}")


def check_numbers(tensors: Mapping[str, np.ndarray]) -> None:
    """ValueError unless all numbers are finite, and standard deviations positive."""
    for name, tensor in tensors.items():
        if not tensor.size:
            raise ValueError(f"{name} has the shape {tensor.shape}")
        if not np.isfinite(tensor).all():
            raise ValueError(f"{name} has numbers that are not finite")
        if name.endswith(".std") and not (tensor > 0).all():
            raise ValueError(f"{name} must be positive")


def _names(value: Any) -> bool:
    texts = isinstance(value, list) and all(isinstance(name, str) for name in value)
    return texts and len(set(value)) == len(value)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:76] + " ..."
