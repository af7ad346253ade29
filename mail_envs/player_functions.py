"""Player functions Y(i | h): who acts in the next round, given the participation history.

In every round t a participation vector I_t in {0, 1, ..., M}^N is drawn: 0 means that the agent does not
act, m >= 1 that it acts, choosing from its m-th action set (M = 1 nearly everywhere). Agents are drawn
independently given the history (AMAGAIL, section 2), each from its own number of a counter-based stream
that belongs to the episode's seed: participation does not depend on the number of environments.

A player function of your own is a function given to `HistoryDependent` and its like, or a small class, which
writes two methods at most: `__init__`, which keeps every argument as an attribute of the same name, and, where
who acts depends on nothing but the round, `table`.

```python
class Every(PlayerFunction):         # in my_players.py: agent i acts in every k-th round, from round i on
    def __init__(self, k):
        self.k = k

    def table(self, num_agents):     # (R, N), row t has the chances of round t, and the row after the last
        rounds = np.arange(self.k)[:, None]
        return (rounds == np.arange(num_agents) % self.k).astype(np.float32), 0

THIRD = Every(3)                     # --player-function my_players.py:THIRD
```

Where it depends on the history, the class extends `HistoryDependent`, or `StateDependent` or `ActionSets`, and hands
its function to `super().__init__`. Files note a class by its name and its arguments, a function by its name, and
whoever replays them names it again: `--player-function my_players.py:THIRD`.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Sequence
from operator import index
from typing import Any

import numpy as np
from numba.core import config


class PlayerFunction:
    """Base of all player functions.

    Attributes:
        num_sets: M, the number of action sets.
        shared_coin: one number per round decides for all agents, instead of one for each.
        needs_history, needs_state: whether the function of `HistoryDependent` is given them.
        needs_turns: whether the game's own turns decide.
    """

    num_sets = 1
    shared_coin = False
    needs_history = False
    needs_state = False
    needs_turns = False

    def table(self, num_agents: int) -> tuple[np.ndarray, int] | None:
        """Probabilities by round: float32 (R, N), and the row to which the last one returns.

        None when they depend on more than the round. ValueError when they do not fit N agents.
        """
        return None

    def check(self, num_agents: int, action_dims: Sequence[int], discrete: bool) -> None:
        """Raise ValueError when this player function cannot be used for such a game.

        `action_dims`: every agent's number of discrete actions, or of components of continuous ones.
        """
        self.table(num_agents)

    def to_config(self) -> dict[str, Any]:
        """A JSON-able description: `type`, with its module before a colon if it is a user's, and arguments.

        TypeError when an argument cannot be written as JSON.
        """
        kind = type(self)
        own = kind.__module__ != __name__
        config = {"type": f"{kind.__module__}:{kind.__qualname__}" if own else kind.__name__}
        for name, value in self.arguments().items():
            try:
                json.dumps(value)
            except (TypeError, ValueError) as error:
                raise TypeError(
                    f"{kind.__name__}: {name}={value!r} cannot be written into files: keep numbers, texts "
                    "and lists, or define arguments()"
                ) from error
            config[name] = value
        return config

    def arguments(self) -> dict[str, Any]:
        """What the constructor was given: by default the attributes that are named as its parameters are."""
        found = {}
        for name in inspect.signature(type(self)).parameters:
            if not hasattr(self, name):
                raise TypeError(f"{type(self).__name__} must keep its argument as self.{name}")
            value = getattr(self, name)
            found[name] = value.tolist() if hasattr(value, "tolist") else value
        return found

    def __repr__(self) -> str:
        arguments = ", ".join(f"{k}={v!r}" for k, v in self.arguments().items())
        return f"{type(self).__name__}({arguments})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PlayerFunction) and self.to_config() == other.to_config()

    __hash__: Any = None


class Synchronous(PlayerFunction):
    """Everybody acts in every round: the usual Markov game."""

    def table(self, num_agents):
        return np.ones((1, num_agents), np.float32), 0


class OwnOrder(PlayerFunction):
    """The game itself says whose turn it is, as chess does: the only choice for such games."""

    needs_turns = True


class TurnOrder(PlayerFunction):
    """Rounds cycle through groups of agents, e.g. `TurnOrder([[0, 1, 2], [0, 1], [0]])`.

    An empty group is a round in which nobody acts.
    """

    def __init__(self, groups: Sequence[Sequence[int]]):
        try:
            self.groups = [[index(i) for i in group] for group in groups]
        except (TypeError, ValueError) as error:
            raise TypeError(
                f"TurnOrder(groups={groups!r}) needs lists of agents, such as [[0, 1], [2]]"
            ) from error
        if not any(self.groups):
            raise ValueError(f"TurnOrder(groups={groups!r}) never lets anybody act")

    def table(self, num_agents):
        table = np.zeros((len(self.groups), num_agents), np.float32)
        for row, group in zip(table, self.groups, strict=True):
            for i in group:
                if not 0 <= i < num_agents:
                    raise ValueError(
                        f"{self!r} names agent {i}, but the game has agents 0 to {num_agents - 1}"
                    )
                row[i] = 1
        return table, 0


class Stochastic(PlayerFunction):
    """Each agent acts with its own probability, independently of the past.

    Args:
        probability: one number for all agents, or one for each.
        initial: the same for the first round (ζ); None: as in the others.
        shared_coin: one draw per round for all agents: with equal probabilities all act or none does.
    """

    def __init__(
        self,
        probability: float | Sequence[float] = 0.5,
        initial: float | Sequence[float] | None = None,
        shared_coin: bool = False,
    ):
        self.probability = _probabilities("probability", probability)
        self.initial = None if initial is None else _probabilities("initial", initial)
        self.shared_coin = bool(shared_coin)
        if not np.any(self.probability):
            raise ValueError(f"{self!r} never lets anybody act after the first round")

    def table(self, num_agents):
        later = self._row("probability", self.probability, num_agents)
        if self.initial is None:
            return later[None], 0
        return np.stack([self._row("initial", self.initial, num_agents), later]), 1

    def _row(self, name, value, num_agents):
        if not isinstance(value, list):
            return np.full(num_agents, value, np.float32)
        if len(value) != num_agents:
            raise ValueError(
                f"{self!r}: {name} has {len(value)} entries, but the game has {num_agents} agents"
            )
        return np.array(value, np.float32)

    def arguments(self):
        return {
            "probability": self.probability,
            **({"initial": self.initial} if self.initial is not None else {}),
            **({"shared_coin": True} if self.shared_coin else {}),
        }


class HistoryDependent(PlayerFunction):
    """Y(i | h): the chance to act depends on who has acted so far.

    Args:
        function: either a numba-compiled scalar function `f(i, history) -> probability`, with `history`
            uint8 (t, N) the participation vectors of rounds 0 to t-1 (it runs on CUDA, too), or a plain
            Python function over a batch, `f(history, rounds) -> probabilities`: history uint8 (E, T, N),
            zero from row `rounds[e]` on, rounds int32 (E,), result (E, N).
    """

    needs_history = True

    def __init__(self, function: Callable):
        if not callable(function):
            raise TypeError(f"{type(self).__name__} needs a function, got {function!r}")
        self.function = function
        self.compiled = _is_scalar(function)

    def arguments(self):
        source = getattr(self.function, "py_func", self.function)
        name = getattr(source, "__qualname__", type(source).__name__)
        return {"function": f"{getattr(source, '__module__', '?')}:{name}"}

    def __eq__(self, other):
        return type(other) is type(self) and other.function is self.function

    __hash__: Any = None


class StateDependent(HistoryDependent):
    """The chance to act depends on the state and on all actions so far, too.

    Args:
        function: numba-compiled, `f(i, state, history, actions) -> probability` with state float32 (S,)
            and actions (t, N) or (t, N, A); or plain Python over a batch, `f(state, history, actions,
            rounds) -> (E, N)` with state (E, S), actions (E, T, N) or (E, T, N, A). A null action is -1
            in discrete and zero in continuous action histories.
    """

    needs_state = True


class ActionSets(HistoryDependent):
    """An agent that acts is also told how: it must choose from the m-th of M action sets.

    Args:
        function: numba-compiled, `f(i, m, history) -> probability of participating in set m` (1 to M),
            or plain Python over a batch, `f(history, rounds) -> (E, N, M)`.
        sets: M lists of the actions (discrete) or of the action's components (continuous) that the set
            contains; components outside it are zero.
    """

    def __init__(self, function: Callable, sets: Sequence[Sequence[int]]):
        super().__init__(function)
        self.sets = [[int(a) for a in s] for s in sets]
        if not self.sets or not all(self.sets):
            raise ValueError(f"ActionSets(sets={sets!r}): every action set needs an action")
        self.num_sets = len(self.sets)

    def check(self, num_agents, action_dims, discrete):
        for s in self.sets:
            for a in s:
                if not 0 <= a < max(action_dims):
                    raise ValueError(
                        f"ActionSets: action {a} in set {s} is outside 0 to {max(action_dims) - 1}"
                    )
            if min(s) >= min(action_dims):
                raise ValueError(
                    f"ActionSets: set {s} leaves nothing to agents that have only actions 0 to "
                    f"{min(action_dims) - 1}"
                )

    def membership(self, num_actions: int) -> np.ndarray:
        """int8 (M, A): 1 where the set contains the action."""
        table = np.zeros((self.num_sets, num_actions), np.int8)
        for row, s in zip(table, self.sets, strict=True):
            row[s] = 1
        return table

    def arguments(self):
        return {**super().arguments(), "sets": self.sets}


BUILT_IN: dict[str, type[PlayerFunction]] = {
    kind.__name__: kind
    for kind in (
        Synchronous,
        OwnOrder,
        TurnOrder,
        Stochastic,
        HistoryDependent,
        StateDependent,
        ActionSets,
    )
}


def from_config(config: dict[str, Any]) -> PlayerFunction:
    """The player function that `to_config` described, of the suite's own kinds. Nothing is imported.

    ValueError when the description names a function or a class of the user's, which it does not hold.
    """
    arguments = dict(config)
    kind = arguments.pop("type", None)
    if not isinstance(kind, str) or kind not in BUILT_IN:
        raise ValueError(f"player function type {kind!r} is not one of {', '.join(BUILT_IN)}")
    if isinstance(arguments.get("function"), str):
        raise ValueError(
            f"{kind}(function={arguments['function']!r}) is a name, and nothing is imported by a "
            "description: pass player_function= yourself"
        )
    try:
        return BUILT_IN[kind](**arguments)
    except TypeError as error:
        raise ValueError(f"{kind}: {error}") from None


def _is_scalar(function: Callable) -> bool:
    """Whether a function is about one agent `i`: compiled, or left in Python by NUMBA_DISABLE_JIT=1."""
    if config.DISABLE_JIT:
        return next(iter(inspect.signature(function).parameters), None) == "i"
    return hasattr(function, "py_func")


def _probabilities(name: str, value: float | Sequence[float]) -> float | list[float]:
    try:
        array = np.asarray(value, np.float64)
    except (TypeError, ValueError):
        array = np.array(np.nan)
    if array.ndim > 1 or not np.all((array >= 0) & (array <= 1)):
        raise ValueError(f"{name}={value!r} must lie in [0, 1], one number or one for each agent")
    return array.tolist()
