"""Data for the offline learners: a game with deaths, absent agents and forbidden actions, and tabular ones with rewards."""

from __future__ import annotations

import copy
from typing import Any

import torch
from sample_games import LastStanding
from small_worlds import Episodes, Tabular
from torch import Tensor

import mail_envs
from learners.lib.batch import Batch
from learners.lib.networks import Policy
from learners.lib.offline import OfflineSettings, Rewarded
from learners.lib.replay import Replay, sample_episodes
from learners.lib.rollout import Rollout
from mail_envs.vector import VectorGame

CPU = torch.device("cpu")
KINDS = {
    "absent": lambda: VectorGame(LastStanding(max_rounds=6), mail_envs.Stochastic(0.6), 6, array="torch"),
    "continuous": lambda: mail_envs.make_vec(
        "stochastic_coop_nav", 6, array="torch", continuous_actions=True, max_rounds=6
    ),
}  # fmt: skip


def played(kind: str) -> tuple[Any, Replay]:
    """A game of `KINDS`, and episodes of random play."""
    torch.manual_seed(0)
    vec = KINDS[kind]()
    policy = Policy.of(vec, "role", hidden=(8,), gain=1.0)
    rng = torch.Generator().manual_seed(0)
    rollout, replay = Rollout(vec, 20, "cpu", 0, True), Replay(vec, 4000)
    rollout.reset(0)
    for _ in range(4):
        rollout.collect(policy, rng)
        replay.add(rollout)
    return vec, replay


def made(make: Any, args: OfflineSettings, kind: str = "absent") -> tuple[Any, Batch]:
    """A learner, and whole episodes with the rewards that it learns from."""
    vec, replay = played(kind)
    source = Rewarded(replay, "team" if args.team else "own", args)
    batch = sample_episodes(source, 64, torch.Generator().manual_seed(1))
    return make(vec, args, source, CPU), batch


def updated(learner: Any, batch: Batch, times: int = 2) -> dict[str, float]:
    """Figures of the last of some gradient steps of a copy of the learner."""
    learner, rng, found = copy.deepcopy(learner), torch.Generator().manual_seed(0), {}
    for _ in range(times):
        found |= learner.update(batch, rng)
    return found


def with_rewards(game: Tabular, episodes: Episodes) -> Episodes:
    """The same episodes with the game's rewards, for both agents."""
    states, actions = episodes.tensors["states"].argmax(-1), episodes.tensors["actions"]
    reward = torch.from_numpy(game.reward).float()[states, actions[:, 0], actions[:, 1]]
    episodes.tensors["rewards"] = reward.unsqueeze(1).expand(-1, 2).clone()
    return episodes


def discounted(rewards: Tensor, gamma: float) -> float:
    """r_0 + gamma r_1 + ..."""
    return sum(float(r) * gamma**k for k, r in enumerate(rewards))
