"""Scripted demonstrators of StarCraft battles: simple micromanagement rules with full observability.

`scripted:focus_fire`, `scripted:nearest`, `scripted:kite` and `scripted:micro` choose one; `scripted` is the best of
them on each map. They obey the action mask, read the true positions from the game's state, and walk in straight lines
without regard to terrain.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from demos.experts.starcraft_micro import STEPS, micro
from demos.policies import environments
from mail_envs.games.starcraft.layout import FIRST_LOOK, NO_OP, NORTH, STOP
from mail_envs.games.starcraft.units import MEDIVAC

STYLES = ("focus_fire", "nearest", "kite", "micro")
# Maps on which another style than focus fire has a higher win rate or return.
BEST = {
    **dict.fromkeys(("smac_3s_vs_3z", "smac_3s_vs_4z", "smac_3s_vs_5z", "smac_2m_vs_1z"), "kite"),
    **dict.fromkeys(("smac_3s5z", "smac_3s5z_vs_3s6z", "smac_1c3s5z", "smac_corridor"), "nearest"),
    **dict.fromkeys(("smac_bane_vs_bane", "smac_2c_vs_64zg", "smac_27m_vs_30m"), "nearest"),
}
FAR = np.float32(1e6)
CHASED, CLOSE = 2.8, 2.0  # distances at which a unit retreats from a pursuer, and from any enemy
LOOKAHEAD = 2.5  # assumed length of a step
HOME = 10.0  # distance from the map's center, along an axis, from which walls are avoided


def starcraft(env: Any, style: str = ""):
    """The demonstrator for `env`; the best one if no style is named.

    focus_fire: attack the weakest enemy in range, else walk toward the nearest one. nearest: attack the
    nearest enemy. kite: chased units retreat from enemies and walls, the others focus fire. Medivacs heal the
    ally that has lost the largest fraction of its health, and stay near allies. micro: see `starcraft_micro`.
    """
    style = style or BEST.get(env.id, "micro" if env.id.startswith("smacv2_") else "focus_fire")

    def scripted(observations: np.ndarray, info: Mapping[str, Any], rng: Any) -> np.ndarray:
        battle = Battle(env, env.buffers.world[environments(info)], np.asarray(info["action_mask"]))
        if style == "micro":
            return battle.allowed(micro(battle))
        actions = battle.attack(nearest=style == "nearest")
        if style == "kite":
            actions = np.where(battle.in_danger(), battle.retreat(), actions)
        return battle.allowed(actions)

    return scripted


class Battle:
    """Inputs of the rules for K copies: N agents and T targets (enemies, or allies for medivacs).

    Attributes:
        mask: (K, N, A). rows: (K, N, T), indices of the targets' units. away: float32 (K, N, T, 2), offsets
        from agents to targets. distance: (K, N, T); FAR for targets that are dead, missing or of no use.
    """

    def __init__(self, env: Any, world: np.ndarray, mask: np.ndarray):
        self.world, self.params, n = world, env.game.params[0], env.num_agents
        self.n, self.first = n, int(self.params["first_target"])
        self.mask = mask[..., : int(self.params["num_actions"])]
        targets, units = self.mask.shape[2] - self.first, world["health"].shape[1]
        self.heals = (world["type"][:, :n] == MEDIVAC) & (self.params["medics"] != 0)
        ids = np.arange(targets)
        rows = np.where(self.heals[..., None], ids, n + ids)
        last = np.where(self.heals, n, units)[..., None]
        exists = rows < last
        self.rows = np.where(exists, rows, 0)
        copies = np.arange(len(world))[:, None, None]
        self.away = world["pos"][copies, self.rows] - world["pos"][:, :n, None]
        distance = np.linalg.norm(self.away, axis=-1)
        self.health = world["health"][copies, self.rows]
        self.share = self.health / np.maximum(world["max_health"][copies, self.rows], 1)
        self.strength = self.health + world["shield"][copies, self.rows]
        kinds = world["type"][copies, self.rows]
        can_hit = self.params["damage"][world["type"][:, :n, None], kinds] > 0
        can_heal = self.params["biological"][kinds] != 0
        useful = np.where(self.heals[..., None], can_heal, can_hit)
        valid = exists & useful & (self.health > 0) & (distance > 0)
        self.distance = np.where(valid, distance, FAR)
        reach = self.params["reach"][world["type"][:, :n]][..., None]
        self.in_reach = valid & (distance <= reach)

    def attack(self, nearest: bool) -> np.ndarray:
        """Attack or heal a target in range, else move toward the nearest target; int (K, N)."""
        cost = self.distance if nearest else self.strength + 0.01 * self.distance
        cost = np.where(self.heals[..., None], self.share + FAR * (self.share >= 1), cost)
        may = self.in_reach & (self.mask[..., self.first :] > 0)
        best = np.where(may, cost, 2 * FAR).argmin(-1)
        hits = may.any(-1) & (np.take_along_axis(cost, best[..., None], -1)[..., 0] < FAR)
        nearest_target = self.distance.argmin(-1)[..., None]
        to = np.take_along_axis(self.away, nearest_target[..., None], 2)[:, :, 0]
        there = np.take_along_axis(self.in_reach, nearest_target, -1)[..., 0]
        approach = np.where(there, self.turn_toward(to), along(to))
        return np.where(hits, self.first + best, approach)

    def turn_toward(self, to: np.ndarray) -> np.ndarray:
        """Actions of agents whose nearest target is in range but masked: with cones of sight, they turn to it."""
        if self.first == FIRST_LOOK:
            return np.full(to.shape[:2], STOP)
        return FIRST_LOOK + (to @ self.params["looks"].T).argmax(-1)

    def in_danger(self) -> np.ndarray:
        """Whether a pursuer or any other enemy is too close, bool (K, N)."""
        pos, n = self.world["pos"], self.n
        distance = np.linalg.norm(pos[:, None, n:] - pos[:, :n, None], axis=-1)
        distance[np.broadcast_to(self.world["health"][:, None, n:] <= 0, distance.shape)] = FAR
        pursues = self.world["target"][:, None, n:] == np.arange(n)[:, None]
        return (np.where(pursues, distance, FAR).min(-1) < CHASED) | (distance.min(-1) < CLOSE)

    def retreat(self) -> np.ndarray:
        """The move that leads farthest from enemies and walls, int (K, N)."""
        world, n = self.world, self.n
        after = world["pos"][:, :n, None] + LOOKAHEAD * STEPS
        gaps = np.linalg.norm(world["pos"][:, None, None, n:] - after[:, :, :, None], axis=-1)
        alive = (world["health"] > 0)[:, None, None, n:]
        fear = np.where(alive, 1 / (gaps**2 + 0.1), 0).sum(-1)
        wall = 0.02 * (np.maximum(np.abs(after - 16) - HOME, 0) ** 2).sum(-1)
        closed = self.mask[..., NORTH : NORTH + 4] == 0
        return NORTH + (fear + wall + 9 * closed).argmin(-1)

    def allowed(self, actions: np.ndarray) -> np.ndarray:
        """Replace masked actions by stop, or by the no-op for dead agents: int32 (K, N)."""
        fine = np.take_along_axis(self.mask, actions[..., None], -1)[..., 0] > 0
        other = np.where(self.mask[..., STOP] > 0, STOP, NO_OP)
        return np.where(fine, actions, other).astype(np.int32)


def along(to: np.ndarray) -> np.ndarray:
    """The move along the axis with the larger component of the offset (..., 2)."""
    east, north = to[..., 0], to[..., 1]
    sideways = np.where(east > 0, NORTH + 2, NORTH + 3)
    return np.where(np.abs(east) >= np.abs(north), sideways, np.where(north > 0, NORTH, NORTH + 1))
