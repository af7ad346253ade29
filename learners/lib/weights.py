"""Copies of a network's weights, to return to the best ones."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def copied(network: nn.Module) -> list[Tensor]:
    """The network's parameters, copied."""
    return [p.detach().clone() for p in network.parameters()]


@torch.no_grad()
def restore(network: nn.Module, weights: list[Tensor]) -> None:
    """Set the parameters to those that `copied` returned."""
    for p, w in zip(network.parameters(), weights, strict=True):
        p.copy_(w)
