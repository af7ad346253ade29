"""DAgger: the learner plays, and a teacher says what it would have done (Ross et al., 2011, algorithm 3.1).

Cloning sees only states that the demonstrator reaches; its errors lead to others. Here the states are those that the
learner reaches, and the actions are the teacher's, who must be there to be asked: a scripted player, a trained policy, or
a function of yours. One update: play a batch of rounds, in which every copy of the game follows the teacher with
probability beta and the learner otherwise; add them, with the teacher's actions, to all earlier ones (the last
`--capacity` rounds); make gradient steps of behavioral cloning on random rounds of these.

Agents that are absent or dead teach nothing. Teachers are asked in every round, also in states that they would not have
reached: one that plans its whole episode beforehand (football's `scripted`) cannot teach. One of your own that has a
memory begins it anew when a run is resumed. Recurrent learners are trained on chunks, from the memories that they had
when they played them.

    python -m learners.dagger --env gold_miner_easy_2_vs_2 --teacher scripted
    python -m learners.dagger --env smacv2_terran_5_vs_5 --teacher scripted --recurrent --batch 1280
    python -m learners.dagger --env smac_3m --teacher runs/mat_smac_3m_0
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import torch
from torch import Tensor

from demos.policies import NetworkPolicy, load_policy
from demos.rollouts import act, check_allowed
from learners.lib.actor_critic import check_chunks
from learners.lib.batch import Batch
from learners.lib.fields import Count, Fraction, Sizes, Steps
from learners.lib.game import describe, make_game
from learners.lib.groups import ActorForm, AdamSteps, Memory, Networks, Rollouts
from learners.lib.networks import Policy
from learners.lib.optimizers import Adam
from learners.lib.replay import Replay, sample_chunks
from learners.lib.rollout import Rollout
from learners.lib.run import Run, main
from learners.lib.running_episodes import check_form
from learners.lib.settings import Settings
from mail_envs.streams import stream_seed


@dataclasses.dataclass(frozen=True)
class Args(Settings, Rollouts, AdamSteps, Networks, Memory, ActorForm):
    """Imitate a teacher that is asked in the learner's own states (DAgger)."""

    steps: Steps = 1_000_000
    teacher: str = "scripted"
    """Who is asked: scripted, scripted:NAME, expert, a run folder, a policy file, or a function of yours such as
    my_policy.py:make. Trained ones answer with their most likely action."""
    rounds: Count = 20
    beta: Fraction = 1.0
    """Probability at the start that a copy of the game follows the teacher in a round."""
    guided: Fraction = 0.1
    """Share of the run over which that probability decreases linearly to 0."""
    capacity: Count = 200_000
    """Rounds kept."""
    batch: Count = 512
    """Rounds per gradient step; of recurrent policies, in chunks."""
    updates: Count = 8
    """Gradient steps after every T rounds of E copies."""
    anneal: bool = True
    hidden: Sizes = (256, 256)


PRESETS = {"quick": {"steps": 200_000, "eval_episodes": 200}}


class Lesson:
    """Acts for the learner and for the teacher, whose actions it notes.

    Attributes:
        beta: probability that a copy of the game follows the teacher.
        answers: the teacher's actions in the fragment, a list of T tensors (E, N[, A]).
    """

    def __init__(self, policy: Policy, teacher, vec, rollout: Rollout):
        self.policy, self.teacher, self.vec, self.rollout = policy, teacher, vec, rollout
        self.beta = 0.0
        self.answers: list[Tensor] = []
        parts = getattr(teacher, "policies", [teacher])  # one for each agent
        self.networks = [p for p in dict.fromkeys(parts) if isinstance(p, NetworkPolicy)]
        for p in self.networks:
            p.memory = p.memory.new_zeros((vec.num_envs, *p.memory.shape[1:]))

    def state_dict(self) -> dict:
        """What trained teachers remember of the episodes that go on."""
        return {"memories": [p.memory for p in self.networks]}

    def load_state_dict(self, state: dict) -> None:
        for p, memory in zip(self.networks, state["memories"], strict=True):
            check_form("memories", memory, p.memory.dtype, p.memory.shape)
            p.memory = memory

    def act(self, observations: Tensor, mask, rng, memory=None, acts=None) -> Tensor:
        """Actions (E, N[, A]) of one round, as `Policy.act`."""
        actions = self.policy.act(observations, mask, rng, memory, acts)
        info = {name: as_array(x) for name, x in self.rollout.running.info.items()}
        rows = np.arange(len(observations))
        answer = act(self.vec, self.teacher, rows, as_array(observations), info)
        check_allowed(self.vec, rows, answer, info)
        self.answers.append(torch.as_tensor(answer).to(actions))
        follows = torch.rand(len(rows), generator=rng, device=rng.device) < self.beta
        shape = (-1, *[1] * (actions.ndim - 1))
        return torch.where(follows.view(shape), self.answers[-1], actions)


def as_array(x):
    """A tensor as an array; others as they are."""
    return x.cpu().numpy() if isinstance(x, Tensor) else x


def loss_of(policy: Policy, batch: Batch) -> Tensor | None:
    """Negative log-likelihood of the teacher's actions, the mean over groups of their means; None if nobody acts."""
    seen, counts = batch.seen, batch.learned_from()
    outputs, _ = policy.unroll(seen.observations, batch.memory, seen.participation)
    terms = []
    for g, members in enumerate(policy.members):
        valid = counts[:, :, members]
        if not bool(valid.any()):
            continue
        width = policy.distribution.width(policy.outputs[g])
        out, actions = (x[:, :, members][valid] for x in (outputs, batch.actions))
        mask = None if seen.action_mask is None else seen.action_mask[:, :, members][valid]
        terms.append(-policy.likelihood(g, out[:, :width], actions, mask)[0].mean())
    return torch.stack(terms).mean() if terms else None


def update(
    policy: Policy, optimizer: Adam, replay: Replay, args: Args, rng: torch.Generator
) -> dict[str, float]:
    """Gradient steps of cloning; the metrics are means over them."""
    length = args.chunk if args.recurrent else 1
    losses = []
    for _ in range(args.updates):
        loss = loss_of(policy, sample_chunks(replay, math.ceil(args.batch / length), length, rng))
        if loss is not None:
            optimizer.step(loss)
            losses.append(float(loss.detach()))
    return {"loss": sum(losses) / len(losses)} if losses else {}


def agreement(rollout: Rollout, answers: Tensor) -> dict[str, float]:
    """Share of the learner's actions that are the teacher's, in discrete games."""
    learned = rollout.learned_from()
    if not rollout.discrete or not bool(learned.any()):
        return {}
    return {"agreement": float((rollout.actions == answers)[learned].float().mean())}


def train(args: Args) -> dict:
    """Run DAgger; returns the evaluation of the trained policy."""
    check_chunks(args)
    with Run("dagger", args) as run:
        args, rng = run.args, run.rng
        vec = make_game(args, args.num_envs, run.device)
        teacher = load_policy(args.teacher, vec, greedy=True)
        policy = Policy.of(
            vec, args.share, hidden=args.hidden, agent_id=args.agent_id, recurrent=args.recurrent,
            layer_norm=args.layer_norm, distribution=None if vec.discrete else args.continuous,
        ).to(run.device)  # fmt: skip
        optimizer = Adam(policy, args.lr, args.max_grad_norm)
        rollout = Rollout(vec, args.rounds, run.device, policy.memory_size)
        rollout.reset(stream_seed(args.seed, "games"))
        replay = Replay(vec, args.capacity, run.device, policy.memory_size, state=False)
        lesson = Lesson(policy, teacher, vec, rollout)
        parts = {"optimizer": optimizer, "rollout": rollout, "replay": replay, "lesson": lesson}
        run.begin(policy, describe(vec), parts)
        run.say(
            f"dagger on {args.env}: {args.steps:,} steps, teacher {args.teacher}, {replay}, {run.folder}"
        )
        while not run.done:
            left = 1 - run.progress / args.guided if args.guided else 0.0
            lesson.beta, lesson.answers = args.beta * max(left, 0.0), []
            if args.anneal:
                optimizer.lr = args.lr * (1 - run.progress)
            rollout.collect(lesson, rng)
            answers = torch.stack(lesson.answers)
            metrics = {"beta": lesson.beta} | agreement(rollout, answers)
            rollout.actions.copy_(answers)  # what is learned is what the teacher would have done
            replay.add(rollout)
            metrics |= update(policy, optimizer, replay, args, rng)
            run.advance(rollout.steps, rollout.episodes() | metrics)
        return run.finish()


if __name__ == "__main__":
    main(Args, PRESETS, train)
