"""Fixtures of the tests about demonstrations."""

from __future__ import annotations

from pathlib import Path

import pytest
from random_sets import write


@pytest.fixture
def demos_path(tmp_path) -> Path:
    """A set of 40 episodes in several shards."""
    write(tmp_path / "set", 40, shard_bytes=20_000)
    return tmp_path / "set"
