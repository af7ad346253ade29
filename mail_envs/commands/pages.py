"""`python -m mail_envs pages`: a page per id for docs/environments, with an animation, and an index."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import numpy as np
import tyro

from mail_envs.commands.info import REQUIRED, argument_rows, game_page, limit_text

if TYPE_CHECKING:
    from mail_envs.registry import EnvSpec

INDEX = "README.md"
PIXELS, FRAMES, FRAMES_PER_SECOND = 320, 25, 6.0
ROUNDS = 250  # limit for an animation, of which at most 100 are drawn
BYTES = 145_000  # limit for an animation
SEED = 1


def pages(
    ids: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="ID ...")] = (),
    out: Path = Path("docs/environments"),
    pictures: bool = True,
) -> None:
    """Write a page for each id, and the index.

    The page of a game whose simulator is not installed is left as it is.

    Args:
        ids: ids to write pages for; default: all.
        out: folder of the pages.
        pictures: render the animations again; otherwise the existing ones are kept.
    """
    import mail_envs

    out.mkdir(parents=True, exist_ok=True)
    specs = [mail_envs.spec(id) for id in ids] or suite_specs()
    skipped, drawn = {}, set()
    for spec in specs:
        problem = made(spec.id).problem
        picture = out / f"{picture_of(spec)}.gif"
        if pictures and not problem and picture not in drawn:
            drawn.add(picture)
            problem = draw(picture)
        if problem:
            skipped[spec.id] = problem
        if made(spec.id).game or not (out / f"{spec.id}.md").exists():
            (out / f"{spec.id}.md").write_text(page(spec, out))
    (out / INDEX).write_text(index(out))
    print(f"wrote {out / INDEX} and {len(specs)} pages")
    for id, problem in skipped.items():
        print(f"skipped {id}: {problem}")


def suite_specs() -> list[EnvSpec]:
    """All ids but those that users registered."""
    import mail_envs

    return [spec for spec in mail_envs.specs().values() if spec.family != "user"]


class Made(NamedTuple):
    """A game and its default player function, or the reason why it cannot be made."""

    game: Any = None
    player_function: Any = None
    problem: str = ""


@functools.cache
def made(id: str) -> Made:
    import mail_envs

    try:
        game, player_function = mail_envs.make_game(id)
    except (ImportError, OSError, RuntimeError, ValueError) as error:
        return Made(problem=" ".join(str(error).split()))
    game.close()  # a page needs only its attributes
    return Made(game, player_function)


# -- the text -------------------------------------------------------------------------------------


def page(spec: EnvSpec, folder: Path) -> str:
    """The page of an id, Markdown. It shows the picture if there is one in `folder`."""
    picture = f"{picture_of(spec)}.gif"
    parts = [f"# `{spec.id}`", f"{spec.summary[:1].upper()}{spec.summary[1:]}."]
    if (folder / picture).exists():
        parts.append(f"![{spec.id}]({picture})")
    parts.append(f'```python\nenv = mail_envs.make("{spec.id}")\n```')
    parts.append(game_page(spec))
    game, player_function, _ = made(spec.id)
    if game is not None:
        parts += ["## Spaces", spaces_table(game), "## Facts", facts_table(game, player_function)]
    parts += ["## Arguments", arguments_table(spec)]
    return "\n\n".join(parts) + "\n"


def spaces_table(game: Any) -> str:
    rows = [
        (names, describe(game.observation_spaces[agent]), describe(game.action_spaces[agent]))
        for agent, names in roles(game.agents).items()
    ]
    return table(("agents", "observation", "actions"), rows)


def facts_table(game: Any, player_function: Any) -> str:
    rows = {
        "player function": f"`{player_function!r}`",
        "time limit": limit_text(game.max_rounds, game.limit_is_end),
        "global state": describe(game.state_space),
        "action masks": "yes" if game.has_action_mask else "all actions are always allowed",
        "metrics": ", ".join(f"`{name}`" for name in game.metric_names) or "none",
        **{str(k).replace("_", " "): str(v) for k, v in game.metadata.items()},
    }
    return table(("", ""), list(rows.items()))


def arguments_table(spec: EnvSpec) -> str:
    """The game's arguments with the defaults of this id."""
    rows = [
        (f"`{name}`", kind, default if default == REQUIRED else f"`{default}`")
        for name, kind, default in argument_rows(spec, {})
    ]
    if spec.backends:
        rows.append(("`backend`", "str", f"native, or {', '.join(map(repr, spec.backends))}"))
    return table(("argument", "type", "default"), rows)


def index(folder: Path) -> str:
    """The table of all pages, by family."""
    parts = [
        "# Environments",
        "One page per id: observations, actions, rewards, ends, arguments, reference returns. "
        "`python -m mail_envs info ID` shows the same in a terminal; "
        "`python -m mail_envs pages` writes these pages from the games' docstrings.",
    ]
    families: dict[str, list[EnvSpec]] = {}
    for spec in suite_specs():
        families.setdefault(spec.family, []).append(spec)
    header = ("id", "agents", "observation", "actions", "who acts", "summary")
    for family, specs in families.items():
        rows = [index_row(spec, folder) for spec in specs]
        parts += [f"## {family.replace('_', ' ')}", table(header, rows)]
    return "\n\n".join(parts) + "\n"


def index_row(spec: EnvSpec, folder: Path) -> tuple[str, ...]:
    """A row of the index; if the game cannot be made, the existing one."""
    link = f"[`{spec.id}`]({spec.id}.md)"
    game, player_function, problem = made(spec.id)
    if problem:
        old = (folder / INDEX).read_text() if (folder / INDEX).exists() else ""
        line = re.search(rf"^\| {re.escape(link)} \|(.*)\|.*\|$", old, re.MULTILINE)
        cells = line[1].split(" | ") if line else [""] * 4
        return (link, *(cell.strip() for cell in cells), spec.summary)
    first = list(roles(game.agents))
    cells = [
        ", ".join(dict.fromkeys(describe(spaces[agent]) for agent in first))
        for spaces in (game.observation_spaces, game.action_spaces)
    ]
    return (link, str(len(game.agents)), *cells, f"`{player_function!r}`", spec.summary)


def roles(agents: Sequence[str]) -> dict[str, str]:
    """For the first agent of every role, the names of all agents with this role."""
    groups: dict[str, list[str]] = {}
    for agent in agents:
        groups.setdefault(agent.rpartition("_")[0] or agent, []).append(agent)
    few = {names[0]: ", ".join(f"`{n}`" for n in names) for names in groups.values()}
    many = {n[0]: f"`{n[0]}` … `{n[-1]}`" for n in groups.values() if len(n) > 3}
    return few | many


def describe(space: Any) -> str:
    """A short description of a Gymnasium space: `Discrete(5)`, `Box(-1, 1, (6,))`."""
    if not hasattr(space, "low"):
        return f"`{space}`"
    low, high = (np.unique(bound) for bound in (space.low, space.high))
    bounds = f"{low[0]:g}, {high[0]:g}" if len(low) == len(high) == 1 else "own bounds"
    kind = "" if space.dtype == np.float32 else f", {space.dtype}"
    return f"`Box({bounds}, {space.shape}{kind})`"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    escaped = ([cell.replace("|", "\\|") for cell in line] for line in lines)
    return "\n".join(f"| {' | '.join(line)} |" for line in escaped)


# -- the animations ---------------------------------------------------------------------------------


def picture_of(spec: EnvSpec) -> str:
    """The id whose animation is shown for this id: the last one with the same `picture_key`."""
    same = [one.id for one in suite_specs() if picture_key(one) == picture_key(spec)]
    return same[-1] if same else spec.id


def picture_key(spec: EnvSpec) -> tuple:
    """The game and those of its arguments that have a visible effect."""
    visible = dict(spec.arguments)
    visible.pop("difficulty", None)
    if visible.get("battle", "").startswith("smacv2"):  # one animation per race
        visible["battle"] = visible["battle"].split("_")[1]
    if "Segment" not in visible.get("scenario", ""):  # where `conf` has the number of segments
        visible.pop("conf", None)
    return spec.entry_point, sorted(visible.items())


def draw(path: Path) -> str:
    """Render the id that the file is named after, played by its best policy; returns the problem, if any."""
    import mail_envs
    from demos.policies import best_policy, load_policy
    from mail_envs.commands.render import play_episode
    from mail_envs.drawing import RenderingError
    from mail_envs.film import Film
    from mail_envs.rendering import Canvas, write_gif

    limit = made(path.stem).game.max_rounds
    vector = mail_envs.make_vec(path.stem, max_rounds=min(limit, ROUNDS), autoreset=False)
    vector.max_rounds = limit  # shown in the status line
    policy = load_policy(best_policy(vector), vector)
    canvas = Canvas((PIXELS, PIXELS), title=vector.id)
    try:
        film = Film(limit, every=-(-min(limit, ROUNDS) // 100))
        play_episode(vector, policy, SEED, canvas, film, label=vector.id)
    except (ImportError, NotImplementedError, RenderingError, RuntimeError) as error:
        return f"no picture: {' '.join(str(error).split())}"
    finally:
        vector.close()
    played = film.frames
    for count in range(FRAMES, 0, -2):
        chosen = np.linspace(0, len(played) - 1, min(count, len(played))).round().astype(int)
        write_gif(path, [played[k] for k in chosen], FRAMES_PER_SECOND)
        if path.stat().st_size <= BYTES:
            break
    print(f"{path} ({path.stat().st_size / 1000:.0f} kB)")
    return ""
