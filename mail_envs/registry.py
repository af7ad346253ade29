"""The table of ids, and the two ways in: `make` and `make_vec`."""

from __future__ import annotations

import difflib
import importlib
import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import pettingzoo


@dataclass(frozen=True)
class EnvSpec:
    """What an id stands for.

    Attributes:
        id: flat snake case.
        entry_point: the game's class, or "module:Class", imported when the game is made.
        player_function: makes the default player function from the number of agents.
        arguments: defaults that differ from the class's own.
        family: groups ids in tables.
        summary: one line.
        backends: other entry points that play the same game, by the name that `make(backend=...)` takes.
    """

    id: str
    entry_point: str | type
    player_function: Callable[[int], Any] | None = None
    arguments: dict[str, Any] = field(default_factory=dict)
    family: str = "user"
    summary: str = ""
    backends: dict[str, str | type] = field(default_factory=dict)

    def load(self, backend: str | None = None) -> Any:
        """The game's class, or that of another backend."""
        if backend in (None, "own"):
            entry_point = self.entry_point
        elif backend in self.backends:
            entry_point = self.backends[backend]
        else:
            known = ", ".join(map(repr, self.backends)) or "there are none"
            raise ValueError(f"{self.id} has no backend={backend!r} beside 'own'; others: {known}")
        if not isinstance(entry_point, str):
            return entry_point
        module, _, name = entry_point.partition(":")
        return getattr(importlib.import_module(module), name)


_SPECS: dict[str, EnvSpec] = {}


def register(
    id: str,
    entry_point: str | type,
    *,
    player_function: Callable[[int], Any] | None = None,
    arguments: dict[str, Any] | None = None,
    family: str = "user",
    summary: str = "",
    backends: dict[str, str | type] | None = None,
) -> None:
    """Add an id, here and as `mail/<id>-v0` in PettingZoo's registry.

    `player_function` is a player function, or makes one from the number of agents; None: synchronous.
    """
    if not re.fullmatch(r"[a-z0-9][a-z0-9_]*", id):
        raise ValueError(f"the id {id!r} must be lower-case letters, digits and underscores")
    if id in _SPECS:
        raise ValueError(f"the id {id!r} is already registered")
    if player_function is not None and not callable(player_function):
        player_function = partial(_always, player_function)
    _SPECS[id] = EnvSpec(
        id,
        entry_point,
        player_function,
        dict(arguments or {}),
        family,
        summary,
        dict(backends or {}),
    )
    for api in ("aec", "parallel"):
        pettingzoo.register(api, f"mail/{id}-v0", entry_point=partial(_from_pettingzoo, id, api))


def _always(player_function, num_agents: int):
    return player_function


def _from_pettingzoo(id: str, api: str, max_cycles: int | None = None, **arguments):
    """What `pettingzoo.make("aec", "mail/<id>-v0")` calls."""
    return make(id, api=api, max_rounds=max_cycles, **arguments)


def specs() -> dict[str, EnvSpec]:
    """All ids and what they stand for."""
    return dict(_SPECS)


def spec(id: str | EnvSpec) -> EnvSpec:
    """What `id` stands for; ValueError naming the nearest ids when there is none.

    Beside ids: `pettingzoo:namespace/name-vN`, an environment of PettingZoo's registry or of an installed
    module; and `my_game.py`, `my_game.py:id`, `my_module:id`, a user's own game, which is imported.
    An EnvSpec stands for itself.
    """
    if isinstance(id, EnvSpec):
        return id
    if not isinstance(id, str):
        raise TypeError(f"id={id!r} is not a string such as 'coop_nav'")
    if id.startswith(PETTINGZOO):
        return _pettingzoo_spec(id)
    if id not in _SPECS and (":" in id or id.endswith(".py")):
        from mail_envs.own_games import import_game

        id = import_game(id)
    if id not in _SPECS:
        near = _near(id)
        hint = f"did you mean {' or '.join(map(repr, near))}?" if near else "see mail_envs.specs()"
        raise ValueError(f"unknown id {id!r}; {hint}")
    return _SPECS[id]


def _near(id: str) -> list[str]:
    """Ids like `id`, which may lack its family (`3m`) or be written in capitals."""
    name = id.lower()
    same = [known for known in _SPECS if known == name or known.partition("_")[2] == name]
    return same or difflib.get_close_matches(name, _SPECS, n=3, cutoff=0.5)


PETTINGZOO = "pettingzoo:"


def _pettingzoo_spec(id: str) -> EnvSpec:
    return EnvSpec(
        id,
        "mail_envs.adapters.pettingzoo:PettingZooGame",
        arguments={"env": id.removeprefix(PETTINGZOO)},
        family="pettingzoo",
        summary="an environment of PettingZoo",
    )


def make_game(id: str | EnvSpec, backend: str | None = None, **arguments):
    """The game and its default player function, for those who bring their own view."""
    from mail_envs.player_functions import OwnOrder, Synchronous

    found = spec(id)
    kind = found.load(backend)
    known = list(inspect.signature(kind).parameters)
    for name in arguments:
        if name not in known:
            ours = [p for p in inspect.signature(make_vec).parameters if p != "arguments"]
            near = difflib.get_close_matches(name, [*known, *ours], n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"it takes {', '.join(known)}"
            raise TypeError(f"{found.id} has no argument {name!r}; {hint}")
    factory = partial(kind, **{**found.arguments, **arguments})
    game = factory()
    if getattr(game, "copyable", False):  # simulators: more copies, in other processes
        game.factory = factory
    if getattr(game, "has_turns", False):
        return game, OwnOrder()
    default = found.player_function or (lambda num_agents: Synchronous())
    return game, default(len(game.agents))


def make(
    id: str | EnvSpec,
    *,
    api: str = "aec",
    player_function=None,
    render_mode: str | None = None,
    max_rounds: int | None = None,
    null_action: str = "null",
    action_mask: str = "info",
    fixed_horizon: bool = False,
    **arguments,
):
    """One environment, as a PettingZoo AECEnv or ParallelEnv.

    Args:
        id: one of `specs()`.
        api: "aec" or "parallel".
        player_function: who acts when; None: the id's own.
        render_mode: None, "human" or "rgb_array".
        max_rounds: time limit; None: the game's own.
        null_action: "null", or "as_action" for φ as one more discrete action.
        action_mask: "info", or "observation" for dict observations.
        fixed_horizon: let an ended game idle in an absorbing state until the time limit.
        **arguments: the game's own, see `python -m mail_envs info ID`.
    """
    from mail_envs.aec import AECGame
    from mail_envs.parallel import ParallelGame

    views = {"aec": AECGame, "parallel": ParallelGame}
    if api not in views:
        raise ValueError(f"api={api!r} is not one of 'aec', 'parallel'")
    vector = make_vec(
        id,
        1,
        player_function=player_function,
        max_rounds=max_rounds,
        null_action=null_action,
        fixed_horizon=fixed_horizon,
        autoreset=False,
        **arguments,
    )
    return views[api](vector, render_mode=render_mode, action_mask=action_mask)


def make_vec(
    id: str | EnvSpec,
    num_envs: int = 1,
    *,
    player_function=None,
    seed: int | None = None,
    max_rounds: int | None = None,
    null_action: str = "null",
    fixed_horizon: bool = False,
    device: str = "cpu",
    array: str = "numpy",
    num_threads: int = 1,
    autoreset: bool = True,
    num_workers: int | None = None,
    worker_timeout: float = 60.0,
    replayable: bool = False,
    **arguments,
):
    """Many copies of a game; see `mail_envs.vector.VectorGame`. With a seed it is reset at once."""
    from mail_envs.player_functions import PlayerFunction
    from mail_envs.vector import VectorGame

    game, default = make_game(id, **arguments)
    player = default if player_function is None else player_function
    if not isinstance(player, PlayerFunction):
        raise TypeError(
            f"player_function={player!r} is not a player function such as mail_envs.Stochastic(0.5)"
        )
    vector = VectorGame(
        game,
        player,
        num_envs,
        max_rounds=max_rounds,
        null_action=null_action,
        fixed_horizon=fixed_horizon,
        device=device,
        array=array,
        num_threads=num_threads,
        autoreset=autoreset,
        num_workers=num_workers,
        worker_timeout=worker_timeout,
        replayable=replayable,
    )
    vector.id, vector.arguments = spec(id).id, dict(arguments)
    if seed is not None:
        vector.reset(seed=seed)
    return vector


def from_pettingzoo(env, *, api: str = "aec", num_envs: int = 1, **arguments):
    """A PettingZoo environment under any player function; see `mail_envs.adapters.pettingzoo`.

    Args:
        env: an environment, or a function that makes one (needed for several copies, and for workers), or
            an id of PettingZoo's.
        api: "aec" or "parallel", as in `make`; or "vector", as in `make_vec`.
        num_envs: copies, of api="vector".
        **arguments: `noop`, the null action, where it cannot be guessed; `env_args` for the function;
            `global_state`; and those of `make` or `make_vec`, such as `player_function` and `max_rounds`.
    """
    if isinstance(env, str):
        found = _pettingzoo_spec(PETTINGZOO + env)
    else:
        name = (getattr(env, "metadata", None) or {}).get("name")
        name = name or getattr(env, "__name__", type(env).__name__)
        found = replace(_pettingzoo_spec(name), arguments={"env": env})
    if api == "vector":
        return make_vec(found, num_envs, **arguments)
    if num_envs != 1:
        raise ValueError(f"num_envs={num_envs!r} needs api='vector'; {api!r} is one environment")
    return make(found, api=api, **arguments)
