"""Check that a game compiles for CUDA; this needs no GPU."""

from __future__ import annotations

import re
from typing import Any

from numba.core import config

from mail_envs.conformance.subject import ConformanceError, NotApplicable, Subject, require


def check_cuda(subject: Subject) -> None:
    """The game compiles for CUDA, in single precision. No GPU is needed."""
    ptx = compile_to_ptx(subject)
    doubles = re.findall(r"^\s*(\w+\S*\.f64.*);", ptx, flags=re.MULTILINE)
    require(
        not doubles,
        f"the CUDA code computes in float64 in {len(doubles)} places, e.g. `{doubles[:1]}`",
        "write constants as np.float32(...) at module level, and convert integers with np.float32",
    )


def compile_to_ptx(subject: Subject) -> str:
    """PTX code of the game's compiled `step`, for compute capability 7.5."""
    if config.DISABLE_JIT:
        raise NotApplicable("NUMBA_DISABLE_JIT=1: nothing is compiled")
    try:
        import numba
        from cuda.pathfinder import load_nvidia_dynamic_lib
        from numba import cuda
        from numba.core.errors import NumbaError
        from numba.cuda import dispatcher

        for library in ("nvrtc", "nvvm"):
            load_nvidia_dynamic_lib(library)
    except (ImportError, RuntimeError) as error:
        raise NotApplicable(
            "the CUDA compiler is not installed: pip install numba-cuda nvidia-cuda-nvrtc nvidia-nvvm"
        ) from error
    from mail_envs.kernels import KernelLaunches, game_launches

    class Device:
        compute_capability = (7, 5)

    vector = subject.vector(2)
    if not isinstance(vector.launches, KernelLaunches):
        raise NotApplicable("a simulator runs in Python, not on CUDA")
    arrays = vector.launches.step.args
    modules: Any = (dispatcher, cuda)  # not declared as public by numba
    dispatch, compiler = modules
    current, dispatch.get_current_device = dispatch.get_current_device, Device
    try:
        launches = game_launches(vector.game.kernels, f"{subject.id}_ptx", device="cuda")
        types = tuple(numba.typeof(array) for array in arrays)
        ptx, _ = compiler.compile_ptx(launches.step.py_func, types, cc=Device.compute_capability)
    except NumbaError as error:
        raise ConformanceError(
            f"the game does not compile for CUDA: {str(error).strip().splitlines()[0]}",
            "use only scalars, fields of the record and other @njit functions in the three functions",
        ) from error
    finally:
        dispatch.get_current_device = current
    return ptx
