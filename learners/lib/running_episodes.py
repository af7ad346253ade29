"""Episodes that are running when a checkpoint is written: saved as seeds and actions, replayed when resuming.

Compiled games trust their state records; with forged ones they would read and write out of bounds. Checkpoints
therefore hold no records but seeds and actions, which can be checked and from which the game recomputes its state.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from mail_envs.rounds import clock_dtype

INT32 = torch.iinfo(torch.int32).max


class RunningEpisodes:
    """The actions of the running episodes of E copies of a game.

    actions: int32 (R, E, N) or float32 (R, E, N, A), as played in round 0, 1, ...; R grows with the longest
    episode, up to the time limit.

    info: that of the current round, in the view's own arrays.
    """

    def __init__(self, vec: Any, device: torch.device | str):
        self.vec = vec
        kind = torch.int32 if vec.discrete else torch.float32
        self.actions = torch.zeros((0, *vec.buffers.actions.shape), dtype=kind, device=device)
        self._copies = torch.arange(vec.num_envs, device=device)
        self.info: dict[str, Any] = {}

    def enter(self, info: dict[str, Any]) -> None:
        """Store the info that `reset` or `step` returned."""
        self.info = info

    def make_room(self, rounds: int) -> None:
        """Make room for the actions of `rounds` more rounds."""
        needed = min(int(self._now("round").max()) + rounds, self.vec.max_rounds)
        if needed > len(self.actions):
            more = self.actions.new_zeros((needed - len(self.actions), *self.actions.shape[1:]))
            self.actions = torch.cat([self.actions, more])

    def note(self, actions: Tensor) -> None:
        """Store the actions (E, N[, A]) that are about to be played."""
        self.actions[self._now("round"), self._copies] = actions.to(self.actions.dtype)

    def _now(self, name: str) -> Tensor:
        return torch.as_tensor(self.info[name]).long()

    def state_dict(self) -> dict[str, Tensor]:
        """Seeds, rounds played and illegal actions so far, int64 (E,), and actions, 0 after the last."""
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

    def replay(self, state: dict[str, Tensor], idle: Tensor) -> tuple[Any, dict[str, Any]]:
        """Bring the game to where `state_dict` was called; returns observations and info, as `reset` does.

        `idle`: valid actions (E, N[, A]) for copies that are already there. ValueError: the state is not from
        this game.
        """
        self._check(state)
        seeds, rounds, actions = (state[k] for k in ("seeds", "rounds", "actions"))
        observations, self.info = self.vec.reset_to(seeds.cpu().numpy())
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
                raise ValueError("its episodes end earlier when they are replayed")
        self.actions = actions.to(self.actions.device)
        return observations, self.info

    def _check(self, state: dict[str, Tensor]) -> None:
        """ValueError naming a value that this game could not have written."""
        E, limit = self.vec.num_envs, self.vec.max_rounds
        whole = {"seeds": 2**63 - 1, "rounds": limit - 1, "illegal_actions": INT32}
        if not isinstance(state, dict) or state.keys() != {*whole, "actions"}:
            raise ValueError("its running episodes are not seeds, rounds, illegal_actions, actions")
        for name, most in whole.items():
            values = state[name]
            check_form(name, values, torch.int64, (E,))
            if int(values.min()) < 0 or int(values.max()) > most:
                raise ValueError(
                    f"its {name} range from {int(values.min())} to {int(values.max())}, not from 0 to {most}"
                )
        actions, rows = state["actions"], self.actions.shape[1:]
        check_form("actions", actions, self.actions.dtype, (int(state["rounds"].max()), *rows))
        if not self.vec.discrete and not bool(actions.isfinite().all()):
            raise ValueError("its actions are not all finite")
        if self.vec.discrete:
            limits = torch.tensor(self.vec.action_dims, device=actions.device)
            outside = actions[(actions < 0) | (actions >= limits)]
            if len(outside):
                raise ValueError(
                    f"its actions hold {int(outside[0])}, which is not an action of this game"
                )


def check_form(name: str, value: Any, dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    """ValueError unless `value`, called `name` in a checkpoint, is a tensor of this dtype and shape."""
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
