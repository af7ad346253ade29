"""The layer in plain Python and single precision, and as CUDA code."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import numpy as np
import pytest
import starcraft_plain_python
from numba import cuda
from starcraft_battles import ALLY, ENEMY, army, columns, stops

from mail_envs.games.starcraft import encode_episode
from mail_envs.games.starcraft.actions import note_action
from mail_envs.games.starcraft.layout import (
    as_record,
    layout_params,
    num_actions,
    observation_size,
    shares_sightings,
    state_size,
    unit_fields,
)
from mail_envs.games.starcraft.maps import scenario
from mail_envs.games.starcraft.observation import observe_env
from mail_envs.games.starcraft.options import make_options
from mail_envs.games.starcraft.scoring import (
    begin_battle,
    note_strength,
    outcome,
    shared_reward,
)
from mail_envs.games.starcraft.sight import update_sightings


def random_frames(rng, length=6):
    units = [*army(ALLY, "2 marauder, 7 marine, 1 medivac", 9), *army(ENEMY, "8 marine, 3 marauder, 1 medivac", 14)]  # fmt: skip
    frames = [units]
    for _ in range(length - 1):
        places = rng.uniform(5, 25, (len(units), 2)).astype(np.float32)
        moved = [u.at(*map(float, xy)) for u, xy in zip(frames[-1], places)]
        frames.append([u.with_health(float(rng.integers(1, 45))) for u in moved])
    return columns(*frames)


def test_plain_python_in_single_precision_gives_the_same_to_a_millionth(tmp_path):
    frames = random_frames(np.random.default_rng(0))
    actions = stops(frames)
    compiled = encode_episode("smac_mmm2", frames, actions, obs_last_action=True)
    np.savez(tmp_path / "frames.npz", **frames, actions=actions)
    subprocess.run(
        [sys.executable, starcraft_plain_python.__file__, tmp_path / "frames.npz", tmp_path / "out.npz"],
        env={**os.environ, "NUMBA_DISABLE_JIT": "1"}, check=True,
    )  # fmt: skip
    with np.load(tmp_path / "out.npz") as file:
        plain = dict(file)
    assert set(plain) == set(compiled)
    for name, array in compiled.items():
        if array.dtype.kind == "f":
            assert np.allclose(array, plain[name], rtol=1e-6, atol=1e-6), name
        else:
            assert np.array_equal(array, plain[name]), name


def battle_round(state, params, rng, actions, rewards, observations, mask, alive, global_state):
    """All of the layer's entries once, as an engine calls them."""
    e = cuda.grid(1)
    if e < state.shape[0]:
        me = state[e]
        begin_battle(me, params[0])
        for i in range(actions.shape[1]):
            note_action(me, params[0], i, actions[e, i])
        note_strength(me, params[0])
        rewards[e] = shared_reward(me, params[0], outcome(me, params[0]))
        update_sightings(me, rng[e], params[0])
        observe_env(me, params[0], observations[e], mask[e], alive[e], global_state[e])


@pytest.mark.parametrize(("id", "variant"), [("smacv2_terran_5_vs_5", "conic")])
def test_the_layer_compiles_to_single_precision_without_local_memory(id, variant, monkeypatch):
    try:
        import numba
        from cuda.pathfinder import load_nvidia_dynamic_lib
        from numba.cuda import dispatcher

        for library in ("nvrtc", "nvvm"):
            load_nvidia_dynamic_lib(library)
    except (ImportError, RuntimeError) as reason:
        pytest.skip(f"the CUDA compiler is not installed: {reason}")
    if numba.config.DISABLE_JIT:
        pytest.skip("NUMBA_DISABLE_JIT=1: nothing is compiled")

    class Device:
        compute_capability = (7, 5)

    monkeypatch.setattr(dispatcher, "get_current_device", Device)
    of = scenario(id)
    options = make_options(
        of, variant, faithful=True, obs_terrain_height=True, obs_pathing_grid=True
    )
    n, e = of.num_agents, 2
    fields = unit_fields(n, of.num_enemies, shares_sightings(of, options))
    arrays = (
        np.zeros(e, np.dtype(fields, align=True)),
        as_record(layout_params(of, options)),
        np.zeros(e, np.dtype([("key", "u8"), ("counter", "i8")])),
        np.zeros((e, n), np.int32),
        np.zeros(e, np.float32),
        np.zeros((e, n, observation_size(of, options)), np.float32),
        np.zeros((e, n, num_actions(of, options)), np.int8),
        np.zeros((e, n), bool),
        np.zeros((e, state_size(of, options)), np.float32),
    )
    types = tuple(numba.typeof(array) for array in arrays)
    ptx, _ = cuda.compile_ptx(battle_round, types, cc=Device.compute_capability)
    assert ".entry" in ptx
    assert not re.findall(r"^.*\.f64\b.*$", ptx, flags=re.MULTILINE)
    assert not re.findall(r"^.*\.local\b.*$", ptx, flags=re.MULTILINE)
