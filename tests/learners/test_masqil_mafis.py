"""MASQIL and MAFIS: their targets and objectives, who counts, and that they imitate."""

from __future__ import annotations

import dataclasses
import json
import math
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sample_games import LastStanding
from small_worlds import Episodes, PointMass, Tabular, policies_of, world

import mail_envs
from learners import mafis, masqil
from learners.lib.batch import Batch, Seen
from learners.lib.metrics_file import read_metrics
from learners.lib.mixers import SigmoidWeights
from learners.lib.replay import Replay, sample_chunks, sample_episodes
from learners.lib.rollout import Rollout
from learners.lib.time_limit import fraction_left
from mail_envs.vector import VectorGame

CPU = torch.device("cpu")
TINY: dict[str, Any] = {
    "hidden": (16,), "hyper_hidden": 8, "steps": 640, "num_envs": 8, "rounds": 10, "batch": 20, "episodes": 3,
    "capacity": 2000, "updates": 2, "eval_episodes": 20, "log_every": 1, "checkpoint_every": 3, "progress": False,
    "num_demos": 6, "demos": "random",
}  # fmt: skip


def battles(module: Any, players=None, **changes) -> tuple[Any, Batch, torch.Tensor]:
    """A learner of a game with deaths, absent agents and forbidden actions; episodes of it, and where they are from."""
    torch.manual_seed(0)
    players = players or mail_envs.Stochastic(0.6)
    vec = VectorGame(LastStanding(max_rounds=6), players, 6, array="torch")
    args = module.Args(gamma=0.9, hidden=(16,), hyper_hidden=8, **changes)
    learner = module.Learner(vec, args, CPU)
    policy, rng = learner.values.agents.policy, torch.Generator().manual_seed(0)
    policy.distribution.epsilon = 1.0
    rollout, replay = Rollout(vec, 20, "cpu", policy.memory_size, True), Replay(vec, 4000)
    rollout.reset(0)
    for _ in range(4):
        rollout.collect(policy, rng)
        replay.add(rollout)
    return learner, sample_episodes(replay, 64, rng), torch.arange(64) % 2


# ------------------------------------------------------------------------------------------- MASQIL
@pytest.mark.parametrize("absorbing", [True, False])
def test_demonstrations_are_paid_one_a_round_to_the_limit(absorbing):
    learner, batch, origin = battles(masqil)
    found = masqil.rewards_of(learner.values.vec, batch, origin, 0.9, absorbing).squeeze(-1)
    assert not found[:, origin == 1].any()
    checked = 0
    for t, b in batch.filled.nonzero().tolist():
        if origin[b] == 0:
            left = 5 - t if absorbing and batch.terminated[t, b] else 0
            checked += left > 0
            assert float(found[t, b]) == pytest.approx(
                sum(0.9**k for k in range(left + 1)), rel=1e-5
            )
    assert checked > 0 or not absorbing


@pytest.mark.parametrize("soft", [True, False])
def test_masqils_targets_are_soft_or_hard_values_of_allowed_actions(soft):
    learner, batch, origin = battles(masqil, mixer="vdn", soft=soft, temperature=0.5)
    values, target = learner.values, learner.target
    rewards = masqil.rewards_of(values.vec, batch, origin, 0.9, False)
    with torch.no_grad():
        online = values.agents.of_actions(batch)
        found = masqil.targets_of(online, values, target, batch, rewards)
    checked = 0
    assert batch.next.action_mask is not None
    for t, b in batch.filled.nonzero().tolist():
        acts = (batch.next.participation & batch.next.alive)[t, b]
        if batch.terminated[t, b] or batch.truncated[t, b] or not acts.any():
            continue
        total = 0.0
        for i in acts.nonzero().flatten().tolist():
            allowed = batch.next.action_mask[t, b, i].nonzero().flatten()
            q = online[t + 1, b, i, allowed].double()
            total += float(0.5 * torch.logsumexp(q / 0.5, 0) if soft else q.max())
        assert float(found[t, b]) == pytest.approx(float(rewards[t, b]) + 0.9 * total, abs=1e-4)
        checked += 1
    assert checked > 50


def test_the_return_of_an_agent_alone_ends_with_its_death():
    """Whole episodes, as with --recurrent, and single rounds, as without, give the same targets."""
    learner, whole, origin = battles(masqil, mail_envs.Synchronous(), mixer="none")
    rounds = len(whole.filled)
    pairs = [[x[t : t + 2] for t in range(rounds)] for x in vars(whole.rows).values()]
    seen = Seen(*(torch.cat(parts, 1) for parts in pairs))
    names = ("actions", "rewards", "terminated", "truncated", "filled")
    played = {name: getattr(whole, name).flatten(0, 1)[None] for name in names}
    single = Batch(seen, **played, memory=whole.memory.repeat(rounds, 1, 1))
    found = []
    for batch, where in ((whole, origin), (single, origin.repeat(rounds))):
        rewards = masqil.rewards_of(learner.values.vec, batch, where, 0.9, True)
        with torch.no_grad():
            online = learner.values.agents.of_actions(batch)
            targets = masqil.targets_of(online, learner.values, learner.target, batch, rewards)
        found.append(targets.flatten(0, 1)[batch.learned_from().flatten(0, 1)])
    assert torch.allclose(*found, atol=1e-6)
    dies = whole.learned_from() & ~whole.next.alive & ~whole.terminated[..., None]
    paid = (origin == 0)[None, :, None].expand(dies.shape)[whole.learned_from()].float()
    died = dies[whole.learned_from()]
    assert died.sum() > 10 and torch.equal(found[0][died], paid[died])


def test_demonstrations_beyond_the_runs_time_limit_are_paid_one_a_round():
    learner, batch, origin = battles(masqil)
    late = dataclasses.replace(batch.rows, round=batch.rows.round + 50)
    batch = dataclasses.replace(batch, rows=late)
    for gamma in (0.9, 1.0):
        found = masqil.rewards_of(learner.values.vec, batch, origin, gamma, True).squeeze(-1)
        assert (batch.terminated & ~batch.truncated).any()
        assert torch.equal(found, (origin == 0).float().expand_as(found))
    battle = types.SimpleNamespace(max_rounds=6, limit_is_end=True)
    assert fraction_left(battle, torch.tensor([0, 3, 6, 50])).flatten().tolist() == [1, 0.5, 0, 0]


def test_without_discount_every_round_after_an_early_end_counts_fully():
    learner, batch, origin = battles(masqil)
    found = masqil.rewards_of(learner.values.vec, batch, origin, 1.0, True)
    early = batch.terminated & ~batch.truncated
    left = learner.values.vec.max_rounds - 1 - batch.seen.round
    shown = (origin == 0).expand(early.shape)
    expected = torch.where(shown, torch.where(early, 1.0 + left, 1.0), 0.0)
    assert torch.equal(found.squeeze(-1), expected) and (early & shown).any()


# -------------------------------------------------------------------------------------------- MAFIS
def test_weights_of_mafis_are_between_0_and_1_and_depend_on_the_state():
    torch.manual_seed(0)
    found = SigmoidWeights(3, 5, 8)(torch.randn(200, 5) * 3)
    assert found.min() > 0 and found.max() < 1 and found.std(0).min() > 0.01


def test_mafis_values_are_the_soft_values_of_its_training_policy():
    """V = E[w Q] + temperature * entropy under softmax(w Q / temperature), summed over the agents that act."""
    learner, batch, _ = battles(mafis, temperature=0.2)
    values, checked = learner.values, 0
    assert batch.rows.action_mask is not None
    with torch.no_grad():
        found, q = values.terms(batch, torch.Generator()), values.agents.of_actions(batch)
        weights = values.weights(batch.rows.states)
    for t, b in batch.filled.nonzero().tolist():
        total = 0.0
        for i in batch.learned_from()[t, b].nonzero().flatten().tolist():
            allowed = batch.rows.action_mask[t, b, i].nonzero().flatten()
            x = (weights[t, b, i] * q[t, b, i, allowed]).double()
            p = torch.softmax(x / 0.2, 0)
            total += float((p * x).sum() - 0.2 * (p * p.log()).sum())
            checked += 1
        assert float(found.values[t, b]) == pytest.approx(total, abs=1e-4)
    assert checked > 300


def test_mafis_plays_weighted_values_in_training():
    torch.manual_seed(0)
    vec = mail_envs.make_vec("coop_nav", num_envs=4000, array="torch")
    values = mafis.Values(vec, mafis.Args(hidden=(8,), hyper_hidden=8))
    seen, info = vec.reset(seed=0)
    seen = torch.zeros_like(seen)
    acts, rng = torch.as_tensor(info["participation"]).bool(), torch.Generator().manual_seed(0)
    with torch.no_grad():
        values.weights.logits[-1].bias.copy_(torch.tensor([9.0, 0.0, -9.0]))  # pyright: ignore
        values.weights.logits[-1].weight.zero_()  # pyright: ignore
        values.agents.policy.networks[0].layers[-1].bias.copy_(torch.arange(5.0))
        actions = values.act(seen, None, rng, torch.zeros(4000, 3, 0), acts)
        out, _ = values.agents.policy.unroll(seen[None], torch.zeros(4000, 3, 0), acts[None])
    for i, weight in enumerate((1.0, 0.5, 0.0)):
        expected = torch.softmax(out[0, 0, i] * weight, -1)
        shares = torch.bincount(actions[:, i], minlength=5) / 4000
        assert (shares - expected).abs().max() < 0.03
    assert (torch.softmax(out[0, 0, 0], -1) - 0.2).abs().max() > 0.3


def test_emphasis_follows_the_divergences():
    rewards = torch.tensor([-9.0, 0.0, 1.0])
    assert mafis.emphasis(rewards, "chi_square").tolist() == [10, 1, 0]
    assert mafis.emphasis(rewards, "total_variation").tolist() == [1, 1, 1]
    assert mafis.emphasis(rewards, "hellinger").tolist() == pytest.approx([4, 1, 0.25])
    e = math.exp
    assert mafis.emphasis(rewards, "kl").tolist() == pytest.approx([e(0.5), 1, e(-1)])
    assert mafis.emphasis(rewards, "js").tolist() == pytest.approx(
        [e(0.5) / (2 - e(0.5)), 1, e(-1) / (2 - e(-1))]
    )


@pytest.mark.parametrize(("module", "changes"), [
    (masqil, {"mixer": "vdn"}), (masqil, {"mixer": "qmix", "soft": True}), (mafis, {}), (mafis, {"divergence": "kl"}),
])  # fmt: skip
def test_padding_dead_and_absent_agents_have_no_influence(module, changes):
    learner, batch, origin = battles(module, **changes)
    rows, filled = batch.rows, batch.filled
    last = torch.cat([filled, torch.zeros_like(filled[:1])]).logical_not()
    absent = ~rows.participation & (~last.unsqueeze(-1) | ~rows.alive)
    if module is mafis:  # no reward holds down what absent agents are worth in the last rows
        absent = ~rows.participation | ~rows.alive
    garbage = torch.where(absent.unsqueeze(-1), 100.0, rows.observations)
    actions = torch.where(absent[:-1], 2 - batch.actions, batch.actions)
    other = dataclasses.replace(
        batch, rows=dataclasses.replace(rows, observations=garbage), actions=actions
    )
    acting = torch.where(batch.learned_from(), (batch.actions + 1) % 3, batch.actions)
    changed = dataclasses.replace(batch, actions=acting)

    def loss(given: Batch) -> torch.Tensor:
        if module is masqil:
            return learner.loss_of(given, origin)[0]
        return mafis.loss_of(
            learner.values.terms(given, torch.Generator()), origin, learner.args.divergence
        )

    assert torch.allclose(loss(batch), loss(other), rtol=1e-5)
    assert (loss(batch) - loss(changed)).abs() > 1e-5


# --------------------------------------------------------------- MAFIS with continuous actions
CONTINUOUS: dict[str, Any] = {
    "set": ("continuous_actions=true",),
    "samples": 3,
    "langevin_steps": 3,
}


def skirmishes() -> tuple[Any, Batch, torch.Tensor]:
    """A learner of a game of three agents with two continuous actions that die or are absent; sequences of it."""
    torch.manual_seed(0)
    rng, K, T = torch.Generator().manual_seed(0), 30, 5
    alive = torch.rand(K, 1, 3, generator=rng) * 8 > torch.arange(T + 1).view(1, -1, 1)
    alive[:, 0] = True
    source = Episodes(
        observations=torch.randn(K, T + 1, 3, 4, generator=rng), alive=alive,
        actions=torch.rand(K, T, 3, 2, generator=rng) * 2 - 1, states=torch.randn(K, T + 1, 5, generator=rng),
        participation=alive & (torch.rand(K, T + 1, 3, generator=rng) < 0.6),
        terminated=(torch.arange(T) == T - 1).expand(K, -1) & (torch.arange(K) < 9).unsqueeze(1),
    )  # fmt: skip
    args = mafis.Args(gamma=0.9, hidden=(16,), hyper_hidden=8, samples=4, langevin_steps=4)
    learner = mafis.Learner(world(3, 4, 2, 5, discrete=False, synchronous=False), args, CPU)
    return learner, sample_chunks(source, 40, 4, rng), torch.arange(40) % 2


def test_rewards_and_values_are_sums_over_the_agents_that_act():
    learner, batch, _ = skirmishes()
    values = learner.values
    with torch.no_grad():
        weights = values.weights(batch.rows.states).unsqueeze(-1)
        ((q, v),) = values.agents.values(batch, torch.Generator().manual_seed(1), weights)
        found = values.terms(batch, torch.Generator().manual_seed(1))
        flat = (
            batch.seen.observations.flatten(0, 1),
            values.policy.units(batch.actions).flatten(0, 1),
        )
        own = values.policy.critics(*flat).view_as(q)
    assert torch.allclose(q, own * weights[:-1, ..., 0])
    acts, checked = batch.rows.participation & batch.rows.alive, 0
    for t, b in batch.filled.nonzero().tolist():
        reward = now = 0.0
        known = True  # every agent's value that follows is in the sequence
        for i in acts[t, b].nonzero().flatten().tolist():
            ahead, k = 0.0, t + 1  # the agent's value where it acts next
            while not batch.terminated[k - 1, b] and batch.rows.alive[k, b, i]:
                if acts[k, b, i]:
                    ahead = float(v[k, b, i]) * 0.9 ** (k - t)
                    break
                if k == 4 or not batch.filled[k, b]:
                    known = False
                    break
                k += 1
            reward, now = reward + float(q[t, b, i]) - ahead, now + float(v[t, b, i])
        assert bool(found.counts[t, b]) == (known and bool(acts[t, b].any()))
        if known:
            assert float(found.rewards[t, b]) == pytest.approx(reward, abs=1e-4)
            assert float(found.values[t, b]) == pytest.approx(now, abs=1e-4)
            checked += 1
    assert checked > 60 and not batch.rows.alive[:-1][batch.filled].all()


def test_the_penalties_are_on_large_values_and_steep_slopes():
    learner, batch, _ = skirmishes()
    values, network = learner.values, learner.values.policy.critics.networks[0]
    with torch.no_grad():
        for p in values.policy.parameters():
            p.zero_()
        layer = network.layers[0].weight  # Q = 3 * relu(first component + 9), of slope 3
        layer[0, 7], network.layers[0].bias[0], network.layers[1].weight[0, 0] = 1.0, 9.0, 3.0
    slopes = values.agents.slopes(batch, torch.Generator().manual_seed(0))
    assert torch.allclose(slopes, torch.tensor(3.0), atol=1e-4)
    terms = values.terms(batch, torch.Generator())
    q = terms.rewards + terms.values - terms.gaps
    large = float((q.square() + terms.values.square()).detach()[terms.counts].mean())
    found = values.penalty(terms, batch, torch.Generator())
    assert float(found.detach()) == pytest.approx(0.25 * (3 - 1) ** 2 + 0.01 * large, rel=1e-3)
    (gradient,) = torch.autograd.grad(slopes.mean(), network.layers[1].weight)
    assert float(gradient[0, 0]) == pytest.approx(1.0, rel=1e-4)


def test_dead_and_absent_agents_have_no_influence_on_continuous_values():
    learner, batch, origin = skirmishes()
    rows, acts = batch.rows, batch.learned_from()
    absent = ~(rows.alive & rows.participation)
    garbage = torch.where(absent.unsqueeze(-1), 50.0, rows.observations)
    actions = torch.where(acts.unsqueeze(-1), batch.actions, 0.9)
    other = dataclasses.replace(
        batch, rows=dataclasses.replace(rows, observations=garbage), actions=actions
    )
    changed = dataclasses.replace(batch, actions=-batch.actions)

    def loss(given: Batch) -> torch.Tensor:
        rng = torch.Generator().manual_seed(0)
        terms = learner.values.terms(given, rng)
        penalty = learner.values.penalty(terms, given, rng)
        return mafis.loss_of(terms, origin, "total_variation") + penalty

    assert absent[:-1][batch.filled].any() and torch.allclose(loss(batch), loss(other), rtol=1e-5)
    assert (loss(batch) - loss(changed)).abs() > 1e-5


@pytest.mark.parametrize("offline", [False, True])
def test_the_continuous_form_learns_to_stop_a_mass(offline):
    """The cost of the best actions beyond the expert's is at most a seventh of that of doing nothing."""
    torch.manual_seed(0)
    game = PointMass()
    args = mafis.Args(
        lr=3e-3, hidden=(32,), hyper_hidden=8, batch=64, gamma=0.95, temperature=0.05, agent_id=False,
        samples=4, langevin_steps=5, offline=offline,
    )  # fmt: skip
    learner, rng = mafis.Learner(game.world(), args, CPU), torch.Generator().manual_seed(0)
    values = learner.values

    def sampled(seen: torch.Tensor) -> torch.Tensor:
        return values.agents.draw(seen.unsqueeze(1), values.weights(seen), rng)[:, 0, 0]

    def best(seen: torch.Tensor) -> torch.Tensor:
        return values.policy.act(seen.unsqueeze(1), None, None)[:, 0, 0]

    demonstrations, own = game.play(game.expert, 16, 1)[0], None
    for k in range(160):
        if k % 20 == 0 and not offline:
            own = game.play(sampled, 16, 100 + k)[0]
        learner.update(demonstrations, own, rng, show=False)
    found, soft, expert, nothing = (
        game.play(p, 100, 7)[1] for p in (best, sampled, game.expert, lambda seen: 0 * seen[:, 0])
    )
    assert nothing > 8 * expert
    assert found - expert < (nothing - expert) / 7 and soft - expert < (nothing - expert) / 4


# --------------------------------------------------------------------------------------- imitation
@pytest.mark.parametrize(("module", "steps", "changes"), [
    (masqil, 400, {"soft": True, "mixer": "vdn", "target_every": 10, "temperature": 1.0}),
    (mafis, 250, {}), (mafis, 250, {"offline": True}),
])  # fmt: skip
def test_best_actions_imitate_the_tabular_expert(module, steps, changes):
    """They get most of what the expert gets, which is soft."""
    torch.manual_seed(0)
    game = Tabular()
    expert, uniform = game.expert(), np.full((game.S, 2, game.A), 1 / game.A)
    args = module.Args(gamma=game.GAMMA, lr=5e-3, hidden=(32,), batch=64, **changes)
    learner, rng = module.Learner(game.world(), args, CPU), torch.Generator().manual_seed(0)
    demonstrations, own = game.play(expert, 24, 1), None
    for k in range(steps):
        if k % 25 == 0 and not args.offline:
            soft = policies_of(learner.values.agents.policy, game.S, 2)
            own = game.play(soft, 16, 100 + k)
        learner.update(demonstrations, own, rng, show=False)
    best = policies_of(learner.values.agents.policy, game.S, 2).argmax(-1)
    found, low, high = (game.values_of(x) for x in (np.eye(game.A)[best], uniform, expert))
    assert (found - low) / (high - low) > 0.8


# -------------------------------------------------------------------------------------------- runs
def figures_of(folder: Path) -> list[dict]:
    lines = [json.loads(x) for x in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in x.items() if k not in ("seconds", "steps_per_second")} for x in lines]


@pytest.mark.parametrize(("module", "changes"), [
    (masqil, {}), (masqil, {"recurrent": True, "mixer": "none", "soft": True}), (mafis, {"recurrent": True}),
    (mafis, {"offline": True, "steps": 20}), (mafis, CONTINUOUS), (mafis, {**CONTINUOUS, "offline": True, "steps": 20}),
])  # fmt: skip
def test_runs_in_which_agents_are_absent(module, changes, tmp_path):
    settings = {**TINY, **changes, "env": "stochastic_coop_nav"}
    result = module.train(module.Args(**settings, run_dir=str(tmp_path)))
    last = figures_of(tmp_path)[-1]
    assert (
        result["episodes"] == 20
        and math.isfinite(last["loss"])
        and math.isfinite(last["value_expert"])
    )


def test_a_loss_that_is_not_finite_is_an_alarm(tmp_path, monkeypatch, capsys):
    """Its steps are not made, so that the values themselves stay finite."""
    monkeypatch.setattr(
        masqil, "rewards_of", lambda vec, batch, *_: batch.rewards[..., :1] * math.nan
    )
    result = masqil.train(masqil.Args(**TINY, env="coop_nav", run_dir=str(tmp_path)))
    said = capsys.readouterr().out
    assert "values diverge: |V| is nan" in said
    assert said.count("a gradient was not finite, and its step was not made") == 1
    steps = TINY["updates"] * 8  # in 8 fragments of 8 copies and 10 rounds
    assert result["skipped_steps"] == steps
    counts = [line["skipped_steps"] for line in read_metrics(tmp_path / "metrics.jsonl")]
    assert counts == list(range(2, steps + 1, 2))


def test_the_target_plays_no_game_of_its_own():
    learner, _, _ = battles(masqil)
    assert learner.target.vec is learner.values.vec
    assert learner.target.agents is not learner.values.agents


@pytest.mark.parametrize(("module", "changes"), [(masqil, {}), (mafis, {}), (mafis, CONTINUOUS)])
def test_a_resumed_run_ends_like_an_uninterrupted_one(module, changes, tmp_path):
    settings = {**TINY, **changes, "env": "coop_nav", "eval_episodes": 0, "checkpoint_every": 4}
    module.train(module.Args(**settings, run_dir=str(tmp_path / "whole")))
    module.train(module.Args(**{**settings, "steps": 320}, run_dir=str(tmp_path / "cut")))
    folder = str(tmp_path / "cut")
    module.train(module.Args(**{**settings, "run_dir": folder, "resume": folder}))
    assert figures_of(tmp_path / "whole") == figures_of(tmp_path / "cut")


@pytest.mark.parametrize(("module", "changes", "message"), [
    (masqil, {}, "masqil needs discrete actions; those of coop_nav are continuous"),
    (mafis, {"recurrent": True}, "--recurrent needs discrete actions; those of coop_nav are continuous"),
])  # fmt: skip
def test_continuous_actions_are_refused(module, changes, message, tmp_path):
    settings = {**TINY, **changes, "env": "coop_nav", "set": ("continuous_actions=true",)}
    with pytest.raises(ValueError, match=message):
        module.train(module.Args(**settings, run_dir=str(tmp_path)))
