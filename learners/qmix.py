"""QMIX, VDN and independent Q-learning: values of the agents' own actions, learned from replayed episodes.

`--mixer qmix`: the value of the joint action is a monotonic function of the agents' values, with weights that depend on
the global state. `vdn`: it is their sum. `none`: every agent learns the value of its own actions. Mixers learn from the
reward of the team.

Agents see their own observation and last action, and have a memory (GRU) that is updated in the rounds in which they
act. Agents that are absent or dead do not act, their values do not count in the mixer, and they learn nothing in that
round. A round in which nobody acts is no decision: the value before it is that of what follows.

    python -m learners.qmix --env smac_3m
    python -m learners.qmix --env stochastic_coop_nav --mixer none
"""

from __future__ import annotations

import copy
import dataclasses
import math
from typing import Any

import torch
from torch import Tensor, nn

from learners.lib.batch import Batch, Seen, mean
from learners.lib.distributions import masked
from learners.lib.fields import Count, Fraction, Sizes, Steps
from learners.lib.game import describe, make_game
from learners.lib.groups import AdamSteps, Networks, Replays, Returns, Rollouts
from learners.lib.mixers import Kind, make_mixer
from learners.lib.networks import Policy
from learners.lib.optimizers import Adam
from learners.lib.replay import Replay, sample_episodes
from learners.lib.returns import lambda_returns
from learners.lib.rewards import rewards_of
from learners.lib.rollout import Rollout
from learners.lib.run import Run, main
from learners.lib.settings import Settings
from learners.lib.time_limit import continues, fraction_left, time_inputs
from mail_envs.streams import stream_seed


@dataclasses.dataclass(frozen=True)
class Args(Settings, Rollouts, Replays, Returns, AdamSteps, Networks):
    """Train policies by Q-learning with value decomposition (QMIX, VDN) or without (independent)."""

    mixer: Kind = "qmix"
    """How the agents' values make up the team's: qmix, vdn (their sum), or none (independent Q-learning)."""
    steps: Steps = 1_000_000
    num_envs: Count = 32
    rounds: Count = 10
    lam: Fraction = 0.6
    agent_id: bool = True
    hidden: Sizes = (64,)
    recurrent: bool = True
    """Give agents a memory (GRU)."""
    last_action: bool = True
    """Append the agent's last action to its observation."""
    target_every: Count = 200
    """Gradient steps between copies of the networks into the target networks."""
    epsilon: Fraction = 0.05
    """Probability of a random action at the end of exploration; it begins at 1."""
    explore: Count = 50_000
    """Environment steps until the probability of random actions has fallen to --epsilon."""
    embed: Count = 32
    """Width of the mixer's hidden layer."""
    hyper_hidden: Count = 64
    """Width of the layers that compute the mixer's weights."""


PRESETS = {
    # QMIX on SMAC as tuned by Hu et al. (2021)
    "paper": {
        "steps": 10_000_000,
        "num_envs": 8,
        "rounds": 50,
        "updates": 1,
        "batch": 128,
        "capacity": 400_000,
        "explore": 100_000,
        "target_every": 25,  # there every 200 episodes, with a gradient step after every eight
    },
    "quick": {"steps": 300_000, "eval_episodes": 200},
}


class Values(nn.Module):
    """The agents' networks and the mixer."""

    def __init__(self, vec: Any, args: Args):
        super().__init__()
        self.vec = vec
        self.policy = Policy.of(
            vec, args.share, hidden=args.hidden, agent_id=args.agent_id, recurrent=args.recurrent,
            last_action=args.last_action, distribution="greedy",
        )  # fmt: skip
        inputs = math.prod(vec.state_space.shape) + vec.num_agents + time_inputs(vec)
        self.mixer: Any = make_mixer(
            args.mixer, vec.num_agents, inputs, args.embed, args.hyper_hidden
        )

    def of_actions(self, batch: Batch) -> Tensor:
        """Values of all own actions in every row, (L + 1, B, N, A)."""
        rows, nothing = batch.rows, torch.zeros_like(batch.actions[:1])
        memory = rows.observations.new_zeros(*batch.actions.shape[1:], self.policy.memory_size)
        actions = torch.cat([batch.actions, nothing])
        return self.policy.unroll(rows.observations, memory, rows.participation, actions=actions)[0]

    def mixed(self, q: Tensor, counts: Tensor, rows: Seen) -> Tensor:
        """Values (*L, M) of joint actions whose agents' values are q (*L, N)."""
        left = fraction_left(self.vec, rows.round)
        return self.mixer(q, counts, torch.cat([rows.states, counts.to(q.dtype), left], -1))

    def decides(self, rows: Seen) -> Tensor:
        """Whether somebody whose value it is acts, bool (*L, M)."""
        acts = rows.acts
        return acts.any(-1, keepdim=True) if self.mixer.team else acts


def targets_of(
    online: Tensor, values: Values, target: Values, batch: Batch, gamma: float, lam: float
) -> Tensor:
    """TD(lambda) targets (L, B, M): double Q-learning, with the actions that are allowed next.

    `online`: values of all own actions, (L + 1, B, N, A), of the networks that are trained.
    """
    after, vec = batch.next, values.vec
    best = masked(online[1:], after.action_mask).argmax(-1, keepdim=True)
    q = target.of_actions(batch)[1:].gather(-1, best).squeeze(-1)
    decides = values.decides(after)
    # Where an episode is cut while nobody acts, the living agents would act next.
    counts = (after.participation | ~decides) & after.alive
    next_values = target.mixed(q, counts, after)
    rewards = batch.rewards[..., :1] if values.mixer.team else batch.rewards
    ends = continues(vec, batch.terminated, batch.truncated)
    last = batch.filled & ~torch.cat([batch.filled[1:], torch.zeros_like(batch.filled[:1])])
    return lambda_returns(rewards, next_values, decides, ends, last, gamma, lam)


def loss_of(
    values: Values, target: Values, batch: Batch, gamma: float, lam: float
) -> tuple[Tensor, dict[str, float]]:
    """Mean squared TD error over all real rounds and whoever decides in them."""
    online = values.of_actions(batch)
    with torch.no_grad():
        targets = targets_of(online, values, target, batch, gamma, lam)
    q = online[:-1].gather(-1, batch.actions.unsqueeze(-1)).squeeze(-1)
    learned = batch.learned_from()
    found = values.mixed(q, learned, batch.seen)
    weights = learned.any(-1, keepdim=True) if values.mixer.team else learned
    loss = mean((found - targets).square(), weights)
    return loss, {"loss": float(loss.detach()), "value": float(mean(found.detach(), weights))}


class Learner:
    """The networks, their targets and their optimizer."""

    def __init__(self, vec: Any, args: Args, device: torch.device):
        self.args = args
        self.values = Values(vec, args).to(device)
        self.target = copy.deepcopy(self.values, {id(vec): vec}).requires_grad_(
            False
        )  # not the game
        self.optimizer = Adam(self.values, args.lr, args.max_grad_norm)
        self.taken = 0  # gradient steps

    def update(self, replay: Replay, rng: torch.Generator) -> dict[str, float]:
        """Make one gradient step on whole episodes."""
        args = self.args
        batch = sample_episodes(replay, args.batch, rng)
        loss, metrics = loss_of(self.values, self.target, batch, args.gamma, args.lam)
        self.optimizer.step(loss)
        self.taken += 1
        if self.taken % args.target_every == 0:
            self.target.load_state_dict(self.values.state_dict())
        return metrics

    def state_dict(self) -> dict:
        return {
            "mixer": dict(self.values.mixer.state_dict()),
            "target": dict(self.target.state_dict()),
            "optimizer": self.optimizer.state_dict(),
            "taken": self.taken,
        }

    def load_state_dict(self, state: dict) -> None:
        self.values.mixer.load_state_dict(state["mixer"])
        self.target.load_state_dict(state["target"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.taken = state["taken"]


def epsilon_at(args: Args, steps: int) -> float:
    """Probability of random actions after this many environment steps."""
    return max(args.epsilon, 1 - (1 - args.epsilon) * steps / args.explore)


def train(args: Args) -> dict:
    """Run Q-learning; returns the evaluation of the trained policy."""
    with Run("qmix", args) as run:
        args, rng = run.args, run.rng
        vec = make_game(args, args.num_envs, run.device)
        if not vec.discrete:
            raise ValueError(f"qmix needs discrete actions; those of {args.env} are continuous")
        learner = Learner(vec, args, run.device)
        policy = learner.values.policy
        rollout = Rollout(vec, args.rounds, run.device, policy.memory_size, state=True)
        rollout.reset(stream_seed(args.seed, "games"))
        replay = Replay(vec, args.capacity, run.device)
        parts = {"learner": learner, "rollout": rollout, "replay": replay}
        run.begin(policy, describe(vec), parts)
        run.say(f"qmix on {args.env}: {args.steps:,} steps, {replay}, {run.folder}")
        while not run.done:
            # Play T rounds of E copies; sometimes an agent tries another action than its best.
            policy.distribution.epsilon = epsilon_at(args, round(run.progress * args.steps))
            rollout.collect(policy, rng)
            replay.add(rollout, rewards_of(rollout, "auto" if args.mixer == "none" else "team"))

            # Gradient steps on whole episodes, as soon as there are some.
            if args.anneal:
                learner.optimizer.lr = args.lr * (1 - run.progress)
            metrics = {"epsilon": policy.distribution.epsilon}
            if len(replay.episodes()[0]) >= args.batch:
                for _ in range(args.updates):
                    metrics |= learner.update(replay, rng)
            run.advance(rollout.steps, rollout.episodes() | metrics)
        return run.finish()


if __name__ == "__main__":
    main(Args, PRESETS, train)
