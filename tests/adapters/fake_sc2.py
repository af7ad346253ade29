"""A game that stands in for StarCraft II behind the real packages smac and smacv2, and rounds played with it.

It serves recorded frames as the game's own messages.
"""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

import mail_envs
from mail_envs.conformance.subject import random_actions
from mail_envs.games.starcraft import terrain
from mail_envs.player_functions import Stochastic

STEP_MUL = 8


class FakeProcess:
    def __init__(self):
        self.closed = 0

    def close(self):
        self.closed += 1


class FakeController:
    """Frames of raw units, as the game would send them: one per step of an agent.

    Args:
        frames: columns (T, U) as `encode_episode` takes them.
        creates: units are created by command, as SMACv2 does; else they respawn when all were killed.

    Attributes:
        t: the present frame. orders: {unit's tag: ability} of each step. battles: begun so far.
    """

    def __init__(self, frames: dict, creates: bool):
        self.frames, self.creates = frames, creates
        self.t, self.battles, self.orders = 0, int(not creates), []
        self.present, self.broken = not creates, False

    def observe(self):
        from s2clientprotocol import sc2api_pb2

        answer = sc2api_pb2.ResponseObservation()
        now = {name: column[self.t] for name, column in self.frames.items()}
        for k in range(len(now["tag"]) if self.present else 0):
            if np.isfinite(now["tag"][k]) and now["hp"][k] > 0:
                self._add(answer.observation.raw_data.units, {n: c[k] for n, c in now.items()})
        return answer

    @staticmethod
    def _add(units, row: dict) -> None:
        unit = units.add(tag=int(row["tag"]), owner=int(row["owner"]), unit_type=int(row["type"]))
        unit.pos.x, unit.pos.y = row["x"], row["y"]
        unit.health, unit.health_max = row["hp"], row["hpm"]
        unit.shield, unit.shield_max = row["sh"], row["shm"]
        unit.energy, unit.weapon_cooldown, unit.radius = row["en"], row["cd"], 0.5

    def actions(self, request):
        if self.broken:
            from pysc2.lib import protocol  # pyright: ignore[reportMissingImports]

            raise protocol.ConnectionError("the fake game was told to die")
        commands = [a.action_raw.unit_command for a in request.actions]
        self.orders.append({tag: c.ability_id for c in commands for tag in c.unit_tags})

    def step(self, loops):
        if loops == STEP_MUL:
            self.t = min(self.t + 1, len(self.frames["tag"]) - 1)
        elif not self.present and not self.creates:
            self._begin()

    def _begin(self):
        self.present, self.t = True, 0
        self.battles += 1

    def debug(self, commands):
        commands = commands if isinstance(commands, list) else [commands]
        if any(c.HasField("kill_unit") for c in commands):
            self.present = False
        if any(c.HasField("create_unit") for c in commands) and not self.present:
            self._begin()

    def data(self):
        """SMACv2 takes the last nine types for the agents'; the recordings have them from 1991 on."""
        kinds = range(2000)
        return SimpleNamespace(
            units={k: f"type {k}" for k in kinds},
            unit_stats={k: SimpleNamespace(movement_speed=2.25) for k in kinds},
        )

    def game_info(self):
        from s2clientprotocol import sc2api_pb2

        info = sc2api_pb2.ResponseGameInfo()
        info.start_raw.map_size.x = info.start_raw.map_size.y = 32
        info.start_raw.playable_area.p1.x = info.start_raw.playable_area.p1.y = 32
        return info


def drive(monkeypatch, kind, of, frames: dict) -> list[FakeController]:
    """Make every environment of a real class launch a `FakeController`; returns those launched."""
    launched = []

    def launch(core):
        core._controller, core._sc2_proc = FakeController(frames, of.version == 2), FakeProcess()
        core.max_distance_x = core.max_distance_y = core.map_x = core.map_y = 32
        core.pathing_grid = terrain.pathing(of.terrain, diagonals=False)
        core.terrain_height = terrain.height(of.terrain)
        launched.append(core._controller)

    monkeypatch.setattr(kind, "_launch", launch)
    return launched


def blank(game):
    """Arrays as a view would pass them to `step` and `observe`."""
    n = len(game.agents)
    return SimpleNamespace(
        rewards=np.zeros(n, np.float32),
        metrics=np.zeros(4, np.float32),
        observations=np.zeros((n, game.observation_spaces[game.agents[0]].shape[0]), np.float32),
        action_mask=np.zeros((n, game.action_spaces[game.agents[0]].n), np.int8),
        alive=np.ones(n, np.bool_),
        state=np.zeros(game.state_space.shape, np.float32),
    )


def play(game, actions, acts=None):
    """One round, then its observations; acts: who acts, None for all agents."""
    row = blank(game)
    actions = np.asarray(actions, np.int32)
    acts = np.ones(len(actions), np.uint8) if acts is None else np.asarray(acts, np.uint8)
    row.terminated, row.truncated = game.step(actions, acts, row.rewards, row.metrics)
    return look(game, row)


def look(game, row=None):
    row = row or blank(game)
    game.observe(row.observations, row.action_mask, row.alive, row.state)
    return row


def check_views(**arguments):
    """AEC, parallel and vector views with random participation."""
    arguments = {"backend": "starcraft2", "player_function": Stochastic(0.5), **arguments}
    env = mail_envs.make("smac_3m", **arguments)
    env.reset(seed=3)
    turns = 0
    for agent in env.agent_iter(40):
        _, _, terminated, truncated, info = env.last()
        over = terminated or truncated
        env.step(None if over else env.action_space(agent).sample(info["action_mask"]))
        turns += 1
    assert turns
    env.close()
    env = mail_envs.make("smac_3m", api="parallel", **arguments)
    env.reset(seed=3)
    for _ in range(4):
        env.step(dict.fromkeys(env.agents, 1))
    env.close()
    vec = mail_envs.make_vec("smac_3m", **arguments)
    _, info = vec.reset(seed=3)
    absent = 0
    for _ in range(80):
        present = info["participation"][0] != 0
        _, rewards, _, _, info = vec.step(random_actions(vec, info))
        assert not rewards[0, ~present].any()
        absent += (~present).sum()
    assert absent and not info["illegal_actions"].any()
    vec.close()
