"""Parses what users type: games, `--set NAME=VALUE`, and player functions such as `Stochastic(0.3)`.

These may name the user's own files, which are imported. The same settings in files are read by
`mail_envs.recorded`, which imports nothing.
"""

from __future__ import annotations

import ast
import inspect
import json
from collections.abc import Sequence
from typing import Any

import tyro

from mail_envs.commands.errors import CommandError

SETTINGS = tyro.conf.arg(name="set", metavar="NAME=VALUE ...")  # annotation of fields for `--set`
SET = "--set"
PLAYER_FUNCTION = "Stochastic(0.3)"  # the example in messages


def merge_sets(words: Sequence[str]) -> list[str]:
    """A command line in which the values of all `--set` options are moved to the first one."""
    kept: list[str] = []
    said: list[str] = []
    where = None
    inside = False
    for word in words:
        if word.startswith("-"):
            inside = word == SET or word.startswith(f"{SET}=")
            if inside:
                where = len(kept) if where is None else where
                said += [word.removeprefix(f"{SET}=")] if word != SET else []
                continue
        (said if inside else kept).append(word)
    return kept if where is None else [*kept[:where], SET, *said, *kept[where:]]


def game_id(game: str) -> str:
    """The id of a game that is given by its id or by its file, which is imported."""
    import mail_envs

    try:
        return mail_envs.spec(game).id
    except ValueError as error:
        if not game.isidentifier():
            raise
        raise CommandError(
            f"{error}; for a game of your own, give its file, such as --env {game}.py"
        ) from error


def game_keywords(
    settings: Sequence[str] = (),
    player_function: str | None = None,
    max_rounds: int | None = None,
    fixed_horizon: bool | None = None,
) -> dict[str, Any]:
    """Keyword arguments for `mail_envs.make_vec`, without those that were not given."""
    keywords = parse_settings(settings)
    if player_function is not None:
        keywords["player_function"] = parse_player_function(player_function)
    if max_rounds is not None:
        keywords["max_rounds"] = max_rounds
    if fixed_horizon:
        keywords["fixed_horizon"] = True
    return keywords


def parse_settings(settings: Sequence[str]) -> dict[str, Any]:
    """`("num_agents=5", "penalty=hard")` -> `{"num_agents": 5, "penalty": "hard"}`."""
    arguments = {}
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not (equals and name.isidentifier()):
            raise CommandError(f"--set {setting}: write NAME=VALUE, e.g. num_agents=5")
        arguments[name] = value
        for read in (json.loads, ast.literal_eval):  # true as well as True
            try:
                arguments[name] = read(value)
            except (SyntaxError, ValueError, RecursionError, MemoryError):  # a text
                continue
            break
    return arguments


def parse_player_function(text: str) -> Any:
    """Parse a player function. Literals are parsed; no code is evaluated.

    Accepts a call, `Stochastic([1, .5, .5], shared_coin=True)`; the JSON of manifests and policy files,
    `{"type": "Stochastic", "probability": 0.3}`; and the name of one of your own, `my_players.py:ALTERNATE` or
    `my_players:ALTERNATE`. `HistoryDependent` and the like take their function as "module:name".
    """
    from mail_envs.own_games import import_attribute
    from mail_envs.player_functions import PlayerFunction, from_config

    config = player_function_config(text)
    module, _, name = text.partition(":")
    try:
        if config is None:
            value = import_attribute(module, name)
            if not isinstance(value, PlayerFunction):
                raise TypeError(f"{name} in {module} is {value!r}, not a player function")
            return value
        if isinstance(config.get("function"), str):
            module, _, name = config["function"].partition(":")
            config["function"] = import_attribute(module, name)
        return from_config(config)
    except (ImportError, TypeError, ValueError) as error:
        raise CommandError(f"--player-function {text}: {error}") from error


def player_function_config(text: str) -> dict[str, Any] | None:
    """The description `{"type": "Stochastic", ...}` of a player function; nothing is imported.

    None if the text names one of the user's own, such as `my_players.py:ALTERNATE`.
    """
    _, colon, name = text.partition(":")
    if colon and name.isidentifier() and not text.lstrip().startswith("{"):
        return None
    try:
        config = json.loads(text) if text.lstrip().startswith("{") else _call(text)
    except (SyntaxError, json.JSONDecodeError, RecursionError, MemoryError) as error:
        hint = f'write a call such as "{PLAYER_FUNCTION}", see the player functions in README.md'
        raise CommandError(f"--player-function {text}: {hint}") from error
    except TypeError as error:
        raise CommandError(f"--player-function {text}: {error}") from error
    return config


def _call(text: str) -> dict[str, Any]:
    """`Stochastic(0.3)` -> `{"type": "Stochastic", "probability": 0.3}`."""
    from mail_envs import player_functions

    call = ast.parse(text.strip(), mode="eval").body
    if isinstance(call, ast.Name):
        call = ast.Call(func=call, args=[], keywords=[])
    if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Name)):
        raise SyntaxError(text)
    kind = getattr(player_functions, call.func.id, None)
    if not (inspect.isclass(kind) and issubclass(kind, player_functions.PlayerFunction)):
        raise SyntaxError(text)
    try:
        positional = [ast.literal_eval(value) for value in call.args]
        named = {str(word.arg): ast.literal_eval(word.value) for word in call.keywords}
    except ValueError as error:  # not a literal
        raise SyntaxError(text) from error
    given = inspect.signature(kind).bind(*positional, **named).arguments
    if not isinstance(given.get("function", ""), str):
        raise TypeError('give the function as "module:name"')
    return {"type": kind.__name__, **given}
