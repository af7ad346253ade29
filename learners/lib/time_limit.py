"""How learners treat a game's time limit.

Where the limit is part of the task (`VectorGame.limit_is_end`: a StarCraft battle that is not won by then is lost), the
value after the limit is 0. Values then depend on the remaining time, which critics get as an input. In other games the
limit only truncates a continuing task, and learners bootstrap with the value of the final observation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from learners.lib.rollout import Rollout


def bootstraps(rollout: Rollout) -> Tensor:
    """Where to bootstrap with the value of the final observation, bool (T, E); after all other ends the value is 0."""
    if rollout.vec.limit_is_end:
        return torch.zeros_like(rollout.truncated)
    return rollout.truncated & ~rollout.terminated


def time_inputs(vec) -> int:
    """Number of critic inputs for the remaining time: 1 where the limit is part of the task, else 0."""
    return int(vec.limit_is_end)


def time_left(rollout: Rollout) -> Tensor:
    """Remaining fraction of the time limit before each round, float32 (T + 1, E, `time_inputs`)."""
    left = 1 - rollout.round / rollout.vec.max_rounds
    return left.unsqueeze(-1)[..., : time_inputs(rollout.vec)]
