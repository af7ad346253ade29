"""QMIX, VDN and independent Q-learning: who counts, what is chosen, what the targets are, and that it learns."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any, get_args

import matrix_game
import pytest
import torch
from sample_games import LastStanding

import mail_envs
from learners import qmix
from learners.lib import run as runs
from learners.lib.architectures import read_policy
from learners.lib.batch import Batch
from learners.lib.mixers import Kind, QMixer, Separate, Sum
from learners.lib.replay import Replay, sample_episodes
from learners.lib.returns import lambda_returns
from learners.lib.rollout import Rollout
from learners.lib.settings import parse, resumed
from mail_envs.vector import VectorGame

MIXERS = get_args(Kind)
SMALL = {"hidden": (8,), "embed": 4, "hyper_hidden": 8}
TINY: dict[str, Any] = {
    **SMALL, "steps": 1200, "num_envs": 4, "rounds": 10, "batch": 4, "capacity": 2000, "explore": 500,
    "target_every": 5, "eval_episodes": 20, "log_every": 1, "checkpoint_every": 4, "progress": False,
}  # fmt: skip
MATRIX = "matrix_game"


def duels(is_end: bool = False) -> VectorGame:
    game = LastStanding(max_rounds=6)
    game.limit_is_end = is_end
    return VectorGame(game, mail_envs.Stochastic(0.6), 6, array="torch")


def started(mixer: Kind, is_end: bool = False) -> tuple[qmix.Values, qmix.Values, Replay]:
    """Untrained networks, targets that differ from them, and episodes with absent and dead agents."""
    torch.manual_seed(0)
    vec, args = duels(is_end), qmix.Args(mixer=mixer, **SMALL)
    values, target = qmix.Values(vec, args), qmix.Values(vec, args)
    replay, rng = Replay(vec, 4000), torch.Generator().manual_seed(0)
    rollout = Rollout(vec, 20, "cpu", values.policy.memory_size, True)
    rollout.reset(0)
    values.policy.distribution.epsilon = 1.0
    for _ in range(4):
        rollout.collect(values.policy, rng)
        replay.add(rollout)
    return values, target, replay


def batch_of(replay: Replay, count: int = 64) -> Batch:
    return sample_episodes(replay, count, torch.Generator().manual_seed(1))


def with_garbage(batch: Batch) -> Batch:
    """Other observations, actions, masks and rewards of padding, of the dead and of absent agents.

    What the living see last stays: the value of an episode that is cut is that of what they would do next.
    """
    rows, filled = batch.rows, batch.filled
    last = torch.cat([filled, torch.zeros_like(filled[:1])]).logical_not()
    absent = ~rows.participation & (~last.unsqueeze(-1) | ~rows.alive)
    mask = rows.action_mask
    assert mask is not None
    observations = torch.where(absent.unsqueeze(-1), 100.0, rows.observations)
    mask = torch.where(absent.unsqueeze(-1), mask.flip(-1), mask)
    padded = torch.cat([torch.ones_like(filled[:1]), filled]).logical_not()
    states = torch.where(padded.unsqueeze(-1), -70.0, rows.states)
    actions = torch.where(absent[:-1], 2 - batch.actions, batch.actions)
    rewards = torch.where(filled.unsqueeze(-1), batch.rewards, 1e6)
    seen = dataclasses.replace(rows, observations=observations, action_mask=mask, states=states)
    return dataclasses.replace(batch, rows=seen, actions=actions, rewards=rewards)


@pytest.mark.parametrize("mixer", MIXERS)
def test_padding_dead_and_absent_agents_have_no_influence(mixer):
    values, target, replay = started(mixer)
    batch = batch_of(replay)
    assert not batch.filled.all() and not batch.seen.alive[batch.filled].all()
    found = []
    for given in (batch, with_garbage(batch)):
        values.zero_grad()
        loss, _ = qmix.loss_of(values, target, given, 0.9, 0.6)
        loss.backward()
        found.append([loss.detach(), *(p.grad for p in values.parameters())])
    assert not torch.equal(with_garbage(batch).rows.observations, batch.rows.observations)
    for a, b in zip(*found, strict=True):
        assert torch.allclose(a, b, rtol=1e-5, atol=1e-6)
    assert found[0][0] > 0 and all((p != 0).any() for p in found[0])


@pytest.mark.parametrize("mixer", MIXERS)
def test_what_acting_agents_see_and_do_has_influence(mixer):
    values, target, replay = started(mixer)
    batch = batch_of(replay)
    loss = qmix.loss_of(values, target, batch, 0.9, 0.6)[0]
    acts = batch.learned_from()
    others = {
        "actions": torch.where(acts, (batch.actions + 1) % 3, batch.actions),
        "rewards": torch.where(acts, batch.rewards + 1, batch.rewards),
    }
    for name, changed in others.items():
        other = qmix.loss_of(
            values, target, dataclasses.replace(batch, **{name: changed}), 0.9, 0.6
        )
        assert (other[0] - loss).abs() > 1e-5, name


def test_forbidden_actions_are_never_chosen():
    values, _, _ = started("qmix")
    policy, rng = values.policy, torch.Generator().manual_seed(0)
    for epsilon in (0.0, 0.5, 1.0):
        policy.distribution.epsilon, count = epsilon, 5000
        observations = torch.randn(count, 3, 4, generator=rng)
        mask = (torch.rand(count, 3, 3, generator=rng) < 0.5).to(torch.int8)
        mask[~mask.any(-1)] = torch.tensor([0, 1, 0], dtype=torch.int8)
        memory = torch.zeros(count, 3, policy.memory_size)
        acts = torch.rand(count, 3, generator=rng) < 0.7
        actions = policy.act(observations, mask, rng, memory, acts)
        assert mask.gather(-1, actions.unsqueeze(-1)).all()
        last = memory[..., policy.gru_size :]
        assert torch.equal(last.argmax(-1)[acts], actions[acts]) and not last[~acts].any()
        free = mask.all(-1)  # all three actions are allowed
        shares = torch.bincount(actions[free], minlength=3) / free.sum()
        assert epsilon < 1 or (shares - 1 / 3).abs().max() < 0.03
    assert qmix.epsilon_at(qmix.Args(explore=100), 50) == pytest.approx(0.525)
    assert qmix.epsilon_at(qmix.Args(explore=100), 1000) == 0.05


@pytest.mark.parametrize("mixer", MIXERS)
def test_targets_use_the_next_mask_and_the_trained_networks_choice(mixer):
    """One-step targets, written out round by round."""
    values, target, replay = started(mixer)
    batch = batch_of(replay, 20)
    assert batch.next.action_mask is not None
    with torch.no_grad():  # to hit is best, and forbidden after a hit
        values.policy.networks[0].layers[-1].bias[1] += 3.0
    with torch.no_grad():
        online, later = values.of_actions(batch), target.of_actions(batch)
        found = qmix.targets_of(online, values, target, batch, 0.9, 0.0)
    forbidden = 0
    for t, b in batch.filled.nonzero().tolist():
        after: Any = batch.next[t, b]
        acts = after.participation & after.alive
        team = mixer != "none"
        if not batch.terminated[t, b] and not (batch.truncated[t, b] or acts.all()):
            continue  # somebody's value is that of what follows
        counts = acts if team and acts.any() else after.alive
        best = []
        for i in range(3):
            allowed = [a for a in range(3) if after.action_mask[i, a]]
            best.append(max(allowed, key=lambda a: float(online[t + 1, b, i, a])))
            forbidden += best[-1] != int(online[t + 1, b, i].argmax())
        q = torch.stack([later[t + 1, b, i, a] for i, a in enumerate(best)])
        with torch.no_grad():
            value = target.mixed(q, counts, after)
        reward = batch.rewards[t, b, : 1 if team else 3]
        expected = reward + 0.9 * value * (not batch.terminated[t, b])
        assert torch.allclose(found[t, b], expected, atol=1e-5)
    assert forbidden


@pytest.mark.parametrize("is_end", [False, True])
def test_time_limits_cut_the_targets_only_where_they_are_part_of_the_task(is_end):
    values, target, replay = started("qmix", is_end)
    batch = batch_of(replay)
    with torch.no_grad():
        found = qmix.targets_of(values.of_actions(batch), values, target, batch, 0.9, 0.6)
    beyond = (found[..., 0] - batch.rewards[..., 0]).abs()
    assert batch.truncated.any() and batch.terminated.any()
    assert not beyond[batch.terminated].any()
    assert bool(beyond[batch.truncated].any()) != is_end
    assert values.mixer.first_bias.in_features == 3 + 3 + is_end  # state, who acts, remaining time


# -------------------------------------------------------------------------------------------- mixers
def test_the_mixer_of_qmix_is_monotonic_and_that_of_vdn_is_the_sum():
    torch.manual_seed(0)
    q = torch.randn(200, 3).mul(5).requires_grad_(True)
    counts, state = torch.rand(200, 3) < 0.6, torch.randn(200, 7)
    mixer = QMixer(3, 7, embed=4, hidden=8)
    total = mixer(q, counts, state)
    (slope,) = torch.autograd.grad(total.sum(), q)
    assert total.shape == (200, 1)
    assert (slope >= 0).all() and (slope[counts] > 0).float().mean() > 0.9
    assert not slope[~counts].any()
    garbage = torch.where(counts, q, float("nan"))
    assert torch.equal(mixer(garbage, counts, state), total)
    assert not torch.equal(mixer(q, counts, state + 1), total)
    expected = [
        sum(float(x) for x, c in zip(a, b, strict=True) if c)
        for a, b in zip(q.detach(), counts, strict=True)
    ]
    assert torch.allclose(
        Sum()(garbage, counts, state).squeeze(-1), torch.tensor(expected), atol=1e-5
    )
    assert torch.equal(Separate()(garbage, counts, state), q.masked_fill(~counts, 0.0))


def naive_returns(rewards, values, decides, continues, count, gamma, lam):
    """G of one agent's sequence of `count` rounds, by its recursive definition."""

    def ahead(t: int) -> float:
        if not continues[t]:
            return 0.0
        if t == count - 1:
            return values[t]
        if not decides[t]:
            return after(t + 1)
        return (1 - lam) * values[t] + lam * after(t + 1)

    def after(t: int) -> float:
        return rewards[t] + gamma * ahead(t)

    return [after(t) for t in range(count)]


@pytest.mark.parametrize("lam", [0.0, 0.6, 1.0])
def test_lambda_returns_follow_their_definition(lam):
    rng = torch.Generator().manual_seed(0)
    L, B, M, gamma = 7, 40, 2, 0.9
    rewards, values = (torch.randn(L, B, M, generator=rng) for _ in range(2))
    decides = torch.rand(L, B, M, generator=rng) < 0.7
    lengths = torch.randint(1, L + 1, (B,), generator=rng)
    filled = torch.arange(L).unsqueeze(1) < lengths
    last = filled & ~torch.cat([filled[1:], torch.zeros(1, B, dtype=torch.bool)])
    continues = ~(last & (torch.rand(L, B, generator=rng) < 0.5))  # the others are cut
    garbage = torch.where(filled.unsqueeze(-1), rewards, float("nan"))
    found = lambda_returns(garbage, values, decides, continues, last, gamma, lam)
    for b in range(B):
        for m in range(M):
            parts = [x[:, b, m].tolist() for x in (rewards, values, decides)]
            ends, count = continues[:, b].tolist(), int(lengths[b])
            known = naive_returns(parts[0], parts[1], parts[2], ends, count, gamma, lam)
            assert found[: lengths[b], b, m].tolist() == pytest.approx(known, abs=1e-4)


# --------------------------------------------------------------------------------------------- runs
def policy_of(folder: Path) -> list[torch.Tensor]:
    return list(read_policy(folder / "policy.safetensors")[0].parameters())


def figures_of(folder: Path) -> list[dict]:
    lines = [json.loads(x) for x in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in x.items() if k not in ("seconds", "steps_per_second")} for x in lines]


@pytest.mark.parametrize("mixer", MIXERS)
def test_a_resumed_run_ends_like_an_uninterrupted_one(mixer, tmp_path, monkeypatch):
    """The replay is full by then."""
    settings = {**TINY, "env": MATRIX, "mixer": mixer, "capacity": 200, "eval_episodes": 0}
    qmix.train(qmix.Args(**settings, run_dir=str(tmp_path / "whole")))
    original, calls = runs.Run.advance, []

    def dies(self, *args):
        calls.append(1)
        if len(calls) == 18:
            raise KeyboardInterrupt
        return original(self, *args)

    monkeypatch.setattr(runs.Run, "advance", dies)
    with pytest.raises(KeyboardInterrupt):
        qmix.train(qmix.Args(**settings, run_dir=str(tmp_path / "cut")))
    monkeypatch.setattr(runs.Run, "advance", original)
    qmix.train(resumed(tmp_path / "cut", qmix.Args, progress=False))
    for a, b in zip(policy_of(tmp_path / "whole"), policy_of(tmp_path / "cut"), strict=True):
        assert torch.equal(a, b)
    assert figures_of(tmp_path / "whole") == figures_of(tmp_path / "cut")


@pytest.mark.parametrize("mixer", MIXERS)
@pytest.mark.parametrize("env", ["smac_3m", "coop_nav"])
def test_games_in_which_agents_are_absent(env, mixer, tmp_path, capsys):
    settings = {**TINY, "env": env, "mixer": mixer, "player_function": "Stochastic(0.5)"}
    result = qmix.train(qmix.Args(**{**settings, "steps": 2000}, run_dir=str(tmp_path)))
    assert result["steps"] == 2000
    assert read_policy(tmp_path / "policy.safetensors")[1]["distribution"] == "greedy"
    lines = figures_of(tmp_path)
    assert all(0 < x["loss"] < 1e4 for x in lines if "loss" in x) and "loss" in lines[-1]
    assert "replay of 2,000 rounds, " in capsys.readouterr().out


@pytest.mark.parametrize("mixer", MIXERS)
def test_it_learns(mixer, tmp_path):
    settings = {
        "env": MATRIX, "mixer": mixer, "steps": 12_000, "num_envs": 16, "rounds": 8, "hidden": (32,),
        "capacity": 4000, "explore": 6000, "target_every": 20, "eval_episodes": 200, "progress": False,
        "agent_id": False, "updates": 8, "lr": 5e-3,
        "gamma": 0.9,  # the game is cut, not over: with 0.99, values near 100 hide the payoffs
    }  # fmt: skip
    result = qmix.train(qmix.Args(**settings, run_dir=str(tmp_path)))
    assert result["return"] > 0.9 * matrix_game.OPTIMUM


def test_agents_may_have_different_actions(tmp_path):
    unequal = str(Path(__file__).resolve().parents[1] / "unequal_game.py")
    for masked in ("true", "false"):
        settings = {**TINY, "env": unequal, "set": (f"masked={masked}",)}
        result = qmix.train(qmix.Args(**settings, run_dir=str(tmp_path / masked)))
        assert result["episodes"] == 20


def test_the_papers_preset_copies_the_targets_every_200_episodes():
    args = parse(qmix.Args, qmix.PRESETS, ["--preset", "paper"])
    battle = args.num_envs * args.rounds / 8  # rounds of one, if a batch holds eight battles
    assert 40 <= battle <= 60 and 8 / args.updates * args.target_every == 200


def test_settings_that_cannot_be():
    for changes, message in (
        ({"env": "coop_nav", "set": ("continuous_actions=true",)}, "qmix needs discrete actions; those of coop_nav"),
        ({"capacity": 100}, "capacity=100 is too small: 4 copies of episodes of up to 50 rounds need"),
        ({"lam": 1.5}, "lam=1.5 must be at most 1"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            qmix.train(qmix.Args(**{**TINY, "run_dir": None, **changes}))
