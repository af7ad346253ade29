"""What all tests need."""

import signal
import sys

import pytest

# A runner in the background ignores Ctrl-C, and so would every process that a test starts.
signal.signal(signal.SIGINT, signal.default_int_handler)


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
