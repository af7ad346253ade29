"""The manifest of a set of demonstrations: a JSON file that is replaced as a whole."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from demos.layout import DemonstrationError, Layout

FORMAT = "mail_envs demonstrations"
SCHEMA_VERSION = 1
MANIFEST = "manifest.json"


def write_manifest(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Replace the manifest atomically: readers see the old one or the new one."""
    temporary = folder / (MANIFEST + ".tmp")
    with open(temporary, "w", encoding="utf-8") as file:
        json.dump(manifest, file, indent=1)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, folder / MANIFEST)


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a set, or a `DemonstrationError` that says what the folder holds instead."""
    path = folder / MANIFEST
    if not folder.is_dir():
        found = "a file" if folder.exists() else "nothing"
        raise DemonstrationError(f"{folder}: expected a folder of demonstrations, found {found}")
    if not path.is_file():
        names = sorted(entry.name for entry in folder.iterdir())
        listing = ", ".join(names[:5]) + (" ..." if len(names) > 5 else "")
        raise DemonstrationError(
            f"{folder}: not a set of demonstrations: it has no {MANIFEST} (found: {listing or 'nothing'})"
        )
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DemonstrationError(f"{path}: not valid JSON ({error})") from None
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        found = manifest.get("format") if isinstance(manifest, dict) else type(manifest).__name__
        raise DemonstrationError(f"{path}: expected the format {FORMAT!r}, found {found!r}")
    version = manifest.get("schema_version")
    if version != SCHEMA_VERSION:
        raise DemonstrationError(
            f"{path}: schema version {version!r}; this version of mail_envs reads {SCHEMA_VERSION}"
        )
    missing = {"id", "agents", "observation_dims", "layout", "shards"} - manifest.keys()
    if missing:
        raise DemonstrationError(f"{path}: the manifest lacks {', '.join(sorted(missing))}")
    return manifest


def action_dims_of(manifest: Mapping[str, Any]) -> list[int]:
    """Every agent's number of actions; sets that do not say it are of games in which all have as many."""
    return manifest.get("action_dims") or (
        [manifest["layout"]["num_actions"]] * len(manifest["agents"])
    )


def layout_of(manifest: Mapping[str, Any], path: Path) -> Layout:
    """The manifest's layout, checked."""
    try:
        return Layout(**manifest["layout"])
    except TypeError:
        raise DemonstrationError(
            f"{path / MANIFEST}: unknown layout {manifest['layout']!r}"
        ) from None
