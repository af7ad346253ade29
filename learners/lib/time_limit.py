"""What the time limit of a game means to its learners.

Where the limit is part of the task (`VectorGame.limit_is_end`: a StarCraft battle that is not won by then is lost),
nothing follows it: the value after the last round is 0. What an observation is worth then depends on the time that is
left, so critics see it. Everywhere else the limit only stops the recording of a task that goes on, and the value of
the final observation stands for what would have followed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from learners.lib.rollout import Rollout


def bootstraps(rollout: Rollout) -> Tensor:
    """Ended episodes that would have gone on, bool (T, E): these alone are worth something after their end."""
    if rollout.vec.limit_is_end:
        return torch.zeros_like(rollout.truncated)
    return rollout.truncated & ~rollout.terminated


def time_inputs(vec) -> int:
    """Number of inputs by which critics see the time that is left: 1 where the limit is part of the task, else 0."""
    return int(vec.limit_is_end)


def time_left(rollout: Rollout) -> Tensor:
    """The fraction of the time limit that is left before each round, float32 (T + 1, E, `time_inputs`)."""
    left = 1 - rollout.round / rollout.vec.max_rounds
    return left.unsqueeze(-1)[..., : time_inputs(rollout.vec)]
