"""The AEC view: one environment, one agent at a time, as a PettingZoo AECEnv."""

from __future__ import annotations

import copy

import gymnasium
import numpy as np
from pettingzoo import AECEnv

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


class AECGame(AECEnv):
    """A game under its player function as a PettingZoo AECEnv.

    A round begins by drawing who participates. `agent_iter` visits exactly the participating, living
    agents, in the game's order; the game steps when the last of them has acted. Rounds in which nobody
    participates are played out at once. An agent's cumulative reward is that of the rounds since it last
    acted, and rounds in which it did not participate count 0.

    `infos[agent]` holds `round`, `participation` (uint8 (N,), this round's vector), for discrete games
    `action_mask` (int8), `illegal_actions`, `worker_restarted` (the episode was cut short because the
    simulator's worker process died), the current values of the game's metrics, which start at 0, and the
    simulator's own infos. If a simulator uses one of these keys too, its value is replaced.

    An agent that dies is terminated, takes an empty step and leaves `agents`. With `dead="stay"` it stays,
    without turns, until the episode ends for all agents.

    There are no wrappers: `last` and `step` do all the work, because a chain of wrappers is several times slower.
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
            "is_parallelizable": False,
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
        self._view_buffers()

    def __copy__(self) -> AECGame:
        """The same as `copy.deepcopy`: two views of one game would disturb each other's episode."""
        return copy.deepcopy(self)

    def __setstate__(self, state: dict) -> None:
        """Make copies, such as those of pickle and SuperSuit, use the buffers of their own game."""
        self.__dict__.update(state)
        self._view_buffers()

    def _view_buffers(self) -> None:
        vector, b = self.vector, self.vector.buffers
        dims = vector.observation_dims
        self._rows = {
            a: b.observations[0, i, : dims[i]].reshape(vector.observation_spaces[a].shape)
            for a, i in self._index.items()
        }
        self._own = {a: vector.action_dims[i] for a, i in self._index.items()}
        self._masks = {a: b.action_mask[0, i, : self._own[a]] for a, i in self._index.items()}
        self._rewards = b.rewards[0]
        self._participation = b.participation[0]
        self._alive = b.alive[0]
        self._slots: dict = dict(self._index)
        if not vector.discrete:  # an agent's own components
            self._slots = {a: np.s_[i, : self._own[a]] for a, i in self._index.items()}
        self._actions = b.actions[0]
        self._discrete = vector.discrete

    def observation_space(self, agent: str) -> gymnasium.Space:
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> gymnasium.Space:
        return self.action_spaces[agent]

    def reset(self, seed: int | None = None, options: dict | None = None) -> None:
        """Begin an episode and play it to the first round in which an agent participates.

        `options` as in `VectorGame.reset`.
        """
        self.vector.reset(seed=seed, options=options)
        self.agents = list(self.possible_agents)
        self.infos = {a: {} for a in self.agents}
        self.agent_selection = self.agents[0]
        self.rewards = dict.fromkeys(self.agents, 0.0)
        self._cumulative_rewards = dict.fromkeys(self.agents, 0.0)
        self.terminations = dict.fromkeys(self.agents, False)
        self.truncations = dict.fromkeys(self.agents, False)
        self._skip_agent_selection = None
        self._paid = False  # whether `rewards` holds anything other than zeros
        self._begin_round()
        if not self._queue:
            self._play_rounds()

    def observe(self, agent: str):
        """The agent's observation: float32 (D,), or a dict with its action mask."""
        if not self.mask_in_observation:
            return self._rows[agent].copy()
        return {"observation": self._rows[agent].copy(), "action_mask": self._masks[agent].copy()}

    def state(self) -> np.ndarray:
        """The global state, float32 (S,)."""
        return self.vector.buffers.state[0].copy()

    def last(self, observe: bool = True):
        """Observation, cumulative reward, terminated, truncated and info of the agent that acts now."""
        if not self.agents:
            raise RuntimeError("last() was called before reset() or after the end of the episode")
        agent = self.agent_selection
        return (
            self.observe(agent) if observe else None,
            self._cumulative_rewards[agent],
            self.terminations[agent],
            self.truncations[agent],
            self.infos[agent],
        )

    def step(self, action) -> None:
        """Act for the agent whose turn it is; `action` is None if the agent has terminated or truncated.

        Raises:
            RuntimeError: before reset, when the episode is over, or when the game failed in the last round.
            TypeError, ValueError: an action of the wrong type or outside its space; the turn can be repeated.
        """
        if not self.agents:
            raise RuntimeError("step() was called before reset() or after the end of the episode")
        agent = self.agent_selection
        if self.terminations[agent] or self.truncations[agent]:
            self._was_dead_step(action)
            return
        if not self._queue:
            raise RuntimeError("the last round failed; reset() begins another episode")
        self._actions[self._slots[agent]] = check_action(self.vector, agent, action)
        self._cumulative_rewards[agent] = 0.0
        if self._paid:
            self.rewards = dict.fromkeys(self.agents, 0.0)
            self._paid = False
        self._queue.pop()
        if self._queue:
            self.agent_selection = self._queue[-1]
        else:
            self._play_rounds()
        if self.render_mode == "human":
            self.render()

    def _play_rounds(self) -> None:
        """Play this round and all following ones in which nobody participates."""
        advance, b = self.vector.advance, self.vector.buffers
        advance()
        total = self._rewards.tolist()
        self._begin_round()
        while not (self._queue or b.terminated[0] or b.truncated[0]):
            advance()
            total = [x + r for x, r in zip(total, self._rewards.tolist(), strict=True)]
            self._begin_round()
        for agent in self.agents:
            reward = total[self._index[agent]]
            self.rewards[agent] = reward
            self._cumulative_rewards[agent] += reward
        self._paid = True
        if b.terminated[0] or b.truncated[0]:
            self._end_episode()
        elif not (self.dead_stay or all(self._alive.tolist())):
            self._step_dead_agents()

    def _begin_round(self) -> None:
        """Queue the participants and update the infos."""
        index, participates = self._index, self._participation.tolist()
        self._queue = [a for a in reversed(self.agents) if participates[index[a]]]
        if not self._queue:
            return
        self.agent_selection = self._queue[-1]
        self._set_infos(self._participation.copy())

    def _set_infos(self, participation: np.ndarray) -> None:
        """Set the infos: those of the simulator, those that all agents share, and each agent's action mask."""
        shared = {"participation": participation, **shared_info(self.vector)}
        own = self.vector.own_infos()
        self.infos = {a: {**own[a], **shared} if a in own else dict(shared) for a in self.agents}
        if self._discrete and not self.mask_in_observation:
            for agent, info in self.infos.items():
                info["action_mask"] = self._masks[agent].copy()

    def _step_dead_agents(self) -> None:
        """Let agents that have died take their last, empty step before any other agent acts."""
        alive = self.vector.buffers.alive[0]
        for agent in self.agents:
            self.terminations[agent] = not alive[self._index[agent]]
        self._deads_step_first()

    def _end_episode(self) -> None:
        terminated = bool(self.vector.buffers.terminated[0])
        stay = [self.dead_stay or alive for alive in self._alive.tolist()]
        self.terminations = {a: terminated or not stay[self._index[a]] for a in self.agents}
        self.truncations = {a: not ended for a, ended in self.terminations.items()}
        self._set_infos(np.zeros_like(self._participation))
        self._queue = []
        self.agent_selection = self.agents[0]

    def render(self):
        """Draw the game in a window, or return an image uint8 (H, W, 3)."""
        if self.render_mode is None:
            gymnasium.logger.warn("render() needs render_mode='human' or 'rgb_array' in make()")
            return None
        return self.vector.render(mode=self.render_mode)

    def close(self) -> None:
        self.vector.close()
