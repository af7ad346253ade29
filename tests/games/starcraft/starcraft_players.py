"""Simple ways to play a battle, on the arrays of E copies."""

from __future__ import annotations

import numpy as np

from demos.experts.starcraft import starcraft
from mail_envs.games.starcraft.game import StarCraft
from mail_envs.games.starcraft.units import MEDIVAC
from mail_envs.player_functions import Synchronous
from mail_envs.vector import VectorGame


def at_random(vector, info, rng) -> np.ndarray:
    """Uniform over what is allowed, int (E, N)."""
    mask = np.asarray(info["action_mask"])
    return (rng.random(mask.shape, dtype=np.float32) * mask).argmax(axis=-1)


def scripted(style: str):
    """The scripted demonstrator of a style, as a player."""

    def player(vector, info, rng) -> np.ndarray:
        return starcraft(vector, style)(None, info, rng)

    return player


focus_fire, kite = scripted("focus_fire"), scripted("kite")


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
