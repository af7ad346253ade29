"""E worlds of one task in C MuJoCo: starts, and the arrays that the compiled rounds read and write."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from mail_envs.code_keys import python
from mail_envs.devices import Cpu
from mail_envs.games.hands import native
from mail_envs.games.hands.model import build, quaternion, rotation
from mail_envs.games.hands.physics import copies_of, places_of, plan_of, play, settle
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

SPAN = HIGH - LOW
MOTOR_LOW, MOTOR_HIGH, MOTOR_SPAN = LOW[MOTORIZED], HIGH[MOTORIZED], SPAN[MOTORIZED]
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
    noise = rng.uniform(-1, 1, 2 * JOINTS + 3 + 4)
    # As in the original: up to `joint_noise` of the range to either side of zero, here within the limits.
    delta = LOW + SPAN * noise[:JOINTS]
    joints = (task.joint_noise * delta).clip(LOW, HIGH)
    motors = joints[MOTORIZED]
    targets, control = np.empty((2, MOTORS)), np.empty((2, MOTORS))
    targets[:] = (2 * motors - MOTOR_HIGH - MOTOR_LOW) / MOTOR_SPAN
    control[:] = motors
    qpos, qvel = model.qpos0.copy(), np.zeros(model.nv)
    base = 7 if task.free else 0
    for i in range(2):
        first = base * (i + 1) + JOINTS * i
        qpos[first : first + JOINTS] = joints
    place_objects(task, noise[JOINTS : JOINTS + 3], noise[-4:-2], qpos, qvel)
    return Start(qpos, qvel, targets, control.ravel(), draw_goals(task, noise[-2:])), rng


def place_objects(
    task: Task, shift: np.ndarray, turn: np.ndarray, qpos: np.ndarray, qvel: np.ndarray
) -> None:
    """Set the objects' part of a start, by shares in [-1, 1] of the largest shift (3,) and turn (2,)."""
    if task.kind == DOOR:
        if task.door < 0:
            qpos[-2:], qvel[-2:] = 1.57, 1.57
        return
    facing = random_turn(turn) if task.random_turns else fixed_turn(task.turned)
    moved = task.noise * shift
    first = len(qpos) - 7 * len(task.objects)
    for at, place in zip(range(first, len(qpos), 7), task.objects, strict=True):
        qpos[at : at + 3] = place + moved
        qpos[at + 3 : at + 7] = facing


@functools.lru_cache(maxsize=32)
def fixed_turn(euler: tuple[float, float, float]) -> np.ndarray:
    """The quaternion (w, x, y, z) of Rz Ry Rx."""
    return quaternion(rotation(euler))


def random_turn(noise: np.ndarray) -> np.ndarray:
    """The quaternion (w, x, y, z) of a rotation about y, then about x, by shares of pi in [-1, 1].

    It multiplies out what `rotation` does, and with Python's numbers, since every start needs some.
    """
    angles = np.pi * noise
    (cx, cy), (sx, sy) = np.cos(angles).tolist(), np.sin(angles).tolist()
    return quaternion(np.array([cy, 0, sy, sx * sy, cx, -sx * cy, -cx * sy, sx, cx * cy]))


def draw_goals(task: Task, noise: np.ndarray) -> np.ndarray:
    """Goal poses; both have the same rotation. `noise`: two numbers in [-1, 1]."""
    goals = np.zeros((2, 7), np.float32)
    for k, place in enumerate(task.goals):
        goals[k, :3] = place
    if task.kind in (CATCH, TURN):
        w, x, y, z = random_turn(noise).tolist()
        goals[:, 3:] = x, y, z, w
    else:
        goals[:, 6] = 1
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


def bound(device: Any, one: Any, *known: dict[str, Any]) -> list[Callable[[], None]]:
    """Loops of the compiled function `one` over all worlds: for each of the `known`, on the arrays in it that `one` names."""
    names = list(inspect.signature(python(one)).parameters)[1:]  # without e
    loop = launch(one, ", ".join(names), device.name)
    return [device.bind(loop, *(arrays[n] for n in names)) for arrays in known]


def named(params: np.ndarray, arrays: Any, out: Any) -> dict[str, Any]:
    """The arrays by the names that the rules give them. `arrays`: an `Arrays`; `out`: those of the view."""
    a = arrays
    names = (
        "which", "actions", "acts", "participation", "rewards", "outcome", "metrics", "observations",
        "state",
    )  # fmt: skip
    return {
        **vars(a), "params": params, "com": a.subtree_com, "cfrc": a.cfrc_ext,
        "force": a.qfrc_actuator, **{name: getattr(out, name) for name in names},
    }  # fmt: skip


class Rules:
    """The compiled rules alone, for another simulation: bound to the arrays of E worlds and of their view.

    `command` before the physics, then `judge` and `look`; see `mail_envs.games.hands.rules`. `arrays`: an `Arrays`, or
    an object with the same attributes. `device`: where they are.
    """

    def __init__(self, params: np.ndarray, arrays: Any, out: Any, device: Any):
        known = named(device.put(params), arrays, out)
        self.command, self.judge, self.look = (
            bound(device, one, known)[0] for one in (command, judge, look)
        )


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
        self.forearms = forearms(self.params)
        self._picture = Picture(task, self.model)
        threads = min(threads, num_envs)
        self._pool = ThreadPoolExecutor(threads) if threads > 1 else None
        self._shares = [np.arange(num_envs) % threads == k for k in range(threads)]
        self._parts = [np.zeros_like(share) for share in self._shares]
        self._bind()

    def _bind(self) -> None:
        """Bind the compiled loops: a round in each thread's worlds, and the beginning of episodes."""
        native.load()
        device, physics = Cpu(len(self.datas)), self.physics
        hands = hand_velocities(self.task).stop
        plan = plan_of(self.model, physics.substeps, hands, physics.kept)
        known = {
            **named(device.put(self.params), self.arrays, self.out),
            "plan": device.put(plan),
            "places": places_of(self.datas),
            "commands": copies_of([self._commands(e) for e in range(len(self.datas))]),
            "results": copies_of([self._results(e) for e in range(len(self.datas))]),
        }
        (self._settle,), (self._look,) = (bound(device, one, known) for one in (settle, look))
        # A thread plays those of the worlds `out.which` that are its own.
        parts = [known] if self._pool is None else [{**known, "which": p} for p in self._parts]
        self._plays = bound(device, play, *parts)

    def _commands(self, e: int) -> list[tuple[np.ndarray, np.ndarray]]:
        """Where the targets and wrenches of world e go, and where they are."""
        data, a = self.datas[e], self.arrays
        pushed = data.xfrc_applied[self.forearms]
        return [(data.ctrl, a.control[e]), *zip(pushed, a.wrench[e], strict=True)]

    def _results(self, e: int) -> list[tuple[np.ndarray, np.ndarray]]:
        """Where the rules read world e, and where MuJoCo has it."""
        return [(getattr(self.arrays, name)[e], getattr(self.datas[e], name)) for name in SEEN]

    def step(self) -> None:
        """Play a round in the worlds `out.which`."""
        if self._pool is None:
            self._plays[0]()
        else:
            for part, share in zip(self._parts, self._shares, strict=True):
                np.logical_and(self.out.which, share, out=part)
            list(self._pool.map(lambda play_part: play_part(), self._plays))
        if self.task.kind == TURN:
            self._renew()

    def _renew(self) -> None:
        """Draw another goal where one was reached."""
        reached = self.arrays.renew & self.out.which
        if reached.any():
            for e in np.flatnonzero(reached):
                self.arrays.goals[e] = draw_goals(self.task, self.generators[e].uniform(-1, 1, 2))
            self._look()

    def reset(self, seeds: np.ndarray) -> None:
        """Begin the episodes with `seeds` in the worlds `out.which`."""
        for e in self.out.which.nonzero()[0].tolist():
            self._begin(e, int(seeds[e]))
        self._settle()
        self._look()

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
