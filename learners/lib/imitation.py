"""What the inverse Q-learners share: settings, batches of demonstrated and own rounds, figures, and the training loop.

A learner brings its networks and its objective, as an object with

    update(experts, replay, rng, show)   one gradient step; figures if `show`
    explore(steps)                       how much to explore after this many environment steps; None: training is over
    optimizers                           their rates are annealed with --anneal
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Literal

import torch
from torch import Tensor

from learners.lib.alarms import Alarms
from learners.lib.batch import Batch, joined
from learners.lib.demonstrated import demonstrated, in_memory
from learners.lib.expert_data import DemoSettings
from learners.lib.fields import Count, Fraction, Positive, Sizes, Steps
from learners.lib.game import describe
from learners.lib.groups import AdamSteps, DemonstratedReplay, Networks, Rollouts
from learners.lib.processor import fast_products
from learners.lib.replay import Replay, Source, sample_chunks, sample_episodes, sample_starts
from learners.lib.returns import aimed, carried, decided
from learners.lib.rollout import Rollout
from learners.lib.run import Run
from learners.lib.time_limit import continues
from mail_envs.streams import stream_seed

EXPERT, OWN, FIRST = range(3)  # where a sequence of a batch is from


@dataclasses.dataclass(frozen=True)
class Imitation(DemoSettings, Rollouts, DemonstratedReplay, AdamSteps, Networks):
    """Settings of inverse Q-learners."""

    gamma: Fraction = 0.99
    """Discount factor."""
    control: Literal["none", "random"] = "none"
    """random: learn from random play instead, a control."""
    steps: Steps = 1_000_000
    num_envs: Count = 32
    rounds: Count = 10
    lr: Positive = 5e-4
    hidden: Sizes = (128, 128)
    agent_id: bool = True
    recurrent: bool = False
    """Give agents a memory (GRU); whole episodes are then sampled."""
    hyper_hidden: Count = 64
    """Width of the layers that compute the mixer's weights."""


@dataclasses.dataclass(frozen=True)
class Terms:
    """What a batch contributes to the loss; M is 1, or the number of agents where everybody learns alone.

    rewards, costs: r and its negative, mixed, (L, B, M). values: V of the rounds, (L, B, M). gaps: V_t - gamma V_{t+1}.
    counts: rounds in which somebody acts whose term it is, bool (L, B, M).
    """

    rewards: Tensor
    costs: Tensor
    values: Tensor
    gaps: Tensor
    counts: Tensor

    @torch.no_grad()
    def figures(self, origin: Tensor) -> dict[str, float]:
        """The largest value; values, rewards and number of demonstrated and own rounds; `origin` (B,): see `sample`."""
        largest = torch.where(self.counts, self.values, 0.0).abs().max()
        found = {"largest_value": float(largest)}
        for name, k in (("expert", EXPERT), ("own", OWN)):
            where = self.counts & (origin == k).view(1, -1, 1)
            found[f"counted_{name}"] = float(where.any(-1).sum())
            if bool(where.any()):
                rewards = self.rewards[where]
                found |= {
                    f"value_{name}": float(self.values[where].mean()),
                    f"reward_{name}": float(rewards.mean()),
                    f"reward_{name}_sd": float(rewards.std(correction=0)),
                }
        return found


def sample(
    experts: Source,
    replay: Source | None,
    args: Any,
    length: int,
    rng: torch.Generator,
    first=False,
) -> tuple[Batch, Tensor]:
    """Sequences of `length` rounds from the demonstrations and from replay, as one batch, and where each is from.

    With `args.recurrent`, whole episodes. `first`: also the first rounds of demonstrated episodes.
    """
    sources = [experts] if replay is None else [experts, replay]
    if args.recurrent:
        parts = [sample_episodes(s, args.episodes, rng) for s in sources]
    else:
        parts = [sample_chunks(s, math.ceil(args.batch / length), length, rng) for s in sources]
    origins = [EXPERT, OWN][: len(parts)]
    if first:
        parts.append(sample_starts(experts, args.episodes if args.recurrent else args.batch, rng))
        origins.append(FIRST)
    sizes = torch.tensor([p.filled.shape[1] for p in parts])
    origin = torch.tensor(origins).repeat_interleave(sizes)
    return joined(*parts), origin.to(parts[0].filled.device)


def team_terms(vec: Any, batch: Batch) -> Tensor:
    """Rounds in which somebody acts and what follows is anchored for all who do, bool (L, B, 1)."""
    acts = batch.learned_from()
    return acts.any(-1, keepdim=True) & (aimed(vec, batch, team=False) == acts).all(
        -1, keepdim=True
    )


def following(vec: Any, batch: Batch, values: Tensor, gamma: float) -> Tensor:
    """What follows each round, (L, B, M), from the values (L + 1, B, M) of agents or of the team."""
    decides, _ = decided(batch, team=values.shape[-1] != batch.rows.alive.shape[-1])
    ends = continues(vec, batch.terminated, batch.truncated)
    return carried(values, decides, ends, batch.filled, gamma)


def imitate(
    run: Run,
    vec: Any,
    learner: Any,
    policy: Any,
    *,
    advice: tuple[str, str],
    actor: Any = None,
) -> dict:
    """Train `learner`; returns the evaluation of its `policy`.

    advice: what to change when values diverge, and when rewards collapse. actor: plays instead of the policy.
    """
    args, rng = run.args, run.rng
    alarms, counted = Alarms(run.say, args.gamma, advice), True
    experts = in_memory(demonstrated(run, vec))
    parts: dict[str, Any] = {"learner": learner, "alarms": alarms}
    rollout = replay = None
    if not args.offline:
        rollout = Rollout(vec, args.rounds, run.device, policy.memory_size, state=True)
        rollout.reset(stream_seed(args.seed, "games"))
        replay = Replay(vec, args.capacity, run.device)
        parts |= {"rollout": rollout, "replay": replay}
    run.begin(policy, describe(vec), parts)
    unit = "gradient steps" if args.offline else "steps"
    run.say(
        f"{run.learner} on {args.env}: {args.mixer}, {args.steps:,} {unit}, "
        f"{replay or 'offline'}, {run.folder}"
    )
    while not run.done:
        metrics, updates = {}, args.updates
        if rollout is not None and replay is not None:
            # Play T rounds of E copies with the current policy.
            learner.explore(round(run.progress * args.steps))
            rollout.collect(actor or policy, rng)
            replay.add(rollout)
            metrics = rollout.episodes()
            if args.recurrent and not len(replay.episodes()[0]):
                updates = 0
        else:
            updates = min(updates, args.steps - run.steps)

        # Gradient steps on rounds of the demonstrations and own ones.
        for optimizer in learner.optimizers if args.anneal else ():
            optimizer.lr = args.lr * (1 - run.progress)
        with fast_products():
            for k in range(updates):
                metrics |= learner.update(experts, replay, rng, show=k == updates - 1)
        if updates:
            if counted and not metrics.get("counted_expert", 1.0):
                counted = False
                run.say(
                    f"warning: there are batches in which no demonstrated round counts: within {args.chunk} rounds nobody "
                    "acts again; a larger --chunk helps"
                )
            spread = metrics.get("reward_expert_sd", math.inf)
            # A step with a loss that is not finite is not made, and the values stay what they were.
            finite = math.isfinite(metrics.get("loss", 0.0))
            largest = metrics["largest_value"] if finite else math.nan
            alarms.observe(run.steps, largest, spread)
            run.results |= alarms.results
        run.advance(updates if rollout is None else rollout.steps, metrics)
    learner.explore(None)
    return run.finish()
