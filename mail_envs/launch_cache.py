"""Generated modules on disk; numba caches their machine code in the same directory."""

from __future__ import annotations

import importlib.util
import os
import sys
import tempfile
import uuid
import warnings
from functools import cache
from pathlib import Path
from types import ModuleType

VARIABLE = "MAIL_ENVS_CACHE"


@cache
def cache_directory() -> Path | None:
    """$MAIL_ENVS_CACHE or ~/.cache/mail_envs; None if neither is writable.

    Warns, once per process, if it is not the requested one.
    """
    home = Path.home() / ".cache" / "mail_envs"
    wanted = Path(os.environ.get(VARIABLE) or home)
    problem = _why_not_writable(wanted)
    if problem is None:
        return wanted
    other = home if wanted != home and _why_not_writable(home) is None else None
    what = f"{other} is used instead" if other else "games are compiled anew in every process"
    warnings.warn(
        f"compiled code cannot be kept in {wanted} ({problem}): {what}; set {VARIABLE} to a directory "
        "that you can write",
        RuntimeWarning,
        stacklevel=2,
    )
    return other


def _why_not_writable(directory: Path) -> str | None:
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory):
            return None
    except OSError as error:
        return error.strerror or type(error).__name__


@cache
def import_generated(directory: Path, title: str, source: str) -> ModuleType:
    """Import a generated module; its file is written if it does not exist.

    The file has the usual permissions (umask), so that users can share a cache.
    """
    path = directory / f"{title}.py"
    if not os.access(path, os.R_OK):  # it does not exist, or belongs to a user with a strict umask
        written = directory / f"{title}.{uuid.uuid4().hex}.tmp"
        try:
            written.write_text(source)
            written.replace(path)
        finally:
            written.unlink(missing_ok=True)
    spec = importlib.util.spec_from_file_location(f"mail_envs_generated_{title}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
