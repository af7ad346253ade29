"""placeholder page"""

import numpy as np

from mail_envs.games.particle import world
from mail_envs.games.particle.coop_nav import ACCEL, AGENT_RADIUS, PENALTY, crowding
from mail_envs.games.particle.world import (
    distance,
    move,
    scatter,
    write_landmarks,
    write_others,
    write_pair,
    write_world,
)
from mail_envs.kernels import device_function
from mail_envs.markov_game import KernelGame

REACHED = np.float32(0.3)  # metrics: an agent is at the landmark when it is at most this far away
ZERO = np.float32(0.0)
ONE = np.float32(1.0)


class CoopReaching(KernelGame):
    """`num_agents` agents gather around one landmark."""

    def __init__(
        self,
        num_agents: int = 3,
        max_rounds: int = 50,
        integration: str = "velocity_first",
        penalty: str = "hard",
        null_dynamics: str = "coast",
        continuous_actions: bool = False,
    ):
        self.agents = [f"agent_{i}" for i in range(num_agents)]
        self.max_rounds = max_rounds
        self.observation_spaces = world.observation_spaces(self.agents, 4 + 4 * (num_agents - 1))
        self.action_spaces = world.action_spaces(self.agents, continuous_actions)
        self.state_space = world.state_space(num_agents, 1)
        self.state_dtype = np.dtype(world.body_fields(num_agents, 1), align=True)
        self.params = world.make_params(
            num_agents, integration, null_dynamics, radius=AGENT_RADIUS, accel=ACCEL,
            penalty=world.choice("penalty", penalty, PENALTY),
        )
        self.metric_names = ("agents_at_landmark",)
        self.metadata = {"convention": f"sum of distances, {penalty} penalty, {integration}"}

    def draw(self, canvas, state, participation):
        world.draw(canvas, state, self.params[0])


@device_function
def reset_env(state, rng, params):
    scatter(state, rng, ONE)


@device_function
def step_env(state, rng, actions, acts, params, rewards, metrics):
    move(state, actions, acts, params)
    shared = ZERO
    reached = 0
    for i in range(state.pos.shape[0]):
        d = distance(state.pos, i, state.landmark, 0)
        shared -= d
        reached += d <= REACHED
    for i in range(state.pos.shape[0]):
        rewards[i] = shared + crowding(state, i, params)
    metrics[0] = np.float32(reached)
    return False


@device_function
def observe_env(state, params, observations, action_mask, alive, global_state):
    for i in range(state.pos.shape[0]):
        out = observations[i]
        k = write_pair(out, 0, state.vel[i, 0], state.vel[i, 1])
        k = write_landmarks(out, k, state, i)
        k = write_others(out, k, state, i)
        out[k:] = ZERO  # communication, silent
    write_world(global_state, state)
