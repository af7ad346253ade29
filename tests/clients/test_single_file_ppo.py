"""A single-file learner in the style of CleanRL, with SuperSuit and with `make_vec`."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from single_file_ppo import (
    GAMMA,
    Agent,
    GymnasiumPlayers,
    Seen,
    VectorPlayers,
    estimate_advantages,
    rollout,
    train,
)
from three_games import ASYNCHRONOUS, GAMES, KERNEL, SIMULATOR, client, make

import mail_envs

pytestmark = pytest.mark.filterwarnings("ignore")


class Endless:
    """One player with reward 1 in every round; episodes are truncated or terminate after ten rounds."""

    num_players, num_observations, num_actions = 1, 1, 2

    def __init__(self, ends: bool):
        self.ends, self.round = ends, 0

    def reset(self, seed: int) -> Seen:
        return self.seen(False, 0.0)

    def step(self, actions: np.ndarray) -> Seen:
        self.round += 1
        return self.seen(self.round % 10 == 0, 1.0)

    def seen(self, over: bool, reward: float) -> Seen:
        over, same = np.array([over]), np.ones((1, 1), np.float32)
        cut, paid = over & (not self.ends), np.array([reward], np.float32)
        return Seen(same, np.array([True]), paid, over & self.ends, cut, same * over[:, None])


@pytest.mark.parametrize("ends", [False, True])
def test_a_time_limit_is_no_end(ends):
    """A critic that predicts the value of the infinite horizon, 1 / (1 - gamma), is right at truncation."""
    agent = Agent(1, 2)
    with torch.no_grad():
        agent.critic[-1].weight.zero_()
        agent.critic[-1].bias.fill_(1 / (1 - GAMMA))
    players = Endless(ends)
    rows, seen = rollout(players, agent, players.reset(0), np.zeros(1), [])
    advantages = estimate_advantages(rows, agent, seen)
    if ends:  # nothing comes after the tenth round
        assert advantages[9] == pytest.approx(1 - 1 / (1 - GAMMA), abs=1e-3)
    else:
        assert advantages.abs().max() < 1e-3


@pytest.mark.parametrize("id", [KERNEL, ASYNCHRONOUS])
def test_it_learns_with_make_vec(id):
    progress = train(VectorPlayers(mail_envs.make_vec(id, 32)), updates=12)
    first, *_, last = np.array_split(progress.returns, 4)
    assert last.mean() > 0.95 * first.mean() and np.isfinite(progress.losses).all()


def test_a_simulator_works_too():
    pytest.importorskip("mpe2", reason="mpe2 is not installed: pip install '.[bench]'")
    vector = mail_envs.make_vec(SIMULATOR, 4, num_workers=0)
    progress = train(VectorPlayers(vector), updates=2)
    vector.close()
    assert len(progress.returns) == 2 * 64 // 25 * 12 and np.isfinite(progress.losses).all()


@pytest.mark.parametrize("id", GAMES)
def test_the_same_loop_runs_on_supersuits_players(id):
    ss = client("supersuit")
    players = ss.pettingzoo_env_to_vec_env_v1(make(id, "parallel"))
    envs = ss.concat_vec_envs_v1(players, 4, num_cpus=1, base_class="gymnasium")
    progress = train(GymnasiumPlayers(envs), updates=2)
    assert len(progress.returns) >= 12 and np.isfinite(progress.losses).all()


def test_supersuit_and_make_vec_play_the_same_games():
    """Copy k of SuperSuit's players and environment k of `make_vec` have the same seed."""
    ss = client("supersuit")
    players = ss.pettingzoo_env_to_vec_env_v1(make(ASYNCHRONOUS, "parallel"))
    envs = ss.concat_vec_envs_v1(players, 3, num_cpus=1, base_class="gymnasium")
    ours, theirs = VectorPlayers(mail_envs.make_vec(ASYNCHRONOUS, 3)), GymnasiumPlayers(envs)
    seen = ours.reset(7), theirs.reset(7)
    rng = np.random.default_rng(0)
    for _ in range(160):  # three episodes and more
        for a, b in zip(*seen, strict=True):
            assert np.array_equal(a, b)
        actions = rng.integers(5, size=9)
        seen = ours.step(actions), theirs.step(actions)
