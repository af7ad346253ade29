"""A round of one world, compiled as a whole: what the hands do, the simulation, rewards and observations.

A substep is MuJoCo's second half of a step (forces, integration), the damping of the hands' links, and the first half of
the next one (positions, contacts), so that positions, velocities and contacts always belong together at no extra cost.

Arrays: those of `mail_envs.games.hands.rules`, and plan (1,), places (E, 2), commands and results (E, K, 3), which the functions
below make.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mail_envs.games.hands.native import copy, measure_forces, scale, step1, step2
from mail_envs.games.hands.rules import command, judge, look
from mail_envs.kernels import device_function

PLAN = np.dtype([("model", "i8"), ("substeps", "i4"), ("hands", "i4"), ("kept", "f8")], align=True)


def plan_of(model: Any, substeps: int, hands: int, kept: float) -> np.ndarray:
    """What all rounds have in common: one record.

    `hands`: how many velocities are the hands', the first of qvel. `kept`: the share of them that a substep leaves.
    """
    return np.array([(model._address, substeps, hands, kept)], PLAN)


def places_of(datas: list[Any]) -> np.ndarray:
    """Addresses of every world's MjData and of its qvel, int64 (E, 2). They stay where they are."""
    return np.array([(data._address, data.qvel.ctypes.data) for data in datas], np.int64)


def copies_of(pairs: list[list[tuple[np.ndarray, np.ndarray]]]) -> np.ndarray:
    """Copies to make in every world, int64 (E, K, 3): to and from which address, and how many numbers.

    `pairs`: E times K contiguous float64 arrays (to, from), which the caller keeps alive.
    """
    for to, source in (pair for world in pairs for pair in world):
        assert to.dtype == source.dtype == np.float64 and to.size == source.size
        assert to.flags.c_contiguous and source.flags.c_contiguous
    found = [[(a.ctypes.data, b.ctypes.data, a.size) for a, b in world] for world in pairs]
    return np.array(found, np.int64)


@device_function
def copy_all(e, moves):
    for k in range(moves.shape[1]):
        copy(moves[e, k, 0], moves[e, k, 1], np.int32(moves[e, k, 2]))


@device_function
def simulate(e, plan, places, commands, results):
    """Copy the commands into MuJoCo's data, play a round's substeps, and copy the results out."""
    p, data, speeds = plan[0], places[e, 0], places[e, 1]
    copy_all(e, commands)
    for k in range(p.substeps):
        step2(p.model, data)
        if k == p.substeps - 1:
            measure_forces(p.model, data)  # contacts still belong to the forces
        scale(speeds, speeds, p.kept, p.hands)
        step1(p.model, data)
    copy_all(e, results)


@device_function
def play(
    e, params, which, plan, places, commands, results, actions, acts, participation, last, control,
    wrench, qpos, qvel, xpos, xquat, cvel, com, cfrc, force, goals, success, broken, renew, rewards,
    outcome, metrics, observations, state,
):  # fmt: skip
    """Play a round. Where `renew` is set afterwards, goals are to be drawn, and then seen with `look`."""
    if not which[e]:
        return
    command(e, params, actions, acts, participation, last, control, wrench)
    simulate(e, plan, places, commands, results)
    judge(
        e, params, which, qpos, qvel, xpos, xquat, last, goals, success, broken, renew,
        participation, rewards, outcome, metrics,
    )  # fmt: skip
    look(
        e, params, which, qpos, qvel, xpos, xquat, cvel, com, cfrc, force, last, goals, broken,
        participation, observations, state,
    )  # fmt: skip


@device_function
def settle(e, which, plan, places, results, participation):
    """After positions were set: compute what follows from them, as a round does last."""
    if which[e]:
        step1(plan[0].model, places[e, 0])
        copy_all(e, results)
