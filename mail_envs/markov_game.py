"""The interface that every game implements."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np


class MarkovGame:
    """Dynamics P, initial states η, rewards r and observations of a Markov game.

    A game does not decide who acts: in each round it receives the actions of all agents and which of them
    count. Player functions (`mail_envs.player_functions`) decide who acts; the views (`mail_envs.aec`,
    `.parallel`, `.vector`) apply the time limit and provide the public interfaces.

    Attributes:
        agents: names of the N agents, `role_k`, in the order in which they act within a round. Agents of
            one role have equal spaces.
        observation_spaces, action_spaces: one Gymnasium space per agent.
        state_space: space of the global state, a float32 Box (S,).
        max_rounds: default time limit.
        limit_is_end: whether the time limit is part of the task, as in a battle that is lost if it is not won by
            then. Views report `truncated` all the same, but learners use the value 0 after the limit instead of
            that of the final observation.
        metric_names: names of the K metrics of an episode, such as whether a battle was won.
        has_action_mask: whether the game restricts actions; if not, all actions are always allowed.
        metadata: information to store with demonstrations, such as the reward convention.
        has_turns: whether the game itself decides who acts next, as chess does. It is then played under
            `OwnOrder`, and agents also get rewards in rounds in which they do not act (a checkmated player
            has not moved).
        null_problem: why no agent may be absent from a round (no null action is known), or None. Player
            functions under which agents may be absent then raise this as an error.
        replayable: whether equal seeds and actions always give the same episode. Only then can a simulator
            be copied, pickled or set to a saved state in the middle of an episode.
        factory: for simulators, makes another game like this one; None: that is not possible.
        takes_options: whether the game uses `reset(options=...)`. Others ignore options with a warning.
        draws_state: whether `draw` gets the global state, float32 (S,), instead of the record; for simulators.
        has_infos: whether a simulator gives its agents infos (`infos`).
        key_actions: action by pygame key name, for `python -m mail_envs play`; None: the default keys.
    """

    agents: list[str]
    observation_spaces: dict[str, gymnasium.spaces.Box]
    action_spaces: dict[str, gymnasium.spaces.Space]
    state_space: gymnasium.spaces.Box
    max_rounds: int
    limit_is_end: bool = False
    metric_names: tuple[str, ...] = ()
    has_action_mask: bool = False
    metadata: dict[str, Any] = {}
    has_turns: bool = False
    null_problem: str | None = None
    replayable: bool = True
    factory: Callable[[], Any] | None = None
    takes_options: bool = False
    draws_state: bool = False
    has_infos: bool = False
    key_actions: dict[str, int] | None = None

    def draw(self, canvas, state: np.ndarray, participation: np.ndarray) -> None:
        """Draw one environment. `state`: its record, or `draws_state`; `participation`: uint8 (N,), who acts next."""
        raise NotImplementedError(f"{type(self).__name__} cannot be rendered: it defines no draw()")

    def picture(self) -> np.ndarray | None:
        """An image that the game renders itself, uint8 (H, W, 3); None: it is drawn by `draw`."""
        return None

    def close(self) -> None:
        """Close windows, files and processes."""


class KernelGame(MarkovGame):
    """A game defined by three numba functions for one environment, in the module that defines the class.

    ```
    reset_env(state, rng, params)
    step_env(state, rng, actions, acts, params, rewards, metrics) -> bool
    observe_env(state, params, observations, action_mask, alive, global_state)
    ```
    state: the environment's record, of dtype `state_dtype`; the functions read and write its fields.
    rng: pass it to `mail_envs.random.uniform`. params: one record, `self.params[0]`.
    actions: (N,) for discrete, (N, A) for continuous actions. acts: uint8 (N,), 0 if the agent takes
    the null action, because it does not participate or its action was masked, else the number of the action
    set it chose from. The outputs are written in place, every number in every call, because they still hold those of
    the last round: rewards float32 (N,), metrics float32
    (K,), observations float32 (N, D), action_mask int8 (N, A) where the game has one, alive bool (N,)
    where agents die, global_state float32 (S,). `step_env` returns whether the game has terminated.
    Rewards of agents that do not participate are set to 0 afterwards.

    Additional attributes: `state_dtype` and `params`, a structured array of one record. If `params` has a field
    `max_rounds`, the view writes its time limit there, for games in which agents observe the remaining time.
    """

    state_dtype: np.dtype
    params: np.ndarray

    @property
    def kernels(self) -> dict:
        """The three functions, looked up by name in the module that defines the game."""
        module = sys.modules[type(self).__module__]
        names = ("reset_env", "step_env", "observe_env")
        missing = [n for n in names if not callable(getattr(module, n, None))]
        if missing:
            raise TypeError(
                f"{module.__name__} must define {', '.join(missing)} as @device_function at module level"
            )
        return {n: getattr(module, n) for n in names}
