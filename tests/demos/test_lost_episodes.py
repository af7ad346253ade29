"""Episodes cut short by a dead or hanging simulator are not stored but played again."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from sample_faults import ENDS, FINE, KILLED, RAISES, SLEEPS, Faulty

import mail_envs
from demos import replay
from demos.record import Args, main, record
from demos.replay import make_env
from demos.rollouts import rollouts
from mail_envs.player_functions import Synchronous
from mail_envs.vector import VectorGame

UNLUCKY = (2, 4, 5)  # seeds of episodes in which the simulator fails
ROUND = 3  # in which it does


@pytest.fixture(scope="module", autouse=True)
def registered():
    mail_envs.register("faulty_for_records", Faulty)


def unlucky_policy(fault: int, failures: int):
    """Episodes of seed s end in round 5 + s; in the unlucky ones the first `failures` attempts fail before."""
    left = dict.fromkeys(UNLUCKY, failures)

    def policy(observations, info, rng):
        actions = np.full((len(observations), 2), FINE)
        for k, (seed, t) in enumerate(zip(info["seed"].tolist(), info["round"], strict=True)):
            if t == ROUND and left.get(seed, 0) > 0:
                left[seed] -= 1
                actions[k, 0] = fault
            elif t == 5 + seed:
                actions[k, 0] = ENDS
        return actions

    return policy


@pytest.mark.parametrize("fault", [KILLED, RAISES, SLEEPS])
def test_a_lost_episode_is_recorded_again(tmp_path, fault, caplog):
    """All requested episodes, in order and complete."""
    with caplog.at_level(logging.WARNING):
        demos = record(
            "faulty_for_records", unlucky_policy(fault, 1), 8, 0, tmp_path / "set", num_envs=4,
            num_workers=2, worker_timeout=1.0, random_return=0.0,
        )  # fmt: skip
    assert [e.seed for e in demos] == list(range(8))
    assert [len(e) for e in demos] == [6 + seed for seed in range(8)]
    for episode in demos:
        assert episode.terminated and not episode.truncated
        assert episode.rewards[:, 0].tolist() == list(range(len(episode)))
        assert episode.observations[:, 0, 1].tolist() == list(range(len(episode) + 1))
    notices = [r.getMessage() for r in caplog.records if r.name == "demos.rollouts"]
    assert len(notices) == 2 and "seeds 2" in notices[0]  # a batch of four each
    assert replay.verify(demos, make_env(demos.metadata)) == []


def test_an_episode_lost_repeatedly_is_one_error_and_other_episodes_are_kept(tmp_path):
    arguments = {"num_envs": 4, "num_workers": 2, "random_return": 0.0}
    with pytest.raises(ChildProcessError, match=r"lost 3 times during the episodes of the seeds 2"):
        record("faulty_for_records", unlucky_policy(KILLED, 3), 8, 0, tmp_path / "set", **arguments)
    demos = record(
        "faulty_for_records", unlucky_policy(KILLED, 0), 8, 0, tmp_path / "set", **arguments
    )
    assert sorted(e.seed for e in demos) == list(range(8))


def test_the_command_says_it_in_one_line(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("demos.record.load_policy", lambda *_: unlucky_policy(KILLED, 3))
    given = {"random_return": 0.0, "num_workers": 2}
    monkeypatch.setattr("demos.record.game_keywords", lambda *_: given)
    monkeypatch.setattr("demos.record.stream_seed", lambda *_: 0)  # the first episode's seed
    args = Args("faulty_for_records", tmp_path / "set", "random", episodes=4, num_envs=4)
    assert main(args) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and "was lost 3 times during the episodes of the seeds 2" in errors[0]


def test_evaluations_do_not_count_lost_episodes():
    vec = VectorGame(Faulty(), Synchronous(), 3, num_workers=3)
    try:
        played = list(rollouts(vec, unlucky_policy(KILLED, 1), np.array([2, 9, 5])))
    finally:
        vec.close()
    assert [len(e) for e in played] == [8, 15, 11]
