"""MAFIS: multi-agent factorized inverse soft Q-learning, the successor of MIFQ.

The team's values are weighted sums, and the weights, between 0 and 1, stand inside the soft maximum: V is then exactly
the soft value of the policies pi_i(a | o_i) ~ exp(w_i(s) Q_i(o_i, a) / temperature), which are played in training.

    Q = sum_i w_i(s) Q_i(o_i, a_i),   V = sum_i temperature log sum_a exp(w_i(s) Q_i(o_i, a) / temperature)

The reward r_t = Q_t - gamma V_{t+1} is made large on the demonstrations, V_t - gamma V_{t+1} small on demonstrations and
own rounds. `--divergence` says how much a demonstrated round counts: total_variation, the paper's choice, all alike; the
others, less the higher its reward already is. With total_variation nothing keeps values from growing without end where
own rounds are replayed for long. After training, every agent takes its best action, which needs no state and no weights.

With continuous actions the sum in V is an integral, over actions in units of half their range, and the policies are
sampled by Langevin dynamics: chains that go up the gradient of w_i(s) Q_i, with noise. Chains also carry weights, whose
mean estimates the integral (annealed importance sampling), so that V and its gradient, the mean of Q's over the policy,
come from the same samples. Nothing in the objective keeps a density from growing without end on the demonstrated
actions; two penalties do, as in the paper's code: on slopes of Q_i(o_i, .) above 1, and on the squares of Q and V.

Agents that do not act have no term; their value carries over to the round in which they act next, as in `mifq`.

    python -m learners.mafis --env smac_3m --demos runs/ippo_smac_3m_0
    python -m learners.mafis --env smac_3m --demos my_demos --offline --steps 20000
    python -m learners.mafis --env mamujoco_halfcheetah_2x3 --demos my_demos --preset mamujoco
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Literal

import torch
from torch import Tensor, nn

from learners.lib.batch import Batch, mean
from learners.lib.distributions import masked
from learners.lib.energy import EnergyPolicy
from learners.lib.fields import Count, Positive
from learners.lib.game import make_game, unplayed_game
from learners.lib.imitation import (
    EXPERT,
    OWN,
    Imitation,
    Terms,
    following,
    imitate,
    sample,
    team_terms,
)
from learners.lib.mixers import SigmoidWeights
from learners.lib.networks import Policy
from learners.lib.optimizers import Adam
from learners.lib.replay import Source, rounds_needed
from learners.lib.run import Run, main
from learners.lib.soft_values import SoftEnergy, SoftQ

Divergence = Literal["chi_square", "total_variation", "hellinger", "kl", "js"]


@dataclasses.dataclass(frozen=True)
class Args(Imitation):
    """Imitate by factorized inverse soft Q-learning (MAFIS)."""

    divergence: Divergence = "chi_square"
    """Weight of a demonstrated round with reward r. chi_square: 1 - r, as in `mifq`; total_variation, the paper's: 1;
    hellinger: 1 / (1 + r)^2; kl: exp(-r); js: exp(-r) / (2 - exp(-r))."""
    temperature: Positive = 0.1
    """Temperature of the soft values and of the policies in training."""
    offline: bool = False
    """Learn from the demonstrations alone; --steps then counts gradient steps."""
    preset: Literal["default", "mamujoco", "paper", "quick"] = "default"  # pyright: ignore
    samples: Count = 8
    """With continuous actions, number of Langevin chains for the value of an observation."""
    langevin_steps: Count = 10
    """Steps of each chain."""

    @property
    def mixer(self) -> str:
        return "sigmoid weights"


PRESETS = {
    # With continuous actions; for a GPU. There are no rounds of random play before training, and no target network.
    "mamujoco": {
        "divergence": "total_variation", "hidden": (256, 256), "agent_id": False, "temperature": 0.5, "samples": 20,
        "langevin_steps": 25, "batch": 1000, "num_envs": 20, "num_demos": 100, "steps": 5_000_000,
    },
    # 32 episodes a step; the weights' networks have no dropout here.
    "paper": {
        "divergence": "total_variation", "hidden": (64,), "agent_id": False, "recurrent": True, "temperature": 0.2,
        "num_demos": 100,
    },
    "quick": {"steps": 200_000, "eval_episodes": 200},
}  # fmt: skip
ADVICE = (
    "try --divergence chi_square, fewer --updates or a smaller --lr",
    "try a larger --temperature, or another --seed",
)
STEEP, LARGE = 0.25, 0.01  # weights of the penalties of continuous actions
LOWEST = -0.5  # rewards below count like this one: 1 / (1 + r)^2 and the weight of js have poles


def emphasis(rewards: Tensor, divergence: Divergence) -> Tensor:
    """Weights of demonstrated rounds, shaped like their rewards."""
    r = rewards.detach()
    if divergence == "chi_square":
        return 1 - r
    r = r.clamp(min=LOWEST)
    if divergence == "hellinger":
        return (1 + r) ** -2
    if divergence == "kl":
        return torch.exp(-r)
    if divergence == "js":
        return torch.exp(-r) / (2 - torch.exp(-r))
    return torch.ones_like(r)


class Values(nn.Module):
    """The agents' networks and their weights."""

    def __init__(self, vec: Any, args: Args):
        super().__init__()
        self.vec, self.gamma = vec, args.gamma
        form: dict[str, Any] = {"hidden": args.hidden, "agent_id": args.agent_id}
        if vec.discrete:
            form |= {"recurrent": args.recurrent, "distribution": "greedy"}
            self.agents: Any = SoftQ(Policy.of(vec, args.share, **form), args.temperature)
        else:
            policy = EnergyPolicy.of(vec, args.share, **form)
            self.agents = SoftEnergy(policy, args.temperature, args.samples, args.langevin_steps)
        size = math.prod(vec.state_space.shape)
        self.weights = SigmoidWeights(vec.num_agents, size, args.hyper_hidden)

    @property
    def policy(self) -> Any:
        return self.agents.policy

    def act(
        self,
        observations: Tensor,
        mask: Tensor | None,
        rng: torch.Generator,
        memory: Tensor,
        acts: Tensor,
    ) -> Tensor:
        """Actions (E, N[, A]) sampled from the weighted values in the game's current state; updates the memory."""
        states = torch.as_tensor(self.vec.buffers.state, device=observations.device)
        weights = self.weights(states)
        if not self.vec.discrete:
            return self.agents.draw(observations, weights, rng)
        out, memories = self.policy.unroll(observations.unsqueeze(0), memory, acts.unsqueeze(0))
        memory.copy_(memories[0])
        logits = masked(out[0] * weights.unsqueeze(-1), mask)
        return (logits - torch.empty_like(logits).exponential_(generator=rng).log_()).argmax(-1)

    def terms(self, batch: Batch, rng: torch.Generator) -> Terms:
        """Rewards and values of the team."""
        acts, weights = batch.learned_from(), self.weights(batch.rows.states).unsqueeze(-1)
        ((chosen, values),) = self.agents.values(batch, rng, weights)
        values = torch.where(batch.rows.acts, values, 0.0)
        ahead = self.gamma * following(self.vec, batch, values, self.gamma)
        parts = (chosen - ahead, values[:-1] - ahead, values[:-1])
        rewards, gaps, now = (torch.where(acts, x, 0.0).sum(-1, keepdim=True) for x in parts)
        return Terms(rewards, -rewards, now, gaps, team_terms(self.vec, batch))

    def penalty(self, terms: Terms, batch: Batch, rng: torch.Generator) -> Tensor:
        """Of continuous actions: what keeps Q and V from growing without end."""
        q = terms.rewards + terms.values - terms.gaps
        large = mean(q.square() + terms.values.square(), terms.counts)
        steep = (self.agents.slopes(batch, rng) - 1).clamp(min=0).square().mean(0)
        return STEEP * mean(steep, batch.learned_from()) + LARGE * large


def loss_of(terms: Terms, origin: Tensor, divergence: Divergence) -> Tensor:
    """The objective, to be minimized; `origin` (B,) says where each sequence is from."""
    expert, own = (terms.counts & (origin == k).view(1, -1, 1) for k in (EXPERT, OWN))
    gaps = mean(terms.gaps, expert)
    if bool(own.any()):
        gaps = 0.5 * (gaps + mean(terms.gaps, own))
    return gaps - mean(emphasis(terms.rewards, divergence) * terms.rewards, expert)


class Learner:
    """The networks and their optimizer."""

    def __init__(self, vec: Any, args: Args, device: torch.device):
        self.args, self.length = args, rounds_needed(vec, args)
        self.values = Values(vec, args).to(device)
        self.optimizers = [Adam(self.values, args.lr, args.max_grad_norm)]

    def rewards(self, batch: Batch, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """The learned reward (L, B, 1), and where it counts."""
        terms = self.values.terms(batch, rng)
        return terms.rewards, terms.counts

    def explore(self, steps: int | None) -> None:
        """Policies that are sampled explore by themselves."""

    def update(
        self, experts: Source, replay: Source | None, rng: torch.Generator, show: bool
    ) -> dict[str, float]:
        """One gradient step; figures if `show`."""
        batch, origin = sample(experts, replay, self.args, self.length, rng)
        terms = self.values.terms(batch, rng)
        loss = loss_of(terms, origin, self.args.divergence)
        if not self.values.vec.discrete:
            loss = loss + self.values.penalty(terms, batch, rng)
        self.optimizers[0].step(loss)
        return self.figures(terms, batch, origin, loss) if show else {}

    @torch.no_grad()
    def figures(self, terms: Terms, batch: Batch, origin: Tensor, loss: Tensor) -> dict[str, float]:
        """Values, rewards and weights on demonstrations and own rounds."""
        weight = mean(self.values.weights(batch.seen.states), batch.learned_from())
        return {"loss": float(loss), "weight": float(weight)} | terms.figures(origin)

    def state_dict(self) -> dict:
        return {
            "values": dict(self.values.state_dict()),
            "optimizers": [o.state_dict() for o in self.optimizers],
        }

    def load_state_dict(self, state: dict) -> None:
        self.values.load_state_dict(state["values"])
        self.optimizers[0].load_state_dict(state["optimizers"][0])


def train(args: Args) -> dict:
    """Run MAFIS; returns the evaluation of the trained policy, with the best actions."""
    with Run("mafis", args) as run:
        if args.offline:
            vec = unplayed_game(run.args)
        else:
            vec = make_game(run.args, args.num_envs, run.device)
        if args.recurrent and not vec.discrete:
            raise ValueError(
                f"--recurrent needs discrete actions; those of {args.env} are continuous"
            )
        learner = Learner(vec, run.args, run.device)
        values = learner.values
        return imitate(run, vec, learner, values.policy, advice=ADVICE, actor=values)


if __name__ == "__main__":
    main(Args, PRESETS, train)
