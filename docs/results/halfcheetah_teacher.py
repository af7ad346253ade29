"""A teacher for `mamujoco_halfcheetah_2x3`: the expert of 6x1, whose six agents move the same six joints.

    python -m learners.dagger --env mamujoco_halfcheetah_2x3 --teacher docs/results/halfcheetah_teacher.py:legs

`docs/results/experts_dagger.yaml` has the other settings.
"""

import numpy as np

import mail_envs
from demos.policies import load_policy


def legs(vec):
    """The policy, which reads the robot's state from the infos of `vec`."""
    joints = mail_envs.make_vec("mamujoco_halfcheetah_6x1", 1, num_workers=0)
    expert = load_policy("expert", joints, greedy=True)
    observations, info = joints.reset(seed=0)
    # Every number that an agent observes is one of the state's, or 0.
    places = np.abs(observations[0][..., None] - padded(info["state"])[0]).argmin(-1)
    assert np.array_equal(padded(info["state"])[0][places], observations[0])
    joints.close()

    def policy(observations, info, rng):
        seen = padded(info["state"])[:, places]
        acts = np.ones(seen.shape[:2], np.uint8)
        return expert(seen, {**info, "participation": acts}, rng).reshape(len(seen), 2, 3)

    return policy


def padded(states):
    """States (K, 17) with a zero at the end."""
    return np.pad(np.asarray(states), ((0, 0), (0, 1)))
