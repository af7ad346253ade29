"""StarCraft battles without StarCraft: SMAC and SMACv2, with numerically equal observations.

The games are documented in `mail_envs.games.starcraft.game`. `encode_episode` computes observations, masks, states and
rewards from recorded frames of the original; `observation_names(id)` and `state_names(id)` name every number.
`maps.SCENARIOS` is the table of battles, `options.Options` that of all options.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mail_envs.games.starcraft.episode import encode_episode
    from mail_envs.games.starcraft.feature_names import observation_names, state_names

__all__ = ["encode_episode", "observation_names", "state_names"]

# Imported lazily: this package is imported at every start, and these modules import numba.
_HOMES = {
    "encode_episode": "episode",
    "observation_names": "feature_names",
    "state_names": "feature_names",
}


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
