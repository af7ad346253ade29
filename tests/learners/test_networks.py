"""Policies: masks, likelihoods, sharing, and the policy file."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from learners.lib.architectures import read_policy, save_policy
from learners.lib.discriminators import Discriminator
from learners.lib.kfac import KFAC
from learners.lib.mlp import MLP
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


FORMS = [
    {},
    {"layer_norm": "before"},
    {"layer_norm": "after", "recurrent": True, "agent_id": True, "activation": "tanh"},
    {"distribution": "greedy", "recurrent": True, "last_action": True, "agent_id": True},
    {"distribution": "greedy", "last_action": True, "layer_norm": "before"},
    {"discrete": False, "layer_norm": "after", "last_action": True},
    {"discrete": False, "distribution": "sigmoid_gaussian", "recurrent": True, "last_action": True},
    {"discrete": False, "distribution": "tanh_gaussian", "layer_norm": "after"},
]


def policy_of(form: dict) -> Policy:
    """A policy of three agents in two groups with normalized inputs, far from uniform."""
    torch.manual_seed(0)
    bounds = (np.full((3, 4), -2.0, np.float32), np.full((3, 4), 3.0, np.float32))
    if form.get("distribution") == "tanh_gaussian":
        form = {**form, "bounds": bounds}
    policy = Policy([0, 1, 1], [2, 4, 4], [3, 4, 4], hidden=(8, 6), **form)
    for parameter in policy.parameters():
        torch.nn.init.normal_(parameter, std=0.7)
    policy.normalize_with(torch.randn(50, 3, 4) * 3 + 1)
    return policy


def played(policy: Policy, rounds: int = 9) -> dict[str, torch.Tensor]:
    """What two copies see and choose in successive rounds; in the second an episode begins in round 4."""
    rng = torch.Generator().manual_seed(3)
    seen = torch.randn(rounds, 2, 3, 4, generator=rng)
    acts = torch.rand(rounds, 2, 3, generator=rng) < 0.6
    fresh = torch.zeros(rounds, 2, dtype=torch.bool)
    fresh[4, 1] = True
    memory = torch.zeros(2, 3, policy.memory_size)
    actions, memories = [], []
    with torch.no_grad():
        for t in range(rounds):
            memory[fresh[t]] = 0.0
            actions.append(policy.act(seen[t], None, rng, memory, acts[t]))
            memories.append(memory.clone())
    found = {"seen": seen, "acts": acts, "fresh": fresh}
    return {**found, "actions": torch.stack(actions), "memories": torch.stack(memories)}


@pytest.mark.parametrize("form", FORMS, ids=lambda form: "-".join(map(str, form.values())))
def test_a_policy_of_any_form_plays_the_same_from_its_file(tmp_path, form):
    policy = policy_of(form)
    save_policy(tmp_path / "p.safetensors", policy, METADATA)
    again, metadata = read_policy(tmp_path / "p.safetensors")
    assert metadata["architecture"] == ("gru" if form.get("recurrent") else "mlp")
    assert metadata["joint"] is False is again.joint
    for a, b in zip(played(policy).values(), played(again).values(), strict=True):
        assert torch.equal(a, b)
    assert again.form() == policy.form()


@pytest.mark.parametrize("form", FORMS, ids=lambda form: "-".join(map(str, form.values())))
def test_unrolling_gives_the_memories_and_outputs_of_acting(form):
    policy = policy_of(form)
    p = played(policy)
    start = torch.zeros(2, 3, policy.memory_size)
    with torch.no_grad():
        out, memories = policy.unroll(p["seen"], start, p["acts"], p["fresh"], p["actions"])
        half, _ = policy.unroll(
            p["seen"][:6], start, p["acts"][:6], p["fresh"][:6], p["actions"][:6]
        )
        rest, end = policy.unroll(
            p["seen"][6:], memories[5], p["acts"][6:], p["fresh"][6:], p["actions"][6:]
        )
    assert torch.allclose(memories, p["memories"], atol=1e-6)
    assert torch.allclose(torch.cat([half, rest]), out, atol=1e-5)
    assert torch.allclose(end, memories[6:], atol=1e-5)
    assert (
        out.isfinite().all()
        and not out[:, :, 0, policy.networks[0].layers[-1].out_features :].any()
    )
    if form.get("distribution") == "greedy":  # epsilon is 0: the actions taken are the best ones
        for g, members in enumerate(policy.members):
            best = out[:, :, members, : policy.outputs[g]].argmax(-1)
            assert torch.equal(best, p["actions"][:, :, members])


@pytest.mark.parametrize("agent_id", [False, True])
def test_outputs_are_computed_where_they_are_asked_for(agent_id):
    policy = policy_of({"distribution": "greedy", "agent_id": agent_id})
    p = played(policy)
    seen, seed = p["seen"].flatten(0, 1), torch.Generator().manual_seed(3)
    where = torch.rand(seen.shape[:2], generator=seed) < 0.4
    everywhere, _ = policy.unroll(p["seen"], torch.zeros(2, 3, 0), p["acts"])
    everywhere, rows = everywhere.flatten(0, 1), []
    policy.networks[0].register_forward_hook(lambda _, x, y: rows.append(len(x[0])))
    found = policy.outputs_where(seen, where)
    assert torch.allclose(found[where], everywhere[where], atol=1e-6)
    assert not found[~where].any() and where.any() and not where.all()
    policy.outputs_where(seen.repeat(100, 1, 1), where.repeat(100, 1))
    needed = [int(w[:, policy.members[0]].sum()) for w in (where, where.repeat(100, 1))]
    assert all(n <= r < n + 128 for n, r in zip(needed, rows, strict=True))
    nobody = policy.outputs_where(seen, torch.zeros_like(where))
    assert nobody.shape == found.shape and not nobody.any()


def test_the_last_action_is_the_one_the_agent_took_when_it_acted():
    policy = policy_of({"distribution": "greedy", "last_action": True})
    p = played(policy)
    last = torch.zeros(2, 3, 4)
    for t in range(9):
        last[p["fresh"][t]] = 0.0
        for e, i in p["acts"][t].nonzero().tolist():
            last[e, i] = torch.eye(4)[p["actions"][t, e, i]]
        assert torch.equal(p["memories"][t], last)
    seen, acts = torch.ones(1, 3, 4), torch.ones(1, 3, dtype=torch.bool)
    values = []
    for k in range(3):
        memory = torch.zeros(1, 3, 4)
        memory[..., k] = 1.0
        with torch.no_grad():
            values.append(
                policy.unroll(
                    seen.unsqueeze(0), memory, acts.unsqueeze(0), None, p["actions"][:1, :1]
                )[0]
            )
    assert not torch.allclose(values[0], values[1]) and not torch.allclose(values[1], values[2])
    with pytest.raises(TypeError, match="needs its memory"):
        policy.act(torch.ones(1, 3, 4), None, None)


def test_layer_norms_stand_where_they_are_said_to():
    x = torch.randn(5, 3)
    before, after = MLP([3, 8, 2], layer_norm="before"), MLP([3, 8, 2], layer_norm="after")
    norm, functional = torch.nn.functional.layer_norm, torch.nn.functional
    for network in (before, after):
        for part in (*network.norms, *([network.input_norm] if network.input_norm else [])):
            torch.nn.init.normal_(part.weight)
            torch.nn.init.normal_(part.bias)

    def of(part, y):
        return norm(y, y.shape[1:], part.weight, part.bias)

    first, last = before.layers
    hidden = functional.relu(of(before.norms[0], first(x)))
    assert torch.allclose(before(x), last(hidden), atol=1e-6)
    first, last = after.layers
    hidden = of(after.norms[0], functional.relu(first(of(after.input_norm, x))))
    assert torch.allclose(after(x), last(hidden), atol=1e-6)


def test_kfac_refuses_layer_norms():
    with pytest.raises(TypeError, match="use adam"):
        KFAC(MLP([3, 8, 2], layer_norm="before"))


def test_a_distribution_of_the_other_kind_of_actions_is_an_error():
    with pytest.raises(ValueError, match="distribution=greedy cannot choose continuous actions"):
        Policy([0], [2], [3], discrete=False, distribution="greedy")


def test_a_file_of_another_kind_is_one_clear_error(tmp_path):
    path = tmp_path / "policy.safetensors"
    path.write_bytes(b"not a policy")
    with pytest.raises(ValueError, match="not a readable safetensors file"):
        read_policy(path)
