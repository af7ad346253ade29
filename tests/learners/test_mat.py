"""The Multi-Agent Transformer: who sees what, masks, the policy file, and whole runs."""

from __future__ import annotations

import json
from pathlib import Path

import matrix_game
import numpy as np
import pytest
import torch

from demos.policies import NetworkPolicy
from demos.policy_file import read_policy_file
from demos.record import record
from learners import evaluate, mat
from learners.lib.architectures import build, read_policy, save_policy
from learners.lib.game import make_game
from learners.lib.rollout import Rollout
from learners.lib.settings import parse, resumed
from learners.lib.transformer import TransformerPolicy

UNEQUAL = str(Path(__file__).resolve().parents[1] / "unequal_game.py")
METADATA = {"id": "x", "arguments": {}, "null_action": "null", "learner": "mat"}
GROUPS, OBSERVED, ACTIONS = [0, 1, 1, 0], [3, 5, 5, 3], [2, 4, 4, 2]
PARTS = [(True, True), (True, False), (False, True)]  # encoder, decoder
TINY = {
    "steps": 600, "num_envs": 6, "rounds": 20, "width": 16, "heads": 2, "epochs": 2, "minibatches": 2,
    "eval_episodes": 0, "checkpoint_every": 2, "log_every": 1, "progress": False,
}  # fmt: skip


def team(encoder=True, decoder=True, kind="categorical", seed=0) -> TransformerPolicy:
    """A policy of four agents of two roles, far from uniform, in float64."""
    torch.manual_seed(seed)
    policy = TransformerPolicy(
        GROUPS, OBSERVED, ACTIONS, kind, 16, blocks=2, heads=2, encoder=encoder, decoder=decoder
    ).double()
    for parameter in policy.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return policy


def situations(policy: TransformerPolicy, count: int = 40) -> dict[str, torch.Tensor]:
    """Observations, who acts, masks and uniform or normal draws of many rounds."""
    rng = torch.Generator().manual_seed(1)
    mask = torch.rand(count, 4, 4, generator=rng) < 0.6
    mask[..., 0] = True
    size = (count, 4) if policy.discrete else (count, 4, 4)
    draws = torch.rand(size, generator=rng, dtype=torch.float64)
    return {
        "observations": torch.randn(count, 4, 5, generator=rng, dtype=torch.float64),
        "acts": torch.rand(count, 4, generator=rng) < 0.6,
        "mask": mask,
        "draws": draws,
    }


def chosen(policy, x) -> torch.Tensor:
    with torch.inference_mode():
        return policy.act(x["observations"], x["mask"], x["draws"], None, x["acts"]).clone()


def outputs(policy, x, actions) -> tuple[torch.Tensor, torch.Tensor]:
    nothing = x["observations"].new_zeros((len(actions), 0))
    with torch.no_grad():
        return policy.outputs(x["observations"], x["acts"], actions, nothing)


@pytest.mark.parametrize(("encoder", "decoder"), PARTS)
@pytest.mark.parametrize("kind", ["categorical", "sigmoid_gaussian"])
def test_acting_one_by_one_and_teacher_forcing_agree(encoder, decoder, kind, monkeypatch):
    policy = team(encoder, decoder, kind)
    x, seen = situations(policy), []
    choose = policy.distribution.choose

    def watched(net, out, mask, rng):
        seen.append(out)
        return choose(net, out, mask, rng)

    monkeypatch.setattr(policy.distribution, "choose", watched)
    actions = chosen(policy, x)
    out, _ = outputs(policy, x, actions)
    assert torch.allclose(torch.stack(seen, 1), out, atol=1e-12)
    log_prob, entropy = policy.log_prob(out, actions, x["mask"])
    assert torch.isfinite(log_prob).all() and log_prob.shape == entropy.shape
    if kind == "categorical":
        legal = torch.where(x["mask"] & policy._own(out), out, -1e10)
        expected = torch.log_softmax(legal, -1).gather(2, actions.unsqueeze(2))
    else:
        sd = torch.sigmoid(policy.log_std) / 2
        expected = torch.distributions.Normal(out, sd).log_prob(actions) * policy._own(out)
        assert not actions[:, 0, 2:].any() and actions[:, 0, :2].all()
    assert torch.allclose(log_prob, expected, atol=1e-9)


@pytest.mark.parametrize(("encoder", "decoder"), PARTS)
def test_an_agent_sees_the_actions_before_its_own_only(encoder, decoder):
    policy = team(encoder, decoder)
    x = situations(policy)
    x["acts"][:] = True
    actions = chosen(policy, x)
    before, _ = outputs(policy, x, actions)
    for k in range(4):
        other = actions.clone()
        other[:, k:] = 1 - other[:, k:].clamp(max=1)
        after, _ = outputs(policy, x, other)
        assert torch.equal(before[:, : k + 1], after[:, : k + 1])
        for later in range(k + 1, 4):
            assert torch.equal(before[:, later], after[:, later]) is not decoder


@pytest.mark.parametrize(("encoder", "decoder"), PARTS)
def test_agents_that_do_not_act_change_nothing_for_the_others(encoder, decoder):
    policy = team(encoder, decoder)
    x = situations(policy)
    actions, acts = chosen(policy, x), x["acts"]
    before = outputs(policy, x, actions)
    x["observations"][~acts], x["draws"][~acts] = 9.0, 0.5
    garbage = actions.masked_fill(~acts, 1)
    for a, b in zip(before, outputs(policy, x, garbage), strict=True):
        assert torch.equal(a[acts], b[acts]) and torch.isfinite(b).all()
    assert torch.equal(chosen(policy, x)[acts], actions[acts])
    alone = acts.clone()
    alone[:, 2] = False  # one agent less does change the others
    late = acts[:, 3] & acts[:, 2]
    after, _ = outputs(policy, {**x, "acts": alone}, garbage)
    assert not torch.allclose(after[late, 3], before[0][late, 3])


def test_policy_gradients_do_not_depend_on_agents_that_do_not_act():
    args, gradients = mat.Args(**TINY), []
    policy = team()
    x = situations(policy)
    actions, acts = chosen(policy, x), x["acts"]
    for fill in (0.0, 7.0):
        absent = ~acts
        batch = {
            "observations": x["observations"].masked_fill(absent.unsqueeze(2), fill),
            "acts": acts, "actions": actions.masked_fill(absent, int(fill) % 2), "mask": x["mask"],
            "left": torch.zeros(40, 0), "valid": acts, "known": torch.zeros_like(acts),
            "advantages": torch.arange(160.0).view(40, 4).masked_fill(absent, fill),
            "targets": torch.zeros(40, 4), "old": torch.full((40, 4, 1), -1.0), "old_values": torch.zeros(40, 4),
        }  # fmt: skip
        policy.zero_grad()
        loss, _ = mat.loss_of(policy, batch, args)
        loss.backward()
        parameters = [p for n, p in policy.named_parameters() if not n.startswith("value_head")]
        gradients.append([p.grad.clone() for p in parameters])
        assert any(g.any() for g in gradients[-1])
    for a, b in zip(*gradients, strict=True):
        assert torch.allclose(a, b, atol=1e-12)


def test_both_ratios_begin_with_the_policy_gradient():
    """Before the first step all ratios are 1, so that clipping those of components or of actions makes no difference."""
    policy, gradients = team(kind="sigmoid_gaussian"), []
    x = situations(policy)
    actions, acts = chosen(policy, x), x["acts"]
    advantages = torch.arange(160.0, dtype=torch.float64).view(40, 4)
    for ratio in ("component", "action"):
        batch = {
            "observations": x["observations"], "acts": acts, "actions": actions, "left": torch.zeros(40, 0),
            "valid": acts, "known": torch.zeros_like(acts), "advantages": advantages,
        }  # fmt: skip
        old = mat.predictions(policy, batch, ratio)[0].detach()
        batch["old"] = old.new_zeros((40, 4, old.shape[1]))
        batch["old"][acts] = old
        loss, _ = mat.loss_of(policy, batch, mat.Args(**TINY, ratio=ratio))
        policy.zero_grad()
        loss.backward()
        parts = [policy.action_head, policy.decoder, policy.encoder]
        gradients.append([p.grad.clone() for part in parts for p in part.parameters()])
        assert gradients[-1][0].any()
    for a, b in zip(*gradients, strict=True):
        assert torch.allclose(a, b, rtol=1e-9, atol=1e-9)


def test_forbidden_actions_are_never_sampled():
    policy = team().float()
    mask = torch.ones(10_000, 4, 4, dtype=torch.int8)
    mask[:, 1, 2] = 0
    observations = torch.randn(10_000, 4, 5)
    actions = policy.act(observations, mask, torch.Generator().manual_seed(0))
    for i, allowed in enumerate(({0, 1}, {0, 1, 3}, {0, 1, 2, 3}, {0, 1})):
        assert set(actions[:, i].unique().tolist()) == allowed


@pytest.mark.parametrize(("encoder", "decoder"), PARTS)
@pytest.mark.parametrize("kind", ["categorical", "gaussian", "sigmoid_gaussian"])
def test_a_policy_file_is_joint_and_gives_the_same_actions(tmp_path, encoder, decoder, kind):
    policy = team(encoder, decoder, kind)
    path = tmp_path / "policy.safetensors"
    save_policy(path, policy, METADATA)
    again, metadata = read_policy(path, torch.float64)
    assert metadata["joint"] is True and metadata["architecture"] == "mat" and again.joint
    x = situations(policy)
    assert torch.equal(chosen(again, x), chosen(policy, x))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("joint", False), ("architecture", "mlp"), ("width", 32), ("width", 10**9), ("width", None), ("heads", 3),
        ("blocks", 1), ("blocks", 10**8), ("encoder", False), ("encoder", "none"), ("decoder", False),
        ("time_input", True), ("distribution", "greedy"), ("action_dims", [2, 4, 4, 3]), ("groups", [0, 0, 0, 0]),
        ("observation_dims", [3, 5, 5]), ("observation_dims", [4, 5, 5, 4]), ("observation_dims", [0, 5, 5, 0]),
    ],
)  # fmt: skip
def test_forged_forms_are_refused(tmp_path, name, value):
    save_policy(tmp_path / "p.safetensors", team(), METADATA)
    tensors, metadata = read_policy_file(tmp_path / "p.safetensors")
    build(tensors, metadata)
    with pytest.raises((KeyError, TypeError, ValueError)):
        build(tensors, {**metadata, name: value})


# --------------------------------------------------------------------------------------- whole runs
def test_without_an_encoder_values_bootstrap_from_sampled_actions():
    args = mat.Args(**{**TINY, "env": "matrix_game", "encoder": "none", "rounds": 8})
    vec = make_game(args, 6, torch.device("cpu"))
    learner = mat.Learner(vec, args, torch.device("cpu"))
    rollout, rng = Rollout(vec, 8), torch.Generator().manual_seed(0)
    rollout.reset(0)
    rollout.collect(learner.policy, rng)
    assert rollout.truncated[3].all()
    _, targets = mat.estimate_advantages(learner, rollout, rollout.rewards, args, rng)
    assert targets.isfinite().all()
    nothing = torch.zeros(6, 0)
    with pytest.raises(TypeError, match="values depend on the actions"):
        learner.policy.outputs(rollout.observations[0], rollout.participation[0], None, nothing)


@pytest.mark.parametrize(
    "changes",
    [
        {"env": "smac_3m", "player_function": "Stochastic(0.5)"},
        {"env": "coop_nav", "player_function": "Stochastic(0.5)", "encoder": "none"},
        {"env": UNEQUAL, "set": ("continuous=true",), "decoder": "none", "ratio": "action"},
    ],
    ids=["smac_3m", "coop_nav", "continuous"],
)
def test_a_resumed_run_ends_like_an_uninterrupted_one(changes, tmp_path):
    whole = mat.Args(**{**TINY, **changes, "run_dir": str(tmp_path / "whole")})
    mat.train(whole)
    half = {**TINY, **changes, "steps": 240, "run_dir": str(tmp_path / "cut")}
    mat.train(mat.Args(**half))
    mat.train(resumed(tmp_path / "cut", mat.Args, progress=False, steps=600))
    policies = [read_policy(tmp_path / n / "policy.safetensors")[0] for n in ("whole", "cut")]
    for a, b in zip(*(p.parameters() for p in policies), strict=True):
        assert torch.equal(a, b)
    lines = (tmp_path / "whole" / "metrics.jsonl").read_text().splitlines()
    assert all(np.isfinite(json.loads(line)["value_loss"]) for line in lines)


def test_it_learns_a_matrix_game_and_plays_it_from_its_file(tmp_path):
    folder = tmp_path / "run"
    args = mat.Args(
        env="matrix_game", steps=20_000, rounds=8, lr=1e-3, eval_episodes=200, run_dir=str(folder), progress=False
    )  # fmt: skip
    assert mat.train(args)["return"] > 0.9 * matrix_game.OPTIMUM
    again = evaluate.Args(str(folder), env="matrix_game", episodes=50, greedy=True, json=True)
    assert evaluate.evaluate(again)["return"] > 0.95 * matrix_game.OPTIMUM
    sets = [
        record("matrix_game", folder, 9, 5, tmp_path / str(n), num_envs=n, random_return=0.0)
        for n in (1, 9)
    ]
    for a, b in zip(*sets, strict=True):
        assert np.array_equal(a.actions, b.actions)
    assert NetworkPolicy.load(folder / "policy.safetensors").policy.joint


def test_help_names_its_settings(capsys):
    with pytest.raises(SystemExit) as stop:
        parse(mat.Args, mat.PRESETS, ["--help"])
    text = capsys.readouterr().out
    assert stop.value.code == 0 and "--decoder" in text and "--num-envs" in text


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"heads": 5}, "heads=5 must divide width=16"), ({"encoder": "none", "decoder": "none"}, "leave nothing")],
)  # fmt: skip
def test_inconsistent_settings_are_errors(changes, said):
    with pytest.raises(ValueError, match=said):
        mat.train(mat.Args(**{**TINY, **changes}))
