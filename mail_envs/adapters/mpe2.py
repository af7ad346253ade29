"""The nine particle environments of the package mpe2: `make("mpe_simple_tag", backend="mpe2")`.

Names, spaces, state, time limit and φ are those of the native `mpe_*` games with `preset="mpe2"` and
`null_dynamics="coast"`: agents that do not participate exert no force and say nothing. Random streams differ, so equal
seeds give different episodes. There are no metrics and no other presets.
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from mail_envs.counts import check_kind
from mail_envs.simulator import SimulatorGame

SEEDS = 2**31
MAX_ROUNDS = 25
NEVER = 2**62  # the time limit is applied by the view


class Mpe2Game(SimulatorGame):
    """One environment of mpe2.

    Args:
        module: such as "simple_tag_v3".
        preset, null_dynamics: only "mpe2" and "coast" are accepted.
        return_agents: agents over which episode returns are averaged; empty: all.
        **arguments: arguments of the mpe2 environment.
    """

    def __init__(
        self,
        module: str,
        preset: str,
        null_dynamics: str,
        return_agents: Iterable[str] = (),
        **arguments: Any,
    ):
        for name, value, only in (
            ("preset", preset, "mpe2"),
            ("null_dynamics", null_dynamics, "coast"),
        ):
            if value != only:
                raise ValueError(f"{name}={value!r}: backend='mpe2' supports only {only!r}")
        for name in ("continuous_actions", "terminate_on_success"):
            check_kind(name, arguments.get(name, False), "bool")
        self.env = _load(module).raw_env(render_mode="rgb_array", max_cycles=NEVER, **arguments)
        self.agents = list(self.env.possible_agents)
        self.observation_spaces = dict(self.env.observation_spaces)
        native: dict[str, Any] = dict(self.env.action_spaces)
        self.action_spaces = native
        self.state_space = self.env.state_space
        self.max_rounds = MAX_ROUNDS
        self.continuous = bool(arguments["continuous_actions"])
        self.metadata = {
            "convention": "preset mpe2, position_first, no team sum",
            "backend": "mpe2",
        }
        if return_agents:
            self.metadata["return_agents"] = list(return_agents)
        self._bodies = list(self.env.world.agents)
        self._sizes = [space.shape[0] if self.continuous else 0 for space in native.values()]

    def reset(self, seed: int) -> None:
        self.env.reset(seed=seed % SEEDS)

    def step(self, actions, acts, rewards, metrics):
        with self._silenced(acts):
            for i in range(len(self.agents)):
                self.env.step(self._own_action(actions[i], acts[i], self._sizes[i]))
        rewards[:] = [self.env.rewards[a] for a in self.agents]
        return any(self.env.terminations.values()), False

    def _own_action(self, action: Any, acts: int, size: int) -> Any:
        if self.continuous:
            return action[:size].copy() if acts else np.zeros(size, np.float32)
        return int(action) if acts else 0  # no force; word 0 is not said, see `_silenced`

    @contextlib.contextmanager
    def _silenced(self, acts: np.ndarray) -> Iterator[None]:
        """Silence agents that do not participate, for one round."""
        speakers = [b for b, a in zip(self._bodies, acts, strict=True) if not (a or b.silent)]
        for body in speakers:
            body.silent = True
        try:
            yield
        finally:
            for body in speakers:
                body.silent = False

    def observe(self, observations, action_mask, alive, state):
        end = 0
        for row, agent in zip(observations, self.agents, strict=True):
            own = self.env.observe(agent)
            row[: own.size] = own
            state[end : end + own.size] = own  # as in `env.state()`
            end += own.size

    def picture(self):
        return np.ascontiguousarray(self.env.render(), np.uint8)

    def close(self):
        self.env.close()


def _load(module: str) -> Any:
    try:
        return importlib.import_module(f"mpe2.{module}")
    except ModuleNotFoundError as error:
        raise ImportError(f"backend='mpe2' needs mpe2 ({error}): pip install mpe2") from error


def simple(
    preset: str = "mpe2", null_dynamics: str = "coast", continuous_actions: bool = False
) -> Mpe2Game:
    """`mpe_simple`."""
    return Mpe2Game("simple_v3", preset, null_dynamics, continuous_actions=continuous_actions)


def simple_spread(
    N: int = 3,
    preset: str = "mpe2",
    local_ratio: float | None = None,
    terminate_on_success: bool | None = None,
    num_agent_neighbors: int | None = None,
    num_landmark_neighbors: int | None = None,
    null_dynamics: str = "coast",
    continuous_actions: bool = False,
) -> Mpe2Game:
    """`mpe_simple_spread`."""
    return Mpe2Game(
        "simple_spread_v3",
        preset,
        null_dynamics,
        N=N,
        local_ratio=0.5 if local_ratio is None else local_ratio,
        terminate_on_success=terminate_on_success or False,
        num_agent_neighbors=num_agent_neighbors,
        num_landmark_neighbors=num_landmark_neighbors,
        continuous_actions=continuous_actions,
    )


def simple_reference(
    preset: str = "mpe2",
    local_ratio: float | None = None,
    null_dynamics: str = "coast",
    continuous_actions: bool = False,
) -> Mpe2Game:
    """`mpe_simple_reference`."""
    return Mpe2Game(
        "simple_reference_v3",
        preset,
        null_dynamics,
        local_ratio=0.5 if local_ratio is None else local_ratio,
        continuous_actions=continuous_actions,
    )


def simple_speaker_listener(
    preset: str = "mpe2", null_dynamics: str = "coast", continuous_actions: bool = False
) -> Mpe2Game:
    """`mpe_simple_speaker_listener`."""
    return Mpe2Game(
        "simple_speaker_listener_v4",
        preset,
        null_dynamics,
        continuous_actions=continuous_actions,
    )


def simple_tag(
    num_good: int = 1,
    num_adversaries: int = 3,
    num_obstacles: int = 2,
    preset: str = "mpe2",
    terminate_on_success: bool = False,
    num_agent_neighbors: int | None = None,
    num_landmark_neighbors: int | None = None,
    null_dynamics: str = "coast",
    continuous_actions: bool = False,
) -> Mpe2Game:
    """`mpe_simple_tag`."""
    return Mpe2Game(
        "simple_tag_v3",
        preset,
        null_dynamics,
        [f"adversary_{i}" for i in range(num_adversaries)],
        num_good=num_good,
        num_adversaries=num_adversaries,
        num_obstacles=num_obstacles,
        terminate_on_success=terminate_on_success,
        num_agent_neighbors=num_agent_neighbors,
        num_landmark_neighbors=num_landmark_neighbors,
        continuous_actions=continuous_actions,
    )


def simple_adversary(
    N: int = 2,
    preset: str = "mpe2",
    num_agent_neighbors: int | None = None,
    num_landmark_neighbors: int | None = None,
    null_dynamics: str = "coast",
    continuous_actions: bool = False,
) -> Mpe2Game:
    """`mpe_simple_adversary`."""
    return Mpe2Game(
        "simple_adversary_v3",
        preset,
        null_dynamics,
        [f"agent_{i}" for i in range(N)],
        N=N,
        num_agent_neighbors=num_agent_neighbors,
        num_landmark_neighbors=num_landmark_neighbors,
        continuous_actions=continuous_actions,
    )


def simple_push(
    preset: str = "mpe2", null_dynamics: str = "coast", continuous_actions: bool = False
) -> Mpe2Game:
    """`mpe_simple_push`."""
    return Mpe2Game(
        "simple_push_v3",
        preset,
        null_dynamics,
        ["agent_0"],
        continuous_actions=continuous_actions,
    )


def simple_crypto(
    preset: str = "mpe2", null_dynamics: str = "coast", continuous_actions: bool = False
) -> Mpe2Game:
    """`mpe_simple_crypto`."""
    return Mpe2Game(
        "simple_crypto_v3",
        preset,
        null_dynamics,
        ["bob_0", "alice_0"],
        continuous_actions=continuous_actions,
    )


def simple_world_comm(
    num_good: int = 2,
    num_adversaries: int = 4,
    num_obstacles: int = 1,
    num_food: int = 2,
    num_forests: int = 2,
    preset: str = "mpe2",
    null_dynamics: str = "coast",
    continuous_actions: bool = False,
) -> Mpe2Game:
    """`mpe_simple_world_comm`."""
    adversaries = ["leadadversary_0", *(f"adversary_{i}" for i in range(num_adversaries - 1))]
    return Mpe2Game(
        "simple_world_comm_v3",
        preset,
        null_dynamics,
        adversaries,
        num_good=num_good,
        num_adversaries=num_adversaries,
        num_obstacles=num_obstacles,
        num_food=num_food,
        num_forests=num_forests,
        continuous_actions=continuous_actions,
    )
