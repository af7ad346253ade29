"""Football's engine and EnvPool's other environments live in one process, whichever is first."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytest.importorskip("envpool")

CODE = """
import sys
import mail_envs

for id in sys.argv[1:]:
    mail_envs.make_vec(id, 2).reset(seed=0)
import envpool
own = envpool.make("gfootball/academy_3_vs_1_with_keeper-v1", env_type="gymnasium", num_envs=1)
own.reset()
"""
FOOTBALL, ROBOT = "football_3_vs_1_with_keeper", "mamujoco_halfcheetah_6x1"


@pytest.mark.parametrize("ids", [(FOOTBALL, ROBOT), (ROBOT, FOOTBALL)])
def test_the_order_does_not_matter(ids):
    done = subprocess.run([sys.executable, "-c", CODE, *ids], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
