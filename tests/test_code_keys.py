"""The compiled code always matches the current sources, even with a warm cache."""

from __future__ import annotations

import dis
import importlib
import os
import subprocess
import sys
import textwrap
from enum import IntEnum
from types import CodeType, ModuleType
from typing import Any

import numpy as np
import pytest
from numba import njit
from numba.extending import overload

from mail_envs.code_keys import code_key, disk_cached, python, reachable
from mail_envs.games.particle import coop_nav
from mail_envs.games.starcraft import game as starcraft
from mail_envs.kernels import device_function, game_launches, launch

# -- a game in files, edited between processes ------------------------------------------------------

FILES = {
    "my_numbers.py": "STEP = 1\nLIMIT = 4\nEVERYBODY = 1.0\n",
    "my_physics.py": """
        import os
        from numba import njit

        FACTOR = int(os.environ.get("MY_FACTOR", "3"))

        @njit
        def bonus():
            return 2
        """,
    "my_kept.py": """
        import my_numbers
        from numba import njit

        @njit(cache=True)
        def limit():
            return my_numbers.LIMIT
        """,
    "my_game.py": """
        import gymnasium
        import numpy as np
        from numba import njit

        import mail_envs
        import my_kept
        import my_numbers
        import my_physics
        from mail_envs.markov_game import KernelGame
        from my_numbers import STEP
        from my_physics import FACTOR


        class MyGame(KernelGame):
            def __init__(self):
                self.agents = ["agent_0", "agent_1"]
                box = gymnasium.spaces.Box(-1, 1, (1,), np.float32)
                self.observation_spaces = dict.fromkeys(self.agents, box)
                self.action_spaces = {a: gymnasium.spaces.Discrete(2) for a in self.agents}
                self.state_space = box
                self.max_rounds = 10
                self.state_dtype = np.dtype([("unused", "f4")])
                self.params = np.zeros(1, np.dtype([("unused", "f4")]))


        @njit
        def reset_env(state, rng, params):
            pass


        @njit
        def step_env(state, rng, actions, acts, params, rewards, metrics):
            for i in range(2):
                rewards[i] = STEP + 10 * my_physics.bonus() + 100 * FACTOR + 1000 * my_kept.limit()
            return False


        @njit
        def observe_env(state, params, observations, action_mask, alive, global_state):
            pass


        @njit
        def chance(i, history):
            return np.float32(1.0 if i == 0 else my_numbers.EVERYBODY)
        """,
}
PLAY = """
import mail_envs, numpy as np
game = mail_envs.spec("my_game.py").id
import my_game
vector = mail_envs.make_vec(game, player_function=mail_envs.HistoryDependent(my_game.chance), seed=0)
print(*vector.step(np.zeros((1, 2), np.int32))[1][0].astype(int))
"""


def test_an_edit_anywhere_is_played_by_the_next_process(tmp_path):
    """A constant, a function behind its module, an environment variable, a callee with its own cache, a player."""
    folder = tmp_path / "game"
    folder.mkdir()
    for name, text in FILES.items():
        (folder / name).write_text(textwrap.dedent(text))
    environment = {
        **os.environ,
        "MAIL_ENVS_CACHE": str(tmp_path / "cache"),
        "NUMBA_CACHE_DIR": str(tmp_path / "numba"),
        "PYTHONDONTWRITEBYTECODE": "1",  # Python's own cache goes by seconds, too
        "PYTHONPATH": os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]),
    }

    def play(**variables) -> str:
        run = subprocess.run(
            [sys.executable, "-c", PLAY], cwd=folder, env={**environment, **variables},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert run.returncode == 0, run.stderr
        return run.stdout.strip()

    def edit(name: str, old: str, new: str) -> None:
        text = (folder / name).read_text()
        assert text.count(old) == 1
        (folder / name).write_text(text.replace(old, new))

    def kept() -> dict[str, int]:
        return {str(p): p.stat().st_mtime_ns for p in tmp_path.rglob("*.nb[ic]")}

    assert play() == "4321 4321"
    compiled = kept()
    assert compiled
    assert play() == "4321 4321" and kept() == compiled  # a warm cache, and nothing compiled
    edit("my_numbers.py", "STEP = 1", "STEP = 7")
    assert play() == "4327 4327"
    edit("my_physics.py", "return 2", "return 5")
    assert play() == "4357 4357"
    assert play(MY_FACTOR="6") == "4657 4657"
    edit("my_numbers.py", "LIMIT = 4", "LIMIT = 8")
    assert play() == "8357 8357"
    edit("my_numbers.py", "EVERYBODY = 1.0", "EVERYBODY = 0.0")
    assert play() == "8357 0"
    assert play(NUMBA_DISABLE_JIT="1") == "8357 0"


# -- keys -------------------------------------------------------------------------------------------


class Color(IntEnum):
    RED = 1
    BLUE = 2


class OtherColor(IntEnum):
    RED = 1
    BLUE = 3


def module(**contents) -> ModuleType:
    made = ModuleType("some_module")
    made.__dict__.update(contents)
    return made


def function(value: int):
    return njit(lambda: value)


@njit
def reader(x):
    return GLOBAL + x


@njit
def caller(x):
    return reader(x)


@njit
def through_a_module(x):
    def inner(y):
        return GLOBAL.part.VALUE + y

    return inner(x)


GLOBAL: Any = 0


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, 2), (1, True), (1, 1.0), (0.0, -0.0), (np.float32(1), np.float64(1)), ("a", "b"), (None, 0),
        ((1, 2), (2, 1)), ((1, (2.0,)), (1, (3.0,))),
        (np.arange(3), np.array([0, 1, 3])), (np.zeros(2), np.zeros((1, 2))), (np.zeros(1), np.zeros(1, "f4")),
        (np.dtype([("a", "f4")]), np.dtype([("b", "f4")])),
        (np.dtype("i1,f4"), np.dtype("i1,f4", align=True)),
        (Color, OtherColor), (Color.RED, Color.BLUE),
        (function(1), function(2)), ((function(1),), (function(2),)),
        (njit(lambda x: x), njit(lambda x: x + 1)),
        (njit(python(reader)), njit(fastmath=True)(python(reader))),
    ],
)  # fmt: skip
@pytest.mark.parametrize("root", [reader, caller])
def test_a_key_holds_every_kind_of_value(root, one, other, monkeypatch):
    monkeypatch.setitem(globals(), "GLOBAL", one)
    before = code_key([root])
    assert code_key([root]) == before
    monkeypatch.setitem(globals(), "GLOBAL", other)
    assert code_key([root]) != before
    monkeypatch.setitem(globals(), "GLOBAL", one)
    assert code_key([root]) == before


def test_a_key_holds_what_is_read_through_modules_and_nothing_else(monkeypatch):
    keys = []
    for part in (module(VALUE=1), module(VALUE=2), module(VALUE=1, OTHER=5)):
        monkeypatch.setitem(globals(), "GLOBAL", module(part=part))
        keys.append(code_key([through_a_module]))
    assert keys[0] == keys[2] != keys[1]


def test_a_module_may_have_a_name_of_the_standard_librarys(monkeypatch):
    keys = []
    for value in (1, 2):
        part = ModuleType("statistics")
        part.VALUE = value  # pyright: ignore[reportAttributeAccessIssue]
        monkeypatch.setitem(globals(), "GLOBAL", module(part=part))
        keys.append(code_key([through_a_module]))
    assert keys[0] != keys[1]


def test_a_launch_of_a_copied_file_imports_nothing_from_the_first(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("first_of_two", "copied_from_it"):
        (tmp_path / f"{name}.py").write_text(
            "from numba import njit\n\n\n@njit\ndef one(e, participation):\n    participation[e] = 3\n"
        )
        run = launch(importlib.import_module(name).one, "participation", "cpu")
        assert run.py_func.__globals__["one"].__module__ == name
        monkeypatch.delitem(sys.modules, name)
        (tmp_path / f"{name}.py").unlink()


def test_a_key_tells_who_calls_whom(monkeypatch):
    """Two functions that call each other's callees are other code than two that call their own."""
    one, two = function(1), function(2)
    monkeypatch.setitem(globals(), "GLOBAL", (one, two, one))
    before = code_key([reader])
    monkeypatch.setitem(globals(), "GLOBAL", (one, two, two))
    assert code_key([reader]) != before


def test_a_key_holds_the_implementation_that_numba_overloads():
    def plain():
        return 0

    @njit
    def calls():
        return plain()

    before = code_key([calls])

    @overload(plain)
    def implementation():
        return lambda: 1

    assert code_key([calls]) != before


def test_keys_are_equal_in_all_processes():
    code = (
        "from numba import njit\nfrom mail_envs.code_keys import code_key\n"
        "KINDS = frozenset(['a', 'b', 'c', 'd'])\n"
        "@njit\ndef f(x):\n    return x in {'a', 'b', 'c', 'd'} or x in KINDS\n"
        "from mail_envs.games.particle.coop_nav import step_env\n"
        "print(code_key([f, step_env]))"
    )
    keys = {
        subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True, text=True, check=True,
        ).stdout
        for seed in ("1", "2", "3")
    }  # fmt: skip
    assert len(keys) == 1


ONE: Any = 1
STARCRAFT = [starcraft.reset_env, starcraft.step_env, starcraft.observe_env]


def globals_read(code: CodeType) -> set[str]:
    names = {
        i.argval for i in dis.get_instructions(code) if i.opname in ("LOAD_GLOBAL", "LOAD_NAME")
    }
    inner = [globals_read(c) for c in code.co_consts if isinstance(c, CodeType)]
    return names.union(*inner)


def test_every_constant_that_a_battle_reads_is_in_its_key(monkeypatch):
    before, changed = code_key(STARCRAFT), set()
    functions = [python(d.function) for d in reachable(STARCRAFT)]
    for source in functions:
        for name in globals_read(source.__code__) & source.__globals__.keys():
            value: Any = source.__globals__[name]
            if isinstance(value, (int, float, np.generic)):
                changed.add(name)
                with monkeypatch.context() as patch:
                    patch.setitem(source.__globals__, name, type(value)(value + ONE))
                    assert code_key(STARCRAFT) != before, f"{source.__module__}.{name}"
    assert changed >= {"LOOPS_PER_STEP", "SHIELD_DELAY", "NO_OP", "WON", "COLOSSUS", "GOLDEN"}
    assert code_key(STARCRAFT) == before


@pytest.mark.parametrize("options", [{}, {"threads": True}, {"device": "cuda"}])
def test_every_launch_goes_by_the_key(options, monkeypatch):
    if options.get("device") == "cuda":
        pytest.importorskip("numba.cuda", reason="numba-cuda is not installed")
    kernels = {name: getattr(coop_nav, name) for name in ("reset_env", "step_env", "observe_env")}
    before = game_launches(kernels, "key_test", **options)
    assert game_launches(kernels, "key_test", **options) is before
    for name, value in {"ROUNDING": 1, "ZERO": np.float32(1.0)}.items():
        with monkeypatch.context() as patch:
            read = [python(d.function) for d in reachable(kernels.values())]
            holders = [f.__globals__ for f in read if name in globals_read(f.__code__)]
            for holder in holders:
                patch.setitem(holder, name, value)
            after = game_launches(kernels, "key_test", **options)
            assert (after is not before) == bool(holders)
    assert game_launches(kernels, "key_test", **options) is before


# -- within a process -------------------------------------------------------------------------------

STEP = 1


@device_function
def step_of():
    return STEP


@device_function
def add_step(e, participation):
    participation[e, 0] += step_of()


def test_a_constant_that_is_replaced_within_a_process_is_compiled_anew(monkeypatch):
    def added() -> int:
        participation = np.zeros((1, 1), np.int64)
        launch(add_step, "participation", "cpu")(participation)
        return participation[0, 0]

    assert step_of() == 1  # compiled before any launch has seen it
    monkeypatch.setitem(globals(), "STEP", 5)
    assert added() == 5
    monkeypatch.setitem(globals(), "STEP", 9)
    assert added() == 9
    monkeypatch.setitem(globals(), "STEP", 5)
    assert added() == 5


def test_a_cache_of_numbas_own_goes_by_the_key(monkeypatch, tmp_path):
    monkeypatch.setattr("numba.core.config.CACHE_DIR", str(tmp_path))

    def answer() -> tuple[int, int]:
        made = disk_cached(kept_function)
        return made(), sum(made.stats.cache_hits.values())

    assert answer() == (1, 0)
    assert answer() == (1, 1)
    monkeypatch.setitem(globals(), "STEP", 5)
    assert answer() == (5, 0)
    assert answer() == (5, 1)


def kept_function():
    return STEP
