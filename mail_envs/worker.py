"""The code of a worker process, which plays copies of a simulator for its owner (`mail_envs.processes`)."""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import pickle
import select
import signal
import threading
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import cloudpickle
import numpy as np

from mail_envs.buffers import Buffers
from mail_envs.drawing import RenderingError
from mail_envs.own_games import import_source
from mail_envs.simulator import Row, SimulatorGame, begin, play, replay

COMMANDS = {"step": play, "reset": begin, "replay": replay}
READY = 0  # number of a worker's first message; commands are numbered from 1


def work(pipe: int, life: int, memory: int) -> None:
    """A worker's main function. Arguments are file descriptors: commands, the pipe that closes with the owner, buffers."""
    _end_with(life)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    connection = Connection(pipe)
    try:
        copies = _Copies(connection.recv_bytes(), connection.recv_bytes(), memory)
    except Exception:
        connection.send_bytes(pickle.dumps((READY, [(None, traceback.format_exc())], None)))
        return
    try:
        connection.send_bytes(pickle.dumps((READY, [], None)))
        while True:
            number, command, which, options = pickle.loads(connection.recv_bytes())
            if command == "close":
                break
            connection.send_bytes(pickle.dumps((number, *copies.run(command, which, options))))
    except (EOFError, OSError):  # the owner has ended
        os.killpg(0, signal.SIGKILL)
    copies.close()


def _end_with(life: int) -> None:
    """Kill this process group when the other end of the pipe `life` is closed."""
    if hasattr(fcntl, "F_SETSIG"):  # Linux: the kernel does it, even if the simulator hangs
        fcntl.fcntl(life, fcntl.F_SETOWN, -os.getpgrp())
        fcntl.fcntl(life, fcntl.F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(life, fcntl.F_SETFL, fcntl.fcntl(life, fcntl.F_GETFL) | os.O_ASYNC)
        if select.select([life], [], [], 0)[0]:  # closed already
            os.killpg(0, signal.SIGKILL)
        return

    def watch():
        os.read(life, 1)
        os.killpg(0, signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()


class _Copies:
    """A worker's copies, which play in the shared buffers."""

    def __init__(self, setup: bytes, rows: bytes, memory: int):
        places, files, factory = pickle.loads(setup)
        for file in files:
            import_source(file)
        self.make: Callable[[], SimulatorGame] = cloudpickle.loads(factory)
        buffers = _map(places, memory)
        self.rows = {e: Row(buffers, e) for e in pickle.loads(rows)}
        self.games: dict[int, SimulatorGame] = {e: self.make() for e in self.rows}

    def run(self, command: str, which: list[int], options: bytes) -> tuple[list, Any]:
        """Run a command. Returns the failed copies with their tracebacks, and the answer.

        The answer is a picture, infos, or the copies for which the command returned False.
        """
        if command == "picture":
            return [], self._picture(which[0])
        if command == "infos":
            return [], self._infos(which[0])
        failures, refused = [], []
        for e in which:
            try:
                game = self._game(e)
                if options:
                    game.reset_options = pickle.loads(options)
                if COMMANDS[command](game, self.rows[e]) is False:
                    refused.append(e)
            except Exception:
                failures.append((e, traceback.format_exc()))
                self._drop(e)
        return failures, refused

    def _game(self, e: int) -> SimulatorGame:
        if e not in self.games:
            self.games[e] = self.make()
        return self.games[e]

    def _picture(self, e: int) -> np.ndarray | RenderingError | str:
        try:
            return np.ascontiguousarray(self._game(e).picture())
        except RenderingError as error:
            return error
        except Exception:
            return traceback.format_exc()

    def _infos(self, e: int) -> bytes | str:
        """Copy e's infos, pickled; or an error message if the simulator raised or they cannot be sent."""
        try:
            infos = self._game(e).infos()
        except Exception:
            return f"copy {e} has no infos: {traceback.format_exc()}"
        try:
            return cloudpickle.dumps(infos)
        except Exception:
            parts = ((a, k, v) for a, info in infos.items() for k, v in info.items())
            agent, key, value = next(part for part in parts if not _can_be_pickled(part[2]))
            return (
                f"the infos of {agent} in copy {e} hold {key}={value!r}, which cannot be sent from a worker "
                "process: use num_workers=0"
            )

    def _drop(self, e: int) -> None:
        game = self.games.pop(e, None)
        with contextlib.suppress(Exception):
            if game is not None:
                game.close()

    def close(self) -> None:
        for e in list(self.games):
            self._drop(e)


def _can_be_pickled(value: Any) -> bool:
    try:
        cloudpickle.dumps(value)
    except Exception:
        return False
    return True


def _map(places: dict[str, tuple], memory: int) -> Buffers:
    """Map the buffers of a `SharedMemory` in this process."""
    whole = mmap.mmap(memory, os.fstat(memory).st_size)
    arrays = {k: np.ndarray(shape, dtype, whole, at) for k, (at, shape, dtype) in places.items()}
    return Buffers(**arrays)
