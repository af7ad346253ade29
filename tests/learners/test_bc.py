"""Behavioral cloning: when it stops, and which policy it keeps."""

from __future__ import annotations

import math

import pytest
import torch

from learners import bc
from learners.lib.architectures import read_policy
from learners.lib.expert_data import Endings, ExpertData, Rows, training_rounds
from learners.lib.networks import Policy
from learners.lib.optimizers import make_optimizer

SCORES = [0.3, 0.5, 0.4, 0.49, 0.2, 0.1]  # of successive validation passes


def policy(discrete: bool = True, **form) -> Policy:
    torch.manual_seed(0)
    return Policy([0, 0], [2, 2], [3, 3], discrete, (8,), **form)


def demonstrations(episodes: int, rounds: int = 10, agents: int = 2) -> ExpertData:
    """Agents see (x, y), and choose 0 if x <= y, else 1; in every other round only agent 0 acts."""
    rng = torch.Generator().manual_seed(1)
    count = episodes * rounds
    observations = torch.randn(count, agents, 2, generator=rng)
    participation = torch.ones(count, agents, dtype=torch.bool)
    participation[::2, 1:] = False
    actions = (observations[..., 0] > observations[..., 1]).long()
    episode = torch.arange(episodes).repeat_interleave(rounds)
    endings = Endings(torch.zeros(episodes, agents, 2), torch.zeros(episodes))
    return ExpertData(observations, actions, participation, participation, None, episode, endings)


def adam(network):
    return make_optimizer("adam", network, 3e-4, 1e-3)


def rng() -> torch.Generator:
    return torch.Generator().manual_seed(2)


def weights(of: Policy) -> list[torch.Tensor]:
    return [p.detach().clone() for p in of.parameters()]


def equal(a: list, b: list) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.fixture
def passes(monkeypatch) -> list:
    """Scores are SCORES, 0 afterwards; losses contradict them. Lists the policy's weights at each pass."""
    seen: list = []
    validate = bc.Cloning.validate

    def noted(cloning):
        seen.append(weights(cloning.policy))
        return validate(cloning)

    def figures(policy, rows):
        score = SCORES[len(seen) - 1] if len(seen) <= len(SCORES) else 0.0
        return {"validation_score": score, "validation_loss": float(len(seen))}

    monkeypatch.setattr(bc.Cloning, "validate", noted)
    monkeypatch.setattr(bc, "held_out_figures", figures)
    return seen


def test_the_warm_start_keeps_the_best_policy(passes):
    cloned = policy()
    steps, loss = bc.fit(
        cloned, demonstrations(10), "filter", 12, rng(), batch=8, validate_every=2, patience=99
    )
    assert (steps, loss, len(passes)) == (12, 2.0, 6)
    assert equal(weights(cloned), passes[1]) and not equal(passes[1], passes[-1])


def test_training_keeps_the_best_policy(passes, tmp_path):
    from demos.record import record

    record("stochastic_coop_nav", "random", 5, 0, tmp_path / "demos", random_return=0.0)
    result = bc.train(
        bc.Args(
            demos=str(tmp_path / "demos"),
            num_demos=5,
            hidden=(8,),
            steps=20,
            validate_every=2,
            patience=3,
            eval_episodes=0,
            progress=False,
            run_dir=str(tmp_path / "run"),
        )
    )
    # The second pass is the best; three more without improvement end training.
    assert result["steps"] == 10 and len(passes) == 5
    kept = weights(read_policy(tmp_path / "run" / "policy.safetensors")[0])
    assert equal(kept, passes[1]) and not equal(kept, passes[-1])


def test_training_stops_when_the_validation_score_does_not_improve(passes):
    steps, _ = bc.fit(
        policy(), demonstrations(10), "filter", 100, rng(), batch=8, validate_every=2, patience=3
    )
    assert steps == 2 * (2 + 3)


def test_the_policy_learns_from_all_episodes_and_the_validation_policy_from_the_rest():
    data = demonstrations(20)
    cloning = bc.Cloning(policy(), data, "filter", 0.1, adam)
    entries = int(data.participation.sum())
    assert [len(rows[0]) for rows in cloning.rows] == [entries, entries * 18 // 20]
    held = data.take((data.episode >= 18).nonzero().squeeze(1))
    (expected,) = bc.group_rows(cloning.policy, held, held.participation)
    assert torch.equal(cloning.held[0].inputs, expected.inputs)
    assert torch.equal(cloning.held[0].actions, expected.actions)
    assert equal(weights(cloning.policies[0]), weights(cloning.policies[1]))
    cloning.step(8, rng())
    cloning.validate()
    assert not equal(weights(cloning.policies[0]), weights(cloning.policies[1]))


def test_without_held_out_episodes_there_is_no_early_stopping():
    cloned = policy()
    cloning = bc.Cloning(cloned, demonstrations(9), "filter", 0.0, adam)
    cloning.step(8, rng())
    last = weights(cloned)
    assert cloning.validate() == {} and cloning.waited == 0 and len(cloning.policies) == 1
    cloning.keep_best()
    assert equal(weights(cloned), last)


@pytest.mark.parametrize(
    ("episodes", "share", "held"),
    [(1, 0.9, 0), (2, 0.9, 1), (4, 0.9, 3), (10, 0.9, 9), (9, 0.0, 0)],
)
def test_an_episode_is_always_left_to_train_the_validation_policy(episodes, share, held):
    assert training_rounds(demonstrations(episodes, rounds=1), share) == episodes - held


@pytest.mark.parametrize("episodes", [1, 2, 10])
@pytest.mark.parametrize("steps", [0, 1, 7])
def test_the_warm_start_always_returns_a_finite_loss(episodes, steps):
    """Also when it ends before the first validation pass, or nothing can be held out."""
    done, loss = bc.fit(policy(), demonstrations(episodes), "filter", steps, rng(), batch=8)
    assert done == steps and math.isfinite(loss)


def test_the_score_of_discrete_actions_is_the_mean_probability_of_the_demonstrated_ones():
    judged = policy()
    with torch.no_grad():
        for layer in judged.networks[0].layers:
            layer.weight.zero_()
            layer.bias.zero_()
        judged.networks[0].layers[-1].bias.copy_(torch.tensor([0.7, 0.2, 0.1]).log())
    rows = Rows(torch.zeros(3, 2), torch.tensor([0, 0, 2]), None)
    found = bc.held_out_figures(judged, [rows])
    assert found["validation_score"] == pytest.approx((0.7 + 0.7 + 0.1) / 3)
    assert found["validation_loss"] == pytest.approx(-math.log(0.7 * 0.7 * 0.1) / 3)


def test_the_score_of_continuous_actions_is_the_squared_error_of_sampled_ones():
    judged = policy(discrete=False)
    with torch.no_grad():
        for layer in judged.networks[0].layers:
            layer.weight.zero_()
            layer.bias.zero_()
        judged.networks[0].layers[-1].bias.copy_(torch.tensor([1.0, 0.0, -1.0]))
        judged.networks[0].log_std.copy_(torch.tensor([0.5, 0.1, 0.2]).log())
    rows = Rows(torch.zeros(2, 2), torch.tensor([[1.0, 2.0, -1.0], [1.0, 0.0, -1.0]]), None)
    found = bc.held_out_figures(judged, [rows])
    assert found["validation_score"] == pytest.approx(-((4 + 0) / 2 + 0.25 + 0.01 + 0.04))
    torch.manual_seed(3)
    sampled = judged.act(torch.zeros(50_000, 2, 2), None, torch.Generator().manual_seed(4))[:, 0]
    squares = [(sampled - a).square().sum(1).mean() for a in rows.actions]
    assert -float(sum(squares).detach() / 2) == pytest.approx(found["validation_score"], rel=0.02)
    bounded = policy(discrete=False, distribution="sigmoid_gaussian")
    bounded.load_state_dict(judged.state_dict())
    deviations = torch.sigmoid(torch.tensor([0.5, 0.1, 0.2]).log()) / 2
    score = bc.held_out_figures(bounded, [rows])["validation_score"]
    assert score == pytest.approx(-((4 + 0) / 2 + float(deviations.square().sum())))


def test_cloning_learns_the_rule_behind_the_demonstrations():
    cloned, data = policy(), demonstrations(40)
    bc.fit(cloned, data, "filter", 150, rng(), batch=200, lr=0.05)
    rows = bc.group_rows(cloned, demonstrations(3), torch.ones(30, 2, dtype=torch.bool))
    assert bc.held_out_figures(cloned, rows)["validation_score"] > 0.9
