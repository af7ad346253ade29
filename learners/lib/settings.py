"""The settings that all learners have, the command line, and the settings that a resumed run may change."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import sys
from collections.abc import Collection
from itertools import takewhile
from pathlib import Path
from typing import Annotated, Any, TypeVar

import docstring_parser
import tyro

from demos.policies import is_own_policy
from learners.lib.fields import check_mapping, field_types, fit
from learners.lib.files import read_yaml, wrong
from learners.lib.groups import Evaluation, Game, Running
from mail_envs.recorded import Named, run_game_of
from mail_envs.settings_text import (
    SET,
    game_id,
    merge_sets,
    parse_settings,
    player_function_config,
)

# Settings that do not change what is learned, and may change when a run is resumed.
OPERATIONAL = (
    "device",
    "threads",
    "checkpoint_every",
    "policy_every",
    "log_every",
    "eval_episodes",
    "eval_greedy",
    "film",
    "progress",
)
# Settings that may name the user's own code on the command line: games and players, and policies.
NAMING_GAMES, NAMING_POLICIES = ("env", "player_function", "set"), ("teacher", "demos")
LEARNERS = Path(__file__).resolve().parents[1]
COMMANDS = ("evaluate", "references", "report", "sweep")


@dataclasses.dataclass(frozen=True)
class Settings(Game, Running, Evaluation):
    """Settings shared by all learners; `learners.lib.groups` has more groups that a learner may use."""

    def __post_init__(self):
        """Raise TypeError or ValueError naming the first setting with an invalid value."""
        fit(self)


Kind = TypeVar("Kind", bound=Settings)


# ------------------------------------------------------------------------------------ the command line
def parse(kind: type[Kind], presets: dict[str, dict], words: list[str] | None = None) -> Kind:
    """Settings from the command line; `--preset NAME`, or `--resume DIR`, first replaces the defaults."""
    words = merge_sets(sys.argv[1:] if words is None else words)
    folder, preset = _value(words, "--resume"), _value(words, "--preset") or "default"
    presets = {"default": {}, **presets}
    if preset not in presets:
        raise ValueError(f"preset {preset!r} is unknown; choose from {', '.join(presets)}")
    default = kind(**{"preset": preset, **presets[preset]})
    if folder is not None:
        typed = {name: _value(words, "--" + name.replace("_", "-")) for name in NAMING_GAMES[:2]}
        changes: dict[str, Any] = {k: v for k, v in typed.items() if v is not None}
        if SET in words:
            changes["set"] = tuple(takewhile(_no_flag, words[words.index(SET) + 1 :]))
        policies = [name for name in NAMING_POLICIES if _value(words, "--" + name) is not None]
        default = resumed(folder, kind, policies, **changes)
    found: Any = tyro.cli(
        grouped(kind, default),
        prog=command_name(kind),
        args=words,
        description=kind.__doc__,
        config=(tyro.conf.OmitArgPrefixes,),
    )
    return kind(**{k: v for group in vars(found).values() for k, v in vars(group).items()})


def grouped(kind: type, default: Any) -> type:
    """A dataclass with one field per heading of `--help`: a dataclass of the settings under that heading.

    A setting stands under the `heading` of the group that declares it first; a learner's own settings stand first,
    under its name. The groups' defaults are the values in `default`.
    """
    described = {
        p.arg_name: p.description
        for base in reversed(kind.__mro__[:-1])  # without object
        for p in docstring_parser.parse_from_object(base).params
    }
    homes = {
        name: vars(base).get("heading") or learner_of(kind)
        for base in kind.__mro__
        for name in vars(base).get("__annotations__", ())
    }
    titles = [vars(base).get("heading") for base in kind.__mro__]
    groups: dict[str, list] = {title: [] for title in (learner_of(kind), *titles) if title}
    for name, type_ in field_types(kind).items():
        text = tyro.conf.arg(help=" ".join((described.get(name) or "").split()))
        field = dataclasses.field(default=getattr(default, name))
        groups[homes[name]].append((name, Annotated[type_, text], field))
    filled = {title: fields for title, fields in groups.items() if fields}
    made = {t: dataclasses.make_dataclass(t, fields, frozen=True) for t, fields in filled.items()}
    for group in made.values():
        group.__doc__ = ""  # otherwise its signature
    return dataclasses.make_dataclass(
        learner_of(kind), [(t, g, dataclasses.field(default=g())) for t, g in made.items()]
    )


def _value(words: list[str], flag: str) -> str | None:
    """The value after `flag` on the command line; `flag` may also be written with underscores."""
    words = [part for word in words for part in word.split("=", 1 if word.startswith("--") else 0)]
    flags = [word.replace("_", "-") for word in words[:-1]]
    return words[flags.index(flag) + 1] if flag in flags else None


def _no_flag(word: str) -> bool:
    return not word.startswith("-")


def learner_of(kind: type) -> str:
    """Name of the learner whose settings `kind` are: that of its file."""
    return Path(inspect.getfile(kind)).stem


def command_name(kind: type) -> str | None:
    """The command that runs a learner of this package; None for others, which get Python's program name."""
    ours = Path(inspect.getfile(kind)).resolve().parent == LEARNERS
    return f"python -m learners.{learner_of(kind)}" if ours else None


def learner_names() -> list[str]:
    """The learners that `python -m learners.NAME` runs."""
    names = [p.stem for p in LEARNERS.glob("*.py")]
    return sorted(n for n in names if n not in COMMANDS and not n.startswith("_"))


# ------------------------------------------------------------------------------------- config.yaml
def read_config(folder: Path, kind: type | None = None) -> dict[str, Any]:
    """config.yaml of a run folder, its values checked against the learner's settings.

    `kind`: the learner's `Args`; None: looked up from the learner in the file.

    Raises:
        ValueError: the file is missing, damaged or not a configuration; names the file and the key.
    """
    path = folder / "config.yaml"
    try:
        config = read_yaml(path)
    except FileNotFoundError:
        raise ValueError(f"{folder} is not a run folder: config.yaml is missing") from None
    missing = [key for key in ("learner", "env") if not isinstance(config.get(key), str)]
    if missing:
        raise ValueError(f"{path} is damaged: it does not name a learner and its settings")
    if isinstance(config.get("control"), bool):  # written by earlier versions
        config["control"] = "random" if config["control"] else "none"
    learner = config["learner"]
    if kind is None or learner != learner_of(kind):
        ours = learner in learner_names()
        kind = importlib.import_module(f"learners.{learner}").Args if ours else None
    try:
        check_mapping(kind or Settings, config)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from None
    config.pop("versions", None)  # no setting
    return config


def read_versions(folder: Path) -> dict[str, str]:
    """The versions in config.yaml that a run was begun with; {} in files of earlier versions. Raises as `read_config`."""
    path = folder / "config.yaml"
    found = read_yaml(path).get("versions", {})
    if not isinstance(found, dict) or not all(isinstance(v, str) for v in found.values()):
        raise wrong(path, "versions", found, "a mapping to text")
    return found


def resumed(
    folder: Path | str, kind: type[Kind], retyped: Collection[str] = (), **changes: Any
) -> Kind:
    """Settings for continuing the run in `folder`: its own, with `changes`.

    `kind`: the learner's `Args`. `check_changes` checks which changes are allowed. Nothing that config.yaml
    names is imported: `env`, `player_function` and `set` that need the user's own code must be in `changes`, `teacher` and
    `demos` there or in `retyped`.
    """
    saved = _saved(Path(folder), kind)
    for name in (n for n in NAMING_POLICIES if n not in changes and n not in retyped):
        value = getattr(saved, name, None) or ()
        stated = [value] if isinstance(value, str) else value
        for spec in (part for text in stated for part in text.split(",") if is_own_policy(part)):
            raise ValueError(
                f"{folder}/config.yaml: {spec!r} is code of your own, and no code is imported because a file names it: add "
                f"--{name} {' '.join(stated)}"
            )
    typed = {k: changes.get(k) for k in NAMING_GAMES}
    named = Named.typed(typed["env"], typed["player_function"], typed["set"] or ())
    run_game_of(vars(saved), Path(folder) / "config.yaml", named)
    return dataclasses.replace(saved, **{"progress": True, "resume": str(folder), **changes})


def _saved(folder: Path, kind: type[Kind]) -> Kind:
    """The settings in config.yaml, as written there."""
    config, learner = read_config(folder, kind), learner_of(kind)
    found = config.pop("learner")
    if found != learner:
        raise ValueError(
            f"{folder} holds a run of {found}, not of {learner}: resume it with learners.{found}"
        )
    unknown = set(config) - field_types(kind).keys()
    if unknown:
        raise ValueError(
            f"{folder}/config.yaml has settings that {learner} does not know: "
            f"{', '.join(sorted(unknown))}"
        )
    try:
        return kind(**config)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{folder}/config.yaml: {error}") from None


def check_changes(given: Settings) -> None:
    """Raise ValueError when a resumed run changes settings that must stay the same."""
    saved = _saved(Path(given.resume or ""), type(given))
    for name, old in vars(saved).items():
        new = getattr(given, name)
        longer = name == "steps" and new > old
        if longer or name in (*OPERATIONAL, "resume", "budget") or _same(name, new, old):
            continue
        flags = ", ".join("--" + n.replace("_", "-") for n in ("budget", *OPERATIONAL))
        raise ValueError(
            f"--{name.replace('_', '-')} {new}: {given.resume} was started with {old}; with --resume "
            f"only --steps may be raised (from {saved.steps}) and {flags} may be changed"
        )


def _same(name: str, new: Any, old: Any) -> bool:
    """Whether two values of a setting mean the same, even if written differently; `old` is from a file."""
    if new == old or new is None or old is None:
        return new == old
    if name == "env":
        return game_id(new) == old
    if name == "set":
        return parse_settings(new) == parse_settings(old)
    if name == "player_function":
        plain = player_function_config(new), player_function_config(old)
        return None not in plain and plain[0] == plain[1]
    return False
