"""Scripted players of football: they score, respect masks, and play under any player function."""

from __future__ import annotations

import numpy as np
import pytest

import mail_envs
from demos.experts.football import PLANS, Pitch, Search, toward
from demos.policies import load_policy
from demos.record import record
from demos.replay import verify
from demos.rollouts import rollouts

THREE = "football_3_vs_1_with_keeper"

try:
    mail_envs.make(THREE)
except ImportError as missing:
    pytest.skip(str(missing), allow_module_level=True)


def play(id, spec, episodes, **arguments):
    """Metrics of episodes, and the number of illegal actions."""
    vec = mail_envs.make_vec(id, 1, num_workers=0, autoreset=False, **arguments)
    policy, found = load_policy(spec, vec), []
    for seed in range(episodes):
        observations, info = vec.reset(seed=seed)
        over = False
        while not over:
            actions = policy(observations, info, np.random.default_rng(0))
            observations, _, terminated, truncated, info = vec.step(actions)
            over = bool(terminated[0] or truncated[0])
        assert not info["illegal_actions"].any()
        found.append(info["metrics"]["won"][0])
    return float(np.mean(found))


def test_the_search_scores_where_the_rules_do_not():
    assert play(THREE, "scripted", 8) >= 7 / 8
    assert 1 / 8 <= play(THREE, "scripted:rules", 8) <= 7 / 8


@pytest.mark.parametrize("id", PLANS)
@pytest.mark.parametrize(
    "options",
    [
        {"observation": "mat", "reward": "shaped"},
        {"player_function": mail_envs.Stochastic(0.5), "null_action": "as_action"},
    ],
    ids=str,
)
def test_the_rules_obey_masks_and_player_functions(id, options):
    play(id, "scripted:rules", 1, **options)


def test_what_was_found_is_what_is_recorded(tmp_path):
    half = mail_envs.Stochastic(0.7)
    demos = record(
        THREE, "scripted", 2, 3, tmp_path / "set", player_function=half, random_return=0.0
    )
    assert verify(demos) == []
    assert all(episode.terminated for episode in demos)


@pytest.mark.parametrize(
    ("policy", "options"),
    [("scripted", {"fixed_horizon": True}), ("scripted,random,random", {})],
    ids=str,
)
def test_an_episode_may_outlast_what_was_found(tmp_path, policy, options):
    demos = record(THREE, policy, 1, 0, tmp_path / "set", random_return=0.0, **options)
    alone = record(THREE, "scripted", 1, 0, tmp_path / "alone", random_return=0.0)
    assert demos.lengths[0] > alone.lengths[0] and verify(demos) == []


def test_the_rules_remember_nothing_of_earlier_episodes(monkeypatch):
    monkeypatch.setattr(Search, "search", lambda self, seed: [np.zeros(3, np.int32)])
    vec = mail_envs.make_vec(THREE, 1, num_workers=0, replayable=True)
    both = list(rollouts(vec, Search(vec), [0, 1]))
    alone = list(rollouts(vec, Search(vec), [1]))
    assert np.array_equal(both[1].actions, alone[0].actions)


def test_the_pitch_is_read_from_the_state():
    vec = mail_envs.make_vec(THREE, 1, seed=0)
    pitch = Pitch(vec.buffers.state[0].astype(float), 4, 2)
    assert pitch.own[2] == pytest.approx([0.7077 * 54.4, -0.2 * 83.6], abs=0.3)
    assert pitch.holder == 1 and not pitch.ours
    assert pitch.pressure(pitch.own[1]) == pytest.approx(0.15 * 55, abs=0.5)
    assert toward(np.zeros(2), np.array([1.0, 0.1])) == 5
    assert toward(np.zeros(2), np.array([0.1, 1.0])) == 3  # up on the picture
    assert toward(np.zeros(2), np.array([-1.0, -1.0])) == 8
