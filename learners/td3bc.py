"""TD3-BC for several agents: twin critics, and policies that stay close to what was done (Fujimoto and Gu, 2021).

Every agent has its own critics Q_1, Q_2 (networks are shared by role), and a deterministic policy. The policy minimizes

    - lambda * mean Q_1(o, pi(o)) + mean (pi(o) - a)^2,   lambda = alpha / mean |Q_1(o, pi(o))|

where lambda is a number without a gradient. The critics' targets use the smaller of two values of the target policy's
action, with clipped noise (target smoothing). Policies and targets are updated in every second step only.

Discrete actions: policies are logits of the allowed actions, (pi - a)^2 becomes the cross-entropy of what was done, and the
gradient of Q_1 reaches the policy through straight-through Gumbel samples. Gumbel noise takes the place of clipped noise.

    python -m learners.td3bc --env smac_3m --demos expert --num-demos 1000
    python -m learners.td3bc --env mamujoco_halfcheetah_2x3 --demos my_demos
"""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any

import torch
from torch import Tensor, nn

from demos.actions import action_bounds
from learners.lib import offline
from learners.lib.batch import Batch, mean
from learners.lib.distributions import masked
from learners.lib.fields import Between, Count, Positive
from learners.lib.offline import OfflineSettings
from learners.lib.replay import Source
from learners.lib.returns import aimed
from learners.lib.run import main


@dataclasses.dataclass(frozen=True)
class Args(OfflineSettings):
    """Learn offline with TD3-BC."""

    alpha: Annotated[float, Between(0.0)] = 2.5
    """Weight of the values; 0: behavioral cloning."""
    noise: Positive = 0.2
    """Deviation of the target policy's noise, in units of half the range of actions; scale of Gumbel noise."""
    noise_clip: Positive = 0.5
    """Largest noise of continuous actions, in the same units."""
    delay: Count = 2
    """Gradient steps of the critics per step of the policies and targets."""


PRESETS = {
    "paper": {"steps": 1_000_000},
    "quick": {"steps": 5_000, "eval_episodes": 200},
}


class Learner:
    """The policy, its critics and their targets."""

    def __init__(self, vec: Any, args: Args, source: Source, device: torch.device):
        self.vec, self.args = vec, args
        kind = "greedy" if vec.discrete else "tanh"
        self.nets = offline.actor_and_critics(vec, args, source, device, kind)
        self.policy: Any = self.nets.online["policy"]
        self.critics: Any = self.nets.online["critics"]
        if not vec.discrete:
            low, high = (torch.as_tensor(x, device=device) for x in action_bounds(vec))
            self.low, self.high, self.half = low, high, (high - low) / 2

    def update(self, batch: Batch, rng: torch.Generator) -> dict[str, float]:
        """One gradient step of the critics, in every `delay`-th also of the policy."""
        where = offline.counts(batch, team=False)
        values = self.values(batch)
        with torch.no_grad():
            targets = self.targets(batch, rng)
        errors = (values - targets).square().sum(0)
        loss = self.nets.step("critics", mean(errors, aimed(self.vec, batch, team=False)))
        found = offline.figures(loss, values[0], where)
        self.nets.taken += 1
        if self.nets.taken % self.args.delay == 0:
            found["policy_loss"] = self.nets.step("policy", self.policy_loss(batch, rng))
            self.nets.follow()
        return found

    def values(self, batch: Batch) -> Tensor:
        """Both critics' values of what was done, (2, L, B, N)."""
        if not self.vec.discrete:
            return offline.values_of(self.critics, batch.seen, batch.actions)
        return offline.of_taken(offline.values_of(self.critics, batch.rows)[:, :-1], batch.actions)

    def targets(self, batch: Batch, rng: torch.Generator) -> Tensor:
        """The critics' targets, (L, B, N)."""
        rows, critics = batch.rows, self.nets.target["critics"]
        out = offline.outputs_of(self.nets.target["policy"], rows)
        if self.vec.discrete:
            noisy = out + self.args.noise * gumbel(out, rng)
            best = masked(noisy, rows.action_mask).argmax(-1)
            values = offline.of_taken(offline.values_of(critics, rows), best)[:, 1:]
        else:
            actions = offline.actions_of(self.nets.target["policy"], out[1:])
            noise = torch.empty_like(actions).normal_(0, self.args.noise, generator=rng)
            noise = noise.clamp(-self.args.noise_clip, self.args.noise_clip) * self.half
            actions = torch.clamp(actions + noise, self.low, self.high)
            values = offline.values_of(critics, batch.next, actions)
        return offline.returns(self.vec, batch, values.amin(0), self.args)

    def policy_loss(self, batch: Batch, rng: torch.Generator) -> Tensor:
        """- lambda * Q_1 + the distance from what was done."""
        rows, where = batch.rows, offline.counts(batch, team=False)
        out = offline.outputs_of(self.policy, rows)[:-1]
        if self.vec.discrete:
            logits = masked(out, batch.seen.action_mask)
            with torch.no_grad():
                values = self.critics[0](rows)[:-1]
            q = (straight_through(logits, rng) * values).sum(-1)
            apart = nn.functional.cross_entropy(
                logits.flatten(0, -2), batch.actions.flatten(), reduction="none"
            ).view_as(q)
        else:
            actions = offline.actions_of(self.policy, out)
            q = self.critics[0](batch.seen, actions)
            error = ((actions - batch.actions) / self.half.clamp(min=1e-6)).square()
            apart = error.sum(-1) / (self.half > 0).sum(-1)
        scale = self.args.alpha / mean(q.detach().abs(), where).clamp(min=1e-6)
        return mean(apart, where) - scale * mean(q, where)


def gumbel(like: Tensor, rng: torch.Generator) -> Tensor:
    """Gumbel noise of the shape of `like`."""
    return -torch.empty_like(like).exponential_(generator=rng).log_()


def straight_through(logits: Tensor, rng: torch.Generator) -> Tensor:
    """Sampled actions, one-hot (..., A), with the gradient of the relaxed sample (Jang et al., 2017), temperature 1."""
    noisy = logits + gumbel(logits, rng)
    soft = torch.softmax(noisy, -1)
    hard = nn.functional.one_hot(noisy.argmax(-1), logits.shape[-1]).to(soft.dtype)
    return hard + soft - soft.detach()


def train(args: Args) -> dict:
    """Run TD3-BC; returns the evaluation of the trained policy."""
    return offline.learn("td3bc", args, Learner)


if __name__ == "__main__":
    main(Args, PRESETS, train)
