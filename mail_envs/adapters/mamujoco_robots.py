"""Makes the robots of Multi-Agent MuJoCo and renders them."""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import importlib.util
import io
import logging
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

import gymnasium
import numpy as np

from mail_envs.adapters.mamujoco_tables import body, segments
from mail_envs.drawing import RenderingError

INSTALL = "pip install 'mail-envs[mamujoco]'"
COUPLED = "CoupledHalfCheetah"
NEWEST_FOR_COUPLED = (3, 5, 0)  # in later versions of MuJoCo, the tendon's Jacobian is sparse

log = logging.getLogger(__name__)


def open_robot(scenario: str, conf: str, settings: dict[str, Any]) -> Any:
    """The Gymnasium environment of a robot, without wrappers and time limit."""
    if scenario == COUPLED:
        refuse_new_mujoco()
        raise ValueError(f"{COUPLED} is available only with backend='mamujoco_v1'")
    id = body(scenario, conf).gymnasium
    need("mujoco")
    log_warnings()
    with contextlib.ExitStack() as files:
        if scenario.startswith("ManySegment"):
            folder = files.enter_context(tempfile.TemporaryDirectory())
            settings = {**settings, "xml_file": write_segments(scenario, conf, folder)}
        env = gymnasium.make(id, max_episode_steps=-1, disable_env_checker=True, **settings)
    return env.unwrapped


def speed_up(env: Any) -> Any:
    """Make a Gymnasium environment about 20 % faster, with identical results."""
    import mujoco

    model, data, torques = env.model, env.data, env.data.ctrl

    def do_simulation(action: np.ndarray, n_frames: int) -> None:
        torques[:] = action
        mujoco.mj_step(model, data, n_frames)
        mujoco.mj_rnePostConstraint(model, data)

    env.do_simulation = do_simulation
    kind = type(env).__name__
    if kind in ("HalfCheetahEnv", "AntEnv", "HopperEnv", "Walker2dEnv", "SwimmerEnv"):
        cost, add = env._ctrl_cost_weight, np.add.reduce
        env.control_cost = lambda action: cost * add(action * action)
    if kind in ("HalfCheetahEnv", "SwimmerEnv"):
        gain, control_cost = env._forward_reward_weight, env.control_cost
        parts = (data.qpos[env.observation_structure["skipped_qpos"] :], data.qvel)
        env._get_obs = lambda: np.concatenate(parts)
        env._get_rew = lambda velocity, action: (gain * velocity - control_cost(action), {})
    env.__class__ = type(kind, (type(env),), {"dt": env.dt})  # a property that never changes
    return env


def open_original(scenario: str, conf: str, agent_obsk: int, settings: dict[str, Any]) -> Any:
    """gymnasium-robotics' parallel environment, without time limit."""
    if scenario == COUPLED:
        refuse_new_mujoco()
    else:
        body(scenario, conf)  # raises if there is no such robot
    robot = None
    if scenario.startswith("ManySegment"):  # the original writes into its own folder
        robot, settings = open_robot(scenario, conf, settings), {}
    elif scenario != COUPLED:
        settings = {**settings, "max_episode_steps": -1}
    original = robotics("mamujoco_v1")
    log_warnings()
    return original.parallel_env(scenario, conf, agent_obsk=agent_obsk, gym_env=robot, **settings)


def robotics(module: str) -> Any:
    """Import a module of gymnasium-robotics without its deprecation messages."""
    need("mujoco", "gymnasium_robotics")
    with contextlib.redirect_stderr(io.StringIO()):
        return importlib.import_module(f"gymnasium_robotics.envs.multiagent_mujoco.{module}")


def need(*packages: str) -> None:
    for package in packages:
        if importlib.util.find_spec(package) is None:
            raise ImportError(f"Multi-Agent MuJoCo needs {package}: {INSTALL}")


def refuse_new_mujoco() -> None:
    """Raise ImportError if MuJoCo is too new for the coupled cheetahs of gymnasium-robotics."""
    need("mujoco", "gymnasium_robotics")
    installed = importlib.metadata.version("mujoco")
    numbers = tuple(int(n) for n in re.findall(r"\d+", installed)[:3])
    if numbers > NEWEST_FOR_COUPLED:
        newest = ".".join(map(str, NEWEST_FOR_COUPLED))
        raise ImportError(
            f"{COUPLED} needs MuJoCo {newest} or older, {installed} is installed: gymnasium-robotics "
            "reads the Jacobian of the tendon between the cheetahs as a dense matrix, but it is sparse "
            f"in later versions; pip install 'mujoco<={newest}'"
        )


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


def write_segments(scenario: str, conf: str, folder: str) -> str:
    """Write MuJoCo's model of a robot of many segments; returns the path."""
    agents, each = segments(scenario, conf)
    name = {"ManySegmentAnt": "many_segment_ant", "ManySegmentSwimmer": "many_segment_swimmer"}
    path = os.path.join(folder, "robot.xml")
    module = robotics(name[scenario])
    module.gen_asset(n_segs=agents * each, asset_path=path)
    return path


def take_picture(env: Any) -> np.ndarray:
    """An image of the robot, uint8 (480, 480, 3). RenderingError without OpenGL."""
    choose_opengl()
    env.render_mode = "rgb_array"
    with rendering_errors():
        return env.render()


def open_screen() -> Any:
    """Make an off-screen OpenGL context, which EnvPool needs. RenderingError without OpenGL."""
    name = choose_opengl()
    with rendering_errors():
        return importlib.import_module(f"mujoco.{name}").GLContext(480, 480)


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
