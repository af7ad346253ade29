"""Player functions as users write them: compiled with numba, and in plain Python over batches."""

from __future__ import annotations

import numpy as np
from numba import njit

import mail_envs

ZERO, HALF, ONE = np.float32(0.0), np.float32(0.5), np.float32(1.0)
THIRD = np.float32(0.3)


@njit
def not_twice_in_a_row(i, history):
    """No agent acts twice in a row; an agent that did not act acts with probability 0.5."""
    t = history.shape[0]
    if t > 0 and history[t - 1, i] != 0:
        return ZERO
    return HALF


def not_twice_in_a_row_python(history, rounds):
    """The same over a batch."""
    probabilities = np.full((len(rounds), history.shape[2]), 0.5)
    begun = np.flatnonzero(rounds > 0)
    probabilities[begun] *= history[begun, rounds[begun] - 1] == 0
    return probabilities


@njit
def left_half_or_moved(i, state, history, actions):
    """Acts for sure with x < 0 or after the action 1 in the last round, else with probability 0.3."""
    t = history.shape[0]
    moved = t > 0 and actions[t - 1, i] == 1
    return ONE if state[4 * i] < ZERO or moved else THIRD


def left_half_or_moved_python(state, history, actions, rounds):
    """The same over a batch."""
    x = state[:, 0 : 4 * history.shape[2] : 4]
    last = actions[np.arange(len(rounds)), np.maximum(rounds, 1) - 1]
    moved = (rounds > 0)[:, None] & (last == 1)
    return np.where((x < 0) | moved, 1.0, np.float32(0.3))


@njit
def horizontal_or_vertical(i, m, history):
    """Set 1 with probability 0.5, set 2 with probability 0.3."""
    return HALF if m == 1 else THIRD


def horizontal_or_vertical_python(history, rounds):
    """The same over a batch."""
    return np.broadcast_to(np.float32([0.5, 0.3]), (len(rounds), history.shape[2], 2))


DISCRETE_SETS = [[1, 2], [0, 3, 4]]
COMPILED = {
    "HistoryDependent": mail_envs.HistoryDependent(not_twice_in_a_row),
    "StateDependent": mail_envs.StateDependent(left_half_or_moved),
    "ActionSets": mail_envs.ActionSets(horizontal_or_vertical, DISCRETE_SETS),
}
PLAIN = {
    "HistoryDependent": mail_envs.HistoryDependent(not_twice_in_a_row_python),
    "StateDependent": mail_envs.StateDependent(left_half_or_moved_python),
    "ActionSets": mail_envs.ActionSets(horizontal_or_vertical_python, DISCRETE_SETS),
}
BY_ROUND = {
    "Synchronous": mail_envs.Synchronous(),
    "TurnOrder": mail_envs.TurnOrder([[0, 1, 2], [], [1], [0, 2]]),
    "Stochastic": mail_envs.Stochastic([0.3, 0.5, 0.7]),
    "shared coin": mail_envs.Stochastic(0.4, initial=1.0, shared_coin=True),
}
ALL = {
    **BY_ROUND,
    **{f"{name}, compiled": player for name, player in COMPILED.items()},
    **{f"{name}, plain": player for name, player in PLAIN.items()},
}
SELDOM = COMPILED["HistoryDependent"]
BY_TURNS = mail_envs.TurnOrder([[0], [1], [2]])
