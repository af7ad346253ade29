"""Simple crypto: Alice sends Bob a secret bit while Eve listens; Alice and Bob share a key.

| | |
|---|---|
| id | `mpe_simple_crypto` (all act in every round) |
| agents | `eve_0`, `bob_0`, `alice_0`; they do not move |
| actions | `Discrete(4)`, a word; or, with `continuous_actions`, `Box(0, 1, (4,))`, the components of the word |
| φ | silence (`null_dynamics="hold"`: the last word stays; `"brake"` is `"coast"`) |

**Observation** of Eve, 4 numbers: Alice's word; of Bob, 8 numbers: the key (4), Alice's word (4); of Alice, 8 numbers:
the message (4), the key (4). Message and key are one-hot vectors of which only the first two components are used.
**State**: the observations of Eve, Bob and Alice, concatenated, as in MPE2.

**Reward**: an error is the squared distance between a word and the message (0 for silence, 2 for a wrong one-hot
word). Eve gets minus her error; Alice and Bob get Eve's error minus Bob's. An agent that does not act gets 0.

**End**: after `max_rounds` = 25 rounds. **Start**: message and key are drawn independently; no words.

| preset | words | end |
|---|---|---|
| `mpe2`, `pettingzoo122`, `openai` | 4 | 25 rounds |
| `magail` | 3 | 50 rounds |

The return of an episode is that of Alice and Bob.

Returns with the default preset, mean ± sd over 1,000 episodes from seed 1,000,000:

|  | all random | all scripted |
|---|---|---|
| Alice and Bob | -0.1 ± 5.9 | 23.0 ± 24.0 |
| Eve | -37.6 ± 4.3 | -24.0 ± 24.0 |
"""

import numpy as np

from mail_envs.games.mpe import picture, presets, talk
from mail_envs.games.mpe.talk import say, silence, write_color, write_word
from mail_envs.games.particle import world
from mail_envs.games.particle.world import NULL_DYNAMICS, ONE, ZERO, append, choice, pick
from mail_envs.kernels import device_function
from mail_envs.markov_game import KernelGame

EVE, BOB, ALICE = 0, 1, 2
MESSAGES = 2  # one bit
PLACES = ((-0.6, -0.5), (0.6, -0.5), (0.0, 0.5))  # in pictures


class SimpleCrypto(KernelGame):
    """Alice, Bob and Eve."""

    def __init__(
        self,
        preset: str = "mpe2",
        null_dynamics: str = "coast",
        continuous_actions: bool = False,
    ):
        rules = presets.preset_rules(preset)
        words = rules.crypto_words
        self.agents = ["eve_0", "bob_0", "alice_0"]
        self.max_rounds = rules.max_rounds
        self.observation_spaces = {
            "eve_0": world.unbounded(words),
            "bob_0": world.unbounded(2 * words),
            "alice_0": world.unbounded(2 * words),
        }
        self.action_spaces = {
            a: talk.action_space(False, words, continuous_actions) for a in self.agents
        }
        self.state_space = world.unbounded(5 * words)
        fields = [("comm", "f4", (3, words)), ("message", "i4"), ("key", "i4")]
        self.state_dtype = np.dtype(fields, align=True)
        self.params = np.zeros(1, np.dtype([("null_dynamics", "i4")], align=True))
        self.params["null_dynamics"] = choice("null_dynamics", null_dynamics, NULL_DYNAMICS)
        self.metric_names = ("bob_error", "eve_error")
        self.metadata = {
            "convention": f"preset {preset}, {words} words",
            "return_agents": ["bob_0", "alice_0"],
        }

    def draw(self, canvas, state, participation):
        canvas.begin((-1.0, 1.0, -1.0, 1.0))
        for listener, color in ((EVE, "red"), (BOB, "gray")):
            canvas.arrow(PLACES[ALICE], PLACES[listener], color)
        for i, color in enumerate(("red", "blue", "teal")):
            canvas.agent(i, PLACES[i], 0.14, color, label=self.agents[i][0].upper())
            x, y = PLACES[i]
            canvas.text((x, y - 0.26), f"says {picture.said(state['comm'][i])}", 18)
        secret = f"message {'AB'[state['message']]}   key {'AB'[state['key']]}"
        canvas.text((0.0, 0.85), secret, 18)


@device_function
def reset_env(state, rng, params):
    state.message = pick(rng, MESSAGES)
    state.key = pick(rng, MESSAGES)
    silence(state)


@device_function
def step_env(state, rng, actions, acts, params, rewards, metrics):
    for i in range(3):
        say(state, i, actions, False, acts, params)
    eve, bob = error(state, EVE), error(state, BOB)
    rewards[EVE] = -eve
    rewards[BOB] = rewards[ALICE] = eve - bob
    metrics[0] = bob
    metrics[1] = eve
    return False


@device_function
def error(state, i):
    """Squared distance between agent i's word and the message; silence counts as no error."""
    total = ZERO
    silent = True
    for c in range(state.comm.shape[1]):
        gap = state.comm[i, c] - (ONE if c == state.message else ZERO)
        total += gap * gap
        silent = silent and state.comm[i, c] == ZERO
    return ZERO if silent else total


@device_function
def observe_env(state, params, observations, action_mask, alive, global_state):
    words = state.comm.shape[1]
    k = write_word(observations[EVE], 0, state, ALICE)
    end = append(global_state, 0, observations[EVE], k)
    k = write_color(observations[BOB], 0, state.key, ZERO, ONE, words)
    k = write_word(observations[BOB], k, state, ALICE)
    end = append(global_state, end, observations[BOB], k)
    k = write_color(observations[ALICE], 0, state.message, ZERO, ONE, words)
    k = write_color(observations[ALICE], k, state.key, ZERO, ONE, words)
    append(global_state, end, observations[ALICE], k)
