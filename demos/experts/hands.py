"""Scripted demonstrators of Bi-DexHands' doors: the fingers of both hands follow a few points near the handles.

The points, finger joints and times were found by the cross-entropy method. They are mirrored for the second hand. Random noise is added
to the actions, because the doors always begin the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

VECTORS = True  # policies return vectors, see `demos.experts`
NOISE = 0.05
GAIN = 12.0  # force per meter
PHASES = 4
BLOCK = 199  # what is observed of a hand
SIDES = np.array([[1, 1, 1], [1, -1, 1]], np.float32)  # the second hand mirrors y
FLEX = np.array(
    [3, 6, 9, 13]
)  # motors of the fingers' second joints (J2), the third ones (J1) follow


def doors(env: Any):
    """The demonstrator for `env`."""
    return follow(WAYPOINTS[env.id.removeprefix("bidexhands_")], env.max_rounds)


def follow(plan: np.ndarray, max_rounds: int):
    """A policy that follows `plan` (PHASES, 7).

    Each row: where the mean of the fingertips shall be, relative to the handle, in meters (3); flexion of the second and third
    finger joints, and of the wrist (3), as actions; and the length of the phase in rounds.
    """
    plan = np.asarray(plan, np.float32)
    ends = np.cumsum(plan[:, 6])

    def scripted(observations: np.ndarray, info: Mapping[str, Any], rng: Any) -> np.ndarray:
        state, rounds = np.asarray(info["state"]), np.asarray(info["round"])
        phase = np.minimum(np.searchsorted(ends, rounds, side="right"), PHASES - 1)
        now = plan[phase]  # (K, 7)
        actions = np.zeros((len(state), 2, 26), np.float32)
        actions += NOISE * rng.standard_normal(actions.shape)
        for i in range(2):
            own = state[:, BLOCK * i : BLOCK * (i + 1)]
            tips = own[:, 72:137].reshape(-1, 5, 13)[:, :, :3].mean(1)
            handle = state[:, -3:] if i == 0 else state[:, -6:-3]
            goal = handle + SIDES[i] * now[:, :3]
            actions[:, i, :3] += GAIN * (goal - tips)
            actions[:, i, 6 + FLEX] += now[:, 3:4]
            actions[:, i, 6 + FLEX + 1] += now[:, 4:5]
            actions[:, i, 7] += now[:, 5]
        return np.clip(actions, -1, 1)

    return scripted


WAYPOINTS: dict[str, Any] = {}
