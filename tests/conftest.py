"""Fixtures shared by all tests."""

import signal
import sys
from pathlib import Path

import pettingzoo
import pytest

from mail_envs import own_games, registry

# A runner in the background ignores Ctrl-C, and so would every process that a test starts.
signal.signal(signal.SIGINT, signal.default_int_handler)


def forgetting():
    """Undo what is registered meanwhile, here and in PettingZoo, and forget the files that are imported by path.

    The tables are changed in place: they are imported by name in other modules.
    """
    tables = (
        registry._SPECS, pettingzoo.aec_registry, pettingzoo.parallel_registry, own_games._IDS
    )  # fmt: skip
    before, files = [dict(table) for table in tables], list(own_games._FILES)
    yield
    for table, entries in zip(tables, before, strict=True):
        table.clear()
        table.update(entries)
    for file in set(own_games._FILES) - set(files):
        sys.modules.pop(Path(file).stem, None)
    own_games._FILES[:] = files


# A module's fixtures may register ids for all its tests, and a test ids for itself.
@pytest.fixture(scope="module", autouse=True)
def ids_of_a_module():
    yield from forgetting()


@pytest.fixture(autouse=True)
def ids_of_a_test(ids_of_a_module):
    yield from forgetting()


@pytest.fixture
def trap(tmp_path, monkeypatch):
    """A module `trap` that writes a marker when it is imported, in the current folder and importable.

    The test fails when something imports it.
    """
    marker = tmp_path / "imported"
    (tmp_path / "trap.py").write_text(
        "import mail_envs\n"
        f"open({str(marker)!r}, 'w').close()\n"
        "PLAYER = mail_envs.Stochastic(0.5)\n"
        "def parallel_env(**arguments): raise RuntimeError('made')\n"
        "env = act = make = parallel_env\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield marker
    assert not marker.exists() and "trap" not in sys.modules
