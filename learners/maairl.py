"""MA-AIRL: multi-agent adversarial inverse reinforcement learning (Yu et al., 2019).

The discriminators have the form D = exp f / (exp f + pi(a | o)), where

    f(o, o') = g(o) + gamma h(o') - h(o),

so that g becomes a reward that explains the demonstrations, up to a constant, apart from the dynamics of the game
(h shapes it). Agents of a group share g and h, which see their own observation. Policies and critics are those of IPPO;
the demonstrated actions are judged by the current policy. The true reward is not used; how far g agrees with it is
logged: `pearson` and `spearman`, over the pairs that the policy played.

    python -m learners.maairl --env mpe_simple_spread --demos scripted --run-dir runs/recovered
    python -m learners.maairl --env mpe_simple_spread --demos scripted --fixed runs/recovered

The second command trains new policies on the g that the first one found, and on nothing else.
Only rounds in which an agent is alive and acts count, in the demonstrations as in its own play.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import torch
from scipy.stats import rankdata
from torch import Tensor, nn

from demos.dataset import Demonstrations
from learners import bc, ippo
from learners.lib.actor_critic import estimate_advantages
from learners.lib.adversarial import REWARD_LIMIT, balanced_loss
from learners.lib.checkpoints import checkpoints, load_checkpoint
from learners.lib.expert_data import DemoSettings, demonstrations_of, load, transitions_of
from learners.lib.fields import Between, Count, Fraction, Positive, Sizes, Whole
from learners.lib.game import describe, make_game
from learners.lib.mlp import MLP
from learners.lib.networks import Policy
from learners.lib.optimizers import Adam
from learners.lib.rewards import rewards_of
from learners.lib.rollout import Rollout
from learners.lib.run import Run, main
from mail_envs.streams import stream_seed

Paid = Literal["logit", "f", "g"]
LEAST_LOG_PROB = -20.0  # of actions that the policy hardly ever takes, or that a mask forbids
KEPT, NEW = 10_000, 100  # rounds of earlier policies, and how many an update adds
INPUT_LIMIT = 5.0  # standardized observations of g and h are clipped to +- this


@dataclasses.dataclass(frozen=True)
class Args(ippo.Args, DemoSettings):
    """Recover a reward from demonstrations, and imitate (MA-AIRL)."""

    steps: Annotated[int, Between(0, 2**53)] = 3_000_000
    paid: Paid = "logit"
    """Reward of the policies. logit: f - log pi(a | o), which the theory asks for; f; or g, the recovered reward."""
    fixed: str | None = None
    """Run folder of maairl whose g is the only reward, and is not trained further."""
    disc_hidden: Sizes = (64, 64)
    """Widths of the hidden layers of g and h."""
    disc_steps: Count = 20
    """Gradient steps of g and h per update."""
    disc_batch: Count = 512
    """Rounds per step, of both sources each."""
    disc_lr: Positive = 1e-3
    """Learning rate of g and h (Adam); --anneal decreases it, too."""
    disc_replay: Fraction = 0.5
    """Share of the played rounds in these steps that are of earlier policies, from all of the run. Without them g soon
    says nothing of states that only beginners visit, and new policies that are trained on it alone never leave them."""
    disc_first: Whole = 10
    """Updates at the start in which only g, h and the critics are trained."""
    weight_decay: Annotated[float, Between(0.0)] = 0.0
    """Weight of the L2 penalty on g and h (half the sum of squares)."""


PRESETS = {
    "paper": {
        "disc_hidden": (128, 128),
        "weight_decay": 0.1,
        "steps": 55_000_000,
        "num_envs": 4,
        "rounds": 250,
    },
    "quick": {"steps": 300_000, "eval_episodes": 200},
}


class Rounds(NamedTuple):
    """B rounds: observations and those that followed (B, N, D), actions (B, N[, A]), masks (B, N, A) or None.

    `over`: bool (B, N), whether the agent's episode ended there, other than by the time limit. `counts`: bool (B, N).
    `log_probs`: of the actions, (B, N), by the policy that took them; None: by the present one.
    """

    observations: Tensor
    following: Tensor
    actions: Tensor
    mask: Tensor | None
    over: Tensor
    counts: Tensor
    log_probs: Tensor | None = None

    def take(self, rows: Tensor) -> Rounds:
        return Rounds(*(None if x is None else x[rows] for x in self))  # pyright: ignore[reportArgumentType]


def joined(a: Rounds, b: Rounds) -> Rounds:
    return Rounds(*(None if x is None else torch.cat([x, y]) for x, y in zip(a, b, strict=True)))  # pyright: ignore[reportArgumentType, reportCallIssue]


def demonstrated(run: Run, demos: Demonstrations, vec) -> Rounds:
    """The demonstrated rounds."""
    data = load(run, demos, vec)
    found = transitions_of(run, demos)
    following = torch.as_tensor(found.next_observations).to(run.device, torch.float32)
    ended = torch.as_tensor(found.terminated).to(run.device).bool().unsqueeze(1)
    over = ended | ~torch.as_tensor(found.next_alive).to(run.device).bool()
    counts = bc.valid_entries("filter", data)
    return Rounds(data.observations, following, data.actions, data.action_mask, over, counts)


def played(rollout: Rollout) -> Rounds:
    """The rounds of a fragment."""
    r = rollout
    ended = (r.terminated | r.truncated).unsqueeze(2)
    following = torch.where(ended.unsqueeze(3), r.final_observations, r.observations[1:])
    over = r.terminated.unsqueeze(2) | ~torch.where(ended, r.final_alive, r.alive[1:])
    mask = None if r.action_mask is None else r.action_mask[:-1].flatten(0, 1)
    rest = (x.flatten(0, 1) for x in (r.actions, over, r.learned_from()))
    actions, over, counts = rest
    seen = r.observations[:-1].flatten(0, 1)
    return Rounds(seen, following.flatten(0, 1), actions, mask, over, counts)


class Rewarder:
    """The networks g and h of every group of agents, and their optimizers."""

    def __init__(self, policy: Policy, expert: Rounds, args: Args, device: torch.device):
        self.policy, self.args, self.expert = policy, args, expert
        seats = self.seats = policy.seats
        self.networks: Any = nn.ModuleList(
            nn.ModuleList(MLP([width, *args.disc_hidden, 1]) for _ in range(2))
            for width in seats.widths
        ).to(device)
        for k, pair in enumerate(self.networks):
            rows = seats.rows(k, expert.observations)[seats.rows(k, expert.counts)]
            for network in pair:
                tail = seats.widths[k] - seats.dims[k]
                network.normalize_with(rows[:, : seats.dims[k]], tail, INPUT_LIMIT)
        self.optimizers = [Adam(pair, args.disc_lr) for pair in self.networks]
        self.kept: Rounds | None = None  # of earlier policies
        self.seen = 0  # rounds that `kept` was chosen from

    def scores(self, k: int, rounds: Rounds) -> tuple[Tensor, Tensor, Tensor]:
        """g, f and f - log pi of group k's rows, (B * members,) each."""
        g, h = self.networks[k]
        before, after = (self.seats.inputs(k, x) for x in (rounds.observations, rounds.following))
        reward, ahead = g(before).squeeze(1), h(after).squeeze(1)
        ahead = ahead.masked_fill(self.seats.rows(k, rounds.over), 0.0)
        f = reward + self.args.gamma * ahead - h(before).squeeze(1)
        logs = rounds.log_probs
        logs = self.log_probs(k, rounds) if logs is None else self.seats.rows(k, logs)
        return reward, f, f - logs.clamp(min=LEAST_LOG_PROB)

    @torch.no_grad()
    def log_probs(self, k: int, rounds: Rounds) -> Tensor:
        """Of the actions of group k's rows, by the present policy, (B * members,)."""
        mask = None if rounds.mask is None else self.seats.rows(k, rounds.mask)
        actions = self.seats.rows(k, rounds.actions)
        return self.policy.log_prob(k, self.policy.inputs(k, rounds.observations), actions, mask)[0]

    def judged(self, rounds: Rounds) -> Rounds:
        """The same rounds with the likelihoods that the actions have now."""
        logs = torch.zeros(rounds.counts.shape, device=rounds.counts.device)
        for k, members in enumerate(self.seats.members):
            logs[:, members] = self.log_probs(k, rounds).view(-1, len(members))
        return rounds._replace(log_probs=logs)

    def update(self, rounds: Rounds, rng: torch.Generator) -> dict[str, float]:
        """Train g and h on a fragment's rounds, `judged`; the metrics are means over groups, of their last steps."""
        found = []
        for k, optimizer in enumerate(self.optimizers):
            metrics = {}
            for _ in range(self.args.disc_steps):
                y = self._sampled(self.expert, rng, self.args.disc_batch)
                x = self._mixture(rounds, rng)
                logits = [self.scores(k, part)[2] for part in (y, x)]
                counts = [self.seats.rows(k, part.counts).float() for part in (y, x)]
                loss, metrics = balanced_loss(logits[0], logits[1], (counts[0], counts[1]))
                if self.args.weight_decay:
                    squares = sum(p.square().sum() for p in self.networks[k].parameters())
                    loss = loss + 0.5 * self.args.weight_decay * squares
                optimizer.step(loss)
            found.append(metrics)
        self._keep(rounds, rng)
        return {key: sum(m[key] for m in found) / len(found) for key in found[0]}

    def _sampled(self, rounds: Rounds, rng: torch.Generator, count: int) -> Rounds:
        size = len(rounds.counts)
        return rounds.take(torch.randint(size, (count,), generator=rng, device=rng.device))

    def _mixture(self, rounds: Rounds, rng: torch.Generator) -> Rounds:
        """Rounds of the present policy and of earlier ones."""
        size = self.args.disc_batch
        earlier = round(size * self.args.disc_replay)
        if self.kept is None or not earlier:
            return self._sampled(rounds, rng, size)
        return joined(
            self._sampled(rounds, rng, size - earlier), self._sampled(self.kept, rng, earlier)
        )

    def _keep(self, rounds: Rounds, rng: torch.Generator) -> None:
        """Keep some rounds of this update; all updates so far are equally likely to be those of a round that is kept."""
        some = self._sampled(rounds, rng, NEW)
        self.seen += NEW
        if self.kept is None or len(self.kept.counts) < KEPT:
            self.kept = some if self.kept is None else joined(self.kept, some)
            return
        at = torch.randint(self.seen, (NEW,), generator=rng, device=rng.device)
        for old, new in zip(self.kept, some, strict=True):
            if old is not None and new is not None:
                old[at[at < KEPT]] = new[at < KEPT]

    @torch.no_grad()
    def rewards(self, rounds: Rounds) -> dict[Paid, Tensor]:
        """g, f and the logit of the agents, (B, N) each; 0 in rounds in which they do not act."""
        found = torch.zeros(3, *rounds.counts.shape, device=rounds.counts.device)
        for k, members in enumerate(self.seats.members):
            found[:, :, members] = torch.stack(self.scores(k, rounds)).view(3, -1, len(members))
        limited = found.clamp(-REWARD_LIMIT, REWARD_LIMIT) * rounds.counts
        return {"g": limited[0], "f": limited[1], "logit": limited[2]}

    def state_dict(self) -> dict:
        return {
            "networks": dict(self.networks.state_dict()),
            "optimizers": [o.state_dict() for o in self.optimizers],
            "kept": None if self.kept is None else self.kept._asdict(),
            "seen": self.seen,
        }

    def load_state_dict(self, state: dict) -> None:
        self.networks.load_state_dict(state["networks"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.kept = None if state["kept"] is None else Rounds(**state["kept"])
        self.seen = state["seen"]

    def read(self, folder: Path) -> None:
        """Take over g and h from the latest checkpoint of a run; ValueError when it has none that fit."""
        found = checkpoints(folder)
        if not found:
            raise ValueError(f"fixed={folder}: no run folder with a checkpoint")
        tree = load_checkpoint(found[-1])
        try:
            self.networks.load_state_dict(tree["parts"]["rewarder"]["networks"])
        except (KeyError, TypeError, RuntimeError) as error:  # the file is untrusted
            raise ValueError(
                f"fixed={folder}: it has no g and h for this game and --disc-hidden"
            ) from error


def agreement(found: Tensor, true: Tensor, counts: Tensor) -> dict[str, float]:
    """Correlation of recovered and true rewards (B, N) where `counts`: {"pearson": r, "spearman": rank correlation}.

    Empty when one of them is constant.
    """
    x, y = found[counts].double(), true[counts].double()
    if len(x) < 2 or bool(x.std() < 1e-9) or bool(y.std() < 1e-9):
        return {}
    pairs = {"pearson": (x, y), "spearman": (ranks(x), ranks(y))}
    return {k: float(torch.corrcoef(torch.stack(pair))[0, 1]) for k, pair in pairs.items()}


def ranks(x: Tensor) -> Tensor:
    """Ranks of the entries of x (R,); equal ones share the mean of theirs."""
    return torch.as_tensor(rankdata(x.cpu().numpy()))


def train(args: Args) -> dict:
    """Run MA-AIRL; returns the evaluation of the trained policy."""
    if args.recurrent:
        raise ValueError("recurrent=True: maairl judges single rounds; it has no memory")
    with Run("maairl", args) as run:
        args, rng = run.args, run.rng
        demos = demonstrations_of(run)
        vec = make_game(args, args.num_envs, run.device)
        agent = ippo.make_agent(vec, args, run.device)
        expert = demonstrated(run, demos, vec)
        rewarder = Rewarder(agent.policy, expert, args, run.device)
        if args.fixed is not None and run.fresh:
            rewarder.read(Path(args.fixed))
        rollout = Rollout(vec, args.rounds, run.device, 0, args.critic == "state")
        rollout.reset(stream_seed(args.seed, "games"))
        run.begin(
            agent.policy, describe(vec), {"agent": agent, "rollout": rollout, "rewarder": rewarder}
        )
        run.say(
            f"maairl on {args.env}: {args.steps:,} steps, {len(expert.counts):,} rounds of {args.num_demos} "
            f"episodes, {'paid by ' + args.fixed if args.fixed else args.paid}, {run.device}, {run.folder}"
        )
        first, paid = (args.disc_first, args.paid) if args.fixed is None else (0, "g")
        while not run.done:
            rollout.collect(agent.policy, rng)
            if args.anneal:
                agent.set_rate(args.lr * (1 - run.progress))
                for optimizer in rewarder.optimizers:
                    optimizer.lr = args.disc_lr * (1 - run.progress)

            # g and h against the current policy; their reward; IPPO's update.
            rounds = rewarder.judged(played(rollout))
            metrics = {} if args.fixed is not None else rewarder.update(rounds, rng)
            recovered = rewarder.rewards(rounds)
            rewards = recovered[paid].view_as(rollout.rewards)
            learned = estimate_advantages(agent, rollout, rewards, args.gamma, args.lam)
            actors = run.updates >= max(first, args.critic_first)
            metrics |= ippo.update(agent, rollout, *learned, args, rng, actors)

            true = rewards_of(rollout, args.reward).flatten(0, 1)
            agreed = agreement(recovered["g"], true, rounds.counts)
            run.results |= agreed
            run.advance(rollout.steps, rollout.episodes() | metrics | agreed)
        return run.finish()


if __name__ == "__main__":
    main(Args, PRESETS, train)
