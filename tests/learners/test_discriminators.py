"""Discriminator losses and rewards, and what φ does to them."""

from __future__ import annotations

import math
from typing import get_args

import pytest
import torch

from learners import magail
from learners.lib.discriminators import Architecture, Discriminator
from learners.lib.networks import MLP, Policy
from learners.lib.occupancy import Occupancy
from learners.magail import REWARDS, Pairs

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


def pairs(count: int, seed: int, valid: torch.Tensor | None = None) -> Pairs:
    rng = torch.Generator().manual_seed(seed)
    participation = torch.rand(count, 3, generator=rng) < 0.5
    return Pairs(
        torch.randn(count, 3, 4, generator=rng),
        torch.randint(5, (count, 3), generator=rng),
        participation,
        participation if valid is None else valid,
    )


def gradients(adversary: magail.Adversary, expert: Pairs, policy: Pairs) -> list[torch.Tensor]:
    d, args, rng = adversary.discriminator, magail.Args(), torch.Generator().manual_seed(0)
    loss = sum(
        magail.discriminator_loss(
            n, expert.inputs(d, g), policy.inputs(d, g), (1.0, 1.0), args, rng
        )[0]
        for g, n in enumerate(d.networks)
    )
    return list(torch.autograd.grad(loss, list(d.parameters())))


OCCUPANCY = Occupancy(20.0, 50, torch.ones(3))


class Observed:
    """Stands in for demonstrations where only observations matter."""

    observations = torch.randn(100, 3, 4)


@pytest.mark.parametrize("kind", get_args(Architecture))
def test_pairs_with_phi_do_not_change_the_gradient(kind):
    torch.manual_seed(0)
    args = magail.Args(discriminator=kind, hidden=(16,))
    adversary = magail.Adversary(
        Policy([0, 0, 0], [4, 4, 4], [5, 5, 5]), Observed(), OCCUPANCY, args, torch.device("cpu")
    )
    expert, policy = pairs(50, 1), pairs(50, 2)
    before = gradients(adversary, expert, policy)
    for p in (expert, policy):
        p.actions[~p.participation] = 3
        if kind == "decentralized":  # the others may look at an absent agent's observation
            p.observations[~p.participation] = 1e3
    after = gradients(adversary, expert, policy)
    for a, b in zip(before, after, strict=True):
        assert torch.equal(a, b)


def test_decentralized_rewards_use_the_pair_of_the_same_agent_and_round():
    policy = Policy([0, 0, 0], [4, 4, 4], [5, 5, 5])
    discriminator = Discriminator("decentralized", policy, (16,))
    data = pairs(20, 4)
    logits = discriminator(data.observations, data.actions, data.participation)
    for b, i in ((0, 0), (7, 2), (19, 1)):
        one_hot = torch.nn.functional.one_hot(data.actions[b, i], 5).float()
        alone = discriminator.networks[0](torch.cat([data.observations[b, i], one_hot])[None])
        assert torch.allclose(logits[b, i], alone.squeeze(), atol=1e-6)


def test_centralized_logits_are_one_per_agent_and_single_is_one_for_all():
    policy, data = Policy([0, 0, 0], [4, 4, 4], [5, 5, 5]), pairs(20, 4)
    for kind, equal in (("centralized", False), ("single", True)):
        logits = Discriminator(kind, policy, (16,))(
            data.observations, data.actions, data.participation
        )
        assert logits.shape == (20, 3)
        assert bool((logits[:, 0] == logits[:, 1]).all()) == equal


def test_equal_sources_leave_the_discriminator_at_one_half():
    torch.manual_seed(0)
    args = magail.Args(hidden=(32,), disc_kl_clip=0.01)
    adversary = magail.Adversary(
        Policy([0, 0, 0], [4, 4, 4], [5, 5, 5]), Observed(), OCCUPANCY, args, torch.device("cpu")
    )
    rng = torch.Generator().manual_seed(0)
    for k in range(60):
        magail.update_discriminators(adversary, pairs(300, 2 * k), pairs(300, 2 * k + 1), args, rng)
    fresh = pairs(2000, 999)
    d = torch.sigmoid(
        adversary.discriminator(fresh.observations, fresh.actions, fresh.participation)
    )
    assert float((d.detach() - 0.5).abs().mean()) < 0.1


def test_gradient_penalty_of_a_linear_discriminator():
    network = MLP([3, 1])
    with torch.no_grad():
        network.layers[0].weight.copy_(torch.tensor([[3.0, 4.0, 0.0]]))
    rng = torch.Generator().manual_seed(0)
    penalty = magail.gradient_penalty(network, torch.randn(8, 3), torch.randn(8, 3), rng)
    assert float(penalty.detach()) == pytest.approx((5 - 1) ** 2, rel=1e-4)
