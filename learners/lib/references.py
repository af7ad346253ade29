"""References of normalized returns: random play is 0, the expert is 1.

The file demos/experts/references.json holds one pair for every game with an expert, measured with default
arguments (`python -m learners.references`). All runs of such a game use it, whatever demonstrations they learn
from. Other games, and games with changed arguments, have their references in the metadata of the demonstrations, if
these were recorded in the same game.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from demos.policies import EXPERTS
from learners.lib.files import number, read_json
from learners.lib.game import same_game

SHIPPED = EXPERTS / "references.json"
# Settings that make a game differ from its default.
CHANGES = ("set", "player_function", "max_rounds", "fixed_horizon", "backend")


def shipped(env: str) -> dict[str, float]:
    """The measured references of a game with default arguments; {} if there are none."""
    figures = read_json(SHIPPED).get(env)
    if figures is None:
        return {}
    return {k: number(SHIPPED, figures, f"{k}_return") for k in ("random", "expert")}


def of_settings(settings: Mapping[str, Any]) -> dict[str, float]:
    """`shipped` for the game of a run; {} when its settings change the game."""
    if any(settings.get(name) for name in CHANGES):
        return {}
    return shipped(settings["env"])


def of_demonstrations(
    metadata: Mapping[str, Any], game: Mapping[str, Any], path: Path
) -> dict[str, float]:
    """The references in the metadata of demonstrations, those that are present; `path` is for errors.

    {} if they were measured in another game than `game`, which describes that of the run (`learners.lib.game.describe`):
    demonstrations may have another time limit, or other rewards.
    """
    if not same_game(game, metadata):
        return {}
    keys = {k: f"{k}_return" for k in ("random", "expert")}
    known = {k: key for k, key in keys.items() if metadata.get(key) is not None}
    return {k: number(path, metadata, key) for k, key in known.items()}
