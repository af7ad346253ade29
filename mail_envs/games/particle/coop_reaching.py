"""Cooperative reaching: agents gather around one landmark, without overlapping.

| | |
|---|---|
| ids | `coop_reaching` (all act in every round), `deterministic_coop_reaching` (rounds of 3, 2, 1 agents) |
| agents | `agent_0`, `agent_1`, ...; radius 0.15; they collide with each other |
| actions | `Discrete(5)`: none, left, right, down, up; or, with `continuous_actions`, `Box(0, 1, (5,))` with the same meaning |
| φ | no force: the agent coasts and slows down (`null_dynamics="brake"`: it stops, `"hold"`: it repeats its last action) |

**Observation** of an agent, 12 numbers for three agents: own velocity (2); the landmark relative to the agent
(2); other agents relative to it (2 each); their communication (2 each, always zero). **State**: x, y, vx, vy of
every agent, then x, y of the landmark.

**Reward** of every agent that acts: minus the sum over *all* agents of the distance to the landmark, minus a
penalty for overlapping with agents, including itself: `penalty="hard"` (the default): 1 per overlap; `"soft"`: the
depth of the overlap; `"none"`. An agent that does not act gets 0.

**End**: after `max_rounds` = 50 rounds. **Start**: agents at rest and the landmark uniform in [-1, 1]^2.

The AMAGAIL paper does not define the reward of this game. Of the usual terms of particle environments, these come
closest to its results (expert -78.1, random -140.7); compare with the returns below instead. Returns, averaged over
agents, mean ± sd over 1,000 episodes from seed 1,000,000:

| id | random | scripted | expert |
|---|---|---|---|
| `deterministic_coop_reaching` | -156.4 ± 32.7 | -69.7 ± 8.4 | -70.6 ± 8.0 |
"""

import numpy as np

from mail_envs.counts import at_least
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

REACHED = np.float32(0.3)  # metrics: largest distance at which an agent is at the landmark
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
        at_least(1, num_agents=num_agents)
        self.agents = [f"agent_{i}" for i in range(num_agents)]
        self.max_rounds = max_rounds
        self.observation_spaces = world.observation_spaces(self.agents, 4 + 4 * (num_agents - 1))
        self.action_spaces = world.action_spaces(self.agents, continuous_actions)
        self.state_space = world.state_space(num_agents, 1)
        self.state_dtype = np.dtype(world.body_fields(num_agents, 1), align=True)
        self.params = world.make_params(
            num_agents,
            integration,
            null_dynamics,
            radius=AGENT_RADIUS,
            accel=ACCEL,
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
        out[k:] = ZERO  # communication
    write_world(global_state, state)
