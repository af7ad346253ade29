"""Evaluation: the same results for all callers, bounded copies, and episodes whose worker dies."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from sample_faults import FINE, KILLED, Faulty
from scipy import stats

import mail_envs
from demos.policies import load_policy
from learners import bc
from learners.evaluate import Args
from learners.evaluate import evaluate as command
from learners.lib import evaluation
from learners.lib.evaluation import evaluate, make_copies, play
from learners.lib.evaluation_file import keep_larger, read_evaluation
from mail_envs.registry import EnvSpec

GAME = "stochastic_coop_nav"
FAULTY = EnvSpec("faulty", Faulty)


def steady(observations, info, rng):
    return np.full(info["participation"].shape, FINE)


def test_training_and_the_command_report_the_same_results(tmp_path):
    args = bc.Args(
        steps=20, num_demos=5, demos="scripted", hidden=(16,), eval_episodes=30, batch=64,
        run_dir=str(tmp_path / "run"), progress=False, seed=3,
    )  # fmt: skip
    bc.train(args)
    file = tmp_path / "run" / "evaluation.json"
    by_training = json.loads(file.read_text())
    file.unlink()
    command(Args(str(tmp_path / "run"), episodes=30))
    assert json.loads(file.read_text()) == by_training
    assert len(by_training["episode_returns"]) == 30


def test_the_interval_is_students_t():
    vec = make_copies(GAME, 12, {})
    result = evaluate(vec, load_policy("random", vec), np.arange(12))
    returns = play(vec, load_policy("random", vec), np.arange(12)).returns.mean(1)
    expected = stats.t.interval(0.95, 11, returns.mean(), stats.sem(returns))
    assert result["confidence_interval"] == pytest.approx(expected)
    assert evaluate(vec, load_policy("random", vec), np.arange(1))["confidence_interval"] is None


def test_episodes_are_those_of_their_seeds_one_by_one():
    vec, alone = make_copies(GAME, 5, {}), mail_envs.make_vec(GAME, 1, autoreset=False)
    seeds = np.array([7, 100, 3, 2**61, 4])
    together = play(vec, load_policy("random", vec), seeds)
    for k, seed in enumerate(seeds):
        one = play(alone, load_policy("random", alone), np.array([seed]))
        assert one.returns[0].tolist() == together.returns[k].tolist()
        assert (one.lengths[0], one.early[0]) == (together.lengths[k], together.early[k])


def test_copies_are_bounded(monkeypatch):
    assert make_copies(GAME, 1000, {}).num_envs == 256
    assert make_copies(GAME, 10, {}).num_envs == 10
    monkeypatch.setattr(evaluation, "usable_cores", lambda: 3)
    vec = make_copies(FAULTY, 1000, {})
    assert (vec.num_envs, len(vec.launches.copies.workers)) == (3, 3)
    result = evaluate(vec, steady, np.arange(7))
    vec.close()
    assert result["episodes"] == 7 and result["agent_returns"]["agent_0"] == sum(range(20))


def test_an_episode_that_a_dead_worker_cut_short_is_played_again(monkeypatch):
    monkeypatch.setattr(evaluation, "usable_cores", lambda: 2)
    deaths = []

    def deadly(observations, info, rng):
        actions = steady(observations, info, rng)
        for row in np.flatnonzero((info["seed"] == 102) & (info["round"] == 4)):
            if len(deaths) < limit:
                deaths.append(row)
                actions[row, 0] = KILLED
        return actions

    vec, limit = make_copies(FAULTY, 4, {}), 1
    played = play(vec, deadly, np.arange(100, 104))
    assert len(deaths) == 1
    assert played.lengths.tolist() == [20] * 4 and (played.returns == sum(range(20))).all()
    limit = 10
    with pytest.raises(RuntimeError, match="episode of seed 102 died 3 times"):
        play(vec, deadly, np.arange(100, 104))
    vec.close()


def test_a_policy_of_another_shape_is_an_error():
    vec = make_copies(GAME, 2, {})
    with pytest.raises(ValueError, match=r"actions of shape \(2,\), expected \(2, 3\)"):
        play(vec, lambda o, i, r: np.zeros(len(o)), np.arange(2))


def test_the_file_keeps_the_larger_evaluation(tmp_path):
    path: Path = tmp_path / "evaluation.json"
    large = {"return": -1.0, "episodes": 9, "steps": 5, "mode": "sample", "cloned_return": -3.0}
    small = {"return": -2.0, "episodes": 4, "steps": 5, "mode": "sample"}
    assert keep_larger(path, large) is None and read_evaluation(path) == large
    assert "9 episodes of the same policy" in str(keep_larger(path, small))
    assert read_evaluation(path) == large
    assert keep_larger(path, {**small, "episodes": 9}) is None  # cloned_return of training is kept
    assert read_evaluation(path) == {**small, "episodes": 9, "cloned_return": -3.0}
    assert keep_larger(path, {**small, "steps": 6}) is None  # of another policy
    assert read_evaluation(path) == {**small, "steps": 6}
