"""Langevin sampling of continuous actions from densities exp(f) on the cube [-1, 1]^n, and integrals of exp(f).

Chains begin uniformly and pass through the densities exp(beta f), with beta rising from 0 to 1: annealed importance
sampling (Neal, 2001). Each of their steps goes up the gradient of log density, with noise, and is accepted or rejected
(Metropolis), which leaves the density exact. Chains move in x = atanh(action), so that they never leave the cube; the
density of x is that of the action times its slope, 1 - action^2. Weights of the chains make up for the change of the
densities between the steps: the mean of exp(log weight) is an unbiased estimate of the mean of exp(f) over the cube.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from learners.lib.distributions import log_slope

STEP_SIZES = (0.9, 0.4)  # of x, at the first step and at the last
LONGEST = 0.5  # that the gradient moves x in a step

Function = Callable[[Tensor], Tensor]


def with_slope(f: Function, actions: Tensor, graph: bool = False) -> tuple[Tensor, Tensor]:
    """Values f (*L) at actions (*L, A), and their gradient (*L, A); differentiable again with `graph`."""
    actions = actions.detach().requires_grad_()
    with torch.enable_grad():
        values = f(actions)
        (slopes,) = torch.autograd.grad(values.sum(), actions, create_graph=graph)
    return values if graph else values.detach(), slopes


def annealed(
    f: Function, own: Tensor, shape: tuple[int, ...], steps: int, rng: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Chains for densities exp(f).

    Args:
        f: from actions (*L, A) to (*L).
        own: bool, broadcastable to (*L, A): components that actions have; others stay 0.
        shape: *L.
        steps: of every chain.
        rng: on the device of `own`.

    Returns:
        actions (*L, A), in [-1, 1], and log weights (*L). They have no gradient.
    """
    x = torch.rand((*shape, own.shape[-1]), generator=rng, device=own.device)
    x = torch.where(own, torch.logit(x, eps=1e-6) / 2, 0.0)
    actions = torch.tanh(x)
    values, slopes = with_slope(f, actions)
    weights, beta = torch.zeros_like(values), 0.0
    for k in range(1, steps + 1):
        before, beta = beta, (k / steps) ** 2
        weights = weights + (beta - before) * values
        size = STEP_SIZES[0] + (STEP_SIZES[1] - STEP_SIZES[0]) * (k - 1) / max(steps - 1, 1)
        noise = torch.where(own, torch.empty_like(x).normal_(generator=rng), 0.0)
        moved = x + drift(actions, slopes, beta, size, own) + size * noise
        tried = torch.tanh(moved)
        new_values, new_slopes = with_slope(f, tried)
        back = (x - moved - drift(tried, new_slopes, beta, size, own)) / size
        gain = beta * (new_values - values) + 0.5 * (noise.square() - back.square()).sum(-1)
        gain = gain + torch.where(
            own, log_slope(moved, own + 1.0) - log_slope(x, own + 1.0), 0.0
        ).sum(-1)
        accepted = torch.empty_like(gain).exponential_(generator=rng) > -gain
        values = torch.where(accepted, new_values, values)
        accepted = accepted.unsqueeze(-1)
        x, actions, slopes = (
            torch.where(accepted, new, old)
            for new, old in ((moved, x), (tried, actions), (new_slopes, slopes))
        )
    return actions, weights


def drift(actions: Tensor, slopes: Tensor, beta: float, size: float, own: Tensor) -> Tensor:
    """How the gradient of the log density of x moves x, (*L, A)."""
    uphill = beta * slopes * (1 - actions.square()) - 2 * actions
    move = torch.where(own, 0.5 * size * size * uphill, 0.0)
    return move * (LONGEST / move.norm(dim=-1, keepdim=True).clamp(min=LONGEST))
