"""`learners.evaluate RUN --rewards DEMOS`: the learned reward of every demonstrated round, and its agreement."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import mail_envs
from demos.dataset import Demonstrations
from demos.record import record
from learners import evaluate, mafis, mifq
from learners.lib.recovered import agreement, learner_in, recover

TINY: dict[str, Any] = {
    "env": "stochastic_coop_nav", "hidden": (8,), "hyper_hidden": 8, "steps": 160, "num_envs": 8, "rounds": 10,
    "batch": 20, "capacity": 2000, "updates": 2, "eval_episodes": 0, "progress": False, "num_demos": 4,
}  # fmt: skip


@pytest.fixture(scope="module")
def demonstrations(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("demos") / "set"
    record("stochastic_coop_nav", "random", 5, 0, path)
    return path


def rounds_with_reward(episode, team: bool) -> list[int]:
    """Rounds in which somebody acts, and after which what follows is known: of the team, for all who act."""
    acts = np.concatenate([episode.participation, episode.final_participation[None]]) != 0
    found = []
    for t in range(len(episode.actions)):
        again = acts[t + 1 :].any(0) | episode.terminated
        known = again[acts[t]]
        if acts[t].any() and (known.all() if team else known.any()):
            found.append(t)
    return found


@pytest.mark.parametrize(
    ("module", "changes", "agents"), [(mifq, {"mixer": "none"}, 3), (mifq, {}, 1), (mafis, {}, 1)]
)
def test_rewards_are_written_beside_demonstrations(
    module, changes, agents, demonstrations, tmp_path, capsys
):
    run = tmp_path / "run"
    module.train(module.Args(**{**TINY, **changes}, demos=str(demonstrations), run_dir=str(run)))
    capsys.readouterr()
    assert evaluate.main(evaluate.Args(str(run), rewards=str(demonstrations))) == 0
    result = json.loads(capsys.readouterr().out)
    path = demonstrations.parent / "set.rewards_run.npz"
    assert result["file"] == str(path)
    with np.load(path, allow_pickle=False) as file:
        found = {name: file[name] for name in file.files}
    demos = Demonstrations.open(demonstrations)
    acts = [(k, t) for k in range(5) for t in rounds_with_reward(demos[k], agents == 1)]
    assert list(zip(found["episode"].tolist(), found["round"].tolist(), strict=True)) == acts
    assert found["reward"].shape == (len(acts), agents) and result["rounds"] == len(acts)
    k, t = acts[-1]
    own = demos[k].rewards[t]
    assert found["true_reward"][-1] == pytest.approx(own if agents > 1 else own.mean(keepdims=True))
    counts = found["counts"]
    assert counts.any(1).all() and not found["reward"][~counts].any()
    assert counts.all() == (agents == 1)
    assert result["reward_correlation"] == pytest.approx(
        np.corrcoef(found["reward"][counts], found["true_reward"][counts])[0, 1]
    )


def test_a_round_is_worth_its_value_minus_what_follows(demonstrations, tmp_path):
    """Recomputed for single rounds of an agent that acts in both."""
    args = mifq.Args(**TINY, mixer="none", demos=str(demonstrations), run_dir=str(tmp_path))
    mifq.train(args)
    vec = mail_envs.make_vec("stochastic_coop_nav", array="torch", replayable=True)
    learner, demos = learner_in(tmp_path, vec), Demonstrations.open(demonstrations)
    found, checked = recover(learner, demos, vec), 0
    policy = learner.values.policy
    for row, (k, t) in enumerate(zip(found["episode"], found["round"], strict=True)):
        episode = demos[k]
        if t + 1 >= len(episode.actions):
            continue
        seen = torch.as_tensor(np.array(episode.observations[t : t + 2])).unsqueeze(0)
        with torch.no_grad():
            out = policy.unroll(
                seen.transpose(0, 1), torch.zeros(1, 3, 0), torch.ones(2, 1, 3).bool()
            )[0][:, 0]
        for i in range(3):
            if episode.participation[t, i] and episode.participation[t + 1, i]:
                now, later = (
                    0.1 * out[0, i, episode.actions[t, i]],
                    0.1 * torch.logsumexp(out[1, i], 0),
                )
                assert found["reward"][row, i] == pytest.approx(float(now - 0.99 * later), abs=1e-4)
                checked += 1
    assert checked > 20


def test_agreement_is_a_correlation_over_rounds_and_over_episodes():
    found = {
        "episode": np.array([0, 0, 1, 1]), "round": np.arange(4),
        "reward": np.array([[1.0], [2.0], [3.0], [5.0]]), "true_reward": np.array([[3.0], [5.0], [7.0], [11.0]]),
        "counts": np.ones((4, 1), bool),
    }  # fmt: skip
    assert agreement(found) == pytest.approx({"reward_correlation": 1.0, "return_correlation": 1.0})
    found["true_reward"] = np.ones((4, 1))
    assert agreement(found) == {"reward_correlation": None, "return_correlation": None}


def test_absent_agents_do_not_make_an_agreement():
    """Learned rewards around 5 that are unrelated to the true ones around -20, and zeros of agents that do not act."""
    rng = np.random.default_rng(0)
    counts = rng.random((400, 3)) < 0.5
    rewards = [np.where(counts, mean + rng.normal(size=counts.shape), 0.0) for mean in (5, -20)]
    assert np.corrcoef(*(x.ravel() for x in rewards))[0, 1] < -0.9
    found = dict(zip(("reward", "true_reward"), rewards, strict=True), counts=counts)
    found |= {"episode": np.arange(400) // 20, "round": np.arange(400) % 20}
    assert abs(agreement(found)["reward_correlation"] or 1) < 0.1


def test_runs_without_a_reward_are_refused(tmp_path, capsys, demonstrations):
    (tmp_path / "config.yaml").write_text("learner: bc\nenv: coop_nav\n")
    with pytest.raises(ValueError, match="is a run of bc, which learns no reward; mifq, mafis do"):
        learner_in(tmp_path, None)
    assert evaluate.main(evaluate.Args("random", env="coop_nav", rewards=str(demonstrations))) != 0
    assert "random is not a run folder, and so has learned no reward" in capsys.readouterr().err
    args = evaluate.Args("random", env="coop_nav", rewards=str(demonstrations), greedy=True, seed=3)
    assert evaluate.main(args) != 0
    assert "--rewards plays no episodes; leave out --seed, --greedy" in capsys.readouterr().err
