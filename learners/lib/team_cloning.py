"""Behavioral cloning of a joint policy (`learners.lib.transformer`), by teacher forcing."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from learners.lib.batch import mean
from learners.lib.expert_data import ExpertData, training_rounds
from learners.lib.optimizers import Adam
from learners.lib.transformer import TransformerPolicy
from learners.lib.weights import copied, restore
from mail_envs.bars import bar

HELD_OUT = 0.1  # share of the episodes
CHECK_EVERY = 100  # gradient steps
PATIENCE = 5  # checks without improvement
LARGEST_CHECK = 4096  # rounds


def nll(policy: TransformerPolicy, data: ExpertData, counts: Tensor) -> Tensor:
    """Mean negative log-likelihood of the demonstrated actions where `counts`, bool (M, N).

    Every agent's action is given those of the agents before it.
    """
    left = data.observations.new_zeros((len(data), int(policy.time_input)))  # of the values alone
    out, _ = policy.outputs(data.observations, data.participation, data.actions, left)
    log_prob, _ = policy.log_prob(out, data.actions, data.action_mask)
    return -mean(log_prob.sum(2), counts)


def fit(
    policy: TransformerPolicy,
    data: ExpertData,
    counts: Tensor,
    steps: int,
    batch: int,
    rng: torch.Generator,
    lr: float = 1e-3,
    label: str = "",
    stop: Callable[[], bool] = lambda: False,
) -> tuple[int, float]:
    """Clone with Adam for at most `steps` steps of `batch` rounds, holding out a tenth of the episodes.

    Cloning stops early when the held-out likelihood no longer improves; the best weights are kept.

    Returns:
        the number of steps taken, and the smallest held-out loss.
    """
    rounds = training_rounds(data, HELD_OUT) or len(data)  # all, where the others have none
    held = torch.arange(rounds if rounds < len(data) else 0, len(data))
    held = held[torch.randperm(len(held), generator=rng, device=rng.device)[:LARGEST_CHECK].cpu()]
    judged = data.take(held), counts[held]
    optimizer = Adam(policy, lr)
    best, weights, waited, step = float("inf"), copied(policy), 0, 0
    with bar(label, steps, bool(label)) as show:
        while step < steps and waited < PATIENCE:
            rows = torch.randint(rounds, (batch,), generator=rng, device=rng.device)
            optimizer.step(nll(policy, data.take(rows), counts[rows]))
            step += 1
            show(step)
            if step % CHECK_EVERY and step < steps:
                continue
            with torch.no_grad():
                loss = float(nll(policy, *judged))
            waited += 1
            if loss < best:
                best, weights, waited = loss, copied(policy), 0
            if stop():
                break
    restore(policy, weights)
    return step, best
