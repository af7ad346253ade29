"""Plays PettingZoo's two kinds of environments round by round, and checks what they return.

Results that PettingZoo does not allow raise a ValueError that names the environment, the agent and the value. Only two
faults are tolerated: observations and infos of unknown agents, and missing infos.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from typing import Any

import numpy as np
from pettingzoo import AECEnv
from pettingzoo.utils.conversions import aec_to_parallel


class Rounds:
    """A parallel environment, or an AEC environment that can be converted to one. All agents act.

    Attributes:
        env: the environment. name: its name, for errors.
        observations, infos: by agent, of the present round.
    """

    def __init__(self, env: Any):
        self.env: Any = aec_to_parallel(env) if isinstance(env, AECEnv) else env
        self.name = environment_name(env)

    def reset(self, seed: int, options: dict[str, Any] | None = None) -> None:
        result = self.env.reset(seed=seed, **given(options))
        self.observations, infos = self._values("reset", result, "observations, infos")
        self.infos = read_infos(self.name, infos)

    def acting(self) -> list[Any]:
        return list(self.env.agents)

    def step(self, actions: dict) -> tuple[dict, dict, dict]:
        """Rewards, terminations and truncations of the round."""
        expected = "observations, rewards, terminations, truncations, infos"
        result = self._values("step", self.env.step(actions), expected)
        self.observations, rewards, terminated, truncated, infos = result
        self.infos = read_infos(self.name, infos)
        return rewards, terminated, truncated

    def _values(self, method: str, result: Any, expected: str) -> Any:
        """The dicts that a method returned."""
        count = expected.count(",") + 1
        if not isinstance(result, tuple) or len(result) != count:
            length = f" of {len(result)}" if isinstance(result, tuple) else ""
            raise ValueError(
                f"{method}() of {self.name} returns a {type(result).__name__}{length}; PettingZoo asks for "
                f"a tuple ({expected})"
            )
        for name, part in zip(expected.split(", "), result, strict=True):
            if not isinstance(part, dict) and not (part is None and name == "infos"):
                raise ValueError(
                    f"{name} from {method}() of {self.name} are {part!r}; PettingZoo asks for a dict by agent"
                )
        return result


class Turns:
    """An AEC environment with its own order of turns: each turn is a round. Attributes as in `Rounds`."""

    def __init__(self, env: Any):
        self.env: Any = env
        self.name = environment_name(env)

    def reset(self, seed: int, options: dict[str, Any] | None = None) -> None:
        self.env.reset(seed=seed, **given(options))
        self._read()

    def acting(self) -> list[Any]:
        return [self.env.agent_selection] if self.env.agents else []

    def step(self, actions: dict) -> tuple[dict, dict, dict]:
        """Rewards, terminations and truncations of the turn."""
        env = self.env
        env.step(actions[env.agent_selection])
        result = dict(env.rewards), dict(env.terminations), dict(env.truncations)
        self._read()
        self._step_dead_agents()
        return result

    def _read(self) -> None:
        """Read observations and infos of all agents, including those that are leaving."""
        env = self.env
        self.observations = {a: env.observe(a) for a in env.agents}
        infos = read_infos(self.name, env.infos)
        self.infos = {a: infos.get(a, {}) for a in env.agents}

    def _step_dead_agents(self) -> None:
        """Step terminated and truncated agents with None, as PettingZoo requires."""
        env = self.env
        while env.agents and (
            env.terminations[env.agent_selection] or env.truncations[env.agent_selection]
        ):
            env.step(None)


def environment_name(env: Any) -> str:
    """The name in the environment's metadata, else that of its class."""
    return str(env.metadata.get("name") or type(env.unwrapped).__name__)


def given(options: dict[str, Any] | None) -> dict[str, Any]:
    """Keywords for `reset`; none without options, because some environments lack the parameter."""
    return {} if options is None else {"options": options}


def read_infos(name: str, infos: dict | None) -> dict[Any, dict]:
    """Infos by agent, with {} for None. ValueError if an info is not a dict."""
    for agent, info in (infos or {}).items():
        if info is not None and not isinstance(info, dict):
            raise ValueError(
                f"the info of {agent} in {name} is {info!r}; PettingZoo asks for a dict"
            )
    return {agent: info or {} for agent, info in (infos or {}).items()}


def read_numbers(
    name: str, what: str, values: dict, agents: Container[Any], needed: Iterable[Any] = ()
) -> dict[Any, float]:
    """Rewards, terminations or truncations of `agents` as numbers; `what` names one of them in errors.

    ValueError: a value of a `needed` agent is missing, an agent is unknown, or a value is not a single number.
    """
    for agent in needed:
        if agent not in values:
            raise ValueError(f"{name} gives {agent} no {what}, although it is still in the episode")
    numbers = {}
    for agent, value in values.items():
        if agent not in agents:
            raise ValueError(
                f"{name} gives {agent!r} a {what}, but has no such agent; its possible_agents are {agents}"
            )
        number = one_number(value)
        if number is None:
            raise ValueError(
                f"{name} gives {agent} the {what} {value!r}; allowed is one number, or an array with one"
            )
        numbers[agent] = number
    return numbers


def one_number(value: Any) -> float | None:
    """A number, or the only element of an array of numbers; None if it is neither."""
    if type(value) in (float, int, bool):
        return value
    try:
        array = np.asarray(value)
    except (TypeError, ValueError, RuntimeError):  # ragged, or a tensor with gradients
        return None
    return array.item() if array.size == 1 and array.dtype.kind in "fiub" else None


def read_state(env: Any) -> np.ndarray | None:
    """`env.state()` as a flat array; None if the environment has none. TypeError: it is not numeric."""
    try:
        state = np.asarray(env.state()).ravel()
    except NotImplementedError:
        return None
    if state.dtype.kind not in "fiub":
        raise TypeError(f"it gives no array of numbers, but dtype {state.dtype}")
    return state
