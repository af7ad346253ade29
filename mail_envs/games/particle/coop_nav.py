"""Cooperative navigation: three agents cover three landmarks without colliding.

| | |
|---|---|
| ids | `coop_nav` (all act in every round), `deterministic_coop_nav` (rounds of 3, 2, 1 agents), `stochastic_coop_nav` (each acts with probability 0.5) |
| agents | `agent_0`, `agent_1`, ...; radius 0.15; they collide with each other |
| actions | `Discrete(5)`: none, left, right, down, up; or, with `continuous_actions`, `Box(0, 1, (5,))` with the same meaning |
| φ | no force: the agent coasts and slows down (`null_dynamics="brake"`: it stops, `"hold"`: it repeats its last action) |

**Observation** of an agent, 16 numbers for three agents and landmarks: own velocity (2); landmarks relative
to the agent (2 each); other agents relative to it (2 each); their communication (2 each, always zero).
`observation="absolute"` adds the agent's position after its velocity (18 numbers). **State**: x, y, vx, vy of every
agent, then x, y of every landmark.

**Reward** of every agent that acts: minus the sum over landmarks of the distance to the nearest agent, minus a
penalty for overlapping with agents, including itself. `penalty="soft"`: the depth of the overlap, which adds a
constant 0.3 per round for the agent itself; `"hard"`: 1 per overlap; `"none"`. An agent that does not act gets 0.

**End**: when every landmark has an agent within 0.1 (`terminate_on_success`), at most `max_rounds` = 50 rounds.

**Start**: agents at rest and landmarks uniform in [-1, 1]^2. `integration="velocity_first"` is the order of the
original particle environments, `"position_first"` that of PettingZoo since 1.23 and MPE2.

The defaults are the conventions of the published MAGAIL and AMAGAIL results. Returns, averaged over
agents, mean ± sd over 1,000 episodes from seed 1,000,000:

| id | random | scripted | expert |
|---|---|---|---|
| `coop_nav` | -129.1 ± 31.7 | -12.8 ± 5.5 | |
| `deterministic_coop_nav` | -82.3 ± 21.0 | -13.0 ± 6.1 | -13.8 ± 6.3 |
| `stochastic_coop_nav` | -59.7 ± 16.5 | -11.5 ± 4.9 | -12.5 ± 5.6 |
"""

import math

import numpy as np

from mail_envs.counts import at_least, check_kind
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
COVERED = np.float32(0.1)  # largest distance at which an agent covers a landmark
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
        at_least(1, num_agents=num_agents, num_landmarks=num_landmarks)
        check_kind("terminate_on_success", terminate_on_success, "bool")
        self.agents = [f"agent_{i}" for i in range(num_agents)]
        self.max_rounds = max_rounds
        absolute = world.choice("observation", observation, OBSERVATION)
        dims = 2 + 2 * absolute + 2 * num_landmarks + 4 * (num_agents - 1)
        self.observation_spaces = world.observation_spaces(self.agents, dims)
        self.action_spaces = world.action_spaces(self.agents, continuous_actions)
        self.state_space = world.state_space(num_agents, num_landmarks)
        self.state_dtype = np.dtype(world.body_fields(num_agents, num_landmarks), align=True)
        self.params = world.make_params(
            num_agents,
            integration,
            null_dynamics,
            radius=AGENT_RADIUS,
            accel=ACCEL,
            penalty=world.choice("penalty", penalty, PENALTY),
            absolute=absolute,
            terminate_on_success=terminate_on_success,
        )
        self.metric_names = ("landmarks_covered",)
        self.metadata = {
            "convention": f"{penalty} penalty including the agent itself, {integration}, "
            f"{observation} observation, terminate_on_success {terminate_on_success}"
        }

    def draw(self, canvas, state, participation):
        world.draw(canvas, state, self.params[0])


@device_function
def reset_env(state, rng, params):
    scatter(state, rng, ONE)


@device_function
def step_env(state, rng, actions, acts, params, rewards, metrics):
    move(state, actions, acts, params)
    shared, covered = coverage(state)
    for i in range(state.pos.shape[0]):
        rewards[i] = shared + crowding(state, i, params)
    metrics[0] = np.float32(covered)
    return params.terminate_on_success != 0 and covered == state.landmark.shape[0]


@device_function
def coverage(state):
    """Minus the sum over landmarks of the distance to the nearest agent, and the number of covered landmarks."""
    shared = ZERO
    covered = 0
    for m in range(state.landmark.shape[0]):
        nearest = FAR
        for i in range(state.pos.shape[0]):
            nearest = min(nearest, square_distance(state.pos, i, state.landmark, m))
        nearest = math.sqrt(nearest)
        shared -= nearest
        covered += nearest <= COVERED
    return shared, covered


@device_function
def crowding(state, i, params):
    """Penalty of agent i for overlapping with agents, including itself (a constant)."""
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
