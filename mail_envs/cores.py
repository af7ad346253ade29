"""CPU cores: how many this process may use, and the use of a single one."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

AFFINITY = hasattr(os, "sched_setaffinity")  # Linux


def usable_cores() -> int:
    """Cores on which this process may run: a container, a job scheduler or `taskset` can leave it fewer than there are."""
    return len(os.sched_getaffinity(0)) if AFFINITY else os.cpu_count() or 1


@contextlib.contextmanager
def one_core() -> Iterator[None]:
    """Run this thread, and threads and processes that it starts, on a single core; elsewhere than on Linux, on all."""
    if not AFFINITY:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
