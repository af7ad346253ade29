"""Distributions of actions: likelihoods of what was really played, and standard draws that determine actions."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch
from torch.distributions import AffineTransform, Independent, Normal, TanhTransform
from torch.distributions import TransformedDistribution as Transformed

from learners.lib.distributions import DISTRIBUTIONS, LARGEST_TANH

LOW, HIGH = torch.tensor([-1.0, 0.0, -3.0]), torch.tensor([1.0, 0.5, 5.0])


def net(kind: str) -> SimpleNamespace:
    return SimpleNamespace(log_std=torch.tensor([-0.5, 0.3, 1.0]), low=LOW, high=HIGH)


def reference(kind: str, out: torch.Tensor) -> torch.distributions.Distribution:
    """torch's own distribution, one per component."""
    sd: dict = {
        "gaussian": net(kind).log_std.exp(),
        "sigmoid_gaussian": torch.sigmoid(net(kind).log_std) / 2,
    }
    if kind != "tanh_gaussian":
        return Normal(out, sd[kind])
    mean, log_std = out.chunk(2, -1)
    to_bounds = AffineTransform((LOW + HIGH) / 2, (HIGH - LOW) / 2)
    return Transformed(Normal(mean, log_std.clamp(-5, 2).exp()), [TanhTransform(), to_bounds])


@pytest.mark.parametrize("kind", ["gaussian", "sigmoid_gaussian", "tanh_gaussian"])
def test_continuous_likelihoods_are_torchs(kind):
    distribution = DISTRIBUTIONS[kind]()
    rng = torch.Generator().manual_seed(0)
    out = torch.randn(500, distribution.width(3), generator=rng, dtype=torch.float64)
    actions = distribution.choose(net(kind), out, None, rng)
    each, entropies = distribution.log_prob(net(kind), out, actions, None, each=True)
    assert each.shape == entropies.shape == (500, 3)
    assert torch.allclose(each, reference(kind, out).log_prob(actions), atol=1e-5)
    single, _ = distribution.log_prob(net(kind), out.float(), actions.float(), None, each=True)
    assert torch.allclose(single.double(), each, atol=0.02)
    total, entropy = distribution.log_prob(net(kind), out, actions, None)
    assert torch.allclose(total, each.sum(1), atol=1e-3)
    assert torch.allclose(entropy, entropies.sum(1), atol=1e-4)
    if kind != "tanh_gaussian":
        assert torch.allclose(entropies[0], reference(kind, out).entropy()[0].float(), atol=1e-5)


def test_a_tanh_gaussian_integrates_to_one_within_its_bounds():
    distribution, size = DISTRIBUTIONS["tanh_gaussian"](), 400_001
    one = SimpleNamespace(low=LOW[2:].double(), high=HIGH[2:].double())
    share = torch.linspace(1e-5, 1 - 1e-5, size, dtype=torch.float64)
    actions = (one.low + (one.high - one.low) * share).unsqueeze(1)
    out = torch.tensor([[0.4, -0.3]], dtype=torch.float64).expand(size, 2)
    density = distribution.log_prob(one, out, actions, None)[0].exp()
    assert torch.trapezoid(density, actions[:, 0]) == pytest.approx(1.0, abs=1e-4)


def test_the_likelihood_at_a_bound_is_that_of_the_action_that_is_played():
    """A mean far outside: tanh is 1 in float32; the action played is a little less, and its likelihood finite."""
    distribution = DISTRIBUTIONS["tanh_gaussian"]()
    out = torch.tensor([[50.0, -50.0, 50.0, 0.0, 0.0, 0.0]], requires_grad=True)
    actions = distribution.choose(net("tanh_gaussian"), out, None, None).detach()
    assert (actions >= LOW).all() and (actions <= HIGH).all()
    assert actions[0, 0] == pytest.approx(LARGEST_TANH, abs=1e-5)
    log_prob, entropy = distribution.log_prob(net("tanh_gaussian"), out, actions, None)
    (log_prob + entropy).sum().backward()
    assert torch.isfinite(log_prob).all() and torch.isfinite(out.grad).all()


def test_entropy_of_a_narrow_tanh_gaussian_is_its_differential_entropy():
    distribution = DISTRIBUTIONS["tanh_gaussian"]()
    out = torch.tensor([[0.7, -0.2, 0.1, -3.0, -3.5, -4.0]]).expand(200_000, 6)
    actions = distribution.choose(net("t"), out, None, torch.Generator().manual_seed(0))
    log_prob, entropy = distribution.log_prob(net("t"), out, actions, None)
    assert float(entropy[0]) == pytest.approx(-float(log_prob.mean()), abs=0.02)


@pytest.mark.parametrize("kind", ["gaussian", "sigmoid_gaussian", "tanh_gaussian"])
def test_normal_draws_determine_continuous_actions(kind):
    distribution = DISTRIBUTIONS[kind]()
    out = torch.randn(7, distribution.width(3))
    draws = torch.randn(7, 3)
    actions = distribution.choose(net(kind), out, None, draws)
    if kind == "tanh_gaussian":
        mean, log_std = out.chunk(2, 1)
        expected = (
            LOW + (HIGH - LOW) * (1 + torch.tanh(mean + log_std.clamp(-5, 2).exp() * draws)) / 2
        )
    else:
        expected = out + reference(kind, out).stddev * draws
    assert torch.allclose(actions, expected, atol=1e-3)
    middle = distribution.choose(net(kind), out, None, torch.zeros(7, 3))
    assert torch.allclose(middle, distribution.choose(net(kind), out, None, None))


def test_uniform_draws_determine_discrete_actions():
    distribution = DISTRIBUTIONS["categorical"]()
    out = torch.tensor([[0.25, 0.9, 0.25, 0.5]]).log().double().expand(4, 4)
    mask = torch.tensor([[1, 0, 1, 1]]).expand(4, 4)
    draws = torch.tensor([0.0, 0.24, 0.26, 0.51], dtype=torch.float64)
    assert distribution.choose(None, out, mask, draws).tolist() == [0, 0, 2, 3]


def test_greedy_policies_explore_only_while_training_and_among_allowed_actions():
    distribution = DISTRIBUTIONS["greedy"]()
    out = torch.tensor([[1.0, 5.0, 3.0, 2.0]]).expand(20_000, 4)
    mask = torch.tensor([[1, 0, 1, 1]]).expand(20_000, 4)
    rng = torch.Generator().manual_seed(0)
    assert set(distribution.choose(None, out, mask, rng).tolist()) == {2}
    distribution.epsilon = 0.3
    shares = torch.bincount(distribution.choose(None, out, mask, rng), minlength=4) / 20_000
    assert shares.tolist() == pytest.approx([0.1, 0.0, 0.8, 0.1], abs=0.01)
    for source in (None, torch.rand(20_000)):
        assert set(distribution.choose(None, out, mask, source).tolist()) == {2}
    with pytest.raises(TypeError, match="no likelihoods"):
        distribution.log_prob(None, out, out, mask)


def test_the_standard_deviation_of_the_field_is_near_a_third():
    """sigmoid(1) / 2, where HAPPO and MAT start."""
    distribution = DISTRIBUTIONS["sigmoid_gaussian"]()
    start = SimpleNamespace(log_std=torch.tensor([distribution.initial]))
    assert float(distribution.log_std(start).exp()) == pytest.approx(0.3655, abs=1e-4)
    assert Independent(Normal(torch.zeros(1), 0.3655), 1).entropy() == pytest.approx(
        float(distribution.log_std(start)) + 0.5 * (1 + math.log(2 * math.pi)), abs=1e-3
    )
