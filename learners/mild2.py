"""MILD²: a joint discriminator and a joint policy, both transformers, for multi-agent imitation.

The discriminator sees the observations and actions of all agents at once and gives every agent a score
(`learners.lib.joint_discriminator`); the Multi-Agent Transformer (`learners.mat`) maximizes it. The true reward is not
used. `--distance` says what the discriminator maximizes: kl, minus the binary cross-entropy, as in GAIL; wasserstein,
the difference of the mean scores of both sources, with a penalty on pairs whose scores differ by more than their
distance d (x from the policy, y from the expert; e is --slack):

    sum over agents k of  E r_k(y) - E r_k(x) - E (r_k(y) - r_k(x) - d(x, y))_+^2 / 4e

    python -m learners.mild2 --env smac_3m --demos expert --num-demos 1000
    python -m learners.mild2 --env mamujoco_halfcheetah_6x1 --demos runs/expert --preset mamujoco

The policy is first cloned (`--warm-start`), then the discriminator and the values are trained for a few updates, since
with arbitrary values the clone would be lost. One update: play a batch of rounds; several passes of the discriminator
over it; rewards from the new scores; the update of MAT, whose loss has a cloning term. The presets named after games
are the paper's, which starts from scratch.

Agents that are absent or dead are masked in attention, get no reward and are not learned from. With `--participation
as_action`, φ is an action of absent agents that the discriminator judges like others (as in MAGAIL); the generator's
attention still skips them, since φ is then their only action.

Ablations: `--discriminator independent`, one network per agent for its own pairs; `--generator independent`, one
policy and critic per agent; both, MAGAIL with this trainer. `--decoder none` and `--encoder none` are those of MAT.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

import torch
from torch import Tensor

from learners import bc, magail, mat
from learners.lib.adversarial import (
    ONE_SIGNED,
    RewardForm,
    balanced_loss,
    distances,
    reward,
    wasserstein,
)
from learners.lib.agent_figures import by_agent
from learners.lib.expert_data import DemoSettings, ExpertData, demonstrations_of, load
from learners.lib.fields import Count, Fraction, Positive, Steps, Weight, Whole
from learners.lib.game import describe, make_game
from learners.lib.generators import (
    CloningTerm,
    make_generator,
    set_rate,
    train_generator,
    warm_start,
)
from learners.lib.groups import Returns, Rollouts, TeamSteps, TeamUpdates, TransformerForm
from learners.lib.joint_discriminator import (
    AttentionKind,
    IndependentDiscriminator,
    JointDiscriminator,
    PairInputs,
    SingleDiscriminator,
)
from learners.lib.optimizers import Adam
from learners.lib.processor import fast_products
from learners.lib.rollout import Rollout
from learners.lib.run import Run, main
from mail_envs.streams import stream_seed

Judge = Literal["joint", "independent", "single"]
MIDDLE_ROWS = 1024  # demonstrated rounds from which the mean of the expert's scores is estimated


@dataclasses.dataclass(frozen=True)
class Args(DemoSettings, Rollouts, Returns, TeamUpdates, TeamSteps, TransformerForm):
    """Imitate with a joint discriminator and a joint policy (MILD²)."""

    preset: Literal[
        "default", "paper", "quick", "smac", "smac_3m", "smac_3s5z", "smac_6h_vs_8z", "smac_MMM2",
        "football", "bidexhands", "mamujoco",
    ] = "default"  # fmt: skip
    steps: Steps = 3_000_000
    discriminator: Judge = "joint"
    """joint: one transformer judges all agents together. independent: one network per agent. single: one network for
    the team, which pays all agents alike, as in GAIL."""
    generator: Literal["joint", "independent"] = "joint"
    """joint: the Multi-Agent Transformer. independent: one policy and critic per agent, trained by PPO."""
    participation: Literal["filter", "as_action"] = "filter"
    """filter: pairs of absent agents are dropped, and get no reward, as in AMAGAIL. as_action: φ is an action."""
    distance: Literal["kl", "wasserstein"] = "kl"
    """What the discriminator maximizes. kl: minus the binary cross-entropy. wasserstein: the difference of mean
    scores."""
    reward: RewardForm = "logit"
    """Reward of a score x: softplus, tanh (2 sigmoid(x) - 1), neglog (-softplus(-x)), sigmoid, or logit (x itself). With
    wasserstein, a score of 0 is halfway between both sources."""
    slack: Positive = 0.01
    """With wasserstein, how soft the bound on score differences is. Distances are divided by their mean between
    demonstrated rounds."""
    attention: AttentionKind = "l2"
    """Attention of the discriminator. l2: scores are minus squared distances; dot: dot products."""
    spectral_norm: bool = True
    """Keep the largest singular values of the joint discriminator's weights at their initial ones."""
    gradient_penalty: Weight = 1.0
    """Weight of the gradient penalty of the discriminator, (|gradient| - 1)^2 between rounds of both sources."""
    disc_lr: Positive = 3e-4
    """Learning rate of the discriminator (Adam)."""
    disc_lr_step: Count = 100
    """Updates after which the discriminator's learning rate is multiplied by --disc-lr-gamma."""
    disc_lr_gamma: Fraction = 1.0
    """Factor of the discriminator's learning rate; 1: it stays the same."""
    disc_max_grad_norm: Positive = 10.0
    """Largest gradient norm of the discriminator."""
    disc_batch: Count = 256
    """Rounds per gradient step of the discriminator, of both sources each."""
    disc_epochs: Count = 1
    """The discriminator's passes over the policy's rounds per update."""
    disc_warmup: Whole = 10
    """Updates at the start in which the discriminator makes --disc-warmup-epochs passes."""
    disc_warmup_epochs: Count = 5
    """The discriminator's passes per update at the start."""
    warm_start: Whole = 2000
    """Largest number of behavioral cloning steps before adversarial training; cloning stops early."""
    disc_first: Whole = 5
    """Updates at the start in which only the discriminator and the values are trained."""
    cloning: Weight = 0.3
    """Weight of the behavioral cloning term in the policy's loss; 0 as in the paper."""


DISCRIMINATOR = {
    "disc_lr": 5e-6,
    "disc_epochs": 5,
    "disc_batch": 128,
    "disc_warmup_epochs": 100,
    "gradient_penalty": 0.0,
    "reward": "softplus",
    "warm_start": 0,
    "disc_first": 0,
    "cloning": 0.0,
}  # Table 6
DOT = {"attention": "dot", "spectral_norm": False, "distance": "wasserstein", "reward": "logit"}
SMAC = {
    **DISCRIMINATOR,
    "disc_max_grad_norm": 10.0,
    "num_envs": 32,
    "rounds": 100,
    "minibatches": 1,
    "max_grad_norm": 10.0,
    "clip": 0.05,
    "epochs": 10,
    "steps": 10_000_000,
}
PRESETS = {
    # Tables 6 to 8 of the paper
    "smac": SMAC,
    "smac_3m": {**SMAC, "epochs": 15, "clip": 0.2, "steps": 500_000},
    "smac_3s5z": {**SMAC, "steps": 3_000_000},
    "smac_6h_vs_8z": {**SMAC, "epochs": 15},
    "smac_MMM2": {**SMAC, "epochs": 5},
    # Table 10
    "football": {
        **DISCRIMINATOR,
        "disc_max_grad_norm": 0.5,
        "num_envs": 20,
        "rounds": 200,
        "minibatches": 1,
        "clip": 0.05,
        "epochs": 10,
        "entropy": 0.001,
        "steps": 10_000_000,
    },
    # Table 9
    "bidexhands": {
        **DISCRIMINATOR,
        **DOT,
        "disc_max_grad_norm": 0.5,
        "num_envs": 80,
        "rounds": 75,
        "minibatches": 1,
        "lr": 5e-5,
        "gamma": 0.96,
        "clip": 0.2,
        "entropy": 0.001,
        "steps": 50_000_000,
    },
    # Table 11
    "mamujoco": {
        **DISCRIMINATOR,
        **DOT,
        "disc_max_grad_norm": 0.5,
        "num_envs": 40,
        "rounds": 100,
        "minibatches": 40,
        "lr": 5e-5,
        "clip": 0.05,
        "epochs": 10,
        "entropy": 0.001,
        "steps": 10_000_000,
    },
    "quick": {"steps": 300_000, "eval_episodes": 200},
}
PRESETS["paper"] = SMAC


# ------------------------------------------------------------------------------------- discriminator
class Adversary:
    """The discriminator, its optimizer, and the demonstrations.

    `expert`: observations (M, N, D), actions (M, N[, A]), and which of them count, bool (M, N).
    """

    def __init__(self, vec: Any, data: ExpertData, args: Args, device: torch.device):
        self.args = args
        counts = bc.valid_entries(args.participation, data)
        self.expert = (data.observations, data.actions, counts)
        self.inputs = PairInputs.of(vec)
        self.inputs.normalize_with(data.observations, counts)
        if args.discriminator == "joint":
            self.network = JointDiscriminator(
                self.inputs, args.width, args.blocks, args.heads, args.attention, args.spectral_norm
            )
        elif args.discriminator == "independent":
            self.network = IndependentDiscriminator(self.inputs, args.width)
        else:
            self.network = SingleDiscriminator(self.inputs, args.width)
        self.inputs, self.network = self.inputs.to(device), self.network.to(device)
        self.optimizer = Adam(self.network, args.disc_lr, args.disc_max_grad_norm)
        self.unit = self._unit() if args.distance == "wasserstein" else 1.0

    def _unit(self) -> float:
        """Mean distance between demonstrated rounds."""
        few = tuple(x[: 2 * MIDDLE_ROWS] for x in self.expert)
        order = torch.arange(len(few[0])).roll(len(few[0]) // 2)
        encoded = self._encoded(few)
        others = self._encoded(tuple(x[order.to(x.device)] for x in few))
        return float(distances(encoded, others).mean().clamp(min=1e-6))

    def _encoded(self, rounds: tuple[Tensor, ...]) -> tuple[Tensor, Tensor, Tensor]:
        observations, actions, counts = rounds
        return *self.inputs(observations, actions), counts

    @fast_products()
    def update(
        self, rollout: Rollout, valid: Tensor, epochs: int, rng: torch.Generator
    ) -> dict[str, float]:
        """`epochs` passes over a fragment, each round with a demonstrated one; the metrics are means over steps."""
        policy = rounds_of(rollout, valid)
        total: dict[str, float] = {}
        steps = 0
        self.network.train()
        for _ in range(epochs):
            order = torch.randperm(len(policy[0]), generator=rng, device=rng.device)
            for rows in order.split(self.args.disc_batch):
                expert = self._demonstrated(len(rows), rng)
                loss, metrics = self.loss(expert, tuple(x[rows] for x in policy), rng)
                self.optimizer.step(loss)
                total = {k: total.get(k, 0.0) + x for k, x in metrics.items()}
                steps += 1
        return {k: x / steps for k, x in total.items()}

    def _demonstrated(self, count: int, rng: torch.Generator) -> tuple[Tensor, ...]:
        size = len(self.expert[0])
        rows = torch.randint(size, (count,), generator=rng, device=rng.device)
        return tuple(x[rows] for x in self.expert)

    def loss(
        self, expert: tuple[Tensor, ...], policy: tuple[Tensor, ...], rng: torch.Generator
    ) -> tuple[Tensor, dict[str, float]]:
        """Minus the objective on equally many rounds of both sources, each (observations, actions, counts)."""
        y, x = self._encoded(expert), self._encoded(policy)
        joined = (torch.cat(pair) for pair in zip(y, x, strict=True))
        scores = self.network(*joined).split([len(y[0]), len(x[0])])
        loss, metrics = balanced_loss(scores[0], scores[1], (y[2].float(), x[2].float()))
        if self.args.distance == "wasserstein":
            apart = distances(y, x) / self.unit
            loss = -wasserstein(scores[0], scores[1], (y[2], x[2]), apart, self.args.slack)
            metrics["disc_loss"] = float(loss.detach())
        if self.args.gradient_penalty:
            loss = loss + self.args.gradient_penalty * self._gradient_penalty(y, x, rng)
        return loss, metrics

    def _gradient_penalty(self, y: tuple[Tensor, ...], x: tuple[Tensor, ...], rng) -> Tensor:
        """Mean of (|d score / d input| - 1)^2 between rounds of both sources, of the sum of the agents' scores."""
        mix = torch.rand(len(x[0]), 1, 1, generator=rng, device=x[0].device)
        seen, done = ((mix * a + (1 - mix) * b).requires_grad_(True) for a, b in zip(y[:2], x[:2]))
        counts = y[2] & x[2]
        score = self.network(seen, done, counts).masked_fill(~counts, 0.0).sum()
        slopes = torch.autograd.grad(score, (seen, done), create_graph=True)
        norm = torch.cat([s.flatten(1) for s in slopes], 1).norm(dim=1)
        return (norm - 1).square().mean()

    @torch.no_grad()
    def rewards(self, rollout: Rollout, valid: Tensor, rng: torch.Generator) -> Tensor:
        """f(score) of the pairs that count, (T, E, N), and 0 for the others."""
        self.network.eval()
        policy = rounds_of(rollout, valid)
        scores = self.network(*self._encoded(policy))
        if self.args.distance == "wasserstein":  # scores are known up to a constant
            expert = self._demonstrated(MIDDLE_ROWS, rng)
            others = self.network(*self._encoded(expert))
            ends = [s[c].mean() for s, c in ((scores, policy[2]), (others, expert[2])) if c.any()]
            scores = scores - sum(ends) / max(len(ends), 1)
        return reward(scores, self.args.reward).view_as(rollout.rewards) * valid

    def set_rate(self, updates: int) -> None:
        """Set the learning rate of this update."""
        args = self.args
        self.optimizer.lr = args.disc_lr * args.disc_lr_gamma ** (updates // args.disc_lr_step)

    def state_dict(self) -> dict:
        return {
            "network": dict(self.network.state_dict()),
            "optimizer": self.optimizer.state_dict(),
        }

    def load_state_dict(self, state: dict) -> None:
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])


def rounds_of(rollout: Rollout, valid: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Observations, actions and what counts, of all T E rounds."""
    r = rollout
    return r.observations[:-1].flatten(0, 1), r.played().flatten(0, 1), valid.flatten(0, 1)


# ------------------------------------------------------------------------------------------ training
def train(args: Args) -> dict:
    """Run MILD²; returns the evaluation of the trained policy."""
    return imitate("mild2", args)


def imitate(learner: str, args: Args) -> dict:
    """Train under the name of a learner; returns the evaluation of the trained policy."""
    check(args)
    with Run(learner, args) as run:
        args, rng = run.args, run.rng
        demos = demonstrations_of(run)
        as_action = args.participation == "as_action"
        null_action = magail.null_action_in(demos) if as_action else "null"
        vec = make_game(args, args.num_envs, run.device, null_action)
        generator = make_generator(vec, args, run.device)
        data = load(run, demos, vec)
        adversary = Adversary(vec, data, args, run.device)
        clone = CloningTerm(data, adversary.expert[2], args.cloning, args.disc_batch)
        rollout = Rollout(vec, args.rounds, run.device)
        rollout.reset(stream_seed(args.seed, "games"))
        if run.fresh and args.warm_start:
            warm_start(run, generator, clone)
        parts = {"generator": generator, "adversary": adversary, "rollout": rollout}
        run.begin(generator.policy, describe(vec), parts)
        introduce(run, len(adversary.expert[0]))
        while not run.done:
            rollout.collect(generator.policy, rng)
            valid = rollout.learned_from(absent=as_action)
            if args.anneal:
                set_rate(generator, args.lr * (1 - run.progress))

            # The discriminator, rewards from its new scores, and the generator.
            adversary.set_rate(run.updates)
            warmup = run.updates < args.disc_warmup
            epochs = args.disc_warmup_epochs if warmup else args.disc_epochs
            metrics = adversary.update(rollout, valid, epochs, rng)
            rewards = adversary.rewards(rollout, valid, rng)
            actors = run.updates >= args.disc_first
            learned = train_generator(generator, rollout, rewards, clone, actors, args, rng)
            advantages, found = learned

            metrics |= found | rollout.episodes()
            metrics |= by_agent("reward", rewards, valid) | by_agent("advantage", advantages, valid)
            run.advance(rollout.steps, metrics)
        return run.finish()


def check(args: Args) -> None:
    """Raise ValueError for inconsistent settings."""
    mat.check(args)
    if args.generator == "independent":
        for name in ("encoder", "decoder", "ratio", "value_weight"):
            given, default = getattr(args, name), getattr(type(args), name)
            if given != default:
                raise ValueError(
                    f"{name}={given} is a setting of the transformer; generator=independent needs {name}={default}"
                )


def introduce(run: Run, rounds: int) -> None:
    """Say what is trained on what."""
    args: Args = run.args
    run.say(
        f"{run.learner} on {args.env}: {args.steps:,} steps, {rounds:,} rounds of {args.num_demos} episodes"
        f"{'' if args.control == 'none' else ' of random play (control)'}, {args.discriminator} discriminator, "
        f"{args.generator} generator, {args.distance}, {run.device}, {run.folder}"
    )
    if args.reward in ONE_SIGNED and not args.fixed_horizon:
        run.say(
            f"note: rewards of the form {args.reward!r} all have the same sign; where episodes can end early this rewards "
            "longer (or shorter) episodes: compare --reward logit, or --fixed-horizon"
        )


if __name__ == "__main__":
    main(Args, PRESETS, train)
