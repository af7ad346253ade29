"""What users wrote themselves: games, player functions and policies in their own files and modules.

`my_game.py`, `my_game.py:id` and `my_module:id` stand in the place of an id. Only what a user typed comes here.
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

_IDS: dict[str, list[str]] = {}  # what the import of a module registered
_FILES: list[str] = []


def import_game(source: str) -> str:
    """Import the module, and say which id it registered.

    A module that registers nothing but defines one game class is registered under the class's name in
    snake case. ValueError when it cannot be imported, or does not say which game is meant.
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
        raise ValueError(f"{where} registers {', '.join(ids)}: say which one, as {where}:{ids[0]}")
    return ids[0]


def import_source(where: str) -> ModuleType:
    """Import a Python file (`….py`) or a module; ValueError when that fails."""
    return _import_file(Path(where)) if where.endswith(".py") else _import_module(where)


def import_attribute(where: str, name: str) -> Any:
    """`name` in a Python file or a module, which is imported; ValueError when there is none."""
    module = import_source(where)
    if not hasattr(module, name):
        raise ValueError(f"{where} has no {name!r}")
    return getattr(module, name)


def imported_files() -> list[str]:
    """The files that were imported by their paths, which another process must import first, too."""
    return list(_FILES)


def _import_file(path: Path) -> ModuleType:
    """Import a file as a module of its own name, so that its functions can be found again."""
    if not path.is_file():
        raise ValueError(f"{path}: there is no such file")
    loaded = sys.modules.get(path.stem)
    if loaded is not None:
        if getattr(loaded, "__file__", None) == str(path.resolve()):
            return loaded
        raise ValueError(f"{path}: a module named {path.stem!r} exists already; rename the file")
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
    classes = [
        value
        for value in vars(module).values()
        if inspect.isclass(value)
        and issubclass(value, MarkovGame)
        and value.__module__ == module.__name__
    ]
    if len(classes) != 1:
        found = ", ".join(kind.__name__ for kind in classes) or "none"
        raise ValueError(
            f"{module.__file__}: expected a call of mail_envs.register or exactly one game class, found "
            f"{found}"
        )
    id = re.sub(r"(?<!^)(?=[A-Z])", "_", classes[0].__name__).lower()
    try:
        register(id, classes[0])
    except ValueError as error:
        raise ValueError(
            f"{module.__file__}: {error}; call mail_envs.register with an id of your own"
        ) from error
    return id
