"""`scripted:micro`: a player of StarCraft battles that weighs what every action gains and what it risks.

In every round, each agent compares attacks on all targets with standing still and with the four moves. An attack gains
by the share of the target's strength that it takes; a weapon that is not ready gains little. All actions cost by the
damage that enemies could do at the place where they lead: much if the enemy is after this agent, little if it is after
another one. Hence agents that are chased run, the others shoot, and weapons that are loading are used to step back.
Agents choose one after the other: targets that earlier ones will kill are left alone. Until enemies are close, agents
gather.

It reads positions, cooldowns and targets of all units from the game's state.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from mail_envs.games.starcraft.layout import FIRST_LOOK, NORTH, STOP
from mail_envs.games.starcraft.units import BANELING, COLOSSUS, LOOPS_PER_STEP, UNITS

STEPS = np.array([[0, 1], [0, -1], [1, 0], [-1, 0]], np.float32)  # north, south, east, west
STAND_OR_STEP = np.pad(STEPS, ((1, 0), (0, 0)))
NEVER = np.float32(-1e6)
READY = LOOPS_PER_STEP - 1  # loops of cooldown after which a weapon still fires within the round
PATIENCE = 80  # rounds after which agents no longer wait for the enemies
CROWD = 1.5  # distance from the team's center within which waiting agents stay
EDGE = 12.0  # distance from the map's center, along an axis, from which walls are avoided
SLACK = 0.3  # distance out of range that an attack order makes up for before it fires
HITS = np.array([u.hits for u in UNITS.values()], np.float32)
SPLASH = np.ones(len(UNITS), np.float32)  # targets that one attack hits, about
SPLASH[COLOSSUS], SPLASH[BANELING] = 2.0, 2.3


@dataclasses.dataclass(frozen=True)
class Weights:
    """Found by a cross-entropy search for the battles won on `smacv2_zerg_5_vs_5`; a search on protoss finds no better
    ones for protoss. `overkill` was set by hand.
    """

    danger: float = 1.08
    """Cost of the damage that an agent may take, per share of its strength."""
    unaimed: float = 0.118
    """Part of that damage which counts if the enemy is after another agent."""
    margin: float = 1.17
    """Distance beyond its range at which half of an enemy's damage counts."""
    softness: float = 0.42
    """Distance over which that share changes."""
    frailty: float = 0.4
    """Exponent of an agent's strength, by which damage is divided."""
    loading: float = 0.161
    """Gain of an attack in range while the weapon is loading; half of it out of range."""
    kill: float = 0.79
    """Exponent of a target's strength, by which the gain is divided."""
    loyal: float = 0.108
    """Gain of staying with a target."""
    overkill: float = 1.5
    """Cost of a target that will be dead already."""
    approach: float = 0.197
    """Cost of every unit of distance to be walked until the target is in range."""
    gather: float = 0.0756
    """Cost of the distance from the team's center; five times that while waiting."""
    hold: float = 11.9
    """Distance of the nearest enemy beyond which agents wait."""


WEIGHTS = Weights()


class Micro:
    """What N agents do against M enemies in K battles.

    Args:
        battle: the `demos.experts.starcraft.Battle`.
        w: weights.

    Attributes:
        hurt: float32 (K, N, M), cost of standing in the range of each enemy. useful: bool (K, N, M), enemies that are
            alive and that the agent's weapon can hit. allowed: bool (K, N, M), by the mask; with cones of sight, agents
            turn to other ones in reach.
    """

    def __init__(self, battle: Any, w: Weights = WEIGHTS):
        self.battle, self.w, self.n, self.first = battle, w, battle.n, battle.first
        self.params, self.world, self.mask = battle.params, battle.world, battle.mask
        params, world, n = self.params, self.world, self.n
        kinds, pos = world["type"], world["pos"]
        self.kinds, self.foes = kinds[:, :n], kinds[:, n:]
        self.pos, self.foe_pos = pos[:, :n], pos[:, n:]
        alive = world["health"] > 0
        self.alive, self.foe_alive = alive[:, :n], alive[:, n:]
        strength = np.maximum(world["health"] + world["shield"], 1)
        self.strength, self.foe_strength = strength[:, :n], strength[:, n:]
        damage = params["damage"]
        # Attacks per round, once for every target that they hit; weapons fire once a round at most.
        self.rate = SPLASH * LOOPS_PER_STEP / np.maximum(params["period"], LOOPS_PER_STEP)
        self.hit = damage[self.kinds[..., None], self.foes[:, None]] * HITS[self.kinds][..., None]
        taken = damage[self.foes[:, None], self.kinds[..., None]] * HITS[self.foes][:, None]
        self.taken = taken * self.rate[self.foes][:, None]
        chases = world["target"][:, None, n:] == np.arange(n)[:, None]
        self.hurt = self.taken * np.where(chases, 1, w.unaimed) * self.foe_alive[:, None]
        self.hurt = self.hurt / self.strength[..., None] ** w.frailty
        radii = params["radius"][self.kinds][..., None] + params["radius"][self.foes][:, None]
        self.reach = params["range"][self.kinds][..., None] + radii
        self.foe_reach = params["range"][self.foes][:, None] + radii
        self.step = params["speed"][self.kinds] * LOOPS_PER_STEP
        self.allowed = self.mask[..., self.first : self.first + self.foes.shape[1]] > 0
        self.useful = (self.hit > 0) & self.foe_alive[:, None]
        self.gap = self.gaps(self.pos[:, :, None])[:, :, 0]

    def gaps(self, places: np.ndarray) -> np.ndarray:
        """Distances (K, N, P, M) of all enemies from P places of every agent, (K, N, P, 2)."""
        return np.linalg.norm(places[:, :, :, None] - self.foe_pos[:, None, None], axis=-1)

    def danger(self, gaps: np.ndarray) -> np.ndarray:
        """Cost (K, N, P) of places at these distances from the enemies."""
        inside = (self.foe_reach[:, :, None] + self.w.margin - gaps) / self.w.softness
        share = 1 / (1 + np.exp(-np.clip(inside, -30, 30)))
        return self.w.danger * (self.hurt[:, :, None] * share).sum(-1)

    def value(self, may: np.ndarray) -> np.ndarray:
        """Value of each enemy as a target, (K, N, M); 1 for the best one in the battle that anybody `may` attack."""
        alive = np.maximum(self.alive.sum(1), 1)[:, None]
        threat = (self.taken * self.alive[..., None]).sum(1) / alive + 0.5
        value = self.hit * self.rate[self.kinds][..., None]
        value = value * (threat / self.foe_strength**self.w.kill)[:, None]
        return value / np.maximum((value * may).max((1, 2), keepdims=True), 1e-9)

    def attacks(self) -> tuple[np.ndarray, np.ndarray]:
        """Utility of attacking each enemy, (K, N, M), and whether the attack fires in this round."""
        w, world = self.w, self.world
        # Orders to attack what is out of reach do nothing.
        may = self.useful & (self.gap <= self.params["reach"][self.kinds][..., None])
        may &= self.allowed | (self.first > FIRST_LOOK)
        near = self.gap <= self.reach + SLACK
        fires = near & self.allowed & (world["cooldown"][:, : self.n, None] < READY)
        share = np.where(fires, 1, np.where(near, w.loading, w.loading / 2))
        loyal = world["target"][:, : self.n, None] == self.n + np.arange(self.foes.shape[1])
        gain = share * (0.5 + self.value(may) + w.loyal * loyal)
        way = np.maximum(self.gap - self.reach, 0)
        walked = np.minimum(way, self.step[..., None]) / np.maximum(self.gap, 1e-3)
        here, to = self.pos[:, :, None], self.foe_pos[:, None] - self.pos[:, :, None]
        danger = self.danger(self.gaps(here + to * walked[..., None]))
        return np.where(may, gain - w.approach * way - danger, NEVER), fires & may

    def moves(self) -> np.ndarray:
        """Utility of standing still and of the four moves, (K, N, 5)."""
        w, world = self.w, self.world
        places = self.pos[:, :, None] + STAND_OR_STEP * self.step[..., None, None]
        gaps = self.gaps(places)
        way = np.maximum(gaps - self.reach[:, :, None], 0)
        way = np.where(self.useful[:, :, None], way, -NEVER).min(-1)
        way = np.where(way < -NEVER, way, 0)  # nobody to attack
        center = (self.pos * self.alive[..., None]).sum(1)
        center /= np.maximum(self.alive.sum(1), 1)[:, None]
        apart = np.linalg.norm(places - center[:, None, None], axis=-1)
        pairs = self.foe_alive[:, None] & self.alive[..., None]
        nearest = np.where(pairs, self.gap, -NEVER).min((1, 2))
        waits = (nearest > w.hold) & (world["rounds"] < PATIENCE)
        gathering = 5 * w.gather * np.maximum(apart - CROWD, 0)
        cost = np.where(waits[:, None, None], gathering, w.approach * way + w.gather * apart)
        cost += 0.02 * (np.maximum(np.abs(places - 16) - EDGE, 0) ** 2).sum(-1)
        utility = -cost - self.danger(gaps)
        utility[..., 1:] -= 0.01  # rather stand still
        utility[..., 1:][self.mask[..., NORTH : NORTH + 4] == 0] = NEVER
        return utility

    def actions(self) -> np.ndarray:
        """Actions int (K, N); those of medivacs and of the dead have no meaning."""
        attacks, fires = self.attacks()
        moves = self.moves()
        step = moves.argmax(-1)
        actions = np.where(step == 0, STOP, NORTH - 1 + step)
        rows, due = np.arange(len(actions)), np.zeros(self.foe_strength.shape, np.float32)
        for i in range(self.n):
            utility = attacks[:, i] - self.w.overkill * (due >= self.foe_strength)
            best = utility.argmax(-1)
            better = utility[rows, best] > moves[:, i].max(-1)
            to = self.foe_pos[rows, best] - self.pos[:, i]
            look = self.battle.turn_toward(to[:, None])[:, 0]
            order = np.where(self.allowed[rows, i, best], self.first + best, look)
            actions[better, i] = order[better]
            due[rows, best] += self.hit[rows, i, best] * (better & fires[rows, i, best])
        return actions


def micro(battle: Any, w: Weights = WEIGHTS) -> np.ndarray:
    """Actions int (K, N) of the agents in `battle`, a `demos.experts.starcraft.Battle`."""
    actions = Micro(battle, w).actions()
    if not battle.heals.any():
        return actions
    return np.where(battle.heals, battle.attack(nearest=False), actions)
