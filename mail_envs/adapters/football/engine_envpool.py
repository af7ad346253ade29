"""The engine inside EnvPool's wheel.

EnvPool's public football has one controlled player. But the module also has a private class that plays any of them,
and it exports the C++ function that begins an episode; this file calls that one with a configuration of our own. The
layouts are those of gfootball 2.10.2's headers (main.hpp, gamedefines.hpp), and `check` compares them with what
EnvPool itself writes, once per process: another EnvPool gives a clear error.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import sys
from typing import Any

import numpy as np

from mail_envs.adapters.football.engines import NO_SECOND_HALF, STICKY, TICKS, Engine, Setup
from mail_envs.adapters.football.scenarios import SCENARIOS

MODULE = "envpool.gfootball.gfootball_envpool"
PROBE, PROBE_SEED = "football_counterattack_easy", 123457
Y_SCALE = np.float32(-2.36)  # of positions in the configuration

Vector3 = ctypes.c_float * 3


class Entry(ctypes.Structure):
    """FormationEntry."""

    _fields_ = [
        ("position", Vector3), ("start", Vector3), ("role", ctypes.c_int), ("lazy", ctypes.c_bool),
        ("controllable", ctypes.c_bool),
    ]  # fmt: skip


class Entries(ctypes.Structure):
    """std::vector<FormationEntry>."""

    _fields_ = [(name, ctypes.c_void_p) for name in ("begin", "end", "capacity")]


class Configuration(ctypes.Structure):
    """ScenarioConfig."""

    _fields_ = [
        ("ball", Vector3), ("left", Entries), ("right", Entries), ("left_agents", ctypes.c_int),
        ("right_agents", ctypes.c_int), ("magnet", ctypes.c_bool), ("offside", ctypes.c_bool),
        ("real_time", ctypes.c_bool), ("seed", ctypes.c_uint), ("reverse", ctypes.c_bool),
        ("left_skill", ctypes.c_float), ("right_skill", ctypes.c_float), ("deterministic", ctypes.c_bool),
        ("end_goal", ctypes.c_bool), ("end_possession", ctypes.c_bool), ("end_out", ctypes.c_bool),
        ("rounds", ctypes.c_int), ("control_all", ctypes.c_bool), ("second_half", ctypes.c_int),
        ("cached_left", ctypes.c_int), ("cached_right", ctypes.c_int), ("cached_dynamic", ctypes.c_bool),
        ("cached", ctypes.c_bool),
    ]  # fmt: skip


class EnvPoolEngine(Engine):
    """An engine of EnvPool. Only its football module is loaded, which is ten times as fast as `import envpool`."""

    name = "envpool"
    library: Any = None
    refusal = ""  # why this EnvPool is not used

    @classmethod
    def load(cls):
        if cls.refusal:  # a check makes an engine, which is never freed
            raise ImportError(cls.refusal)
        if cls.library is None:
            library = Library()
            try:
                library.check()
            except ImportError as error:
                cls.refusal = str(error)
                raise
            cls.library = library

    def __init__(self) -> None:
        self.load()
        self.game, self.address = self.library.start()

    def reset(self, setup):
        config, arrays = configuration(setup)
        self.library.reset(self.address, config)
        del arrays  # read by now
        while not self.game.get_info()["is_in_play"]:
            self.game.step()

    def act(self, left, slot, action):
        self.game.action(action, left, slot)

    def step(self):
        self.game.step()

    def info(self):
        return self.game.get_info()

    def sticky(self, left, slot):
        state, address = self.library.sticky, self.address
        return [state(address, action, left, slot) for action in STICKY]


class Library:
    """EnvPool's football module and its exported functions. ImportError: it is missing, or another one.

    `spare`: the engine of the check and its address, for the first game.
    """

    def __init__(self) -> None:
        self.spare: tuple[Any, int] | None = None
        pool, assets = (importlib.util.find_spec(name) for name in ("envpool", "envpool_assets"))
        if pool is None or assets is None:
            raise ImportError(f"{'envpool' if pool is None else 'envpool_assets'} is not installed")
        self.assets = assets.submodule_search_locations[0]  # pyright: ignore
        path = os.path.join(pool.submodule_search_locations[0], "gfootball", "gfootball_envpool.so")  # pyright: ignore
        try:
            # Its types can be registered only once, here or by `import envpool`.
            module = sys.modules.get(MODULE)
            if module is None:
                spec: Any = importlib.util.spec_from_file_location(MODULE, path)
                module = sys.modules[MODULE] = importlib.util.module_from_spec(spec)
                spec.loader.exec_module(module)
            self.make = module._GfootballOracleEngine
            exported = ctypes.CDLL(path)
            pointer, flag = ctypes.c_void_p, ctypes.c_bool
            configured = ctypes.POINTER(Configuration)
            self.game = function(exported["_Z7GetGamev"], pointer)
            self.configuration = function(exported["_Z17GetScenarioConfigv"], configured)
            self.begin = function(
                exported["_ZN7GameEnv5resetER14ScenarioConfigb"], None, pointer, configured, flag
            )
            self.sticky = function(
                exported["_ZN7GameEnv19sticky_action_stateEibi"], flag, pointer, ctypes.c_int, flag, ctypes.c_int
            )  # fmt: skip
        except (AttributeError, ImportError, OSError) as error:
            raise ImportError(f"{UNKNOWN} ({error})") from error

    def start(self) -> tuple[Any, int]:
        """An engine that nobody else uses, and its address."""
        found, self.spare = self.spare, None
        return found or (self.make(self.assets, TICKS), self.game())

    def reset(self, address: int, config: Configuration) -> None:
        self.begin(address, ctypes.byref(config), False)

    def check(self) -> None:
        """Let EnvPool set up a scenario, and read what it wrote through our layout. ImportError: it differs."""
        try:
            same = self._compare()
        except (AttributeError, KeyError, TypeError, ValueError, RuntimeError) as error:
            raise ImportError(f"{UNKNOWN} ({error})") from error
        if not same:
            raise ImportError(UNKNOWN)

    def _compare(self) -> bool:
        """Whether EnvPool writes a scenario as we do. Any exception: it is called in another way."""
        scenario = SCENARIOS[PROBE]
        game, address = self.start()
        game.reset(scenario.name, 1, PROBE_SEED, 0)
        self.spare = game, address
        read = self.configuration().contents
        left = tuple(range(len(scenario.left)))
        ours, _arrays = configuration(Setup(scenario, left, (), PROBE_SEED, True, False))
        same = scalars(read) == {**scalars(ours), "left_agents": 1}
        sizes = [[team.end - team.begin for team in (c.left, c.right)] for c in (read, ours)]
        # Only now is it safe to follow the pointers.
        return same and sizes[0] == sizes[1] and players(read) == players(ours)


UNKNOWN = "this EnvPool's football engine is not the one of EnvPool 1.2.5 to 1.2.7: pip install 'envpool==1.2.5'"


def function(symbol: Any, result: Any, *arguments: Any) -> Any:
    """Declare the types of an exported function. One object is kept: ctypes makes a new one at every look-up."""
    symbol.restype, symbol.argtypes = result, list(arguments)
    return symbol


def configuration(setup: Setup) -> tuple[Configuration, list[Any]]:
    """The engine's configuration, and the arrays that must live until it has been read.

    It serves one episode: the engine scales the ball's position in place.
    """
    scenario, config = setup.scenario, Configuration()
    teams = [entries(team) for team in setup.players()]
    (left, config.left), (right, config.right) = teams
    config.ball[0], config.ball[1] = scenario.ball
    config.left_agents, config.right_agents = len(setup.left), len(setup.right)
    config.magnet, config.offside = True, scenario.offside
    config.left_skill, config.right_skill = scenario.skill
    config.seed, config.reverse = setup.seed, setup.reverse
    config.end_goal, config.end_out, config.end_possession = setup.ends()
    config.rounds, config.second_half = scenario.rounds, NO_SECOND_HALF
    config.cached_left = config.cached_right = -1
    return config, [left, right]


def entries(team: list[tuple]) -> tuple[Any, Entries]:
    """The players of a team as an array and as a C++ vector of it."""
    rows = (Entry * len(team))()
    for row, (x, y, role, lazy, controllable) in zip(rows, team):
        # In float32, as the engine computes it: in float64 the last bit differs, and then the whole episode.
        row.position[:2] = row.start[:2] = (x, np.float32(y) * Y_SCALE)
        row.role, row.lazy, row.controllable = role, lazy, controllable
    begin = ctypes.addressof(rows)
    end = begin + ctypes.sizeof(rows)
    return rows, Entries(begin, end, end)


def scalars(config: Configuration) -> dict[str, Any]:
    """The fields that are neither pointers nor the engine's own."""
    names = [name for name, kind in Configuration._fields_ if issubclass(kind, ctypes._SimpleCData)]  # pyright: ignore
    return {name: getattr(config, name) for name in names if not name.startswith("cached")}


def players(config: Configuration) -> list[tuple]:
    """What the configuration says of every player."""
    rows = []
    for team in (config.left, config.right):
        count = (team.end - team.begin) // ctypes.sizeof(Entry)
        for row in (Entry * count).from_address(team.begin):
            place = (*row.position[:2], *row.start[:2])
            rows.append((*place, row.role, row.lazy, row.controllable))
    return rows
