"""Evaluate a trained, shipped, scripted or random policy, alone or against another one.

    python -m learners.evaluate runs/amagail_stochastic_coop_nav_0
    python -m learners.evaluate expert --env stochastic_predator_prey --against RUN --roles adversary

Episodes are drawn from the evaluation stream of the run's seed (or of `--seed`), which shares no episode with
training or demonstrations. The policies' random numbers are keyed by episode and round, so results repeat
exactly, and policies evaluated with the same seed start from the same initial states. The interval of the
mean is Student's t over episodes. The return is averaged over the game's return agents (predator-prey: the
prey; usually all agents); normalized returns are 0 for random play and 1 for the expert.

The result is written into the run folder: `evaluation.json`, `evaluation_greedy.json` with `--greedy`, or
`cross_play_<other>.json` for cross-play, which `learners.report` collects. A file with more episodes is not
replaced by one with fewer. With `--json` nothing is written, nor is the `evaluation.json` of a run that is still in
training or was interrupted: reports and sweeps take it for the run's result.
"""

from __future__ import annotations

import dataclasses
import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from rich.console import Console
from rich.markup import escape
from rich.table import Table

import mail_envs
from demos.policies import load_policy
from learners.lib import evaluation
from learners.lib.evaluation import (
    best_expert,
    evaluation_seeds,
    make_copies,
    measure_references,
    normalized,
    role,
)
from learners.lib.evaluation_file import NAMES, keep_larger, read_evaluation
from learners.lib.game import describe, same_game
from learners.lib.outcomes import wins_text
from learners.lib.references import shipped
from learners.lib.settings import read_config
from learners.lib.sources import Source, find, known_references
from mail_envs.commands.errors import exit_status
from mail_envs.player_functions import Synchronous
from mail_envs.recorded import Named
from mail_envs.settings_text import SETTINGS, game_id, game_keywords, merge_sets

UNUSED_BY_REWARDS = ("episodes", "seed", "greedy", "against", "roles", "references")


@dataclasses.dataclass(frozen=True)
class Args:
    """Play many episodes with fixed seeds and report their returns."""

    policy: tyro.conf.Positional[str]
    """Run folder, policy file (.safetensors), expert, scripted or random."""
    env: str | None = None
    """Id of the game, or the Python file of your own game. Required for expert, scripted and random;
    otherwise the game that the policy was trained on."""
    set: Annotated[tuple[str, ...], SETTINGS] = ()
    """Arguments of the game, e.g. `--set num_agents=5`; they are added to those of the run."""
    player_function: str | None = None
    """Who acts when, e.g. `Stochastic(0.3)`; None: as in training."""
    episodes: int = 1000
    """Number of episodes."""
    seed: int | None = None
    """Seed of the episodes; None: the run's seed, or 0 without a run."""
    greedy: bool = False
    """Take the most likely action instead of sampling."""
    against: str | None = None
    """Cross-play: this policy (as above) plays the agents of --roles."""
    roles: Annotated[tuple[str, ...], tyro.conf.arg(metavar="ROLE")] = ()
    """Roles that --against plays, such as adversary; by default all but the first."""
    references: bool = False
    """Also evaluate random play and the expert (or scripted) on the same episodes, to normalize returns."""
    rewards: str | None = None
    """Demonstrations: write the reward that a run of mifq or mafis has learned beside them, as DEMOS.rewards_RUN.npz
    (one row per round: episode, round, reward, true_reward, counts), and print its correlation with the true one."""
    json: bool = False
    """Print JSON and write no file."""


# -------------------------------------------------------------------------------------------- playing
def choose_game(source: Source, args: Args) -> tuple[str, dict[str, Any]]:
    """Id and arguments of the game that is played."""
    if source.env is None:
        if args.env is None:
            raise ValueError(f"--env is needed to evaluate {source.spec!r}")
        return game_id(args.env), game_keywords(args.set, args.player_function)
    id = source.env if args.env is None else game_id(args.env)
    if id == source.env:
        return id, source.arguments
    if mail_envs.spec(id).entry_point != mail_envs.spec(source.env).entry_point:
        raise ValueError(
            f"{source.spec} was trained on {source.env}, which is another game than {id}"
        )
    arguments = dict(source.arguments)
    if args.player_function is None:
        arguments.pop("player_function", None)  # use the id's own
    return id, arguments


def others(vec: Any, roles: Sequence[str]) -> np.ndarray:
    """Agents that the opponent controls in cross-play, int (n,)."""
    known = list(dict.fromkeys(role(a) for a in vec.agents))
    for name in roles:
        if name not in known:
            raise ValueError(f"role {name!r} is unknown in {vec.id}; choose {', '.join(known)}")
    chosen = list(roles) or known[1:]
    if not chosen or len(set(chosen)) == len(known):
        raise ValueError(
            f"cross-play needs two sides: {vec.id} has the roles {', '.join(known)}, --against plays "
            f"{', '.join(chosen) or 'none of them'}"
        )
    return np.array([i for i, a in enumerate(vec.agents) if role(a) in chosen])


def joint(first, second, agents: np.ndarray):
    """A joint policy: `second` controls `agents`, `first` the rest."""

    def policy(observations, info, rng):
        actions = np.array(first(observations, info, rng))
        actions[:, agents] = np.asarray(second(observations, info, rng))[:, agents]
        return actions

    return policy


def evaluate(args: Args) -> dict[str, Any]:
    """Run the evaluation; returns the result that is written as JSON."""
    if args.episodes < 1:
        raise ValueError(f"episodes={args.episodes} must be at least 1")
    if args.roles and args.against is None:
        raise ValueError("--roles needs --against, the policy that plays these roles")
    sides = [p for p in (args.policy, args.against) if p is not None]
    if args.greedy and all(p.partition(":")[0] in ("random", "scripted") for p in sides):
        raise ValueError(f"--greedy needs a learned policy, which {' and '.join(sides)} is not")
    if args.env is not None:
        game_id(args.env)  # imports the user's own game, which files may then refer to
    named = Named.typed(None, args.player_function, args.set)
    source = find(args.policy, named)
    opponent = None if args.against is None else find(args.against, named)
    if source.env is None and args.env is None and opponent is not None and opponent.env:
        id, arguments = choose_game(opponent, args)
    else:
        id, arguments = choose_game(source, args)
        if opponent is not None:
            choose_game(opponent, dataclasses.replace(args, env=id))
    seed = source.identity.get("seed") if args.seed is None else args.seed
    seeds = evaluation_seeds(seed or 0, args.episodes)
    vec = make_copies(id, args.episodes, arguments)
    try:
        path = destination(args, source, opponent, id, vec)
        early = "" if path is None or path.name != NAMES[False] else unfinished(source)
        if path is not None:
            read_evaluation(path)  # a damaged file is an error before anything is played
        if args.references:
            load_policy(best_expert(vec.id), vec)  # there may be none
        result = {"env": id, "policy": source.identity, **play(vec, source, opponent, args, seeds)}
        references = {}
        if args.references:
            references = measure_references(vec, seeds, shown=True)
        elif id == source.env and source.own_game and source.folder is not None:
            references = known_references(source.folder)
        elif unchanged(id, arguments, vec):
            references = shipped(id)
    finally:
        vec.close()
    score = normalized(result["return"], references)
    result |= {"references": references, "normalized_return": score, **source.training}
    if early:
        result["file"] = f"no file: {early}"
    elif path is not None:
        result["file"] = keep_larger(path, result) or str(path)
    return result


def unchanged(id: str, arguments: Mapping[str, Any], vec: Any) -> bool:
    """Whether these arguments, some of which may be the defaults, leave the game of `id` as it is."""
    if arguments.keys() != {"player_function"}:
        return not arguments
    default = mail_envs.spec(id).player_function
    usual = Synchronous() if default is None else default(vec.num_agents)
    return vec.player_function.to_config() == usual.to_config()


def unfinished(source: Source) -> str:
    """Why a run's policy is not yet its result, or "". A run that ended before its last step has its own evaluation."""
    assert source.folder is not None
    planned, steps = read_config(source.folder).get("steps"), source.training.get("steps")
    own = (read_evaluation(source.folder / NAMES[False]) or {}).get("steps")
    if planned is None or steps is None or steps >= planned or steps == own:
        return ""
    return f"{source.folder} has made {steps:,} of {planned:,} steps, --resume finishes it"


def play(
    vec: Any, source: Source, opponent: Source | None, args: Args, seeds: np.ndarray
) -> dict[str, Any]:
    """Play the episodes of `seeds`, against the opponent if there is one; returns their figures."""
    policy = load_policy(source.spec, vec, args.greedy)
    mode = {"mode": "greedy" if args.greedy else "sample"}
    if opponent is None:
        return {**evaluation.evaluate(vec, policy, seeds, "evaluating"), **mode}
    theirs = others(vec, args.roles)
    policy = joint(policy, load_policy(opponent.spec, vec, args.greedy), theirs)
    sides = {"against": opponent.identity, "against_plays": [vec.agents[i] for i in theirs]}
    return {**sides, **evaluation.evaluate(vec, policy, seeds, "evaluating"), **mode}


def destination(
    args: Args, source: Source, opponent: Source | None, id: str, vec: Any
) -> Path | None:
    """File for the result; None without a run folder, or when the run was trained on another game."""
    home, guest = (source, opponent) if source.folder or opponent is None else (opponent, source)
    if args.json or home.folder is None or id != home.env or not home.own_game:
        return None
    if guest is None:
        return home.folder / NAMES[args.greedy]
    # With --env, the game need not be that of the run.
    if not same_game(describe(vec), home.metadata):
        return None
    words = [str(v) for v in guest.identity.values() if v is not None]
    theirs = others(vec, args.roles).tolist()
    if theirs != others(vec, ()).tolist():  # not the usual sides
        words += ["against", *dict.fromkeys(role(vec.agents[i]) for i in theirs)]
    side = "" if home is source else "by_"
    name = re.sub(r"[^A-Za-z0-9]+", "_", "_".join(words)).strip("_")[:100]
    greedy = "_greedy" if args.greedy else ""
    return home.folder / f"cross_play_{side}{name}{greedy}.json"


# --------------------------------------------------------------------------------------------- showing
def show(result: dict[str, Any], title: str, console: Console) -> None:
    """Print the result as a table."""
    table = Table(title=escape(title), title_justify="left", show_header=False)
    table.add_row("return", f"{result['return']:.2f} ± {result['sd']:.2f} (sd over episodes)")
    if result["confidence_interval"] is not None:
        low, high = result["confidence_interval"]
        table.add_row("95 % interval of the mean", f"{low:.2f} to {high:.2f} (Student's t)")
    score = result["normalized_return"]
    if score is None:
        table.add_row("normalized return", "unknown; --references measures random and expert")
    else:
        marks = ", ".join(f"{escape(k)} {v:.2f}" for k, v in result["references"].items())
        table.add_row("normalized return", f"{score:.3f} ({marks})")
    shared = [n for n in result["role_returns"] if n + "_1" in result["agent_returns"]]
    if len(result["role_returns"]) > 1:
        for name in shared:
            figures = result["role_returns"][name]
            table.add_row(f"return of {name}", f"{figures['mean']:.2f} ± {figures['sd']:.2f}")
    for name, value in result["agent_returns"].items():
        table.add_row(f"return of {name}", f"{value:.2f}")
    table.add_row("rounds", f"{result['length']:.1f}, {result['ended_early']:.1%} ended early")
    if "win_rate" in result:
        table.add_row("win rate, 95 % interval", f"{wins_text(result)} (Wilson)")
    for name, value in result["metrics"].items():
        table.add_row(name.replace("_", " "), f"{value:.3f}")
    first = result["seed"]
    seeds = f"{result['episodes']} ({result['mode']}), seeds from {first} on"
    table.add_row("episodes", seeds)
    if "file" in result:
        table.add_row("written to", escape(result["file"]))
    console.print(table)


def main(args: Args) -> int:
    """The command; returns its exit status, see `mail_envs.commands.errors`."""
    return exit_status(lambda: command(args))


def learned_rewards(args: Args) -> dict[str, Any]:
    """Write the learned reward of demonstrations beside them; returns its figures."""
    from learners.lib.recovered import write_rewards

    named = Named.typed(None, args.player_function, args.set)
    source = find(args.policy, named)
    if source.folder is None:
        raise ValueError(f"{args.policy} is not a run folder, and so has learned no reward")
    id, arguments = choose_game(source, args)
    vec = mail_envs.make_vec(id, array="torch", replayable=True, **arguments)
    try:
        return write_rewards(source.folder, vec, str(args.rewards))
    finally:
        vec.close()


def command(args: Args) -> None:
    """Evaluate and print the result."""
    if args.rewards is not None:
        given = [n for n in UNUSED_BY_REWARDS if getattr(args, n) != getattr(Args, n)]
        if given:
            raise ValueError(
                f"--rewards plays no episodes; leave out {', '.join('--' + n for n in given)}"
            )
        print(json.dumps(learned_rewards(args), indent=1))
        return
    result = evaluate(args)
    if args.json:
        print(json.dumps(result, indent=1))
        return
    title = f"{args.policy} on {result['env']}"
    if args.against is not None:
        title += f", {', '.join(result['against_plays'])} by {args.against}"
    show(result, title, Console())


if __name__ == "__main__":
    words = merge_sets(sys.argv[1:])
    prog = "python -m learners.evaluate"
    sys.exit(main(tyro.cli(Args, prog=prog, args=words, description=Args.__doc__)))
