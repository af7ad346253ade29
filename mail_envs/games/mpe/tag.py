"""Simple tag: slower adversaries chase faster good agents around obstacles.

| | |
|---|---|
| id | `mpe_simple_tag` (all act in every round) |
| agents | `adversary_0`, ... (`num_adversaries`; radius 0.075, force 3, speed at most 1), then the prey, `agent_0`, ... (`num_good`; radius 0.05, force 4, speed at most 1.3); they collide with each other; and `num_obstacles` solid obstacles (radius 0.2) |
| actions | `Discrete(5)`: none, left, right, down, up; or, with `continuous_actions`, `Box(0, 1, (5,))` with the same meaning |
| φ | no force: the agent coasts and slows down (`null_dynamics="brake"`: it stops, `"hold"`: it repeats its last action) |

`predator_prey` is AMAGAIL's version of this game: the prey acts first, and an episode has 50 rounds.

**Observation**: own velocity (2), own position (2), obstacles relative to the agent (2 each), other agents relative
to it (2 each), velocities of the other good agents (2 each): 16 numbers for an adversary, 14 for the prey. With
`num_landmark_neighbors`, `num_agent_neighbors` = k, only the k nearest are observed, nearest first, padded with zeros;
there are then k velocities, zero for adversaries. **State**: the observations of all agents,
concatenated, as in MPE2.

**Reward** of a good agent: -10 for every adversary that touches it, minus a penalty for leaving the box: per axis 0
up to |x| = 0.9, then 10 (|x| - 0.9) up to 1, then exp(2 |x| - 2), at most 10. Of an adversary: 10 for every contact
between an adversary and a good agent. An agent that does not act gets 0.

**End**: after `max_rounds` = 25 rounds; with `terminate_on_success` when every good agent is touched.

**Start**: agents at rest in [-1, 1]^2, obstacles in [-0.9, 0.9]^2.

| preset | integration | end |
|---|---|---|
| `mpe2` | position first | 25 rounds |
| `pettingzoo122`, `openai` | velocity first | 25 rounds |
| `magail` | velocity first | 50 rounds |

The return of an episode is the mean over the adversaries.

Returns per agent with the default preset, mean ± sd over 1,000 episodes from seed 1,000,000:

|  | both random | both scripted |
|---|---|---|
| adversaries | 4.4 ± 10.7 | 24.8 ± 22.0 |
| prey | -15.1 ± 20.1 | -30.3 ± 23.9 |
"""

import numpy as np

from mail_envs.counts import at_least, check_kind
from mail_envs.games.mpe import neighbors, picture, presets
from mail_envs.games.mpe.neighbors import slot_of, write_relative
from mail_envs.games.particle import world
from mail_envs.games.particle.predator_prey import (
    ADVERSARY_ACCEL,
    ADVERSARY_RADIUS,
    ADVERSARY_SPEED,
    CONTACT_REWARD,
    OBSTACLE_RADIUS,
    OBSTACLE_RANGE,
    PREY_ACCEL,
    PREY_RADIUS,
    PREY_SPEED,
    wall,
)
from mail_envs.games.particle.world import (
    ZERO,
    append,
    move,
    scatter,
    square_distance,
    write_pair,
)
from mail_envs.kernels import device_function
from mail_envs.markov_game import KernelGame


class SimpleTag(KernelGame):
    """`num_adversaries` chase `num_good` agents among `num_obstacles`."""

    def __init__(
        self,
        num_good: int = 1,
        num_adversaries: int = 3,
        num_obstacles: int = 2,
        preset: str = "mpe2",
        terminate_on_success: bool = False,
        num_agent_neighbors: int | None = None,
        num_landmark_neighbors: int | None = None,
        null_dynamics: str = "coast",
        continuous_actions: bool = False,
    ):
        at_least(1, num_good=num_good, num_adversaries=num_adversaries)
        at_least(0, num_obstacles=num_obstacles)
        check_kind("terminate_on_success", terminate_on_success, "bool")
        rules = presets.preset_rules(preset)
        n = num_adversaries + num_good
        adversaries = [f"adversary_{i}" for i in range(num_adversaries)]
        prey = [f"agent_{i}" for i in range(num_good)]
        self.agents = adversaries + prey
        self.max_rounds = rules.max_rounds
        agents_shown = neighbors.limit("num_agent_neighbors", num_agent_neighbors)
        obstacles_shown = neighbors.limit("num_landmark_neighbors", num_landmark_neighbors)
        places = 4 + 2 * neighbors.slots(num_obstacles, obstacles_shown)
        places += 2 * neighbors.slots(n - 1, agents_shown)
        own = {a: places + 2 * neighbors.slots(num_good, agents_shown) for a in adversaries}
        own |= {a: places + 2 * neighbors.slots(num_good - 1, agents_shown) for a in prey}
        self.observation_spaces = {a: world.unbounded(dims) for a, dims in own.items()}
        self.action_spaces = world.action_spaces(self.agents, continuous_actions)
        self.state_space = world.unbounded(sum(own.values()))
        fields = [("contacts", "i4"), *world.body_fields(n, num_obstacles)]
        self.state_dtype = np.dtype(fields, align=True)
        self.params = world.make_params(
            n,
            rules.integration,
            null_dynamics,
            radius=[ADVERSARY_RADIUS] * num_adversaries + [PREY_RADIUS] * num_good,
            accel=[ADVERSARY_ACCEL] * num_adversaries + [PREY_ACCEL] * num_good,
            max_speed=[ADVERSARY_SPEED] * num_adversaries + [PREY_SPEED] * num_good,
            landmark_radius=OBSTACLE_RADIUS,
            landmarks_collide=1,
            num_adversaries=num_adversaries,
            agents_shown=agents_shown,
            obstacles_shown=obstacles_shown,
            terminate_on_success=terminate_on_success,
        )
        self.metric_names = ("contacts",)
        self.metadata = {
            "convention": presets.convention(preset, rules),
            "return_agents": adversaries,
        }

    def draw(self, canvas, state, participation):
        picture.begin(canvas, state)
        for xy in state["landmark"]:
            canvas.circle(xy, OBSTACLE_RADIUS, "gray", alpha=0.8)
        colors = ["red" if a.startswith("adversary") else "green" for a in self.agents]
        picture.agents(canvas, state, self, colors)


@device_function
def reset_env(state, rng, params):
    scatter(state, rng, OBSTACLE_RANGE)
    state.contacts = 0


@device_function
def step_env(state, rng, actions, acts, params, rewards, metrics):
    move(state, actions, acts, params)
    contacts = 0
    caught = 0
    for i in range(params.num_adversaries, state.pos.shape[0]):
        touching = 0
        for j in range(params.num_adversaries):
            reach = params.radius[i] + params.radius[j]
            touching += square_distance(state.pos, i, state.pos, j) < reach * reach
        rewards[i] = -CONTACT_REWARD * np.float32(touching)
        rewards[i] -= wall(state.pos[i, 0]) + wall(state.pos[i, 1])
        contacts += touching
        caught += touching != 0
    for j in range(params.num_adversaries):
        rewards[j] = CONTACT_REWARD * np.float32(contacts)
    state.contacts += contacts
    metrics[0] = np.float32(state.contacts)
    return params.terminate_on_success != 0 and caught + params.num_adversaries == len(rewards)


@device_function
def observe_env(state, params, observations, action_mask, alive, global_state):
    end = 0
    for i in range(state.pos.shape[0]):
        out = observations[i]
        x, y = state.pos[i, 0], state.pos[i, 1]
        k = write_pair(out, 0, state.vel[i, 0], state.vel[i, 1])
        k = write_pair(out, k, x, y)
        k = write_relative(out, k, state.landmark, x, y, -1, params.obstacles_shown)
        k = write_relative(out, k, state.pos, x, y, i, params.agents_shown)
        k = write_velocities(out, k, state, i, params)
        end = append(global_state, end, out, k)


@device_function
def write_velocities(out, k, state, i, params):
    """Write the velocities of the good agents that agent i observes; returns the next position."""
    if params.agents_shown < 0:
        for j in range(params.num_adversaries, state.pos.shape[0]):
            if j != i:
                k = write_pair(out, k, state.vel[j, 0], state.vel[j, 1])
        return k
    for c in range(k, k + 2 * params.agents_shown):
        out[c] = ZERO
    for j in range(params.num_adversaries, state.pos.shape[0]):
        if j != i:
            slot = slot_of(state.pos, j, state.pos[i, 0], state.pos[i, 1], i, params.agents_shown)
            if slot < params.agents_shown:
                write_pair(out, k + 2 * slot, state.vel[j, 0], state.vel[j, 1])
    return k + 2 * params.agents_shown
