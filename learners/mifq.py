"""MIFQ: multi-agent inverse factorized soft Q-learning (Bui et al., 2024), and its baselines IQVDN and IIQ.

Soft values of the agents' own actions define their policies, softmax(Q_i), and with them a reward:

    Q = M(Q_1(o_1, a_1), ...; s),   V = M(V_1(o_1), ...; s),   r_t = Q_t - gamma V_{t+1}

They are trained so that this reward, r - r^2 / 2, is large on the demonstrations, while the value of what is left,
V_t - gamma V_{t+1}, is small (`--vterm`). `--mixer` is M:

    linear_norm   weighted sum; weights, functions of the state, add up to the number of agents that act (default)
    sum           IQVDN
    none          IIQ: every agent learns alone, from its own r
    elu_total     QMIX's monotonic mixer. Its optimum r = 0 carries no information; it depends on the start how long
                  training stays away from it
    paper         equation 9 of the paper to the letter: one mixer for the agents' costs -r_i, one for their values.
                  It diverges: nothing bounds the second one's values from below, so V falls without end, and the alarm
                  says so
    frozen        the same with mixers that stay as they are at the start

An agent that does not act has no term in r and V of that round; its value carries over, discounted, to the round in
which it acts next. Chunks of several rounds are sampled where agents can be absent. The dead have no terms.

With continuous actions, policies are trained beside critics (soft actor-critic).

    python -m learners.mifq --env smac_3m --demos runs/ippo_smac_3m_0
    python -m learners.mifq --env gold_miner_easy_2_vs_2 --demos scripted --preset iqvdn
    python -m learners.mifq --env smac_3m --demos my_demos --offline --steps 20000
"""

from __future__ import annotations

import copy
import dataclasses
import math
from typing import Any, Literal

import torch
from torch import Tensor, nn

from learners.lib.batch import Batch, Seen, mean
from learners.lib.fields import Count, Positive
from learners.lib.game import make_game, unplayed_game
from learners.lib.imitation import (
    EXPERT,
    FIRST,
    OWN,
    Imitation,
    Terms,
    following,
    imitate,
    sample,
    team_terms,
)
from learners.lib.mixers import NormalizedWeights, QMixer
from learners.lib.networks import Policy
from learners.lib.optimizers import Adam
from learners.lib.replay import Source, rounds_needed
from learners.lib.returns import aimed, anchored
from learners.lib.run import Run, main
from learners.lib.soft_values import SoftActorCritic, SoftQ
from learners.lib.time_limit import fraction_left, time_inputs

Mixer = Literal["linear_norm", "sum", "none", "elu_total", "frozen", "paper"]


@dataclasses.dataclass(frozen=True)
class Args(Imitation):
    """Imitate by inverse soft Q-learning, with or without value decomposition (MIFQ, IQVDN, IIQ)."""

    mixer: Mixer = "linear_norm"
    """How the agents' values make up the team's: linear_norm, sum (IQVDN), none (IIQ), elu_total, frozen, or paper,
    which diverges."""
    chi: Literal["auto", "expert", "both"] = "auto"
    """Where rewards are kept small (r^2 / 2): on the demonstrations, or also on own rounds. auto: both with continuous
    actions, where values diverge otherwise, and expert with discrete ones."""
    vterm: Literal["both", "replay", "expert", "first"] = "both"
    """Rounds whose values are kept small: demonstrations and own ones, own, demonstrated, or the first ones of
    demonstrated episodes."""
    temperature: Positive = 0.1
    """Temperature of the soft values: policies are softmax(Q / temperature). Rewards are at most about 1, so a
    larger one cannot imitate experts that choose clearly."""
    target: Literal["auto", "none", "hard", "soft"] = "auto"
    """Networks that the value of the next round is from. none: those that are trained; hard: a copy, made anew every
    4 gradient steps; soft: a moving average; auto: soft with continuous actions, otherwise none."""
    offline: bool = False
    """Learn from the demonstrations alone; --steps then counts gradient steps."""
    preset: Literal["default", "iiq", "iqvdn", "mpe", "paper", "quick"] = "default"  # pyright: ignore
    last_action: bool = False
    """With --recurrent, append the agent's last action to its observation."""
    critics: Literal[1, 2] = 2
    """With continuous actions, number of critics; policies are trained with the smaller of two values."""
    lr: Positive = 1e-3
    anneal: bool = True
    batch: Count = 256
    embed: Count = 32
    """Width of the hidden layer of elu_total, frozen and paper."""


PRESETS = {
    "iiq": {"mixer": "none"},
    "iqvdn": {"mixer": "sum"},
    "mpe": {"steps": 100_000, "lr": 2e-5, "anneal": False, "batch": 128, "num_envs": 4},
    # Equation 9; what the paper does not print is chosen.
    "paper": {
        "mixer": "paper",
        "vterm": "replay",
        "target": "hard",
        "temperature": 1.0,
        "lr": 5e-4,
        "anneal": False,
        "batch": 128,
    },
    "quick": {"steps": 200_000, "eval_episodes": 200},
}
HARD_EVERY, SOFT_RATE = 4, 0.005
ADVICE = (
    "try --mixer linear_norm or sum, --chi both, --target soft or a smaller --lr",
    "try --mixer linear_norm or sum, or another --seed",
)


class Values(nn.Module):
    """The agents' networks and the mixer."""

    def __init__(self, vec: Any, args: Args):
        super().__init__()
        self.vec, self.kind, self.gamma = vec, args.mixer, args.gamma
        form: dict[str, Any] = {"hidden": args.hidden, "agent_id": args.agent_id}
        if vec.discrete:
            memory = {"recurrent": args.recurrent, "last_action": args.last_action}
            policy = Policy.of(vec, args.share, **form, **memory)
            self.agents: Any = SoftQ(policy, args.temperature)
        else:
            policy = Policy.of(vec, args.share, **form, distribution="tanh_gaussian")
            self.agents = SoftActorCritic(policy, args.critics, args.hidden, args.temperature)
        N, size = vec.num_agents, math.prod(vec.state_space.shape) + time_inputs(vec)
        self.weights = self.mixer = self.cost_mixer = None
        if args.mixer == "linear_norm":
            self.weights = NormalizedWeights(N, size, args.hyper_hidden)
        elif args.mixer not in ("sum", "none"):
            self.mixer = QMixer(N, size + N, args.embed, args.hyper_hidden)
        if args.mixer in ("frozen", "paper"):
            self.cost_mixer = QMixer(N, size + N, args.embed, args.hyper_hidden)

    @property
    def policy(self) -> Policy:
        return self.agents.policy

    def inputs(self, rows: Seen, counts: Tensor | None = None) -> Tensor:
        """What mixers see, (*L, size): state, remaining time, and who counts."""
        parts = [rows.states, fraction_left(self.vec, rows.round)]
        return torch.cat(parts if counts is None else [*parts, counts.float()], -1)

    def mixed(self, batch: Batch, v: Tensor, q: Tensor) -> tuple[Tensor, Tensor]:
        """V (L + 1, B, N) and Q (L, B, N) with their weights, or the team's (..., 1); 0 where they do not count."""
        rows, acts, counts = batch.rows, batch.learned_from(), batch.rows.acts
        if self.mixer is not None:
            values = self.mixer(v, counts, self.inputs(rows, counts))
            return values, self.mixer(q, acts, self.inputs(batch.seen, acts))
        shares = counts if self.weights is None else self.weights(counts, self.inputs(rows))
        values = torch.where(counts, shares * v, 0.0)
        return values, torch.where(acts, shares[:-1] * q, 0.0)

    def terms(self, batch: Batch, target: Values | None, rng: torch.Generator) -> list[Terms]:
        """The terms of each critic (of the only network with discrete actions)."""
        found = self.agents.values(batch, rng)
        if target is None:
            return [self._terms(batch, q, v, self, v) for q, v in found]
        with torch.no_grad():
            later = target.agents.values(batch, rng)
        return [
            self._terms(batch, q, v, target, after)
            for (q, v), (_, after) in zip(found, later, strict=True)
        ]

    def _terms(self, batch: Batch, q: Tensor, v: Tensor, other: Values, after: Tensor) -> Terms:
        """The terms of Q (L, B, N) and V (L + 1, B, N); `other` and `after`: the mixer and V of the next rounds."""
        acts, counts = batch.learned_from(), batch.rows.acts
        values, chosen = self.mixed(batch, v, q)
        later = values if after is v else other.mixed(batch, after, q)[0].detach()
        ahead = self.gamma * self.following(batch, later)
        gaps = values[:-1] - ahead
        if self.cost_mixer is not None:  # the agents' own rewards are mixed
            own = torch.where(counts, after, 0.0)
            rewards = q - self.gamma * self.following(batch, own if after is v else own.detach())
            costs = self.cost_mixer(-rewards, acts, self.inputs(batch.seen, acts))
            rewards = torch.where(acts, rewards, 0.0).sum(-1, keepdim=True)
        else:
            rewards = chosen - ahead
            if self.mixer is None:
                rewards, gaps = (torch.where(acts, x, 0.0) for x in (rewards, gaps))
            if self.mixer is None and self.kind != "none":
                rewards, gaps, values = (x.sum(-1, keepdim=True) for x in (rewards, gaps, values))
            costs = -rewards
        return Terms(rewards, costs, values[:-1], gaps, self._counted(batch, acts, counts))

    def _counted(self, batch: Batch, acts: Tensor, counts: Tensor) -> Tensor:
        """Rounds of the objective, bool (L, B, M): somebody acts, and what follows is a value that a reward holds down."""
        if self.kind == "none":
            return aimed(self.vec, batch, team=False)
        if self.mixer is None:  # every agent's value is carried
            return team_terms(self.vec, batch)
        decides = counts.any(-1, keepdim=True) | ~batch.rows.alive.any(-1, keepdim=True)
        where = anchored(self.vec, batch, decides)  # the team's is
        if self.cost_mixer is not None:  # and the agents', too
            return where & team_terms(self.vec, batch)
        return where & acts.any(-1, keepdim=True)

    def following(self, batch: Batch, values: Tensor) -> Tensor:
        return following(self.vec, batch, values, self.gamma)


def loss_of(terms: Terms, origin: Tensor, args: Args) -> Tensor:
    """The objective, to be minimized; `origin` (B,) says where each sequence is from."""
    expert, own, first = (terms.counts & (origin == k).view(1, -1, 1) for k in (EXPERT, OWN, FIRST))

    def over(x: Tensor, where: str) -> Tensor:
        if where == "both" and not args.offline:
            return 0.5 * (mean(x, expert) + mean(x, own))
        return mean(x, own if where == "replay" else expert)

    loss = mean(terms.costs, expert) + 0.5 * over(terms.costs.square(), args.chi)
    if args.vterm == "first":
        return loss + (1 - args.gamma) * mean(terms.values, first)
    return loss + over(terms.gaps, args.vterm)


class Learner:
    """The networks, their targets and their optimizers."""

    def __init__(self, vec: Any, args: Args, device: torch.device):
        if args.chi == "auto":
            args = dataclasses.replace(args, chi="expert" if vec.discrete else "both")
        self.args = args
        self.values = Values(vec, args).to(device)
        kind = args.target
        if kind == "auto":
            kind = "none" if vec.discrete else "soft"
        self.every, self.rate = (1, SOFT_RATE) if kind == "soft" else (HARD_EVERY, 1.0)
        self.target: Values | None = None
        if kind != "none":
            self.target = copy.deepcopy(
                self.values, {id(vec): vec}
            )  # which plays no game of its own
            self.target.requires_grad_(False)
        actor = [] if vec.discrete else [self.values.policy]
        self.optimizers = [
            Adam(part, args.lr, args.max_grad_norm) for part in (self.trained, *actor)
        ]
        self.length = rounds_needed(vec, args)
        self.taken = 0  # gradient steps

    @property
    def trained(self) -> nn.Module:
        """What the objective trains: everything but frozen mixers and the policy of continuous actions."""
        values = self.values
        agents = values.agents if values.vec.discrete else values.agents.critics
        mixers = (values.weights, values.mixer, values.cost_mixer)
        kept = [m for m in mixers if m is not None and self.args.mixer != "frozen"]
        return nn.ModuleList([agents, *kept])

    def update(
        self, experts: Source, replay: Source | None, rng: torch.Generator, show: bool
    ) -> dict:
        """One gradient step of the values, and one of the policy of continuous actions; figures if `show`."""
        first = self.args.vterm == "first"
        batch, origin = sample(experts, replay, self.args, self.length, rng, first)
        found = self.values.terms(batch, self.target, rng)
        loss = torch.stack([loss_of(terms, origin, self.args) for terms in found]).mean()
        self.optimizers[0].step(loss)
        entropy = self.improve(batch, rng)
        self.taken += 1
        if self.target is not None and self.taken % self.every == 0:
            with torch.no_grad():
                for old, new in zip(
                    self.target.parameters(), self.values.parameters(), strict=True
                ):
                    old.lerp_(new, self.rate)
        return self.figures(found[0], batch, origin, loss, entropy) if show else {}

    def improve(self, batch: Batch, rng: torch.Generator) -> float | None:
        """Train the policy of continuous actions; returns its mean entropy."""
        if self.values.vec.discrete:
            return None
        loss, entropy = self.values.agents.policy_loss(batch.seen, batch.learned_from(), rng)
        self.optimizers[1].step(loss)
        return entropy

    @torch.no_grad()
    def figures(
        self, terms: Terms, batch: Batch, origin: Tensor, loss: Tensor, entropy
    ) -> dict[str, float]:
        """Values, rewards and entropy on demonstrations and own rounds."""
        if entropy is None:
            entropy = self.values.agents.entropy(batch, batch.learned_from())
        found = {"loss": float(loss), "entropy": entropy} | terms.figures(origin)
        if self.values.weights is not None:
            acts = batch.learned_from()
            weights = self.values.weights(acts, self.values.inputs(batch.seen))[acts]
            if len(weights):
                found["weight_sd"] = float(weights.std(correction=0))
                found["largest_weight"] = float(weights.max())
        return found

    def rewards(self, batch: Batch, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """The learned reward (L, B, M), and where it counts."""
        terms = self.values.terms(batch, None, rng)[0]
        return terms.rewards, terms.counts

    def explore(self, steps: int | None) -> None:
        """Soft policies explore by themselves: they sample softmax(Q)."""

    def state_dict(self) -> dict:
        return {
            "values": dict(self.values.state_dict()),
            "target": {} if self.target is None else dict(self.target.state_dict()),
            "optimizers": [o.state_dict() for o in self.optimizers],
            "taken": self.taken,
        }

    def load_state_dict(self, state: dict) -> None:
        self.values.load_state_dict(state["values"])
        if self.target is not None:
            self.target.load_state_dict(state["target"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.taken = state["taken"]


def check(args: Args, vec: Any) -> None:
    """ValueError: settings that exclude each other, or do not fit the game."""
    if args.offline and args.vterm == "replay":
        raise ValueError(
            "--vterm replay needs own rounds; with --offline choose both, expert or first"
        )
    if args.vterm == "first":
        if rounds_needed(vec, args) > 1:
            raise ValueError(
                "--vterm first needs a game where everybody acts in the first round, and so in all of them: what agents "
                "are worth that act later is unknown then; choose both, replay or expert"
            )
        if args.demo_share < 1:
            raise ValueError("--vterm first needs whole episodes: leave out --demo-share")
        if args.gamma == 1:
            raise ValueError("--vterm first weighs values with 1 - gamma: --gamma must be below 1")
    if args.recurrent and not vec.discrete:
        raise ValueError(f"--recurrent needs discrete actions; those of {args.env} are continuous")
    if args.last_action and not args.recurrent:
        raise ValueError(
            "--last-action needs --recurrent: single rounds do not show the action before"
        )


def train(args: Args) -> dict:
    """Run MIFQ; returns the evaluation of the trained policy, with sampled actions."""
    with Run("mifq", args) as run:
        if args.offline:
            vec = unplayed_game(run.args)
        else:
            vec = make_game(run.args, args.num_envs, run.device)
        check(run.args, vec)
        learner = Learner(vec, run.args, run.device)
        return imitate(run, vec, learner, learner.values.policy, advice=ADVICE)


if __name__ == "__main__":
    main(Args, PRESETS, train)
