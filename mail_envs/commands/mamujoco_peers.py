"""Speed of Multi-Agent MuJoCo in other libraries.

Random actions are drawn beforehand. `scenario` is an id of this suite, such as `mamujoco_halfcheetah_6x1`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import mail_envs
from mail_envs.commands.rates import Run
from mail_envs.cores import usable_cores


def envpool(scenario: str, num_envs: int) -> Run | None:
    """EnvPool with one thread per CPU core; its observations are sliced as in this suite."""
    from mail_envs.adapters.mamujoco_gather import PARTS_OF_STATE

    game = mail_envs.make_game(scenario)[0]
    if game.scenario not in PARTS_OF_STATE:
        return None
    import envpool as package

    index, slots = game.writer.index, game.motors.slots
    threads = min(num_envs, usable_cores())
    pool = package.make(
        game.robot.gymnasium, env_type="gymnasium", num_envs=num_envs, num_threads=threads
    )
    pool.reset()
    actions = random_actions(game, num_envs)
    states = np.zeros((num_envs, game.writer.num_states + 1))

    def run(calls: int) -> int:
        for k in range(calls):
            states[:, :-1] = pool.step(actions[k % 16].reshape(num_envs, -1)[:, slots])[0]
            states[:, index].astype(np.float32)
        return calls * num_envs

    return run


def mamujoco_v1(scenario: str, num_envs: int) -> Run | None:
    """gymnasium-robotics' parallel environment; it has no vectorized version."""
    if num_envs != 1:
        return None
    from mail_envs.adapters.mamujoco_robots import log_warnings, robotics

    spec = mail_envs.spec(scenario)
    log_warnings()
    env = robotics("mamujoco_v1").parallel_env(spec.arguments["scenario"], spec.arguments["conf"])
    env.reset(seed=0)
    drawn = random_actions(mail_envs.make_game(scenario)[0], 1)
    sizes = {a: env.action_space(a).shape[0] for a in env.possible_agents}
    actions = [{a: row[0, i, :n] for i, (a, n) in enumerate(sizes.items())} for row in drawn]

    def run(calls: int) -> int:
        for k in range(calls):
            env.step(actions[k % 16])
            if not env.agents:
                env.reset()
        return calls

    return run


def random_actions(game: Any, num_envs: int) -> np.ndarray:
    """Random actions, float32 (16, E, N, A)."""
    spaces = list(game.action_spaces.values())
    width = max(space.shape[0] for space in spaces)
    low, high = spaces[0].low[0], spaces[0].high[0]
    shape = (16, num_envs, len(spaces), width)
    return np.random.default_rng(0).uniform(low, high, shape).astype(np.float32)
