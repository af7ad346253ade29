"""The scripted demonstrator of Bi-DexHands' `catch_over2underarm`: a fixed throw, and a hand that steers below the egg.

Hand 0 throws open loop: its fingers flick the egg off their tips. The egg flies from round 8 on, at 1.5 m/s, and comes down 4 cm
(standard deviation) to either side of its mean. Hand 1 computes where the free fall ends, turns and moves its fingers
there, closes them around the egg, and carries it to its goal. The rotation of the egg is left to chance, as its start is.

The numbers are means of a separable CMA-ES (a diagonal covariance; 48 or 32 candidates of 4 or 5 episodes each, with
new seeds every time) on the return: 125 generations for all numbers with a simpler catch, then, with that throw,
171 for the catch from a start by hand.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from demos.experts.hands import BLOCK, fingertips

VECTORS = True  # policies return vectors, see `demos.experts`
YAW, EGG = 172, 398  # where they are in the part of a hand, and in the state
GRAVITY = 9.81
FLYING = 9  # rounds until the egg flies freely

# What hand 0 does at these rounds, with straight lines between them: force and torque (6) until the last, and its joints (11,
# see `spread`). Actions beyond 1 only make the lines steeper.
THROW_ROUNDS = np.array([0, 4, 8, 12, 16, 22])
PUSHES = np.array([
    [-0.7, 1.33, 0.27, -1.65, 0.52, -2.2],
    [1.28, -0.56, 0.5, -0.3, -0.14, 0.34],
    [-0.48, -2.75, -0.83, 3.16, 0.47, 0.95],
    [-2.23, 0.57, -0.2, -0.84, 0.23, -0.88],
    [0.58, -0.94, 0.16, -0.25, -1.29, -0.81],
    [2.3, -0.11, 0.07, 0.09, 0.05, -1.63],
])  # fmt: skip
THROW = np.array([
    [1.54, -0.68, -1.38, -1.84, -1.08, 0.41, -1.0, -2.1, 1.08, -0.91, 1.79],
    [0.73, 0.86, 0.88, -0.94, -1.53, -0.45, 2.65, -1.05, -0.48, -1.24, 2.56],
    [1.33, 1.03, -0.25, 0.81, 1.64, -1.35, 0.09, -2.53, -0.29, -0.22, 0.19],
    [1.76, 0.65, 0.23, -0.03, -1.5, -0.9, -0.14, -1.41, 0.29, -0.59, 1.63],
    [1.16, 1.7, 1.16, -2.63, -0.95, -4.22, -0.72, -0.19, -2.13, 0.97, 1.64],
    [0.18, -1.92, 0.71, -0.46, -1.08, -1.09, -1.46, -2.37, -0.65, -0.47, 1.2],
])  # fmt: skip

# Hand 1: its joints while it waits, as the egg arrives and while it holds it, and the rounds at which it leaves or reaches
# these poses; force until round 24; torque in five periods that end at TURN_ROUNDS.
CATCH_ROUNDS = np.array([24.2, 28.5, 42.3])
CATCH = np.array([
    [1, -0.97, 0.17, 0.04, -1, 0.08, 0.03, 0.34, 0.54, 0.86, -0.69],
    [-0.73, -0.84, -0.27, 0, -0.52, 0.97, -0.06, 0.53, -0.28, -1, -1],
    [0.82, -0.97, 0.12, 0.23, 0.12, 0.51, 0.82, 0.26, -1, -0.75, -1],
])  # fmt: skip
WAIT, WAIT_ROUNDS = np.array([-0.05, 0.64, 1.05]), 24
TURN_ROUNDS = np.array([8, 16, 24, 36, 48])
TURN = np.array([
    [-0.35, 0.32, 0.21], [0.27, -0.35, -0.34], [-0.07, 0.21, 0.43], [0.19, 0.19, 0.3],
    [0.15, 0.11, 0.06], [0, 0, 0],
])  # fmt: skip
SPOT = np.array([0.013, -0.043, -0.004])  # where to catch: from the mean of four fingertips, m
HEIGHT = 0.548  # where the fall ends, m
STEER, FARTHEST = 33.0, 0.15  # force per meter, up to that distance
YAW_GAIN, YAW_PER_METER = 10.0, 2.07  # torque per radian; radians per meter
WIDEST = 0.235  # yaw, rad: farther, the mount is 0.1 m off
NEAR, BLUR = 0.052, 0.009  # an egg nearer to the spot counts as caught: a logistic function, m
CARRY = 9.6  # force per meter
AIM = np.array([0.002, 0.035, 0.023])  # the goal is aimed at with this offset, m


def catching(env: Any):
    """The demonstrator for `env`. It draws nothing at random: eggs begin with random rotations."""

    def scripted(observations: np.ndarray, info: Mapping[str, Any], rng: Any) -> np.ndarray:
        state, rounds = np.asarray(info["state"]), np.asarray(info["round"])
        actions = np.zeros((len(state), 2, 26), np.float32)
        actions[:, 0, :6] = between(PUSHES, THROW_ROUNDS, rounds)
        actions[rounds >= THROW_ROUNDS[-1], 0, :6] = 0
        actions[:, 0, 6:] = spread(between(THROW, THROW_ROUNDS, rounds))
        actions[:, 1, :6] = steer(state, rounds)
        actions[:, 1, 6:] = spread(between(CATCH, CATCH_ROUNDS, rounds))
        return np.clip(actions, -1, 1)

    return scripted


def steer(state: np.ndarray, rounds: np.ndarray) -> np.ndarray:
    """Force and torque on hand 1 (K, 6) that bring its fingers below the falling egg, and the caught one to its goal."""
    egg, speed, goal = (state[:, EGG + k : EGG + k + 3] for k in (0, 7, 13))
    spot = fingertips(state, 1)[:, :4].mean(1) + SPOT
    distance = np.linalg.norm(egg - spot, axis=1, keepdims=True)
    caught = 1 / (1 + np.exp(np.clip((distance - NEAR) / BLUR, -30, 30)))
    error = np.clip(landing(egg, speed) - spot[:, :2], -FARTHEST, FARTHEST) * (1 - caught)
    error[rounds < FLYING] = 0
    wrench = np.zeros((len(state), 6))
    wrench[:, :3] = (rounds < WAIT_ROUNDS)[:, None] * (1 - caught) * WAIT
    wrench[:, :3] += caught * CARRY * (goal + AIM - egg)
    wrench[:, :2] += STEER * error
    wrench[:, 3:] = TURN[np.searchsorted(TURN_ROUNDS, rounds, side="right")]
    yaw = state[:, BLOCK + YAW] - np.pi
    wanted = np.clip(yaw - YAW_PER_METER * error[:, 0], -WIDEST, WIDEST)
    wrench[:, 5] += YAW_GAIN * (wanted - yaw)
    return wrench


def landing(egg: np.ndarray, speed: np.ndarray) -> np.ndarray:
    """Where (K, 2) an egg at `egg` (K, 3) with `speed` (K, 3) falls to HEIGHT; where it is, if it is lower and sinks."""
    fall = np.maximum(egg[:, 2] - HEIGHT, 0)
    time = (speed[:, 2] + np.sqrt(speed[:, 2] ** 2 + 2 * GRAVITY * fall)) / GRAVITY
    return egg[:, :2] + speed[:, :2] * time[:, None]


def between(rows: np.ndarray, at: np.ndarray, rounds: np.ndarray) -> np.ndarray:
    """The rows (M, A), which hold at the rounds `at` (M,), interpolated at `rounds` (K,): (K, A)."""
    return np.stack([np.interp(rounds, at, column) for column in rows.T], 1)


def spread(joints: np.ndarray) -> np.ndarray:
    """Actions of 20 joints (K, 20) from WRJ1, WRJ0, J3, J2 and J1 of all fingers, LFJ4, THJ4..0 (K, 11)."""
    wrist, fingers = [0, 1], [2, 3, 4]
    return joints[:, [*wrist, *fingers * 3, 5, *fingers, *range(6, 11)]]
