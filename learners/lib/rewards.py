"""Which reward agents are trained on: their own, or that of the team."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

if TYPE_CHECKING:
    from learners.lib.rollout import Rollout

RewardKind = Literal["auto", "own", "team"]
TEAM_RETURN = "team_return"  # metric of games with one shared reward for the team


def rewards_of(rollout: Rollout, kind: RewardKind) -> Tensor:
    """Training rewards (T, E, N).

    own: each agent's own reward, 0 once it is dead. team: the increase of the game's `team_return`, given to all
    agents until the episode ends; in games without one, the mean reward of the agents that act. auto: team where the
    game reports a `team_return`, otherwise own.
    """
    if kind == "auto":
        kind = "team" if TEAM_RETURN in rollout.metrics else "own"
    if kind == "own":
        return rollout.rewards
    if TEAM_RETURN in rollout.metrics:  # it also grows in rounds in which no agent acts
        sums = rollout.metrics[TEAM_RETURN]
        ended = rollout.terminated | rollout.truncated
        first, rest = rollout.before[TEAM_RETURN], sums[:-1].masked_fill(ended[:-1], 0.0)
        before = torch.cat([first.unsqueeze(0), rest])
        return (sums - before).unsqueeze(2).expand_as(rollout.rewards)
    acts = rollout.participation[:-1]
    mean = (rollout.rewards * acts).sum(2, keepdim=True) / acts.sum(2, keepdim=True).clamp(min=1)
    return mean.expand_as(rollout.rewards)
