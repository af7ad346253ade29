"""What sets of schema 1 do not hold, filled in when they are read: who was alive, and what the last row says.

Their last rows of masks and participation are zero, and nobody noted who was dead. An agent counts as alive in all
rounds up to the last one in which it acts; the last row repeats the one before, allows all actions, and nobody acts.
"""

from __future__ import annotations

import numpy as np


def acts_again(participation: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Whether an agent acts in this or a later row of its episode, bool (R, N).

    `participation`: uint8 (R, N), of episodes that begin at rows `starts`.
    """
    number = np.arange(len(participation))[:, None]
    last = np.maximum.reduceat(np.where(participation != 0, number, -1), starts)
    return number <= np.repeat(last, np.diff(starts, append=len(participation)), axis=0)


def fill_in(columns: dict[str, np.ndarray], rows: np.ndarray, own: np.ndarray) -> None:
    """Add `alive`, and the last rows of `action_mask`, to the columns of episodes that are there.

    `rows`: int64 (K,), T + 1 of each episode. `own`: bool or int (N, A), the actions that agents have.
    """
    stops = np.cumsum(rows)
    if "participation" in columns:
        alive = acts_again(columns["participation"], stops - rows)
        alive[stops - 1] = alive[stops - 2]
        columns["alive"] = alive.view(np.uint8)
    if "action_mask" in columns:
        columns["action_mask"] = columns["action_mask"].copy()
        columns["action_mask"][stops - 1] = own
