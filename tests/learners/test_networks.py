"""Policies: masks, likelihoods, sharing, and the policy file."""

from __future__ import annotations

import pytest
import torch

from learners.lib.architectures import read_policy, save_policy
from learners.lib.discriminators import Discriminator
from learners.lib.networks import Policy, group_agents
from learners.mack import Critic

METADATA = {
    "id": "x",
    "arguments": {},
    "player_function": None,
    "null_action": "null",
    "learner": "test",
}


def test_forbidden_actions_are_never_sampled_and_have_no_gradient():
    policy = Policy([0, 0], [3, 3], [4, 4])
    rng = torch.Generator().manual_seed(0)
    observations = torch.randn(5000, 2, 3)
    mask = torch.ones(5000, 2, 4, dtype=torch.int8)
    mask[..., 2] = 0
    actions = policy.act(observations, mask, rng)
    assert set(actions.unique().tolist()) == {0, 1, 3}
    log_prob, entropy = policy.log_prob(
        0, policy.inputs(0, observations), actions.flatten(), policy.rows(0, mask)
    )
    (log_prob.sum() + entropy.sum()).backward()
    assert torch.isfinite(log_prob).all()
    assert policy.networks[0].layers[-1].bias.grad[2] == 0


def test_sampling_follows_the_likelihood():
    policy = Policy([0], [2], [3])
    observations = torch.ones(20_000, 1, 2)
    actions = policy.act(observations, None, torch.Generator().manual_seed(1))
    inputs = policy.inputs(0, observations[:1])
    for a in range(3):
        p = policy.log_prob(0, inputs, torch.tensor([a]), None)[0].exp()
        assert float((actions == a).float().mean()) == pytest.approx(float(p.detach()), abs=0.02)


def test_gaussian_likelihood_matches_torch():
    policy = Policy([0], [2], [3], discrete=False)
    inputs, actions = torch.randn(7, 2), torch.randn(7, 3)
    network = policy.networks[0]
    expected = torch.distributions.Normal(network(inputs), network.log_std.exp())
    log_prob, entropy = policy.log_prob(0, inputs, actions, None)
    assert torch.allclose(log_prob, expected.log_prob(actions).sum(1), atol=1e-5)
    assert torch.allclose(entropy, expected.entropy().sum(1), atol=1e-5)


@pytest.mark.parametrize("discrete", [True, False])
def test_agents_with_fewer_actions_never_choose_the_padding(discrete):
    policy = Policy([0, 1], [3, 3], [2, 5], discrete)
    rng, observations = torch.Generator().manual_seed(0), torch.randn(300, 2, 3)
    actions = policy.act(observations, torch.ones(300, 2, 5) if discrete else None, rng)
    for g, n in enumerate((2, 5)):
        inputs, taken = policy.inputs(g, observations), policy.rows(g, actions)
        log_prob, entropy = policy.log_prob(g, inputs, taken, None)
        if discrete:
            assert set(taken.tolist()) == set(range(n))
            each = [policy.log_prob(g, inputs, torch.full((300,), a), None)[0] for a in range(n)]
            assert torch.allclose(torch.stack(each).exp().sum(0), torch.ones(300))
        else:
            assert not taken[:, n:].any() and taken[:, :n].all()
            own = torch.distributions.Normal(policy.networks[g](inputs), torch.ones(n))
            assert torch.allclose(log_prob, own.log_prob(taken[:, :n]).sum(1), atol=1e-5)
            assert torch.allclose(entropy, own.entropy().sum(1), atol=1e-5)
        assert policy.sampled_nll(g, inputs, None, rng).shape == (300,)


@pytest.mark.parametrize("discrete", [True, False])
@pytest.mark.parametrize("kind", ["decentralized", "centralized", "single"])
def test_action_padding_is_no_input(kind, discrete):
    policy = Policy([0, 1, 1], [1, 3, 3], [2, 5, 5], discrete)
    discriminator, critic = Discriminator(kind, policy, (8,)), Critic(policy, (8,))
    sizes = {"decentralized": [1 + 2 + 1, 3 + 5 + 1], "centralized": [7 + 12 + 3]}
    sizes["single"] = sizes["centralized"]  # and flags of absorbing states
    assert [n.layers[0].in_features for n in discriminator.networks] == sizes[kind]
    assert [n.layers[0].in_features for n in critic.networks] == [7 + 10, 7 + 2 + 5]
    observations, present = torch.randn(9, 3, 3), torch.ones(9, 3, dtype=torch.bool)
    discriminator.normalize_with(observations, 3.0)
    critic.normalize_with(observations, 3.0)
    actions = policy.act(observations, None, torch.Generator().manual_seed(0))
    nothing = torch.zeros(9, 0)  # no input for the remaining time
    seen = (present, ~present)
    logits = discriminator(observations, actions, *seen)
    values = critic(observations, actions, present, nothing)
    assert logits.shape == values.shape == (9, 3)
    if not discrete:
        actions = actions.clone()
        actions[:, 0, 2:] = 100.0
        assert torch.equal(discriminator(observations, actions, *seen), logits)
        assert torch.equal(critic(observations, actions, present, nothing), values)


def test_agents_of_one_role_and_equal_spaces_share_a_network():
    agents = ["prey_0", "adversary_0", "adversary_1", "adversary_2"]
    assert group_agents(agents, [14, 16, 16, 16], "role") == [0, 1, 1, 1]
    assert group_agents(agents, [14, 16, 16, 18], "role") == [0, 1, 1, 2]
    assert group_agents(agents, [14, 16, 16, 16], "none") == [0, 1, 2, 3]
    assert group_agents(agents, [16, 16, 16, 16], "all") == [0, 0, 0, 0]
    with pytest.raises(ValueError, match="equal spaces"):
        group_agents(agents, [14, 16, 16, 16], "all")


@pytest.mark.parametrize("discrete", [True, False])
@pytest.mark.parametrize("agent_id", [True, False])
def test_a_policy_file_gives_the_same_actions(tmp_path, discrete, agent_id):
    policy = Policy([0, 1, 1], [2, 4, 4], [3, 2, 2], discrete, hidden=(8, 8), agent_id=agent_id)
    policy.normalize_with(torch.randn(50, 3, 4) * 3 + 1)
    path = tmp_path / "policy.safetensors"
    save_policy(path, policy, METADATA)
    again, metadata = read_policy(path)
    observations = torch.randn(9, 3, 4)
    a = policy.act(observations, None, torch.Generator().manual_seed(5))
    b = again.act(observations, None, torch.Generator().manual_seed(5))
    assert torch.allclose(a.float(), b.float(), atol=1e-6)
    assert metadata["learner"] == "test" and again.groups == policy.groups


def test_a_file_of_another_kind_is_one_clear_error(tmp_path):
    path = tmp_path / "policy.safetensors"
    path.write_bytes(b"not a policy")
    with pytest.raises(ValueError, match="not a readable safetensors file"):
        read_policy(path)
