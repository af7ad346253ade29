"""The optimizers of the learners, K-FAC and Adam, with one interface.

    optimizer.step(loss, fisher)

Only K-FAC calls `fisher`, see `learners.lib.kfac`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from learners.lib.kfac import KFAC

Kind = Literal["kfac", "adam"]


class Adam:
    """torch's Adam with the same interface; `fisher` is ignored."""

    def __init__(
        self, module: nn.Module, lr: float = 3e-4, max_grad_norm: float = 10.0, eps: float = 1e-5
    ):
        self.parameters = list(module.parameters())
        self.inner = torch.optim.Adam(self.parameters, lr=lr, eps=eps, fused=True)
        self.max_grad_norm = max_grad_norm
        self.skipped = 0

    @property
    def lr(self) -> float:
        return self.inner.param_groups[0]["lr"]

    @lr.setter
    def lr(self, value: float) -> None:
        self.inner.param_groups[0]["lr"] = value

    def step(self, loss: Tensor, fisher: Callable[[], Tensor] | None = None) -> bool:
        for p in self.parameters:
            p.grad = None
        loss.backward()
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        norm = nn.utils.get_total_norm(gradients)
        finite = math.isfinite(float(norm))
        if finite:
            if float(norm) > self.max_grad_norm:
                nn.utils.clip_grads_with_norm_(self.parameters, self.max_grad_norm, norm)
            self.inner.step()
        self.skipped += not finite
        return finite

    def state_dict(self) -> dict:
        names = ("step", "exp_avg", "exp_avg_sq")
        states = [self.inner.state[p] for p in self.parameters]
        moments = [[state[n] for n in names] for state in states if state]
        return {"lr": self.lr, "skipped": self.skipped, "moments": moments}

    def load_state_dict(self, state: dict) -> None:
        self.lr, self.skipped = state["lr"], state["skipped"]
        for p, (step, mean, square) in zip(self.parameters, state["moments"], strict=False):
            mean, square = mean.clone().to(p), square.clone().to(p)
            self.inner.state[p] = {
                "step": step.clone().to(p.device),
                "exp_avg": mean,
                "exp_avg_sq": square,
            }


def make_optimizer(
    kind: Kind, module: nn.Module, lr: float, kl_clip: float, eigen_every: int = 1
) -> KFAC | Adam:
    """An optimizer of the parameters of `module`; `kl_clip` and `eigen_every` are for K-FAC only."""
    if kind == "kfac":
        return KFAC(module, lr=lr, kl_clip=kl_clip, eigen_every=eigen_every)
    return Adam(module, lr=lr)


def anneal(optimizer: KFAC | Adam, fraction: float, lr: float, kl_clip: float) -> None:
    """Scale the next steps to `fraction` of the full step size, at least a thousandth.

    The size of a K-FAC step is proportional to the square root of the KL clip, which usually takes effect
    before the learning rate `lr` does; that of an Adam step is proportional to `lr`.
    """
    fraction = max(fraction, 1e-3)
    if isinstance(optimizer, KFAC):
        optimizer.kl_clip = kl_clip * fraction**2
    else:
        optimizer.lr = lr * fraction
