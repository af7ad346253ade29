"""`python -m demos`: which commands there are, with a line each."""

from __future__ import annotations

import ast
from pathlib import Path

COMMANDS = ("record", "inspect", "replay")


def first_line(name: str) -> str:
    """The first sentence of a module's docstring, without its example; nothing is imported."""
    text = ast.get_docstring(ast.parse(Path(__file__).with_name(f"{name}.py").read_text())) or ""
    return text.partition(":")[0]


def main() -> None:
    """Print the list."""
    print("Commands:")
    for name in COMMANDS:
        print(f"  python -m demos.{name:8} {first_line(name)}")
    print("Each explains its options with --help.")


if __name__ == "__main__":
    main()
