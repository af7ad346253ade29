"""A guide with two words and a walker with five moves: agents that see and do unlike things.

Observation: the guide sees the goal, -1 or 1; the walker its position, the last word and the round. Action:
the guide says one of two words, the walker makes one of five steps, or, with `continuous`, they push one or
three numbers. Reward: minus the walker's distance from the goal. The game ends after `max_rounds`.
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


class GuideAndWalker(KernelGame):
    """The game; `masked`: the walker may make its first step only."""

    def __init__(self, continuous: bool = False, masked: bool = False, max_rounds: int = 8):
        self.agents = ["guide_0", "walker_0"]
        self.max_rounds = max_rounds
        self.observation_spaces = {a: Box(-20, 20, (n,)) for a, n in zip(self.agents, (1, 3))}
        discrete = [Discrete(2), Discrete(5)]
        pushes = [Box(-1, 1, (1,)), Box(np.float32([-1, -2, 0]), np.float32([1, 2, 1]))]
        self.action_spaces = dict(zip(self.agents, pushes if continuous else discrete))
        self.state_space = Box(-20, 20, (3,))
        self.state_dtype = np.dtype([("goal", "f4"), ("x", "f4"), ("word", "f4")], align=True)
        self.params = np.zeros(1, np.dtype([("masked", "i4")], align=True))
        self.params["masked"] = masked
        self.has_action_mask = not continuous

    def draw(self, canvas, state, participation):
        canvas.begin()
        canvas.circle((float(state["x"]) / 20, 0.0), 0.05, "blue")


@device_function
def reset_env(state, rng, params):
    state.goal = ONE if uniform(rng) < HALF else -ONE
    state.x = ZERO
    state.word = ZERO


@device_function
def step_env(state, rng, actions, acts, params, rewards, metrics):
    if acts[0] != 0:
        state.word = said(actions)
    if acts[1] != 0:
        state.x += walked(actions)
    for i in range(2):
        rewards[i] = -abs(state.x - state.goal)
    return False


@device_function
def said(actions):
    if actions.ndim == 1:
        return np.float32(actions[0])
    return actions[0, 0]


@device_function
def walked(actions):
    if actions.ndim == 1:
        return HALF * np.float32(actions[1] - 2)
    return actions[1, 0] + actions[1, 1] * actions[1, 2]


@device_function
def observe_env(state, params, observations, action_mask, alive, global_state):
    observations[0, 0] = state.goal
    observations[1, 0] = state.x
    observations[1, 1] = state.word
    observations[1, 2] = ONE
    global_state[0] = state.goal
    global_state[1] = state.x
    global_state[2] = state.word
    if action_mask.shape[1] != 0:
        for i in range(2):
            for a in range(2 + 3 * i):
                action_mask[i, a] = 1
        if params.masked != 0:
            for a in range(1, 5):
                action_mask[1, a] = 0


mail_envs.register("guide_and_walker", GuideAndWalker, player_function=mail_envs.Stochastic(0.6))
