"""Annealing shortens the steps of either optimizer."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import nn

from learners.lib.optimizers import Kind, anneal, make_optimizer


def gaussian_nll(network: nn.Module, x: torch.Tensor) -> torch.Tensor:
    out = network(x)
    return 0.5 * (out - out.detach() - torch.randn_like(out)).square().sum(1)


def step_length(kind: Kind, fraction: float) -> float:
    """How far the weights move in the 21st step, of a given length, after 20 full ones."""
    torch.manual_seed(0)
    network, x = nn.Linear(5, 3), torch.randn(200, 5)
    optimizer = make_optimizer(kind, network, lr=0.1, kl_clip=1e-4)
    if kind == "kfac":
        optimizer.momentum = 0.0  # otherwise earlier steps have an effect
    for k in range(21):
        if k == 20:
            anneal(optimizer, fraction, 0.1, 1e-4)
        before = network.weight.detach().clone()
        torch.manual_seed(k)
        loss = (network(x) - x[:, :3]).square().mean()
        optimizer.step(loss, partial(gaussian_nll, network, x))
    return float((network.weight.detach() - before).norm())


@pytest.mark.parametrize("kind", ["kfac", "adam"])
def test_a_fraction_of_the_step(kind):
    whole = step_length(kind, 1.0)
    assert step_length(kind, 0.25) == pytest.approx(0.25 * whole, rel=1e-3)
    assert step_length(kind, 0.0) == pytest.approx(1e-3 * whole, rel=1e-2)
