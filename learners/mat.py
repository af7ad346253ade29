"""MAT: the Multi-Agent Transformer, trained by proximal policy optimization (Wen et al., 2022).

One policy acts for the whole team: an encoder sees the observations of all agents, a decoder chooses their actions one
after the other, each given those before it (`learners.lib.transformer`). Agents that are absent or dead in a round do
not act, are masked in attention, and their actions there are not learned from. Values are learned in all rounds,
because those of earlier rounds bootstrap from them.

Ablations: `--decoder none` chooses all actions at once from the encoder's representations; `--encoder none` leaves only
the decoder, whose agents see their own observation and the actions before them.

    python -m learners.mat --env smac_3m --preset paper
    python -m learners.mat --env mamujoco_halfcheetah_6x1 --lr 5e-5 --clip 0.05 --entropy 0.001 --minibatches 40
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from learners.lib.fields import Steps
from learners.lib.game import describe, make_game
from learners.lib.groups import (
    Returns,
    Rewards,
    Rollouts,
    TeamSteps,
    TeamUpdates,
    TransformerForm,
)
from learners.lib.optimizers import Adam
from learners.lib.ppo import (
    advantages_and_targets,
    policy_change,
    standardized,
    surrogate,
    value_loss,
)
from learners.lib.processor import fast_products
from learners.lib.rewards import rewards_of
from learners.lib.rollout import Rollout
from learners.lib.run import Run, main
from learners.lib.settings import Settings
from learners.lib.time_limit import bootstraps, time_left
from learners.lib.transformer import TransformerPolicy
from learners.lib.value_norm import ValueNorm
from mail_envs.streams import stream_seed


@dataclasses.dataclass(frozen=True)
class Args(Settings, Rollouts, Returns, Rewards, TeamUpdates, TeamSteps, TransformerForm):
    """Train one policy for the whole team: the Multi-Agent Transformer (MAT)."""

    steps: Steps = 5_000_000


PRESETS = {
    # MAT on SMAC
    "paper": {
        "steps": 10_000_000,
        "num_envs": 32,
        "rounds": 100,
        "epochs": 15,
        "minibatches": 1,
        "clip": 0.05,
        "max_grad_norm": 10.0,
    },
    "quick": {"steps": 300_000, "eval_episodes": 200},
}


class Learner:
    """The policy, its value normalization, its optimizer, and one of the value head alone."""

    def __init__(self, vec: Any, args: Any, device: torch.device):
        self.policy = TransformerPolicy.of(
            vec, width=args.width, blocks=args.blocks, heads=args.heads,
            encoder=args.encoder != "none", decoder=args.decoder != "none",
        ).to(device)  # fmt: skip
        self.norm = ValueNorm().to(device)
        self.optimizer = Adam(self.policy, args.lr, args.max_grad_norm)
        self.values = Adam(self.policy.value_head, args.lr, args.max_grad_norm)

    def state_dict(self) -> dict:
        return {
            "norm": dict(self.norm.state_dict()),
            "optimizer": self.optimizer.state_dict(),
            "values": self.values.state_dict(),
        }

    def load_state_dict(self, state: dict) -> None:
        self.norm.load_state_dict(state["norm"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.values.load_state_dict(state["values"])


@torch.no_grad()
def estimate_advantages(
    learner: Learner, rollout: Rollout, rewards: Tensor, args: Any, rng: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Advantages and value targets (T, E, N) of `rewards`, computed over all rounds."""
    r, policy = rollout, learner.policy
    last = r.observations[-1], r.participation[-1]
    following = actions_for_values(policy, *last, r.action_mask, -1, rng)
    seen = [r.observations, r.participation, torch.cat([r.actions, following]), time_left(r)]
    _, values = policy.outputs(*(x.flatten(0, 1) for x in seen))
    values = learner.norm.restore(values).view(r.participation.shape)
    final = torch.zeros_like(rewards)
    cut = bootstraps(r).nonzero(as_tuple=True)
    if len(cut[0]):  # not where the limit is part of the task: there is no time input
        observations, acts = r.final_observations[cut], r.final_participation[cut]
        actions = actions_for_values(policy, observations, acts, r.final_action_mask, cut, rng)[0]
        nothing = observations.new_zeros((len(observations), 0))
        _, found = policy.outputs(observations, acts, actions, nothing)
        final[cut] = learner.norm.restore(found)
    return advantages_and_targets(r, rewards, values, final, args.gamma, args.lam)


def actions_for_values(
    policy: TransformerPolicy,
    observations: Tensor,
    acts: Tensor,
    masks: Tensor | None,
    where: Any,
    rng: torch.Generator,
) -> Tensor:
    """Actions in rounds that have not been played, (1, B, N[, A]): values depend on them without an encoder.

    `observations` (B, N, D) and `acts` (B, N) are those of the rounds, `masks[where]` their action masks. Zeros with
    an encoder.
    """
    if not policy.has_encoder:
        mask = None if masks is None else masks[where]
        return policy.act(observations, mask, rng, None, acts).unsqueeze(0)
    shape = (1, *acts.shape) if policy.discrete else (1, *acts.shape, policy.num_actions)
    kind = torch.int64 if policy.discrete else torch.float32
    return torch.zeros(shape, dtype=kind, device=acts.device)


def batch_of(rollout: Rollout, advantages: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """Training data: all B = T E rounds, (B, ...); `valid` marks the actions that are learned from."""
    r, valid = rollout, rollout.learned_from()
    batch = {
        "observations": r.observations[:-1],
        "acts": r.participation[:-1],
        "actions": r.actions,
        "left": time_left(r)[:-1],
        "valid": valid,
        "known": (~r.lost).unsqueeze(2).expand_as(valid),
        "advantages": standardized(advantages, valid),
        "targets": targets,
    }
    if r.action_mask is not None:
        batch["mask"] = r.action_mask[:-1]
    return {name: x.flatten(0, 1) for name, x in batch.items()}


def predictions(
    policy: TransformerPolicy, batch: dict[str, Tensor], ratio: str
) -> tuple[Tensor, Tensor, Tensor]:
    """Log-likelihoods and entropies at the valid entries, (R, components), and values (B, N).

    With ratio="action", or discrete actions, there is one component.
    """
    out, values = policy.outputs(*(batch[k] for k in ("observations", "acts", "actions", "left")))
    found = policy.log_prob(out, batch["actions"], batch.get("mask"))
    if ratio == "action":
        found = [x.sum(2, keepdim=True) for x in found]
    log_prob, entropy = (x[batch["valid"]] for x in found)
    return log_prob, entropy, values


def loss_of(
    policy: TransformerPolicy, batch: dict[str, Tensor], args: Any
) -> tuple[Tensor, dict[str, float]]:
    """The clipped surrogate with the entropy bonus, and the value loss; `batch` also has the old predictions."""
    valid, known = batch["valid"], batch["known"]
    log_prob, entropy, values = predictions(policy, batch, args.ratio)
    loss, metrics = values.new_zeros(()), {}
    if bool(known.any()):
        pair = batch["targets"][known], batch["old_values"][known]
        error = value_loss(values[known], *pair, args.clip, args.huber).mean()
        loss, metrics = args.value_weight * error, {"value_loss": float(error.detach())}
    if bool(valid.any()):
        advantages = batch["advantages"][valid].unsqueeze(1).expand_as(log_prob)
        old = batch["old"][valid]
        objective = surrogate(log_prob, old, advantages, args.clip)
        bonus = entropy.sum(1).mean()
        loss = loss - objective.sum(1).mean() - args.entropy * bonus
        metrics |= {"entropy": float(bonus.detach()), **policy_change(log_prob, old, args.clip)}
    return loss, metrics


@fast_products()
def update(
    learner: Learner,
    rollout: Rollout,
    advantages: Tensor,
    targets: Tensor,
    args: Any,
    rng: torch.Generator,
    actors: bool = True,
    more: Callable[[], Tensor] | None = None,
) -> dict[str, float]:
    """Train on a fragment; the metrics are those of the last step.

    Without `actors`, only the value head is trained: the encoder and the policy stay as they are. `more()`: a further
    term of the loss, drawn anew in every step.
    """
    policy, norm = learner.policy, learner.norm
    if int(rollout.learned_from().sum()) < 2:
        return {}
    batch = batch_of(rollout, advantages, targets)
    norm.update(batch["targets"][batch["known"]], policy.value_head[-1])
    batch["targets"] = norm.standardize(batch["targets"])
    with torch.no_grad():
        old, _, batch["old_values"] = predictions(policy, batch, args.ratio)
        batch["old"] = old.new_zeros((*batch["valid"].shape, old.shape[1]))
        batch["old"][batch["valid"]] = old
    optimizer = learner.optimizer
    if not actors:
        optimizer, batch["valid"] = learner.values, torch.zeros_like(batch["valid"])
    metrics = {}
    count = len(batch["valid"])
    for _ in range(args.epochs):
        order = torch.randperm(count, generator=rng, device=rng.device)
        for rows in order.chunk(args.minibatches):
            part = {name: x[rows] for name, x in batch.items()}
            loss, metrics = loss_of(policy, part, args)
            optimizer.step(loss if more is None else loss + more())
    explained = 1 - float(advantages.var() / (targets.var() + 1e-8))
    return {**metrics, "explained": explained}


def check(args: Any) -> None:
    """Raise ValueError for inconsistent settings."""
    if args.width % args.heads:
        raise ValueError(f"heads={args.heads} must divide width={args.width}")
    if args.encoder == args.decoder == "none":
        raise ValueError("encoder=none and decoder=none leave nothing; choose one of them")


def train(args: Args) -> dict:
    """Run MAT; returns the evaluation of the trained policy."""
    check(args)
    with Run("mat", args) as run:
        args, rng = run.args, run.rng
        vec = make_game(args, args.num_envs, run.device)
        learner = Learner(vec, args, run.device)
        rollout = Rollout(vec, args.rounds, run.device)
        rollout.reset(stream_seed(args.seed, "games"))
        run.begin(learner.policy, describe(vec), {"learner": learner, "rollout": rollout})
        run.say(f"mat on {args.env}: {args.steps:,} steps, {run.device}, {run.folder}")
        while not run.done:
            rollout.collect(learner.policy, rng)
            if args.anneal:
                learner.optimizer.lr = args.lr * (1 - run.progress)
            rewards = rewards_of(rollout, args.reward)
            learned = estimate_advantages(learner, rollout, rewards, args, rng)
            metrics = update(learner, rollout, *learned, args, rng)
            run.advance(rollout.steps, rollout.episodes() | metrics)
        return run.finish()


if __name__ == "__main__":
    main(Args, PRESETS, train)
