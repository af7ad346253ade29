"""`python -m mail_envs list`: the table of ids."""

from __future__ import annotations


def list_games(family: str | None = None) -> None:
    """List every registered game.

    Args:
        family: list only the games of this family.
    """
    from rich.console import Console
    from rich.table import Table

    import mail_envs
    from mail_envs.commands.errors import CommandError

    specs = mail_envs.specs()
    families = sorted({spec.family for spec in specs.values()})
    if family is not None and family not in families:
        raise CommandError(f"family {family!r} is not one of {', '.join(families)}")
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("id", "family", "summary"):
        table.add_column(column, no_wrap=column != "summary")
    for spec in specs.values():
        if family in (None, spec.family):
            table.add_row(f"[bold cyan]{spec.id}[/]", spec.family, spec.summary)
    console = Console()
    console.print(table)
    console.print("\n[dim]python -m mail_envs info ID[/] describes a game.")
