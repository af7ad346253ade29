"""MA-AIRL: the form of the discriminators, what counts, and rewards that are recovered."""

from __future__ import annotations

import line_game
import pytest
import torch

from demos.record import record
from learners import ippo, maairl
from learners.lib.checkpoints import checkpoints, load_checkpoint
from learners.lib.game import make_game
from learners.lib.metrics_file import read_metrics
from learners.lib.rollout import Rollout
from learners.lib.settings import resumed

CPU = torch.device("cpu")
TINY = {
    "steps": 480, "num_envs": 6, "rounds": 20, "hidden": (16,), "epochs": 2, "minibatches": 2, "anneal": False,
    "eval_episodes": 0, "checkpoint_every": 2, "log_every": 1, "progress": False, "num_demos": 4,
    "disc_hidden": (8,), "disc_steps": 2, "disc_batch": 16, "disc_first": 1,
}  # fmt: skip
EXPERT = 40.0  # mean over first fields of an episode in which both walk right; random play gets 24


def made(**changes):
    """Settings, g and h with random weights for smac_3m, and the rounds of a fragment, in which agents die."""
    args = maairl.Args(**{**TINY, "env": "smac_3m", "rounds": 60, **changes})
    torch.manual_seed(0)
    vec = make_game(args, args.num_envs, CPU)
    agent = ippo.make_agent(vec, args, CPU)
    rollout = Rollout(vec, args.rounds)
    rollout.reset(0)
    rollout.collect(agent.policy, torch.Generator().manual_seed(0))
    rounds = maairl.played(rollout)
    return args, maairl.Rewarder(agent.policy, rounds, args, CPU), rollout, rounds


def test_the_logit_is_reward_plus_shaping_minus_the_likelihood_of_the_action():
    args, rewarder, rollout, rounds = made()
    g, h = rewarder.networks[0]
    ended = rollout.terminated.any(1).nonzero()[0, 0]
    assert rollout.terminated.any() and not rounds.over.all()
    with torch.no_grad():
        found = [x.view(60, 6, 3) for x in rewarder.scores(0, rounds)]
        for t in (0, 5, int(ended)):
            seen, after = rollout.observations[t], rollout.observations[t + 1].clone()
            done = rollout.terminated[t] | rollout.truncated[t]
            after[done] = rollout.final_observations[t][done]
            alive = torch.where(done.unsqueeze(1), rollout.final_alive[t], rollout.alive[t + 1])
            going = alive & ~rollout.terminated[t].unsqueeze(1)
            f = (
                g(seen).squeeze(-1)
                + args.gamma * h(after).squeeze(-1) * going
                - h(seen).squeeze(-1)
            )
            logs = rewarder.policy.networks[0](seen)
            logs = torch.where(rollout.action_mask[t].bool(), logs, -1e10).log_softmax(-1)
            log_prob = logs.gather(2, rollout.actions[t].unsqueeze(2)).squeeze(2)
            acts = rollout.learned_from()[t]
            assert torch.allclose(found[0][t], g(seen).squeeze(-1), atol=1e-5)
            assert torch.allclose(found[1][t], f, atol=1e-5)
            assert torch.allclose(found[2][t][acts], (f - log_prob)[acts], atol=1e-4)


def test_agents_that_do_not_act_are_neither_paid_nor_learned_from():
    after = []
    for garbage in (0.0, 7.0):
        _, rewarder, _, rounds = made()
        out = ~rounds.counts
        assert out.any() and not rewarder.rewards(rounds)["logit"][out].any()
        rounds.observations[out] = rounds.following[out] = garbage
        rewarder.update(rounds, torch.Generator().manual_seed(0))
        after.append([p.detach().clone() for p in rewarder.networks.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*after, strict=True))


def test_actions_that_the_policy_never_takes_have_a_bounded_logit():
    _, rewarder, rollout, rounds = made()
    forbidden = rollout.action_mask[:-1].flatten(0, 1).argmin(-1)
    logit = rewarder.scores(0, rounds._replace(actions=forbidden))
    gap = (logit[2] - logit[1]).detach()
    assert float(gap.max()) == pytest.approx(-maairl.LEAST_LOG_PROB)


def test_earlier_policies_are_remembered_evenly_with_the_likelihoods_of_then(monkeypatch):
    monkeypatch.setattr(maairl, "KEPT", 400)
    _, rewarder, _, rounds = made(disc_steps=1, disc_batch=200, disc_replay=0.25)
    rng = torch.Generator().manual_seed(1)
    assert torch.equal(rewarder.judged(rounds).log_probs[:, 0], rewarder.log_probs(0, rounds)[::3])
    for update in range(40):
        marked = rounds._replace(observations=torch.full_like(rounds.observations, update))
        known = rewarder.judged(marked)
        rewarder.update(known, rng)
        with torch.no_grad():  # the policy changes
            for p in rewarder.policy.parameters():
                p.add_(0.1 * torch.randn(p.shape, generator=rng))
        of_now = rewarder.kept.observations[:, 0, 0] == update
        assert of_now.any() and torch.isin(rewarder.kept.log_probs[of_now], known.log_probs).all()
    kept = rewarder.kept.observations[:, 0, 0]
    assert len(kept) == 400 and rewarder.seen == 4000
    first = (kept < 20).float().mean()  # reservoir sampling: half of them, +- 4 sd
    assert 0.4 < first < 0.6 and len(kept.unique()) > 30
    mixed = rewarder._mixture(rounds._replace(log_probs=torch.zeros(len(rounds.counts), 3)), rng)
    assert int((mixed.log_probs != 0).any(1).sum()) == 50


def test_agreement_is_pearson_s_and_spearman_s_correlation():
    x = torch.tensor([[1.0, 2.0, 2.0, 9.0, 100.0]])
    y = torch.tensor([[0.0, 1.0, 2.0, 3.0, -50.0]])
    counts = torch.tensor([[True, True, True, True, False]])
    found = maairl.agreement(x, y, counts)
    assert maairl.ranks(x[0, :4]).tolist() == [1.0, 2.5, 2.5, 4.0]
    assert found["pearson"] == pytest.approx(12 / (41**0.5 * 5**0.5), rel=1e-6)
    assert found["spearman"] == pytest.approx(4.5 / (4.5**0.5 * 5**0.5), rel=1e-6)
    assert maairl.agreement(x, torch.ones_like(y), counts) == {}


def test_it_recovers_a_reward_on_which_a_fresh_policy_does_well(tmp_path):
    settings = {"env": "line_game", "set": ("pay=1",)}
    record(
        "line_game", line_game.walking(2, 2), 100, 0, tmp_path / "right", random_return=0.0, pay=1.0
    )
    shared = {
        **settings, "demos": str(tmp_path / "right"), "num_demos": 100, "num_envs": 32, "rounds": 16, "hidden": (32,),
        "eval_episodes": 200, "progress": False, "disc_hidden": (32,), "log_every": 1,
    }  # fmt: skip
    found = maairl.train(
        maairl.Args(**shared, steps=10_000, disc_first=2, run_dir=str(tmp_path / "run"))
    )
    assert found["return"] > 0.9 * EXPERT
    lines = read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert lines[0].keys() > {"disc_loss", "pearson", "spearman"} and found["spearman"] > 0.6
    again = maairl.Args(
        **shared, steps=16_000, fixed=str(tmp_path / "run"), seed=1, run_dir=str(tmp_path / "fresh")
    )
    assert maairl.train(again)["return"] > 0.9 * EXPERT
    trees = [load_checkpoint(checkpoints(tmp_path / n)[-1])["parts"] for n in ("run", "fresh")]
    before, after = (tree["rewarder"]["networks"] for tree in trees)
    assert all(torch.equal(before[k], after[k]) for k in before)
    (tmp_path / "run").rename(tmp_path / "moved")  # the fresh run has g and h, too, and goes on
    maairl.train(resumed(tmp_path / "fresh", maairl.Args, progress=False, steps=17_000))
    (tmp_path / "moved").rename(tmp_path / "run")
    for text, changes in (
        ("no run folder with a checkpoint", {"fixed": str(tmp_path)}),
        ("no g and h for this game", {"disc_hidden": (8,)}),
        ("it has no memory", {"recurrent": True}),
    ):
        wrong = {**shared, "fixed": str(tmp_path / "run"), **changes}
        with pytest.raises(ValueError, match=text):
            maairl.train(maairl.Args(**wrong, run_dir=str(tmp_path / text)))


def test_a_resumed_run_ends_like_an_uninterrupted_one(tmp_path):
    settings = {**TINY, "env": "line_game", "demos": "random", "control": "random_lengths"}
    maairl.train(maairl.Args(**settings, run_dir=str(tmp_path / "whole")))
    maairl.train(maairl.Args(**{**settings, "steps": 240}, run_dir=str(tmp_path / "cut")))
    maairl.train(resumed(tmp_path / "cut", maairl.Args, progress=False, steps=480))
    trees = [load_checkpoint(checkpoints(tmp_path / n)[-1])["parts"] for n in ("whole", "cut")]
    kept = [t["rewarder"]["kept"]["log_probs"] for t in trees]  # the likelihoods of then
    assert torch.equal(*kept) and len(kept[0].unique()) > 10
    for a, b in ([t["policy"] for t in trees], [t["rewarder"]["networks"] for t in trees]):
        assert a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)
