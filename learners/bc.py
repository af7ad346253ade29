"""Behavioral cloning: maximize the likelihood of the demonstrated actions given each agent's observation.

Entries in which an agent does not participate are dropped (`--phi filter`), or φ is one more action that
the policy learns to choose, as in the AMAGAIL paper's baseline (`--phi as_action`). A tenth of the
episodes is held out; training stops when their likelihood no longer improves, and the best policy is kept.

    python -m learners.bc --env stochastic_coop_nav --demos expert --num-demos 200
"""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from learners.lib.expert_data import (
    DemoSettings,
    ExpertData,
    Rows,
    demonstrations_of,
    group_rows,
    load,
)
from learners.lib.fields import Count, Steps
from learners.lib.game import describe, make_game
from learners.lib.networks import Policy, Share, group_agents
from learners.lib.optimizers import Kind, make_optimizer
from learners.lib.run import Run, main


@dataclasses.dataclass(frozen=True)
class Args(DemoSettings):
    """Imitate by behavioral cloning."""

    steps: Steps = 10_000
    """Largest number of gradient steps."""
    optimizer: Kind = "kfac"
    """Optimizer of the policies."""
    lr: float = 0.05
    """Learning rate; use about 3e-4 with adam."""
    kl_clip: float = 1e-3
    """KL clip, with kfac."""
    batch: Count = 1000
    """Entries per gradient step."""
    validation: float = 0.1
    """Share of the episodes that is held out."""
    validate_every: Count = 50
    """Gradient steps between two validation passes."""
    patience: Count = 20
    """Validation passes without improvement before training stops."""
    phi: Literal["filter", "as_action"] = "filter"
    """filter drops entries without participation; as_action learns φ as one more action."""
    share: Share = "role"
    """Which agents share a network: those of the same role, none, or all."""
    agent_id: bool = False
    """Append the agent's one-hot index to its observation."""
    hidden: tuple[Count, ...] = (128, 128)
    """Widths of the hidden layers."""
    checkpoint_every: Count = 2000
    """Gradient steps between two checkpoints."""
    log_every: Count = 50
    """Gradient steps between two lines of metrics."""


PRESETS = {
    "paper": {"batch": 1024, "patience": 10_000, "phi": "as_action"},
    "quick": {"steps": 500, "eval_episodes": 200},
}


def nll(policy: Policy, g: int, rows: Rows) -> Tensor:
    """Mean negative log-likelihood of the demonstrated actions under group g's network."""
    return -policy.log_prob(g, rows.inputs, rows.actions, rows.mask)[0].mean()


def update(
    policy: Policy, optimizers: list, data: list[Rows], batch: int, rng: torch.Generator
) -> float:
    """One step of every group on a batch of its rows; returns the mean loss."""
    losses = []
    for g, (optimizer, rows) in enumerate(zip(optimizers, data, strict=True)):
        if len(rows) == 0:
            continue
        picked = rows.take(torch.randint(len(rows), (batch,), generator=rng, device=rng.device))
        loss = nll(policy, g, picked)
        optimizer.step(loss, partial(policy.sampled_nll, g, picked.inputs, picked.mask, rng))
        losses.append(float(loss.detach()))
    return sum(losses) / max(len(losses), 1)


@torch.no_grad()
def held_out_loss(policy: Policy, data: list[Rows]) -> float:
    losses = [float(nll(policy, g, rows)) for g, rows in enumerate(data) if len(rows)]
    return sum(losses) / max(len(losses), 1)


def split_episodes(data: ExpertData, share: float) -> tuple[ExpertData, ExpertData]:
    """Training and held-out rounds; whole episodes, never single transitions."""
    last = int(data.episode.max()) + 1
    held = max(1, round(last * share)) if share > 0 and last > 1 else 0
    train = data.episode < last - held
    return data.take(train.nonzero().squeeze(1)), data.take((~train).nonzero().squeeze(1))


class Best:
    """The best held-out loss so far, its weights, and the validation passes since then (`waited`)."""

    def __init__(self, policy: Policy):
        self.policy, self.loss, self.waited = policy, float("inf"), 0
        self.weights = [p.detach().clone() for p in policy.parameters()]

    def observe(self, loss: float) -> None:
        self.waited += 1
        if loss < self.loss:
            self.loss, self.waited = loss, 0
            self.weights = [p.detach().clone() for p in self.policy.parameters()]

    @torch.no_grad()
    def keep(self) -> None:
        """Put the best weights into the policy."""
        for p, w in zip(self.policy.parameters(), self.weights, strict=True):
            p.copy_(w)

    def state_dict(self) -> dict:
        return {"loss": self.loss, "waited": self.waited, "weights": self.weights}

    def load_state_dict(self, state: dict) -> None:
        self.loss, self.waited = state["loss"], state["waited"]
        self.weights = [
            w.to(p) for w, p in zip(state["weights"], self.policy.parameters(), strict=True)
        ]


class Optimizers:
    """Makes a list of optimizers one part of a checkpoint."""

    def __init__(self, optimizers: list):
        self.optimizers = optimizers

    def state_dict(self) -> dict:
        return {"optimizers": [o.state_dict() for o in self.optimizers]}

    def load_state_dict(self, state: dict) -> None:
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)


def train(args: Args) -> dict:
    """Run behavioral cloning; returns the evaluation of the best policy."""
    with Run("bc", args) as run:
        args, rng = run.args, run.rng
        vec = make_game(args, 1, run.device, "as_action" if args.phi == "as_action" else "null")
        data = load(run, demonstrations_of(run), vec)
        spaces = [(vec.observation_spaces[a], vec.action_spaces[a]) for a in vec.agents]
        groups = group_agents(list(vec.agents), spaces, args.share)
        dims, actions = list(vec.observation_dims), list(vec.action_dims)
        policy = Policy(
            groups, dims, actions, vec.discrete, args.hidden, agent_id=args.agent_id
        ).to(run.device)
        policy.normalize_with(data.observations)
        seen, held = split_episodes(data, args.validation)
        fitted, checked = (group_rows(policy, d, valid_entries(args.phi, d)) for d in (seen, held))
        optimizers = [
            make_optimizer(args.optimizer, n, args.lr, args.kl_clip) for n in policy.networks
        ]
        best = Best(policy)
        run.begin(policy, describe(vec), {"optimizers": Optimizers(optimizers), "best": best})
        run.say(
            f"bc on {args.env}: {len(data):,} rounds of {args.num_demos} episodes, "
            f"phi {args.phi}, {run.folder}"
        )
        while run.steps < args.steps and best.waited < args.patience:
            metrics = {"loss": update(policy, optimizers, fitted, args.batch, rng)}
            if run.steps % args.validate_every == 0 and len(held):
                metrics["validation_loss"] = held_out_loss(policy, checked)
                best.observe(metrics["validation_loss"])
            run.advance(1, metrics)
        if len(held):
            best.keep()
        return run.finish()


def fit(
    policy: Policy,
    data: ExpertData,
    phi: str,
    steps: int,
    rng: torch.Generator,
    batch: int = 1000,
    lr: float = 0.05,
    kl_clip: float = 1e-3,
    optimizer: Kind = "kfac",
    validate_every: int = 50,
    patience: int = 4,
) -> tuple[int, float]:
    """Clone for at most `steps`, until the held-out loss stops improving: other learners' warm start.

    Returns:
        the number of steps taken and the best held-out loss.
    """
    seen, held = split_episodes(data, 0.1)
    fitted, checked = (group_rows(policy, d, valid_entries(phi, d)) for d in (seen, held))
    optimizers = [make_optimizer(optimizer, n, lr, kl_clip) for n in policy.networks]
    best, step = Best(policy), 0
    while step < steps and best.waited < patience:
        update(policy, optimizers, fitted, batch, rng)
        step += 1
        if step % validate_every == 0 and len(held):
            best.observe(held_out_loss(policy, checked))
    if len(held) and best.loss < float("inf"):
        best.keep()
    return step, best.loss


def valid_entries(phi: str, data: ExpertData) -> Tensor:
    """Which entries are learned from, bool (M, N)."""
    return data.participation if phi == "filter" else torch.ones_like(data.participation)


if __name__ == "__main__":
    main(Args, PRESETS, train)
