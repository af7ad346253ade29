"""Episodes, flat transitions, and a table with one row per episode."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from demos.layout import Layout


@dataclass(frozen=True, repr=False)
class Episode:
    """One episode of T rounds. Arrays that come from a file are read-only views of it.

    Attributes:
        observations: float32 (T+1, N, D), the last one is the final observation. Agents that observe
            fewer than D numbers are padded with zeros.
        actions: int32 (T, N), or float32 (T, N, A) in continuous games; zero where an agent did not act.
        participation: uint8 (T, N), 0 = the null action, m >= 1 = chose from the m-th action set.
        rewards: float32 (T, N).
        states: float32 (T+1, S).
        alive: bool (T+1, N), False for the dead, who never act again.
        action_masks: uint8 (T+1, N, A) in discrete games, else None; the last row is what would be allowed next.
        final_participation: uint8 (N,), who would have acted next.
        seed: `reset(seed=seed)` and the actions reproduce the episode.
        metrics: the game's outcome metrics, such as the number of landmarks covered.
        derived: `alive`, `final_participation` and the last mask were not recorded, but follow from the rest,
            see `demos.schema_one`.
    """

    observations: np.ndarray
    actions: np.ndarray
    participation: np.ndarray
    rewards: np.ndarray
    states: np.ndarray
    alive: np.ndarray
    action_masks: np.ndarray | None
    final_participation: np.ndarray
    terminated: bool
    truncated: bool
    seed: int
    metrics: Mapping[str, float] = field(default_factory=dict)
    derived: bool = False

    def __post_init__(self) -> None:
        t, n = self.participation.shape if self.participation.ndim == 2 else (0, 0)
        expected = {
            "observations": (t + 1, n, None),
            "actions": (t, n) + (None,) * (self.actions.ndim - 2),
            "participation": (t, n),
            "rewards": (t, n),
            "states": (t + 1, None),
            "alive": (t + 1, n),
            "final_participation": (n,),
        }
        if self.action_masks is not None:
            expected["action_masks"] = (t + 1, n, None)
        for name, shape in expected.items():
            found = getattr(self, name).shape
            if len(found) != len(shape) or any(
                want not in (None, have) for want, have in zip(shape, found, strict=True)
            ):
                raise ValueError(
                    f"Episode: {name} has shape {found}, expected "
                    f"({', '.join('any' if s is None else str(s) for s in shape)}) "
                    f"for T={t} rounds and N={n} agents (from participation)"
                )
        if t == 0:
            raise ValueError("Episode: it has no rounds")

    def __len__(self) -> int:
        """T, the number of rounds."""
        return len(self.rewards)

    def __repr__(self) -> str:
        """Shapes and outcome in one line."""
        _, n, d = self.observations.shape
        end = "terminated" if self.terminated else "truncated" if self.truncated else "unfinished"
        returns = np.array2string(self.returns, precision=2, threshold=6, edgeitems=2)
        return f"Episode(T={len(self)}, N={n}, D={d}, seed={self.seed}, {end}, returns={returns})"

    @property
    def returns(self) -> np.ndarray:
        """Undiscounted return of each agent, float64 (N,)."""
        return self.rewards.sum(axis=0, dtype=np.float64)


@dataclass(frozen=True, repr=False)
class Transitions:
    """M transitions as flat arrays, in the order of their episodes.

    `observations`, `actions`, `rewards`, `next_observations`, `terminated` and `truncated` are what libraries of offline
    learning ask for. What comes next is always of the same episode: after its last round, what was truly seen at the
    end. In sets of schema 1, `next_observations` and `next_state` are as recorded there, too; the other three follow from
    the rest after the last round (`demos.schema_one`): all actions are allowed, nobody acts, and the living are those of
    the round before.

    Attributes:
        observations, next_observations: float32 (M, N, D).
        actions: int32 (M, N) or float32 (M, N, A). participation: uint8 (M, N).
        alive, next_alive: bool (M, N), False for the dead, who never act again.
        action_mask, next_action_mask: uint8 (M, N, A), of `observations` and `next_observations`; None in
            continuous games.
        next_participation: uint8 (M, N), who acts next, or would have acted where the episode ended.
        rewards: float32 (M, N). state, next_state: float32 (M, S).
        terminated, truncated: bool (M,), true in the last transition of an episode that ended so.
        episode: int64 (M,), position of the episode in the set. round: int32 (M,).
    """

    observations: np.ndarray
    actions: np.ndarray
    participation: np.ndarray
    alive: np.ndarray
    action_mask: np.ndarray | None
    rewards: np.ndarray
    state: np.ndarray
    next_observations: np.ndarray
    next_state: np.ndarray
    next_alive: np.ndarray
    next_action_mask: np.ndarray | None
    next_participation: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    episode: np.ndarray
    round: np.ndarray

    def __len__(self) -> int:
        """M, the number of transitions."""
        return len(self.rewards)

    def __repr__(self) -> str:
        """Shapes in one line."""
        _, n, d = self.observations.shape
        return f"Transitions(M={len(self)}, N={n}, D={d})"

    def __getitem__(self, rows: slice | np.ndarray) -> Transitions:
        """Select transitions, e.g. a minibatch."""

        def pick(values: Any) -> Any:
            return None if values is None else values[rows]

        return Transitions(**{f.name: pick(getattr(self, f.name)) for f in fields(self)})


@dataclass(frozen=True, repr=False)
class EpisodeTable:
    """Data for statistics and plots, one row per episode.

    Attributes:
        returns: float64 (K, N). lengths: int64 (K,). seeds: int64 (K,).
        participation: float64 (K, N), fraction of rounds in which the agent acted.
        terminated, truncated: bool (K,). metrics: name -> float32 (K,).
    """

    returns: np.ndarray
    lengths: np.ndarray
    participation: np.ndarray
    seeds: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    metrics: dict[str, np.ndarray]


def to_episode(layout: Layout, c: Mapping[str, np.ndarray]) -> Episode:
    """The columns of one episode as an `Episode`, without copying."""
    return Episode(
        observations=c["observations"],
        actions=c["actions"][:-1],
        participation=c["participation"][:-1],
        rewards=c["rewards"][:-1],
        states=c["state"],
        alive=c["alive"].view(np.bool_),
        action_masks=c.get("action_mask"),
        final_participation=c["participation"][-1],
        terminated=bool(c["terminated"][-1]),
        truncated=bool(c["truncated"][-1]),
        seed=int(c["seed"][-1]),
        metrics={m: float(c[f"metric.{m}"][-1]) for m in layout.metrics},
        derived=not layout.alive,
    )
