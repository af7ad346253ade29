"""Linear layers whose large products are computed by oneDNN on the CPU.

torch multiplies matrices by MKL, which uses AVX-512 on Intel's processors only. oneDNN uses it on all processors that have
it; on AMD's it takes half the time.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

AVX512 = (
    torch.backends.mkldnn.is_available() and "AVX512" in torch.backends.cpu.get_cpu_capability()
)
# Smaller products are not faster: number of multiplications, and of inputs or outputs.
LEAST_WORK, NARROW = 1_000_000, 16


class Linear(nn.Linear):
    """torch's Linear layer; results differ by rounding only."""

    def forward(self, input: Tensor) -> Tensor:
        if gains(input, self.weight):
            return times(input, self.weight, self.bias)
        return super().forward(input)


def gains(x: Tensor, weight: Tensor) -> bool:
    """Whether oneDNN is faster at `times`."""
    return (
        AVX512
        and x.ndim == 2
        and len(x) > 0
        and x.device.type == "cpu"
        and x.dtype == weight.dtype == torch.float32
        and len(x) * weight.numel() >= LEAST_WORK
        and min(weight.shape) >= NARROW
    )


def times(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Rows x (B, n) times weight (m, n), transposed, plus bias (m,): (B, m)."""
    if torch.is_grad_enabled():
        return Product.apply(x, weight, bias)  # pyright: ignore[reportReturnType]
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")


class Product(torch.autograd.Function):
    """The derivatives of `times`, of any order: oneDNN's own operation has none."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return times(x, weight, bias)  # gradients are off here

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        of_x, of_weight, of_bias = ctx.needs_input_grad
        gradient = gradients[0].contiguous()  # the second factor of `times` must not be expanded
        return (
            times(gradient, weight.t()) if of_x else None,
            times(x.t(), gradient.t()).t().contiguous() if of_weight else None,
            gradient.sum(0) if of_bias else None,
        )
