"""Communication: actions that say words, and what is said by speakers that do not act.

A word is a vector of `words` numbers, which others observe from the next observation on. Discrete speakers say
one-hot words; agents that both move and speak choose `move + 5 * word` from Discrete(5 * words). Continuous
speakers send the vector itself, from Box(0, 1), after the five numbers of their move if they can move.
State field: `comm` float32 (speakers, words).
"""

import gymnasium
import numpy as np

from mail_envs.counts import check_kind
from mail_envs.games.particle.world import HOLD, MOVES, ZERO, direction, push, push_axis
from mail_envs.kernels import device_function


def action_space(moves, words, continuous):
    """The action space of an agent with `words` words (0: it cannot speak); `moves`: whether it can move."""
    check_kind("continuous_actions", continuous, "bool")
    if continuous:
        return gymnasium.spaces.Box(0.0, 1.0, (MOVES * moves + words,), np.float32)
    return gymnasium.spaces.Discrete((MOVES if moves else 1) * max(words, 1))


@device_function
def control_and_talk(state, actions, acts, params):
    """Set the forces of all agents; the first ones, those with a row in `comm`, also speak."""
    speakers = state.comm.shape[0]
    for i in range(state.pos.shape[0]):
        if actions.ndim == 1:
            move = actions[i] % MOVES
            push(state, i, direction(move, 0), direction(move, 1), acts, params)
        else:
            push(state, i, push_axis(actions, i, 0), push_axis(actions, i, 1), acts, params)
        if i < speakers:
            say(state, i, actions, True, acts, params)


@device_function
def say(state, i, actions, moves, acts, params):
    """Agent i says the word of its action. Without acting: no word, or its last one with null_dynamics="hold".

    `moves`: whether its action is also a move.
    """
    for c in range(state.comm.shape[1]):
        if actions.ndim == 1:
            word = np.float32(actions[i] // (MOVES if moves else 1) == c)
        else:
            word = actions[i, c + (MOVES if moves else 0)]
        kept = state.comm[i, c] if params.null_dynamics == HOLD else ZERO
        state.comm[i, c] = word if acts[i] != 0 else kept


@device_function
def silence(state):
    for i in range(state.comm.shape[0]):
        for c in range(state.comm.shape[1]):
            state.comm[i, c] = ZERO


@device_function
def write_word(out, k, state, i):
    """Write the last word of speaker i; returns the next position."""
    for c in range(state.comm.shape[1]):
        out[k + c] = state.comm[i, c]
    return k + state.comm.shape[1]


@device_function
def write_color(out, k, lit, low, high, bands):
    """Write the color of number `lit`: `bands` values `low`, but `high` at `lit`; returns the next position."""
    for c in range(bands):
        out[k + c] = high if c == lit else low
    return k + bands
