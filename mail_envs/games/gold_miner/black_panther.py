"""BlackPanther: the winning team's strategy, a planner that maximizes gold per round.

It sweeps over time to find when every cell can be reached, and with how much energy, if it rests before steps that
could cost too much. It then simulates digging at every reachable mine, and chooses the one with the most gold per
round of walking and digging. It knows the present cost of swamps, but still avoids traps that have been removed.
It ignores the availability mask and sometimes takes a step for which it lacks the energy.
"""

from __future__ import annotations

from mail_envs.games.gold_miner.rules import (
    CELLS,
    DIG,
    DIG_PRICE,
    DOWN,
    FOREST,
    FOREST_MAX,
    FULL,
    GOLD_PRICE,
    HEIGHT,
    LAND,
    LAND_PRICE,
    NUGGET,
    REST,
    TRAP,
    TRAP_PRICE,
    WIDTH,
    on_map,
    step_x,
    step_y,
    swamp_price,
)
from mail_envs.kernels import device_function

FOREST_MEAN = 13  # expected cost of a forest
CLOSED = 50  # swamps of at least this cost are not entered
DIG_PLAN = 4  # assumed cost of a dig
THREE_RESTS, TWO_RESTS = (
    42,
    24,
)  # energy below the useful amount at which it rests three times, twice
NEVER = 10_000


@device_function
def black_panther(state, i, params, turns):
    """The action of player i with `turns` left."""
    return work_at(state, i, params, turns, choose_mine(state, i, params, turns, -1))


@device_function
def choose_mine(state, i, params, turns, taken):
    """The mine of player i with `turns` left, other than `taken` if there are others; -1 if none is reached in time."""
    turns = min(turns, NEVER)  # the longest that fits `state.time`
    sweep(state, params, state.x[i] * HEIGHT + state.y[i], state.energy[i], turns)
    mine = most_gold_per_round(state, turns, taken)
    return taken if mine < 0 and taken >= 0 and state.time[taken] < turns else mine


@device_function
def work_at(state, i, params, turns, mine):
    """The action of player i that has just chosen a mine: a step on the way, a dig, or a rest for either."""
    if mine < 0:
        return REST
    turns = min(turns, NEVER)
    here = state.x[i] * HEIGHT + state.y[i]
    action = DIG if mine == here else state.first[mine]
    needed = DIG_PRICE
    if action != DIG:
        needed = believed_price(state, params, here + step_x(action) * HEIGHT + step_y(action))
    cap = min(FULL, DIG_PRICE * turns + 1)
    if state.gold[here] > 0:
        cap = min(cap, rivals_cap(state, i, params, here, turns))
    energy, rested = state.energy[i], state.streak[i]
    return REST if rests_wanted(energy, rested, needed, cap) > rested else action


@device_function
def believed_price(state, params, cell):
    """The assumed maximum cost of entering a cell."""
    if state.gold[cell] > 0:
        return GOLD_PRICE
    terrain = params.terrain[state.map, cell]
    if terrain == LAND:
        return LAND_PRICE
    if terrain == FOREST:
        return FOREST_MAX
    return TRAP_PRICE if terrain == TRAP else swamp_price(state.terrain[cell])


@device_function
def rest_gain(rests):
    """The assumed energy gain of a number of consecutive rests: 0, 12, 28, 50, 100."""
    if rests == 0:
        return 0
    return 12 if rests == 1 else 28 if rests == 2 else 50 if rests == 3 else 100


@device_function
def rests_wanted(energy, rested, needed, cap):
    """The number of consecutive rests, `rested` of them done, before an action that needs more than `needed`.

    Energy above `cap` is of no use.
    """
    if rested == 0 and energy > needed:
        return 0
    cap = max(cap, needed)
    begin = energy - (rest_gain(rested) if rested <= 3 else 0)
    rests = 3 if begin < cap - THREE_RESTS else 2 if begin < cap - TWO_RESTS else 0
    while rests < 4 and energy + rest_gain(rests) <= needed:
        rests += 1
    return rests


@device_function
def sweep(state, params, start, energy, turns):
    """Compute the earliest arrival at every cell (`state.time`), with the most energy (`state.fuel`).

    The first action of the path is written to `state.first`.
    """
    begin_sweep(state, start, energy)
    mines = state.num_mines
    for t in range(turns + 1):
        for k in range(CELLS):
            cell = by_rows(k)
            if state.time[cell] == t:
                spread(state, params, cell, t, True)
                mines -= state.gold[cell] > 0
        if mines == 0:
            break


@device_function
def begin_sweep(state, start, energy):
    for cell in range(CELLS):
        state.time[cell] = NEVER
    state.time[start], state.fuel[start], state.first[start] = 0, energy, REST


@device_function
def by_rows(k):
    """The k-th cell, row by row."""
    return k % WIDTH * HEIGHT + k // WIDTH


@device_function
def spread(state, params, cell, t, careful):
    """Update the four neighbors of a cell that is reached at time t.

    If `careful`, players rest as `rests_wanted` says, otherwise only as often as necessary.
    """
    energy = int(state.fuel[cell])
    for action in range(DOWN + 1):
        x, y = cell // HEIGHT + step_x(action), cell % HEIGHT + step_y(action)
        if not on_map(x, y) or state.time[x * HEIGHT + y] <= t:
            continue
        c = x * HEIGHT + y
        needed = believed_price(state, params, c)
        if needed >= CLOSED:
            continue
        rests = 0
        if careful:
            rests = rests_wanted(energy, 0, needed, FULL)
        else:
            while rests < 4 and energy + rest_gain(rests) <= needed:
                rests += 1
        left = energy + rest_gain(rests) - (FOREST_MEAN if needed == FOREST_MAX else needed)
        arrival = t + 1 + rests
        if arrival < state.time[c] or (arrival == state.time[c] and left > state.fuel[c]):
            state.time[c], state.fuel[c] = arrival, left
            state.first[c] = action if state.first[cell] == REST else state.first[cell]


@device_function
def most_gold_per_round(state, turns, taken):
    """The mine to dig next, except `taken`, given the results of `sweep`; -1 if none is reached in time."""
    best, best_gold, best_rounds = -1, -NEVER, 1
    for k in range(state.num_mines):
        cell = state.mines[k]
        begin = int(state.time[cell])
        if begin < turns and cell != taken:
            gold, digs = dig_out(int(state.gold[cell]), int(state.fuel[cell]), turns - begin)
            if gold * best_rounds > best_gold * (begin + digs):
                best, best_gold, best_rounds = cell, gold, begin + digs
    return best


@device_function
def dig_out(gold, energy, left):
    """Expected gold of a mine within `left` rounds, and the number of digs for it.

    Rests between digs use up rounds, but are not counted in the gold per round.
    """
    nuggets = (gold + NUGGET - 1) // NUGGET
    digs = 0
    for _ in range(CELLS):
        now = min(nuggets, left)
        if now * DIG_PLAN < energy:
            digs += now
            break
        now = energy // DIG_PLAN
        digs += now
        nuggets -= now
        left -= now
        rests = 1 if left <= 4 else 2 if left <= 9 else 3
        energy = min(energy - now * DIG_PLAN + rest_gain(rests), FULL)
        left -= rests
    return digs * NUGGET, digs


@device_function
def rivals_cap(state, i, params, here, turns):
    """The useful amount of energy at this mine if it is shared with all expected rivals; FULL if there are none.

    Rivals are expected at the mine that they can reach first, or the richest of several.
    """
    rivals, steps = 0, 0
    for j in range(state.x.shape[0]):
        if j != i and state.status[j] == 0:
            away = rounds_to(state, params, state.x[j] * HEIGHT + state.y[j], here, turns)
            rivals += away > 0
            steps += away
    if rivals == 0:
        return FULL
    gold = int(state.gold[here])
    nuggets = (gold + NUGGET * steps + NUGGET * (rivals + 1) - 1) // (NUGGET * (rivals + 1))
    return DIG_PRICE * min(nuggets, (gold + NUGGET - 1) // NUGGET) + 1


@device_function
def rounds_to(state, params, start, here, turns):
    """Rounds until a player from `start` digs `here`, if that is the first mine it reaches; else 0."""
    begin_sweep(state, start, max(turns // 2, 1))
    for t in range(turns):
        nearest, most = -1, 0
        for k in range(CELLS):
            cell = by_rows(k)
            if state.time[cell] == t:
                if state.gold[cell] > most:
                    nearest, most = cell, state.gold[cell]
                spread(state, params, cell, t, False)
        if nearest >= 0:
            return t + 1 if nearest == here else 0
    return 0
