"""Player functions Y(i | h): who acts in the next round, given the participation history.

In every round t a participation vector I_t in {0, 1, ..., M}^N is drawn: 0 means that the agent does not
act, m >= 1 that it acts, choosing from its m-th action set (M = 1 in almost every game). Agents are drawn
independently given the history (AMAGAIL, section 2), each with its own random number from a counter-based stream
that the episode's seed determines, so participation does not depend on the number of environments.

To write your own player function, pass a function to `HistoryDependent`, `StateDependent` or `ActionSets`, or
define a small class with at most two methods: `__init__`, which stores every argument as an attribute of the same
name, and `table`, if who acts depends only on the number of the round.

```python
class Every(PlayerFunction):         # in my_players.py: agent i acts in every k-th round, starting with round i
    def __init__(self, k):
        self.k = k

    def table(self, num_agents):     # (R, N): probabilities of round t in row t; and the row after the last
        rounds = np.arange(self.k)[:, None]
        return (rounds == np.arange(num_agents) % self.k).astype(np.float32), 0

THIRD = Every(3)                     # --player-function my_players.py:THIRD
```

If who acts depends on the history, the class extends `HistoryDependent`, `StateDependent` or `ActionSets` and passes
its function to `super().__init__`. Recordings store a class by its name and arguments, and a function by its name;
to replay them, name it again: `--player-function my_players.py:THIRD`.
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
        shared_coin: all agents share one random number per round; only with a `table`.
        needs_history, needs_state: whether the function of `HistoryDependent` receives them.
        needs_turns: whether the game's own turns decide who acts.
    """

    num_sets = 1
    shared_coin = False
    needs_history = False
    needs_state = False
    needs_turns = False

    def table(self, num_agents: int) -> tuple[np.ndarray, int] | None:
        """Probabilities by round: float32 (R, N), and the row that follows the last one.

        None if they depend on more than the round. ValueError if they do not fit N agents.
        """
        return None

    def check(self, num_agents: int, action_dims: Sequence[int], discrete: bool) -> None:
        """Raise ValueError if this player function cannot be used with such a game.

        `action_dims`: each agent's number of discrete actions, or of continuous action components.
        """
        answer = self.table(num_agents)
        if answer is not None:
            _check_table(self, answer, num_agents)
        elif not (self.needs_history or self.needs_turns):
            raise ValueError(f"{self!r} has neither a table nor a function that says who acts")
        elif self.shared_coin:
            raise ValueError(f"{self!r}: agents can share a random number only with a table")

    def to_config(self) -> dict[str, Any]:
        """A description for JSON: `type` (`module:name` for a user's class), and the arguments.

        TypeError if an argument cannot be written as JSON.
        """
        kind = type(self)
        own = kind.__module__ != __name__
        config = {"type": f"{kind.__module__}:{kind.__qualname__}" if own else kind.__name__}
        for name, value in self.arguments().items():
            try:
                json.dumps(value)
            except (TypeError, ValueError) as error:
                raise TypeError(
                    f"{kind.__name__}: {name}={value!r} cannot be saved as JSON: use numbers, strings "
                    "and lists, or define arguments()"
                ) from error
            config[name] = value
        return config

    def arguments(self) -> dict[str, Any]:
        """The constructor's arguments: by default, the attributes with the names of its parameters."""
        found = {}
        for name in inspect.signature(type(self)).parameters:
            if not hasattr(self, name):
                raise TypeError(f"{type(self).__name__} must store its argument as self.{name}")
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
    """All agents act in every round: a synchronous Markov game."""

    def table(self, num_agents):
        return np.ones((1, num_agents), np.float32), 0


class OwnOrder(PlayerFunction):
    """The game itself decides whose turn it is, as in chess. Such games allow no other player function."""

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
        probability: one number for all agents, or one per agent.
        initial: the same, for the first round (ζ); None: equal to `probability`.
        shared_coin: one draw per round for all agents; with equal probabilities, all act or none does.
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
    """Y(i | h): the probability of acting depends on who has acted so far.

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
    """The probability of acting also depends on the state and on all actions so far.

    Args:
        function: numba-compiled, `f(i, state, history, actions) -> probability` with state float32 (S,)
            and actions (t, N) or (t, N, A); or plain Python over a batch, `f(state, history, actions,
            rounds) -> (E, N)` with state (E, S), actions (E, T, N) or (E, T, N, A). A null action is -1
            in discrete and zero in continuous action histories; so are those of rounds to come.
    """

    needs_state = True


class ActionSets(HistoryDependent):
    """An agent that acts also draws one of M action sets, from which it must choose its action.

    Args:
        function: numba-compiled, `f(i, m, history) -> probability of participating in set m` (1 to M),
            or plain Python over a batch, `f(history, rounds) -> (E, N, M)`.
        sets: M lists of the actions (discrete) or action components (continuous) in each set; components
            outside the set are set to zero.
    """

    def __init__(self, function: Callable, sets: Sequence[Sequence[int]]):
        super().__init__(function)
        self.sets = [[int(a) for a in s] for s in sets]
        if not self.sets or not all(self.sets):
            raise ValueError(f"ActionSets(sets={sets!r}): every action set needs an action")
        self.num_sets = len(self.sets)

    def check(self, num_agents, action_dims, discrete):
        super().check(num_agents, action_dims, discrete)
        for s in self.sets:
            for a in s:
                if not 0 <= a < max(action_dims):
                    raise ValueError(
                        f"ActionSets: action {a} in set {s} is outside 0 to {max(action_dims) - 1}"
                    )
            if min(s) >= min(action_dims):
                raise ValueError(
                    f"ActionSets: set {s} has no action for agents whose actions are 0 to "
                    f"{min(action_dims) - 1}"
                )

    def membership(self, num_actions: int) -> np.ndarray:
        """int8 (M, A): 1 if the set contains the action."""
        table = np.zeros((self.num_sets, num_actions), np.int8)
        for row, s in zip(table, self.sets, strict=True):
            row[s] = 1
        return table

    def arguments(self):
        return {**super().arguments(), "sets": self.sets}


_KINDS = (
    Synchronous, OwnOrder, TurnOrder, Stochastic, HistoryDependent, StateDependent, ActionSets,
)  # fmt: skip
BUILT_IN: dict[str, type[PlayerFunction]] = {kind.__name__: kind for kind in _KINDS}


def from_config(config: dict[str, Any]) -> PlayerFunction:
    """The built-in player function that `to_config` described. Nothing is imported.

    ValueError if the description names a user's function or class, because it does not contain the code.
    """
    arguments = dict(config)
    kind = arguments.pop("type", None)
    if not isinstance(kind, str) or kind not in BUILT_IN:
        raise ValueError(f"player function type {kind!r} is not one of {', '.join(BUILT_IN)}")
    if isinstance(arguments.get("function"), str):
        raise ValueError(
            f"{kind}(function={arguments['function']!r}) only names a function, which is not imported: "
            "pass player_function="
        )
    try:
        return BUILT_IN[kind](**arguments)
    except TypeError as error:
        raise ValueError(f"{kind}: {error}") from None


def _check_table(player: PlayerFunction, answer: Any, num_agents: int) -> None:
    """ValueError unless the answer of a user's `table` is as `PlayerFunction.table` says: kernels do not look."""
    try:
        table, following = answer
        rows = np.asarray(table, np.float64)
        fits = rows.ndim == 2 and rows.shape[1] == num_agents and 0 <= index(following) < len(rows)
    except (TypeError, ValueError):
        fits = False
    if not fits:
        raise ValueError(
            f"{player!r}: table() must give rows of {num_agents} probabilities, and the row after the last "
            f"(0 or more, less than their number); it gives {answer!r}"
        )
    if not np.all((rows >= 0) & (rows <= 1)):
        raise ValueError(f"{player!r}: table() gives probabilities outside [0, 1]: {rows.tolist()}")


def _is_scalar(function: Callable) -> bool:
    """Whether a function is for one agent `i`: compiled, or plain Python under NUMBA_DISABLE_JIT=1."""
    if config.DISABLE_JIT:
        return next(iter(inspect.signature(function).parameters), None) == "i"
    return hasattr(function, "py_func")


def _probabilities(name: str, value: float | Sequence[float]) -> float | list[float]:
    try:
        array = np.asarray(value, np.float64)
    except (TypeError, ValueError):
        array = np.array(np.nan)
    if array.ndim > 1 or not np.all((array >= 0) & (array <= 1)):
        raise ValueError(f"{name}={value!r} must lie in [0, 1], one number or one per agent")
    return array.tolist()
