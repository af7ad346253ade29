"""Speed of MuJoCo alone on the models of Bi-DexHands: what a round costs without observations, rewards, resets and views."""

from __future__ import annotations

from typing import Any

import numpy as np

import mail_envs
from mail_envs.commands.rates import Run, drawn_rounds

STATES = 1024  # that are simulated, of as many copies as the game has
ROUNDS = 128  # that are played for them, at least; 64 copies are measured for about as many


def mj_step(scenario: str, num_envs: int) -> Run | None:
    """`mujoco.mj_step`, as often as a round takes, from the game's own states, targets and wrenches.

    Alone, MuJoCo would come to other states, which cost more or less: hands that are not damped move faster, an egg that
    fell stays on the floor. Therefore every round loads a state of random play by as many copies of the game, so that both
    simulate the same contacts; to load it takes 1 % of a round. The damping of the hands' links, which is no part of
    MuJoCo, is left out: only the last substeps of a round begin a little differently.
    """
    import mujoco

    game: Any = mail_envs.make_game(scenario)[0]
    model, substeps = game.worlds.model, game.physics.substeps
    kind = mujoco.mjtState.mjSTATE_INTEGRATION
    states = random_play(scenario, num_envs, kind)
    copies = [mujoco.MjData(model) for _ in range(num_envs)]

    def run(calls: int) -> int:
        for k in range(calls):
            for e, data in enumerate(copies):
                mujoco.mj_setState(model, data, states[(k * num_envs + e) % len(states)], kind)
                mujoco.mj_step(model, data, substeps)
        return calls * num_envs

    return run


def random_play(scenario: str, num_envs: int, kind: Any) -> np.ndarray:
    """About STATES states of random play, of this kind: what MuJoCo needs to simulate a round of the game (K, S).

    The actions are those with which the game is measured. The states are spread evenly over copies and rounds. Rounds that
    end an episode are left out, because the targets are then those of the next one.
    """
    import mujoco

    vector = mail_envs.make_vec(scenario, num_envs, seed=0)
    copies: Any = vector.launches.copies
    worlds = copies.worlds if num_envs > 1 else copies.games[0].worlds
    actions, scratch = drawn_rounds(vector), mujoco.MjData(worlds.model)
    rounds = max(ROUNDS, STATES // num_envs)
    apart = max(1, num_envs * rounds // STATES)
    found = []
    for k in range(rounds):
        chosen = range(k % apart, num_envs, apart)
        before = [state_of(worlds.model, worlds.datas[e], kind) for e in chosen]
        _, _, terminated, truncated, _ = vector.step(actions[k % len(actions)])
        for e, state in zip(chosen, before, strict=True):
            if not (terminated[e] or truncated[e]):
                mujoco.mj_setState(worlds.model, scratch, state, kind)
                scratch.ctrl[:] = worlds.arrays.control[e]
                scratch.xfrc_applied[worlds.forearms] = worlds.arrays.wrench[e]
                found.append(state_of(worlds.model, scratch, kind))
    vector.close()
    return np.array(found)


def state_of(model: Any, data: Any, kind: Any) -> np.ndarray:
    """The components `kind` of a simulation's state, (S,)."""
    import mujoco

    state = np.empty(mujoco.mj_stateSize(model, kind))
    mujoco.mj_getState(model, data, state, kind)
    return state
