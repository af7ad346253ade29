"""Two agents, four rounds, and a matrix of payoffs for their joint action in each: small enough to learn in seconds.

In every round one of three cues is shown to both agents; agent i should then play cue + i (modulo 3). Both get 1 if both
are right, 0.3 if one of them is. OPTIMUM is the return of an episode, when everybody acts in every round.
"""

from __future__ import annotations

import gymnasium
import numpy as np

import mail_envs
from mail_envs.kernels import device_function
from mail_envs.markov_game import KernelGame
from mail_envs.random import uniform

OPTIMUM = 4.0
ZERO, ONE, THREE = np.float32(0.0), np.float32(1.0), np.float32(3.0)
PAYOFF = (0.0, 0.3, 1.0)  # by the number of agents who are right
Box, Discrete = gymnasium.spaces.Box, gymnasium.spaces.Discrete


class MatrixGame(KernelGame):
    """The game."""

    def __init__(self):
        self.agents = ["player_0", "player_1"]
        self.max_rounds = 4
        self.observation_spaces = {a: Box(0, 1, (4,)) for a in self.agents}
        self.action_spaces = {a: Discrete(3) for a in self.agents}
        self.state_space = Box(0, 1, (3,))
        self.state_dtype = np.dtype([("cue", "i4")], align=True)
        self.params = np.zeros(1, np.dtype([("payoff", "f4", 3)], align=True))
        self.params["payoff"] = PAYOFF


@device_function
def reset_env(state, rng, params):
    state.cue = min(np.int32(uniform(rng) * THREE), 2)


@device_function
def step_env(state, rng, actions, acts, params, rewards, metrics):
    right = 0
    for i in range(2):
        right += acts[i] != 0 and actions[i] == (state.cue + i) % 3
    for i in range(2):
        rewards[i] = params.payoff[right]
    state.cue = min(np.int32(uniform(rng) * THREE), 2)
    return False


@device_function
def observe_env(state, params, observations, action_mask, alive, global_state):
    for c in range(3):
        shown = ONE if state.cue == c else ZERO
        global_state[c] = shown
        for i in range(2):
            observations[i, c] = shown
    for i in range(2):
        observations[i, 3] = np.float32(i)


def solve(observations, info, rng):
    """The demonstrator: agent i plays cue + i."""
    cues = observations[:, 0, :3].argmax(1)
    return np.stack([cues, (cues + 1) % 3], 1).astype(np.int32)


mail_envs.register("matrix_game", MatrixGame)
