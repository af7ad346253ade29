"""Demonstrations: recording, storing, inspecting and loading them.

`demos.record.record(...)` records; `Demonstrations.open(path)` reads.
"""

from __future__ import annotations

import importlib

_MODULES = {
    "DemonstrationError": "layout",
    "DemonstrationWarning": "layout",
    "DemonstrationWriter": "writer",
    "Demonstrations": "dataset",
    "Episode": "episode",
    "NetworkPolicy": "policies",
    "Transitions": "episode",
    "describe": "description",
    "from_minari": "minari",
    "load_policy": "policies",
    "mix": "dataset",
    "random_policy": "policies",
    "rollouts": "record",
    "to_minari": "minari",
}
__all__ = list(_MODULES)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str):
    """Import a name when it is first used, so that `import demos` stays fast."""
    if name not in _MODULES:
        raise AttributeError(f"module 'demos' has no attribute {name!r}")
    return getattr(importlib.import_module(f"demos.{_MODULES[name]}"), name)
