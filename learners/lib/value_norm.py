"""Standardized value targets (PopArt), because the scale of returns changes while a policy learns."""

from __future__ import annotations

import torch
from torch import Tensor, nn

LEAST_VARIANCE = 1e-2  # returns that hardly differ are not scaled up


class ValueNorm(nn.Module):
    """Running mean and variance of value targets: exponential averages with bias correction."""

    def __init__(self, decay: float = 0.99):
        super().__init__()
        self.decay = decay
        self.moments: Tensor
        self.weight: Tensor
        self.register_buffer("moments", torch.zeros(2))  # of the targets and of their squares
        self.register_buffer("weight", torch.zeros(()))

    def mean_sd(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation so far; 0 and 1 before the first targets."""
        if not bool(self.weight):
            return torch.zeros_like(self.weight), torch.ones_like(self.weight)
        mean, square = self.moments / self.weight
        return mean, (square - mean * mean).clamp(min=LEAST_VARIANCE).sqrt()

    @torch.no_grad()
    def update(self, targets: Tensor, head: nn.Linear) -> None:
        """Update the moments, and rescale the critic's last layer so that its predictions stay the same."""
        mean, sd = self.mean_sd()
        batch = torch.stack([targets.mean(), targets.square().mean()])
        self.moments.lerp_(batch, 1 - self.decay)
        self.weight.lerp_(torch.ones_like(self.weight), 1 - self.decay)
        new_mean, new_sd = self.mean_sd()
        head.weight.mul_(sd / new_sd)
        head.bias.mul_(sd).add_(mean - new_mean).div_(new_sd)

    def standardize(self, returns: Tensor) -> Tensor:
        """Returns on the critic's scale."""
        mean, sd = self.mean_sd()
        return (returns - mean) / sd

    def restore(self, values: Tensor) -> Tensor:
        """The critic's predictions on the game's scale."""
        mean, sd = self.mean_sd()
        return values * sd + mean
