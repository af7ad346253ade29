"""Commands say so when they have to compile a game, which can take a minute the first time."""

from __future__ import annotations

import sys
import threading
import time
from functools import cache

from mail_envs.launch_cache import cache_directory

PATIENCE = 2.0  # seconds of compilation before the notice
in_command = False  # commands set it; a library does not print


class CompileNotice:
    """Prints one line to stderr once numba has compiled for `PATIENCE` seconds in total."""

    def __init__(self) -> None:
        self.depth, self.spent, self.started = 0, 0.0, 0.0
        self.said = False
        self.timer: threading.Timer | None = None

    def notify(self, event) -> None:
        """Numba's listener: compilation of a function, or of one that it calls, has started or ended."""
        self.depth += 1 if event.is_start else -1
        if event.is_start and self.depth == 1 and not self.said:
            self.started = time.perf_counter()
            self.timer = threading.Timer(max(0.0, PATIENCE - self.spent), self.say)
            self.timer.daemon = True
            self.timer.start()
        elif self.depth == 0 and self.timer is not None:
            self.timer.cancel()
            self.spent += time.perf_counter() - self.started

    def say(self) -> None:
        self.said = True
        where = cache_directory()
        kept = f"the result is kept in {where}" if where else "in every process"
        print(f"compiling the game for this machine; {kept} ...", file=sys.stderr, flush=True)


@cache
def listen() -> None:
    """Tell the user of a command when compilation takes long."""
    if in_command:
        from numba.core import event

        event.Listener.register(
            CompileNotice
        )  # not a base class: commands start before numba is imported
        event.register("numba:compile", CompileNotice())  # pyright: ignore[reportArgumentType]
