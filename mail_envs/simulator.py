"""The interface of external simulators, and the functions that play one copy of a simulator.

A simulator's record in `buffers.world` is the episode so far: all joint actions and who acted. Together with the
episode's seed it determines the state, so copies, pickles and saved states are restored by replaying the episode.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from mail_envs.buffers import Buffers
from mail_envs.markov_game import MarkovGame
from mail_envs.rounds import RUNNING, TERMINATED, TRUNCATED


class SimulatorGame(MarkovGame):
    """One copy of a simulator. Subclasses implement these methods and set the attributes of `MarkovGame`.

    Further copies are made by calling the class with the same arguments, unless the game sets `factory`.

    Additional attributes:
        reset_options: the `options` of the view's `reset`, if `takes_options`.
        batch_replays: whether the copies of `batch`, too, can replay an episode from its seed.
        always_batched: whether `batch` makes all copies, also a single one. Such a game needs none of the methods above.
        on_cuda: whether `batch` also takes buffers on a CUDA device.
    """

    reset_options: dict[str, Any] | None = None
    batch_replays: bool = False
    always_batched: bool = False
    on_cuda: bool = False

    def __new__(cls, *arguments: Any, **named: Any):
        game = super().__new__(cls)
        game.factory = partial(cls, *arguments, **named)
        return game

    def __reduce_ex__(self, protocol):
        """A copy or pickle is a new simulator from the factory; the view brings it to the present state."""
        return super().__reduce_ex__(protocol) if self.factory is None else (_make, (self.factory,))

    def reset(self, seed: int) -> None:
        """Begin the episode with `seed`, in [0, 2**63)."""
        raise NotImplementedError

    def step(
        self, actions: np.ndarray, acts: np.ndarray, rewards: np.ndarray, metrics: np.ndarray
    ) -> tuple[bool, bool]:
        """Play a round; returns whether the episode was terminated, and whether it was truncated.

        Args:
            actions: int (N,), or float (N, A). Entries where `acts` is 0 are to be ignored.
            acts: uint8 (N,), 0 for agents that take the null action, else the action set.
            rewards: output, float32 (N,), initially zeros.
            metrics: output, float32 (K,).
        """
        raise NotImplementedError

    def observe(
        self,
        observations: np.ndarray,
        action_mask: np.ndarray,
        alive: np.ndarray,
        state: np.ndarray,
    ) -> None:
        """Write observations (N, D), action_mask int8 (N, A), alive bool (N,) and state float32 (S,).

        `alive` is all True at the beginning of an episode; `action_mask` need not be written if
        `has_action_mask` is False.
        """
        raise NotImplementedError

    def write_turns(self, turns: np.ndarray) -> None:
        """Write uint8 (N,), 1 for agents whose turn it is. Called only if `has_turns`."""
        raise NotImplementedError

    def picture(self) -> np.ndarray:
        """An image rendered by the simulator, uint8 (H, W, 3)."""
        raise NotImplementedError(f"{type(self).__name__} cannot be rendered")

    def infos(self) -> dict[str, dict[str, Any]]:
        """The simulator's own infos of this round, by agent. Called only if `has_infos`."""
        return {}

    def batch(self, num_envs: int) -> Callable[[Buffers], Any] | None:
        """For simulators with a batched interface: a function from buffers to an object like `Copies`."""
        return None


def _make(factory: Callable[[], SimulatorGame]) -> SimulatorGame:
    game = factory()
    game.factory = factory
    return game


MOST_BYTES = 2**28  # of the record of one copy


def record_dtype(max_rounds: int, num_agents: int, num_components: int) -> np.dtype:
    """A simulator's record: the outcome of the last round, and the episode so far.

    `num_components`: number of continuous action components; 0: actions are discrete.
    ValueError: it would take more than MOST_BYTES.
    """
    most = MOST_BYTES // (num_agents * (4 * max(num_components, 1) + 1))
    if max_rounds > most:
        raise ValueError(
            f"max_rounds={max_rounds!r} must be at most {most}: a simulator's episode is kept in memory to replay it"
        )
    joint = (max_rounds, num_agents) + ((num_components,) if num_components else ())
    return np.dtype(
        [
            ("outcome", "u1"),
            ("actions", "f4" if num_components else "i4", joint),
            ("acts", "u1", (max_rounds, num_agents)),
        ],
        align=True,
    )


class Row:
    """One copy's part of the buffers, as views, which are made only once to save time."""

    def __init__(self, buffers: Buffers, e: int):
        self.buffers, self.e, b = buffers, e, buffers
        self.actions, self.acts = b.actions[e], b.acts[e]
        self.rewards, self.metrics = b.rewards[e], b.metrics[e]
        self.outputs = (b.observations[e], b.action_mask[e], b.alive[e], b.state[e])
        self.alive, self.turns = b.alive[e], b.turns[e]
        self.outcome, self.seed = b.world["outcome"][e : e + 1], b.seeds[e : e + 1]
        self.record, self.clock = b.world[e : e + 1], b.clock[e : e + 1]

    def duplicate(self) -> Row:
        """A row with the same contents in arrays of its own."""
        one = slice(self.e, self.e + 1)
        return Row(Buffers(**{k: np.copy(v[one]) for k, v in vars(self.buffers).items()}), 0)

    def snapshot(self) -> tuple[bytes, ...]:
        """Observations, alive, state and turns. Not the masks, because the player function restricts them."""
        observations, _, alive, state = self.outputs
        return tuple(array.tobytes() for array in (observations, alive, state, self.turns))


def play(game: SimulatorGame, row: Row) -> None:
    """Play a round; reads and writes the buffers."""
    terminated, truncated = game.step(row.actions, row.acts, row.rewards, row.metrics)
    row.outcome[0] = TERMINATED if terminated else TRUNCATED if truncated else RUNNING
    observe(game, row)


def begin(game: SimulatorGame, row: Row) -> None:
    """Begin the episode with the copy's seed."""
    game.reset(int(row.seed[0]))
    row.alive[:] = True
    observe(game, row)


def observe(game: SimulatorGame, row: Row) -> None:
    game.observe(*row.outputs)
    if game.has_turns:
        game.write_turns(row.turns)


def replay(game: SimulatorGame, row: Row) -> bool:
    """Replay the copy's episode up to the present round, without changing the buffers.

    Returns whether the simulator arrives at the observations in the buffers.
    """
    again, record = row.duplicate(), row.record[0]
    again.seed[0], again.outcome[0] = row.clock["seed"][0], RUNNING
    begin(game, again)
    for t in range(int(row.clock["rounds"][0])):
        if again.outcome[0] != RUNNING:
            break
        again.actions[...], again.acts[...] = record["actions"][t], record["acts"][t]
        again.rewards[...] = 0
        play(game, again)
    return bool(row.clock["idle"][0]) or again.snapshot() == row.snapshot()
