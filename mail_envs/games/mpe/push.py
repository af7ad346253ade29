"""Simple push: the agent goes to a goal that only it knows; the adversary pushes it away.

| | |
|---|---|
| id | `mpe_simple_push` (both act in every round) |
| agents | `adversary_0`, `agent_0`: radius 0.05; they collide with each other; and two landmarks, one of them the goal |
| actions | `Discrete(5)`: none, left, right, down, up; or, with `continuous_actions`, `Box(0, 1, (5,))` with the same meaning |
| φ | no force: the agent coasts and slows down (`null_dynamics="brake"`: it stops, `"hold"`: it repeats its last action) |

**Observation** of the adversary, 8 numbers: own velocity (2), landmarks relative to it (2 each), the agent relative to
it (2); of the agent, 19 numbers: own velocity (2), the goal relative to it (2), its color, which is that of the goal
(3: 0.75 at the landmark's index plus 1, 0.25 elsewhere), landmarks relative to it (2 each), the colors of the landmarks
(3 each: 0.9 at the index plus 1, 0.1 elsewhere), the adversary relative to it (2). **State**: the adversary's
observation, then the agent's, as in MPE2.

**Reward** of the agent: minus its distance to the goal; of the adversary: the agent's distance to the goal minus its
own. An agent that does not act gets 0.

**End**: after `max_rounds` = 25 rounds. **Start**: agents at rest and landmarks uniform in [-1, 1]^2.

| preset | integration | adversary | end |
|---|---|---|---|
| `mpe2` | position first | as above | 25 rounds |
| `pettingzoo122`, `openai` | velocity first | as above | 25 rounds |
| `magail` | velocity first | mass 5; observes the goal relative to it after its velocity (10 numbers); gets 5 times the agent's distance to the goal, minus half its distance to the agent | 50 rounds |

With `magail` the speed of both is limited to 2, and landmarks start in [-0.8, 0.8]^2. The return of an episode is
that of the agent.

Returns with the default preset, mean ± sd over 1,000 episodes from seed 1,000,000:

|  | both random | both scripted |
|---|---|---|
| agent | -28.1 ± 12.6 | -7.7 ± 5.0 |
| adversary | -0.5 ± 17.8 | -4.2 ± 4.2 |
"""

import numpy as np

from mail_envs.games.mpe import picture, presets
from mail_envs.games.mpe.talk import write_color
from mail_envs.games.particle import world
from mail_envs.games.particle.world import (
    NO_LIMIT,
    append,
    collide,
    control,
    distance,
    integrate,
    pick,
    scatter,
    write_landmarks,
    write_others,
    write_pair,
)
from mail_envs.kernels import device_function
from mail_envs.markov_game import KernelGame

RADIUS, ACCEL = 0.05, 5.0
NUM_LANDMARKS, BANDS = 2, 3
LIT, UNLIT = np.float32(0.75), np.float32(0.25)  # the agent's color
LANDMARK_LIT, LANDMARK_UNLIT = np.float32(0.9), np.float32(0.1)
HARD_MASS, HARD_SPEED, HARD_RANGE = 5.0, 2.0, 0.8
DRIVEN_OFF, NEAR_AGENT = np.float32(5.0), np.float32(0.5)
ADVERSARY, AGENT = 0, 1


class SimplePush(KernelGame):
    """An adversary keeps an agent away from its goal."""

    def __init__(
        self,
        preset: str = "mpe2",
        null_dynamics: str = "coast",
        continuous_actions: bool = False,
    ):
        rules = presets.preset_rules(preset)
        self.agents = ["adversary_0", "agent_0"]
        self.max_rounds = rules.max_rounds
        adversary = 4 + 2 * NUM_LANDMARKS + 2 * rules.push_hard
        agent = 6 + 2 * NUM_LANDMARKS + BANDS * (1 + NUM_LANDMARKS)
        self.observation_spaces = {
            "adversary_0": world.unbounded(adversary),
            "agent_0": world.unbounded(agent),
        }
        self.action_spaces = world.action_spaces(self.agents, continuous_actions)
        self.state_space = world.unbounded(adversary + agent)
        fields = [("goal", "i4"), *world.body_fields(2, NUM_LANDMARKS)]
        self.state_dtype = np.dtype(fields, align=True)
        mass = HARD_MASS if rules.push_hard else 1.0
        self.params = world.make_params(
            2,
            rules.integration,
            null_dynamics,
            radius=RADIUS,
            accel=ACCEL,
            max_speed=HARD_SPEED if rules.push_hard else NO_LIMIT,
            hard=rules.push_hard,
            per_mass=1.0 / mass,  # of the adversary
            landmark_range=HARD_RANGE if rules.push_hard else 1.0,
        )
        self.metric_names = ("agent_distance", "adversary_distance")
        self.metadata = {
            "convention": presets.convention(preset, rules),
            "return_agents": ["agent_0"],
        }

    def draw(self, canvas, state, participation):
        picture.begin(canvas, state)
        colors = picture.GOAL_COLORS[1:]
        for xy, color in zip(state["landmark"], colors):
            canvas.circle(xy, RADIUS, color)
        goal = int(state["goal"])
        picture.goal_ring(canvas, state["landmark"][goal], colors[goal])
        picture.agents(canvas, state, self, ["red", colors[goal]])


@device_function
def reset_env(state, rng, params):
    state.goal = pick(rng, NUM_LANDMARKS)
    scatter(state, rng, params.landmark_range)


@device_function
def step_env(state, rng, actions, acts, params, rewards, metrics):
    control(state, actions, acts, params)
    collide(state, params)
    for axis in range(2):
        state.force[ADVERSARY, axis] *= params.per_mass
    integrate(state, params)
    agent_gap = distance(state.pos, AGENT, state.landmark, state.goal)
    adversary_gap = distance(state.pos, ADVERSARY, state.landmark, state.goal)
    rewards[AGENT] = -agent_gap
    if params.hard != 0:
        between = distance(state.pos, ADVERSARY, state.pos, AGENT)
        rewards[ADVERSARY] = DRIVEN_OFF * agent_gap - NEAR_AGENT * between
    else:
        rewards[ADVERSARY] = agent_gap - adversary_gap
    metrics[0] = agent_gap
    metrics[1] = adversary_gap
    return False


@device_function
def observe_env(state, params, observations, action_mask, alive, global_state):
    out = observations[ADVERSARY]
    k = write_pair(out, 0, state.vel[ADVERSARY, 0], state.vel[ADVERSARY, 1])
    if params.hard != 0:
        k = write_goal(out, k, state, ADVERSARY)
    k = write_landmarks(out, k, state, ADVERSARY)
    k = write_others(out, k, state, ADVERSARY)
    end = append(global_state, 0, out, k)
    out = observations[AGENT]
    k = write_pair(out, 0, state.vel[AGENT, 0], state.vel[AGENT, 1])
    k = write_goal(out, k, state, AGENT)
    k = write_color(out, k, state.goal + 1, UNLIT, LIT, BANDS)
    k = write_landmarks(out, k, state, AGENT)
    for m in range(NUM_LANDMARKS):
        k = write_color(out, k, m + 1, LANDMARK_UNLIT, LANDMARK_LIT, BANDS)
    k = write_others(out, k, state, AGENT)
    append(global_state, end, out, k)


@device_function
def write_goal(out, k, state, i):
    """The goal relative to agent i."""
    x, y = state.landmark[state.goal, 0], state.landmark[state.goal, 1]
    return write_pair(out, k, x - state.pos[i, 0], y - state.pos[i, 1])
