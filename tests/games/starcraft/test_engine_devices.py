"""The engine in plain Python, as CUDA code, and as pictures."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import engine_rollout
import numpy as np
import pytest
from starcraft_players import at_random

from mail_envs.conformance import NotApplicable, Subject, compile_to_ptx
from mail_envs.games.starcraft.game import StarCraft
from mail_envs.games.starcraft.units import TYPES
from mail_envs.player_functions import Synchronous
from mail_envs.vector import VectorGame


def test_plain_python_plays_the_same_battle(tmp_path):
    subprocess.run(
        [sys.executable, engine_rollout.__file__, tmp_path / "plain.npz"],
        env={**os.environ, "NUMBA_DISABLE_JIT": "1"}, check=True,
    )  # fmt: skip
    compiled = engine_rollout.rollout()
    assert compiled["rewards"].any()
    with np.load(tmp_path / "plain.npz") as plain:
        for name, array in compiled.items():
            assert np.allclose(plain[name], array, rtol=1e-4, atol=1e-4), name


@pytest.mark.parametrize("id", ["smac_corridor", "smacv2_terran_5_vs_5"])
def test_the_engine_compiles_for_cuda_in_single_precision_without_local_memory(id):
    try:
        ptx = compile_to_ptx(Subject(id))
    except NotApplicable as reason:
        pytest.skip(str(reason))
    assert not re.findall(r"^.*\.f64\b.*$", ptx, flags=re.MULTILINE)
    assert not re.findall(r"^.*\.local\b.*$", ptx, flags=re.MULTILINE)


def test_battles_of_all_kinds_of_units_are_drawn():
    pytest.importorskip("pygame")
    vector = VectorGame(StarCraft("smac_3m"), Synchronous(), 1, autoreset=False)
    _, info = vector.reset(seed=0)
    rng, world = np.random.default_rng(0), vector.buffers.world
    frames = []
    for first in range(0, len(TYPES), 3):
        world["type"][0] = np.arange(first, first + 6) % len(TYPES)
        for _ in range(6):
            *_, info = vector.step(at_random(vector, info, rng))
        frames.append(vector.render())
    world["health"][0, :3], world["before"][0, :3] = 0, 1
    frames.append(vector.render())
    assert all(frame.shape == frames[0].shape for frame in frames)
    assert len({frame.tobytes() for frame in frames}) == len(frames)


def test_the_ground_is_drawn():
    pytest.importorskip("pygame")
    from mail_envs.games.starcraft.picture import CLIFF, GROUND, WALL
    from mail_envs.rendering import Canvas

    seen = {}
    for id in ("smac_2c_vs_64zg", "smac_3s_vs_5z"):
        game = StarCraft(id)
        state = np.zeros(1, game.state_dtype)
        state["target"] = state["missile_target"] = -1
        canvas = Canvas((300, 300))
        game.draw(canvas, state[0], np.ones(len(game.agents)))
        seen[id] = {tuple(c) for c in canvas.present().reshape(-1, 3).tolist()}
    assert {WALL, GROUND, CLIFF} <= seen["smac_2c_vs_64zg"]
    assert CLIFF not in seen["smac_3s_vs_5z"]
