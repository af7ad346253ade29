"""Learning from recorded rounds and their rewards, without playing: what CQL, ICQ, TD3-BC and OMAR share.

A learner gets batches of a source (`learners.lib.replay`) whose rewards are those that it is trained on. Rows end where
their episode does, so that every row's successor is the true one, and losses have terms only for living agents that act.

    learner = Learner(vec, args, source, device)
    learner.update(batch, rng)  # one gradient step; returns figures

The inputs of all networks are standardized by the mean and deviation of the data; those of the policy are in its file,
so that they are applied wherever it plays. Rewards are scaled in training only: evaluations report true returns.
"""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor, nn

from demos.dataset import Demonstrations
from learners.lib.batch import Batch, Seen, each, mean
from learners.lib.demonstrated import demonstrated, in_memory
from learners.lib.expert_data import DemoSettings
from learners.lib.fields import Count, Fraction, Positive, Sizes, Steps
from learners.lib.game import describe, unplayed_game
from learners.lib.groups import AdamSteps, Networks
from learners.lib.networks import Policy, groups_of
from learners.lib.optimizers import Adam
from learners.lib.replay import Source, read_episodes, rounds_needed, sample_chunks, sample_episodes
from learners.lib.returns import anchored, decided, lambda_returns
from learners.lib.rewards import TEAM_RETURN, RewardKind
from learners.lib.run import Run
from learners.lib.time_limit import continues, fraction_left, time_inputs

EPISODES_AT_ONCE = 64  # read together when rewards are computed
UNPAID = 0.01  # share of the team's reward
STATISTICS_ROUNDS = 20_000  # that means and deviations are computed from, at most


@dataclasses.dataclass(frozen=True)
class OfflineSettings(DemoSettings, AdamSteps, Networks):
    """Settings shared by the learners of this file."""

    steps: Steps = 100_000
    """Gradient steps."""
    batch: Count = 256
    """Rounds per gradient step."""
    episodes: Count = 16
    """With --recurrent, episodes per gradient step."""
    chunk: Count = 10
    """Rounds per sequence where --lam is above 0 or agents can be absent; elsewhere rounds are sampled one by one."""
    gamma: Fraction = 0.99
    """Discount factor."""
    lam: Fraction = 0.0
    """Lambda of the targets: 0 looks one round ahead, 1 to the end of the sequence."""
    target_rate: Positive = 0.005
    """Share of the difference that the target networks make up in every gradient step."""
    reward: RewardKind = "auto"
    """own: the agent's own reward. team: the mean reward of the agents that act (nothing where nobody does); what the team
    gets after an agent's death is paid to it, discounted, when it dies. auto: team where the game reports a team_return,
    otherwise own."""
    reward_scale: Literal["deviation", "none"] = "deviation"
    """deviation: rewards are divided by their standard deviation in the data."""
    critic: Literal["own", "state"] = "own"
    """Input of the critics. own: the agent's observation; state: also the global state."""
    recurrent: bool = False
    """Give policies, and critics of discrete actions, a memory (GRU); whole episodes are then sampled."""
    control: Literal["none", "random"] = "none"
    """random: learn from random play instead, a control."""
    lr: Positive = 3e-4
    hidden: Sizes = (256, 256)
    agent_id: bool = True

    @property
    def team(self) -> bool:
        """Whether values are those of the team, not of single agents."""
        return False

    @property
    def sequences(self) -> bool:
        """Whether sequences of rounds are needed also where all agents act in every round."""
        return self.lam > 0


# --------------------------------------------------------------------------------------- the data
class Rewarded:
    """A source with the rewards that a learner is trained on, (L, B, M): M is 1 for the team, or the number of agents.

    Attributes:
        rewards: of all rows, (rows, M). scale: they are the true ones times this. paid: the sum of the team's, without it.
    """

    def __init__(
        self,
        source: Source,
        kind: Literal["own", "team"],
        args: OfflineSettings,
        whole: tuple[Source, Tensor] | None = None,
    ):
        """`whole`: where the source holds parts of episodes, their whole and the rows there of its rows, int64 (rows,)."""
        self.source, self.acted, self.round = source, source.acted, source.round
        self.begins = source.begins
        everything, rows = whole or (source, None)
        self.rewards, deviation, self.paid = rewards_of(everything, kind, args.team, args.gamma)
        if rows is not None:
            self.rewards = self.rewards[rows.to(self.rewards.device)]
        scaled = args.reward_scale == "deviation" and deviation > 1e-6
        self.scale = 1 / deviation if scaled else 1.0
        self.rewards *= self.scale

    def after(self, rows: Tensor, steps: Tensor) -> Tensor:
        return self.source.after(rows, steps)

    def episodes(self) -> tuple[Tensor, Tensor]:
        return self.source.episodes()

    def read(self, rows: Tensor, filled: Tensor) -> Batch:
        batch = self.source.read(rows, filled)
        return dataclasses.replace(batch, rewards=self.rewards[rows[:-1]])


def rewards_of(source: Source, kind: str, team: bool, gamma: float) -> tuple[Tensor, float, float]:
    """Rewards of all rows, (rows, M), their standard deviation over the agents that act, and, of the kind `team`, their sum.

    See `OfflineSettings.reward`. With `team`, M is 1. Otherwise nothing is paid to the dead: what follows their death
    belongs to their last round.
    """
    firsts, lengths = source.episodes()
    table: Tensor | None = None
    acting, paid = [], 0.0
    for which in torch.arange(len(firsts), device=firsts.device).split(EPISODES_AT_ONCE):
        batch = read_episodes(source, which)
        # Nothing is paid in padding, which repeats the last row.
        rewards = torch.where(batch.filled.unsqueeze(-1), batch.rewards, 0.0)
        acts = batch.learned_from()
        if kind == "team":
            sums = torch.where(acts, rewards, 0.0).sum(-1, keepdim=True)
            shares = sums / acts.sum(-1, keepdim=True).clamp(min=1)
            rewards, paid = shares.expand_as(rewards), paid + float(shares.sum())
        acting.append(rewards[acts])
        rewards = rewards[..., :1] if team else credited(rewards, batch.rows.alive[:-1], gamma)
        if table is None:
            table = rewards.new_zeros(len(source.acted), rewards.shape[-1])
        steps = torch.arange(len(rewards), device=firsts.device).unsqueeze(1)
        rows = source.after(firsts[which], torch.minimum(steps, lengths[which]))
        # The rows of a source on disk are numbered on the CPU, its batches may be elsewhere.
        table[rows[batch.filled.to(rows.device)]] = rewards[batch.filled]
    if table is None:
        raise ValueError("there is no episode to learn from")
    return table, float(torch.cat(acting).std(correction=0)), paid


def credited(rewards: Tensor, alive: Tensor, gamma: float) -> Tensor:
    """Rewards (T, B, N) of whole episodes, with those after an agent's death paid to it, discounted, when it dies."""
    rewards = rewards.clone()
    for t in range(len(rewards) - 1, 0, -1):
        rewards[t - 1] += gamma * torch.where(alive[t], 0.0, rewards[t])
    return torch.where(alive, rewards, 0.0)


def sample(source: Source, vec: Any, args: OfflineSettings, rng: torch.Generator) -> Batch:
    """The rounds of one gradient step."""
    if args.recurrent:
        return sample_episodes(source, args.episodes, rng)
    length = args.chunk if args.sequences else rounds_needed(vec, args)
    return sample_chunks(source, math.ceil(args.batch / length), length, rng)


def counts(batch: Batch, team: bool) -> Tensor:
    """Where losses have a term, bool (L, B, M)."""
    acts = batch.learned_from()
    return acts.any(-1, keepdim=True) if team else acts


def returns(vec: Any, batch: Batch, next_values: Tensor, args: OfflineSettings) -> Tensor:
    """Targets (L, B, M) from the values of the rows after each round, (L, B, M).

    Values of the dead are not used. Where nobody whose value it is acts next, the value is that of what follows.
    Truncated episodes bootstrap with what was truly seen last, unless the limit is part of the task.
    """
    acts, known = decided(batch, args.team)
    decides = acts[1:]
    if not args.team:
        next_values = torch.where(batch.next.alive, next_values, 0.0)
    last = batch.filled & ~torch.cat([batch.filled[1:], torch.zeros_like(batch.filled[:1])])
    alone = last.unsqueeze(-1)
    if args.lam > 0:  # the return of a round that is not `aimed` is no part of a target
        unknown = ~anchored(vec, batch, known)
        alone = alone | (decides & torch.cat([unknown[1:], torch.zeros_like(unknown[:1])]))
    ends = continues(vec, batch.terminated, batch.truncated)
    return lambda_returns(batch.rewards, next_values, decides, ends, alone, args.gamma, args.lam)


# ----------------------------------------------------------------------------------- the networks
def outputs_of(policy: Policy, rows: Seen, inputs: Tensor | None = None) -> Tensor:
    """Outputs (L, B, N, W) in L successive rounds, from an empty memory; `inputs` replace the observations."""
    inputs = rows.observations if inputs is None else inputs
    memory = inputs.new_zeros(*inputs.shape[1:3], policy.memory_size)
    return policy.unroll(inputs, memory, rows.participation)[0]


def actions_of(policy: Policy, outputs: Tensor, rng: torch.Generator | None = None) -> Tensor:
    """Continuous actions (*L, N, A) for outputs (*L, N, W): sampled ones, or the most likely ones without `rng`."""
    chosen = outputs.new_zeros(*outputs.shape[:-1], policy.num_actions)
    for network, members, n in zip(policy.networks, policy.members, policy.outputs, strict=True):
        own = outputs[..., members, : policy.distribution.width(n)]
        chosen[..., members, :n] = policy.distribution.choose(network, own, None, rng)
    return chosen


def make_policy(vec: Any, args: OfflineSettings, source: Source, distribution: Any) -> Policy:
    """The agents' policy, its inputs standardized by the data."""
    form: dict[str, Any] = {"hidden": args.hidden, "agent_id": args.agent_id}
    policy = Policy.of(vec, args.share, **form, recurrent=args.recurrent, distribution=distribution)
    rows, acts = some_rounds(source)
    standardize(policy, rows.observations, acts)
    return policy


class Critic(nn.Module):
    """Values of every agent's actions: of all discrete ones, or of one continuous one.

    It sees the agent's observation, with `--critic state` the global state, and the remaining time where the limit is
    part of the task. Critics of continuous actions have no memory: it would hold actions that were not taken.
    """

    def __init__(self, vec: Any, args: OfflineSettings, source: Source):
        super().__init__()
        self.vec, self.state, self.discrete = vec, args.critic == "state", vec.discrete
        self.taken = 0 if vec.discrete else vec.num_actions  # inputs that are actions
        more = self.taken + time_inputs(vec) + math.prod(vec.state_space.shape) * self.state
        self.networks = Policy(
            groups_of(vec, args.share), [more + d for d in vec.observation_dims],
            list(vec.action_dims) if vec.discrete else [1] * vec.num_agents,
            hidden=args.hidden, agent_id=args.agent_id, recurrent=args.recurrent and vec.discrete,
            distribution="greedy",
        )  # fmt: skip
        rows, acts = some_rounds(source)
        nothing = rows.observations.new_zeros(*acts.shape, self.taken)
        standardize(self.networks, self.inputs(rows, nothing), acts)

    def inputs(self, rows: Seen, actions: Tensor | None) -> Tensor:
        """What the networks see, (*L, N, D): what all agents have in common comes first."""
        common = torch.cat([fraction_left(self.vec, rows.round), rows.states][: 1 + self.state], -1)
        common = common.unsqueeze(-2).expand(*rows.alive.shape, -1)
        parts = [common, rows.observations]
        return torch.cat(parts if self.discrete or actions is None else [actions, *parts], -1)

    def forward(self, rows: Seen, actions: Tensor | None = None) -> Tensor:
        """Values (L, B, N, A) of all discrete actions, or (L, B, N) of continuous `actions` (L, B, N, A)."""
        out = outputs_of(self.networks, rows, self.inputs(rows, actions))
        return out if self.discrete else out.squeeze(-1)


def make_critics(vec: Any, args: OfflineSettings, source: Source, count: int = 2) -> nn.ModuleList:
    """Critics with different initial weights."""
    return nn.ModuleList(Critic(vec, args, source) for _ in range(count))


def values_of(critics: Any, rows: Seen, actions: Tensor | None = None) -> Tensor:
    """The values of each critic, (critics, L, B, N, ...)."""
    return torch.stack([critic(rows, actions) for critic in critics])


def values_of_samples(critic: Critic, rows: Seen, actions: Tensor) -> Tensor:
    """Values (K, L, B, N) of K continuous actions each, (K, L, B, N, A)."""
    K = len(actions)
    repeated = each(rows, lambda x: x.repeat(K, *[1] * (x.dim() - 1)))
    return critic(repeated, actions.flatten(0, 1)).unflatten(0, (K, -1))


def of_taken(values: Tensor, actions: Tensor) -> Tensor:
    """Values (..., L, B, N) of the discrete actions (L, B, N) that were taken, of those of all, (..., L, B, N, A)."""
    index = actions.unsqueeze(-1).expand(*values.shape[:-1], 1)
    return values.gather(-1, index).squeeze(-1)


def some_rounds(source: Source) -> tuple[Seen, Tensor]:
    """What was seen in up to `STATISTICS_ROUNDS` rounds, evenly spaced, (1, B), and who acted, bool (1, B, N)."""
    rows = source.acted.nonzero().squeeze(1)
    if len(rows) > STATISTICS_ROUNDS:
        rows = rows[torch.linspace(0, len(rows) - 1, STATISTICS_ROUNDS).long()]
    both = torch.stack([rows, source.after(rows, torch.ones_like(rows))])
    batch = source.read(both, torch.ones(1, len(rows), dtype=torch.bool, device=rows.device))
    return batch.seen, batch.learned_from()


def standardize(policy: Policy, inputs: Tensor, acts: Tensor) -> None:
    """Fix the standardization of the networks' inputs by `inputs` (1, B, N, D) of the agents that act, (1, B, N)."""
    for g, network in enumerate(policy.networks):
        rows = policy.rows(g, inputs[0])[policy.rows(g, acts[0])]
        network.normalize_with(rows[:, : policy.dims[g]], policy.tails[g])


class Trained:
    """Networks by name, copies that follow them slowly (`target`), and an optimizer for each; `taken`: gradient steps."""

    def __init__(self, args: OfflineSettings, device: torch.device, **networks: nn.Module):
        self.online: Any = nn.ModuleDict(networks).to(device)
        games = [module.vec for module in self.online.modules() if hasattr(module, "vec")]
        shared = {id(vec): vec for vec in games}  # a copy would start the game again
        self.target: Any = copy.deepcopy(self.online, shared).requires_grad_(False)
        self.optimizers = {
            name: Adam(network, args.lr, args.max_grad_norm)
            for name, network in self.online.items()
        }
        self.rate, self.taken = args.target_rate, 0

    def step(self, name: str, loss: Tensor) -> float:
        """One gradient step of a network; returns the loss."""
        self.optimizers[name].step(loss)
        return float(loss.detach())

    @torch.no_grad()
    def follow(self) -> None:
        """Move the target networks toward the trained ones."""
        pairs = zip(self.target.parameters(), self.online.parameters(), strict=True)
        for old, new in pairs:
            old.lerp_(new, self.rate)

    def state_dict(self) -> dict:
        return {
            "online": dict(self.online.state_dict()),
            "target": dict(self.target.state_dict()),
            "optimizers": {name: o.state_dict() for name, o in self.optimizers.items()},
            "taken": self.taken,
        }

    def load_state_dict(self, state: dict) -> None:
        self.online.load_state_dict(state["online"])
        self.target.load_state_dict(state["target"])
        for name, optimizer in self.optimizers.items():
            optimizer.load_state_dict(state["optimizers"][name])
        self.taken = state["taken"]


def actor_and_critics(
    vec: Any, args: OfflineSettings, source: Source, device: torch.device, distribution: Any
) -> Trained:
    """A policy and two critics, by these names."""
    policy = make_policy(vec, args, source, distribution)
    return Trained(args, device, policy=policy, critics=make_critics(vec, args, source))


# ----------------------------------------------------------------------------------------- the run
def learn(name: str, args: Any, make: Callable[..., Any]) -> dict:
    """Train the learner that `make(vec, args, source, device)` returns; returns the evaluation of its policy."""
    with Run(name, args) as run:
        args = run.args
        if args.team and args.reward == "own":
            raise ValueError(
                f"--reward own: {name} learns the value of the team here, whose reward is that of the team; leave "
                "--reward at auto, or choose team"
            )
        vec = unplayed_game(args)
        demos = demonstrated(run, vec)
        kind = args.reward
        reported = TEAM_RETURN in demos.demos.layout.metrics
        if args.team or (kind == "auto" and reported):
            kind = "team"
        whole = demos.whole() if args.demo_share < 1 else None
        source = Rewarded(in_memory(demos), "team" if kind == "team" else "own", args, whole)
        if kind == "team" and reported:
            warn_of_unpaid(run, demos.demos, source.paid)
        learner = make(vec, args, source, run.device)
        noted = {**describe(vec), "reward_scale": source.scale}
        run.begin(learner.policy, noted, {"learner": learner.nets})
        run.say(
            f"{name} on {args.env}: {args.steps:,} gradient steps, rewards times {source.scale:.3g}, {run.folder}"
        )
        while not run.done:
            if args.anneal:
                for optimizer in learner.nets.optimizers.values():
                    optimizer.lr = args.lr * (1 - run.progress)
            batch = sample(source, vec, args, run.rng)
            run.advance(1, learner.update(batch, run.rng))
        return run.finish()


def warn_of_unpaid(run: Run, demos: Demonstrations, paid: float) -> None:
    """Say how much of the team's reward the demonstrations do not hold, which pay only agents that act: they hold `paid`."""
    total = float(demos.table().metrics[TEAM_RETURN].sum())
    if abs(total - paid) > UNPAID * abs(total):
        run.say(
            f"warning: the team's return is {total / len(demos):.2f} in the demonstrations, but their rewards add up to "
            f"{paid / len(demos):.2f}: the rest was paid in rounds in which nobody acts, and is not learned from"
        )


def figures(loss: float, values: Tensor, where: Tensor) -> dict[str, float]:
    """What every learner logs: its critics' loss, and the mean and largest value of what was done."""
    values = torch.where(where, values.detach(), 0.0)
    return {
        "loss": loss,
        "value": float(mean(values, where.expand_as(values))),
        "largest_value": float(values.abs().max()),
    }
