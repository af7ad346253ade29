"""StarCraft battles without StarCraft: SMAC and SMACv2, down to the last digit of what agents see.

The games' page is that of `mail_envs.games.starcraft.game`. `encode_episode` feeds recorded frames of the original
through the layer that makes observations, masks, states and rewards; `observation_names(id)` and `state_names(id)`
say what every number means. `maps.SCENARIOS` is the table of battles, `options.Options` of what can be changed.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mail_envs.games.starcraft.episode import encode_episode
    from mail_envs.games.starcraft.feature_names import observation_names, state_names

__all__ = ["encode_episode", "observation_names", "state_names"]

# Where they are: the table of ids is read at every start, and these would load numba.
_HOMES = {
    "encode_episode": "episode",
    "observation_names": "feature_names",
    "state_names": "feature_names",
}


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
