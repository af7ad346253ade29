"""E worlds of one task in C MuJoCo: starts, physics, and the arrays that the compiled rules read.

A substep is MuJoCo's second half of a step (forces, integration), the damping of the hands' links, and the first half of
the next one (positions, contacts), so that positions, velocities and contacts always belong together at no extra cost.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from mail_envs.devices import Cpu
from mail_envs.games.hands.model import build, quaternion, rotation
from mail_envs.games.hands.picture import Picture
from mail_envs.games.hands.rules import (
    FOREARM,
    HIGH,
    JOINTS,
    LOW,
    MOTORIZED,
    MOTORS,
    command,
    judge,
    look,
    parameters,
)  # fmt: skip
from mail_envs.games.hands.tasks import CATCH, DOOR, TURN, Task
from mail_envs.kernels import launch

SEEN = ("qpos", "qvel", "xpos", "xquat", "cvel", "subtree_com", "cfrc_ext", "qfrc_actuator")


@dataclass(frozen=True)
class Physics:
    """What is known of Isaac Gym's physics only in part: arguments of the games.

    Attributes:
        substeps: per round of 1/60 s. link_damping: 1/s, of all links of the hands.
        wrench_scale: times the nominal force and torque on the bases. door_spring: N m/rad.
    """

    substeps: int
    link_damping: float
    wrench_scale: float
    door_spring: float

    @property
    def kept(self) -> float:
        """What the damping leaves of a hand's velocity in a substep."""
        return 1 / (1 + self.link_damping / 60 / self.substeps)


def hand_velocities(task: Task) -> slice:
    """The hands' part of qvel."""
    return slice(0, 2 * (6 if task.free else 0) + 2 * JOINTS)


def forearms(params: np.ndarray) -> slice:
    """The bodies on which the bases' wrenches act."""
    first, second = (int(mount) + FOREARM for mount in params["mounts"][0])
    return slice(first, second + 1, second - first)


@dataclass
class Start:
    """Where an episode begins: positions and velocities, targets of the motors, and goals."""

    qpos: np.ndarray
    qvel: np.ndarray
    targets: np.ndarray  # (2, 20), as actions in [-1, 1]
    control: np.ndarray  # (40,): the same, as angles
    goals: np.ndarray  # (2, 7): positions and quaternions (x, y, z, w)


def start_of(task: Task, model: Any, seed: int) -> tuple[Start, np.random.Generator]:
    """The start of the episode with `seed`, and the generator that draws further goals."""
    rng = np.random.default_rng(seed)
    qpos, qvel = model.qpos0.copy(), np.zeros(model.nv)
    noise = rng.uniform(-1, 1, 2 * JOINTS + 3 + 4)
    # As in the original: up to `joint_noise` of the range to either side of zero, here within the limits.
    delta = LOW + (HIGH - LOW) * noise[:JOINTS]
    joints = np.clip(task.joint_noise * delta, LOW, HIGH)
    base = 7 if task.free else 0
    for i in range(2):
        first = base * (i + 1) + JOINTS * i
        qpos[first : first + JOINTS] = joints
    objects = model.nq - 2 * (base + JOINTS)
    first = model.nq - objects
    if task.kind == DOOR:
        if task.door < 0:
            qpos[first:], qvel[-2:] = 1.57, 1.57
    else:
        for k in range(len(task.objects)):
            at = first + 7 * k
            qpos[at : at + 3] = task.objects[k] + task.noise * noise[JOINTS : JOINTS + 3]
            turn = random_turn(*noise[-4:-2]) if task.random_turns else rotation(task.turned)
            qpos[at + 3 : at + 7] = quaternion(turn)
    span = HIGH[MOTORIZED] - LOW[MOTORIZED]
    targets = (2 * joints[MOTORIZED] - HIGH[MOTORIZED] - LOW[MOTORIZED]) / span
    control, goals = np.tile(joints[MOTORIZED], 2), draw_goals(task, noise[-2:])
    return Start(qpos, qvel, np.stack([targets] * 2), control, goals), rng


def random_turn(about_x: float, about_y: float) -> np.ndarray:
    """A rotation about y, then about x, by shares of pi in [-1, 1]: `rotation`'s product, since every start needs some."""
    angles = np.pi * about_x, np.pi * about_y
    (cx, cy), (sx, sy) = np.cos(angles), np.sin(angles)
    return np.array([[cy, 0, sy], [sx * sy, cx, -sx * cy], [-cx * sy, sx, cx * cy]])


def draw_goals(task: Task, noise: np.ndarray) -> np.ndarray:
    """Goal poses; both have the same rotation. `noise`: two numbers in [-1, 1]."""
    goals = np.zeros((2, 7), np.float32)
    goals[:, 6] = 1
    for k, place in enumerate(task.goals):
        goals[k, :3] = place
    if task.kind in (CATCH, TURN):
        w, x, y, z = quaternion(random_turn(*noise))
        goals[:, 3:] = x, y, z, w
    return goals


class Arrays:
    """The arrays of E worlds that the rules read and write; see `mail_envs.games.hands.rules`."""

    def __init__(self, model: Any, num_envs: int):
        e, bodies = num_envs, model.nbody
        self.qpos, self.qvel = np.zeros((e, model.nq)), np.zeros((e, model.nv))
        self.xpos, self.xquat = np.zeros((e, bodies, 3)), np.zeros((e, bodies, 4))
        self.cvel, self.subtree_com = np.zeros((e, bodies, 6)), np.zeros((e, bodies, 3))
        self.cfrc_ext, self.qfrc_actuator = np.zeros((e, bodies, 6)), np.zeros((e, model.nv))
        self.last, self.goals = np.zeros((e, 2, 26), np.float32), np.zeros((e, 2, 7), np.float32)
        self.success, self.broken = np.zeros(e, np.float32), np.zeros(e, np.bool_)
        self.renew = np.zeros(e, np.bool_)
        self.control, self.wrench = np.zeros((e, 2 * MOTORS)), np.zeros((e, 2, 6))


class Rules:
    """The compiled rules, bound to the arrays of E worlds and of their view.

    `command` before the physics, then `judge` and `look`; see `mail_envs.games.hands.rules`. `arrays`: an `Arrays`, or
    an object with the same attributes. `device`: where they are.
    """

    def __init__(self, params: np.ndarray, arrays: Any, out: Any, device: Any):
        a, params = arrays, device.put(params)

        def bind(one, **given):
            return device.bind(launch(one, ", ".join(given), device.name), *given.values())

        self.command = bind(
            command, params=params, actions=out.actions, acts=out.acts,
            participation=out.participation, last=a.last, control=a.control, wrench=a.wrench,
        )  # fmt: skip
        self.judge = bind(
            judge, params=params, which=out.which, qpos=a.qpos, qvel=a.qvel, xpos=a.xpos,
            xquat=a.xquat, last=a.last, goals=a.goals, success=a.success, broken=a.broken,
            renew=a.renew, participation=out.participation, rewards=out.rewards,
            outcome=out.outcome, metrics=out.metrics,
        )  # fmt: skip
        self.look = bind(
            look, params=params, which=out.which, qpos=a.qpos, qvel=a.qvel, xpos=a.xpos,
            xquat=a.xquat, cvel=a.cvel, com=a.subtree_com, cfrc=a.cfrc_ext, force=a.qfrc_actuator,
            last=a.last, goals=a.goals, broken=a.broken, participation=out.participation,
            observations=out.observations, state=out.state,
        )  # fmt: skip


class Worlds:
    """E worlds, which read and write the arrays `out` of a view: those of `Buffers`, or rows of their own.

    Attributes:
        model, datas: MuJoCo's. arrays: what the rules read. broken worlds have failed since the last step.
    """

    def __init__(self, task: Task, physics: Physics, num_envs: int, out: Any, threads: int = 1):
        import mujoco

        self.task, self.physics, self.out = task, physics, out
        self.model = build(task, physics.substeps, physics.door_spring)
        self.datas = [mujoco.MjData(self.model) for _ in range(num_envs)]
        self.arrays = Arrays(self.model, num_envs)
        self.generators: list[Any] = [None] * num_envs
        self.params = parameters(task, self.model, physics.wrench_scale)
        self.kept, self.hands = physics.kept, hand_velocities(task)
        self.forearms = forearms(self.params)
        # Bound once: MuJoCo's attributes are slow to look up. MjData's arrays stay where they are.
        self._seen = [
            [(getattr(self.arrays, name)[e], getattr(data, name)) for name in SEEN]
            for e, data in enumerate(self.datas)
        ]
        self._moved = [
            (
                (data.ctrl, self.arrays.control[e]),
                (data.xfrc_applied[self.forearms], self.arrays.wrench[e]),
                data.qvel[self.hands],
            )
            for e, data in enumerate(self.datas)
        ]
        threads = min(threads, num_envs)
        self._pool = ThreadPoolExecutor(threads) if threads > 1 else None
        self._shares = [range(k, num_envs, threads) for k in range(threads)]
        self._picture = Picture(task, self.model)
        self._rules = Rules(self.params, self.arrays, out, Cpu(num_envs))

    def step(self) -> None:
        """Play a round in the worlds `out.which`."""
        self._rules.command()
        chosen = self.out.which
        if self._pool is None:
            self._advance_some(chosen.nonzero()[0].tolist())
        else:
            shares = [[e for e in share if chosen[e]] for share in self._shares]
            list(self._pool.map(self._advance_some, shares))
        self._rules.judge()
        if self.arrays.renew.any():
            for e in np.flatnonzero(self.arrays.renew & chosen):
                self.arrays.goals[e] = draw_goals(self.task, self.generators[e].uniform(-1, 1, 2))
        self._rules.look()

    def reset(self, seeds: np.ndarray) -> None:
        """Begin the episodes with `seeds` in the worlds `out.which`."""
        for e in self.out.which.nonzero()[0].tolist():
            self._begin(e, int(seeds[e]))
        self._rules.look()

    def _begin(self, e: int, seed: int) -> None:
        import mujoco

        data, a = self.datas[e], self.arrays
        start, self.generators[e] = start_of(self.task, self.model, seed)
        mujoco.mj_resetData(self.model, data)
        data.qpos[:], data.qvel[:] = start.qpos, start.qvel
        first = 6 if self.task.free else 0
        a.last[e] = 0
        a.last[e, :, first : first + MOTORS] = start.targets
        a.control[e] = start.control
        a.goals[e], a.success[e], a.broken[e] = start.goals, 0, False
        mujoco.mj_step1(self.model, data)
        self._gather(e)

    def _advance_some(self, worlds: list[int]) -> None:
        import mujoco

        model, kept, step1, step2 = self.model, self.kept, mujoco.mj_step1, mujoco.mj_step2
        measure_forces = mujoco.mj_rnePostConstraint
        last = self.physics.substeps - 1
        for e in worlds:
            data = self.datas[e]
            (targets, control), (pushed, wrench), speeds = self._moved[e]
            targets[:], pushed[:] = control, wrench
            for k in range(last + 1):
                step2(model, data)
                if k == last:
                    measure_forces(model, data)  # contacts still belong to the forces
                speeds *= kept
                step1(model, data)
            self._gather(e)

    def _gather(self, e: int) -> None:
        for target, source in self._seen[e]:
            target[...] = source

    def take(self, e: int, other: Worlds) -> None:
        """Set world e to the state of the first of the `other` worlds."""
        import mujoco

        mujoco.mj_copyData(self.datas[e], self.model, other.datas[0])
        for name, array in vars(self.arrays).items():
            array[e] = getattr(other.arrays, name)[0]
        self.generators[e] = other.generators[0]

    def picture(self, e: int) -> np.ndarray:
        """An image of world e, uint8 (H, W, 3)."""
        return self._picture.draw(self.datas[e], self.arrays.goals[e])

    def close(self) -> None:
        self._picture.close()
        if self._pool is not None:
            self._pool.shutdown()
