"""The optimizers of the learners, K-FAC and Adam, with one interface.

    optimizer.step(loss, fisher)

Only K-FAC calls `fisher`, see `learners.lib.kfac`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim.adam import adam

from learners.lib.kfac import KFAC

Kind = Literal["kfac", "adam"]


class Adam:
    """torch's Adam with the same interface; `fisher` is ignored.

    Attributes:
        moments: of every parameter: number of steps, mean of the gradients and of their squares.
        skipped: steps that were not made because a gradient was not finite.
    """

    def __init__(
        self, module: nn.Module, lr: float = 3e-4, max_grad_norm: float = 10.0, eps: float = 1e-5
    ):
        self.parameters = list(module.parameters())
        self.lr, self.max_grad_norm, self.eps, self.skipped = lr, max_grad_norm, eps, 0
        self.moments = [
            [torch.zeros((), device=p.device), torch.zeros_like(p), torch.zeros_like(p)]
            for p in self.parameters
        ]

    def step(self, loss: Tensor, fisher: Callable[[], Tensor] | None = None) -> bool:
        found = torch.autograd.grad(loss, self.parameters, allow_unused=True)
        used = [k for k, gradient in enumerate(found) if gradient is not None]
        # The fused step reads gradients in the order of memory; those of transposed parameters are in another one.
        gradients = [found[k].contiguous() for k in used]
        # `get_total_norm` takes three times as long for a small network.
        norm = float(torch.linalg.vector_norm(torch.cat([g.view(-1) for g in gradients])))
        if not math.isfinite(norm):
            self.skipped += 1
            return False
        if norm > self.max_grad_norm:
            gradients = [g * (self.max_grad_norm / norm) for g in gradients]
        # torch.optim.Adam would call this, too, after checks that take longer than the step of a small network.
        steps, means, squares = zip(*(self.moments[k] for k in used), strict=True)
        with torch.no_grad():
            adam(
                [self.parameters[k] for k in used], gradients, list(means), list(squares), [],
                list(steps), fused=True, amsgrad=False, beta1=0.9, beta2=0.999, lr=self.lr,
                weight_decay=0.0, eps=self.eps, maximize=False,
            )  # fmt: skip
        return True

    def state_dict(self) -> dict:
        return {"lr": self.lr, "skipped": self.skipped, "moments": self.moments}

    def load_state_dict(self, state: dict) -> None:
        self.lr, self.skipped = state["lr"], state["skipped"]
        for mine, saved in zip(self.moments, state["moments"], strict=True):
            for x, y in zip(mine, saved, strict=True):
                x.copy_(y)


def make_optimizer(
    kind: Kind, module: nn.Module, lr: float, kl_clip: float, eigen_every: int = 1
) -> KFAC | Adam:
    """An optimizer of the parameters of `module`; `kl_clip` and `eigen_every` are for K-FAC only."""
    if kind == "kfac":
        return KFAC(module, lr=lr, kl_clip=kl_clip, eigen_every=eigen_every)
    return Adam(module, lr=lr)


def optimizers_in(held: Any) -> Iterator[KFAC | Adam]:
    """The optimizers in nested lists, tuples and dictionaries, such as the attributes of an object."""
    if isinstance(held, KFAC | Adam):
        yield held
    elif isinstance(held, dict | list | tuple):
        for x in held.values() if isinstance(held, dict) else held:
            yield from optimizers_in(x)


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
