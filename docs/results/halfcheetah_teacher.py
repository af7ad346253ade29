"""Teachers for HalfCheetah divided or observed differently: the expert of `mamujoco_halfcheetah_6x1`, which sees the state.

    python -m learners.dagger --env mamujoco_halfcheetah_2x3 --teacher docs/results/halfcheetah_teacher.py:legs
    python -m learners.dagger --env mamujoco_halfcheetah_6x1 --set observations=mat --teacher docs/results/halfcheetah_teacher.py:mat
"""

import numpy as np

import mail_envs
from demos.policies import load_policy

JOINTS = 6


def legs(vec):
    """For 2x3, whose two agents move the same six joints."""
    return teacher(lambda info: np.asarray(info["state"]))


def mat(vec):
    """For observations="mat", where states are standardized, each by its own mean and deviation."""

    def states(info):
        """The first row of a state, one per agent, is the robot's with agent 0's index, a one and five zeros."""
        row = np.asarray(info["state"], np.float64).reshape(len(info["round"]), JOINTS, -1)[:, 0]
        robot, one, zero = row[:, :-JOINTS], row[:, -JOINTS, None], row[:, -1:]
        return ((robot - zero) / (one - zero)).astype(np.float32)

    return teacher(states)


def teacher(states):
    """A policy that reads the robot's state (K, 17) from the infos by `states`."""
    joints = mail_envs.make_vec("mamujoco_halfcheetah_6x1", 1, num_workers=0)
    expert = load_policy("expert", joints, greedy=True)
    observations, info = joints.reset(seed=0)
    # Every number that an agent observes is one of the state's, or 0.
    places = np.abs(observations[0][..., None] - padded(info["state"])[0]).argmin(-1)
    assert np.array_equal(padded(info["state"])[0][places], observations[0])
    joints.close()

    def policy(observations, info, rng):
        seen, agents = padded(states(info))[:, places], observations.shape[1]
        acts = np.ones(seen.shape[:2], np.uint8)
        return expert(seen, {**info, "participation": acts}, rng).reshape(len(seen), agents, -1)

    return policy


def padded(states):
    """States (K, S) with a zero at the end."""
    return np.pad(states, ((0, 0), (0, 1)))
