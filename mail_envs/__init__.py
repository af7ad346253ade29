"""Multi-agent imitation learning environments in which who acts when is part of the game."""

import mail_envs.games  # isort: skip  registers the ids of the games in this package
import mail_envs.adapters  # noqa: F401  isort: skip  and those of external simulators
from mail_envs.making import from_pettingzoo, make, make_game, make_vec, spec
from mail_envs.registry import EnvSpec, register, specs

__version__ = "0.1.0"

_LAZY = (
    "Synchronous",
    "TurnOrder",
    "Stochastic",
    "HistoryDependent",
    "StateDependent",
    "ActionSets",
)

__all__ = [
    "EnvSpec",
    "from_pettingzoo",
    "make",
    "make_game",
    "make_vec",
    "register",
    "spec",
    "specs",
    *_LAZY,
]


def __dir__():
    return sorted([*globals(), *_LAZY])


def __getattr__(name):  # numba is imported when the first game is made, not before
    if name in _LAZY:
        from mail_envs import player_functions

        return getattr(player_functions, name)
    raise AttributeError(f"module 'mail_envs' has no attribute {name!r}")
