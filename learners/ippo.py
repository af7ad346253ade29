"""IPPO and MAPPO: proximal policy optimization of every agent, on the game's own reward.

Actors see their own observation. Critics see it too (`--critic own`, IPPO), or the global state in addition
(`--critic state`, MAPPO). Values and advantages are computed over all rounds, including those in which an
agent is absent or dead; actors learn only from the rounds in which their agent acts. With `--recurrent`,
actors and critics have a memory that is updated only in the rounds in which their agent acts.

    python -m learners.ippo --env smac_3m
    python -m learners.ippo --env smacv2_terran_5_vs_5 --critic state --recurrent
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Literal

import torch
from torch import Tensor, nn

from learners.lib.fields import Count, Positive, Steps
from learners.lib.game import describe, make_game
from learners.lib.groups import AdamSteps, Memory, Networks, Returns, Rewards, Rollouts
from learners.lib.networks import MLP, Policy, group_agents
from learners.lib.optimizers import Adam
from learners.lib.ppo import (
    Batch,
    actor_batch,
    actor_inputs,
    actor_loss,
    advantages_and_targets,
    batch_of,
    episode_starts,
    log_probs,
    minibatches,
    rows,
    standardized,
    value_loss,
)
from learners.lib.rewards import rewards_of
from learners.lib.rollout import Rollout
from learners.lib.run import Run, main
from learners.lib.settings import Settings
from learners.lib.time_limit import bootstraps, time_inputs, time_left
from learners.lib.value_norm import ValueNorm
from mail_envs.streams import stream_seed


@dataclasses.dataclass(frozen=True)
class Args(Settings, Rollouts, Returns, Rewards, AdamSteps, Networks, Memory):
    """Train policies by proximal policy optimization (IPPO, MAPPO)."""

    steps: Steps = 5_000_000
    epochs: Count = 5
    """Passes over each batch."""
    minibatches: Count = 4
    """Minibatches per pass; each is one gradient step."""
    clip: Positive = 0.2
    """Clip range of the likelihood ratio around 1."""
    entropy: float = 0.01
    """Weight of the entropy bonus."""
    critic: Literal["own", "state"] = "own"
    """Input of the critics. own: the agent's observation (IPPO); state: also the global state (MAPPO)."""


PRESETS = {
    # MAPPO on SMAC (Yu et al., 2022)
    "paper": {
        "steps": 10_000_000,
        "num_envs": 8,
        "rounds": 400,
        "epochs": 15,
        "minibatches": 1,
        "lr": 5e-4,
        "critic": "state",
        "recurrent": True,
        "agent_id": True,
    },
    "quick": {"steps": 300_000, "eval_episodes": 200},
}


class ActorCritic:
    """Actors, critics, value normalization and optimizers: one of each per group.

    `memory` (E, N, H) is the critics' memory at the start of the next fragment.
    """

    def __init__(self, vec, args, device: torch.device):
        spaces = [(vec.observation_spaces[a], vec.action_spaces[a]) for a in vec.agents]
        groups = group_agents(list(vec.agents), spaces, args.share)
        dims, actions = list(vec.observation_dims), list(vec.action_dims)
        self.policy = Policy(
            groups, dims, actions, vec.discrete, args.hidden,
            agent_id=args.agent_id, recurrent=args.recurrent, gain=0.01,
        ).to(device)  # fmt: skip
        state = math.prod(vec.state_space.shape) if args.critic == "state" else 0
        extra = state + time_inputs(vec)
        sizes = [n.layers[0].in_features + extra for n in self.policy.networks]
        self.critics: Any = nn.ModuleList(
            MLP([size, *args.hidden, 1], recurrent=args.recurrent) for size in sizes
        ).to(device)
        self.norms: Any = nn.ModuleList(ValueNorm() for _ in sizes).to(device)
        self.memory = torch.zeros(
            vec.num_envs, vec.num_agents, args.hidden[-1] * args.recurrent, device=device
        )
        self.optimizers = [
            Adam(network, args.lr, args.max_grad_norm)
            for network in (*self.policy.networks, *self.critics)
        ]

    def critic_inputs(self, g: int, observations: Tensor, extra: Tensor) -> Tensor:
        """The actor's inputs, followed by the critic's `extra` inputs (T, E, S); S may be 0."""
        inputs = actor_inputs(self.policy, g, observations)
        if not extra.shape[2]:
            return inputs
        return torch.cat([inputs, extra.repeat_interleave(len(self.policy.members[g]), 1)], 2)

    def values(
        self, observations: Tensor, extra: Tensor, memory: Tensor, acts: Tensor, fresh: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Values (T, E, N) of successive rounds, and the memories (T, E, N, H) after them.

        Args:
            observations: (T, E, N, D).
            extra: (T, E, S), see `extra_inputs`.
            memory: before the first round, (E, N, H).
            acts: bool (T, E, N).
            fresh: bool (T, E), whether an episode begins.
        """
        values = torch.zeros_like(observations[..., 0])
        memories = memory.repeat(len(observations), 1, 1, 1)
        for g, (critic, norm) in enumerate(zip(self.critics, self.norms, strict=True)):
            inputs, members = self.critic_inputs(g, observations, extra), self.policy.members[g]
            starts = fresh.repeat_interleave(len(members), 1)
            before = self.policy.rows(g, memory)
            out, after = critic.sequence(inputs, before, rows(self.policy, g, acts), starts)
            shape = (*observations.shape[:2], len(members))
            values[:, :, members] = norm.restore(out).view(shape)
            memories[:, :, members] = after.reshape(*shape, memory.shape[2])
        return values, memories

    def state_dict(self) -> dict:
        return {
            "critics": dict(self.critics.state_dict()),
            "norms": dict(self.norms.state_dict()),
            "memory": self.memory,
            "optimizers": [o.state_dict() for o in self.optimizers],
        }

    def load_state_dict(self, state: dict) -> None:
        self.critics.load_state_dict(state["critics"])
        self.norms.load_state_dict(state["norms"])
        self.memory.copy_(state["memory"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)


@torch.no_grad()
def estimate_advantages(
    agent: ActorCritic, rollout: Rollout, rewards: Tensor, gamma: float, lam: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Advantages and value targets (T, E, N) of `rewards`, computed over all rounds.

    The third result, (T, E, N, H), is the critics' memory before each round. Also sets `agent.memory` to
    the memory after the last round.
    """
    r, extra, starts = rollout, extra_inputs(rollout), episode_starts(rollout)
    values, memories = agent.values(r.observations, extra, agent.memory, r.participation, starts)
    final = final_values(agent, r, memories)
    learned = advantages_and_targets(r, rewards, values, final, gamma, lam)
    before = torch.cat([agent.memory.unsqueeze(0), memories[: r.rounds - 1]])
    ended = r.terminated[-1] | r.truncated[-1]
    agent.memory = memories[r.rounds - 1].masked_fill(ended.view(-1, 1, 1), 0.0)
    return *learned, before


def extra_inputs(rollout: Rollout) -> Tensor:
    """Critic inputs other than observations, (T + 1, E, S): the global state with `--critic state`, and the
    remaining time where the time limit is part of the task.
    """
    return torch.cat([rollout.states, time_left(rollout)], 2)


def final_values(agent: ActorCritic, rollout: Rollout, memories: Tensor) -> Tensor:
    """Values (T, E, N) of the final observations of truncated episodes, where `bootstraps` says so; 0 elsewhere.

    `memories`: after each round, (T + 1, E, N, H).
    """
    result = torch.zeros_like(rollout.rewards)
    cut = bootstraps(rollout).nonzero(as_tuple=True)
    if len(cut[0]):
        # A batch of one round per truncated episode, in which nobody acts; these critics have no time input.
        observations, states = rollout.final_observations[cut], rollout.final_states[cut]
        observations, states = observations.unsqueeze(0), states.unsqueeze(0)
        nobody = torch.zeros_like(observations[..., 0], dtype=torch.bool)
        memory = memories[:-1][cut]
        values, _ = agent.values(observations, states, memory, nobody, nobody[..., 0])
        result[cut] = values[0]
    return result


def critic_batch(
    agent: ActorCritic, g: int, rollout: Rollout, targets: Tensor, memory: Tensor, length: int
) -> Batch:
    """Training data of group g's critic: all rounds, (length, B, ...)."""
    inputs = agent.critic_inputs(g, rollout.observations[:-1], extra_inputs(rollout)[:-1])
    return batch_of(agent.policy, g, rollout, length, inputs, memory, targets=targets)


def update_actor(
    agent: ActorCritic, g: int, batch: Batch, args, rng: torch.Generator
) -> dict[str, float]:
    """Make `epochs` passes over the batch; the metrics are those of the last step."""
    valid, metrics = batch["valid"], {}
    if int(valid.sum()) < 2:
        return metrics
    batch["advantages"] = standardized(batch["advantages"], valid)
    batch["old"] = torch.zeros_like(batch["advantages"])
    with torch.no_grad():
        batch["old"][valid] = log_probs(agent.policy, g, batch)[0]
    for _ in range(args.epochs):
        for part in minibatches(batch, args.minibatches, rng):
            loss, metrics = actor_loss(agent.policy, g, part, args.clip, args.entropy)
            agent.optimizers[g].step(loss)
    return metrics


def update_critic(
    agent: ActorCritic, g: int, batch: Batch, args, rng: torch.Generator
) -> dict[str, float]:
    """Make `epochs` passes of regression on the standardized targets."""
    critic, norm = agent.critics[g], agent.norms[g]
    norm.update(batch["targets"], critic.layers[-1])
    batch["targets"] = norm.standardize(batch["targets"])
    metrics = {}
    for _ in range(args.epochs):
        for part in minibatches(batch, args.minibatches, rng):
            out, _ = critic.sequence(part["inputs"], part["memory"][0], part["acts"], part["fresh"])
            loss = value_loss(out.squeeze(2), part["targets"]).mean()
            agent.optimizers[len(agent.critics) + g].step(loss)
            metrics = {"value_loss": float(loss.detach())}
    return metrics


def update(
    agent: ActorCritic,
    rollout: Rollout,
    advantages: Tensor,
    targets: Tensor,
    memory: Tensor,
    args,
    rng: torch.Generator,
) -> dict[str, float]:
    """Train every group on a fragment: actors on the rounds in which agents act, critics on all rounds."""
    length = args.chunk if args.recurrent else 1
    metrics = {}
    for g in range(len(agent.policy.members)):
        batch = actor_batch(agent.policy, g, rollout, advantages, length)
        found = update_actor(agent, g, batch, args, rng)
        batch = critic_batch(agent, g, rollout, targets, memory, length)
        found |= update_critic(agent, g, batch, args, rng)
        errors, wanted = (rows(agent.policy, g, x) for x in (advantages, targets))
        found["explained"] = 1 - float(errors.var() / (wanted.var() + 1e-8))
        suffix = f"_{g}" if len(agent.policy.members) > 1 else ""
        metrics |= {k + suffix: x for k, x in found.items()}
    return metrics


def check(args: Args) -> None:
    """Raise ValueError for inconsistent settings."""
    if args.recurrent and args.rounds % args.chunk:
        raise ValueError(f"chunk={args.chunk} must divide rounds={args.rounds}")


def train(args: Args) -> dict:
    """Run PPO; returns the evaluation of the trained policy."""
    check(args)
    with Run("ippo", args) as run:
        args, rng = run.args, run.rng
        vec = make_game(args, args.num_envs, run.device)
        agent = ActorCritic(vec, args, run.device)
        memory, state = agent.policy.memory_size, args.critic == "state"
        rollout = Rollout(vec, args.rounds, run.device, memory, state)
        rollout.reset(stream_seed(args.seed, "games"))
        run.begin(agent.policy, describe(vec), {"agent": agent, "rollout": rollout})
        run.say(f"ippo on {args.env}: {args.steps:,} steps, {run.device}, {run.folder}")
        while run.steps < args.steps:
            rollout.collect(agent.policy, rng)
            if args.anneal:
                for optimizer in agent.optimizers:
                    optimizer.lr = args.lr * (1 - run.steps / args.steps)
            rewards = rewards_of(rollout, args.reward)
            learned = estimate_advantages(agent, rollout, rewards, args.gamma, args.lam)
            metrics = update(agent, rollout, *learned, args, rng)
            run.advance(rollout.steps, rollout.episodes() | metrics)
        return run.finish()


if __name__ == "__main__":
    main(Args, PRESETS, train)
