"""The losses of the offline learners, and the mistakes of earlier implementations that they must not make."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import pytest
import torch
from offline_worlds import discounted, made, played, updated
from torch.distributions import Normal

from learners import cql, icq, omar, td3bc
from learners.lib import conservative, offline
from learners.lib.batch import mean
from learners.lib.offline import OfflineSettings, Rewarded
from learners.lib.replay import read_episodes, sample_transitions
from learners.lib.returns import aimed as aimed_rounds

SMALL: dict[str, Any] = {"hidden": (16,), "gamma": 0.9}
ALL = [
    (td3bc.Learner, td3bc.Args(**SMALL)), (td3bc.Learner, td3bc.Args(**SMALL, recurrent=True, critic="state")),
    (cql.make, cql.Args(**SMALL)), (cql.make, cql.Args(**SMALL, variant="qmix", lam=0.6)),
    (cql.make, cql.Args(**SMALL, variant="counterfactual")), (icq.Learner, icq.Args(**SMALL)),
    (omar.make, omar.Args(**SMALL)), (omar.make, omar.Args(**SMALL, lam=0.6, recurrent=True)),
]  # fmt: skip
CONTINUOUS = [
    (td3bc.Learner, td3bc.Args(**SMALL)), (cql.make, cql.Args(**SMALL)), (icq.Learner, icq.Args(**SMALL)),
    (omar.make, omar.Args(**SMALL)),
]  # fmt: skip


# ---------------------------------------------------------------------------------- rewards and targets
def test_returns_are_those_of_the_team_to_the_end_also_for_the_dead_and_absent():
    vec, replay = played("absent")
    args = OfflineSettings(gamma=0.9, lam=1.0, reward_scale="none")
    source = Rewarded(replay, "team", args)
    numbers = torch.arange(len(source.episodes()[0]))
    plain, batch = read_episodes(replay, numbers), read_episodes(source, numbers)
    found = offline.returns(vec, batch, torch.full_like(batch.rewards, 7.0), args)
    aimed = aimed_rounds(vec, batch, team=False)
    acts, checked, died, left_out, sooner = plain.learned_from(), 0, 0, 0, 0
    acting = plain.rows.participation & plain.rows.alive
    team = torch.where(acts, plain.rewards, 0.0).sum(-1) / acts.sum(-1).clamp(min=1)
    for t, b, i in acts.nonzero().tolist():
        length = int(plain.filled[:, b].sum())
        end, lives = length, plain.rows.alive[length, b, i]
        cut = bool(plain.truncated[length - 1, b] and lives)
        if (
            cut
        ):  # the value is that of the last row in which it acts: others' values are not learned
            later = acting[t + 1 : length + 1, b, i].nonzero().flatten().tolist()
            assert bool(aimed[t, b, i]) == bool(later)
            left_out, end = left_out + (not later), t + 1 + max(later, default=0)
            sooner += bool(later) and end < length
        if not aimed[t, b, i]:
            continue
        expected = discounted(team[t:end, b], 0.9) + 0.9 ** (end - t) * 7 * cut
        died += expected > 0 and not plain.rows.alive[length - 1, b, i]
        checked += 1
        assert float(found[t, b, i]) == pytest.approx(expected, abs=1e-4)
    assert checked > 100 and died > 3 and left_out > 3 and sooner > 3


def test_targets_look_at_the_true_successor_and_bootstrap_where_an_episode_is_cut():
    vec, replay = played("absent")
    args = OfflineSettings(gamma=0.9, reward_scale="none")
    source = Rewarded(replay, "own", args)
    batch = sample_transitions(source, 400, torch.Generator().manual_seed(0))
    values = batch.next.observations.sum(-1) + 1  # of what was truly seen next
    found, cut = offline.returns(vec, batch, values, args), 0
    for b in range(400):
        over = bool(batch.terminated[0, b])
        if batch.truncated[0, b]:
            cut += 1
            assert int(batch.next.round[0, b]) == 6  # not the first row of the next episode
        for i in range(3):
            ahead = 0.0 if over or not batch.next.alive[0, b, i] else float(values[0, b, i])
            assert float(found[0, b, i]) == pytest.approx(
                float(batch.rewards[0, b, i]) + 0.9 * ahead, abs=1e-4
            )
    assert cut > 5 and bool(batch.terminated.any())
    vec.limit_is_end = True  # the limit is part of the task
    lost = offline.returns(vec, batch, values, args)[0]
    assert torch.equal(lost[batch.truncated[0]], batch.rewards[0][batch.truncated[0]])


def test_target_networks_share_the_game():
    vec, replay = played("absent")
    args = icq.Args(**SMALL)
    learner = icq.Learner(vec, args, Rewarded(replay, "team", args), torch.device("cpu"))
    games = [
        m.vec
        for net in (learner.nets.online, learner.nets.target)
        for m in net.modules()
        if hasattr(m, "vec")
    ]
    assert len(games) >= 4 and all(game is vec for game in games)


def test_rewards_are_divided_by_their_deviation():
    _, replay = played("absent")
    plain = Rewarded(replay, "own", OfflineSettings(reward_scale="none"))
    scaled = Rewarded(replay, "own", OfflineSettings())
    assert plain.scale == 1.0 and scaled.scale != 1.0
    assert torch.allclose(scaled.rewards, plain.rewards * scaled.scale)
    batch = read_episodes(replay, torch.arange(len(replay.episodes()[0])))
    paid = batch.rewards[batch.learned_from()]
    assert float(paid.std(correction=0)) * scaled.scale == pytest.approx(1.0, abs=1e-4)


def test_inputs_are_standardized_by_the_rounds_in_which_agents_act():
    vec, replay = played("absent")
    policy = offline.make_policy(vec, OfflineSettings(**SMALL, agent_id=False), replay, "greedy")
    batch = replay.read(*_rows(replay))
    seen = batch.seen.observations[batch.learned_from()]
    network = policy.networks[0]
    assert torch.allclose(network.mean, seen.mean(0), atol=1e-4)
    assert torch.allclose(network.std, seen.std(0), atol=1e-4)


def _rows(source) -> tuple[torch.Tensor, torch.Tensor]:
    rows = source.acted.nonzero().squeeze(1)
    return torch.stack([rows, source.after(rows, torch.ones_like(rows))]), torch.ones(
        1, len(rows)
    ).bool()


@pytest.mark.parametrize("kind", ["absent", "continuous"])
def test_padding_dead_and_absent_agents_have_no_influence(kind):
    for make, args in ALL if kind == "absent" else CONTINUOUS:
        learner, batch = made(make, args, kind)
        rows, filled = batch.rows, batch.filled
        last = torch.cat([filled, torch.zeros_like(filled[:1])]).logical_not()
        absent = ~rows.participation & (~last.unsqueeze(-1) | ~rows.alive)
        if kind == "continuous":  # CQL also tries what the policy would do next
            absent[1:] &= ~batch.learned_from()
        assert absent.any() and not absent.all()
        garbage = torch.where(absent.unsqueeze(-1), 100.0, rows.observations)
        acts = batch.learned_from()
        if kind == "absent":
            # A team's value also depends on how many choices there are: leave those of who acts.
            actions = torch.where(absent[:-1], 2 - batch.actions, batch.actions)
            changed = torch.where(acts, (batch.actions + 1) % 3, batch.actions)
        else:
            actions = torch.where(absent[:-1].unsqueeze(-1), 0.9, batch.actions)
            changed = torch.where(acts.unsqueeze(-1), 1 - batch.actions, batch.actions)
        other = dataclasses.replace(
            batch, rows=dataclasses.replace(rows, observations=garbage), actions=actions
        )
        found, same = updated(learner, batch), updated(learner, other)
        moved = updated(learner, dataclasses.replace(batch, actions=changed))
        assert found == pytest.approx(same, rel=1e-4, abs=1e-5), args
        assert abs(found["loss"] - moved["loss"]) > 1e-5, args


# ------------------------------------------------------------------------------------------- TD3-BC
@pytest.mark.parametrize("kind", ["absent", "continuous"])
def test_td3bc_without_values_is_behavioral_cloning(kind):
    learner, batch = made(td3bc.Learner, td3bc.Args(**SMALL, alpha=0.0), kind)
    where = batch.learned_from()
    out = offline.outputs_of(learner.policy, batch.rows)[:-1]
    if kind == "absent":
        assert batch.seen.action_mask is not None
        logits = out.masked_fill(batch.seen.action_mask == 0, -1e10)
        logs = torch.log_softmax(logits, -1).gather(-1, batch.actions.unsqueeze(-1)).squeeze(-1)
        cloning = -mean(logs, where)
    else:
        units = 2 * batch.actions - 1  # this game's actions are between 0 and 1
        cloning = mean((torch.tanh(out) - units).square().mean(-1), where)
    loss = learner.policy_loss(batch, torch.Generator().manual_seed(0))
    assert loss.item() == pytest.approx(cloning.item(), abs=1e-6)
    parameters = list(learner.policy.parameters())
    for a, b in zip(*(torch.autograd.grad(x, parameters) for x in (loss, cloning)), strict=True):
        assert torch.allclose(a, b, atol=1e-6)


@pytest.mark.parametrize("kind", ["absent", "continuous"])
def test_the_scale_of_td3bcs_values_has_no_gradient(kind):
    """If it had one, the values' gradient would vanish wherever all of them have the same sign."""
    gradients = {}
    for alpha in (0.0, 2.5, 5.0):
        learner, batch = made(td3bc.Learner, td3bc.Args(**SMALL, alpha=alpha), kind)
        with torch.no_grad():
            for critic in learner.critics:
                critic.networks.networks[0].layers[-1].bias.fill_(100.0)
        loss = learner.policy_loss(batch, torch.Generator().manual_seed(0))
        parts = torch.autograd.grad(loss, list(learner.policy.parameters()))
        gradients[alpha] = torch.cat([p.flatten() for p in parts])
    one, two = gradients[2.5] - gradients[0.0], gradients[5.0] - gradients[0.0]
    assert one.norm() > 1e-5 and torch.allclose(two, 2 * one, atol=1e-6)


def test_td3bc_samples_only_allowed_actions_and_their_gradients():
    logits = torch.tensor([1.0, -1e10, 0.5]).repeat(5000, 1).requires_grad_()
    chosen = td3bc.straight_through(logits, torch.Generator().manual_seed(0))
    assert not chosen[:, 1].any() and torch.allclose(chosen.sum(1), torch.ones(5000))
    share = torch.softmax(torch.tensor([1.0, 0.5]), 0)
    assert float(chosen[:, 0].mean()) == pytest.approx(float(share[0]), abs=0.03)
    (gradient,) = torch.autograd.grad(chosen[:, 0].sum(), logits)
    assert (gradient[:, 0] > 0).all() and not gradient[:, 1].any()


# ---------------------------------------------------------------------------------------------- CQL
def test_the_excess_is_over_allowed_actions_and_never_negative():
    rng = torch.Generator().manual_seed(0)
    q = torch.randn(2, 5, 3, 4, generator=rng) * 3
    mask = (torch.rand(2, 5, 3, 4, generator=rng) < 0.6).to(torch.int8)
    mask[..., 0] = 1
    actions = torch.zeros(2, 5, 3, dtype=torch.int64)
    found = conservative.excess(q, mask, actions)
    for place in itertools.product(range(2), range(5), range(3)):
        allowed = q[place][mask[place] != 0]
        assert float(found[place]) == pytest.approx(
            float(torch.logsumexp(allowed, 0) - q[place][0]), abs=1e-5
        )
    assert found.min() >= 0
    assert torch.equal(found, conservative.excess(torch.where(mask == 0, 1000.0, q), mask, actions))


def test_the_sampled_excess_of_joint_actions_is_that_of_all_allowed_ones():
    rng = torch.Generator().manual_seed(0)
    table = torch.randn(3, 3, generator=rng) * 2
    mask = torch.tensor([[1, 0, 1], [1, 1, 1]]).view(1, 1, 2, 3)
    table[1] = 50.0  # agent 0 may not do this
    actions = torch.tensor([2, 1]).view(1, 1, 2)
    seen = []

    def value(joint: torch.Tensor) -> torch.Tensor:
        seen.append(joint)
        return table[joint[..., 0], joint[..., 1]].unsqueeze(-1)

    taken = value(actions)
    found = conservative.joint_excess(value, taken, actions, mask, 40_000, rng)
    exact = torch.logsumexp(table[[0, 2]].flatten(), 0) - taken.squeeze()
    assert float(found) == pytest.approx(float(exact), abs=0.02)
    pairs = (seen[-1][:, 0, 0] * torch.tensor([3, 1])).sum(1)
    shares = torch.bincount(pairs, minlength=9) / 40_000
    assert torch.allclose(shares[[0, 1, 2, 6, 7, 8]], torch.full((6,), 1 / 6), atol=0.01)
    assert not shares[3:6].any()
    few = [conservative.joint_excess(value, taken, actions, mask, 2, rng) for _ in range(50)]
    assert min(map(float, few)) >= 0


def test_the_counterfactual_excess_changes_one_agents_action_at_a_time():
    learner, batch = made(cql.make, cql.Args(**SMALL, variant="counterfactual"))
    q = learner.of_actions(learner.policy, batch)[:-1]
    taken = offline.of_taken(q, batch.actions)
    values = learner.mixed("online", taken, batch.seen)
    found = learner.excess(q, values, batch, torch.Generator())
    total, acts, mask = [], batch.learned_from(), batch.seen.action_mask
    assert mask is not None
    for t, b, i in acts.nonzero().tolist():
        every = []
        for a in mask[t, b, i].nonzero().flatten().tolist():
            other = taken[t, b].clone()
            other[i] = q[t, b, i, a]
            every.append(learner.mixed("online", other, batch.seen[t, b])[0])
        total.append(torch.logsumexp(torch.stack(every), 0) - values[t, b, 0])
    assert float(found) == pytest.approx(float(torch.stack(total).mean()), abs=1e-4)


def test_samples_of_continuous_actions_come_with_the_logarithms_of_their_densities():
    learner, batch = made(cql.make, cql.Args(**SMALL), "continuous")
    rng = torch.Generator().manual_seed(0)
    with torch.no_grad():
        samples, found = conservative.samples_of(learner.vec, learner.policy, batch, 4, 0.2, rng)
        out = offline.outputs_of(learner.policy, batch.rows)
    assert samples.shape == (12, *batch.actions.shape)
    assert samples.min() >= 0 and samples.max() <= 1  # this game's bounds
    assert not found[:4].any()  # the density of uniform samples there is 1
    chosen = (1 + torch.tanh(out)) / 2
    for k, policys in ((4, chosen[:-1]), (8, chosen[1:])):
        inside = ((samples[k : k + 4] > 0) & (samples[k : k + 4] < 1)).all(-1)
        expected = Normal(policys, 0.1).log_prob(samples[k : k + 4]).sum(-1)
        assert inside.float().mean() > 0.9
        assert torch.allclose(found[k : k + 4][inside], expected[inside], atol=1e-3)


# ---------------------------------------------------------------------------------------------- ICQ
def test_icqs_weights_are_a_softmax_over_real_rounds_and_stay_finite():
    scores = torch.tensor([[0.3, 5000.0], [-0.2, -7000.0], [0.1, 1e9]]).unsqueeze(-1)
    where = torch.tensor([[1, 0], [1, 0], [1, 0]]).bool().unsqueeze(-1)
    found = icq.weights_of(scores, where, (0, 1)).squeeze(-1)
    expected = 3 * torch.softmax(torch.tensor([0.3, -0.2, 0.1]), 0)
    assert torch.allclose(found[:, 0], expected) and not found[:, 1].any()
    everything = icq.weights_of(scores, torch.ones_like(where), (0, 1))
    assert everything.isfinite().all() and everything.max() <= icq.LARGEST_WEIGHT
    assert not icq.weights_of(scores, torch.zeros_like(where), (0, 1)).any()


def test_icq_values_the_datas_next_actions():
    args = icq.Args(**SMALL, lam=0.0, beta=0.5)
    learner, batch = made(icq.Learner, args)
    target, acts = learner.nets.target["critics"], batch.learned_from()
    with torch.no_grad():
        out = offline.outputs_of(learner.policy, batch.rows)
        found = learner.targets(out, batch)
        taken, chosen = learner.both(target, out, batch)
        shares = target.shares(batch.seen, acts)
        done = (shares * taken[0]).sum(-1)
    some = acts.any(-1)
    assert torch.allclose(shares.sum(-1), some.float(), atol=1e-5)
    weights = torch.softmax(done[some] / 0.5, 0) * some.sum()
    weights = torch.zeros_like(done).masked_scatter(some, weights.clamp(max=10))
    checked, cut = 0, 0
    for t, b in batch.filled.nonzero().tolist():
        reward = float(batch.rewards[t, b, 0])
        if batch.terminated[t, b]:
            assert float(found[t, b]) == pytest.approx(reward, abs=1e-4)
        elif batch.truncated[t, b]:
            cut += 1
            lowest, highest = chosen[0, t + 1, b].min(), chosen[0, t + 1, b].max()
            ahead = (float(found[t, b]) - reward) / 0.9
            assert float(lowest) - 1e-4 <= ahead <= float(highest) + 1e-4
        elif some[t + 1, b]:
            checked += 1
            ahead = float(weights[t + 1, b] * done[t + 1, b])
            assert float(found[t, b]) == pytest.approx(reward + 0.9 * ahead, abs=1e-3)
    assert checked > 50 and cut > 3


# --------------------------------------------------------------------------------------------- OMAR
def test_omars_action_is_at_least_as_good_as_the_policys():
    learner, batch = made(omar.make, omar.Args(**SMALL, candidates=4, iterations=1), "continuous")
    with torch.no_grad():
        for p in learner.nets.online["critics"].parameters():
            p.mul_(3)
        actions = offline.actions_of(
            learner.policy, offline.outputs_of(learner.policy, batch.rows)[:-1]
        )
        best = learner.best(batch, actions, torch.Generator().manual_seed(0))
        critic = learner.nets.online["critics"][0]
        before, after = critic(batch.seen, actions), critic(batch.seen, best)
    assert (after >= before - 1e-5).all() and best.min() >= 0 and best.max() <= 1
    better = (after > before + 1e-5).float().mean()
    assert 0.3 < better < 1  # sometimes the search finds nothing better


def test_the_search_finds_the_maximum():
    peak = torch.rand(50, 2, generator=torch.Generator().manual_seed(1)) * 1.6 - 0.8
    found = omar.search(
        lambda x: -(x - peak).square().sum(-1), (50, 2), 40, 4, 6, torch.Generator().manual_seed(0)
    )
    assert (found - peak).abs().mean() < 0.1


def test_omars_best_discrete_action_is_an_allowed_one():
    learner, batch = made(omar.make, omar.Args(**SMALL))
    mask = batch.seen.action_mask
    assert mask is not None and bool((mask == 0)[batch.learned_from()].any())
    q = torch.randn(mask.shape, generator=torch.Generator().manual_seed(0))
    found = learner.policy_loss(q, batch)
    assert torch.equal(found, learner.policy_loss(torch.where(mask == 0, 50.0, q), batch))


# ------------------------------------------------------------------------------------------- critics
def test_critics_of_the_state_see_it_and_critics_of_agents_do_not():
    vec, replay = played("absent")
    batch = replay.read(*_rows(replay))
    changed = dataclasses.replace(batch.rows, states=batch.rows.states + 1)
    for kind, same in (("own", True), ("state", False)):
        critic = offline.Critic(vec, OfflineSettings(**SMALL, critic=kind), replay)
        with torch.no_grad():
            assert torch.equal(critic(batch.rows), critic(changed)) is same


def test_values_of_many_actions_are_those_of_each():
    learner, batch = made(omar.make, omar.Args(**SMALL), "continuous")
    critic = learner.nets.online["critics"][1]
    actions = torch.rand(3, *batch.actions.shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        found = offline.values_of_samples(critic, batch.seen, actions)
        for k in range(3):
            assert torch.allclose(found[k], critic(batch.seen, actions[k]), atol=1e-5)
