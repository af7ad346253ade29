"""There are no circular imports, not even through imports inside functions."""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGES = ("mail_envs", "demos", "learners")


def sources() -> dict[str, Path]:
    """Module name -> file."""
    files = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    parts = {path: path.relative_to(ROOT).with_suffix("").parts for path in files}
    return {".".join(parts[path]).removesuffix(".__init__"): path for path in files}


def imported(tree: ast.Module, known: dict[str, Path]) -> set[str]:
    """Our modules that a module imports anywhere, those that only annotations need left out."""
    guarded = [
        n
        for n in ast.walk(tree)
        if isinstance(n, ast.If) and "TYPE_CHECKING" in ast.unparse(n.test)
    ]
    skipped = {id(inner) for guard in guarded for inner in ast.walk(guard)}
    found: set[str] = set()
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                found.add(name if name in known else node.module)
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found & known.keys()


def test_there_is_no_circle():
    known = sources()
    graph = {n: imported(ast.parse(p.read_text()), known) - {n} for n, p in known.items()}
    assert len(graph) > 150 and len(graph["learners.amagail"]) > 3
    order = list(TopologicalSorter(graph).static_order())  # CycleError names the circle
    assert len(order) == len(graph)


def test_demonstrations_know_no_learner():
    """They know only how policy files become networks, when one is loaded."""
    known = sources()
    for name, path in known.items():
        if name.startswith("demos"):
            learners = {
                m for m in imported(ast.parse(path.read_text()), known) if m.startswith("learners")
            }
            if name == "demos.policies":
                learners -= {"learners.lib.architectures"}
            assert not learners, (name, learners)
