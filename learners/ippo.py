"""IPPO and MAPPO: proximal policy optimization of every agent, on the game's own reward.

Actors see their own observation. Critics see it too (`--critic own`, IPPO), or the global state in addition
(`--critic state`, MAPPO). Values and advantages are computed over all rounds, including those in which an
agent is absent or dead; actors learn only from the rounds in which their agent acts. With `--recurrent`,
actors and critics have a memory that is updated only in the rounds in which their agent acts.

    python -m learners.ippo --env smac_3m
    python -m learners.ippo --env smacv2_terran_5_vs_5 --critic state --recurrent

Training may begin from a policy, e.g. a clone of a scripted player, instead of from random networks:

    python -m learners.bc --env gold_miner_easy_2_vs_2 --demos scripted --num-demos 1000 --run-dir runs/clone
    python -m learners.ippo --env gold_miner_easy_2_vs_2 --init runs/clone --critic-first 20
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from demos.policies import NetworkPolicy, policy_path
from learners.lib.actor_critic import (
    ActorCritic,
    check_chunks,
    estimate_advantages,
    train_critic,
    update_actor,
)
from learners.lib.fields import Steps, Whole
from learners.lib.game import describe, make_game
from learners.lib.groups import (
    ActorForm,
    AdamSteps,
    Memory,
    Networks,
    ProximalUpdates,
    Returns,
    Rewards,
    Rollouts,
)
from learners.lib.networks import Policy
from learners.lib.ppo import actor_batch
from learners.lib.rewards import rewards_of
from learners.lib.rollout import Rollout
from learners.lib.run import Run, main
from learners.lib.settings import Settings
from mail_envs.streams import stream_seed


@dataclasses.dataclass(frozen=True)
class Args(
    Settings, Rollouts, Returns, Rewards, ProximalUpdates, AdamSteps, Networks, Memory, ActorForm
):
    """Train policies by proximal policy optimization (IPPO, MAPPO)."""

    steps: Steps = 5_000_000
    anneal: bool = True
    critic: Literal["own", "state"] = "own"
    """Input of the critics. own: the agent's observation (IPPO); state: also the global state (MAPPO)."""
    init: str | None = None
    """Run folder or policy file whose networks the actors begin with, e.g. that of a clone; their form is the file's, and
    so is who shares networks (--share, --agent-id). --hidden and the like are then those of the critics."""
    critic_first: Whole = 0
    """Updates at the beginning that train only the critics, so that they know the policy of --init before it changes."""


PRESETS = {
    # MAPPO on SMAC (Yu et al., 2022). Different here: critics learn from all rounds, since the advantages of an agent's
    # last rounds need its values after its death; and targets are standardized once per update.
    "paper": {
        "steps": 10_000_000,
        "num_envs": 8,
        "rounds": 400,
        "epochs": 15,
        "minibatches": 1,
        "lr": 5e-4,
        "anneal": False,
        "critic": "state",
        "recurrent": True,
        "agent_id": True,
        "value_clip": 0.2,
        "huber": 10.0,
        "layer_norm": "after",
    },
    "quick": {"steps": 300_000, "eval_episodes": 200},
}


def make_agent(vec, args: Args, device: torch.device) -> ActorCritic:
    """Actors and critics, one of each per group."""
    if args.init is None:
        policy = Policy.of(
            vec, args.share, hidden=args.hidden, agent_id=args.agent_id, recurrent=args.recurrent,
            gain=0.01, layer_norm=args.layer_norm, distribution=None if vec.discrete else args.continuous,
        )  # fmt: skip
    else:
        policy = first_policy(args, vec)
    policy = policy.to(device)
    return ActorCritic(vec, args, policy, policy.seats, "both" if args.critic == "state" else "own")


def first_policy(args: Args, vec) -> Policy:
    """The policy of `--init`; ValueError when PPO cannot train it, or when it does not fit the game or the settings."""
    policy = NetworkPolicy.load(policy_path(args.init or ""), vec).policy.float()
    trainable = isinstance(policy, Policy) and policy.distribution_name not in ("greedy", "tanh")
    if not trainable or policy.last_action or policy.num_actions != max(vec.action_dims):
        raise ValueError(
            f"init={args.init}: PPO trains policies of bc (without φ as an action), ippo, happo, magail and amagail"
        )
    if bool(policy.memory_size) != args.recurrent:
        raise ValueError(
            f"recurrent={args.recurrent}, but {args.init} has {'a' if policy.memory_size else 'no'} memory"
        )
    return policy


def update(
    agent: ActorCritic,
    rollout: Rollout,
    advantages: Tensor,
    targets: Tensor,
    memory: Tensor,
    args,
    rng: torch.Generator,
    actors: bool = True,
    more: Callable[[int], Tensor] | None = None,
) -> dict[str, float]:
    """Train every group on a fragment: actors on the rounds in which agents act, critics on all rounds.

    `actors`: whether the actors are trained, too. `more(g)`: a further term of the loss of group g's actor.
    """
    length = args.chunk if args.recurrent else 1
    metrics = {}
    for g in range(len(agent.critics)):
        found = {}
        if actors:
            batch = actor_batch(agent.policy, g, rollout, advantages, length)
            term = None if more is None else partial(more, g)
            found = update_actor(agent, g, batch, args, rng, term)
        found |= train_critic(agent, g, rollout, advantages, targets, memory, args, rng)
        suffix = f"_{g}" if len(agent.critics) > 1 else ""
        metrics |= {k + suffix: x for k, x in found.items()}
    return metrics


def train(args: Args) -> dict:
    """Run PPO; returns the evaluation of the trained policy."""
    check_chunks(args)
    with Run("ippo", args) as run:
        args, rng = run.args, run.rng
        vec = make_game(args, args.num_envs, run.device)
        agent = make_agent(vec, args, run.device)
        memory, state = agent.policy.memory_size, args.critic == "state"
        rollout = Rollout(vec, args.rounds, run.device, memory, state)
        rollout.reset(stream_seed(args.seed, "games"))
        run.begin(agent.policy, describe(vec), {"agent": agent, "rollout": rollout})
        run.say(f"ippo on {args.env}: {args.steps:,} steps, {run.device}, {run.folder}")
        while not run.done:
            rollout.collect(agent.policy, rng)
            if args.anneal:
                agent.set_rate(args.lr * (1 - run.progress))
            rewards = rewards_of(rollout, args.reward)
            learned = estimate_advantages(agent, rollout, rewards, args.gamma, args.lam)
            actors = run.updates >= args.critic_first
            metrics = update(agent, rollout, *learned, args, rng, actors)
            run.advance(rollout.steps, rollout.episodes() | metrics)
        return run.finish()


if __name__ == "__main__":
    main(Args, PRESETS, train)
