"""PQN: parallelized Q-learning for a team (Gallici et al., 2024), with the sum of the agents' values (VDN).

Nothing is replayed and there is no target network: many copies of the game are played with epsilon-greedy actions for a
few rounds, lambda-returns are computed with the current networks, and the networks are trained on these rounds in
minibatches. Layer normalization keeps this stable.

The value of the team in a round is the sum over the agents that act in it: absent and dead agents add nothing, and a
round in which nobody acts is not trained on. The reward is the team's.

    G_t = r_t + gamma ((1 - lambda) sum_i max_a Q_i(o_i, a) + lambda G_{t+1}),   the sum and Q at round t + 1

    python -m learners.pqn --env smac_3m
    python -m learners.pqn --env smacv2_terran_5_vs_5 --recurrent --last-action
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from learners.lib.actor_critic import check_chunks
from learners.lib.distributions import masked
from learners.lib.fields import Count, Fraction, Sizes, Steps
from learners.lib.game import describe, make_game
from learners.lib.groups import AdamSteps, Memory, Networks, Returns, Rollouts
from learners.lib.networks import Policy
from learners.lib.optimizers import Adam
from learners.lib.ppo import Batch, episode_starts, minibatches, sequences
from learners.lib.processor import fast_products
from learners.lib.returns import lambda_returns
from learners.lib.rewards import rewards_of
from learners.lib.rollout import Rollout
from learners.lib.run import Run, main
from learners.lib.settings import Settings
from learners.lib.time_limit import continues
from mail_envs.streams import stream_seed


@dataclasses.dataclass(frozen=True)
class Args(Settings, Rollouts, Returns, AdamSteps, Networks, Memory):
    """Train policies by parallelized Q-learning with value decomposition (PQN-VDN)."""

    steps: Steps = 3_000_000
    num_envs: Count = 128
    """Copies of the game, E; fewer than 64 make the updates too correlated."""
    rounds: Count = 20
    lam: Fraction = 0.8
    anneal: bool = True
    hidden: Sizes = (128, 128)
    epochs: Count = 2
    """Passes over each batch."""
    minibatches: Count = 4
    """Minibatches per pass; each is one gradient step."""
    epsilon: Fraction = 1.0
    """Probability of a random action at the start."""
    last_epsilon: Fraction = 0.05
    """Probability of a random action at the end of exploration, and from then on."""
    exploration: Fraction = 0.2
    """Share of the run over which that probability decreases linearly."""
    last_action: bool = False
    """Append the agent's last action to its observation."""


PRESETS = {
    # PQN-VDN on SMAX (Gallici et al., 2024); there with RAdam and batch normalization, also of the inputs.
    "paper": {
        "steps": 10_000_000,
        "rounds": 128,
        "lam": 0.85,
        "epochs": 4,
        "minibatches": 16,
        "hidden": (512, 512),
        "recurrent": True,
        "last_action": True,
        "agent_id": True,
        "chunk": 32,
        "exploration": 0.1,
        "last_epsilon": 0.01,
        "lr": 2.5e-4,
        "max_grad_norm": 0.5,  # there 1, of a loss that is twice this one
    },
    "quick": {"steps": 300_000, "eval_episodes": 200},
}


class Agent:
    """The values of all agents' actions, and their optimizer."""

    def __init__(self, vec, args: Args, device: torch.device):
        if not vec.discrete:
            raise ValueError("pqn needs discrete actions; use happo or ippo for this game")
        self.policy = Policy.of(
            vec, args.share, hidden=args.hidden, agent_id=args.agent_id, recurrent=args.recurrent,
            last_action=args.last_action, layer_norm="before", distribution="greedy",
        ).to(device)  # fmt: skip
        self.optimizer = Adam(self.policy, args.lr, args.max_grad_norm)

    def schedule(self, args: Args, done: float) -> None:
        """Set exploration and learning rate after the share `done` of the run."""
        explored = min(1.0, done / args.exploration) if args.exploration else 1.0
        self.policy.distribution.epsilon = args.epsilon + explored * (
            args.last_epsilon - args.epsilon
        )
        if args.anneal:
            self.optimizer.lr = args.lr * (1 - done)

    def state_dict(self) -> dict:
        return {"optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state: dict) -> None:
        self.optimizer.load_state_dict(state["optimizer"])


def team_values(values: Tensor, mask: Tensor | None, acts: Tensor, alive: Tensor) -> Tensor:
    """Value (*L) of the team's best actions: the sum over agents that act; over those alive where nobody acts.

    Args:
        values: of the actions, (*L, N, A).
        mask: allowed actions, (*L, N, A); None: all.
        acts: bool (*L, N).
        alive: bool (*L, N).
    """
    values = masked(values, mask)
    who = torch.where(acts.any(-1, keepdim=True), acts, alive)
    return values.amax(-1).masked_fill(~who, 0.0).sum(-1)


@torch.no_grad()
def targets_of(
    policy: Policy, rollout: Rollout, rewards: Tensor, gamma: float, lam: float
) -> Tensor:
    """Lambda-returns of the team, (T, E), with the current networks."""
    r = rollout
    actions = torch.cat([r.actions, r.actions[-1:]])  # the last row's actions change no output
    values, memories = policy.unroll(
        r.observations, r.memory[0], r.participation, episode_starts(r), actions
    )
    following = team_values(values, r.action_mask, r.participation & r.alive, r.alive)[1:]
    ended = r.terminated | r.truncated
    ends = ended.nonzero(as_tuple=True)
    if len(ends[0]):
        final, alive = r.final_observations[ends].unsqueeze(0), r.final_alive[ends].unsqueeze(0)
        acts, memory = r.final_participation[ends].unsqueeze(0), memories[:-1][ends]
        nothing = torch.zeros_like(r.actions[ends]).unsqueeze(0)
        values, _ = policy.unroll(final, memory, acts, None, nothing)
        allowed = None if r.final_action_mask is None else r.final_action_mask[ends].unsqueeze(0)
        following[ends] = team_values(values, allowed, acts & alive, alive)[0]
    decides = (r.participation & r.alive)[1:].any(-1)
    # Nothing is known of a lost round: the round before it looks no further than its value.
    last = ended | torch.cat([r.lost[1:], torch.ones_like(r.lost[:1])])
    goes_on = continues(r.vec, r.terminated, r.truncated)
    team = rewards[..., :1]
    return lambda_returns(
        team, following.unsqueeze(-1), decides.unsqueeze(-1), goes_on, last, gamma, lam
    ).squeeze(-1)


def training_data(rollout: Rollout, targets: Tensor, length: int) -> Batch:
    """All rounds as B sequences of `length` rounds, one per copy and chunk: (length, B, ...)."""
    r = rollout
    data = {
        "inputs": r.observations[:-1],
        "actions": r.actions,
        "participation": r.participation[:-1],
        "fresh": episode_starts(r)[:-1],
        "learned": r.learned_from(),
        "targets": targets,
        "memory": r.memory[:-1],
    }
    batch = {name: sequences(x, length) for name, x in data.items()}
    batch["memory"] = batch["memory"][:1]
    return batch


def loss_of(policy: Policy, batch: Batch) -> tuple[Tensor, dict[str, float]]:
    """Mean squared error of the team's values, over the rounds in which somebody acts."""
    values, _ = policy.unroll(
        batch["inputs"], batch["memory"][0], batch["participation"], batch["fresh"],
        batch["actions"],
    )  # fmt: skip
    chosen = values.gather(-1, batch["actions"].unsqueeze(-1)).squeeze(-1)
    learned = batch["learned"]
    team, counts = chosen.masked_fill(~learned, 0.0).sum(-1), learned.any(-1)
    errors = (team - batch["targets"])[counts]
    loss = 0.5 * errors.square().sum() / max(len(errors), 1)
    mean = team.detach()[counts].sum() / max(len(errors), 1)
    return loss, {"loss": float(loss.detach()), "value": float(mean)}


@fast_products()
def update(
    agent: Agent, rollout: Rollout, rewards: Tensor, args: Args, rng: torch.Generator
) -> dict[str, float]:
    """Train on a fragment; the metrics are those of the last step."""
    targets = targets_of(agent.policy, rollout, rewards, args.gamma, args.lam)
    batch = training_data(rollout, targets, args.chunk if args.recurrent else 1)
    metrics: dict[str, float] = {}
    for _ in range(args.epochs):
        for part in minibatches(batch, args.minibatches, rng):
            loss, metrics = loss_of(agent.policy, part)
            agent.optimizer.step(loss)
    return metrics | {"epsilon": agent.policy.distribution.epsilon}


def train(args: Args) -> dict:
    """Run PQN; returns the evaluation of the greedy policy."""
    check_chunks(args)
    with Run("pqn", args) as run:
        args, rng = run.args, run.rng
        vec = make_game(args, args.num_envs, run.device)
        agent = Agent(vec, args, run.device)
        rollout = Rollout(vec, args.rounds, run.device, agent.policy.memory_size)
        rollout.reset(stream_seed(args.seed, "games"))
        run.begin(agent.policy, describe(vec), {"agent": agent, "rollout": rollout})
        run.say(f"pqn on {args.env}: {args.steps:,} steps, {run.device}, {run.folder}")
        while not run.done:
            agent.schedule(args, run.progress)
            rollout.collect(agent.policy, rng)
            metrics = update(agent, rollout, rewards_of(rollout, "team"), args, rng)
            run.advance(rollout.steps, rollout.episodes() | metrics)
        agent.policy.distribution.epsilon = 0.0
        return run.finish()


if __name__ == "__main__":
    main(Args, PRESETS, train)
