"""The manifest of a set of demonstrations: a JSON file that is always replaced as a whole.

Manifests are untrusted input: every entry that is used is checked when the file is read.
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
UNWRITTEN = MANIFEST + ".tmp"  # until it is complete
SHARD_NAME = re.compile(r"shard-[0-9]{5,9}\.arrow")

MAX_BYTES = 2**26  # of a manifest
MAX_ROW = 2**31  # numbers in one column of a row, Arrow's limit
MAX_DEPTH = 16  # of nested lists and dictionaries
MAX_SETS = (
    255  # action sets that fit a byte, assumed where the player function does not give a number
)


def write_manifest(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Replace the manifest atomically: readers see the old one or the new one."""
    content = json.loads(json.dumps({k: v for k, v in manifest.items() if k != "checksum"}))
    temporary = folder / UNWRITTEN
    temporary.unlink(missing_ok=True)  # left by a killed process; links are not followed
    number = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    with os.fdopen(number, "w", encoding="utf-8") as file:
        json.dump({**content, "checksum": _checksum(content)}, file, indent=1)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, folder / MANIFEST)


def _checksum(content: Mapping[str, Any]) -> int:
    """CRC-32 of a manifest's contents, independent of key order and whitespace."""
    return zlib.crc32(json.dumps(content, sort_keys=True).encode())


def read_manifest(folder: Path) -> dict[str, Any]:
    """The checked manifest of a set; `DemonstrationError` if the folder has none or it is not valid."""
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
    return checked(path, _parse(path))


def checked(path: Path | str, manifest: Any) -> dict[str, Any]:
    """A manifest from `path`, without its checksum; `DemonstrationError` if it is not valid."""
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
    """Decode the JSON file; its size and nesting depth are limited."""
    try:
        with open_regular(path) as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        reason = str(error).removeprefix(f"{path}: ") if error.errno is None else error.strerror
        raise DemonstrationError(f"{path}: cannot be read: {reason}") from None
    if len(data) > MAX_BYTES:
        raise DemonstrationError(f"{path}: larger than {MAX_BYTES} bytes")
    try:
        manifest = json.loads(data.decode())
        level = [manifest]
        for _ in range(MAX_DEPTH):
            level = [v for part in level for v in _parts(part)]
        if level:
            raise RecursionError
    except RecursionError:
        raise DemonstrationError(f"{path}: nested more than {MAX_DEPTH} levels deep") from None
    except (
        ValueError
    ) as error:  # invalid encoding, invalid JSON, or an integer with too many digits
        raise DemonstrationError(f"{path}: not valid JSON ({_line(error)})") from None
    return manifest


def _parts(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def shown(value: Any) -> str:
    """A value from a file, shortened and escaped for a one-line error."""
    return ascii(value) if isinstance(value, (int, float)) else _SHORT.repr(value)


_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 80
_SHORT.maxlevel = 3


def _is_integer(low: int, high: int = 2**62) -> Callable[[Any], bool]:
    return lambda v: type(v) is int and low <= v <= high


def _is_list(each: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda v: isinstance(v, list) and all(map(each, v))


def _is_string(value: Any) -> bool:
    return isinstance(value, str)


def _is_bool(value: Any) -> bool:
    return isinstance(value, bool)


def _is_dict(value: Any) -> bool:
    return isinstance(value, dict)


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value) and abs(value) < 1e30


def _are_names(value: Any) -> bool:
    return _is_list(_is_string)(value) and len(set(value)) == len(value)


def _are_versions(value: Any) -> bool:
    return _is_dict(value) and all(map(_is_string, value.values()))


def _is_player_function(value: Any) -> bool:
    return _is_dict(value) and _is_string(value.get("type"))


def _matches(pattern: re.Pattern[str]) -> Callable[[Any], bool]:
    return lambda v: _is_string(v) and pattern.fullmatch(v) is not None


# The check of an entry, and what to say when it fails.
Checks = Mapping[str, tuple[Callable[[Any], bool], str]]
STRING = (_is_string, "a string")
BOOL = (_is_bool, "true or false")
DICT = (_is_dict, "a dictionary")
NUMBER = (_is_number, "a number")
COUNT = (_is_integer(0), "a non-negative integer")
POSITIVE = (_is_integer(1), "a positive integer")
NAMES = (_are_names, "a list of distinct names")

NEEDED: Checks = {
    "id": STRING,
    "agents": NAMES,
    "observation_dims": (_is_list(COUNT[0]), "a list of non-negative integers"),
    "layout": DICT,
    "shards": (_is_list(_is_dict), "a list of dictionaries"),
}
OPTIONAL: Checks = {
    "arguments": DICT,
    "player_function": (_is_player_function, "a dictionary with a type"),
    "null_action": STRING,
    "max_rounds": POSITIVE,
    "fixed_horizon": BOOL,
    "action_dims": (_is_list(POSITIVE[0]), "a list of positive integers"),
    "return_agents": NAMES,
    "convention": STRING,
    "demonstrator": STRING,
    "mixture": (_is_list(_is_dict), "a list of dictionaries"),
    "versions": (_are_versions, "a dictionary of strings"),
    "random_return": NUMBER,
    "expert_return": NUMBER,
    "statistics": DICT,
}
LAYOUT: Checks = {
    "num_agents": POSITIVE,
    "observation_size": COUNT,
    "num_actions": POSITIVE,
    "state_size": COUNT,
    "discrete": BOOL,
    "masked": BOOL,
    "metrics": NAMES,
    "alive": BOOL,
}
SHARD: Checks = {
    "file": (_matches(SHARD_NAME), "a name like shard-00000.arrow"),
    "bytes": COUNT,
    "sha256": (_matches(re.compile("[0-9a-f]{64}")), "64 hexadecimal digits"),
    "episodes": COUNT,
    "transitions": COUNT,
}


def _check(path: Path | str, manifest: dict[str, Any]) -> None:
    """Raise a `DemonstrationError` unless the manifest's entries are valid and consistent."""
    _check_entries(path, "the manifest", manifest, NEEDED)
    given = {k: v for k, v in OPTIONAL.items() if manifest.get(k) is not None}
    _check_entries(path, "the manifest", manifest, given)
    layout = manifest["layout"]
    _check_entries(path, "the layout", layout, LAYOUT)
    unknown = layout.keys() - {f.name for f in fields(Layout)}
    n, d, a = (layout[k] for k in ("num_agents", "observation_size", "num_actions"))
    agents, sizes = manifest["agents"], manifest["observation_dims"]
    actions, returned = action_dims_of(manifest), manifest.get("return_agents") or ()
    problems = (
        (unknown, f"unknown layout entries {shown(sorted(unknown))}"),
        (max(n * max(a, d), layout["state_size"]) >= MAX_ROW, "rows are too large"),
        (len(agents) != n, f"there are {len(agents)} agents, but num_agents={n}"),
        (
            len(sizes) != n or max(sizes) != d,
            f"observation_dims do not fit {n} agents and size {d}",
        ),
        (len(actions) != n or max(actions) != a, f"action_dims do not fit {n} agents, {a} actions"),
        (
            layout["alive"] != (manifest["schema_version"] > 1),
            f"schema version {manifest['schema_version']}, alive={layout['alive']}",
        ),
        (set(returned) - set(agents), "return_agents are not among the agents"),
        (layout["discrete"] != layout["masked"], "masks do not fit: discrete games have them"),
    )
    for wrong, message in problems:
        if wrong:
            raise DemonstrationError(f"{path}: {message}")
    # An episode has one round at least, and what was seen after it.
    smallest = 2 * Layout(**layout).row_bytes()
    for entry in manifest["shards"]:
        _check_entries(path, "a shard's entry", entry, SHARD)
        if not entry["episodes"] * smallest <= entry["bytes"] >= entry["transitions"]:
            raise DemonstrationError(
                f"{path}: {entry['file']} of {entry['bytes']} bytes cannot hold {entry['episodes']} "
                f"episodes of {entry['transitions']} rounds"
            )
    names = [entry["file"] for entry in manifest["shards"]]
    if sorted(set(names)) != sorted(names):
        raise DemonstrationError(f"{path}: a shard is listed twice")


def _check_entries(
    path: Path | str, where: str, entries: Mapping[str, Any], checks: Checks
) -> None:
    missing = [name for name in checks if name not in entries and name != "metrics"]
    if missing:
        raise DemonstrationError(f"{path}: {where} lacks {', '.join(missing)}")
    for name, (valid, expected) in checks.items():
        if name in entries and not valid(entries[name]):
            found = shown(entries[name])
            raise DemonstrationError(f"{path}: {name} must be {expected}, found {found}")


def action_dims_of(manifest: Mapping[str, Any]) -> list[int]:
    """Number of actions of each agent; the same for all if the manifest does not list them."""
    if listed := manifest.get("action_dims"):
        return listed
    return [manifest["layout"]["num_actions"]] * len(manifest["agents"])


def values_of(manifest: Mapping[str, Any]) -> Values:
    """The bounds that a manifest sets on the values in its episodes."""
    player = manifest.get("player_function") or {}
    sets, custom = player.get("sets"), ":" in player.get("type", ":")
    num_sets = len(sets) if isinstance(sets, list) else MAX_SETS if custom else 1
    return Values(
        layout=Layout(**manifest["layout"]),
        observation_dims=tuple(manifest["observation_dims"]),
        action_dims=tuple(action_dims_of(manifest)),
        num_sets=min(num_sets, MAX_SETS),
        max_rounds=manifest.get("max_rounds"),
    )
