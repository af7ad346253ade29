"""Occupancy measures of episodes that end early."""

from types import SimpleNamespace

import pytest
import torch

from learners.lib.occupancy import Occupancy


def ended(lengths, terminated):
    """A fragment of one round in which each of E copies ended its episode."""
    terminated = torch.tensor([terminated])
    return SimpleNamespace(
        terminated=terminated,
        finished=lambda: torch.ones_like(terminated),
        episode_length=torch.tensor([lengths], dtype=torch.int32),
    )


def test_rounds_are_weighted_by_the_length_of_their_episodes():
    occupancy = Occupancy(20.0, 50, torch.ones(2))
    occupancy.observe(ended([50, 50], [False, False]))
    expert, policy = occupancy.weights()
    assert expert + policy == pytest.approx(2)
    assert policy / expert == pytest.approx(50 / 20)


def test_equal_lengths_leave_the_usual_objective():
    occupancy = Occupancy(30.0, 50, torch.ones(2))
    occupancy.observe(ended([30], [True]))
    assert occupancy.weights() == (pytest.approx(1), pytest.approx(1))
    assert float(occupancy.absorbing_logit()) == pytest.approx(0)


def test_whoever_ends_later_than_the_expert_is_rewarded_for_ending():
    occupancy = Occupancy(20.0, 50, torch.ones(2))
    occupancy.observe(ended([40], [True]))
    assert float(occupancy.absorbing_logit()) == pytest.approx(torch.log(torch.tensor(3.0)).item())
    never = Occupancy(50.0, 50, torch.ones(2))  # random play as demonstrations, say
    never.observe(ended([40], [True]))
    assert float(never.absorbing_logit()) < -3


def test_ending_is_worth_the_rewards_of_the_rounds_that_remain():
    occupancy = Occupancy(20.0, 50, torch.tensor([1.0, 0.5]))
    rollout = ended([47, 50], [True, False])
    value = occupancy.value_of_ending(rollout, torch.tensor(0.5), 0.9)
    discounted = 0.5 * (0.9 + 0.9**2 + 0.9**3)
    assert torch.allclose(value[0, 0], torch.tensor([discounted, discounted / 2]))
    assert bool((value[0, 1] == 0).all())


def test_the_running_length_survives_a_checkpoint():
    occupancy, other = (Occupancy(20.0, 50, torch.ones(2)) for _ in range(2))
    occupancy.observe(ended([40], [True]))
    other.load_state_dict(occupancy.state_dict())
    assert other.weights() == occupancy.weights()
