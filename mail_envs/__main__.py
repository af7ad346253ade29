"""The command line: `python -m mail_envs list | info | play | render | bench | check | pages`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import tyro

from mail_envs.commands.bench import bench
from mail_envs.commands.check import check
from mail_envs.commands.errors import exit_status
from mail_envs.commands.info import info
from mail_envs.commands.list import list_games
from mail_envs.commands.pages import pages
from mail_envs.commands.play import play
from mail_envs.commands.render import render
from mail_envs.settings_text import merge_sets

COMMANDS = {
    "list": list_games,
    "info": info,
    "play": play,
    "render": render,
    "bench": bench,
    "check": check,
    "pages": pages,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit status, see `mail_envs.commands.errors`."""
    return exit_status(
        lambda: tyro.extras.subcommand_cli_from_dict(
            COMMANDS,
            prog="python -m mail_envs",
            description="Asynchronous Markov games: list, play, render, benchmark and check them.",
            args=merge_sets(sys.argv[1:] if arguments is None else arguments),
            config=(tyro.conf.OmitArgPrefixes, tyro.conf.FlagCreatePairsOff),
        )
    )


if __name__ == "__main__":
    sys.exit(main())
