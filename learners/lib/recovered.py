"""The reward that an inverse learner (mifq, mafis) found, of demonstrated rounds, and how it agrees with the true one."""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch

from demos.dataset import Demonstrations
from learners.lib.checkpoints import checkpoints, load_checkpoint
from learners.lib.demonstrated import Demonstrated
from learners.lib.files import temporary_of
from learners.lib.replay import read_episodes
from learners.lib.settings import read_config

INVERSE = ("mifq", "mafis")  # learners with a reward
AT_ONCE = 64  # episodes


def learner_in(folder: Path, vec: Any) -> Any:
    """The learner in the last checkpoint of a run, for the game `vec`. ValueError: it has no reward, or is damaged."""
    config = read_config(folder)
    name = config.pop("learner")
    if name not in INVERSE:
        raise ValueError(
            f"{folder} is a run of {name}, which learns no reward; {', '.join(INVERSE)} do"
        )
    found = checkpoints(folder)
    if not found:
        raise ValueError(f"{folder} has no checkpoint, and so no learned reward")
    module = importlib.import_module(f"learners.{name}")
    learner = module.Learner(vec, module.Args(**config), torch.device("cpu"))
    try:
        learner.load_state_dict(load_checkpoint(found[-1])["parts"]["learner"])
    except (KeyError, TypeError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise ValueError(f"{found[-1]} does not fit this run: {reason}") from None
    return learner


@torch.no_grad()
def recover(learner: Any, demos: Demonstrations, vec: Any) -> dict[str, np.ndarray]:
    """Rewards of the demonstrated rounds in which somebody acts, R rows.

    At the end of an episode that the time limit cut, rounds after which an agent does not act again have none: what
    follows is unknown.

    Returns:
        episode, round: int64 (R,). reward: float32 (R, M), M = 1 for the team's or the number of agents; counts: bool
        (R, M), where it is known, elsewhere it is 0: an agent does not act, or what follows is unknown. true_reward: the
        recorded ones, (R, M), the team's is their mean over the agents.
    """
    source, rng = Demonstrated(demos, vec), torch.Generator().manual_seed(0)
    columns: dict[str, list[np.ndarray]] = {
        n: [] for n in ("episode", "round", "reward", "true_reward", "counts")
    }
    for first in range(0, len(demos), AT_ONCE):
        which = torch.arange(first, min(first + AT_ONCE, len(demos)))
        batch = read_episodes(source, which)
        rewards, counts = learner.rewards(batch, rng)
        true = batch.rewards if rewards.shape[-1] > 1 else batch.rewards.mean(-1, keepdim=True)
        b, t = counts.any(-1).T.nonzero(as_tuple=True)  # episode by episode
        columns["episode"].append(which[b].numpy())
        columns["round"].append(t.numpy())
        columns["reward"].append(torch.where(counts, rewards, 0.0)[t, b].numpy())
        columns["true_reward"].append(true[t, b].numpy())
        columns["counts"].append(counts[t, b].numpy())
    return {name: np.concatenate(parts) for name, parts in columns.items()}


def agreement(found: dict[str, np.ndarray]) -> dict[str, float | None]:
    """Correlations of learned and true rewards: over rounds (and agents), and of the episodes' sums; None if constant.

    Only rewards that count: the zeros of agents that do not act, in both, would correlate whatever was learned.
    """
    where = found["counts"]
    learned, true = (found[n].astype(np.float64) for n in ("reward", "true_reward"))
    sums = [np.bincount(found["episode"], np.where(where, x, 0.0).sum(1)) for x in (learned, true)]
    return {
        "reward_correlation": _correlation(learned[where], true[where]),
        "return_correlation": _correlation(*sums),
    }


def _correlation(a: np.ndarray, b: np.ndarray) -> float | None:
    if len(a) < 2 or a.std() < 1e-12 or b.std() < 1e-12:
        return None
    return float(np.corrcoef(a, b)[0, 1])


def write_rewards(folder: Path, vec: Any, demos: str) -> dict[str, Any]:
    """Write the learned reward of demonstrations beside them, as DEMOS.rewards_RUN.npz; returns its figures and path."""
    path = Path(demos)
    opened = Demonstrations.open(path)
    opened.check_compatible(vec)
    found = recover(learner_in(folder, vec), opened, vec)
    place = path.resolve().parent / f"{path.resolve().name}.rewards_{folder.resolve().name}.npz"
    temporary = temporary_of(place)
    with open(temporary, "wb") as file:
        np.savez_compressed(file, allow_pickle=False, **found)
    os.replace(temporary, place)
    return {"rounds": len(found["round"]), **agreement(found), "file": str(place)}
