"""MASQIL: soft Q imitation learning for a team. Q-learning with a reward of 1 on demonstrations and 0 on own rounds.

The values of the agents' own actions are mixed as in QMIX (`--mixer`), and every gradient step sees as many demonstrated
rounds as own ones. The next round is worth the best allowed actions (`--no-soft`, as in QMIX, with double Q-learning
and random actions while exploring), or the soft value, temperature * log sum exp(Q / temperature), whose policy is
sampled (`--soft`).

The reward is never negative, so longer episodes are worth more. Where episodes can end early, the rounds from there
to the time limit therefore count as an absorbing state of whoever reached it, with the same reward
(`--no-absorbing`: they are worth nothing). With `--mixer none`, an agent's return ends with its death.

    python -m learners.masqil --env smac_3m --demos runs/ippo_smac_3m_0
"""

from __future__ import annotations

import copy
import dataclasses
import math
from typing import Any

import torch
from torch import Tensor, nn

from learners.lib.batch import Batch, mean
from learners.lib.distributions import masked
from learners.lib.fields import Count, Fraction, Positive
from learners.lib.game import make_game
from learners.lib.imitation import EXPERT, Imitation, imitate, sample
from learners.lib.mixers import Kind, make_mixer
from learners.lib.networks import Policy
from learners.lib.optimizers import Adam
from learners.lib.replay import Source, rounds_needed
from learners.lib.returns import lambda_returns
from learners.lib.run import Run, main
from learners.lib.soft_values import SoftQ, soft_maximum
from learners.lib.time_limit import continues, fraction_left, time_inputs


@dataclasses.dataclass(frozen=True)
class Args(Imitation):
    """Imitate by Q-learning with a reward of 1 on demonstrations and 0 on own rounds (MASQIL)."""

    mixer: Kind = "qmix"
    """How the agents' values make up the team's: qmix, vdn (their sum), or none (every agent alone)."""
    soft: bool = False
    """Soft values and sampled policies instead of the best actions."""
    temperature: Positive = 0.1
    """With --soft, temperature of the values: policies are softmax(Q / temperature)."""
    absorbing: bool = True
    """Count the rounds from an early end to the time limit as if they were played."""
    target_every: Count = 200
    """Gradient steps between copies of the networks into the target networks."""
    epsilon: Fraction = 0.05
    """Without --soft, probability of a random action at the end of exploration; it begins at 1."""
    explore: Count = 50_000
    """Environment steps until the probability of random actions has fallen to --epsilon."""
    embed: Count = 32
    """Width of the mixer's hidden layer."""

    @property
    def offline(self) -> bool:
        """There is no reward of 0 without own rounds."""
        return False


PRESETS = {
    "paper": {"absorbing": False},
    "quick": {"steps": 200_000, "eval_episodes": 200},
}
# What to change when values diverge; there is no learned reward that could collapse.
ADVICE = ("try a smaller --lr or a larger --target-every", "")


class Values(nn.Module):
    """The agents' networks and the mixer."""

    def __init__(self, vec: Any, args: Args):
        super().__init__()
        self.vec, self.soft, self.gamma = vec, args.soft, args.gamma
        policy = Policy.of(
            vec, args.share, hidden=args.hidden, agent_id=args.agent_id, recurrent=args.recurrent,
            distribution="categorical" if args.soft else "greedy",
        )  # fmt: skip
        self.agents = SoftQ(policy, args.temperature if args.soft else 1.0)
        size = math.prod(vec.state_space.shape) + vec.num_agents + time_inputs(vec)
        self.mixer: Any = make_mixer(
            args.mixer, vec.num_agents, size, args.embed, args.hyper_hidden
        )

    def mixed(self, q: Tensor, counts: Tensor, rows: Any) -> Tensor:
        """Values (*L, M) of joint actions whose agents' values are q (*L, N)."""
        left = fraction_left(self.vec, rows.round)
        return self.mixer(q, counts, torch.cat([rows.states, counts.to(q.dtype), left], -1))


def rewards_of(vec: Any, batch: Batch, origin: Tensor, gamma: float, absorbing: bool) -> Tensor:
    """1 on demonstrations and 0 on own rounds, (L, B, 1); with `absorbing`, an early end counts all rounds to the limit."""
    rewards = (origin == EXPERT).float().expand(batch.filled.shape)
    if absorbing:
        left = (vec.max_rounds - 1 - batch.seen.round).clamp(min=0)  # demonstrations may be longer
        left = left * (batch.terminated & ~batch.truncated)
        more = left if gamma == 1 else gamma * (1 - gamma**left) / (1 - gamma)
        rewards = rewards * (1 + more)
    return rewards.unsqueeze(-1)


def targets_of(
    online: Tensor, values: Values, target: Values, batch: Batch, rewards: Tensor
) -> Tensor:
    """One-step targets (L, B, M), carried over rounds in which nobody acts whose value it is. The dead are worth 0.

    `online`: values of all own actions, (L + 1, B, N, A), of the networks that are trained.
    """
    after, later = batch.next, target.agents.of_actions(batch)[1:]
    if values.soft:
        q = soft_maximum(later, target.agents.temperature)
    else:  # double Q-learning, with the actions that are allowed next
        best = masked(online[1:], after.action_mask).argmax(-1, keepdim=True)
        q = later.gather(-1, best).squeeze(-1)
    acts = after.acts
    decides = acts.any(-1, keepdim=True) if values.mixer.team else acts | ~after.alive
    counts = (after.participation | ~decides) & after.alive
    last = batch.filled & ~torch.cat([batch.filled[1:], torch.zeros_like(batch.filled[:1])])
    ends = continues(values.vec, batch.terminated, batch.truncated)
    rewards = rewards.expand(-1, -1, decides.shape[-1])
    next_values = target.mixed(q, counts, after)
    return lambda_returns(rewards, next_values, decides, ends, last, values.gamma, 0.0)


class Learner:
    """The networks, their targets and their optimizer."""

    def __init__(self, vec: Any, args: Args, device: torch.device):
        self.args, self.length = args, rounds_needed(vec, args)
        self.values = Values(vec, args).to(device)
        self.target = copy.deepcopy(self.values, {id(vec): vec}).requires_grad_(
            False
        )  # not the game
        self.optimizers = [Adam(self.values, args.lr, args.max_grad_norm)]
        self.taken = 0  # gradient steps

    def explore(self, steps: int | None) -> None:
        """Set the probability of random actions after this many environment steps; None: training is over."""
        if not self.args.soft:
            done = 1.0 if steps is None else min(1.0, steps / self.args.explore)
            epsilon = 1 - (1 - self.args.epsilon) * done
            self.values.agents.policy.distribution.epsilon = 0.0 if steps is None else epsilon

    def update(
        self, experts: Source, replay: Source | None, rng: torch.Generator, show: bool
    ) -> dict[str, float]:
        """One gradient step on demonstrated and own rounds; figures if `show`."""
        batch, origin = sample(experts, replay, self.args, self.length, rng)
        loss, q, learned = self.loss_of(batch, origin)
        self.optimizers[0].step(loss)
        self.taken += 1
        if self.taken % self.args.target_every == 0:
            self.target.load_state_dict(self.values.state_dict())
        if not show:
            return {}
        q = torch.where(learned, q.detach(), 0.0)
        found = {"loss": float(loss.detach()), "largest_value": float(q.abs().max())}
        for name, expert in (("expert", True), ("own", False)):
            where = learned & ((origin == EXPERT) == expert).view(1, -1, 1)
            found[f"value_{name}"] = float(mean(q, where))
        return found

    def loss_of(self, batch: Batch, origin: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Mean squared TD error, the values (L, B, M) and which of them count."""
        args, values = self.args, self.values
        rewards = rewards_of(values.vec, batch, origin, args.gamma, args.absorbing)
        online = values.agents.of_actions(batch)
        with torch.no_grad():
            targets = targets_of(online, values, self.target, batch, rewards)
        learned = batch.learned_from()
        q = online[:-1].gather(-1, batch.actions.unsqueeze(-1)).squeeze(-1)
        found = values.mixed(q, learned, batch.seen)
        counts = learned.any(-1, keepdim=True) if values.mixer.team else learned
        return mean((found - targets).square(), counts), found, counts

    def state_dict(self) -> dict:
        return {
            "values": dict(self.values.state_dict()),
            "target": dict(self.target.state_dict()),
            "optimizers": [o.state_dict() for o in self.optimizers],
            "taken": self.taken,
        }

    def load_state_dict(self, state: dict) -> None:
        self.values.load_state_dict(state["values"])
        self.target.load_state_dict(state["target"])
        self.optimizers[0].load_state_dict(state["optimizers"][0])
        self.taken = state["taken"]


def train(args: Args) -> dict:
    """Run MASQIL; returns the evaluation of the trained policy."""
    with Run("masqil", args) as run:
        vec = make_game(run.args, args.num_envs, run.device)
        if not vec.discrete:
            raise ValueError(f"masqil needs discrete actions; those of {args.env} are continuous")
        learner = Learner(vec, run.args, run.device)
        return imitate(run, vec, learner, learner.values.agents.policy, advice=ADVICE)


if __name__ == "__main__":
    main(Args, PRESETS, train)
