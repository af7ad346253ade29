"""Converts spaces of external environments: observations to rows of numbers, actions to numbers or vectors."""

from __future__ import annotations

import math
from functools import reduce
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

MOST_JOINT_ACTIONS = 10_000  # of a MultiDiscrete or MultiBinary space, taken together


class Observations:
    """Converts the observations of one agent to rows of numbers.

    A Box keeps its shape. All other spaces are flattened by `gymnasium.spaces.flatten`. The entry "action_mask"
    of a dict is not part of the observation.

    Args:
        agent: for errors.
        space: the simulator's own space.
        images: keep uint8; otherwise convert to float32.
    """

    def __init__(self, agent: str, space: gymnasium.Space, images: bool):
        self.native, self.masked = without_mask(space)
        self._inner = self.masked and not isinstance(self.native, spaces.Dict)
        self._flat = not isinstance(self.native, spaces.Box)
        self.box = _row_space(agent, self.native, images)
        self.length = math.prod(self.box.shape)

    def write(self, observation: Any, row: np.ndarray) -> None:
        """Write an observation into `row` (D,). KeyError, TypeError, ValueError: it does not fit the space."""
        if self.masked and "action_mask" not in observation:
            raise ValueError("it has no action_mask")
        if self._inner:
            observation = observation["observation"]
        elif self.masked:
            observation = {k: v for k, v in observation.items() if k != "action_mask"}
        check_form(self.native, observation)
        if self._flat:
            observation = spaces.flatten(self.native, observation)
        target = row[: self.length].reshape(self.box.shape)
        np.copyto(target, observation, casting="unsafe")
        if target.dtype == np.uint8 and not np.array_equal(target, observation):
            raise ValueError("it holds other numbers than 0, 1, ..., 255")


def check_form(space: Any, value: Any) -> None:
    """Raise ValueError if the shape, dtype or structure of `value` does not fit the space.

    Bounds and precision of a Box are not checked, because many environments violate them.
    """
    if isinstance(space, spaces.Box):
        array = np.asarray(value)
        if array.shape != space.shape:
            raise ValueError(f"the shape is {array.shape}, not {space.shape}")
        if array.dtype.kind not in "fiub":
            raise ValueError(f"the dtype is {array.dtype}, not a kind of real numbers")
    elif isinstance(space, spaces.Dict):
        if not isinstance(value, dict) or set(value) != set(space.spaces):
            found = sorted(value) if isinstance(value, dict) else value
            raise ValueError(f"{found!r} are not the keys {sorted(space.spaces)}")
        for key, part in space.spaces.items():
            check_form(part, value[key])
    elif isinstance(space, spaces.Tuple):
        if not isinstance(value, (tuple, list)) or len(value) != len(space.spaces):
            raise ValueError(f"{value!r} does not consist of {len(space.spaces)} parts")
        for part, inner in zip(space.spaces, value, strict=True):
            check_form(part, inner)
    elif not space.contains(value):
        raise ValueError(f"{value!r} is not in {space}")


def without_mask(space: Any) -> tuple[gymnasium.Space, bool]:
    """The observation space without the action mask, and whether there is a mask."""
    if not isinstance(space, spaces.Dict) or "action_mask" not in space.spaces:
        return space, False
    rest = {k: v for k, v in space.spaces.items() if k != "action_mask"}
    return (rest["observation"] if list(rest) == ["observation"] else spaces.Dict(rest)), True


def is_image(space: gymnasium.Space) -> bool:
    """Whether observations, without masks, are arrays of bytes."""
    own = without_mask(space)[0]
    return isinstance(own, spaces.Box) and own.dtype == np.uint8


def _row_space(agent: str, space: Any, images: bool) -> spaces.Box:
    try:
        box: Any = space if isinstance(space, spaces.Box) else spaces.flatten_space(space)
    except NotImplementedError:
        box = None
    if not isinstance(box, spaces.Box):
        raise ValueError(f"observations of {agent} have no fixed length: {space}")
    if box.dtype == np.float32 or (images and box.dtype == np.uint8):
        return box
    with np.errstate(over="ignore"):  # float64 bounds that are infinite in float32
        low, high = box.low.astype(np.float32), box.high.astype(np.float32)
    return spaces.Box(low, high, dtype=np.float32)


class Choice:
    """Discrete actions. Combinations of MultiDiscrete and MultiBinary actions are numbered, the last one fastest.

    Attributes: `space`, Discrete(n).
    """

    def __init__(self, agent: str, native: Any):
        self.agent, self.native = agent, native
        if isinstance(native, spaces.Discrete):
            self.counts = [int(native.n)]
        elif isinstance(native, spaces.MultiDiscrete):
            self.counts = [int(n) for n in native.nvec.ravel()]
        else:
            self.counts = [2] * math.prod(native.shape)
        n = math.prod(self.counts)
        if n > MOST_JOINT_ACTIONS:
            raise ValueError(
                f"{native} of {agent} has {n:,} combinations, as one discrete action at most "
                f"{MOST_JOINT_ACTIONS:,} are possible: wrap the environment to offer fewer, or Box actions"
            )
        self.space = spaces.Discrete(n)

    def native_action(self, action: int) -> Any:
        """The simulator's own action for this number."""
        native = self.native
        if isinstance(native, spaces.Discrete):
            return native.dtype.type(native.start + action)
        parts = np.array(np.unravel_index(action, self.counts)).reshape(native.shape)
        return (parts + getattr(native, "start", 0)).astype(native.dtype)

    def read_mask(self, mask: Any) -> np.ndarray:
        """Convert the simulator's mask to int8 (n,)."""
        if isinstance(mask, (tuple, list)) and isinstance(self.native, spaces.MultiDiscrete):
            mask = reduce(np.multiply.outer, mask)
        flat = np.reshape(mask, -1)
        if flat.size != self.space.n:
            raise ValueError(
                f"the action mask of {self.agent} has {flat.size} entries for {self.space.n} actions"
            )
        return flat.astype(bool).astype(np.int8)


class Numbers:
    """Continuous actions: a Box of any shape as a vector. Attributes: `space`, a float32 Box (A,)."""

    def __init__(self, agent: str, native: spaces.Box):
        self.agent, self.native = agent, native
        self.length = math.prod(native.shape)
        low, high = (bound.ravel().astype(np.float32) for bound in (native.low, native.high))
        self.space = spaces.Box(low, high, dtype=np.float32)

    def native_action(self, action: np.ndarray) -> np.ndarray:
        """The simulator's own action, as a new array."""
        native = self.native
        own = action[: self.length].reshape(native.shape)
        if native.dtype.kind in "iu":
            own = np.rint(own)
        own = own.astype(native.dtype)
        return np.clip(own, native.low, native.high)  # because the float32 bounds are rounded


def make_actions(native: dict[str, Any]) -> dict[str, Choice] | dict[str, Numbers]:
    """The converters of all agents' actions; ValueError if their spaces are not supported."""
    counted = (spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary)
    odd = [a for a, s in native.items() if not isinstance(s, (*counted, spaces.Box))]
    if odd:
        raise ValueError(
            f"actions of {', '.join(odd)} are neither discrete nor a vector: {native[odd[0]]}"
        )
    vectors = [a for a, s in native.items() if isinstance(s, spaces.Box)]
    if vectors and len(vectors) < len(native):
        others = [a for a in native if a not in vectors]
        raise ValueError(
            f"actions of {', '.join(vectors)} are continuous, those of {', '.join(others)} discrete: "
            "wrap the environment so that all are of one kind"
        )
    if vectors:
        return {a: Numbers(a, s) for a, s in native.items()}
    return {a: Choice(a, s) for a, s in native.items()}
