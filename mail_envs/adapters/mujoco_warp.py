"""Bi-DexHands in MuJoCo Warp: `make_vec("bidexhands_door_open_inward", 2048, backend="mujoco_warp", device="cuda")`.

The same tasks, in thousands of worlds on an NVIDIA GPU: `pip install 'mail-envs[hands,warp]'`. Physics runs in MuJoCo Warp,
observations and rewards in the native game's own functions, compiled for the device; with `device="cuda"` all arrays are torch
tensors there, and learners get them without a copy. Starts are drawn on the CPU, from the same seeds as the native game's.

Warp computes in float32. Without contacts it stays close to the native game (after 20 rounds of a door task joints differ by about
10⁻⁵); with contacts episodes differ. Equal seeds and actions need not give equal bits on a GPU, so episodes cannot be replayed
(`replayable` is False). The first step compiles for minutes. On the CPU (`device="cpu"`) it is a hundred times slower than the
native game and only of use for tests; **it has never been run or timed on a GPU.**
"""

from __future__ import annotations

import copy
import importlib.metadata
import importlib.util
from types import SimpleNamespace
from typing import Any

import numpy as np

from mail_envs.buffers import Buffers
from mail_envs.devices import make_device
from mail_envs.games.hands.game import Hands, describe, make_physics
from mail_envs.games.hands.model import build
from mail_envs.games.hands.rules import MOTORS, parameters
from mail_envs.games.hands.tasks import TURN
from mail_envs.games.hands.worlds import (
    SEEN,
    Rules,
    draw_goals,
    forearms,
    hand_velocities,
    start_of,
)  # fmt: skip
from mail_envs.mujoco_support import log_warnings
from mail_envs.simulator import SimulatorGame

INSTALL = "pip install 'mail-envs[hands,warp]'"
CONTACTS, ROWS = 48, 256  # per world; violent play needs up to 12 and 130


class WarpHands(SimulatorGame):
    """A task of Bi-DexHands in MuJoCo Warp. Arguments: as for the native `Hands`."""

    metric_names = Hands.metric_names
    replayable = False
    always_batched = True
    on_cuda = True

    def __init__(
        self,
        task: str = "door_open_inward",
        substeps: int = 2,
        link_damping: float | None = None,
        wrench_scale: float = 1 / 6,
        door_spring: float = 0.0,
    ):
        for package in ("mujoco_warp", "warp"):
            if importlib.util.find_spec(package) is None:
                raise ImportError(f"backend='mujoco_warp' needs {package}: {INSTALL}")
        describe(self, task)
        self.physics = make_physics(self.task, substeps, link_damping, wrench_scale, door_spring)
        log_warnings()
        self.metadata = {
            "simulator": f"mujoco_warp {importlib.metadata.version('mujoco_warp')}",
            "convention": "observations and rewards of Bi-DexHands, at 60 Hz",
        }

    def batch(self, num_envs):
        return lambda buffers: WarpCopies(self, buffers)


class WarpCopies:
    """E worlds on one device, with the methods of `copies.Copies`."""

    def __init__(self, game: WarpHands, buffers: Buffers):
        import mujoco
        import warp

        warp.config.quiet = True  # before the import of `mujoco_warp`, which prints
        import mujoco_warp

        name = "cpu" if isinstance(buffers.which, np.ndarray) else "cuda"
        device = self.device = make_device(name, len(buffers.which), 1)
        self.task, self.physics, self.buffers = game.task, game.physics, buffers
        self.model, self.warp = (
            build(game.task, game.physics.substeps, game.physics.door_spring),
            warp,
        )
        num_envs = len(buffers.which)
        model = copy.copy(
            self.model
        )  # Warp never resets a world on its own, and knows no flag for it
        model.opt.disableflags &= ~int(mujoco.mjtDisableBit.mjDSBL_AUTORESET)
        with warp.ScopedDevice(device.name):
            self.warp_model = mujoco_warp.put_model(model)
            self.warp_model.opt.run_rne_postconstraint = True
            self.data: Any = mujoco_warp.make_data(
                self.model, num_envs, nconmax=CONTACTS, njmax=ROWS
            )
        self._step1, self._step2 = mujoco_warp.step1, mujoco_warp.step2
        self._reset_data = mujoco_warp.reset_data
        view = warp.to_torch if device.name == "cuda" else (lambda array: array.numpy())
        shapes = {
            "last": ((num_envs, 2, 26), np.float32), "goals": ((num_envs, 2, 7), np.float32),
            "success": (num_envs, np.float32), "broken": (num_envs, np.bool_),
            "renew": (num_envs, np.bool_), "wrench": ((num_envs, 2, 6), np.float32),
        }  # fmt: skip
        arrays = {name: device.zeros(*shape) for name, shape in shapes.items()}
        arrays |= {name: view(getattr(self.data, name)) for name in SEEN}
        arrays["control"] = view(self.data.ctrl)
        self.arrays = SimpleNamespace(**arrays)
        self._xfrc, self._warmstart = view(self.data.xfrc_applied), view(self.data.qacc_warmstart)
        params = parameters(game.task, self.model, game.physics.wrench_scale)
        self.forearms, self.hands = forearms(params), hand_velocities(game.task)
        out = SimpleNamespace(**vars(buffers), outcome=buffers.world["outcome"])
        self._rules = Rules(params, self.arrays, out, device)
        self.generators: list[Any] = [None] * num_envs

    def step(self, which: Any) -> None:
        a = self.arrays
        self._rules.command()
        self._xfrc[:, self.forearms] = a.wrench
        with self.warp.ScopedDevice(self.device.name):
            for _ in range(self.physics.substeps):
                self._step2(self.warp_model, self.data)
                a.qvel[:, self.hands] *= self.physics.kept
                self._step1(self.warp_model, self.data)
        self._rules.judge()
        if self.task.kind == TURN:
            self._renew(self.device.get(a.renew) & self.device.get(which))
        self._rules.look()

    def _renew(self, reached: np.ndarray) -> None:
        """Draw another goal where one was reached."""
        for e in np.flatnonzero(reached).tolist():
            goals = draw_goals(self.task, self.generators[e].uniform(-1, 1, 2))
            self.arrays.goals[e] = self.device.put(goals)

    def reset(self, which: Any) -> None:
        chosen = np.flatnonzero(self.device.get(which))
        seeds = self.device.get(self.buffers.seeds)[chosen]
        if not len(chosen):
            return
        starts = []
        for e, seed in zip(chosen.tolist(), seeds.tolist(), strict=True):
            start, self.generators[e] = start_of(self.task, self.model, seed)
            starts.append(start)
        a, first = self.arrays, 6 if self.task.free else 0
        with self.warp.ScopedDevice(self.device.name):
            self._reset_data(self.warp_model, self.data, self.warp.array(self.device.get(which)))
        last = np.zeros((len(chosen), 2, 26), np.float32)
        last[:, :, first : first + MOTORS] = [start.targets for start in starts]
        begun = {
            "qpos": [s.qpos for s in starts], "qvel": [s.qvel for s in starts],
            "control": [s.control for s in starts], "goals": [s.goals for s in starts], "last": last,
        }  # fmt: skip
        for name, values in begun.items():
            getattr(a, name)[which] = self.device.put(np.asarray(values, np.float32))
        for array in (
            a.success,
            a.broken,
            a.cfrc_ext,
            a.qfrc_actuator,
            self._xfrc,
            self._warmstart,
        ):
            array[which] = 0
        self.buffers.alive[which] = True
        with self.warp.ScopedDevice(self.device.name):
            self._step1(self.warp_model, self.data)
        self._rules.look()

    def replay(self, which: Any) -> list[int]:
        """Episodes cannot be replayed: all are refused."""
        return np.flatnonzero(self.device.get(which)).tolist()

    def picture(self, e: int) -> np.ndarray:
        """An image of world e, drawn by the native game."""
        import mujoco

        from mail_envs.games.hands.picture import Picture

        data = mujoco.MjData(self.model)
        data.qpos[:] = self.device.get(self.arrays.qpos)[e]
        mujoco.mj_kinematics(self.model, data)
        picture = Picture(self.task, self.model)
        image = picture.draw(data, self.device.get(self.arrays.goals)[e])
        picture.close()
        return image

    def take_options(self, options: dict[str, Any] | None) -> None:
        """The game takes none."""

    def infos(self, e: int) -> dict[str, dict[str, Any]]:
        return {}

    def close(self) -> None:
        self.data = None
