"""Fake packages smac and smacv2 without StarCraft, with the interface and pitfalls of the originals."""

from __future__ import annotations

import importlib
import os
import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from fake_sc2 import FakeProcess

from mail_envs.games.starcraft.layout import num_actions, observation_size, state_size
from mail_envs.games.starcraft.maps import SCENARIOS
from mail_envs.games.starcraft.options import Options, make_options

FAULT = "FAKE_SC2_FAULT"  # environment variable: "launch", or "step:3", that of every environment


class FakeEnv:
    """`StarCraft2Env` without StarCraft: an attack kills, and agent 0 dies in the fifth round.

    Attributes:
        given: arguments of the constructor. sent: orders by agent, of each step. processes: games launched.
        late: looks at the units before all have been created. health: of units that are created.
    """

    def __init__(self, **given):
        self.given = given
        known = {name: given[name] for name in Options.__dataclass_fields__ if name in given}
        of = next(s for s in SCENARIOS.values() if s.name == given["map_name"] and _fits(s, given))
        if "action_mask" in given:
            known["mask_targets"] = given["action_mask"]
        self.options = make_options(of, faithful=True, **known)
        self.n_agents, self.n_enemies = of.num_agents, of.num_enemies
        self.n_actions = num_actions(of, self.options)
        self.of, self.episode_limit = of, of.max_rounds
        self.max_reward = 10 * self.n_enemies + 200
        self.agents, self.enemies = {}, {}
        self.last_action = np.zeros((self.n_agents, self.n_actions))
        self._seed, self._episode_count, self._episode_steps, self._steps = None, 0, 0, 0
        self._sc2_proc: Any = None
        self._controller, self.renderer = None, None
        self.sent, self.processes, self.late, self.broken, self.health = [], [], 0, False, 45

    def _launch(self):
        if os.environ.get(FAULT) == "launch":
            raise FileNotFoundError("[Errno 2] No such file or directory: '/nowhere/Versions'")
        self._sc2_proc = FakeProcess()
        self.processes.append(self._sc2_proc)
        self.broken = False

    def full_restart(self):
        self._sc2_proc.close()
        self._launch()

    def reset(self, episode_config=None):
        self._episode_steps = 0
        if self._episode_count == 0:
            self._launch()
        if self.broken:
            self.full_restart()
        self.last_action = np.zeros((self.n_agents, self.n_actions))
        full = {"health": self.health, "health_max": self.health, "shield": 5, "shield_max": 5}
        units = [SimpleNamespace(**full) for _ in range(99)]
        for _ in range(1 + self.late):
            self.agents = dict(enumerate(units[: self.n_agents]))
            self.enemies = dict(enumerate(units[self.n_agents : self.n_agents + self.n_enemies]))
            if self._episode_count == 0:
                self.max_reward += (self.health + 5) * self.n_enemies
        return self.get_obs(), self.get_state()

    def get_agent_action(self, agent, action):
        assert self.get_avail_actions()[agent][action], f"agent {agent} cannot do {action}"
        return action or None  # no order is sent for no-ops

    def step(self, actions):
        self.last_action = np.eye(self.n_actions)[np.array(actions)]
        orders = {i: self.get_agent_action(i, a) for i, a in enumerate(actions)}
        self.sent.append({i: order for i, order in orders.items() if order})
        self._steps += 1
        if self.broken or os.environ.get(FAULT) == f"step:{self._steps}":
            self.full_restart()
            return 0, True, {}
        self._episode_steps += 1
        first = self.n_actions - self.n_enemies
        targets = {order - first for order in self.sent[-1].values() if order >= first}
        killed = [e for e in targets if self.enemies[e].health]
        for e in killed:
            self.enemies[e].health = 0
        if self._episode_steps == 5:
            self.agents[0].health = 0
        dead = [sum(u.health == 0 for u in side.values()) for side in (self.agents, self.enemies)]
        won, info = dead[1] == self.n_enemies, {}
        over = won or self._episode_steps >= self.episode_limit
        if over and not won and self.given["continuing_episode"]:
            info["episode_limit"] = True
        self._episode_count += over
        reward = (60 * len(killed) + 200 * won) / (self.max_reward / 20)
        return (
            reward,
            over,
            {"battle_won": won, "dead_allies": dead[0], "dead_enemies": dead[1], **info},
        )

    def get_obs(self):
        agents = list(range(self.n_agents))
        random.shuffle(agents)  # as SMACv2 does
        seen = np.zeros((self.n_agents, observation_size(self.of, self.options)), np.float32)
        seen[:, 0] = [u.health / 45 for u in self.agents.values()]
        seen[:, 1] = agents
        return list(seen)

    def get_state(self):
        state = np.zeros(state_size(self.of, self.options), np.float32)
        state[-self.last_action.size :] = self.last_action.ravel()
        return state

    def get_avail_actions(self):
        free = [0, 1, 1, 1, 1, 1]
        looks = [1] * self.options.num_looks
        targets = [int(u.health > 0) for u in self.enemies.values()]
        dead = [1] + [0] * (self.n_actions - 1)
        living = free + looks + [0] * (self.n_actions - 6 - len(looks) - len(targets)) + targets
        return [living if u.health else dead for u in self.agents.values()]

    def get_obs_size(self):
        glitch = self.of.version == 1 and self.options.obs_timestep_number
        return observation_size(self.of, self.options) - glitch

    def get_state_size(self):
        return state_size(self.of, self.options)

    def render(self, mode="human"):
        if self.options.obs_last_action:
            raise ImportError("no pygame")
        importlib.import_module("pysc2.lib.features")
        self.renderer = SimpleNamespace(close=_end_pygame)
        return np.full((24, 32, 3), 7, np.uint8)

    def close(self):
        if self.renderer is not None:
            self.renderer.close()
        if self._sc2_proc:
            self._sc2_proc.close()


def _end_pygame():
    raise AssertionError("pygame was ended")


def _fits(of, given: dict) -> bool:
    teams = given.get("capability_config")
    return not teams or (of.num_agents, of.num_enemies) == (teams["n_units"], teams["n_enemies"])


class FakeDistribution:
    """Random state like SMACv2's: its own generator, that of a component, and the global ones."""

    def __init__(self, part=None):
        self.rng, self.part, self.drawn = np.random.default_rng(), part, None

    def generate(self):
        part = self.part.generate() if self.part else None
        self.drawn = (self.rng.random(), random.random(), np.random.rand(), part)
        return self.drawn


class FakeWrapper:
    """`StarCraftCapabilityEnvWrapper`: what it does not have is its `env`'s.

    Attributes:
        failures: how many attempts at a reset fail; after one that did, `reset` gives None.
    """

    def __init__(self, **given):
        self.env = FakeEnv(**given)
        self.env_key_to_distribution_map = {"team_gen": FakeDistribution(FakeDistribution())}
        self.failures = 0

    def __getattr__(self, name):
        return getattr(self.env, name)

    def reset(self):
        config = self.env_key_to_distribution_map["team_gen"].generate()
        result = self.env.reset(config)
        if self.failures == 0:
            return result
        self.failures -= 1
        self.reset()
        return None

    def render(self, mode="human"):
        return self.env.render(mode=mode)


def write_packages(folder: Path) -> None:
    """Packages smac and smacv2 of this module's classes, and what they need of pysc2, for `sys.path`."""
    here = "from fake_smac import"
    for package in ("smac", "smacv2"):
        home = folder / package / "env" / "starcraft2"
        (home / "maps").mkdir(parents=True)
        for part in (home.parent.parent, home.parent, home, home / "maps"):
            (part / "__init__.py").touch()
        (home / "starcraft2.py").write_text(f"{here} FakeEnv as StarCraft2Env\nmaps = None\n")
        (home / "maps" / "smac_maps.py").write_text(
            f"globals()['3m'] = type('3m', (), {{'of': {package!r}}})\n"
        )
    (folder / "pysc2" / "lib").mkdir(parents=True)
    for part in (folder / "pysc2", folder / "pysc2" / "lib"):
        (part / "__init__.py").touch()
    (folder / "pysc2" / "lib" / "features.py").write_text(  # as its `colors` does
        "import random\ncolors = list(range(9))\nrandom.shuffle(colors, lambda: 0.5)\n"
    )
    wrapper = folder / "smacv2" / "env" / "starcraft2" / "wrapper.py"
    wrapper.write_text(f"{here} FakeWrapper as StarCraftCapabilityEnvWrapper\n")
