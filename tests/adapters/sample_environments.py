"""PettingZoo environments for the tests: a parallel one with arbitrary spaces, and a turn-based one."""

from __future__ import annotations

from copy import deepcopy

import numpy as np
from gymnasium import spaces
from pettingzoo import AECEnv, ParallelEnv


class Medley(ParallelEnv):
    """Random observations, rewards by action and round, scheduled deaths; records what it receives.

    Args:
        observations, actions: spaces by agent.
        lives: rounds until an agent terminates, for some agents.
        masks: "observation" or "info": every agent's action k is forbidden in rounds with t % n == k.
        own_state: whether `state()` works.
    """

    def __init__(
        self, observations, actions, lives=None, masks=None, max_cycles=12, own_state=False
    ):
        self.metadata = {"name": "medley_v0", "render_modes": ["rgb_array"]}
        self.render_mode = "rgb_array"
        self.possible_agents = list(observations)
        self.inner = {a: deepcopy(s) for a, s in observations.items()}  # own random generators
        self.actions = {a: deepcopy(s) for a, s in actions.items()}
        self.lives, self.masks, self.max_cycles = lives or {}, masks, max_cycles
        self.own_state = own_state
        self.agents = []
        self.received = []
        self.spaces = dict(self.inner)
        if masks == "observation":
            self.spaces = {a: self.with_mask(s, actions[a].n) for a, s in self.inner.items()}

    @staticmethod
    def with_mask(space, n):
        mask = spaces.Box(0, 1, (n,), np.int8)
        return spaces.Dict({"observation": space, "action_mask": mask})

    def observation_space(self, agent):
        return self.spaces[agent]

    def action_space(self, agent):
        return self.actions[agent]

    def reset(self, seed=None, options=None):
        if seed is not None:
            for i, agent in enumerate(self.possible_agents):
                self.inner[agent].seed(seed % 2**31 + i)
        self.agents, self.round = list(self.possible_agents), 0
        return self.look(self.agents), self.infos(self.agents)

    def step(self, actions):
        acting, self.agents = self.agents, []
        self.received.append(dict(actions))
        for agent in acting:
            assert self.actions[agent].contains(actions[agent]), (agent, actions[agent])
        self.round += 1
        rewards = {a: float(np.sum(actions[a])) + self.round for a in acting}
        terminated = {a: self.round >= self.lives.get(a, 1000) for a in acting}
        truncated = dict.fromkeys(acting, self.round >= self.max_cycles)
        self.agents = [a for a in acting if not (terminated[a] or truncated[a])]
        return self.look(acting), rewards, terminated, truncated, self.infos(acting)

    def look(self, agents):
        seen = {a: self.inner[a].sample() for a in agents}
        if self.masks != "observation":
            return seen
        return {a: {"observation": seen[a], "action_mask": self.mask(a)} for a in agents}

    def mask(self, agent):
        n = int(self.actions[agent].n)
        mask = np.ones(n, np.int8)
        mask[self.round % n] = 0
        return mask

    def infos(self, agents):
        return {a: {"action_mask": self.mask(a)} if self.masks == "info" else {} for a in agents}

    def state(self):
        if not self.own_state:
            raise NotImplementedError
        return np.arange(6).reshape(2, 3) + self.round

    def render(self):
        return np.full((20, 30, 3), self.round, np.uint8)

    def close(self):
        pass


class Spoiled(Medley):
    """Two agents in three dimensions; `spoil` changes the five dicts that `step` returns, in place.

    Args:
        spoil: from (observations, rewards, terminated, truncated, infos) to nothing, or to another result.
    """

    def __init__(self, spoil, **more):
        names = ("a_0", "b_0")
        observation = spaces.Box(0, 1, (3,), np.float32)
        super().__init__(
            dict.fromkeys(names, observation), dict.fromkeys(names, spaces.Discrete(2)), **more
        )
        self.spoil = spoil

    def step(self, actions):
        result = super().step(actions)
        other = self.spoil(*result)
        return result if other is None else other


class Leveled(Medley):
    """`options["level"]` is what agents observe; infos tell it, with the round, and names that are ours, too."""

    def __init__(self):
        names = ("a_0", "b_0")
        super().__init__(
            {a: spaces.Box(0, 99, (2,), np.float32) for a in names},
            dict.fromkeys(names, spaces.Discrete(3)),
            lives={"b_0": 4},
            masks="info",
            max_cycles=6,
        )
        self.level = 0

    def reset(self, seed=None, options=None):
        self.level = (options or {}).get("level", 0)
        return super().reset(seed, options)

    def look(self, agents):
        return {a: np.array([self.level, self.round], np.float32) for a in agents}

    def infos(self, agents):
        told = {
            "level": self.level,
            "moves": [self.round],
            "round": "theirs",
            "participation": "theirs",
        }
        infos = {a: {**told, **info} for a, info in super().infos(agents).items()}
        return {**infos, "common": {"level": self.level}}


class LateComer(Medley):
    """An agent joins in the second round."""

    def __init__(self):
        names = ("early_0", "late_0")
        super().__init__(
            {a: spaces.Box(0, 1, (2,), np.float32) for a in names},
            dict.fromkeys(names, spaces.Discrete(2)),
        )

    def reset(self, seed=None, options=None):
        super().reset(seed, options)
        self.agents = ["early_0"]
        return self.look(self.agents), self.infos(self.agents)

    def step(self, actions):
        result = super().step(actions)
        self.agents = list(self.possible_agents)
        return result


class Countdown(AECEnv):
    """Whoever takes the last of the matches loses 3 and leaves; the others each get 1 and start over.

    Taking two matches gives one another turn: the order is the game's own. The last one left wins.
    `options["matches"]`: how many there are at first; infos tell how many are left.
    """

    metadata = {"name": "countdown_v0", "is_parallelizable": False, "render_modes": []}
    render_mode = None

    def __init__(self, matches=5):
        self.matches = matches
        self.possible_agents = ["player_0", "player_1", "player_2"]
        self.agents = []
        self._spaces = {a: spaces.Box(0, matches, (2,), np.int32) for a in self.possible_agents}
        self._actions = {a: spaces.Discrete(2, start=1) for a in self.possible_agents}

    def observation_space(self, agent):
        return self._spaces[agent]

    def action_space(self, agent):
        return self._actions[agent]

    def reset(self, seed=None, options=None):
        self.agents = list(self.possible_agents)
        self.left = (options or {}).get("matches", self.matches)
        self.rewards = dict.fromkeys(self.agents, 0.0)
        self._cumulative_rewards = dict.fromkeys(self.agents, 0.0)
        self.terminations = dict.fromkeys(self.agents, False)
        self.truncations = dict.fromkeys(self.agents, False)
        self.infos = {a: {"left": self.left} for a in self.agents}
        self.agent_selection = self.agents[0]

    def observe(self, agent):
        return np.array([self.left, len(self.agents)], np.int32)

    def step(self, action):
        agent = self.agent_selection
        if self.terminations[agent]:
            self._was_dead_step(action)
            return
        assert self._actions[agent].contains(action)
        self._cumulative_rewards[agent] = 0.0
        self._clear_rewards()
        following = self.agents[(self.agents.index(agent) + 1) % len(self.agents)]
        self.left = max(self.left - action, 0)
        if self.left == 0:
            self.left = self.matches
            self.rewards = {a: -3.0 if a == agent else 1.0 for a in self.agents}
            self.terminations[agent] = True
            if len(self.agents) == 2:
                self.terminations[following] = True
        self.agent_selection = agent if action == 2 and not self.terminations[agent] else following
        self.infos = {a: {"left": self.left} for a in self.agents}
        self._accumulate_rewards()
        self._deads_step_first()
