"""Import other people's recordings as a set of demonstrations: OG-MARL's of StarCraft, and Minari data sets.

    python -m demos.convert --from og-marl 3m.vlt/Good --env smac_3m --out good_3m
    python -m demos.convert --from minari mail/stochastic_coop_nav/expert-v0 --out nav_demos

`og-marl`: vaults of battles in the real StarCraft, see `demos.og_marl`. `minari`: data sets that `demos.to_minari` wrote.
"""

from __future__ import annotations

import sys
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

import mail_envs
from demos.minari import from_minari
from demos.og_marl import from_og_marl
from mail_envs.commands.errors import exit_status
from mail_envs.settings_text import SETTINGS, game_id, game_keywords, merge_sets


@dataclass
class Args:
    """Import a data set into a new folder of demonstrations."""

    source: tyro.conf.Positional[str]
    """The vault's folder, or the Minari data set's id."""
    out: Path
    """Folder of the new set."""
    format: Annotated[Literal["og-marl", "minari"], tyro.conf.arg(name="from")]
    """Whose format it is."""
    env: str | None = None
    """With og-marl, id of the game; it must have the same sizes."""
    set: Annotated[tuple[str, ...], SETTINGS] = ()
    """Arguments of that game."""


def main(args: Args) -> int:
    """Run the command; returns its exit status, see `mail_envs.commands.errors`."""
    return exit_status(lambda: command(args))


def command(args: Args) -> None:
    """Import the data, and print a summary of the set."""
    if args.format == "minari":
        given = [name for name in ("env", "set") if getattr(args, name)]
        if given:
            raise ValueError(
                f"--{' and --'.join(given)}: only for --from og-marl; Minari data sets say what game they are of"
            )
        found = from_minari(args.source, args.out)
    elif args.env is None:
        raise ValueError("--from og-marl needs the game, such as --env smac_3m")
    else:
        with closing(mail_envs.make_vec(game_id(args.env), 1, **game_keywords(args.set))) as env:
            found = from_og_marl(args.source, env, args.out)
    figures = found.statistics()
    print(
        f"{args.out}: {figures['episodes']} episodes, {figures['transitions']} transitions, "
        f"return {figures['return_mean']:.2f} ± {figures['return_sd']:.2f}"
    )


if __name__ == "__main__":
    words = merge_sets(sys.argv[1:])
    sys.exit(main(tyro.cli(Args, prog="python -m demos.convert", args=words)))
