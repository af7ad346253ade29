"""How much memory is free, so that a setting that cannot fit is refused before the run starts."""

from __future__ import annotations

from pathlib import Path

import torch

USABLE = 0.3  # share of the free memory that replay may take: writing a checkpoint needs two more copies of it
MEMINFO, CGROUP = Path("/proc/meminfo"), Path("/sys/fs/cgroup")


def free_bytes(device: torch.device) -> int | None:
    """Free memory of the device in bytes; None if the system does not say."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    found = [n for n in (_free_of_machine(), _free_of_group()) if n is not None]
    return min(found, default=None)


def size_text(size: float) -> str:
    """2_500_000_000 -> "2.50 GB"."""
    return f"{size / 1e9:.2f} GB" if size >= 1e7 else f"{size / 1e6:.2f} MB"


def _free_of_machine() -> int | None:
    try:
        lines = MEMINFO.read_text().splitlines()
    except OSError:
        return None
    sizes = [line.split()[1] for line in lines if line.startswith("MemAvailable:")]
    return 1024 * int(sizes[0]) if sizes else None


def _free_of_group() -> int | None:
    """What the container's limit leaves; cached files are given back when memory is needed."""
    try:
        most, used, kinds = (
            (CGROUP / name).read_text().strip()
            for name in ("memory.max", "memory.current", "memory.stat")
        )
    except OSError:
        return None
    cached = [int(x.split()[1]) for x in kinds.splitlines() if x.startswith("inactive_file ")]
    return max(int(most) - int(used) + sum(cached), 0) if most.isdigit() else None
