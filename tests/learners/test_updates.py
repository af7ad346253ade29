"""Every term in the updates of MACK, IPPO, MAGAIL and AMAGAIL has its intended effect."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from sample_games import LastStanding

import mail_envs
from demos.dataset import Demonstrations
from demos.record import record
from learners import amagail, bc, ippo, mack, magail
from learners.lib.architectures import read_policy
from learners.lib.expert_data import group_rows, to_torch
from learners.lib.metrics_file import read_metrics
from learners.lib.occupancy import Occupancy
from learners.lib.optimizers import Adam
from learners.lib.rollout import Rollout
from learners.lib.time_limit import time_left
from mail_envs.vector import VectorGame

GAME = "stochastic_coop_nav"
CPU = torch.device("cpu")
SMALL = {"num_envs": 20, "rounds": 10, "hidden": (16,), "eval_episodes": 0, "progress": False}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("demos") / "scripted"
    record(GAME, "scripted", 10, 0, path)
    return str(path)


def parts(module, folder: str, **settings):
    """A learner's settings, its networks, one fragment of 10 rounds of 20 games, and the demonstrations."""
    torch.manual_seed(0)
    args = module.Args(**{**SMALL, **settings})
    vec = mail_envs.make_vec(GAME, args.num_envs, array="torch")
    make = ippo.make_agent if module is ippo else mack.ActorCritic
    agent: Any = make(vec, args, CPU)
    rollout = Rollout(vec, args.rounds, CPU)
    rollout.reset(7)
    rng = torch.Generator().manual_seed(0)
    rollout.collect(agent.policy, rng)
    return (
        args,
        agent,
        rollout,
        to_torch(Demonstrations.open(folder).transitions(), vec, "cpu"),
        rng,
    )


# ----------------------------------------------------------------------------------- MACK and IPPO
def test_macks_critics_learn_what_the_dead_are_worth():
    """The values after its death enter the advantages of an agent's last rounds; actors do not act any more."""
    torch.manual_seed(0)
    args = mack.Args(**SMALL)
    vec = VectorGame(
        LastStanding(max_rounds=10, endless=True), mail_envs.Synchronous(), 20, array="torch"
    )
    agent = mack.ActorCritic(vec, args, CPU)
    rollout = Rollout(vec, 30, CPU)
    rollout.reset(7)
    rng = torch.Generator().manual_seed(0)
    rollout.collect(agent.policy, rng)
    dead = ~rollout.alive[:-1]
    assert dead.sum() > 50 and not (rollout.learned_from() & dead).any()
    targets = torch.where(dead, -7.0, 3.0)
    for _ in range(150):
        advantages = torch.where(dead, torch.nan, 0.0)  # of no use to the actors
        mack.update(agent, rollout, advantages, targets, rollout.learned_from(), args, rng)
    rows = (
        rollout.observations[:-1],
        rollout.actions,
        rollout.participation[:-1],
        time_left(rollout)[:-1],
    )
    values = agent.critic(*(x.flatten(0, 1) for x in rows)).view_as(dead)
    assert values[dead].mean() < -5 and values[~dead].mean() > 1
    assert all(p.isfinite().all() for p in agent.policy.parameters())


def entropy_after(module, folder: str, weight: float) -> float:
    """Mean entropy of the policy after 30 updates in which no action is better than another."""
    args, agent, rollout, _, rng = parts(module, folder, entropy=weight)
    with torch.no_grad():  # far from uniform
        agent.policy.networks[0].layers[-1].bias.copy_(torch.tensor([2.0, 1, 0, 0, 0]))
    nothing = torch.zeros_like(rollout.rewards)
    for _ in range(30):
        if module is ippo:
            memory = torch.zeros(*nothing.shape, 0)
            ippo.update(agent, rollout, nothing.clone(), nothing.clone(), memory, args, rng)
        else:
            mack.update(agent, rollout, nothing, nothing, rollout.learned_from(), args, rng)
    inputs = agent.policy.inputs(0, rollout.observations[:-1].flatten(0, 1))
    logs = torch.log_softmax(agent.policy.networks[0](inputs), 1)
    return float(-(logs.exp() * logs).sum(1).mean().detach())


@pytest.mark.parametrize("module", [mack, ippo], ids=["mack", "ippo"])
def test_the_entropy_bonus_raises_the_entropy(module, folder):
    assert entropy_after(module, folder, 0.1) > entropy_after(module, folder, 0.0) + 0.05


@pytest.mark.parametrize("module", [mack, ippo], ids=["mack", "ippo"])
def test_annealing_ends_with_small_steps(module, tmp_path, monkeypatch):
    """The sizes of the actors' steps in a run of four updates."""
    sizes = []
    original = module.update

    def spy(agent, *rest, **more):
        optimizers = agent.optimizers if module is ippo else agent.actor_optimizers
        one = optimizers[0]
        sizes.append(one.lr if isinstance(one, Adam) else math.sqrt(one.kl_clip))
        return original(agent, *rest, **more)

    monkeypatch.setattr(module, "update", spy)
    for anneal in (True, False):
        run = {"steps": 800, "anneal": anneal, "run_dir": str(tmp_path / str(anneal))}
        module.train(module.Args(**{**SMALL, **run}))
    assert [x / sizes[0] for x in sizes] == pytest.approx([1, 0.75, 0.5, 0.25, 1, 1, 1, 1])


def test_logged_returns_are_means_over_all_episodes_since_the_last_line(tmp_path, monkeypatch):
    """Not over updates: where episodes begin together, the few that end early would count as much as the rest."""
    played = iter(
        [{"episodes": 1, "return": -10.0}, {"episodes": 0}, {"episodes": 3, "return": -20.0}]
    )
    losses = iter([1.0, 2.0, 6.0])
    monkeypatch.setattr(Rollout, "episodes", lambda self: next(played))
    monkeypatch.setattr(mack, "update", lambda *rest: {"value_loss": next(losses)})
    run = {"steps": 600, "log_every": 3, "run_dir": str(tmp_path)}
    mack.train(mack.Args(**{**SMALL, **run}))
    (line,) = read_metrics(tmp_path / "metrics.jsonl")
    assert (line["return"], line["episodes"], line["value_loss"]) == (-17.5, 4, 3.0)


def test_adam_clips_the_gradients_norm():
    for factor in (1e-3, 1e6):
        network = torch.nn.Linear(2, 1, bias=False)
        optimizer = Adam(network, lr=1.0, max_grad_norm=0.5)
        optimizer.step(factor * network(torch.tensor([[3.0, 4.0]])).sum())
        gradient = optimizer.moments[0][1] / 0.1  # the mean after one step
        assert float(gradient.norm()) == pytest.approx(min(5 * factor, 0.5), rel=1e-4)


@pytest.mark.parametrize("count", [1, 2])
def test_statistics_that_a_single_entry_does_not_have_are_left_out(folder, count):
    """They would not be numbers, and neither would the means of the updates that are logged together."""
    args, agent, rollout, _, rng = parts(mack, folder)
    valid = torch.zeros_like(rollout.alive[:-1])
    valid.view(-1)[:count] = True
    rewards = torch.rand(valid.shape, generator=rng)
    found = mack.update(agent, rollout, rewards, rewards, valid, args, rng)
    found |= magail.reward_statistics(rewards, valid)
    assert all(map(math.isfinite, found.values()))
    assert found.keys() >= {"entropy", "value_loss"}
    assert (found.keys() >= {"explained", "reward", "reward_sd"}) == (count > 1)


def test_values_are_bounded(folder):
    _args, agent, rollout, _, rng = parts(mack, folder)
    with torch.no_grad():
        agent.critic.networks[0].layers[-1].bias.fill_(1e6)
    rewards = torch.zeros_like(rollout.rewards)
    for bound in (20.0, math.inf):
        _advantages, targets = mack.estimate_advantages(
            agent, rollout, rewards, 0.95, 0.95, rng, bound
        )
        assert float(targets.max()) == pytest.approx(0.95 * min(bound, 1e6), rel=1e-3)


def test_values_are_bounded_by_the_largest_return():
    for form, gamma, largest in (("tanh", 0.9, 10), ("logit", 0.9, 100), ("tanh", 1.0, math.inf)):
        args = magail.Args(reward=form, gamma=gamma)
        assert magail.largest_value(args) == pytest.approx(largest)


def test_the_fisher_sample_contains_every_agent():
    """It is drawn at random: every N-th row would always be the same agent."""
    rows = mack.some_rows(3000, 1000, torch.Generator().manual_seed(0))
    shares = torch.bincount(torch.arange(3000)[rows] % 3, minlength=3) / 1000
    assert torch.allclose(shares, torch.full((3,), 1 / 3), atol=0.06)
    assert torch.equal(torch.arange(5)[mack.some_rows(5, 10, torch.Generator())], torch.arange(5))


# ---------------------------------------------------------------------------------- MAGAIL and AMAGAIL
@pytest.mark.parametrize("limit", [50, 5])
def test_no_rounds_remain_after_demonstrations_that_are_longer_than_the_time_limit(folder, limit):
    played = Demonstrations.open(folder).transitions()
    early = played.terminated[played.terminated | played.truncated]
    lengths = played.round[played.terminated | played.truncated] + 1
    assert early.any() and lengths.min() > 5
    data = to_torch(played, mail_envs.make_vec(GAME, max_rounds=limit), "cpu")
    assert data.endings.remaining.tolist() == (early * (limit - lengths).clip(0)).tolist()


def adversary_of(args, agent, data, vec, phi: str):
    valid = bc.valid_entries(phi, data)
    occupancy = Occupancy(data, valid, vec.max_rounds, args.absorbing)
    return magail.Adversary(agent.policy, data, args, CPU), occupancy


def rewarded(folder: str, phi: str, **settings):
    """Rewards of a fragment, their expected values without early ends, and the fragment."""
    args, agent, rollout, data, _rng = parts(magail, folder, **settings)
    adversary, occupancy = adversary_of(args, agent, data, rollout.vec, phi)
    valid = rollout.learned_from() if phi == "filter" else torch.ones_like(rollout.alive[:-1])
    rollout.terminated[4, 3], rollout.episode_length[4, 3] = True, 5
    rollout.final_observations[4, 3] = 0.5
    pairs, counts = occupancy.of_policy(rollout, valid)
    rewards = magail.rewards_of(adversary, occupancy, rollout, pairs, counts, args)
    x = (rollout.observations[:-1].flatten(0, 1), rollout.actions.flatten(0, 1))
    nobody = torch.zeros(200, 3, dtype=torch.bool)
    logits = adversary.discriminator(*x, valid.flatten(0, 1), nobody)
    logits = logits.view_as(rewards).detach()
    at_end = (torch.full((1, 3, rollout.observations.shape[3]), 0.5), torch.zeros(1, 3).long())
    ended = adversary.discriminator(*at_end, nobody[:1], ~nobody[:1])[0].detach()
    return args, rollout, rewards, torch.tanh(logits / 2), torch.tanh(ended / 2), occupancy


def test_an_absent_agent_gets_no_reward_in_amagail(folder):
    _, rollout, rewards, expected, _, _ = rewarded(folder, "filter", absorbing=False)
    acts = rollout.participation[:-1]
    assert 0.3 < float(acts.float().mean()) < 0.7
    assert bool((rewards[~acts] == 0).all())
    assert torch.allclose(rewards[acts], expected[acts], atol=1e-6)


def test_magail_rewards_absent_agents_too(folder):
    _, _, rewards, expected, _, _ = rewarded(folder, "as_action", absorbing=False)
    assert torch.allclose(rewards, expected, atol=1e-6)


def test_an_early_end_is_rewarded_by_the_logit_of_its_absorbing_state(folder):
    args, rollout, rewards, expected, ended, occupancy = rewarded(folder, "filter")
    expected = expected * rollout.participation[:-1]
    rest = sum(args.gamma**k for k in range(1, rollout.vec.max_rounds - 5 + 1))
    expected[4, 3] += ended * rest * occupancy.rates
    assert torch.allclose(rewards, expected, atol=1e-5)
    assert float(ended.abs().min()) > 1e-3
    _, _, alone, _, _, _ = rewarded(folder, "filter", pair_rewards=False)
    assert torch.allclose(alone[4, 3], ended * rest * occupancy.rates, atol=1e-5)
    alone[4, 3] = 0
    assert bool((alone == 0).all())


@pytest.mark.parametrize("weight", [0.0, 0.5])
def test_the_cloning_term_raises_the_likelihood_of_demonstrated_actions(weight, folder):
    args, agent, rollout, data, rng = parts(magail, folder, cloning=weight)
    rows = group_rows(agent.policy, data, data.participation)

    def likelihood() -> float:
        return -float(bc.nll(agent.policy, 0, rows[0]).detach())

    before = likelihood()
    nothing = torch.zeros_like(rollout.rewards)
    for _ in range(30):
        clone = magail.cloning_loss(agent.policy, data, data.participation, args)
        if weight:
            assert clone is not None
            assert float(clone(0)) == pytest.approx(-weight * likelihood(), rel=1e-4)
        valid = rollout.learned_from()
        mack.update(agent, rollout, nothing, nothing, valid, args, rng, True, clone)
    gained = likelihood() - before
    assert gained > 0.05 if weight else gained == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("module", [magail, amagail], ids=["magail", "amagail"])
def test_the_first_updates_do_not_change_the_actors(module, folder, tmp_path):
    """With a checkpoint after every update, the policy first changes in the third."""
    settings = {**SMALL, "demos": folder, "num_demos": 10, "warm_start": 5, "keep": "last"}
    settings |= {"steps": 800, "disc_first": 2, "checkpoint_every": 1, "run_dir": str(tmp_path)}
    seen = []
    original = mack.update

    def spy(agent, *rest):
        before = [p.clone() for p in agent.policy.parameters()]
        result = original(agent, *rest)
        pairs = zip(before, agent.policy.parameters(), strict=True)
        seen.append(all(torch.equal(a, b) for a, b in pairs))
        return result

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mack, "update", spy)
        module.train(module.Args(**settings))
    assert seen == [True, True, False, False]


def test_the_discriminators_rate_decays_to_zero(folder):
    args, agent, _, data, _ = parts(magail, folder, disc_lr=0.2, steps=1000)
    adversary = magail.Adversary(agent.policy, data, args, CPU)
    rates = []
    for steps in (0, 250, 750, 1000):
        run = SimpleNamespace(progress=steps / args.steps, args=args)
        magail.schedule(run, agent, adversary)
        rates.append(adversary.optimizers[0].lr)
    assert rates == pytest.approx([0.2, 0.15, 0.05, 0.0])


# ------------------------------------------------------------------------------------- what is kept
def test_the_closest_policy_is_kept(folder, tmp_path, monkeypatch):
    """With distances 3, 1, 2, 4, the policy of the second measurement is kept, and the run reports it."""
    from learners.lib import closeness

    distances, policies = iter([3.0, 1.0, 2.0, 4.0]), []
    monkeypatch.setattr(closeness.Closeness, "_distance", lambda self, g: next(distances))
    original = closeness.Closeness.observe

    def observe(self, *rest):
        policies.append([p.detach().clone() for p in self.policy.parameters()])
        return original(self, *rest)

    monkeypatch.setattr(closeness.Closeness, "observe", observe)
    settings = {**SMALL, "demos": folder, "num_demos": 10, "warm_start": 5, "disc_first": 0}
    settings |= {"judge_every": 2, "steps": 1600, "eval_episodes": 5, "log_every": 2}
    settings |= {"policy_every": 1}
    result = amagail.train(amagail.Args(**settings, run_dir=str(tmp_path / "run")))
    kept = list(read_policy(tmp_path / "run" / "policy.safetensors")[0].parameters())
    for k, same in ((3, True), (7, False)):
        pairs = zip(kept, policies[k], strict=True)
        assert all(torch.equal(a, b) for a, b in pairs) == same
    assert (result["cloned_distance"], result["distance"], result["last_distance"]) == (3, 1, 4)
    assert result["kept_step"] == 800
    copy = read_policy(tmp_path / "run" / "policies" / "step_800.safetensors")[0]
    assert all(torch.equal(a, b) for a, b in zip(kept, copy.parameters(), strict=True))
    lines = read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert [line["distance"] for line in lines] == [3, 1, 2, 4]


def test_pairs_are_built_again_only_for_another_occupancy_measure():
    from learners.lib.closeness import Closeness

    calls = []
    judge: Any = SimpleNamespace(of_policy=lambda *rollout: calls.append(rollout) or ("own", None))
    closeness: Any = SimpleNamespace(occupancy=judge)
    given: Any = "found"
    assert Closeness.pairs(closeness, judge, given, *given[:2]) == "found" and not calls
    other: Any = object()
    assert Closeness.pairs(closeness, other, given, *given[:2]) == "own" and len(calls) == 1


def test_the_distance_is_zero_for_equal_pairs_and_grows_with_their_difference():
    from test_discriminators import adversary, pairs

    from learners.lib.closeness import Closeness

    judges, _ = adversary()
    rng = torch.Generator().manual_seed(0)
    found = []
    for seed, shift in ((2, 0.0), (3, 0.5), (4, 1.5)):
        policys = pairs(4000, seed, shift=shift)
        occupancy = SimpleNamespace(of_expert=lambda count, rng: (None, None, pairs(4000, 1)))
        network: Any = torch.nn.Linear(1, 1)
        closeness = Closeness(network, occupancy, judges.discriminator, 1, rng)
        found.append(closeness.observe(policys, 0, rng)["distance"])
    assert abs(found[0]) < 0.02 < found[1] < found[2] / 2
