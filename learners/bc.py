"""Behavioral cloning: maximize the likelihood of the demonstrated actions given each agent's observation.

Entries in which an agent does not participate are dropped (`--phi filter`), or φ is one more action that
the policy learns to choose, as in the AMAGAIL paper's baseline (`--phi as_action`).

Early stopping uses a second network, the validation policy. It starts from the same weights, trains for the same
number of steps, but sees only nine tenths of the episodes. Training stops when it no longer improves on the held-out
tenth; the result is the policy, trained on all episodes, at the step where the validation policy was best. The
validation score is the mean probability of the demonstrated actions (the accuracy of sampled actions), or minus the
mean squared error of sampled continuous actions. The likelihood is not used: a few unlikely actions make it worse long
before the policy gets worse.

    python -m learners.bc --env stochastic_coop_nav --demos expert --num-demos 200
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Annotated, Literal

import torch
from torch import Tensor

from learners.lib.batch import counted
from learners.lib.expert_data import (
    DemoSettings,
    ExpertData,
    Rows,
    demonstrations_of,
    group_rows,
    load,
    training_rounds,
)
from learners.lib.fields import Between, Count, Positive, Sizes, Steps
from learners.lib.game import describe, unplayed_game
from learners.lib.groups import Networks, Optimizer
from learners.lib.networks import Policy
from learners.lib.optimizers import Kind, make_optimizer
from learners.lib.run import Run, main
from learners.lib.weights import copied, restore
from mail_envs.bars import bar


@dataclasses.dataclass(frozen=True)
class Args(DemoSettings, Optimizer, Networks):
    """Imitate by behavioral cloning."""

    steps: Steps = 10_000
    """Largest number of gradient steps."""
    lr: Positive = 0.05
    kl_clip: Positive = 1e-3
    batch: Count = 1000
    """Entries per gradient step."""
    validation: Annotated[float, Between(0.0, 0.9)] = 0.1
    """Share of the episodes held out for validation; 0: train for all steps, without early stopping."""
    validate_every: Count = 50
    """Gradient steps between validation passes."""
    patience: Count = 20
    """Validation passes without improvement before training stops."""
    phi: Literal["filter", "as_action"] = "filter"
    """filter drops entries without participation; as_action learns φ as one more action."""
    hidden: Sizes = (128, 128)
    checkpoint_every: Count = 2000
    """Gradient steps between checkpoints."""
    log_every: Count = 50
    """Gradient steps between lines of metrics."""


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
    """One gradient step per group, each on a batch of its rows; returns the mean loss."""
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
def held_out_figures(policy: Policy, data: list[Rows]) -> dict[str, float]:
    """Metrics on held-out rows, averaged over groups: `validation_loss`, the negative log-likelihood, and
    `validation_score` (higher is better), the mean probability of the demonstrated actions, or minus the
    expected squared error of sampled continuous actions.
    """
    losses, scores = [], []
    for g, rows in enumerate(data):
        if len(rows) == 0:
            continue
        log_prob = policy.log_prob(g, rows.inputs, rows.actions, rows.mask)[0]
        losses.append(-float(log_prob.mean()))
        scores.append(float(log_prob.exp().mean() if policy.discrete else -error(policy, g, rows)))
    return {
        "validation_loss": sum(losses) / len(losses),
        "validation_score": sum(scores) / len(scores),
    }


def error(policy: Policy, g: int, rows: Rows) -> Tensor:
    """Expected squared distance of a sampled continuous action from the demonstrated one."""
    network, count = policy.networks[g], policy.outputs[g]
    squares = (network(rows.inputs) - rows.actions[:, :count]).square().sum(1)
    return squares.mean() + (2 * policy.distribution.log_std(network)).exp().sum()


class Cloning:
    """A policy that learns from all demonstrations and, if episodes are held out, its validation policy.

    Attributes:
        best, loss: the best `validation_score` so far and the `validation_loss` in the same pass; None without a
            validation policy.
        waited: validation passes since then.
    """

    def __init__(self, policy: Policy, data: ExpertData, phi: str, share: float, make: Callable):
        """`phi` as in `Args`; `share` of the episodes is held out; `make(network)` makes an optimizer."""
        valid, rounds = valid_entries(phi, data), training_rounds(data, share)
        if not bool(valid.any()):
            raise ValueError(
                "no agent acts in any demonstrated round that is left: raise --demo-share or --num-demos"
            )
        rows = group_rows(policy, data, valid)
        ends = [int(policy.rows(g, valid[:rounds]).sum()) for g in range(len(rows))]
        # Views: demonstrations can take gigabytes.
        self.held = [r.take(slice(end, None)) for r, end in zip(rows, ends, strict=True)]
        self.policy, self.policies, self.rows = policy, [policy], [rows]
        if any(len(r) for r in self.held):
            self.policies.append(copy.deepcopy(policy))
            self.rows.append([r.take(slice(end)) for r, end in zip(rows, ends, strict=True)])
        self.optimizers = [[make(n) for n in p.networks] for p in self.policies]
        self.best: float | None = None
        self.loss: float | None = None
        self.waited = 0
        self.weights = copied(policy)

    def step(self, batch: int, rng: torch.Generator) -> float:
        """One gradient step of the policy and of its validation policy; returns the policy's loss."""
        parts = zip(self.policies, self.optimizers, self.rows, strict=True)
        loss, *_ = [update(p, o, r, batch, rng) for p, o, r in parts]
        return loss

    def validate(self) -> dict[str, float]:
        """Evaluate the validation policy; if it is the best so far, store the policy's weights. {} without one."""
        if len(self.policies) == 1:
            return {}
        found = held_out_figures(self.policies[1], self.held)
        self.waited += 1
        if self.best is None or found["validation_score"] > self.best:
            self.best, self.loss = found["validation_score"], found["validation_loss"]
            self.waited = 0
            self.weights = copied(self.policy)
        return found

    def keep_best(self) -> None:
        """Restore the policy's weights at the best validation score."""
        if self.best is not None:
            restore(self.policy, self.weights)

    def state_dict(self) -> dict:
        """Everything but the policy, which every run saves in its checkpoints."""
        return {
            "best": self.best,
            "loss": self.loss,
            "waited": self.waited,
            "weights": self.weights,
            "twin": [dict(p.state_dict()) for p in self.policies[1:]],
            "optimizers": [[o.state_dict() for o in side] for side in self.optimizers],
        }

    def load_state_dict(self, state: dict) -> None:
        self.best, self.loss, self.waited = state["best"], state["loss"], state["waited"]
        parameters = self.policy.parameters()
        self.weights = [w.to(p) for w, p in zip(state["weights"], parameters, strict=True)]
        for validating, saved in zip(self.policies[1:], state["twin"], strict=True):
            validating.load_state_dict(saved)
        for side, states in zip(self.optimizers, state["optimizers"], strict=True):
            for optimizer, saved in zip(side, states, strict=True):
                optimizer.load_state_dict(saved)


def train(args: Args) -> dict:
    """Run behavioral cloning; returns the evaluation of the best policy."""
    with Run("bc", args) as run:
        args, rng = run.args, run.rng
        vec = unplayed_game(args, "as_action" if args.phi == "as_action" else "null")
        data = load(run, demonstrations_of(run), vec)
        form = {"hidden": args.hidden, "agent_id": args.agent_id}
        policy = Policy.of(vec, args.share, **form).to(run.device)
        policy.normalize_with(data.observations)
        cloning = Cloning(
            policy, data, args.phi, args.validation,
            lambda network: make_optimizer(args.optimizer, network, args.lr, args.kl_clip),
        )  # fmt: skip
        rounds = len(data)
        del data  # a copy of it is in `cloning`
        run.begin(policy, describe(vec), {"cloning": cloning})
        run.say(
            f"bc on {args.env}: {rounds:,} rounds of {args.num_demos} episodes, "
            f"phi {args.phi}, {run.folder}"
        )
        while not run.done and cloning.waited < args.patience:
            metrics = {"loss": cloning.step(args.batch, rng)}
            if (run.steps + 1) % args.validate_every == 0 or run.steps + 1 == args.steps:
                metrics |= cloning.validate()
            run.advance(1, metrics)
        cloning.keep_best()
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
    patience: int = 10,
    label: str = "",
    stop: Callable[[], bool] = lambda: False,
) -> tuple[int, float]:
    """Clone for at most `steps` steps, holding out a tenth for early stopping: the warm start of other learners.

    `label`: of a progress bar, if any. `stop()`: asked after every validation pass, whether to end now.

    Returns:
        the number of steps taken, and the held-out loss in the best validation pass; the loss on the demonstrations
        themselves if no episode can be held out.
    """
    make = partial(make_optimizer, optimizer, lr=lr, kl_clip=kl_clip)
    cloning, step = Cloning(policy, data, phi, 0.1, make), 0
    with bar(label, steps, bool(label)) as show:
        while step < steps and cloning.waited < patience:
            cloning.step(batch, rng)
            step += 1
            show(step)
            if step % validate_every == 0 or step == steps:
                cloning.validate()
                if stop():
                    break
    cloning.keep_best()
    if cloning.loss is not None:
        return step, cloning.loss
    return step, held_out_figures(policy, cloning.rows[0])["validation_loss"]


def valid_entries(phi: str, data: ExpertData) -> Tensor:
    """Entries that are trained on, bool (M, N)."""
    real = torch.ones_like(data.episode, dtype=torch.bool)
    return counted(data.alive, data.participation, real, absent=phi == "as_action")


if __name__ == "__main__":
    main(Args, PRESETS, train)
