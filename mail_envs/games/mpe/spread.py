"""Simple spread: agents cover landmarks without colliding.

| | |
|---|---|
| id | `mpe_simple_spread` (all act in every round) |
| agents | `agent_0`, `agent_1`, ...: `N` of them, radius 0.15; they collide with each other; and `N` landmarks |
| actions | `Discrete(5)`: none, left, right, down, up; or, with `continuous_actions`, `Box(0, 1, (5,))` with the same meaning |
| φ | no force: the agent coasts and slows down (`null_dynamics="brake"`: it stops, `"hold"`: it repeats its last action) |

**Observation** of an agent, 18 numbers for three agents: own velocity (2), own position (2), landmarks relative
to it (2 each), other agents relative to it (2 each), their communication (2 each, always zero). With
`num_landmark_neighbors`, `num_agent_neighbors` = k, only the k nearest are observed, nearest first, padded with zeros.
**State**: the observations of all agents, concatenated, as in MPE2.

**Reward** of every agent that acts: `local_ratio` times its own part (-1 for every agent that it overlaps with) plus
1 - `local_ratio` times the team's part (minus the sum over landmarks of the distance to the nearest agent). An agent
that does not act gets 0.

**End**: after `max_rounds` = 25 rounds; with `terminate_on_success` when every landmark has an agent within 0.1.

**Start**: agents at rest and landmarks uniform in [-1, 1]^2.

| preset | integration | reward | observation | end |
|---|---|---|---|---|
| `mpe2` | position first | as above, `local_ratio` 0.5 | as above | 25 rounds |
| `pettingzoo122` | velocity first | as above | as above | 25 rounds |
| `openai` | velocity first | the sum over agents of the team's part and -1 for every overlap, including that with itself | as above | 25 rounds |
| `magail` | velocity first | the same with the depth of the overlap instead of 1 | without own position (16) | success or 50 rounds |

Papers report a third of the sum of `magail`: see `coop_nav`, the same game without shared rewards.

Returns per agent with the default preset, mean ± sd over 1,000 episodes from seed 1,000,000:

| id | random | scripted |
|---|---|---|
| `mpe_simple_spread` | -26.1 ± 7.7 | -6.5 ± 2.7 |
"""

import numpy as np

from mail_envs.counts import at_least, check_kind
from mail_envs.games.mpe import neighbors, picture, presets
from mail_envs.games.mpe.neighbors import write_relative
from mail_envs.games.particle import world
from mail_envs.games.particle.coop_nav import (
    ACCEL,
    AGENT_RADIUS,
    PENALTY,
    coverage,
    crowding,
)
from mail_envs.games.particle.world import ONE, ZERO, append, move, scatter, write_pair
from mail_envs.kernels import device_function
from mail_envs.markov_game import KernelGame

WORDS = 2  # length of the words in observations, which are always zero


class SimpleSpread(KernelGame):
    """`N` agents cover `N` landmarks."""

    def __init__(
        self,
        N: int = 3,
        preset: str = "mpe2",
        local_ratio: float | None = None,
        terminate_on_success: bool | None = None,
        num_agent_neighbors: int | None = None,
        num_landmark_neighbors: int | None = None,
        null_dynamics: str = "coast",
        continuous_actions: bool = False,
    ):
        at_least(1, N=N)
        check_kind("terminate_on_success", terminate_on_success, "bool | None")
        rules = presets.preset_rules(preset)
        self.agents = [f"agent_{i}" for i in range(N)]
        self.max_rounds = rules.max_rounds
        agents_shown = neighbors.limit("num_agent_neighbors", num_agent_neighbors)
        landmarks_shown = neighbors.limit("num_landmark_neighbors", num_landmark_neighbors)
        others = neighbors.slots(N - 1, agents_shown)
        landmarks = neighbors.slots(N, landmarks_shown)
        dims = 2 + 2 * rules.spread_position + 2 * landmarks + (2 + WORDS) * others
        self.observation_spaces = world.observation_spaces(self.agents, dims)
        self.action_spaces = world.action_spaces(self.agents, continuous_actions)
        self.state_space = world.unbounded(N * dims)
        self.state_dtype = np.dtype(world.body_fields(N, N), align=True)
        success = rules.success_ends if terminate_on_success is None else terminate_on_success
        self.params = world.make_params(
            N,
            rules.integration,
            null_dynamics,
            radius=AGENT_RADIUS,
            accel=ACCEL,
            penalty=PENALTY.index(rules.spread_penalty),
            forgiven=0.0 if rules.spread_self else 1.0,
            absolute=rules.spread_position,
            dims=dims,
            agents_shown=agents_shown,
            landmarks_shown=landmarks_shown,
            terminate_on_success=success,
            **presets.mixing(rules, local_ratio),
        )
        self.metric_names = ("landmarks_covered",)
        self.metadata = {"convention": presets.convention(preset, rules)}

    def draw(self, canvas, state, participation):
        picture.begin(canvas, state)
        for xy in state["landmark"]:
            canvas.circle(xy, 0.05, "dark")
            canvas.ring(xy, 0.1, "gray", width_pixels=2)
        picture.agents(canvas, state, self, ["blue"] * len(self.agents))


@device_function
def reset_env(state, rng, params):
    scatter(state, rng, ONE)


@device_function
def step_env(state, rng, actions, acts, params, rewards, metrics):
    move(state, actions, acts, params)
    shared, covered = coverage(state)
    total = ZERO
    for i in range(state.pos.shape[0]):
        own = (
            crowding(state, i, params) + params.forgiven
        )  # crowding() includes the agent itself: 1
        rewards[i] = shared * params.team_weight + own * params.own_weight
        total += rewards[i]
    if params.team_sum != 0:
        for i in range(state.pos.shape[0]):
            rewards[i] = total
    metrics[0] = np.float32(covered)
    return params.terminate_on_success != 0 and covered == state.landmark.shape[0]


@device_function
def observe_env(state, params, observations, action_mask, alive, global_state):
    end = 0
    for i in range(state.pos.shape[0]):
        out = observations[i]
        x, y = state.pos[i, 0], state.pos[i, 1]
        k = write_pair(out, 0, state.vel[i, 0], state.vel[i, 1])
        if params.absolute != 0:
            k = write_pair(out, k, x, y)
        k = write_relative(out, k, state.landmark, x, y, -1, params.landmarks_shown)
        k = write_relative(out, k, state.pos, x, y, i, params.agents_shown)
        out[k:] = ZERO  # words
        end = append(global_state, end, out, params.dims)
