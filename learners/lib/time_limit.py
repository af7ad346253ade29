"""How learners treat a game's time limit.

Where the limit is part of the task (`VectorGame.limit_is_end`: a StarCraft battle that is not won by then is lost), the
value after the limit is 0. Values then depend on the remaining time, which critics get as an input. In other games the
limit only truncates a continuing task, and learners bootstrap with the value of the final observation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

if TYPE_CHECKING:
    from learners.lib.rollout import Rollout


def bootstraps(rollout: Rollout) -> Tensor:
    """Where to bootstrap with the value of the final observation, bool (T, E); after all other ends the value is 0."""
    return rollout.truncated & continues(rollout.vec, rollout.terminated, rollout.truncated)


def continues(vec, terminated: Tensor, truncated: Tensor) -> Tensor:
    """Whether what comes after a round has a value, bool and shaped like the two flags of how it ended."""
    return ~(terminated | truncated) if vec.limit_is_end else ~terminated


def time_inputs(vec) -> int:
    """Number of critic inputs for the remaining time: 1 where the limit is part of the task, else 0."""
    return int(vec.limit_is_end)


def time_left(rollout: Rollout) -> Tensor:
    """Remaining fraction of the time limit before each round, float32 (T + 1, E, `time_inputs`)."""
    return fraction_left(rollout.vec, rollout.round)


def fraction_left(vec, round: Tensor) -> Tensor:
    """Remaining fraction of the time limit in these rounds, int (*L), as inputs float32 (*L, `time_inputs`).

    0 beyond the limit: demonstrations may be longer.
    """
    left = (1 - round / vec.max_rounds).clamp(min=0)
    return left.unsqueeze(-1)[..., : time_inputs(vec)]
