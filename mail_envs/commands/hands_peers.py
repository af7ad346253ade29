"""Speed of MuJoCo alone on the models of Bi-DexHands: what a round costs without observations, rewards and views."""

from __future__ import annotations

from typing import Any

import numpy as np

import mail_envs
from mail_envs.commands.rates import Run

ROUNDS = 512  # of random play, whose states are simulated


def mj_step(scenario: str, num_envs: int) -> Run | None:
    """`mujoco.mj_step`, as often as a round takes, from the states of random play with its targets and wrenches.

    So both simulate the same contacts. The damping of the hands' links is left out: that is no part of MuJoCo.
    """
    import mujoco

    game: Any = mail_envs.make_game(scenario)[0]
    model, substeps = game.worlds.model, game.physics.substeps
    kind = mujoco.mjtState.mjSTATE_INTEGRATION
    states = random_play(game, kind)
    copies = [mujoco.MjData(model) for _ in range(num_envs)]

    def run(calls: int) -> int:
        for k in range(calls):
            for e, data in enumerate(copies):
                mujoco.mj_setState(model, data, states[(k + 8 * e) % ROUNDS], kind)
                mujoco.mj_step(model, data, substeps)
        return calls * num_envs

    return run


def random_play(game: Any, kind: Any) -> np.ndarray:
    """What MuJoCo needs to simulate each of ROUNDS rounds of random play: states (ROUNDS, S) of this kind."""
    import mujoco

    worlds, rng = game.worlds, np.random.default_rng(0)
    model, data, scratch = worlds.model, worlds.datas[0], mujoco.MjData(worlds.model)
    states = np.empty((ROUNDS, mujoco.mj_stateSize(model, kind)))
    actions = rng.uniform(-1, 1, (ROUNDS, 2, game.task.actions)).astype(np.float32)
    acts, rewards, metrics = np.ones(2, bool), np.zeros(2, np.float32), np.zeros(2, np.float32)
    ended, length = True, 0
    for k in range(ROUNDS):
        if ended or length == game.max_rounds:
            game.reset(k)
            length = 0
        mujoco.mj_getState(model, data, states[k], kind)
        ended = any(game.step(actions[k], acts, rewards, metrics))
        length += 1
        mujoco.mj_setState(model, scratch, states[k], kind)
        scratch.ctrl[:] = worlds.arrays.control[0]
        scratch.xfrc_applied[worlds.forearms] = worlds.arrays.wrench[0]
        mujoco.mj_getState(model, scratch, states[k], kind)
    return states
