"""The manifest of a set of demonstrations: a JSON file that is replaced as a whole.

It may come from anybody: every entry that something is computed from is checked when it is read.
"""

from __future__ import annotations

import json
import math
import os
import re
import reprlib
import zlib
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from demos.layout import DemonstrationError, Layout
from demos.values import Values
from mail_envs.plain_files import open_regular

FORMAT = "mail_envs demonstrations"
SCHEMA_VERSION = 2
READABLE = (1, 2)
MANIFEST = "manifest.json"
SHARD_NAME = re.compile(r"shard-[0-9]{5,9}\.arrow")

LARGEST_FILE = 2**26  # bytes of a manifest
LARGEST_ROW = 2**31  # numbers in one column of a row: what Arrow can count
DEPTH = 16  # of lists and dictionaries within one another
ANY_SET = (
    255  # action sets, where the player function does not say how many: all that a byte can name
)


def write_manifest(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Replace the manifest atomically: readers see the old one or the new one."""
    content = json.loads(json.dumps({k: v for k, v in manifest.items() if k != "checksum"}))
    temporary = folder / (MANIFEST + ".tmp")
    temporary.unlink(missing_ok=True)  # what a kill left; a link is not followed
    number = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    with os.fdopen(number, "w", encoding="utf-8") as file:
        json.dump({**content, "checksum": _checksum(content)}, file, indent=1)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, folder / MANIFEST)


def _checksum(content: Mapping[str, Any]) -> int:
    """CRC-32 of what a manifest says, however it is written."""
    return zlib.crc32(json.dumps(content, sort_keys=True).encode())


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a set, or a `DemonstrationError` that says what the folder holds instead."""
    path = folder / MANIFEST
    if not folder.is_dir():
        found = "a file" if folder.exists() else "nothing"
        raise DemonstrationError(f"{folder}: expected a folder of demonstrations, found {found}")
    if not os.path.lexists(path):
        names = sorted(entry.name for entry in folder.iterdir())
        listing = ", ".join(names[:5]) + (" ..." if len(names) > 5 else "")
        raise DemonstrationError(
            f"{folder}: not a set of demonstrations: it has no {MANIFEST} (found: {listing or 'nothing'})"
        )
    manifest = _parse(path)
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        found = manifest.get("format") if isinstance(manifest, dict) else type(manifest).__name__
        raise DemonstrationError(f"{path}: expected the format {FORMAT!r}, found {shown(found)}")
    version = manifest.get("schema_version")
    if type(version) is not int or version not in READABLE:
        raise DemonstrationError(
            f"{path}: schema version {shown(version)}; this version of mail_envs reads "
            f"{' and '.join(map(str, READABLE))}"
        )
    checksum = manifest.pop("checksum", None)
    if checksum is not None and checksum != _checksum(manifest):
        raise DemonstrationError(
            f"{path}: the manifest is damaged (its checksum does not match); if it was edited on purpose, "
            f'remove the entry "checksum"'
        )
    if isinstance(manifest.get("layout"), dict):
        manifest["layout"].setdefault("alive", version > 1)
    _check(path, manifest)
    return manifest


def _parse(path: Path) -> Any:
    """What the JSON file says, none of it nested more than DEPTH deep."""
    try:
        with open_regular(path) as file:
            data = file.read(LARGEST_FILE + 1)
    except OSError as error:
        reason = str(error).removeprefix(f"{path}: ") if error.errno is None else error.strerror
        raise DemonstrationError(f"{path}: cannot be read: {reason}") from None
    if len(data) > LARGEST_FILE:
        raise DemonstrationError(f"{path}: larger than {LARGEST_FILE} bytes")
    try:
        manifest = json.loads(data.decode())
        level = [manifest]
        for _ in range(DEPTH):
            level = [v for part in level for v in _parts(part)]
        if level:
            raise RecursionError
    except RecursionError:
        raise DemonstrationError(f"{path}: nested more than {DEPTH} deep") from None
    except ValueError as error:  # of the encoding, of JSON, or a number of too many digits
        raise DemonstrationError(f"{path}: not valid JSON ({_line(error)})") from None
    return manifest


def _parts(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def shown(value: Any) -> str:
    """A value from a file in an error: short, printable, in one line."""
    return ascii(value) if isinstance(value, (int, float)) else _SHORT.repr(value)


_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 80
_SHORT.maxlevel = 3


def _whole(low: int, high: int = 2**62) -> Callable[[Any], bool]:
    return lambda v: type(v) is int and low <= v <= high


def _list(each: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda v: isinstance(v, list) and all(map(each, v))


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _texts(value: Any) -> bool:
    """A list of texts, none of them twice."""
    return _list(_text)(value) and len(set(value)) == len(value)


def _number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value) and abs(value) < 1e30


Checks = Mapping[str, tuple[Callable[[Any], bool], str]]  # entry -> what it must be, in words, too

NEEDED: Checks = {
    "id": (_text, "a text"),
    "agents": (_texts, "a list of different names"),
    "observation_dims": (_list(_whole(0)), "a list of sizes"),
    "layout": (lambda v: isinstance(v, dict), "a dictionary"),
    "shards": (_list(lambda v: isinstance(v, dict)), "a list of dictionaries"),
}
OPTIONAL: Checks = {
    "arguments": (lambda v: isinstance(v, dict), "a dictionary"),
    "player_function": (
        lambda v: isinstance(v, dict) and _text(v.get("type")),
        "a dictionary with a type",
    ),
    "null_action": (_text, "a text"),
    "max_rounds": (_whole(1), "a whole number from 1 on"),
    "fixed_horizon": (lambda v: isinstance(v, bool), "true or false"),
    "action_dims": (_list(_whole(1)), "a list of numbers of actions"),
    "return_agents": (_texts, "a list of different names"),
    "convention": (_text, "a text"),
    "demonstrator": (_text, "a text"),
    "versions": (
        lambda v: isinstance(v, dict) and all(map(_text, v.values())),
        "a dictionary of texts",
    ),
    "random_return": (_number, "a number"),
    "expert_return": (_number, "a number"),
    "statistics": (lambda v: isinstance(v, dict), "a dictionary"),
}
LAYOUT: Checks = {
    "num_agents": (_whole(1), "a whole number from 1 on"),
    "observation_size": (_whole(0), "a whole number"),
    "num_actions": (_whole(1), "a whole number from 1 on"),
    "state_size": (_whole(0), "a whole number"),
    "discrete": (lambda v: isinstance(v, bool), "true or false"),
    "masked": (lambda v: isinstance(v, bool), "true or false"),
    "metrics": (_texts, "a list of different names"),
    "alive": (lambda v: isinstance(v, bool), "true or false"),
}
SHARD: Checks = {
    "file": (lambda v: _text(v) and bool(SHARD_NAME.fullmatch(v)), "a name like shard-00000.arrow"),
    "bytes": (_whole(0), "a whole number"),
    "sha256": (
        lambda v: _text(v) and bool(re.fullmatch("[0-9a-f]{64}", v)),
        "64 hexadecimal digits",
    ),
    "episodes": (_whole(0), "a whole number"),
    "transitions": (_whole(0), "a whole number"),
}


def _check(path: Path, manifest: dict[str, Any]) -> None:
    """Raise a `DemonstrationError` unless the manifest's entries are what they must be, and agree."""
    _check_entries(path, "the manifest", manifest, NEEDED)
    given = {k: v for k, v in OPTIONAL.items() if manifest.get(k) is not None}
    _check_entries(path, "the manifest", manifest, given)
    layout = manifest["layout"]
    _check_entries(path, "the layout", layout, LAYOUT)
    unknown = layout.keys() - {f.name for f in fields(Layout)}
    n, d, a = (layout[k] for k in ("num_agents", "observation_size", "num_actions"))
    problems = {
        f"unknown layout {shown(sorted(unknown))}": unknown,
        "rows are too large": max(n * max(a, d), layout["state_size"]) >= LARGEST_ROW,
        f"{len(manifest['agents'])} agents, num_agents={n}": len(manifest["agents"]) != n,
        f"observation_dims are not those of {n} agents that observe up to {d} numbers": (
            len(manifest["observation_dims"]) != n or max(manifest["observation_dims"]) != d
        ),
        f"action_dims are not those of {n} agents with up to {a} actions": (
            len(action_dims_of(manifest)) != n or max(action_dims_of(manifest)) != a
        ),
        f"schema version {manifest['schema_version']}, alive={layout['alive']}": (
            layout["alive"] != (manifest["schema_version"] > 1)
        ),
        "return_agents are not among the agents": (
            set(manifest.get("return_agents") or ()) - set(manifest["agents"])
        ),
        "discrete actions without masks, or masks of continuous ones": (
            layout["discrete"] != layout["masked"]
        ),
    }
    for problem, holds in problems.items():
        if holds:
            raise DemonstrationError(f"{path}: {problem}")
    episode = 2 * Layout(**layout).row_bytes()  # of one round, and what was seen after it
    for entry in manifest["shards"]:
        _check_entries(path, "a shard's entry", entry, SHARD)
        if not entry["episodes"] * episode <= entry["bytes"] >= entry["transitions"]:
            raise DemonstrationError(
                f"{path}: {entry['file']} of {entry['bytes']} bytes cannot hold {entry['episodes']} "
                f"episodes of {entry['transitions']} rounds"
            )
    names = [entry["file"] for entry in manifest["shards"]]
    if sorted(set(names)) != sorted(names):
        raise DemonstrationError(f"{path}: a shard is listed twice")


def _check_entries(path: Path, where: str, entries: Mapping[str, Any], checks: Checks) -> None:
    missing = [name for name in checks if name not in entries and name != "metrics"]
    if missing:
        raise DemonstrationError(f"{path}: {where} lacks {', '.join(missing)}")
    for name, (fits, words) in checks.items():
        if name in entries and not fits(entries[name]):
            raise DemonstrationError(
                f"{path}: {name} must be {words}, found {shown(entries[name])}"
            )


def action_dims_of(manifest: Mapping[str, Any]) -> list[int]:
    """Every agent's number of actions; sets that do not say it are of games in which all have as many."""
    return manifest.get("action_dims") or (
        [manifest["layout"]["num_actions"]] * len(manifest["agents"])
    )


def values_of(manifest: Mapping[str, Any]) -> Values:
    """What a manifest says of the values in its episodes, the layout included."""
    player = manifest.get("player_function") or {}
    sets, own = player.get("sets"), ":" in player.get("type", ":")
    num_sets = len(sets) if isinstance(sets, list) else ANY_SET if own else 1
    return Values(
        layout=Layout(**manifest["layout"]),
        observation_dims=tuple(manifest["observation_dims"]),
        action_dims=tuple(action_dims_of(manifest)),
        num_sets=min(num_sets, ANY_SET),
        max_rounds=manifest.get("max_rounds"),
    )
