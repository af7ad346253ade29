"""Bi-DexHands: two Shadow Hands catch, open and close, push, stack and turn together, simulated by MuJoCo.

```python
env = mail_envs.make("bidexhands_door_close_inward", player_function=mail_envs.Stochastic(0.8))
vec = mail_envs.make_vec("bidexhands_catch_over2underarm", 64)  # in threads, one per core
```

Twelve tasks of Bi-DexHands (Chen et al. 2022), those whose objects can be made of primitives. The original needs Isaac
Gym; here MuJoCo simulates the same hands. `pip install 'mail-envs[hands]'`.

| id `bidexhands_...` | rounds | observation / state / actions | reward | ends early | `success` |
|---|---|---|---|---|---|
| `catch_over2underarm` | 75 | 223 / 422 / 26 | exp(-0.2 (20 d + r)) | egg below 0.3, hand 0.1 off | d < 0.03 |
| `catch_underarm` | 75 | 223 / 422 / 26 | exp(-0.2 (50 d + r)) | egg below 0.1 | d < 0.03 |
| `catch_abreast` | 150 | 223 / 422 / 26 | exp(-0.2 (50 d + r)) | egg below 0.2, hand 0.1 off | d < 0.03 |
| `over` | 75 | 211 / 398 / 20 | exp(-0.2 (50 d + r)) | egg below 0.2 | d < 0.03 |
| `two_catch_underarm` | 75 | 247 / 446 / 26 | the sum for both eggs | an egg below 0.2 | d + d' < 0.06 |
| `door_open_inward`, `_outward` | 250 | 218 / 417 / 26 | 2 - f - f' + u, u = 2 gap | f or f' above 1.5 | gap > 0.5 |
| `door_close_inward` | 250 | 218 / 417 / 26 | 2 - f - f' + u, u = 1 - 2 gap | f or f' above 1.5 | gap < 0.5 |
| `door_close_outward` | 250 | 218 / 417 / 26 | 6 - f - f' + u, u = 1 - 2 gap | f or f' above 3 | gap < 0.5 |
| `push_block` | 125 | 229 / 428 / 26 | 2.4 - f - f' + 5 - 5 (d + d') | f or f' above 1.2 | d, d' < 0.1 (left alone: 0.5) |
| `block_stack` | 250 | 229 / 428 / 26 | 1.5 - f - f' + 2 (0.24 - d - d') + s | f or f' above 0.75 | s > 1 |
| `re_orientation` | 600 | 235 / 422 / 20 | -10 (d + d') + 1/(r + 0.1) + 1/(r' + 0.1) + 500 | a block below 0.2 | goals reached |

d: distance of an object from its goal in meters, r: angle between them in radians, f: sum of the distances of a hand's five
fingers from its handle or block, gap: distance of the handles in y. u, and the term with 0.24, count only while f and f'
are below 0.5; s = 50 (0.05 - error in height) while both blocks are within 0.07 of their places; 500 for a goal, and
0.0002 |a|² is subtracted. Both hands get the same reward; `success` is the largest value of the episode.

**Actions** in [-1, 1]: force (3) and torque (3) on the forearm in world axes, then targets of 20 joints, from one limit to
the other. With fixed bases (`over`, `re_orientation`) only the targets. A hand that does not act (**φ**) is not pushed,
and its joints hold their targets.

**Observation**, clipped at ±5: 24 joint angles, scaled to [-1, 1], velocities times 0.2, motor torques times 10; pose,
velocity (5 × 13), contact force and torque (5 × 6, times 10) of the fingertips; position and Euler angles (in
[0, 2π), so clipped at 5) of the base; the last action; then the objects: poses, velocities, goals, rotations relative to them (catching, turning), the poses
(pushing: and goals), or the frame's pose and the handles (doors). A hand does not observe the other. In
tasks with doors and tables the base's position is that of the palm. **State**: both hands' parts, then the objects.

**Returns** over 100 episodes, beside HAPPO's in the original after 100 million steps (mean ± standard deviation over ten runs, from
its repository):

| id `bidexhands_...` | random | scripted demonstrator | scripted success | HAPPO in Isaac Gym |
|---|---|---|---|---|
| `door_open_inward` | -19 ± 38 | 624 ± 32 | 100 of 100 | 346 ± 44 |
| `door_open_outward` | -4 ± 38 | 666 ± 3 | 100 of 100 | 527 ± 66 |
| `door_close_inward` | 60 ± 50 | 529 ± 36 | 100 of 100 | 431 ± 73 |
| `door_close_outward` | 26 ± 32 | 1,307 ± 54 | 100 of 100 | 931 ± 62 |
| `catch_over2underarm` | 2.3 ± 1.4 | 32.7 ± 5.8 | 187 of 200 | 17.2 ± 2.1 |
| `catch_underarm`, `catch_abreast` | 0.8 ± 0.1, 0.1 ± 0.0 | – | – | 17.0, 43.1 |
| `over`, `two_catch_underarm` | 3.0 ± 0.7, 1.7 ± 0.3 | – | – | 27.7, 14.8 |
| `push_block`, `block_stack` | 271 ± 133, 101 ± 36 | – | – | – |
| `re_orientation` | -37 ± 281 | – | – | – |

The physics differ, so returns of the two are comparable in scale only. In `door_open_inward` 307 is the return of hands that
wait at closed handles: HAPPO's 346 need not mean that the door was opened. Random play succeeds nowhere, except for 3 of
100 episodes of `re_orientation`. The catching demonstrator (`demos/experts/hands_catch.py`, measured over 200 episodes) throws
always the same way, computes where the egg will fall, steers the other hand there and closes it.

**Seeds**: equal seeds and actions give equal episodes, in this process, in threads and in workers; doors and the tasks with
a table begin always the same. If the simulation fails (a number is NaN or above 10⁶), the episode is truncated, nothing of
it is observed, and the metric `simulation_errors` is 1.

## What is known of the physics

- `link_damping`: Isaac Gym damps all links of the hands with 100/s (fixed bases: 0.01). Here their velocities are divided by
  1 + `link_damping` · dt after every substep. PhysX also reduces forces by 1 - 100 dt, a factor of 1/6 at 120 substeps per
  second: `wrench_scale`. This is known of PhysX 5 and inferred for Isaac Gym's older one.
- `door_spring`: the original writes a stiffness of 5 for the leaves' hinges, but a drive mode under which it may not act.
  Their damping is 1 N m s/rad here.
- `substeps`: 2, as in the original.
- Friction of a contact: PhysX takes the mean of both bodies', MuJoCo the larger. The bodies' are set so that hands hold
  objects and handles as in the original, and `push_block`'s blocks slide on the table as there. Other contacts differ. In
  `push_block`: hand and table 1.0 instead of 0.75, block and block 0.75 instead of 1.0. In `block_stack`: block and table
  0.25 instead of 0.225, hand and table 0.375 instead of 0.35, block and floor 1.0 instead of 0.625, hand and floor 1.0
  instead of 0.75. Hands never touch each other.
- Objects, handles and frames are our own shapes with the original's measures. Joint noise stays within the limits, and
  blocks begin on the table, not in it.
- `catch_abreast` of the original measures from a place 0.3 m beside the start, so that every round would end the episode: here
  it is the start. `push_block` of the original compares both blocks with the left goal: here each has its own.

`backend="mujoco_warp"` simulates thousands of worlds on an NVIDIA GPU (`device="cuda"`, `pip install
'mail-envs[hands,warp]'`), with the same starts and rewards; it has been run on the CPU only, never on a GPU.

`backend="isaacgym"` runs the original in Isaac Gym, all copies in one simulation on a GPU, in a process of its own Python:
`mail_envs/adapters/isaacgym.py` says how to install it. It was tested with a stand-in, never with Isaac Gym.
`python -m mail_envs.adapters.isaacgym_probe` measures there whether the door's spring acts, and the share of the wrench.

Rendering uses OpenGL (EGL, OSMesa or a display; `MUJOCO_GL` selects one), or draws simple shapes without it.
"""

from __future__ import annotations

import importlib.metadata
from types import SimpleNamespace
from typing import Any

import gymnasium
import numpy as np

from mail_envs.buffers import Buffers
from mail_envs.cores import usable_cores
from mail_envs.counts import at_least, is_number
from mail_envs.games.hands.model import assets
from mail_envs.games.hands.tasks import TASKS, Task
from mail_envs.games.hands.worlds import Physics, Worlds
from mail_envs.mujoco_support import log_warnings
from mail_envs.rounds import TERMINATED, TRUNCATED
from mail_envs.simulator import Row, SimulatorGame, replay

CLIP = 5.0


class Hands(SimulatorGame):
    """A task of Bi-DexHands.

    Args:
        task: one of `tasks.TASKS`.
        substeps: steps of the simulation per round of 1/60 s.
        link_damping: of all links of the hands, 1/s; None: 100, or 0.01 where the bases are fixed.
        wrench_scale: share of the nominal force and torque that acts on the bases; no effect on fixed ones.
        door_spring: stiffness of the leaves' springs in N m/rad, which pull them back to where they begin; 0 in tasks
            without a door.
    """

    metric_names = ("success", "simulation_errors")
    batch_replays = True

    def __init__(
        self,
        task: str = "door_open_inward",
        substeps: int = 2,
        link_damping: float | None = None,
        wrench_scale: float = 1 / 6,
        door_spring: float = 0.0,
    ):
        sizes = describe(self, task)
        self.physics = make_physics(self.task, substeps, link_damping, wrench_scale, door_spring)
        self.out = own_arrays(sizes, self.task.actions)
        assets()  # ImportError if a package is missing
        log_warnings()
        self.worlds = Worlds(self.task, self.physics, 1, self.out)
        self.metadata = {
            "simulator": f"mujoco {importlib.metadata.version('mujoco')}",
            "convention": "observations and rewards of Bi-DexHands, at 60 Hz",
        }

    def reset(self, seed):
        self.worlds.reset(np.array([seed]))

    def step(self, actions, acts, rewards, metrics):
        out = self.out
        out.actions[0], out.acts[0] = actions, acts
        self.worlds.step()
        rewards[:], metrics[:] = out.rewards[0], out.metrics[0]
        return out.outcome[0] == TERMINATED, out.outcome[0] == TRUNCATED

    def observe(self, observations, action_mask, alive, state):
        observations[:], state[:] = self.out.observations[0], self.out.state[0]

    def picture(self):
        return self.worlds.picture(0)

    def batch(self, num_envs):
        return lambda buffers: HandCopies(self, num_envs, buffers)

    def close(self):
        self.worlds.close()


def make_physics(
    task: Task, substeps: int, link_damping: float | None, wrench_scale: float, door_spring: float
) -> Physics:
    """The arguments of a game, checked. TypeError or ValueError: one of them is no such number, or not for this task."""
    at_least(1, substeps=substeps)
    if link_damping is None:
        link_damping = 100.0 if task.free else 0.01
    given = {"link_damping": link_damping, "wrench_scale": wrench_scale, "door_spring": door_spring}
    for name, value in given.items():
        if not (is_number(value) and 0 <= value < np.inf):
            raise ValueError(f"{name}={value!r} is not a number of at least 0")
    if door_spring and not task.door:
        raise ValueError(f"door_spring={door_spring!r} must be 0 in a task without a door")
    return Physics(int(substeps), *map(float, given.values()))


def describe(game: Any, task: str) -> tuple[int, int]:
    """Set the task, agents, spaces and time limit of a backend; returns the lengths of observation and state."""
    if not isinstance(task, str) or task not in TASKS:
        raise ValueError(f"task={task!r} is not one of {', '.join(TASKS)}")
    game.task = TASKS[task]
    game.agents = ["hand_0", "hand_1"]
    sizes = game.task.block + game.task.tail, 2 * game.task.block + game.task.tail
    seen, whole = (gymnasium.spaces.Box(-CLIP, CLIP, (n,), np.float32) for n in sizes)
    act = gymnasium.spaces.Box(-1.0, 1.0, (game.task.actions,), np.float32)
    game.observation_spaces = dict.fromkeys(game.agents, seen)
    game.action_spaces = dict.fromkeys(game.agents, act)
    game.state_space, game.max_rounds = whole, game.task.rounds
    return sizes


def own_arrays(sizes: tuple[int, int], actions: int) -> Any:
    """The arrays of one world, as `Buffers` has them for many."""
    return SimpleNamespace(
        actions=np.zeros((1, 2, actions), np.float32), acts=np.zeros((1, 2), np.uint8),
        participation=np.zeros((1, 2), np.uint8), which=np.ones(1, np.bool_),
        rewards=np.zeros((1, 2), np.float32), outcome=np.zeros(1, np.uint8),
        metrics=np.zeros((1, 2), np.float32), observations=np.zeros((1, 2, sizes[0]), np.float32),
        state=np.zeros((1, sizes[1]), np.float32),
    )  # fmt: skip


class HandCopies:
    """E worlds in the threads of this process, with the methods of `copies.Copies`."""

    def __init__(self, game: Hands, num_envs: int, buffers: Buffers):
        self.game, self.buffers = game, buffers
        out = SimpleNamespace(**vars(buffers), outcome=buffers.world["outcome"])
        self.worlds = Worlds(game.task, game.physics, num_envs, out, usable_cores())

    def step(self, which: np.ndarray) -> None:
        self.worlds.step()

    def reset(self, which: np.ndarray) -> None:
        self.buffers.alive[which] = True
        self.worlds.reset(self.buffers.seeds)

    def replay(self, which: np.ndarray) -> list[int]:
        """Replay the episodes in the buffers up to now; returns the copies that gave other observations."""
        refused = []
        for e in which.nonzero()[0].tolist():
            if not replay(self.game, Row(self.buffers, e)):
                refused.append(e)
            self.worlds.take(e, self.game.worlds)
        return refused

    def picture(self, e: int) -> np.ndarray:
        return self.worlds.picture(e)

    def take_options(self, options: dict[str, Any] | None) -> None:
        """The game takes none."""

    def infos(self, e: int) -> dict[str, dict[str, Any]]:
        return {}

    def close(self) -> None:
        self.worlds.close()
