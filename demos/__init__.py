"""Demonstrations: record them, keep them, look at them, and hand them to learners.

`demos.record.record(...)` records; `Demonstrations.open(path)` reads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from demos.dataset import DemonstrationWarning, Demonstrations, Episode, Transitions, mix
    from demos.layout import DemonstrationError
    from demos.policies import MLPPolicy, load_policy, random_policy
    from demos.record import rollouts
    from demos.writer import DemonstrationWriter, describe

_HOMES = {
    "dataset": ("DemonstrationWarning", "Demonstrations", "Episode", "Transitions", "mix"),
    "layout": ("DemonstrationError",),
    "minari": ("from_minari", "to_minari"),
    "policies": ("MLPPolicy", "load_policy", "random_policy"),
    "record": ("rollouts",),
    "writer": ("DemonstrationWriter", "describe"),
}
__all__ = [name for names in _HOMES.values() for name in names]


def __getattr__(name: str):
    """Names are imported when they are first used: a learner does not wait for what it does not need."""
    import importlib

    for home, names in _HOMES.items():
        if name in names:
            return getattr(importlib.import_module(f"demos.{home}"), name)
    raise AttributeError(f"module 'demos' has no attribute {name!r}")
