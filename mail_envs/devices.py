"""Devices on which arrays are stored and kernels run: the CPU, or a CUDA device.

On CUDA the arrays are torch tensors, which numba's kernels read and write without a copy. Under numba's CUDA simulator
(NUMBA_ENABLE_CUDASIM=1) they are NumPy arrays, so that the CUDA path can be tested without a GPU.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial

import numba
import numpy as np
from numba.core import config

THREADS_PER_BLOCK = 128


class Cpu:
    """NumPy arrays; loops over environments, serial or multi-threaded."""

    name = "cpu"

    def __init__(self, num_envs: int, num_threads: int = 1):
        self.num_threads = num_threads
        if num_threads > 1:
            numba.set_num_threads(min(num_threads, config.NUMBA_NUM_THREADS))

    def zeros(self, shape, dtype):
        return _readable(
            np.zeros(shape, dtype)
        )  # no copy, which would leave out the bytes between fields

    def put(self, array: np.ndarray):
        return _readable(np.array(array))

    def get(self, array) -> np.ndarray:
        return array

    def bind(self, kernel, *arrays) -> Callable[[], None]:
        """A function without arguments that runs `kernel` on these arrays."""
        return partial(kernel, *arrays)


class Cuda:
    """Torch CUDA tensors; one thread per environment."""

    name = "cuda"

    def __init__(self, num_envs: int, num_threads: int = 1):
        self.simulated = os.environ.get("NUMBA_ENABLE_CUDASIM") == "1"
        try:
            from numba import cuda
        except ImportError as error:
            raise ImportError(
                "device='cuda' needs numba-cuda: pip install 'mail-envs[cuda]'"
            ) from error
        self.cuda = cuda
        if not self.simulated:
            import torch

            if not torch.cuda.is_available():
                raise RuntimeError("device='cuda', but torch.cuda.is_available() is False here")
            self.torch = torch
        self.blocks = -(-num_envs // THREADS_PER_BLOCK)

    def zeros(self, shape, dtype):
        return self.put(np.zeros(shape, dtype))

    def put(self, array: np.ndarray):
        if self.simulated:
            return _readable(np.array(array))
        if array.dtype.names:  # records are used by kernels only
            return self.cuda.to_device(array)
        return self.torch.from_numpy(np.array(array)).cuda()

    def get(self, array) -> np.ndarray:
        if self.simulated:
            return array
        return array.copy_to_host() if hasattr(array, "copy_to_host") else array.cpu().numpy()

    def bind(self, kernel, *arrays) -> Callable[[], None]:
        if self.simulated:
            return partial(kernel[self.blocks, THREADS_PER_BLOCK], *arrays)
        as_cuda = self.cuda.as_cuda_array
        handles = [a if not isinstance(a, self.torch.Tensor) else as_cuda(a) for a in arrays]
        return partial(kernel[self.blocks, THREADS_PER_BLOCK], *handles)


def _readable(array: np.ndarray) -> np.ndarray:
    """With NUMBA_DISABLE_JIT=1 kernels are plain Python, where only recarrays allow `record.field`."""
    if array.dtype.names and config.DISABLE_JIT:
        return array.view(np.recarray)
    return array


def make_device(name: str, num_envs: int, num_threads: int) -> Cpu | Cuda:
    if name not in ("cpu", "cuda"):
        raise ValueError(f"device={name!r} is not one of 'cpu', 'cuda'")
    return {"cpu": Cpu, "cuda": Cuda}[name](num_envs, num_threads)
