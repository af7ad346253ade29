"""Demonstrations as torch tensors, ready for a learner."""

from __future__ import annotations

import dataclasses
import math
import os
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from demos.actions import forbidden, own_actions
from demos.dataset import Demonstrations
from demos.episode import Transitions
from demos.layout import DemonstrationError
from demos.policies import policy_path
from learners.lib import references
from learners.lib.fields import Between, Count
from learners.lib.game import describe, game_arguments
from learners.lib.networks import Policy
from learners.lib.run import Run
from learners.lib.settings import Settings
from mail_envs.streams import stream_seed

Control = Literal["none", "random", "random_lengths"]
RECORDED = ("expert", "scripted", "random")  # demonstrators that are recorded when a run starts


@dataclasses.dataclass(frozen=True)
class DemoSettings(Settings):
    """Settings shared by all imitation learners."""

    heading: ClassVar[str] = "demonstrations"

    demos: str = "expert"
    """Folder of demonstrations; or expert, expert:NAME, scripted, random, a run folder or a policy file, whose
    demonstrations are recorded first."""
    num_demos: Count = 200
    """Number of demonstrated episodes to learn from, the first ones of the set."""
    demo_share: Annotated[float, Between(math.ulp(0.0), 1.0)] = 1.0
    """Share of the rounds of these episodes to learn from."""
    demo_choice: Literal["random", "end"] = "random"
    """Which rounds --demo-share leaves. random: any; end: those nearest to the end of their episode."""
    control: Control = "none"
    """Learn from random play instead. random: the same number of episodes; random_lengths: also cut to the
    lengths of the demonstrated episodes, ending early where those do."""


@dataclasses.dataclass(frozen=True)
class Endings:
    """How K demonstrated episodes ended.

    observations: after the last round, (K, N, D) float32. remaining: rounds from there to the time limit
    where the episode ended early, else 0, (K,) float32. length: the mean length of the episodes, of which --demo-share
    may have left out rounds and endings; None: all are here.
    """

    observations: Tensor
    remaining: Tensor
    length: float | None = None

    def __len__(self) -> int:
        return len(self.remaining)


@dataclasses.dataclass(frozen=True)
class ExpertData:
    """M demonstrated rounds.

    observations (M, N, D) float32; actions (M, N) int64 or (M, N, A) float32; participation bool (M, N);
    alive bool (M, N), False for dead agents, who never act again; action_mask int8 (M, N, A) or None; episode int64
    (M,). `endings` covers the whole set, also in a selection of rounds.
    """

    observations: Tensor
    actions: Tensor
    participation: Tensor
    alive: Tensor
    action_mask: Tensor | None
    episode: Tensor
    endings: Endings

    def __len__(self) -> int:
        return len(self.episode)

    def take(self, rows: Tensor) -> ExpertData:
        """A selection of rounds."""
        mask = None if self.action_mask is None else self.action_mask[rows]
        return ExpertData(
            self.observations[rows],
            self.actions[rows],
            self.participation[rows],
            self.alive[rows],
            mask,
            self.episode[rows],
            self.endings,
        )


def demonstrations_of(run: Run) -> Demonstrations:
    """The run's demonstrations, recorded first if --demos names a demonstrator; random play in controls."""
    if run.args.control != "none":
        return opened(run, "random", "random_play")
    return opened(run, run.args.demos)


def opened(
    run: Run, source: str, place: str = "demonstrations", skipped: int = 0
) -> Demonstrations:
    """A set with at least --num-demos episodes, recorded first if `source` names a demonstrator.

    It is then recorded into the folder `place` of the run folder, without the first `skipped` episodes of the seed.
    """
    path, number = Path(source), run.args.num_demos
    one_each = "," in source and not os.path.exists(path)  # which may be too long for a path
    if source.partition(":")[0] in RECORDED or one_each or policy_path(source).is_file():
        path = _record(run, source, place, skipped)
    elif not path.exists():
        raise FileNotFoundError(
            f"demos {source!r}: no such folder; give one, or {', '.join(RECORDED)}"
        )
    demos = Demonstrations.open(path)
    if len(demos) < number:
        raise ValueError(f"{path} has {len(demos)} episodes; --num-demos asks for {number}")
    return demos


def load(run: Run, demos: Demonstrations, vec) -> ExpertData:
    """The demonstrations as tensors; they also give the references of games without measured ones."""
    demos.check_compatible(vec)
    warn_of_other_ends(run, demos, vec)
    adopt_references(run, demos, vec, run.args.demos)
    whole = whole_episodes(run, demos)
    length = len(whole) / int((whole.terminated | whole.truncated).sum())
    data = to_torch(share_of(whole, run.args), vec, run.device)
    return dataclasses.replace(data, endings=dataclasses.replace(data.endings, length=length))


def warn_of_other_ends(run: Run, demos: Demonstrations, vec) -> None:
    """Say so when the demonstrated episodes end by other rules than those of the run."""
    for name in ("max_rounds", "fixed_horizon"):
        theirs, ours = demos.metadata.get(name), getattr(vec, name)
        if theirs is not None and theirs != ours:
            run.say(
                f"warning: {name} is {theirs} in the demonstrations and {ours} in this run: episodes end differently, "
                "which discriminators can tell and values learn"
            )


def adopt_references(run: Run, demos: Demonstrations, vec, source: str) -> None:
    """Take a run's references from the demonstrations that `source` names, where none were measured."""
    if not run.references:
        run.references = references.of_demonstrations(demos.metadata, describe(vec), Path(source))


def transitions_of(run: Run, demos: Demonstrations) -> Transitions:
    """The rounds that the run learns from."""
    return share_of(whole_episodes(run, demos), run.args)


def share_of(transitions: Transitions, args: DemoSettings) -> Transitions:
    """The rounds that --demo-share leaves."""
    if args.demo_share == 1:
        return transitions
    return transitions[kept_rounds(np.bincount(transitions.episode), args)]


def whole_episodes(run: Run, demos: Demonstrations) -> Transitions:
    """The rounds of the demonstrated episodes, before --demo-share leaves out some."""
    args = run.args
    transitions = demos.first(args.num_demos).transitions()
    if args.control == "random_lengths":
        expert = opened(run, args.demos)
        if expert.metadata["id"] != demos.metadata["id"]:
            raise DemonstrationError(
                f"demos {args.demos!r}: the episodes are of {expert.metadata['id']!r}, not of {args.env!r}"
            )
        expert = expert.first(args.num_demos).transitions()
        transitions = with_lengths_of(expert, transitions)
    return transitions


def kept_rounds(lengths: np.ndarray, args: DemoSettings) -> np.ndarray:
    """Which rounds of episodes of these lengths, int (K,), are learned from (--demo-share), bool (rounds,); at least one."""
    total = int(lengths.sum())
    rng = np.random.default_rng(stream_seed(args.seed, "demonstrations"))
    order = rng.permutation(total)
    if args.demo_choice == "end":
        left = np.repeat(np.cumsum(lengths), lengths) - np.arange(total)
        order = order[np.argsort(left[order], kind="stable")]
    kept = np.zeros(total, bool)
    kept[order[: max(1, round(args.demo_share * total))]] = True
    return kept


def with_lengths_of(expert: Transitions, others: Transitions) -> Transitions:
    """`others`, with its k-th episode cut to the length of the expert's k-th; it ends early where that one does, or
    where it ended before by itself.
    """
    ended = expert.terminated | expert.truncated
    last = expert.round[ended][others.episode]
    kept = others.round <= last
    ends = kept & ((others.round == last) | others.terminated | others.truncated)
    early = ends & (expert.terminated[ended][others.episode] | others.terminated)
    return dataclasses.replace(others, terminated=early, truncated=ends & ~early)[kept]


def _record(run: Run, demonstrator: str, place: str, skipped: int) -> Path:
    """Record demonstrations into the run folder, once.

    DemonstrationError, ValueError: the folder holds others, from an earlier start with other settings that was
    stopped before its first checkpoint.
    """
    from demos.record import record

    args, path = run.args, run.folder / place
    if not run.fresh and path.exists() and len(Demonstrations.open(path)) >= args.num_demos:
        return path
    run.say(f"recording {args.num_demos} episodes of the demonstrator {demonstrator}")
    seed = stream_seed(args.seed, "demonstrations") + skipped
    recorded = record(
        args.env, demonstrator, args.num_demos, seed, path, progress=run.args.progress,
        **game_arguments(vars(args)),
    )  # fmt: skip
    seeds = recorded.first(args.num_demos).table().seeds
    if not np.array_equal(np.sort(seeds), seed + np.arange(args.num_demos)):
        raise ValueError(
            f"{path} holds other episodes than those of --seed {args.seed}: remove it, or give another --run-dir"
        )
    return path


def to_torch(transitions, vec, device: torch.device | str) -> ExpertData:
    """`transitions` as tensors; where φ is an action of the game, absent agents get it.

    DemonstrationError: an agent took a forbidden action.
    """
    acts = (transitions.participation != 0) & transitions.alive
    place = (transitions.episode, transitions.round)
    check_allowed(vec, transitions.actions, transitions.action_mask, acts, *place)

    def tensor(x, dtype=None) -> Tensor:
        return torch.as_tensor(x).to(device=device, dtype=dtype)

    actions = tensor(transitions.actions, torch.int64 if vec.discrete else torch.float32)
    participation = tensor(transitions.participation, torch.bool)
    phi = vec.null_action == "as_action"
    own = tensor(own_actions([n - phi for n in vec.action_dims]), torch.bool)
    mask = transitions.action_mask
    mask = None if mask is None else tensor(mask, torch.int8)
    if mask is not None and bool((mask.bool() | ~own).all()):
        mask = None  # nothing is forbidden
    actions, mask = with_null(vec, actions, mask, participation)
    observations = tensor(transitions.observations, torch.float32)
    ended = transitions.terminated | transitions.truncated
    # Demonstrations may be longer than the run's time limit.
    remaining = np.maximum(vec.max_rounds - 1 - transitions.round[ended], 0)
    remaining = remaining * transitions.terminated[ended]
    endings = Endings(
        tensor(transitions.next_observations[ended], torch.float32),
        tensor(remaining, torch.float32),
    )
    alive = tensor(transitions.alive, torch.bool)
    episode = tensor(transitions.episode, torch.int64)
    return ExpertData(observations, actions, participation, alive, mask, episode, endings)


def check_allowed(
    vec: Any,
    actions: np.ndarray,
    mask: np.ndarray | None,
    acts: np.ndarray,
    episode: np.ndarray,
    round: np.ndarray,
) -> None:
    """DemonstrationError: an agent that acts took a forbidden action. The game played φ, so that nobody did it.

    Actions (M, N), masks (M, N, A) and who acts, bool (M, N), in M rounds; which rounds of which episodes, (M,).
    """
    if mask is None:
        return
    wrong = forbidden(actions, mask, acts)
    if wrong.any():
        t, i = np.argwhere(wrong)[0]
        raise DemonstrationError(
            f"episode {episode[t]}, round {round[t]}: {vec.agents[i]} chose the action {actions[t, i]}, which its "
            "mask forbids, so that the game did not play it. Record these demonstrations again, with a policy that "
            "keeps to info['action_mask']"
        )


def with_null(
    vec, actions: Tensor, mask: Tensor | None, participation: Tensor
) -> tuple[Tensor, Tensor | None]:
    """Demonstrated actions (*L, N[, A]) and masks (*L, N, A) as those of `vec`: where φ is one of its actions, it is
    allowed, and absent agents chose it.
    """
    if vec.null_action != "as_action":
        return actions, mask
    null = torch.as_tensor(vec.null_actions, device=actions.device)
    if mask is not None:
        mask = torch.cat([mask, torch.zeros_like(mask[..., :1])], -1)
        mask[..., torch.arange(len(null)), null] = 1
    return torch.where(participation, actions, null), mask


def training_rounds(data: ExpertData, share: float) -> int:
    """Number of rounds before those that are held out: the last episodes, a `share` of them."""
    last = int(data.episode.max()) + 1
    held = min(max(1, round(last * share)), last - 1) if share > 0 else 0
    return int((data.episode < last - held).sum())


@dataclasses.dataclass(frozen=True)
class Rows:
    """Training data of one group's network: inputs (R, D), actions (R,) or (R, A), mask (R, A) or None."""

    inputs: Tensor
    actions: Tensor
    mask: Tensor | None

    def __len__(self) -> int:
        return len(self.inputs)

    def take(self, rows: Tensor | slice) -> Rows:
        return Rows(
            self.inputs[rows], self.actions[rows], None if self.mask is None else self.mask[rows]
        )


def group_rows(policy: Policy, data: Any, valid: Tensor) -> list[Rows]:
    """The entries of `data` where `valid` (M, N) is true, one `Rows` per group; see `rows_of_group`."""
    return [rows_of_group(policy, g, data, valid) for g in range(len(policy.members))]


def rows_of_group(policy: Policy, g: int, data: Any, valid: Tensor) -> Rows:
    """The entries of group g where `valid` (M, N) is true.

    data: with observations, actions and action masks of M rounds, such as `ExpertData`.
    """
    rows = policy.rows(g, valid).nonzero().squeeze(1)
    mask = None if data.action_mask is None else policy.rows(g, data.action_mask)[rows]
    inputs = policy.inputs(g, data.observations)[rows]
    return Rows(inputs, policy.rows(g, data.actions)[rows], mask)
