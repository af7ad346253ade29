"""Arguments of `mail_envs.make_vec`, read from files.

Manifests of demonstrations, policy files and run folders may be untrusted, so they are treated as data: nothing
that a file names is imported or run. An id must be registered, or belong to PettingZoo; a player function must be
built in and have plain values as arguments; the game's arguments must exist and be plain values. Games, player
functions and modules that are the user's own code must be named again on the command line (`Named`); the errors
say how.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any

from mail_envs.making import make_vec
from mail_envs.registry import PETTINGZOO, EnvSpec, pettingzoo_spec, registered, specs
from mail_envs.settings_text import (
    game_id,
    parse_player_function,
    parse_settings,
    player_function_config,
)

DEPTH = 8  # limit for nested lists and dictionaries in an argument
LARGEST = (
    10_000  # integer in a file: a huge number of agents, for example, would exhaust the memory
)
KINDS = {"int": int, "float": (int, float), "str": str, "bool": bool, "None": type(None)}
NULL_ACTIONS = ("null", "as_action")


@dataclass(frozen=True)
class Named:
    """What the user named on the command line; this may include the user's own code.

    Attributes:
        env: id of the game given by `--env`, which is registered by now.
        player_function: given by `--player-function`; text: the option as typed.
        arguments: given by `--set`; they replace those of a file.
    """

    env: str | None = None
    player_function: Any = None
    text: str | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def typed(
        cls,
        env: str | None = None,
        player_function: str | None = None,
        settings: Sequence[str] = (),
    ) -> Named:
        """Parse command-line options; files that they name are imported."""
        return cls(
            None if env is None else game_id(env),
            None if player_function is None else parse_player_function(player_function),
            player_function,
            parse_settings(settings),
        )


NOTHING = Named()
# Entries of a file that say which game was played.
GAME = ("id", "arguments", "player_function", "max_rounds", "fixed_horizon")


def game_of(
    data: Mapping[str, Any], source: str | Path, named: Named = NOTHING
) -> tuple[str, dict[str, Any]]:
    """Id and keyword arguments of `make_vec` for the game that a file describes.

    Args:
        data: the file's entries `id`, `arguments`, `player_function`, `max_rounds`, `null_action`,
            `fixed_horizon`, `agents`, as `demos.describe` writes them. All but `id` are optional; the
            result contains only those that are present.
        source: the file's name, for errors.
        named: what the user named on the command line.

    Raises:
        ValueError: an entry has the wrong type, or needs code; the message then says what to add to the
            command line.
    """
    id = recorded_id(data.get("id"), source, named)
    keywords = recorded_arguments(id, data.get("arguments") or {}, source, named)
    player_function = data.get("player_function")
    if player_function is None:
        player = named.player_function
    else:
        default = _default_player_function(_spec(id), data.get("agents"))
        player = recorded_player_function(player_function, source, named, default)
    if player is not None:
        keywords["player_function"] = player
    checks = {
        "max_rounds": lambda v: type(v) is int and 1 <= v < 2**31,
        "null_action": lambda v: v in NULL_ACTIONS,
        "fixed_horizon": lambda v: type(v) is bool,
    }
    for name, fits in checks.items():
        value = data.get(name)
        if value is None or name in named.arguments:
            continue
        if not fits(value):
            raise ValueError(f"{source}: {name} cannot be {_short(value)}")
        keywords[name] = value
    return id, keywords


def run_game_of(
    config: Mapping[str, Any], source: str | Path, named: Named = NOTHING
) -> tuple[str, dict[str, Any]]:
    """Like `game_of`, for the settings of a run: `env`, `set` and `player_function` as they were typed."""
    settings, text = config.get("set") or (), config.get("player_function")
    if not isinstance(settings, (list, tuple)) or not all(isinstance(s, str) for s in settings):
        raise ValueError(f"{source}: set must be a list of NAME=VALUE, not {_short(settings)}")
    if not isinstance(text, (str, type(None))):
        raise ValueError(f"{source}: player_function must be a string, not {_short(text)}")
    try:
        data: dict[str, Any] = {"id": config.get("env"), "arguments": parse_settings(settings)}
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from None
    data |= {name: config.get(name) for name in ("max_rounds", "fixed_horizon")}
    if text is not None:
        if text == named.text:
            data["player_function"] = _config(named.player_function)
        else:
            data["player_function"] = _read_player_function(text, source)
    return game_of(data, source, named)


def recorded_id(id: Any, source: str | Path, named: Named = NOTHING) -> str:
    """The id in a file, if it is registered, belongs to PettingZoo, or equals that of `--env`."""
    if not isinstance(id, str):
        raise ValueError(f"{source}: the game's id cannot be {_short(id)}")
    if named.env is not None:
        if named.env != id:
            raise ValueError(
                f"{source}: made in the game {_short(id)}, but --env names {named.env!r}"
            )
        return id
    if id in specs() or _comes_with_pettingzoo(id):
        return id
    if id.startswith(PETTINGZOO):
        raise ValueError(
            f"{source}: {_short(id)} is not one of PettingZoo's own environments, and no module is "
            f"imported because a file names it: if you trust it, add --env {id}"
        )
    file = f"{id if id.isidentifier() else 'my_game'}.py"
    raise ValueError(
        f"{source}: made in {_short(id)}, which is not a game of this suite, and no code is imported "
        f"because a file names it: if the game is your own, add --env with its file, such as --env {file}"
    )


def recorded_arguments(
    id: str, arguments: Any, source: str | Path, named: Named = NOTHING
) -> dict[str, Any]:
    """The game's arguments from a file and from `--set`, checked: they must exist and be plain values."""
    if not isinstance(arguments, Mapping):
        raise ValueError(f"{source}: arguments cannot be {_short(arguments)}")
    arguments = {k: v for k, v in arguments.items() if k not in named.arguments}
    for name, value in arguments.items():
        if not isinstance(name, str):
            raise ValueError(f"{source}: an argument's name cannot be {_short(name)}")
        problem = _not_plain(value)
        if problem:
            raise ValueError(f"{source}: the argument {_short(name)} cannot be {problem}")
    backend = arguments.get("backend")
    if not isinstance(backend, (str, type(None))):
        raise ValueError(f"{source}: the argument 'backend' cannot be {_short(backend)}")
    kind = _spec(id).load(backend)
    ours = inspect.signature(make_vec).parameters.keys() - {"arguments"}
    parameters = inspect.signature(kind).parameters
    known = parameters.keys() - ours | {"backend"}
    if id.startswith(PETTINGZOO):
        known -= {"env"}  # the id contains it
    for name, value in arguments.items():
        if name not in known:
            raise ValueError(f"{source}: {id} has no argument {_short(name)} that a file may give")
        if name != "backend" and not _fits(value, parameters[name].annotation):
            kind = parameters[name].annotation
            raise ValueError(
                f"{source}: the argument {name!r} cannot be {_short(value)}, it is "
                f"{getattr(kind, '__name__', kind)}"
            )
    return {**arguments, **named.arguments}


def recorded_player_function(
    config: Any, source: str | Path, named: Named = NOTHING, default: Any = None
) -> Any:
    """The player function that a file describes; if it is the user's own code, it must be named again.

    `default`: the default of the game's id, which need not be named again.
    """
    from mail_envs.player_functions import BUILT_IN, from_config

    if not isinstance(config, Mapping) or not isinstance(config.get("type"), str):
        raise ValueError(f"{source}: the player function cannot be {_short(config)}")
    problem = _not_plain(config, code=True)
    if problem:
        raise ValueError(f"{source}: the player function cannot hold {problem}")
    shown = shown_player_function(config)
    if named.player_function is not None:
        theirs = _config(named.player_function)
        if theirs != config:
            raise ValueError(
                f"{source}: made under the player function {shown}, but --player-function "
                f"{named.text or ''} is {shown_player_function(theirs)}"
            )
        return named.player_function
    if default is not None and _config(default) == config:
        return default
    if config["type"] not in BUILT_IN or "function" in config:
        raise ValueError(
            f"{source}: made under the player function {shown}, which is code of your own, and no code "
            f"is imported because a file names it: add --player-function {_suggestion(config)}"
        )
    try:
        player = from_config(dict(config))
    except (TypeError, ValueError) as error:
        raise ValueError(f"{source}: the player function is damaged: {error}") from None
    if _config(player) != config:
        raise ValueError(f"{source}: the player function {shown} is damaged")
    return player


def shown_player_function(config: Mapping[str, Any]) -> str:
    """A description as text, such as `Stochastic(probability=0.3)`."""
    arguments = ", ".join(f"{k}={v!r}" for k, v in config.items() if k != "type")
    return _cut(f"{config.get('type')}({arguments})", 200)


def _read_player_function(text: str, source: str | Path) -> Any:
    try:
        config = player_function_config(text)
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from None
    if config is None:
        raise ValueError(
            f"{source}: the player function {_short(text)} is code of your own, and no code is imported "
            f"because a file names it: add --player-function {text}"
        )
    return config


def _suggestion(config: Mapping[str, Any]) -> str:
    """A suggestion for `--player-function`, from a description."""
    module, colon, _ = str(config.get("function", config["type"])).partition(":")
    valid = all(part.isidentifier() for part in module.split("."))
    known = colon and valid and module != "__main__"
    return f"{module.replace('.', '/') if known else 'my_players'}.py:NAME"


def _spec(id: str) -> EnvSpec:
    """The spec of a checked id; unlike `mail_envs.spec`, this imports nothing."""
    return pettingzoo_spec(id) if id.startswith(PETTINGZOO) else registered(id)


def _default_player_function(spec: EnvSpec, agents: Any) -> Any:
    if spec.player_function is None or not isinstance(agents, list):
        return None
    try:
        return spec.player_function(len(agents))
    except (IndexError, TypeError, ValueError):  # no default for this number of agents
        return None


def _comes_with_pettingzoo(id: str) -> bool:
    """Whether PettingZoo itself registers `pettingzoo:NAMESPACE/NAME`; imports nothing."""
    import pettingzoo
    from pettingzoo.env_registry.exceptions import PettingZooRegistryError

    if not id.startswith(PETTINGZOO):
        return False
    found = []
    for api in ("parallel", "aec"):
        try:
            found.append(pettingzoo.spec(api, id.removeprefix(PETTINGZOO)).entry_point)
        except (PettingZooRegistryError, ValueError):
            continue
    return bool(found) and all(isinstance(e, str) and e.startswith("pettingzoo.") for e in found)


def _config(player: Any) -> Any:
    """A player function's description after conversion to JSON and back."""
    return json.loads(json.dumps(player.to_config()))


def _not_plain(value: Any, depth: int = DEPTH, code: bool = False) -> str:
    """Which part of a value is not plain JSON, or "". Names of Python code are plain only if `code`."""
    if value is None or isinstance(value, bool):
        return ""
    if isinstance(value, (int, float)):
        fits = abs(value) <= LARGEST if isinstance(value, int) else isfinite(value)
        size = f"a number of {value.bit_length()} bits" if isinstance(value, int) else value
        return "" if fits else f"{size}; if that is intended, use --set"
    if isinstance(value, str):
        names_code = not code and (":" in value or value.endswith(".py"))
        return f"{_short(value)}: it looks like a name of code; use --set" if names_code else ""
    if not isinstance(value, (list, tuple, dict)):
        return f"of the type {type(value).__name__}"
    if depth == 0:
        return f"nested more than {DEPTH} deep"
    if isinstance(value, dict):
        strange = [k for k in value if not isinstance(k, str)]
        if strange:
            return f"a dictionary with the key {_short(strange[0])}"
        value = list(value.values())
    return next(filter(None, (_not_plain(v, depth - 1, code) for v in value)), "")


def _fits(value: Any, annotation: Any) -> bool:
    """Whether a value has a type such as `int | None`. True for other types, which the game checks."""
    names = str(getattr(annotation, "__name__", annotation)).split(" | ")
    if not KINDS.keys() >= set(names):
        return True
    kinds = [KINDS[name] for name in names]
    if isinstance(value, bool):
        return bool in kinds
    return any(isinstance(value, kind) for kind in kinds)


def _short(value: Any) -> str:
    try:
        return _cut(repr(value), 80)
    except RecursionError:
        return "something nested too deep"


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 4] + " ..."
