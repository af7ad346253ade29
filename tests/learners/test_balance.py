"""Warnings of adversarial training: what counts as a collapse, and when it is reported."""

from __future__ import annotations

import pytest
import torch

from learners import amagail, magail
from learners.lib.balance import DECAY, ENOUGH, LOST_LOSS, PATIENCE, Balance
from learners.lib.rollout import Rollout

MOVING = 60  # the first update that trains actors
LONG = 150  # updates, enough for the average to follow


def warnings(*phases: dict, settled: int = 0, moving: int = MOVING) -> list[str]:
    """The warnings when each phase's metrics are observed for LONG updates, one phase after the other."""
    said: list[str] = []
    balance = Balance(said.append, settled, moving)
    for k, metrics in enumerate(phases):
        for update in range(k * LONG, (k + 1) * LONG):
            balance.observe(update, {"episodes": 20, **metrics})
    return said


def returns(mean: float, sd: float) -> dict:
    return {"return": mean, "return_sd": sd}


def wins(rate: float) -> dict:
    return {"win_rate": rate, "return": 15.0, "return_sd": 3.0}


def test_a_fall_of_more_than_the_spread_of_returns_is_a_collapse():
    (text,) = warnings(returns(-14.0, 5.0), returns(-22.0, 5.0))
    assert text.endswith("the return collapsed from -14.0 to -19.1")
    assert warnings(returns(-14.0, 50.0), returns(-40.0, 50.0)) == []


def test_the_win_rate_decides_where_there_is_one():
    (text,) = warnings(wins(0.99), wins(0.14))
    assert "the win rate collapsed from 99.0% to 7" in text
    poor = {"return": -100.0, "return_sd": 1.0}
    assert warnings(wins(0.9), wins(0.9) | poor) == []


@pytest.mark.parametrize(
    ("before", "after", "warned"), [(0.9, 0.8, 0), (0.1, 0.02, 1), (0.1, 0.08, 0)]
)
def test_small_falls_of_the_win_rate_do_not_count_but_half_of_a_small_rate_does(
    before, after, warned
):
    assert len(warnings(wins(before), wins(after))) == warned


def test_a_few_lost_games_are_not_a_collapse():
    assert len(warnings(wins(0.5), wins(0.29))) == 1
    few = {"episodes": 1}  # per update: the average is that of about 50 episodes
    assert warnings(wins(0.5) | few, wins(0.29) | few) == []


def test_a_small_fall_is_not_a_collapse_even_if_returns_do_not_vary():
    assert warnings(returns(-10.0, 0.0), returns(-10.9, 0.0)) == []
    assert len(warnings(returns(-10.0, 0.0), returns(-11.2, 0.0))) == 1


def test_no_warning_while_the_actors_are_frozen():
    phases = returns(-14.0, 5.0), returns(-60.0, 5.0)
    assert warnings(*phases, moving=2 * LONG) == []
    (text,) = warnings(*phases, moving=2 * LONG - 1)  # the best is that of the frozen actors
    assert text.startswith(f"warning: update {2 * LONG - 1}:")


def test_the_first_updates_are_ignored():
    assert warnings(returns(100.0, 5.0), returns(-14.0, 5.0), settled=LONG) == []
    assert warnings(returns(100.0, 5.0), returns(-14.0, 5.0), settled=LONG - 10) != []


def test_a_few_unlucky_episodes_are_not_a_collapse():
    said: list[str] = []
    balance = Balance(said.append, 0, 0)
    for update, value in enumerate([10.0, 10.0] + [-50.0] * (ENOUGH - 3)):
        balance.observe(update, {"episodes": 1, **returns(value, 0.0)})
    assert balance.episodes < ENOUGH and balance.best is None and said == []


def test_every_collapse_is_reported_once():
    high, low = returns(-14.0, 5.0), returns(-60.0, 5.0)
    assert len(warnings(high, low, low)) == 1
    assert len(warnings(high, low, high, high, low)) == 2


def test_a_return_that_oscillates_around_the_limit_is_one_collapse():
    said: list[str] = []
    balance = Balance(said.append, 0, 0)
    balance.observe(0, {"episodes": ENOUGH, **returns(0.0, 1.0)})
    for update in range(1, 400):
        value = -1.5 if update % 40 < 20 else -0.7
        balance.observe(update, {"episodes": 20, **returns(value, 1.0)})
    assert len(said) == 1


def test_the_running_average_decays_at_a_fixed_rate():
    balance = Balance(lambda _: None, 0, 0)
    balance.observe(0, {"episodes": 60, **returns(-10.0, 3.0)})
    balance.observe(1, {"episodes": 0})  # nothing ended
    assert (balance.episodes, balance.best, balance.spread) == (60, -10.0, pytest.approx(3.0))
    balance.observe(2, {"episodes": 100, **returns(-4.0, 3.0)})
    mean = (60 * DECAY * -10.0 + 100 * -4.0) / (60 * DECAY + 100)
    square = (60 * DECAY * 109.0 + 100 * 25.0) / (60 * DECAY + 100)
    assert balance.best == pytest.approx(mean)
    assert balance.spread == pytest.approx((square - mean**2) ** 0.5)


def test_a_discriminator_that_always_wins_is_reported_once():
    lost = {"disc_loss": LOST_LOSS - 0.1, **returns(-14.0, 5.0)}
    (text,) = warnings(lost, lost)
    assert f"update {PATIENCE - 1}: the discriminator's loss" in text
    assert warnings({"disc_loss": LOST_LOSS + 0.1, **returns(-14.0, 5.0)}) == []


def test_it_resumes_from_a_checkpoint():
    whole, first, second = ([] for _ in range(3))
    balance, before, after = (Balance(x.append, 0, 0) for x in (whole, first, second))
    for update in range(200):
        metrics = {"episodes": 20, **returns(-14.0 if update < 100 else -60.0, 5.0)}
        balance.observe(update, metrics)
        if update == 105:
            after.load_state_dict(before.state_dict())
        (before if update < 105 else after).observe(update, metrics)
    assert whole == first + second and len(whole) == 1


def test_rollouts_report_the_spread_of_the_returns_of_finished_episodes():
    import mail_envs

    vec = mail_envs.make_vec("coop_nav", num_envs=2, array="torch", replayable=True)
    rollout = Rollout(vec, 3)
    rollout.truncated[0] = rollout.truncated[2, 0] = True
    rollout.episode_return[0] = torch.tensor([[1.0, 2, 3], [7, 8, 9]])
    rollout.episode_return[2, 0] = 5.0
    found = rollout.episodes()
    assert (found["episodes"], found["return"]) == (3, 5.0)
    assert found["return_sd"] == pytest.approx(6**0.5)  # of 2, 8 and 5


@pytest.mark.parametrize("learner", [magail, amagail])
def test_adversarial_learners_warn_from_the_first_update_that_trains_actors(
    learner, tmp_path, monkeypatch
):
    """Four good updates, then a collapse: the warning waits for --disc-first updates."""
    from demos.record import record

    record("stochastic_coop_nav", "random", 5, 0, tmp_path / "demos", random_return=0.0)
    played = iter([-10.0] * 4 + [-500.0] * 99)
    monkeypatch.setattr(
        Rollout, "episodes", lambda _: {"episodes": 50, **returns(next(played), 1.0)}
    )
    said: list[str] = []
    monkeypatch.setattr(learner.Run, "say", lambda _, text: said.append(text))
    learner.train(
        learner.Args(
            demos=str(tmp_path / "demos"),
            num_demos=5,
            warm_start=0,
            hidden=(8,),
            num_envs=2,
            rounds=50,
            disc_first=6,
            steps=1000,
            eval_episodes=0,
            progress=False,
            run_dir=str(tmp_path / "run"),
        )
    )
    (text,) = (t for t in said if "collapsed" in t)
    assert text.startswith("warning: update 6: the return collapsed from -10.0")
