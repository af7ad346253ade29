"""The directory of compiled code: shared by users, read-only, or missing."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import tempfile
import warnings

import pytest

from mail_envs.launch_cache import cache_directory, import_generated


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A separate home, and a process that has not used the directory yet."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("MAIL_ENVS_CACHE", raising=False)
    cache_directory.cache_clear()
    yield tmp_path / "home"
    cache_directory.cache_clear()


def below_a_file(folder):
    """A path at which not even root can create a directory."""
    (folder / "file").write_text("")
    return folder / "file" / "cache"


def test_the_directory_is_the_one_that_is_asked_for_or_in_the_home(home, tmp_path, monkeypatch):
    assert cache_directory() == home / ".cache" / "mail_envs"
    cache_directory.cache_clear()
    monkeypatch.setenv("MAIL_ENVS_CACHE", str(tmp_path / "elsewhere"))
    assert cache_directory() == tmp_path / "elsewhere"
    assert list((tmp_path / "elsewhere").iterdir()) == []


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o002, 0o664), (0o077, 0o600)])
def test_others_may_read_generated_modules_if_the_umask_lets_them(umask, mode, tmp_path):
    before = os.umask(umask)
    try:
        module = import_generated(tmp_path, f"shared_{umask:o}", "ANSWER = 42")
    finally:
        os.umask(before)
    assert module.ANSWER == 42
    assert stat.S_IMODE((tmp_path / f"shared_{umask:o}.py").stat().st_mode) == mode
    assert [p for p in tmp_path.iterdir() if p.suffix == ".tmp"] == []


def test_a_module_that_is_there_is_not_written_again(tmp_path):
    (tmp_path / "there.py").write_text("ANSWER = 1")
    before = (tmp_path / "there.py").stat().st_mtime_ns
    assert import_generated(tmp_path, "there", "ANSWER = 1").ANSWER == 1
    assert (tmp_path / "there.py").stat().st_mtime_ns == before


def test_a_directory_that_cannot_be_written_is_replaced_by_the_users_own(
    home, tmp_path, monkeypatch
):
    monkeypatch.setenv("MAIL_ENVS_CACHE", str(below_a_file(tmp_path)))
    with pytest.warns(
        RuntimeWarning, match=r"file/cache \(Not a directory\).*home.*MAIL_ENVS_CACHE"
    ) as seen:
        assert cache_directory() == home / ".cache" / "mail_envs"
    assert len(seen) == 1
    with warnings.catch_warnings():  # once per process
        warnings.simplefilter("error")
        assert cache_directory() == home / ".cache" / "mail_envs"


def test_without_a_directory_games_are_played_and_nothing_is_left_behind(tmp_path):
    """Two launches in a process: one warning that says what to set, no file, no folder."""
    nowhere, temporary = below_a_file(tmp_path), tmp_path / "tmp"
    temporary.mkdir()
    code = "import mail_envs; mail_envs.make_vec('mpe_simple', seed=0); print('played')"
    names = dict.fromkeys(
        ("MAIL_ENVS_CACHE", "HOME", "XDG_CACHE_HOME", "NUMBA_CACHE_DIR"), str(nowhere)
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False,
        env={**os.environ, **names, "TMPDIR": str(temporary), "NUMBA_DISABLE_JIT": "1"},
    )  # fmt: skip
    assert run.stdout == "played\n", run.stderr
    assert run.stderr.count("compiled code cannot be kept") == 1
    assert "compiled anew in every process; set MAIL_ENVS_CACHE to a directory" in run.stderr
    assert list(temporary.iterdir()) == []


def test_no_folder_is_left_in_the_temporary_one(home, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("HOME", str(below_a_file(tmp_path)))
    with pytest.warns(RuntimeWarning, match="compiled anew"):
        assert cache_directory() is None
    assert list((tmp_path / "tmp").iterdir()) == []
