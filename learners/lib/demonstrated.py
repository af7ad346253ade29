"""Demonstrations as a source of sequences: sampled like replay (`learners.lib.replay`), but read from disk.

Memory holds only an index of the episodes. They are read when they are sampled, from memory-mapped files, and each is
checked against its checksum the first time.
"""

from __future__ import annotations

import functools

import numpy as np
import torch
from torch import Tensor

from demos.dataset import Demonstrations
from learners.lib.batch import Batch
from learners.lib.expert_data import (
    adopt_references,
    check_allowed,
    demonstrations_of,
    kept_rounds,
    warn_of_other_ends,
    with_null,
)
from learners.lib.memory import free_bytes, size_text
from learners.lib.replay import PLAYED, SEEN, batch_of, picked
from learners.lib.run import Run

OPEN_EPISODES = 20_000  # whose columns stay mapped; some kilobytes each


class Demonstrated:
    """The rounds of a set of demonstrations, with the rewards and states that were recorded.

    Args:
        demos: the episodes.
        vec: the game that learns from them; where φ is one of its actions, absent agents chose it.
        device: of the batches.
        state: read the global states.
        kept: which rounds there are, bool (rounds,), see `kept_rounds`; None: all. Successive ones are sampled like a
            whole episode, whose last row shows what truly followed.

    Raises:
        DemonstrationError: the demonstrations are not of this game; later, an episode that is read has a forbidden action.
    """

    def __init__(
        self,
        demos: Demonstrations,
        vec,
        device: torch.device | str = "cpu",
        state: bool = True,
        kept: np.ndarray | None = None,
    ):
        demos.check_compatible(vec)
        self.demos, self.vec, self.device, self.state = demos, vec, torch.device(device), state
        self.played = demos.lengths
        self.episode, self.start, self.lengths = pieces(self.played, kept)
        self.first = np.cumsum(self.lengths + 1) - (self.lengths + 1)
        total = int((self.lengths + 1).sum())
        number = np.arange(total) - np.repeat(self.first, self.lengths + 1)
        self.round = torch.from_numpy(number.astype(np.int32))
        self.acted = torch.ones(total, dtype=torch.bool)
        self.acted[torch.from_numpy(self.first + self.lengths)] = False
        self.begins: dict[tuple[int, int], Tensor] = {}
        self._columns = functools.lru_cache(maxsize=OPEN_EPISODES)(self._open)

    def __str__(self) -> str:
        size = size_text(len(self.acted) * self.demos.layout.row_bytes())
        episodes = len(np.unique(self.episode))
        return f"{int(self.lengths.sum()):,} rounds of {episodes:,} episodes, {size} on disk"

    def after(self, rows: Tensor, steps: Tensor) -> Tensor:
        return (rows + steps).clamp(max=len(self.acted) - 1)

    def episodes(self) -> tuple[Tensor, Tensor]:
        return torch.from_numpy(self.first), torch.from_numpy(self.lengths)

    def whole(self) -> tuple[Demonstrated, Tensor]:
        """All rounds of all episodes, and the rows there of this source's rows, int64 (rows,)."""
        found = Demonstrated(self.demos, self.vec, self.device, self.state)
        offsets = found.first[self.episode] + self.start - self.first
        rows = np.repeat(offsets, self.lengths + 1) + np.arange(len(self.acted))
        return found, torch.from_numpy(rows)

    def _open(self, k: int) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], dict[str, bool]]:
        """What was seen in episode k, (T + 1, ...); what was done and paid, (T, ...); and how it ended."""
        episode = self.demos[k]
        acts = (episode.participation != 0) & episode.alive[:-1]
        masks = None if episode.action_masks is None else episode.action_masks[:-1]
        place = np.broadcast_to(k, len(episode)), np.arange(len(episode))
        check_allowed(self.vec, episode.actions, masks, acts, *place)
        last = episode.final_participation[None]
        seen = {
            "observations": episode.observations,
            "states": episode.states[:, : None if self.state else 0],
            "alive": episode.alive,
            "participation": np.concatenate([episode.participation, last]) != 0,
        }
        if episode.action_masks is not None:
            seen["action_mask"] = episode.action_masks.view(np.int8)
        played = {"actions": episode.actions, "rewards": episode.rewards}
        return seen, played, {"terminated": episode.terminated, "truncated": episode.truncated}

    def read(self, rows: Tensor, filled: Tensor) -> Batch:
        """The batch of rows (L + 1, B), each column from one episode."""
        where = rows.cpu().numpy()
        piece = np.searchsorted(self.first, where[0], side="right") - 1
        episodes = self.episode[piece]
        parts = [self._columns(k) for k in episodes.tolist()]
        steps = where - self.first[piece] + self.start[piece]
        x = {name: self._stacked([p[0][name] for p in parts], steps) for name in parts[0][0]}
        y = {name: self._stacked([p[1][name] for p in parts], steps[:-1]) for name in parts[0][1]}
        last = steps[:-1] == self.played[episodes] - 1
        for name in ("terminated", "truncated"):
            ended = last & np.array([p[2][name] for p in parts])
            y[name] = torch.from_numpy(ended).to(self.device)
        x["round"] = torch.from_numpy(steps.astype(np.int32)).to(self.device)
        mask = x.get("action_mask")
        if self.vec.discrete:
            y["actions"] = y["actions"].long()
        y["actions"], mask = with_null(
            self.vec, y["actions"], mask, x["participation"][: len(filled)]
        )
        if mask is not None:
            x["action_mask"] = mask
        memory = x["observations"].new_zeros(filled.shape[1], self.vec.num_agents, 0)
        return batch_of(x, y, memory, filled.to(self.device))

    def _stacked(self, columns: list[np.ndarray], steps: np.ndarray) -> Tensor:
        """Rows `steps` (L, B) of B episodes' columns, (L, B, ...)."""
        out = np.empty((*steps.shape, *columns[0].shape[1:]), columns[0].dtype)
        for b, column in enumerate(columns):
            np.take(column, steps[:, b], axis=0, out=out[:, b], mode="clip")
        return torch.from_numpy(out).to(self.device)


def pieces(
    lengths: np.ndarray, kept: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Runs of successive kept rounds in episodes of these lengths: episode, first round and length, int64 (P,) each."""
    episode = np.repeat(np.arange(len(lengths)), lengths)
    number = np.arange(len(episode)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    rows = np.arange(len(episode)) if kept is None else np.flatnonzero(kept)
    begins = np.diff(rows, prepend=-2) > 1
    begins |= number[rows] == 0
    firsts = np.flatnonzero(begins)
    found = rows[firsts]
    return episode[found], number[found], np.diff(firsts, append=len(rows))


class Loaded:
    """The same rounds, read once and kept in memory: sampled much faster than from disk."""

    def __init__(self, source: Demonstrated):
        self.acted, self.round = (x.to(source.device) for x in (source.acted, source.round))
        self._episodes = tuple(x.to(source.device) for x in source.episodes())
        self.begins: dict[tuple[int, int], Tensor] = {}
        self.tensors: dict[str, Tensor] = {}
        for first, length in zip(*source.episodes(), strict=True):
            rows = torch.arange(int(length) + 1).unsqueeze(1) + first
            batch = source.read(rows, torch.ones(int(length), 1, dtype=torch.bool))
            found = {name: getattr(batch.rows, name) for name in SEEN}
            found |= {name: getattr(batch, name) for name in PLAYED}  # one row less
            for name, x in found.items():
                if x is not None:
                    self._put(name, int(first), x[:, 0])
        self.tensors["memory"] = self.tensors["observations"][:, :, :0]

    def _put(self, name: str, first: int, x: Tensor) -> None:
        """Keep x (rows, ...) from row `first` on; rows that nothing is put into stay zero."""
        if name not in self.tensors:
            self.tensors[name] = x.new_zeros(len(self.acted), *x.shape[1:])
        self.tensors[name][first : first + len(x)] = x

    def after(self, rows: Tensor, steps: Tensor) -> Tensor:
        return (rows + steps).clamp(max=len(self.acted) - 1)

    def episodes(self) -> tuple[Tensor, Tensor]:
        first, lengths = self._episodes
        return first, lengths

    def read(self, rows: Tensor, filled: Tensor) -> Batch:
        """The batch of rows (L + 1, B), each column from one episode."""
        return picked(self.tensors, rows, filled)


def in_memory(source: Demonstrated) -> Demonstrated | Loaded:
    """The demonstrations in memory if they fit into half of what is free, else read from disk."""
    free = free_bytes(source.device)
    size = len(source.acted) * source.demos.layout.row_bytes()
    return source if free is not None and size > free / 2 else Loaded(source)


def demonstrated(run: Run, vec, state: bool = True) -> Demonstrated:
    """The run's demonstrations (`DemoSettings`), recorded first if need be; their size becomes a line of the run's text.

    They also give the references of games without measured ones.
    """
    demos = demonstrations_of(run)
    warn_of_other_ends(run, demos, vec)
    adopt_references(run, demos, vec, run.args.demos)
    demos = demos.first(run.args.num_demos)
    kept = kept_rounds(demos.lengths, run.args) if run.args.demo_share < 1 else None
    found = Demonstrated(demos, vec, run.device, state, kept)
    run.say(f"demonstrations: {found}")
    return found
