"""Scripted demonstrators of Bi-DexHands' doors: the fingers of both hands follow a few points near the handles.

The points, finger joints and times were found by the cross-entropy method on the return. They are mirrored for the second
hand. Random noise is added to the actions, because doors always begin the same.
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
FLEX = np.array([3, 6, 9, 13])  # motors of the fingers' joints J2; those of J1 follow them


def doors(env: Any):
    """The demonstrator for `env`."""
    return follow(WAYPOINTS[env.id.removeprefix("bidexhands_")])


def follow(plan: list[list[float]]):
    """A policy that follows `plan` (PHASES, 7).

    Each row: where the mean of the fingertips shall be, relative to the handle, in meters (3); flexion of the second and third
    finger joints, and of the wrist (3), as actions; and the length of the phase in rounds.
    """
    table = np.asarray(plan, np.float32)
    ends = np.cumsum(table[:, 6])

    def scripted(observations: np.ndarray, info: Mapping[str, Any], rng: Any) -> np.ndarray:
        state, rounds = np.asarray(info["state"]), np.asarray(info["round"])
        phase = np.minimum(np.searchsorted(ends, rounds, side="right"), PHASES - 1)
        now = table[phase]  # (K, 7)
        actions = np.zeros((len(state), 2, 26), np.float32)
        actions += NOISE * rng.standard_normal(actions.shape)
        for i in range(2):
            tips = fingertips(state, i).mean(1)
            handle = state[:, -3:] if i == 0 else state[:, -6:-3]
            goal = handle + SIDES[i] * now[:, :3]
            actions[:, i, :3] += GAIN * (goal - tips)
            actions[:, i, 6 + FLEX] += now[:, 3:4]
            actions[:, i, 6 + FLEX + 1] += now[:, 4:5]
            actions[:, i, 7] += now[:, 5]
        return np.clip(actions, -1, 1)

    return scripted


def fingertips(state: np.ndarray, hand: int) -> np.ndarray:
    """Positions (K, 5, 3) of a hand's fingertips, the thumb's last."""
    own = state[:, BLOCK * hand : BLOCK * (hand + 1)]
    return own[:, 72:137].reshape(-1, 5, 13)[:, :, :3]


WAYPOINTS: dict[str, list[list[float]]] = {
    "door_open_inward": [
        [0.018, 0.049, -0.001, -0.903, -0.862, 0.03, 49],
        [0.037, 0.014, -0.034, -0.621, 0.821, 0.436, 19],
        [0.069, 0.108, -0.004, 0.135, 0.935, -0.024, 68],
        [0.025, 0.031, -0.009, -0.255, 0.932, -0.175, 98],
    ],
    "door_open_outward": [
        [-0.117, 0.051, -0.023, -0.143, 0.038, -0.166, 58],
        [0.016, 0.115, 0.011, -0.541, -0.546, -0.347, 49],
        [0.003, 0.155, -0.019, -0.067, -0.149, -0.33, 90],
        [0.024, 0.009, 0.002, -0.098, -0.355, -0.761, 57],
    ],
    "door_close_inward": [
        [-0.078, -0.066, -0.006, -0.007, 0.883, -0.557, 72],
        [0.022, -0.022, 0.006, 0.378, -0.871, -0.292, 69],
        [0.015, -0.018, -0.001, 0.191, -0.865, 0.065, 80],
        [-0.036, -0.001, 0.001, -0.082, -0.291, -0.199, 61],
    ],
    "door_close_outward": [
        [0.018, -0.023, -0.004, -0.657, -0.825, -0.732, 82],
        [0.039, -0.041, -0.009, -0.29, -0.045, 0.359, 66],
        [0.058, -0.008, 0, -0.381, 0.025, -0.014, 72],
        [-0.019, -0.058, -0.011, -0.215, 0.109, -0.347, 60],
    ],
}
