"""Arguments shared by commands: the game, its settings and its player function."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import tyro

from mail_envs.settings_text import SETTINGS, game_id, game_keywords


@dataclass(frozen=True)
class GameArguments:
    """The game and its settings."""

    id: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="ID")]
    """Id of the game (see `python -m mail_envs list`), or the file of your own game: `my_game.py`."""
    settings: Annotated[tuple[str, ...], SETTINGS] = ()
    """Arguments of the game, e.g. `--set num_agents=5 penalty=hard`."""
    player_function: str | None = None
    """Player function, e.g. `Stochastic(0.3)`, `Synchronous()`, `TurnOrder([[0, 1], [2]])`."""
    max_rounds: int | None = None
    """Time limit in rounds; default: that of the game."""

    def make(self, num_envs: int = 1, **keywords: Any) -> Any:
        """The `VectorGame` that these arguments describe."""
        import mail_envs

        given = game_keywords(self.settings, self.player_function, self.max_rounds)
        return mail_envs.make_vec(game_id(self.id), num_envs, **keywords, **given)
