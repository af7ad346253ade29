"""The same players in our StarCraft battles, in SMAClite and in SMAX: how long, how often won, what return.

    pip install -e . jaxmarl git+https://github.com/uoe-agents/smaclite
    python docs/results/starcraft/peers.py --simulators ours smaclite smax --maps 3m 8m --out battles.csv
    python docs/results/starcraft/peers.py --tempo-only

A player sees every simulator through a `View`: the same rule decides everywhere. Actions are SMAC's: 0 nothing (the
dead), 1 stop, 2 to 5 north, south, east, west, 6 + k attack enemy k, or heal ally k. Every battle gets SMAC's time
limit. Returns are on SMAC's scale, where a victory pays 20; SMAX's, which has a reward of its own, are computed from
the health that its enemies lost.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from demos.experts.starcraft import STEPS, along
from mail_envs.commands import starcraft_peers
from mail_envs.games.starcraft.maps import SCENARIOS

STOP, NORTH, SOUTH, EAST, WEST, FIRST = 1, 2, 3, 4, 5, 6
LIMITS = {of.name: of.max_rounds for of in SCENARIOS.values() if of.version == 1}
IDS = {of.name: id for id, of in SCENARIOS.items() if of.version == 1}
ENDLESS = 1e5  # health of units that nobody kills


@dataclass
class View:
    """What players look at in E battles of N agents against M enemies.

    Attributes:
        pos, life, share: of agents: place (E, N, 2), health and shield (E, N), and its share of the maximum.
        enemy_pos, enemy_life: of enemies; 0 when dead. chases: whom an enemy is after (E, M), -1: nobody.
        heals: which agents heal instead of attacking (E, N). mask: (E, N, 6 + T).
    """

    pos: np.ndarray
    life: np.ndarray
    share: np.ndarray
    enemy_pos: np.ndarray
    enemy_life: np.ndarray
    chases: np.ndarray
    heals: np.ndarray
    mask: np.ndarray


# -- players ------------------------------------------------------------------------------------------


def at_random(view: View, rng: np.random.Generator) -> np.ndarray:
    """Uniform over what is available, int (E, N)."""
    return starcraft_peers.allowed_at_random(view.mask, rng)


def focus_fire(view: View, rng: np.random.Generator) -> np.ndarray:
    """Attack the weakest enemy in reach, else walk to the nearest; medivacs the same with hurt friends."""
    away, distance = offsets(view.pos, view.enemy_pos, view.enemy_life > 0)
    orders = attack_or_approach(view, away, distance, view.enemy_life[:, None] + 0.01 * distance)
    if view.heals.any():
        away, distance = offsets(view.pos, view.pos, (view.life > 0) & ~view.heals)
        hurt = np.where(view.share < 1, view.share, np.inf)[:, None]
        care = attack_or_approach(view, away, distance, np.broadcast_to(hurt, distance.shape))
        orders = np.where(view.heals, care, orders)
    return allowed(orders, view.mask)


def kite(view: View, rng: np.random.Generator) -> np.ndarray:
    """Whoever is chased runs, away from enemies and walls; the others focus their fire."""
    _, distance = offsets(view.pos, view.enemy_pos, view.enemy_life > 0)
    chased = view.chases[:, None] == np.arange(view.pos.shape[1])[:, None]
    close = (np.where(chased, distance, np.inf).min(-1) < 2.4) | (distance.min(-1) < 1.8)
    after = view.pos[:, :, None] + 1.5 * STEPS  # (E, N, 4, 2)
    gaps = np.linalg.norm(view.enemy_pos[:, None, None] - after[:, :, :, None], axis=-1)
    alive = (view.enemy_life > 0)[:, None, None]
    fear = np.where(alive, 1 / (gaps**2 + 0.1), 0).sum(-1)
    wall = (np.maximum(np.abs(after - 16) - 10, 0) ** 2).sum(-1) * 0.02
    flee = NORTH + (fear + wall + 9 * (view.mask[:, :, NORTH:FIRST] == 0)).argmin(-1)
    return np.where(close & (view.mask[..., STOP] > 0), flee, focus_fire(view, rng))


def offsets(pos, target_pos, counts) -> tuple[np.ndarray, np.ndarray]:
    """From agents to targets, (E, N, T, 2), and how far: infinitely for those that do not count."""
    away = target_pos[:, None] - pos[:, :, None]
    return away, np.where(counts[:, None], np.linalg.norm(away, axis=-1), np.inf)


def attack_or_approach(view: View, away, distance, cost) -> np.ndarray:
    """The order to the cheapest target in reach, or the step toward the nearest one."""
    may = view.mask[:, :, FIRST : FIRST + distance.shape[2]] > 0
    price = np.where(may & np.isfinite(distance), cost, np.inf)
    nearest = distance.argmin(-1)[..., None, None]
    step = along(np.take_along_axis(away, nearest, 2)[:, :, 0])
    return np.where(np.isfinite(price).any(-1), FIRST + price.argmin(-1), step)


def allowed(orders: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Stop instead of what is not available, nothing for the dead."""
    fine = np.take_along_axis(mask, orders[..., None], -1)[..., 0] > 0
    return np.where(fine, orders, mask[..., STOP] > 0)


PLAYERS: dict[str, Callable] = {"random": at_random, "focus_fire": focus_fire, "kite": kite}


# -- simulators ---------------------------------------------------------------------------------------


class Ours:
    """Copies of a battle of ours; `step` returns which battles are over, which are won, and the returns so far."""

    def __init__(self, name: str, copies: int):
        from mail_envs.games.starcraft.game import StarCraft
        from mail_envs.player_functions import Synchronous
        from mail_envs.vector import VectorGame

        self.game = StarCraft(IDS.get(name, name))
        self.vector = VectorGame(self.game, Synchronous(), copies, autoreset=False)
        self.vector.reset(seed=0)
        self.most = None  # life at the start

    def view(self) -> View:
        from mail_envs.games.starcraft.units import MEDIVAC

        b, n = self.vector.buffers, self.vector.num_agents
        world = b.world
        life = world["health"] + world["shield"]
        self.most = life.copy() if self.most is None else self.most
        return View(
            world["pos"][:, :n], life[:, :n], life[:, :n] / self.most[:, :n], world["pos"][:, n:],
            life[:, n:], world["target"][:, n:], world["type"][:, :n] == MEDIVAC, b.action_mask,
        )  # fmt: skip

    def step(self, actions: np.ndarray):
        _, _, terminated, truncated, info = self.vector.step(actions)
        metrics = info["metrics"]
        return terminated | truncated, metrics["battle_won"] > 0, metrics["team_return"].copy()

    def endless(self) -> None:
        self.vector.buffers.world["health"] = ENDLESS


class Smaclite:
    """One battle of SMAClite."""

    def __init__(self, name: str, copies: int = 1):
        self.env = starcraft_peers.smaclite_battle(name)
        self.env.reset(seed=copies)
        units = list(self.env.all_units.values())
        n = self.num_agents = self.env.n_agents
        self.units = [self.env.agents[i] for i in range(n)]
        self.units += [self.env.enemies[i] for i in range(len(units) - n)]
        self.paid = 0.0

    def view(self) -> View:
        n, units = self.num_agents, self.units
        pos = np.array([unit.pos for unit in units], float)[None]
        life = np.array([unit.hp + unit.shield if unit.hp else 0.0 for unit in units])[None]
        most = np.array([unit.max_hp + unit.max_shield for unit in units])[None]
        heals = np.array([unit.combat_type.name == "HEALING" for unit in units[:n]])[None]
        rows = {id(unit): i for i, unit in enumerate(units[:n])}
        chases = np.array([rows.get(id(unit.target), -1) for unit in units[n:]])[None]
        mask = np.array(self.env.get_avail_actions())[None]
        share = life[:, :n] / most[:, :n]
        return View(pos[:, :n], life[:, :n], share, pos[:, n:], life[:, n:], chases, heals, mask)

    def step(self, actions: np.ndarray):
        _, reward, done, _, info = self.env.step(actions[0].tolist())
        self.paid += reward
        # It counts a battle as won in which nobody is left.
        won = info["battle_won"] and bool(self.env.agents)
        return np.array([done]), np.array([won]), np.array([self.paid])

    def endless(self) -> None:
        for unit in self.units:
            unit.hp = ENDLESS


class Smax:
    """Copies of a battle of SMAX, whose enemies keep no target: all of them are thought to chase."""

    # SMAC's nothing, stop, north, south, east, west as SMAX numbers them.
    MOVES = np.array([4, 4, 0, 2, 1, 3])

    def __init__(self, name: str, copies: int):
        import jax

        env = self.env = starcraft_peers.smax_battle(name, max_steps=LIMITS[name])

        def one(key, state, actions):
            key, luck = jax.random.split(key)
            _, state, _, _, _ = env.step_env(
                luck, state, {a: actions[i] for i, a in enumerate(env.agents)}
            )
            return key, state, env.get_avail_actions(state)

        self.one = jax.jit(jax.vmap(one))
        self.keys = jax.random.split(jax.random.PRNGKey(0), copies)
        self.states = jax.vmap(env.reset)(self.keys)[1]
        self.masks = jax.vmap(env.get_avail_actions)(self.states)
        kinds = np.asarray(self.states.state.unit_types)
        self.most = np.asarray(env.unit_type_health)[kinds]

    def view(self) -> View:
        state, n = self.states.state, self.env.num_allies
        pos, life = np.asarray(state.unit_positions), np.maximum(np.asarray(state.unit_health), 0)
        theirs = np.stack([np.asarray(self.masks[a]) for a in self.env.agents], 1)
        moves = theirs[:, :, self.MOVES].copy()
        alive = life[:, :n] > 0
        moves[..., 0], moves[..., STOP] = ~alive, alive
        mask = np.concatenate([moves, theirs[:, :, 5:]], axis=-1)
        _, distance = offsets(pos[:, n:], pos[:, :n], alive)
        share, heals = life[:, :n] / self.most[:, :n], np.zeros_like(alive)
        chases = distance.argmin(-1)
        return View(pos[:, :n], life[:, :n], share, pos[:, n:], life[:, n:], chases, heals, mask)

    def step(self, actions: np.ndarray):
        theirs = np.where(actions < FIRST, self.MOVES[np.minimum(actions, 5)], actions - 1)
        self.keys, self.states, self.masks = self.one(self.keys, self.states, theirs)
        state, n = self.states.state, self.env.num_allies
        life, most = np.maximum(np.asarray(state.unit_health), 0), self.most
        won = (life[:, n:] == 0).all(1) & (life[:, :n] > 0).any(1)
        lost = (most - life)[:, n:].sum(1) + 10 * (life[:, n:] == 0).sum(1) + 200 * won
        paid = 20 * lost / (most[:, n:].sum(1) + 10 * most[:, n:].shape[1] + 200)
        return np.asarray(state.done), won, paid

    def endless(self) -> None:
        state = self.states.state
        state = state.replace(unit_health=state.unit_health * 0 + ENDLESS)
        self.states = self.states.replace(state=state)


SIMULATORS: dict[str, Any] = {"ours": Ours, "smaclite": Smaclite, "smax": Smax}


def has(simulator: str, name: str) -> bool:
    """Whether a simulator has a map."""
    if simulator == "ours":
        return True
    peer = "jaxmarl" if simulator == "smax" else simulator
    return name in IDS and starcraft_peers.scenario_of(peer, IDS[name]) is not None


# -- battles ------------------------------------------------------------------------------------------


def battles(battle: Any, player: Callable, limit: int, seed: int) -> list[tuple[int, bool, float]]:
    """Length, victory and return of each copy's battle."""
    rng = np.random.default_rng(seed)
    results: dict[int, tuple[int, bool, float]] = {}
    for rounds in range(1, limit + 1):
        over, won, paid = battle.step(player(battle.view(), rng))
        for e in np.flatnonzero(over | (rounds == limit)):
            results.setdefault(int(e), (rounds, bool(won[e]), float(paid[e])))
        if len(results) == len(over):
            break
    return list(results.values())


def measure(simulator: str, name: str, player: str, episodes: int) -> dict[str, Any]:
    """One row of the table."""
    limit = LIMITS.get(name, 200)
    if simulator == "smaclite":
        runs = [battles(Smaclite(name, e), PLAYERS[player], limit, e)[0] for e in range(episodes)]
    else:
        runs = battles(SIMULATORS[simulator](name, episodes), PLAYERS[player], limit, 0)
    length, won, paid = (np.array(column, float) for column in zip(*runs))
    return {
        "map": name, "player": player, "simulator": simulator, "episodes": episodes,
        "length": length.mean(), "length_sd": length.std(),
        "length_won": length[won > 0].mean() if won.any() else "",
        "won": won.mean(), "return": paid.mean(), "return_sd": paid.std(), "return_max": paid.max(),
    }  # fmt: skip


def tempo(simulator: str) -> dict[str, Any]:
    """How far a marine walks in a round, and what it does to an enemy that does not die."""
    walkers = SIMULATORS[simulator]("3m", 8)
    start = walkers.view().pos.copy()
    for _ in range(3):
        walkers.step(np.full(start.shape[:2], WEST))
    walked = (start - walkers.view().pos)[..., 0].mean() / 3
    fighters, rng = SIMULATORS[simulator]("3m", 8), np.random.default_rng(0)
    fighters.endless()
    lives = []
    for _ in range(55):
        fighters.step(focus_fire(fighters.view(), rng))
        lives.append(fighters.view().enemy_life.sum(-1).mean())
    return {
        "simulator": simulator,
        "walks_per_round": walked,
        "damage_per_round": (lives[14] - lives[54]) / 40 / start.shape[1],
    }


def rows(simulators, maps, players, episodes, smaclite_episodes) -> Iterator[dict[str, Any]]:
    for name in maps:
        for player in players:
            for simulator in simulators:
                if has(simulator, name):
                    few = smaclite_episodes if simulator == "smaclite" else episodes
                    yield measure(simulator, name, player, few)


def main(
    simulators: tuple[str, ...] = tuple(SIMULATORS),
    maps: tuple[str, ...] = ("3m",),
    players: tuple[str, ...] = ("random", "focus_fire"),
    episodes: int = 512,
    smaclite_episodes: int = 30,
    tempo_only: bool = False,
    out: Path | None = None,
) -> None:
    """Play and print, and append to a table.

    Args:
        simulators: of ours, smaclite, smax.
        maps: SMAC's names, or ids of SMACv2, which only ours have.
        players: of random, focus_fire, kite.
        episodes: battles of each row.
        smaclite_episodes: the same for SMAClite, which is slow.
        tempo_only: measure how fast marines walk and shoot instead.
        out: CSV file.
    """
    measured = (
        (tempo(simulator) for simulator in simulators)
        if tempo_only
        else rows(simulators, maps, players, episodes, smaclite_episodes)
    )
    for row in measured:
        row = {k: f"{v:.4g}" if isinstance(v, float) else v for k, v in row.items()}
        print(*row.values(), flush=True)
        if out is not None:
            new = not out.exists()
            with out.open("a", newline="") as file:
                table = csv.DictWriter(file, list(row))
                if new:
                    table.writeheader()
                table.writerow(row)


if __name__ == "__main__":
    tyro.cli(main)
