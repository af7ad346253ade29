"""Copies of a simulator in worker processes, which read and write the view's buffers in shared memory.

Each worker holds simulators in the middle of their episodes; when it dies, only these episodes are lost. No existing
library provides this. In Gymnasium's AsyncVectorEnv, one dead or hanging worker ends the whole environment. pebble
and loky restart processes, but cannot send a task to the process that holds its simulator. Ray's actors can, at more
than ten times the cost of a round. Only cloudpickle is used.

Workers are plain Python processes, not children of `multiprocessing`: no helper process stays behind, scripts need
no `if __name__ == "__main__"`, and no thread (numba, torch) is copied by a fork. Each worker leads its own process
group, so Ctrl-C reaches only this process, and processes that a simulator starts end with their worker. The
operating system kills the group when this process ends for any reason.
"""

from __future__ import annotations

import contextlib
import logging
import mmap
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import time
import weakref
from multiprocessing.connection import Pipe, wait
from typing import Any

import cloudpickle
import numpy as np

from mail_envs.buffers import Buffers
from mail_envs.devices import Cpu, _readable
from mail_envs.drawing import RenderingError
from mail_envs.own_games import imported_files
from mail_envs.rounds import LOST
from mail_envs.simulator import SimulatorGame
from mail_envs.worker import READY

START_SECONDS = 120.0  # limit for a new process to import its simulator and make its copies
LONGEST_WAIT = 86400.0  # seconds; the operating system takes no more than 24 days at once
CLOSE_SECONDS = 5.0  # limit for all workers together to close their simulators
MAX_FAILURES = 3  # of a worker, without a successful round in between
CHUNK = 1 << 20  # bytes; pages that are never touched take no memory
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")

# Buffers that a worker writes; they are restored for lost copies.
WRITTEN = ("observations", "action_mask", "alive", "state", "turns", "metrics")

log = logging.getLogger(__name__)


class SharedMemory(Cpu):
    """Like `Cpu`, but `zeros` are allocated in memory that other processes can map.

    The memory is one unnamed file, which the operating system frees when no process maps it any more.
    """

    def __init__(self, num_envs: int):
        super().__init__(num_envs)
        self.file = _nameless_file()
        weakref.finalize(self, os.close, self.file)
        self._chunk, self._begin, self._used = mmap.mmap(-1, 1), 0, CHUNK
        self._offsets: dict[int, int] = {}

    def zeros(self, shape, dtype):
        size = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
        if self._used + size > len(self._chunk):
            self._begin, self._used = os.fstat(self.file).st_size, 0
            length = -(-max(size, CHUNK) // CHUNK) * CHUNK
            os.ftruncate(self.file, self._begin + length)
            self._chunk = mmap.mmap(self.file, length, offset=self._begin)
        array = np.ndarray(shape, dtype, self._chunk, self._used)
        self._offsets[array.ctypes.data] = self._begin + self._used
        self._used += -(-size // 64) * 64
        return _readable(array)

    def place(self, array: np.ndarray) -> tuple[int, tuple[int, ...], np.dtype]:
        """Where other processes find `array`: its offset in the file, shape and dtype."""
        return self._offsets[array.ctypes.data], array.shape, array.dtype


def _nameless_file() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("mail_envs")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


class Worker:
    """A process that plays some of the copies, and the owner's ends of its pipes.

    Attributes:
        copies: the consecutive rows of the buffers that it plays.
        ready: whether it has made its simulators.
        asked, answered: numbers of the last command and of the last answer.
        deadline: when the answer is overdue, in `time.monotonic` seconds.
        failures: number of failures since the last successful round.
        value: the value of the last answer.
    """

    def __init__(self, number: int, copies: range):
        self.number, self.copies, self.failures = number, copies, 0
        self.process: subprocess.Popen | None = None
        self.command, self.seconds, self.value = "", 0.0, None

    def __str__(self):
        first, last = self.copies[0], self.copies[-1]
        which = f"copy {first}" if first == last else f"copies {first} to {last}"
        return f"worker {self.number} ({which})"

    def start(self, setup: bytes, memory: int) -> None:
        """Start the process; its first message is READY."""
        self.pipe, theirs = Pipe()
        watched, self.life = os.pipe()
        fds = (theirs.fileno(), watched, memory)
        code = (
            f"import sys; sys.path[:] = {sys.path!r}\n"
            f"from mail_envs.worker import work; work({fds[0]}, {fds[1]}, {fds[2]})"
        )
        self.process = subprocess.Popen(
            [sys.executable, "-c", code],
            pass_fds=fds,
            stdin=subprocess.DEVNULL,
            env={**os.environ, **ONE_THREAD},
            start_new_session=True,
        )
        theirs.close()
        os.close(watched)
        self.ready, self.asked, self.answered = False, READY, -1
        self.deadline = time.monotonic() + START_SECONDS
        self._send(setup)
        self._send(pickle.dumps(self.copies))

    def ask(
        self, number: int, command: str, copies: list[int], seconds: float, options: bytes = b""
    ) -> None:
        self.asked, self.command, self.seconds = number, command, seconds
        self.deadline = time.monotonic() + seconds + (0.0 if self.ready else START_SECONDS)
        self._send(pickle.dumps((number, command, copies, options)))

    def _send(self, message: bytes) -> None:
        with contextlib.suppress(
            OSError
        ):  # the worker is dead: `wait` notices that the pipe is closed
            self.pipe.send_bytes(message)

    def kill(self) -> None:
        """Kill the process and its children; `end` waits for it."""
        if self.process is not None and self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)

    def end(self) -> str:
        """End the process and close its pipes; returns how it ended."""
        if self.process is None:
            return ""
        self.kill()
        process, self.process = self.process, None
        self.pipe.close()
        os.close(self.life)
        code = process.wait()
        return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exited with code {code}"


class Workers:
    """E copies of a simulator divided among processes, with the methods of `copies.Copies`.

    A process that dies is restarted at once. One that does not answer for `worker_timeout` seconds is killed
    and restarted. A copy that raises is replaced in its process. The affected episodes end with this round: outcome
    LOST, `buffers.restarted`, reward 0, and the observations of the previous round. Every restart is logged as
    a warning. After Ctrl-C during a round, call reset before the next round.

    Raises:
        RuntimeError: a worker cannot make its copies at the start, or fails three times without a successful
            round in between. The message contains the worker's traceback; all workers are closed.
    """

    def __init__(
        self,
        game: SimulatorGame,
        buffers: Buffers,
        device: SharedMemory,
        num_workers: int,
        worker_timeout: float,
    ):
        self.buffers, self.device, self.timeout = buffers, device, worker_timeout
        num_envs = len(buffers.which)
        self.lost = np.zeros(num_envs, np.bool_)  # copies without a running episode
        self._before = {name: np.copy(getattr(buffers, name)) for name in WRITTEN}
        self._setup = _setup(game, buffers, device)
        game.close()  # only its copies in the workers are used
        self._number, self._open, self._options = READY, False, b""
        bounds = [num_envs * k // num_workers for k in range(num_workers + 1)]
        self.workers = [Worker(k, range(*bounds[k : k + 2])) for k in range(num_workers)]
        self._finish = weakref.finalize(self, _end_all, self.workers, os.getpid())
        for worker in self.workers:
            worker.start(self._setup, device.file)
        self._gather(self.workers)
        self._open = True

    def step(self, which: np.ndarray) -> None:
        b = self.buffers
        for name, array in self._before.items():
            np.copyto(array, getattr(b, name))
        self._command("step", which & ~self.lost, self.timeout)
        lost = which & self.lost
        if lost.any():
            for name, array in self._before.items():
                getattr(b, name)[lost] = array[lost]
            b.rewards[lost] = 0
            b.world["outcome"][lost] = LOST
            b.restarted[lost] = True

    def reset(self, which: np.ndarray) -> None:
        self._command_until_done("reset", which, self.timeout)

    def replay(self, which: np.ndarray) -> list[int]:
        """Replay the episodes in the buffers up to now; returns the copies that gave other observations."""
        rounds = int(self.buffers.clock["rounds"].sum())
        self.lost[...] = True
        return self._command_until_done("replay", which, self.timeout * max(rounds, 1))

    def picture(self, e: int) -> np.ndarray:
        """Copy e's image, uint8 (H, W, 3). RenderingError without OpenGL or pygame, else RuntimeError."""
        if self.lost[e]:
            raise RuntimeError(f"copy {e} was lost with its worker; reset it first")
        which = np.arange(len(self.lost)) == e
        (worker,) = self._command("picture", which, self.timeout)
        if isinstance(worker.value, np.ndarray):
            return worker.value
        if isinstance(worker.value, RenderingError):
            raise worker.value
        raise RuntimeError(f"copy {e} cannot be rendered: {worker.value or 'its worker died'}")

    def take_options(self, options: dict[str, Any] | None) -> None:
        """Set the options of all episodes that are begun or replayed from now on.

        TypeError: they cannot be sent to a worker process.
        """
        try:
            self._options = cloudpickle.dumps(options)
        except Exception as error:
            raise TypeError(
                f"options={options!r} cannot be sent to worker processes ({error}); use "
                "num_workers=0"
            ) from error

    def infos(self, e: int) -> dict[str, dict[str, Any]]:
        """The infos that copy e gives its agents; {} if it was lost.

        RuntimeError: the simulator raised, or they cannot be sent.
        """
        if self.lost[e]:
            return {}
        (worker,) = self._command("infos", np.arange(len(self.lost)) == e, self.timeout)
        if isinstance(worker.value, str):
            raise RuntimeError(worker.value)
        return pickle.loads(worker.value) if worker.value else {}

    def close(self) -> None:
        """Close all simulators and end their processes; workers that do not answer are killed after 5 s."""
        if not self._finish.alive:
            return
        idle = [w for w in self.workers if w.process and w.ready and w.answered == w.asked]
        for worker in idle:
            worker.ask(-1, "close", [], CLOSE_SECONDS)
        limit = time.monotonic() + CLOSE_SECONDS
        while idle and time.monotonic() < limit:  # each closes its end of the pipe
            for pipe in wait([w.pipe for w in idle], max(limit - time.monotonic(), 0.0)):
                idle = [w for w in idle if w.pipe is not pipe]
        self._finish()

    def _command_until_done(self, command: str, which: np.ndarray, seconds: float) -> list[int]:
        """Run a command on `which` copies, again in new processes where it fails; returns the workers' answers."""
        todo, answers = which.copy(), []
        while todo.any():
            self.lost[todo] = False
            for worker in self._command(command, todo, seconds):
                answers += worker.value or []
            todo = which & self.lost
        return answers

    def _command(self, command: str, which: np.ndarray, seconds: float) -> list[Worker]:
        """Run a command on `which` copies and wait. Copies that failed are then marked in `lost`."""
        if not self._finish.alive:
            raise RuntimeError("the environment is closed")
        self._number += 1
        asked = []
        for worker in self.workers:
            first, stop = worker.copies.start, worker.copies.stop
            copies = which[first:stop].nonzero()[0] + first
            if len(copies):
                options = self._options if command in ("reset", "replay") else b""
                worker.ask(self._number, command, copies.tolist(), seconds, options)
                asked.append(worker)
        self._gather(asked)
        return asked

    def _gather(self, asked: list[Worker]) -> None:
        """Wait until every worker has answered or has been restarted."""
        waiting = list(asked)
        while waiting:
            left = min(w.deadline for w in waiting) - time.monotonic()
            ready = wait([w.pipe for w in waiting], min(max(left, 0.0), LONGEST_WAIT))
            now = time.monotonic()
            for worker in list(waiting):
                if worker.pipe in ready:
                    done = self._receive(worker)
                elif done := worker.deadline <= now:
                    limit = worker.seconds if worker.ready else START_SECONDS
                    self._restart(worker, f"no answer within {limit:g} s")
                if done:
                    waiting.remove(worker)

    def _receive(self, worker: Worker) -> bool:
        """Receive a message. Returns whether it answers the last command, or the worker has died."""
        try:
            number, failures, worker.value = pickle.loads(worker.pipe.recv_bytes())
        except (EOFError, OSError):
            self._restart(worker)
            return True
        if number == READY:
            if failures:
                self._restart(worker, failures[0][1])
                return True
            worker.ready, worker.deadline = True, time.monotonic() + worker.seconds
        worker.answered = number
        for e, text in failures:
            self.lost[e] = True
            log.warning("copy %d in %s is replaced: %s", e, worker, text)
        if failures:
            self._count_failure(worker, failures[-1][1])
        elif worker.command == "step" and number == worker.asked:
            worker.failures = 0
        return number == worker.asked

    def _restart(self, worker: Worker, reason: str = "") -> None:
        """Replace a process that is dead or has not answered in time."""
        end = worker.end()
        worker.value, reason = None, reason or end
        self.lost[worker.copies.start : worker.copies.stop] = True
        if not self._open:
            self.close()
            raise RuntimeError(f"{worker} could not make its environment: {reason}")
        self._count_failure(worker, reason)
        log.warning("%s is restarted: %s", worker, reason)
        worker.start(self._setup, self.device.file)

    def _count_failure(self, worker: Worker, reason: str) -> None:
        worker.failures += 1
        if worker.failures >= MAX_FAILURES:
            self.close()
            raise RuntimeError(
                f"{worker} failed {MAX_FAILURES} times without a successful round in between; "
                f"the last error: {reason}"
            )


def _setup(game: SimulatorGame, buffers: Buffers, device: SharedMemory) -> bytes:
    """Everything that a worker needs. Functions of `__main__` and closures are sent by value."""
    if game.factory is None:
        raise ValueError(f"{type(game).__name__} has no factory, so no process can make a copy")
    places = {name: device.place(array) for name, array in vars(buffers).items()}
    return pickle.dumps((places, imported_files(), cloudpickle.dumps(game.factory)))


def _end_all(workers: list[Worker], owner: int) -> None:
    """End all workers, unless this is a fork of `owner`, the process that started them."""
    if os.getpid() == owner:
        for worker in workers:
            worker.kill()
        for worker in workers:
            worker.end()
