"""Actors and critics of the learners that optimize policies by PPO: networks, values, advantages, training data.

Every group of agents has one critic. Critics see their agent's own observation, or the global state in addition; or one
critic for the whole team sees the global state alone. Values are computed over all rounds, also those in which an agent
is absent or dead.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor, nn

from learners.lib.networks import MLP, Policy, Seats
from learners.lib.optimizers import Adam
from learners.lib.ppo import (
    Batch,
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
from learners.lib.processor import fast_products
from learners.lib.rollout import Rollout
from learners.lib.time_limit import bootstraps, time_inputs, time_left
from learners.lib.value_norm import ValueNorm

Input = Literal["own", "both", "team"]


class ActorCritic:
    """A policy, its critics, value normalization and optimizers.

    `seats`: whose values each critic predicts. `sees`: what critics see. own: the agent's observation. both: also the global state. team: the global state alone, by
    one critic, whose values are those of all agents.

    Attributes:
        memory: the critics' memory at the start of the next fragment, (E, N, H).
        optimizers: of the actors, then of the critics.
    """

    def __init__(self, vec, args, policy: Policy, seats: Seats, sees: Input):
        device = policy.networks[0].layers[0].weight.device
        self.policy, self.team = policy, sees == "team"
        self.seats = Seats([0], [0], False) if self.team else seats
        state = 0 if sees == "own" else math.prod(vec.state_space.shape)
        sizes = [width + state + time_inputs(vec) for width in self.seats.widths]
        self.critics: Any = nn.ModuleList(
            MLP([n, *args.hidden, 1], recurrent=args.recurrent, layer_norm=args.layer_norm)
            for n in sizes
        ).to(device)
        self.norms: Any = nn.ModuleList(ValueNorm() for _ in sizes).to(device)
        memory = args.hidden[-1] * args.recurrent
        self.memory = torch.zeros(vec.num_envs, vec.num_agents, memory, device=device)
        networks = (*policy.networks, *self.critics)
        self.optimizers = [Adam(network, args.lr, args.max_grad_norm) for network in networks]

    def set_rate(self, lr: float) -> None:
        """Set the learning rate of all optimizers."""
        for optimizer in self.optimizers:
            optimizer.lr = lr

    def critic_inputs(self, g: int, observations: Tensor, extra: Tensor) -> Tensor:
        """Inputs (T, E * members, inputs) of critic g: observations (T, E, N, D), then `extra` (T, E, S)."""
        inputs = self.seats.inputs(g, observations.flatten(0, 1)).unflatten(0, (len(extra), -1))
        if not extra.shape[2]:
            return inputs
        return torch.cat([inputs, extra.repeat_interleave(len(self.seats.members[g]), 1)], 2)

    def acts(self, participation: Tensor) -> Tensor:
        """Rounds that the critics' memories remember, bool (T, E, N): those in which the agent, or any, acts."""
        if not self.team:
            return participation
        return participation.any(2, keepdim=True).expand_as(participation)

    def values(
        self, observations: Tensor, extra: Tensor, memory: Tensor, acts: Tensor, fresh: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Values (T, E, N) of successive rounds, and the memories (T, E, N, H) after them.

        Args:
            observations: (T, E, N, D).
            extra: (T, E, S), see `extra_inputs`.
            memory: before the first round, (E, N, H).
            acts: who acts, bool (T, E, N).
            fresh: bool (T, E), whether an episode begins.
        """
        values = torch.zeros_like(observations[..., 0])
        memories = memory.repeat(len(observations), 1, 1, 1)
        remembered = self.acts(acts)
        for g, (critic, norm) in enumerate(zip(self.critics, self.norms, strict=True)):
            inputs, members = self.critic_inputs(g, observations, extra), self.seats.members[g]
            starts = fresh.repeat_interleave(len(members), 1)
            before = self.seats.rows(g, memory)
            out, after = critic.sequence(inputs, before, rows(self.seats, g, remembered), starts)
            shape = (*observations.shape[:2], len(members))
            whose = slice(None) if self.team else members
            values[:, :, whose] = norm.restore(out).view(shape)
            memories[:, :, whose] = after.reshape(*shape, memory.shape[2])
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
    """Critic inputs other than observations, (T + 1, E, S): the global state, if critics see it, and the
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


@fast_products()
def update_actor(
    agent: ActorCritic,
    g: int,
    batch: Batch,
    args,
    rng: torch.Generator,
    more: Callable[[], Tensor] | None = None,
) -> dict[str, float]:
    """Make `epochs` passes over the batch; the metrics are those of the last step. `more()`: a further loss term."""
    valid = batch["valid"]
    if int(valid.sum()) < 2:
        return {}
    batch["advantages"] = standardized(batch["advantages"], valid)
    batch["old"] = torch.zeros_like(batch["advantages"])
    with torch.no_grad():
        batch["old"][valid] = log_probs(agent.policy, g, batch)[0]
    metrics = dict
    for _ in range(args.epochs):
        for part in minibatches(batch, args.minibatches, rng):
            loss, metrics = actor_loss(agent.policy, g, part, args.clip, args.entropy)
            agent.optimizers[g].step(loss if more is None else loss + more())
    return metrics()


def critic_batch(
    agent: ActorCritic,
    g: int,
    rollout: Rollout,
    targets: Tensor,
    memory: Tensor,
    length: int,
    **more,
) -> Batch:
    """Training data of critic g: all rounds as sequences of `length` rounds."""
    inputs = agent.critic_inputs(g, rollout.observations[:-1], extra_inputs(rollout)[:-1])
    acts = agent.acts(rollout.participation[:-1])
    return batch_of(
        agent.seats, g, rollout, length, inputs, memory, acts=acts, targets=targets, **more
    )


@fast_products()
def update_critic(
    agent: ActorCritic, g: int, batch: Batch, args, rng: torch.Generator
) -> dict[str, float]:
    """Make `epochs` passes of regression on the standardized targets; `batch["old"]` holds the old values.

    `args.value_clip` and `args.huber` are in standard deviations of the targets.
    """
    critic, norm = agent.critics[g], agent.norms[g]
    norm.update(batch["targets"], critic.layers[-1])
    batch["targets"] = norm.standardize(batch["targets"])
    batch["old"] = norm.standardize(batch["old"])
    loss = batch["old"].new_zeros(())
    for _ in range(args.epochs):
        for part in minibatches(batch, args.minibatches, rng):
            out, _ = critic.sequence(part["inputs"], part["memory"][0], part["acts"], part["fresh"])
            losses = value_loss(
                out.squeeze(2), part["targets"], part["old"], args.value_clip, args.huber
            )
            loss = losses.mean()
            agent.optimizers[len(agent.policy.networks) + g].step(loss)
    return {"value_loss": float(loss.detach())}


def train_critic(
    agent: ActorCritic,
    g: int,
    rollout: Rollout,
    advantages: Tensor,
    targets: Tensor,
    memory: Tensor,
    args,
    rng: torch.Generator,
) -> dict[str, float]:
    """Train critic g on all rounds of a fragment."""
    length, old = args.chunk if args.recurrent else 1, targets - advantages
    batch = critic_batch(agent, g, rollout, targets, memory, length, old=old)
    metrics = update_critic(agent, g, batch, args, rng)
    errors, wanted = (rows(agent.seats, g, x) for x in (advantages, targets))
    return metrics | {"explained": 1 - float(errors.var() / (wanted.var() + 1e-8))}


def check_chunks(args) -> None:
    """ValueError unless the chunks of recurrent networks divide a fragment."""
    if args.recurrent and args.rounds % args.chunk:
        raise ValueError(f"chunk={args.chunk} must divide rounds={args.rounds}")
