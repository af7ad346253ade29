"""`python -m learners`: list the learners and commands, one line each."""

from __future__ import annotations

import ast

from learners.lib.settings import COMMANDS, LEARNERS, learner_names


def first_line(name: str) -> str:
    """First paragraph of a module's docstring, on one line; nothing is imported."""
    text = ast.get_docstring(ast.parse((LEARNERS / f"{name}.py").read_text())) or ""
    return " ".join(text.split("\n\n")[0].split())


def main() -> None:
    """Print the list."""
    for title, names in (("Learners", learner_names()), ("Commands", COMMANDS)):
        print(f"{title}:")
        for name in names:
            print(f"  python -m learners.{name:9} {first_line(name)}")
    print("Run a command with --help to see its options.")


if __name__ == "__main__":
    main()
