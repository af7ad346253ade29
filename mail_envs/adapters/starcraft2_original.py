"""Constructs the environments of the packages smac and smacv2, and handles their failures.

These are: missing packages, or an incompatible protobuf; modified versions with other observations; StarCraft II or its
maps missing; maps with the same names in both packages; and crashes of the game.
"""

from __future__ import annotations

import dataclasses
import importlib
import os
import random
from types import SimpleNamespace
from typing import Any

import numpy as np

from mail_envs.games.starcraft.layout import num_actions, observation_size, state_size
from mail_envs.games.starcraft.maps import SMACV2_EXCEPTIONS, SMACV2_TYPES, Scenario
from mail_envs.games.starcraft.options import V2_ONLY, Options

# Arguments of the originals that the native game lacks.
SETTINGS = (
    "step_mul", "difficulty", "game_version", "seed", "replay_dir", "replay_prefix", "window_size_x",
    "window_size_y", "debug",
)  # fmt: skip

PACKAGES = {1: "smac", 2: "smacv2"}
GUIDE = "docs/starcraft2.md has all steps"


class GameLost(RuntimeError):
    """StarCraft II has crashed, or does not answer."""


def open_original(of: Scenario, options: Options, settings: dict[str, Any]) -> Any:
    """`StarCraft2Env` of smac, or `StarCraftCapabilityEnvWrapper` of smacv2, guarded; no game is started yet.

    Raises:
        ImportError: see `load`. TypeError: a setting is not in `SETTINGS`. RuntimeError: the installed package has
            other observations.
    """
    strangers = [name for name in settings if name not in SETTINGS]
    if strangers:
        raise TypeError(f"settings has no {strangers[0]!r}; it takes {', '.join(SETTINGS)}")
    kind = load(of.version)
    arguments = {**original_options(of, options), **settings, "map_name": of.name}
    arguments["continuing_episode"] = (
        True  # so that infos say whether the time limit ended the episode
    )
    if of.version == 2:
        arguments["capability_config"] = capability_config(of)
    env = kind(**arguments)
    core = env.env if of.version == 2 else env
    _check_sizes(core, of, options)
    core._launch = _guarded_launch(core, core._launch, PACKAGES[of.version])
    core.full_restart = _give_up
    return env


def load(version: int) -> Any:
    """The class of smac (1) or smacv2 (2). ImportError if it is not installed, with instructions."""
    package = PACKAGES[version]
    source = f"git+https://github.com/oxwhirl/{package}.git"
    try:
        module = importlib.import_module(f"{package}.env.starcraft2.starcraft2")
        maps = importlib.import_module(f"{package}.env.starcraft2.maps.smac_maps")
        if version == 2:
            wrapper = importlib.import_module("smacv2.env.starcraft2.wrapper")
    except ImportError as error:
        raise ImportError(
            f"backend='starcraft2' needs {package} ({error}): pip install {source}\n{GUIDE}"
        ) from error
    except TypeError as error:
        if "Descriptors" not in str(error):
            raise
        raise ImportError(
            "backend='starcraft2' needs protobuf<3.21, a newer one is installed: pip install "
            "'protobuf==3.20.3', in an environment of its own if other packages object; or set "
            f"PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION=python, which is slower\n{GUIDE}"
        ) from error
    # pysc2 looks maps up by name and rejects duplicate names. Both packages define the SMAC maps: each uses its own.
    module.maps = SimpleNamespace(get=lambda name: getattr(maps, name)())  # pyright: ignore
    return wrapper.StarCraftCapabilityEnvWrapper if version == 2 else module.StarCraft2Env


def original_options(of: Scenario, options: Options) -> dict[str, Any]:
    """Options by the names of the original."""
    values = dataclasses.asdict(options)
    for name in ("faithful", "max_rounds", "obs_instead_of_state"):
        del values[name]  # the last is computed here, because it breaks the constructor of SMACv2
    if of.version == 1:
        return {name: value for name, value in values.items() if name not in V2_ONLY}
    values["action_mask"] = values.pop("mask_targets")
    return values


def capability_config(of: Scenario) -> dict[str, Any]:
    """Teams and start positions of the published SMACv2 scenarios; a new dict, because the original modifies it."""
    race = of.name.removeprefix("10gen_")
    types = SMACV2_TYPES[race]
    return {
        "n_units": of.num_agents,
        "n_enemies": of.num_enemies,
        "team_gen": {
            "dist_type": "weighted_teams",
            "unit_types": list(types),
            "weights": list(types.values()),
            "exception_unit_types": list(SMACV2_EXCEPTIONS[race]),
            "observe": True,
        },
        "start_positions": {
            "dist_type": "surrounded_and_reflect",
            "p": 0.5,
            "map_x": 32,
            "map_y": 32,
        },
    }


def _check_sizes(core: Any, of: Scenario, options: Options) -> None:
    """Raise RuntimeError for modified versions of SMAC, which exist under the same name."""
    apart = dataclasses.replace(options, obs_instead_of_state=False)
    # SMAC reports a size that is too small by one.
    more = of.version == 1 and options.obs_timestep_number
    found = (core.n_agents, core.n_actions, core.get_obs_size() + more, core.get_state_size())
    expected = (
        of.num_agents, num_actions(of, apart), observation_size(of, apart), state_size(of, apart),
    )  # fmt: skip
    if found != expected:
        package = PACKAGES[of.version]
        raise RuntimeError(
            f"the installed {package} is not oxwhirl's: {of.id} has {found} agents, actions, numbers observed "
            f"and in the state, instead of {expected}"
        )


def _guarded_launch(core: Any, launch: Any, package: str) -> Any:
    """`_launch` that first ends an older game, and explains what to install if it fails."""

    def guarded() -> None:
        if core._sc2_proc is not None:
            core._sc2_proc.close()
        try:
            launch()
        except Exception as error:  # a missing file or map, a process that ends at once, ...
            raise RuntimeError(
                f"StarCraft II did not start ({type(error).__name__}: {error}). backend='starcraft2' needs the "
                "game: unpack the Linux package 4.10 of https://github.com/Blizzard/s2client-proto#downloads, set "
                f"SC2PATH to its folder (now {_sc2path()}), and unpack {package}'s SMAC_Maps into "
                f"$SC2PATH/Maps. {GUIDE}; without backend= the battle runs on an engine that needs none of this"
            ) from error

    return guarded


def _sc2path() -> str:
    path = os.environ.get("SC2PATH")
    return repr(path) if path else "not set, which is '~/StarCraftII'"


def _give_up() -> None:
    """Replacement of `full_restart`, which would continue with units of the crashed game."""
    raise GameLost(
        "StarCraft II has died or does not answer; a reset starts another game. In a worker process, as with "
        "num_workers=1, that happens by itself and costs the episode"
    )


def reseed(distributions: dict[str, Any], seed: int) -> None:
    """Seed the generators of SMACv2's distributions, including nested ones.

    The original seeds them from the operating system.
    """
    source = np.random.SeedSequence(seed)
    todo = list(distributions.values())
    for distribution in todo:
        for name, value in list(vars(distribution).items()):
            if isinstance(value, np.random.Generator):
                setattr(distribution, name, np.random.default_rng(source.spawn(1)[0]))
            elif callable(getattr(value, "generate", None)):
                todo.append(value)


def import_colors() -> None:
    """Import what the original's renderer needs from pysc2, which calls `random.shuffle` in a way that Python 3.11 rejects."""
    shuffle = random.shuffle

    def old_shuffle(values, uniform=None):
        if uniform is None:
            return shuffle(values)
        for i in range(len(values) - 1, 0, -1):
            j = int(uniform() * (i + 1))
            values[i], values[j] = values[j], values[i]
        return None

    random.shuffle = old_shuffle  # pyright: ignore[reportAttributeAccessIssue]
    try:
        importlib.import_module("pysc2.lib.features")
    finally:
        random.shuffle = shuffle
