"""What adversarial imitation learners share, as pure functions of tensors: losses and rewards of discriminators.

A high logit always means "expert".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

RewardForm = Literal["tanh", "softplus", "neglog", "logit", "sigmoid"]

REWARDS: dict[RewardForm, Callable[[Tensor], Tensor]] = {
    "tanh": lambda x: torch.tanh(x / 2),
    "softplus": F.softplus,
    "neglog": lambda x: -F.softplus(-x),
    "logit": lambda x: x,
    "sigmoid": torch.sigmoid,
}
ONE_SIGNED = ("softplus", "neglog", "sigmoid")
REWARD_LIMIT = 10.0


def reward(logits: Tensor, form: RewardForm) -> Tensor:
    """Rewards of logits, at most REWARD_LIMIT in absolute value."""
    return REWARDS[form](logits).clamp(-REWARD_LIMIT, REWARD_LIMIT)


def cross_entropy(logits: Tensor, weights: Tensor, label: float) -> Tensor:
    """Weighted sum of binary cross-entropies of logits (rows, outputs) that share one label."""
    losses = label * F.softplus(-logits) + (1 - label) * F.softplus(logits)
    return (losses * weights).sum()


def share(hits: Tensor, weights: Tensor) -> float:
    """Share of the weight that hits have."""
    return float((hits * weights).sum() / weights.sum().clamp(min=1e-8))


def balanced_loss(
    expert: Tensor, policy: Tensor, weights: tuple[Tensor, Tensor]
) -> tuple[Tensor, dict[str, float]]:
    """Binary cross-entropy of the logits of both sources, each a weighted mean, and its metrics.

    `weights`: of the expert's and the policy's logits, 0 for those that do not count.
    """
    loss = torch.zeros_like(expert[:1].sum())
    for logits, weight, label in ((expert, weights[0], 1.0), (policy, weights[1], 0.0)):
        counted = torch.where(weight > 0, logits, 0.0)
        loss = loss + cross_entropy(counted, weight, label) / weight.sum().clamp(min=1e-8)
    metrics = {
        "disc_loss": float(loss.detach()),
        "disc_accuracy_expert": share(expert > 0, weights[0]),
        "disc_accuracy_policy": share(policy < 0, weights[1]),
    }
    return loss, metrics


def gradient_penalty(network: Any, expert: Tensor, policy: Tensor, rng: torch.Generator) -> Tensor:
    """Mean of (|d logit / d input| - 1)^2 at random interpolations between rows of both sources.

    The gradient is taken with respect to the standardized input.
    """
    size = min(len(expert), len(policy))
    picked = [
        rows[torch.randint(len(rows), (size,), generator=rng, device=rows.device)]
        for rows in (expert, policy)
    ]
    mix = torch.rand(size, 1, generator=rng, device=expert.device)
    inputs = (mix * picked[0] + (1 - mix) * picked[1]).requires_grad_(True)
    (slope,) = torch.autograd.grad(network(inputs).sum(), inputs, create_graph=True)
    if network.std is not None:
        slope = slope * network.std
    return (slope.norm(dim=1) - 1).square().mean()


def distances(y: tuple[Tensor, ...], x: tuple[Tensor, ...]) -> Tensor:
    """Euclidean distances (B,) between encoded rounds; those who do not count are at 0."""
    flat = [
        torch.cat([(a * counts.unsqueeze(2)).flatten(1) for a in (seen, done)], 1)
        for seen, done, counts in (y, x)
    ]
    return (flat[0] - flat[1]).norm(dim=1)


def wasserstein(
    expert: Tensor, policy: Tensor, counts: tuple[Tensor, Tensor], apart: Tensor, slack: float
) -> Tensor:
    """The regularized difference of mean scores, mean over agents; scores (B, N), distances `apart` (B,)."""
    means = [
        torch.where(c, s, 0.0).sum() / c.sum().clamp(min=1)
        for s, c in ((expert, counts[0]), (policy, counts[1]))
    ]
    both = counts[0] & counts[1]
    excess = torch.where(both, (expert - policy - apart.unsqueeze(1)).clamp(min=0), 0.0)
    return means[0] - means[1] - excess.square().sum() / both.sum().clamp(min=1) / (4 * slack)
