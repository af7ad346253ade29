"""Linear layers by oneDNN: the results and derivatives of torch's own layers."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from learners.lib import linear

pytestmark = pytest.mark.skipif(
    not torch.backends.mkldnn.is_available(), reason="torch was built without oneDNN"
)


@pytest.fixture
def always(monkeypatch):
    """oneDNN computes products of any size, on any processor."""
    monkeypatch.setattr(linear, "AVX512", True)
    monkeypatch.setattr(linear, "LEAST_WORK", 0)
    monkeypatch.setattr(linear, "NARROW", 1)


def layers() -> tuple[linear.Linear, nn.Linear]:
    torch.manual_seed(0)
    ours, torchs = linear.Linear(18, 32), nn.Linear(18, 32)
    torchs.load_state_dict(ours.state_dict())
    return ours, torchs


def derivatives(layer: nn.Linear, x: Tensor) -> list[Tensor]:
    """Outputs, their derivatives, and those of a penalty on the derivatives."""
    x = x.detach().requires_grad_()
    out = layer(x)
    (slopes,) = torch.autograd.grad(torch.tanh(out).sum(), [x], create_graph=True)
    # `out.sum()`: its derivative is an expanded tensor.
    loss = (slopes.norm(dim=1) - 1).square().mean() + 0.01 * out.sum()
    return [out, slopes, *torch.autograd.grad(loss, [x, *layer.parameters()])]


@pytest.mark.parametrize(
    "x",
    [
        torch.randn(50, 18),
        torch.randn(50, 40)[:, 4:22],
        torch.randn(18, 50).t(),
        torch.randn(1, 18).expand(50, 18),
        torch.randn(0, 18),
    ],
    ids=["rows", "some_columns", "transposed", "expanded", "empty"],
)
def test_results_and_derivatives_are_those_of_torch(always, x):
    ours, torchs = layers()
    if len(x):
        assert "Product" in type(ours(x).grad_fn).__name__
    for found, expected in zip(derivatives(ours, x), derivatives(torchs, x), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_nothing_is_recorded_without_gradients(always):
    ours, torchs = layers()
    x = torch.randn(50, 18)
    with torch.inference_mode():
        torch.testing.assert_close(ours(x), torchs(x))
    assert not ours.requires_grad_(False)(x).requires_grad


def test_only_large_products_of_float32_go_to_onednn(monkeypatch):
    monkeypatch.setattr(linear, "AVX512", True)
    x, weight = torch.zeros(1000, 64), torch.zeros(64, 64)
    assert linear.gains(x, weight)
    assert not linear.gains(x[:100], weight)
    assert not linear.gains(x.unsqueeze(0), weight)
    assert not linear.gains(x.double(), weight.double())
    assert not linear.gains(x.repeat(100, 1), weight[:5])
    assert not linear.gains(x.to("meta"), weight.to("meta"))
    monkeypatch.setattr(linear, "AVX512", False)
    assert not linear.gains(x, weight)
