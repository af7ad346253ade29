"""Scripted demonstrators of predator-prey and tag: the prey flees within the box, the adversaries chase it.

The prey plans first: it assumes that every adversary moves straight toward its nearest prey, and searches all
sequences of four pushes for the one with the lowest cost of contacts, proximity and walls. The adversaries
then move to where their prey plans to be, avoiding the obstacles and each other.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from demos.experts.planning import APPROACH, FLEE, bodies_of, coast, distance, plan, pursue, unpack
from mail_envs.code_keys import disk_cached

DEPTH = 4
CROWDING = 0.3


def predator_prey(env: Any):
    """The demonstrators for `env`: the prey is the first agent; any number of adversaries and obstacles."""
    bodies, prey = bodies_of(env), np.arange(env.num_agents) == 0

    def scripted(observations: np.ndarray, info: Mapping[str, Any], rng: Any) -> np.ndarray:
        states = np.ascontiguousarray(info["state"])
        acts = np.ascontiguousarray(info["participation"])
        return chase_and_flee(states, acts, prey, DEPTH, bodies)

    return scripted


def tag(env: Any):
    """The demonstrators of MPE's tag, which see each other and all obstacles; any number of them."""
    p = env.game.params[0]
    if p["agents_shown"] >= 0 or p["obstacles_shown"] >= 0:
        raise ValueError(
            "the scripted demonstrator of mpe_simple_tag needs observations of everything"
        )
    bodies, n = bodies_of(env), env.num_agents
    prey = np.arange(n) >= p["num_adversaries"]
    obstacles = env.game.state_dtype["landmark"].shape[0]

    def scripted(observations: np.ndarray, info: Mapping[str, Any], rng: Any) -> np.ndarray:
        velocity, place = observations[..., :2], observations[..., 2:4]
        agents = np.concatenate([place, velocity], axis=-1).reshape(len(observations), -1)
        landmarks = observations[:, 0, 4 : 4 + 2 * obstacles] + np.tile(place[:, 0], obstacles)
        states = np.concatenate([agents, landmarks], axis=-1)
        acts = np.ascontiguousarray(info["participation"])
        return chase_and_flee(states, acts, prey, DEPTH, bodies)

    return scripted


@disk_cached
def nearest(agents, j, prey):
    """Index of the prey nearest to agent j."""
    best, found = np.inf, 0
    for i in range(len(agents)):
        if prey[i]:
            d = distance(agents[j, 0], agents[j, 1], agents[i])
            if d < best:
                best, found = d, i
    return found


@disk_cached
def chase_and_flee(states, participation, prey, depth, bodies):
    """Actions of the prey, bool (N,), and of the adversaries, all other agents: int32 (K, N)."""
    num_envs, n = participation.shape
    actions = np.zeros((num_envs, n), np.int32)
    for e in range(num_envs):
        agents, obstacles = unpack(states[e], n)
        paths = coast(agents, depth, bodies)
        for j in range(n):
            if not prey[j]:
                target = agents[nearest(agents, j, prey), :2]
                paths[j] = pursue(agents[j], target, depth, j, bodies)
        for i in range(n):
            if prey[i] and participation[e, i]:
                reach = np.where(prey, 0.0, bodies.radius + bodies.radius[i])
                actions[e, i], paths[i] = plan(
                    FLEE, i, agents[i], paths[i], paths, obstacles, reach, 0.0, depth, bodies
                )
        for j in range(n):
            if not prey[j] and participation[e, j]:
                reach = np.where(prey, 0.0, bodies.radius + bodies.radius[j])
                reach[j] = 0.0
                goal = paths[nearest(agents, j, prey)]
                actions[e, j], paths[j] = plan(
                    APPROACH, j, agents[j], goal, paths, obstacles, reach, CROWDING, depth, bodies
                )
    return actions
