"""Computes SMAC's observations, masks, states and rewards from recorded battles."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from mail_envs.devices import Cpu
from mail_envs.games.starcraft.actions import note_action
from mail_envs.games.starcraft.frames import unit_rows
from mail_envs.games.starcraft.layout import (
    ONGOING,
    WON,
    as_record,
    layout_params,
    num_actions,
    unit_fields,
)
from mail_envs.games.starcraft.maps import SCENARIOS, scenario
from mail_envs.games.starcraft.observation import observe_env
from mail_envs.games.starcraft.options import make_options
from mail_envs.games.starcraft.scoring import (
    begin_battle,
    note_strength,
    outcome,
    shared_reward,
)
from mail_envs.games.starcraft.sight import update_sightings, visible_between
from mail_envs.kernels import DISK_CACHE, compile_module, device_function

DECIMALS = "f8"  # as precise as the original

# A record with the size of the largest battle, so that all scenarios share the compiled code.
BATTLE = np.dtype(
    unit_fields(
        max(s.num_agents for s in SCENARIOS.values()),
        max(s.num_enemies for s in SCENARIOS.values()),
        sharing=True,
        real=DECIMALS,
    ),
    align=True,
)


def encode_episode(
    id: str,
    frames: Mapping[str, Any],
    actions: Any,
    *,
    names: Any = None,
    agent_order: Any = None,
    first_order: Any = None,
    variant: str | None = "standard",
    faithful: bool = True,
    max_reward: float | None = None,
    seed: int = 0,
    **options: Any,
) -> dict[str, np.ndarray]:
    """The original's outputs for a recorded episode.

    Args:
        id: of a scenario, such as "smac_3s5z" or "smacv2_terran_5_vs_5".
        frames: columns of raw units, arrays (T, U) called `tag, owner, type, x, y, hp, hpm, sh, shm, en, cd`: tag,
            owner (1 agents, 2 enemies), type number, position, health and its maximum, shield and its maximum, energy,
            weapon cooldown in loops. Units that are dead or gone have no health, or are missing from their frame (NaN
            tag). Column `names` (U,): the units' types by name, for SMACv2.
        actions: int (T - 1, N), in the order of agents' ids.
        names: the same as the column `names`.
        agent_order: int (T, N): SMACv2, the orders in which the agents' observations were made; else by id.
        first_order: int (N,): the order of the observation that the original makes within its reset.
        variant: "standard", "epo" or "conic", see `options`.
        faithful: with the original's oddities. Recordings are the original's, hence the default; the games' is False.
        max_reward: by which rewards are scaled, when it is not this episode's own (SMACv2 keeps the first one's).
        seed: of the draws with `prob_obs_enemy` between 0 and 1.
        options: of `options.Options`.

    Returns:
        observations float32 (T, N, D), state float32 (T, S), action_mask int8 (T, N, A), rewards float64 (T - 1,),
        terminated bool (T - 1,), won bool (T - 1,); truncated bool (T - 1,): the limit was reached, which `faithful`
        calls terminated, too; dead_allies, dead_enemies int64 (T - 1,); alive bool (T, N); visibility bool (T, N, N +
        M); capabilities float32 (N, types): SMACv2's name for the agents' one-hot types; ally_tags int64 (N,) and
        enemy_tags int64 (M,): who is who.
    """
    of = scenario(id)
    chosen = make_options(of, variant, faithful=faithful, **options)
    cpu = Cpu(num_envs=1)
    params = cpu.put(as_record(layout_params(of, chosen, DECIMALS)))
    columns, kinds = unit_rows(of, frames, names)
    length = len(columns["hp"])
    actions = _checked_actions(actions, length, of.num_agents, num_actions(of, chosen))
    orders = _checked_orders(of.num_agents, length, agent_order, first_order)
    rng = cpu.zeros(1, np.dtype([("key", "u8"), ("counter", "i8")]))
    rng["key"] = seed
    battle = cpu.zeros(1, BATTLE)
    battle["type"][0, : len(kinds)] = kinds
    battle["max_health"][0, : len(kinds)] = columns["hpm"][0]
    out = _play(battle, params, columns, rng, actions, orders, max_reward)
    results = out.pop("results")[1:, 0]
    out["rewards"] = out["rewards"][1:, 0]
    bits = params["ally_slot"][0][kinds[: of.num_agents], None] == np.arange(of.type_bits)
    out["capabilities"] = bits.astype(np.float32)
    return {**out, **_scores(columns, params[0], results, faithful)}


def _set(battle: np.ndarray, columns: dict, t: int) -> None:
    """Set the battle to frame t. Dead units keep their positions."""
    now = {name: column[t] for name, column in columns.items()}
    units, alive = len(now["hp"]), now["hp"] > 0
    pos = np.stack([now["x"], now["y"]], axis=1)
    battle["pos"][0, :units][alive] = pos[alive]
    battle["health"][0, :units] = np.where(alive, now["hp"], 0.0)
    battle["shield"][0, :units] = now["sh"]
    battle["energy"][0, :units] = now["en"]
    battle["cooldown"][0, :units] = now["cd"]
    battle["rounds"] = t


def _play(battle, params, columns, rng, actions, orders, max_reward) -> dict[str, np.ndarray]:
    """Every frame through `encode_frame`."""
    size, n = params[0], int(params["num_agents"][0])
    length, units = columns["hp"].shape
    shapes = {
        "observations": ((n, size["observation_size"]), np.float32),
        "state": ((size["state_size"],), np.float32),
        "action_mask": ((n, size["num_actions"]), np.int8),
        "alive": ((n,), np.bool_),
        "visibility": ((n, units), np.bool_),
        "rewards": ((1,), np.float64),
        "results": ((1,), np.int64),
    }
    out = {name: np.zeros((length, *shape), kind) for name, (shape, kind) in shapes.items()}
    run, nobody = _launch(), np.zeros(0, np.int64)
    for t in range(-1, length):  # -1: the observation that the original makes within its reset
        _set(battle, columns, max(t, 0))
        battle["order"][0, :n] = orders[t + 1]
        step = actions[t - 1] if t > 0 else nobody
        run(t < 0, battle, params, rng, step, *(array[max(t, 0)] for array in out.values()))
        if t < 0 and max_reward is not None:
            battle["max_reward"] = max_reward
    return out


def _scores(columns, params, results, faithful) -> dict[str, np.ndarray]:
    """The outcome of each round, and the units' tags."""
    n = params["num_agents"]
    rounds = np.arange(1, len(results) + 1)
    truncated = (rounds >= params["max_rounds"]) & (results == ONGOING)
    dead = columns["hp"][1:] <= 0
    return {
        "terminated": (results != ONGOING) | (truncated & faithful),
        "truncated": truncated,
        "won": results == WON,
        "dead_allies": dead[:, :n].sum(axis=1),
        "dead_enemies": dead[:, n:].sum(axis=1),
        "ally_tags": columns["tag"][0, :n].astype(np.int64),
        "enemy_tags": columns["tag"][0, n:].astype(np.int64),
    }


_RUN = '''"""One frame of a recorded battle; generated, and generated anew when the sources change."""

from numba import njit

from mail_envs.kernels import LAUNCH_OPTIONS
{imports}


@njit({options})
def run(begins, battle, params, rng, actions, observations, global_state, action_mask, alive,
        visibility, rewards, results):
    encode_frame(begins, battle[0], params[0], rng[0], actions, observations, global_state,
                 action_mask, alive, visibility, rewards, results)
'''


def _launch():
    functions = {"encode_frame": encode_frame}
    options = f"{DISK_CACHE}**LAUNCH_OPTIONS"
    return compile_module(_RUN, functions, name="starcraft_frame", options=options).run


@device_function
def encode_frame(
    begins, state, params, rng, actions,
    observations, global_state, action_mask, alive, visibility, rewards, results
):  # fmt: skip
    """Begin the battle, or score the round that led to this frame; then observe it."""
    if begins:
        begin_battle(state, params)
    if actions.shape[0] > 0:
        for i in range(params.num_agents):
            note_action(state, params, i, actions[i])
        results[0] = outcome(state, params)
        rewards[0] = shared_reward(state, params, results[0])
    update_sightings(state, rng, params)
    observe_env(state, params, observations, action_mask, alive, global_state)
    for i in range(params.num_agents):
        for j in range(params.num_units):
            visibility[i, j] = visible_between(state, params, i, j)
    note_strength(state, params)


def _checked_actions(actions, length: int, num_agents: int, num_actions: int) -> np.ndarray:
    actions = np.asarray(actions, np.int64)
    if length == 1 and actions.size == 0:
        return np.zeros((0, num_agents), np.int64)
    if actions.shape != (length - 1, num_agents):
        raise ValueError(f"actions have shape {actions.shape}, not {(length - 1, num_agents)}")
    if actions.size and not (-1 <= actions.min() and actions.max() < num_actions):
        raise ValueError(f"actions are not all between 0 and {num_actions - 1}")
    return actions


def _checked_orders(num_agents: int, length: int, agent_order, first_order) -> np.ndarray:
    """Of the reset, then of every frame: int (T + 1, N)."""
    ids = np.arange(num_agents)
    orders = np.tile(ids, (length + 1, 1))
    if first_order is not None:
        orders[0] = first_order
    if agent_order is not None:
        orders[1:] = agent_order
    if not (np.sort(orders, axis=1) == ids).all():
        raise ValueError("agent_order and first_order are not all permutations of the agents' ids")
    return orders
