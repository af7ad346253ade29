"""K-FAC: natural-gradient steps with bounded KL divergence, for small networks of Linear layers.

Each Linear layer's Fisher matrix is approximated by the Kronecker product of two factors: A, the second
moment of its inputs (with a 1 appended, so that the bias is one more column of the weight), and G, the
second moment of the gradient of a *sampled* loss with respect to its outputs (Martens & Grosse, 2015).
The factors are running averages; the gradient is preconditioned in their eigenbases, and the step is
scaled so that the predicted KL divergence stays below `kl_clip` (Wu et al., 2017, ACKTR).

    optimizer.step(loss, fisher)

`loss` is minimized; `fisher()` returns, per row, the negative log-likelihood of an outcome sampled from
the model itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge

Tape = list[tuple[int, Tensor, GradientEdge]]
EIGENVALUE_FLOOR = 1e-6  # smaller eigenvalues are set to zero, which leaves only the damping
IDENTITY_PARAMETERS = ("log_std",)  # not part of a Linear layer; preconditioned by the identity


class KFAC:
    """Kronecker-factored approximate natural gradient with a KL clip.

    Args:
        module: network whose parameters all belong to Linear layers (or are called `log_std`).
        lr: learning rate, an upper bound on the step size; usually the KL clip takes effect first.
        kl_clip: bound on (step^T Fisher step).
        momentum: of the update; the step length is multiplied by (1 - momentum).
        damping: added to the product of the factors' eigenvalues.
        stats_decay: decay of the running averages; in the first steps they are plain averages.
        cold_steps: number of initial steps of plain SGD with momentum, until the factors are reliable.
        cold_grad_norm: bound on the gradient's norm in these steps.
        eigen_every: steps between eigendecompositions; None means 1 below width 200, else 10.

    Attributes:
        skipped: steps that were not made because a gradient was not finite.
    """

    def __init__(
        self,
        module: nn.Module,
        lr: float = 0.1,
        kl_clip: float = 1e-3,
        momentum: float = 0.9,
        damping: float = 0.01,
        stats_decay: float = 0.99,
        cold_steps: int = 10,
        cold_grad_norm: float = 0.5,
        eigen_every: int | None = None,
    ):
        self.layers, self.free = _parameters_of(module)
        self.lr, self.kl_clip, self.momentum, self.damping = lr, kl_clip, momentum, damping
        self.stats_decay = stats_decay
        self.cold_steps, self.cold_grad_norm = cold_steps, cold_grad_norm
        width = max(max(layer.in_features + 1, layer.out_features) for layer in self.layers)
        self.eigen_every = eigen_every or (1 if width < 200 else 10)
        self.steps = 0
        self.factor_updates = 0
        self.skipped = 0
        self.decomposed_at = -1
        sizes = [(layer.in_features + 1, layer.out_features) for layer in self.layers]
        new = self.layers[0].weight.new_zeros
        self.A = [new(a, a) for a, _ in sizes]
        self.G = [new(g, g) for _, g in sizes]
        # Eigenvalues and eigenvectors of every factor: all A, then all G.
        self.bases: list[tuple[Tensor, Tensor]] = []
        self.velocity = [new(g, a) for a, g in sizes] + [torch.zeros_like(p) for p in self.free]

    # ------------------------------------------------------------------------------------- one step
    def step(self, loss: Tensor, fisher: Callable[[], Tensor]) -> bool:
        """Update the factors from `fisher`, then step down `loss`. False when the step was skipped."""
        with self._tape() as tape:
            rows = fisher()
        self._update_factors(tape, rows)
        weights = [layer.weight for layer in self.layers]
        biases = [layer.bias for layer in self.layers]
        gradients = torch.autograd.grad(loss, [*weights, *biases, *self.free])
        L = len(self.layers)
        pairs = zip(gradients[:L], gradients[L : 2 * L], strict=True)
        blocks = [torch.cat([w, b.unsqueeze(1)], 1) for w, b in pairs] + list(gradients[2 * L :])
        with torch.no_grad():
            done = self._descend(blocks)
        self.steps += 1
        return done

    @contextmanager
    def _tape(self) -> Iterator[Tape]:
        """Record (layer number, input, output) of every Linear layer that runs inside the block.

        Outputs are edges of the graph, since activations may replace the values in place.
        """
        tape: Tape = []

        def record(k: int, _: nn.Module, inputs: tuple, output: Tensor) -> None:
            tape.append((k, inputs[0], get_gradient_edge(output)))

        handles = [
            layer.register_forward_hook(partial(record, k)) for k, layer in enumerate(self.layers)
        ]
        try:
            yield tape
        finally:
            for handle in handles:
                handle.remove()

    def _update_factors(self, tape: Tape, rows: Tensor) -> None:
        gradients = torch.autograd.grad(rows.sum(), [y for _, _, y in tape])
        batch_A = [torch.zeros_like(m) for m in self.A]
        batch_G = [torch.zeros_like(m) for m in self.G]
        with torch.no_grad():
            for (k, x, _), g in zip(tape, gradients, strict=True):
                total = x.sum(0)
                batch_A[k][:-1, :-1].addmm_(x.T, x)
                batch_A[k][-1, :-1] += total
                batch_A[k][:-1, -1] += total
                batch_A[k][-1, -1] += len(x)
                batch_G[k].addmm_(g.T, g)
            if not math.isfinite(sum(m.trace() for m in batch_A + batch_G)):
                return
            self.factor_updates += 1
            weight = 1 - self.stats_decay
            if self.factor_updates * weight < 1 and self.factor_updates <= max(self.cold_steps, 1):
                weight = 1 / self.factor_updates
            for factor, batch in zip(self.A + self.G, batch_A + batch_G, strict=True):
                factor.lerp_(batch.div_(rows.numel()), weight)

    def _descend(self, gradients: list[Tensor]) -> bool:
        if self.steps < self.cold_steps:
            norm = math.sqrt(sum(float((g * g).sum()) for g in gradients))
            if not math.isfinite(norm):
                self.skipped += 1
                return False
            directions, scale = gradients, min(1.0, self.cold_grad_norm / (norm + 1e-12))
        else:
            if not self.bases or self.factor_updates - self.decomposed_at >= self.eigen_every:
                self._decompose()
            directions = self._precondition(gradients)
            product = float(sum((v * g).sum() for v, g in zip(directions, gradients, strict=True)))
            if not math.isfinite(product) or product <= 0:
                self.skipped += not math.isfinite(product)
                return False
            size = self.lr**2 * product  # 0 at the end of a learning rate that decreases to zero
            scale = min(1.0, math.sqrt(self.kl_clip / size)) if size else 1.0
        rate = self.lr * (1 - self.momentum)
        for velocity, direction in zip(self.velocity, directions, strict=True):
            velocity.mul_(self.momentum).add_(direction, alpha=scale)
        for k, layer in enumerate(self.layers):
            layer.weight.sub_(self.velocity[k][:, :-1], alpha=rate)
            layer.bias.sub_(self.velocity[k][:, -1], alpha=rate)
        for parameter, velocity in zip(self.free, self.velocity[len(self.layers) :], strict=True):
            parameter.sub_(velocity, alpha=rate)
        return True

    def _decompose(self) -> None:
        self.decomposed_at = self.factor_updates
        factors = self.A + self.G
        old = self.bases or [None] * len(factors)
        self.bases = [_eigenbasis(m, previous) for m, previous in zip(factors, old, strict=True)]

    def _precondition(self, gradients: list[Tensor]) -> list[Tensor]:
        directions = []
        for k in range(len(self.layers)):
            (a, basis_A), (g, basis_G) = self.bases[k], self.bases[len(self.layers) + k]
            rotated = basis_G.T @ gradients[k] @ basis_A
            directions.append(basis_G @ (rotated / (torch.outer(g, a) + self.damping)) @ basis_A.T)
        return directions + gradients[len(self.layers) :]

    # ------------------------------------------------------------------------------------- resuming
    def state_dict(self) -> dict:
        """Everything that a resumed run needs to make exactly the same steps."""
        return {
            "counters": [self.steps, self.factor_updates, self.skipped, self.decomposed_at],
            "lr": self.lr,
            "A": list(self.A),
            "G": list(self.G),
            "bases": [list(pair) for pair in self.bases],
            "velocity": list(self.velocity),
        }

    def load_state_dict(self, state: dict) -> None:
        self.steps, self.factor_updates, self.skipped, self.decomposed_at = state["counters"]
        self.lr = state["lr"]
        for name in ("A", "G", "velocity"):
            for mine, saved in zip(getattr(self, name), state[name], strict=True):
                mine.copy_(saved)
        device = self.A[0].device
        self.bases = [(values.to(device), vectors.to(device)) for values, vectors in state["bases"]]


def _parameters_of(module: nn.Module) -> tuple[list[nn.Linear], list[nn.Parameter]]:
    """The Linear layers and the free parameters; TypeError for anything else."""
    layers, free = [], []
    for name, part in module.named_modules():
        if isinstance(part, nn.Linear):
            if part.bias is None:
                raise TypeError(f"K-FAC needs a bias in every Linear layer; {name!r} has none")
            layers.append(part)
            continue
        for key, parameter in part.named_parameters(recurse=False):
            if key not in IDENTITY_PARAMETERS:
                where = f"{type(part).__name__} {name!r}".strip()
                raise TypeError(
                    f"K-FAC supports only Linear layers; {where} has parameter {key!r}: use adam"
                )
            free.append(parameter)
    if not layers:
        raise TypeError(f"K-FAC found no Linear layer in {type(module).__name__}")
    return layers, free


def _eigenbasis(matrix: Tensor, previous: tuple[Tensor, Tensor] | None) -> tuple[Tensor, Tensor]:
    """Eigenvalues (small ones set to zero) and eigenvectors; retries with jitter, then keeps `previous`."""
    symmetric = (matrix + matrix.T) / 2
    for jitter, dtype in ((0.0, torch.float32), (1e-8, torch.float64), (1e-5, torch.float64)):
        eye = jitter * torch.eye(len(matrix), dtype=dtype, device=matrix.device) if jitter else 0
        try:
            values, vectors = torch.linalg.eigh(symmetric.to(dtype) + eye)
        except torch.linalg.LinAlgError:  # pyright: ignore[reportPrivateImportUsage]
            continue
        if bool(torch.isfinite(values).all()):
            values, vectors = values.to(matrix.dtype), vectors.to(matrix.dtype)
            # eigh returns column-major tensors, checkpoints hold row-major ones: their products round differently.
            return torch.where(values < EIGENVALUE_FLOOR, 0.0, values), vectors.contiguous()
    if previous is not None:
        return previous
    return torch.ones_like(matrix[0]), torch.eye(len(matrix), device=matrix.device)
