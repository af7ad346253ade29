"""Opens untrusted files: only regular ones, because opening a named pipe would block forever."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO

KINDS = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFDIR: "a folder",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def open_regular(path: str | Path) -> BinaryIO:
    """Open a regular file, or a link to one, for reading bytes, without ever blocking.

    Raises:
        FileNotFoundError: there is no such file. OSError: it cannot be read, or is not a regular file.
    """
    number = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    mode = os.fstat(number).st_mode
    if not stat.S_ISREG(mode):
        os.close(number)
        kind = KINDS.get(stat.S_IFMT(mode), "something else")
        raise OSError(f"{path}: expected a regular file, found {kind}")
    return os.fdopen(number, "rb")


def read_regular(path: str | Path) -> bytes:
    """All bytes of a regular file; raises as `open_regular` does."""
    with open_regular(path) as file:
        return file.read()
