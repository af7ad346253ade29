"""The pages in docs/environments say what the games say now."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import mail_envs
from mail_envs.commands import pages

FOLDER = Path(__file__).parents[1] / "docs" / "environments"
IDS = [spec.id for spec in pages.suite_specs()]
HINT = "write it anew: python -m mail_envs pages --no-pictures"


@pytest.mark.parametrize("id", IDS)
def test_the_page_is_up_to_date(id):
    path = FOLDER / f"{id}.md"
    assert path.exists(), f"{id} has no page: python -m mail_envs pages {id}"
    if pages.made(id).problem:
        pytest.skip(pages.made(id).problem)
    assert path.read_text() == pages.page(mail_envs.spec(id), FOLDER), HINT


def test_the_index_is_up_to_date():
    assert (FOLDER / pages.INDEX).read_text() == pages.index(FOLDER), HINT


def test_there_are_no_other_pages():
    known = {f"{id}.md" for id in IDS} | {pages.INDEX}
    assert {path.name for path in FOLDER.glob("*.md")} == known
    shown = set(re.findall(r"\((\w+\.gif)\)", "".join(p.read_text() for p in FOLDER.glob("*.md"))))
    assert {path.name for path in FOLDER.glob("*.gif")} == shown


def test_pictures_are_small():
    assert all(path.stat().st_size < 150_000 for path in FOLDER.glob("*.gif"))


def test_an_id_without_its_simulator_keeps_its_page(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(pages, "made", lambda id: pages.Made(problem="pip install it"))
    (tmp_path / "coop_nav.md").write_text("as it was")
    (tmp_path / pages.INDEX).write_text("| [`coop_nav`](coop_nav.md) | 3 | a | b | c | old |")
    pages.pages(("coop_nav",), tmp_path)
    assert (tmp_path / "coop_nav.md").read_text() == "as it was"
    index = (tmp_path / pages.INDEX).read_text()
    assert "| [`coop_nav`](coop_nav.md) | 3 | a | b | c | three agents" in index
    assert "skipped coop_nav: pip install it" in capsys.readouterr().out


def test_a_picture_is_drawn(tmp_path, capsys):
    pages.pages(("coop_reaching",), tmp_path)
    assert {p.suffix for p in tmp_path.iterdir()} == {".gif", ".md"}
    assert (
        "![coop_reaching](deterministic_coop_reaching.gif)"
        in (tmp_path / "coop_reaching.md").read_text()
    )
