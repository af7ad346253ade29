"""Bi-DexHands in Isaac Gym itself: `make_vec("bidexhands_door_open_inward", 2048, backend="isaacgym")`.

The environments of the original (github.com/PKU-MARL/DexterousHands) on NVIDIA's Isaac Gym Preview 3 or 4, all copies in
one simulation on the GPU, with the agents, spaces, metrics and time limits of the native `bidexhands_*` games.

**Installation.** Isaac Gym needs Python 3.7 or 3.8 and NumPy 1.23 or older, so it cannot be in the environment of this
suite: install it (developer.nvidia.com/isaac-gym) and a clone of DexterousHands (`pip install -e .`; the package
`bidexhands` on PyPI is an empty shell) into one of its own, and set `MAIL_ENVS_ISAACGYM_PYTHON` to its interpreter. A process
under that interpreter runs the simulation; it shares arrays with this one and imports nothing of this suite.

**Episodes.** The original begins an episode in the first round after the end of the last one. So the first observation of
an episode that follows another is the last one of that: the agents act on it, as in the original. After `reset` all
copies show their own first observation, after a round of very small actions. The time limit truncates; the original
does not distinguish it. **φ**: no force, and the joints hold their last targets. Episodes are not reproducible, and
cannot be copied or saved in their middle (`replayable` is False).

**If the process dies or is silent** for `timeout` seconds it is restarted; all episodes end with `info["worker_restarted"]`.

It was tested with a stand-in for Isaac Gym, never with Isaac Gym itself. `python -m mail_envs.adapters.isaacgym_probe` prints two
numbers of it that the native game has to assume.
"""

from __future__ import annotations

import json
import logging
import os
import re
import select
import signal
import subprocess
import time
import weakref
from pathlib import Path
from typing import Any

import numpy as np

from mail_envs.buffers import Buffers
from mail_envs.counts import seconds_above_zero
from mail_envs.games.hands.game import describe
from mail_envs.games.hands.rules import HIGH, LOW, MOTORIZED
from mail_envs.processes import SharedMemory
from mail_envs.rounds import LOST, RUNNING, TERMINATED, TRUNCATED
from mail_envs.simulator import SimulatorGame

INTERPRETER = "MAIL_ENVS_ISAACGYM_PYTHON"
START_SECONDS = 900.0  # Isaac Gym makes its environments one by one
MAX_FAILURES = 3  # without a successful round in between
SHARED = ("actions", "observations", "state", "rewards", "done", "success")
OURS = ("algo", "cfg_env", "episode_length", "headless", "num_envs", "task", "task_type")  # flags

log = logging.getLogger(__name__)


class IsaacGym(SimulatorGame):
    """A task of Bi-DexHands in Isaac Gym.

    Args:
        task: one of `games.hands.tasks.TASKS`.
        settings: flags of Bi-DexHands' command line, such as `{"sim_device": "cuda:0", "seed": 1}`; True is a flag
            without a value, False none. Those in `OURS` are not allowed: the view sets them.
        timeout: seconds after which a process that does not answer is restarted.

    Raises:
        ImportError: there is no interpreter with Isaac Gym. ValueError: an argument is none of these.
    """

    metric_names = ("success", "simulation_errors")
    replayable = False
    always_batched = True

    def __init__(
        self,
        task: str = "door_open_inward",
        settings: dict[str, Any] | None = None,
        timeout: float = 60.0,
    ):
        describe(self, task)
        seconds_above_zero(timeout=timeout)
        for name in settings or {}:
            if any(flag.startswith(str(name)) for flag in OURS):  # argparse takes abbreviations
                raise ValueError(
                    f"settings={settings!r} must not have {name!r}: the view sets {', '.join(OURS)}"
                )
        self.name, self.settings, self.timeout = task, dict(settings or {}), timeout
        self.metadata = {"simulator": "Isaac Gym", "convention": "Bi-DexHands, at 60 Hz"}
        interpreter()

    def batch(self, num_envs):
        return lambda buffers: IsaacCopies(self, buffers)


def interpreter() -> str:
    """The Python that has Isaac Gym. ImportError if none is named, or it does not exist."""
    path = os.environ.get(INTERPRETER, "")
    if not path or not Path(path).is_file():
        what = f"{INTERPRETER}={path!r} is no file" if path else f"{INTERPRETER} is not set"
        raise ImportError(
            f"backend='isaacgym' needs an interpreter (Python 3.7 or 3.8) with Isaac Gym and Bi-DexHands, and {what}. "
            "They cannot be installed here: Isaac Gym has no package for Python 3.9 or newer and needs an old NumPy. Install "
            "Isaac Gym Preview 4 (developer.nvidia.com/isaac-gym) and github.com/PKU-MARL/DexterousHands into an environment "
            f"of their own, and set {INTERPRETER} to its python"
        )
    return path


def original_name(task: str) -> str:
    """'catch_over2underarm' -> 'ShadowHandCatchOver2Underarm'."""
    return "ShadowHand" + re.sub(r"(?:^|_|(?<=\d))([a-z])", lambda m: m[1].upper(), task)


def command_line(flags: dict[str, Any]) -> list[str]:
    """{"seed": 1, "headless": True, "test": False} -> ["--seed=1", "--headless"]."""
    line = []
    for name, value in flags.items():
        if not isinstance(value, (bool, np.bool_)):
            line.append(f"--{name}={value}")
        elif value:
            line.append(f"--{name}")
    return line


class IsaacProcess:
    """The process with the simulation. `arrays`, by the names in `SHARED`, are read and written by both sides.

    Its methods raise Silent if it died, failed or did not answer in time, and RuntimeError after `close`.
    """

    def __init__(self, game: IsaacGym, num_envs: int):
        self.game, self.memory = game, SharedMemory(num_envs)
        block, tail, width = game.task.block, game.task.tail, game.task.actions
        shapes = ((2, width), (2, block + tail), (2 * block + tail,), (2,), (), ())
        self.arrays = {
            name: self.memory.zeros((num_envs, *shape), np.float32)
            for name, shape in zip(SHARED, shapes, strict=True)
        }
        places = {n: (self.memory.place(a)[0], a.nbytes) for n, a in self.arrays.items()}
        flags = {"headless": True, "num_envs": num_envs, **game.settings}
        self.setup = {
            "task": original_name(game.name), "num_envs": num_envs, "width": width, "places": places,
            "bytes": os.fstat(self.memory.file).st_size,
            "flags": command_line(flags),
        }  # fmt: skip
        self._process: Any = None
        self.start()

    def start(self) -> None:
        """Start the process, and wait until its environments are made. If it is Silent, it is closed."""
        theirs, self._commands = os.pipe()
        self._answers, ours = os.pipe()
        fds = (theirs, ours, self.memory.file)
        script = Path(__file__).with_name("isaacgym_worker.py")
        self._process = subprocess.Popen(
            [interpreter(), str(script), *map(str, fds)], pass_fds=fds, stdin=subprocess.DEVNULL,
            start_new_session=True, env=clean_environment(),
        )  # fmt: skip
        os.close(theirs)
        os.close(ours)
        self._end = weakref.finalize(self, end, self._process, (self._commands, self._answers))
        self._rest, self._number = b"", 0
        try:
            self._ask(self.setup, START_SECONDS)
        except Silent:
            self.close()
            raise

    def step(self, reset: list[int]) -> None:
        self._ask({"name": "step", "reset": reset}, self.game.timeout)

    def reset(self) -> None:
        self._ask({"name": "reset"}, self.game.timeout)

    def probe(self) -> dict[str, Any]:
        """Measurements, see `isaacgym_worker`."""
        return self._ask({"name": "probe"}, START_SECONDS)

    def _ask(self, command: dict[str, Any], seconds: float) -> Any:
        if not self._end.alive:  # other files may have the numbers of its pipes now
            raise RuntimeError("the environment is closed")
        self._number += 1
        try:
            line = json.dumps({**command, "number": self._number})
            os.write(self._commands, line.encode() + b"\n")
        except OSError:
            raise Silent(self._how_it_ended()) from None
        deadline, answer = time.monotonic() + seconds, {"number": 0}
        while answer["number"] != self._number:  # others are to commands that Ctrl-C interrupted
            while b"\n" not in self._rest:
                left = deadline - time.monotonic()
                if left <= 0 or not select.select([self._answers], [], [], left)[0]:
                    raise Silent(f"no answer within {seconds:g} s")
                data = os.read(self._answers, 65536)
                if not data:
                    raise Silent(self._how_it_ended())
                self._rest += data
            line, _, self._rest = self._rest.partition(b"\n")
            answer = json.loads(line)
        if "error" in answer:
            raise Silent(answer["error"])
        return answer["value"]

    def _how_it_ended(self) -> str:
        code = self._process.wait(10)
        return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exited with code {code}"

    def close(self) -> None:
        self._end()


class Silent(RuntimeError):
    """The process has died, failed, or does not answer."""


def end(process: subprocess.Popen, pipes: tuple[int, ...]) -> None:
    """Kill a process and its children, and close its pipes."""
    for pipe in pipes:
        os.close(pipe)
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def clean_environment() -> dict[str, str]:
    """The environment without what belongs to our interpreter."""
    ours = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
    return {name: value for name, value in os.environ.items() if name not in ours}


class IsaacCopies:
    """E copies in one process, with the methods of `copies.Copies`.

    After Ctrl-C during a round, call reset before the next round.

    Raises:
        RuntimeError: Isaac Gym does not start, or fails three times without a successful round in between. It is
            closed then.
    """

    def __init__(self, game: IsaacGym, buffers: Buffers):
        self.game, self.buffers, num_envs = game, buffers, len(buffers.which)
        self.first = 6 if game.task.free else 0
        span = HIGH[MOTORIZED] - LOW[MOTORIZED]
        self.rest = -(HIGH[MOTORIZED] + LOW[MOTORIZED]) / span  # the targets of joints at 0
        self.rounds, self.pending = np.zeros(num_envs, np.int64), np.zeros(num_envs, np.bool_)
        self.failures = 0
        try:
            self.process = IsaacProcess(game, num_envs)
        except Silent as reason:
            raise RuntimeError(f"Isaac Gym could not make its environments: {reason}") from None

    def step(self, which: np.ndarray) -> None:
        b, shared = self.buffers, self.process.arrays
        held = shared["actions"]
        acts = (b.acts != 0)[..., None] & which[:, None, None]
        held[..., : self.first] = np.where(acts, b.actions[..., : self.first], 0)
        np.copyto(held[..., self.first :], b.actions[..., self.first :], where=acts)
        np.clip(held, -1, 1, out=held)
        try:
            self.process.step(np.flatnonzero(self.pending).tolist())
        except Silent as reason:
            self._restart(str(reason), which)
            return
        self.failures = 0
        self.pending[:] = False
        self.rounds += 1
        self._read(which)

    def _read(self, which: np.ndarray) -> None:
        """Take over what the process wrote; a copy with NaN is truncated, and shows what it showed before."""
        b, shared = self.buffers, self.process.arrays
        fine = np.isfinite(shared["rewards"]).all(1) & np.isfinite(shared["state"]).all(1)
        fine &= np.isfinite(shared["observations"]).all((1, 2))
        good, bad, done = which & fine, which & ~fine, shared["done"] != 0
        b.observations[good], b.state[good] = shared["observations"][good], shared["state"][good]
        b.rewards[good], b.rewards[bad] = shared["rewards"][good], 0
        b.metrics[good, 0], b.metrics[which, 1] = shared["success"][good], bad[which]
        late = self.rounds >= self.game.task.rounds
        ended = np.where(late, TRUNCATED, TERMINATED)
        outcome = np.where(bad, TRUNCATED, np.where(done, ended, RUNNING))
        b.world["outcome"][which] = outcome[which]

    def reset(self, which: np.ndarray) -> None:
        b, shared = self.buffers, self.process.arrays
        b.alive[which] = True
        self.rounds[which] = 0
        shared["actions"][which] = 0
        shared["actions"][which, :, self.first :] = self.rest
        if not which.all():
            self.pending |= which
            return
        while True:
            try:
                self.process.reset()
                break
            except Silent as reason:
                self._restart(str(reason), ~which)
        self.pending[:] = False
        self.rounds[:] = 1  # the original has played a round of small actions
        b.observations[...], b.state[...] = shared["observations"], shared["state"]

    def _restart(self, reason: str, playing: np.ndarray) -> None:
        """Start another process; the episodes of the copies `playing` end here."""
        self.failures += 1
        self.process.close()
        if self.failures >= MAX_FAILURES:
            raise RuntimeError(
                f"Isaac Gym failed {MAX_FAILURES} times without a successful round in between: {reason}"
            )
        log.warning("Isaac Gym is restarted: %s", reason)
        try:
            self.process.start()
        except Silent as problem:
            raise RuntimeError(f"Isaac Gym could not be restarted: {problem}") from None
        b = self.buffers
        b.rewards[playing], b.world["outcome"][playing], b.restarted[playing] = 0, LOST, True
        self.pending[:] = True

    def replay(self, which: np.ndarray) -> list[int]:
        """Episodes cannot be replayed: all are refused."""
        return which.nonzero()[0].tolist()

    def picture(self, e: int) -> np.ndarray:
        raise NotImplementedError("backend='isaacgym' draws no pictures; use the native backend")

    def take_options(self, options: dict[str, Any] | None) -> None:
        """The game takes none."""

    def infos(self, e: int) -> dict[str, dict[str, Any]]:
        return {}

    def close(self) -> None:
        self.process.close()
