"""Small battles of any units, on open ground, on the engine of `smac_3m`."""

from __future__ import annotations

import numpy as np

from mail_envs.games.starcraft.game import StarCraft
from mail_envs.games.starcraft.orders import GUARD
from mail_envs.games.starcraft.units import TYPES
from mail_envs.player_functions import Synchronous
from mail_envs.vector import VectorGame

STOP, NORTH, SOUTH, EAST, WEST, ATTACK = 1, 2, 3, 4, 5, 6
NEVER = 1e6  # a cooldown


class Skirmish:
    """Three agents, rows 0 to 2, against three enemies, rows 3 to 5; those that are not put are dead.

    Enemies stay where they are until somebody comes near; zerg do not regenerate unless `regenerates`.
    """

    def __init__(self, copies=1, regenerates=False, **changes):
        game = StarCraft("smac_3m")
        params = game.params
        params["ground"], params["has_walls"] = 1, 0
        params["enemy_plan"], params["medics"], params["has_banelings"] = GUARD, 1, 1
        if not regenerates:
            params["regeneration"] = 0
        for name, value in changes.items():
            params[name] = value
        self.params = params[0]
        player = Synchronous()
        self.vector = VectorGame(game, player, copies, autoreset=False, max_rounds=10**6)
        self.vector.reset(seed=0)
        self.world = self.vector.buffers.world
        self.world["health"] = self.world["shield"] = 0

    def put(self, row, name, x, y, **values):
        """A unit at full strength, unless values of its fields are given."""
        kind = TYPES.index(name)
        own = {
            "type": kind, "max_health": self.params["full_health"][kind],
            "health": self.params["full_health"][kind], "shield": self.params["max_shield"][kind],
            "energy": 50.0 * (name == "medivac"), "pos": (x, y), **values,
        }  # fmt: skip
        for field, value in own.items():
            self.world[field][:, row] = value
        return self

    def play(self, *actions, rounds=1):
        """The agents' actions, by row; those without one stop. They are not checked against the mask."""
        alive = self.world["health"][:, :3] > 0
        self.vector.buffers.action_mask[...] = 1
        told = np.array([*actions, *[STOP] * (3 - len(actions))])
        for _ in range(rounds):
            self.vector.buffers.alive[...] = alive
            self.vector.buffers.action_mask[...] = 1
            self.vector.step(np.broadcast_to(told, alive.shape).copy())
            alive = self.world["health"][:, :3] > 0
        return self

    def strength(self, row):
        return self.world["health"][:, row] + self.world["shield"][:, row]
