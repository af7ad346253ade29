"""`make` and `make_vec`: environments from ids, game files and PettingZoo environments."""

from __future__ import annotations

import difflib
import inspect
from dataclasses import replace
from typing import Literal

from mail_envs.registry import PETTINGZOO, EnvSpec, pettingzoo_spec, registered, specs


def spec(id: str | EnvSpec) -> EnvSpec:
    """The spec of an id that a user typed. Ids from files are looked up with `registry.registered` instead.

    Accepts registered ids; `pettingzoo:namespace/name-vN`, an environment of PettingZoo's registry or of an
    installed module; `my_game.py`, `my_game.py:id` and `my_module:id`, a user's own game, which is imported;
    and an EnvSpec, which is returned as it is.

    Raises:
        TypeError: `id` is neither a string nor an EnvSpec.
        ValueError: there is no such id or game; the message suggests similar ones.
    """
    if isinstance(id, EnvSpec):
        return id
    if isinstance(id, str) and id.startswith(PETTINGZOO):
        return pettingzoo_spec(id)
    if isinstance(id, str) and id not in specs() and (":" in id or id.endswith(".py")):
        from mail_envs.own_games import import_game

        id = import_game(id)
    return registered(id)


def make_game(id: str | EnvSpec, backend: str | None = None, **arguments):
    """A game without a view, and its default player function."""
    from mail_envs.player_functions import OwnOrder, Synchronous

    found = spec(id)
    kind = found.load(backend)
    parameters = inspect.signature(kind).parameters
    known = list(parameters)
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    for name in arguments:
        if name not in known and not takes_any:
            common = [p for p in inspect.signature(make_vec).parameters if p != "arguments"]
            near = difflib.get_close_matches(name, [*known, *common], n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"it takes {', '.join(known)}"
            raise TypeError(f"{found.id} has no argument {name!r}; {hint}")
    game = kind(**{**found.arguments, **arguments})
    if game.has_turns:
        return game, OwnOrder()
    default = found.player_function or (lambda num_agents: Synchronous())
    return game, default(len(game.agents))


def make(
    id: str | EnvSpec,
    *,
    api: Literal["aec", "parallel"] = "aec",
    player_function=None,
    render_mode: Literal["human", "rgb_array"] | None = None,
    max_rounds: int | None = None,
    null_action: Literal["null", "as_action"] = "null",
    action_mask: Literal["info", "observation"] = "info",
    dead: Literal["leave", "stay"] = "leave",
    fixed_horizon: bool = False,
    **arguments,
):
    """One environment, as a PettingZoo AECEnv or ParallelEnv.

    Args:
        id: one of `specs()`.
        api: "aec" or "parallel".
        player_function: draws who acts in each round; None: the default of the id.
        render_mode: None, "human" or "rgb_array".
        max_rounds: time limit; None: the default of the game.
        null_action: "null", or "as_action" for φ as one more discrete action.
        action_mask: "info", or "observation" for dict observations.
        dead: "leave": agents that die leave `agents`; "stay": they stay, without acting, until the episode
            ends for all agents, for learning libraries that do not support agents that leave.
        fixed_horizon: a game that ends idles in an absorbing state until the time limit.
        **arguments: arguments of the game, see `python -m mail_envs info ID`.
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
    return views[api](vector, render_mode=render_mode, action_mask=action_mask, dead=dead)


def make_vec(
    id: str | EnvSpec,
    num_envs: int = 1,
    *,
    player_function=None,
    seed: int | None = None,
    max_rounds: int | None = None,
    null_action: Literal["null", "as_action"] = "null",
    fixed_horizon: bool = False,
    device: Literal["cpu", "cuda"] = "cpu",
    array: Literal["numpy", "torch"] = "numpy",
    num_threads: int = 1,
    autoreset: bool = True,
    num_workers: int | None = None,
    worker_timeout: float = 60.0,
    replayable: bool = False,
    **arguments,
):
    """Many copies of a game; see `mail_envs.vector.VectorGame`. If a seed is given, it is also reset."""
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


def from_pettingzoo(
    env, *, api: Literal["aec", "parallel", "vector"] = "aec", num_envs: int = 1, **arguments
):
    """A PettingZoo environment under any player function; see `mail_envs.adapters.pettingzoo`.

    Args:
        env: an environment, or a function that makes one (needed for several copies and for workers), or
            an id of PettingZoo.
        api: "aec" or "parallel", as in `make`; or "vector", as in `make_vec`.
        num_envs: number of copies, for api="vector".
        **arguments: `noop`, the null action, where it cannot be inferred; `env_args` for the function;
            `global_state`; `limit_is_end`; and those of `make` or `make_vec`, such as `player_function`
            and `max_rounds`.
    """
    if isinstance(env, str):
        found = pettingzoo_spec(PETTINGZOO + env)
    else:
        name = (getattr(env, "metadata", None) or {}).get("name")
        name = name or getattr(env, "__name__", type(env).__name__)
        found = replace(pettingzoo_spec(name), arguments={"env": env})
    if api == "vector":
        return make_vec(found, num_envs, **arguments)
    if num_envs != 1:
        raise ValueError(f"num_envs={num_envs!r} needs api='vector'; {api!r} is one environment")
    return make(found, api=api, **arguments)


def for_pettingzoo(
    id: str, api: Literal["aec", "parallel"], max_cycles: int | None = None, **arguments
):
    """The entry point of `pettingzoo.make("aec", "mail/<id>-v0")`."""
    return make(id, api=api, max_rounds=max_cycles, **arguments)
