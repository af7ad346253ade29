"""A simulator that wraps a kernel game: views must give the same results with both, bit for bit."""

from __future__ import annotations

import numpy as np

import mail_envs
from mail_envs.devices import _readable
from mail_envs.random import DYNAMICS, stream_key
from mail_envs.rounds import clock_dtype
from mail_envs.simulator import SimulatorGame


class Twin(SimulatorGame):
    """The registered kernel game `id`, called function by function from Python."""

    def __init__(self, id: str = "coop_nav", **arguments):
        self.game = game = mail_envs.make_game(id, **arguments)[0]
        for name in ("agents", "observation_spaces", "action_spaces", "state_space", "max_rounds"):
            setattr(self, name, getattr(game, name))
        self.metric_names, self.has_action_mask = game.metric_names, game.has_action_mask
        self.metadata = dict(game.metadata)
        self.record = _readable(np.zeros(1, game.state_dtype))
        self.clock = _readable(np.zeros(1, clock_dtype(len(game.agents))))

    def reset(self, seed):
        self.clock["key"][0], self.clock["counter"][0] = stream_key(seed, DYNAMICS), 0
        self.game.kernels["reset_env"](self.record[0], self.clock[0], self.game.params[0])

    def step(self, actions, acts, rewards, metrics):
        step = self.game.kernels["step_env"]
        one = (self.record[0], self.clock[0], actions, acts, self.game.params[0])
        return bool(step(*one, rewards, metrics)), False

    def observe(self, observations, action_mask, alive, state):
        observe = self.game.kernels["observe_env"]
        observe(self.record[0], self.game.params[0], observations, action_mask, alive, state)

    def picture(self):
        return np.full((20, 40, 3), 200, np.uint8)


def actions_for(vec, rng):
    if vec.discrete:
        return rng.integers(0, vec.action_dims[0], (vec.num_envs, vec.num_agents))
    return rng.random((vec.num_envs, vec.num_agents, vec.num_actions), np.float32)


def assert_equal_rounds(kernel, twin, rounds, seed=0):
    rng = np.random.default_rng(seed)
    for _ in range(rounds):
        actions = actions_for(kernel, rng)
        ours, theirs = kernel.step(actions), twin.step(actions)
        for a, b in zip(ours[:4], theirs[:4], strict=True):
            np.testing.assert_array_equal(a, b)
        over = ours[2] | ours[3]
        for key in ("participation", "alive", "state", "round", "seed", "illegal_actions"):
            np.testing.assert_array_equal(ours[4][key], theirs[4][key], err_msg=key)
        for key in ("final_observation", "final_state", "episode_return", "episode_length",
                    "final_action_mask", "final_alive", "final_participation"):  # fmt: skip
            if key not in ours[4]:  # a mask of continuous actions
                continue
            np.testing.assert_array_equal(ours[4][key][over], theirs[4][key][over], err_msg=key)
