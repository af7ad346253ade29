"""The parallel view: one environment, all agents at once, as a PettingZoo ParallelEnv."""

from __future__ import annotations

import copy
from typing import Any

import gymnasium
import numpy as np
from pettingzoo import ParallelEnv

from mail_envs.actions import check_action
from mail_envs.single import (
    Dead,
    check_render_mode,
    dead_stay,
    mask_in_observation,
    observation_space,
    shared_info,
)
from mail_envs.vector import VectorGame


class ParallelGame(ParallelEnv):
    """A game under its player function as a PettingZoo ParallelEnv; a step is a round.

    `step` takes the actions of all living agents; those of agents that do not participate in the round
    are ignored and may be left out. `infos[agent]` holds `participates` (whether the agent acts next),
    `round`, `participation`, `action_mask` (discrete games), `illegal_actions`, `worker_restarted` (the
    episode was cut short because the simulator's worker process died), the current values of the game's
    metrics, which start at 0, and the simulator's own infos. If a simulator uses one of these keys too, its
    value is replaced.

    An agent that dies is terminated and leaves `agents`. With `dead="stay"`, for clients that do not support
    agents that leave, it stays until the episode ends for all agents: it does not participate, its reward is 0,
    and its observation and mask are those that the game gives dead agents (in StarCraft zeros, and only the no-op).
    """

    def __init__(
        self,
        vector: VectorGame,
        *,
        render_mode: str | None = None,
        action_mask: str = "info",
        dead: Dead = "leave",
    ):
        self.vector = vector
        self.render_mode = check_render_mode(render_mode)
        self.metadata = {
            "name": vector.id,
            "render_modes": ["human", "rgb_array"],
            "render_fps": 10,
            **vector.metadata,
        }
        self.possible_agents = list(vector.agents)
        self.mask_in_observation = mask_in_observation(vector, action_mask)
        self.dead_stay = dead_stay(dead)
        self.observation_spaces = {
            a: observation_space(vector, a, self.mask_in_observation) for a in self.possible_agents
        }
        self.action_spaces = dict(vector.action_spaces)
        self.state_space = vector.state_space
        self.agents = []
        self._index = {a: i for i, a in enumerate(self.possible_agents)}
        self._shapes = [vector.observation_spaces[a].shape for a in self.possible_agents]
        self._own = vector.action_dims

    def __copy__(self) -> ParallelGame:
        """The same as `copy.deepcopy`: two views of one game would disturb each other's episode."""
        return copy.deepcopy(self)

    def observation_space(self, agent: str) -> gymnasium.Space:
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> gymnasium.Space:
        return self.action_spaces[agent]

    def reset(self, seed: int | None = None, options: dict | None = None):
        """Begin an episode; observations and infos of all agents. `options` as in `VectorGame.reset`."""
        self.vector.reset(seed=seed, options=options)
        self.agents = list(self.possible_agents)
        return self._observations(), self._infos()

    def step(self, actions: dict[str, Any]):
        """Play a round.

        Raises:
            RuntimeError: before reset, or when the episode is over.
            KeyError: the action of a participating agent is missing, or an agent is unknown.
            TypeError, ValueError: an action of the wrong type or outside its space; no round is played.
        """
        if not self.agents:
            raise RuntimeError("step() was called before reset() or after the end of the episode")
        for agent in actions:
            if agent not in self._index:
                raise KeyError(f"{agent!r} is not one of {', '.join(self.possible_agents)}")
        b = self.vector.buffers
        checked = {
            a: check_action(self.vector, a, action)
            for a, action in actions.items()
            if a in self.agents and b.participation[0, self._index[a]]
        }
        for agent in self.agents:
            if agent not in checked and b.participation[0, self._index[agent]]:
                raise KeyError(
                    f"{agent} participates in this round, but actions has only "
                    f"{', '.join(actions) or 'nothing'}"
                )
        for agent, action in checked.items():
            i = self._index[agent]
            b.actions[0][i if self.vector.discrete else np.s_[i, : self._own[i]]] = action
        self.vector.advance()
        acting = self.agents
        over = bool(b.terminated[0] or b.truncated[0])
        rewards = {a: float(b.rewards[0, self._index[a]]) for a in acting}
        terminations = {a: bool(b.terminated[0] or self._left(a)) for a in acting}
        truncations = {a: bool(b.truncated[0]) and not ended for a, ended in terminations.items()}
        observations, infos = self._observations(), self._infos()
        self.agents = [] if over else [a for a in acting if not terminations[a]]
        if self.render_mode == "human":
            self.render()
        return observations, rewards, terminations, truncations, infos

    def _left(self, agent: str) -> bool:
        return not (self.dead_stay or self.vector.buffers.alive[0, self._index[agent]])

    def _observations(self) -> dict[str, Any]:
        b, dims = self.vector.buffers, self.vector.observation_dims
        rows = {}
        for agent in self.agents:
            i = self._index[agent]
            rows[agent] = b.observations[0, i, : dims[i]].reshape(self._shapes[i]).copy()
            if self.mask_in_observation:
                mask = b.action_mask[0, i, : self._own[i]].copy()
                rows[agent] = {"observation": rows[agent], "action_mask": mask}
        return rows

    def _infos(self) -> dict[str, dict[str, Any]]:
        b, infos, shared = self.vector.buffers, {}, shared_info(self.vector)
        own = self.vector.own_infos()
        for agent in self.agents:
            i = self._index[agent]
            infos[agent] = {
                **own.get(agent, {}),
                "participates": bool(b.participation[0, i]),
                "participation": b.participation[0].copy(),
                **shared,
            }
            if self.vector.discrete and not self.mask_in_observation:
                infos[agent]["action_mask"] = b.action_mask[0, i, : self._own[i]].copy()
        return infos

    def state(self) -> np.ndarray:
        """The global state, float32 (S,)."""
        return self.vector.buffers.state[0].copy()

    def render(self):
        """Draw the game in a window, or return an image uint8 (H, W, 3)."""
        if self.render_mode is None:
            gymnasium.logger.warn("render() needs render_mode='human' or 'rgb_array' in make()")
            return None
        return self.vector.render(mode=self.render_mode)

    def close(self) -> None:
        self.vector.close()
