"""DeepMind: the heuristic of one of the competition's best teams, including its mistakes.

Away from mines it walks to the mine with the most gold per round of walking, on the cheapest of the shortest paths,
by its own estimates of costs (which are too low for forests and swamps, and ignore that traps are removed). It rests
in blocks of one to three rounds. At a mine it digs, unless its share has become small and another mine promises
more. If the availability mask forbids its choice, a random legal action is played instead, which keeps it alive.

Every step of a shortest path on a grid without walls leads towards the target, so one pass over the rectangle between
the two cells finds the cheapest one.
"""

from __future__ import annotations

from mail_envs.games.gold_miner.mask import FAR, any_of, available, players_at
from mail_envs.games.gold_miner.rules import (
    DIG,
    DIG_PRICE,
    DOWN,
    FULL,
    HEIGHT,
    LAND,
    LEFT,
    NUGGET,
    REST,
    RIGHT,
    TRAP,
    UP,
    step_x,
    step_y,
)
from mail_envs.kernels import device_function

# Assumed costs of steps, which are too low, and the energy that it requires for them.
LAND_WEIGHT, TRAP_WEIGHT, OTHER_WEIGHT, GOLD_WEIGHT = 1, 2, 3, 4
REST_ONE, REST_TWO = FULL // 4, 7 * FULL // 12  # 12 and 29: assumed gains of one and two rests
NOBODY = 1 << 20


@device_function
def deepmind(state, i, rng, params, turns, rounds_left):
    """The action of player i with `turns` left after this one; the mask is the one for `rounds_left`."""
    action = plan(state, i, params, turns)
    allowed = available(state, i, rounds_left, -1)
    if (allowed >> action) & 1 != 0:
        return action
    return any_of(allowed, rng)


@device_function
def plan(state, i, params, turns):
    """Its choice; stores in `state.rest_down_to` how long a block of rests lasts."""
    if turns > state.rest_down_to[i]:
        return REST
    x, y = state.x[i], state.y[i]
    nearest = nearest_mine(state, x, y, turns)
    here = x * HEIGHT + y
    if nearest < 0 or (nearest != here and turns_to(state, i, params, nearest) >= turns):
        return REST
    if state.gold[here] > 0:
        if state.energy[i] <= DIG_PRICE:
            return begin_rest(state, i, turns, rests_on_mine(state, i, turns))
        other = better_mine(state, i, params, turns)
        if other < 0:
            return DIG
        lay_path(state, params, x, y, other)
        return way(state, params, x, y, other)
    mine, value = best_mine(state, x, y, turns)
    toll = lay_path(state, params, x, y, mine)
    action = way(state, params, x, y, mine)
    if state.energy[i] > weight(state, params, ahead(here, action)):
        return action
    wanted = toll + (value + NUGGET - 1) // NUGGET
    energy = state.energy[i]
    rests = 1 if energy + REST_ONE >= wanted else 2 if energy + REST_TWO >= wanted else 3
    return begin_rest(state, i, turns, rests)


@device_function
def begin_rest(state, i, turns, rests):
    state.rest_down_to[i] = turns - rests
    return REST


@device_function
def nearest_mine(state, x, y, turns):
    """The nearest mine less than `turns` steps away, or -1."""
    nearest, near = -1, turns
    for k in range(state.num_mines):
        cell = state.mines[k]
        distance = steps_to(cell, x, y)
        if distance < near:
            nearest, near = cell, distance
    return nearest


@device_function
def weight(state, params, cell):
    """The assumed cost of entering a cell, by the initial map except for emptied mines."""
    if state.gold[cell] > 0:
        return GOLD_WEIGHT
    terrain = params.terrain[state.map, cell]
    if terrain == LAND:
        return LAND_WEIGHT
    return TRAP_WEIGHT if terrain == TRAP else OTHER_WEIGHT


@device_function
def ahead(cell, action):
    """The neighboring cell in the direction of a move."""
    return cell + step_x(action) * HEIGHT + step_y(action)


@device_function
def lay_path(state, params, x, y, target):
    """Compute the costs of the cheapest shortest paths to `target` (`state.time`); returns that from (x, y)."""
    tx, ty = target // HEIGHT, target % HEIGHT
    wide, high = abs(tx - x), abs(ty - y)
    back_x, back_y = -1 if tx > x else 1, -1 if ty > y else 1
    for a in range(wide + 1):
        for b in range(high + 1):
            cell = (tx + back_x * a) * HEIGHT + ty + back_y * b
            across = down = NOBODY
            if a > 0:
                across = along(state, params, cell - back_x * HEIGHT)
            if b > 0:
                down = along(state, params, cell - back_y)
            state.time[cell] = 0 if cell == target else min(across, down)
    return int(state.time[x * HEIGHT + y])


@device_function
def along(state, params, cell):
    """Cost of the path whose next cell is `cell`."""
    return weight(state, params, cell) + state.time[cell]


@device_function
def way(state, params, x, y, target):
    """The next move from (x, y), on a path found by `lay_path`."""
    tx, ty = target // HEIGHT, target % HEIGHT
    here = x * HEIGHT + y
    across = down = NOBODY
    side = RIGHT if tx > x else LEFT
    lengthwise = DOWN if ty > y else UP
    if tx != x:
        across = along(state, params, ahead(here, side))
    if ty != y:
        down = along(state, params, ahead(here, lengthwise))
    return side if across <= down else lengthwise


@device_function
def turns_to(state, i, params, target):
    """Estimated rounds to reach a mine: steps, and rests by a rule of thumb."""
    x, y, energy = state.x[i], state.y[i], state.energy[i]
    left = lay_path(state, params, x, y, target)
    turns = 0
    cell = x * HEIGHT + y
    for _ in range(FAR):
        if cell == target:
            break
        cell = ahead(cell, way(state, params, cell // HEIGHT, cell % HEIGHT, target))
        toll = weight(state, params, cell)
        if energy <= toll:
            if energy + REST_TWO <= left:
                turns, energy = turns + 3, FULL
            elif energy + REST_ONE <= left:
                turns, energy = turns + 2, energy + REST_TWO
            else:
                energy += REST_ONE
        energy -= toll
        left -= toll
        turns += 1
    return turns


@device_function
def rests_on_mine(state, i, turns):
    """How long to rest at a mine without enough energy to dig: 1 to 3 rounds."""
    here = state.x[i] * HEIGHT + state.y[i]
    share = int(state.gold[here]) // players_at(state, state.x[i], state.y[i])
    for rests in range(1, 3):
        energy = state.energy[i] + (REST_ONE if rests == 1 else REST_TWO)
        digs = energy // DIG_PRICE
        enough = digs >= share // NUGGET and energy % DIG_PRICE > 0
        hurry = enough and rival_within(state, i, rests)
        if hurry or digs + rests + 1 > turns or FULL - energy < DIG_PRICE:
            return rests
    return 3


@device_function
def rival_within(state, i, reach):
    """Whether another player within `reach` steps has the energy to come and dig."""
    found = False
    for j in range(state.x.shape[0]):
        distance = abs(state.x[j] - state.x[i]) + abs(state.y[j] - state.y[i])
        could = j != i and state.status[j] == 0 and state.energy[j] > DIG_PRICE + distance
        found = found or (could and distance <= reach)
    return found


@device_function
def worth(state, cell, turns_away, turns):
    """Expected gold of a mine `turns_away`, shared with the players that are there already."""
    x, y = cell // HEIGHT, cell % HEIGHT
    players = players_at(state, x, y)
    share = max(0, int(state.gold[cell]) - NUGGET * turns_away * players) // (players + 1)
    return min(NUGGET * (turns - turns_away), share)


@device_function
def better_mine(state, i, params, turns):
    """A better mine than the present one, or -1. Other mines are considered only if its share is small."""
    x, y = state.x[i], state.y[i]
    here = x * HEIGHT + y
    players = players_at(state, x, y)
    share = int(state.gold[here]) // players
    if share >= NUGGET:
        return -1
    others = int(state.gold[here]) // (players - 1) if players > 1 else 0
    best, best_worth, best_turns = -1, 0, 1
    for k in range(state.num_mines):
        cell = state.mines[k]
        if cell == here or steps_to(cell, x, y) >= turns:
            continue
        away = turns_to(state, i, params, cell)
        value = worth(state, cell, away, turns)
        faster = value * best_turns > best_worth * away
        if away < turns and value > share and value >= others and faster:
            best, best_worth, best_turns = cell, value, away
    return best


@device_function
def best_mine(state, x, y, turns):
    """The mine with the most gold per step to it, and that gold.

    As in the original, the first mine counts with all of its gold, and of two equal mines the richer one is taken
    with the distance of the other.
    """
    best, best_worth, best_steps = -1, 0, 1
    for k in range(state.num_mines):
        cell = state.mines[k]
        steps = steps_to(cell, x, y)
        if steps >= turns:
            continue
        value = worth(state, cell, steps, turns)
        gap = value * best_steps - best_worth * steps
        if best < 0:
            best, best_worth, best_steps = cell, int(state.gold[cell]), steps
        elif gap > 0:
            best, best_worth, best_steps = cell, value, steps
        elif gap == 0 and value > best_worth:
            best, best_worth = cell, value
    return best, best_worth


@device_function
def steps_to(cell, x, y):
    """Manhattan distance between a cell and (x, y)."""
    return abs(cell // HEIGHT - x) + abs(cell % HEIGHT - y)
