"""Simple reference: two agents that can communicate each know where the other should go.

| | |
|---|---|
| id | `mpe_simple_reference` (both act in every round) |
| agents | `agent_0`, `agent_1`: radius 0.05; there are no collisions; and three landmarks |
| actions | `Discrete(50)`: `move + 5 * word` with the moves none, left, right, down, up and ten words; or, with `continuous_actions`, `Box(0, 1, (15,))`: five numbers for the moves, ten for the word |
| φ | no force: the agent coasts and slows down (`null_dynamics="brake"`: it stops, `"hold"`: it repeats its last action); it says nothing (`"hold"`: it repeats its last word) |

**Observation** of an agent, 21 numbers: own velocity (2); landmarks relative to it (2 each); the color of the
landmark that *the other* should reach (3: 0.75 at the landmark's index, 0.25 elsewhere); the other's word (10).
**State**: both observations, concatenated, as in MPE2.

**Reward** of every agent that acts: `local_ratio` times its own part plus 1 - `local_ratio` times the mean of both
parts, where an agent's part is minus the distance of *the other* agent from the landmark that only this agent knows.
An agent that does not act gets 0.

**End**: after `max_rounds` = 25 rounds. **Start**: agents at rest and landmarks uniform in [-1, 1]^2; goals are drawn
independently; no words.

| preset | integration | reward | end |
|---|---|---|---|
| `mpe2` | position first | as above, `local_ratio` 0.5 | 25 rounds |
| `pettingzoo122` | velocity first | as above | 25 rounds |
| `openai` | velocity first | both get minus the sum of both squared distances | 25 rounds |

Returns per agent with the default preset, mean ± sd over 1,000 episodes from seed 1,000,000:

| id | random | scripted |
|---|---|---|
| `mpe_simple_reference` | -28.5 ± 9.2 | -7.5 ± 3.6 |
"""

import math

import numpy as np

from mail_envs.games.mpe import picture, presets, talk
from mail_envs.games.mpe.talk import control_and_talk, silence, write_color, write_word
from mail_envs.games.particle import world
from mail_envs.games.particle.world import (
    ONE,
    ZERO,
    append,
    integrate,
    pick,
    scatter,
    square_distance,
    write_landmarks,
    write_pair,
)
from mail_envs.kernels import device_function
from mail_envs.markov_game import KernelGame

RADIUS, ACCEL = 0.05, 5.0
NUM_LANDMARKS, WORDS = 3, 10
LIT, UNLIT = np.float32(0.75), np.float32(0.25)
HALF = np.float32(0.5)
REACHED = np.float32(0.1)  # metrics: largest distance at which an agent is at its goal


class SimpleReference(KernelGame):
    """Two agents that send each other to landmarks."""

    def __init__(
        self,
        preset: str = "mpe2",
        local_ratio: float | None = None,
        null_dynamics: str = "coast",
        continuous_actions: bool = False,
    ):
        rules = presets.preset_rules(preset, missing=("magail",))
        self.agents = ["agent_0", "agent_1"]
        self.max_rounds = rules.max_rounds
        dims = 2 + 2 * NUM_LANDMARKS + NUM_LANDMARKS + WORDS
        self.observation_spaces = world.observation_spaces(self.agents, dims)
        self.action_spaces = {
            a: talk.action_space(True, WORDS, continuous_actions) for a in self.agents
        }
        self.state_space = world.unbounded(2 * dims)
        fields = [
            ("comm", "f4", (2, WORDS)),
            ("goal", "i4", (2,)),  # of the other agent
            *world.body_fields(2, NUM_LANDMARKS),
        ]
        self.state_dtype = np.dtype(fields, align=True)
        self.params = world.make_params(
            2,
            rules.integration,
            null_dynamics,
            radius=RADIUS,
            accel=ACCEL,
            square=rules.reference_square,
            **presets.mixing(rules, local_ratio),
        )
        self.metric_names = ("agents_at_goal",)
        self.metadata = {"convention": presets.convention(preset, rules)}

    def draw(self, canvas, state, participation):
        picture.begin(canvas, state)
        for xy, color in zip(state["landmark"], picture.GOAL_COLORS):
            canvas.circle(xy, 0.05, color)
        goals = [int(state["goal"][1 - i]) for i in range(2)]
        for i, goal in enumerate(goals):
            canvas.line(state["pos"][i], state["landmark"][goal], "gray")
        picture.agents(canvas, state, self, [picture.GOAL_COLORS[goal] for goal in goals])
        spoken = zip(self.agents, state["comm"])
        picture.words(canvas, [f"{agent} says {picture.said(word)}" for agent, word in spoken])


@device_function
def reset_env(state, rng, params):
    for i in range(2):
        state.goal[i] = pick(rng, NUM_LANDMARKS)
    scatter(state, rng, ONE)
    silence(state)


@device_function
def step_env(state, rng, actions, acts, params, rewards, metrics):
    control_and_talk(state, actions, acts, params)
    integrate(state, params)
    reached = 0
    total = ZERO
    for i in range(2):
        gap = square_distance(state.pos, 1 - i, state.landmark, state.goal[i])
        reached += gap <= REACHED * REACHED
        rewards[i] = -gap if params.square != 0 else -math.sqrt(gap)
        total += rewards[i]
    for i in range(2):
        mixed = total * HALF * params.team_weight + rewards[i] * params.own_weight
        rewards[i] = total if params.team_sum != 0 else mixed
    metrics[0] = np.float32(reached)
    return False


@device_function
def observe_env(state, params, observations, action_mask, alive, global_state):
    end = 0
    for i in range(2):
        out = observations[i]
        k = write_pair(out, 0, state.vel[i, 0], state.vel[i, 1])
        k = write_landmarks(out, k, state, i)
        k = write_color(out, k, state.goal[i], UNLIT, LIT, NUM_LANDMARKS)
        k = write_word(out, k, state, 1 - i)
        end = append(global_state, end, out, k)
