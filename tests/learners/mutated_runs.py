"""Faulty run folders: accidental damage and deliberate forgeries."""

from __future__ import annotations

import json
import os
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import yaml

from learners.lib.files import checksum

WEIRD = (
    -1, 0, 10**12, 2**63, 10**30, 1e308, -1e-300, float("nan"), float("inf"), None, True, "", "x", "5",
    "../../../../etc/passwd", "evil.py", "evil:GAME", "evil.py:GAME", "\ud800", "a" * 100_000, [], {}, [[]],
    {"a": 1}, [1, "x", None], {"type": "HistoryDependent", "function": "evil:f"}, ["env=evil:f"],
)  # fmt: skip


def deep(depth: int) -> list:
    value: list = []
    for _ in range(depth):
        value = [value]
    return value


# ------------------------------------------------------------------------------------------- accidents
def flip_bit(path: Path, rng) -> None:
    data = bytearray(path.read_bytes())
    data[rng.integers(len(data))] ^= 1 << int(rng.integers(8))
    path.write_bytes(data)


def truncate(path: Path, rng) -> None:
    path.write_bytes(path.read_bytes()[: rng.integers(path.stat().st_size)])


def extend(path: Path, rng) -> None:
    path.write_bytes(path.read_bytes() + rng.bytes(int(rng.integers(1, 50))))


def zero_block(path: Path, rng) -> None:
    data = bytearray(path.read_bytes())
    start = int(rng.integers(len(data)))
    data[start : start + 64] = bytes(len(data[start : start + 64]))
    path.write_bytes(data)


def swap(path: Path, rng) -> None:
    others = [p for p in sorted(top(path).rglob("*")) if p.is_file() and p != path]
    other = others[rng.integers(len(others))]
    mine, theirs = path.read_bytes(), other.read_bytes()
    path.write_bytes(theirs)
    other.write_bytes(mine)


def remove(path: Path, rng) -> None:
    path.unlink()


def pipe(path: Path, rng) -> None:
    path.unlink()
    os.mkfifo(path)


def folder(path: Path, rng) -> None:
    path.unlink()
    path.mkdir()


def link(path: Path, rng) -> None:
    targets = ("/dev/zero", "/etc/passwd", "nowhere", path.name, "/proc/self/mem", ".")
    path.unlink()
    path.symlink_to(targets[rng.integers(len(targets))])


ACCIDENTS: tuple[Callable, ...] = (
    flip_bit, flip_bit, truncate, extend, zero_block, swap, remove, pipe, folder, link,
)  # fmt: skip


# ----------------------------------------------------------------------------------------- forgeries
def top(path: Path) -> Path:
    """The run folder that a file is in."""
    return path if (path / "config.yaml").exists() or path.name == "run" else top(path.parent)


def leaves(value, place=()) -> list[tuple]:
    """Places of all values in nested lists and mappings."""
    inside = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    return [place] * bool(place) + [x for k, v in inside for x in leaves(v, (*place, k))]


def replace_value(mapping: dict, rng) -> None:
    places = leaves(mapping)
    *way, last = places[rng.integers(len(places))]
    inner = mapping
    for key in way:
        inner = inner[key]
    what = rng.integers(8)
    if what == 0:
        del inner[last]
    elif what == 1:
        inner[last] = deep(int(rng.choice([50, 900, 3000])))
    elif what == 2 and isinstance(inner, dict):
        inner[str(last) + "x"] = inner.pop(last)
    else:
        inner[last] = WEIRD[rng.integers(len(WEIRD))]


def forge(path: Path, rng) -> None:
    """Change a value and update all checksums."""
    if path.suffix == ".yaml":
        mapping = yaml.safe_load(path.read_text())
        mapping.pop("crc32")
        replace_value(mapping, rng)
        write(path, mapping, lambda m: yaml.safe_dump(m, allow_unicode=False))
    elif path.suffix == ".json":
        mapping = json.loads(path.read_text())
        mapping.pop("crc32")
        replace_value(mapping, rng)
        write(path, mapping, json.dumps)
    elif path.suffix == ".safetensors":
        forge_tensors(path, rng)
    else:
        flip_bit(path, rng)


def write(path: Path, mapping: dict, dump: Callable[[dict], str]) -> None:
    try:
        path.write_text(dump({**mapping, "crc32": checksum(mapping)}))
    except (RecursionError, ValueError, UnicodeError):
        path.write_text('{"a": ' + "[" * 100_000)


def forge_tensors(path: Path, rng) -> None:
    """Change a safetensors file: its header's numbers and names, or the data of a tensor."""
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    header, body = data[8 : 8 + size], bytearray(data[8 + size :])
    entries = json.loads(header)
    names = [n for n in entries if n != "__metadata__"]
    name = names[rng.integers(len(names))]
    what = rng.integers(5)
    if what == 0:
        entries[name]["shape"] = [int(rng.choice([-1, 0, 7, 2**40, 2**63])), 3]
    elif what == 1:
        entries[name]["data_offsets"] = [0, int(rng.choice([0, 1, 2**40, 2**64 - 1]))]
    elif what == 2:
        entries[name]["dtype"] = str(rng.choice(["F64", "U8", "BOOL", "I64", "X"]))
    elif what == 3:
        entries[name + "x"] = entries.pop(name)
    else:
        start, end = entries[name]["data_offsets"]
        body[start:end] = rng.bytes(end - start)
    header = json.dumps(entries).encode() if what < 4 else header
    length = len(header) if rng.integers(4) else int(rng.choice([0, 2**62, len(header) - 1]))
    path.write_bytes(length.to_bytes(8, "little") + header + body)
    state = path.with_name("state.json")
    if state.exists():
        mapping = json.loads(state.read_text())
        mapping.pop("crc32")
        mapping["files"][path.name] = zlib.crc32(path.read_bytes())
        write(state, mapping, json.dumps)


def rename_step(path: Path, rng) -> None:
    """Rename the newest checkpoint."""
    newest = max((top(path) / "checkpoints").iterdir())
    names = ("step_1", "step_99999999999999999999", "step_-1", "step_x", "step_007")
    newest.rename(newest.with_name(str(rng.choice(names))))


def mutant(source: Path, target: Path, seed: int) -> tuple[str, bool]:
    """A copy of a run folder with one fault; returns its description, and whether it is accidental damage."""
    rng = np.random.default_rng(seed)
    shutil.copytree(source, target)
    files = [p for p in sorted(target.rglob("*")) if p.is_file() and "tfevents" not in p.name]
    path = files[rng.integers(len(files))]
    accident = bool(rng.integers(2))
    kinds = ACCIDENTS if accident else (forge, forge, forge, rename_step)
    change = kinds[rng.integers(len(kinds))]
    change(path, rng)
    return f"{change.__name__} {path.relative_to(target)}", accident
