"""The command line: every command as a user runs it, and its error messages."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from pathlib import Path

import pytest
import sample_players
from chosen_ids import IDS
from sample_games import LastStanding

import mail_envs
from demos.policies import best_policy
from mail_envs.__main__ import COMMANDS, main
from mail_envs.commands.errors import CommandError, exit_status
from mail_envs.settings_text import (
    merge_sets,
    parse_player_function,
    parse_settings,
)


def test_every_command_has_help(capsys):
    for command in COMMANDS:
        with pytest.raises(SystemExit) as end:
            main([command, "--help"])
        assert end.value.code == 0
        assert f"mail_envs {command}" in capsys.readouterr().out


def test_list_names_every_game(capsys):
    assert main(["list"]) == 0
    shown = capsys.readouterr().out
    assert all(id in shown for id in mail_envs.specs())


@pytest.mark.parametrize("id", IDS)
def test_info_shows_spaces_players_and_arguments(id, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    try:
        vector = mail_envs.make_vec(id)
    except ImportError as missing:
        pytest.skip(str(missing))
    assert main(["info", id]) == 0
    shown = capsys.readouterr().out
    assert all(agent in shown for agent in vector.agents)
    assert type(vector.player_function).__name__ in shown
    assert all(name in shown for name in inspect.signature(mail_envs.spec(id).load()).parameters)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["info", "stochastic_coop_naw"], "stochastic_coop_nav"),
        (["list", "--family", "board"], "particle"),
        (["render", "coop_nav", "--policy", "random", "--out", "x.bmp"], ".gif or .png"),
        (["render", "coop_nav", "--out", "x.gif", "--every", "0"], "every=0 must be at least 1"),
        (["render", "coop_nav", "--out", "x.gif", "--max-frames", "-1"], "max_frames=-1"),
        (["render", "coop_nav", "--policy", "no/such/run", "--out", "x.gif"], "no/such/run"),
        (["render", "coop_nav", "--out", "x.gif", "--set", "num_agent=4"], "num_agents"),
        (["render", "coop_nav", "--out", "x.gif", "--set", "oops"], "NAME=VALUE"),
        (["render", "coop_nav", "--out", "x.gif", "--player-function", "open('x')"], "Stochastic"),
        (["render", "coop_nav", "--out", "x.gif", "--player-function", "Stochastic(2)"], "[0, 1]"),
        (["play", "coop_nav", "--agent", "agent_9"], "agent_0"),
        (["play", "coop_nav", "--set", "continuous_actions=True"], "discrete"),
        (["bench", "--against", "gym"], "mpe2"),
        (["bench", "nav"], "unknown id"),
        (["check", "no_such_file.py"], "no such file"),
        (["check"], "name a game"),
    ],
)
def test_a_mistake_is_one_clear_line(arguments, said, capsys):
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and said in error and "Traceback" not in error


def test_settings_are_literals_json_or_text():
    given = (
        "num_agents=5",
        "penalty=hard",
        "ratio=0.5",
        "flag=True",
        "cells=(1, 2)",
        "other=false",
    )
    assert parse_settings(given) == {
        "num_agents": 5, "penalty": "hard", "ratio": 0.5, "flag": True, "cells": (1, 2),
        "other": False,
    }  # fmt: skip


def test_several_set_flags_add_up(capsys):
    words = ["info", "mpe_simple_tag", "--set", "preset=nope", "--set", "continuous_actions=True"]
    assert main(words) == 2
    assert "preset='nope'" in capsys.readouterr().err
    assert merge_sets(["--a", "1", "--set=b=1", "c=2", "--x", "--set", "d=3"]) == (
        ["--a", "1", "--set", "b=1", "c=2", "d=3", "--x"]
    )


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("Stochastic([0.5, 1])", mail_envs.Stochastic([0.5, 1])),
        ("Stochastic(.3, shared_coin=True)", mail_envs.Stochastic(0.3, shared_coin=True)),
        ("Synchronous", mail_envs.Synchronous()),
        ("TurnOrder(groups=[[0], [1, 2]])", mail_envs.TurnOrder([[0], [1, 2]])),
        ('{"type": "Stochastic", "probability": 0.3}', mail_envs.Stochastic(0.3)),
        ("sample_players:BY_TURNS", sample_players.BY_TURNS),
        ("HistoryDependent('sample_players:not_twice_in_a_row')", sample_players.SELDOM),
    ],
)
def test_a_player_function_is_written_as_a_call_as_json_or_by_name(text, meant):
    assert parse_player_function(text) == meant
    assert parse_player_function(repr(meant)) == meant


def test_a_player_function_of_the_users_own_comes_from_a_file(tmp_path):
    path = tmp_path / "my_players.py"
    path.write_text("import mail_envs\n\nRARE, WRONG = mail_envs.Stochastic(0.1), 7\n")
    assert parse_player_function(f"{path}:RARE") == mail_envs.Stochastic(0.1)
    for name, error in (("WRONG", "not a player function"), ("ABSENT", "has no 'ABSENT'")):
        with pytest.raises(CommandError, match=error):
            parse_player_function(f"{path}:{name}")


@pytest.mark.parametrize(
    "text",
    ["__import__('os')", "Stochastic(__import__('os'))", "1", "", "a.b()", "{", "Stochastic("],
)
def test_player_functions_are_read_and_never_evaluated(text):
    with pytest.raises(CommandError, match=r"write a call such as \"Stochastic\(0.3\)\""):
        parse_player_function(text)


def test_info_shows_the_game_as_it_is_set_up(capsys):
    words = ["--set", "num_agents=2", "--player-function", "TurnOrder([[0], [1]])"]
    assert main(["info", "coop_nav", *words]) == 0
    shown = capsys.readouterr().out
    assert "agent_1" in shown and "agent_2" not in shown and "TurnOrder(groups=[[0], [1]])" in shown
    assert "50 rounds" in shown and "part of the task" not in shown


def test_info_shows_what_random_play_and_the_expert_reach(capsys, monkeypatch, tmp_path):
    figures = {
        "coop_nav": {
            "expert": "scripted", "episodes": 1000, "random_return": -50.004, "expert_return": 3.25,
        },
        "stochastic_coop_nav": {
            "expert": "expert", "episodes": 2000, "random_return": -1.0, "expert_return": 20.0,
            "random_win_rate": 0.013, "expert_win_rate": 0.987,
        },
    }  # fmt: skip
    (tmp_path / "references.json").write_text(json.dumps(figures))
    (tmp_path / "coop_reaching.safetensors").touch()
    monkeypatch.setattr("demos.policies.EXPERTS", tmp_path)

    def shown(*words: str) -> str:
        assert main(["info", *words]) == 0
        return " ".join(capsys.readouterr().out.split())

    found = shown("coop_nav")
    assert "random play return -50.00 over 1,000 episodes" in found
    assert "expert return 3.25 over 1,000 episodes (scripted, --policy scripted)" in found
    found = shown("stochastic_coop_nav")
    assert "random play return -1.00, wins 1.3% over 2,000 episodes" in found
    assert "expert return 20.00, wins 98.7% over 2,000 episodes (trained, --policy expert)" in found
    assert "expert trained, its return is not measured" in shown("coop_reaching")
    for changed in (["--max-rounds", "7"], ["--set", "num_agents=4"]):
        assert "random play return" not in shown("coop_nav", *changed)


def test_info_says_where_the_time_limit_is_part_of_the_task(capsys):
    assert main(["info", "smac_3m"]) == 0
    assert "60 rounds, part of the task" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("id", "keywords", "expected"),
    [
        ("stochastic_coop_nav", {}, "expert"),
        ("coop_nav", {}, "scripted"),
        ("stochastic_coop_nav", {"num_agents": 4}, "scripted"),
        ("last_standing", {}, "random"),
    ],
)
def test_the_best_available_policy_plays(id, keywords, expected, capsys):
    mail_envs.register("last_standing", LastStanding)
    assert best_policy(mail_envs.make_vec(id, **keywords)) == expected
    assert capsys.readouterr().out == f"policy: {expected}\n"


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (None, 0, ""),
        (ValueError("one\ntwo"), 2, "error: one two\n"),
        (FileNotFoundError("no such folder"), 2, "error: no such folder\n"),
        (ImportError("pip install x"), 2, "error: pip install x\n"),
        (NotImplementedError("it defines no draw()"), 2, "error: it defines no draw()\n"),
        (KeyboardInterrupt(), 130, "interrupted\n"),
        (KeyboardInterrupt("saved"), 130, "saved\n"),
    ],
)
def test_exit_statuses_are_the_same_everywhere(error, status, said, capsys):
    def command():
        if error is not None:
            raise error

    assert exit_status(command) == status
    assert capsys.readouterr().err == said


def test_a_closed_pipe_ends_a_command_quietly():
    """As in `learners.sweep FILE --dry-run | head`."""
    sweep = Path(__file__).parents[1] / "docs/results/navigation.yaml"
    arguments = [sys.executable, "-m", "learners.sweep", str(sweep), "--dry-run"]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as command:
        assert command.stdout is not None and command.stderr is not None
        command.stdout.close()
        assert command.stderr.read() == b""
    assert command.returncode == 0


def test_tracebacks_are_shown_for_unexpected_errors_and_on_request(monkeypatch):
    def command(error):
        raise error

    with pytest.raises(RuntimeError):
        exit_status(lambda: command(RuntimeError("a bug")))
    monkeypatch.setenv("MAIL_ENVS_TRACEBACK", "1")
    with pytest.raises(ValueError, match="mistake"):
        exit_status(lambda: command(ValueError("mistake")))


def test_render_writes_an_animation_and_a_filmstrip(tmp_path, capsys):
    from PIL import Image

    for name in ("x.gif", "x.png"):
        arguments = ["--policy", "random", "--out", str(tmp_path / name), "--size", "120"]
        more = ["--set", "num_agents=4", "--max-rounds", "9", "--episodes", "2"]
        assert main(["render", "stochastic_coop_nav", *arguments, *more]) == 0
    with Image.open(tmp_path / "x.gif") as film:
        duration = sum(_durations(film))
        assert duration == 2 * (10 + 6) * 100, "two episodes of ten frames, the last one held"
    with Image.open(tmp_path / "x.png") as strip:
        assert strip.size == (480, 240)
    assert "episode 1 (seed 1): 9 rounds" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "frames"), [((), 26), (("--max-frames", "8"), 8), (("--every", "10"), 4)]
)
def test_films_skip_rounds_of_long_episodes(tmp_path, capsys, options, frames):
    from PIL import Image

    words = ["--policy", "random", "--out", str(tmp_path / "x.gif"), "--size", "80", "--max-rounds"]
    assert main(["render", "coop_reaching", *words, "25", *options]) == 0
    with Image.open(tmp_path / "x.gif") as film:
        assert sum(_durations(film)) == (frames + 6) * 100
    said = capsys.readouterr().out
    assert "episode 0 (seed 0): 25 rounds, " in said and "drawn" in said


def _durations(film):
    for k in range(film.n_frames):
        film.seek(k)
        yield film.info["duration"]
