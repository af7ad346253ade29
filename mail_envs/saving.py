"""Saved states, copies and pickles of a `VectorGame`.

A copy is a new view with its own arrays, launches and simulators, which is then set to the state of the
original: a plain deep copy would separate NumPy views that share memory. Simulators reach that state by
replaying their episodes.
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
# The attributes that `VectorGame._open` sets, also in a copy.
OPENED = (
    "buffers", "launches", "participation", "clock", "metrics", "_device", "_on_cpu", "_errors", "_canvas",
    "_out", "_info", "_fields",
)  # fmt: skip


def get_state(view: VectorGame) -> dict[str, np.ndarray]:
    """Everything that future rounds depend on, as plain arrays for `set_state`."""
    arrays = {k: view._device.get(v) for k, v in vars(view.buffers).items()}
    if view.participation.history is not None:
        arrays["history"] = view._device.get(view.participation.history)
        arrays["past_actions"] = view._device.get(view.participation.past_actions)
    return {k: np.array(v.view(np.uint8) if v.dtype.names else v) for k, v in arrays.items()}


def set_state(view: VectorGame, arrays: dict[str, np.ndarray]) -> None:
    """Continue from a state that `get_state` returned for an equal game with as many environments.

    Simulators replay their episodes up to that state; if one arrives at other observations, a warning is
    logged. RuntimeError: the simulator cannot replay. ValueError: the state belongs to another game.
    """
    _check_replayable(view, "go back to a saved state")
    diverged = _restore(view, arrays)
    if diverged:
        log.warning(
            "%s: copies %s did not reach their saved observations when replayed; their simulators continue "
            "from where they are",
            view.id,
            ", ".join(map(str, diverged)),
        )


def copied(view: VectorGame) -> VectorGame:
    """The same as `copy.deepcopy`: two views of the same arrays would disturb each other's episodes."""
    return copy.deepcopy(view)


def deep_copied(view: VectorGame, memo: dict) -> VectorGame:
    """An independent copy, which continues from the present round.

    Raises:
        RuntimeError: the simulator cannot be brought to this state. TypeError: a part cannot be copied.
    """
    other = memo[id(view)] = object.__new__(type(view))
    parts, arrays = _parts(view)
    try:
        parts = copy.deepcopy(parts, memo)
    except Exception as error:
        raise TypeError(_copy_error(view, error)) from error
    _reopen(other, parts, arrays)
    return other


def reduced(view: VectorGame) -> tuple:
    """What pickle stores: the same as a copy. Functions and classes outside modules are included (cloudpickle)."""
    parts, arrays = _parts(view)
    try:
        return _unpickle, (type(view), imported_files(), cloudpickle.dumps(parts), arrays)
    except Exception as error:
        raise TypeError(_copy_error(view, error)) from error


def _unpickle(
    kind: type[VectorGame], files: list[str], parts: bytes, arrays: dict[str, np.ndarray] | None
) -> VectorGame:
    for file in files:  # such as `my_game.py`, whose classes are unpickled by name
        import_source(file)
    view = object.__new__(kind)
    _reopen(view, cloudpickle.loads(parts), arrays)
    return view


def _parts(view: VectorGame) -> tuple[dict[str, Any], dict[str, np.ndarray] | None]:
    """What a copy is made of: the attributes that `_open` does not set, and the contents of the arrays."""
    if view._started:
        _check_replayable(view, "be copied or pickled after reset()")
    parts = {name: value for name, value in vars(view).items() if name not in OPENED}
    return parts, get_state(view) if view._started else None


def _reopen(view: VectorGame, parts: dict[str, Any], arrays: dict[str, np.ndarray] | None) -> None:
    """Turn `view` into the copy that `_parts` describes."""
    vars(view).update(parts)
    view._open(**view._open_options)
    if arrays is not None and _restore(view, arrays):
        view.close()
        raise RuntimeError(
            f"{view.id} cannot be copied or pickled after reset(): with the same seed and actions its simulator "
            "gave other observations. Make a new environment and reset it instead"
        )


def _restore(view: VectorGame, arrays: dict[str, np.ndarray]) -> list[int]:
    """Load a saved state; returns the copies whose simulators arrived at other observations."""
    targets = {
        **vars(view.buffers),
        "history": view.participation.history,
        "past_actions": view.participation.past_actions,
    }
    missing = {k for k, v in targets.items() if v is not None} ^ set(arrays)
    if missing:
        raise ValueError(
            f"the saved state belongs to another player function: {', '.join(sorted(missing))}"
        )
    hosts = {name: np.asarray(value) for name, value in arrays.items()}
    for name, host in hosts.items():  # all of them, before the first one is changed
        target = targets[name]
        if isinstance(target, np.ndarray) and target.nbytes != host.nbytes:
            raise ValueError(
                f"the saved {name} has {host.nbytes} bytes; this game needs {target.nbytes}"
            )
    for name, host in hosts.items():
        target = targets[name]
        if isinstance(target, np.ndarray):
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


def _check_replayable(view: VectorGame, what: str) -> None:
    if not view.game.replayable:
        raise RuntimeError(
            f"{view.id} cannot {what}: its episodes are not determined by their seeds and actions. Make a "
            "new environment and reset it; or, if it runs on EnvPool, make it with replayable=True"
        )


def _copy_error(view: VectorGame, error: Exception) -> str:
    single = not isinstance(view.game, KernelGame) and view.game.factory is None
    hint = "; pass a function that makes the environment instead of the environment"
    return (
        f"{view.id} cannot be copied or pickled, because one of its parts cannot be: "
        f"{type(error).__name__}: {error}{hint if single else ''}"
    )
