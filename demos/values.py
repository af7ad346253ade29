"""Check the values in episodes: checksums detect damage, but not values that were wrong when written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from demos.layout import Layout


@dataclass(frozen=True)
class Values:
    """Bounds of the values in the episodes of a set.

    Attributes:
        observation_dims, action_dims: of each agent; the padding after them must be zero.
        num_sets: M, the number of action sets. max_rounds: limit on the length of an episode, if known.
    """

    layout: Layout
    observation_dims: tuple[int, ...]
    action_dims: tuple[int, ...]
    num_sets: int
    max_rounds: int | None

    def problem(
        self, columns: Mapping[str, np.ndarray], starts: np.ndarray
    ) -> tuple[int, str] | None:
        """The first problem found in some episodes, as (episode, description), or None.

        Args:
            columns: columns of R rows, see `demos.layout.decode`.
            starts: int64 (K,), the first row of each episode.
        """
        rows = len(columns["round"])
        lengths = np.diff(np.append(starts, rows))
        episode = np.repeat(np.arange(len(starts)), lengths)
        for what, wrong in self._checks(columns, starts[episode], lengths[episode]):
            found = np.flatnonzero(wrong)
            if len(found):
                k = int(episode[found[0]])
                return k, f"{what} (round {found[0] - starts[k]})"
        return None

    def _checks(
        self, c: Mapping[str, np.ndarray], first: np.ndarray, length: np.ndarray
    ) -> Iterator[tuple[str, np.ndarray]]:
        """Possible problems, and in which rows each occurs, bool (R,).

        first, length: int64 (R,), the first row and the number of rows of each row's episode.
        """
        row = np.arange(len(first))
        last = row - first == length - 1
        yield "rounds are not numbered from 0", c["round"] != row - first
        if self.max_rounds is not None:
            yield f"it is longer than {self.max_rounds} rounds", length - 1 > self.max_rounds
        for name in ("episode", "seed"):
            yield f"{name} is negative", c[name] < 0
            yield f"{name} changes", c[name] != c[name][first]
        for name in (f"metric.{m}" for m in self.layout.metrics):
            bits = c[name].view(np.int32)  # bits, because NaN != NaN
            yield f"{name} changes", bits != bits[first]
        for name in ("terminated", "truncated"):
            yield f"{name} is neither 0 nor 1", c[name] > 1
            yield f"{name} before the last round", (c[name] != 0) & ~last
        zero = ("actions", "rewards") if self.layout.alive else (
            "actions", "rewards", "participation", "action_mask"
        )  # fmt: skip
        for name in zero:
            if name in c:
                yield f"{name} after the last round", last & _any(c[name] != 0)
        for name, (dtype, _) in self.layout.arrays().items():
            if dtype.kind == "f":
                yield f"{name} is not finite", ~_all(np.isfinite(c[name]))
        absent = c["participation"] == 0
        yield f"participation is above {self.num_sets}", _any(c["participation"] > self.num_sets)
        if self.layout.alive:
            yield "alive is neither 0 nor 1", _any(c["alive"] > 1)
            yield "an agent acts that is dead", _any(~absent & (c["alive"] == 0))
        yield from self._checks_of_agents(c, absent)

    def _checks_of_agents(
        self, c: Mapping[str, np.ndarray], absent: np.ndarray
    ) -> Iterator[tuple[str, np.ndarray]]:
        """Problems with the actions, observations and masks of single agents. absent: bool (R, N)."""
        dims = np.array(self.action_dims)
        padding = np.arange(self.layout.num_actions) >= dims[:, None]  # (N, A)
        actions = c["actions"]
        if self.layout.discrete:
            yield "an action of an agent that did not act", _any((actions != 0) & absent)
            yield "an action that its agent does not have", _any((actions < 0) | (actions >= dims))
        else:
            yield "an action of an agent that did not act", _any((actions != 0) & absent[..., None])
            yield "an action beyond its agent's components", _any((actions != 0) & padding)
        sizes = np.array(self.observation_dims)
        beyond = np.arange(self.layout.observation_size) >= sizes[:, None]  # (N, D)
        if beyond.any():
            yield "an observation beyond its agent's size", _any((c["observations"] != 0) & beyond)
        if self.layout.masked:
            mask = c["action_mask"]
            yield "action_mask is neither 0 nor 1", _any(mask > 1)
            if padding.any():
                yield "an action mask beyond its agent's actions", _any((mask != 0) & padding)


def _any(wrong: np.ndarray) -> np.ndarray:
    """Whether any entry of a row is true, bool (R,)."""
    return np.asarray(wrong.reshape(len(wrong), -1).any(axis=1))


def _all(right: np.ndarray) -> np.ndarray:
    return np.asarray(right.reshape(len(right), -1).all(axis=1))
