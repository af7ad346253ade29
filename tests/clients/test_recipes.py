"""The recipes in docs/clients.md run unchanged, and the page names the tested versions."""

from __future__ import annotations

import importlib.metadata
import re
from pathlib import Path

import pytest
from three_games import client

PAGE = Path(__file__).parents[2] / "docs" / "clients.md"
RECIPES = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
CLIENTS = ("torchrl", "supersuit", "stable_baselines3", "tianshou")


def name(recipe: str) -> str:
    return next((c for c in CLIENTS if c in recipe), "make_vec")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("recipe", RECIPES, ids=name)
def test_recipe_runs(recipe):
    for module in CLIENTS:
        if module in recipe:
            client(module)
    exec(compile(recipe, str(PAGE), "exec"), {"__name__": "recipe"})


@pytest.mark.parametrize("package", CLIENTS)
def test_the_page_names_the_version_that_is_tested(package):
    pins = Path(__file__).parents[2].joinpath("constraints.txt").read_text()
    pinned = re.search(rf"^{package.replace('_', '-')}==(.*)$", pins, re.MULTILINE)
    assert pinned and pinned[1] in PAGE.read_text()
    client(package)
    if importlib.metadata.version(package) != pinned[1]:
        pytest.skip(f"{package} is not the pinned version here")
