"""The list of commands."""

from __future__ import annotations

import subprocess
import sys

import pytest

from demos.__main__ import COMMANDS


def said(*words: str) -> str:
    return subprocess.run([sys.executable, "-m", *words], capture_output=True, text=True).stdout


def test_demos_lists_its_commands_with_a_line_each():
    lines = said("demos").splitlines()
    listed = {x.split()[2]: x.split(maxsplit=3)[3] for x in lines if "python -m demos." in x}
    assert list(listed) == [f"demos.{name}" for name in COMMANDS]
    assert (
        listed["demos.inspect"]
        == "Show the contents of a set of demonstrations, or of a trained policy"
    )


@pytest.mark.parametrize("name", COMMANDS)
def test_usage_shows_the_command(name):
    assert said(f"demos.{name}", "--help").startswith(f"usage: python -m demos.{name} ")
