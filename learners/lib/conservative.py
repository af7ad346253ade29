"""How much the values of actions that were not taken exceed those that were: CQL's penalty (Kumar et al., 2020).

    log sum_a exp Q(o, a) - Q(o, a of the data)

Discrete actions: the sum is over the allowed ones. Of joint actions, of which there are too many, it is estimated from
samples (`joint_excess`). Of continuous actions it is an integral, estimated from uniform samples and from samples around
the policy's actions, each weighted by 1 / its density (`continuous_excess`).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor

from demos.actions import action_bounds, own_actions
from learners.lib import offline
from learners.lib.batch import Batch, mean
from learners.lib.distributions import gaussian_log_prob, masked
from learners.lib.fields import Between, Count, Positive
from learners.lib.returns import aimed


@dataclasses.dataclass(frozen=True)
class Conservative:
    heading: ClassVar[str] = "conservatism"

    alpha: Annotated[float, Between(0.0)] = 3.0
    """Weight of the excess of actions that were not taken."""
    samples: Count = 10
    """Sampled actions for it: uniform ones, and in continuous games also around the policy's action, now and next."""
    noise: Positive = 0.2
    """Deviation of the samples around the policy's actions, in units of half the range of actions."""
    regularize: Annotated[float, Between(0.0)] = 1e-3
    """Weight of the squared size of continuous actions in the policy's loss."""


def excess(values: Tensor, mask: Tensor | None, actions: Tensor) -> Tensor:
    """Of discrete actions (L, B, N) with values (..., L, B, N, A): (..., L, B, N), at least 0."""
    return torch.logsumexp(masked(values, mask), -1) - offline.of_taken(values, actions)


def joint_excess(
    value: Callable[[Tensor], Tensor],
    taken: Tensor,
    actions: Tensor,
    mask: Tensor,
    count: int,
    rng: torch.Generator,
) -> Tensor:
    """Of joint actions, whose allowed ones are sampled uniformly: (L, B, 1), at least 0.

    The sum over all of them is exp(Q) of the data plus the mean over samples of exp(Q) / probability, where samples that
    are equal to the data's count 0.

    Args:
        value: from joint actions (K, L, B, N) to values (K, L, B, 1).
        taken: values of the data's joint actions, (L, B, 1).
        actions: the data's, (L, B, N).
        mask: the allowed ones, (L, B, N, A).
        count: number of samples, K.
        rng: for the samples.
    """
    allowed = mask.bool().expand(count, *mask.shape)
    noise = torch.rand(allowed.shape, generator=rng, device=mask.device)
    sampled = torch.where(allowed, noise, -1.0).argmax(-1)
    log_probability = -mask.bool().sum(-1).clamp(min=1).log().sum(-1, keepdim=True)
    weighted = value(sampled) - log_probability - math.log(count)
    same = (sampled == actions).all(-1, keepdim=True)
    terms = torch.cat([weighted.masked_fill(same, -torch.inf), taken.unsqueeze(0)])
    return torch.logsumexp(terms, 0) - taken


def continuous_excess(
    critics: Any, policy: Any, batch: Batch, count: int, noise: float, rng: torch.Generator
) -> Tensor:
    """Of continuous actions: (2, L, B, N), one for each critic.

    Args:
        critics: two of them.
        policy: deterministic.
        batch: what was done, in single rounds if the policy has no memory.
        count: uniform samples, and samples around the policy's actions, in the same and in the next round.
        noise: deviation of the latter, in units of half the range of actions.
        rng: for the samples.
    """
    with torch.no_grad():
        samples, log_density = samples_of(critics[0].vec, policy, batch, count, noise, rng)
    found = []
    for critic in critics:
        values = offline.values_of_samples(critic, batch.seen, samples) - log_density
        everything = torch.logsumexp(values, 0) - math.log(len(values))
        found.append(everything - critic(batch.seen, batch.actions))
    return torch.stack(found)


def conservative_step(
    vec: Any, args: Any, nets: offline.Trained, batch: Batch, rng: torch.Generator
) -> dict[str, float]:
    """One gradient step of twin critics of continuous actions; returns figures."""
    critics, where = nets.online["critics"], offline.counts(batch, team=False)
    values = offline.values_of(critics, batch.seen, batch.actions)
    with torch.no_grad():
        policy, rows = nets.target["policy"], batch.rows
        later = offline.actions_of(policy, offline.outputs_of(policy, rows)[1:])
        ahead = offline.values_of(nets.target["critics"], batch.next, later).amin(0)
        targets = offline.returns(vec, batch, ahead, args)
    over = continuous_excess(critics, nets.online["policy"], batch, args.samples, args.noise, rng)
    errors = (values - targets).square().sum(0)
    loss = mean(errors, aimed(vec, batch, team=False))
    loss = loss + args.alpha * mean(over.sum(0), where)
    found = offline.figures(nets.step("critics", loss), values[0], where)
    return {**found, "excess": float(mean(over.detach().mean(0), where))}


def samples_of(
    vec: Any, policy: Any, batch: Batch, count: int, noise: float, rng: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Actions (3 K, L, B, N, A) and the logarithms of the densities that they were drawn from, (3 K, L, B, N)."""
    device = batch.actions.device
    low, high = (torch.as_tensor(x, device=device) for x in action_bounds(vec))
    own = torch.as_tensor(own_actions(vec.action_dims), device=device).bool()
    shape = (count, *batch.actions.shape)
    uniform = low + (high - low) * torch.rand(shape, generator=rng, device=device)
    log_uniform = -torch.where(own, high - low, 1.0).log().sum(-1).expand(shape[:-1])
    samples, densities = [uniform], [log_uniform]
    out = offline.outputs_of(policy, batch.rows)
    both = offline.actions_of(policy, out)
    for chosen in (both[:-1], both[1:]):
        drawn = torch.empty(shape, device=device).normal_(generator=rng)
        deviation = (noise * torch.where(own, high - low, 1.0) / 2).log()
        samples.append(torch.clamp(chosen + drawn * deviation.exp() * own, low, high))
        # The density of the noise: the logarithm of a Gaussian's, not the Gaussian itself.
        log_density = gaussian_log_prob(torch.zeros_like(drawn), torch.zeros_like(deviation), drawn)
        densities.append(torch.where(own, log_density - deviation, 0.0).sum(-1))
    return torch.cat(samples), torch.cat(densities)
