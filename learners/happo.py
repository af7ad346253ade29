"""HAPPO: heterogeneous-agent proximal policy optimization (Kuba et al., 2022), on the team's reward.

Every agent has its own actor, and they are updated one after the other, in an order that is drawn anew for every
update. The objective of each is multiplied by the factor M, the likelihood ratio (new over old) of the actions of all
agents that were updated before it: an agent adapts to what the others have just become, so that the joint policy improves
although every agent changes alone. Where an agent does not act, its ratio is 1.

    M = 1
    for agent i in a random order:
        epochs of ascent on  M * min(r A, clip(r) A),   r = pi_i(a|o) / pi_i_old(a|o)
        M = M * r                                       r after the epochs

One critic sees the global state and predicts one value for the team (`--critic state`), or critics shared by agents of
the same role see the agent's own observation (`--critic own`).

    python -m learners.happo --env mamujoco_halfcheetah_6x1
    python -m learners.happo --env smac_3m --recurrent
"""

from __future__ import annotations

import dataclasses
from typing import Literal

import torch
from torch import Tensor

from learners.lib.actor_critic import (
    ActorCritic,
    check_chunks,
    estimate_advantages,
    train_critic,
    update_actor,
)
from learners.lib.fields import Count, Positive, Sizes, Steps
from learners.lib.game import describe, make_game
from learners.lib.groups import (
    ActorForm,
    AdamSteps,
    ContinuousName,
    Memory,
    ProximalUpdates,
    Returns,
    Rollouts,
    Widths,
)
from learners.lib.networks import Norm, Policy, Seats, groups_of
from learners.lib.ppo import Batch, actor_batch, log_probs
from learners.lib.rewards import rewards_of
from learners.lib.rollout import Rollout
from learners.lib.run import Run, main
from learners.lib.settings import Settings
from mail_envs.streams import stream_seed


@dataclasses.dataclass(frozen=True)
class Args(Settings, Rollouts, Returns, ProximalUpdates, AdamSteps, Widths, Memory, ActorForm):
    """Train policies by heterogeneous-agent proximal policy optimization (HAPPO)."""

    steps: Steps = 5_000_000
    num_envs: Count = 20
    rounds: Count = 200
    minibatches: Count = 1
    lr: Positive = 5e-4
    huber: Positive | None = 10.0
    value_clip: Positive | None = 0.2
    hidden: Sizes = (128, 128)
    layer_norm: Norm = "after"
    continuous: ContinuousName = "sigmoid_gaussian"
    critic: Literal["state", "own"] = "state"
    """Input of the critics. state: one critic sees the global state; own: critics see the agent's own observation, and
    agents of the same role share one."""


PRESETS = {
    "paper": {"steps": 10_000_000},
    "quick": {"steps": 300_000, "eval_episodes": 200},
}


def make_agent(vec, args: Args, device: torch.device) -> ActorCritic:
    """One actor per agent, and critics that agents share."""
    policy = Policy.of(
        vec, "none", hidden=args.hidden, recurrent=args.recurrent, gain=0.01,
        layer_norm=args.layer_norm, distribution=None if vec.discrete else args.continuous,
    ).to(device)  # fmt: skip
    seats = Seats(groups_of(vec, "role"), list(vec.observation_dims), agent_id=True)
    return ActorCritic(vec, args, policy, seats, "team" if args.critic == "state" else "own")


def update_actors(
    agent: ActorCritic, rollout: Rollout, advantages: Tensor, args, rng: torch.Generator
) -> tuple[dict[str, float], Tensor]:
    """Train the actors one after the other, in random order.

    Returns:
        the metrics of all actors, and the factor M after the last of them, (T, E).
    """
    length = args.chunk if args.recurrent else 1
    E, N = rollout.num_envs, rollout.vec.num_agents
    factor = torch.ones(rollout.rounds * E, device=advantages.device)
    # The number of each round, so that chunks find their part of the factor.
    cells = torch.arange(len(factor), device=factor.device)
    cells = cells.view(rollout.rounds, E, 1).expand(-1, -1, N)
    metrics = {}
    for i in torch.randperm(N, generator=rng, device=rng.device).tolist():
        batch = actor_batch(agent.policy, i, rollout, advantages, length, cells=cells)
        batch["factor"] = factor[batch["cells"]]
        metrics |= {f"{k}_{i}": x for k, x in update_actor(agent, i, batch, args, rng).items()}
        if "old" in batch:
            factor[batch["cells"][batch["valid"]]] *= ratios(agent.policy, i, batch)
    return metrics, factor.view(rollout.rounds, E)


@torch.no_grad()
def ratios(policy: Policy, i: int, batch: Batch) -> Tensor:
    """Likelihood ratios of agent i's actions after its update, at the valid entries, (R,)."""
    return (log_probs(policy, i, batch)[0] - batch["old"][batch["valid"]]).exp()


def update(
    agent: ActorCritic,
    rollout: Rollout,
    advantages: Tensor,
    targets: Tensor,
    memory: Tensor,
    args,
    rng: torch.Generator,
) -> dict[str, float]:
    """Train all actors, then the critics, on a fragment."""
    metrics, factor = update_actors(agent, rollout, advantages, args, rng)
    metrics["factor_sd"] = float(factor.std())
    for g in range(len(agent.critics)):
        found = train_critic(agent, g, rollout, advantages, targets, memory, args, rng)
        suffix = f"_{g}" if len(agent.critics) > 1 else ""
        metrics |= {k + suffix: x for k, x in found.items()}
    return metrics


def train(args: Args) -> dict:
    """Run HAPPO; returns the evaluation of the trained policy."""
    check_chunks(args)
    with Run("happo", args) as run:
        args, rng = run.args, run.rng
        vec = make_game(args, args.num_envs, run.device)
        agent = make_agent(vec, args, run.device)
        memory, state = agent.policy.memory_size, args.critic == "state"
        rollout = Rollout(vec, args.rounds, run.device, memory, state)
        rollout.reset(stream_seed(args.seed, "games"))
        run.begin(agent.policy, describe(vec), {"agent": agent, "rollout": rollout})
        run.say(f"happo on {args.env}: {args.steps:,} steps, {run.device}, {run.folder}")
        while not run.done:
            rollout.collect(agent.policy, rng)
            if args.anneal:
                agent.set_rate(args.lr * (1 - run.progress))
            rewards = rewards_of(rollout, "team")
            learned = estimate_advantages(agent, rollout, rewards, args.gamma, args.lam)
            metrics = update(agent, rollout, *learned, args, rng)
            run.advance(rollout.steps, rollout.episodes() | metrics)
        return run.finish()


if __name__ == "__main__":
    main(Args, PRESETS, train)
