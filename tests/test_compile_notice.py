"""Commands say that they compile; the library is silent."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

COMPILE = """
from mail_envs import compile_notice
compile_notice.PATIENCE = {patience}
compile_notice.in_command = {command}
import mail_envs
env = mail_envs.make("coop_nav")
env.reset(seed=0)
"""


@pytest.mark.parametrize(
    ("patience", "command", "lines"), [(0.0, True, 1), (1e6, True, 0), (0.0, False, 0)]
)
def test_one_line_while_a_command_compiles(tmp_path, patience, command, lines):
    code = COMPILE.format(patience=patience, command=command)
    cache = {"MAIL_ENVS_CACHE": str(tmp_path), "NUMBA_CACHE_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=os.environ | cache
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count(f"the result is kept in {tmp_path}") == lines
    assert (done.stderr == "") == (lines == 0)
