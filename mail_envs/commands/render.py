"""`python -m mail_envs render ID`: play episodes with a policy and write a GIF or PNG."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import tyro

from mail_envs.bars import bar
from mail_envs.commands.arguments import GameArguments
from mail_envs.commands.errors import CommandError
from mail_envs.counts import at_least
from mail_envs.film import MOST_FRAMES, Film

if TYPE_CHECKING:
    from mail_envs.rendering import Canvas

LAST_FRAME_REPEATS = 6  # to show the end of an episode for a moment


def render(
    game: GameArguments,
    out: Path,
    policy: str | None = None,
    episodes: int = 1,
    seed: int = 0,
    fps: float = 10.0,
    size: Annotated[int, tyro.conf.arg(metavar="PIXELS")] = 500,
    every: int | None = None,
    max_frames: int = MOST_FRAMES,
) -> None:
    """Render a game to a file: .gif for whole episodes, .png for a filmstrip of the first.

    Args:
        game: the game.
        out: the file to write, .gif or .png.
        policy: expert, scripted, random, a run folder, a policy file, or `my_policy.py:make`, a
            function of your own; default: the first of expert, scripted and random that exists.
        episodes: number of episodes in a GIF.
        seed: seed of the first episode; episode k has seed + k.
        fps: frames per second.
        size: width and height of the picture.
        every: draw every k-th round; by default as many rounds as --max-frames and about 15 seconds of drawing allow.
        max_frames: the most frames per episode, without --every.
    """
    from demos.policies import best_policy, load_policy
    from mail_envs.random import check_seed
    from mail_envs.rendering import Canvas, write_gif, write_png

    if out.suffix not in (".gif", ".png"):
        raise CommandError(f"--out {out}: write a .gif or .png file")
    at_least(
        1, episodes=episodes, size=size, max_frames=max_frames, every=1 if every is None else every
    )
    check_seed(check_seed(seed) + episodes - 1)
    if not 0 < fps < math.inf:
        raise CommandError(f"--fps {fps}: must be more than 0 frames per second")
    vector = game.make(autoreset=False)
    act = load_policy(policy or best_policy(vector), vector)
    canvas = Canvas((size, size), title=vector.id)
    frames: list[np.ndarray] = []
    for k in range(episodes):
        film = Film(vector.max_rounds, every, max_frames)
        returns, rounds = play_episode(vector, act, seed + k, canvas, film)
        frames += film.frames
        if out.suffix == ".png":
            break
        frames += [frames[-1]] * LAST_FRAME_REPEATS
        print(
            f"episode {k} (seed {seed + k}): {rounds} rounds, {film} drawn, returns "
            + ", ".join(f"{a} {r:.2f}" for a, r in zip(vector.agents, returns, strict=True))
        )
    if out.suffix == ".gif":
        write_gif(out, frames, fps)
    else:
        write_png(out, filmstrip(frames))
    print(f"wrote {out} ({out.stat().st_size / 1024:.0f} kB)")


def play_episode(
    vector: Any,
    policy: Any,
    seed: int,
    canvas: Canvas,
    film: Film,
    label: str = "playing",
    most_seconds: float = math.inf,
) -> tuple[np.ndarray, int]:
    """Play and film one episode without autoreset, with a progress bar if there is a label; returns the returns (N,) and the rounds.

    After `most_seconds` the episode is left unfinished; it has then been played for fewer rounds than it lasts.
    """
    from mail_envs.rendering import draw_game

    def draw() -> np.ndarray:
        draw_game(canvas, vector)
        frame = canvas.present("rgb_array")
        assert frame is not None
        return frame

    rng = np.random.default_rng(seed)
    observations, info = vector.reset(seed=seed)
    rounds, began, over = 0, time.perf_counter(), False
    with bar(label, vector.max_rounds, bool(label)) as show:
        while not over:
            film.see(rounds, draw)
            actions = policy(observations, info, rng)
            observations, _, terminated, truncated, info = vector.step(actions)
            rounds += 1
            late = time.perf_counter() - began > most_seconds
            over = late or bool(terminated[0] or truncated[0])
            show(rounds)
        film.see(rounds, draw, last=True)
    return info["episode_return"][0].copy(), rounds


def filmstrip(frames: list[np.ndarray], columns: int = 4, rows: int = 2) -> np.ndarray:
    """Frames spread evenly over the episode, side by side: uint8 (rows * H, columns * W, 3)."""
    chosen = np.linspace(0, len(frames) - 1, columns * rows).round().astype(int)
    lines = [
        np.concatenate([frames[k] for k in chosen[row * columns : (row + 1) * columns]], axis=1)
        for row in range(rows)
    ]
    return np.concatenate(lines, axis=0)
