"""`python -m learners`: which learners and commands there are, with a line each."""

from __future__ import annotations

import ast

from learners.lib.settings import COMMANDS, LEARNERS, learner_names


def first_line(name: str) -> str:
    """The first sentence of a module's docstring; nothing is imported."""
    text = ast.get_docstring(ast.parse((LEARNERS / f"{name}.py").read_text())) or ""
    return " ".join(text.split("\n\n")[0].split())


def main() -> None:
    """Print the list."""
    for title, names in (("Learners", learner_names()), ("Commands", COMMANDS)):
        print(f"{title}:")
        for name in names:
            print(f"  python -m learners.{name:9} {first_line(name)}")
    print("Each explains its options with --help.")


if __name__ == "__main__":
    main()
