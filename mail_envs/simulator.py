"""The contract of other people's simulators, and how one copy of a simulator is played.

A simulator's record in `buffers.world` is the episode so far: every joint action and who acted. With the
episode's seed that is all there is to know, so copies, pickles and saved states are restored by playing it again.
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
    """One copy of a simulator. A game's file implements these methods and the attributes of `MarkovGame`.

    Every other copy is made by the class with the same arguments, unless the game says otherwise: `factory`.

    Additional attributes:
        reset_options: what `reset(options=...)` of the view was given, for `reset` to read, where `takes_options`.
    """

    reset_options: dict[str, Any] | None = None

    def __new__(cls, *arguments: Any, **named: Any):
        game = super().__new__(cls)
        game.factory = partial(cls, *arguments, **named)
        return game

    def __reduce_ex__(self, protocol):
        """A copy or pickle is a new simulator from the factory; the view brings it to where this one is."""
        return super().__reduce_ex__(protocol) if self.factory is None else (_make, (self.factory,))

    def reset(self, seed: int) -> None:
        """Begin the episode of `seed`, in [0, 2**63)."""
        raise NotImplementedError

    def step(
        self, actions: np.ndarray, acts: np.ndarray, rewards: np.ndarray, metrics: np.ndarray
    ) -> tuple[bool, bool]:
        """Play a round; returns whether the episode has terminated, and whether it was truncated.

        Args:
            actions: int (N,), or float (N, A). Entries count where `acts` is not 0.
            acts: uint8 (N,), 0 for agents that take the null action, else the action set.
            rewards: float32 (N,), zeros, to be written.
            metrics: float32 (K,), to be written.
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

        `alive` is all True at the beginning of an episode; `action_mask` may be left alone where
        `has_action_mask` is False.
        """
        raise NotImplementedError

    def write_turns(self, turns: np.ndarray) -> None:
        """Write uint8 (N,), 1 for agents whose turn it is; where `has_turns`."""
        raise NotImplementedError

    def picture(self) -> np.ndarray:
        """The simulator's own image, uint8 (H, W, 3)."""
        raise NotImplementedError(f"{type(self).__name__} has no pictures")

    def infos(self) -> dict[str, dict[str, Any]]:
        """What the simulator itself tells agents, by name, in this round; where `has_infos`."""
        return {}

    def batch(self, num_envs: int) -> Callable[[Buffers], Any] | None:
        """Where the simulator has a batched interface: makes something like `Copies` from the buffers."""
        return None


def _make(factory: Callable[[], SimulatorGame]) -> SimulatorGame:
    game = factory()
    game.factory = factory
    return game


def record_dtype(max_rounds: int, num_agents: int, num_components: int) -> np.dtype:
    """A simulator's record: how the last round came out, and the episode so far.

    `num_components`: of continuous actions; 0: they are discrete.
    """
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
    """One copy's part of the buffers, as views; to slice them in every round takes microseconds."""

    def __init__(self, buffers: Buffers, e: int):
        self.buffers, self.e, b = buffers, e, buffers
        self.actions, self.acts = b.actions[e], b.acts[e]
        self.rewards, self.metrics = b.rewards[e], b.metrics[e]
        self.seen = (b.observations[e], b.action_mask[e], b.alive[e], b.state[e])
        self.alive, self.turns = b.alive[e], b.turns[e]
        self.outcome, self.seed = b.world["outcome"][e : e + 1], b.seeds[e : e + 1]
        self.record, self.clock = b.world[e : e + 1], b.clock[e : e + 1]

    def beside(self) -> Row:
        """Equal arrays elsewhere."""
        one = slice(self.e, self.e + 1)
        return Row(Buffers(**{k: np.copy(v[one]) for k, v in vars(self.buffers).items()}), 0)

    def shows(self) -> tuple[bytes, ...]:
        """Observations, who is alive, the state and whose turn it is. Masks depend on the player function, too."""
        observations, _, alive, state = self.seen
        return tuple(array.tobytes() for array in (observations, alive, state, self.turns))


def play(game: SimulatorGame, row: Row) -> None:
    """A round, from the buffers into the buffers."""
    terminated, truncated = game.step(row.actions, row.acts, row.rewards, row.metrics)
    row.outcome[0] = TERMINATED if terminated else TRUNCATED if truncated else RUNNING
    look(game, row)


def begin(game: SimulatorGame, row: Row) -> None:
    """Begin the episode of the copy's seed."""
    game.reset(int(row.seed[0]))
    row.alive[:] = True
    look(game, row)


def look(game: SimulatorGame, row: Row) -> None:
    game.observe(*row.seen)
    if game.has_turns:
        game.write_turns(row.turns)


def replay(game: SimulatorGame, row: Row) -> bool:
    """Play the copy's episode again up to its present round; the buffers stay as they are.

    Returns whether the simulator has come to what the buffers show.
    """
    again, record = row.beside(), row.record[0]
    again.seed[0], again.outcome[0] = row.clock["seed"][0], RUNNING
    begin(game, again)
    for t in range(int(row.clock["rounds"][0])):
        if again.outcome[0] != RUNNING:
            break
        again.actions[...], again.acts[...] = record["actions"][t], record["acts"][t]
        again.rewards[...] = 0
        play(game, again)
    return bool(row.clock["idle"][0]) or again.shows() == row.shows()
