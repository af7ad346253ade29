"""Checks actions and copies them into a view's buffers; an invalid action raises an error that names it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium import spaces

from mail_envs.kernels import INVALID_ACTION

if TYPE_CHECKING:
    from mail_envs.markov_game import MarkovGame
    from mail_envs.vector import VectorGame


def are_discrete(game: MarkovGame) -> bool:
    """Whether a game's actions are discrete. ValueError unless all are Discrete from 0 on, or all a Box (A,)."""
    discrete = isinstance(game.action_spaces[game.agents[0]], spaces.Discrete)
    for agent in game.agents:
        space: Any = game.action_spaces[agent]
        kind = isinstance(space, spaces.Discrete if discrete else spaces.Box)
        if not kind or (space.start != 0 if discrete else len(space.shape) != 1):
            raise ValueError(
                f"the action space of {agent} in {type(game).__name__} is {space}; those of all agents must be "
                "Discrete(n), which begin with 0, or all a Box (A,)"
            )
    return discrete


def copy_actions(view: VectorGame, actions: Any) -> None:
    """Copy actions, int (E, N) or float (E, N, A), into `buffers.actions`.

    Raises TypeError or ValueError for a wrong dtype or shape, and for an integer of a participating agent that
    does not fit the buffer's dtype. The compiled step finds all other actions outside their spaces.
    """
    target = view.buffers.actions
    if type(actions) is type(target) is np.ndarray and actions.dtype == target.dtype:
        if actions.shape == target.shape:  # the common case: saves microseconds
            target[...] = actions
            return
    if not hasattr(actions, "shape"):
        actions = np.asarray(actions)
    if actions.shape != target.shape:
        raise ValueError(
            f"actions have shape {tuple(actions.shape)}; expected {tuple(target.shape)}"
        )
    if not isinstance(target, np.ndarray):
        _copy_tensor(target, actions, view.discrete)
        return
    actions = np.asarray(actions)
    if view.discrete and actions.dtype.kind not in "iu":
        raise TypeError(f"actions have dtype {actions.dtype}; these are discrete, pass integers")
    if actions.dtype.kind not in "fiu":
        raise TypeError(f"actions have dtype {actions.dtype}; these are continuous, pass numbers")
    np.copyto(target, actions, casting="unsafe")
    narrowed = view.discrete and not np.can_cast(actions.dtype, target.dtype)
    if narrowed and not np.array_equal(target, actions):
        raise_outside_space(view, actions)


def _copy_tensor(target: Any, actions: Any, discrete: bool) -> None:
    """Copy actions into a torch tensor; integers that do not fit become one that is in no space."""
    import torch

    actions = torch.as_tensor(actions)
    if discrete and (actions.is_floating_point() or actions.dtype == torch.bool):
        raise TypeError(f"actions have dtype {actions.dtype}; these are discrete, pass integers")
    if discrete and actions.dtype == torch.int64:
        actions = actions.clamp(-1, torch.iinfo(torch.int32).max)
    target.copy_(actions)


def raise_outside_space(view: VectorGame, actions: np.ndarray) -> None:
    """Raise ValueError for the first participating agent whose action is not in its space, if any."""
    for e, i in np.argwhere(view.buffers.participation != 0):
        action, space = actions[e, i], view.action_spaces[view.agents[i]]
        own = int(action) if view.discrete else action[: view.action_dims[i]]
        unknown = not view.discrete and np.isnan(action).any()  # also where it has no component
        if unknown or not space.contains(own):
            raise ValueError(
                f"action {action!s} of {view.agents[i]} in environment {e} is not in {space}; "
                "nothing was played"
            )


def raise_invalid_action(view: VectorGame) -> None:
    """Raise ValueError after the compiled step has found an action outside its space."""
    b = view.buffers
    b.errors[INVALID_ACTION] = 0
    if view._device.name == "cuda":
        raise ValueError("an action outside its space was sent to the device; it counted as null")
    raise_outside_space(view, b.actions)


def check_action(view: VectorGame, agent: str, action: Any) -> int | np.ndarray:
    """One agent's action as a number or array; TypeError or ValueError when it is not in its space."""
    space: Any = view.action_spaces[agent]
    if view.discrete:
        if not isinstance(action, (int, np.integer)) and getattr(action, "shape", None) != ():
            raise TypeError(f"the action of {agent} is {action!r}; {space} requires an integer")
        if not 0 <= action < space.n or int(action) != action:
            raise ValueError(f"action {action!r} of {agent} is not in {space}")
        return int(action)
    try:
        array = np.asarray(action, np.float32)
    except (TypeError, ValueError) as error:
        raise TypeError(f"the action of {agent} is {action!r}; {space} requires numbers") from error
    if array.shape != space.shape or not np.all((array >= space.low) & (array <= space.high)):
        raise ValueError(f"action {action!r} of {agent} is not in {space}")
    return array
