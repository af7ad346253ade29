"""Settings: what every learner can be told, the command line, and what may change in a run that goes on."""

from __future__ import annotations

import dataclasses
import inspect
import sys
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import tyro
import yaml

from mail_envs.counts import at_least
from mail_envs.settings_text import (
    SETTINGS,
    game_id,
    merge_sets,
    parse_player_function,
    parse_settings,
)

# What does not change what is learned: it may differ when a run is resumed.
OPERATIONAL = ("device", "threads", "checkpoint_every", "log_every", "eval_episodes", "progress")


# Settings of one or more learners that count something.
COUNTS = (
    "num_envs", "rounds", "epochs", "minibatches", "chunk", "threads", "checkpoint_every", "log_every",
    "fisher_rows", "eigen_every",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Settings:
    """What every learner can be told."""

    env: str = "stochastic_coop_nav"
    """Id of the game, or the Python file of a game of your own."""
    set: Annotated[tuple[str, ...], SETTINGS] = ()
    """Arguments of the game, e.g. `--set num_agents=5 penalty=hard`."""
    player_function: str | None = None
    """Who acts when, if not as the id says, e.g. `Stochastic(0.3)`, `TurnOrder([[0, 1], [2]])`."""
    max_rounds: int | None = None
    """Time limit of an episode; None takes the game's own."""
    fixed_horizon: bool = False
    """Let a finished game idle until the time limit, so that ending early carries no information."""
    steps: int = 2_000_000
    """Environment steps of training (gradient steps for bc)."""
    seed: int = 0
    """Seed of networks, actions and games."""
    device: str = "auto"
    """auto, cpu or cuda; auto takes cuda when there is one."""
    threads: int = 1
    """CPU threads; one is fastest for these small networks."""
    run_dir: str | None = None
    """Run folder; None makes runs/<learner>_<env>_<seed>."""
    resume: str | None = None
    """Run folder to continue with its own settings; --steps may be raised, and device, threads,
    checkpoint-every, log-every, eval-episodes and progress changed."""
    checkpoint_every: int = 500
    """Updates between two checkpoints."""
    log_every: int = 10
    """Updates between two lines of metrics."""
    eval_episodes: int = 1000
    """Episodes of the final evaluation; 0 for none."""
    progress: bool = True
    """Show a progress bar."""
    preset: str = "default"
    """Named group of settings that the command line then changes: default, paper or quick."""

    def __post_init__(self):
        """ValueError for numbers that cannot be."""
        at_least(0, steps=self.steps, eval_episodes=self.eval_episodes)
        check_choices(self)
        for name in COUNTS:
            if hasattr(self, name):
                at_least(1, **{name: getattr(self, name)})
        widths = getattr(self, "hidden", (1,))
        if not widths:
            raise ValueError("hidden=() must name the width of one layer at least")
        for width in widths:
            at_least(1, hidden=width)


Kind = TypeVar("Kind", bound=Settings)


def check_choices(settings: Settings) -> None:
    """ValueError naming the first setting whose type is a `Literal` that its value is not in."""
    for name, type_ in get_type_hints(type(settings)).items():
        value = getattr(settings, name, None)
        if get_origin(type_) is Literal and value not in get_args(type_):
            raise ValueError(f"{name}={value!r} is unknown; choose {', '.join(get_args(type_))}")


# ------------------------------------------------------------------------------------ the command line
def parse(kind: type[Kind], presets: dict[str, dict], words: list[str] | None = None) -> Kind:
    """Settings from the command line; `--preset NAME`, or `--resume DIR`, first replaces the defaults."""
    words = merge_sets(sys.argv[1:] if words is None else words)
    folder, preset = _value(words, "--resume"), _value(words, "--preset") or "default"
    presets = {"default": {}, **presets}
    if preset not in presets:
        raise ValueError(f"preset {preset!r} is unknown; choose from {', '.join(presets)}")
    default = kind(preset=preset, **presets[preset])
    if folder is not None:
        default = resumed(folder, kind)
    return tyro.cli(kind, default=default, args=words, description=kind.__doc__)


def _value(words: list[str], flag: str) -> str | None:
    """What the command line says after `flag`."""
    words = [part for word in words for part in word.split("=", 1 if word.startswith("--") else 0)]
    return words[words.index(flag) + 1] if flag in words[:-1] else None


# ------------------------------------------------------------------------------------------- resuming
def read_config(folder: Path) -> dict[str, Any]:
    """config.yaml of a run folder; ValueError when it is none."""
    path = folder / "config.yaml"
    try:
        config = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        raise ValueError(f"{folder} is not a run folder: config.yaml is missing") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{path} cannot be read: {reason}") from None
    if not isinstance(config, dict) or not {"learner", "env"} <= config.keys():
        raise ValueError(f"{path} is damaged: it does not name a learner and its settings")
    return config


def resumed(folder: Path | str, kind: type[Kind], **changes: Any) -> Kind:
    """The settings with which the run in `folder` goes on: its own, with `changes`.

    `kind`: the learner's `Args`. Which changes are allowed, `check_changes` says.
    """
    saved, learner = read_config(Path(folder)), Path(inspect.getfile(kind)).stem
    found = saved.pop("learner")
    if found != learner:
        raise ValueError(
            f"{folder} holds a run of {found}, not of {learner}: resume it with learners.{found}"
        )
    unknown = set(saved) - {f.name for f in dataclasses.fields(kind)}
    if unknown:
        raise ValueError(
            f"{folder}/config.yaml has settings that {learner} does not know: "
            f"{', '.join(sorted(unknown))}"
        )
    saved = {k: tuple(v) if isinstance(v, list) else v for k, v in saved.items()}
    return kind(**{**saved, "progress": True, "resume": str(folder), **changes})


def check_changes(given: Settings) -> None:
    """ValueError when a run that is resumed is given other settings than those it was begun with."""
    saved = resumed(given.resume or "", type(given))
    for name, old in vars(saved).items():
        new = getattr(given, name)
        longer = name == "steps" and new > old
        if longer or name in OPERATIONAL or _meaning(name, new) == _meaning(name, old):
            continue
        flags = ", ".join("--" + n.replace("_", "-") for n in OPERATIONAL)
        raise ValueError(
            f"--{name.replace('_', '-')} {new}: {given.resume} was begun with {old}, and a run keeps "
            f"its settings; with --resume, --steps may be raised (from {saved.steps}), and {flags} "
            "may be changed"
        )


def _meaning(name: str, value: Any) -> Any:
    """What a setting stands for: texts may say the same in two ways."""
    if value is None:
        return None
    if name == "env" and not value.isidentifier():
        return game_id(value)
    readers = {"player_function": parse_player_function, "set": parse_settings}
    return readers[name](value) if name in readers else value
