"""K-FAC against a dense natural gradient, its KL bound, its guards and its state."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import nn

from learners.lib.checkpoints import checkpoints, load_checkpoint, save_checkpoint
from learners.lib.kfac import KFAC
from learners.lib.mlp import MLP
from learners.lib.optimizers import Adam


def gaussian_nll(prediction: torch.Tensor) -> torch.Tensor:
    return 0.5 * (prediction - prediction.detach() - torch.randn_like(prediction)).square().sum(1)


def test_preconditioned_gradient_equals_dense_fisher_inverse_of_a_linear_gaussian_model():
    torch.manual_seed(0)
    layer = nn.Linear(3, 2)
    optimizer = KFAC(layer, lr=1.0, kl_clip=1e9, momentum=0.0, damping=1e-6, cold_steps=0)
    x, target = torch.randn(4096, 3), torch.randn(4096, 2)
    rows = torch.cat([x, torch.ones(4096, 1)], 1)
    before = torch.cat([layer.weight, layer.bias[:, None]], 1).detach().clone()

    loss = 0.5 * (layer(x) - target).square().sum(1).mean()
    optimizer.step(loss, lambda: gaussian_nll(layer(x)))

    A = rows.T @ rows / len(rows)
    dense = torch.kron(optimizer.G[0], A)  # of vec(W), row by row
    gradient = (before @ rows.T - target.T) @ rows / len(rows)
    expected = torch.linalg.solve(dense, gradient.flatten()).view_as(gradient)
    moved = before - torch.cat([layer.weight, layer.bias[:, None]], 1).detach()
    assert torch.allclose(optimizer.A[0], A, atol=1e-4)
    assert torch.allclose(optimizer.G[0], torch.eye(2), atol=0.1)  # the Fisher of a unit Gaussian
    assert torch.allclose(moved, expected, atol=2e-3)


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_factors_hold_the_gradients_before_the_activation(activation):
    """Activations work in place: the outputs of hidden layers no longer hold what the layers computed."""
    torch.manual_seed(0)
    network = MLP([3, 5, 2], activation=activation)
    x = torch.randn(40, 3)
    first, second = network.layers
    before = (x @ first.weight.T + first.bias).detach().requires_grad_(True)
    after = torch.relu(before) if activation == "relu" else torch.tanh(before)
    rows = (after @ second.weight.T + second.bias).square().sum(1)
    (gradient,) = torch.autograd.grad(rows.sum(), before)
    one = torch.ones(40, 1)
    inputs = [torch.cat([part, one], 1) for part in (x, after.detach())]

    optimizer = KFAC(network)
    optimizer.step(network(x).sum(), lambda: network(x).square().sum(1))
    torch.testing.assert_close(optimizer.G[0], gradient.T @ gradient / 40)
    for factor, part in zip(optimizer.A, inputs, strict=True):
        torch.testing.assert_close(factor, part.T @ part / 40)


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_kl_of_a_step_is_bounded_by_the_clip(depth):
    """Half the clip for one layer; layers that move together can add up to depth times that."""
    torch.manual_seed(depth)
    sizes = [6] + [32] * (depth - 1)
    hidden = [m for a, b in pairwise(sizes) for m in (nn.Linear(a, b), nn.ReLU())]
    network = nn.Sequential(*hidden, nn.Linear(sizes[-1], 5))
    optimizer = KFAC(network, lr=1e-6, kl_clip=1e-3, momentum=0.0, damping=1e-3, cold_steps=0)
    x = torch.randn(2000, 6)
    labels = (2 * x[:, 0]).long().clamp(-2, 2) + 2

    def fisher() -> torch.Tensor:
        logs = torch.log_softmax(network(x), 1)
        return -logs.gather(1, torch.multinomial(logs.exp(), 1)).squeeze(1)

    for _ in range(30):  # only the factors move
        optimizer.step(nn.functional.cross_entropy(network(x), labels), fisher)
    optimizer.lr = 1.0
    before = torch.log_softmax(network(x), 1).detach()
    optimizer.step(nn.functional.cross_entropy(network(x), labels), fisher)
    after = torch.log_softmax(network(x), 1).detach()
    kl = float((before.exp() * (before - after)).sum(1).mean())
    assert 0.3e-3 < kl < 0.8e-3 * depth


def test_state_round_trip_continues_identically():
    x, y = torch.randn(64, 4), torch.randn(64, 2)

    def steps(network: nn.Module, optimizer, count: int) -> None:
        for k in range(count):
            torch.manual_seed(k)
            optimizer.step((network(x) - y).square().mean(), lambda: gaussian_nll(network(x)))

    for kind in (KFAC, Adam):
        torch.manual_seed(0)
        network = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2))
        optimizer = kind(network, lr=0.01)
        steps(network, optimizer, 15)
        twin = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2))
        twin.load_state_dict(network.state_dict())
        other = kind(twin, lr=0.5)
        other.load_state_dict(optimizer.state_dict())
        steps(network, optimizer, 5)
        steps(twin, other, 5)
        for a, b in zip(network.parameters(), twin.parameters(), strict=True):
            assert torch.equal(a, b)


@pytest.mark.parametrize("updates", [14, 15])
def test_a_checkpoint_between_decompositions_continues_identically(updates, tmp_path):
    """The memory layout of eigh's matrices is not saved, and the rounding of products depends on it."""
    x, y = torch.randn(256, 20), torch.randn(256, 5)

    def network() -> nn.Module:
        return nn.Sequential(nn.Linear(20, 128), nn.Tanh(), nn.Linear(128, 5))

    def steps(network: nn.Module, optimizer: KFAC, count: int) -> None:
        for k in range(count):
            torch.manual_seed(k)
            optimizer.step((network(x) - y).square().mean(), lambda: gaussian_nll(network(x)))

    torch.manual_seed(0)
    first, second = network(), network()
    optimizer, other = (KFAC(n, lr=0.1, eigen_every=2) for n in (first, second))
    steps(first, optimizer, updates)
    save_checkpoint(tmp_path, 0, {"kfac": optimizer.state_dict()}, Path.touch)
    second.load_state_dict(first.state_dict())
    other.load_state_dict(load_checkpoint(checkpoints(tmp_path)[0])["kfac"])
    steps(first, optimizer, 1)
    steps(second, other, 1)
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_learning_rate_may_decrease_to_zero():
    """The step is then made, and is zero; it comes after the cold ones, where the KL clip takes effect."""
    network = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 1))
    optimizer = KFAC(network, lr=0.1, cold_steps=2)
    x = torch.randn(10, 3)
    for k in range(5):
        optimizer.lr = 0.1 if k < 4 else 0.0
        before = [p.detach().clone() for p in network.parameters()]
        assert optimizer.step(network(x).square().mean(), lambda: gaussian_nll(network(x)))
        same = [torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True)]
        assert all(same) == (k == 4)


@pytest.mark.parametrize("kind", [KFAC, Adam])
def test_a_nan_gradient_skips_the_step(kind):
    network = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 1))
    optimizer = kind(network, lr=0.1)
    x = torch.randn(10, 3)
    for bad in (False, True, False):
        before = [p.detach().clone() for p in network.parameters()]
        loss = network(x).mean() * (math.nan if bad else 1.0)
        assert optimizer.step(loss, lambda: gaussian_nll(network(x))) is not bad
        same = all(torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True))
        assert same == bad
    assert optimizer.skipped == 1


def test_unsupported_modules_are_errors():
    with pytest.raises(TypeError, match="GRU"):
        KFAC(nn.Sequential(nn.Linear(2, 2), nn.GRU(2, 2)))
    with pytest.raises(TypeError, match="bias"):
        KFAC(nn.Linear(2, 2, bias=False))
