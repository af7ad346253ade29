"""Cooperative navigation: three agents share out three landmarks without bumping into each other.

placeholder page
"""

import math

import numpy as np

from mail_envs.games.particle import world
from mail_envs.games.particle.world import (
    move,
    scatter,
    square_distance,
    write_landmarks,
    write_others,
    write_pair,
    write_world,
)
from mail_envs.kernels import device_function
from mail_envs.markov_game import KernelGame

AGENT_RADIUS = 0.15
ACCEL = 5.0
COVERED = np.float32(0.1)  # a landmark is covered when an agent is at most this far away
ZERO = np.float32(0.0)
ONE = np.float32(1.0)
FAR = np.float32(1e9)

PENALTY = ("none", "soft", "hard")
SOFT, HARD = 1, 2
OBSERVATION = ("relative", "absolute")


class CoopNav(KernelGame):
    """`num_agents` agents cover `num_landmarks` landmarks."""

    def __init__(
        self,
        num_agents: int = 3,
        num_landmarks: int = 3,
        max_rounds: int = 50,
        integration: str = "velocity_first",
        penalty: str = "soft",
        observation: str = "relative",
        terminate_on_success: bool = True,
        null_dynamics: str = "coast",
        continuous_actions: bool = False,
    ):
        self.agents = [f"agent_{i}" for i in range(num_agents)]
        self.max_rounds = max_rounds
        absolute = world.choice("observation", observation, OBSERVATION)
        dims = 2 + 2 * absolute + 2 * num_landmarks + 4 * (num_agents - 1)
        self.observation_spaces = world.observation_spaces(self.agents, dims)
        self.action_spaces = world.action_spaces(self.agents, continuous_actions)
        self.state_space = world.state_space(num_agents, num_landmarks)
        self.state_dtype = np.dtype(world.body_fields(num_agents, num_landmarks), align=True)
        self.params = world.make_params(
            num_agents, integration, null_dynamics, radius=AGENT_RADIUS, accel=ACCEL,
            penalty=world.choice("penalty", penalty, PENALTY), absolute=absolute,
            terminate_on_success=terminate_on_success,
        )
        self.metric_names = ("landmarks_covered",)
        self.metadata = {
            "convention": f"{penalty} penalty including the agent itself, {integration}, "
            f"{observation} observation, max_rounds {max_rounds}, "
            f"terminate_on_success {terminate_on_success}"
        }

    def draw(self, canvas, state, participation):
        world.draw(canvas, state, self.params[0])


@device_function
def reset_env(state, rng, params):
    scatter(state, rng, ONE)


@device_function
def step_env(state, rng, actions, acts, params, rewards, metrics):
    move(state, actions, acts, params)
    n = state.pos.shape[0]
    shared = ZERO
    covered = 0
    for m in range(state.landmark.shape[0]):
        nearest = FAR
        for i in range(n):
            nearest = min(nearest, square_distance(state.pos, i, state.landmark, m))
        nearest = math.sqrt(nearest)
        shared -= nearest
        covered += nearest <= COVERED
    for i in range(n):
        rewards[i] = shared + crowding(state, i, params)
    metrics[0] = np.float32(covered)
    return params.terminate_on_success != 0 and covered == state.landmark.shape[0]


@device_function
def crowding(state, i, params):
    """Penalty of agent i for overlapping with agents, itself included (a constant)."""
    total = ZERO
    if params.penalty != 0:
        for j in range(state.pos.shape[0]):
            reach = params.radius[i] + params.radius[j]
            square = square_distance(state.pos, i, state.pos, j)
            if square < reach * reach:
                total -= ONE if params.penalty == HARD else reach - math.sqrt(square)
    return total


@device_function
def observe_env(state, params, observations, action_mask, alive, global_state):
    for i in range(state.pos.shape[0]):
        out = observations[i]
        k = write_pair(out, 0, state.vel[i, 0], state.vel[i, 1])
        if params.absolute != 0:
            k = write_pair(out, k, state.pos[i, 0], state.pos[i, 1])
        k = write_landmarks(out, k, state, i)
        k = write_others(out, k, state, i)
        for j in range(k, out.shape[0]):
            out[j] = ZERO
    write_world(global_state, state)
