"""Simple speaker-listener: a speaker that cannot move tells a listener that cannot speak which landmark is the goal.

| | |
|---|---|
| id | `mpe_simple_speaker_listener` (both act in every round) |
| agents | `speaker_0`, which stays where it is, and `listener_0`: radius 0.075; there are no collisions; and three landmarks |
| actions | speaker: `Discrete(3)`, the word; listener: `Discrete(5)`: none, left, right, down, up. With `continuous_actions` `Box(0, 1, (3,))` and `Box(0, 1, (5,))` with the same meaning |
| φ | the speaker says nothing (`null_dynamics="hold"`: it repeats its last word); no force on the listener: it coasts and slows down (`"brake"`: it stops, `"hold"`: it repeats its last action) |

**Observation** of the speaker, 3 numbers: the color of the goal (0.65 at the landmark's index, 0.15 elsewhere); of
the listener, 11 numbers: own velocity (2), landmarks relative to it (2 each), the speaker's word (3). **State**: the
speaker's observation, then the listener's, as in MPE2.

**Reward** of both, if they act: minus the squared distance between the listener and the goal. An agent that does
not act gets 0.

**End**: after `max_rounds` = 25 rounds; with `terminate_on_success` when the listener is within 0.035 of the goal.

**Start**: agents at rest and landmarks uniform in [-1, 1]^2; no words.

| preset | integration | reward | end |
|---|---|---|---|
| `mpe2` | position first | as above | 25 rounds |
| `pettingzoo122` | velocity first | as above | 25 rounds |
| `openai` | velocity first | the sum over both agents, i.e. twice as much | 25 rounds |
| `magail` | velocity first | twice minus the distance, not squared | success or 50 rounds |

Returns per agent with the default preset, mean ± sd over 1,000 episodes from seed 1,000,000:

| id | random | scripted |
|---|---|---|
| `mpe_simple_speaker_listener` | -38.5 ± 31.7 | -7.4 ± 8.2 |
"""

import math

import numpy as np

from mail_envs.counts import check_kind
from mail_envs.games.mpe import picture, presets, talk
from mail_envs.games.mpe.talk import say, silence, write_color, write_word
from mail_envs.games.particle import world
from mail_envs.games.particle.world import (
    ONE,
    append,
    glide,
    pick,
    scatter,
    square_distance,
    write_landmarks,
    write_pair,
)
from mail_envs.kernels import device_function
from mail_envs.markov_game import KernelGame

RADIUS, ACCEL, LANDMARK_RADIUS = 0.075, 5.0, 0.04
NUM_LANDMARKS = WORDS = 3
LIT, UNLIT = np.float32(0.65), np.float32(0.15)
REACHED = np.float32(0.035)
SPEAKER, LISTENER = 0, 1


class SimpleSpeakerListener(KernelGame):
    """A speaker sends a listener to one of three landmarks."""

    def __init__(
        self,
        preset: str = "mpe2",
        terminate_on_success: bool | None = None,
        null_dynamics: str = "coast",
        continuous_actions: bool = False,
    ):
        check_kind("terminate_on_success", terminate_on_success, "bool | None")
        rules = presets.preset_rules(preset)
        self.agents = ["speaker_0", "listener_0"]
        self.max_rounds = rules.max_rounds
        own = {"speaker_0": NUM_LANDMARKS, "listener_0": 2 + 2 * NUM_LANDMARKS + WORDS}
        self.observation_spaces = {a: world.unbounded(dims) for a, dims in own.items()}
        self.action_spaces = {
            "speaker_0": talk.action_space(False, WORDS, continuous_actions),
            "listener_0": talk.action_space(True, 0, continuous_actions),
        }
        self.state_space = world.unbounded(sum(own.values()))
        fields = [
            ("comm", "f4", (1, WORDS)),
            ("goal", "i4"),
            *world.body_fields(2, NUM_LANDMARKS),
        ]
        self.state_dtype = np.dtype(fields, align=True)
        success = rules.success_ends if terminate_on_success is None else terminate_on_success
        self.params = world.make_params(
            2,
            rules.integration,
            null_dynamics,
            radius=RADIUS,
            accel=[0.0, ACCEL],  # the speaker does not move
            landmark_radius=LANDMARK_RADIUS,
            square=rules.listener_square,
            weight=2.0 if rules.team_sum else 1.0,
            terminate_on_success=success,
        )
        self.metric_names = ("distance",)
        self.metadata = {"convention": presets.convention(preset, rules)}

    def draw(self, canvas, state, participation):
        picture.begin(canvas, state)
        for xy, color in zip(state["landmark"], picture.GOAL_COLORS):
            canvas.circle(xy, LANDMARK_RADIUS, color)
        goal = int(state["goal"])
        picture.goal_ring(canvas, state["landmark"][goal], picture.GOAL_COLORS[goal])
        picture.agents(canvas, state, self, ["gray", "dark"])
        picture.words(canvas, [f"speaker_0 says {picture.said(state['comm'][0])}"])


@device_function
def reset_env(state, rng, params):
    state.goal = pick(rng, NUM_LANDMARKS)
    scatter(state, rng, ONE)
    silence(state)


@device_function
def step_env(state, rng, actions, acts, params, rewards, metrics):
    glide(state, actions, acts, params)
    say(state, SPEAKER, actions, False, acts, params)
    square = square_distance(state.pos, LISTENER, state.landmark, state.goal)
    gap = math.sqrt(square)
    reward = -params.weight * (square if params.square != 0 else gap)
    rewards[SPEAKER] = rewards[LISTENER] = reward
    metrics[0] = gap
    return params.terminate_on_success != 0 and gap <= REACHED


@device_function
def observe_env(state, params, observations, action_mask, alive, global_state):
    out = observations[SPEAKER]
    k = write_color(out, 0, state.goal, UNLIT, LIT, NUM_LANDMARKS)
    end = append(global_state, 0, out, k)
    out = observations[LISTENER]
    k = write_pair(out, 0, state.vel[LISTENER, 0], state.vel[LISTENER, 1])
    k = write_landmarks(out, k, state, LISTENER)
    k = write_word(out, k, state, SPEAKER)
    append(global_state, end, out, k)
