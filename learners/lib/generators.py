"""The generators of MILD²: one policy for the team (`learners.mat`), or one per agent (`learners.ippo`).

Both are cloned first, then trained by PPO on the discriminator's rewards with a cloning term; `args` are those of
`learners.mild2`.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any

import torch
from torch import Tensor

from learners import bc, ippo, mat
from learners.lib import team_cloning
from learners.lib.actor_critic import ActorCritic, estimate_advantages
from learners.lib.expert_data import ExpertData, rows_of_group
from learners.lib.networks import Policy
from learners.lib.rollout import Rollout
from learners.lib.run import Run
from learners.lib.transformer import TransformerPolicy

CLONING_RATE = 1e-3


def make_generator(vec: Any, args: Any, device: torch.device) -> mat.Learner | ActorCritic:
    """The team's policy with its values, or one policy and critic per agent."""
    if args.generator == "joint":
        return mat.Learner(vec, args, device)
    return ippo.make_agent(vec, separate(args), device)


def separate(args: Any) -> ippo.Args:
    """Settings of independent agents that correspond to those of the transformer."""
    names = (
        "lr",
        "max_grad_norm",
        "epochs",
        "minibatches",
        "clip",
        "huber",
        "entropy",
        "gamma",
        "lam",
    )
    return ippo.Args(
        **{name: getattr(args, name) for name in names},
        value_clip=args.clip, hidden=(args.width, args.width), share="none", layer_norm="after",
        continuous="sigmoid_gaussian",
    )  # fmt: skip


def set_rate(generator: mat.Learner | ActorCritic, lr: float) -> None:
    """Set the learning rate of the policy and its values."""
    if isinstance(generator, ActorCritic):
        generator.set_rate(lr)
    else:
        generator.optimizer.lr = lr


def warm_start(run: Run, generator: mat.Learner | ActorCritic, clone: CloningTerm) -> None:
    """Clone the demonstrations; the time of `--budget` left after half of it is for adversarial training."""
    args = run.args
    show = {"label": "cloning" if args.progress else "", "stop": lambda: run.time_used > 0.5}
    if isinstance(generator, ActorCritic):
        steps, loss = bc.fit(
            generator.policy, clone.data, args.participation, args.warm_start, run.rng, args.disc_batch,
            CLONING_RATE, optimizer="adam", **show,
        )  # fmt: skip
    else:
        steps, loss = team_cloning.fit(
            generator.policy, clone.data, clone.counts, args.warm_start, args.disc_batch, run.rng,
            CLONING_RATE, **show,
        )  # fmt: skip
    run.say(f"behavioral cloning: {steps} steps, held-out loss {loss:.3f}")


@dataclasses.dataclass(frozen=True)
class CloningTerm:
    """The cloning term of the generator's loss: the likelihood of a batch of demonstrated rounds.

    `counts`: the entries that are learned from, bool (M, N). `weight`: of the term.
    """

    data: ExpertData
    counts: Tensor
    weight: float
    batch: int

    def joint(self, policy: TransformerPolicy, rng: torch.Generator) -> Tensor:
        """That of the team's policy."""
        return self.weight * team_cloning.nll(policy, *self._sample(rng))

    def separate(self, policy: Policy, rng: torch.Generator, g: int) -> Tensor:
        """That of the policy of agent g."""
        rows = rows_of_group(policy, g, *self._sample(rng))
        return self.weight * bc.nll(policy, g, rows) if len(rows) else torch.zeros(())

    def _sample(self, rng: torch.Generator) -> tuple[ExpertData, Tensor]:
        rows = torch.randint(len(self.data), (self.batch,), generator=rng, device=rng.device)
        return self.data.take(rows), self.counts[rows]


def train_generator(
    generator: mat.Learner | ActorCritic,
    rollout: Rollout,
    rewards: Tensor,
    clone: CloningTerm,
    actors: bool,
    args: Any,
    rng: torch.Generator,
) -> tuple[Tensor, dict[str, float]]:
    """One PPO update on these rewards, without `actors` of the values alone; the advantages (T, E, N), and the metrics."""
    use = actors and clone.weight > 0
    if isinstance(generator, ActorCritic):
        settings = separate(args)
        learned = estimate_advantages(generator, rollout, rewards, args.gamma, args.lam)
        more = partial(clone.separate, generator.policy, rng) if use else None
        return learned[0], ippo.update(generator, rollout, *learned, settings, rng, actors, more)
    learned = mat.estimate_advantages(generator, rollout, rewards, args, rng)
    term = partial(clone.joint, generator.policy, rng) if use else None
    return learned[0], mat.update(generator, rollout, *learned, args, rng, actors, term)
