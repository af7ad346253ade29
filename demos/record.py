"""Record demonstrations: `python -m demos.record --env ID --policy scripted --episodes 1000 --out PATH`.

Episode seeds come from a stream of --seed (`mail_envs.streams`): sets with different seeds share no episode, and
learners are never trained or evaluated on these seeds. Sets are not biased toward episodes that end early, and do
not depend on the number of environments (`demos.rollouts`). The same command therefore records the same bits, and
running it again completes an interrupted set.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro

import mail_envs
from demos.dataset import Demonstrations
from demos.description import counted_agents, describe
from demos.episode import Episode
from demos.layout import DemonstrationError
from demos.manifest import MANIFEST
from demos.mixture import Mixture
from demos.policies import NetworkPolicy, OnePerAgent, Policy, is_own_policy, load_policy
from demos.rollouts import rollouts
from demos.writer import DemonstrationWriter, check_new
from mail_envs.bars import bar
from mail_envs.commands.errors import exit_status
from mail_envs.cores import usable_cores
from mail_envs.counts import at_least
from mail_envs.markov_game import KernelGame
from mail_envs.plain_files import read_regular
from mail_envs.random import check_seed
from mail_envs.settings_text import SETTINGS, game_id, game_keywords, merge_sets
from mail_envs.streams import stream_seed

NUM_ENVS = 256
REFERENCE_EPISODES = 50, 500  # of random play: as many as are recorded, between these numbers
IDENTITY = (
    "id", "arguments", "player_function", "null_action", "max_rounds", "fixed_horizon", "agents",
    "observation_dims", "demonstrator",
)  # fmt: skip

CONTINUED = {  # what must be the same besides, where a set says it
    "first_seed": "a mixture that begins with another seed",  # who plays depends on it
    "policy_files": "episodes of other trained policies that have the same name",
}


def mean_return(env: Any, policy: Policy, episodes: int, progress: bool = False) -> float:
    """Mean return over fixed seeds, averaged over the game's return agents: a reference return."""
    counted = counted_agents(env)
    seeds = stream_seed(0, "references") + np.arange(episodes)
    played = with_bar(
        rollouts(env, policy, seeds), f"{env.id}: reference return", episodes, progress
    )
    return float(np.mean([episode.returns[counted].mean() for episode in played]))


def with_bar(
    played: Iterable[Episode], label: str, total: int, shown: bool, done: int = 0
) -> Iterator[Episode]:
    """The same episodes, with a progress bar if `shown`; `done` of `total` were played earlier."""
    with bar(label, total, shown) as show:
        show(done)
        for k, episode in enumerate(played, done + 1):
            yield episode
            show(k)


def record(
    id: str,
    policy: str | Path | Policy | Sequence[str],
    episodes: int,
    seed: int,
    out: str | Path,
    *,
    num_envs: int | None = None,
    greedy: bool = False,
    demonstrator: str | None = None,
    random_return: float | None = None,
    expert_return: float | None = None,
    progress: bool = False,
    **arguments: Any,
) -> Demonstrations:
    """Record the episodes of seeds `seed` to `seed + episodes - 1` into `out`, and open the set.

    An existing set is continued: seeds that it holds are not played again, so repeating an interrupted
    call completes the set.

    Args:
        id: the game's id.
        policy: a name for `load_policy`, a policy, or the parts of a `Mixture`, SHARE:POLICY.
        episodes: number of episodes.
        seed: seed of the first episode.
        out: folder of the set.
        num_envs: environments played at the same time; the result does not depend on it. None: 256, of simulators
            one per core.
        random_return: return of random play, for normalized returns; by default measured over as many episodes,
            at least 50 and at most 500.
        expert_return: return of the expert, for normalized returns; by default the mean of this set if
            the demonstrator is the shipped expert or a scripted one.
        greedy: learned policies take their most likely action.
        demonstrator: the demonstrator's name in the metadata; by default derived from `policy`.
        progress: show a progress bar.
        **arguments: for `mail_envs.make_vec`: `player_function`, `max_rounds`, the game's own, ...

    Raises:
        DemonstrationError: `out` holds something else, or a set with other settings.
    """
    if num_envs is None:  # a simulator takes memory, and more copies than processes gain nothing
        kernel = issubclass(mail_envs.spec(id).load(arguments.get("backend")), KernelGame)
        num_envs = NUM_ENVS if kernel else usable_cores()
    at_least(1, episodes=episodes, num_envs=num_envs)
    check_seed(check_seed(seed) + episodes - 1)
    if (arguments.get("device", "cpu"), arguments.get("array", "numpy")) != ("cpu", "numpy"):
        raise ValueError(
            "demonstrations are recorded on the CPU, in NumPy arrays: leave out device and array"
        )
    if not arguments.get("autoreset", True):
        raise ValueError("demonstrations are recorded with autoreset=True: leave out autoreset")
    seeds = np.arange(seed, seed + episodes, dtype=np.int64)
    out = Path(out)
    count = min(num_envs, episodes)
    with closing(mail_envs.make_vec(id, count, replayable=True, **arguments)) as env:
        player = _player(policy, env, greedy, seed)
        if greedy and not all(isinstance(p, NetworkPolicy) for p in _parts(player)):
            raise ValueError(f"greedy needs a learned policy, which {policy!r} is not")
        name = demonstrator or _name(policy, player, greedy)
        described = describe(env, name, random_return, expert_return)
        described |= _origin(player, seed, greedy)
        writer, recorded = _writer(out, described, env, episodes, progress)
        left = np.setdiff1d(seeds, recorded)
        played, label = rollouts(env, player, left), f"{env.id} by {name}"
        earlier = (writer.manifest.get("statistics") or {}).get("return_mean")
        # Whether the return of the expert is to be the mean of this set, as it may have been of an earlier call's.
        own = writer.manifest.get("expert_return") in (None, earlier)
        own = own and described["expert_return"] is None and policy in ("expert", "scripted")
        try:
            _write(writer, with_bar(played, label, episodes, progress, episodes - len(left)))
        finally:
            if writer.episodes and own:
                writer.annotate(expert_return=writer.manifest["statistics"].get("return_mean"))
            if writer.episodes and isinstance(player, Mixture):
                held = Demonstrations.open(out, verify=False).table().seeds
                writer.annotate(mixture=_contents(player, held, greedy))
    return Demonstrations.open(out, verify=False)


def _origin(player: Policy, seed: int, greedy: bool) -> dict[str, Any]:
    """Entries of the manifest on the policies themselves; a mixture's episodes are counted when they are there."""
    paths = [p.path for p in _parts(player) if isinstance(p, NetworkPolicy)]
    files = [path and hashlib.sha256(read_regular(path)).hexdigest() for path in paths]
    found: dict[str, Any] = {"policy_files": list(dict.fromkeys(files))} if files else {}
    if isinstance(player, Mixture):
        nothing = np.zeros(0, np.int64)
        found |= {"mixture": _contents(player, nothing, greedy), "first_seed": int(seed)}
    return found


def _parts(player: Policy) -> list[Policy]:
    """The policies of which a policy consists, or the policy itself."""
    if not isinstance(player, OnePerAgent | Mixture):
        return [player]
    return [part for one in player.policies for part in _parts(one)]


def _player(policy: Any, env: Any, greedy: bool, first: int) -> Policy:
    """The policy that plays the episodes from seed `first` on."""
    if isinstance(policy, (list, tuple)):
        return Mixture(policy, env, first, greedy)
    return load_policy(policy, env, greedy) if isinstance(policy, (str, Path)) else policy


def _contents(mixture: Mixture, seeds: np.ndarray, greedy: bool) -> list[dict[str, Any]]:
    """What a mixture's set is made of, for the manifest: who played how many of the episodes of `seeds`."""
    counts = np.bincount(mixture.player_of(seeds), minlength=len(mixture.shares)).tolist()
    pairs = zip(mixture.specs, mixture.policies, strict=True)
    names = [_name(spec, policy, greedy) for spec, policy in pairs]
    keys = ("demonstrator", "share", "episodes")
    return [dict(zip(keys, row)) for row in zip(names, mixture.shares, counts, strict=True)]


def _writer(
    out: Path, metadata: dict[str, Any], env: Any, episodes: int, progress: bool
) -> tuple[DemonstrationWriter, np.ndarray]:
    """A writer for a new or existing set in `out`, and the seeds that the set holds."""
    if (out / MANIFEST).exists():
        return _continue(out, metadata)
    check_new(out)
    if metadata["random_return"] is None:
        count = int(np.clip(episodes, *REFERENCE_EPISODES))
        metadata["random_return"] = mean_return(env, load_policy("random", env), count, progress)
    return DemonstrationWriter.create(out, metadata), np.zeros(0, np.int64)


def _write(writer: DemonstrationWriter, episodes: Iterable[Episode]) -> None:
    """Append the episodes. If an error occurs while the set is empty, the set is removed."""
    try:
        with writer:
            for episode in episodes:
                writer.append(episode)
    except BaseException:
        if writer.episodes == 0:
            (writer.folder / MANIFEST).unlink()
            with suppress(OSError):  # the folder is not empty
                writer.folder.rmdir()
        raise


def _continue(out: Path, metadata: dict[str, Any]) -> tuple[DemonstrationWriter, np.ndarray]:
    """A writer for the existing set in `out`, and the seeds that the set holds."""
    writer = DemonstrationWriter.extend(out)
    try:
        for key in IDENTITY:
            if writer.manifest.get(key) != json.loads(json.dumps(metadata[key])):
                raise DemonstrationError(
                    f"{out}: holds demonstrations with {key} {writer.manifest.get(key)!r}, not "
                    f"{metadata[key]!r}; choose another folder"
                )
        for key, what in CONTINUED.items():
            if writer.manifest.get(key, metadata.get(key)) != metadata.get(key):
                raise DemonstrationError(f"{out}: holds {what}; choose another folder")
        return writer, Demonstrations.open(out, verify=False).table().seeds
    except BaseException:
        writer.close()
        raise


def _name(policy: Any, player: Policy, greedy: bool) -> str:
    """The demonstrator's name for the metadata, without a local path."""
    if isinstance(player, OnePerAgent):
        pairs = zip(player.specs, player.policies, strict=True)
        return ", ".join(_name(spec, one, greedy) for spec, one in pairs)
    if isinstance(player, Mixture):
        parts = zip(player.shares, player.specs, player.policies, strict=True)
        return " + ".join(f"{share:g} {_name(spec, one, greedy)}" for share, spec, one in parts)
    if isinstance(policy, (str, Path)) and is_own_policy(policy):
        return Path(policy).name
    if isinstance(player, NetworkPolicy):
        name = "expert" if policy == "expert" else Path(policy).name
        details = [str(player.metadata[k]) for k in ("learner", "steps") if k in player.metadata]
        name += f" ({', '.join(details)} steps)" if details else ""
        return name + " greedy" * greedy
    if isinstance(policy, (str, Path)):
        return str(policy)
    return getattr(policy, "__name__", type(policy).__name__)


@dataclass
class Args:
    """Record demonstrations into a folder, or continue it."""

    env: str
    """Id of the game (see `python -m mail_envs list`), or the Python file of your own game."""
    out: Path
    """Folder of the set. An existing set with the same settings is continued."""
    policy: str | None = None
    """Demonstrator: expert, scripted (the default), random, a run folder, a policy file, or a function of yours that
    makes a policy, `my_policy.py:make` (see demos/policies.py). One for each agent: RUN_A,RUN_B,..."""
    mixture: tuple[str, ...] = ()
    """Several demonstrators instead of --policy, with their shares of the episodes, e.g. `--mixture 0.3:RUN@STEP
    0.7:expert`. The checkpoints of one run in equal shares make what offline learning calls medium-replay."""
    episodes: int = 1000
    """Number of episodes."""
    seed: int = 0
    """Seed of the set: sets with different seeds share no episode."""
    num_envs: int | None = None
    """Number of environments played at the same time; affects only the speed. None: 256, of simulators one per core."""
    greedy: bool = False
    """Learned policies take their most likely action."""
    player_function: str | None = None
    """Player function, if not the game's default, e.g. `Stochastic(0.3)`, `TurnOrder([[0, 1], [2]])`."""
    set: Annotated[tuple[str, ...], SETTINGS] = ()
    """Arguments of the game, e.g. `--set num_agents=5 penalty=hard`."""


def main(args: Args) -> int:
    """Run the command; returns its exit status, see `mail_envs.commands.errors`."""
    return exit_status(lambda: command(args))


def command(args: Args) -> None:
    """Record the demonstrations, and print a summary of the set."""
    first = stream_seed(args.seed, "demonstrations")
    if args.mixture and args.policy is not None:
        raise ValueError("--policy and --mixture: give one of them")
    try:
        demonstrations = record(
            game_id(args.env), args.mixture or args.policy or "scripted", args.episodes, first, args.out,
            num_envs=args.num_envs, greedy=args.greedy, progress=True,
            **game_keywords(args.set, args.player_function),
        )  # fmt: skip
    except KeyboardInterrupt:
        kept = f"finished episodes are in {args.out}, the same command continues"
        begun = (args.out / MANIFEST).exists()
        raise KeyboardInterrupt(
            f"\nstopped; {kept if begun else 'no episode was recorded'}"
        ) from None
    figures = demonstrations.metadata["statistics"]
    print(
        f"{args.out}: {figures['episodes']} episodes, {figures['transitions']} transitions, "
        f"return {figures['return_mean']:.2f} ± {figures['return_sd']:.2f}"
    )


if __name__ == "__main__":
    words = merge_sets(sys.argv[1:])
    sys.exit(main(tyro.cli(Args, prog="python -m demos.record", args=words)))
