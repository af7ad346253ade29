"""Simple ways to play a battle, on the arrays of E copies."""

from __future__ import annotations

import numpy as np

from mail_envs.games.starcraft.game import StarCraft
from mail_envs.games.starcraft.units import MEDIVAC
from mail_envs.player_functions import Synchronous
from mail_envs.vector import VectorGame

STOP, NORTH, SOUTH, EAST, WEST, FIRST = 1, 2, 3, 4, 5, 6
MOVES = np.array([[0, 1], [0, -1], [1, 0], [-1, 0]])


def at_random(vector, info, rng) -> np.ndarray:
    """Uniform over what is allowed, int (E, N)."""
    mask = np.asarray(info["action_mask"])
    return (rng.random(mask.shape, dtype=np.float32) * mask).argmax(axis=-1)


def offsets(world, num_agents) -> np.ndarray:
    """From agents to enemies, (E, N, M, 2)."""
    pos = world["pos"]
    return pos[:, None, num_agents:] - pos[:, :num_agents, None]


def nearest_first(vector, info, rng) -> np.ndarray:
    """Attack the nearest enemy in reach, else walk toward the nearest one."""
    return _attack_or_approach(vector, info, lambda distance, strength: distance)


def focus_fire(vector, info, rng) -> np.ndarray:
    """Attack the weakest enemy in reach, else walk toward the nearest one."""
    return _attack_or_approach(vector, info, lambda distance, strength: strength + 0.01 * distance)


def _attack_or_approach(vector, info, cost) -> np.ndarray:
    world, mask, n = vector.buffers.world, np.asarray(info["action_mask"]), vector.num_agents
    away = offsets(world, n)
    m = away.shape[2]
    distance = np.linalg.norm(away, axis=-1)
    strength = (world["health"] + world["shield"])[:, None, n:]
    reachable = mask[:, :, FIRST : FIRST + m] > 0
    best = np.where(reachable, cost(distance, strength), np.inf).argmin(axis=-1)
    alive = (world["health"] > 0)[:, n:]
    nearest = np.where(alive[:, None], distance, np.inf).argmin(axis=-1)
    to = np.take_along_axis(away, nearest[..., None, None], axis=2)[:, :, 0]
    actions = np.where(reachable.any(-1), FIRST + best, _along(to))
    return _allowed(actions, mask)


def _along(to: np.ndarray) -> np.ndarray:
    """The move along the axis with the larger offset, of (..., 2)."""
    x, y = to[..., 0], to[..., 1]
    return np.where(
        np.abs(x) >= np.abs(y), np.where(x > 0, EAST, WEST), np.where(y > 0, NORTH, SOUTH)
    )


def _allowed(actions: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Stop instead of what is not allowed; nothing for the dead."""
    fine = np.take_along_axis(mask, actions[..., None], axis=-1)[..., 0] > 0
    return np.where(fine, actions, np.where(mask[..., STOP] > 0, STOP, 0))


def kite(vector, info, rng) -> np.ndarray:
    """Whoever is chased runs, away from enemies and walls; the others shoot the weakest enemy in reach."""
    world, mask, n = vector.buffers.world, np.asarray(info["action_mask"]), vector.num_agents
    alive = (world["health"] > 0)[:, None, n:]
    away = offsets(world, n)
    distance = np.where(alive, np.linalg.norm(away, axis=-1), np.inf)
    chased = world["target"][:, None, n:] == np.arange(n)[None, :, None]
    close = (np.where(chased, distance, np.inf).min(-1) < 2.4) | (distance.min(-1) < 1.8)
    after = world["pos"][:, :n, None] + 1.5 * MOVES  # (E, N, 4, 2)
    gaps = world["pos"][:, None, None, n:] - after[:, :, :, None]
    fear = np.where(alive[:, :, None], 1 / (np.linalg.norm(gaps, axis=-1) ** 2 + 0.1), 0).sum(-1)
    wall = (np.maximum(np.abs(after - 16) - 10, 0) ** 2).sum(-1) * 0.02
    flee = NORTH + (fear + wall + 9 * (mask[:, :, 2:6] == 0)).argmin(-1)
    return np.where(close & (mask[..., STOP] > 0), flee, focus_fire(vector, info, rng))


def built_in(vector, info, rng) -> np.ndarray:
    """The original's heuristic: every agent attacks the enemy that was nearest, however far, until it is dead.

    The orders are written into the records, since the mask allows near targets only; what the agents then say is
    forbidden, so that the orders stay.
    """
    world, n = vector.buffers.world, vector.num_agents
    params = vector.game.params[0]
    for e in range(len(world)):
        health, kind = world["health"][e], world["type"][e]
        distance = np.linalg.norm(world["pos"][e][None] - world["pos"][e][:n, None], axis=-1)
        for i in np.flatnonzero(health[:n] > 0):
            old = world["target"][e, i]
            if kind[i] == MEDIVAC:
                biological = params["biological"][kind] > 0
                fits = biological & (health < world["max_health"][e]) & (health > 0)
                fits[n:] = False
            else:
                fits = (params["damage"][kind[i], kind] > 0) & (health > 0)
                fits[:n] = False
            if (old < 0 or not fits[old]) and fits.any():
                world["target"][e, i] = np.where(fits, distance[i], np.inf).argmin()
    return np.zeros((len(world), n), int)


def play(game: str | StarCraft, player, episodes: int, seed: int = 0, **options) -> dict:
    """`episodes` battles side by side: arrays (episodes,) of returns, lengths and wins."""
    game = StarCraft(game, **options) if isinstance(game, str) else game
    vector = VectorGame(game, Synchronous(), episodes, autoreset=False)
    _, info = vector.reset(seed=seed)
    rng = np.random.default_rng(seed)
    for _ in range(vector.max_rounds):
        actions = player(vector, info, rng)
        _, _, terminated, truncated, info = vector.step(actions)
        if (terminated | truncated).all():
            break
    metrics = {name: np.array(column) for name, column in info["metrics"].items()}
    return {**metrics, "length": np.array(vector.buffers.clock["rounds"])}
