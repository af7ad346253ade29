"""Gold Miner: two teams of miners dig for gold on one map; the team with more gold per miner wins.

| | |
|---|---|
| ids | `gold_miner_easy_2_vs_2` (against two Greedy bots), `gold_miner_medium_2_vs_2` (Greedy and DeepMind), `gold_miner_hard_2_vs_2` (DeepMind and BlackPanther) |
| agents | `miner_0`, `miner_1`, ...: the allies; `num_allies` and `num_enemies` may be anything up to four players |
| actions | `Discrete(6)`: left, right, up, down, rest, dig; masked |
| φ | stand still: no energy is lost or gained, and a sequence of rests continues (`null_dynamics="rest"`: φ is a rest) |

**Rules**, as in FPT's RLComp 2020: the map has 21 x 9 cells; all players start in the same random cell with 50 units
of energy, the maximum. All act simultaneously, on the map as it is at the start of the round. Entering a cell costs
energy: land 1, a mine 4, forest 5 to 20 at random, a trap 10 (it then becomes land), a swamp 5, then 20, 40, 100, 100,
... (it rises at most once per round). Consecutive rests give 12, 16, 25 units, the fourth restores all energy. A dig
costs 5 at a mine, and 10 elsewhere, where it finds nothing. If c players dig at a mine with g gold, each gets
min(ceil(g / c), 50); an empty mine becomes land. A player that leaves the map or runs out of energy is eliminated and
keeps its gold. Amounts of gold are drawn anew in every game, about 10,000 in total (`redraw_gold=False`: those of
the map).

**Mask**: it forbids steps off the map, steps that could use up all energy, and steps away from all mines within
reach; it forces players onto a rich mine next to them, and to dig (or to rest, without enough energy) at a mine that
has enough for all players there; it forbids rests with 38 or more units of energy. Miners that respect it are never
eliminated. `mask=False` allows everything. The bots Greedy and DeepMind use the mask as well, BlackPanther does not.

**Observation**, 199 numbers for two against two: x / 21 and y / 9 of the agent, the other allies and the enemies (2
each); the map by columns (189): gold / 1000, forest -1, trap -1/2, swamp -1/3, land 0; own energy / 50; round / 100.
Traps and swamps are shown as they were at the start, as in the papers' environment (`stale_obstacles=False`: as they
are now, with -1/3 for every 5 units of a swamp's cost). **State**: the observations of all allies, concatenated (398
numbers); or, with `state="compact"`, without repetitions (210): x / 21, y / 9, energy / 50, consecutive rests / 4 and
gold / 1000 of every player; the map as it is now; round / 100.

**Reward** of every ally that acts: 0.01 for each unit of gold that the allies have dug in the round
(`reward_scale`). **Metrics**: `won` (1 if the allies have strictly more gold per player), `gold_allies`,
`gold_enemies` (means per player).

**End**: after `turns` = 100 rounds, or after `max_rounds`, which are part of the task (`limit_is_end`: the winner of a
match is decided by the gold at that time, and players, bots and the mask know the round), when no gold is left, or as
soon as any player is eliminated (`end_on_elimination=False`: when all allies are).

**Maps**: 24 generated maps that resemble the competition's twelve (`mail_envs.games.gold_miner.maps`); `maps=PATH`
plays on the maps of a file or folder in the competition's format.

Demonstrators: `scripted` is a team of BlackPanthers that do not choose the same mine; `scripted:greedy`,
`scripted:deepmind`, `scripted:black_panther` are bots that play each for itself. Win rates in percent over 2,000
games on the generated maps, and the mean gold of allies : enemies; results on the competition's maps and a comparison
with the public code are in docs/gold_miner.md:

| allies | easy | medium | hard |
|---|---|---|---|
| random, masked | 0.7 (994 : 2314) | 0.2 (932 : 2430) | 0.1 (928 : 2452) |
| Greedy | 47.9 (1976 : 1972) | 30.6 (1958 : 2115) | 22.6 (1941 : 2197) |
| DeepMind | 57.2 (2094 : 2003) | 39.4 (1978 : 2042) | 17.6 (1862 : 2068) |
| BlackPanther, not masked | 76.0 (2194 : 1937) | 62.1 (2099 : 2005) | 52.1 (1913 : 1920) |
| BlackPanther, masked | 71.7 (2169 : 1953) | 59.3 (2084 : 2022) | 47.0 (1915 : 1945) |
| team, masked | 95.2 (2392 : 1893) | 90.6 (2332 : 1988) | 84.5 (2225 : 2004) |
"""

from __future__ import annotations

from collections.abc import Sequence

import gymnasium
import numpy as np

from mail_envs.counts import at_least, check_kind
from mail_envs.games.gold_miner import bots, maps, picture
from mail_envs.games.gold_miner.bots import decide, forget
from mail_envs.games.gold_miner.mask import available
from mail_envs.games.gold_miner.rules import (
    CELLS,
    FULL,
    HEIGHT,
    IDLE,
    MAX_PLAYERS,
    NUM_ACTIONS,
    REST,
    THOUSANDTH,
    WIDTH,
    pick,
    resolve,
    set_up,
    shown,
    state_dtype,
)
from mail_envs.kernels import device_function
from mail_envs.markov_game import KernelGame

REWARD = 0.01  # per unit of gold
STATES = ("concatenated", "compact")
NULL_DYNAMICS = ("idle", "rest")
X_SCALE, Y_SCALE = np.float32(1 / WIDTH), np.float32(1 / HEIGHT)
ENERGY_SCALE, STREAK_SCALE = np.float32(1 / FULL), np.float32(1 / 4)
HUNDREDTH = np.float32(1 / 100)
NO_MINE = -1


class GoldMiner(KernelGame):
    """`num_allies` miners against `num_enemies` bots, at most four together.

    Args:
        difficulty: selects the enemies' bots: "easy", "medium" or "hard".
        num_allies, num_enemies: numbers of players; at least one ally.
        enemies: names of bots, one per enemy, instead of those of the difficulty.
        maps: a file or a folder of maps (see `maps.load`); None: the default set.
        turns: rounds of a game, which bots and the mask use in their plans; `max_rounds` of the view replaces it.
        mask: whether the availability mask restricts the allies.
        state: "concatenated" or "compact", see the page.
        redraw_gold: draw the amounts of gold anew in every game; False: use those of the map.
        end_on_elimination: the game ends when any player is eliminated; False: when no ally is left.
        stale_obstacles: observations show traps and swamps as they were at the start.
        null_dynamics: the meaning of φ: "idle" (stand still) or "rest".
        reward_scale: reward per unit of gold.
    """

    limit_is_end = True
    key_actions = {
        "left": 0, "right": 1, "up": 2, "down": 3,
        "a": 0, "d": 1, "w": 2, "s": 3,
        "space": 4, "return": 5, "e": 5,
    }  # fmt: skip

    def __init__(
        self,
        difficulty: str = "easy",
        num_allies: int = 2,
        num_enemies: int = 2,
        enemies: Sequence[str] | None = None,
        maps: str | None = None,
        turns: int = 100,
        mask: bool = True,
        state: str = "concatenated",
        redraw_gold: bool = True,
        end_on_elimination: bool = True,
        stale_obstacles: bool = True,
        null_dynamics: str = "idle",
        reward_scale: float = REWARD,
    ):
        players = check_players(num_allies, num_enemies)
        at_least(1, turns=turns)
        flags = {
            "mask": mask,
            "redraw_gold": redraw_gold,
            "end_on_elimination": end_on_elimination,
            "stale_obstacles": stale_obstacles,
        }
        for name, flag in flags.items():
            check_kind(name, flag, "bool")
        check_kind("reward_scale", reward_scale, "float")
        self.agents = [f"miner_{i}" for i in range(num_allies)]
        self.num_players, self.num_allies = players, num_allies
        self.enemies = choose_bots(difficulty, num_enemies, enemies)
        self.max_rounds = turns
        self.has_action_mask = mask
        dims = 2 * players + CELLS + 2
        self.observation_spaces = {a: unbounded(dims) for a in self.agents}
        self.action_spaces = {a: gymnasium.spaces.Discrete(NUM_ACTIONS) for a in self.agents}
        compact = one_of("state", state, STATES)
        self.state_space = unbounded(5 * players + CELLS + 1 if compact else num_allies * dims)
        self.state_dtype = state_dtype(players)
        grids = load_maps(maps)
        self.map_names = list(grids)
        self.params = make_params(
            list(grids.values()),
            [bots.NAMES.index(name) for name in self.enemies],
            num_allies=num_allies,
            max_rounds=turns,
            compact=compact,
            null_rests=one_of("null_dynamics", null_dynamics, NULL_DYNAMICS),
            reward_scale=np.float32(reward_scale),
            **flags,
        )
        self.metric_names = ("won", "gold_allies", "gold_enemies")
        self.metadata = {
            "convention": f"team reward {reward_scale} per gold, {'masked' if mask else 'unmasked'}, "
            f"enemies {', '.join(self.enemies) or 'none'}, {len(grids)} maps"
        }

    def draw(self, canvas, state, participation):
        picture.draw(canvas, state, self)


def check_players(num_allies: int, num_enemies: int) -> int:
    """The number of players; TypeError or ValueError unless there is an ally, and at most four players."""
    at_least(1, num_allies=num_allies)
    at_least(0, num_enemies=num_enemies)
    if num_allies + num_enemies > MAX_PLAYERS:
        raise ValueError(
            f"num_allies={num_allies!r}, num_enemies={num_enemies!r}: together at most {MAX_PLAYERS} can play"
        )
    return num_allies + num_enemies


def choose_bots(difficulty: str, count: int, enemies: Sequence[str] | None) -> list[str]:
    """Names of the enemies' bots."""
    if enemies is None:
        one_of("difficulty", difficulty, tuple(bots.ENEMIES))
        pair = bots.ENEMIES[difficulty]
        return [pair[k % len(pair)] for k in range(count)]
    names = enemies.split(",") if isinstance(enemies, str) else list(enemies)
    for name in names:
        one_of("enemies", name, bots.NAMES)
    if len(names) != count:
        raise ValueError(f"enemies={enemies!r} names {len(names)} bots for num_enemies={count!r}")
    return names


def load_maps(path: str | None) -> dict[str, np.ndarray]:
    """The maps of `path`, or the default set."""
    return maps.numbered() if path is None else maps.load(path)


def one_of(name: str, value: str, options: tuple[str, ...]) -> int:
    """The index of `value` in `options`; ValueError if it is not one of them."""
    if value not in options:
        raise ValueError(f"{name}={value!r} is not one of {', '.join(map(repr, options))}")
    return options.index(value)


def unbounded(size: int) -> gymnasium.spaces.Box:
    """A float32 box of `size` numbers without limits."""
    return gymnasium.spaces.Box(-np.inf, np.inf, (size,), np.float32)


def make_params(grids: list[np.ndarray], enemy_bots: list[int], **fields) -> np.ndarray:
    """One record: settings, the enemies' bots, and the maps, padded to the largest number of maps."""
    own = [(name, "f4" if isinstance(v, np.floating) else "i4") for name, v in fields.items()]
    room = [("terrain", "i1", (maps.MAX_MAPS, CELLS)), ("gold", "i2", (maps.MAX_MAPS, CELLS))]
    dtype = [("num_maps", "i4"), ("num_enemies", "i4"), ("bots", "i4", MAX_PLAYERS), *own, *room]
    params = np.zeros(1, np.dtype(dtype, align=True))
    for name, value in fields.items():
        params[name] = value
    params["num_maps"], params["num_enemies"] = len(grids), len(enemy_bots)
    params["bots"][0, : len(enemy_bots)] = enemy_bots
    terrain, gold = maps.as_cells(grids)
    params["terrain"][0, : len(grids)], params["gold"][0, : len(grids)] = terrain, gold
    return params


@device_function
def reset_env(state, rng, params):
    set_up(state, rng, params)
    for i in range(state.x.shape[0]):
        state.bot[i] = -1
        forget(state, i)
    first = params.num_allies
    for k in range(params.num_enemies):
        state.bot[first + k] = params.bots[k]
    for k in range(params.num_enemies - 1, 0, -1):  # shuffle the enemies
        other = pick(rng, k + 1)
        held = state.bot[first + k]
        state.bot[first + k] = state.bot[first + other]
        state.bot[first + other] = held


@device_function
def step_env(state, rng, actions, acts, params, rewards, metrics):
    turns = params.max_rounds - state.step
    state.step += 1
    for i in range(params.num_allies):
        null = REST if params.null_rests != 0 else IDLE
        state.action[i] = actions[i] if acts[i] != 0 else null
    for i in range(params.num_allies, state.x.shape[0]):
        if state.status[i] == 0:
            state.action[i] = decide(state, i, state.bot[i], rng, params, turns, turns - 1)
    resolve(state, rng, params)
    dug = 0
    for i in range(params.num_allies):
        dug += state.gain[i]
    for i in range(params.num_allies):
        rewards[i] = np.float32(dug) * params.reward_scale
    outcome(state, params, metrics)
    return is_over(state, params)


@device_function
def outcome(state, params, metrics):
    """Write the mean gold of both sides, and whether the allies have strictly more."""
    allies = enemies = 0
    for i in range(state.x.shape[0]):
        if i < params.num_allies:
            allies += state.score[i]
        else:
            enemies += state.score[i]
    metrics[1] = np.float32(allies) / np.float32(params.num_allies)
    metrics[2] = np.float32(enemies) / np.float32(max(params.num_enemies, 1))
    metrics[0] = np.float32(metrics[1] > metrics[2])


@device_function
def is_over(state, params):
    """Whether no gold is left, any player is eliminated (`end_on_elimination`), or all allies are."""
    out = 0
    allies_out = 0
    for i in range(state.x.shape[0]):
        out += state.status[i] != 0
        allies_out += i < params.num_allies and state.status[i] != 0
    stop = out != 0 and params.end_on_elimination != 0
    return state.num_mines == 0 or stop or allies_out == params.num_allies


@device_function
def observe_env(state, params, observations, action_mask, alive, global_state):
    for i in range(params.num_allies):
        alive[i] = state.status[i] == 0
        allowed = (1 << NUM_ACTIONS) - 1
        if params.mask != 0 and alive[i]:
            allowed = available(state, i, params.max_rounds - state.step, NO_MINE)
        for a in range(NUM_ACTIONS):
            action_mask[i, a] = (allowed >> a) & 1
        observe_one(state, params, i, observations[i], 0)
    if params.compact != 0:
        write_compact(state, params, global_state)
    else:
        dims = observations.shape[1]
        for i in range(params.num_allies):
            for k in range(dims):
                global_state[i * dims + k] = observations[i, k]


@device_function
def observe_one(state, params, i, out, k):
    """Write the observation of ally i."""
    k = write_place(state, i, out, k)
    for j in range(state.x.shape[0]):
        if j != i:
            k = write_place(state, j, out, k)
    for c in range(CELLS):
        out[k + c] = state.seen[c]
    out[k + CELLS] = np.float32(state.energy[i]) * ENERGY_SCALE
    out[k + CELLS + 1] = np.float32(state.step) * HUNDREDTH


@device_function
def write_place(state, i, out, k):
    out[k] = np.float32(state.x[i]) * X_SCALE
    out[k + 1] = np.float32(state.y[i]) * Y_SCALE
    return k + 2


@device_function
def write_compact(state, params, out):
    """Write the compact state: players, the present map, the step."""
    k = 0
    for i in range(state.x.shape[0]):
        k = write_place(state, i, out, k)
        out[k] = np.float32(state.energy[i]) * ENERGY_SCALE
        out[k + 1] = np.float32(min(state.streak[i], 4)) * STREAK_SCALE
        out[k + 2] = np.float32(state.score[i]) * THOUSANDTH
        k += 3
    for c in range(CELLS):
        out[k + c] = shown(state.terrain[c], state.gold[c])
    out[k + CELLS] = np.float32(state.step) * HUNDREDTH
