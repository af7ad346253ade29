"""Saved states, copies and pickles of a `VectorGame`.

A copy is a view made anew, with arrays, launches and simulators of its own, and set to the state of the
original: NumPy views that share memory would come apart in a plain deep copy. Simulators get there by playing
their episodes again.
"""

from __future__ import annotations

import copy
import logging
from typing import TYPE_CHECKING, Any

import cloudpickle
import numpy as np

from mail_envs.markov_game import KernelGame
from mail_envs.own_games import import_source, imported_files

if TYPE_CHECKING:
    from mail_envs.vector import VectorGame

log = logging.getLogger(__name__)
# The attributes that `VectorGame._open` makes, and a copy makes anew.
OPENED = (
    "buffers", "launches", "participation", "clock", "metrics", "_device", "_on_cpu", "_errors", "_canvas",
    "_out", "_info", "_fields",
)  # fmt: skip


def get_state(view: VectorGame) -> dict[str, np.ndarray]:
    """Everything that the future depends on, as plain arrays; `set_state` goes back to it."""
    arrays = {k: view._device.get(v) for k, v in vars(view.buffers).items()}
    if view.participation.history is not None:
        arrays["history"] = view._device.get(view.participation.history)
        arrays["past_actions"] = view._device.get(view.participation.past_actions)
    return {k: np.array(v.view(np.uint8) if v.dtype.names else v) for k, v in arrays.items()}


def set_state(view: VectorGame, arrays: dict[str, np.ndarray]) -> None:
    """Continue from what `get_state` returned for an equal game with as many environments.

    Simulators play their episodes again up to there; a warning is logged where they come to something
    else. RuntimeError: the simulator cannot do that. ValueError: the state is another game's.
    """
    _insist_on_replay(view, "go back to a saved state")
    astray = _go_to(view, arrays)
    if astray:
        log.warning(
            "%s: copies %s did not come back to their saved observations; their simulators play on from "
            "where they are",
            view.id,
            ", ".join(map(str, astray)),
        )


def copied(view: VectorGame) -> VectorGame:
    """Like `copy.deepcopy`: two views of the same arrays would play into each other's game."""
    return copy.deepcopy(view)


def deep_copied(view: VectorGame, memo: dict) -> VectorGame:
    """A view of its own copy of the game, which plays on from where this one is.

    Raises:
        RuntimeError: the simulator cannot be brought there. TypeError: a part cannot be copied.
    """
    other = memo[id(view)] = object.__new__(type(view))
    parts, arrays = _parts(view)
    try:
        parts = copy.deepcopy(parts, memo)
    except Exception as error:
        raise TypeError(_refusal(view, error)) from error
    _reopen(other, parts, arrays)
    return other


def reduced(view: VectorGame) -> tuple:
    """Pickled like copied. Functions and classes that no module has travel with it (cloudpickle)."""
    parts, arrays = _parts(view)
    try:
        return _unpickle, (type(view), imported_files(), cloudpickle.dumps(parts), arrays)
    except Exception as error:
        raise TypeError(_refusal(view, error)) from error


def _unpickle(
    kind: type[VectorGame], files: list[str], parts: bytes, arrays: dict[str, np.ndarray] | None
) -> VectorGame:
    for file in files:  # `my_game.py`: its classes are found in its module
        import_source(file)
    view = object.__new__(kind)
    _reopen(view, cloudpickle.loads(parts), arrays)
    return view


def _parts(view: VectorGame) -> tuple[dict[str, Any], dict[str, np.ndarray] | None]:
    """What a copy is made of: everything that `_open` does not make, and the arrays' contents."""
    if view._started:
        _insist_on_replay(view, "be copied or pickled once it plays")
    parts = {name: value for name, value in vars(view).items() if name not in OPENED}
    return parts, get_state(view) if view._started else None


def _reopen(view: VectorGame, parts: dict[str, Any], arrays: dict[str, np.ndarray] | None) -> None:
    """Make `view` the copy that `_parts` describes."""
    vars(view).update(parts)
    view._open(**view._how)
    if arrays is not None and _go_to(view, arrays):
        view.close()
        raise RuntimeError(
            f"{view.id} cannot be copied or pickled once it plays: from the same seed and actions its "
            "simulator came to something else. Make another one and reset it"
        )


def _go_to(view: VectorGame, arrays: dict[str, np.ndarray]) -> list[int]:
    """Take over a saved state; the copies whose simulators came to something else."""
    targets = {
        **vars(view.buffers),
        "history": view.participation.history,
        "past_actions": view.participation.past_actions,
    }
    missing = {k for k, v in targets.items() if v is not None} ^ set(arrays)
    if missing:
        raise ValueError(
            f"the saved state is of another player function: {', '.join(sorted(missing))}"
        )
    for name, value in arrays.items():
        target = targets[name]
        host = np.asarray(value)
        if isinstance(target, np.ndarray):
            if target.nbytes != host.nbytes:
                raise ValueError(
                    f"the saved {name} has {host.nbytes} bytes; this game needs {target.nbytes}"
                )
            records = target.dtype.names is not None
            target[...] = host.view(target.dtype).reshape(target.shape) if records else host
        elif hasattr(target, "copy_to_device"):
            target.copy_to_device(host.view(target.dtype).reshape(target.shape))
        else:
            target.copy_(_tensor(host))
    view._started = True
    return view.launches.replay()


def _tensor(array: np.ndarray) -> Any:
    import torch

    return torch.from_numpy(np.ascontiguousarray(array))


def _insist_on_replay(view: VectorGame, what: str) -> None:
    if not view.game.replayable:
        raise RuntimeError(
            f"{view.id} cannot {what}: its episodes do not follow from their seeds and actions. Make "
            "another one and reset it; or, if EnvPool plays, make this one with replayable=True"
        )


def _refusal(view: VectorGame, error: Exception) -> str:
    single = not isinstance(view.game, KernelGame) and view.game.factory is None
    hint = "; pass a function that makes the environment instead of the environment"
    return (
        f"{view.id} cannot be copied or pickled, because a part of it cannot: "
        f"{type(error).__name__}: {error}{hint if single else ''}"
    )
