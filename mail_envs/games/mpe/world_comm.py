"""Simple world comm: simple tag with food to collect, forests to hide in, and a leader who speaks.

| | |
|---|---|
| id | `mpe_simple_world_comm` (all act in every round) |
| agents | `leadadversary_0`, `adversary_0`, ... (`num_adversaries` with the leader; radius 0.075, force 3, speed at most 1), then `agent_0`, ... (`num_good`; radius 0.045, force 4, speed at most 1.3); they collide with each other |
| landmarks | `num_obstacles` (radius 0.2, solid), `num_food` (radius 0.03), `num_forests` (radius 0.3) |
| actions | `Discrete(5)`: none, left, right, down, up; the leader `Discrete(20)`: `move + 5 * word` with four words. With `continuous_actions` `Box(0, 1, (5,))`, the leader `Box(0, 1, (9,))`: five numbers for the moves, four for the word |
| φ | no force: the agent coasts and slows down (`null_dynamics="brake"`: it stops, `"hold"`: it repeats its last action); the leader says nothing (`"hold"`: it repeats its last word) |

**Observation** of an adversary, 34 numbers: own velocity (2), own position (2), obstacles, food and forests relative to
it (2 each), other agents relative to it (2 each), velocities of the good agents (2 each), for every forest whether the
agent is in it (1 or -1), the leader's word (4); of a good agent, 28 numbers: the same without the word, and with the
velocities of the other good agents last. The position and velocity of a hidden agent are zero. An agent in a forest is
visible only to agents in the same forest, an agent outside only to agents outside; the leader sees all. **State**:
the observations of all agents, concatenated, as in MPE2.

**Reward** of a good agent: -5 for every adversary that touches it, 2 for every food that it touches, -0.05 times the
distance to the nearest food, minus twice a penalty for leaving the box: per axis 0 up to |x| = 0.9, then
10 (|x| - 0.9) up to 1, then exp(2 |x| - 2), at most 10. Of an adversary: 5 for every contact between an adversary and
a good agent, -0.1 times its distance to the nearest good agent. An agent that does not act gets 0.

**End**: after `max_rounds` = 25 rounds. **Start**: agents at rest in [-1, 1]^2, landmarks in [-0.9, 0.9]^2; no
words.

| preset | integration | distance to the nearest food | end |
|---|---|---|---|
| `mpe2` | position first | reward -0.05 | 25 rounds |
| `pettingzoo122` | velocity first | reward -0.05 | 25 rounds |
| `openai` | velocity first | reward +0.05 | 25 rounds |
| `magail` | velocity first | reward +0.05 | 50 rounds |

The return of an episode is the mean over the adversaries, including the leader.

Returns per agent with the default preset, mean ± sd over 1,000 episodes from seed 1,000,000:

|  | both random |
|---|---|
| adversaries | 3.0 ± 8.5 |
| good agents | -24.9 ± 25.4 |
"""

import math

import numpy as np

from mail_envs.counts import at_least
from mail_envs.games.mpe import picture, presets, talk
from mail_envs.games.mpe.talk import control_and_talk, silence, write_word
from mail_envs.games.particle import world
from mail_envs.games.particle.predator_prey import (
    ADVERSARY_ACCEL,
    ADVERSARY_RADIUS,
    ADVERSARY_SPEED,
    OBSTACLE_RADIUS,
    OBSTACLE_RANGE,
    PREY_ACCEL,
    PREY_SPEED,
    wall,
)
from mail_envs.games.particle.world import (
    ONE,
    ZERO,
    append,
    collide,
    integrate,
    scatter,
    square_distance,
    write_landmarks,
    write_pair,
)
from mail_envs.kernels import device_function
from mail_envs.markov_game import KernelGame
from mail_envs.random import uniform_symmetric

GOOD_RADIUS, WORDS = 0.045, 4
FOOD_RADIUS, FOREST_RADIUS = np.float32(0.03), np.float32(0.3)
CONTACT, MEAL, WALL, CHASE = (np.float32(x) for x in (5.0, 2.0, 2.0, 0.1))
FAR = np.float32(1e9)


class SimpleWorldComm(KernelGame):
    """`num_adversaries`, one of them the leader, chase `num_good` agents that collect food."""

    def __init__(
        self,
        num_good: int = 2,
        num_adversaries: int = 4,
        num_obstacles: int = 1,
        num_food: int = 2,
        num_forests: int = 2,
        preset: str = "mpe2",
        null_dynamics: str = "coast",
        continuous_actions: bool = False,
    ):
        at_least(1, num_good=num_good, num_adversaries=num_adversaries, num_food=num_food)
        at_least(0, num_obstacles=num_obstacles, num_forests=num_forests)
        rules = presets.preset_rules(preset)
        n = num_adversaries + num_good
        leader = "leadadversary_0"
        adversaries = [leader, *(f"adversary_{i}" for i in range(num_adversaries - 1))]
        good = [f"agent_{i}" for i in range(num_good)]
        self.agents = adversaries + good
        self.max_rounds = rules.max_rounds
        landmarks = num_obstacles + num_food + num_forests
        common = 4 + 2 * landmarks + 2 * (n - 1) + num_forests
        own = dict.fromkeys(adversaries, common + 2 * num_good + WORDS)
        own |= dict.fromkeys(good, common + 2 * (num_good - 1))
        self.observation_spaces = {a: world.unbounded(dims) for a, dims in own.items()}
        self.action_spaces = {
            a: talk.action_space(True, WORDS * (a == leader), continuous_actions)
            for a in self.agents
        }
        self.state_space = world.unbounded(sum(own.values()))
        fields = [
            ("food", "f4", (num_food, 2)),
            ("forest", "f4", (num_forests, 2)),
            ("comm", "f4", (1, WORDS)),  # the leader's word
            ("contacts", "i4"),
            ("meals", "i4"),
            *world.body_fields(n, num_obstacles),
        ]
        self.state_dtype = np.dtype(fields, align=True)
        self.params = world.make_params(
            n,
            rules.integration,
            null_dynamics,
            radius=[ADVERSARY_RADIUS] * num_adversaries + [GOOD_RADIUS] * num_good,
            accel=[ADVERSARY_ACCEL] * num_adversaries + [PREY_ACCEL] * num_good,
            max_speed=[ADVERSARY_SPEED] * num_adversaries + [PREY_SPEED] * num_good,
            landmark_radius=OBSTACLE_RADIUS,
            landmarks_collide=1,
            num_adversaries=num_adversaries,
            food_reward=rules.food_reward,
        )
        self.metric_names = ("contacts", "meals")
        self.metadata = {
            "convention": presets.convention(preset, rules),
            "return_agents": adversaries,
        }

    def draw(self, canvas, state, participation):
        picture.begin(canvas, state)
        for xy in state["landmark"]:
            canvas.circle(xy, OBSTACLE_RADIUS, "gray", alpha=0.8)
        for xy in state["food"]:
            canvas.circle(xy, float(FOOD_RADIUS), "blue")
        adversaries = int(self.params[0]["num_adversaries"])
        colors = ["purple", *["red"] * (adversaries - 1)]
        colors += ["green"] * (len(self.agents) - adversaries)
        picture.agents(canvas, state, self, colors)
        for xy in state["forest"]:  # over the agents that it hides
            canvas.circle(xy, float(FOREST_RADIUS), "green", alpha=0.35)
        picture.words(canvas, [f"{self.agents[0]} says {picture.said(state['comm'][0])}"])


@device_function
def reset_env(state, rng, params):
    scatter(state, rng, OBSTACLE_RANGE)
    scatter_points(state.food, rng)
    scatter_points(state.forest, rng)
    silence(state)
    state.contacts = 0
    state.meals = 0


@device_function
def scatter_points(points, rng):
    for m in range(points.shape[0]):
        for k in range(2):
            points[m, k] = uniform_symmetric(rng) * OBSTACLE_RANGE


@device_function
def step_env(state, rng, actions, acts, params, rewards, metrics):
    control_and_talk(state, actions, acts, params)
    collide(state, params)
    integrate(state, params)
    contacts = 0
    for i in range(params.num_adversaries, state.pos.shape[0]):
        touching = 0
        for j in range(params.num_adversaries):
            touching += within(state.pos, i, state.pos, j, params.radius[i] + params.radius[j])
        contacts += touching
        rewards[i] = forage(state, i, params) - CONTACT * np.float32(touching)
    for j in range(params.num_adversaries):
        nearest = FAR
        for i in range(params.num_adversaries, state.pos.shape[0]):
            nearest = min(nearest, square_distance(state.pos, i, state.pos, j))
        rewards[j] = CONTACT * np.float32(contacts) - CHASE * math.sqrt(nearest)
    state.contacts += contacts
    metrics[0] = np.float32(state.contacts)
    metrics[1] = np.float32(state.meals)
    return False


@device_function
def within(a, i, b, j, reach):
    """Whether row i of `a` is closer than `reach` to row j of `b`."""
    return square_distance(a, i, b, j) < reach * reach


@device_function
def forage(state, i, params):
    """Reward of good agent i for food and for leaving the box."""
    nearest = FAR
    meals = 0
    for m in range(state.food.shape[0]):
        nearest = min(nearest, square_distance(state.pos, i, state.food, m))
        meals += within(state.pos, i, state.food, m, params.radius[i] + FOOD_RADIUS)
    state.meals += meals
    fetched = MEAL * np.float32(meals) + params.food_reward * math.sqrt(nearest)
    return fetched - WALL * (wall(state.pos[i, 0]) + wall(state.pos[i, 1]))


@device_function
def in_forest(state, i, f, params):
    return within(state.pos, i, state.forest, f, params.radius[i] + FOREST_RADIUS)


@device_function
def sees(state, i, j, params):
    """Whether agent i sees agent j: both are in the same forest or in none, or i is the leader."""
    together = False
    hidden = False
    for f in range(state.forest.shape[0]):
        mine, other = in_forest(state, i, f, params), in_forest(state, j, f, params)
        together = together or (mine and other)
        hidden = hidden or mine or other
    return together or not hidden or i == 0


@device_function
def write_points(out, k, points, state, i):
    """Write points relative to agent i; returns the next position."""
    for m in range(points.shape[0]):
        k = write_pair(out, k, points[m, 0] - state.pos[i, 0], points[m, 1] - state.pos[i, 1])
    return k


@device_function
def observe_env(state, params, observations, action_mask, alive, global_state):
    end = 0
    forests = state.forest.shape[0]
    for i in range(state.pos.shape[0]):
        out = observations[i]
        k = write_pair(out, 0, state.vel[i, 0], state.vel[i, 1])
        k = write_pair(out, k, state.pos[i, 0], state.pos[i, 1])
        k = write_landmarks(out, k, state, i)
        k = write_points(out, k, state.food, state, i)
        k = write_points(out, k, state.forest, state, i)
        adversary = i < params.num_adversaries
        others, good = state.pos.shape[0] - 1, state.pos.shape[0] - params.num_adversaries
        velocities = k + 2 * others + (0 if adversary else forests)
        places = k + 2 * others + (2 * good if adversary else 0)
        for j in range(state.pos.shape[0]):
            if j != i:
                seen = ONE if sees(state, i, j, params) else ZERO
                dx, dy = state.pos[j, 0] - state.pos[i, 0], state.pos[j, 1] - state.pos[i, 1]
                k = write_pair(out, k, seen * dx, seen * dy)
                if j >= params.num_adversaries:
                    vx, vy = state.vel[j, 0], state.vel[j, 1]
                    velocities = write_pair(out, velocities, seen * vx, seen * vy)
        for f in range(forests):
            out[places + f] = ONE if in_forest(state, i, f, params) else -ONE
        k = max(velocities, places + forests)
        if adversary:
            k = write_word(out, k, state, 0)
        end = append(global_state, end, out, k)
