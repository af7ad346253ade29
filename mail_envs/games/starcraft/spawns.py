"""Start positions: armies in formation on SMAC's maps, random teams at random places in SMACv2.

SMAC creates an army at one point, and the game spreads it out in an unknown way: here it stands in
a square, in order of creation, the enemies' turned by half a circle. SMACv2 draws both teams, and one of two plans:
"reflect", agents on the left half and the enemies mirrored, or "surrounded", agents in the center and the enemies in
up to four groups on the diagonals.
"""

from __future__ import annotations

import math

import numpy as np

from mail_envs.games.starcraft.maps import (
    SMACV2_EXCEPTIONS,
    SMACV2_TYPES,
    Army,
    Point,
    Scenario,
)
from mail_envs.games.starcraft.movement import MAP_END, WALKING, separate, slide
from mail_envs.games.starcraft.orders import MARCH
from mail_envs.games.starcraft.paths import ground
from mail_envs.games.starcraft.sight import ZERO
from mail_envs.games.starcraft.units import MEDIVAC, START_ENERGY, TYPES, UNITS
from mail_envs.games.starcraft.weapons import NOBODY, NOT_AIMING
from mail_envs.kernels import device_function
from mail_envs.random import uniform, uniform_symmetric

EDGE_GAP = 0.05  # between neighbors in a formation
INWARD = 0.05  # by which a formation that does not fit into its arena moves at a time
NOISE_STEPS = 8  # in which units are displaced; shorter than walls are thick
PASSES = 24  # of keeping apart units that are created on top of one another
PITCH = 0.5  # of the spiral in which they are
GOLDEN_ANGLE = math.pi * (3 - math.sqrt(5))
ENERGY = np.float32(START_ENERGY)
CENTER = np.float32(16.0)
MAP_SIZE = np.float32(32.0)
LEFT = np.float32(15.0)  # agents of "reflect" are at most here
NEAR_CENTER = np.float32(2.0)  # where the diagonals of "surrounded" begin, from the center
HALF = np.float32(0.5)
NOISE_STEP = np.float32(1 / NOISE_STEPS)
NUM_TYPES = len(next(iter(SMACV2_TYPES.values())))


def formation(
    army: Army, points: tuple[Point, ...], turned: bool, terrain: str
) -> list[tuple[int, float, float]]:
    """Type, x and y of an army's units in order of creation; each group at its own point, or all at one.

    A group that would stand in a wall moves toward the center of the map.
    """
    open_cells = ground(terrain)[0]
    groups = [[name] * count for name, count in army]
    if len(points) == 1:
        groups = [[name for group in groups for name in group]]
    placed = []
    for group, (x, y) in zip(groups, points):
        columns = math.ceil(math.sqrt(len(group)))
        pitch = 2 * max(UNITS[name].separation for name in group) + EDGE_GAP
        rows = math.ceil(len(group) / columns)
        sign = -1 if turned else 1
        k = np.arange(len(group))
        across = (k % columns - (columns - 1) / 2) * pitch
        along = (k // columns - (rows - 1) / 2) * pitch
        places = np.stack([x + sign * across, y + sign * along], axis=1)
        while not open_cells[tuple(places.astype(int).T)].all():
            places += INWARD * np.sign(16 - np.array([x, y]))
        placed += [(TYPES.index(name), *xy) for name, xy in zip(group, places.tolist())]
    return placed


def spiral(count: int) -> np.ndarray:
    """Places of a group around its point, float64 (count, 2)."""
    k = np.arange(count)
    around = np.stack([np.cos(GOLDEN_ANGLE * k), np.sin(GOLDEN_ANGLE * k)], axis=1)
    return PITCH * np.sqrt(k)[:, None] * around


def spawn_params(of: Scenario) -> dict[str, np.ndarray]:
    """Parameters of the start, by name."""
    placed = [(0, 0.0, 0.0)]  # not read in SMACv2
    if of.version == 1:
        placed = formation(of.allies, of.ally_points, False, of.terrain)
        placed += formation(of.enemies, of.enemy_points, True, of.terrain)
    race = next((r for r in SMACV2_TYPES if r[0].upper() == of.ally_race), "")
    weights, exceptions = SMACV2_TYPES[race], SMACV2_EXCEPTIONS[race]
    goals = of.enemy_goal or ((0, 0),)
    return {
        "start_type": np.array([k for k, _, _ in placed], np.int64),
        "start": np.array([xy for _, *xy in placed], np.float32),
        "spiral": spiral(max(of.num_agents, of.num_enemies)).astype(np.float32),
        "draws_teams": np.asarray(of.version == 2, np.int64),
        "drawn_types": np.array([TYPES.index(name) for name in weights], np.int64),
        "chances": np.cumsum(list(weights.values())).astype(np.float32),
        "is_exception": np.array([name in exceptions for name in weights], np.int64),
        "enemy_goal": np.array([goals[0], goals[-1]], np.float32),
    }


@device_function
def place_armies(state, rng, params):
    """New units, at full strength and with the enemies' orders; agents sorted by type, x and y."""
    if params.draws_teams != 0:
        draw_team(state, rng, params, 0, params.num_agents)
        copy_team(state, rng, params)
        if uniform(rng) > HALF:
            surround(state, rng, params)
        else:
            reflect(state, rng, params)
    else:
        for j in range(params.num_units):
            state.type[j] = params.start_type[j]
            place(state, j, params.start[j, 0], params.start[j, 1])
            dx = params.start_noise * uniform_symmetric(rng) * NOISE_STEP
            dy = params.start_noise * uniform_symmetric(rng) * NOISE_STEP
            for _ in range(NOISE_STEPS):  # walls stop it
                slide(state, params, j, dx, dy)
    for j in range(params.num_units):
        make_new(state, params, j)
    for _ in range(PASSES):
        separate(state, params)
    sort_agents(state, params)
    for j in range(params.num_agents, params.num_units):
        state.goal[j, 0] = state.pos[j, 0]
        state.goal[j, 1] = state.pos[j, 1]
    if params.enemy_plan == MARCH:
        send(state, params, uniform(rng))


@device_function
def send(state, params, share):
    """The enemies' attack move, to a point of the goal's segment."""
    for j in range(params.num_agents, params.num_units):
        state.walks[j] = 1
        for axis in range(2):
            start, end = params.enemy_goal[0, axis], params.enemy_goal[1, axis]
            state.goal[j, axis] = start + share * (end - start)


@device_function
def place(state, j, x, y):
    state.pos[j, 0] = x
    state.pos[j, 1] = y


@device_function
def make_new(state, params, j):
    """Unit j at full strength, without orders."""
    kind = state.type[j]
    state.health[j] = state.max_health[j] = params.full_health[kind]
    state.shield[j] = params.max_shield[kind]
    state.energy[j] = ENERGY if kind == MEDIVAC else ZERO
    state.cooldown[j] = state.speed[j] = state.late[j] = ZERO
    state.windup[j] = NOT_AIMING
    state.target[j] = state.missile_target[j] = state.blocker[j] = state.shot[j] = -1
    state.detour[j] = 0
    state.walks[j] = state.bound[j] = state.alert[j] = state.calm[j] = state.bursts[j] = 0
    state.stance[j] = WALKING  # makes way, also for foes
    state.marked[j] = NOBODY


@device_function
def comes_before(state, i, j):
    """By type, then x, then y."""
    if state.type[i] != state.type[j]:
        return state.type[i] < state.type[j]
    if state.pos[i, 0] != state.pos[j, 0]:
        return state.pos[i, 0] < state.pos[j, 0]
    return state.pos[i, 1] < state.pos[j, 1]


@device_function
def sort_agents(state, params):
    """Into the order of their ids; units are all new, so that only type and place differ."""
    for i in range(1, params.num_agents):
        j = i
        while j > 0 and comes_before(state, j, j - 1):
            swap(state, j, j - 1)
            j -= 1


@device_function
def swap(state, i, j):
    kind, x, y = state.type[i], state.pos[i, 0], state.pos[i, 1]
    health, shield, energy = state.max_health[i], state.shield[i], state.energy[i]
    state.type[i] = state.type[j]
    place(state, i, state.pos[j, 0], state.pos[j, 1])
    state.health[i] = state.max_health[i] = state.max_health[j]
    state.shield[i], state.energy[i] = state.shield[j], state.energy[j]
    state.type[j] = kind
    place(state, j, x, y)
    state.health[j] = state.max_health[j] = health
    state.shield[j], state.energy[j] = shield, energy


# -- SMACv2 ---------------------------------------------------------------------------------------


@device_function
def draw_team(state, rng, params, first, end):
    """Types of the rows from `first` to before `end`, again while all are exceptions."""
    exceptions = end - first
    while exceptions == end - first and end > first:
        exceptions = 0
        for j in range(first, end):
            u = uniform(rng)
            k = 0
            while k < NUM_TYPES - 1 and u >= params.chances[k]:
                k += 1
            state.type[j] = params.drawn_types[k]
            exceptions += params.is_exception[k]


@device_function
def copy_team(state, rng, params):
    """The enemies are of the agents' types; more of them are drawn."""
    n = params.num_agents
    shared = min(n, params.num_enemies)
    for k in range(shared):
        state.type[n + k] = state.type[k]
    draw_team(state, rng, params, n + shared, params.num_units)


@device_function
def reflect(state, rng, params):
    n = params.num_agents
    for i in range(n):
        place(state, i, LEFT * uniform(rng), MAP_SIZE * uniform(rng))
    for k in range(params.num_enemies):
        if k < n:
            place(state, n + k, MAP_SIZE - state.pos[k, 0], state.pos[k, 1])
        else:
            place(state, n + k, CENTER + CENTER * uniform(rng), MAP_SIZE * uniform(rng))


@device_function
def surround(state, rng, params):
    """Agents in the center; groups of enemies, each on a diagonal of its own."""
    for i in range(params.num_agents):
        place_in_spiral(state, params, i, i, CENTER, CENTER)
    groups = 1 + np.int32(uniform(rng) * np.float32(4.0))
    used = 0
    j = params.num_agents
    for left in range(groups, 0, -1):
        size = params.num_units - j if left == 1 else binomial(rng, params.num_units - j, left)
        corner = free_corner(used, np.int32(uniform(rng) * np.float32(4 - groups + left)))
        used |= 1 << corner
        out = CENTER - (CENTER - NEAR_CENTER) * uniform(rng)
        x = CENTER + (out if corner // 2 == 1 else -out)
        y = CENTER + (out if corner % 2 == 1 else -out)
        for k in range(size):
            place_in_spiral(state, params, j + k, k, x, y)
        j += size


@device_function
def binomial(rng, count, share):
    """How many of `count` fall into one of `share` equal groups."""
    hits = 0
    for _ in range(count):
        hits += uniform(rng) * np.float32(share) < np.float32(1.0)
    return hits


@device_function
def free_corner(used, place):
    """The corner at a place among those whose bits are not in `used`."""
    corner = 0
    for k in range(4):
        if used & (1 << k) == 0:
            if place == 0:
                corner = k
            place -= 1
    return corner


@device_function
def place_in_spiral(state, params, j, k, x, y):
    """As the k-th of a group around a point, on the map."""
    x = min(max(x + params.spiral[k, 0], ZERO), MAP_END)
    y = min(max(y + params.spiral[k, 1], ZERO), MAP_END)
    place(state, j, x, y)
