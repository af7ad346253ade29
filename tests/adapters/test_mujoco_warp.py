"""Bi-DexHands in MuJoCo Warp: equal to C MuJoCo on the CPU, and compiled for CUDA."""

from __future__ import annotations

import importlib.util
import re

import numpy as np
import pytest

import mail_envs

pytest.importorskip("mujoco")
pytest.importorskip("gymnasium_robotics")


def untrained(vec, rng):
    return np.clip(rng.normal(0, 0.37, vec.buffers.actions.shape), -1, 1).astype(np.float32)


@pytest.mark.slow  # Warp compiles for minutes
@pytest.mark.parametrize(
    ("task", "positions", "seen"),
    [("door_open_inward", 5e-5, 5e-3), ("over", 2e-3, 0.2), ("push_block", 2e-3, 0.5)],
)
def test_it_agrees_with_c_mujoco_over_20_rounds(task, positions, seen):
    pytest.importorskip("mujoco_warp")
    id = f"bidexhands_{task}"
    ours = mail_envs.make_vec(id, 2, seed=3)
    theirs = mail_envs.make_vec(id, 2, seed=3, backend="mujoco_warp")
    for name in ("agents", "observation_spaces", "action_spaces", "state_space", "max_rounds"):
        assert getattr(ours, name) == getattr(theirs, name)
    np.testing.assert_allclose(theirs.buffers.observations, ours.buffers.observations, atol=1e-3)
    rng = np.random.default_rng(0)
    for _ in range(20):
        actions = untrained(ours, rng)
        a, b = ours.step(actions), theirs.step(actions)
    native, warp = (v.launches.copies for v in (ours, theirs))
    difference = np.abs(native.worlds.arrays.qpos - warp.arrays.qpos).max()
    assert difference < positions
    assert np.abs(a[0] - b[0]).max() < seen
    np.testing.assert_allclose(a[1], b[1], atol=0.05)


@pytest.mark.slow
def test_worlds_end_and_begin_alone():
    """A world that fails is truncated; its next episode is that of the native game; others go on."""
    pytest.importorskip("mujoco_warp")
    id = "bidexhands_door_open_inward"
    vec = mail_envs.make_vec(id, 2, seed=3, backend="mujoco_warp")
    rng = np.random.default_rng(0)
    vec.step(untrained(vec, rng))
    before = vec.buffers.observations.copy()
    vec.launches.copies.arrays.qvel[0, 3] = np.nan
    _, rewards, terminated, truncated, info = vec.step(untrained(vec, rng))
    assert truncated.tolist() == [True, False] and not terminated.any()
    assert info["metrics"]["simulation_errors"].tolist() == [1, 0] and not rewards[0].any()
    np.testing.assert_array_equal(info["final_observation"][0], before[0])
    native = mail_envs.make_vec(id, 1, seed=int(info["seed"][0]))
    np.testing.assert_allclose(
        vec.buffers.observations[0], native.buffers.observations[0], atol=1e-3
    )
    for _ in range(5):
        actions = untrained(vec, rng)
        vec.step(actions)
        native.step(actions[:1])
    np.testing.assert_allclose(
        vec.buffers.observations[0], native.buffers.observations[0], atol=5e-3
    )
    assert np.isfinite(vec.buffers.observations).all()
    vec.close()


def test_a_missing_package_is_named(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda n: None if n == "mujoco_warp" else find(n)
    )
    with pytest.raises(
        ImportError, match=r"needs mujoco_warp: pip install 'mail-envs\[hands,warp\]'"
    ):
        mail_envs.make_vec("bidexhands_over", backend="mujoco_warp")


class CompileOnly:
    """Stands in for a CUDA device: keeps the compiled loops and their arguments, and runs nothing."""

    name = "cuda"

    def __init__(self):
        self.launches = []

    def put(self, array):
        return np.array(array)

    def bind(self, kernel, *arrays):
        self.launches.append((kernel, arrays))


def test_rules_and_rounds_compile_for_cuda_in_single_precision():
    pytest.importorskip("numba.cuda", reason="numba-cuda is not installed")
    import numba
    from numba import cuda
    from numba.cuda import dispatcher

    from mail_envs.copies import SimulatorLaunches
    from mail_envs.games.hands.worlds import SEEN, Rules

    class Device:
        compute_capability = (7, 5)

    vec = mail_envs.make_vec("bidexhands_two_catch_underarm", 2)
    worlds, device = vec.launches.copies.worlds, CompileOnly()
    arrays = worlds.arrays
    for name in (*SEEN, "control", "wrench"):
        setattr(arrays, name, getattr(arrays, name).astype(np.float32))
    current, dispatcher.get_current_device = dispatcher.get_current_device, Device
    try:
        Rules(worlds.params, arrays, worlds.out, device)
        SimulatorLaunches(None, vec.buffers, device, vec._settings(True), False)
        assert len(device.launches) == 8
        for kernel, given in device.launches:
            types = tuple(numba.typeof(array) for array in given)
            ptx, _ = cuda.compile_ptx(kernel.py_func, types, cc=Device.compute_capability)
            assert not re.findall(r"^\s*\w+\S*\.f64.*;", ptx, flags=re.MULTILINE)
    finally:
        dispatcher.get_current_device = current
