"""`python -m mail_envs check FILE|ID`: run the conformance tests on a game."""

from __future__ import annotations

from typing import Annotated

import tyro

from mail_envs.commands.errors import CommandError
from mail_envs.settings_text import SETTINGS, game_id, game_keywords

COLORS = {"PASS": "green", "FAIL": "bold red", "SKIP": "yellow"}


def check(
    games: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="FILE|ID")],
    settings: Annotated[tuple[str, ...], SETTINGS] = (),
    player_function: str | None = None,
) -> int:
    """Run the conformance tests on games; each failure is shown with its usual fix.

    Args:
        games: ids, or Python files that define a game. A file either calls `mail_envs.register`, or
            defines one game class, which is registered under its name in snake case. If a file defines
            several games, `my_games.py:id` selects one.
        settings: arguments of the games, e.g. `--set num_agents=5`.
        player_function: player function, e.g. `Stochastic(0.3)`.
    """
    from rich.console import Console
    from rich.status import Status

    from mail_envs.conformance import Subject, run_checks

    if not games:
        raise CommandError("name a game or a file, see `python -m mail_envs list`")
    keywords = game_keywords(settings, player_function)
    console = Console(soft_wrap=True, highlight=False)
    failures = 0
    for id in [game_id(game) for game in games]:
        console.print(f"[bold]{id}[/]")
        with Status("", console=console) as running:  # shows only on terminals
            for result in run_checks(Subject(id, keywords), running.update):
                console.print(f"  [{COLORS[result.status]}]{result.status}[/] {result.name}")
                for label, text in (("", result.message), ("fix: ", result.fix)):
                    if text:
                        console.print(f"       {label}{text}", markup=False, style="dim")
                failures += result.status == "FAIL"
    console.print(f"{failures} failed" if failures else "all passed")
    return 1 if failures else 0
