"""Discriminator losses and rewards, and how φ affects them."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any, get_args

import pytest
import torch

from learners import magail
from learners.lib import adversarial
from learners.lib.adversarial import REWARDS
from learners.lib.discriminators import Architecture, Discriminator
from learners.lib.mlp import MLP
from learners.lib.networks import Policy
from learners.lib.occupancy import Pairs

CLOSED_FORMS = {
    "tanh": lambda d: 2 * d - 1,
    "softplus": lambda d: -math.log(1 - d),
    "neglog": lambda d: math.log(d),
    "logit": lambda d: math.log(d / (1 - d)),
    "sigmoid": lambda d: d,
}


@pytest.mark.parametrize("form", REWARDS)
@pytest.mark.parametrize("logit", [-3.0, 0.0, 0.4])
def test_reward_forms(form, logit):
    d = 1 / (1 + math.exp(-logit))
    assert float(REWARDS[form](torch.tensor(logit))) == pytest.approx(
        CLOSED_FORMS[form](d), abs=1e-5
    )


POLICY = [0, 0, 0], [4, 4, 4], [5, 5, 5]  # one group of three agents
CPU = torch.device("cpu")


def pairs(count: int, seed: int, absorbing: float = 0.0, shift: float = 0.0) -> Pairs:
    """Random rounds of three agents, who act in half of them; equal weights that sum to 1 per agent."""
    rng = torch.Generator().manual_seed(seed)
    participation = torch.rand(count, 3, generator=rng) < 0.5
    ended = torch.rand(count, 3, generator=rng) < absorbing
    counts = (participation | ended).float()
    return Pairs(
        torch.randn(count, 3, 4, generator=rng) + shift,
        torch.randint(5, (count, 3), generator=rng),
        participation & ~ended,
        ended,
        counts / counts.sum(0),
    )


def logits(discriminator: Discriminator, data: Pairs) -> torch.Tensor:
    return discriminator(data.observations, data.actions, data.participation, data.absorbing)


class Demonstrated:
    """Minimal demonstrations: observations only."""

    observations = torch.randn(100, 3, 4, generator=torch.Generator().manual_seed(5))


# Minimal occupancy measures: only the mass of an expert episode.
OCCUPANCY: Any = SimpleNamespace(expert_mass=torch.ones(3))


def adversary(**settings) -> tuple[magail.Adversary, magail.Args]:
    torch.manual_seed(0)
    args = magail.Args(**{"hidden": (16,), "input_noise": 0.0, **settings})
    return magail.Adversary(Policy(*POLICY), Demonstrated(), args, CPU), args


def loss_of(adversary, args, expert: Pairs, policy: Pairs) -> torch.Tensor:
    d, rng = adversary.discriminator, torch.Generator().manual_seed(0)
    losses = [
        magail.discriminator_loss(n, expert.inputs(d, g), policy.inputs(d, g), args, rng)[0]
        for g, n in enumerate(d.networks)
    ]
    return torch.stack(losses).sum()


@pytest.mark.parametrize("kind", get_args(Architecture))
def test_pairs_with_phi_do_not_change_the_gradient(kind):
    judges, args = adversary(discriminator=kind)
    parameters = list(judges.discriminator.parameters())
    expert, policy = pairs(50, 1), pairs(50, 2)
    before = torch.autograd.grad(loss_of(judges, args, expert, policy), parameters)
    for p in (expert, policy):
        p.actions[~p.participation] = 3
        if kind == "decentralized":  # the other kinds may use an absent agent's observation
            p.observations[~p.participation] = 1e3
    after = torch.autograd.grad(loss_of(judges, args, expert, policy), parameters)
    for a, b in zip(before, after, strict=True):
        assert torch.equal(a, b)
    policy.actions[policy.participation] = 3
    changed = torch.autograd.grad(loss_of(judges, args, expert, policy), parameters)
    assert not all(torch.equal(a, b) for a, b in zip(before, changed, strict=True))


@pytest.mark.parametrize("kind", get_args(Architecture))
def test_absorbing_states_have_a_flag_and_no_action(kind):
    judges, _args = adversary(discriminator=kind)
    data = pairs(40, 3, absorbing=0.5)
    before = logits(judges.discriminator, data)
    data.actions[data.absorbing] = 4
    assert torch.equal(logits(judges.discriminator, data), before)
    data.absorbing[:] = False
    assert not torch.equal(logits(judges.discriminator, data), before)


def test_absorbing_states_are_classified_by_the_last_observation():
    """Two ways of ending, one of them the expert's: only that one is rewarded."""
    judges, args = adversary(discriminator="decentralized", disc_kl_clip=0.01, hidden=(32,))
    rng = torch.Generator().manual_seed(0)
    for k in range(60):
        expert, policy = (pairs(200, 2 * k + i, absorbing=1.0, shift=(1, -1)[i]) for i in (0, 1))
        magail.update_discriminators(judges, OCCUPANCY, expert, policy, args, rng)
    fresh = pairs(500, 999, absorbing=1.0, shift=1), pairs(500, 998, absorbing=1.0, shift=-1)
    won, lost = (judges.rewards(x, "tanh") for x in fresh)
    assert float(won.mean()) > 0.5 and float(lost.mean()) < -0.5


def test_decentralized_rewards_use_the_pair_of_the_same_agent_and_round():
    policy = Policy([0, 0, 0], [4, 4, 4], [5, 5, 5])
    discriminator = Discriminator("decentralized", policy, (16,))
    data = pairs(20, 4)
    found = logits(discriminator, data)
    for b, i in ((0, 0), (7, 2), (19, 1)):
        one_hot = torch.nn.functional.one_hot(data.actions[b, i], 5).float()
        alone = discriminator.networks[0](
            torch.cat([data.observations[b, i], one_hot, torch.zeros(1)])[None]
        )
        assert torch.allclose(found[b, i], alone.squeeze(), atol=1e-6)


def test_centralized_logits_are_one_per_agent_and_single_is_one_for_all():
    policy, data = Policy(*POLICY), pairs(20, 4)
    for kind, equal in (("centralized", False), ("single", True)):
        found = logits(Discriminator(kind, policy, (16,)), data)
        assert found.shape == (20, 3)
        assert bool((found[:, 0] == found[:, 1]).all()) == equal


@pytest.mark.parametrize("kind", get_args(Architecture))
def test_rewards_follow_the_logits_and_are_zero_for_pairs_that_do_not_count(kind):
    judges, _ = adversary(discriminator=kind)
    data = pairs(30, 6, absorbing=0.2)
    expected = REWARDS["tanh"](logits(judges.discriminator, data).detach()) * (data.weights > 0)
    assert torch.allclose(judges.rewards(data, "tanh"), expected, atol=1e-6)
    assert bool((expected == 0).any())


def test_equal_sources_drive_a_biased_discriminator_to_one_half():
    judges, args = adversary(hidden=(32,), disc_kl_clip=0.01)
    rng = torch.Generator().manual_seed(0)
    with torch.no_grad():
        judges.discriminator.networks[0].layers[-1].bias += 3.0
    fresh = pairs(2000, 999)

    def error() -> float:
        d = torch.sigmoid(logits(judges.discriminator, fresh).detach())
        return float((d - 0.5).abs().mean())

    assert error() > 0.4
    for k in range(120):
        sources = pairs(300, 2 * k), pairs(300, 2 * k + 1)
        magail.update_discriminators(judges, OCCUPANCY, *sources, args, rng)
    assert error() < 0.1


def test_the_optimal_logit_is_the_log_ratio_of_the_weights():
    """The only input is a flag, and the sources have different weights."""
    judges, args = adversary(hidden=(16,), disc_kl_clip=0.01)
    rng = torch.Generator().manual_seed(0)
    expert, policy = pairs(100, 1, absorbing=1.0), pairs(100, 2, absorbing=1.0)
    expert.observations.zero_(), policy.observations.zero_()
    policy.weights.mul_(3)
    for _ in range(200):
        magail.update_discriminators(judges, OCCUPANCY, expert, policy, args, rng)
    found = logits(judges.discriminator, expert)
    assert torch.allclose(found.detach(), torch.full((100, 3), -math.log(3)), atol=0.1)


def linear(weights: list[float]) -> MLP:
    network = MLP([len(weights), 1])
    with torch.no_grad():
        network.layers[0].weight.copy_(torch.tensor([weights]))
        network.layers[0].bias.fill_(0.0)
    return network


def terms(network: MLP, seed: int = 0, **settings) -> float:
    """The discriminator's loss for one expert row (1, 0) and one policy row (0, 1) of weight 1."""
    args = magail.Args(**{"input_noise": 0.0, **settings})
    one = torch.ones(1, 1)
    expert, policy = (torch.tensor([[1.0, 0.0]]), one), (torch.tensor([[0.0, 1.0]]), one)
    rng = torch.Generator().manual_seed(seed)
    return float(magail.discriminator_loss(network, expert, policy, args, rng)[0].detach())


def test_terms_of_the_discriminators_loss():
    """Logits 0.7 for the expert and -0.4 for the policy; every term in closed form."""

    def log1pexp(x):
        return math.log1p(math.exp(x))

    def entropy(x):
        p = 1 / (1 + math.exp(-x))
        return -p * math.log(p) - (1 - p) * math.log(1 - p)

    network = linear([0.7, -0.4])
    plain = log1pexp(-0.7) + log1pexp(-0.4)
    smooth = 0.8 * plain + 0.2 * (log1pexp(0.7) + log1pexp(0.4))
    squares = 0.7**2 + 0.4**2
    assert terms(network) == pytest.approx(plain, rel=1e-5)
    assert terms(network, label_smoothing=0.2) == pytest.approx(smooth, rel=1e-5)
    mean = (entropy(0.7) + entropy(-0.4)) / 2
    assert terms(network, logit_entropy=0.5) == pytest.approx(plain - 0.5 * mean, rel=1e-5)
    assert terms(network, weight_decay=0.5) == pytest.approx(plain + 0.25 * squares, rel=1e-5)
    penalty = (math.sqrt(squares) - 1) ** 2
    assert terms(network, gradient_penalty=2.0) == pytest.approx(plain + 2 * penalty, rel=1e-4)


def test_noise_on_the_inputs_has_the_given_standard_deviation():
    network = linear([1.0, 0.0])  # sees the first input only: expert 1, policy 0
    network.mean, network.std = torch.zeros(2), torch.tensor([2.0, 1.0])
    with torch.no_grad():
        network.layers[0].weight.mul_(50.0)  # the losses are linear in the noise, or zero
    losses = torch.tensor([terms(network, seed, input_noise=0.3) for seed in range(1500)])
    # expert: max(0, -50 (0.5 + 0.3 n)); policy: max(0, 50 * 0.3 n)
    n = torch.randn(200_000, generator=torch.Generator().manual_seed(1))
    expected = (-50 * (0.5 + 0.3 * n)).clamp(min=0).mean() + (15 * n).clamp(min=0).mean()
    assert float(losses.mean()) == pytest.approx(float(expected), rel=0.1)


def test_gradient_penalty_is_taken_on_standardized_inputs():
    network, rng = linear([3.0, 4.0, 0.0]), torch.Generator().manual_seed(0)
    for std in (torch.ones(3), torch.tensor([10.0, 0.1, 5.0])):
        network.mean, network.std = torch.zeros(3), std
        rows = torch.randn(8, 3, generator=rng) * std
        penalty = adversarial.gradient_penalty(network, rows, rows, rng)
        assert float(penalty.detach()) == pytest.approx((5 - 1) ** 2, rel=1e-4)
