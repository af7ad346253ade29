"""Distributions of actions, given the outputs of a network.

    categorical        logits of the discrete actions
    greedy             values of the discrete actions: the largest one that is allowed; with `epsilon`, at random
    gaussian           means of the continuous actions; standard deviations exp(log_std), parameters of the network
    sigmoid_gaussian   the same with standard deviations sigmoid(log_std) / 2, which stay below 0.5 (HAPPO and MAT)
    tanh_gaussian      means and log standard deviations of u; the action is tanh(u), scaled to the action's bounds
    tanh               u itself: the action is a function of the observation, as in TD3

All have the same methods. `net` is the network that computed the outputs `out` (rows, outputs): it holds what is not
an output, `log_std`, or the bounds `low` and `high` of the actions, (n,) each. `mask` (rows, >= n), or None: the
allowed discrete actions.

- `choose(net, out, mask, rng)`: actions, int64 (rows,) or float (rows, n). They are sampled with a torch.Generator;
  are the ones that standard draws determine, uniform in [0, 1) of shape (rows,) or normal (rows, n); or, if `rng` is
  None, the most likely ones.
- `log_prob(net, out, actions, mask)`: log-likelihoods of actions that were chosen, and entropies, (rows,) each; with
  `each`, those of every component of continuous actions, (rows, n), or (rows, 1) of discrete ones.
- `sampled_nll(net, out, mask, rng)`, if K-FAC supports it: -log pi of one newly sampled action per row, (rows,).
- `width(n)`: number of outputs for n actions, or n components.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import Tensor, nn

from demos.actions import inverse_cdf

Name = Literal["categorical", "greedy", "gaussian", "sigmoid_gaussian", "tanh_gaussian", "tanh"]
Source = torch.Generator | Tensor | None
# Logit of an action that the mask forbids; finite, so that gradients stay finite.
FORBIDDEN = -1e10
LOG_STD_RANGE = (-5.0, 2.0)  # of tanh_gaussian
LARGEST_TANH = 1 - 1e-4  # the inverse of larger ones is not precise in float32


def masked(logits: Tensor, mask: Tensor | None) -> Tensor:
    """Logits (*L, n), with a large negative number for actions that `mask` (*L, A), A >= n, forbids."""
    if mask is None:
        return logits
    return torch.where(mask[..., : logits.shape[-1]].bool(), logits, FORBIDDEN)


def log_softmax(logits: Tensor) -> Tensor:
    """Logarithms of the probabilities, (rows, n).

    On the CPU, torch is several times as fast along the first dimension as along a short last one.
    """
    return torch.log_softmax(logits.t(), 0).t()


class Categorical:
    """Discrete actions; the outputs are logits."""

    discrete = True
    has_log_std = False

    def width(self, n: int) -> int:
        return n

    def choose(self, net: Any, out: Tensor, mask: Tensor | None, rng: Source) -> Tensor:
        out = masked(out, mask)
        if isinstance(rng, Tensor):
            weights = torch.softmax(out, -1)
            return torch.from_numpy(inverse_cdf(weights.numpy(), rng.numpy())).long()
        if rng is not None:
            # Gumbel-max: -log of an exponential variable is Gumbel distributed.
            out = out - torch.empty_like(out).exponential_(generator=rng).log_()
        return out.argmax(-1)

    def log_prob(
        self, net: Any, out: Tensor, actions: Tensor, mask: Tensor | None, each: bool = False
    ) -> tuple[Tensor, Tensor]:
        logs = log_softmax(masked(out, mask))
        found = logs.gather(1, actions.unsqueeze(1)).squeeze(1), -(logs.exp() * logs).sum(1)
        return (found[0].unsqueeze(1), found[1].unsqueeze(1)) if each else found

    def sampled_nll(
        self, net: Any, out: Tensor, mask: Tensor | None, rng: torch.Generator
    ) -> Tensor:
        logs = log_softmax(masked(out, mask))
        with torch.no_grad():
            noise = torch.empty_like(logs).exponential_(generator=rng).log_()
            actions = (logs - noise).argmax(1, keepdim=True)
        return -logs.gather(1, actions).squeeze(1)


class Greedy:
    """Discrete actions of value-based learners: the outputs are values of actions.

    `epsilon`: probability of an action drawn uniformly from the allowed ones instead, while training. It is set by
    the learner, and not saved: policies that are loaded from files have 0.
    """

    discrete = True
    has_log_std = False

    def __init__(self) -> None:
        self.epsilon = 0.0

    def width(self, n: int) -> int:
        return n

    def choose(self, net: Any, out: Tensor, mask: Tensor | None, rng: Source) -> Tensor:
        best = masked(out, mask).argmax(-1)
        if not isinstance(rng, torch.Generator) or self.epsilon == 0:
            return best
        noise = torch.empty_like(out).exponential_(generator=rng)
        explores = torch.empty_like(out[:, 0]).uniform_(generator=rng) < self.epsilon
        return torch.where(explores, masked(noise, mask).argmax(-1), best)

    def log_prob(
        self, net: Any, out: Tensor, actions: Tensor, mask: Tensor | None, each: bool = False
    ) -> tuple[Tensor, Tensor]:
        raise TypeError("greedy policies have no likelihoods")


class Gaussian:
    """Continuous actions; the outputs are means, `net.log_std` (n,) are parameters.

    Games play these actions clipped to their bounds; likelihoods are those of the actions before clipping.
    """

    discrete = False
    has_log_std = True

    def __init__(self, bounded: bool = False) -> None:
        """`bounded`: standard deviations are sigmoid(log_std) / 2, not exp(log_std)."""
        self.bounded = bounded
        self.initial = 1.0 if bounded else 0.0

    def width(self, n: int) -> int:
        return n

    def log_std(self, net: Any) -> Tensor:
        """Logarithms of the standard deviations, (n,)."""
        if not self.bounded:
            return net.log_std
        return nn.functional.logsigmoid(net.log_std) - math.log(2)

    def choose(self, net: Any, out: Tensor, mask: Tensor | None, rng: Source) -> Tensor:
        return out if rng is None else out + normal(out, rng) * self.log_std(net).exp()

    def log_prob(
        self, net: Any, out: Tensor, actions: Tensor, mask: Tensor | None, each: bool = False
    ) -> tuple[Tensor, Tensor]:
        log_std = self.log_std(net)
        if each:
            entropy = gaussian_entropy(log_std).expand_as(out)
            return gaussian_log_prob(out, log_std, actions), entropy
        count = out.shape[1]
        z = (actions - out) * (-log_std).exp()
        constant = log_std.sum() + 0.5 * count * math.log(2 * math.pi)
        entropy = (log_std.sum() + 0.5 * count * (1 + math.log(2 * math.pi))).expand(len(out))
        return -0.5 * (z * z).sum(1) - constant, entropy

    def sampled_nll(
        self, net: Any, out: Tensor, mask: Tensor | None, rng: torch.Generator
    ) -> Tensor:
        log_std = self.log_std(net)
        noise = torch.empty_like(out).normal_(generator=rng)
        z = (out.detach() + noise * log_std.detach().exp() - out) * (-log_std).exp()
        return 0.5 * (z * z).sum(1) + log_std.sum()


class TanhGaussian:
    """Continuous actions within their bounds: low + (high - low) * (1 + tanh(u)) / 2, u Gaussian.

    The outputs are the means of u and the logarithms of its standard deviations. Actions that are too close to the
    bounds for float32 are moved inwards when they are chosen, so that the likelihood is that of what is played.
    """

    discrete = False
    has_log_std = False

    def width(self, n: int) -> int:
        return 2 * n

    def choose(self, net: Any, out: Tensor, mask: Tensor | None, rng: Source) -> Tensor:
        u, log_std = self._parts(out)
        if rng is not None:
            u = u + normal(u, rng) * log_std.exp()
        share = 0.5 * (1 + torch.tanh(u).clamp(-LARGEST_TANH, LARGEST_TANH))
        return net.low + (net.high - net.low) * share

    def log_prob(
        self, net: Any, out: Tensor, actions: Tensor, mask: Tensor | None, each: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Entropies are approximate: that of u, corrected by the slope of tanh at its mean."""
        mean, log_std = self._parts(out)
        size = net.high - net.low
        share = (actions - net.low) / size
        u = torch.atanh((2 * share - 1).clamp(-LARGEST_TANH, LARGEST_TANH))
        log_prob = gaussian_log_prob(mean, log_std, u) - log_slope(u, size)
        entropy = gaussian_entropy(log_std) + log_slope(mean, size)
        return (log_prob, entropy) if each else (log_prob.sum(1), entropy.sum(1))

    def _parts(self, out: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_std = out.chunk(2, -1)
        return mean, log_std.clamp(*LOG_STD_RANGE)


class Tanh:
    """Continuous actions low + (high - low) * (1 + tanh(u)) / 2, without any noise; the outputs are u."""

    discrete = False
    has_log_std = False

    def width(self, n: int) -> int:
        return n

    def choose(self, net: Any, out: Tensor, mask: Tensor | None, rng: Source) -> Tensor:
        return net.low + (net.high - net.low) * 0.5 * (1 + torch.tanh(out))

    def log_prob(
        self, net: Any, out: Tensor, actions: Tensor, mask: Tensor | None, each: bool = False
    ) -> tuple[Tensor, Tensor]:
        raise TypeError("deterministic policies have no likelihoods")


def normal(like: Tensor, rng: torch.Generator | Tensor) -> Tensor:
    """Standard normal numbers of the shape of `like`: new ones, or the given draws."""
    if isinstance(rng, Tensor):
        return rng
    return torch.empty_like(like).normal_(generator=rng)


def gaussian_log_prob(mean: Tensor, log_std: Tensor, x: Tensor) -> Tensor:
    """Log-density of independent Gaussian components."""
    z = (x - mean) * (-log_std).exp()
    return -0.5 * (z * z) - log_std - 0.5 * math.log(2 * math.pi)


def gaussian_entropy(log_std: Tensor) -> Tensor:
    """Entropy of independent Gaussian components."""
    return log_std + 0.5 * (1 + math.log(2 * math.pi))


def log_slope(u: Tensor, size: Tensor) -> Tensor:
    """log(d action / d u) of action = low + size * (1 + tanh(u)) / 2, without overflow."""
    return size.log() + math.log(2) - 2 * u - 2 * nn.functional.softplus(-2 * u)


DISTRIBUTIONS: dict[str, Any] = {
    "categorical": Categorical,
    "greedy": Greedy,
    "gaussian": Gaussian,
    "sigmoid_gaussian": lambda: Gaussian(bounded=True),
    "tanh_gaussian": TanhGaussian,
    "tanh": Tanh,
}
