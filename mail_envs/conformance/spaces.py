"""Checks of a game's documentation, agents and spaces, and PettingZoo's own tests."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import traceback
import warnings
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np

import mail_envs
from mail_envs.conformance.subject import (
    ConformanceError,
    NotApplicable,
    Subject,
    random_play,
    require,
)


def check_play(subject: Subject) -> None:
    """The game can be made, reset and stepped."""
    for _ in random_play(subject, num_envs=2, rounds=2):
        pass


def check_page(subject: Subject) -> None:
    """The game's module has a docstring, which `info` shows."""
    module = sys.modules[mail_envs.spec(subject.id).load().__module__]
    require(
        len((module.__doc__ or "").split()) >= 20,
        f"{module.__name__} has no documentation (its docstring is {module.__doc__!r})",
        "write the module's docstring: observation, action, reward, end of an episode",
    )


def check_agents_and_spaces(subject: Subject) -> None:
    """Agents are `role_k` in order, and agents of one role have equal spaces."""
    if mail_envs.spec(subject.id).family == "pettingzoo":
        raise NotApplicable("names and spaces are those of PettingZoo's environment")
    vector = subject.vector()
    roles: dict[str, int] = {}
    for agent in vector.agents:
        role, _, number = agent.rpartition("_")
        require(
            role and number.isdigit() and int(number) == roles.get(role, 0),
            f"agent {agent!r} is not named role_k with k counting from 0",
            "set `agents` to names such as prey_0, adversary_0, adversary_1",
        )
        first = f"{role}_0"
        roles[role] = roles.get(role, 0) + 1
        for spaces in (vector.observation_spaces, vector.action_spaces):
            require(
                spaces[agent] == spaces[first],
                f"{agent} has the space {spaces[agent]}, {first} has {spaces[first]}",
                "agents of one role need equal spaces: pad observations, or give them other roles",
            )
    require(
        isinstance(vector.state_space, gymnasium.spaces.Box),
        f"state_space is {vector.state_space!r}",
        "set `state_space` to a float32 Box (S,)",
    )


def check_observations_in_spaces(subject: Subject) -> None:
    """Observations and the global state are finite and in their spaces."""
    for vector, _, info in random_play(subject, num_envs=8, rounds=60):
        for i, agent in enumerate(vector.agents):
            space, d = vector.observation_spaces[agent], vector.observation_dims[i]
            for row in vector.buffers.observations[:, i]:
                require(
                    space.contains(row[:d].reshape(space.shape)) and np.isfinite(row[:d]).all(),
                    f"observation of {agent} is not in {space}: {row[:d]}",
                    "widen the space in `observation_spaces`, or bound what observe_env writes",
                )
                require(
                    not row[d:].any(),
                    f"observe_env writes beyond the {d} numbers that {agent} observes",
                    "write only as many numbers as the agent's space has, followed by zeros",
                )
        for row in info["state"]:
            require(
                vector.state_space.contains(row) and np.isfinite(row).all(),
                f"the global state is not in {vector.state_space}: {row}",
                "correct `state_space`, or what observe_env writes into global_state",
            )


def _pettingzoo(name: str, test: Callable[[], Any], fix: str) -> None:
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            test()
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        reason = str(error) or f"{where.line} ({os.path.basename(where.filename)}:{where.lineno})"
        raise ConformanceError(f"PettingZoo's {name}: {reason}", fix) from error


def check_pettingzoo_aec(subject: Subject) -> None:
    """PettingZoo's `api_test` passes."""
    from pettingzoo.test import api_test

    env = subject.view("aec")
    fix = "spaces, rewards and masks must be those that the game declares"
    _pettingzoo("api_test", lambda: api_test(env, num_cycles=200), fix)


def check_pettingzoo_parallel(subject: Subject) -> None:
    """PettingZoo's `parallel_api_test` passes."""
    from pettingzoo.test import parallel_api_test

    env = subject.view("parallel")
    fix = "spaces, rewards and masks must be those that the game declares"
    _pettingzoo("parallel_api_test", lambda: parallel_api_test(env, num_cycles=200), fix)


def check_pettingzoo_seeds(subject: Subject) -> None:
    """PettingZoo's `seed_test` and `parallel_seed_test` pass."""
    from pettingzoo.test import parallel_seed_test, seed_test

    fix = "draw random numbers only with mail_envs.random from `rng`"
    _pettingzoo("seed_test", lambda: seed_test(lambda: subject.view("aec"), 100), fix)
    _pettingzoo(
        "parallel_seed_test", lambda: parallel_seed_test(lambda: subject.view("parallel"), 100), fix
    )


def check_pettingzoo_render(subject: Subject) -> None:
    """PettingZoo's `render_test` passes; the window goes to SDL's dummy driver."""
    from pettingzoo.test import render_test

    driver = os.environ.get("SDL_VIDEODRIVER")
    os.environ["SDL_VIDEODRIVER"] = "dummy"
    fix = "write draw(canvas, state, participation) with the shapes of mail_envs.rendering.Canvas"
    try:
        _pettingzoo(
            "render_test", lambda: render_test(lambda **mode: subject.view("aec", **mode)), fix
        )
    finally:
        if driver is None:
            del os.environ["SDL_VIDEODRIVER"]
        else:
            os.environ["SDL_VIDEODRIVER"] = driver
