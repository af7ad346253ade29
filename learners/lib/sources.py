"""The origin of a policy: its files, its game and its run."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from demos.manifest import MANIFEST, read_manifest
from demos.policies import NetworkPolicy, is_own_policy, policy_path
from learners.lib import references
from learners.lib.files import read_json, whole, wrong
from learners.lib.settings import read_config
from mail_envs.recorded import NOTHING, Named, game_of, run_game_of
from mail_envs.settings_text import parse_settings

BUILT_IN = ("expert", "scripted", "random")
CELL = "cell.json"  # written into run folders by sweeps


@dataclasses.dataclass(frozen=True)
class Source:
    """The policy that an argument names.

    Attributes:
        spec: the argument of `load_policy`. folder: the run folder, if it is one.
        env: id of the game it was trained on, if known. arguments: of `make_vec`, including those that the
            user named. own_game: whether these are the arguments that the policy was trained with.
        identity: for tables: name, num_demos, seed and steps, if known.
        training: learner and steps of a run folder's policy. metadata: that of the policy file.
    """

    spec: str
    folder: Path | None
    env: str | None
    arguments: dict[str, Any]
    own_game: bool
    identity: dict[str, Any]
    training: dict[str, Any] = dataclasses.field(default_factory=dict)
    metadata: dict[str, Any] = dataclasses.field(default_factory=dict)


def find(spec: str, named: Named = NOTHING) -> Source:
    """Read everything known about a policy; nothing that a file names is imported.

    `named`: player function and arguments from the command line, which override those of files.

    Raises:
        ValueError: there is no such policy, or its files are damaged or need code that was not named.
    """
    path = Path(spec) if os.path.exists(spec) else policy_path(spec)
    if spec.partition(":")[0] in BUILT_IN or is_own_policy(spec):
        return Source(spec, None, None, {}, False, {"name": spec})
    if path.suffix == ".safetensors" and path.is_file():
        metadata = NetworkPolicy.load(path).metadata
        env, arguments, same = _game(game_of, metadata, metadata.get("arguments", {}), path, named)
        arguments.pop("null_action", None)  # policies choose among the game's own actions
        names = {"name": "learner", "steps": "steps"}
        if not os.path.exists(spec):  # RUN@STEP, a copy that a run has kept
            names["seed"] = "seed"
        identity = {k: metadata[v] for k, v in names.items() if v in metadata}
        named_after = {"name": path.stem} | identity
        return Source(spec, None, env, arguments, same, named_after, metadata=metadata)
    if not path.is_dir():
        raise ValueError(
            f"policy {spec!r} is neither {', '.join(BUILT_IN)} nor a run folder or a policy file"
        )
    config = read_config(path)
    if not os.path.lexists(path / "policy.safetensors"):
        raise ValueError(
            f"{path} has no policy.safetensors yet: the run has not reached a checkpoint"
        )
    stated = parse_settings(config.get("set", ()))
    env, arguments, same = _game(run_game_of, config, stated, path / "config.yaml", named)
    metadata = NetworkPolicy.load(path / "policy.safetensors").metadata
    training = trained(path, config, metadata)
    return Source(spec, path, env, arguments, same, identify(path, config), training, metadata)


def _game(
    read: Callable, data: Mapping[str, Any], stated: Mapping[str, Any], path: Path, named: Named
) -> tuple[str, dict[str, Any], bool]:
    """Id and arguments of the game that a file describes, and whether `named` leaves them unchanged.

    `stated`: the game's arguments as written in the file.
    """
    same = all(k in stated and stated[k] == v for k, v in named.arguments.items())
    try:
        id, arguments = read(data, path, named)
        if named.player_function is not None and data.get("player_function") is None:
            same = False
        return id, arguments, same
    except ValueError:
        if named.player_function is None:
            raise
    # A player function on the command line replaces that of training, which need not be readable.
    others = dataclasses.replace(named, player_function=None, text=None)
    id, arguments = read({**data, "player_function": None}, path, others)
    return id, {**arguments, "player_function": named.player_function}, False


def identify(folder: Path, config: dict[str, Any]) -> dict[str, Any]:
    """Name, number of demonstrations and seed of a run; a sweep's name comes first."""
    control = config.get("control", "none")
    name = config["learner"] + ("" if control == "none" else f" (control: {control})")
    name = sweep_name(folder, config) or name
    return {"name": name, "num_demos": config.get("num_demos"), "seed": config.get("seed")}


def sweep_name(folder: Path, config: dict[str, Any]) -> str | None:
    """A sweep's name for the algorithm of a run, from the sweep's file in it or from its path."""
    path = folder / CELL
    if path.exists():
        name = read_json(path).get("algorithm")
        if not isinstance(name, str):
            raise wrong(path, "algorithm", name, "a string")
        return name
    env, name, _, seed = ("", "", "", "", *folder.resolve().parts)[-4:]
    return name if (env, seed) == (config["env"], f"seed_{config.get('seed')}") else None


def trained(folder: Path, config: dict[str, Any], metadata: dict[str, Any]) -> dict[str, Any]:
    """Learner and steps of a run's policy; ValueError when the policy file is from another run."""
    path = folder / "policy.safetensors"
    said = {"id": config["env"], "learner": config["learner"], "seed": config.get("seed")}
    for key, expected in said.items():
        if key in metadata and metadata[key] != expected:
            raise ValueError(
                f"{path} is from another run: its {key} is {metadata[key]!r}, that of "
                f"{folder}/config.yaml is {expected!r}"
            )
    if "steps" in metadata:
        whole(path, metadata, "steps")
    return {k: metadata[k] for k in ("learner", "steps") if k in metadata}


def known_references(folder: Path | None) -> dict[str, float]:
    """Random and expert return of the run's game, see `learners.lib.references`; {} when unknown."""
    if folder is None:
        return {}
    config = read_config(folder)
    measured = references.of_settings(config)
    if measured:
        return measured
    demos = config.get("demos") or ()
    sets = [demos] if isinstance(demos, str) else demos
    for path in (folder / "demonstrations", *map(Path, sets)):
        if (path / MANIFEST).is_file():
            policy = folder / "policy.safetensors"
            game = NetworkPolicy.load(policy).metadata if policy.is_file() else {}
            return references.of_demonstrations(read_manifest(path), game, path / MANIFEST)
    return {}
