"""Generalized advantage estimation over fragments of T rounds with both kinds of episode end."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from learners.lib import time_limit
from learners.lib.batch import Batch


def generalized_advantages(
    rewards: Tensor,
    values: Tensor,
    final_values: Tensor,
    terminated: Tensor,
    truncated: Tensor,
    gamma: float,
    lam: float = 1.0,
    lost: Tensor | None = None,
) -> Tensor:
    """Advantages A_t = sum_k (gamma lam)^k delta_{t+k}; the sum stops at the end of the episode.

    All rounds are used, including those in which an agent does not participate (its reward is 0 there);
    learners filter afterwards. A terminated episode bootstraps with 0, a truncated one with the value of its
    own final observation, never with that of the next episode, which autoreset has begun. The outcome of a
    lost round is unknown: its advantage is 0, and the rounds before it bootstrap with the value of its
    observation.

    Args:
        rewards: (T, E, N).
        values: (T + 1, E, N); the last row bootstraps the fragment.
        final_values: (T, E, N), read only where `truncated`.
        terminated: bool (T, E).
        truncated: bool (T, E).
        gamma: discount.
        lam: lambda; 0 gives one-step advantages, 1 those of full returns.
        lost: bool (T, E), the truncated rounds in which the simulator died; None: there are none.

    Returns:
        (T, E, N); advantages + values[:-1] are the lambda-returns, discounted returns when lam = 1.
    """
    terminated, truncated = terminated.unsqueeze(-1), truncated.unsqueeze(-1)
    following = torch.where(truncated & ~terminated, final_values, values[1:])
    deltas = rewards + gamma * following.masked_fill(terminated, 0.0) - values[:-1]
    keep = gamma * lam * (~(terminated | truncated)).to(deltas.dtype)
    if lost is not None:
        deltas = deltas.masked_fill(lost.unsqueeze(-1), 0.0)
    advantages = torch.empty_like(deltas)
    running = torch.zeros_like(deltas[0])
    for t in range(len(deltas) - 1, -1, -1):
        running = torch.addcmul(deltas[t], keep[t], running)
        advantages[t] = running
    return advantages


def lambda_returns(
    rewards: Tensor,
    next_values: Tensor,
    decides: Tensor,
    continues: Tensor,
    last: Tensor,
    gamma: float,
    lam: float,
) -> Tensor:
    """TD(lambda) targets G_t = r_t + gamma ((1 - lam) V_{t+1} + lam G_{t+1}) of sequences.

    Where nobody decides in round t + 1, its value is that of what follows: G_t = r_t + gamma G_{t+1}.

    Args:
        rewards: (L, B, M).
        next_values: V_{t+1}, (L, B, M).
        decides: whether anybody whose value this is acts in round t + 1, bool (L, B, M).
        continues: bool (L, B), False where what follows is worth 0.
        last: bool (L, B) or (L, B, M), rounds that bootstrap with V_{t+1} alone, such as the last one of a sequence.
        gamma: discount.
        lam: lambda; 0 gives one-step targets, 1 those of full returns.

    Returns:
        (L, B, M); anything after the last real round.
    """
    returns = torch.empty_like(rewards)
    running = torch.zeros_like(rewards[0])
    continues = continues.unsqueeze(-1)
    last = last if last.ndim == rewards.ndim else last.unsqueeze(-1)
    for t in range(len(rewards) - 1, -1, -1):
        ahead = torch.where(decides[t], torch.lerp(next_values[t], running, lam), running)
        ahead = torch.where(last[t], next_values[t], ahead).masked_fill(~continues[t], 0.0)
        running = rewards[t] + gamma * ahead
        returns[t] = running
    return returns


def carried(
    values: Tensor, decides: Tensor, continues: Tensor, filled: Tensor, gamma: float
) -> Tensor:
    """Values of what follows each round: V_{t+1}, or that of the next round in which it decides, discounted.

    Args:
        values: V_t, (L + 1, B, M).
        decides: whether anybody whose value this is acts in round t, bool (L + 1, B, M). The last row of a sequence
            is not carried any further.
        continues: bool (L, B), False where what follows is worth 0.
        filled: bool (L, B), the real rounds of each sequence.
        gamma: discount.

    Returns:
        (L, B, M), 0 where nothing follows; gamma times this is what a round's value counts on.
    """
    goes_on = (continues & filled).unsqueeze(-1)
    running, found = values[-1], []
    for t in range(len(filled) - 1, -1, -1):
        ahead = torch.where(goes_on[t], running, 0.0)
        found.append(ahead)
        known = decides[t] | ~filled[t].unsqueeze(-1)
        running = torch.where(known, values[t], gamma * ahead)
    return torch.stack(found[::-1])


def anchored(vec: Any, batch: Batch, decides: Tensor) -> Tensor:
    """Rounds after which something decides again, or the episode ends, within the sequence, bool (L, B, M).

    What follows the others is the value of a row in which nobody decides. No reward holds that value down, so the objective
    would have no lower bound. `decides`: bool (L + 1, B, M).
    """
    ends = time_limit.continues(vec, batch.terminated, batch.truncated)
    return carried((~decides).float(), decides, ends, batch.filled, 1.0) == 0


def decided(batch: Batch, team: bool) -> tuple[Tensor, Tensor]:
    """Who acts, and who does or is dead and so worth 0, bool (L + 1, B, M); M is 1 for the team."""
    alive = batch.rows.alive
    acts = batch.rows.acts
    if team:
        acts, alive = acts.any(-1, keepdim=True), alive.any(-1, keepdim=True)
    return acts, acts | ~alive


def aimed(vec: Any, batch: Batch, team: bool) -> Tensor:
    """Rounds in which an agent, or somebody of the team, acts and what follows is anchored, bool (L, B, M): those with a
    target. After the others nobody whose value it is acts again within the sequence, and what such a row is worth is not
    learned.
    """
    acts = batch.learned_from()
    acts = acts.any(-1, keepdim=True) if team else acts
    return acts & anchored(vec, batch, decided(batch, team)[1])
