"""The commands of `python -m mail_envs`, one file each, and the arguments that they share."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from typing import Annotated, Any

import tyro


class CommandError(Exception):
    """A mistake in what the user typed; shown as one line, without a traceback."""


@dataclass(frozen=True)
class GameArguments:
    """Which game, and how it is set up."""

    id: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="ID")]
    """Id of the game, see `python -m mail_envs list`."""
    settings: Annotated[tuple[str, ...], tyro.conf.arg(name="set", metavar="NAME=VALUE")] = ()
    """Arguments of the game, e.g. `--set num_agents=5 penalty=hard`."""
    player_function: str | None = None
    """Who acts when, e.g. `Stochastic(0.3)`, `Synchronous()`, `TurnOrder([[0, 1], [2]])`."""
    max_rounds: int | None = None
    """Time limit in rounds; default: the game's own."""

    def make(self, num_envs: int = 1, **keywords: Any) -> Any:
        """The `VectorGame` that these arguments describe."""
        import mail_envs

        player = parse_player_function(self.player_function)
        try:
            return mail_envs.make_vec(
                self.id,
                num_envs,
                player_function=player,
                max_rounds=self.max_rounds,
                **keywords,
                **parse_settings(self.settings),
            )
        except (ImportError, TypeError, ValueError) as error:
            raise CommandError(str(error)) from error


def parse_settings(settings: tuple[str, ...]) -> dict[str, Any]:
    """`("num_agents=5", "penalty=hard")` -> `{"num_agents": 5, "penalty": "hard"}`."""
    arguments = {}
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not (equals and name.isidentifier()):
            raise CommandError(f"--set {setting}: write NAME=VALUE, e.g. num_agents=5")
        try:
            arguments[name] = ast.literal_eval(value)
        except (SyntaxError, ValueError):
            arguments[name] = value
    return arguments


def parse_player_function(text: str | None) -> Any:
    """`"Stochastic(0.3)"` -> the player function; only names and literals, nothing is evaluated."""
    if text is None:
        return None
    import mail_envs

    kinds = ("Synchronous", "TurnOrder", "Stochastic")
    wrong = CommandError(
        f"--player-function {text}: write one of {', '.join(kinds)} with its arguments, "
        'e.g. "Stochastic(0.3)"'
    )
    try:
        call = ast.parse(text.strip(), mode="eval").body
        if isinstance(call, ast.Name):
            call = ast.Call(func=call, args=[], keywords=[])
        if not (
            isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in kinds
        ):
            raise wrong
        positional = [ast.literal_eval(value) for value in call.args]
        named = {str(word.arg): ast.literal_eval(word.value) for word in call.keywords}
    except (SyntaxError, ValueError) as error:
        raise wrong from error
    try:
        return getattr(mail_envs, call.func.id)(*positional, **named)
    except (TypeError, ValueError) as error:
        raise CommandError(f"--player-function {text}: {error}") from error


def load_policy(policy: str, vector: Any) -> Any:
    """The policy that `--policy` names, for `vector`; see `demos.load_policy`."""
    from demos import load_policy as load

    try:
        return load(policy, vector)
    except (OSError, ValueError) as error:
        raise CommandError(f"policy {policy!r}: {error}") from error
