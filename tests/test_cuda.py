"""The CUDA path: in numba's simulator, as PTX, and on a GPU where there is one."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import reference_rollouts
from chosen_ids import KERNEL_IDS
from sample_games import LastStanding
from sample_players import BY_ROUND, COMPILED, PLAIN

import mail_envs
from mail_envs.conformance import NotApplicable, Subject, compile_to_ptx
from mail_envs.vector import VectorGame

TOLERANCE = 1e-5


def has_gpu() -> bool:
    try:
        import torch
        from numba import cuda  # noqa: F401
    except ImportError:
        return False
    return torch.cuda.is_available()


def assert_equal(found, expected):
    assert set(found) == set(expected)
    for name, array in expected.items():
        if array.dtype.kind == "f":
            assert np.allclose(found[name], array, rtol=TOLERANCE, atol=TOLERANCE), name
        else:
            assert np.array_equal(found[name], array), name


# -- numba's simulator ----------------------------------------------------------------------------


def test_the_cuda_path_in_the_simulator_gives_the_same_games_as_the_cpu(tmp_path):
    """All three games, a game with deaths, and player functions of all kinds."""
    pytest.importorskip("numba.cuda", reason="numba-cuda is not installed")
    script = Path(reference_rollouts.__file__)
    simulator = {"NUMBA_ENABLE_CUDASIM": "1", "NUMBA_DISABLE_JIT": "1"}
    subprocess.run(
        [sys.executable, script, tmp_path / "cuda.npz", "cuda"],
        env={**os.environ, **simulator}, check=True,
    )  # fmt: skip
    with np.load(tmp_path / "cuda.npz") as file:
        assert_equal(dict(file), reference_rollouts.all_rollouts("cpu"))


# -- PTX ------------------------------------------------------------------------------------------


class CompileOnly:
    """Stands in for a CUDA device: keeps the launches and their arguments, and runs nothing."""

    name = "cuda"

    def __init__(self):
        self.launches = []

    def zeros(self, shape, dtype):
        return np.zeros(shape, dtype)

    def put(self, array):
        return np.array(array)

    def get(self, array):
        return array

    def bind(self, kernel, *arrays):
        self.launches.append((kernel, arrays))
        return lambda: None


@pytest.fixture
def compile_launches(monkeypatch):
    """A function that gives the PTX texts of all launches of a game."""
    import numba

    try:
        from cuda.pathfinder import load_nvidia_dynamic_lib
        from numba import cuda
        from numba.cuda import dispatcher

        for library in ("nvrtc", "nvvm"):
            load_nvidia_dynamic_lib(library)
    except (ImportError, RuntimeError) as reason:
        pytest.skip(
            f"the CUDA compiler is not installed (nvidia-cuda-nvrtc, nvidia-nvvm): {reason}"
        )

    class Device:
        compute_capability = (7, 5)

    monkeypatch.setattr(dispatcher, "get_current_device", Device)

    def texts(make):
        device = CompileOnly()
        monkeypatch.setattr("mail_envs.vector.make_device", lambda *arguments: device)
        make()
        for kernel, arrays in device.launches:
            types = tuple(numba.typeof(array) for array in arrays)
            ptx, _ = cuda.compile_ptx(kernel.py_func, types, cc=Device.compute_capability)
            yield kernel.py_func.__module__, ptx

    return texts


def assert_lean(name, ptx):
    """No arithmetic in float64, and nothing in local memory, which is slow memory."""
    doubles = re.findall(r"^.*\.f64\b.*$", ptx, flags=re.MULTILINE)
    assert not doubles, f"{name} computes in float64: {doubles[:3]}"
    local = re.findall(r"^.*\.local\b.*$", ptx, flags=re.MULTILINE)
    assert not local, f"{name} uses local memory: {local[:3]}"


@pytest.mark.parametrize("id", KERNEL_IDS)
def test_every_game_computes_in_registers_and_single_precision(id):
    try:
        ptx = compile_to_ptx(Subject(id))
    except NotApplicable as reason:
        pytest.skip(str(reason))
    assert ".entry" in ptx
    assert_lean(id, ptx)


@pytest.mark.parametrize(
    "keywords",
    [{"continuous_actions": True}, {"num_agents": 4, "null_action": "as_action"}],
    ids=str,
)
def test_variants_of_a_game_compile_too(keywords, compile_launches):
    for name, ptx in compile_launches(lambda: mail_envs.make_vec("coop_nav", **keywords)):
        assert_lean(name, ptx)


@pytest.mark.parametrize("continuous", [False, True])
@pytest.mark.parametrize("name", [*COMPILED, "Stochastic"])
def test_every_player_function_computes_in_registers_and_single_precision(
    name, continuous, compile_launches
):
    player = {**BY_ROUND, **COMPILED}[name]
    if continuous and name == "StateDependent":
        pytest.skip("the sample reads discrete actions")
    keywords = {"player_function": player, "continuous_actions": continuous}
    launches = list(compile_launches(lambda: mail_envs.make_vec("coop_reaching", **keywords)))
    assert len(launches) >= 3, "step, reset and the drawing of participation"
    for launch, ptx in launches:
        assert ".entry" in ptx
        assert_lean(launch, ptx)


def test_a_game_with_masks_and_deaths_compiles(compile_launches):
    for name, ptx in compile_launches(lambda: VectorGame(LastStanding(), mail_envs.Stochastic())):
        assert_lean(name, ptx)


@pytest.mark.parametrize("name", PLAIN)
def test_plain_python_functions_are_refused_on_cuda(name, monkeypatch):
    monkeypatch.setattr("mail_envs.vector.make_device", lambda *arguments: CompileOnly())
    with pytest.raises(ValueError, match=f"{name}.*plain Python function.*numba"):
        mail_envs.make_vec("coop_nav", device="cuda", player_function=PLAIN[name])


# -- a real GPU -----------------------------------------------------------------------------------


@pytest.mark.cuda
@pytest.mark.skipif(not has_gpu(), reason="no NVIDIA GPU, or no torch or numba-cuda for it")
class TestOnGpu:
    @pytest.mark.parametrize("case", [*reference_rollouts.CASES, reference_rollouts.DEATHS])
    def test_games_are_those_of_the_cpu(self, case):
        assert_equal(
            reference_rollouts.rollout(case, "cuda"), reference_rollouts.rollout(case, "cpu")
        )

    def test_arrays_are_torch_tensors_on_the_device_without_a_copy(self):
        import torch

        vector = mail_envs.make_vec("stochastic_coop_nav", 256, device="cuda")
        first, info = vector.reset(seed=0)
        pointers = [first.data_ptr(), *(v.data_ptr() for k, v in info.items() if k != "metrics")]
        actions = torch.ones((256, 3), dtype=torch.int64, device="cuda")
        observations, rewards, terminated, truncated, info = vector.step(actions)
        arrays = [observations, rewards, terminated, truncated]
        arrays += [v for k, v in info.items() if k != "metrics"] + list(info["metrics"].values())
        assert all(isinstance(a, torch.Tensor) and a.is_cuda for a in arrays)
        again = [
            observations.data_ptr(),
            *(v.data_ptr() for k, v in info.items() if k != "metrics"),
        ]
        assert again == pointers
        assert observations.data_ptr() == vector.buffers.observations.data_ptr()
        assert (info["round"] == 1).all() and (info["seed"].cpu().numpy() == np.arange(256)).all()

    def test_long_random_play_returns_the_same_on_average(self):
        import torch

        returns = {}
        for device in ("cpu", "cuda"):
            vector = mail_envs.make_vec(
                "stochastic_coop_nav", 4000, device=device, terminate_on_success=False, seed=0
            )
            rng = np.random.default_rng(0)
            for _ in range(50):
                vector.step(torch.as_tensor(rng.integers(5, size=(4000, 3))))
            returns[device] = np.asarray(vector._host("episode_return")).mean()
        assert returns["cuda"] == pytest.approx(returns["cpu"], abs=0.05)

    def test_a_saved_state_moves_between_devices(self):
        cpu, gpu = (mail_envs.make_vec("coop_nav", 8, device=d, seed=3) for d in ("cpu", "cuda"))
        for _ in range(3):
            cpu.step(np.ones((8, 3), int))
        gpu.set_state(cpu.get_state())
        a, b = cpu.step(np.ones((8, 3), int))[0], gpu.step(np.ones((8, 3), int))[0]
        assert np.allclose(a, b.cpu().numpy(), atol=TOLERANCE)

    def test_an_invalid_action_is_reported_within_a_thousand_steps(self):
        from mail_envs.vector import DEVICE_CHECK_EVERY

        vector = mail_envs.make_vec("coop_nav", 4, device="cuda", seed=0)
        with pytest.raises(ValueError, match="outside its space"):
            for _ in range(DEVICE_CHECK_EVERY + 1):
                vector.step(np.full((4, 3), 77))
