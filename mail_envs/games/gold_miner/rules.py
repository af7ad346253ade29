"""The rules: costs of actions, shares of gold, and changes of the map.

They follow the organizers' training server of FPT's RLComp 2020. A cell is identified by its number
`x * HEIGHT + y`, x to the right, y downward. Costs are those of the map at the start of the round; all digs are
resolved together; then traps, swamps and empty mines change. The order of players matters only for the random costs
of forests.
"""

from __future__ import annotations

import numpy as np

from mail_envs.kernels import device_function
from mail_envs.random import uniform

WIDTH, HEIGHT = 21, 9
CELLS = WIDTH * HEIGHT
MAX_PLAYERS = 4

LEFT, RIGHT, UP, DOWN, REST, DIG = range(6)
NUM_ACTIONS = 6
IDLE = 6  # φ, and what an eliminated player does

# Terrain. A swamp becomes deeper every time it is entered.
LAND, FOREST, TRAP, SWAMP, SWAMP_20, SWAMP_40, SWAMP_100 = range(7)

FULL = 50  # energy at the start, which is the maximum
GOLD_PRICE, LAND_PRICE, TRAP_PRICE = 4, 1, 10
FOREST_MIN, FOREST_MAX = 5, 20
DIG_PRICE, VAIN_DIG_PRICE = 5, 10
REST_1, REST_2, REST_3 = FULL // 4, FULL // 3, FULL // 2  # 12, 16, 25; the fourth restores all
NUGGET = 50  # the most gold that a player can dig in a round

LEFT_MAP, NO_ENERGY = 1, 2  # status of an eliminated player

BUDGET = 10_000  # gold that a reset distributes, cell by cell
MAX_NUGGETS = 25  # per cell

FOREST_DRAWS = np.float32(FOREST_MAX - FOREST_MIN + 1)
ONE, ZERO = np.float32(1.0), np.float32(0.0)
HALF, THIRD, THOUSANDTH = np.float32(1 / 2), np.float32(1 / 3), np.float32(1 / 1000)


def state_dtype(num_players: int) -> np.dtype:
    """One game: players, map, the bots' plans, and working memory for their searches."""
    players = num_players
    return np.dtype(
        [
            ("map", "i4"),  # index of the map
            ("step", "i4"),  # rounds played
            ("x", "i4", players),
            ("y", "i4", players),
            ("energy", "i4", players),
            ("score", "i4", players),
            ("gain", "i4", players),  # gold of the last round
            ("streak", "i4", players),  # consecutive rests
            ("status", "i4", players),  # 0, LEFT_MAP or NO_ENERGY
            ("action", "i4", players),  # of the last round
            ("bot", "i4", players),  # index in `bots.NAMES`; -1 for allies
            ("target", "i4", players),  # the mine that Greedy walks to, or -1
            ("rest_down_to", "i4", players),  # DeepMind rests while more rounds than this are left
            ("terrain", "i1", CELLS),  # LAND ... SWAMP_100, at present
            ("gold", "i2", CELLS),
            ("mines", "i2", CELLS),  # cells with gold, row by row
            ("num_mines", "i4"),
            ("seen", "f4", CELLS),  # the map as observations show it
            ("time", "i2", CELLS),  # working memory of searches, as are the following
            ("fuel", "i2", CELLS),
            ("first", "i1", CELLS),
        ],
        align=True,
    )


@device_function
def pick(rng, count):
    """A random integer in [0, count)."""
    return np.int32(uniform(rng) * np.float32(count))


@device_function
def step_x(action):
    """The step of an action along x: -1, 0 or 1."""
    return int(action == RIGHT) - int(action == LEFT)


@device_function
def step_y(action):
    return int(action == DOWN) - int(action == UP)


@device_function
def on_map(x, y):
    return 0 <= x < WIDTH and 0 <= y < HEIGHT


@device_function
def swamp_price(terrain):
    """Cost of a swamp that has been entered 0, 1, 2 or more times: 5, 20, 40, 100."""
    if terrain == SWAMP:
        return 5
    if terrain == SWAMP_20:
        return 20
    return 40 if terrain == SWAMP_40 else 100


@device_function
def price(state, cell, forest):
    """Cost of entering a cell; `forest` is the cost of forests."""
    if state.gold[cell] > 0:
        return GOLD_PRICE
    terrain = state.terrain[cell]
    if terrain == LAND:
        return LAND_PRICE
    if terrain == FOREST:
        return forest
    return TRAP_PRICE if terrain == TRAP else swamp_price(terrain)


@device_function
def shown(terrain, gold):
    """A cell as observations show it: gold / 1000, forest -1, trap -1/2, swamp -1/3 for every 5 units of its cost."""
    if gold > 0:
        return np.float32(gold) * THOUSANDTH
    if terrain == LAND:
        return ZERO
    if terrain == FOREST:
        return -ONE
    return -HALF if terrain == TRAP else -THIRD * np.float32(swamp_price(terrain) // 5)


@device_function
def set_up(state, rng, params):
    """Draw a map, its gold and the start; players begin with full energy."""
    state.map = pick(rng, params.num_maps)
    state.step = state.num_mines = 0
    for c in range(CELLS):
        state.terrain[c] = params.terrain[state.map, c]
        state.gold[c] = params.gold[state.map, c]
    budget = BUDGET
    for y in range(HEIGHT):
        for x in range(WIDTH):
            c = x * HEIGHT + y
            if state.gold[c] > 0:
                state.mines[state.num_mines] = c
                state.num_mines += 1
                if params.redraw_gold != 0:
                    most = min(MAX_NUGGETS, max(budget // NUGGET, 1))
                    state.gold[c] = NUGGET * (1 + pick(rng, most))
                    budget -= int(state.gold[c])
    for c in range(CELLS):
        state.seen[c] = shown(state.terrain[c], state.gold[c])
    start = pick(rng, CELLS)
    for i in range(state.x.shape[0]):
        state.x[i], state.y[i] = start // HEIGHT, start % HEIGHT
        state.energy[i] = FULL
        state.score[i] = state.gain[i] = state.streak[i] = state.status[i] = 0
        state.action[i] = IDLE


@device_function
def resolve(state, rng, params):
    """Play the actions of all players (`state.action`) simultaneously."""
    for i in range(state.x.shape[0]):
        state.gain[i] = 0
        if state.status[i] != 0:
            state.action[i] = IDLE
        elif state.action[i] <= DOWN:
            move(state, i, rng)
        elif state.action[i] == REST:
            rest(state, i)
        elif state.action[i] == DIG:
            swing(state, i)
    share_gold(state)
    change_ground(state, params)


@device_function
def move(state, i, rng):
    """Enter the next cell and pay for it, or leave the map and be eliminated."""
    state.streak[i] = 0
    state.x[i] += step_x(state.action[i])
    state.y[i] += step_y(state.action[i])
    if not on_map(state.x[i], state.y[i]):
        state.status[i] = LEFT_MAP
        return
    c = state.x[i] * HEIGHT + state.y[i]
    forest = FOREST_MIN
    if state.terrain[c] == FOREST:
        forest += np.int32(uniform(rng) * FOREST_DRAWS)
    pay(state, i, price(state, c, forest))


@device_function
def pay(state, i, energy):
    state.energy[i] -= energy
    if state.energy[i] <= 0:
        state.status[i] = NO_ENERGY


@device_function
def rest(state, i):
    """Three consecutive rests give 12, 16 and 25, the fourth restores all energy."""
    state.streak[i] += 1
    k = state.streak[i]
    gain = REST_1 if k == 1 else REST_2 if k == 2 else REST_3 if k == 3 else FULL
    state.energy[i] = min(state.energy[i] + gain, FULL)


@device_function
def swing(state, i):
    """Pay for a dig. A player with no energy left afterwards is eliminated and gets nothing."""
    state.streak[i] = 0
    pays_off = state.gold[state.x[i] * HEIGHT + state.y[i]] > 0
    pay(state, i, DIG_PRICE if pays_off else VAIN_DIG_PRICE)


@device_function
def digs_at(state, i, x, y):
    """Whether player i has dug at (x, y) in this round and is not eliminated."""
    here = state.x[i] == x and state.y[i] == y
    return here and state.action[i] == DIG and state.status[i] == 0


@device_function
def share_gold(state):
    """If c players dig at a mine with g gold, each gets min(ceil(g / c), 50)."""
    for i in range(state.x.shape[0]):
        x, y = state.x[i], state.y[i]
        if not digs_at(state, i, x, y):
            continue
        c = x * HEIGHT + y
        diggers, first = 0, True
        for j in range(state.x.shape[0]):
            digs = digs_at(state, j, x, y)
            first = first and not (digs and j < i)
            diggers += digs
        if first and state.gold[c] > 0:
            gold = int(state.gold[c])
            each = min((gold + diggers - 1) // diggers, NUGGET)
            for j in range(state.x.shape[0]):
                if digs_at(state, j, x, y):
                    state.gain[j] = each
                    state.score[j] += each
            state.gold[c] = max(gold - each * diggers, 0)
            state.seen[c] = np.float32(state.gold[c]) * THOUSANDTH
            if state.gold[c] == 0:
                close_mine(state, c)


@device_function
def close_mine(state, cell):
    """Remove an empty mine from the list, keeping its order; the cell becomes land."""
    kept = 0
    for k in range(state.num_mines):
        state.mines[kept] = state.mines[k]
        kept += state.mines[k] != cell
    state.num_mines = kept
    state.terrain[cell] = LAND


@device_function
def change_ground(state, params):
    """Traps that were entered become land; swamps that were entered cost more."""
    for i in range(state.x.shape[0]):
        if state.action[i] > DOWN or state.status[i] == LEFT_MAP:
            continue
        first = True
        for j in range(i):
            came = state.action[j] <= DOWN and state.status[j] != LEFT_MAP
            first = first and not (came and state.x[j] == state.x[i] and state.y[j] == state.y[i])
        c = state.x[i] * HEIGHT + state.y[i]
        if state.terrain[c] == TRAP:
            state.terrain[c] = LAND
        elif first and SWAMP <= state.terrain[c] < SWAMP_100:
            state.terrain[c] += 1
        if params.stale_obstacles == 0:
            state.seen[c] = shown(state.terrain[c], state.gold[c])
