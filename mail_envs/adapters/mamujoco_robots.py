"""Makes the robots of Multi-Agent MuJoCo, and takes their pictures."""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import importlib.util
import io
import logging
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

import gymnasium
import numpy as np

from mail_envs.adapters.mamujoco_tables import body, segments

INSTALL = "pip install 'mail-envs[mamujoco]'"
COUPLED = "CoupledHalfCheetah"
NEWEST_FOR_COUPLED = (3, 5, 0)  # of MuJoCo; afterwards the tendon's Jacobian is sparse

log = logging.getLogger(__name__)


def open_robot(scenario: str, conf: str, settings: dict[str, Any]) -> Any:
    """The Gymnasium environment of a robot, without wrappers and time limit."""
    if scenario == COUPLED:
        refuse_new_mujoco()
        raise ValueError(f"{COUPLED} is played by backend='mamujoco_v1' only")
    id = body(scenario, conf).gymnasium
    need("mujoco")
    with quiet(), contextlib.ExitStack() as files:
        if scenario.startswith("ManySegment"):
            folder = files.enter_context(tempfile.TemporaryDirectory())
            settings = {**settings, "xml_file": write_segments(scenario, conf, folder)}
        env = gymnasium.make(id, max_episode_steps=-1, disable_env_checker=True, **settings)
    return env.unwrapped


def hurry(env: Any) -> Any:
    """Let Gymnasium's environment compute the same bits with fewer calls; a fifth of a step."""
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
        body(scenario, conf)  # says what there is
    robot = None
    if scenario.startswith("ManySegment"):  # the original writes into its own folder
        robot, settings = open_robot(scenario, conf, settings), {}
    elif scenario != COUPLED:
        settings = {**settings, "max_episode_steps": -1}
    original = robotics("mamujoco_v1")
    with quiet():
        return original.parallel_env(
            scenario, conf, agent_obsk=agent_obsk, gym_env=robot, **settings
        )


def robotics(module: str) -> Any:
    """A module of gymnasium-robotics, which tells every importer about changes to its hands."""
    need("mujoco", "gymnasium_robotics")
    with contextlib.redirect_stderr(io.StringIO()):
        return importlib.import_module(f"gymnasium_robotics.envs.multiagent_mujoco.{module}")


def need(*packages: str) -> None:
    for package in packages:
        if importlib.util.find_spec(package) is None:
            raise ImportError(f"Multi-Agent MuJoCo needs {package}: {INSTALL}")


def refuse_new_mujoco() -> None:
    """ImportError when MuJoCo is too new for gymnasium-robotics' two cheetahs."""
    need("mujoco", "gymnasium_robotics")
    installed = importlib.metadata.version("mujoco")
    numbers = tuple(int(n) for n in re.findall(r"\d+", installed)[:3])
    if numbers > NEWEST_FOR_COUPLED:
        newest = ".".join(map(str, NEWEST_FOR_COUPLED))
        raise ImportError(
            f"{COUPLED} needs MuJoCo {newest} or older, {installed} is installed: gymnasium-robotics "
            "reads the Jacobian of the tendon between the cheetahs as a dense matrix, and MuJoCo has "
            f"made it sparse since; pip install 'mujoco<={newest}'"
        )


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """MuJoCo's warnings become log messages; by itself it prints them and writes MUJOCO_LOG.TXT."""
    import mujoco

    before = mujoco.get_mju_user_warning()
    mujoco.set_mju_user_warning(lambda text: log.debug("MuJoCo: %s", text))
    try:
        yield
    finally:
        mujoco.set_mju_user_warning(before)


def write_segments(scenario: str, conf: str, folder: str) -> str:
    """Write MuJoCo's model of a robot of many segments; returns the path."""
    agents, each = segments(scenario, conf)
    name = {"ManySegmentAnt": "many_segment_ant", "ManySegmentSwimmer": "many_segment_swimmer"}
    path = os.path.join(folder, "robot.xml")
    module = robotics(name[scenario])
    module.gen_asset(n_segs=agents * each, asset_path=path)
    return path


def take_picture(env: Any) -> np.ndarray:
    """The robot, uint8 (480, 480, 3). RenderingError without OpenGL."""
    choose_opengl()
    env.render_mode = "rgb_array"
    with rendering_errors():
        return env.render()


def open_screen() -> Any:
    """An OpenGL context off screen, which EnvPool needs but does not make. RenderingError without one."""
    choose_opengl()
    name = os.environ.get("MUJOCO_GL", "glfw")
    with rendering_errors():
        return importlib.import_module(f"mujoco.{name}").GLContext(480, 480)


def choose_opengl() -> None:
    """Without a screen the choice is EGL; Gymnasium's is GLFW, which fails later."""
    screen = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    if sys.platform == "linux" and not screen:
        os.environ.setdefault("MUJOCO_GL", "egl")


@contextlib.contextmanager
def rendering_errors() -> Iterator[None]:
    from mail_envs.drawing import RenderingError

    try:
        yield
    except Exception as error:
        raise RenderingError(
            f"MuJoCo has no OpenGL to draw with ({type(error).__name__}: {error}). Without a screen it "
            "needs EGL (libegl1), or OSMesa (libosmesa6) and the environment variable MUJOCO_GL=osmesa."
        ) from error
