"""MuJoCo's C functions in compiled loops: from Python, their calls would take 5 % of a round.

Models, data and arrays are passed as their addresses. An error that MuJoCo raises, an exception in Python, ends the process
here. The only one of a step is that a model's memory is full, of which these models use 1 %. A simulation that fails
(NaN) raises none.
"""

from __future__ import annotations

import ctypes
import importlib.util
from pathlib import Path
from typing import Any

import llvmlite.binding
from numba import types
from numba.core import config

ADDRESS, NUMBER, COUNT = types.int64, types.float64, types.int32
C_TYPES = {ADDRESS: ctypes.c_void_p, NUMBER: ctypes.c_double, COUNT: ctypes.c_int}
KINDS = {
    "mj_step1": (ADDRESS, ADDRESS),  # model, data
    "mj_step2": (ADDRESS, ADDRESS),
    "mj_rnePostConstraint": (ADDRESS, ADDRESS),
    "mju_copy": (ADDRESS, ADDRESS, COUNT),  # to, from, how many numbers
    "mju_scl": (ADDRESS, ADDRESS, NUMBER, COUNT),  # to, from, factor, how many numbers
}


def library() -> ctypes.CDLL:
    """MuJoCo's. Except on Windows, it is found through a module that is linked to it, because its name has a version."""
    found = importlib.util.find_spec("mujoco._functions")
    module = Path(found.origin)  # pyright: ignore
    windows = module.with_name("mujoco.dll")
    return ctypes.CDLL(str(windows if windows.exists() else module))


def load() -> None:
    """Tell the compiler where the functions are; needed before compiled code that calls them is made or read."""
    found = library()
    for name in KINDS:
        address = ctypes.cast(getattr(found, name), ctypes.c_void_p).value
        llvmlite.binding.add_symbol(name, address)


def external(name: str) -> Any:
    """The function `name`, for compiled functions, or for Python with NUMBA_DISABLE_JIT=1."""
    kinds = KINDS[name]
    if not config.DISABLE_JIT:
        return types.ExternalFunction(name, types.void(*kinds))

    def call(*arguments: Any) -> None:
        kind = ctypes.CFUNCTYPE(None, *(C_TYPES[k] for k in kinds))
        plain = [a.item() if hasattr(a, "item") else a for a in arguments]
        kind((name, library()))(*plain)

    return call


step1, step2 = external("mj_step1"), external("mj_step2")
measure_forces = external("mj_rnePostConstraint")
copy, scale = external("mju_copy"), external("mju_scl")
