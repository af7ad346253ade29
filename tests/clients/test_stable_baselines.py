"""SuperSuit turns every agent into a player; Stable-Baselines3's PPO trains one shared policy."""

from __future__ import annotations

import numpy as np
import pytest
from three_games import ASYNCHRONOUS, GAMES, KERNEL, client, make, returns

ss = client("supersuit")
client("stable_baselines3")
from stable_baselines3 import PPO  # noqa: E402
from stable_baselines3.common.vec_env import VecMonitor  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")


def players(env, copies: int = 4, base: str = "stable_baselines3"):
    vector = ss.pettingzoo_env_to_vec_env_v1(env)
    return ss.concat_vec_envs_v1(vector, copies, num_cpus=1, base_class=base)


def learn(env, steps: int) -> PPO:
    learner = PPO("MlpPolicy", VecMonitor(players(env)), n_steps=64, batch_size=256, n_epochs=3)
    return learner.learn(steps)


@pytest.mark.parametrize("id", GAMES)
def test_ppo_learns_for_some_thousand_steps(id):
    learner = learn(make(id, "parallel"), 4000)
    assert learner.num_timesteps >= 4000
    episodes = [e["r"] for e in learner.ep_info_buffer]
    assert len(episodes) >= 12 and np.isfinite(episodes).all() and np.mean(episodes) < 0


def test_continuous_actions_work_too():
    learn(make(ASYNCHRONOUS, "parallel", continuous_actions=True), 1000)


def test_roles_with_different_spaces_need_padding():
    env = make("stochastic_predator_prey", "parallel")
    with pytest.raises(AssertionError, match="pad_observations"):
        ss.pettingzoo_env_to_vec_env_v1(env)
    learn(ss.pad_action_space_v0(ss.pad_observations_v0(env)), 2000)


@pytest.mark.parametrize("id", GAMES)
def test_rewards_add_up_to_the_returns(id):
    game = make(id, "parallel")
    vector = ss.pettingzoo_env_to_vec_env_v1(game)
    vector.reset(seed=5)
    paid, done = np.zeros(3), np.zeros(1)
    while not done.any():
        actions = np.array([vector.action_space.sample() for _ in range(3)])
        _, rewards, terminated, truncated, infos = vector.step(actions)
        paid, done = paid + rewards, terminated | truncated
    assert done.all() and np.allclose(paid, returns(game), atol=1e-3)
    assert all("terminal_observation" in info for info in infos)


def test_copies_play_different_games():
    vector = players(make(KERNEL, "parallel", max_rounds=10))
    seen = [vector.reset()] + [vector.step(np.full(12, 1))[0] for _ in range(30)]
    for t in (0, 9, 10, 30):  # in the first, second and fourth episode
        assert len({one.tobytes() for one in seen[t].reshape(4, 3, -1)}) == 4


def test_ppo_does_not_see_who_acts_but_info_says_it():
    vector = players(make(ASYNCHRONOUS, "parallel"), copies=1)
    vector.reset()
    acts = np.array([info["participates"] for info in vector.reset_infos])
    for _ in range(20):
        _, rewards, _, infos = vector.step(np.full(3, 2))
        assert np.array_equal(rewards != 0, acts)
        acts = np.array([info["participates"] for info in infos])


def test_ppo_ignores_masks_and_what_they_forbid_becomes_null():
    vector = players(make(ASYNCHRONOUS, "parallel", null_action="as_action"), copies=1)
    vector.reset()
    acting = sum(info["participates"] for info in vector.reset_infos)
    infos = vector.step(np.full(3, 5))[-1]
    assert infos[0]["illegal_actions"] == acting
