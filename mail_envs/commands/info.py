"""`python -m mail_envs info ID`: a game's page, spaces, agents, player function and arguments."""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from mail_envs.commands.arguments import GameArguments

if TYPE_CHECKING:
    from rich.table import Table

    from mail_envs.registry import EnvSpec


REQUIRED = "required"


def info(game: GameArguments) -> None:
    """Show the documentation, spaces, player function and arguments of a game.

    Args:
        game: the game.
    """
    from rich.console import Console
    from rich.markdown import Markdown
    from rich.rule import Rule

    import mail_envs

    vector = game.make()
    spec = mail_envs.spec(vector.id)
    console = Console()
    console.print(Rule(f"[bold]{vector.id}"))
    if spec.summary:
        console.print(spec.summary, style="italic")
    page = game_page(spec)
    if page:
        console.print()
        console.print(Markdown(page))
    console.print()
    changed = game.settings or game.player_function or game.max_rounds is not None
    console.print(_facts(vector, {} if changed else references(vector.id)))
    console.print()
    console.print(_agents(vector))
    console.print()
    console.print(_arguments(spec, vector.arguments))
    console.print(f'\n[dim]env = mail_envs.make("{game.id}")')


def game_page(spec: EnvSpec) -> str:
    """The docstring of the game's module, Markdown."""
    return inspect.cleandoc(sys.modules[spec.load().__module__].__doc__ or "")


def argument_rows(spec: EnvSpec, given: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Name, type and default of the game's arguments; defaults are those of this id or given by the user."""
    for name, parameter in inspect.signature(spec.load()).parameters.items():
        kind = parameter.annotation
        shown = "" if kind is inspect.Parameter.empty else getattr(kind, "__name__", str(kind))
        default = {**spec.arguments, **given}.get(name, parameter.default)
        yield name, shown, REQUIRED if default is inspect.Parameter.empty else repr(default)


def limit_text(rounds: int, is_end: bool) -> str:
    """The time limit, and whether it is part of the task."""
    return f"{rounds} rounds" + (", part of the task" if is_end else "")


def references(id: str) -> dict[str, str]:
    """What random play and the shipped or scripted expert reach in a game with default arguments, where measured."""
    from demos.policies import EXPERTS

    figures = json.loads((EXPERTS / "references.json").read_text()).get(id)
    if figures is None:
        trained = (EXPERTS / f"{id}.safetensors").is_file()
        return {"expert": "trained, its return is not measured"} if trained else {}

    def reached(who: str) -> str:
        text = f"return {figures[f'{who}_return']:.2f}"
        if f"{who}_win_rate" in figures:
            text += f", wins {figures[f'{who}_win_rate']:.1%}"
        return f"{text} over {figures['episodes']:,} episodes"

    kind = "trained" if figures["expert"] == "expert" else figures["expert"]
    how = f"{kind}, --policy {figures['expert']}"
    return {"random play": reached("random"), "expert": f"{reached('expert')} ({how})"}


def _facts(vector: Any, reached: dict[str, str]) -> Table:
    from rich.table import Table

    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    rows = {
        "player function": repr(vector.player_function),
        "time limit": limit_text(vector.max_rounds, vector.limit_is_end),
        "global state": str(vector.state_space.shape),
        "action masks": "yes" if vector.game.has_action_mask else "all actions are always allowed",
        "metrics": ", ".join(vector.game.metric_names) or "none",
        **{str(k).replace("_", " "): str(v) for k, v in vector.metadata.items()},
        **reached,
    }
    for name, value in rows.items():
        table.add_row(name, value.replace("[", r"\["))
    return table


def _agents(vector: Any) -> Table:
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("agent", "observation", "action"):
        table.add_column(column)
    for agent in vector.agents:
        spaces = (vector.observation_spaces[agent], vector.action_spaces[agent])
        table.add_row(agent, *(str(space).replace("[", r"\[") for space in spaces))
    return table


def _arguments(spec: EnvSpec, given: dict[str, Any]) -> Table:
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("argument", "type", "default"):
        table.add_column(column)
    for name, kind, default in argument_rows(spec, given):
        table.add_row(name, kind, default.replace("[", r"\["))
    return table
