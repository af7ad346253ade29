"""Opens PettingZoo environments, given by an id, a function, or an environment."""

from __future__ import annotations

import difflib
import importlib
import re
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pettingzoo
from pettingzoo import AECEnv, ParallelEnv
from pettingzoo.env_registry.exceptions import FailedToImport, PettingZooRegistryError


def open_environment(env: Any, arguments: dict[str, Any]) -> Any:
    """Make an environment from its id or by a function, or return the environment that was passed.

    Ids: of PettingZoo's registry, such as `butterfly/pistonball-v6` (the parallel version if there is one), or
    of a module that defines `parallel_env` or `env`, such as `mpe2/simple_spread_v3`. Environments are made
    with `render_mode="rgb_array"` if they support it.

    Raises:
        ValueError: the id is unknown; the message suggests similar ones.
        ImportError: a package is missing; the message has the command that installs it.
        TypeError: not an environment, or arguments for an environment that exists already.
    """
    if isinstance(env, str):
        made = _from_id(env, arguments)
    elif isinstance(env, (AECEnv, ParallelEnv)):
        if arguments:
            raise TypeError(
                f"env_args={arguments!r} are for a function that makes the environment; this one exists"
            )
        made = env
    elif callable(env):
        made = env(**arguments)
    else:
        made = env
    if isinstance(made, ModuleType):
        raise TypeError(f"{made.__name__} is a module: pass its parallel_env or env")
    if not isinstance(made, (AECEnv, ParallelEnv)):
        what = repr(env) if made is env else f"{env!r} gives {made!r}, which"
        raise TypeError(f"{what} is neither a PettingZoo AECEnv nor a ParallelEnv")
    return made


def _from_id(id: str, arguments: dict[str, Any]) -> Any:
    problems: list[str] = []
    for api in ("parallel", "aec"):
        try:
            pettingzoo.spec(api, id)
        except PettingZooRegistryError as error:
            problems.append(str(error))
        else:
            return _create(id, lambda **kw: pettingzoo.make(api, id, **kw), arguments)  # noqa: B023
    creator = _module_creator(id)
    if creator is not None:
        return _create(id, creator, arguments)
    versions = [p for p in problems if "Available version" in p]
    raise ValueError(versions[-1] if versions else _unknown(id))


def _create(id: str, creator: Callable[..., Any], arguments: dict[str, Any]) -> Any:
    """Make the environment, with rendering if it supports that."""
    try:
        try:
            return creator(**{"render_mode": "rgb_array", **arguments})
        except TypeError as error:
            if "render_mode" in arguments or "render_mode" not in str(error):
                raise
            return creator(**arguments)
    except (FailedToImport, ImportError) as error:
        cause = error.__cause__ or error
        raise ImportError(
            f"{id} needs a package that is not installed ({cause}): {_install(id)}"
        ) from error


def _install(id: str) -> str:
    """The command that installs what an environment needs."""
    family = id.partition("/")[0]
    if family in _families():
        return f"pip install 'pettingzoo[{family}]'"
    return f"pip install {family}"


def _module_creator(id: str) -> Callable[..., Any] | None:
    """`parallel_env` or `env` of the module `package.name_vN`; None if there is no such module."""
    name = re.sub(r"-v(\d+)$", r"_v\1", id.strip()).replace("/", ".")
    if not re.fullmatch(r"\w+(\.\w+)+", name):
        return None
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            return None
        raise ImportError(f"{id} needs a package that is not installed ({error})") from error
    return getattr(module, "parallel_env", None) or getattr(module, "env", None)


def _unknown(id: str) -> str:
    known = {**pettingzoo.parallel_registry, **pettingzoo.aec_registry}
    theirs = {k: k.partition("/")[2] for k in sorted(known) if not k.startswith("mail/")}
    near = difflib.get_close_matches(id, theirs, n=3, cutoff=0.75)
    if not near:
        names = difflib.get_close_matches(id, theirs.values(), n=3, cutoff=0.75)
        near = [k for k, name in theirs.items() if name in names]
    if near:
        hint = f"did you mean {' or '.join(map(repr, near))}?"
    elif "/" in id and id.partition("/")[0] not in _families():
        hint = f"if it is a package's, install that first: {_install(id)}"
    else:
        hint = "pettingzoo.pprint_registry() lists what there is"
    return f"PettingZoo has no environment {id!r}; {hint}"


def _families() -> set[str]:
    return {id.partition("/")[0] for id in pettingzoo.aec_registry}
