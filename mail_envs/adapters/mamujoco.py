"""Multi-Agent MuJoCo: a Gymnasium robot whose joints are divided among agents.

```python
env = mail_envs.make("mamujoco_halfcheetah_6x1", player_function=mail_envs.Stochastic(0.5))
vec = mail_envs.make_vec("mamujoco_halfcheetah_6x1", 64, observations="mat")
```

| id `mamujoco_...` | agents × actions | state | observation, `agent_obsk` 0 / 1 / 2 | random return |
|---|---|---|---|---|
| `halfcheetah_6x1` | 6 × 1 | 17 | 7 / 9 / 11 | -290 ± 78 |
| `halfcheetah_2x3` | 2 × 3 | 17 | 11 / 12 / 13 | -290 ± 78 |
| `ant_4x2` | 4 × 2 | 105 | 39 / 42 / 45 | -60 ± 93 |
| `ant_2x4`, `ant_2x4d` | 2 × 4 | 105 | 61 / 63 / 65 | -60 ± 93 |
| `hopper_3x1` | 3 × 1 | 11 | 7 / 9 / 9 | 15 ± 14 |
| `walker2d_2x3` | 2 × 3 | 17 | 11 / 12 / 13 | 1 ± 6 |
| `humanoid_9p8` | 9, 8 | 348 | 236, 167 / 242, 170 / 244, 174 | 118 ± 33 |
| `humanoid_standup_9p8` | 9, 8 | 348 | the same | 32,881 ± 1,604 |
| `reacher_2x1` | 2 × 1 | 10 | 8 / 10 / 10 | -43 ± 4 |
| `pusher_3p` | 3, 1, 3 | 23 | 15, 11, 15 / 16, 13, 16 / 17, 15, 17 | -149 ± 8 |
| `swimmer_2x1` | 2 × 1 | 8 | 5 / 6 / 6 | 2 ± 10 |
| `many_segment_swimmer_10x2` | 10 × 2 | 44 | 4 / 6 / 8 | -44 ± 14 |
| `many_segment_swimmer_6x1` | 6 × 1 | 16 | 2 / 4 / 6 | -8 ± 12 |
| `many_segment_ant_2x1` | 2 × 4 | 111 | 61 / 63 / 63 | -152 ± 113 |
| `many_segment_ant_3x1` | 3 × 4 | 161 | 61 / 63 / 63 | -550 ± 391 |
| `many_segment_ant_2x3` | 2 × 12 | 311 | 161 / 167 / 167 | -2,551 ± 978 |

Lengths are those of the longest observation of a role. Returns are means ± standard deviations over 100 episodes
(ant: 200; humanoid standup and many segments: 20) in which all agents act in every round. `scenario` and `conf` are
named as in gymnasium-robotics' `mamujoco_v1` (`"HalfCheetah"`, `"6x1"`); robots with many segments can also be
divided in other ways.

**Actions**: torques, a `Box` with the motors' bounds (±1; pusher ±2, humanoids ±0.4). **φ** of a joint is zero
torque.

**Observation** (`observations="mamujoco_v1"`): angles and velocities of the agent's own joints (ant: and contact
forces; humanoids: and inertia, velocity and forces of bodies; reacher: and the vector from the target to the
fingertip), angles of the joints up to `agent_obsk` = 1 edges away, and global quantities: the torso's height, pose and
velocity, or the positions of targets and objects. Shorter observations are padded with zeros. **State**: the
observation of Gymnasium's single agent.

`observations="mat"` is the format of the code of MAT and HAPPO: `agent_obsk` = 0, zero padding, a one-hot agent index,
and every vector standardized by its own mean and standard deviation (`halfcheetah_6x1`: 7 + 6 = 13). The state is
then the input of their critics, a row of 17 + 6 = 23 per agent, standardized in the same way. Their half cheetah
orders agents bfoot, bshin, bthigh, ffoot, fshin, fthigh, but applies actions in the order bthigh, bshin, bfoot,
fthigh, ..., so four of six agents observe one joint and move another. Here every agent moves the joint that it
observes, in the latter order.

**Reward**: that of Gymnasium (version 5), for every agent that acts. **End**: when ant, hopper, walker or humanoid fall,
as Gymnasium defines it; after `max_rounds` = 1000 rounds (reacher 50, pusher 100). **Metric**: `x_position` of
robots that run: of the torso, and for humanoids in EnvPool of the center of mass.

**Against `mamujoco_v1`**, which `backend="mamujoco_v1"` runs: observations, rewards and states are equal, as float32.
Agents with different numbers of motors are named `upper_0`, `lower_0`, and `shoulder_0`, `elbow_0`, `wrist_0` instead of
`agent_k`; only their observations are not padded. The order of two joints of the pusher, which varies between runs
in the original, is fixed. Two oddities are kept: Walker2d's agents observe velocities that the state clips at ±10,
and agents of the many-segment ants, except in the last segment, observe other joints than they move.

**Learners**: the agents differ, although they have equal spaces and one role. Give them networks of their own
(`--share none`) or their index (`--agent-id`): one network for all joints of `halfcheetah_6x1` cannot even clone.

**Seeds**: equal seeds and actions give equal episodes, in this process and in workers. Several copies of half
cheetah, ant, hopper, swimmer, pusher and humanoids run in EnvPool's threads, if EnvPool is installed (`pip install
'mail-envs[envpool]'`) and neither `num_workers` nor `settings` is given. EnvPool draws its own initial states:
`reset(seed=...)` determines the run that follows, but copies do not play the same episodes as single environments,
later episodes cannot be replayed from their `info["seed"]`, and environments cannot be copied or set to a saved state
during an episode. With `num_workers=0` (this process) or worker processes, all of this is possible.

`mamujoco_coupled_halfcheetah_1p1` needs MuJoCo 3.5.0 or older. Rendering needs OpenGL: EGL, OSMesa
or a display, tried in this order; `MUJOCO_GL=egl`, `osmesa` or `glfw` selects one of them.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
from typing import Any

import gymnasium
import numpy as np

from mail_envs.adapters.mamujoco_gather import (
    PARTS_OF_STATE,
    DataSource,
    Motors,
    ObservationWriter,
    StateSource,
)
from mail_envs.adapters.mamujoco_robots import open_original, open_robot, speed_up, take_picture
from mail_envs.adapters.mamujoco_tables import body, observation_table
from mail_envs.simulator import SimulatorGame

# Names of agents that have different numbers of motors; all others are agent_0, agent_1, ...
ROLES = {
    "Humanoid": ("upper_0", "lower_0"),
    "HumanoidStandup": ("upper_0", "lower_0"),
    "Pusher": ("shoulder_0", "elbow_0", "wrist_0"),
}
MAX_ROUNDS = {"Reacher": 50, "Pusher": 100}  # Gymnasium's time limits
RUNNERS = ("HalfCheetah", "Ant", "Hopper", "Walker2d", "Humanoid", "Swimmer")


class MaMujoco(SimulatorGame):
    """A Gymnasium robot, divided among agents.

    Args:
        scenario, conf: as in `mamujoco_v1`.
        agent_obsk: distance in edges up to which agents observe joints; None: 1, or 0 for `observations="mat"`.
        observations: "mamujoco_v1" or "mat".
        settings: arguments for the Gymnasium environment, such as `reset_noise_scale`.
    """

    def __init__(
        self,
        scenario: str = "HalfCheetah",
        conf: str = "6x1",
        agent_obsk: int | None = None,
        observations: str = "mamujoco_v1",
        settings: dict[str, Any] | None = None,
    ):
        if observations not in ("mamujoco_v1", "mat"):
            raise ValueError(f"observations={observations!r} is not one of 'mamujoco_v1', 'mat'")
        self.mat = observations == "mat"
        agent_obsk = check_obsk(agent_obsk, 0 if self.mat else 1)
        self.scenario, self.settings = scenario, dict(settings or {})
        self.env: Any = speed_up(open_robot(scenario, conf, self.settings))
        self.robot = body(scenario, conf)
        agents = range(len(self.robot.parts))
        self.tables = [observation_table(self.robot, i, agent_obsk) for i in agents]
        self.motors, self.writer = Motors(self.robot), self.make_writer(1)
        sizes = [len(part) for part in self.robot.parts]
        describe(self, scenario, self.env, sizes, self.writer.dims, self.writer.state_width)
        self.metadata["convention"] = f"observations {observations}, agent_obsk {agent_obsk}"
        self.torques = np.zeros(len(self.motors.slots))
        self.states = np.zeros((1, self.writer.num_states))
        self.place = self.env.data.qpos

    def make_writer(self, num_envs: int) -> ObservationWriter:
        fields = {field for table in self.tables for field, _ in table}
        if self.scenario in PARTS_OF_STATE:
            source: Any = StateSource(self.scenario, self.env, num_envs)
        else:
            source = DataSource(self.scenario, self.env, fields)
        return ObservationWriter(self.robot, self.tables, source, self.env, self.mat)

    def reset(self, seed):
        self.states = self.env.reset(seed=seed)[0][None]

    def step(self, actions, acts, rewards, metrics):
        self.motors.drive(actions, acts, self.torques)
        state, reward, terminated, _, _ = self.env.step(self.torques)
        self.states = state[None]
        rewards.fill(reward)
        if self.metric_names:
            metrics[0] = self.place[0]
        return bool(terminated), False

    def observe(self, observations, action_mask, alive, state):
        self.writer.write(self.states, observations, state)

    def picture(self):
        return take_picture(self.env)

    def close(self):
        self.env.close()

    def batch(self, num_envs):
        if importlib.util.find_spec("envpool") is None or self.settings:
            return None
        if self.scenario not in PARTS_OF_STATE:
            return None
        from mail_envs.adapters.mamujoco_envpool import EnvPoolCopies

        self.replayable = False
        parts = (self.robot.gymnasium, self.make_writer(num_envs), self.motors)
        return lambda buffers: EnvPoolCopies(*parts, buffers, bool(self.metric_names))


class MaMujocoV1(SimulatorGame):
    """The original environment of gymnasium-robotics.

    Args:
        scenario, conf, agent_obsk, settings: as for `MaMujoco`.
    """

    def __init__(
        self,
        scenario: str = "HalfCheetah",
        conf: str = "6x1",
        agent_obsk: int | None = None,
        settings: dict[str, Any] | None = None,
    ):
        agent_obsk = check_obsk(agent_obsk, 1)
        self.original = env = open_original(scenario, conf, agent_obsk, dict(settings or {}))
        self.env = env.single_agent_env.unwrapped
        self.names = list(env.possible_agents)
        sizes = [env.action_space(name).shape[0] for name in self.names]
        dims = [env.observation_space(name).shape[0] for name in self.names]
        state_width = self.env.observation_space.shape[0]
        describe(self, scenario, self.env, sizes, dims, state_width)
        self.metadata["convention"] = f"observations mamujoco_v1, agent_obsk {agent_obsk}"
        self.sizes, self.seen = sizes, {}

    def reset(self, seed):
        self.seen, _ = self.original.reset(seed=seed)

    def step(self, actions, acts, rewards, metrics):
        torques = np.where(acts[:, None], actions, np.float32(0))
        parts = {n: torques[i, : self.sizes[i]] for i, n in enumerate(self.names)}
        self.seen, reward, terminated, _, _ = self.original.step(parts)
        rewards[:] = [reward[name] for name in self.names]
        if len(metrics):
            metrics[0] = self.env.data.qpos[0]
        return bool(terminated[self.names[0]]), False

    def observe(self, observations, action_mask, alive, state):
        for i, name in enumerate(self.names):
            observations[i, : len(self.seen[name])] = self.seen[name]
        state[:] = self.original.state()

    def picture(self):
        return take_picture(self.env)

    def close(self):
        self.original.close()


def describe(
    game: SimulatorGame,
    scenario: str,
    env: Any,
    sizes: list[int],
    dims: list[int],
    state_width: int,
) -> None:
    """Agents, spaces and time limit, the same for both backends.

    `sizes`, `dims`: lengths of the agents' actions and observations; those of one role are padded.
    """
    roles = ROLES.get(scenario)
    game.agents = list(roles or (f"agent_{i}" for i in range(len(sizes))))
    low, high = float(env.action_space.low[0]), float(env.action_space.high[0])
    widths = dims if roles else [max(dims)] * len(dims)
    game.observation_spaces = {a: box(d) for a, d in zip(game.agents, widths, strict=True)}
    game.action_spaces = {a: box(n, low, high) for a, n in zip(game.agents, sizes, strict=True)}
    game.state_space = box(state_width)
    game.max_rounds = MAX_ROUNDS.get(scenario, 1000)
    game.metric_names = ("x_position",) if scenario in RUNNERS else ()
    versions = (f"{name} {importlib.metadata.version(name)}" for name in ("gymnasium", "mujoco"))
    game.metadata = {"simulator": ", ".join((type(env).__name__, *versions))}


def box(size: int, low: float = -np.inf, high: float = np.inf) -> gymnasium.spaces.Box:
    return gymnasium.spaces.Box(low, high, (size,), np.float32)


def check_obsk(agent_obsk: int | None, default: int) -> int:
    if agent_obsk is None:
        return default
    if not isinstance(agent_obsk, (int, np.integer)) or agent_obsk < 0:
        raise ValueError(f"agent_obsk={agent_obsk!r} is not an integer of at least 0, or None")
    return int(agent_obsk)
