"""The episodes that are running when a checkpoint is written: kept as seeds and actions, played again on resuming.

Compiled games trust their own records: with forged ones they would read and write outside of their arrays. So a
checkpoint holds none. Seeds and actions can be checked, and the game computes its records from them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from mail_envs.rounds import clock_dtype

INT32 = torch.iinfo(torch.int32).max


class RunningEpisodes:
    """What the E copies of a game have played of their running episodes.

    actions: int32 (R, E, N) or float32 (R, E, N, A), as they were played in round 0, 1, ...; R grows with the
    longest episode, up to the time limit.
    """

    def __init__(self, vec: Any, device: torch.device | str):
        self.vec = vec
        kind = torch.int32 if vec.discrete else torch.float32
        self.actions = torch.zeros((0, *vec.buffers.actions.shape), dtype=kind, device=device)
        self._copies = torch.arange(vec.num_envs, device=device)
        self._info: dict[str, Any] = {}  # the view's own arrays: always those of the present round

    def enter(self, info: dict[str, Any]) -> None:
        """Note the info that `reset` or `step` returned."""
        self._info = info

    def make_room(self, rounds: int) -> None:
        """For the actions of so many rounds more."""
        needed = min(int(self._now("round").max()) + rounds, self.vec.max_rounds)
        if needed > len(self.actions):
            more = self.actions.new_zeros((needed - len(self.actions), *self.actions.shape[1:]))
            self.actions = torch.cat([self.actions, more])

    def note(self, actions: Tensor) -> None:
        """The actions (E, N[, A]) that are about to be played."""
        self.actions[self._now("round"), self._copies] = actions.to(self.actions.dtype)

    def _now(self, name: str) -> Tensor:
        return torch.as_tensor(self._info[name]).long()

    def state_dict(self) -> dict[str, Tensor]:
        """Seeds, rounds played, illegal actions since the run began, int64 (E,), and actions, 0 after the last."""
        rounds = self._now("round")
        played = self.actions[: int(rounds.max())]
        after = torch.arange(len(played), device=rounds.device).unsqueeze(1) >= rounds
        while after.ndim < played.ndim:
            after = after.unsqueeze(-1)
        return {
            "seeds": self._now("seed"),
            "rounds": rounds,
            "illegal_actions": self._now("illegal_actions"),
            "actions": played.masked_fill(after, 0),
        }

    def play_again(self, state: dict[str, Tensor], idle: Tensor) -> tuple[Any, dict[str, Any]]:
        """Bring the game to where `state_dict` was called; observations and info, as from `reset`.

        `idle`: allowed actions (E, N[, A]) for copies that are there already. ValueError: the state is not one
        of this game.
        """
        self._check(state)
        seeds, rounds, actions = (state[k] for k in ("seeds", "rounds", "actions"))
        observations, self._info = self.vec.reset_to(seeds.cpu().numpy())
        idle = idle.to(actions)
        arrays = self.vec.get_state()
        for t in range(len(actions) + 1):
            reached = (rounds == t).cpu().numpy()
            if t and reached.any():
                _take_rows(arrays, self.vec.get_state(), reached)
            if t < len(actions):
                play = (rounds > t).view(-1, *[1] * (idle.ndim - 1))
                self.vec.step(torch.where(play, actions[t], idle).to(self.actions.device))
        clock = arrays["clock"].view(clock_dtype(self.vec.num_agents))
        clock["illegal_actions"] = state["illegal_actions"].cpu().numpy()
        self.vec.set_state(arrays)
        for name, expected in (("round", rounds), ("seed", seeds)):
            if not torch.equal(self._now(name).cpu(), expected.cpu()):
                raise ValueError("its episodes end earlier when they are played again")
        self.actions = actions.to(self.actions.device)
        return observations, self._info

    def _check(self, state: dict[str, Tensor]) -> None:
        """ValueError naming what this game could not have written."""
        E, limit = self.vec.num_envs, self.vec.max_rounds
        whole = {"seeds": 2**63 - 1, "rounds": limit - 1, "illegal_actions": INT32}
        if not isinstance(state, dict) or state.keys() != {*whole, "actions"}:
            raise ValueError("its running episodes are not seeds, rounds, illegal_actions, actions")
        for name, most in whole.items():
            values = state[name]
            check_form(name, values, torch.int64, (E,))
            if int(values.min()) < 0 or int(values.max()) > most:
                raise ValueError(
                    f"its {name} reach from {int(values.min())} to {int(values.max())}, not from 0 to {most}"
                )
        actions, rows = state["actions"], self.actions.shape[1:]
        check_form("actions", actions, self.actions.dtype, (int(state["rounds"].max()), *rows))
        if not self.vec.discrete and not bool(actions.isfinite().all()):
            raise ValueError("its actions are not all finite")
        if self.vec.discrete:
            limits = torch.tensor(self.vec.action_dims, device=actions.device)
            outside = actions[(actions < 0) | (actions >= limits)]
            if len(outside):
                raise ValueError(f"its actions hold {int(outside[0])}, which is none of this game")


def check_form(name: str, value: Any, dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    """ValueError when what a checkpoint calls `name` is not a tensor of this type and shape."""
    if not isinstance(value, Tensor) or value.dtype != dtype or value.shape != shape:
        found = f"{value.dtype} {tuple(value.shape)}" if isinstance(value, Tensor) else type(value)
        raise ValueError(f"its {name} are {found}, not {dtype} {tuple(shape)}")


def _take_rows(
    into: dict[str, np.ndarray], state: dict[str, np.ndarray], which: np.ndarray
) -> None:
    """Copy the rows of copies `which`, bool (E,), between two results of `get_state`."""
    for name, array in state.items():
        if array.size and name != "errors":  # one for all copies
            rows = into[name].reshape(len(which), -1)
            rows[which] = array.reshape(len(which), -1)[which]
