"""Checks that the three views give equal trajectories, and clear messages for user errors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from mail_envs.conformance.subject import (
    ConformanceError,
    Subject,
    own_action,
    play_vector,
    require,
)

SEEDS = (0, 1, 2)


def check_parallel_view(subject: Subject) -> None:
    """The parallel view gives the same trajectory as the vector view."""
    for seed in SEEDS:
        expected, env = play_vector(subject, seed), subject.view("parallel")
        observations, infos = env.reset(seed=seed)
        for t, known in enumerate(expected.rounds):
            actions = {}
            for i, agent in enumerate(env.possible_agents):
                if agent in env.agents:
                    _same(observations[agent], known.observations[i], f"{agent}, round {t}")
                    acts = bool(infos[agent]["participates"])
                    _same(acts, bool(known.participation[i]), f"participation, round {t}")
                    actions[agent] = own_action(env.vector, i, known.actions[i])
            observations, rewards, terminations, _, infos = env.step(actions)
            for agent, reward in rewards.items():
                known_reward = known.rewards[env.possible_agents.index(agent)]
                _same(reward, known_reward, f"reward of {agent}, round {t}")
        _same(len(env.agents), 0, "number of agents after the end")
        for agent, terminated in terminations.items():
            i = env.possible_agents.index(agent)
            _same(observations[agent], expected.final[i], f"final observation of {agent}")
            _same(terminated, expected.terminated, f"termination of {agent}")


def check_aec_view(subject: Subject) -> None:
    """The AEC view visits exactly the participants, with the same observations and rewards."""
    for seed in SEEDS:
        expected, env = play_vector(subject, seed), subject.view("aec")
        env.reset(seed=seed)
        paid = dict.fromkeys(env.possible_agents, 0.0)
        visited: list[tuple[int, int]] = []
        for agent in env.agent_iter():
            observation, reward, terminated, truncated, info = env.last()
            i = env.possible_agents.index(agent)
            paid[agent] += reward
            if terminated or truncated:
                env.step(None)
                continue
            known = expected.rounds[info["round"]]
            visited.append((info["round"], i))
            _same(observation, known.observations[i], f"{agent}, round {info['round']}")
            _same(info["participation"], known.participation, f"round {info['round']}")
            env.step(own_action(env.vector, i, known.actions[i]))
        turns = [
            (t, i) for t, r in enumerate(expected.rounds) for i in np.flatnonzero(r.participation)
        ]
        _same(len(visited), len(turns), "number of turns")
        _same(visited, turns, "order of turns (round, agent)")
        total = np.sum([r.rewards for r in expected.rounds], axis=0, dtype=np.float64)
        found = np.array([paid[agent] for agent in env.possible_agents])
        require(
            np.allclose(total, found, rtol=1e-5, atol=1e-4),
            f"the AEC view paid {found}, the vector view {total}",
            "rewards must depend only on the state record and the actions",
        )


def _same(found: Any, expected: Any, what: str) -> None:
    if not np.array_equal(found, expected):
        raise ConformanceError(
            f"two views of one episode differ ({what}): {found} against {expected}",
            "a game may read only its state record, the actions, `acts` and `rng`; "
            "initialize every field in reset_env",
        )


def check_errors(subject: Subject) -> None:
    """Steps before reset or after the end, and actions outside their space, raise clear errors."""
    fix = "do not override step or reset of the views"
    vector = subject.vector(2)
    actions = np.zeros_like(vector.buffers.actions)
    _raises(RuntimeError, lambda: vector.step(actions), "vector: step before reset", fix)
    vector.reset(seed=0)
    bad = actions.copy()
    bad[...] = vector.num_actions + 1 if vector.discrete else 1e9
    before = vector.buffers.observations.copy()
    while not vector.buffers.participation.any():
        vector.step(actions)
        before = vector.buffers.observations.copy()
    _raises(ValueError, lambda: vector.step(bad), "vector: an action outside its space", fix)
    same = np.array_equal(before, vector.buffers.observations)
    require(same, "a step that raised changed the observations", fix)
    _raises(ValueError, lambda: vector.step(actions[:1]), "vector: actions of a wrong shape", fix)
    vector.step(actions)
    _check_view_errors(subject, actions[0], bad[0], fix)


def _check_view_errors(subject: Subject, good: np.ndarray, bad: np.ndarray, fix: str) -> None:
    """`good` and `bad`: one action of every agent."""
    aec, parallel = subject.view("aec"), subject.view("parallel")
    names, vector = aec.possible_agents, aec.vector
    goods = {a: own_action(vector, i, good[i]) for i, a in enumerate(names)}
    bads = {a: own_action(vector, i, bad[i]) for i, a in enumerate(names)}
    _raises(RuntimeError, lambda: aec.step(goods[names[0]]), "aec: step before reset", fix)
    aec.reset(seed=0)
    wrong = bads[aec.agent_selection]
    _raises(ValueError, lambda: aec.step(wrong), "aec: an action outside its space", fix)
    for agent in aec.agent_iter():
        terminated, truncated = aec.last()[2:4]
        aec.step(None if terminated or truncated else goods[agent])
    _raises(RuntimeError, lambda: aec.step(goods[names[0]]), "aec: step after the end", fix)
    _raises(RuntimeError, lambda: parallel.step({}), "parallel: step before reset", fix)
    _, infos = parallel.reset(seed=0)
    while not any(info["participates"] for info in infos.values()):
        *_, infos = parallel.step({})
    _raises(ValueError, lambda: parallel.step(bads), "parallel: an action outside its space", fix)
    while parallel.agents:
        parallel.step({agent: goods[agent] for agent in parallel.agents})
    _raises(RuntimeError, lambda: parallel.step({}), "parallel: step after the end", fix)


def _raises(kind: type[Exception], call: Callable[[], Any], what: str, fix: str) -> None:
    try:
        call()
    except kind:
        return
    except Exception as error:
        raise ConformanceError(f"{what} raised {error!r}, not {kind.__name__}", fix) from error
    raise ConformanceError(f"{what} raised nothing", fix)
