"""`python -m mail_envs check`: our games pass, mistakes are found, and games in files."""

from __future__ import annotations

import contextlib
import textwrap
from pathlib import Path

import pytest
from chosen_ids import IDS

import mail_envs
from mail_envs.__main__ import main
from mail_envs.conformance import CHECKS, ConformanceError, NotApplicable, Subject

UNEQUAL = str(Path(__file__).with_name("unequal_game.py"))


# `test_cuda` compiles every game, too, and asks for more than the check does.
@pytest.mark.parametrize("id", IDS)
@pytest.mark.parametrize("name", [name for name in CHECKS if name != "compiles for CUDA"])
def test_our_games_pass_check(id, name):
    try:
        CHECKS[name](Subject(id))
    except (NotApplicable, ImportError) as reason:  # or the simulator is not installed
        pytest.skip(str(reason))


def test_check_passes_with_other_players_and_continuous_actions():
    keywords = {
        "player_function": mail_envs.Stochastic(0.3), "continuous_actions": True, "num_agents": 4
    }  # fmt: skip
    for name in (
        "AEC view = vector view",
        "agents that do not participate",
        "participation frequencies",
    ):
        CHECKS[name](Subject("coop_nav", keywords))


@pytest.mark.parametrize("id", ["stochastic_coop_nav", "smac_3m"])
def test_kernel_games_skip_no_check_of_participation(id):
    CHECKS["participation frequencies"](Subject(id))  # NotApplicable is an error here, too


GAME = '''
"""A game of counting: every agent that acts adds its action to a total, which all of them observe.

Reward: the action itself. The game ends after ten rounds.
"""
import gymnasium
import numpy as np
from numba import njit
from mail_envs.markov_game import KernelGame

ZERO = np.float32(0.0)


class Counting(KernelGame):
    def __init__(self):
        self.agents = {agents}
        box = gymnasium.spaces.Box(-1, {high}, (1,), np.float32)
        self.observation_spaces = dict.fromkeys(self.agents, box)
        self.action_spaces = {{a: gymnasium.spaces.Discrete(3) for a in self.agents}}
        self.state_space = box
        self.max_rounds = 10
        self.state_dtype = np.dtype([("total", "f4"), ("seen", "f4")], align=True)
        self.params = np.zeros(1, np.dtype([("unused", "f4")]))

    def draw(self, canvas, state, participation):
        canvas.begin()
        canvas.text((0, 0), str(state["total"]))


@njit
def reset_env(state, rng, params):
    state.total = ZERO
    {reset}


@njit
def step_env(state, rng, actions, acts, params, rewards, metrics):
    for i in range(actions.shape[0]):
        if {acts}:
            rewards[i] = np.float32(actions[i])
            state.total += rewards[i]
    state.seen += {one}
    return False


@njit
def observe_env(state, params, observations, action_mask, alive, global_state):
    for i in range(observations.shape[0]):
        observations[i, 0] = {observed}
    global_state[0] = state.total
'''
SOUND = {
    "agents": '["agent_0", "agent_1"]', "high": "1000", "reset": "state.seen = ZERO",
    "acts": "acts[i] != 0", "one": "np.float32(1)", "observed": "state.total",
}  # fmt: skip


@pytest.fixture
def write_game(tmp_path, monkeypatch):
    """Writes a game of GAME with some lines replaced; each file has a name of its own."""
    monkeypatch.setenv("MAIL_ENVS_CACHE", str(tmp_path / "cache"))

    def write(name, **lines):
        path = tmp_path / f"{name}.py"
        path.write_text(textwrap.dedent(GAME).format(**{**SOUND, **lines}))
        return path

    return write


def test_a_sound_game_in_a_file_passes(write_game, capsys):
    assert main(["check", str(write_game("game_sound"))]) == 0
    shown = capsys.readouterr().out
    assert "counting" in shown and "FAIL" not in shown and "all passed" in shown


@pytest.mark.parametrize(
    ("mistake", "lines", "failed", "fix"),
    [
        ("names", {"agents": '["tom", "kim"]'}, "agents and spaces", "prey_0"),
        ("box", {"high": "2"}, "observations lie in their spaces", "widen the space"),
        ("waits", {"acts": "True"}, "agents that do not participate", "acts[i]"),
        (
            "leaks",
            {"reset": "pass", "observed": "state.seen"},
            "a seed repeats its episode",
            "reset_env",
        ),
        ("double", {"one": "math.sqrt(2.0)"}, "compiles for CUDA", "np.float32"),
    ],
)
def test_check_finds_the_mistake_and_names_the_fix(mistake, lines, failed, fix, write_game, capsys):
    path = write_game(f"game_{mistake}", **lines)
    text = path.read_text().replace("import gymnasium", "import math\n\nimport gymnasium")
    if mistake == "waits":  # the game's own player function: half of the time
        text += "\n\nimport mail_envs\n" + (
            "mail_envs.register('counting', Counting, "
            "player_function=lambda n: mail_envs.Stochastic(0.5))\n"
        )
    path.write_text(text)
    assert main(["check", str(path)]) == 1
    shown = capsys.readouterr().out
    assert f"FAIL {failed}" in shown
    assert fix in shown[shown.index(f"FAIL {failed}") :]


@pytest.mark.parametrize(
    ("mistake", "lines", "line", "message"),
    [
        ("field", {"reset": "state.sen = ZERO"}, "state.sen", "the record has no field 'sen'"),
        ("name", {"acts": "act[i] != 0"}, "if act[i]", "name 'act' is not defined"),
        ("numpy", {"one": "np.flot32(1)"}, "np.flot32", "has no attribute 'flot32'"),
        ("kind", {"observed": "state"}, "= state\n", "No implementation of function setitem"),
    ],
)
def test_a_typo_in_a_kernel_is_one_line(
    mistake, lines, line, message, write_game, capsys, monkeypatch
):
    path = write_game(f"game_typo_{mistake}", **lines)
    text = path.read_text()
    number = text[: text.index(line)].count("\n") + 1
    assert main(["check", str(path)]) == 1
    shown = capsys.readouterr().out
    assert f"{path}:{number}: " in shown and message in shown
    assert len(shown.splitlines()) == 5 and shown.endswith("1 failed\n")
    assert main(["render", str(path), "--out", "x.gif"]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {path}:{number}: ") and error.count("\n") == 1
    monkeypatch.setenv("MAIL_ENVS_TRACEBACK", "1")
    assert main(["check", str(path)]) == 1
    assert "Traceback (most recent call last)" in capsys.readouterr().out


def test_without_jit_there_is_nothing_to_compile_for_cuda(monkeypatch):
    monkeypatch.setattr("numba.core.config.DISABLE_JIT", True)
    with pytest.raises(NotApplicable, match="NUMBA_DISABLE_JIT"):
        CHECKS["compiles for CUDA"](Subject("coop_nav"))


def test_a_file_stands_for_its_game_in_every_command(tmp_path, capsys):
    assert main(["info", UNEQUAL]) == 0
    assert "A guide with two words" in capsys.readouterr().out
    film = tmp_path / "x.png"
    assert main(["render", UNEQUAL, "--out", str(film), "--size", "80", "--max-rounds", "3"]) == 0
    assert film.exists() and "policy: random" in capsys.readouterr().out
    assert main(["info", f"{UNEQUAL}:another_game"]) == 2
    assert "registers guide_and_walker, not 'another_game'" in capsys.readouterr().err
    assert main(["info", "game_that_was_not_loaded"]) == 2
    assert "--env game_that_was_not_loaded.py" in capsys.readouterr().err


@pytest.mark.parametrize("keywords", [{}, {"continuous": True}, {"masked": True}], ids=str)
def test_a_game_with_different_agents_passes_check(keywords):
    subject = Subject(mail_envs.spec(UNEQUAL).id, keywords)
    for name in set(CHECKS) - {"PettingZoo render_test", "compiles for CUDA"}:
        if name != "action masks" or not keywords.get("continuous"):
            CHECKS[name](subject)


def test_a_file_that_cannot_be_imported_is_one_clear_line(tmp_path, capsys):
    path = tmp_path / "game_broken.py"
    path.write_text("1 / 0")
    assert main(["check", str(path)]) == 2
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_conformance_errors_say_what_to_do():
    error = ConformanceError("it is wrong", "mend it")
    assert str(error) == "it is wrong\n  fix: mend it"


def test_check_knows_games_of_boards_and_turns():
    for name in set(CHECKS) - {"PettingZoo render_test"}:
        with contextlib.suppress(NotApplicable):
            CHECKS[name](Subject("pettingzoo:classic/tictactoe"))
