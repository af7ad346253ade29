"""A user-defined game with deaths and action masks, and a function that plays it."""

from __future__ import annotations

import gymnasium
import numpy as np

from mail_envs.kernels import device_function
from mail_envs.markov_game import KernelGame
from mail_envs.random import uniform

HIT = 1
ZERO, ONE, THREE = np.float32(0.0), np.float32(1.0), np.float32(3.0)


class LastStanding(KernelGame):
    """N agents in a ring; each hits the next one that is alive. Whoever has lost all lives is out.

    Actions: 0 wait, 1 hit, 2 heal; an agent that has just hit must not hit again (masked).
    Reward: 1 for an agent that hits somebody out. The game ends when at most one agent is left,
    or never with `endless`.
    """

    def __init__(self, num_agents: int = 3, max_rounds: int = 30, endless: bool = False):
        self.agents = [f"fighter_{i}" for i in range(num_agents)]
        self.max_rounds = max_rounds
        box = gymnasium.spaces.Box(0, 100, (num_agents + 1,), np.float32)
        self.observation_spaces = dict.fromkeys(self.agents, box)
        self.action_spaces = {a: gymnasium.spaces.Discrete(3) for a in self.agents}
        self.state_space = gymnasium.spaces.Box(0, 100, (num_agents,), np.float32)
        self.state_dtype = np.dtype(
            [("lives", "f4", num_agents), ("tired", "i4", num_agents)], align=True
        )
        self.params = np.zeros(1, np.dtype([("endless", "i4")], align=True))
        self.params["endless"] = endless
        self.metric_names = ("survivors",)
        self.has_action_mask = True

    def draw(self, canvas, state, participation):
        canvas.begin()
        canvas.text((0, 0), str(state["lives"]))


@device_function
def reset_env(state, rng, params):
    for i in range(state.lives.shape[0]):
        state.lives[i] = ONE + np.float32(np.int32(uniform(rng) * THREE))
        state.tired[i] = 0


@device_function
def step_env(state, rng, actions, acts, params, rewards, metrics):
    n = state.lives.shape[0]
    for i in range(n):
        rewards[i] = ZERO
        hits = acts[i] != 0 and actions[i] == HIT and state.lives[i] > ZERO
        state.tired[i] = hits
        if hits:
            for k in range(1, n):
                j = (i + k) % n
                if state.lives[j] > ZERO:
                    state.lives[j] -= ONE
                    rewards[i] += np.float32(state.lives[j] == ZERO)
                    break
        elif acts[i] != 0 and actions[i] == 2 and state.lives[i] > ZERO:
            state.lives[i] = min(state.lives[i] + ONE, THREE)
    survivors = 0
    for i in range(n):
        survivors += state.lives[i] > ZERO
    metrics[0] = np.float32(survivors)
    return survivors <= 1 and params.endless == 0


@device_function
def observe_env(state, params, observations, action_mask, alive, global_state):
    n = state.lives.shape[0]
    for i in range(n):
        alive[i] = state.lives[i] > ZERO
        global_state[i] = state.lives[i]
        for a in range(action_mask.shape[1]):
            action_mask[i, a] = 1
        action_mask[i, HIT] = 1 - state.tired[i]
        observations[i, n] = np.float32(i)
        for j in range(n):
            observations[i, j] = state.lives[j]


def finish(env):
    """Play an AEC episode of zeros to its end; turns (agent, cumulative reward, ended) in order."""
    turns = []
    for agent in env.agent_iter():
        _, reward, terminated, truncated, _ = env.last()
        turns.append((agent, reward, terminated or truncated))
        env.step(None if terminated or truncated else 0)
    return turns
