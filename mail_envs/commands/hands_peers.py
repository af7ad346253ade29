"""Speed of MuJoCo alone on the models of Bi-DexHands: what a round costs without observations, rewards and views."""

from __future__ import annotations

from typing import Any

import numpy as np

import mail_envs
from mail_envs.commands.rates import Rate, measure


def mj_step(scenario: str, num_envs: int, seconds: float) -> Rate | None:
    """`mujoco.mj_step`, as often as a round takes, with random targets, and from the start after every time limit.

    The hands' links are not damped: that is no part of MuJoCo. Nothing is pushed: the bases would fly away.
    """
    import mujoco

    game: Any = mail_envs.make_game(scenario)[0]
    model, substeps, rounds = game.worlds.model, game.physics.substeps, game.max_rounds
    (low, high), begun = model.actuator_ctrlrange.T, game.worlds.datas[0]
    targets = np.random.default_rng(0).uniform(low, high, (16, model.nu))
    copies = [mujoco.MjData(model) for _ in range(num_envs)]

    def run(calls: int) -> int:
        for k in range(calls):
            if k % rounds == 0:
                game.reset(0)
            for data in copies:
                if k % rounds == 0:
                    data.qpos[:], data.qvel[:] = begun.qpos, begun.qvel
                data.ctrl[:] = targets[k % 16]
                mujoco.mj_step(model, data, substeps)
        return calls * num_envs

    return measure(run, seconds)
