"""MAGAIL: multi-agent generative adversarial imitation learning (Song et al., 2018).

Discriminators learn to tell the experts' (observation, action) pairs from the policies'; their output for a
pair is the reward, from which MACK learns. MAGAIL does not know absent agents: in an asynchronous game φ is
one more action and all rounds are used. This is the baseline of the AMAGAIL paper. `learners.amagail` takes
participation into account; its docstring lists the differences.

    python -m learners.magail --env stochastic_coop_nav --demos expert --num-demos 200

One update: play a batch of rounds; one step of every discriminator on equally many rounds of both sources;
rewards from the discriminators' logits (a high logit means expert); advantages; one step of every actor
and critic. Training starts from behavioral cloning; the first updates train discriminators only.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from demos.dataset import Demonstrations
from learners import bc, mack
from learners.lib.balance import Balance
from learners.lib.discriminators import Architecture, Discriminator
from learners.lib.expert_data import (
    DemoSettings,
    ExpertData,
    demonstrations_of,
    group_rows,
    load,
)
from learners.lib.fields import Count, Steps, Whole
from learners.lib.game import describe, make_game
from learners.lib.occupancy import Occupancy
from learners.lib.optimizers import Kind, make_optimizer
from learners.lib.rollout import Rollout
from learners.lib.run import Run, main
from mail_envs.streams import stream_seed

RewardForm = Literal["tanh", "softplus", "neglog", "logit", "sigmoid"]


@dataclasses.dataclass(frozen=True)
class Args(DemoSettings, mack.Args):
    """Imitate by multi-agent adversarial imitation (MAGAIL)."""

    steps: Steps = 10_000_000
    """Environment steps."""
    anneal: bool = True
    """Decrease the policies' step size linearly to zero over the run."""
    lam: float = 0.95
    """Lambda of the advantages; 1 gives discounted returns minus values, as in the papers."""
    discriminator: Architecture = "decentralized"
    """decentralized: own observation and action; centralized: those of all agents, one logit per agent;
    single: those of all agents, one logit for all."""
    reward: RewardForm = "tanh"
    """Reward of a logit x: tanh (2 sigmoid(x) - 1), softplus, neglog (-softplus(-x)), logit or sigmoid."""
    disc_optimizer: Kind = "kfac"
    """Optimizer of the discriminators."""
    disc_lr: float = 0.1
    """Learning rate of the discriminators; it decreases linearly to zero over the run."""
    disc_kl_clip: float = 1e-3
    """KL clip of the discriminators' steps."""
    disc_first: Whole = 50
    """Updates at the start in which only discriminators and critics are trained."""
    input_limit: float = 3.0
    """Clip the standardized observations of discriminators and critics to +- this. Without it, critics
    extrapolate without bound outside the demonstrations, and agents learn to flee there."""
    input_noise: float = 0.3
    """Standard deviation of the noise on the discriminators' inputs, in standard deviations of the expert's
    data: it keeps them from memorizing single demonstrations."""
    horizon_occupancy: bool = True
    """Compare occupancy measures over the whole time limit (learners/lib/occupancy.py) rather than averages."""
    cloning: float = 0.3
    """Weight of the behavioral cloning term in the policies' loss; 0 is the papers' algorithm."""
    gradient_penalty: float = 0.0
    """Weight of (|gradient| - 1)^2 of the logit at mixtures of expert and policy inputs."""
    weight_decay: float = 0.0
    """Weight of half the sum of squared discriminator weights in its loss."""
    label_smoothing: float = 0.0
    """Labels are 1 minus this for the expert, and this for the policy."""
    logit_entropy: float = 0.0
    """Weight of the entropy bonus of the discriminator's predictions."""
    warm_start: Whole = 2000
    """Largest number of behavioral cloning steps before adversarial training; cloning stops early."""
    warm_start_batch: Count = 1000
    """Entries per step of behavioral cloning."""


PRESETS = {
    # The papers' losses alone; occupancy measures are still sums (averages: --no-horizon-occupancy).
    "paper": {"steps": 6_000_000, "input_noise": 0.0, "cloning": 0.0, "disc_first": 10},
    "quick": {"steps": 3_000_000},
}

REWARDS: dict[RewardForm, Callable[[Tensor], Tensor]] = {
    "tanh": lambda x: torch.tanh(x / 2),
    "softplus": F.softplus,
    "neglog": lambda x: -F.softplus(-x),
    "logit": lambda x: x,
    "sigmoid": torch.sigmoid,
}
ONE_SIGNED = ("softplus", "neglog", "sigmoid")
REWARD_LIMIT = 10.0


@dataclasses.dataclass(frozen=True)
class Pairs:
    """Rounds of one source: observations (B, N, D), actions (B, N[, A]), participation and valid (B, N).

    `valid` marks the pairs that discriminators learn from: all in MAGAIL, those of participants in AMAGAIL.
    """

    observations: Tensor
    actions: Tensor
    participation: Tensor
    valid: Tensor

    @classmethod
    def of_expert(cls, data: ExpertData, valid: Tensor) -> Pairs:
        return cls(data.observations, data.actions, data.participation, valid)

    @classmethod
    def of_policy(cls, rollout: Rollout, participation: Tensor, valid: Tensor) -> Pairs:
        observations = rollout.observations[:-1].flatten(0, 1)
        actions = rollout.played().flatten(0, 1)
        return cls(observations, actions, participation.flatten(0, 1), valid.flatten(0, 1))

    def inputs(self, discriminator: Discriminator, g: int) -> tuple[Tensor, Tensor]:
        """Network g's input rows with at least one valid logit, and which of their logits are valid."""
        valid = discriminator.valid(g, self.valid)
        rows = valid.any(1).nonzero().squeeze(1)
        inputs = discriminator.inputs(g, self.observations, self.actions, self.participation)
        return inputs[rows], valid[rows]


class Adversary:
    """The discriminators, their optimizers, and the occupancy measures of both sides."""

    def __init__(
        self, policy, data: ExpertData, occupancy: Occupancy, args: Args, device: torch.device
    ):
        self.occupancy = occupancy
        self.discriminator = Discriminator(args.discriminator, policy, args.hidden).to(device)
        self.discriminator.normalize_with(data.observations, args.input_limit)
        settings = (args.disc_lr, args.disc_kl_clip, args.eigen_every)
        networks = self.discriminator.networks
        self.optimizers = [make_optimizer(args.disc_optimizer, n, *settings) for n in networks]

    @torch.no_grad()
    def rewards(self, pairs: Pairs, form: RewardForm) -> Tensor:
        """f(logit) of every agent's pair, (B, N); `form` names f."""
        logits = self.discriminator(pairs.observations, pairs.actions, pairs.participation)
        return REWARDS[form](logits).clamp(-REWARD_LIMIT, REWARD_LIMIT)

    def state_dict(self) -> dict:
        return {
            "networks": dict(self.discriminator.state_dict()),
            "optimizers": [o.state_dict() for o in self.optimizers],
            "occupancy": self.occupancy.state_dict(),
        }

    def load_state_dict(self, state: dict) -> None:
        self.discriminator.load_state_dict(state["networks"])
        self.occupancy.load_state_dict(state["occupancy"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)


def add_absorbing(rewards: Tensor, adversary: Adversary, rollout: Rollout, args: Args) -> Tensor:
    """Rewards (T, E, N) plus, where a game ended early, those of its remaining (absorbing) rounds."""
    adversary.occupancy.observe(rollout)
    if not args.horizon_occupancy:
        return rewards
    logit = adversary.occupancy.absorbing_logit().to(rewards.device)
    reward = REWARDS[args.reward](logit).clamp(-REWARD_LIMIT, REWARD_LIMIT)
    return rewards + adversary.occupancy.value_of_ending(rollout, reward, args.gamma)


def cloning_loss(policy, sample: ExpertData, valid: Tensor, args: Args):
    """The cloning term of the policies' loss, a function of the group; None when its weight is 0."""
    if not args.cloning:
        return None
    rows = group_rows(policy, sample, valid)
    return lambda g: args.cloning * bc.nll(policy, g, rows[g])


def cross_entropy(logits: Tensor, valid: Tensor, label: float) -> Tensor:
    """Mean binary cross-entropy of the valid logits (rows, outputs) with one label for all."""
    losses = label * F.softplus(-logits) + (1 - label) * F.softplus(logits)
    return (losses * valid).sum() / valid.sum().clamp(min=1)


def discriminator_loss(
    network, expert: tuple, policy: tuple, weights: tuple, args: Args, rng
) -> tuple[Tensor, dict]:
    """Binary cross-entropy plus the optional regularizers; `expert` and `policy` are (inputs, valid)."""
    rows = torch.cat([expert[0], policy[0]])
    if args.input_noise:
        scale = 1.0 if network.std is None else network.std
        rows = rows + args.input_noise * scale * torch.empty_like(rows).normal_(generator=rng)
    expert_logits, policy_logits = network(rows).split([len(expert[0]), len(policy[0])])
    loss = weights[0] * cross_entropy(expert_logits, expert[1], 1 - args.label_smoothing)
    loss = loss + weights[1] * cross_entropy(policy_logits, policy[1], args.label_smoothing)
    metrics = {
        "disc_loss": float(loss.detach()),
        "disc_accuracy_expert": share((expert_logits > 0), expert[1]),
        "disc_accuracy_policy": share((policy_logits < 0), policy[1]),
    }
    if args.logit_entropy:
        logits = torch.cat([expert_logits, policy_logits])
        entropy = F.softplus(logits) - logits * torch.sigmoid(logits)
        loss = loss - args.logit_entropy * entropy.mean()
    if args.weight_decay:
        squares = sum((layer.weight**2).sum() for layer in network.layers)
        loss = loss + 0.5 * args.weight_decay * squares
    if args.gradient_penalty:
        loss = loss + args.gradient_penalty * gradient_penalty(network, expert[0], policy[0], rng)
    return loss, metrics


def gradient_penalty(network, expert: Tensor, policy: Tensor, rng: torch.Generator) -> Tensor:
    """Mean of (|d logit / d input| - 1)^2 at random mixtures of rows of both sources."""
    size = min(len(expert), len(policy))
    mix = torch.rand(size, 1, generator=rng, device=expert.device)
    inputs = (mix * expert[:size] + (1 - mix) * policy[:size]).requires_grad_(True)
    (slope,) = torch.autograd.grad(network(inputs).sum(), inputs, create_graph=True)
    return (slope.norm(dim=1) - 1).square().mean()


def sampled_label_nll(network, rows: Tensor, rng: torch.Generator) -> Tensor:
    """-log p of labels sampled from the discriminator itself, per row: its Fisher loss."""
    logits = network(rows)
    uniform = torch.rand(logits.shape, generator=rng, device=logits.device)
    return F.softplus(torch.where(uniform < torch.sigmoid(logits.detach()), -logits, logits)).sum(1)


def update_discriminators(
    adversary: Adversary, expert: Pairs, policy: Pairs, args: Args, rng
) -> dict:
    """One step of every discriminator; a network without valid pairs of either source is skipped."""
    weights = adversary.occupancy.weights() if args.horizon_occupancy else (1.0, 1.0)
    collected: dict[str, list[float]] = {}
    networks = adversary.discriminator.networks
    for g, (network, optimizer) in enumerate(zip(networks, adversary.optimizers, strict=True)):
        theirs = expert.inputs(adversary.discriminator, g)
        ours = policy.inputs(adversary.discriminator, g)
        if len(theirs[0]) == 0 or len(ours[0]) == 0:
            continue
        loss, metrics = discriminator_loss(network, theirs, ours, weights, args, rng)
        stride = math.ceil((len(theirs[0]) + len(ours[0])) / args.fisher_rows)
        few = torch.cat([theirs[0][::stride], ours[0][::stride]])
        optimizer.step(loss, partial(sampled_label_nll, network, few, rng))
        for key, value in metrics.items():
            collected.setdefault(key, []).append(value)
    return {key: sum(values) / len(values) for key, values in collected.items()}


def share(hits: Tensor, valid: Tensor) -> float:
    return float((hits & valid).sum() / valid.sum().clamp(min=1))


def warm_start(
    run: Run, agent: mack.ActorCritic, data: ExpertData, phi: str, null_action: str
) -> None:
    """Clone the demonstrations, until the loss on a held-out tenth stops improving."""
    args = run.args
    if not args.warm_start:
        return
    rate = 0.05 if args.optimizer == "kfac" else args.lr
    steps, loss = bc.fit(
        agent.policy, data, phi, args.warm_start, run.rng, args.warm_start_batch, rate,
        optimizer=args.optimizer,
    )  # fmt: skip
    text = f"behavioral cloning: {steps} steps, held-out loss {loss:.3f}"
    if args.eval_episodes:
        clone = run.measure(agent.policy, {"null_action": null_action})
        run.results["cloned_return"] = clone["return"]
        text += f", return {clone['return']:.2f} before adversarial training"
    run.say(text)


def prepare(
    run: Run, demos: Demonstrations, vec, phi: str
) -> tuple[mack.ActorCritic, ExpertData, Adversary, Rollout, Balance]:
    """Load the demonstrations, make the networks and start the games: shared by MAGAIL and AMAGAIL."""
    args = run.args
    data = load(run, demos, vec)
    agent = mack.ActorCritic(vec, args, run.device)
    agent.policy.normalize_with(data.observations)
    agent.critic.normalize_with(data.observations, args.input_limit)
    length = len(data) / len(data.episode.unique())
    valid = bc.valid_entries(phi, data)
    occupancy = Occupancy(length, vec.max_rounds, valid.float().mean(0))
    adversary = Adversary(agent.policy, data, occupancy, args, run.device)
    rollout = Rollout(vec, args.rounds, run.device)
    rollout.reset(stream_seed(args.seed, "games"))
    run.say(
        f"{run.learner} on {args.env}: {args.steps:,} steps, "
        f"{len(data):,} rounds of {args.num_demos} episodes"
        f"{' of random play (control)' if args.control else ''}, "
        f"{args.discriminator} discriminators, {run.device}, {run.folder}"
    )
    if args.steps <= args.disc_first * rollout.steps:
        run.say(
            f"note: the first {args.disc_first * rollout.steps:,} steps train only discriminators and "
            "critics, so this run will not change the cloned policies: raise --steps or lower --disc-first"
        )
    if args.reward in ONE_SIGNED:
        run.say(
            f"note: rewards of the form {args.reward!r} all have the same sign; where episodes can end "
            "early this rewards longer (or shorter) episodes: prefer tanh, or --fixed-horizon"
        )
    settled = 2 * math.ceil(vec.max_rounds / args.rounds)
    return agent, data, adversary, rollout, Balance(run.say, settled, args.disc_first)


def begin(run: Run, vec, agent, adversary, rollout, balance) -> None:
    """Register the parts of a checkpoint (and restore them when resuming)."""
    run.begin(
        agent.policy,
        describe(vec),
        {"agent": agent, "adversary": adversary, "rollout": rollout, "balance": balance},
    )


def schedule(run: Run, agent: mack.ActorCritic, adversary: Adversary) -> None:
    """Set the step sizes of this update: those of discriminators and policies decrease linearly."""
    left = 1 - run.steps / run.args.steps
    for optimizer in adversary.optimizers:
        optimizer.lr = run.args.disc_lr * left
    if run.args.anneal:
        mack.anneal_actors(agent, run.args, left)


def train(args: Args) -> dict:
    """Run MAGAIL; returns the evaluation of the trained policy."""
    with Run("magail", args) as run:
        args, rng = run.args, run.rng
        demos = demonstrations_of(run)
        vec = make_game(args, args.num_envs, run.device, null_action_in(demos))
        agent, data, adversary, rollout, balance = prepare(run, demos, vec, "as_action")
        if run.fresh:
            warm_start(run, agent, data, "as_action", vec.null_action)
        begin(run, vec, agent, adversary, rollout, balance)
        while run.steps < args.steps:
            schedule(run, agent, adversary)
            rollout.collect(agent.policy, rng)
            present = (~rollout.lost).unsqueeze(-1).expand_as(rollout.participation[:-1])

            sample = data.sample(rollout.steps, rng)
            always = torch.ones_like(sample.participation)
            expert = Pairs.of_expert(sample, always)
            policy = Pairs.of_policy(rollout, present, present)
            metrics = update_discriminators(adversary, expert, policy, args, rng)

            rewards = adversary.rewards(policy, args.reward).view_as(rollout.rewards)
            rewards = add_absorbing(rewards, adversary, rollout, args)
            advantages, targets = mack.estimate_advantages(
                agent, rollout, rewards, args.gamma, args.lam, rng, largest_value(args)
            )
            train_actor = run.updates >= args.disc_first
            clone = cloning_loss(agent.policy, sample, always, args)
            metrics |= mack.update(
                agent, rollout, advantages, targets, present, args, rng, train_actor, clone
            )

            metrics |= reward_statistics(rewards, present) | rollout.episodes()
            balance.observe(run.updates, metrics)
            run.advance(rollout.steps, metrics)
        return run.finish()


def null_action_in(demos: Demonstrations) -> Literal["null", "as_action"]:
    """φ is an action only where an agent can be absent and actions are discrete."""
    synchronous = demos.metadata["player_function"]["type"] == "Synchronous"
    return "null" if synchronous or not demos.layout.discrete else "as_action"


def largest_value(args: Args) -> float:
    """Largest absolute discounted sum of rewards of this form."""
    largest = 1.0 if args.reward in ("tanh", "sigmoid") else REWARD_LIMIT
    return largest / (1 - args.gamma)


def reward_statistics(rewards: Tensor, valid: Tensor) -> dict[str, float]:
    sd, mean = torch.std_mean(rewards[valid])
    return {"reward": float(mean), "reward_sd": float(sd)}


if __name__ == "__main__":
    main(Args, PRESETS, train)
