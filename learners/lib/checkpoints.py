"""Checkpoints: everything the next update depends on, in folders that are whole or not there.

`checkpoints/step_<k>/` holds `training.safetensors` (all tensors and arrays), `state.json` (everything else)
and the policy. It is written into a temporary folder and renamed, so that a kill at any moment leaves only
whole ones.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from learners.lib.files import write_text

KEPT = 2  # the newest ones


def checkpoints(folder: Path) -> list[Path]:
    """Whole checkpoints of a run folder, oldest first."""
    found = [p for p in (folder / "checkpoints").glob("step_*") if (p / "state.json").exists()]
    return sorted(found, key=lambda p: int(p.name.split("_")[1]))


def save_checkpoint(
    folder: Path, steps: int, tree: dict[str, Any], write_policy: Callable[[Path], None]
) -> None:
    """Write checkpoints/step_<steps> of a run folder, unless it is there; the oldest ones are removed."""
    target = folder / "checkpoints" / f"step_{steps}"
    if not target.exists():
        temporary = target.with_name(f".{target.name}.{os.getpid()}")
        temporary.mkdir(parents=True, exist_ok=True)
        write_policy(temporary / "policy.safetensors")
        tensors: dict[str, torch.Tensor] = {}
        skeleton = _flatten(tree, "", tensors)
        save_file(tensors, str(temporary / "training.safetensors"))
        write_text(temporary / "state.json", json.dumps(skeleton))
        os.replace(temporary, target)
    for old in checkpoints(folder)[:-KEPT]:
        shutil.rmtree(old, ignore_errors=True)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """The tree that was saved; tensors are on the CPU."""
    skeleton = json.loads((path / "state.json").read_text())
    return _unflatten(skeleton, load_file(str(path / "training.safetensors")))


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


def _unflatten(node: dict, tensors: dict[str, torch.Tensor]) -> Any:
    if "dict" in node:
        return {k: _unflatten(v, tensors) for k, v in node["dict"].items()}
    if "list" in node:
        return [_unflatten(v, tensors) for v in node["list"]]
    if "tensor" in node:
        return tensors[node["tensor"]]
    if "array" in node:
        raw = tensors[node["array"]].numpy().tobytes()
        return np.frombuffer(raw, node["dtype"]).reshape(node["shape"]).copy()
    return node["value"]
