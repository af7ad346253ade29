"""Measure random play and the expert in games with default arguments, for normalized returns.

    python -m learners.references                      # every game with an expert, shipped or scripted
    python -m learners.references stochastic_coop_nav smac_3m

The episodes are those of the stream `references` of seed 0. The means are written to
demos/experts/references.json, which all runs, evaluations and reports read.
"""

from __future__ import annotations

import dataclasses
import math
import os
import sys
from collections.abc import Sequence
from contextlib import closing
from typing import Any

import numpy as np
import tyro

from demos.experts import SCRIPTED
from demos.policies import EXPERTS, load_policy
from learners.lib.evaluation import best_expert, evaluate, make_copies
from learners.lib.fields import Count
from learners.lib.files import read_json, whole, write_json
from learners.lib.references import SHIPPED
from mail_envs.commands.errors import exit_status
from mail_envs.streams import stream_seed

SEED = 0


@dataclasses.dataclass(frozen=True)
class Args:
    """Measure the references of normalized returns."""

    ids: tyro.conf.Positional[tuple[str, ...]] = ()
    """Games; by default all with a trained or a scripted expert."""
    episodes: Count = 1000
    """Number of episodes."""
    force: bool = False
    """Also replace measurements over more episodes, as after a change of a game's rules."""


def measure(id: str, episodes: int) -> dict[str, Any]:
    """Mean returns of random play and of the expert, and win rates in games that report who won.

    ValueError: the expert is not better than random play by two standard errors, so it cannot serve as a reference
    (example: in predator-prey with both sides scripted, the prey's return is no better than at random).
    """
    seeds = stream_seed(SEED, "references") + np.arange(episodes)
    expert = best_expert(id)
    with closing(make_copies(id, episodes, {})) as vec:
        found = {
            name: evaluate(vec, load_policy(spec, vec), seeds, f"{id}: {spec}")
            for name, spec in (("random", "random"), ("expert", expert))
        }
    gain = found["expert"]["return"] - found["random"]["return"]
    if gain <= 2 * math.hypot(*(f["sd"] / math.sqrt(episodes) for f in found.values())):
        raise ValueError(
            f"{id}: the {expert} policy returns {found['expert']['return']:.2f}, random play "
            f"{found['random']['return']:.2f}: too small a difference for a reference"
        )
    figures: dict[str, Any] = {"expert": expert, "episodes": episodes, "seed": SEED}
    for name, result in found.items():
        figures[f"{name}_return"] = round(result["return"], 4)
        if "win_rate" in result:
            figures[f"{name}_win_rate"] = round(result["win_rate"], 4)
    return figures


def games_with_experts() -> list[str]:
    """Ids with a trained expert, demos/experts/<id>.safetensors, or a scripted one."""
    trained = sorted({path.name.partition(".")[0] for path in EXPERTS.glob("*.safetensors")})
    return list(dict.fromkeys([*SCRIPTED, *trained]))


def check_fewer(ids: Sequence[str], episodes: int) -> None:
    """ValueError: the file has a measurement of one of the games over more episodes."""
    known = read_json(SHIPPED) if os.path.lexists(SHIPPED) else {}
    for id in ids:
        if id in known and (stored := whole(SHIPPED, known[id], "episodes")) > episodes:
            raise ValueError(
                f"{id}: {episodes} episodes would replace the measurement over {stored} in {SHIPPED.name}: give "
                f"--episodes {stored} or more, or --force"
            )


def command(args: Args) -> None:
    """Measure the games one by one, and write each result to the file."""
    ids = args.ids or games_with_experts()
    if not args.force:
        check_fewer(ids, args.episodes)
    for id in ids:
        try:
            figures = measure(id, args.episodes)
        except ValueError as error:
            if args.ids:
                raise
            print(f"left out: {error}")
            continue
        known = read_json(SHIPPED) if os.path.lexists(SHIPPED) else {}
        write_json(SHIPPED, dict(sorted({**known, id: figures}.items())))
        print(
            f"{id}: random {figures['random_return']}, {figures['expert']} {figures['expert_return']}"
        )


def main(args: Args) -> int:
    """The command; returns its exit status, see `mail_envs.commands.errors`."""
    return exit_status(lambda: command(args))


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Args, prog="python -m learners.references", description=Args.__doc__)))
