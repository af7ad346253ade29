"""MACK: multi-agent actor-critic with Kronecker-factored natural gradients, on the game's own reward.

It trains the experts. Actors see their own observation. The critic of agent i sees all observations and the
actions of the *other* agents (zeros for those that do not participate), so that as a baseline it does not depend on
agent i's own action (Song et al., 2018). Returns are discounted over all rounds; rounds in which an agent does not
participate are then dropped from its losses.

    python -m learners.mack --env stochastic_coop_nav --steps 5000000
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from learners.lib.fields import Count, Fraction, Sizes, Steps
from learners.lib.game import describe, make_game
from learners.lib.groups import ActorCriticSteps, Networks, Returns, Rollouts
from learners.lib.mlp import MLP
from learners.lib.networks import Policy, own_columns
from learners.lib.optimizers import anneal, make_optimizer
from learners.lib.returns import generalized_advantages
from learners.lib.rollout import Rollout
from learners.lib.run import Run, main
from learners.lib.settings import Settings
from learners.lib.time_limit import bootstraps, time_inputs, time_left
from mail_envs.streams import stream_seed


@dataclasses.dataclass(frozen=True)
class Args(Settings, Rollouts, Returns, ActorCriticSteps, Networks):
    """Train experts by multi-agent natural-gradient actor-critic (MACK)."""

    steps: Steps = 5_000_000
    num_envs: Count = 100
    rounds: Count = 10
    gamma: Fraction = 0.95
    lam: Fraction = 1.0  # discounted returns minus values, as in the paper
    hidden: Sizes = (128, 128)


PRESETS = {
    "paper": {
        "steps": 50_000_000,
        "num_envs": 4,
        "rounds": 250,
        "kl_clip": 1e-3,
        "critic_kl_clip": 1e-3,
        "eigen_every": 1,
    },
    "quick": {"steps": 300_000, "eval_episodes": 200},
}


class Critic(nn.Module):
    """One value network per group. Inputs: all observations, own first; the others' actions; and `times` inputs for
    the remaining time (0 or 1, see `learners.lib.time_limit`).
    """

    def __init__(self, policy: Policy, hidden: tuple[int, ...], times: int = 0):
        super().__init__()
        self.dims = policy.observation_dims
        self.members, self.groups = policy.members, policy.groups
        self.discrete, self.num_actions = policy.discrete, policy.num_actions
        self.order = [[self._order(i) for i in members] for members in self.members]
        # Action dims of the others, seen from the group's first agent; the same for all its agents.
        others = [[policy.action_dims[j] for j in o[0][1:]] for o in self.order]
        self.columns = [own_columns(dims, self.num_actions) for dims in others]
        self.tails = [sum(dims) + times for dims in others]
        widths = [sum(self.dims) + tail for tail in self.tails]
        self.networks: Any = nn.ModuleList(MLP([width, *hidden, 1]) for width in widths)

    def _order(self, i: int) -> list[int]:
        """Agent i, then its group from i on, then all others: one layout for all agents of a group."""
        own = self.members[self.groups[i]]
        k = own.index(i)
        return own[k:] + own[:k] + [j for j in range(len(self.dims)) if j not in own]

    def normalize_with(self, observations: Tensor, limit: float) -> None:
        """Fix the normalization of the observation inputs from (B, N, D), clipped to +-limit."""
        for g, network in enumerate(self.networks):
            cut = [observations[:, i, :d] for i, d in enumerate(self.dims)]
            rows = torch.cat([torch.cat([cut[i] for i in o], 1) for o in self.order[g]])
            network.normalize_with(rows, self.tails[g], limit)

    def inputs(
        self, g: int, observations: Tensor, actions: Tensor, participation: Tensor, left: Tensor
    ) -> Tensor:
        """Group g's input rows, (B * members, inputs).

        Args:
            g: the group.
            observations: (B, N, D).
            actions: (B, N[, A]).
            participation: bool (B, N).
            left: (B, times), the remaining fraction of the time limit.
        """
        order = self.order[g]
        if self.discrete:
            choices = torch.arange(self.num_actions, device=actions.device)
            actions = (actions.unsqueeze(-1) == choices) & participation.unsqueeze(-1)
        else:
            actions = actions * participation.unsqueeze(-1)
        others = actions[:, torch.tensor(order)[:, 1:]].flatten(2)
        if self.columns[g] is not None:
            others = others[..., self.columns[g]]
        if len(set(self.dims)) == 1:
            seen = observations[:, order].flatten(2)
        else:
            cut = [observations[:, i, :d] for i, d in enumerate(self.dims)]
            seen = torch.stack([torch.cat([cut[i] for i in o], 1) for o in order], 1)
        left = left.unsqueeze(1).expand(-1, len(order), -1)
        return torch.cat([seen, others.to(seen.dtype), left], 2).flatten(0, 1)

    def forward(
        self, observations: Tensor, actions: Tensor, participation: Tensor, left: Tensor
    ) -> Tensor:
        """Values (B, N); the arguments are those of `inputs`."""
        values = observations.new_empty(observations.shape[:2])
        for g, network in enumerate(self.networks):
            inputs = self.inputs(g, observations, actions, participation, left)
            values[:, self.members[g]] = network(inputs).view(len(observations), -1)
        return values


class ActorCritic:
    """Policy, critic and their optimizers, one of each per group."""

    def __init__(self, vec, args, device: torch.device):
        form = {"hidden": args.hidden, "agent_id": args.agent_id}
        self.policy = Policy.of(vec, args.share, **form).to(device)
        self.critic = Critic(self.policy, args.hidden, time_inputs(vec)).to(device)
        self.actor_optimizers = [
            make_optimizer(args.optimizer, n, args.lr, args.kl_clip, args.eigen_every)
            for n in self.policy.networks
        ]
        self.critic_optimizers = [
            make_optimizer(args.optimizer, n, args.lr, args.critic_kl_clip, args.eigen_every)
            for n in self.critic.networks
        ]

    def state_dict(self) -> dict:
        return {
            "critic": dict(self.critic.state_dict()),
            "actor_optimizers": [o.state_dict() for o in self.actor_optimizers],
            "critic_optimizers": [o.state_dict() for o in self.critic_optimizers],
        }

    def load_state_dict(self, state: dict) -> None:
        self.critic.load_state_dict(state["critic"])
        for name in ("actor_optimizers", "critic_optimizers"):
            for optimizer, saved in zip(getattr(self, name), state[name], strict=True):
                optimizer.load_state_dict(saved)


@torch.no_grad()
def estimate_advantages(
    agent: ActorCritic,
    rollout: Rollout,
    rewards: Tensor,
    gamma: float,
    lam: float,
    rng: torch.Generator,
    bound: float = math.inf,
) -> tuple[Tensor, Tensor]:
    """Advantages and value targets (T, E, N) of `rewards`, computed over all rounds.

    After a time limit the value is that of the final observation, or 0 where the limit is part of the task.
    `bound`: largest possible absolute value of a return; predictions are clipped to it.
    """
    r, T = rollout, rollout.rounds
    mask = None if r.action_mask is None else r.action_mask[T]
    following = agent.policy.act(r.observations[T], mask, rng)  # the others' actions in round T
    actions = torch.cat([r.actions, following.unsqueeze(0)])
    left = time_left(r)
    seen = (r.observations, actions, r.participation, left)
    flat = agent.critic(*(x.flatten(0, 1) for x in seen))
    values = flat.view(T + 1, r.num_envs, -1).clamp(-bound, bound)
    final_values = torch.zeros_like(rewards)
    cut = bootstraps(r).nonzero(as_tuple=True)
    if len(cut[0]):
        observations, participation = r.final_observations[cut], r.final_participation[cut]
        allowed = None if r.final_action_mask is None else r.final_action_mask[cut]
        final_actions = agent.policy.act(observations, allowed, rng)
        final = agent.critic(observations, final_actions, participation, left[1:][cut])
        final_values[cut] = final.clamp(-bound, bound)
    advantages = generalized_advantages(
        rewards, values, final_values, r.terminated, r.truncated, gamma, lam, r.lost
    )
    return advantages, advantages + values[:-1]


def update(
    agent: ActorCritic,
    rollout: Rollout,
    advantages: Tensor,
    targets: Tensor,
    valid: Tensor,
    args,
    rng: torch.Generator,
    train_actor: bool = True,
    added_loss: Callable[[int], Tensor] | None = None,
) -> dict[str, float]:
    """One step of every actor and critic, on the entries where `valid` (T, E, N) is true.

    Critics also learn from the rounds of dead agents: the advantages of an agent's last rounds need its values after its
    death. `added_loss(g)`, if given, is added to the loss of group g's actor.
    """
    observations = rollout.observations[:-1].flatten(0, 1)
    participation = rollout.participation[:-1].flatten(0, 1)
    actions, masks, policy = rollout.actions.flatten(0, 1), rollout.mask_rows(), agent.policy
    left = time_left(rollout)[:-1].flatten(0, 1)
    judged = valid | ~(rollout.alive[:-1] | rollout.lost.unsqueeze(-1))
    metrics = {}
    for g in range(len(policy.members)):
        rows = policy.rows(g, valid.flatten(0, 1)).nonzero().squeeze(1)
        if len(rows) == 0:
            continue
        advantage = policy.rows(g, advantages.flatten(0, 1))[rows]
        few = some_rows(len(rows), args.fisher_rows, rng)

        inputs, taken = policy.inputs(g, observations)[rows], policy.rows(g, actions)[rows]
        allowed = None if masks is None else policy.rows(g, masks)[rows]
        log_prob, entropy = policy.log_prob(g, inputs, taken, allowed)
        loss = -(log_prob * advantage).mean() - args.entropy * entropy.mean()
        if added_loss is not None:
            loss = loss + added_loss(g)
        some = None if allowed is None else allowed[few]
        if train_actor:
            agent.actor_optimizers[g].step(
                loss, partial(policy.sampled_nll, g, inputs[few], some, rng)
            )

        network = agent.critic.networks[g]
        rows = policy.rows(g, judged.flatten(0, 1)).nonzero().squeeze(1)
        target = policy.rows(g, targets.flatten(0, 1))[rows]
        few = few if len(rows) == len(advantage) else some_rows(len(rows), args.fisher_rows, rng)
        state = agent.critic.inputs(g, observations, actions, participation, left)[rows]
        error = network(state).squeeze(1) - target
        value_loss = 0.5 * (error * error).mean()
        agent.critic_optimizers[g].step(value_loss, partial(gaussian_nll, network, state[few], rng))

        suffix = f"_{g}" if len(policy.members) > 1 else ""
        metrics[f"entropy{suffix}"] = float(entropy.detach().mean())
        metrics[f"value_loss{suffix}"] = float(value_loss.detach())
        if len(target) > 1:
            variance = float(target.var()) + 1e-8
            metrics[f"explained{suffix}"] = 1 - 2 * metrics[f"value_loss{suffix}"] / variance
    return metrics


def some_rows(count: int, most: int, rng: torch.Generator) -> Tensor | slice:
    """Rows for the Fisher factors: all, or `most` drawn at random from those of all agents."""
    if count <= most:
        return slice(None)
    return torch.randint(count, (most,), generator=rng, device=rng.device)


def gaussian_nll(network: nn.Module, inputs: Tensor, rng: torch.Generator) -> Tensor:
    """-log N(sample; V, 1) of a sample from N(V, 1), per row: the critic's Fisher loss."""
    values = network(inputs)
    noise = torch.empty_like(values).normal_(generator=rng)
    return 0.5 * (values - values.detach() - noise).square().squeeze(1)


def train(args: Args) -> dict:
    """Run MACK; returns the evaluation of the trained policy."""
    with Run("mack", args) as run:
        args, rng = run.args, run.rng
        vec = make_game(args, args.num_envs, run.device)
        agent = ActorCritic(vec, args, run.device)
        rollout = Rollout(vec, args.rounds, run.device)
        rollout.reset(stream_seed(args.seed, "games"))
        run.begin(agent.policy, describe(vec), {"agent": agent, "rollout": rollout})
        run.say(
            f"mack on {args.env}: {args.steps:,} steps, {args.optimizer}, {run.device}, {run.folder}"
        )
        while not run.done:
            rollout.collect(agent.policy, rng)
            if args.anneal:
                anneal_actors(agent, args, 1 - run.progress)
            advantages, targets = estimate_advantages(
                agent, rollout, rollout.rewards, args.gamma, args.lam, rng
            )
            valid = rollout.learned_from()
            metrics = update(agent, rollout, advantages, targets, valid, args, rng)
            run.advance(rollout.steps, rollout.episodes() | metrics)
        return run.finish()


def anneal_actors(agent: ActorCritic, args, fraction: float) -> None:
    """Scale the actors' step size to `fraction` of the initial one."""
    for optimizer in agent.actor_optimizers:
        anneal(optimizer, fraction, args.lr, args.kl_clip)


if __name__ == "__main__":
    main(Args, PRESETS, train)
