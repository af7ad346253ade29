"""Play episodes with given seeds in many environments at once, and yield them whole and in order.

What is played depends on the seeds alone, not on the number of environments: policies draw random numbers keyed by the
episode's seed and the round (`demos.keyed_random`).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from demos.actions import checked_actions, forbidden, own_actions
from demos.description import describe
from demos.episode import Episode
from demos.keyed_random import KeyedRandom
from demos.policies import Policy

log = logging.getLogger(__name__)

MAX_ATTEMPTS = 3  # at an episode whose simulator dies


def rollouts(env: Any, policy: Policy, seeds: Sequence[int] | np.ndarray) -> Iterator[Episode]:
    """Play the episodes with these seeds in `env` (a `VectorGame`), E at a time, and yield them in order.

    An episode whose simulator process died or timed out is played again, and the loss is logged.

    Raises:
        ValueError: `env` was made with autoreset=False, where nothing keeps what an episode showed last.
        ChildProcessError: a simulator was lost MAX_ATTEMPTS times during one episode.
    """
    if not env.autoreset:
        raise ValueError(
            f"{env.id} was made with autoreset=False: episodes are played with autoreset=True"
        )
    seeds = np.asarray(seeds, np.int64)
    for start in range(0, len(seeds), env.num_envs):
        yield from _batch(env, policy, seeds[start : start + env.num_envs])


def _batch(env: Any, policy: Policy, seeds: np.ndarray, attempts: int = 1) -> Iterator[Episode]:
    """One episode in each of the first len(seeds) environments; finished environments are ignored."""
    padded = np.concatenate([seeds, np.repeat(seeds[-1:], env.num_envs - len(seeds))])
    observations, info = env.reset_to(padded)
    tape = _Tape(env)
    tape.write("observations", 0, observations)
    tape.write("states", 0, info["state"])
    tape.write("alive", 0, info["alive"])
    tape.write_next(0, info["participation"], info.get("action_mask"))
    running = np.arange(env.num_envs) < len(seeds)
    finished: dict[int, Episode] = {}
    lost: list[int] = []
    following = 0
    t = 0
    while running.any():
        rows = np.flatnonzero(running)
        actions = act(env, policy, rows, observations, info)
        check_allowed(env, rows, actions, info)
        tape.write("actions", t, actions)
        observations, rewards, terminated, truncated, info = env.step(actions)
        done = terminated | truncated
        t += 1
        tape.write("rewards", t - 1, rewards)
        tape.write("observations", t, _where(done, info["final_observation"], observations))
        tape.write("states", t, _where(done, info["final_state"], info["state"]))
        tape.write("alive", t, _where(done, info["final_alive"], info["alive"]))
        acting = _where(done, info["final_participation"], info["participation"])
        masks = None
        if env.discrete:
            masks = _where(done, info["final_action_mask"], info["action_mask"])
        tape.write_next(t, acting, masks)
        for e in np.flatnonzero(done & running):
            if info["worker_restarted"][e]:
                lost.append(int(e))
                continue
            metrics = {k: float(v[e]) for k, v in info["metrics"].items()}
            finished[int(e)] = tape.episode(
                int(e), t, bool(terminated[e]), bool(truncated[e]), int(seeds[e]), metrics
            )
        running &= ~done
        while following in finished:  # yield an episode as soon as all earlier ones are finished
            yield finished.pop(following)
            following += 1
    if lost:
        finished |= zip(lost, _again(env, policy, seeds[lost], attempts), strict=True)
    yield from (finished[e] for e in range(following, len(seeds)))


def _again(env: Any, policy: Policy, seeds: np.ndarray, attempts: int) -> Iterator[Episode]:
    """Play the episodes again whose simulators died."""
    shown = ", ".join(map(str, seeds[:5])) + (", ..." if len(seeds) > 5 else "")
    if attempts >= MAX_ATTEMPTS:
        raise ChildProcessError(
            f"the simulator of {env.id} was lost {attempts} times during the episodes of the seeds {shown}"
        )
    log.warning(
        "%s: lost with their simulators and played again: episodes of the seeds %s", env.id, shown
    )
    return _batch(env, policy, seeds, attempts + 1)


def act(
    env: Any, policy: Policy, rows: np.ndarray, observations: np.ndarray, info: dict
) -> np.ndarray:
    """Actions (E, N[, A]): the policy's for environments `rows`; elsewhere the first allowed action, or zero.

    The policy's random numbers are keyed by episode and round. ValueError, TypeError: it returned actions
    with the wrong shape or type.
    """
    names = ("participation", "action_mask", "alive", "state", "round", "seed")
    view = {k: info[k][rows] for k in names if k in info} | {"environment": rows}
    rng = KeyedRandom(view["seed"], view["round"])
    chosen = checked_actions(policy(observations[rows], view, rng), env, len(rows))
    if env.discrete:
        actions = info["action_mask"].argmax(-1).astype(chosen.dtype)
    else:
        actions = np.zeros((env.num_envs, *chosen.shape[1:]), np.float32)
    actions[rows] = chosen
    return actions


def check_allowed(env: Any, rows: np.ndarray, actions: np.ndarray, info: dict) -> None:
    """ValueError: an agent of environments `rows` chose a forbidden action, which the game would replace by φ.

    The set would then say that it was done. Actions that are in no space are left to the game, which names them.
    """
    if not env.discrete:
        return
    dims = np.array(env.action_dims)
    inside = (actions[rows] >= 0) & (actions[rows] < dims)
    acts = (info["participation"][rows] != 0) & info["alive"][rows] & inside
    wrong = forbidden(np.where(inside, actions[rows], 0), info["action_mask"][rows], acts)
    if wrong.any():
        k, i = np.argwhere(wrong)[0]
        e = rows[k]
        raise ValueError(
            f"the policy chose the action {actions[e, i]} for {env.agents[i]} in round {info['round'][e]} of the "
            f"episode of seed {info['seed'][e]}, which is forbidden there: info['action_mask'] says what is allowed"
        )


def _where(done: np.ndarray, final: np.ndarray, current: np.ndarray) -> np.ndarray:
    return np.where(done.reshape(-1, *[1] * (current.ndim - 1)), final, current)


class _Tape:
    """Recorded data of E environments, in arrays (T, E, ...) that grow as needed."""

    def __init__(self, env: Any) -> None:
        metadata = describe(env)
        layout = metadata["layout"]
        self.num_actions, self.own = layout["num_actions"], own_actions(metadata["action_dims"])
        e, n, a = env.num_envs, env.num_agents, self.num_actions
        rounds = min(env.max_rounds, 63) + 1
        shapes = {
            "observations": ((n, layout["observation_size"]), np.float32),
            "states": ((layout["state_size"],), np.float32),
            "actions": ((n,), np.int32) if env.discrete else ((n, a), np.float32),
            "participation": ((n,), np.uint8),
            "rewards": ((n,), np.float32),
            "alive": ((n,), np.bool_),
            **({"action_masks": ((n, a), np.uint8)} if env.discrete else {}),
        }
        self.arrays = {
            k: np.zeros((rounds, e, *shape), dtype) for k, (shape, dtype) in shapes.items()
        }

    def write(self, name: str, t: int, values: np.ndarray) -> None:
        array = self.arrays[name]
        if t >= len(array):
            array = self.arrays[name] = np.concatenate([array, np.zeros_like(array)])
        array[t] = values

    def write_next(self, t: int, participation: np.ndarray, masks: np.ndarray | None) -> None:
        """Who acts in round t, and what they may do; φ is no action."""
        self.write("participation", t, participation)
        if masks is not None:
            self.write("action_masks", t, masks[..., : self.num_actions] * self.own)

    def episode(
        self,
        e: int,
        length: int,
        terminated: bool,
        truncated: bool,
        seed: int,
        metrics: dict[str, float],
    ) -> Episode:
        """The first `length` rounds of environment e; actions of absent agents are set to zero."""
        short = ("actions", "rewards")
        part: dict[str, Any] = {
            k: v[: length + (k not in short), e].copy() for k, v in self.arrays.items()
        }
        part["participation"], final = part["participation"][:-1], part["participation"][-1]
        part["actions"][part["participation"] == 0] = 0
        return Episode(
            action_masks=part.pop("action_masks", None),
            final_participation=final,
            **part,
            terminated=terminated,
            truncated=truncated,
            seed=seed,
            metrics=metrics,
        )
