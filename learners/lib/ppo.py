"""Proximal policy optimization as pure functions of tensors: training data, minibatches, losses.

A *batch* is a dict of tensors (L, B, ...): B sequences of L successive rounds, one per agent of a group and chunk of
the fragment; L = 1 for networks without a memory. `memory` is (1, B, H), before the first round of each sequence.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional as F

from learners.lib.returns import generalized_advantages

if TYPE_CHECKING:
    from learners.lib.rollout import Rollout

Batch = dict[str, Tensor]


# ------------------------------------------------------------------------------------- advantages
def advantages_and_targets(
    rollout: Rollout, rewards: Tensor, values: Tensor, final: Tensor, gamma: float, lam: float
) -> tuple[Tensor, Tensor]:
    """Advantages and value targets, (T, E, N) each, computed over all rounds.

    Args:
        rollout: says how episodes ended.
        rewards: (T, E, N), see `learners.lib.rewards`.
        values: on the scale of the rewards, (T + 1, E, N).
        final: values of the final observations of truncated episodes, (T, E, N); see
            `learners.lib.time_limit.bootstraps`.
        gamma: discount.
        lam: lambda of the estimate.
    """
    r = rollout
    advantages = generalized_advantages(
        rewards, values, final, r.terminated, r.truncated, gamma, lam, r.lost
    )
    return advantages, advantages + values[:-1]


def standardized(advantages: Tensor, valid: Tensor) -> Tensor:
    """All advantages, shifted and scaled so that the `valid` ones have mean 0 and standard deviation 1."""
    found = advantages[valid]
    return (advantages - found.mean()) / (found.std() + 1e-5)


# ---------------------------------------------------------------------------------- training data
def episode_starts(rollout: Rollout) -> Tensor:
    """Rounds in which an episode begins, bool (T + 1, E); row 0 is False: its memories are already reset."""
    ended = rollout.terminated | rollout.truncated
    return torch.cat([torch.zeros_like(ended[:1]), ended])


def sequences(x: Tensor, length: int) -> Tensor:
    """Cut T rounds into chunks that become extra batch columns: (T, K, ...) -> (length, T / length * K, ...)."""
    return x.unflatten(0, (-1, length)).transpose(0, 1).flatten(1, 2)


def rows(networks: Any, g: int, x: Tensor) -> Tensor:
    """Group g's part of (T, E, N, ...), one row per agent: (T, E * members, ...).

    `networks` has `rows` and `members`, as `learners.lib.networks.Policy` does.
    """
    return networks.rows(g, x.flatten(0, 1)).unflatten(0, (len(x), -1))


def batch_of(
    networks: Any,
    g: int,
    rollout: Rollout,
    length: int,
    inputs: Tensor,
    memory: Tensor,
    **more: Tensor,
) -> Batch:
    """All rounds of group g as sequences of `length` rounds.

    `inputs` are those of the group, (T, E * members, D); `memory` (T, E, N, H) and `more` (T, E, N, ...) are
    those of all agents.
    """
    whole = {"acts": rollout.participation[:-1], "memory": memory} | more
    batch = {
        "inputs": inputs,
        "fresh": episode_starts(rollout)[:-1].repeat_interleave(len(networks.members[g]), 1),
        **{k: rows(networks, g, x) for k, x in whole.items()},
    }
    batch = {k: sequences(x, length) for k, x in batch.items()}
    batch["memory"] = batch["memory"][:1]
    return batch


def actor_inputs(policy: Any, g: int, observations: Tensor) -> Tensor:
    """Inputs (T, E * members, inputs) of group g's actor for observations (T, E, N, D)."""
    return policy.inputs(g, observations.flatten(0, 1)).unflatten(0, (len(observations), -1))


def actor_batch(
    policy: Any, g: int, rollout: Rollout, advantages: Tensor, length: int, **more: Tensor
) -> Batch:
    """Training data of group g's actor: the sequences with at least one `valid` entry.

    `more`: other tensors (T, E, N, ...) of all agents.
    """
    more = {"actions": rollout.actions, "advantages": advantages} | more
    masks = rollout.mask_rows()
    if masks is not None:
        more["mask"] = masks.unflatten(0, (rollout.rounds, -1))
    inputs = actor_inputs(policy, g, rollout.observations[:-1])
    batch = batch_of(policy, g, rollout, length, inputs, rollout.memory[:-1], **more)
    batch["valid"] = sequences(rows(policy, g, rollout.learned_from()), length)
    return selected(batch, batch["valid"].any(0).nonzero().squeeze(1))


def selected(batch: Batch, columns: Tensor) -> Batch:
    """These sequences of a batch."""
    return {k: x.index_select(1, columns) for k, x in batch.items()}


def minibatches(batch: Batch, count: int, rng: torch.Generator) -> Iterator[Batch]:
    """Split the batch into `count` random parts."""
    if count == 1:
        yield batch
        return
    order = torch.randperm(batch["inputs"].shape[1], generator=rng, device=rng.device)
    # One gather of every tensor instead of one per part; the parts are views.
    parts = {k: x.chunk(count, 1) for k, x in selected(batch, order).items()}
    for k in range(len(parts["inputs"])):
        yield {name: part[k] for name, part in parts.items()}


# ----------------------------------------------------------------------------------------- losses
def at_valid(batch: Batch, x: Tensor) -> Tensor:
    """The entries of x (L, B, ...) that count, (R, ...): in an actor's batch of single rounds, all of them."""
    return x[0] if len(x) == 1 else x[batch["valid"]]


def log_probs(policy: Any, g: int, batch: Batch) -> tuple[Tensor, Tensor]:
    """Log-likelihood of the actions and entropy at the valid entries of an actor's batch, (R,) each."""
    memory, acts, fresh = batch["memory"][0], batch["acts"], batch["fresh"]
    out = policy.networks[g].sequence(batch["inputs"], memory, acts, fresh)[0]
    out, actions = at_valid(batch, out), at_valid(batch, batch["actions"])
    return policy.likelihood(
        g, out, actions, at_valid(batch, batch["mask"]) if "mask" in batch else None
    )


def surrogate(log_prob: Tensor, old: Tensor, advantages: Tensor, clip: float) -> Tensor:
    """Clipped objective of every entry, to be maximized; all tensors have one shape.

    `old` holds the log-likelihoods before the update.
    """
    # min(r A, clip(r) A) limits r from above where A > 0 and from below elsewhere; the gradient of torch.min is slow.
    ratio, better = (log_prob - old).exp(), advantages > 0
    low = torch.where(better, -math.inf, 1 - clip)
    high = torch.where(better, 1 + clip, math.inf)
    return ratio.clamp(low, high) * advantages


@torch.no_grad()
def policy_change(log_prob: Tensor, old: Tensor, clip: float) -> dict[str, float]:
    """How far an update moved the policy: the KL divergence, estimated, and the share of clipped ratios."""
    change = log_prob - old
    ratio = change.exp()
    return {
        "kl": float((ratio - 1 - change).mean()),
        "clipped": float(((ratio - 1).abs() > clip).float().mean()),
    }


def actor_loss(
    policy: Any, g: int, batch: Batch, clip: float, entropy_weight: float
) -> tuple[Tensor, Callable[[], dict[str, float]]]:
    """Clipped surrogate loss with the entropy bonus, and a function that computes its metrics.

    `batch["old"]` holds the old log-likelihoods; `batch["factor"]`, if there is one, multiplies the objective of each
    entry.
    """
    log_prob, entropy = log_probs(policy, g, batch)
    old, advantages = at_valid(batch, batch["old"]), at_valid(batch, batch["advantages"])
    objective, bonus = surrogate(log_prob, old, advantages, clip), entropy.mean()
    if "factor" in batch:
        objective = objective * at_valid(batch, batch["factor"])
    loss = -objective.mean() - entropy_weight * bonus

    def metrics() -> dict[str, float]:
        return {"entropy": float(bonus.detach()), **policy_change(log_prob, old, clip)}

    return loss, metrics


def value_loss(
    values: Tensor,
    targets: Tensor,
    old: Tensor | None = None,
    clip: float | None = None,
    huber: float | None = None,
) -> Tensor:
    """Regression loss of every entry: half the squared error.

    Args:
        values: predictions.
        targets: what they should be, of the same shape and on the same scale.
        old: predictions before the update; needed for `clip`.
        clip: predictions that moved further than this from the old ones get no gradient that moves them on;
            None: no limit.
        huber: errors beyond this count linearly; None: all count quadratically.
    """

    def loss(predicted: Tensor) -> Tensor:
        if huber is None:
            return 0.5 * (predicted - targets).square()
        return F.huber_loss(predicted, targets, reduction="none", delta=huber)

    if clip is None or old is None:
        return loss(values)
    return torch.max(loss(values), loss(old + (values - old).clamp(-clip, clip)))
