"""Simple: one agent goes to one landmark.

| | |
|---|---|
| id | `mpe_simple` (the agent acts in every round) |
| agents | `agent_0`, radius 0.05 |
| actions | `Discrete(5)`: none, left, right, down, up; or, with `continuous_actions`, `Box(0, 1, (5,))` with the same meaning |
| φ | no force: the agent coasts and slows down (`null_dynamics="brake"`: it stops, `"hold"`: it repeats its last action) |

**Observation**, 4 numbers: own velocity (2); the landmark relative to the agent (2). **State**: the same.

**Reward**: minus the squared distance to the landmark, 0 in rounds in which the agent does not act.

**End**: after `max_rounds` = 25 rounds. **Start**: the agent at rest and the landmark uniform in [-1, 1]^2.

| preset | integration | end |
|---|---|---|
| `mpe2` | position first | 25 rounds |
| `pettingzoo122`, `openai` | velocity first | 25 rounds |
| `magail` | velocity first | 50 rounds |

Returns with the default preset, mean ± sd over 1,000 episodes from seed 1,000,000:

| id | random | scripted |
|---|---|---|
| `mpe_simple` | -41.2 ± 34.5 | -7.5 ± 7.9 |
"""

import numpy as np

from mail_envs.games.mpe import picture, presets
from mail_envs.games.particle import world
from mail_envs.games.particle.world import (
    ONE,
    append,
    glide,
    scatter,
    square_distance,
    write_landmarks,
    write_pair,
)
from mail_envs.kernels import device_function
from mail_envs.markov_game import KernelGame

RADIUS, ACCEL = 0.05, 5.0


class Simple(KernelGame):
    """One agent, one landmark."""

    def __init__(
        self,
        preset: str = "mpe2",
        null_dynamics: str = "coast",
        continuous_actions: bool = False,
    ):
        rules = presets.preset_rules(preset)
        self.agents = ["agent_0"]
        self.max_rounds = rules.max_rounds
        self.observation_spaces = world.observation_spaces(self.agents, 4)
        self.action_spaces = world.action_spaces(self.agents, continuous_actions)
        self.state_space = world.unbounded(4)
        self.state_dtype = np.dtype(world.body_fields(1, 1), align=True)
        self.params = world.make_params(
            1, rules.integration, null_dynamics, radius=RADIUS, accel=ACCEL
        )
        self.metadata = {"convention": presets.convention(preset, rules)}

    def draw(self, canvas, state, participation):
        picture.begin(canvas, state)
        canvas.circle(state["landmark"][0], 0.05, "red")
        picture.agents(canvas, state, self, ["blue"])


@device_function
def reset_env(state, rng, params):
    scatter(state, rng, ONE)


@device_function
def step_env(state, rng, actions, acts, params, rewards, metrics):
    glide(state, actions, acts, params)
    rewards[0] = -square_distance(state.pos, 0, state.landmark, 0)
    return False


@device_function
def observe_env(state, params, observations, action_mask, alive, global_state):
    k = write_pair(observations[0], 0, state.vel[0, 0], state.vel[0, 1])
    k = write_landmarks(observations[0], k, state, 0)
    append(global_state, 0, observations[0], k)
