"""What PettingZoo's contract holds beside rounds: options of a reset, infos, rewards and observations as they come."""

from __future__ import annotations

import copy
from functools import partial

import numpy as np
import pytest
from gymnasium import spaces
from sample_environments import Medley

import mail_envs

UNIT = spaces.Box(0.0, 1.0, (3,), np.float32)


class Chatty(Medley):
    """Says in infos what it was reset with and how long ago; pays `pay` to agent_1."""

    def __init__(self, pay=np.array([2.5])):
        names = ("agent_0", "agent_1")
        super().__init__(dict.fromkeys(names, UNIT), dict.fromkeys(names, spaces.Discrete(2)))
        self.pay, self.options = pay, None

    def reset(self, seed=None, options=None):
        self.options = options
        return super().reset(seed, options)

    def step(self, actions):
        result = super().step(actions)
        result[1]["agent_1"] = self.pay
        return result

    def infos(self, agents):
        told = {"level": self.options, "round": "theirs", "age": self.round}
        return {a: dict(told) for a in agents if a == "agent_0"}  # others are told nothing


def test_options_and_infos_come_through_in_both_views():
    for api in ("parallel", "aec"):
        env = mail_envs.from_pettingzoo(Chatty, api=api)
        env.reset(seed=0, options={"level": 3})
        for t in range(3):
            told = env.infos if api == "aec" else env._infos()
            assert told["agent_0"]["level"] == {"level": 3} and told["agent_0"]["age"] == t
            assert told["agent_0"]["round"] == t  # ours
            assert "level" not in told["agent_1"] and told["agent_1"]["round"] == t
            if api == "aec":
                env.step(0)
                env.step(0)
            else:
                env.step({"agent_0": 0, "agent_1": 0})
        twin = copy.deepcopy(env)  # the episode goes on with its options
        assert (twin.infos if api == "aec" else twin._infos())["agent_0"]["level"] == {"level": 3}
        env.reset(seed=1)
        assert (env.infos if api == "aec" else env._infos())["agent_0"]["level"] is None


def test_the_infos_of_turns_come_through():
    env = mail_envs.make("pettingzoo:classic/tictactoe-v3", api="aec")
    theirs = env.vector.launches.copies.games[0]._play.env
    env.reset(seed=0, options={})
    theirs.infos["player_2"]["hint"] = "corner"
    env.step(4)
    assert env.infos["player_2"]["hint"] == "corner"


def test_options_do_not_reach_other_processes():
    vec = mail_envs.from_pettingzoo(Chatty, api="vector", num_envs=2, num_workers=1)
    with pytest.raises(ValueError, match=r"options=\{'level': 3\}.* num_workers=0"):
        vec.reset(seed=0, options={"level": 3})
    vec.close()


@pytest.mark.parametrize("pay", [np.array([2.5]), np.float64(2.5), [[2.5]], np.array(2.5)])
def test_a_reward_may_be_an_array_of_one(pay):
    env = mail_envs.from_pettingzoo(partial(Chatty, pay), api="parallel")
    env.reset(seed=0)
    assert env.step({"agent_0": 0, "agent_1": 0})[1]["agent_1"] == 2.5


@pytest.mark.parametrize("pay", [np.array([1.0, 2.0]), None, "much", []])
def test_a_reward_that_is_no_number_names_the_agent(pay):
    env = mail_envs.from_pettingzoo(partial(Chatty, pay), api="parallel")
    env.reset(seed=0)
    with pytest.raises(ValueError, match=r"medley_v0 pays agent_1 .*a reward is one number"):
        env.step({"agent_0": 0, "agent_1": 0})


def test_an_observation_outside_its_space_names_the_agent():
    env = mail_envs.from_pettingzoo(Chatty, api="parallel")
    env.reset(seed=0)
    env.vector.launches.copies.games[0]._play.env.inner["agent_1"] = spaces.Box(-1, 1, (7,))
    with pytest.raises(ValueError, match=r"agent_1 of medley_v0 observes .* outside of its space"):
        env.step({"agent_0": 0, "agent_1": 0})
