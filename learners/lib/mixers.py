"""Mixers: the value of a team's joint action from the values of its agents' own actions.

A mixer maps values q (*L, N), flags which of them count, bool (*L, N), and inputs (*L, S) that describe the whole
game to values (*L, M): one for the team (M = 1), or one per agent (M = N). Values that do not count have no influence:
those of dead and of absent agents.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Kind = Literal["qmix", "vdn", "none"]


class QMixer(nn.Module):
    """QMIX's monotonic mixer: two layers whose weights, not negative, are functions of the game's state."""

    team = True

    def __init__(self, agents: int, inputs: int, embed: int = 32, hidden: int = 64):
        super().__init__()
        self.agents, self.embed = agents, embed
        self.first = _two_layers(inputs, hidden, agents * embed)
        self.first_bias = nn.Linear(inputs, embed)
        self.second = _two_layers(inputs, hidden, embed)
        self.second_bias = _two_layers(inputs, embed, 1)

    def forward(self, q: Tensor, counts: Tensor, inputs: Tensor) -> Tensor:
        """Values of the team, (*L, 1)."""
        q = torch.where(counts, q, 0.0).unsqueeze(-2)
        weights = self.first(inputs).abs().unflatten(-1, (self.agents, self.embed))
        hidden = F.elu((q @ weights).squeeze(-2) + self.first_bias(inputs))
        total = (hidden * self.second(inputs).abs()).sum(-1, keepdim=True)
        return total + self.second_bias(inputs)


class Sum(nn.Module):
    """VDN's mixer."""

    team = True

    def forward(self, q: Tensor, counts: Tensor, inputs: Tensor) -> Tensor:
        """Values of the team, (*L, 1)."""
        return torch.where(counts, q, 0.0).sum(-1, keepdim=True)


class Separate(nn.Module):
    """No mixer: every agent learns its own value."""

    team = False

    def forward(self, q: Tensor, counts: Tensor, inputs: Tensor) -> Tensor:
        """Values of the agents, (*L, N), 0 where they do not count."""
        return torch.where(counts, q, 0.0)


class NormalizedWeights(nn.Module):
    """Weights of agents' values, functions of the state, that add up to the number of agents that count.

    No weight is more than e times another: otherwise, in inverse Q-learning, one agent soon has all of it in a
    state, and the others learn nothing there.
    """

    def __init__(self, agents: int, inputs: int, hidden: int = 64):
        super().__init__()
        self.logits = _two_layers(inputs, hidden, agents)

    def forward(self, counts: Tensor, inputs: Tensor) -> Tensor:
        """Weights (*L, N), 0 where an agent does not count."""
        logits = 0.5 * torch.tanh(self.logits(inputs)).masked_fill(~counts, -1e10)
        weights = torch.softmax(logits, -1) * counts.sum(-1, keepdim=True)
        return torch.where(counts, weights, 0.0)


class SigmoidWeights(nn.Module):
    """Weights of agents' values, functions of the state between 0 and 1."""

    def __init__(self, agents: int, inputs: int, hidden: int = 64):
        super().__init__()
        self.logits = _two_layers(inputs, hidden, agents)

    def forward(self, inputs: Tensor) -> Tensor:
        """Weights (*L, N)."""
        return torch.sigmoid(self.logits(inputs))


def make_mixer(kind: Kind, agents: int, inputs: int, embed: int = 32, hidden: int = 64):
    """The mixer of this name; `inputs`: S."""
    if kind == "qmix":
        return QMixer(agents, inputs, embed, hidden)
    return Sum() if kind == "vdn" else Separate()


def _two_layers(inputs: int, hidden: int, outputs: int) -> nn.Module:
    return nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, outputs))
