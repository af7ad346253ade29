"""Multi-layer perceptrons, with a memory or without."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any, Literal

import torch
from torch import Tensor, nn

from learners.lib.recurrent import GRU

Activation = Literal["relu", "tanh"]
Norm = Literal["none", "before", "after"]


def standardizer(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Means and standard deviations of the columns of rows (B, D); 0 and 1 where a column is constant.

    No column of a single row varies, and none without rows.
    """
    if len(rows) < 2:
        return rows.new_zeros(rows.shape[1]).float(), rows.new_ones(rows.shape[1]).float()
    std, mean = torch.std_mean(rows.float(), 0)
    constant = std < 1e-3
    return mean.masked_fill(constant, 0.0), std.masked_fill(constant, 1.0)


class MLP(nn.Module):
    """Linear layers with ReLU or tanh between them, and an optional fixed normalization of the input.

    Args:
        sizes: of the input, the hidden layers and the output.
        gain: scale of the initial weights of the last layer.
        log_std: number of parameters `log_std`, which Gaussian policies have.
        recurrent: a GRU of the same width follows the last hidden layer.
        layer_norm: before: Linear, LayerNorm, activation (as in PQN). after: LayerNorm of the input, then Linear,
            activation, LayerNorm, and one after the GRU (as in MAPPO and HAPPO).
    """

    def __init__(
        self,
        sizes: list[int],
        gain: float = 1.0,
        activation: Activation = "relu",
        log_std: int = 0,
        recurrent: bool = False,
        layer_norm: Norm = "none",
    ):
        super().__init__()
        self.layers: Any = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))
        self.activation = {"relu": torch.relu_, "tanh": torch.tanh_}[activation]  # in place
        hidden = math.sqrt(2) if activation == "relu" else 5 / 3
        for k, layer in enumerate(self.layers):
            nn.init.orthogonal_(layer.weight, hidden if k < len(self.layers) - 1 else gain)
            nn.init.zeros_(layer.bias)
        self.log_std = nn.Parameter(torch.zeros(log_std)) if log_std else None
        self.gru = GRU(sizes[-2]) if recurrent else None
        normed, after = sizes[1:-1] if layer_norm != "none" else [], layer_norm == "after"
        self.norms_first = layer_norm == "before"
        self.norms: Any = nn.ModuleList(nn.LayerNorm(n) for n in normed)
        self.input_norm = nn.LayerNorm(sizes[0]) if after else None
        self.gru_norm = nn.LayerNorm(sizes[-2]) if after and recurrent else None
        self.limit: float | None = None
        for name in ("mean", "std", "low", "high"):
            self.register_buffer(name, None)

    def normalize_with(self, rows: Tensor, tail: int = 0, limit: float | None = None) -> None:
        """Standardize inputs by the columns of `rows` (B, D); the last `tail` inputs pass through.

        With `limit`, standardized inputs are clipped to +-limit, which prevents extrapolation far from the data.
        """
        self.limit = limit
        mean, std = standardizer(rows)
        device = self.layers[0].weight.device
        self.mean = torch.cat([mean, mean.new_zeros(tail)]).to(device)
        self.std = torch.cat([std, std.new_ones(tail)]).to(device)

    def forward(self, x: Tensor) -> Tensor:
        """Outputs (B, outputs) of inputs (B, D); only for networks without a memory."""
        if self.gru is not None:
            raise TypeError("a recurrent network needs its memory: use `sequence`")
        return self.layers[-1](self._features(x))

    def sequence(
        self, x: Tensor, memory: Tensor, acts: Tensor, fresh: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Outputs (L, B, outputs) of L rounds (L, B, D), and the memories (L, B, H) after them.

        `memory`, `acts` and `fresh` are those of `GRU`; networks without one have H = 0.
        """
        # Rows of all rounds in one dimension: activations cannot work in place on views.
        features, memories = self._features(x.flatten(0, 1)), memory.expand(len(x), *memory.shape)
        if self.gru is not None:
            features, memories = self.gru(features.unflatten(0, x.shape[:2]), memory, acts, fresh)
            features = features.flatten(0, 1)
        if self.gru_norm is not None:
            features = self.gru_norm(features)
        return self.layers[-1](features).unflatten(0, x.shape[:2]), memories

    def standardize(self, x: Tensor) -> Tensor:
        """Inputs (..., D), standardized and clipped for the first layer."""
        if self.mean is None:
            return x
        x = (x - self.mean).div_(self.std)
        return x if self.limit is None else x.clamp_(-self.limit, self.limit)

    def _features(self, x: Tensor) -> Tensor:
        x = self.standardize(x)
        if self.input_norm is not None:
            x = self.input_norm(x)
        hidden = list(self.layers)[:-1]  # a slice would be a new module
        for k, layer in enumerate(hidden):
            x = layer(x)
            if self.norms_first:
                x = self.norms[k](x)
            x = self.activation(x)
            if self.norms and not self.norms_first:
                x = self.norms[k](x)
        return x
