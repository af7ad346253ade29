"""MAGAIL: multi-agent generative adversarial imitation learning (Song et al., 2018).

Discriminators learn to tell the experts' (observation, action) pairs from the policies'; their output is the
reward that MACK maximizes. MAGAIL has no notion of participation: in an asynchronous game φ is one more action
and all rounds are used. This is the baseline of the AMAGAIL paper. `learners.amagail` takes participation into
account; its docstring lists the differences.

    python -m learners.magail --env stochastic_coop_nav --demos expert --num-demos 200

One update: play a batch of rounds; one step of every discriminator on equally many rounds from both sources;
rewards from the discriminators' logits (a high logit means expert); advantages; one step of every actor
and critic. Training starts from behavioral cloning; the first updates train only discriminators and critics.
"""

from __future__ import annotations

import dataclasses
import math
from functools import partial
from typing import Annotated, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from demos.dataset import Demonstrations
from learners import bc, mack
from learners.lib.adversarial import (
    ONE_SIGNED,
    REWARD_LIMIT,
    RewardForm,
    cross_entropy,
    gradient_penalty,
    reward,
    share,
)
from learners.lib.balance import Balance
from learners.lib.closeness import Closeness
from learners.lib.discriminators import Architecture, Discriminator
from learners.lib.expert_data import (
    DemoSettings,
    ExpertData,
    demonstrations_of,
    group_rows,
    load,
)
from learners.lib.fields import Between, Count, Fraction, Positive, Sizes, Steps, Weight, Whole
from learners.lib.game import describe, make_game
from learners.lib.groups import ActorCriticSteps, Networks, Returns, Rollouts
from learners.lib.occupancy import Occupancy, Pairs
from learners.lib.optimizers import Kind, make_optimizer
from learners.lib.rollout import Rollout
from learners.lib.run import Run, main
from mail_envs.streams import stream_seed


@dataclasses.dataclass(frozen=True)
class Args(DemoSettings, Rollouts, Returns, ActorCriticSteps, Networks):
    """Imitate by multi-agent adversarial imitation (MAGAIL)."""

    steps: Steps = 3_000_000
    num_envs: Count = 20
    rounds: Count = 50
    kl_clip: Positive = 0.01
    """Bound on the KL divergence of the policy's natural-gradient steps (twice the KL, as in ACKTR). Values up
    to 0.025 are faster on the navigation games; on others, returns drop at first with more than 0.01."""
    anneal: bool = True
    gamma: Fraction = 0.95
    hidden: Sizes = (128, 128)
    discriminator: Architecture = "decentralized"
    """decentralized: own observation and action; centralized: those of all agents, one logit per agent;
    single: those of all agents, one logit for all."""
    reward: RewardForm = "tanh"
    """Reward of a logit x: tanh (2 sigmoid(x) - 1), softplus, neglog (-softplus(-x)), logit or sigmoid."""
    disc_optimizer: Kind = "kfac"
    """Optimizer of the discriminators."""
    disc_lr: Positive = 0.1
    """Learning rate of the discriminators; it decreases linearly to zero over the run. With kfac the KL clip
    usually takes effect first, so the learning rate matters only near the end."""
    disc_kl_clip: Positive = 1e-3
    """KL clip of the discriminators' steps."""
    disc_first: Whole = 50
    """Updates at the start in which only discriminators and critics are trained."""
    input_limit: Positive | None = 3.0
    """Clip the standardized observations of discriminators and critics to +- this. With None, critics
    extrapolate without bound outside the demonstrations, and agents learn to go there."""
    input_noise: Weight = 0.3
    """Standard deviation of the noise on the discriminators' inputs, in standard deviations of the expert's
    data; it prevents memorizing single demonstrations."""
    absorbing: bool = True
    """Extend occupancy measures to the time limit: dead agents, and all agents after an early end, are in absorbing
    states, which discriminators learn to classify (learners/lib/occupancy.py). Otherwise batches of equally many
    pairs are compared, as in the papers."""
    pair_rewards: bool = True
    """Reward the pairs of living agents. Without it (an ablation), only absorbing states are rewarded."""
    cloning: Weight = 0.3
    """Weight of the behavioral cloning term in the policies' loss; 0 as in the papers."""
    gradient_penalty: Weight = 0.0
    """Weight of the gradient penalty, (|gradient| - 1)^2 of the logit between expert and policy inputs."""
    weight_decay: Weight = 0.0
    """Weight of the L2 penalty on the discriminators' weights (half the sum of squares)."""
    label_smoothing: Annotated[float, Between(0.0, 0.5)] = 0.0
    """The expert's label is 1 minus this, the policy's is this."""
    logit_entropy: Weight = 0.0
    """Weight of the entropy bonus on the discriminators' predictions."""
    keep: Literal["closest", "last"] = "closest"
    """Which policy to keep: the one closest to the demonstrations during training, or the last one."""
    judge_every: Count = 50
    """Updates between measurements of the distance to the demonstrations (learners/lib/closeness.py)."""
    warm_start: Whole = 2000
    """Largest number of behavioral cloning steps before adversarial training; cloning stops early."""
    warm_start_batch: Count = 1000
    """Entries per step of behavioral cloning."""


PRESETS = {
    # The papers' algorithm; the AMAGAIL paper trains for 55 million steps.
    "paper": {
        "steps": 55_000_000,
        "num_envs": 4,
        "rounds": 250,
        "gamma": 0.99,
        "lam": 1.0,
        "kl_clip": 1e-3,
        "critic_kl_clip": 1e-3,
        "eigen_every": 1,
        "anneal": False,
        "disc_first": 10,
        "absorbing": False,
        "input_limit": None,
        "input_noise": 0.0,
        "cloning": 0.0,
        "warm_start": 500,
        "keep": "last",
    },
    "quick": {"steps": 1_500_000, "num_envs": 100, "rounds": 10, "kl_clip": 0.025},
}


class Parts(NamedTuple):
    """The parts of a run that are saved in checkpoints."""

    agent: mack.ActorCritic
    occupancy: Occupancy
    adversary: Adversary
    rollout: Rollout
    balance: Balance
    closeness: Closeness


class Adversary:
    """The discriminators and their optimizers."""

    def __init__(self, policy, data: ExpertData, args: Args, device: torch.device):
        self.discriminator = Discriminator(args.discriminator, policy, args.hidden).to(device)
        self.discriminator.normalize_with(data.observations, args.input_limit)
        settings = (args.disc_lr, args.disc_kl_clip, args.eigen_every)
        networks = self.discriminator.networks
        self.optimizers = [make_optimizer(args.disc_optimizer, n, *settings) for n in networks]

    @torch.no_grad()
    def rewards(self, pairs: Pairs, form: RewardForm) -> Tensor:
        """f(logit) of every pair that counts, (B, N), and 0 for the others; `form` names f."""
        result = torch.zeros_like(pairs.weights)
        for g, network in enumerate(self.discriminator.networks):
            inputs, _ = pairs.inputs(self.discriminator, g)
            rewards = reward(network(inputs), form)
            self.discriminator.put(g, result, pairs.weights, rewards)
        return result

    def state_dict(self) -> dict:
        return {
            "networks": dict(self.discriminator.state_dict()),
            "optimizers": [o.state_dict() for o in self.optimizers],
        }

    def load_state_dict(self, state: dict) -> None:
        self.discriminator.load_state_dict(state["networks"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)


def rewards_of(
    adversary: Adversary, occupancy: Occupancy, rollout: Rollout, pairs: Pairs, counts: Tensor, args
) -> Tensor:
    """Rewards (T, E, N) of the pairs, 0 for those that do not count; an early end adds the value of the rest."""
    found = adversary.rewards(pairs, args.reward)
    rewards = found[: rollout.steps].view_as(counts) * counts
    if not args.pair_rewards:
        rewards = rewards * ~rollout.alive[:-1]
    early = rollout.terminated & ~rollout.lost
    if args.absorbing and bool(early.any()):
        at_end = torch.zeros_like(rewards)
        at_end[early] = found[rollout.steps :]
        rewards = rewards + occupancy.value_of_ending(rollout, at_end, args.gamma)
    return rewards


def cloning_loss(policy, sample: ExpertData, valid: Tensor, args: Args):
    """The cloning term of the policies' loss, a function of the group: 0 without rows; None when its weight is 0."""
    if not args.cloning:
        return None
    rows = group_rows(policy, sample, valid)
    return lambda g: args.cloning * bc.nll(policy, g, rows[g]) if len(rows[g]) else 0.0


def discriminator_loss(
    network, expert: tuple, policy: tuple, args: Args, rng
) -> tuple[Tensor, dict]:
    """Binary cross-entropy plus the optional regularizers; `expert` and `policy` are (inputs, weights)."""
    rows = torch.cat([expert[0], policy[0]])
    if args.input_noise:
        scale = 1.0 if network.std is None else network.std
        rows = rows + args.input_noise * scale * torch.empty_like(rows).normal_(generator=rng)
    expert_logits, policy_logits = network(rows).split([len(expert[0]), len(policy[0])])
    loss = cross_entropy(expert_logits, expert[1], 1 - args.label_smoothing)
    loss = loss + cross_entropy(policy_logits, policy[1], args.label_smoothing)
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


def sampled_label_nll(network, rows: Tensor, rng: torch.Generator) -> Tensor:
    """-log p of labels sampled from the discriminator itself, per row: its Fisher loss."""
    logits = network(rows)
    uniform = torch.rand(logits.shape, generator=rng, device=logits.device)
    return F.softplus(torch.where(uniform < torch.sigmoid(logits.detach()), -logits, logits)).sum(1)


def update_discriminators(
    adversary: Adversary, occupancy: Occupancy, expert: Pairs, policy: Pairs, args: Args, rng
) -> dict:
    """One step of every discriminator; a network that lacks pairs from either source is skipped."""
    collected: dict[str, list[float]] = {}
    discriminator = adversary.discriminator
    for g, (network, optimizer) in enumerate(
        zip(discriminator.networks, adversary.optimizers, strict=True)
    ):
        sources = [pairs.inputs(discriminator, g) for pairs in (expert, policy)]
        if not all(len(rows) for rows, _ in sources):
            continue
        mass = discriminator.weights(g, occupancy.expert_mass.unsqueeze(0)).sum()
        sources = [
            (rows, weights / (mass if args.absorbing else weights.sum()))
            for rows, weights in sources
        ]
        loss, metrics = discriminator_loss(network, *sources, args, rng)
        rows = torch.cat([rows for rows, _ in sources])
        few = rows[mack.some_rows(len(rows), args.fisher_rows, rng)]
        optimizer.step(loss, partial(sampled_label_nll, network, few, rng))
        for key, value in metrics.items():
            collected.setdefault(key, []).append(value)
    return {key: sum(values) / len(values) for key, values in collected.items()}


def warm_start(
    run: Run, agent: mack.ActorCritic, data: ExpertData, phi: str, null_action: str
) -> None:
    """Behavioral cloning with early stopping on a held-out tenth of the demonstrations."""
    args = run.args
    if not args.warm_start:
        return
    rate = 0.05 if args.optimizer == "kfac" else args.lr
    steps, loss = bc.fit(
        agent.policy, data, phi, args.warm_start, run.rng, args.warm_start_batch, rate,
        optimizer=args.optimizer, label="cloning" if args.progress else "",
        stop=lambda: run.time_used > 0.5,  # the rest is for adversarial training
    )  # fmt: skip
    text = f"behavioral cloning: {steps} steps, held-out loss {loss:.3f}"
    if args.eval_episodes:
        clone = run.measure(agent.policy, {"null_action": null_action})
        run.results["cloned_return"] = clone["return"]
        text += f", return {clone['return']:.2f} before adversarial training"
    run.say(text)


def prepare(run: Run, demos: Demonstrations, vec, phi: str) -> Parts:
    """Load the demonstrations, make the networks and start the games: shared by MAGAIL and AMAGAIL."""
    args = run.args
    data = load(run, demos, vec)
    agent = mack.ActorCritic(vec, args, run.device)
    agent.policy.normalize_with(data.observations)
    agent.critic.normalize_with(data.observations, args.input_limit)
    valid = bc.valid_entries(phi, data)
    occupancy = Occupancy(data, valid, vec.max_rounds, args.absorbing)
    whole = occupancy if args.absorbing else Occupancy(data, valid, vec.max_rounds, True)
    adversary = Adversary(agent.policy, data, args, run.device)
    rollout = Rollout(vec, args.rounds, run.device)
    rollout.reset(stream_seed(args.seed, "games"))
    run.say(
        f"{run.learner} on {args.env}: {args.steps:,} steps, "
        f"{len(data):,} rounds of {args.num_demos} episodes"
        f"{'' if args.control == 'none' else ' of random play (control)'}, "
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
    closeness = Closeness(agent.policy, whole, adversary.discriminator, args.judge_every, run.rng)
    return Parts(
        agent, occupancy, adversary, rollout, Balance(run.say, settled, args.disc_first), closeness
    )


def begin(run: Run, vec, parts: Parts) -> None:
    """Register the parts of a checkpoint (and restore them when resuming)."""
    run.begin(parts.agent.policy, describe(vec), parts._asdict())


def schedule(run: Run, agent: mack.ActorCritic, adversary: Adversary) -> None:
    """Set the step sizes of this update: those of discriminators and policies decrease linearly."""
    left = 1 - run.progress
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
        parts = prepare(run, demos, vec, "as_action")
        agent, occupancy, adversary, rollout, balance, closeness = parts
        if run.fresh:
            warm_start(run, agent, occupancy.data, "as_action", vec.null_action)
        begin(run, vec, parts)
        while not run.done:
            schedule(run, agent, adversary)
            # Play T x E rounds with the current policies; φ is an action like any other, but the dead have none.
            rollout.collect(agent.policy, rng)
            valid = rollout.learned_from(absent=True)

            # One step of every discriminator on equally many rounds from both sources.
            sample, known, expert = occupancy.of_expert(rollout.steps, rng)
            policy, counts = occupancy.of_policy(rollout, valid)
            metrics = update_discriminators(adversary, occupancy, expert, policy, args, rng)

            # Rewards from the logits; values and advantages; one step of every actor and critic.
            rewards = rewards_of(adversary, occupancy, rollout, policy, counts, args)
            advantages, targets = mack.estimate_advantages(
                agent, rollout, rewards, args.gamma, args.lam, rng, largest_value(args)
            )
            train_actor = run.updates >= args.disc_first
            clone = cloning_loss(agent.policy, sample, known, args)
            metrics |= mack.update(
                agent, rollout, advantages, targets, valid, args, rng, train_actor, clone
            )

            metrics |= reward_statistics(rewards, valid) | rollout.episodes()
            judged = closeness.pairs(occupancy, policy, rollout, valid)
            metrics |= closeness.observe(judged, run.steps + rollout.steps, rng)
            balance.observe(run.updates, metrics)
            run.advance(rollout.steps, metrics)
        keep_closest(run, closeness)
        return run.finish()


def keep_closest(run: Run, closeness: Closeness) -> None:
    """Restore the policy that was closest to the demonstrations, and report the distances."""
    if math.isnan(closeness.best):
        return
    distances = {"distance": closeness.best, "cloned_distance": closeness.first}
    run.results |= distances | {"last_distance": closeness.last, "kept_step": closeness.step}
    if run.args.keep == "closest":
        closeness.keep()
    run.say(
        f"distance to the demonstrations: {closeness.first:.4f} after cloning, smallest {closeness.best:.4f} at "
        f"step {closeness.step:,}, {closeness.last:.4f} at the end; the {run.args.keep} policy is kept"
    )
    if closeness.last > closeness.first:
        run.say("warning: adversarial training ended further from the demonstrations than cloning")


def null_action_in(demos: Demonstrations) -> Literal["null", "as_action"]:
    """φ becomes an action only where agents can be absent and actions are discrete."""
    synchronous = demos.metadata["player_function"]["type"] == "Synchronous"
    return "null" if synchronous or not demos.layout.discrete else "as_action"


def largest_value(args: Args) -> float:
    """Bound on the absolute value of a discounted sum of rewards."""
    largest = 1.0 if args.reward in ("tanh", "sigmoid") else REWARD_LIMIT
    return largest / (1 - args.gamma) if args.gamma < 1 else math.inf


def reward_statistics(rewards: Tensor, valid: Tensor) -> dict[str, float]:
    """Mean and standard deviation of the rewards (T, E, N) where `valid`; {} for fewer than two."""
    if int(valid.sum()) < 2:
        return {}
    sd, mean = torch.std_mean(rewards[valid])
    return {"reward": float(mean), "reward_sd": float(sd)}


if __name__ == "__main__":
    main(Args, PRESETS, train)
