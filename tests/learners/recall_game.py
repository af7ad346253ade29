"""Agents hear a word in the first round and must say it in the last: a game that needs memory.

Observation: the word, -1 or 1, in the first round, then 0; and whether this is the last round. Reward: 1 for
saying the word in the last round, where everybody acts, as in the first; in between agents miss rounds.
"""

from __future__ import annotations

import gymnasium
import numpy as np

import mail_envs
from mail_envs.kernels import device_function
from mail_envs.markov_game import KernelGame
from mail_envs.random import uniform

ZERO, HALF, ONE = np.float32(0.0), np.float32(0.5), np.float32(1.0)
Box, Discrete = gymnasium.spaces.Box, gymnasium.spaces.Discrete


class Recall(KernelGame):
    """The game, for two agents."""

    def __init__(self, max_rounds: int = 6):
        self.agents = ["listener_0", "listener_1"]
        self.max_rounds = max_rounds
        self.observation_spaces = {a: Box(-1, 1, (2,)) for a in self.agents}
        self.action_spaces = {a: Discrete(2) for a in self.agents}
        self.state_space = Box(-1, 1, (1,))
        self.state_dtype = np.dtype([("word", "f4"), ("round", "i4")], align=True)
        self.params = np.zeros(1, np.dtype([("last", "i4")], align=True))
        self.params["last"] = max_rounds - 1
        self.metric_names = ("won",)


@device_function
def reset_env(state, rng, params):
    state.word = ONE if uniform(rng) < HALF else -ONE
    state.round = 0


@device_function
def step_env(state, rng, actions, acts, params, rewards, metrics):
    metrics[0] = ONE
    for i in range(2):
        right = acts[i] != 0 and (actions[i] == 1) == (state.word > ZERO)
        rewards[i] = ONE if right and state.round == params.last else ZERO
        if not right:
            metrics[0] = ZERO
    state.round += 1
    return False


@device_function
def observe_env(state, params, observations, action_mask, alive, global_state):
    for i in range(2):
        observations[i, 0] = state.word if state.round == 0 else ZERO
        observations[i, 1] = ONE if state.round == params.last else ZERO
    global_state[0] = state.word


mail_envs.register(
    "recall",
    Recall,
    player_function=mail_envs.TurnOrder([[0, 1], [0], [1], [], [1], [0, 1]]),
)
