"""Gold Miner's bots as demonstrators."""

from __future__ import annotations

import numpy as np
import pytest

import mail_envs
from demos.experts.gold_miner import STYLES
from demos.policies import load_policy
from demos.record import record
from demos.rollouts import rollouts

EASY = "gold_miner_easy_2_vs_2"


def won(policy: str, **arguments) -> float:
    env = mail_envs.make_vec(EASY, 100, **arguments)
    episodes = list(rollouts(env, load_policy(policy, env), np.arange(100)))
    assert all(len(e) == 100 for e in episodes) or not arguments.get("mask", True)
    return float(np.mean([e.metrics["won"] for e in episodes]))


def test_the_bots_win_as_often_as_they_should_in_the_allies_places():
    assert won("random") < 0.08
    assert 0.3 < won("scripted:greedy") < 0.65
    assert won("scripted") > 0.9 and 0.6 < won("scripted:black_panther", mask=False) < 0.9


@pytest.mark.parametrize("style", STYLES)
def test_demonstrations_keep_to_the_mask_and_do_not_depend_on_the_number_of_copies(style, tmp_path):
    first, second = (
        record(EASY, f"scripted:{style}", 6, 3, tmp_path / str(n), num_envs=n, random_return=0.0)
        for n in (6, 2)
    )
    for a, b in zip(first, second, strict=True):
        assert np.array_equal(a.actions, b.actions) and np.array_equal(a.rewards, b.rewards)
        rows = a.action_masks[:-1]
        assert np.take_along_axis(rows, a.actions[..., None], axis=2).all()


def test_demonstrators_play_under_any_player_function():
    env = mail_envs.make_vec(EASY, 20, player_function=mail_envs.Stochastic(0.5))
    for style in STYLES:
        for episode in rollouts(env, load_policy(f"scripted:{style}", env), np.arange(10)):
            assert (episode.actions[episode.participation == 0] == 0).all()
            assert episode.rewards.sum() > 0


def test_unknown_styles_are_refused_by_name():
    with pytest.raises(ValueError, match=r"scripted:clever.*greedy, deepmind, black_panther, team"):
        load_policy("scripted:clever", mail_envs.make_vec(EASY))
    with pytest.raises(ValueError, match="there is only one"):
        load_policy("scripted:greedy", mail_envs.make_vec("coop_nav"))
