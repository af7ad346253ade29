"""Simple adversary: good agents approach the goal without revealing to the adversary which landmark it is.

| | |
|---|---|
| id | `mpe_simple_adversary` (all act in every round) |
| agents | `adversary_0` and `agent_0`, ...: `N` good agents, radius 0.15; there are no collisions; and `N` landmarks, one of them the goal |
| actions | `Discrete(5)`: none, left, right, down, up; or, with `continuous_actions`, `Box(0, 1, (5,))` with the same meaning |
| φ | no force: the agent coasts and slows down (`null_dynamics="brake"`: it stops, `"hold"`: it repeats its last action) |

**Observation** of the adversary, 8 numbers: landmarks relative to it (2 each), other agents relative to it (2 each); of
a good agent, 10 numbers: the goal relative to it (2), then the same. Velocities are not observed. With
`num_landmark_neighbors`, `num_agent_neighbors` = k, only the k nearest are observed, nearest first, padded with zeros.
**State**: the observations of all agents, concatenated, as in MPE2.

**Reward** of every good agent that acts: the adversary's distance to the goal minus that of the nearest good agent;
of the adversary: minus its own distance to the goal. An agent that does not act gets 0.

**End**: after `max_rounds` = 25 rounds. **Start**: agents at rest and landmarks uniform in [-1, 1]^2.

| preset | integration | reward of the adversary | end |
|---|---|---|---|
| `mpe2` | position first | minus its distance | 25 rounds |
| `pettingzoo122` | velocity first | minus its distance | 25 rounds |
| `openai` | velocity first | minus its squared distance | 25 rounds |
| `magail` | velocity first | minus its squared distance | 50 rounds |

The return of an episode is the mean over the good agents.

Returns per agent with the default preset, mean ± sd over 1,000 episodes from seed 1,000,000:

|  | both random |
|---|---|
| good agents | 8.3 ± 16.5 |
| adversary | -28.7 ± 13.4 |
"""

import math

import numpy as np

from mail_envs.counts import at_least
from mail_envs.games.mpe import neighbors, picture, presets
from mail_envs.games.mpe.neighbors import write_relative
from mail_envs.games.particle import world
from mail_envs.games.particle.world import (
    ONE,
    append,
    glide,
    pick,
    scatter,
    square_distance,
    write_pair,
)
from mail_envs.kernels import device_function
from mail_envs.markov_game import KernelGame

RADIUS, ACCEL, LANDMARK_RADIUS = 0.15, 5.0, 0.08
FAR = np.float32(1e9)


class SimpleAdversary(KernelGame):
    """`N` good agents and one adversary among `N` landmarks."""

    def __init__(
        self,
        N: int = 2,
        preset: str = "mpe2",
        num_agent_neighbors: int | None = None,
        num_landmark_neighbors: int | None = None,
        null_dynamics: str = "coast",
        continuous_actions: bool = False,
    ):
        at_least(1, N=N)
        rules = presets.preset_rules(preset)
        good = [f"agent_{i}" for i in range(N)]
        self.agents = ["adversary_0", *good]
        self.max_rounds = rules.max_rounds
        agents_shown = neighbors.limit("num_agent_neighbors", num_agent_neighbors)
        landmarks_shown = neighbors.limit("num_landmark_neighbors", num_landmark_neighbors)
        dims = 2 * neighbors.slots(N, landmarks_shown) + 2 * neighbors.slots(N, agents_shown)
        own = {"adversary_0": dims, **dict.fromkeys(good, 2 + dims)}
        self.observation_spaces = {a: world.unbounded(d) for a, d in own.items()}
        self.action_spaces = world.action_spaces(self.agents, continuous_actions)
        self.state_space = world.unbounded(sum(own.values()))
        fields = [("goal", "i4"), *world.body_fields(N + 1, N)]
        self.state_dtype = np.dtype(fields, align=True)
        self.params = world.make_params(
            N + 1,
            rules.integration,
            null_dynamics,
            radius=RADIUS,
            accel=ACCEL,
            landmark_radius=LANDMARK_RADIUS,
            square=rules.adversary_square,
            agents_shown=agents_shown,
            landmarks_shown=landmarks_shown,
        )
        self.metric_names = ("adversary_distance", "good_distance")
        self.metadata = {"convention": presets.convention(preset, rules), "return_agents": good}

    def draw(self, canvas, state, participation):
        picture.begin(canvas, state)
        for m, xy in enumerate(state["landmark"]):
            canvas.circle(xy, LANDMARK_RADIUS, "green" if m == state["goal"] else "dark")
        picture.agents(canvas, state, self, ["red", *["blue"] * (len(self.agents) - 1)])


@device_function
def reset_env(state, rng, params):
    state.goal = pick(rng, state.landmark.shape[0])
    scatter(state, rng, ONE)


@device_function
def step_env(state, rng, actions, acts, params, rewards, metrics):
    glide(state, actions, acts, params)
    square = square_distance(state.pos, 0, state.landmark, state.goal)
    nearest = FAR
    for i in range(1, state.pos.shape[0]):
        nearest = min(nearest, square_distance(state.pos, i, state.landmark, state.goal))
    gap, nearest = math.sqrt(square), math.sqrt(nearest)
    rewards[0] = -square if params.square != 0 else -gap
    for i in range(1, state.pos.shape[0]):
        rewards[i] = gap - nearest
    metrics[0] = gap
    metrics[1] = nearest
    return False


@device_function
def observe_env(state, params, observations, action_mask, alive, global_state):
    goal_x, goal_y = state.landmark[state.goal, 0], state.landmark[state.goal, 1]
    end = 0
    for i in range(state.pos.shape[0]):
        out = observations[i]
        x, y = state.pos[i, 0], state.pos[i, 1]
        k = 0
        if i != 0:
            k = write_pair(out, 0, goal_x - x, goal_y - y)
        k = write_relative(out, k, state.landmark, x, y, -1, params.landmarks_shown)
        k = write_relative(out, k, state.pos, x, y, i, params.agents_shown)
        end = append(global_state, end, out, k)
