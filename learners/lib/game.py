"""The game that a run's settings describe, and its metadata in policy files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal

import torch

import mail_envs
from learners.lib.settings import Settings
from mail_envs.recorded import GAME
from mail_envs.settings_text import game_keywords

SIMULATOR = ("simulator", "backend", "pettingzoo")  # what a game's metadata say of its simulator


def game_arguments(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of `make_vec` from a learner's settings.

    They may name the user's own player function, which is imported. For settings from a config.yaml use
    `mail_envs.recorded.run_game_of`, which imports nothing.
    """
    names = ("player_function", "max_rounds", "fixed_horizon")
    return game_keywords(settings.get("set") or (), **{n: settings.get(n) for n in names})


def make_game(
    args: Settings,
    num_envs: int,
    device: torch.device,
    null_action: Literal["null", "as_action"] = "null",
):
    """The VectorGame of the settings, handing out torch tensors on `device`."""
    return mail_envs.make_vec(
        args.env,
        num_envs=num_envs,
        device="cuda" if device.type == "cuda" else "cpu",
        array="torch",
        null_action=null_action,
        replayable=True,
        **game_arguments(vars(args)),
    )


def unplayed_game(args: Settings, null_action: Literal["null", "as_action"] = "null"):
    """The game of a learner that does not play it, but reads what it is; on the CPU, where simulators run too."""
    return make_game(args, 1, torch.device("cpu"), null_action)


def describe(vec) -> dict[str, Any]:
    """The game's metadata in a policy file."""
    return {
        "id": vec.id,
        "arguments": vec.arguments,
        "player_function": vec.player_function.to_config(),
        "agents": list(vec.agents),
        "null_action": vec.null_action,
        "max_rounds": vec.max_rounds,
        "fixed_horizon": vec.fixed_horizon,
        **{name: str(vec.metadata[name]) for name in SIMULATOR if name in vec.metadata},
    }


def same_game(a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    """Whether two descriptions (`describe`, or the metadata of demonstrations) are of one game, as far as both say."""
    known = [n for n in GAME if a.get(n) is not None and b.get(n) is not None]
    plain = [json.loads(json.dumps([said[n] for n in known])) for said in (a, b)]  # as in a file
    return plain[0] == plain[1]
