"""Show or check recorded episodes: `python -m demos.replay PATH --episode 3 --out episode.gif`.

An episode is simulated again from its seed with the recorded actions. `--verify` compares the result with the
recording, bit for bit: observations, states, rewards, participation, masks, who is alive, termination.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro

import mail_envs
from demos.actions import own_actions
from demos.dataset import Demonstrations
from demos.description import describe
from demos.episode import Episode
from mail_envs.bars import bar
from mail_envs.commands.errors import exit_status
from mail_envs.counts import at_least
from mail_envs.film import MOST_FRAMES, Film
from mail_envs.recorded import NOTHING, Named, game_of
from mail_envs.rendering import write_gif
from mail_envs.settings_text import SETTINGS, merge_sets

FRAMES_PER_SECOND = 10


def make_env(
    metadata: Mapping[str, Any],
    num_envs: int = 1,
    named: Named = NOTHING,
    source: str | Path = "the demonstrations",
) -> Any:
    """The environment in which a set was recorded, as a `VectorGame`.

    Nothing that the set names is imported; `named` holds the user's own game or player function.
    `source` is the set's name in error messages.
    """
    id, keywords = game_of(metadata, source, named)
    return mail_envs.make_vec(id, num_envs, replayable=True, **keywords)


def simulate(
    env: Any, episode: Episode, each_round: Callable[[int], None] = lambda t: None
) -> tuple[str, ...]:
    """Play the recorded actions in environment 0 of `env`; returns what differs from the recording.

    `each_round(t)` is called before round t is played.
    """
    differences: dict[str, int] = {}
    own = own_actions(describe(env)["action_dims"])

    def compare(name: str, t: int, recorded: Any, simulated: Any) -> None:
        if np.asarray(recorded).tobytes() != np.asarray(simulated).tobytes():
            differences.setdefault(name, t)

    def compare_seen(t: int, observations: Any, info: Mapping[str, Any]) -> None:
        """What is seen before round t."""
        # Sets hold float32, also of images, which games show as bytes.
        compare("observations", t, episode.observations[t], observations[0].astype(np.float32))
        compare("state", t, episode.states[t], info["state"][0])
        if t == len(episode) and episode.derived:
            return
        if not episode.derived:
            compare("alive", t, episode.alive[t], info["alive"][0])
        acting = [*episode.participation, episode.final_participation][t]
        compare("participation", t, acting, info["participation"][0])
        if episode.action_masks is not None:
            mask = info["action_mask"][0, :, : own.shape[-1]] * own
            compare("action_mask", t, episode.action_masks[t], mask.astype(np.uint8))

    observations, info = env.reset_to(np.full(env.num_envs, episode.seed))
    compare_seen(0, observations, info)
    for t in range(len(episode)):
        each_round(t)
        actions = np.zeros((env.num_envs, *episode.actions[t].shape), episode.actions.dtype)
        actions[0] = episode.actions[t]
        observations, rewards, terminated, truncated, info = env.step(actions)
        last = t + 1 == len(episode)
        compare("rewards", t, episode.rewards[t], rewards[0])
        compare("terminated", t, last and episode.terminated, bool(terminated[0]))
        compare("truncated", t, last and episode.truncated, bool(truncated[0]))
        over = bool(terminated[0] | truncated[0])
        if over:
            observations = info["final_observation"]
            info = {k.removeprefix("final_"): v for k, v in info.items() if k.startswith("final_")}
        compare_seen(t + 1, observations, info)
        if over:
            break
    return tuple(f"{name} from round {t}" for name, t in differences.items())


def verify(
    demonstrations: Demonstrations, env: Any | None = None, progress: bool = False
) -> list[str]:
    """Simulate every episode again; returns one line for each that differs from the recording.

    `env`: the environment, if `make_env` cannot make it from the metadata alone.
    """
    env = env or make_env(demonstrations.metadata)
    problems = []
    with bar("simulating", len(demonstrations), progress) as done:
        for k, episode in enumerate(demonstrations):
            if found := simulate(env, episode):
                problems.append(f"episode {k} (seed {episode.seed}) differs: {', '.join(found)}")
            done(k + 1)
    return problems


def film_of(env: Any, episode: Episode, film: Film) -> tuple[str, ...]:
    """Draw the rounds of an episode that `film` chooses, with a progress bar; returns what differs, see `simulate`."""
    with bar("drawing", len(episode)) as done:

        def draw(t: int) -> None:
            film.see(t, lambda: np.array(env.render()))
            done(t + 1)

        return simulate(env, episode, draw)


def show(env: Any, episode: Episode) -> tuple[str, ...]:
    """Play an episode in a window; returns what differs, see `simulate`."""

    def draw(t: int) -> None:
        env.render(mode="human")
        time.sleep(1 / FRAMES_PER_SECOND)

    return simulate(env, episode, draw)


@dataclass
class Args:
    """Replay recorded episodes in a window or into a GIF, or verify them."""

    path: tyro.conf.Positional[Path]
    """Folder of the set."""
    episode: int = 0
    """Number of the episode, from 0."""
    out: Path | None = None
    """Write an animation (.gif) instead of opening a window."""
    every: int | None = None
    """Draw every k-th round; by default as many rounds as --max-frames and about 15 seconds of drawing allow."""
    max_frames: int = MOST_FRAMES
    """The most frames of an animation, without --every."""
    verify: bool = False
    """Check that simulating again gives the same bits; draws only if --out is given."""
    all: bool = False
    """With --verify: all episodes."""
    env: str | None = None
    """Python file of the game, if it is your own; nothing that the set names is imported."""
    player_function: str | None = None
    """Player function, if it is your own, such as `my_players.py:NAME`."""
    set: Annotated[tuple[str, ...], SETTINGS] = ()
    """Arguments of the game that replace those of the set, such as a folder of maps that has moved."""


def main(args: Args) -> int:
    """Run the command; returns its exit status, see `mail_envs.commands.errors`."""
    return exit_status(lambda: command(args))


def command(args: Args) -> int:
    """Verify, animate or show; returns 1 if a simulated episode differs from the recorded one."""
    if args.out is not None and args.out.suffix != ".gif":
        raise ValueError(f"--out {args.out}: the file name must end in .gif")
    at_least(1, max_frames=args.max_frames, every=1 if args.every is None else args.every)
    if args.all and not args.verify:
        raise ValueError("--all needs --verify")
    if args.out is None and (args.every is not None or args.max_frames != MOST_FRAMES):
        raise ValueError("--every and --max-frames need --out")
    named = Named.typed(args.env, args.player_function, args.set)
    demonstrations = Demonstrations.open(args.path)
    if not -len(demonstrations) <= args.episode < len(demonstrations):
        raise ValueError(
            f"{args.path} has {len(demonstrations)} episodes, there is no {args.episode}"
        )
    env = make_env(demonstrations.metadata, named=named, source=args.path)
    try:
        return replay(demonstrations, env, args)
    finally:
        env.close()


def replay(demonstrations: Demonstrations, env: Any, args: Args) -> int:
    """Verify, animate or show episodes in `env`, the environment of the recording."""
    k = args.episode % len(demonstrations)
    if args.verify:
        chosen = demonstrations if args.all else demonstrations[k : k + 1]
        problems = verify(chosen, env, progress=args.all)
        same = f"{len(chosen)} of {len(chosen)} episodes are the same, bit for bit"
        print("\n".join(problems) or same)
        if problems:
            return 1
    found: tuple[str, ...] = ()
    if args.out is not None:
        episode = demonstrations[k]
        film = Film(len(episode), args.every, args.max_frames)
        found = film_of(env, episode, film)
        pictures = film.frames
        hold = [pictures[-1]] * FRAMES_PER_SECOND  # the last picture stays for a second
        write_gif(args.out, pictures + hold, FRAMES_PER_SECOND)
        print(f"wrote {args.out}: {len(episode)} rounds, {film} drawn")
    elif not args.verify:
        found = show(env, demonstrations[k])
    if found:
        what = f"this is a new simulation, which differs from the recording: {', '.join(found)}"
        print(what, file=sys.stderr)
    return 0


if __name__ == "__main__":
    words = merge_sets(sys.argv[1:])
    sys.exit(main(tyro.cli(Args, prog="python -m demos.replay", args=words)))
