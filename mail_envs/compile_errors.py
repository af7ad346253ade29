"""Numba's errors in kernels, shortened to one line: file, line, message."""

from __future__ import annotations

import inspect
import re
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from numba.core.errors import NumbaError

from mail_envs.launch_cache import cache_directory

LENGTH = 300  # of a message: numba prints whole types
PREAMBLE = "Failed in "
POSITION = re.compile(r"^During: .* at (.+) \((\d+)\)$", re.MULTILINE)
UNDEFINED = re.compile(r"name '(\w+)' is not defined")
BUILT_IN = re.compile(r"Function\(<built-in function (\w+)>\)")
CALLEE = re.compile(r"<function (\w+) at (0x\w+)>")


def compile_error(error: BaseException) -> str | None:
    """An error as `my_game.py:31: name 'act' is not defined`; None if it is not from numba's compiler."""
    frames = [f for f, _ in traceback.walk_tb(error.__traceback__)]
    files = [Path(frame.f_code.co_filename).as_posix() for frame in frames]
    compiling = any("/numba/core/compiler" in f for f in files)
    if not (compiling or isinstance(error, NumbaError)):
        return None
    place = next(_places(error, frames), None)
    message = _message(error)
    return message if place is None else f"{place[0]}:{place[1]}: {message}"


def _message(error: BaseException) -> str:
    """The message, without numba's list of what it tried."""
    lines = []
    for line in str(error).splitlines():
        if line.startswith(("During:", "There are ", "File ")):
            break
        if not line.startswith(PREAMBLE):
            lines.append(line.strip().removeprefix(">>> "))
    text = " ".join(" ".join(lines).split()).removeprefix("NameError: ")
    text = BUILT_IN.sub(r"\1", text)
    if isinstance(error, KeyError):
        text = f"the record has no field {text}"
    return text if len(text) <= LENGTH else text[:LENGTH] + " ..."


def _places(error: BaseException, frames: list[FrameType]) -> Iterator[tuple[str, int]]:
    """Positions in the user's files that numba points to, the most specific one first."""
    text = str(error)
    undefined, callee = UNDEFINED.search(text), CALLEE.search(text)
    if undefined and callee:  # numba does not say where
        yield from _uses(undefined[1], *callee.groups())
    found = [(file, int(line)) for file, line in POSITION.findall(text)]
    for frame in reversed(frames):
        values = [getattr(value, "loc", value) for value in frame.f_locals.values()]
        found += [(loc.filename, loc.line) for loc in values if type(loc).__name__ == "Loc"]
    generated = cache_directory()
    for file, line in found:
        path = Path(file)
        if path.is_file() and path.parent != generated and "site-packages" not in path.parts:
            yield file, line


def _uses(word: str, name: str, address: str) -> Iterator[tuple[str, int]]:
    """Positions at which the compiled function with this name and address uses a word."""
    for module in list(sys.modules.values()):
        function = getattr(getattr(module, "__dict__", {}).get(name), "py_func", None)
        if function is not None and hex(id(function)) == address:
            lines, first = inspect.getsourcelines(function)
            for k, line in enumerate(lines):
                if re.search(rf"\b{word}\b", line):
                    yield function.__code__.co_filename, first + k
