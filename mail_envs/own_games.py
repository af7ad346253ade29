"""Imports of users' code: games, player functions and policies in their own files and modules.

`my_game.py`, `my_game.py:id` and `my_module:id` are accepted in place of an id. Only names that a user typed are
imported here, never names from files.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from mail_envs.markov_game import MarkovGame
from mail_envs.registry import register, specs

_IDS: dict[str, list[str]] = {}  # the ids that each imported module registered
_FILES: list[str] = []


def import_game(source: str) -> str:
    """Import a module and return the id that it registered.

    If a module registers nothing but defines one game class, that is registered under its name in snake case.
    ValueError if the module cannot be imported, or defines several games and none is named.
    """
    where, _, wanted = source.partition(":")
    known = set(specs())
    module = import_source(where)
    if module.__name__ not in _IDS:
        new = [id for id in specs() if id not in known]
        _IDS[module.__name__] = new or ([] if wanted in known else [_register_class(module)])
    ids = _IDS[module.__name__]
    if wanted:
        if wanted not in specs():
            raise ValueError(f"{where} registers {', '.join(ids)}, not {wanted!r}")
        return wanted
    if len(ids) != 1:
        raise ValueError(
            f"{where} registers {', '.join(ids)}: name one of them, such as {where}:{ids[0]}"
        )
    return ids[0]


def import_source(where: str) -> ModuleType:
    """Import a Python file (`….py`) or a module; ValueError when that fails."""
    return _import_file(Path(where)) if where.endswith(".py") else _import_module(where)


def import_attribute(where: str, name: str) -> Any:
    """The object `name` of a Python file or module, which is imported; ValueError if there is none."""
    module = import_source(where)
    if not hasattr(module, name):
        raise ValueError(f"{where} has no {name!r}")
    return getattr(module, name)


def imported_files() -> list[str]:
    """The files that were imported by path, which other processes must import as well."""
    return list(_FILES)


def _import_file(path: Path) -> ModuleType:
    """Import a file as a module with the file's name, so that its functions can be looked up by name."""
    if not path.is_file():
        raise ValueError(f"{path}: there is no such file")
    loaded = sys.modules.get(path.stem)
    if loaded is not None:
        if getattr(loaded, "__file__", None) == str(path.resolve()):
            return loaded
        raise ValueError(
            f"{path}: a module named {path.stem!r} is already imported; rename the file"
        )
    spec = importlib.util.spec_from_file_location(path.stem, path.resolve())
    assert spec is not None and spec.loader is not None
    module = sys.modules[path.stem] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[path.stem]
        raise ValueError(f"{path} cannot be imported: {type(error).__name__}: {error}") from error
    _FILES.append(str(path.resolve()))
    return module


def _import_module(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except Exception as error:
        raise ValueError(f"{name} cannot be imported: {type(error).__name__}: {error}") from error


def _register_class(module: ModuleType) -> str:
    """Register the one game class that `module` defines; returns its id."""
    defined = [v for v in vars(module).values() if inspect.isclass(v)]
    defined = [v for v in defined if v.__module__ == module.__name__]
    classes = [v for v in defined if issubclass(v, MarkovGame)]
    if len(classes) != 1:
        found = ", ".join(kind.__name__ for kind in classes) or "none"
        raise ValueError(
            f"{module.__file__}: expected a call of mail_envs.register or exactly one game class, found {found}"
        )
    id = re.sub(r"(?<!^)(?=[A-Z])", "_", classes[0].__name__).lower()
    try:
        register(id, classes[0])
    except ValueError as error:
        raise ValueError(
            f"{module.__file__}: {error}; call mail_envs.register with another id"
        ) from error
    return id
