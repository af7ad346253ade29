"""MuJoCo's warnings, and an OpenGL that it can render with."""

from __future__ import annotations

import contextlib
import logging
import os
import subprocess
import sys
from collections.abc import Iterator

from mail_envs.drawing import RenderingError

log = logging.getLogger(__name__)


def log_warnings() -> None:
    """From now on, MuJoCo's warnings are log messages of this process, unless the user has said what they are.

    Otherwise MuJoCo prints them and writes a file MUJOCO_LOG.TXT into the current folder.
    """
    import mujoco

    def log_warning(text: str) -> None:
        level = logging.WARNING if "unstable" in text else logging.DEBUG
        log.log(level, "MuJoCo: %s", text)

    if mujoco.get_mju_user_warning() is None:
        mujoco.set_mju_user_warning(log_warning)


PROBE = """
import importlib, sys, warnings
module = importlib.import_module("mujoco." + sys.argv[1])
warnings.simplefilter("error")  # GLFW only warns if there is no display
module.GLContext(64, 64).make_current()
"""
_found: dict[str | None, tuple[str | None, str]] = {}  # by the MUJOCO_GL that was asked for


def choose_opengl() -> str:
    """Set MUJOCO_GL to an OpenGL backend that works, and return it; RenderingError if there is none.

    Gymnasium uses GLFW by default, which aborts the interpreter when it fails twice, for example because
    DISPLAY does not respond. Therefore every candidate is tried in a separate process, EGL first, and the
    result is remembered. If the user has set MUJOCO_GL, only that is tried.
    """
    asked = os.environ.get("MUJOCO_GL")
    if asked not in _found:
        _found[asked] = _first_that_works([asked] if asked else candidates())
    name, problem = _found[asked]
    if name is None:
        raise RenderingError(f"{NO_OPENGL} ({problem}). {OPENGL_HINT}")
    if asked is None:
        os.environ["MUJOCO_GL"] = name
        _found[name] = (name, "")
    return name


def candidates() -> list[str]:
    """OpenGL backends that may work on this machine."""
    if sys.platform != "linux":
        return ["glfw"]
    screen = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    return ["egl", "osmesa", *(["glfw"] if screen else [])]


def _first_that_works(names: list[str]) -> tuple[str | None, str]:
    """The first backend that works, or None and the errors."""
    problems = []
    for name in names:
        environment = {**os.environ, "MUJOCO_GL": name}
        done = subprocess.run(
            [sys.executable, "-c", PROBE, name], env=environment, capture_output=True, text=True
        )
        if done.returncode == 0:
            return name, ""
        reason = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        problems.append(f"{name}: {reason}")
    return None, "; ".join(problems)


NO_OPENGL = "MuJoCo has no OpenGL to render with"
OPENGL_HINT = "Install EGL (libegl1), or OSMesa (libosmesa6), which needs no graphics driver."


@contextlib.contextmanager
def rendering_errors() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        raise RenderingError(
            f"{NO_OPENGL} ({type(error).__name__}: {error}). {OPENGL_HINT}"
        ) from error
