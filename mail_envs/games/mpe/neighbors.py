"""Partial observability: agents observe only their nearest neighbors (MPE2's `num_agent_neighbors` and similar).

A limit of -1 means that all are observed, in their usual order. With a limit of k the k nearest are observed, nearest
first; if there are fewer, the rest is zero.
"""

from mail_envs.counts import check_kind
from mail_envs.games.particle.world import ZERO, write_pair
from mail_envs.kernels import device_function


def limit(name: str, count: int | None) -> int:
    """An argument as a number for kernels; TypeError or ValueError if it is neither None nor positive."""
    check_kind(name, count, "int | None")
    if count is None:
        return -1
    if count < 1:
        raise ValueError(f"{name}={count!r} must be None or at least 1")
    return int(count)


def slots(count: int, shown: int) -> int:
    """How many of `count` entities an observation contains."""
    return count if shown < 0 else shown


@device_function
def square_to(points, j, x, y):
    dx = points[j, 0] - x
    dy = points[j, 1] - y
    return dx * dx + dy * dy


@device_function
def slot_of(points, j, x, y, skip, shown):
    """The slot of point j: its index without `skip`, or its rank by distance to (x, y)."""
    if shown < 0:
        return j - 1 if 0 <= skip < j else j
    mine = square_to(points, j, x, y)
    nearer = 0
    for other in range(points.shape[0]):
        if other != skip:
            square = square_to(points, other, x, y)
            nearer += square < mine or (square == mine and other < j)
    return nearer


@device_function
def write_relative(out, k, points, x, y, skip, shown):
    """Write all points but `skip`, relative to (x, y); returns the next position."""
    last = k + 2 * (shown if shown >= 0 else points.shape[0] - (skip >= 0))
    for c in range(k, last):
        out[c] = ZERO
    for j in range(points.shape[0]):
        if j != skip:
            slot = slot_of(points, j, x, y, skip, shown)
            if shown < 0 or slot < shown:
                write_pair(out, k + 2 * slot, points[j, 0] - x, points[j, 1] - y)
    return last
