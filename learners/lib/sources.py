"""What the name of a policy stands for, and what a run folder says about itself."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import mail_envs
from demos.manifest import MANIFEST, read_manifest
from demos.policies import MLPPolicy
from learners.lib.files import number, read_json, whole, wrong
from learners.lib.game import game_arguments
from learners.lib.settings import read_config

BUILT_IN = ("expert", "scripted", "random")
CELL = "cell.json"  # what a sweep notes about a run


@dataclasses.dataclass(frozen=True)
class Source:
    """What a policy argument stands for.

    Attributes:
        spec: for `load_policy`. folder: the run folder, if it is one.
        env: id of the game it was trained on, if that is known; arguments: of `make_vec`.
        identity: who it is, for tables: name, num_demos, seed, steps as far as known.
        training: learner and steps of a run folder's policy.
    """

    spec: str
    folder: Path | None
    env: str | None
    arguments: dict[str, Any]
    identity: dict[str, Any]
    training: dict[str, Any] = dataclasses.field(default_factory=dict)


def find(spec: str) -> Source:
    """Read what is known about a policy; ValueError when there is none."""
    path = Path(spec)
    if spec.partition(":")[0] in BUILT_IN:
        return Source(spec, None, None, {}, {"name": spec})
    if path.suffix == ".safetensors" and path.is_file():
        metadata = MLPPolicy.load(path).metadata
        arguments = dict(metadata.get("arguments") or {})
        arguments |= _player_function(metadata, path)
        names = {"name": "learner", "steps": "steps"}
        identity = {k: metadata[v] for k, v in names.items() if v in metadata}
        return Source(spec, None, metadata.get("id"), arguments, {"name": path.stem} | identity)
    if not path.is_dir():
        raise ValueError(
            f"policy {spec!r} is neither {', '.join(BUILT_IN)} nor a run folder or a policy file"
        )
    config = read_config(path)
    if not os.path.lexists(path / "policy.safetensors"):
        raise ValueError(
            f"{path} has no policy.safetensors yet: the run has not reached a checkpoint"
        )
    arguments, identity = game_arguments(config), identify(path, config)
    return Source(spec, path, config["env"], arguments, identity, trained(path, config))


def identify(folder: Path, config: dict[str, Any]) -> dict[str, Any]:
    """Name, number of demonstrations and seed of a run; a sweep's own name for it comes first."""
    name = config["learner"] + (" (control)" if config.get("control") else "")
    name = sweep_name(folder, config) or name
    return {"name": name, "num_demos": config.get("num_demos"), "seed": config.get("seed")}


def sweep_name(folder: Path, config: dict[str, Any]) -> str | None:
    """What a sweep calls the algorithm of a run: from its note, or its place in the sweep's folder."""
    path = folder / CELL
    if path.exists():
        name = read_json(path).get("algorithm")
        if not isinstance(name, str):
            raise wrong(path, "algorithm", name, "a text")
        return name
    env, name, _, seed = ("", "", "", "", *folder.resolve().parts)[-4:]
    return name if (env, seed) == (config["env"], f"seed_{config.get('seed')}") else None


def trained(folder: Path, config: dict[str, Any]) -> dict[str, Any]:
    """Learner and steps of a run's policy; ValueError when its policy file is that of another run."""
    path = folder / "policy.safetensors"
    metadata = MLPPolicy.load(path).metadata
    said = {"id": config["env"], "learner": config["learner"], "seed": config.get("seed")}
    for key, expected in said.items():
        if key in metadata and metadata[key] != expected:
            raise ValueError(
                f"{path} is of another run: its {key} is {metadata[key]!r}, that of "
                f"{folder}/config.yaml is {expected!r}"
            )
    if "steps" in metadata:
        whole(path, metadata, "steps")
    return {k: metadata[k] for k in ("learner", "steps") if k in metadata}


def _player_function(metadata: dict[str, Any], path: Path) -> dict[str, Any]:
    """The file's player function when it is not the id's own. Code that a file names is not imported."""
    config, id = metadata.get("player_function"), metadata.get("id")
    if not config or id not in mail_envs.specs():
        return {}
    vec = mail_envs.make_vec(id, 1, **metadata.get("arguments") or {})
    if config == json.loads(json.dumps(vec.player_function.to_config())):
        return {}
    if "function" in config:
        raise ValueError(
            f"{path}: trained under the player function {config['function']}; evaluate its run folder"
        )
    return {"player_function": mail_envs.player_functions.from_config(config)}


def known_references(folder: Path | None) -> dict[str, float]:
    """Random and expert return from the metadata of the run's demonstrations; empty when unknown."""
    if folder is None:
        return {}
    demos = read_config(folder).get("demos")
    for path in (folder / "demonstrations", *([Path(demos)] if demos else [])):
        if (path / MANIFEST).is_file():
            manifest = read_manifest(path)
            keys = {k: f"{k}_return" for k in ("random", "expert")}
            known = {k: key for k, key in keys.items() if manifest.get(key) is not None}
            return {k: number(path / MANIFEST, manifest, key) for k, key in known.items()}
    return {}
