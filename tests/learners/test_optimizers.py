"""Annealing shortens the steps of either optimizer; Adam is torch's."""

from __future__ import annotations

import copy
from functools import partial

import pytest
import torch
from torch import nn

from learners.lib.optimizers import Adam, Kind, anneal, make_optimizer, optimizers_in


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


def test_adam_is_that_of_torch_with_clipped_gradients():
    """Gradients exceed the largest norm in some of the steps; one parameter gets none."""
    torch.manual_seed(0)
    network, x, target = nn.Linear(5, 3), torch.randn(200, 5), torch.randn(200, 3)
    network.register_parameter("unused", nn.Parameter(torch.ones(2)))
    twin = copy.deepcopy(network)
    optimizer = Adam(network, lr=0.1, max_grad_norm=1.0)
    inner = torch.optim.Adam(twin.parameters(), lr=0.1, eps=1e-5)
    norms = []
    for k in range(30):
        optimizer.lr = inner.param_groups[0]["lr"] = 0.1 / (k + 1)
        scale = 3.0 if k < 10 else 0.3
        assert optimizer.step(scale * (network(x) - target).square().mean())
        inner.zero_grad()
        (scale * (twin(x) - target).square().mean()).backward()
        norms.append(float(nn.utils.clip_grad_norm_(twin.parameters(), 1.0)))
        inner.step()
    assert max(norms) > 1 > min(norms)
    for mine, other in zip(network.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-5)


def test_adam_skips_gradients_that_are_not_finite():
    network = nn.Linear(2, 1)
    optimizer, before = Adam(network), network.weight.detach().clone()
    assert not optimizer.step(network(torch.full((1, 2), torch.nan)).sum())
    assert optimizer.skipped == 1 and torch.equal(network.weight, before)
    assert not any(float(x.abs().sum()) for moments in optimizer.moments for x in moments)


def test_adam_takes_gradients_in_any_order_of_memory():
    """The gradient of a transposed product is transposed itself."""
    torch.manual_seed(0)
    parameters = torch.randn(3, 5)
    weights = torch.randn(5, 3)
    one, other = nn.Linear(5, 3, bias=False), nn.Linear(5, 3, bias=False)
    for network in (one, other):
        network.load_state_dict({"weight": parameters})
    Adam(one, 0.1).step((one.weight.t() * weights).sum())
    Adam(other, 0.1).step((other.weight * weights.t().contiguous()).sum())
    assert torch.equal(one.weight, other.weight)


def test_optimizers_are_found_in_nested_containers():
    adam, kfac = (make_optimizer(k, nn.Linear(2, 1), 0.1, 1e-3) for k in ("adam", "kfac"))
    held = {"a": [[adam]], "b": {"c": (kfac,)}, "rate": 0.1, "network": nn.Linear(2, 1)}
    assert list(optimizers_in(held)) == [adam, kfac]


def test_a_zero_gradient_is_no_skipped_step():
    """K-FAC makes no step then, but nothing is wrong."""
    network, x = nn.Linear(2, 1), torch.randn(8, 2)
    optimizer = make_optimizer("kfac", network, 0.1, 1e-3)
    for _ in range(12):  # the first ones are not preconditioned
        optimizer.step(0.0 * network(x).mean(), partial(gaussian_nll, network, x))
    assert optimizer.skipped == 0
