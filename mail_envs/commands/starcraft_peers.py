"""Speed of StarCraft battles in other libraries: SMAClite, and JaxMARL's SMAX.

Random legal actions are drawn in every step, because the masks change; as for the games of this suite, the rates
include this. `smaclite_battle` and `smax_battle` make the environments; battles that a library does not include are
composed of its units if possible.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import importlib.util
import io
import sys
from collections.abc import Iterator
from typing import Any
from unittest import mock

import numpy as np

from mail_envs.commands.rates import Run

SMAX = "smax_"  # prefix of SMAX scenarios among those of JaxMARL
MOST_COPIES = 1024  # of SMAX: with more, large battles take gigabytes, and minutes per step

SHIPPED_BY_SMACLITE = (
    "10m_vs_11m", "27m_vs_30m", "2c_vs_64zg", "2s3z", "2s_vs_1sc", "3s5z", "3s5z_vs_3s6z", "3s_vs_5z",
    "bane_vs_bane", "corridor", "MMM", "MMM2",
)  # fmt: skip
MARINES = {"3m": (3, 3), "8m": (8, 8), "25m": (25, 25), "5m_vs_6m": (5, 6), "8m_vs_9m": (8, 9)}
HYDRALISKS = "6h_vs_8z"
SHIPPED_BY_SMAX = (
    "3m", "8m", "25m", "5m_vs_6m", "10m_vs_11m", "27m_vs_30m", "2s3z", "3s5z", "3s5z_vs_3s6z", "3s_vs_5z",
    "6h_vs_8z",
)  # fmt: skip
# SMAX has no medivacs; they are replaced by marauders.
MARAUDERS_INSTEAD = "MMM2_without_medivacs"


def scenario_of(peer: str, id: str) -> str | None:
    """The peer's battle with which a game is compared; None if there is none."""
    from mail_envs.games.starcraft.maps import SCENARIOS

    name = SCENARIOS[id].name
    if peer == "smaclite":
        return name if name in (*SHIPPED_BY_SMACLITE, *MARINES, HYDRALISKS) else None
    if peer == "jaxmarl":
        name = MARAUDERS_INSTEAD if name == "MMM2" else name
        return SMAX + name if name in (*SHIPPED_BY_SMAX, MARAUDERS_INSTEAD) else None
    return None


@contextlib.contextmanager
def without_greetings() -> Iterator[None]:
    """Suppress output of both libraries on import and construction, because this command may print JSON.

    JaxMARL resets both output streams to the original ones of the process.
    """
    unread = io.StringIO()
    with (
        mock.patch.object(sys, "__stdout__", unread),
        contextlib.redirect_stdout(unread),
        contextlib.redirect_stderr(sys.stderr),
    ):
        yield


# -- SMAClite -----------------------------------------------------------------------------------------


def smaclite(scenario: str, num_envs: int) -> Run | None:
    """SMAClite; it has no vectorized version."""
    if num_envs != 1:
        return None
    env = smaclite_battle(scenario)
    env.reset(seed=0)
    rng = np.random.default_rng(0)

    def run(calls: int) -> int:
        for _ in range(calls):
            done = env.step(allowed_at_random(np.array(env.get_avail_actions()), rng).tolist())[2]
            if done:
                env.reset()
        return calls

    return run


def allowed_at_random(mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Random legal actions, int (..., N), from a mask (..., N, A)."""
    return (rng.random(mask.shape) * mask).argmax(-1)


def smaclite_battle(name: str) -> Any:
    """SMAClite's environment of a SMAC map; collision avoidance runs in C++ if its extension is installed."""
    with without_greetings():
        from smaclite.env import SMACliteEnv

        faster = importlib.util.find_spec("rvo2") is not None
        return SMACliteEnv(map_info=smaclite_map(name), use_cpp_rvo2=faster)


def smaclite_map(name: str) -> Any:
    """SMAClite's own map, or one of its maps with other units."""
    from smaclite.env.maps.map import MapPreset

    shipped = {preset.map_info.name: preset.map_info for preset in MapPreset}
    if name in shipped:
        return shipped[name]
    if name == HYDRALISKS:
        return hydralisks_against_zealots(shipped["3s_vs_5z"])
    return manned(shipped["10m_vs_11m"], name, *MARINES[name])


def manned(info: Any, name: str, num_allies: int, num_enemies: int, ally: Any = None) -> Any:
    """A map with one unit type per side and these numbers of units; `ally`: another type for the allies."""
    sides = [
        dataclasses.replace(group, units=[(kind or group.units[0][0], number)])
        for group, kind, number in zip(info.groups, (ally, None), (num_allies, num_enemies))
    ]
    return dataclasses.replace(
        info, name=name, groups=sides, num_allied_units=num_allies, num_enemy_units=num_enemies
    )


def hydralisks_against_zealots(info: Any) -> Any:
    """The battle 6h_vs_8z, with the original positions but without walls."""
    info = manned(info, HYDRALISKS, 6, 8, smaclite_hydralisk())
    points = ((14.5998, 9.49), (14.41, 16.7597))
    groups = [dataclasses.replace(g, x=x, y=y) for g, (x, y) in zip(info.groups, points)]
    return dataclasses.replace(info, groups=groups, attack_point=points[0], ally_has_shields=False)


@functools.cache
def smaclite_hydralisk() -> Any:
    """A hydralisk, which SMAClite lacks, with values from the source of its other units."""
    from smaclite.env.units.targeters.targeter import TargeterType
    from smaclite.env.units.unit_type import (
        TARGETER_CACHE,
        Attribute,
        CustomUnitType,
        StandardUnit,
        UnitStats,
    )

    TARGETER_CACHE["hydralisk"] = TargeterType["STANDARD"].value()
    stats = UnitStats(
        name="hydralisk", hp=90, armor=0, damage=12, cooldown=0.59, speed=3.15, attack_range=5,
        size=1.25, attributes={Attribute.LIGHT, Attribute.BIOLOGICAL}, hp_regen=0.38,
        valid_targets=StandardUnit.MARINE.stats.valid_targets,
    )  # fmt: skip
    return CustomUnitType(stats, "hydralisk")


# -- SMAX ---------------------------------------------------------------------------------------------


def smax(scenario: str, num_envs: int) -> Run | None:
    """SMAX against heuristic enemies: vmap over battles, jit over one step with random actions and autoreset."""
    if num_envs > MOST_COPIES:
        return None
    import jax

    env = smax_battle(scenario.removeprefix(SMAX))

    def one(key, state):
        key, choice, luck = jax.random.split(key, 3)
        return key, env.step(luck, state, smax_at_random(env, choice, state))[1]

    step = jax.jit(jax.vmap(one))
    start = smax_start(env, one, jax.random.split(jax.random.PRNGKey(0), num_envs))

    def run(calls: int) -> int:
        keys, states = start
        for _ in range(calls):
            keys, states = step(keys, states)
        jax.block_until_ready(states)
        return calls * num_envs

    return run


def smax_battle(name: str, **options: Any) -> Any:
    """SMAX's environment of a SMAC map."""
    with without_greetings():
        import jax.numpy as jnp
        from jaxmarl.environments import smax as package

    if name == MARAUDERS_INSTEAD:
        kinds = [1] * 3 + [0] * 7 + [1] * 4 + [0] * 8
        units = package.Scenario(jnp.array(kinds, jnp.uint8), 10, 12, False, False)
    else:
        units = package.map_name_to_scenario(name)
    return package.HeuristicEnemySMAX(scenario=units, **options)


def smax_at_random(env: Any, key: Any, state: Any) -> dict[str, Any]:
    """Random legal actions."""
    import jax
    import jax.numpy as jnp

    masks = env.get_avail_actions(state)
    keys = jax.random.split(key, len(env.agents))
    return {
        agent: jax.random.categorical(k, jnp.where(masks[agent] > 0, 0.0, -jnp.inf))
        for agent, k in zip(env.agents, keys)
    }


def smax_start(env: Any, one: Any, keys: Any) -> tuple[Any, Any]:
    """Keys and initial states, with the dtypes that `one` returns, to avoid a second compilation."""
    import jax

    states = jax.vmap(env.reset)(keys)[1]
    _, after = jax.eval_shape(jax.vmap(one), keys, states)
    return keys, jax.tree.map(lambda value, like: value.astype(like.dtype), states, after)
