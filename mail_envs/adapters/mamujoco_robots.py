"""Makes the robots of Multi-Agent MuJoCo and renders them."""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import importlib.util
import io
import os
import re
import tempfile
from typing import Any

import gymnasium
import numpy as np

from mail_envs.adapters.mamujoco_tables import body, segments
from mail_envs.mujoco_support import choose_opengl, log_warnings, rendering_errors

INSTALL = "pip install 'mail-envs[mamujoco]'"
COUPLED = "CoupledHalfCheetah"
NEWEST_FOR_COUPLED = (3, 5, 0)  # in later versions of MuJoCo, the tendon's Jacobian is sparse


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
