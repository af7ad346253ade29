"""Replay of the learner's own rounds, and sampling from it.

Replay and demonstrations (`learners.lib.demonstrated`) are *sources*, and sampled alike: single transitions, whole
episodes, or chunks of L rounds. A source numbers its rows; an episode of T rounds has T + 1 successive rows, the
last of which shows how it ended. A source has

    acted: bool (rows,), False for rows without an action: those after an episode, and those not played yet.
    round: int32 (rows,), rounds since the episode began, or since the first of successive rounds that there are.
    after(rows, steps): the rows that come `steps` later in the same episode.
    begins: cache of the rows in which chunks begin, by length and cut; emptied when rows change.
    episodes(): first rows and lengths T of all whole episodes, int64 (K,) each.
    read(rows, filled): the `Batch` of rows (L + 1, B).
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Protocol

import torch
from torch import Tensor

from learners.lib.batch import Batch, Seen
from learners.lib.memory import USABLE, free_bytes, size_text
from learners.lib.rollout import Rollout
from learners.lib.running_episodes import check_form
from mail_envs.player_functions import Synchronous


class Source(Protocol):
    """What can be sampled, see above."""

    @property
    def acted(self) -> Tensor: ...
    @property
    def round(self) -> Tensor: ...
    @property
    def begins(self) -> dict[tuple[int, int], Tensor]: ...
    def after(self, rows: Tensor, steps: Tensor) -> Tensor: ...
    def episodes(self) -> tuple[Tensor, Tensor]: ...
    def read(self, rows: Tensor, filled: Tensor) -> Batch: ...


# -------------------------------------------------------------------------------------------- sampling
def sample_transitions(source: Source, count: int, rng: torch.Generator) -> Batch:
    """`count` independent, uniformly drawn rounds, as sequences of one round."""
    return sample_chunks(source, count, 1, rng)


def rounds_needed(vec: Any, args: Any) -> int:
    """Rounds per sequence: one where all agents act in every round."""
    return 1 if isinstance(vec.player_function, Synchronous) else args.chunk


def sample_chunks(source: Source, count: int, length: int, rng: torch.Generator) -> Batch:
    """`count` independent sequences of up to `length` rounds, with the memory before the first.

    Every episode is cut every `length` rounds, so that every round is equally likely; where the first cut is, is drawn
    anew in every call. With fixed cuts, the same rounds would always be the last of their chunk, where what follows an
    absent agent is unknown.
    """
    cut = int(torch.randint(length, (), generator=rng, device=rng.device)) if length > 1 else 0
    begins = source.begins.get((length, cut))
    if begins is None:
        where = source.acted
        if length > 1:
            where = where & ((source.round % length == cut) | (source.round == 0))
        begins = source.begins[length, cut] = where.nonzero().squeeze(1)
    first = _drawn(begins, count, rng)
    most = torch.where(source.round[first] % length == cut, length, cut)
    return _sequences(source, first, length, most)


def sample_episodes(source: Source, count: int, rng: torch.Generator) -> Batch:
    """`count` independent, uniformly drawn whole episodes, padded to the longest of them."""
    starts, _ = source.episodes()
    return read_episodes(
        source, _drawn(torch.arange(len(starts), device=starts.device), count, rng)
    )


def sample_starts(source: Source, count: int, rng: torch.Generator) -> Batch:
    """The first rounds of `count` independent, uniformly drawn whole episodes, as sequences of one round."""
    starts, _ = source.episodes()
    return _sequences(source, _drawn(starts, count, rng), 1)


def read_episodes(source: Source, which: Tensor) -> Batch:
    """The episodes of these numbers, int64 (B,), padded to the longest of them."""
    starts, lengths = source.episodes()
    return _sequences(source, starts[which], int(lengths[which].max()))


def _drawn(among: Tensor, count: int, rng: torch.Generator) -> Tensor:
    if not len(among):
        raise ValueError("there is nothing to sample yet")
    picked = torch.randint(len(among), (count,), generator=rng, device=rng.device)
    return among[picked.to(among.device)]


def _sequences(source: Source, first: Tensor, length: int, most: Tensor | None = None) -> Batch:
    """Sequences of up to `length` rounds, or `most` (B,), from rows `first` (B,), which end where their episode does."""
    steps = torch.arange(length + 1, device=first.device).unsqueeze(1)
    filled = source.acted[source.after(first, steps[:-1])].cumprod(0).bool()
    if most is not None:
        filled &= steps[:-1] < most
    return source.read(source.after(first, torch.minimum(steps, filled.sum(0))), filled)


# ---------------------------------------------------------------------------------------------- replay
class Replay:
    """The last rounds of E copies of a game, in preallocated tensors.

    Every copy has a ring of R rows, so that episodes of different lengths can be added round by round. Rounds can be
    sampled as soon as they are added; whole episodes once they have ended. A round whose worker died has no known
    outcome: its row only shows what followed the round before.

    Args:
        vec: the game.
        capacity: rows of all copies together; an episode of T rounds takes T + 1.
        device: of the tensors.
        memory: size H of the policy's memory, stored with every row so that chunks can begin anywhere; 0: none.
        state: keep the global states.

    Raises:
        ValueError: the rows do not fit into memory, or a copy's share of them is shorter than an episode.
    """

    def __init__(
        self,
        vec,
        capacity: int,
        device: torch.device | str = "cpu",
        memory: int = 0,
        state: bool = True,
    ):
        E, N, D = vec.num_envs, vec.num_agents, max(vec.observation_dims)
        R = self.rows = capacity // E
        self.num_envs, self.device, self._actions = E, torch.device(device), vec.action_dims
        if R < vec.max_rounds + 2:
            raise ValueError(
                f"capacity={capacity} is too small: {E} copies of episodes of up to {vec.max_rounds} rounds need "
                f"at least {E * (vec.max_rounds + 2)}"
            )
        shapes: dict[str, tuple[torch.dtype, tuple[int, ...]]] = {
            "observations": (torch.float32, (N, D)),
            "states": (torch.float32, (math.prod(vec.state_space.shape) if state else 0,)),
            "alive": (torch.bool, (N,)),
            "participation": (torch.bool, (N,)),
            "round": (torch.int32, ()),
            "actions": (torch.int32, (N,))
            if vec.discrete
            else (torch.float32, (N, vec.num_actions)),
            "rewards": (torch.float32, (N,)),
            "memory": (torch.float32, (N, memory)),
        }
        shapes |= dict.fromkeys(("terminated", "truncated", "acted", "last"), (torch.bool, ()))
        if vec.discrete:
            shapes["action_mask"] = (torch.int8, (N, vec.num_actions))
        self._check_size(
            capacity, sum(t.itemsize * math.prod(shape) for t, shape in shapes.values())
        )
        self.tensors = {
            name: torch.zeros((E * R, *shape), dtype=kind, device=device)
            for name, (kind, shape) in shapes.items()
        }
        self.heads = torch.zeros(E, dtype=torch.int64, device=device)  # rows added, by copy
        self.begins: dict[tuple[int, int], Tensor] = {}
        self._episodes: tuple[Tensor, Tensor] | None = None

    def _check_size(self, capacity: int, row: int) -> None:
        self.bytes, free = self.num_envs * self.rows * row, free_bytes(self.device)
        if free is not None and self.bytes > USABLE * free:
            raise ValueError(
                f"capacity={capacity} takes {size_text(self.bytes)}, but only {size_text(free)} are free "
                f"({self.device}): at most {int(USABLE * free) // row:,} rows fit"
            )

    def __str__(self) -> str:
        return f"replay of {self.num_envs * self.rows:,} rounds, {size_text(self.bytes)} ({self.device})"

    @property
    def acted(self) -> Tensor:
        return self.tensors["acted"]

    @property
    def round(self) -> Tensor:
        return self.tensors["round"]

    # ---------------------------------------------------------------------------------------- adding
    def add(self, rollout: Rollout, rewards: Tensor | None = None) -> None:
        """Add a fragment; `rewards` (T, E, N) replace those of the game.

        The first fragment begins where the copies were reset, every other one where the one before ended.
        ValueError: the fragment is longer than a copy's ring.
        """
        lost = rollout.lost
        ended = (rollout.terminated | rollout.truncated) & ~lost
        taken = 1 + ended.long()
        at = self.heads + taken.cumsum(0) - taken
        if int(taken.sum(0).max()) >= self.rows:
            raise ValueError(
                f"{rollout.rounds} rounds at once do not fit into {self.rows} rows per copy"
            )
        memory = self.tensors["memory"].shape[2]
        played = {
            "actions": rollout.played(),
            "rewards": rollout.rewards if rewards is None else rewards,
            "terminated": rollout.terminated,
            "truncated": rollout.truncated,
            "acted": ~lost,
            "last": lost,
            **({"memory": rollout.memory[:-1]} if memory else {}),
        }
        self._write(at, {**seen(rollout, slice(0, -1)), **played})
        where = ended.nonzero(as_tuple=True)
        self._write(at[where] + 1, {**last_seen(rollout, where), "last": True}, where[1])
        self.heads = self.heads + taken.sum(0)
        # The row that the next fragment begins with; until then it is the successor of the last round.
        self._write(self.heads, seen(rollout, -1))
        self._forget()

    def _forget(self) -> None:
        """Where chunks and episodes begin is found anew when it is asked for: rows have changed."""
        self.begins, self._episodes = {}, None

    def _write(self, at: Tensor, values: dict[str, Any], copies: Tensor | None = None) -> None:
        """Write rows number `at` of `copies` (default: all, in the last dimension); what is not given is 0."""
        if copies is None:
            copies = torch.arange(self.num_envs, device=self.device)
        rows = copies * self.rows + at % self.rows
        for name, x in self.tensors.items():
            value = values.get(name, 0)
            x[rows] = value.to(x) if isinstance(value, Tensor) else value

    # --------------------------------------------------------------------------------------- reading
    def after(self, rows: Tensor, steps: Tensor) -> Tensor:
        ring = rows // self.rows * self.rows
        return ring + (rows - ring + steps) % self.rows

    def episodes(self) -> tuple[Tensor, Tensor]:
        if self._episodes is None:
            last = self.tensors["last"].nonzero().squeeze(1)
            lengths, copies = self.round[last].long(), last // self.rows
            age = (self.heads[copies] - last) % self.rows  # rows added since
            kept = self.heads[copies].clamp(max=self.rows - 1)
            whole = (age + lengths <= kept) & (lengths > 0)
            self._episodes = self.after(last, -lengths)[whole], lengths[whole]
        return self._episodes

    def read(self, rows: Tensor, filled: Tensor) -> Batch:
        return picked(self.tensors, rows, filled)

    # ------------------------------------------------------------------------------------ checkpoints
    def state_dict(self) -> dict:
        """The rows in use, (E, used, ...)."""
        used = min(int(self.heads.max()) + 1, self.rows)
        rings = {k: x.unflatten(0, (self.num_envs, -1))[:, :used] for k, x in self.tensors.items()}
        return {"rows": rings, "heads": self.heads}

    def load_state_dict(self, state: dict) -> None:
        """Restore the rows. ValueError: they are not from a replay like this one."""
        check_form("heads", state["heads"], torch.int64, self.heads.shape)
        if int(state["heads"].min()) < 0:
            raise ValueError("its heads are negative")
        self.heads = state["heads"].to(self.device)
        self._forget()
        here = self.state_dict()["rows"]
        for name, x in here.items():
            check_form(name, state["rows"].get(name), x.dtype, x.shape)
        actions, round = state["rows"]["actions"], state["rows"]["round"]
        if actions.dtype == torch.int32:
            most = torch.tensor(self._actions, device=actions.device)
            if bool(((actions < 0) | (actions >= most)).any()):
                raise ValueError("its actions are not all actions of this game")
        if bool((round < 0).any()):
            raise ValueError("its rounds are negative")
        for name, x in here.items():
            x.copy_(state["rows"][name])


SEEN = tuple(f.name for f in dataclasses.fields(Seen))
PLAYED = ("actions", "rewards", "terminated", "truncated")


def picked(tensors: dict[str, Tensor], rows: Tensor, filled: Tensor) -> Batch:
    """The batch of rows (L + 1, B) of tensors that hold a row per entry, by the names in `Seen` and `Batch`."""
    # Rows with one index are copied twice as fast.
    every, before = rows.flatten(), rows[:-1].flatten()
    x = {n: t.index_select(0, every) for n, t in tensors.items() if n in SEEN}
    y = {n: t.index_select(0, before) for n, t in tensors.items() if n in PLAYED}
    x = {n: t.unflatten(0, rows.shape) for n, t in x.items()}
    y = {n: t.unflatten(0, rows[:-1].shape) for n, t in y.items()}
    if y["actions"].dtype == torch.int32:
        y["actions"] = y["actions"].long()
    return batch_of(x, y, tensors["memory"][rows[0]], filled)


def batch_of(x: dict[str, Tensor], y: dict[str, Tensor], memory: Tensor, filled: Tensor) -> Batch:
    """A batch from what was seen in rows (L + 1, B), and what was done and paid in rows (L, B).

    In padding nobody is alive or acts.
    """
    real = torch.cat([torch.ones_like(filled[:1]), filled])  # a real round's successor is real
    for name in ("alive", "participation"):
        x[name] = x[name] & real.unsqueeze(-1)
    ends = {name: y[name] & filled for name in ("terminated", "truncated")}
    rows = Seen(**{"action_mask": None, **x})
    return Batch(rows, y["actions"], y["rewards"], **ends, filled=filled, memory=memory)


def seen(rollout: Rollout, rounds: slice | int) -> dict[str, Tensor]:
    """What was seen before these rounds of a fragment."""
    named = {name: getattr(rollout, name) for name in SEEN}
    return {name: x[rounds] for name, x in named.items() if x is not None}


def last_seen(rollout: Rollout, where: tuple[Tensor, ...]) -> dict[str, Tensor]:
    """What was seen last in the episodes that ended at `where`, rounds and copies."""
    named = {name: getattr(rollout, f"final_{name}") for name in SEEN if name != "round"}
    found = {name: x[where] for name, x in named.items() if x is not None}
    return {**found, "round": rollout.round[:-1][where] + 1}
