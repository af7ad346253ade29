"""Shared by all checks: errors with a fix, the game under test, random play."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

import mail_envs


class ConformanceError(AssertionError):
    """A game fails a check. `fix` says how this is usually fixed."""

    def __init__(self, message: str, fix: str) -> None:
        """`message`: what is wrong; `fix`: what to change."""
        super().__init__(f"{message}\n  fix: {fix}")
        self.message, self.fix = message, fix


class NotApplicable(Exception):
    """The check does not apply to this game or cannot run on this machine."""


@dataclass(frozen=True)
class Subject:
    """The game under test: an id, and keywords for `make` and `make_vec`."""

    id: str
    keywords: dict[str, Any] = field(default_factory=dict)

    def vector(self, num_envs: int = 1, **more: Any) -> Any:
        """`num_envs` copies as a `VectorGame`, in this process."""
        return mail_envs.make_vec(self.id, num_envs, num_workers=0, **self.keywords, **more)

    def view(self, api: Literal["aec", "parallel"], **more: Any) -> Any:
        """One copy as a PettingZoo environment."""
        return mail_envs.make(self.id, api=api, **self.keywords, **more)


def require(holds: Any, message: str, fix: str) -> None:
    """Raise ConformanceError unless `holds`."""
    if not holds:
        raise ConformanceError(message, fix)


def random_actions(vector: Any, info: dict[str, Any]) -> np.ndarray:
    """Legal actions (E, N[, A]) that depend only on each environment's seed, round and mask."""
    actions = np.zeros_like(vector.buffers.actions)
    for e in range(vector.num_envs):
        rng = np.random.default_rng([int(info["seed"][e]), int(info["round"][e])])
        for i, agent in enumerate(vector.agents):
            if vector.discrete:
                allowed = np.flatnonzero(info["action_mask"][e, i])
                actions[e, i] = allowed[rng.integers(len(allowed))]
            else:
                space = vector.action_spaces[agent]
                actions[e, i, : space.shape[0]] = rng.uniform(space.low, space.high)
    return actions


def own_action(vector: Any, i: int, action: Any) -> Any:
    """Agent i's action of the vector view, without padding, for the other views."""
    return action if vector.discrete else action[: vector.action_dims[i]]


def random_play(subject: Subject, num_envs: int, rounds: int, **more: Any) -> Iterator[Any]:
    """Random play: yields (vector, rewards or None, info) after the reset and after every round."""
    vector = subject.vector(num_envs, **more)
    _, info = vector.reset(seed=0)
    yield vector, None, info
    for _ in range(rounds):
        _, rewards, _, _, info = vector.step(random_actions(vector, info))
        yield vector, rewards, info


@dataclass
class Round:
    """One round: observations, N times (D_i,), participation (N,), actions, rewards (N,)."""

    observations: list[np.ndarray]
    participation: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray


@dataclass
class Trajectory:
    """The rounds of an episode, its final observations, and how it ended."""

    rounds: list[Round]
    final: list[np.ndarray]
    terminated: bool


def play_vector(subject: Subject, seed: int) -> Trajectory:
    """Play an episode with random legal actions in the vector view, the reference for the other views."""
    vector = subject.vector(1, autoreset=False)
    _, info = vector.reset(seed=seed)
    rounds = []
    while True:
        actions, seen = random_actions(vector, info), _own_observations(vector)
        acts = info["participation"][0].copy()
        _, rewards, terminated, truncated, info = vector.step(actions)
        rounds.append(Round(seen, acts, actions[0], rewards[0].copy()))
        if terminated[0] or truncated[0]:
            return Trajectory(rounds, _own_observations(vector), bool(terminated[0]))


def _own_observations(vector: Any) -> list[np.ndarray]:
    """Each agent's observation in the first environment, without padding."""
    shapes = [vector.observation_spaces[a].shape for a in vector.agents]
    rows = zip(vector.buffers.observations[0], vector.observation_dims, shapes, strict=True)
    return [row[:d].reshape(shape).copy() for row, d, shape in rows]
