"""A tournament of the bots and their team: `python -m mail_envs.games.gold_miner.tournament --maps PATH --games 400`.

Plays random allies and pairs of each bot against the enemies of every difficulty, and prints a Markdown table of win
rates and gold, compared with those of the public Python code (`REFERENCE`). BlackPanther plays without the
availability mask, as it does as an enemy; with `--masked` it uses the mask.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tyro

import mail_envs
from mail_envs.games.gold_miner import bots
from mail_envs.games.gold_miner.advice import STYLES, Advice

DIFFICULTIES = tuple(bots.ENEMIES)
RANDOM, UNMASKED = "random", "random, unmasked"
PLAYERS = (UNMASKED, RANDOM, *STYLES)


class Figures(NamedTuple):
    """Results of a pairing: games, shares of wins and ties in percent, mean gold of both sides."""

    games: int
    wins: float
    ties: float
    allies: float
    enemies: float


# The public Python code (github.com/vietbt/IMAXPPO) on the official maps, with its mask working as intended.
REFERENCE = {
    (UNMASKED, "easy"): Figures(200, 0.0, 22.5, 3, 166),
    (UNMASKED, "medium"): Figures(200, 0.0, 18.5, 5, 201),
    (RANDOM, "easy"): Figures(600, 0.8, 0.0, 937, 2228),
    (RANDOM, "medium"): Figures(400, 0.2, 0.0, 891, 2382),
    (RANDOM, "hard"): Figures(60, 0.0, 0.0, 878, 2421),
    ("greedy", "easy"): Figures(2600, 49.8, 1.0, 1902, 1894),
    ("greedy", "medium"): Figures(400, 31.8, 1.8, 1881, 2062),
    ("greedy", "hard"): Figures(60, 25.0, 1.7, 1889, 2203),
    ("deepmind", "easy"): Figures(400, 59.2, 2.0, 2055, 1925),
    ("deepmind", "medium"): Figures(400, 43.2, 2.5, 1947, 1992),
    ("deepmind", "hard"): Figures(60, 21.7, 1.7, 1840, 2034),
    ("black_panther", "easy"): Figures(60, 80.0, 0.0, 2169, 1842),
    ("black_panther", "medium"): Figures(60, 71.7, 1.7, 2045, 1900),
    ("black_panther", "hard"): Figures(100, 49.0, 0.0, 1894, 1922),
}


def play(
    player: str,
    difficulty: str,
    games: int,
    maps: str | None = None,
    seed: int = 0,
    masked: bool = False,
    **arguments: Any,
) -> dict[str, np.ndarray]:
    """Play games with seeds from `seed` on; returns arrays (games,): gold of both sides, won, rounds, eliminated."""
    free = player == UNMASKED or (player == "black_panther" and not masked)
    arguments = {"maps": maps, "mask": not free, **arguments}
    env = mail_envs.make_vec(f"gold_miner_{difficulty}_2_vs_2", games, autoreset=False, **arguments)
    choose = chooser(env, player, np.random.default_rng(seed))
    _, info = env.reset(seed=seed)
    running = np.ones(games, bool)
    while running.any():
        _, _, terminated, truncated, info = env.step(choose(info))
        running = ~(terminated | truncated)
    world = env.buffers.world
    return {
        "won": info["metrics"]["won"].copy(),
        "allies": info["metrics"]["gold_allies"].copy(),
        "enemies": info["metrics"]["gold_enemies"].copy(),
        "rounds": world["step"].copy(),
        "eliminated": (world["status"] != 0).any(axis=1),
    }


def chooser(env: Any, player: str, rng: np.random.Generator) -> Callable[[dict], np.ndarray]:
    """A function that chooses the allies' actions: a bot, or random legal actions."""
    if player in (RANDOM, UNMASKED):
        return lambda info: (rng.random(info["action_mask"].shape) * info["action_mask"]).argmax(-1)
    advice, envs = Advice(env, player), np.arange(env.num_envs)

    def advise(info: dict) -> np.ndarray:
        keys = rng.integers(0, 2**63, env.num_envs).astype(np.uint64)
        return advice(envs, info["participation"], keys)

    return advise


def figures(played: dict[str, np.ndarray]) -> Figures:
    """A summary of the results of `play`."""
    tied = played["allies"] == played["enemies"]
    shares = (100 * float(played["won"].mean()), 100 * float(tied.mean()))
    gold = (float(played["allies"].mean()), float(played["enemies"].mean()))
    return Figures(len(tied), *shares, *gold)


def gap(played: dict[str, np.ndarray], reference: Figures) -> float:
    """The largest difference to the reference, in standard errors of the difference.

    The standard deviation of gold is that of `played`; wins are binomial with the pooled rate.
    """
    mine, scale = figures(played), math.sqrt(1 / len(played["won"]) + 1 / reference.games)
    wins = mine.wins * mine.games + reference.wins * reference.games
    pooled = wins / (mine.games + reference.games)
    spread = max(math.sqrt(pooled * (100 - pooled)), 1e-9)
    gaps = [abs(mine.wins - reference.wins) / (spread * scale)]
    for side in ("allies", "enemies"):
        deviation = max(float(played[side].std()), 1e-9)
        difference = abs(getattr(mine, side) - getattr(reference, side))
        gaps.append(difference / (deviation * scale))
    return max(gaps)


def table(games: int, maps: str | None, seed: int, masked: bool) -> list[str]:
    """Play all pairings; returns the lines of a Markdown table."""
    lines = [
        "| allies | enemies | games | win % | tie % | allies' gold | enemies' gold | eliminated % | "
        "public code: games, win, tie, gold | largest gap (SE) |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for player in PLAYERS:
        for difficulty in DIFFICULTIES:
            played = play(player, difficulty, games, maps, seed, masked)
            f, known = figures(played), REFERENCE.get((player, difficulty))
            out = 100 * played["eliminated"].mean()
            other = "–" if known is None else _reference(known)
            apart = "–" if known is None else f"{gap(played, known):.1f}"
            lines.append(
                f"| {player} | {difficulty} | {f.games} | {f.wins:.1f} | {f.ties:.1f} | "
                f"{f.allies:.0f} ± {_error(played['allies']):.0f} | "
                f"{f.enemies:.0f} ± {_error(played['enemies']):.0f} | {out:.1f} | {other} | {apart} |"
            )
    return lines


def _error(values: np.ndarray) -> float:
    """Standard error of the mean."""
    return float(values.std()) / math.sqrt(len(values))


def _reference(f: Figures) -> str:
    return f"{f.games}: {f.wins:.1f}, {f.ties:.1f}, {f.allies:.0f} : {f.enemies:.0f}"


def main(maps: Path | None = None, games: int = 400, seed: int = 0, masked: bool = False) -> None:
    """Play all pairings and print the table.

    Args:
        maps: file or folder of maps; default: the generated ones.
        games: number of games of each pairing.
        seed: seed of the first game.
        masked: BlackPanther uses the availability mask, too.
    """
    for line in table(games, None if maps is None else str(maps), seed, masked):
        print(line)


if __name__ == "__main__":
    tyro.cli(main)
