"""How learners treat episodes whose worker dies."""

from __future__ import annotations

from typing import Any

import torch
from sample_faults import FINE, KILLED, Faulty

from learners import ippo, mack
from learners.lib.rollout import Rollout
from mail_envs.player_functions import Synchronous
from mail_envs.vector import VectorGame

DIES_AT = 3


class Script:
    """Plays FINE, but KILLED once: by the first agent of copy 0, in round DIES_AT."""

    memory_size = 0

    def __init__(self):
        self.round = 0

    def act(self, observations, mask, rng, *_):
        actions = torch.full(observations.shape[:2], FINE)
        if self.round == DIES_AT:
            actions[0, 0] = KILLED
        self.round += 1
        return actions


def collected() -> Rollout:
    vec = VectorGame(Faulty(), Synchronous(), 2, num_workers=2, max_rounds=6, array="torch")
    rollout = Rollout(vec, 8)
    rollout.reset(0)
    rollout.collect(Script(), torch.Generator())
    vec.close()
    return rollout


def test_a_lost_episode_does_not_count_as_finished():
    rollout = collected()
    assert rollout.lost.nonzero().tolist() == [[DIES_AT, 0]]
    assert rollout.truncated.nonzero().tolist() == [[DIES_AT, 0], [5, 1]]
    assert rollout.finished().nonzero().tolist() == [[5, 1]]
    assert rollout.episodes()["episodes"] == 1 and rollout.episodes()["length"] == 6
    learned = rollout.learned_from()
    assert not learned[DIES_AT, 0].any() and int(learned.sum()) == 2 * (2 * 8 - 1)


def test_learners_do_not_learn_from_a_lost_round():
    """Actors and critics do not depend on the data of the lost round."""
    rollout = collected()
    args = {"num_envs": 2, "rounds": 8, "hidden": (8,)}
    for module in (mack, ippo):
        settings, weights = module.Args(**args), []
        for wrong in (0.0, 1e6):
            torch.manual_seed(0)
            make = ippo.make_agent if module is ippo else mack.ActorCritic
            agent: Any = make(rollout.vec, settings, torch.device("cpu"))
            rewards = rollout.rewards.clone()
            rewards[DIES_AT, 0] += wrong
            rollout.final_observations[DIES_AT, 0] += wrong
            rng = torch.Generator().manual_seed(0)
            if module is mack:
                learned = mack.estimate_advantages(agent, rollout, rewards, 0.9, 0.9, rng)
                mack.update(agent, rollout, *learned, rollout.learned_from(), settings, rng)
                critics = agent.critic
            else:
                rollout.actions[DIES_AT, 0] = FINE if wrong else KILLED
                learned = ippo.estimate_advantages(agent, rollout, rewards, 0.9, 0.9)
                ippo.update(agent, rollout, *learned, settings, rng)
                critics = agent.critics
            assert (learned[0][DIES_AT, 0] == 0).all()
            weights.append([*agent.policy.parameters(), *critics.parameters()])
        for a, b in zip(*weights, strict=True):
            assert torch.equal(a, b)
