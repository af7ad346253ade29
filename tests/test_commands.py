"""The command line: every command as a user runs it, and its error messages."""

from __future__ import annotations

import contextlib
import inspect
import json
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import sample_players
from chosen_ids import IDS
from sample_games import LastStanding

import mail_envs
from demos.policies import best_policy
from mail_envs.__main__ import COMMANDS, main
from mail_envs.commands import bench
from mail_envs.commands.errors import CommandError, exit_status
from mail_envs.commands.peers import installed
from mail_envs.conformance import CHECKS, ConformanceError, NotApplicable, Subject
from mail_envs.settings_text import (
    merge_sets,
    parse_player_function,
    parse_settings,
)

UNEQUAL = str(Path(__file__).with_name("unequal_game.py"))


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


# -- play -----------------------------------------------------------------------------------------


@pytest.fixture
def pygame(monkeypatch):
    """pygame on a dummy display with an empty event queue."""
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    module = pytest.importorskip("pygame")
    module.display.quit()
    module.display.init()
    module.display.set_mode((10, 10))
    module.event.clear()
    yield module
    module.display.quit()


@pytest.fixture
def session(pygame):
    """A session of `stochastic_coop_nav` against random agents, and a function that presses keys."""
    from demos import load_policy
    from mail_envs.commands.play import Session
    from mail_envs.rendering import Canvas

    vector = mail_envs.make_vec("stochastic_coop_nav", max_rounds=12, autoreset=False)
    session = Session(vector, load_policy("random", vector), Canvas((120, 120)))

    def press(*names):
        for name in names:
            key = pygame.key.key_code(name)
            pygame.event.post(pygame.event.Event(pygame.KEYDOWN, key=key))

    session.post = press
    return session


def test_play_uses_the_keys_when_the_agent_participates(session, monkeypatch):
    played = []
    step = session.vector.step

    def spy(actions):
        played.append((session.vector.buffers.participation[0, 0] > 0, int(actions[0, 0])))
        return step(actions)

    monkeypatch.setattr(session.vector, "step", spy)
    session.post(*["right", "up", "a", "s", "space", "2"] * 2)
    assert session.play_episode(seed=3)
    moves = [action for acts, action in played if acts]
    assert len(played) == 12
    assert moves == [2, 4, 1, 3, 0, 2, 2, 4, 1, 3, 0, 2][: len(moves)] and moves


def test_play_waits_until_the_person_moves(session, monkeypatch):
    frames = []
    show = session.show

    def count(message):
        frames.append(message)
        if len(frames) == 200:
            session.post("escape")
        show(message)

    monkeypatch.setattr(session, "show", count)
    assert not session.play_episode(seed=3)
    assert frames.count("your move: agent_0") > 100
    assert session.vector.buffers.clock["rounds"][0] < 12


def test_tab_switches_to_the_next_agent_and_escape_quits(session):
    session.post("tab")
    session.show("")
    assert session.steered == 1
    session.post("tab", "tab", "escape")
    assert not session.play_episode(seed=0)
    assert session.left and session.steered == 0


def test_closing_the_window_ends_the_game(session, pygame):
    session.show("")
    pygame.event.post(pygame.event.Event(pygame.QUIT))
    assert not session.play_episode(seed=0)
    assert session.run(seed=0, episodes=3) == 0


def test_a_forbidden_move_is_refused(session):
    session.vector.reset(seed=0)
    mask = np.ones((1, 3, 5), np.int8)
    mask[0, 0, 2] = 0
    info = {
        "participation": np.ones((1, 3)), "alive": np.ones((1, 3), bool), "action_mask": mask
    }  # fmt: skip
    session.post("right", "left")
    assert session.choose(info) == 1


def test_digits_name_actions_in_games_without_keys_of_their_own(session):
    from mail_envs.commands.play import key_actions

    keys = key_actions(session.vector)
    assert keys["4"] == 4 and keys["up"] == keys["w"] == 4 and "5" not in keys


def test_play_records_demonstrations(pygame, tmp_path, monkeypatch, capsys):
    from demos import Demonstrations
    from mail_envs.commands import play

    held = {pygame.key.key_code("right")}
    monkeypatch.setattr("pygame.key.get_pressed", lambda: {k: k in held for k in _codes(pygame)})
    monkeypatch.setattr(play.Session, "wait_for_key", lambda self, message: None)
    folder = tmp_path / "set"
    arguments = ["stochastic_coop_nav", "--others", "random", "--speed", "0", "--max-rounds", "7"]
    more = ["--record", str(folder), "--seed", "4"]
    assert main(["play", *arguments, *more, "--episodes", "2"]) == 0
    assert main(["play", *arguments, *more, "--episodes", "1"]) == 0, "a set can be continued"
    demonstrations = Demonstrations.open(folder)
    assert len(demonstrations) == 3
    assert demonstrations[0].seed == demonstrations[2].seed == 4
    for episode in demonstrations:
        assert len(episode) == 7 and episode.truncated
        acts = episode.participation[:, 0] > 0
        assert (episode.actions[acts, 0] == 2).all() and not episode.actions[~acts, 0].any()
        _assert_simulates_again(episode)
    assert demonstrations.metadata["demonstrator"] == "person, others random"
    other = ["--others", "random", "--record", str(folder), "--episodes", "1"]
    assert main(["play", "coop_nav", *other]) == 2
    assert "another game" in capsys.readouterr().err
    assert main(["play", arguments[0], *other]) == 2, "a longer game"
    assert "with max_rounds 7 instead of 50" in capsys.readouterr().err


def _codes(pygame):
    from mail_envs.commands.play import FIVE_ACTIONS

    return [pygame.key.key_code(name) for name in (*FIVE_ACTIONS, *"0123456789")]


def _assert_simulates_again(episode):
    vector = mail_envs.make_vec("stochastic_coop_nav", max_rounds=7, autoreset=False)
    observations, _ = vector.reset(seed=episode.seed)
    for t, actions in enumerate(episode.actions):
        assert np.array_equal(observations[0], episode.observations[t])
        observations, rewards, *_ = vector.step(actions[None])
        assert np.array_equal(rewards[0], episode.rewards[t])
    assert np.array_equal(observations[0], episode.observations[-1])


# -- bench ----------------------------------------------------------------------------------------


def test_bench_measures_everything_it_prints(capsys, monkeypatch):
    monkeypatch.setattr("mail_envs.commands.bench.SIZES", (1, 16))
    monkeypatch.setattr("mail_envs.commands.bench.MANY", 256)
    assert main(["bench", "coop_nav", "--against", "none", "--seconds", "0.05", "--json"]) == 0
    results = json.loads(capsys.readouterr().out)["results"]["coop_nav"]
    whats = {"vector 1", "vector 16", "aec", "import", "start", "compile", "memory"}
    assert set(results) == whats
    assert results["memory"]["num_envs"] == 256
    assert results["vector 16"]["cpu"] > results["vector 1"]["cpu"] > 0
    assert 0 < results["import"] < results["start"]


def test_bench_prints_a_table_with_ratios(capsys, monkeypatch):
    pytest.importorskip("mpe2")
    monkeypatch.setattr("mail_envs.commands.bench.SIZES", (1,))
    monkeypatch.setattr("mail_envs.commands.bench.run_python", lambda *arguments: 0.5)
    assert main(["bench", "coop_nav", "--against", "mpe2", "--seconds", "0.05"]) == 0
    shown = capsys.readouterr().out
    assert "coop_nav / mpe2" in shown and "×" in shown and "AEC turns" in shown


def test_bench_plays_random_actions_that_are_allowed():
    vector = mail_envs.make_vec("gold_miner_easy_2_vs_2", 32, seed=0)
    step, mask = bench.masked_steps(vector), vector.buffers.action_mask
    seen = np.zeros(mask.shape[-1], int)
    for k in range(60):
        allowed = mask.copy()
        step(k)
        assert np.take_along_axis(allowed, vector.buffers.actions[..., None], -1).all()
        np.add.at(seen, vector.buffers.actions.ravel(), 1)
    assert (seen > 0).all() and vector.clock["illegal_actions"].sum() == 0


def test_bench_draws_uniformly_and_nothing_where_nothing_is_allowed():
    mask = np.array([[[0, 1, 0, 1, 1], [0, 0, 0, 0, 0]]], np.int8).repeat(3000, axis=0)
    actions = np.full(mask.shape[:2], -1, np.int32)
    bench.compiled_draw()(mask, 7, actions)
    assert not actions[:, 1].any()
    assert np.bincount(actions[:, 0], minlength=5) == pytest.approx(
        [0, 1000, 0, 1000, 1000], abs=99
    )


def test_bench_measures_the_memory_of_fewer_copies_of_large_games(monkeypatch):
    monkeypatch.setattr(bench, "run_python", lambda code, *arguments: float(arguments[1]))
    assert bench.memory("coop_nav") == {"bytes": 65_536.0, "num_envs": 65_536}
    monkeypatch.setattr(bench, "MEMORY_LIMIT", 2**20)
    assert bench.memory("coop_nav") == {"bytes": 4_096.0, "num_envs": 4_096}


@pytest.mark.parametrize(
    ("id", "names"),
    [
        ("smac_3m", ["jaxmarl smax_3m", "smaclite 3m"]),
        ("smac_mmm2", ["jaxmarl smax_MMM2_without_medivacs", "smaclite MMM2"]),
        ("smac_corridor", ["smaclite corridor"]),
        ("smac_2m_vs_1z", []),
        ("smacv2_terran_5_vs_5", []),
        ("mpe_simple_spread", ["mpe2 simple_spread", "jaxmarl simple_spread"]),
        ("stochastic_coop_nav", ["mpe2 simple_spread", "jaxmarl simple_spread"]),
        ("stochastic_predator_prey", []),
        ("coop_reaching", []),
    ],
)
def test_bench_compares_with_the_same_scenario(id, names):
    assert [r.name for r in bench.rivals((id,), ["mpe2", "jaxmarl", "smaclite"])[id]] == names


def test_a_peer_with_fewer_copies_is_compared_at_its_best():
    ours = {"vector 64": {"cpu": 100.0}, "aec": {"cpu": 7.0}}
    theirs = {"vector 1": {"cpu": 5.0}, "vector 8": {"cpu": 20.0}, "vector 64": None}
    assert bench.ratio(ours, theirs, "vector 64") == "5.00×"
    assert bench.ratio(ours, theirs, "aec") == "–"


def test_the_table_says_that_a_peer_has_fewer_copies(capsys, monkeypatch):
    monkeypatch.setattr(bench, "SIZES", (1, 64))
    pairs = {"coop_nav": [bench.Rival("mpe2", "simple_spread")]}
    rate = {"cpu": 100.0}
    results = {
        "coop_nav": {"vector 1": rate, "vector 64": rate},
        "mpe2 simple_spread": {"vector 1": rate},
    }
    bench.print_tables(results, pairs, start=False)
    assert "compared at its best rate" in capsys.readouterr().out
    results["mpe2 simple_spread"]["vector 64"] = rate
    bench.print_tables(results, pairs, start=False)
    assert "compared at its best rate" not in capsys.readouterr().out


@pytest.mark.parametrize("id", ["smac_3m", "smac_6h_vs_8z", "smac_mmm2"])
@pytest.mark.parametrize("peer", ["smaclite", "jaxmarl"])
def test_battles_of_peers_run(id, peer):
    pytest.importorskip(peer)
    (rival,) = bench.rivals((id,), [peer])[id]
    jobs = {what: measurement for _, what, measurement in bench.rival_jobs(rival, 0.01)}
    assert jobs["vector 1"]()["cpu"] > 0


def test_football_is_compared_with_gfootball_and_with_the_bare_engine():
    id = "football_pass_and_shoot_with_keeper"
    found = bench.rivals((id, "coop_nav"), ["mpe2", "envpool", "gfootball", "engine"])
    assert [rival.peer for rival in found[id]] == ["gfootball", "engine"]
    assert [rival.peer for rival in found["coop_nav"]] == ["mpe2"]
    assert bench.sizes_of(id) == (1,)
    for rival in found[id]:
        if rival.peer in installed():
            jobs = {what: measurement for _, what, measurement in bench.rival_jobs(rival, 0.01)}
            assert jobs["vector 1"]()["cpu"] > 0 and jobs["vector 64"]() is None


# -- check ----------------------------------------------------------------------------------------


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


def test_several_set_flags_add_up(capsys):
    words = ["info", "mpe_simple_tag", "--set", "preset=nope", "--set", "continuous_actions=True"]
    assert main(words) == 2
    assert "preset='nope'" in capsys.readouterr().err
    assert merge_sets(["--a", "1", "--set=b=1", "c=2", "--x", "--set", "d=3"]) == (
        ["--a", "1", "--set", "b=1", "c=2", "d=3", "--x"]
    )


def test_check_knows_games_of_boards_and_turns():
    for name in set(CHECKS) - {"PettingZoo render_test"}:
        with contextlib.suppress(NotApplicable):
            CHECKS[name](Subject("pettingzoo:classic/tictactoe"))
