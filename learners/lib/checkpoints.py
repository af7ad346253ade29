"""Checkpoints: everything the next update depends on, written atomically.

`checkpoints/step_<k>/` holds `training.safetensors` (all tensors and arrays), `state.json` (everything else,
and the CRC-32 of each file) and the policy. It is written into a temporary folder and renamed, so that a
process killed at any moment leaves only complete checkpoints. Changed or damaged checkpoints are rejected.
"""

from __future__ import annotations

import math
import os
import re
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from learners.lib.files import read_bytes, read_json, temporary_of, whole, write_json, wrong

KEPT = 2  # newest checkpoints that are kept
CUDA_STATE = 16  # bytes of the state of a CUDA device's random generator
TENSORS, POLICY, STATE = "training.safetensors", "policy.safetensors", "state.json"


def checkpoints(folder: Path) -> list[Path]:
    """Checkpoints of a run folder, oldest first."""
    found = (folder / "checkpoints").glob("step_*")
    named = [(re.fullmatch(r"step_(\d{1,18})", p.name), p) for p in found]
    return [p for _, p in sorted((int(match[1]), p) for match, p in named if match)]


def save_checkpoint(
    folder: Path, steps: int, tree: dict[str, Any], write_policy: Callable[[Path], None]
) -> None:
    """Write checkpoints/step_<steps> of a run folder, unless it exists, and remove old checkpoints."""
    target = folder / "checkpoints" / f"step_{steps}"
    if not target.exists():
        temporary = temporary_of(target)
        temporary.mkdir(parents=True)
        write_policy(temporary / POLICY)
        tensors: dict[str, torch.Tensor] = {}
        skeleton = _flatten(tree, "", tensors)
        (temporary / TENSORS).write_bytes(save(tensors))
        sums = {name: zlib.crc32((temporary / name).read_bytes()) for name in (TENSORS, POLICY)}
        write_json(temporary / STATE, {"files": sums, "tree": skeleton})
        os.replace(temporary, target)
    for old in checkpoints(folder)[:-KEPT]:
        shutil.rmtree(old, ignore_errors=True)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """The tree that was saved; tensors are on the CPU.

    ValueError or FileNotFoundError naming the file that is missing, damaged or was changed.
    """
    state = read_json(path / STATE)
    skeleton, sums = state, {}
    if "tree" in state:  # earlier versions wrote the tree alone
        skeleton, sums = state["tree"], state.get("files")
        if not isinstance(sums, dict):
            raise ValueError(f"{path / STATE} is damaged: files is {sums!r}, not a mapping")
    data = {name: read_bytes(path / name, None) for name in (TENSORS, POLICY)}
    for name, noted in sums.items():
        if name not in data or zlib.crc32(data[name]) != noted:
            raise ValueError(f"{path / name} was changed after it was written, or is damaged")
    try:
        tensors = load(data[TENSORS])
    except (SafetensorError, ValueError, TypeError, KeyError, RuntimeError) as error:
        raise ValueError(f"{path / TENSORS} is damaged: {' '.join(str(error).split())}") from None
    try:
        tree = _unflatten(skeleton, tensors)
    except RecursionError:
        raise ValueError(f"{path / STATE} is damaged: it is nested too deeply") from None
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{path / STATE} is damaged: {error}") from None
    if tensors or not isinstance(tree, dict):
        raise ValueError(
            f"{path / STATE} does not match {TENSORS}: {', '.join(sorted(tensors))[:80]}"
        )
    return tree


def read_saved(path: Path) -> tuple[Path, dict[str, Any]]:
    """A checkpoint and its tree; ValueError naming what is damaged. The learner's parts are checked later."""
    tree = load_checkpoint(path)
    if whole(path, tree, "steps") != int(path.name.removeprefix("step_")):
        raise wrong(path, "steps", tree["steps"], path.name)
    whole(path, tree, "updates")
    for key in ("parts", "pending", "results"):
        if not isinstance(tree.get(key), dict):
            raise wrong(path, key, tree.get(key), "a mapping")
    seconds = tree.get("seconds", 0.0)
    if not isinstance(seconds, float) or not 0 <= seconds < math.inf:
        raise wrong(path, "seconds", seconds, "a number of seconds")
    if not isinstance(tree.get("settings", {}), dict):
        raise wrong(path, "settings", tree["settings"], "a mapping")
    for key, value in tree["results"].items():
        if not isinstance(value, int | float):
            raise wrong(path, f"results/{key}", value, "a number")
    for key, values in tree["pending"].items():
        if not isinstance(values, list) or not all(isinstance(v, int | float) for v in values):
            raise wrong(path, f"pending/{key}", values, "a list of numbers")
    return path, tree


def restore_random(rng: torch.Generator, state: torch.Tensor) -> None:
    """Continue a stream of random numbers. The state of another kind of device's generator cannot be continued here:
    a new stream begins, which is the same each time.
    """
    kinds = {torch.Generator().get_state().numel(), CUDA_STATE}
    if state.numel() in kinds - {rng.get_state().numel()}:
        rng.manual_seed(zlib.crc32(state.numpy().tobytes()))
    else:
        rng.set_state(state)


def same_form(a: Any, b: Any) -> bool:
    """Whether two trees have the same keys and plain values, and tensors and arrays of the same shapes and types.

    Contents are not compared: the padding in game state records is not restored. States of random generators (`rng`)
    have a length of their own on each kind of device, which `restore_random` checks.
    """
    left: dict[str, torch.Tensor] = {}
    right: dict[str, torch.Tensor] = {}
    if repr(_flatten(a, "", left)) != repr(_flatten(b, "", right)):
        return False
    return all(
        k.endswith("/rng") or (x.dtype, x.shape) == (right[k].dtype, right[k].shape)
        for k, x in left.items()
    )


def _flatten(tree: Any, key: str, tensors: dict[str, torch.Tensor]) -> Any:
    """JSON skeleton of nested dicts and lists; tensors and arrays move into `tensors`."""
    if isinstance(tree, dict):
        return {"dict": {k: _flatten(v, f"{key}/{k}", tensors) for k, v in tree.items()}}
    if isinstance(tree, list | tuple):
        return {"list": [_flatten(v, f"{key}/{k}", tensors) for k, v in enumerate(tree)]}
    if isinstance(tree, torch.Tensor):
        tensors[key] = tree.detach().cpu().clone().contiguous()
        return {"tensor": key}
    if isinstance(tree, np.ndarray):
        raw = np.frombuffer(np.ascontiguousarray(tree).tobytes(), np.uint8)
        tensors[key] = torch.from_numpy(raw.copy())
        return {"array": key, "dtype": tree.dtype.str, "shape": list(tree.shape)}
    return {"value": tree.item() if isinstance(tree, np.generic) else tree}


def _unflatten(node: Any, tensors: dict[str, torch.Tensor]) -> Any:
    """The inverse of `_flatten`; removes the tensors that it uses from `tensors`."""
    if not isinstance(node, dict):
        raise ValueError(f"{str(node)[:60]!r} where a node is expected")
    if "dict" in node:
        return {k: _unflatten(v, tensors) for k, v in _kind(node["dict"], dict).items()}
    if "list" in node:
        return [_unflatten(v, tensors) for v in _kind(node["list"], list)]
    if "tensor" in node:
        return _take(tensors, node["tensor"])
    if "array" in node:
        raw = _take(tensors, node["array"]).numpy().tobytes()
        shape = [_kind(n, int) for n in _kind(node["shape"], list)]
        if min(shape, default=0) < 0:
            raise ValueError(f"{node['array']} has the shape {shape}")
        return np.frombuffer(raw, _kind(node["dtype"], str)).reshape(shape).copy()
    if "value" not in node:
        raise ValueError(f"a node has the keys {', '.join(node)[:60]!r}")
    return node["value"]


def _take(tensors: dict[str, torch.Tensor], key: Any) -> torch.Tensor:
    if key not in tensors:
        raise ValueError(f"{TENSORS} has no {str(key)[:60]!r}")
    return tensors.pop(key)


def _kind(value: Any, kind: type) -> Any:
    if type(value) is not kind:
        raise ValueError(f"{str(value)[:60]!r} where {kind.__name__} is expected")
    return value
