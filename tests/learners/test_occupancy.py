"""Occupancy measures: weights of pairs, absorbing states, and the value of an early end."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import pytest
import torch

from learners.lib.expert_data import Endings, ExpertData
from learners.lib.occupancy import Occupancy

HORIZON = 50


def demonstrations(lengths, acts, died=None, early=True) -> ExpertData:
    """Episodes of these lengths for N agents, who act in the first acts[i] rounds of each and die at died[i]."""
    N, observations, participation, alive, episode = len(acts), [], [], [], []
    for k, length in enumerate(lengths):
        rounds = torch.arange(length).unsqueeze(1)
        observations.append(rounds.unsqueeze(2).expand(length, N, 1).float())
        living = rounds < torch.tensor(died or [length] * N)
        participation.append((rounds < torch.tensor(acts)) & living)
        alive.append(living)
        episode.append(torch.full((length,), k))
    remaining = torch.tensor([float(HORIZON - x) * early for x in lengths])
    endings = Endings(torch.full((len(lengths), N, 1), 99.0), remaining)
    joined = [torch.cat(x) for x in (observations, participation, alive, episode)]
    actions = torch.zeros(sum(lengths), N, dtype=torch.int64)
    return ExpertData(joined[0], actions, joined[1], joined[2], None, joined[3], endings)


def fragment(lengths, participation, alive=None, terminated=True):
    """One fragment in which E copies play one episode each, of these lengths: rounds after it are lost."""
    T, E = max(lengths), len(lengths)
    N = participation.shape[2]
    rounds = torch.arange(T).unsqueeze(1)
    last = rounds == torch.tensor(lengths) - 1
    lost = rounds >= torch.tensor(lengths)
    row = torch.zeros(1, E, N, dtype=torch.bool)
    alive = torch.ones(T, E, N, dtype=torch.bool) if alive is None else alive
    return SimpleNamespace(
        steps=int((~lost).sum()),
        observations=torch.zeros(T + 1, E, N, 1),
        final_observations=torch.full((T, E, N, 1), 99.0),
        played=lambda: torch.zeros(T, E, N, dtype=torch.int64),
        participation=torch.cat([participation, row]),
        alive=torch.cat([alive, ~row]),
        terminated=last & terminated,
        lost=lost,
        finished=lambda: last,
        episode_length=(rounds + 1).expand(T, E).int(),
    )


def masses(pairs, absorbing: bool) -> torch.Tensor:
    """Sum of the weights of living agents' pairs, or of absorbing states, (N,)."""
    return (pairs.weights * (pairs.absorbing == absorbing)).sum(0)


def test_the_weight_of_a_pair_is_its_count_per_episode():
    """An expert of 20 rounds that acts in all, a policy of 40 rounds that acts in half: 20 pairs each."""
    data = demonstrations([20, 20], acts=[20, 20])
    occupancy = Occupancy(data, data.participation, HORIZON, absorbing=True)
    rng = torch.Generator().manual_seed(0)
    _, _, expert = occupancy.of_expert(500, rng)
    acts = (torch.arange(40) % 2 == 0).view(40, 1, 1).expand(40, 3, 2)
    policy, _ = occupancy.of_policy(fragment([40] * 3, acts), acts)
    assert torch.allclose(masses(expert, False), torch.tensor([20.0, 20.0]))
    assert torch.allclose(masses(policy, False), torch.tensor([20.0, 20.0]))
    assert torch.allclose(masses(expert, True), torch.tensor([30.0, 30.0]))
    assert torch.allclose(masses(policy, True), torch.tensor([10.0, 10.0]))
    assert torch.allclose(occupancy.expert_mass, torch.tensor([50.0, 50.0]))


def test_a_share_of_the_rounds_weighs_as_much_as_whole_episodes():
    whole = demonstrations([20, 20], acts=[20, 20])
    kept = torch.arange(len(whole)) % 20 >= 16  # the last fifth, with all endings
    endings = dataclasses.replace(whole.endings, length=20.0)
    share = dataclasses.replace(whole.take(kept), endings=endings)
    rng = torch.Generator().manual_seed(0)
    for data in (whole, share):
        occupancy = Occupancy(data, data.participation, HORIZON, absorbing=True)
        assert occupancy.expert_length == 20.0
        assert torch.allclose(occupancy.expert_mass, torch.tensor([50.0, 50.0]))
        _, _, expert = occupancy.of_expert(500, rng)
        assert torch.allclose(masses(expert, False), torch.tensor([20.0, 20.0]))
        assert torch.allclose(masses(expert, True), torch.tensor([30.0, 30.0]))


def test_absorbing_rounds_count_at_the_experts_rate_for_both_sources():
    data = demonstrations([20, 30], acts=[10, 20])  # rates 20 / 50 and 40 / 50
    occupancy = Occupancy(data, data.participation, HORIZON, absorbing=True)
    assert torch.allclose(occupancy.rates, torch.tensor([0.4, 0.8]))
    acts = torch.ones(45, 4, 2, dtype=torch.bool)
    policy, _ = occupancy.of_policy(fragment([45] * 4, acts), acts)
    assert torch.allclose(masses(policy, True), 5 * torch.tensor([0.4, 0.8]))
    assert torch.allclose(masses(policy, False), torch.tensor([45.0, 45.0]))


def test_dead_agents_are_in_an_absorbing_state():
    data = demonstrations([20, 20], acts=[20, 20], died=[20, 5])
    occupancy = Occupancy(data, data.participation, HORIZON, absorbing=True)
    _, _, expert = occupancy.of_expert(2000, torch.Generator().manual_seed(0))
    assert float(masses(expert, False)[1]) == pytest.approx(5, rel=0.1)
    assert float(masses(expert, True)[1]) == pytest.approx(15 + 30, rel=0.02)
    alive = torch.ones(20, 1, 2, dtype=torch.bool)
    alive[8:, 0, 0] = False
    policy, counts = occupancy.of_policy(fragment([20], alive.clone(), alive), alive)
    assert torch.allclose(masses(policy, False), torch.tensor([8.0, 20.0]))
    assert torch.allclose(masses(policy, True), torch.tensor([12.0 + 30, 30.0]))
    assert bool((counts == 1).all())  # rounds of dead agents are rewarded, too


def test_without_absorbing_states_only_valid_pairs_count():
    data = demonstrations([20, 20], acts=[20, 10])
    occupancy = Occupancy(data, data.participation, HORIZON, absorbing=False)
    sample, known, expert = occupancy.of_expert(100, torch.Generator().manual_seed(0))
    assert len(expert.weights) == 100 and torch.equal(known, sample.participation)
    assert torch.equal(expert.weights > 0, sample.participation)
    acts = torch.rand(30, 2, 2, generator=torch.Generator().manual_seed(1)) < 0.5
    policy, counts = occupancy.of_policy(fragment([30, 30], acts), acts)
    assert torch.equal(counts.bool(), acts) and len(policy.weights) == 60


def test_episodes_that_reach_the_limit_have_no_absorbing_states():
    data = demonstrations([HORIZON], acts=[50, 50], early=False)
    occupancy = Occupancy(data, data.participation, HORIZON, absorbing=True)
    _, _, expert = occupancy.of_expert(50, torch.Generator().manual_seed(0))
    acts = torch.ones(HORIZON, 1, 2, dtype=torch.bool)
    rollout = fragment([HORIZON], acts, terminated=False)
    policy, _ = occupancy.of_policy(rollout, acts)
    assert not bool(expert.absorbing.any()) and not bool(policy.absorbing.any())
    value = occupancy.value_of_ending(rollout, torch.ones(HORIZON, 1, 2), 0.9)
    assert bool((value == 0).all())


def test_an_early_end_is_worth_the_rewards_of_the_remaining_rounds():
    data = demonstrations([20], acts=[20, 10])
    occupancy = Occupancy(data, data.participation, HORIZON, absorbing=True)
    rollout = fragment([47], torch.ones(47, 1, 2, dtype=torch.bool))
    rewards = torch.zeros(47, 1, 2)
    rewards[46] = torch.tensor([0.5, -0.5])
    value = occupancy.value_of_ending(rollout, rewards, 0.9)
    discounted = 0.5 * (0.9 + 0.9**2 + 0.9**3)
    assert torch.allclose(value[46, 0], torch.tensor([discounted, -discounted / 2]))
    assert bool((value[:46] == 0).all())


def test_without_discounting_an_early_end_is_worth_the_sum_of_the_remaining_rewards():
    data = demonstrations([20], acts=[20, 20])
    occupancy = Occupancy(data, data.participation, HORIZON, absorbing=True)
    rollout = fragment([47], torch.ones(47, 1, 2, dtype=torch.bool))
    value = occupancy.value_of_ending(rollout, torch.full((47, 1, 2), 0.5), 1.0)
    assert torch.equal(value[46, 0], torch.full((2,), 1.5)) and bool((value[:46] == 0).all())


def test_lost_rounds_do_not_count():
    data = demonstrations([20], acts=[20, 20])
    occupancy = Occupancy(data, data.participation, HORIZON, absorbing=True)
    rollout = fragment([10, 40], torch.ones(40, 2, 2, dtype=torch.bool))
    rollout.lost[9, 0] = True  # its last round: the worker died
    rollout.steps -= 1
    rollout.finished = lambda: rollout.terminated & ~rollout.lost
    valid = ~rollout.lost.unsqueeze(-1).expand(40, 2, 2)
    pairs, counts = occupancy.of_policy(rollout, valid)
    assert float(counts.sum()) == 2 * (9 + 40)
    assert int((pairs.absorbing & (pairs.weights > 0)).sum()) == 2  # the other copy's two agents


def test_the_policys_length_is_a_mean_over_episodes_not_over_updates():
    """Of 100 games that begin together, one ends after 10 rounds, the others after 50."""
    occupancy = Occupancy(demonstrations([20], [20, 20]), torch.ones(20, 2) > 0, HORIZON, True)
    for ended, length in ((1, 10), (99, 50)):
        acts = torch.ones(length, ended, 2, dtype=torch.bool)
        occupancy.of_policy(fragment([length] * ended, acts), acts)
    assert occupancy.policy_length == pytest.approx(50, abs=1)


def test_the_running_length_survives_a_checkpoint():
    data = demonstrations([20], acts=[20, 20])
    occupancy, other = (Occupancy(data, data.participation, HORIZON, True) for _ in range(2))
    acts = torch.ones(40, 1, 2, dtype=torch.bool)
    occupancy.of_policy(fragment([40], acts), acts)
    other.load_state_dict(occupancy.state_dict())
    assert other.policy_length == 40
