"""IPPO and MAPPO: proximal policy optimization of every agent, on the game's own reward.

Actors see their own observation. So do the critics (`--critic own`, IPPO), or they see the global state, too
(`--critic state`, MAPPO). Values and advantages run through all rounds, also those in which an agent is absent
or dead, because what comes afterwards depends on them; actors learn from the rounds in which their agent acts.
With `--recurrent`, actors and critics remember the episode; a memory moves on when its agent acts.

    python -m learners.ippo --env smac_3m
    python -m learners.ippo --env smacv2_terran_5_vs_5 --critic state --recurrent
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import Any, Literal

import torch
from torch import Tensor, nn

from learners.lib.fields import Count, Steps
from learners.lib.game import describe, make_game
from learners.lib.networks import MLP, Policy, Share, group_agents
from learners.lib.optimizers import Adam
from learners.lib.returns import generalized_advantages
from learners.lib.rollout import Rollout
from learners.lib.run import Run, main
from learners.lib.settings import Settings
from learners.lib.value_norm import ValueNorm
from mail_envs.streams import stream_seed

RewardKind = Literal["auto", "own", "team"]
TEAM_RETURN = "team_return"  # metric of games in which one reward is paid to the whole team


@dataclasses.dataclass(frozen=True)
class Args(Settings):
    """Train policies by proximal policy optimization (IPPO, MAPPO)."""

    steps: Steps = 5_000_000
    """Environment steps."""
    num_envs: Count = 64
    """Copies of the game, E."""
    rounds: Count = 50
    """Rounds per update, T; a batch has T x E rounds."""
    epochs: Count = 10
    """Passes over a batch."""
    minibatches: Count = 1
    """Parts of a batch, a gradient step each."""
    lr: float = 5e-4
    """Learning rate of Adam."""
    anneal: bool = False
    """Let the learning rate shrink linearly to zero over the run."""
    clip: float = 0.2
    """How far the likelihood ratio may leave 1."""
    max_grad_norm: float = 10.0
    """Bound on the gradient's norm."""
    gamma: float = 0.99
    """Discount."""
    lam: float = 0.95
    """Lambda of the advantages."""
    entropy: float = 0.01
    """Weight of the entropy bonus."""
    reward: RewardKind = "auto"
    """own: what the agent itself is paid, nothing once it is dead. team: what the game's team_return grows by,
    to everybody until the episode ends; where there is none, the mean of what those that act are paid.
    auto: team where the game reports a team_return, else own."""
    critic: Literal["own", "state"] = "own"
    """What critics see: own, the agent's observation (IPPO); state, the global state as well (MAPPO)."""
    recurrent: bool = False
    """Actors and critics with a memory (GRU)."""
    chunk: Count = 10
    """Rounds through which the gradient of a memory goes back; divides --rounds."""
    share: Share = "role"
    """Which agents share networks: those of a role, none or all."""
    agent_id: bool = False
    """Append the agent's one-hot index to its observation."""
    hidden: tuple[Count, ...] = (64, 64)
    """Widths of the hidden layers of all networks."""


PRESETS = {
    # MAPPO on SMAC (Yu et al., 2022)
    "paper": {
        "steps": 10_000_000,
        "num_envs": 8,
        "rounds": 400,
        "epochs": 15,
        "critic": "state",
        "recurrent": True,
        "agent_id": True,
    },
    "quick": {"steps": 300_000, "eval_episodes": 200},
}


class ActorCritic:
    """Actors, critics, the critics' scale, and their optimizers: one of each per group.

    `memory` (E, N, H) is what the critics remember where the next fragment begins.
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
        sizes = [n.layers[0].in_features + state for n in self.policy.networks]
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

    def lines(self, g: int, x: Tensor) -> Tensor:
        """Group g's part of (T, E, N, ...), a line per agent: (T, E * members, ...)."""
        return self.policy.rows(g, x.flatten(0, 1)).unflatten(0, (len(x), -1))

    def actor_inputs(self, g: int, observations: Tensor) -> Tensor:
        """(T, E, N, D) -> (T, E * members, inputs)."""
        inputs = self.policy.inputs(g, observations.flatten(0, 1))
        return inputs.unflatten(0, (len(observations), -1))

    def critic_inputs(self, g: int, observations: Tensor, states: Tensor) -> Tensor:
        """(T, E, N, D) and (T, E, S), S = 0 for critics on their own observation; as `actor_inputs`."""
        inputs = self.actor_inputs(g, observations)
        if not states.shape[2]:
            return inputs
        states = states.repeat_interleave(len(self.policy.members[g]), 1)
        return torch.cat([inputs, states], 2)

    def values(
        self, observations: Tensor, states: Tensor, memory: Tensor, acts: Tensor, fresh: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Values (T, E, N) of successive rounds, and the memories (T, E, N, H) after them.

        Args:
            observations: (T, E, N, D).
            states: (T, E, S).
            memory: before the first round, (E, N, H).
            acts: bool (T, E, N).
            fresh: bool (T, E), whether an episode begins.
        """
        values = torch.zeros_like(observations[..., 0])
        memories = memory.repeat(len(observations), 1, 1, 1)
        for g, (critic, norm) in enumerate(zip(self.critics, self.norms, strict=True)):
            inputs, members = self.critic_inputs(g, observations, states), self.policy.members[g]
            starts = fresh.repeat_interleave(len(members), 1)
            before = self.policy.rows(g, memory)
            out, after = critic.sequence(inputs, before, self.lines(g, acts), starts)
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


def rewards_of(rollout: Rollout, kind: RewardKind) -> Tensor:
    """What agents learn to collect, (T, E, N); `kind` is that of `--reward`."""
    if kind == "auto":
        kind = "team" if TEAM_RETURN in rollout.metrics else "own"
    if kind == "own":
        return rollout.rewards
    if TEAM_RETURN in rollout.metrics:  # also pays in rounds in which nobody acts
        sums = rollout.metrics[TEAM_RETURN]
        ended = rollout.terminated | rollout.truncated
        before = torch.cat(
            [rollout.before[TEAM_RETURN][None], sums[:-1].masked_fill(ended[:-1], 0.0)]
        )
        return (sums - before).unsqueeze(2).expand_as(rollout.rewards)
    acts = rollout.participation[:-1]
    paid = (rollout.rewards * acts).sum(2, keepdim=True) / acts.sum(2, keepdim=True).clamp(min=1)
    return paid.expand_as(rollout.rewards)


@torch.no_grad()
def estimate_advantages(
    agent: ActorCritic, rollout: Rollout, rewards: Tensor, gamma: float, lam: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Advantages and value targets (T, E, N) of `rewards`, computed through all rounds.

    The third result, (T, E, N, H), is what critics remember before each round; the agent's `memory` moves on.
    """
    r = rollout
    values, memories = agent.values(
        r.observations, r.states, agent.memory, r.participation, beginnings(r)
    )
    advantages = generalized_advantages(
        rewards,
        values,
        final_values(agent, r, memories),
        r.terminated,
        r.truncated,
        gamma,
        lam,
        r.lost,
    )
    before = torch.cat([agent.memory.unsqueeze(0), memories[: r.rounds - 1]])
    ended = r.terminated[-1] | r.truncated[-1]
    agent.memory = memories[r.rounds - 1].masked_fill(ended.view(-1, 1, 1), 0.0)
    return advantages, advantages + values[:-1], before


def final_values(agent: ActorCritic, rollout: Rollout, memories: Tensor) -> Tensor:
    """Values (T, E, N) of the final observations of truncated episodes; 0 elsewhere.

    `memories`: after each round, (T + 1, E, N, H).
    """
    result = torch.zeros_like(rollout.rewards)
    cut = (rollout.truncated & ~rollout.terminated).nonzero(as_tuple=True)
    if len(cut[0]):
        observations, states = rollout.final_observations[cut], rollout.final_states[cut]
        nobody = torch.zeros_like(observations[None, ..., 0], dtype=torch.bool)
        result[cut] = agent.values(
            observations[None], states[None], memories[:-1][cut], nobody, nobody[..., 0]
        )[0][0]
    return result


def beginnings(rollout: Rollout) -> Tensor:
    """Whether an episode begins, bool (T + 1, E); the first row's memories know it already."""
    ended = rollout.terminated | rollout.truncated
    return torch.cat([torch.zeros_like(ended[:1]), ended])


def sequences(x: Tensor, length: int) -> Tensor:
    """Chunks of successive rounds side by side: (T, K, ...) -> (length, T / length * K, ...)."""
    return x.unflatten(0, (-1, length)).transpose(0, 1).flatten(1, 2)


def batch_of(
    agent: ActorCritic,
    g: int,
    rollout: Rollout,
    length: int,
    inputs: Tensor,
    memory: Tensor,
    **more: Tensor,
) -> dict[str, Tensor]:
    """All rounds of group g in sequences, (length, B, ...); of memories (T, E, N, H) those before the first rounds.

    `inputs` are the group's, (T, E * members, D); `more` are those of all agents, (T, E, N, ...).
    """
    whole = {"acts": rollout.participation[:-1], "memory": memory, **more}
    batch = {
        "inputs": inputs,
        "fresh": beginnings(rollout)[:-1].repeat_interleave(len(agent.policy.members[g]), 1),
        **{k: agent.lines(g, x) for k, x in whole.items()},
    }
    batch = {k: sequences(x, length) for k, x in batch.items()}
    batch["memory"] = batch["memory"][:1]
    return batch


def actor_batch(
    agent: ActorCritic, g: int, rollout: Rollout, advantages: Tensor, length: int
) -> dict[str, Tensor]:
    """What group g's actor learns from: (length, B, ...), B sequences with a `valid` entry at least."""
    more = {"actions": rollout.actions, "advantages": advantages}
    masks = rollout.mask_rows()
    if masks is not None:
        more["mask"] = masks.unflatten(0, (rollout.rounds, -1))
    inputs = agent.actor_inputs(g, rollout.observations[:-1])
    batch = batch_of(agent, g, rollout, length, inputs, rollout.memory[:-1], **more)
    batch["valid"] = sequences(agent.lines(g, rollout.learned_from()), length)
    columns = batch["valid"].any(0).nonzero().squeeze(1)
    return {k: x[:, columns] for k, x in batch.items()}


def critic_batch(
    agent: ActorCritic, g: int, rollout: Rollout, targets: Tensor, memory: Tensor, length: int
) -> dict[str, Tensor]:
    """What group g's critic learns from: all rounds, (length, B, ...)."""
    inputs = agent.critic_inputs(g, rollout.observations[:-1], rollout.states[:-1])
    return batch_of(agent, g, rollout, length, inputs, memory, targets=targets)


def minibatches(
    batch: dict[str, Tensor], count: int, rng: torch.Generator
) -> Iterator[dict[str, Tensor]]:
    """The batch in `count` random parts."""
    if count == 1:
        yield batch
        return
    order = torch.randperm(batch["inputs"].shape[1], generator=rng, device=rng.device)
    for part in order.chunk(count):
        yield {k: x[:, part] for k, x in batch.items()}


def log_probs(policy: Policy, g: int, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Log-likelihood of the actions, and entropy, of the valid entries: (R,) each."""
    acts, valid, mask = batch["acts"], batch["valid"], batch.get("mask")
    out = policy.networks[g].sequence(batch["inputs"], batch["memory"][0], acts, batch["fresh"])[0]
    allowed = None if mask is None else mask[valid]
    return policy.likelihood(g, out[valid], batch["actions"][valid], allowed)


def actor_loss(
    policy: Policy, g: int, batch: dict[str, Tensor], clip: float, entropy_weight: float
) -> tuple[Tensor, dict[str, float]]:
    """The clipped surrogate and the entropy bonus; `batch` holds the `old` log-likelihoods, too."""
    log_prob, entropy = log_probs(policy, g, batch)
    valid = batch["valid"]
    advantage, change = batch["advantages"][valid], log_prob - batch["old"][valid]
    ratio = change.exp()
    surrogate = torch.min(ratio * advantage, ratio.clamp(1 - clip, 1 + clip) * advantage)
    loss = -surrogate.mean() - entropy_weight * entropy.mean()
    with torch.no_grad():
        metrics = {
            "entropy": float(entropy.mean()),
            "kl": float((ratio - 1 - change).mean()),
            "clipped": float(((ratio - 1).abs() > clip).float().mean()),
        }
    return loss, metrics


def update_actor(
    agent: ActorCritic, g: int, batch: dict[str, Tensor], args, rng: torch.Generator
) -> dict[str, float]:
    """`epochs` passes over the batch; metrics are those of the last step."""
    valid, metrics = batch["valid"], {}
    found = batch["advantages"][valid]
    if len(found) < 2:
        return metrics
    batch["advantages"] = (batch["advantages"] - found.mean()) / (found.std() + 1e-5)
    batch["old"] = torch.zeros_like(batch["advantages"])
    with torch.no_grad():
        batch["old"][valid] = log_probs(agent.policy, g, batch)[0]
    for _ in range(args.epochs):
        for part in minibatches(batch, args.minibatches, rng):
            loss, metrics = actor_loss(agent.policy, g, part, args.clip, args.entropy)
            agent.optimizers[g].step(loss)
    return metrics


def update_critic(
    agent: ActorCritic, g: int, batch: dict[str, Tensor], args, rng: torch.Generator
) -> dict[str, float]:
    """`epochs` passes of regression on the standardized targets."""
    critic, norm = agent.critics[g], agent.norms[g]
    norm.update(batch["targets"], critic.layers[-1])
    batch["targets"] = norm.standardize(batch["targets"])
    metrics = {}
    for _ in range(args.epochs):
        for part in minibatches(batch, args.minibatches, rng):
            out, _ = critic.sequence(part["inputs"], part["memory"][0], part["acts"], part["fresh"])
            loss = 0.5 * (out.squeeze(2) - part["targets"]).square().mean()
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
        batch = actor_batch(agent, g, rollout, advantages, length)
        found = update_actor(agent, g, batch, args, rng)
        batch = critic_batch(agent, g, rollout, targets, memory, length)
        found |= update_critic(agent, g, batch, args, rng)
        error = agent.lines(g, advantages).var() / (agent.lines(g, targets).var() + 1e-8)
        found["explained"] = 1 - float(error)
        suffix = f"_{g}" if len(agent.policy.members) > 1 else ""
        metrics |= {k + suffix: x for k, x in found.items()}
    return metrics


def check(args: Args) -> None:
    """ValueError for settings that make no sense together."""
    if args.recurrent and args.rounds % args.chunk:
        raise ValueError(f"chunk={args.chunk} must divide rounds={args.rounds}")


def train(args: Args) -> dict:
    """Run PPO; returns the evaluation of the trained policy."""
    check(args)
    with Run("ippo", args) as run:
        args, rng = run.args, run.rng
        vec = make_game(args, args.num_envs, run.device)
        agent = ActorCritic(vec, args, run.device)
        rollout = Rollout(
            vec, args.rounds, run.device, agent.policy.memory_size, args.critic == "state"
        )
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
