"""Sequences of rounds, as replay and demonstrations hand them out, and which of their entries count in a loss.

A batch has B sequences of L rounds. A sequence never spans two episodes: its rows 0 ... L are what was seen before
each round and after the last one, so that row t + 1 is the true successor of row t, also where an episode ended.
Single transitions are sequences of one round.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor


@dataclasses.dataclass(frozen=True)
class Seen:
    """What is seen at one moment, of shape *L.

    Attributes:
        observations: float32 (*L, N, D). states: float32 (*L, S), S may be 0.
        action_mask: int8 (*L, N, A), or None in continuous games.
        alive: bool (*L, N). participation: bool (*L, N), who acts.
        round: int32 (*L), rounds since the episode began.
    """

    observations: Tensor
    states: Tensor
    action_mask: Tensor | None
    alive: Tensor
    participation: Tensor
    round: Tensor

    @property
    def acts(self) -> Tensor:
        """Who is alive and acts, bool (*L, N)."""
        return self.participation & self.alive

    def __getitem__(self, rows) -> Seen:
        """The same rows of all tensors."""
        return each(self, lambda x: x[rows])


@dataclasses.dataclass(frozen=True)
class Batch:
    """B sequences of L rounds.

    Attributes:
        rows: what was seen, (L + 1, B). A sequence that is shorter than L repeats its last row, where nobody is alive
            or acts.
        actions: int64 (L, B, N), or float32 (L, B, N, A). rewards: float32 (L, B, N).
        terminated, truncated: bool (L, B), how the episode ended in this round, if it did.
        filled: bool (L, B), False for padding.
        memory: of a recurrent policy before the first round, float32 (B, N, H); H may be 0.
    """

    rows: Seen
    actions: Tensor
    rewards: Tensor
    terminated: Tensor
    truncated: Tensor
    filled: Tensor
    memory: Tensor

    @property
    def seen(self) -> Seen:
        """Before each round, (L, B)."""
        return self.rows[:-1]

    @property
    def next(self) -> Seen:
        """After each round, (L, B); where an episode ended, what was truly seen last."""
        return self.rows[1:]

    def learned_from(self, absent: bool = False) -> Tensor:
        """Entries that count in a loss, bool (L, B, N); see `counted`."""
        return counted(self.rows.alive[:-1], self.rows.participation[:-1], self.filled, absent)


def joined(*batches: Batch) -> Batch:
    """The sequences of several batches as one batch, all padded to the longest."""
    longest = max(len(b.filled) for b in batches)
    rows = [extended(b.rows, longest - len(b.filled)) for b in batches]
    played = [{n: padded(getattr(b, n), longest - len(b.filled)) for n in LENGTHS} for b in batches]
    names = [f.name for f in dataclasses.fields(Seen) if getattr(rows[0], f.name) is not None]
    seen = {n: torch.cat([getattr(x, n) for x in rows], 1) for n in names}
    parts = {n: torch.cat([p[n] for p in played], 1) for n in LENGTHS}
    memory = torch.cat([b.memory for b in batches])
    return Batch(Seen(**{"action_mask": None, **seen}), **parts, memory=memory)


LENGTHS = ("actions", "rewards", "terminated", "truncated", "filled")  # of a batch, (L, B, ...)


def extended(rows: Seen, count: int) -> Seen:
    """`rows` (L, B), and the last of them `count` more times; in this padding nobody is alive or acts."""
    if not count:
        return rows
    length = len(rows.round)
    found = rows[torch.arange(length + count, device=rows.round.device).clamp(max=length - 1)]
    found.alive[length:] = found.participation[length:] = False
    return found


def padded(x: Tensor, count: int) -> Tensor:
    """`x` (L, ...) with `count` more rows of zeros."""
    return torch.cat([x, x.new_zeros(count, *x.shape[1:])]) if count else x


def counted(alive: Tensor, participation: Tensor, real: Tensor, absent: bool = False) -> Tensor:
    """Entries that count in a loss, bool (*L, N): those of living agents that act, in real rounds.

    Args:
        alive: bool (*L, N).
        participation: bool (*L, N), who acts.
        real: bool (*L), False for padding and for rounds whose outcome is unknown.
        absent: living agents that do not act count, too: φ is one of their actions.
    """
    return (alive if absent else alive & participation) & real.unsqueeze(-1)


def mean(values: Tensor, weights: Tensor) -> Tensor:
    """Mean of `values` where `weights` (bool, same shape) is true; 0 if nowhere. Other values may be anything."""
    return torch.where(weights, values, 0.0).sum() / weights.sum().clamp(min=1)


def each(holder, change):
    """`holder`, a dataclass of tensors, with `change` applied to all of them that are not None."""
    fields = {f.name: getattr(holder, f.name) for f in dataclasses.fields(holder)}
    return type(holder)(**{k: None if x is None else change(x) for k, x in fields.items()})
