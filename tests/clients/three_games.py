"""The games that every library is tested on: a kernel game, a simulator, and an asynchronous game."""

from __future__ import annotations

import pytest

import mail_envs

KERNEL = "coop_nav"
SIMULATOR = "pettingzoo:mpe2/simple_spread_v3"
ASYNCHRONOUS = "stochastic_coop_nav"
GAMES = (KERNEL, SIMULATOR, ASYNCHRONOUS)


def client(module: str):
    """A client's module; its tests are skipped where it is not installed."""
    hint = f"{module} is not installed: pip install -c constraints.txt '.[clients]'"
    return pytest.importorskip(module, reason=hint)


def make(id: str, api: str, **keywords):
    if id == SIMULATOR:
        pytest.importorskip("mpe2", reason="mpe2 is not installed: pip install '.[bench]'")
    return mail_envs.make(id, api=api, **keywords)


def returns(env) -> list[float]:
    """Every agent's return in the last finished episode, as reported by the game."""
    return env.unwrapped.vector.clock["last_returns"][0].tolist()
