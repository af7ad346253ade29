"""`python -m demos`: list the commands, one line each."""

from __future__ import annotations

import ast
from pathlib import Path

COMMANDS = ("record", "convert", "inspect", "replay", "export")


def first_line(name: str) -> str:
    """A module's docstring up to its first colon, without the example; nothing is imported."""
    text = ast.get_docstring(ast.parse(Path(__file__).with_name(f"{name}.py").read_text())) or ""
    return text.partition(":")[0]


def main() -> None:
    """Print the list."""
    print("Commands:")
    for name in COMMANDS:
        print(f"  python -m demos.{name:8} {first_line(name)}")
    print("Run a command with --help to see its options.")


if __name__ == "__main__":
    main()
