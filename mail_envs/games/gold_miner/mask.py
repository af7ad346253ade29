"""The availability mask: the actions that make sense for a player.

It keeps players alive (no step off the map, none that could use up all energy) and near the mines, and forces
obvious actions: to move onto a rich mine next to them, and to dig where there is enough for all. The papers' experts
and two of the three bots use it, so it is part of the task.
"""

from __future__ import annotations

from mail_envs.games.gold_miner.rules import (
    CELLS,
    DIG,
    DIG_PRICE,
    DOWN,
    FOREST_MAX,
    FULL,
    HEIGHT,
    LEFT,
    NUGGET,
    NUM_ACTIONS,
    REST,
    REST_1,
    RIGHT,
    UP,
    WIDTH,
    on_map,
    pick,
    price,
    step_x,
    step_y,
)
from mail_envs.kernels import device_function

FAR = WIDTH + HEIGHT


@device_function
def available(state, i, rounds_left, target):
    """The legal actions of player i, as bits 0 to 5.

    Mines are considered if they are closer than `rounds_left`, all of them if none is; with `target` >= 0 only that
    cell is.
    """
    x, y, energy = state.x[i], state.y[i], state.energy[i]
    left, right, top, bottom, mines = bounds(state, x, y, rounds_left, target)
    moves = rich = 0
    for action in range(DOWN + 1):
        to_x, to_y = x + step_x(action), y + step_y(action)
        inside = (
            (action == LEFT and to_x >= left)
            or (action == RIGHT and to_x <= right)
            or (action == UP and to_y >= top)
            or (action == DOWN and to_y <= bottom)
        )
        if inside and on_map(to_x, to_y):
            cell = to_x * HEIGHT + to_y
            if energy > price(state, cell, FOREST_MAX):
                moves |= 1 << action
                gold = state.gold[cell]
                if gold >= NUGGET and gold >= NUGGET * claims(state, to_x, to_y):
                    rich |= 1 << action
    allowed = rich if rich != 0 else moves
    if energy < FULL - REST_1:
        allowed |= 1 << REST
    gold = state.gold[x * HEIGHT + y]
    if gold > 0:
        if NUGGET * players_at(state, x, y) <= gold or mines == 1:
            allowed = 0  # stay and dig, or rest until there is enough energy
        if energy > DIG_PRICE:
            allowed |= 1 << DIG
    return allowed if allowed != 0 else 1 << REST


@device_function
def bounds(state, x, y, rounds_left, target):
    """The bounding box of the mines that are considered (left, right, top, bottom), and their number."""
    if target >= 0:
        tx, ty = target // HEIGHT, target % HEIGHT
        return tx, tx, ty, ty, 1
    limit = rounds_left
    for _ in range(2):
        left, right, top, bottom, mines = FAR, -1, FAR, -1, 0
        for k in range(state.num_mines):
            mx, my = state.mines[k] // HEIGHT, state.mines[k] % HEIGHT
            if abs(mx - x) + abs(my - y) < limit:
                left, right = min(left, mx), max(right, mx)
                top, bottom = min(top, my), max(bottom, my)
                mines += 1
        if mines != 0:
            break
        limit = CELLS  # none is within reach: consider all
    return left, right, top, bottom, mines


@device_function
def players_at(state, x, y):
    """The number of players on a cell."""
    count = 0
    for j in range(state.x.shape[0]):
        count += state.status[j] == 0 and state.x[j] == x and state.y[j] == y
    return count


@device_function
def claims(state, x, y):
    """The number of players next to a cell, plus twice those on it."""
    count = 0
    for j in range(state.x.shape[0]):
        distance = abs(state.x[j] - x) + abs(state.y[j] - y)
        if state.status[j] == 0:
            count += (distance == 1) + 2 * (distance == 0)
    return count


@device_function
def any_of(allowed, rng):
    """A random one of the actions whose bits are set."""
    count = 0
    for action in range(NUM_ACTIONS):
        count += (allowed >> action) & 1
    skip = pick(rng, count)
    for action in range(NUM_ACTIONS):
        if (allowed >> action) & 1 != 0:
            if skip == 0:
                return action
            skip -= 1
    return REST
