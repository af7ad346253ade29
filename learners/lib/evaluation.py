"""Evaluation: play the episodes of given seeds and compute statistics of their returns.

All evaluations use this module: those at the end of training, `learners.evaluate`, cross-play and
`learners.report`. Every episode has its own seed, and the policy's random numbers are keyed by this seed and the
round (`demos.keyed_random`). Results are therefore reproducible, do not depend on how many copies of the game run at a
time, and two policies start from the same initial states. The return is averaged over the game's `return_agents`
(all agents by default).
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

import mail_envs
from demos.description import counted_agents
from demos.policies import EXPERTS, load_policy
from demos.rollouts import act
from learners.lib.outcomes import winning
from learners.lib.statistics import mean_interval
from mail_envs.bars import bar
from mail_envs.cores import usable_cores
from mail_envs.markov_game import KernelGame
from mail_envs.streams import stream_seed

MOST_COPIES = 256  # of a compiled game; simulators run one copy per processor
MOST_ATTEMPTS = 3  # to play an episode whose worker dies


@dataclasses.dataclass(frozen=True)
class Played:
    """Results of K episodes, in the order of their seeds.

    returns: float64 (K, N). lengths: int64 (K,). early: bool (K,), whether they ended before the time limit.
    metrics: the game's own, float64 (K,) each.
    """

    returns: np.ndarray
    lengths: np.ndarray
    early: np.ndarray
    metrics: dict[str, np.ndarray]


def evaluation_seeds(seed: int, episodes: int) -> np.ndarray:
    """Seeds of the evaluation episodes of a run with this seed, int64 (episodes,)."""
    return stream_seed(seed, "evaluation") + np.arange(episodes)


def make_copies(id: str, episodes: int, arguments: Mapping[str, Any]) -> Any:
    """A `VectorGame` for playing this many episodes, with a bounded number of copies."""
    kind = mail_envs.spec(id).load(arguments.get("backend"))
    count, workers = MOST_COPIES, {}
    if not issubclass(kind, KernelGame):
        count = arguments.get("num_workers") or usable_cores()
        workers = {"num_workers": min(count, episodes)}
    return mail_envs.make_vec(
        id, min(count, episodes), autoreset=False, replayable=True, **{**workers, **arguments}
    )


# --------------------------------------------------------------------------------------------- playing
def play(vec: Any, policy: Callable, seeds: np.ndarray, label: str = "") -> Played:
    """Play the episodes of `seeds`, int64 (K,), in the E copies of `vec`; `label` is that of a progress bar, if any.

    An episode whose worker dies is played again. RuntimeError when the worker dies in all three attempts.
    """
    count = len(seeds)
    played = Played(
        np.zeros((count, vec.num_agents)),
        np.zeros(count, np.int64),
        np.zeros(count, np.bool_),
        {name: np.zeros(count) for name in vec.metrics},
    )
    todo = np.arange(count)
    for _ in range(MOST_ATTEMPTS):
        lost = []
        with bar(label, len(todo), bool(label)) as done:
            for start in range(0, len(todo), vec.num_envs):
                batch = todo[start : start + vec.num_envs]
                lost.append(_play_batch(vec, policy, seeds, batch, played, start, done))
        todo = np.concatenate(lost)
        if not len(todo):
            return played
    raise RuntimeError(
        f"the worker that played the episode of seed {seeds[todo[0]]} died {MOST_ATTEMPTS} times"
    )


def _play_batch(
    vec: Any,
    policy: Callable,
    seeds: np.ndarray,
    batch: np.ndarray,
    played: Played,
    before: int,
    show: Callable[[float], None],
) -> np.ndarray:
    """Play episodes `batch` of `seeds`, one per copy, and store their results; returns those whose worker died.

    `show` is told how many episodes are done, parts of episodes included; `before` were done earlier.
    """
    padding = np.repeat(seeds[batch[-1:]], vec.num_envs - len(batch))
    observations, info = vec.reset_to(np.concatenate([seeds[batch], padding]))
    running = np.arange(vec.num_envs) < len(batch)
    lost = np.zeros(vec.num_envs, np.bool_)
    while running.any():
        rows = np.flatnonzero(running)
        actions = act(vec, policy, rows, observations, info)
        observations, _, terminated, truncated, info = vec.step(actions)
        ended = running & (terminated | truncated)
        running &= ~ended
        lost |= ended & info["worker_restarted"]
        ended &= ~lost
        done = batch[np.flatnonzero(ended)]
        played.returns[done] = info["episode_return"][ended]
        played.lengths[done] = info["episode_length"][ended]
        played.early[done] = terminated[ended]
        for name, values in info["metrics"].items():
            played.metrics[name][done] = values[ended]
        share = max(info["round"].max() / vec.max_rounds, 1 - running.mean())
        show(before + len(batch) * share)
    return batch[np.flatnonzero(lost)]


# ------------------------------------------------------------------------------------------ statistics
def evaluate(vec: Any, policy: Callable, seeds: np.ndarray, label: str = "") -> dict[str, Any]:
    """Play the episodes of `seeds`; returns their statistics, ready for JSON. `label`: see `play`.

    Returns:
        `return`: undiscounted true return, averaged over the game's return agents and over episodes; its `sd`
        over episodes and the 95 % `confidence_interval` of the mean (Student's t; None for a single
        episode); `role_returns`, `agent_returns`; `length`, mean number of rounds; `ended_early`, share of the
        episodes; `metrics`, means of the game's own figures, and `win_rate` with `win_interval` where the game
        reports who won; `episode_returns`.
    """
    played = play(vec, policy, seeds, label)
    counted = counted_agents(vec)
    per_episode = played.returns[:, counted].mean(1)
    mean, sd, interval = mean_interval(per_episode)
    names = [role(a) for a in vec.agents]
    by_role = {r: played.returns[:, [n == r for n in names]].mean(1) for r in dict.fromkeys(names)}
    return {
        "return": mean,
        "sd": sd,
        "confidence_interval": None if interval is None else list(interval),
        "interval": "95 %, Student's t over episodes",
        "return_agents": [vec.agents[i] for i in counted],
        "role_returns": {
            r: dict(zip(("mean", "sd"), mean_interval(x))) for r, x in by_role.items()
        },
        "agent_returns": dict(zip(vec.agents, played.returns.mean(0).tolist(), strict=True)),
        "length": float(played.lengths.mean()),
        "ended_early": float(played.early.mean()),
        "metrics": {name: float(x.mean()) for name, x in played.metrics.items()},
        **winning(played.metrics),
        "episodes": len(seeds),
        "seed": int(seeds[0]),
        "episode_returns": [round(float(x), 4) for x in per_episode],
    }


def role(agent: str) -> str:
    """`adversary_0` -> `adversary`."""
    return agent.rsplit("_", 1)[0]


def evaluate_network(
    policy: Any,
    metadata: Mapping[str, Any],
    vec: Any,
    seeds: np.ndarray,
    label: str = "",
    greedy: bool = False,
) -> dict[str, Any]:
    """`evaluate` a network during training, by way of its policy file; `greedy`: its most likely actions."""
    from learners.lib.architectures import save_policy

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "policy.safetensors")
        save_policy(path, policy, dict(metadata))
        return evaluate(vec, load_policy(path, vec, greedy), seeds, label)


def best_expert(id: str) -> str:
    """The demonstrator whose normalized return is 1: the shipped network, or else the scripted expert."""
    return "expert" if (EXPERTS / f"{id}.safetensors").is_file() else "scripted"


def measure_references(vec: Any, seeds: np.ndarray, shown: bool = False) -> dict[str, float]:
    """Mean return of random play and of the shipped expert (else the scripted one); `shown`: with progress bars."""
    specs = {"random": "random", "expert": best_expert(vec.id)}
    return {
        k: evaluate(vec, load_policy(spec, vec), seeds, spec if shown else "")["return"]
        for k, spec in specs.items()
    }


def normalized(value: float, references: Mapping[str, float]) -> float | None:
    """Normalized return: 0 for random play, 1 for the expert; None when the references are unknown."""
    low, high = references.get("random"), references.get("expert")
    if low is None or high is None or high == low:
        return None
    return (value - low) / (high - low)
