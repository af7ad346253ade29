"""Files of run folders: written atomically, and read as untrusted data.

Readers see either the old file or the new one. Only regular files are opened (reading a named pipe would
hang), and every problem with a file becomes a `ValueError` that names it. Mappings are stored with a CRC-32,
so that changes are detected; files of earlier versions, which lack it, can still be read.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import shutil
import stat
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from mail_envs.plain_files import KINDS, open_regular

CHECKSUM = "crc32"
MOST_BYTES = 64 << 20  # of a JSON file
MOST_YAML = 1 << 16  # bytes; the parser is slow


# ---------------------------------------------------------------------------------------------- writing
def write_text(path: Path, text: str) -> None:
    """Replace a text file."""
    temporary = temporary_of(path)
    temporary.unlink(missing_ok=True)
    with open(temporary, "x", encoding="utf-8") as file:  # x: do not follow a link
        file.write(text)
    os.replace(temporary, path)


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Replace a JSON file, with a checksum."""
    write_text(path, json.dumps({**value, CHECKSUM: checksum(value)}, indent=1))


def write_yaml(path: Path, value: Mapping[str, Any]) -> None:
    """Replace a YAML file, with a checksum."""
    plain = json.loads(json.dumps(value))
    write_text(path, f"{yaml.safe_dump(plain)}{CHECKSUM}: {checksum(value)}\n")


def checksum(value: Mapping[str, Any]) -> int:
    """CRC-32 of a JSON-able mapping; it does not depend on the order of the keys."""
    plain = json.loads(json.dumps(value))
    return zlib.crc32(json.dumps(plain, sort_keys=True).encode())


def temporary_of(path: Path) -> Path:
    """Temporary path where a file or folder is written before it replaces `path`."""
    return path.with_name(f".{path.name}.{os.getpid()}")


def remove_temporary(folder: Path) -> None:
    """Remove the temporary files that a killed process left in `folder`."""
    for path in folder.glob(".*"):
        if not re.fullmatch(r"\.[A-Za-z]\w*(\.\w+)?\.\d+", path.name):
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def check_plain(folder: Path, files: Sequence[str], folders: Sequence[str]) -> None:
    """Raise ValueError if anything in `folder` that a run writes to has the wrong file type.

    Where they exist, `files` in it must be regular files, and `folders` in it must hold only files and
    folders: a link may point elsewhere, and a named pipe would hang.
    """
    for name in files:
        _check_kind(folder / name, stat.S_IFREG)
    for name in folders:
        _check_kind(folder / name, stat.S_IFDIR)
        for parent, inner, names in os.walk(folder / name):
            for kind, found in ((stat.S_IFDIR, inner), (stat.S_IFREG, names)):
                for one in found:
                    _check_kind(Path(parent, one), kind)


def _check_kind(path: Path, kind: int) -> None:
    """Raise ValueError when `path` exists and is not a file or folder, as `kind` says."""
    if not os.path.lexists(path):
        return
    mode = path.lstat().st_mode
    found = "a link" if stat.S_ISLNK(mode) else KINDS.get(stat.S_IFMT(mode), "a file")
    if stat.S_IFMT(mode) != kind:
        expected = KINDS.get(kind, "a regular file")
        raise ValueError(f"{path} is {found}; in a run folder it must be {expected}")


# ---------------------------------------------------------------------------------------------- reading
def read_bytes(path: Path, most: int | None = MOST_BYTES) -> bytes:
    """The content of a regular file of at most `most` bytes.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not a regular file, is too long, or cannot be read.
    """
    try:
        with open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            if most is not None and size > most:
                raise ValueError(f"{path} has {size:,} bytes; at most {most:,} are read")
            return file.read()
    except FileNotFoundError:
        raise FileNotFoundError(f"{path} is missing") from None
    except OSError as error:
        text = f"{path} cannot be read: {error.strerror}" if error.strerror else str(error)
        raise ValueError(text) from None


def read_end(path: Path, most: int) -> bytes:
    """The last `most` bytes of a regular file; OSError when it is missing or not a regular file."""
    with open_regular(path) as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - most))
        return file.read()


def read_json(path: Path) -> dict[str, Any]:
    """The mapping in a JSON file, without its checksum. Raises as `read_bytes` does."""
    data = read_bytes(path)
    try:
        value = json.loads(data)
    except RecursionError:
        raise ValueError(f"{path} is damaged: it is nested too deeply") from None
    except ValueError as error:
        raise ValueError(f"{path} is damaged: it is not JSON ({error})") from None
    return _checked(path, value)


def read_yaml(path: Path, aliases: bool = False) -> dict[str, Any]:
    """The mapping in a YAML file, without its checksum. Raises as `read_bytes` does.

    Aliases (`*name`) are an error unless `aliases` is set: a few of them can expand to gigabytes.
    """
    data = read_bytes(path, MOST_YAML)
    try:
        value = yaml.load(data, _SweepLoader if aliases else _Loader)
        if not aliases:
            json.dumps(value)  # rejects dates, sets and the like
    except RecursionError:
        raise ValueError(f"{path} cannot be read: it is nested too deeply") from None
    except Exception as error:  # the parser raises KeyError, AttributeError, ... for wrong tags
        raise ValueError(f"{path} cannot be read: {' '.join(str(error).split())}") from None
    return _checked(path, value)


def _checked(path: Path, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{path} is damaged: it holds {type(value).__name__}, not a mapping")
    for key in value:
        if not isinstance(key, str):
            raise ValueError(f"{path} is damaged: its key {key!r} is not a string")
    noted = value.pop(CHECKSUM, None)
    if noted is not None and noted != checksum(value):
        raise ValueError(
            f"{path} was changed after it was written: its checksum does not match (remove `{CHECKSUM}` "
            "from it if you changed it on purpose)"
        )
    return value


class _LoaderWithAliases(yaml.SafeLoader):
    """Plain YAML; duplicate keys are an error."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        keys = Counter(k.value for k, _ in node.value if isinstance(k, yaml.ScalarNode))
        twice = [key for key, count in keys.items() if count > 1]
        if twice:
            text = f"the key {twice[0]!r} is given twice"
            raise yaml.composer.ComposerError(None, None, text, node.start_mark)
        return node


class _SweepLoader(_LoaderWithAliases):
    """Also takes 5e-4 for a number, as people write it; to YAML 1.1 it is text without a dot."""


_SweepLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
)


class _Loader(_LoaderWithAliases):
    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark
            raise yaml.composer.ComposerError(None, None, "aliases (*name) are not allowed", mark)
        return super().compose_node(parent, index)


# ----------------------------------------------------------------------------- values of a mapping
def number(path: Path, mapping: Mapping[str, Any], key: str) -> float:
    """`mapping[key]`, a finite number; ValueError naming the file and the key."""
    value = mapping.get(key)
    if isinstance(value, int | float) and not isinstance(value, bool):
        with contextlib.suppress(OverflowError):
            if math.isfinite(value):
                return float(value)
    raise wrong(path, key, value, "a number")


def whole(path: Path, mapping: Mapping[str, Any], key: str, least: int = 0) -> int:
    """`mapping[key]`, a whole number of at least `least`; ValueError naming the file and the key."""
    value = mapping.get(key)
    if type(value) is int and least <= value < 2**63:
        return value
    raise wrong(path, key, value, f"a whole number of at least {least}")


def wrong(path: Path, key: str, value: Any, expected: str) -> ValueError:
    """The error for a key that is missing or has a wrong value."""
    shown = repr(value)
    shown = shown if len(shown) < 60 else shown[:57] + "..."
    return ValueError(f"{path} is damaged: {key} is {shown}, not {expected}")
