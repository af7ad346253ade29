"""Predator-prey: slower adversaries chase a faster prey around obstacles.

| | |
|---|---|
| ids | `predator_prey` (all act in every round), `stochastic_predator_prey` (the prey always acts, each adversary with probability 0.5) |
| agents | `prey_0` (radius 0.05, force 4, speed at most 1.3), `adversary_0`, ... (radius 0.075, force 3, speed at most 1); they collide with each other |
| actions | `Discrete(5)`: none, left, right, down, up; or, with `continuous_actions`, `Box(0, 1, (5,))` with the same meaning |
| φ | no force: the agent coasts and slows down (`null_dynamics="brake"`: it stops, `"hold"`: it repeats its last action) |

The prey comes first in the order of agents; all move in the same physics step. For separate rounds of prey and
adversaries, use `player_function=TurnOrder([[0], [1, 2, 3]])`.

**Observation**: own velocity (2), own position (2), obstacles relative to the agent (2 each), other agents relative
to it, in their order (2 each), and for adversaries the prey's velocity (2): 14 numbers for the prey, 16 for an
adversary. **State**: x, y, vx, vy of every agent, then x, y of every obstacle.

**Reward** of the prey: -10 for every adversary that touches it, minus a penalty for leaving the box: per axis 0 up to
|x| = 0.9, then 10 (|x| - 0.9) up to 1, then exp(2 |x| - 2), at most 10. Of an adversary: 10 for every adversary that
touches the prey. An agent that does not act gets 0.

**End**: after `max_rounds` = 50 rounds. **Start**: agents at rest in [-1, 1]^2, obstacles (radius 0.2) in [-0.9, 0.9]^2.

The return of an episode is that of the prey. Mean ± sd over 1,000 episodes from seed 1,000,000, with the same kind of
policy on both sides:

| id | random | scripted | expert |
|---|---|---|---|
| `stochastic_predator_prey` | -47.0 ± 60.6 | -7.5 ± 11.9 | -17.9 ± 17.8 |
"""

import math

import numpy as np

from mail_envs.counts import at_least
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

PREY_RADIUS, PREY_ACCEL, PREY_SPEED = 0.05, 4.0, 1.3
ADVERSARY_RADIUS, ADVERSARY_ACCEL, ADVERSARY_SPEED = 0.075, 3.0, 1.0
OBSTACLE_RADIUS, OBSTACLE_RANGE = 0.2, np.float32(0.9)
CONTACT_REWARD = np.float32(10.0)
ZERO = np.float32(0.0)
ONE = np.float32(1.0)
TWO = np.float32(2.0)
TEN = np.float32(10.0)
NEAR_WALL = np.float32(0.9)


class PredatorPrey(KernelGame):
    """One prey, first in the order of agents, and `num_adversaries` slower adversaries."""

    def __init__(
        self,
        num_adversaries: int = 3,
        num_obstacles: int = 2,
        max_rounds: int = 50,
        integration: str = "velocity_first",
        null_dynamics: str = "coast",
        continuous_actions: bool = False,
    ):
        at_least(1, num_adversaries=num_adversaries)
        at_least(0, num_obstacles=num_obstacles)
        num_agents = 1 + num_adversaries
        self.agents = ["prey_0", *(f"adversary_{i}" for i in range(num_adversaries))]
        self.max_rounds = max_rounds
        prey = 4 + 2 * num_obstacles + 2 * num_adversaries
        self.observation_spaces = {
            **world.observation_spaces(self.agents[:1], prey),
            **world.observation_spaces(self.agents[1:], prey + 2),
        }
        self.action_spaces = world.action_spaces(self.agents, continuous_actions)
        self.state_space = world.state_space(num_agents, num_obstacles)
        fields = [*world.body_fields(num_agents, num_obstacles), ("contacts", "i4")]
        self.state_dtype = np.dtype(fields, align=True)
        adversaries = num_adversaries
        self.params = world.make_params(
            num_agents,
            integration,
            null_dynamics,
            radius=[PREY_RADIUS] + [ADVERSARY_RADIUS] * adversaries,
            accel=[PREY_ACCEL] + [ADVERSARY_ACCEL] * adversaries,
            max_speed=[PREY_SPEED] + [ADVERSARY_SPEED] * adversaries,
            landmark_radius=OBSTACLE_RADIUS,
            landmarks_collide=1,
        )
        self.metric_names = ("contacts",)
        self.metadata = {
            "convention": f"contacts 10, soft walls, {integration}",
            "return_agents": ["prey_0"],
        }

    def draw(self, canvas, state, participation):
        world.draw(canvas, state, self.params[0], prey=True)


@device_function
def reset_env(state, rng, params):
    scatter(state, rng, OBSTACLE_RANGE)
    state.contacts = 0


@device_function
def step_env(state, rng, actions, acts, params, rewards, metrics):
    move(state, actions, acts, params)
    contacts = 0
    for j in range(1, state.pos.shape[0]):
        reach = params.radius[0] + params.radius[j]
        contacts += square_distance(state.pos, 0, state.pos, j) < reach * reach
    gain = CONTACT_REWARD * np.float32(contacts)
    rewards[0] = -gain - wall(state.pos[0, 0]) - wall(state.pos[0, 1])
    for j in range(1, state.pos.shape[0]):
        rewards[j] = gain
    state.contacts += contacts
    metrics[0] = np.float32(state.contacts)
    return False


@device_function
def wall(x):
    """The prey's penalty for leaving the unit box along one axis; it starts at |x| = 0.9."""
    x = abs(x)
    if x < NEAR_WALL:
        return ZERO
    if x < ONE:
        return (x - NEAR_WALL) * TEN
    return min(math.exp(TWO * x - TWO), TEN)


@device_function
def observe_env(state, params, observations, action_mask, alive, global_state):
    for i in range(state.pos.shape[0]):
        out = observations[i]
        k = write_pair(out, 0, state.vel[i, 0], state.vel[i, 1])
        k = write_pair(out, k, state.pos[i, 0], state.pos[i, 1])
        k = write_landmarks(out, k, state, i)
        k = write_others(out, k, state, i)
        if i != 0:
            write_pair(out, k, state.vel[0, 0], state.vel[0, 1])
    write_world(global_state, state)
