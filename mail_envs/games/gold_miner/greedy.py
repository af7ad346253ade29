"""Greedy: walk to one of the two nearest mines, dig until it is nearly empty, choose again.

Its path is random: it takes any action that the availability mask for this one mine allows, including rests.
"""

from __future__ import annotations

from mail_envs.games.gold_miner.mask import FAR, any_of, available
from mail_envs.games.gold_miner.rules import HEIGHT, NUGGET, pick
from mail_envs.kernels import device_function


@device_function
def greedy(state, i, rng, rounds_left):
    """The action of player i; its mine is stored in `state.target`."""
    target = state.target[i]
    if target < 0 or state.gold[target] <= NUGGET:
        target = state.target[i] = one_of_two_nearest(state, i, rng)
    return any_of(available(state, i, rounds_left, target), rng)


@device_function
def one_of_two_nearest(state, i, rng):
    """A random one of the two mines nearest to player i; -1 if there is none."""
    nearest = second = -1
    near = next_near = FAR
    for k in range(state.num_mines):
        cell = state.mines[k]
        distance = abs(cell // HEIGHT - state.x[i]) + abs(cell % HEIGHT - state.y[i])
        if distance < near:
            second, next_near = nearest, near
            nearest, near = cell, distance
        elif distance < next_near:
            second, next_near = cell, distance
    if second >= 0 and pick(rng, 2) == 1:
        return second
    return nearest
