"""Maps a robot's data to its agents' observations, and their actions to its motors, by index."""

from __future__ import annotations

from typing import Any

import numpy as np

from mail_envs.adapters.mamujoco_tables import Body, Entry

# Robots whose observations are parts of the state. Of the others, Walker2d's state is clipped where its
# observations are not, and Reacher's lacks a zero.
PARTS_OF_STATE = (
    "HalfCheetah", "Ant", "Hopper", "Humanoid", "HumanoidStandup", "Swimmer", "Pusher",
)  # fmt: skip
FIELDS = ("qpos", "qvel", "cinert", "cvel", "qfrc_actuator", "cfrc_ext")
LEFT_OUT = {
    "cinert": 10,
    "cvel": 6,
    "qfrc_actuator": 6,
    "cfrc_ext": 6,
}  # entries of the world body, which the state omits
Positions = dict[Entry, int]


class StateSource:
    """Reads from the states, float64 (E, S), followed by a zero for padding."""

    def __init__(self, scenario: str, env: Any, num_envs: int):
        self.array = np.zeros((num_envs, env.observation_space.shape[0] + 1))
        self.positions = state_positions(scenario, env)

    def read(self, states: np.ndarray) -> np.ndarray:
        self.array[:, :-1] = states
        return self.array


def state_positions(scenario: str, env: Any) -> Positions:
    """The positions of MuJoCo's data in the state."""
    if scenario == "Pusher":
        layout = [("qpos", 0, 7), ("qvel", 0, 7), ("extra", 0, 9)]
    else:
        left_out = {**LEFT_OUT, "qpos": env.observation_structure["skipped_qpos"]}
        sizes = {f: env.observation_structure.get(f, 0) for f in FIELDS}
        layout = [(f, left_out.get(f, 0), size) for f, size in sizes.items()]
    entries = [(field, first + k) for field, first, size in layout for k in range(size)]
    return {entry: k for k, entry in enumerate(entries)}


class DataSource:
    """Reads from MuJoCo's arrays, concatenated, float64 (1, F), followed by a zero for padding."""

    def __init__(self, scenario: str, env: Any, fields: set[str]):
        self.extra = {"Reacher": reacher_extra, "Pusher": pusher_extra}.get(scenario)
        self.env = env
        pieces = {f: getattr(env.data, f).reshape(-1) for f in FIELDS if f in fields}
        if self.extra:
            pieces["extra"] = self.extra(env)
        self.positions: Positions = {}
        for field, piece in pieces.items():
            for k in range(len(piece)):
                self.positions[field, k] = len(self.positions)
        self.pieces = [piece for field, piece in pieces.items() if field != "extra"]
        self.array = np.zeros((1, len(self.positions) + 1))

    def read(self, states: np.ndarray) -> np.ndarray:
        pieces = [*self.pieces, self.extra(self.env)] if self.extra else self.pieces
        np.concatenate(pieces, out=self.array[0, :-1])
        return self.array


def reacher_extra(env: Any) -> np.ndarray:
    angles, place = env.data.qpos[:2], env.get_body_com
    waves = np.stack([np.sin(angles), np.cos(angles)], -1)
    return np.concatenate([waves.reshape(-1), place("fingertip") - place("target")])


def pusher_extra(env: Any) -> np.ndarray:
    return np.concatenate([env.get_body_com(name) for name in ("tips_arm", "object", "goal")])


class ObservationWriter:
    """Writes observations and states.

    Attributes:
        dims: length of each agent's observation.
        width: of the longest.
        state_width: length of the state.
    """

    def __init__(
        self,
        robot: Body,
        tables: list[list[Entry]],
        source: StateSource | DataSource,
        env: Any,
        mat: bool,
    ):
        n, longest = len(tables), max(map(len, tables))
        num_envs, sizes = len(source.array), {f: getattr(env.data, f).size for f in FIELDS}
        self.index = np.full((n, longest), source.array.shape[1] - 1)
        bound = np.full((n, longest), np.inf)
        for i, table in enumerate(tables):
            for k, (field, at) in enumerate(table):
                at = at + sizes[field] if at < 0 else at
                self.index[i, k] = source.positions[field, at]
                bound[i, k] = robot.clip.get(field, np.inf)
        self.bound = bound.reshape(-1) if np.isfinite(bound).any() else None
        self.source, self.mat = source, mat
        self.dims = [longest + n] * n if mat else [len(table) for table in tables]
        self.width = max(self.dims)
        self.num_states = env.observation_space.shape[0]
        self.state_width = n * (self.num_states + n) if mat else self.num_states
        self._seen = np.zeros((num_envs, n * longest))
        self._shaped, self._flat = self._seen.reshape(num_envs, n, longest), self.index.reshape(-1)
        self._rows = with_one_hot(num_envs, n, longest)
        self._state_rows = with_one_hot(num_envs, n, self.num_states)

    def write(self, states: np.ndarray, observations: np.ndarray, state: np.ndarray) -> None:
        """Write observations float32 (E, N, D) and state float32 (E, S) from the states float64 (E, S).

        For a single robot, observations may also be (N, D) and state (S,).
        """
        self.source.read(states).take(self._flat, 1, self._seen, "clip")
        if self.bound is not None:
            np.clip(self._seen, -self.bound, self.bound, out=self._seen)
        if not self.mat:
            observations[...], state[...] = self._shaped, states
            return
        self._rows[:, :, : self._shaped.shape[2]] = self._shaped
        self._state_rows[:, :, : self.num_states] = states[:, None]
        observations[...] = standardized(self._rows)
        state[...] = standardized(self._state_rows).reshape(state.shape)


def with_one_hot(num_envs: int, num_agents: int, width: int) -> np.ndarray:
    """Zeros (E, N, width + N), with the one-hot indices of agents in the last N columns."""
    rows = np.zeros((num_envs, num_agents, width + num_agents))
    rows[:, :, width:] = np.eye(num_agents)
    return rows


def standardized(rows: np.ndarray) -> np.ndarray:
    """Every row minus its mean, divided by its standard deviation."""
    centered = rows - rows.mean(-1, keepdims=True)
    return centered / rows.std(-1, keepdims=True)


class Motors:
    """Writes torques."""

    def __init__(self, robot: Body):
        width = max(map(len, robot.parts))
        slots = {
            node.actuator: (i, i * width + k)
            for i, part in enumerate(robot.parts)
            for k, node in enumerate(part)
        }
        self.movers, self.slots = np.array([slots[m] for m in range(len(slots))]).T.copy()
        self.in_order = self.slots.tolist() == list(range(len(robot.parts) * width))

    def drive(self, actions: np.ndarray, acts: np.ndarray, torques: np.ndarray) -> None:
        """Write torques float64 (..., M) from actions float32 (..., N, A) and acts uint8 (..., N)."""
        flat = actions.reshape(*acts.shape[:-1], -1)
        torques[...] = flat if self.in_order else flat.take(self.slots, -1)
        if np.count_nonzero(acts) < acts.size:
            torques[acts[..., self.movers] == 0] = 0.0
