"""StarCraft battles: observations, masks and rewards of SMAC and SMACv2 on an embedded engine.

| | |
|---|---|
| agents | one per allied unit, sorted by type (alphabetically), x and y at the start: `marine_0`, ..., in SMACv2 `agent_0`, ...; enemies' ids are in order of creation |
| actions | `Discrete(6 + M)`: 0 no-op (only for dead agents), 1 stop, 2 to 5 move north, south, east, west, 6 + k attack enemy k; a medivac heals ally k instead |
| φ | the unit continues its last order (`null_orders="stop"`: it stops); a masked action has the same effect, and is counted in `illegal_actions` |
| variants | SMACv2: `variant="epo"`, `variant="conic"` |

**Action mask.** A move is allowed if the cell one unit ahead is open; a target if it is alive and its center is at
most 6 away, in SMACv2 at most the weapon's range (2 for melee). Medivacs cannot heal medivacs, but can heal units
with full health. As in all games, the mask of a living agent that does not act allows everything.

**Observation** of an agent, zeros when dead (N agents, M enemies, b type bits):

| block | numbers |
|---|---|
| moves | can move north, south, east, west (4); `obs_pathing_grid` 8, `obs_terrain_height` 9 |
| each enemy | attackable, distance, dx, dy, health, shield (if Protoss), type (b); zeros unless alive and in sight |
| each other ally | visible, distance, dx, dy, health, shield (if Protoss), type (b), `obs_last_action` |
| oneself | health, shield (if Protoss), SMACv2: x, y, with cones also their direction (2), type (b) |
| time | `obs_timestep_number`: rounds divided by the limit, also for dead agents |

Distances are divided by the observer's sight range: 9, in SMACv2 that of its type. Health and shield are divided by
their maxima, x and y by 32. **State**: each ally's health, cooldown (a medivac's energy), x, y, shield, direction of
the cone, type; each enemy's health, x, y, shield, type; the last actions, one-hot; `state_timestep_number`. x and y
are relative to the center, divided by 32. `mail_envs.games.starcraft.observation_names(id, **options)` and
`state_names` name every number.

**Reward**, shared by all agents: health and shield lost by enemies, 10 per kill, 200 for a victory, scaled so that a
victory sums to 20 if no unit regenerates. `reward_only_positive=False` subtracts half of the same for allies;
`reward_sparse` gives only 1 and -1, to which `reward_scale` still applies. An agent that is dead or does not act in a
round gets 0, while SMAC rewards all agents until the end: that sum is the metric `team_return`, which `learners.ippo`
maximizes.

**End**: a side without units has lost; if both have none, it is a draw. On maps with medivacs, a side with only medivacs
has lost; allies are checked first. At the time limit the battle is truncated; it counts as lost, as in SMAC
(`limit_is_end`: learners use the value 0 after it).

**SMACv2** draws teams and start positions anew for every battle. In `epo`, an enemy is shown only to the agent that
sees it first, until one of them dies; orders to targets out of range do nothing, so all living targets are allowed.
In `conic`, agents see and reach only units within 15 degrees of their direction; twelve further actions turn it,
while the unit continues its last order.

`faithful=True` reproduces the original in these points:

| | original | default |
|---|---|---|
| reward of SMAC | positive for enemies that regenerate more than they lose | 0, as in SMACv2 |
| scale of SMACv2's reward | from the enemies of the first battle: that with the seed `scale_seed`, 0 | from those of each battle |
| cooldowns in the state | divided by constants; those of stalker and colossus are swapped | divided by the maximum: at most 1 |
| enemies' type bits where stalkers meet zealots | zealot, stalker, the reverse of the allies' | stalker, zealot |
| "attackable" in a medivac's observation | whether it can heal ally k | 0 |
| enemy that is hidden from a SMACv2 agent | also hides all enemies with lower ids | is hidden |
| cones | compared by slopes: east and west see both sides | compared by directions |
| `obs_timestep_number` in SMAC | a zero before the time; one number more than reported | no zero |
| pathing grid | diagonal walls are staircases | diagonal walls are straight |
| the limit, in `encode_episode` | terminates | truncates |

Both check only one cell in the mask. With `obs_instead_of_state`, SMACv2 observes twice (agents may tag enemies in
another order), while here the state contains the observations that agents got. Not supported: SMACv2's attack
probabilities, health levels and enemy masks, which no published scenario uses. Terrain heights and pathing grids are
inferred from the map files.

**Combat.** A round is half a second of game time, eight game loops. Units have the values of the Wings of Liberty
campaign, on which all SMAC maps are based. They walk, push each other and find paths around walls; weapons have
damage points, cooldowns with the game's jitter, and missiles; armor reduces damage after shields; shields and zerg
units regenerate; medivacs spend energy to heal; colossi hit all units on a line; banelings explode, also when they
are killed. Agents follow their orders and then idle. SMAC's enemies attack-move to a point and attack the nearest
unit; SMACv2's idle enemies are ordered every half second to attack the nearest agent.

**Start**: armies in formation at the map's start points, displaced by up to `start_noise`; SMACv2 draws both teams
and their positions. **Metrics**: `battle_won`, `dead_allies`, `dead_enemies`, `team_return`: the sum of all rewards,
which is the return of an agent that survives and acts in every round (dead agents get no reward).

**Reference returns**: `team_return` (mean ± deviation over 400 battles) and rounds of random play; battles won,
`team_return` and rounds of the best one of the demonstrators `scripted:focus_fire`, `scripted:nearest`,
`scripted:kite` and `scripted:micro`, which is `scripted`. The last one weighs what actions risk; it is made for SMACv2, whose enemies
choose an agent and go after it until it is dead (there, focus fire wins up to 45 %). All battles of a SMAC map have the same start, so small differences can change
win rates from 0 to 100 %.

| id | random | scripted |
|---|---|---|
| `smac_3m` | 1.6 ± 0.6, 27 | focus fire: 65 %, 15.7 ± 5.9, 24 |
| `smac_8m` | 2.0 ± 0.5, 42 | focus fire: 82 %, 18.5 ± 3.2, 32 |
| `smac_25m` | 2.5 ± 0.4, 64 | focus fire: 23 %, 14.7 ± 3.2, 38 |
| `smac_5m_vs_6m` | 1.5 ± 0.5, 30 | focus fire: 1 %, 7.5 ± 1.2, 22 |
| `smac_8m_vs_9m` | 1.8 ± 0.4, 39 | focus fire: 4 %, 11.1 ± 2.0, 30 |
| `smac_10m_vs_11m` | 1.9 ± 0.4, 44 | focus fire: 6 %, 10.6 ± 2.9, 29 |
| `smac_27m_vs_30m` | 2.2 ± 0.3, 61 | nearest: 1 %, 11.9 ± 1.2, 37 |
| `smac_mmm` | 1.1 ± 0.3, 62 | focus fire: 79 %, 15.9 ± 2.4, 56 |
| `smac_mmm2` | 0.7 ± 0.2, 54 | focus fire: 0 %, 6.7 ± 0.8, 40 |
| `smac_2s3z` | 3.5 ± 0.8, 55 | focus fire: 96 %, 19.8 ± 0.9, 66 |
| `smac_3s5z` | 3.7 ± 0.8, 59 | nearest: 79 %, 19.1 ± 1.9, 66 |
| `smac_3s5z_vs_3s6z` | 3.3 ± 0.7, 55 | nearest: 0 %, 10.1 ± 0.4, 43 |
| `smac_3s_vs_3z` | 3.9 ± 0.9, 70 | kite: 100 %, 20.0 ± 0.0, 79 |
| `smac_3s_vs_4z` | 3.0 ± 0.7, 63 | kite: 100 %, 20.1 ± 0.1, 108 |
| `smac_3s_vs_5z` | 2.5 ± 0.5, 58 | kite: 100 %, 20.4 ± 0.1, 134 |
| `smac_1c3s5z` | 6.6 ± 1.5, 59 | nearest: 94 %, 19.8 ± 0.7, 65 |
| `smac_2m_vs_1z` | 1.3 ± 0.6, 33 | kite: 0 %, 6.2 ± 0.7, 80 |
| `smac_corridor` | 3.4 ± 0.8, 41 | nearest: 16 %, 15.2 ± 2.3, 40 |
| `smac_6h_vs_8z` | 5.4 ± 0.5, 21 | focus fire: 0 %, 7.6 ± 0.3, 22 |
| `smac_2s_vs_1sc` | 0.9 ± 0.7, 76 | focus fire: 0 %, 8.4 ± 0.1, 39 |
| `smac_so_many_baneling` | 14.6 ± 2.6, 23 | focus fire: 0 %, 7.4 ± 0.6, 13 |
| `smac_bane_vs_bane` | 18.8 ± 2.0, 32 | nearest: 70 %, 18.7 ± 2.0, 22 |
| `smac_2c_vs_64zg` | 13.5 ± 2.7, 36 | nearest: 0 %, 13.2 ± 1.2, 28 |
| `smacv2_protoss_5_vs_5` | 4.7 ± 1.9, 52 | micro: 82 %, 18.7 ± 3.0, 66 |
| `smacv2_protoss_10_vs_10` | 5.6 ± 2.1, 57 | micro: 92 %, 19.5 ± 1.9, 71 |
| `smacv2_protoss_20_vs_20` | 6.7 ± 2.4, 61 | micro: 93 %, 19.7 ± 1.4, 77 |
| `smacv2_protoss_10_vs_11` | 5.0 ± 2.2, 53 | micro: 73 %, 18.4 ± 3.1, 81 |
| `smacv2_protoss_20_vs_23` | 5.7 ± 2.1, 55 | micro: 64 %, 17.8 ± 3.3, 88 |
| `smacv2_terran_5_vs_5` | 2.2 ± 1.6, 36 | micro: 72 %, 15.5 ± 4.6, 50 |
| `smacv2_terran_10_vs_10` | 2.8 ± 1.9, 40 | micro: 86 %, 16.9 ± 3.5, 52 |
| `smacv2_terran_20_vs_20` | 2.8 ± 2.2, 44 | micro: 85 %, 16.7 ± 3.4, 62 |
| `smacv2_terran_10_vs_11` | 2.4 ± 1.6, 37 | micro: 70 %, 15.4 ± 4.4, 58 |
| `smacv2_terran_20_vs_23` | 2.2 ± 1.6, 40 | micro: 66 %, 14.9 ± 4.4, 68 |
| `smacv2_zerg_5_vs_5` | 3.5 ± 2.5, 29 | micro: 74 %, 17.0 ± 5.2, 37 |
| `smacv2_zerg_10_vs_10` | 5.0 ± 2.3, 31 | micro: 79 %, 18.1 ± 3.9, 39 |
| `smacv2_zerg_20_vs_20` | 6.3 ± 2.2, 33 | micro: 72 %, 17.6 ± 4.2, 49 |
| `smacv2_zerg_10_vs_11` | 4.8 ± 2.5, 29 | micro: 66 %, 16.7 ± 4.9, 42 |
| `smacv2_zerg_20_vs_23` | 5.8 ± 2.1, 31 | micro: 54 %, 15.9 ± 4.8, 54 |

Inferred, as the game does not document it: formations; how long an enemy follows an attacker out of range (3 s), and
which of its friends do, too (within 5); melee units go around a crowd, shooters only step aside; turning takes no time,
and medivacs stop at once; a colossus' beams burn 0.6 s after the shot; units that are created on top of one another
are spread at once. Terrain has no effect on sight. How the fights compare with the real game's: docs/starcraft.md.
"""

from __future__ import annotations

import dataclasses
import inspect

import gymnasium
import numpy as np

from mail_envs.games.particle.world import choice, pick, unbounded
from mail_envs.games.starcraft import picture
from mail_envs.games.starcraft.actions import note_action
from mail_envs.games.starcraft.engine import combat_fields, combat_params, fight
from mail_envs.games.starcraft.layout import (
    NO_OP,
    ONGOING,
    WON,
    as_record,
    layout_params,
    num_actions,
    observation_size,
    shares_sightings,
    state_size,
    unit_fields,
)
from mail_envs.games.starcraft.maps import scenario
from mail_envs.games.starcraft.observation import observe_env as observe_env
from mail_envs.games.starcraft.options import Options, make_options
from mail_envs.games.starcraft.orders import give_order, halt
from mail_envs.games.starcraft.scoring import (
    begin_battle,
    count_living,
    largest_reward,
    note_strength,
    outcome,
    shared_reward,
)
from mail_envs.games.starcraft.sight import ZERO, lives, update_sightings
from mail_envs.games.starcraft.spawns import place_armies, spawn_params
from mail_envs.games.starcraft.units import LOOPS_PER_STEP
from mail_envs.kernels import device_function
from mail_envs.markov_game import KernelGame
from mail_envs.random import DYNAMICS, stream_key

NULL_ORDERS = ("keep", "stop")
MOST_NOISE = 4.0  # armies stay apart


class StarCraft(KernelGame):
    """One battle of SMAC or SMACv2.

    Args:
        battle: id of the scenario, see `maps.SCENARIOS`.
        variant: of SMACv2: "standard", "epo" or "conic".
        null_orders: what φ means: "keep", the unit goes on with its last order, or "stop".
        start_noise: by how much units on SMAC's maps are off their places at the start, at most, along each axis; not for
            SMACv2.
        scale_seed: with `faithful=True`, the seed of the SMACv2 battle whose enemies set the scale of all rewards.
        **options: of `options.Options`, such as `faithful=True` or `obs_last_action=True`.
    """

    limit_is_end = True
    key_actions = {"space": 1, "up": 2, "down": 3, "right": 4, "left": 5}

    def __init__(
        self,
        battle: str = "smac_3m",
        variant: str = "standard",
        null_orders: str = "keep",
        start_noise: float = 0.0,
        scale_seed: int = 0,
        **options,
    ):
        of = scenario(battle)
        chosen = make_options(of, variant, **options)
        if not 0 <= start_noise <= MOST_NOISE:
            raise ValueError(f"start_noise={start_noise!r} must be between 0 and {MOST_NOISE}")
        if not isinstance(scale_seed, int) or not 0 <= scale_seed < 2**63:
            raise ValueError(f"scale_seed={scale_seed!r} is not an integer in [0, 2**63)")
        keeps_scale = chosen.faithful and of.version == 2
        if start_noise and of.version == 2:
            raise ValueError(
                f"start_noise={start_noise!r}: {battle} draws all places, there is nothing to add to"
            )
        if scale_seed and not keeps_scale:
            raise ValueError(
                f"scale_seed={scale_seed!r}: only smacv2_* ids with faithful=True scale rewards by one battle"
            )
        self.scenario, self.options = of, chosen
        self.agents = agent_names(of)
        self.max_rounds = chosen.max_rounds or of.max_rounds
        size, actions = observation_size(of, chosen), num_actions(of, chosen)
        self.observation_spaces = {a: unbounded(size) for a in self.agents}
        self.action_spaces = {a: gymnasium.spaces.Discrete(actions) for a in self.agents}
        self.state_space = unbounded(state_size(of, chosen))
        sharing = shares_sightings(of, chosen)
        fields = unit_fields(of.num_agents, of.num_enemies, sharing)
        self.state_dtype = np.dtype(
            [*fields, *combat_fields(of.num_agents + of.num_enemies)], align=True
        )
        self.params = as_record(
            {
                **layout_params(of, chosen),
                **combat_params(of),
                **spawn_params(of),
                "start_noise": np.asarray(start_noise, np.float32),
                "null_stops": np.asarray(choice("null_orders", null_orders, NULL_ORDERS), np.int64),
                "keeps_scale": np.asarray(keeps_scale, np.int64),
                "scale_seed": np.asarray(scale_seed, np.int64),
            }
        )
        self.metric_names = ("battle_won", "dead_allies", "dead_enemies", "team_return")
        self.has_action_mask = True
        self.metadata = {
            "convention": f"{of.name}, {variant}, "
            f"{'faithful' if chosen.faithful else 'clean'} reward, null orders {null_orders}",
        }

    def draw(self, canvas, state, participation):
        picture.draw(canvas, state, self)


def _signature() -> inspect.Signature:
    """The class's arguments with its options by name."""
    own = list(inspect.signature(StarCraft).parameters.values())[:-1]
    options = [
        inspect.Parameter(
            f.name, inspect.Parameter.KEYWORD_ONLY, default=f.default, annotation=f.type
        )
        for f in dataclasses.fields(Options)
        if f.name != "max_rounds"
    ]
    return inspect.Signature([*own, *options])


StarCraft.__signature__ = _signature()  # pyright: ignore[reportAttributeAccessIssue]


def agent_names(of) -> list[str]:
    """`type_k` on SMAC's maps, in the order of ids; `agent_k` in SMACv2, where types are drawn."""
    if of.version == 2:
        return [f"agent_{i}" for i in range(of.num_agents)]
    counts: dict[str, int] = {}
    for name, count in of.allies:
        counts[name] = counts.get(name, 0) + count
    return [f"{name}_{k}" for name in sorted(counts) for k in range(counts[name])]


@device_function
def reset_env(state, rng, params):
    scale = ZERO
    for own in range(1 - params.keeps_scale, 2):  # before this battle, the one that sets the scale
        rng.key = stream_key(rng.seed if own == 1 else params.scale_seed, DYNAMICS)
        rng.counter = 0
        place_armies(state, rng, params)
        if own == 0:
            scale = np.float32(largest_reward(state, params))
    state.phase = pick(rng, LOOPS_PER_STEP)
    state.team_return = ZERO
    begin_battle(state, params)
    if params.keeps_scale != 0:
        state.max_reward = scale
    look_around(state, rng, params)


@device_function
def step_env(state, rng, actions, acts, params, rewards, metrics):
    n = params.num_agents
    for i in range(n):
        order_agent(state, params, i, actions[i] if acts[i] != 0 else -1)
    note_strength(state, params)
    fight(state, rng, params)
    state.rounds += 1
    result = outcome(state, params)
    reward = shared_reward(state, params, result)
    state.team_return += reward
    for i in range(n):
        rewards[i] = reward
    look_around(state, rng, params)
    metrics[0] = np.float32(result == WON)
    metrics[1] = np.float32(n - count_living(state, params, 0, n, False))
    living = count_living(state, params, n, params.num_units, False)
    metrics[2] = np.float32(params.num_enemies - living)
    metrics[3] = state.team_return
    return result != ONGOING


@device_function
def order_agent(state, params, i, action):
    """Tell agent i what to do; -1: φ."""
    if not lives(state, i):
        note_action(state, params, i, NO_OP)
    else:
        note_action(state, params, i, action)
        if action >= 0:
            give_order(state, params, i, action)
        elif params.null_stops != 0:
            halt(state, i)


@device_function
def look_around(state, rng, params):
    """Agents look in a new order: it matters in SMACv2 with `epo`."""
    if params.shares_sightings != 0:
        for i in range(params.num_agents):
            state.order[i] = i
        for i in range(params.num_agents - 1, 0, -1):
            k = pick(rng, i + 1)
            state.order[i], state.order[k] = state.order[k], state.order[i]
    update_sightings(state, rng, params)
