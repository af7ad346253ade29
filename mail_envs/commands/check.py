"""`python -m mail_envs check FILE|ID`: does a game keep what every game promises?"""

from __future__ import annotations

import importlib.util
import inspect
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Annotated

import tyro

from mail_envs.commands import CommandError, parse_settings

COLORS = {"PASS": "green", "FAIL": "bold red", "SKIP": "yellow"}


def check(
    games: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="FILE|ID")],
    settings: Annotated[tuple[str, ...], tyro.conf.arg(name="set", metavar="NAME=VALUE")] = (),
) -> int:
    """Run the conformance tests on games; a failure comes with what usually mends it.

    Args:
        games: ids, or Python files that define a game. A file either calls `mail_envs.register`, or
            the one game class in it is registered under its name in snake case.
        settings: arguments of the games, e.g. `--set num_agents=5`.
    """
    from rich.console import Console

    from mail_envs.conformance import Subject, run_checks

    if not games:
        raise CommandError("name a game or a file, see `python -m mail_envs list`")
    console = Console(soft_wrap=True, highlight=False)
    failures = 0
    for id in [id for game in games for id in ids_of(game)]:
        console.print(f"[bold]{id}[/]")
        for result in run_checks(Subject(id, parse_settings(settings))):
            console.print(f"  [{COLORS[result.status]}]{result.status}[/] {result.name}")
            for label, text in (("", result.message), ("fix: ", result.fix)):
                if text:
                    console.print(f"       {label}{text}", markup=False, style="dim")
            failures += result.status == "FAIL"
    console.print(f"{failures} failed" if failures else "all passed")
    return 1 if failures else 0


def ids_of(game: str) -> list[str]:
    """The ids that a FILE|ID argument stands for; files are imported."""
    import mail_envs

    if not game.endswith(".py"):
        try:
            return [mail_envs.spec(game).id]
        except ValueError as error:
            raise CommandError(str(error)) from error
    known = set(mail_envs.specs())
    module = import_file(Path(game))
    ids = [id for id in mail_envs.specs() if id not in known]
    return ids or [register_class(module)]


def import_file(path: Path) -> ModuleType:
    """Import a file as a module of its own name, so that its functions can be found again."""
    if not path.is_file():
        raise CommandError(f"{path}: there is no such file")
    if path.stem in sys.modules:
        raise CommandError(f"{path}: a module named {path.stem!r} exists already; rename the file")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = sys.modules[path.stem] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise CommandError(f"{path} cannot be imported: {type(error).__name__}: {error}") from error
    return module


def register_class(module: ModuleType) -> str:
    """Register the one game class that `module` defines; returns its id."""
    import mail_envs
    from mail_envs.markov_game import MarkovGame

    classes = [
        value
        for value in vars(module).values()
        if inspect.isclass(value)
        and issubclass(value, MarkovGame)
        and value.__module__ == module.__name__
    ]
    if len(classes) != 1:
        found = ", ".join(kind.__name__ for kind in classes) or "none"
        raise CommandError(
            f"{module.__file__}: expected a call of mail_envs.register or exactly one subclass of "
            f"KernelGame, found {found}"
        )
    id = re.sub(r"(?<!^)(?=[A-Z])", "_", classes[0].__name__).lower()
    try:
        mail_envs.register(id, classes[0])
    except ValueError as error:
        raise CommandError(f"{module.__file__}: {error}") from error
    return id
