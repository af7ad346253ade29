"""Two walkers on a line of seven fields: what they see shows where they went, so that it can be imitated without actions.

Each starts on a random field and sees its own (one-hot). Actions: 0 left, 1 stay, 2 right. Reward: `pay` times the
number of the field, 0 to 6. `walking(...)` makes demonstrators that walk left (0) or right (2).
"""

from __future__ import annotations

import gymnasium
import numpy as np

import mail_envs
from mail_envs.kernels import device_function
from mail_envs.markov_game import KernelGame
from mail_envs.random import uniform

FIELDS, ROUNDS = 7, 8
ZERO, ONE, SEVEN = np.float32(0.0), np.float32(1.0), np.float32(7.0)
Box, Discrete = gymnasium.spaces.Box, gymnasium.spaces.Discrete


class LineGame(KernelGame):
    """The game."""

    def __init__(self, pay: float = 0.0):
        self.agents = ["walker_0", "walker_1"]
        self.max_rounds = ROUNDS
        self.observation_spaces = {a: Box(0, 1, (FIELDS,)) for a in self.agents}
        self.action_spaces = {a: Discrete(3) for a in self.agents}
        self.state_space = Box(0, 6, (2,))
        self.state_dtype = np.dtype([("field", "i4", 2)], align=True)
        self.params = np.zeros(1, np.dtype([("pay", "f4")], align=True))
        self.params["pay"] = pay


@device_function
def reset_env(state, rng, params):
    for i in range(2):
        state.field[i] = min(np.int32(uniform(rng) * SEVEN), 6)


@device_function
def step_env(state, rng, actions, acts, params, rewards, metrics):
    for i in range(2):
        rewards[i] = params.pay * np.float32(state.field[i])
        if acts[i] != 0:
            state.field[i] = min(max(state.field[i] + np.int32(actions[i]) - 1, 0), 6)
    return False


@device_function
def observe_env(state, params, observations, action_mask, alive, global_state):
    for i in range(2):
        global_state[i] = np.float32(state.field[i])
        for k in range(7):
            observations[i, k] = ONE if state.field[i] == k else ZERO


mail_envs.register("line_game", LineGame)


def walking(*actions: int):
    """A demonstrator whose agents always do these actions."""

    def policy(observations, info, rng):
        return np.tile(np.int32(actions), (len(observations), 1))

    return policy
