"""OMAR: policies that are led to the best action that a search finds, on conservative critics (Pan et al., 2022).

Critics are CQL's (`learners.cql`). The policy of continuous actions minimizes

    omega * (pi(o) - a*)^2 - (1 - omega) * Q_1(o, pi(o))

where a* is found by the cross-entropy method: candidates are drawn from a Gaussian, which is fitted to the best of them,
and so on; the best of all candidates and of pi(o) is a*.

Discrete actions, as in the comparison of CFCQL (Shao et al., 2023): a* is the allowed action with the largest value,
(pi - a*)^2 becomes - log pi(a* | o), and Q_1(o, pi(o)) is the mean of Q_1(o, a) under the policy. (There it is the squared
distance of probabilities, whose gradient vanishes once the policy is sure of a wrong action, and the policy gradient of
recorded actions alone, which pushes the likelihood of the worse ones down without end.)

    python -m learners.omar --env mamujoco_halfcheetah_2x3 --demos my_demos --omega 0.7
    python -m learners.omar --env smac_3m --demos expert --num-demos 1000 --lam 0.6
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Annotated, Any

import torch
from torch import Tensor

from demos.actions import action_bounds
from learners.lib import offline
from learners.lib.batch import Batch, mean
from learners.lib.conservative import Conservative, conservative_step, excess
from learners.lib.distributions import masked
from learners.lib.fields import Between, Count, Fraction
from learners.lib.offline import OfflineSettings
from learners.lib.replay import Source
from learners.lib.returns import aimed
from learners.lib.run import main


@dataclasses.dataclass(frozen=True)
class Args(OfflineSettings, Conservative):
    """Learn offline with OMAR."""

    omega: Fraction = 0.7
    """Weight of the distance from the best action found; the rest is that of the policy gradient."""
    alpha: Annotated[float, Between(0.0)] = 5.0
    candidates: Count = 20
    """Candidates per iteration of the search."""
    iterations: Count = 2
    """Iterations of the search."""
    elites: Count = 5
    """Best candidates, to which the next Gaussian is fitted."""


PRESETS = {
    "paper": {"steps": 100_000},
    "quick": {"steps": 5_000, "eval_episodes": 200},
}


class ContinuousLearner:
    """A deterministic policy, its critics and their targets."""

    def __init__(self, vec: Any, args: Args, source: Source, device: torch.device):
        self.vec, self.args = vec, args
        self.nets = offline.actor_and_critics(vec, args, source, device, "tanh")
        self.policy: Any = self.nets.online["policy"]
        low, high = (torch.as_tensor(x, device=device) for x in action_bounds(vec))
        self.middle, self.half = (low + high) / 2, (high - low) / 2

    def update(self, batch: Batch, rng: torch.Generator) -> dict[str, float]:
        """One gradient step of the critics and one of the policy."""
        found = conservative_step(self.vec, self.args, self.nets, batch, rng)
        actions = offline.actions_of(self.policy, offline.outputs_of(self.policy, batch.rows)[:-1])
        q = self.nets.online["critics"][0](batch.seen, actions)
        best = self.best(batch, actions.detach(), rng)
        apart = ((actions - best) / self.half.clamp(min=1e-6)).square().sum(-1)
        apart = apart / (self.half > 0).sum(-1)
        omega = self.args.omega
        loss = omega * apart - (1 - omega) * q + self.args.regularize * actions.square().mean(-1)
        where = offline.counts(batch, team=False)
        found["policy_loss"] = self.nets.step("policy", mean(loss, where))
        self.nets.taken += 1
        self.nets.follow()
        return found

    @torch.no_grad()
    def best(self, batch: Batch, actions: Tensor, rng: torch.Generator) -> Tensor:
        """The best actions found, (L, B, N, A); `actions`: the policy's."""
        critic = self.nets.online["critics"][0]

        def value(units: Tensor) -> Tensor:
            return offline.values_of_samples(critic, batch.seen, self.middle + self.half * units)

        args = self.args
        shape = actions.shape
        units = search(value, shape, args.candidates, args.iterations, args.elites, rng)
        found = torch.stack([self.middle + self.half * units, actions])
        values = offline.values_of_samples(critic, batch.seen, found)
        return torch.where((values[0] >= values[1]).unsqueeze(-1), *found)


def search(
    value: Callable[[Tensor], Tensor],
    shape: tuple[int, ...],
    candidates: int,
    iterations: int,
    elites: int,
    rng: torch.Generator,
) -> Tensor:
    """The point of [-1, 1]^A with the largest value that the cross-entropy method finds, for every entry of *L.

    Args:
        value: from points (K, *L, A) to values (K, *L).
        shape: (*L, A).
        candidates: drawn per iteration.
        iterations: number of fits.
        elites: the best of the candidates and of the elites before, to which the next Gaussian is fitted.
        rng: for the candidates.
    """
    center, deviation = torch.zeros(shape, device=rng.device), 2.0
    kept = torch.zeros((0, *shape), device=rng.device)
    scores = torch.zeros((0, *shape[:-1]), device=rng.device)
    for _ in range(iterations):
        noise = torch.empty((candidates, *shape), device=rng.device).normal_(generator=rng)
        drawn = (center + deviation * noise).clamp(-1, 1)
        kept, scores = torch.cat([kept, drawn]), torch.cat([scores, value(drawn)])
        scores, order = scores.topk(min(elites, len(scores)), 0)
        kept = kept.gather(0, order.unsqueeze(-1).expand(-1, *shape))
        center, deviation = kept.mean(0), kept.std(0, correction=0)
    return kept[0]


class DiscreteLearner:
    """A policy, its critics and their targets."""

    def __init__(self, vec: Any, args: Args, source: Source, device: torch.device):
        self.vec, self.args = vec, args
        self.nets = offline.actor_and_critics(vec, args, source, device, "greedy")
        self.policy: Any = self.nets.online["policy"]

    def update(self, batch: Batch, rng: torch.Generator) -> dict[str, float]:
        """One gradient step of the critics and one of the policy."""
        rows, where = batch.rows, offline.counts(batch, team=False)
        mask = batch.seen.action_mask
        q = offline.values_of(self.nets.online["critics"], rows)[:, :-1]
        taken = offline.of_taken(q, batch.actions)
        with torch.no_grad():
            out = offline.outputs_of(self.nets.target["policy"], rows)[1:]
            later = offline.values_of(self.nets.target["critics"], rows)[:, 1:].amin(0)
            chances = torch.softmax(masked(out, batch.next.action_mask), -1)
            targets = offline.returns(self.vec, batch, (chances * later).sum(-1), self.args)
        errors = (taken - targets).square().sum(0)
        over = excess(q, mask, batch.actions).sum(0)
        loss = mean(errors, aimed(self.vec, batch, team=False))
        loss = loss + self.args.alpha * mean(over, where)
        found = offline.figures(self.nets.step("critics", loss), taken[0], where)
        found["excess"] = float(mean(over.detach() / 2, where))
        found["policy_loss"] = self.nets.step("policy", self.policy_loss(q[0].detach(), batch))
        self.nets.taken += 1
        self.nets.follow()
        return found

    def policy_loss(self, q: Tensor, batch: Batch) -> Tensor:
        """The distance from the best action, and the policy's mean value; `q`: values of all actions, (L, B, N, A)."""
        mask, where = batch.seen.action_mask, offline.counts(batch, team=False)
        out = masked(offline.outputs_of(self.policy, batch.rows)[:-1], mask)
        logs = torch.log_softmax(out, -1)
        apart = -offline.of_taken(logs, masked(q, mask).argmax(-1))
        omega = self.args.omega
        return mean(omega * apart - (1 - omega) * (logs.exp() * q).sum(-1), where)


def make(vec: Any, args: Args, source: Source, device: torch.device) -> Any:
    """The learner for a game's kind of actions."""
    return (DiscreteLearner if vec.discrete else ContinuousLearner)(vec, args, source, device)


def train(args: Args) -> dict:
    """Run OMAR; returns the evaluation of the trained policy."""
    return offline.learn("omar", args, make)


if __name__ == "__main__":
    main(Args, PRESETS, train)
