"""MIFQ, IQVDN and IIQ: who counts, what the objective is, what bounds the values, and that imitation works."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from sample_games import LastStanding
from small_worlds import Episodes, PointMass, Tabular, policies_of, world

import mail_envs
from learners import mifq
from learners.lib.alarms import Alarms
from learners.lib.batch import Batch, joined
from learners.lib.demonstrated import Demonstrated, Loaded
from learners.lib.distributions import masked
from learners.lib.imitation import Terms
from learners.lib.mixers import NormalizedWeights
from learners.lib.replay import Replay, sample_chunks, sample_episodes, sample_starts
from learners.lib.returns import carried
from learners.lib.rollout import Rollout
from learners.lib.settings import parse
from learners.lib.soft_values import soft_maximum
from mail_envs.vector import VectorGame

MIXERS = get_args(mifq.Mixer)
SMALL: dict[str, Any] = {"hidden": (16,), "embed": 4, "hyper_hidden": 8}
CPU = torch.device("cpu")


# ---------------------------------------------------------------------------------- who counts, and how
def naive_terms(q, v, acts, alive, ends, count: int, gamma: float):
    """Rewards and gaps of one agent's sequence of `count` rounds, by their definition, where it acts and what follows is
    known.
    """

    def ahead(t: int) -> float:
        """What is left after round t; NaN: it does not act again in the sequence."""
        if ends[t] or not alive[t + 1]:
            return 0.0
        if acts[t + 1]:
            return v[t + 1]
        return math.nan if t + 1 == count else gamma * ahead(t + 1)

    left = {t: ahead(t) for t in range(count) if acts[t] and alive[t]}
    return {t: (q[t] - gamma * x, v[t] - gamma * x) for t, x in left.items() if not math.isnan(x)}


def battles(mixer: mifq.Mixer, **changes) -> tuple[mifq.Learner, Batch]:
    """A learner of a game with deaths, absent agents and forbidden actions, and episodes of it."""
    torch.manual_seed(0)
    vec = VectorGame(LastStanding(max_rounds=6), mail_envs.Stochastic(0.6), 6, array="torch")
    args = mifq.Args(mixer=mixer, gamma=0.9, **{**SMALL, **changes})
    learner = mifq.Learner(vec, args, CPU)
    replay, rng = Replay(vec, 4000), torch.Generator().manual_seed(0)
    rollout = Rollout(vec, 20, "cpu", learner.values.policy.memory_size, True)
    rollout.reset(0)
    for _ in range(4):
        rollout.collect(learner.values.policy, rng)
        replay.add(rollout)
    return learner, sample_episodes(replay, 64, rng)


def test_values_of_absent_agents_carry_over_and_the_dead_have_none():
    learner, batch = battles("none")
    rng = torch.Generator()
    with torch.no_grad():
        ((q, v),) = learner.values.agents.values(batch)
        (found,) = learner.values.terms(batch, None, rng)
    acts, alive, checked = batch.rows.participation, batch.rows.alive, 0
    for b in range(batch.filled.shape[1]):
        count = int(batch.filled[:, b].sum())
        for i in range(3):
            q_i, v_i, acts_i, alive_i = (x[:, b, i].tolist() for x in (q, v, acts, alive))
            ends = batch.terminated[:, b].tolist()
            known = naive_terms(q_i, v_i, acts_i, alive_i, ends, count, 0.9)
            assert found.counts[:, b, i].nonzero().flatten().tolist() == list(known)
            for t, expected in known.items():
                pair = [float(x[t, b, i]) for x in (found.rewards, found.gaps)]
                assert pair == pytest.approx(expected, abs=1e-4)
                checked += 1
    assert checked > 300 and not batch.rows.alive[:-1][batch.filled].all()
    (team,) = battles("sum")[0].values.terms(batch, None, rng)
    assert team.counts.shape[-1] == 1


def test_own_rewards_are_kept_small_where_actions_are_continuous():
    rewards = torch.tensor([[[1.0], [3.0]]])
    terms = Terms(rewards, -rewards, 0 * rewards, 0 * rewards, torch.ones_like(rewards).bool())
    for discrete, square in ((True, 0.5), (False, 0.25 * (1 + 9))):
        learner = mifq.Learner(world(2, 3, 2, 4, discrete=discrete), mifq.Args(hidden=(4,)), CPU)
        origin = torch.arange(2)  # a demonstrated round, and an own one
        loss = mifq.loss_of(terms, origin, learner.args)
        assert float(loss) == pytest.approx(-1 + square)


@pytest.mark.parametrize("mixer", MIXERS)
def test_padding_dead_and_absent_agents_have_no_influence(mixer):
    learner, batch = battles(mixer)
    rows, filled = batch.rows, batch.filled
    absent = (
        ~rows.participation | ~rows.alive
    )  # in the last rows, too: no reward holds these values down
    garbage = torch.where(absent.unsqueeze(-1), 100.0, rows.observations)
    actions = torch.where(absent[:-1], 2 - batch.actions, batch.actions)
    assert rows.action_mask is not None and absent[:-1][filled].any()
    mask = torch.where(absent.unsqueeze(-1), rows.action_mask.flip(-1), rows.action_mask)
    seen = dataclasses.replace(rows, observations=garbage, action_mask=mask)
    other = dataclasses.replace(batch, rows=seen, actions=actions)
    origin = torch.arange(64) % 2
    losses = []
    for given in (batch, other):
        (terms,) = learner.values.terms(given, None, torch.Generator())
        losses.append(mifq.loss_of(terms, origin, learner.args))
    assert torch.allclose(*losses, rtol=1e-5) and losses[0].isfinite()
    acting = torch.where(batch.learned_from(), (batch.actions + 1) % 3, batch.actions)
    (terms,) = learner.values.terms(
        dataclasses.replace(batch, actions=acting), None, torch.Generator()
    )
    assert (mifq.loss_of(terms, origin, learner.args) - losses[0]).abs() > 1e-4


def asynchronous(period: int) -> tuple[Episodes, Episodes]:
    """A walk on 5 states of an agent that acts in every `period`-th round, and the same without the other rounds."""
    rng, K, T = torch.Generator().manual_seed(0), 40, 6
    states = torch.randint(5, (K, T + 1), generator=rng)
    actions = torch.randint(3, (K, T, 1), generator=rng)
    shown = torch.nn.functional.one_hot(states, 5).float().unsqueeze(2)
    mask = torch.ones(K, T + 1, 1, 3, dtype=torch.int8)
    dense = Episodes(
        observations=shown, actions=actions, action_mask=mask, states=torch.zeros(K, T + 1, 1)
    )
    rounds = torch.arange(T * period + 1)
    acts = (rounds % period == 0).view(1, -1, 1).expand(K, -1, -1)
    spread = shown.repeat_interleave(period, 1)[:, : T * period + 1].clone()
    spread[~acts] = 7.0  # what an absent agent sees says nothing
    sparse = Episodes(
        observations=spread,
        actions=actions.repeat_interleave(period, 1),
        action_mask=mask.repeat_interleave(period, 1)[:, : T * period + 1],
        participation=acts,
        states=torch.zeros(K, T * period + 1, 1),
    )
    return dense, sparse


@pytest.mark.parametrize("mixer", ["none", "sum", "linear_norm"])
def test_absent_rounds_only_discount(mixer):
    """An agent that acts in every third round learns what one learns that acts in every round, with gamma^3."""
    torch.manual_seed(0)
    dense, sparse = asynchronous(3)
    found = []
    for source, gamma in ((dense, 0.9**3), (sparse, 0.9)):
        args = mifq.Args(mixer=mixer, gamma=gamma, agent_id=False, offline=True, **SMALL)
        values = mifq.Values(world(1, 5, 3, 1, synchronous=source is dense), args)
        if found:
            values.load_state_dict(found[0][1])
        batch = sample_episodes(source, 200, torch.Generator().manual_seed(3))
        (terms,) = values.terms(batch, None, torch.Generator())
        loss = mifq.loss_of(terms, torch.zeros(200), args)
        loss.backward()
        loss = loss.detach()
        gradient = next(values.policy.parameters()).grad
        assert gradient is not None
        found.append((float(loss), values.state_dict(), gradient))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-5)
    assert torch.allclose(found[0][2], found[1][2], atol=1e-6) and found[0][2].abs().max() > 1e-3


def test_carried_values_end_where_nothing_follows():
    values = torch.tensor([[[1.0]], [[2.0]], [[3.0]], [[4.0]]])
    decides = torch.tensor([True, False, False, True]).view(4, 1, 1)
    filled = torch.ones(3, 1, dtype=torch.bool)
    goes_on = filled.clone()
    found = carried(values, decides, goes_on, filled, 0.5)
    assert found.flatten().tolist() == [0.5 * 0.5 * 4, 0.5 * 4, 4]
    goes_on[1] = False
    assert carried(values, decides, goes_on, filled, 0.5).flatten().tolist() == [0, 0, 4]


# ------------------------------------------------------------------------------------ the objective
@pytest.mark.parametrize("vterm", ["both", "replay", "expert", "first"])
@pytest.mark.parametrize("chi", ["expert", "both"])
def test_one_agents_objective_is_that_of_a_tabular_reference(chi, vterm):
    """IQ-Learn on a table Q (S, A), written with loops."""
    torch.manual_seed(0)
    rng, S, A, gamma, temperature = torch.Generator().manual_seed(1), 4, 3, 0.9, 0.7
    sources = []
    for _ in range(2):
        states = torch.randint(S, (30, 2), generator=rng)
        sources.append(Episodes(
            observations=torch.nn.functional.one_hot(states, S).float().unsqueeze(2),
            actions=torch.randint(A, (30, 1, 1), generator=rng),
            action_mask=torch.ones(30, 2, 1, A, dtype=torch.int8),
            terminated=torch.rand(30, 1, generator=rng) < 0.3,
        ))  # fmt: skip
    args = mifq.Args(
        mixer="none", chi=chi, vterm=vterm, gamma=gamma, temperature=temperature, agent_id=False,
        batch=30, **SMALL,
    )  # fmt: skip
    learner = mifq.Learner(world(1, S, A, 0), args, CPU)
    batch, origin = mifq.sample(sources[0], sources[1], args, 1, rng, vterm == "first")
    (terms,) = learner.values.terms(batch, None, rng)
    found = float(mifq.loss_of(terms, origin, args).detach())
    table = np.log(policies_of(learner.values.policy, S, 1)[:, 0])  # up to a constant per state
    with torch.no_grad():
        seen = torch.eye(S).view(1, S, 1, S)
        out, _ = learner.values.policy.unroll(
            seen, torch.zeros(S, 1, 0), torch.ones(1, S, 1).bool()
        )
    q = temperature * out[0, :, 0].double().numpy()
    assert np.allclose(q / temperature - table, (q / temperature - table)[:, :1])
    v = temperature * np.log(np.exp(q / temperature).sum(1))
    sums: dict[str, list[float]] = {
        "r": [],
        "square": [],
        "own_square": [],
        "gap": [],
        "own_gap": [],
        "first": [],
    }
    for b, k in enumerate(origin.tolist()):
        s, after = (int(batch.rows.observations[t, b, 0].argmax()) for t in (0, 1))
        future = 0.0 if batch.terminated[0, b] else gamma * v[after]
        r, gap = q[s, int(batch.actions[0, b, 0])] - future, v[s] - future
        if k == mifq.EXPERT:
            sums["r"].append(r)
        own = "own_" * (k == mifq.OWN)
        if k == mifq.FIRST:
            sums["first"].append(v[s])
        else:
            sums[own + "square"].append(r * r)
            sums[own + "gap"].append(gap)
    mean = {name: float(np.mean(x)) if x else math.nan for name, x in sums.items()}
    expected = -mean["r"] + 0.5 * (
        mean["square"] if chi == "expert" else 0.5 * (mean["square"] + mean["own_square"])
    )
    expected += {
        "both": 0.5 * (mean["gap"] + mean["own_gap"]),
        "replay": mean["own_gap"],
        "expert": mean["gap"],
        "first": (1 - gamma) * mean["first"],
    }[vterm]
    assert found == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("temperature", [0.1, 2.0])
def test_soft_maxima_are_those_of_torch(temperature):
    q = torch.randn(40, 6, generator=torch.Generator().manual_seed(0), requires_grad=True)
    allowed = torch.rand(q.shape, generator=torch.Generator().manual_seed(1)) < 0.6
    allowed[:, 0] |= ~allowed.any(1)
    x = masked(3 * q, allowed)
    known = temperature * torch.logsumexp(x / temperature, -1)
    found = soft_maximum(x, temperature)
    assert torch.allclose(found, known, atol=1e-5)
    slopes = [torch.autograd.grad(y.sum(), q, retain_graph=True)[0] for y in (found, known)]
    assert torch.allclose(slopes[0], slopes[1], atol=1e-5) and not slopes[0][~allowed].any()


def test_weights_are_positive_bounded_and_add_up_to_the_agents_that_count():
    torch.manual_seed(0)
    weights, states = NormalizedWeights(4, 6, 8), torch.randn(500, 6) * 30
    counts = torch.rand(500, 4) < 0.6
    found = weights(counts, states)
    assert torch.allclose(found.sum(-1), counts.sum(-1).float(), atol=1e-4)
    assert not found[~counts].any() and (found[counts] > 0).all()
    pairs = found.unsqueeze(-1) / found.unsqueeze(-2)
    both = counts.unsqueeze(-1) & counts.unsqueeze(-2)
    assert pairs[both].max() <= math.e + 1e-3
    assert found[counts.all(-1)].std(0).min() > 0.01  # they depend on the state


def test_joined_batches_are_padded_with_nobody():
    short = sample_starts(asynchronous(1)[0], 3, torch.Generator())
    longer = sample_chunks(asynchronous(1)[0], 3, 4, torch.Generator())
    both = joined(short, longer)
    assert both.filled[:, :3].sum(0).tolist() == [1, 1, 1] and len(both.filled) == 4
    assert not both.rows.alive[2:, :3].any() and not both.rows.participation[2:, :3].any()
    assert torch.equal(both.rows.observations[:2, :3], short.rows.observations)
    assert torch.equal(both.rows.observations[:, 3:], longer.rows.observations)
    assert (short.rows.round[0] == 0).all()


# -------------------------------------------------------------------------------------- imitation
def imitate(
    steps: int, seed: int = 0, demos: int = 24, **changes
) -> tuple[float, mifq.Learner, list[dict], list[str]]:
    """Normalized return (uniform 0, expert 1) on the tabular game, the learner, its figures and its warnings."""
    torch.manual_seed(seed)
    game = Tabular()
    expert, uniform = game.expert(), np.full((game.S, 2, game.A), 1 / game.A)
    args = mifq.Args(
        gamma=game.GAMMA,
        **{"lr": 5e-3, "hidden": (32,), "batch": 64, "temperature": 0.1, **changes},
    )
    learner, rng = mifq.Learner(game.world(), args, CPU), torch.Generator().manual_seed(seed)
    demonstrations, own = game.play(expert, demos, seed + 1), None
    said: list[str] = []
    alarms, lines = Alarms(said.append, args.gamma, mifq.ADVICE), []
    for k in range(steps):
        if k % 25 == 0 and not args.offline:
            own = game.play(policies_of(learner.values.policy, game.S, 2), 16, 100 + k)
        found = learner.update(demonstrations, own, rng, show=k % 5 == 4)
        if found:
            lines.append(found)
            alarms.observe(k, found["largest_value"], found["reward_expert_sd"])
    low, high = game.values_of(uniform), game.values_of(expert)
    score = game.values_of(policies_of(learner.values.policy, game.S, 2))
    return (score - low) / (high - low), learner, lines, said


@pytest.mark.parametrize("changes", [
    {"mixer": "linear_norm"}, {"mixer": "sum"}, {"mixer": "none"}, {"mixer": "linear_norm", "offline": True},
    {"mixer": "sum", "vterm": "first"},
])  # fmt: skip
def test_soft_policies_imitate_the_tabular_expert(changes):
    score, _, lines, said = imitate(250, **changes)
    assert score > 0.8
    assert not said and abs(lines[-1]["reward_expert"]) < 2


@pytest.mark.parametrize("changes", [{}, {"offline": True, "critics": 1}])
def test_the_continuous_form_learns_to_stop_a_mass(changes):
    """The cost beyond the expert's is at most a seventh of that of doing nothing."""
    torch.manual_seed(0)
    game, args = PointMass(), mifq.Args(
        lr=3e-3, hidden=(32,), batch=64, gamma=0.95, temperature=0.05, agent_id=False, **changes
    )  # fmt: skip
    learner, rng = mifq.Learner(game.world(), args, CPU), torch.Generator().manual_seed(0)
    policy = learner.values.policy

    def acting(source: torch.Generator | None):
        return lambda seen: policy.act(seen.unsqueeze(1), None, source)[:, 0, 0].detach()

    demonstrations, own = game.play(game.expert, 16, 1)[0], None
    for k in range(400):
        if k % 20 == 0 and not args.offline:
            own = game.play(acting(rng), 16, 100 + k)[0]
        learner.update(demonstrations, own, rng, show=False)
    found, expert, nothing = (
        game.play(p, 100, 7)[1] for p in (acting(None), game.expert, lambda seen: 0 * seen[:, 0])
    )
    assert nothing > 8 * expert
    assert found - expert < (nothing - expert) / 7


def test_the_mixers_of_the_paper_diverge_and_the_alarm_says_what_to_do():
    _, _, lines, said = imitate(80, mixer="paper", vterm="replay", lr=2e-2, temperature=1.0)
    assert lines[-1]["largest_value"] > 10 / (1 - Tabular.GAMMA)
    assert len(said) == 1 and "values diverge" in said[0] and "--mixer linear_norm" in said[0]


def test_frozen_mixers_stay_as_they_are():
    torch.manual_seed(0)
    start = mifq.Learner(Tabular().world(), mifq.Args(mixer="frozen", hidden=(32,)), CPU)
    _, learner, _, _ = imitate(5, mixer="frozen")
    for name in ("mixer", "cost_mixer"):
        pairs = zip(
            getattr(start.values, name).parameters(),
            getattr(learner.values, name).parameters(),
            strict=True,
        )
        assert all(torch.equal(a, b) for a, b in pairs)


def test_the_alarm_of_a_collapse_needs_several_updates():
    said: list[str] = []
    alarms = Alarms(said.append, 0.9, ("a", "change the mixer"))
    for step in range(9):
        alarms.observe(step, 5.0, 1e-4)
    alarms.observe(9, 5.0, 1e-2)
    assert not said
    for step in range(20):
        alarms.observe(10 + step, 5.0, 1e-4)
    assert len(said) == 1 and "constant" in said[0] and "change the mixer" in said[0]
    alarms.observe(40, math.nan, 1.0)
    assert "diverge" in said[1] and alarms.results == {
        "diverged_at_step": 40,
        "collapsed_at_step": 19,
    }


# ------------------------------------------------------------------------------------------ runs
TINY: dict[str, Any] = {
    **SMALL, "steps": 640, "num_envs": 8, "rounds": 10, "batch": 20, "episodes": 3, "capacity": 2000, "updates": 2,
    "eval_episodes": 20, "log_every": 1, "checkpoint_every": 3, "progress": False, "num_demos": 6, "demos": "random",
}  # fmt: skip


def figures_of(folder: Path) -> list[dict]:
    lines = [json.loads(x) for x in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in x.items() if k not in ("seconds", "steps_per_second")} for x in lines]


@pytest.mark.parametrize("changes", [
    {}, {"mixer": "none", "recurrent": True, "last_action": True}, {"mixer": "elu_total"},
    {"offline": True, "steps": 20}, {"set": ("continuous_actions=true",)},
    {"set": ("continuous_actions=true",), "mixer": "sum", "critics": 1, "vterm": "expert"},
])  # fmt: skip
def test_runs_in_which_agents_are_absent(changes, tmp_path):
    result = mifq.train(
        mifq.Args(**{**TINY, **changes}, env="stochastic_coop_nav", run_dir=str(tmp_path))
    )
    assert result["episodes"] == 20
    last = figures_of(tmp_path)[-1]
    names = ("loss", "entropy", "value_expert", "reward_expert", "reward_expert_sd")
    assert all(math.isfinite(last[name]) for name in names)
    assert ("reward_own" in last) != changes.get("offline", False)


def test_chunks_too_short_to_learn_from_are_warned_of(tmp_path, capsys):
    settings = {
        **TINY,
        "env": "coop_nav",
        "player_function": "TurnOrder([[0], [1], [2]])",
        "eval_episodes": 0,
    }
    for chunk, warned in ((2, True), (10, False)):
        mifq.train(mifq.Args(**settings, chunk=chunk, run_dir=str(tmp_path / str(chunk))))
        said = " ".join(capsys.readouterr().out.split())
        assert ("within 2 rounds nobody acts again; a larger --chunk helps" in said) == warned
        counted = [line["counted_expert"] for line in figures_of(tmp_path / str(chunk))]
        assert (max(counted) == 0) == warned


@pytest.mark.parametrize("changes", [{}, {"set": ("continuous_actions=true",)}])
def test_a_resumed_run_ends_like_an_uninterrupted_one(changes, tmp_path):
    settings = {**TINY, **changes, "env": "coop_nav", "eval_episodes": 0, "checkpoint_every": 4}
    settings["anneal"] = False  # a run of other length would have other rates
    mifq.train(mifq.Args(**settings, run_dir=str(tmp_path / "whole")))
    mifq.train(mifq.Args(**{**settings, "steps": 320}, run_dir=str(tmp_path / "cut")))
    again = {**settings, "run_dir": str(tmp_path / "cut"), "resume": str(tmp_path / "cut")}
    mifq.train(mifq.Args(**again))
    assert figures_of(tmp_path / "whole") == figures_of(tmp_path / "cut")


def test_demonstrations_in_memory_are_those_on_disk(tmp_path):
    from demos.dataset import Demonstrations
    from demos.record import record

    record("stochastic_coop_nav", "random", 5, 0, tmp_path / "demos")
    vec = mail_envs.make_vec("stochastic_coop_nav", array="torch", replayable=True)
    disk = Demonstrated(Demonstrations.open(tmp_path / "demos"), vec)
    batches = [
        sample_chunks(s, 30, 7, torch.Generator().manual_seed(0)) for s in (disk, Loaded(disk))
    ]
    filled = batches[0].filled
    assert torch.equal(filled, batches[1].filled) and not filled.all()
    for name in ("actions", "rewards", "terminated", "truncated"):  # padding may be anything
        assert torch.equal(*(getattr(b, name)[filled] for b in batches)), name
    for field in dataclasses.fields(batches[0].rows):
        pair: Any = [getattr(x.rows, field.name) for x in batches]
        assert torch.equal(*pair), field.name


def test_presets_name_the_baselines_of_the_paper():
    found = {
        p: parse(mifq.Args, mifq.PRESETS, ["--preset", p]).mixer for p in ("iiq", "iqvdn", "paper")
    }
    assert found == {"iiq": "none", "iqvdn": "sum", "paper": "paper"}
    printed = parse(mifq.Args, mifq.PRESETS, ["--preset", "paper"])  # Table 2 of the paper
    assert (printed.lr, printed.batch, printed.anneal) == (5e-4, 128, False)


def test_settings_that_cannot_be():
    for changes, message in (
        ({"offline": True, "vterm": "replay"}, "--vterm replay needs own rounds"),
        ({"recurrent": True, "set": ("continuous_actions=true",)}, "--recurrent needs discrete actions; those of coop_nav"),
        ({"last_action": True}, "--last-action needs --recurrent"),
        ({"vterm": "first", "player_function": "Stochastic(0.5)"}, "--vterm first needs a game where everybody acts"),
        ({"vterm": "first", "demo_share": 0.5}, "--vterm first needs whole episodes"),
        ({"vterm": "first", "gamma": 1.0}, "--gamma must be below 1"),
        ({"control": "random_lengths"}, "control='random_lengths' is unknown; choose none, random"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            mifq.train(mifq.Args(**{**TINY, "env": "coop_nav", **changes}))
