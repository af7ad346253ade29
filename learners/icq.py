"""Implicit constraint Q-learning for several agents: nothing but recorded actions is ever valued (Yang et al., 2021).

The value of the team is a weighted sum of its agents' values, with weights k_i, functions of the state, that add up to 1:

    Q(s, u) = sum_i k_i(s) Q_i(o_i, a_i)

Its targets follow the data's own next actions, as in SARSA, weighted by softmax(Q / beta) over the rounds of the batch,
and look ahead with TD(lambda). Policies imitate the data, weighted by their advantages: they minimize

    - k_i w_i log pi_i(a_i | o_i),   w_i = softmax(A_i / temperature) over the rounds of the batch,
    A_i = Q_i(o_i, a_i) - sum_a pi_i(a | o_i) Q_i(o_i, a)

Both weights are scaled by the number of rounds in which somebody acts, which alone enter the softmax, and are at most 10.
No k_i is more than e times another. Where no recorded action follows (at the end of a sequence or where the time limit
cut an episode), the policy's action is valued instead.

Continuous actions: Gaussian policies within their bounds, and two critics, of which the smaller value counts.

    python -m learners.icq --env smac_3m --demos expert --num-demos 1000
    python -m learners.icq --env mamujoco_halfcheetah_2x3 --demos my_demos --beta 100
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Literal

import torch
from torch import Tensor, nn

from learners.lib import offline
from learners.lib.batch import Batch, Seen, mean
from learners.lib.distributions import masked
from learners.lib.fields import Count, Fraction, Positive
from learners.lib.mixers import NormalizedWeights
from learners.lib.offline import OfflineSettings
from learners.lib.replay import Source
from learners.lib.returns import aimed
from learners.lib.run import main
from learners.lib.time_limit import fraction_left, time_inputs

LARGEST_WEIGHT = 10.0  # of a round; their mean is 1


@dataclasses.dataclass(frozen=True)
class Args(OfflineSettings):
    """Learn offline with implicit constraint Q-learning."""

    beta: Positive = 1000.0
    """Temperature of the weights in the critics' targets; large ones value what was done on average."""
    temperature: Positive = 0.1
    """Temperature of the policies' weights."""
    lam: Fraction = 0.8
    critic: Literal["own", "state"] = "state"
    hyper_hidden: Count = 64
    """Width of the layer that computes the weights k_i."""

    @property
    def team(self) -> bool:
        """The critics' values are those of the team."""
        return True

    @property
    def sequences(self) -> bool:
        """The next recorded action is valued, too."""
        return True


PRESETS = {
    "paper": {"steps": 40_000, "lr": 5e-4, "max_grad_norm": 20.0},
    "quick": {"steps": 5_000, "eval_episodes": 200},
}


class Values(nn.Module):
    """The agents' critics, and the weights k_i."""

    def __init__(self, vec: Any, args: Args, source: Source):
        super().__init__()
        self.vec = vec
        self.critics: Any = offline.make_critics(vec, args, source, 1 if vec.discrete else 2)
        size = math.prod(vec.state_space.shape) + time_inputs(vec)
        self.weights = NormalizedWeights(vec.num_agents, size, args.hyper_hidden)

    def shares(self, rows: Seen, acts: Tensor) -> Tensor:
        """The weights k_i (*L, N) of the agents that `acts` says, bool (*L, N); they add up to 1."""
        inputs = torch.cat([rows.states, fraction_left(self.vec, rows.round)], -1)
        return self.weights(acts, inputs) / acts.sum(-1, keepdim=True).clamp(min=1)

    def mixed(self, q: Tensor, rows: Seen, acts: Tensor) -> Tensor:
        """The team's values (..., *L, 1) of its agents' values (..., *L, N)."""
        return torch.where(acts, q * self.shares(rows, acts), 0.0).sum(-1, keepdim=True)


class Learner:
    """The policy, the critics and their targets."""

    def __init__(self, vec: Any, args: Args, source: Source, device: torch.device):
        self.vec, self.args = vec, args
        kind = "greedy" if vec.discrete else "tanh_gaussian"
        policy = offline.make_policy(vec, args, source, kind)
        self.nets = offline.Trained(args, device, policy=policy, critics=Values(vec, args, source))
        self.policy: Any = self.nets.online["policy"]
        self.values: Any = self.nets.online["critics"]

    def update(self, batch: Batch, rng: torch.Generator) -> dict[str, float]:
        """One gradient step of the critics and one of the policy."""
        acts, where = batch.learned_from(), offline.counts(batch, team=True)
        out = offline.outputs_of(self.policy, batch.rows)
        with torch.no_grad():
            targets = self.targets(out, batch)
        taken, chosen = self.both(self.values, out.detach(), batch)
        total = self.values.mixed(taken, batch.seen, acts)
        errors = (total - targets).square().sum(0)
        advantages = (taken.amin(0) - chosen.amin(0)[:-1]).detach()
        loss = self.nets.step("critics", mean(errors, aimed(self.vec, batch, team=True)))
        found = offline.figures(loss, total[0], where)
        loss = self.policy_loss(out[:-1], advantages, batch)
        found["policy_loss"] = self.nets.step("policy", loss)
        self.nets.taken += 1
        self.nets.follow()
        return found

    def both(self, values: Values, out: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Each critic's values of what was done, (C, L, B, N), and of what the policy would do, (C, L + 1, B, N)."""
        rows = batch.rows
        if self.vec.discrete:
            q = offline.values_of(values.critics, rows)
            chosen = (torch.softmax(masked(out, rows.action_mask), -1) * q).sum(-1)
            return offline.of_taken(q[:, :-1], batch.actions), chosen
        with torch.no_grad():
            chosen = offline.values_of(values.critics, rows, offline.actions_of(self.policy, out))
        return offline.values_of(values.critics, batch.seen, batch.actions), chosen

    def targets(self, out: Tensor, batch: Batch) -> Tensor:
        """The critics' targets, (L, B, 1); `out`: the policy's outputs in all rows."""
        values, rows, acts = self.nets.target["critics"], batch.rows, batch.learned_from()
        taken, chosen = self.both(values, out, batch)
        done = values.mixed(taken.amin(0), batch.seen, acts)
        done = done * weights_of(done / self.args.beta, acts.any(-1, keepdim=True), (0, 1))
        # Where an episode is cut while nobody acts, the living agents would act next.
        would = rows.acts
        would = would | (rows.alive & ~would.any(-1, keepdim=True))
        ahead = values.mixed(chosen.amin(0), rows, would)[1:]
        follows = torch.cat([batch.filled[1:], torch.zeros_like(batch.filled[:1])]).unsqueeze(-1)
        ahead = torch.where(follows, torch.cat([done[1:], done[:1]]), ahead)
        return offline.returns(self.vec, batch, ahead, self.args)

    def policy_loss(self, out: Tensor, advantages: Tensor, batch: Batch) -> Tensor:
        """- log pi of what was done, weighted; `out` (L, B, N, W), `advantages` (L, B, N)."""
        acts = batch.learned_from()
        weights = weights_of(advantages / self.args.temperature, acts, (0, 1))
        shares = self.values.shares(batch.seen, acts).detach() * acts.sum(-1, keepdim=True)
        return -mean(shares * weights * log_prob_of(self.policy, out, batch), acts)


def weights_of(scores: Tensor, where: Tensor, over: tuple[int, ...]) -> Tensor:
    """softmax(scores) over the dimensions `over`, where `where` is true, times the number of entries there; at most 10."""
    scores = scores.masked_fill(~where, -torch.inf)
    size = where.sum(over, keepdim=True)
    total = torch.logsumexp(scores, over, keepdim=True)
    weights = (scores - total).exp() * size
    return torch.where(where, weights, 0.0).clamp(max=LARGEST_WEIGHT)


def log_prob_of(policy: Any, out: Tensor, batch: Batch) -> Tensor:
    """Log-likelihood of what was done, (L, B, N), for outputs (L, B, N, W)."""
    if policy.discrete:
        logs = torch.log_softmax(masked(out, batch.seen.action_mask), -1)
        return offline.of_taken(logs, batch.actions)
    found = out.new_zeros(batch.actions.shape[:-1])
    for g, (members, n) in enumerate(zip(policy.members, policy.outputs, strict=True)):
        own = out[..., members, : policy.distribution.width(n)].flatten(0, -2)
        log_prob, _ = policy.likelihood(g, own, batch.actions[..., members, :].flatten(0, -2), None)
        found[..., members] = log_prob.view(*found.shape[:-1], len(members))
    return found


def train(args: Args) -> dict:
    """Run ICQ; returns the evaluation of the trained policy."""
    return offline.learn("icq", args, Learner)


if __name__ == "__main__":
    main(Args, PRESETS, train)
