"""Speed of training on a CPU: memory that is kept, and faster float32 products."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

# Parameters of glibc's mallopt, from malloc.h, and their values in bytes.
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
KEPT, LARGEST = 1 << 30, 32 << 20
# Rounding a factor to bfloat16 changes it by up to 1 / 256, float32 by 1 / 16,777,216.
PRECISE = 1e-5
FAST = "bf16"


def keep_memory() -> None:
    """Let freed memory stay with the process, up to a gigabyte.

    By default glibc returns a batch's tensors to the system and gets zeroed pages for the next one, millions of them in
    a run. Other C libraries are left as they are.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(MMAP_THRESHOLD, LARGEST)
        mallopt(TRIM_THRESHOLD, KEPT)


@contextlib.contextmanager
def fast_products() -> Iterator[None]:
    """Inside, torch multiplies by oneDNN, if that is as precise as float32. For loops that repeat products' sizes.

    torch multiplies by MKL, which is half as fast on processors that Intel has not made, and a little faster on those
    that it has. oneDNN compiles a kernel for every new size, for about a millisecond.
    """
    with onednn() if not intel() and fast_are_precise() else contextlib.nullcontext():
        yield


@functools.cache
def intel() -> bool:
    """Whether Intel has made the processor; False where the system does not say."""
    with contextlib.suppress(OSError):
        return "GenuineIntel" in Path("/proc/cpuinfo").read_text()
    return False


@functools.cache
def fast_are_precise() -> bool:
    """Whether torch can multiply by oneDNN without rounding factors to bfloat16."""
    # Since torch 2.9.
    if not (torch.backends.mkldnn.is_available() and hasattr(torch.backends.mkldnn, "matmul")):
        return False
    with onednn():
        return all(error_of_product(*shape) < PRECISE for shape in ((64, 16, 64), (2048, 64, 256)))


@contextlib.contextmanager
def onednn() -> Iterator[None]:
    """Inside, torch may round factors to bfloat16, and then multiplies by oneDNN.

    Processors without instructions for such products do not round. `torch.backends.mkldnn.flags` would change more.
    """
    matmul: Any = torch.backends.mkldnn.matmul
    before, matmul.fp32_precision = matmul.fp32_precision, FAST
    try:
        yield
    finally:
        matmul.fp32_precision = before


def error_of_product(rows: int, inner: int, columns: int) -> float:
    """Largest error of a product of two matrices of numbers in [0, 1), relative to the result."""
    rng = torch.Generator().manual_seed(0)
    a, b = torch.rand(rows, inner, generator=rng), torch.rand(inner, columns, generator=rng)
    exact = a.double() @ b.double()
    return float(((a @ b - exact) / exact).abs().max())
