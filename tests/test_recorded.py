"""What files say is data: nothing that they name is imported, and what they leave to the user is asked for."""

from __future__ import annotations

import os

import numpy as np
import pytest
import sample_players

import mail_envs
from mail_envs.plain_files import open_regular, read_regular
from mail_envs.recorded import Named, game_of, run_game_of
from mail_envs.settings_text import parse_player_function

SOURCE = "set/manifest.json"
NAV = {"id": "coop_nav", "agents": ["agent_0", "agent_1", "agent_2"]}


ATTACKS = [
    {"id": "trap.py"},
    {"id": "./trap.py"},
    {"id": "trap:parallel_env"},
    {"id": "trap"},
    {"id": "pettingzoo:trap/env"},
    {"id": "pettingzoo:trap/env-v0"},
    {"id": "pettingzoo:trap"},
    {"id": "pettingzoo:mail/coop_nav-v0"},
    {"id": "pettingzoo:" + "a" * 10_000},
    {"id": "pettingzoo:sisl/pursuit-v5", "arguments": {"env": "trap/env-v0"}},
    {"id": "pettingzoo:sisl/pursuit-v5", "arguments": {"env_args": {"make": "trap:env"}}},
    {"player_function": {"type": "HistoryDependent", "function": "trap:act"}},
    {"player_function": {"type": "StateDependent", "function": "trap.py:act"}},
    {"player_function": {"type": "ActionSets", "function": "trap:act", "sets": [[0]]}},
    {"player_function": {"type": "trap:PLAYER"}},
    {"player_function": {"type": "trap.py:PLAYER", "k": 3}},
    {"player_function": {"type": "Stochastic", "probability": "trap:PLAYER"}},
    {"arguments": {"penalty": "trap.py"}},
    {"arguments": {"penalty": ["trap:PLAYER"]}},
    {"arguments": {"backend": "trap:PLAYER"}},
]


@pytest.mark.parametrize("said", ATTACKS, ids=lambda v: str(v)[:60])
def test_nothing_that_a_file_names_is_imported(said, trap):
    with pytest.raises(ValueError, match=r"set/manifest\.json|coop_nav has no backend"):
        game_of({**NAV, **said}, SOURCE)


@pytest.mark.parametrize(
    "said",
    [
        {"env": "trap.py"},
        {"env": "pettingzoo:trap/env"},
        {"player_function": "trap.py:PLAYER"},
        {"player_function": "trap:PLAYER"},
        {"player_function": "HistoryDependent('trap:act')"},
        {"player_function": '{"type": "HistoryDependent", "function": "trap:act"}'},
        {"set": ["backend=trap:PLAYER"]},
        {"set": ["penalty=trap.py"]},
    ],
    ids=str,
)
def test_nothing_that_a_run_folder_names_is_imported(said, trap):
    with pytest.raises(ValueError, match=r"config\.yaml|coop_nav has no backend"):
        run_game_of({"env": "coop_nav", **said}, "run/config.yaml")


WRONG_TYPES = [
    ({"id": 5}, "id cannot be 5"),
    ({"id": None}, "id cannot be None"),
    ({"id": ["coop_nav"]}, "id cannot be"),
    ({"arguments": [1]}, r"arguments cannot be \[1\]"),
    ({"arguments": "num_agents=3"}, "arguments cannot be 'num_agents=3'"),
    ({"arguments": {"num_agents": 2**70}}, "a number of 71 bits; if that is intended, use --set"),
    ({"arguments": {"num_agents": -(10**9)}}, "a number of 30 bits"),
    ({"arguments": {"num_agents": "3"}}, "'num_agents' cannot be '3', it is int"),
    ({"arguments": {"num_agents": 2.5}}, "'num_agents' cannot be 2.5, it is int"),
    ({"arguments": {"num_agents": True}}, "'num_agents' cannot be True, it is int"),
    ({"arguments": {"num_agents": None}}, "'num_agents' cannot be None, it is int"),
    ({"arguments": {"terminate_on_success": 1}}, "'terminate_on_success' cannot be 1, it is bool"),
    ({"arguments": {"penalty": float("nan")}}, "cannot be nan"),
    ({"arguments": {"penalty": {"a": [[[[[[[[[]]]]]]]]]}}}, "nested more than 8 deep"),
    ({"arguments": {"penalty": {1: 2}}}, "a dictionary with the key 1"),
    ({"arguments": {"wings": 2}}, "coop_nav has no argument 'wings'"),
    ({"arguments": {"num_envs": 2}}, "coop_nav has no argument 'num_envs'"),
    ({"arguments": {"device": "cuda"}}, "coop_nav has no argument 'device'"),
    ({"arguments": {"max_rounds": 2}}, "coop_nav has no argument 'max_rounds'"),
    ({"arguments": {"backend": 3}}, "'backend' cannot be 3"),
    ({"player_function": "Synchronous()"}, "player function cannot be 'Synchronous"),
    ({"player_function": {}}, "player function cannot be {}"),
    ({"player_function": {"type": 3}}, "player function cannot be"),
    ({"player_function": {"type": "Stochastic", "probability": "0.5"}}, "damaged"),
    ({"player_function": {"type": "Stochastic", "probability": 7}}, "damaged"),
    ({"player_function": {"type": "Stochastic", "chance": 0.5}}, "damaged"),
    ({"player_function": {"type": "TurnOrder", "groups": [[1.7]]}}, "damaged"),
    ({"player_function": {"type": "TurnOrder", "groups": [["0"]]}}, "damaged"),
    ({"max_rounds": 0}, "max_rounds cannot be 0"),
    ({"max_rounds": True}, "max_rounds cannot be True"),
    ({"max_rounds": "50"}, "max_rounds cannot be '50'"),
    ({"max_rounds": 2**31}, "max_rounds cannot be"),
    ({"null_action": "skip"}, "null_action cannot be 'skip'"),
    ({"null_action": ["null"]}, "null_action cannot be"),
    ({"fixed_horizon": 1}, "fixed_horizon cannot be 1"),
]


@pytest.mark.parametrize(("said", "error"), WRONG_TYPES, ids=str)
def test_entries_of_wrong_types_are_named_with_the_file(said, error):
    with pytest.raises(ValueError, match=f"{SOURCE}: .*{error}"):
        game_of({**NAV, **said}, SOURCE)


@pytest.mark.parametrize(
    ("said", "error"),
    [
        ({"env": 5}, "id cannot be 5"),
        ({"set": "num_agents=3"}, "set must be a list of NAME=VALUE"),
        ({"set": [3]}, "set must be a list of NAME=VALUE"),
        ({"set": ["num_agents"]}, "write NAME=VALUE"),
        ({"set": ["num_agents=" + "[" * 100_000]}, "'num_agents' cannot be"),
        ({"player_function": 5}, "player_function must be a string"),
        ({"player_function": "Stochastic("}, "write a call"),
        ({"player_function": "(" * 100_000}, "write a call"),
        ({"player_function": '{"type": ' * 100_000}, "write a call"),
        ({"fixed_horizon": "yes"}, "fixed_horizon cannot be 'yes'"),
    ],
    ids=lambda v: str(v)[:50],
)
def test_settings_of_wrong_types_are_named_with_the_run(said, error):
    with pytest.raises(ValueError, match=f"config.yaml: .*{error}"):
        run_game_of({"env": "coop_nav", **said}, "run/config.yaml")


def test_what_a_recording_says_makes_the_same_game_again():
    given = {"num_agents": 2, "penalty": "hard"}
    player = mail_envs.TurnOrder([[0, 1], [1]])
    vec = mail_envs.make_vec("coop_nav", player_function=player, max_rounds=7, **given)
    from demos import describe

    id, keywords = game_of(describe(vec), SOURCE)
    assert (id, keywords) == (
        "coop_nav",
        {**given, "player_function": player, "max_rounds": 7, "null_action": "null",
         "fixed_horizon": False},
    )  # fmt: skip
    assert game_of({"id": "coop_nav"}, SOURCE) == ("coop_nav", {})
    assert run_game_of(
        {"env": "coop_nav", "set": ["num_agents=2", "penalty=hard"], "max_rounds": 7,
         "player_function": "TurnOrder([[0, 1], [1]])", "fixed_horizon": True}, SOURCE,
    ) == ("coop_nav", {**given, "player_function": player, "max_rounds": 7, "fixed_horizon": True})  # fmt: skip


def test_the_command_line_overrides_the_time_limit_of_a_file():
    named = Named.typed(None, None, ("max_rounds=9",))
    for read, said in ((game_of, NAV), (run_game_of, {"env": "coop_nav"})):
        _, keywords = read({**said, "max_rounds": 7}, SOURCE, named)
        assert keywords["max_rounds"] == 9


def test_environments_of_pettingzoo_itself_need_no_naming():
    for id in ("pettingzoo:sisl/pursuit-v5", "pettingzoo:classic/chess"):
        assert game_of({"id": id}, SOURCE) == (id, {})


def test_a_module_for_pettingzoo_is_named_again():
    id = "pettingzoo:mpe2/simple_spread_v3"
    with pytest.raises(ValueError, match=f"add --env {id}"):
        game_of({"id": id, "arguments": {"env_args": {"N": 2}}}, SOURCE)
    named = Named.typed(env=id)
    assert game_of({"id": id, "arguments": {"env_args": {"N": 2}}}, SOURCE, named) == (
        id,
        {"env_args": {"N": 2}},
    )


OWN_GAME = """
import mail_envs
from mail_envs.games.particle.coop_nav import CoopNav, reset_env, step_env, observe_env
import sample_players

class {name}(CoopNav):
    pass

mail_envs.register("{id}", {name}, player_function=sample_players.SELDOM)
"""


def test_a_game_of_the_users_own_is_named_again(tmp_path):
    path = tmp_path / "own_game_recorded.py"
    path.write_text(OWN_GAME.format(name="Recorded", id="own_game_recorded"))
    said = {**NAV, "id": "own_game_recorded", "player_function": sample_players.SELDOM.to_config()}
    with pytest.raises(
        ValueError, match=r"add --env with its file, such as --env own_game_recorded\.py"
    ):
        game_of(said, SOURCE)
    with pytest.raises(ValueError, match="'own_game_recorded', but --env names 'coop_nav'"):
        game_of(said, SOURCE, Named.typed(env="coop_nav"))
    id, keywords = game_of(said, SOURCE, Named.typed(env=str(path)))
    assert id == "own_game_recorded"
    assert (
        keywords["player_function"] == sample_players.SELDOM
    )  # the game's own: named with the game


def test_a_player_function_of_the_users_own_is_named_again():
    seldom, other = "sample_players:SELDOM", "Stochastic(0.3)"
    said = {**NAV, "player_function": sample_players.SELDOM.to_config()}
    with pytest.raises(ValueError, match=r"add --player-function sample_players\.py:NAME"):
        game_of(said, SOURCE)
    assert game_of(said, SOURCE, Named.typed(player_function=seldom))[1] == {
        "player_function": sample_players.SELDOM
    }
    with pytest.raises(ValueError, match=r"HistoryDependent.* but --player-function Stochastic"):
        game_of(said, SOURCE, Named.typed(player_function=other))
    run = {"env": "coop_nav", "player_function": seldom}
    with pytest.raises(ValueError, match=f"add --player-function {seldom}"):
        run_game_of(run, SOURCE)
    assert run_game_of(run, SOURCE, Named.typed(player_function=seldom))[1] == {
        "player_function": sample_players.SELDOM
    }


def test_texts_that_name_code_are_given_by_set():
    said = {"id": "coop_nav", "arguments": {"penalty": "mine:hard"}}
    with pytest.raises(ValueError, match="use --set"):
        game_of(said, SOURCE)
    assert game_of(said, SOURCE, Named.typed(settings=["penalty=hard"]))[1] == {"penalty": "hard"}


OWN_PLAYER = """
import numpy as np
from mail_envs.player_functions import PlayerFunction

class Every(PlayerFunction):
    def __init__(self, k):
        self.k = k

    def table(self, num_agents):
        rounds = np.arange(self.k)[:, None]
        return (rounds == np.arange(num_agents) % self.k).astype(np.float32), 0

class Forgetful(Every):
    def __init__(self, rounds):
        super().__init__(rounds)

THIRD, SECOND, FORGETFUL, UNWRITABLE = Every(3), Every(2), Forgetful(3), Every({1, 2})
"""


def test_a_class_of_the_users_own_is_noted_by_name_and_arguments(tmp_path):
    path = tmp_path / "own_player_class.py"
    path.write_text(OWN_PLAYER)
    third = parse_player_function(f"{path}:THIRD")
    assert third.to_config() == {"type": "own_player_class:Every", "k": 3}
    assert repr(third) == "Every(k=3)"
    vec = mail_envs.make_vec("coop_nav", player_function=third, seed=0)
    act = np.ones((1, 3), np.int32)
    seen = [vec.step(act)[-1]["participation"][0].tolist() for _ in range(4)]
    assert seen == [[0, 1, 0], [0, 0, 1], [1, 0, 0], [0, 1, 0]]
    said = {**NAV, "player_function": third.to_config()}
    with pytest.raises(ValueError, match=r"add --player-function own_player_class\.py:NAME"):
        game_of(said, SOURCE)
    assert game_of(said, SOURCE, Named.typed(player_function=f"{path}:THIRD"))[1] == {
        "player_function": third
    }
    with pytest.raises(ValueError, match=r"Every\(k=3\), but --player-function .*Every\(k=2\)"):
        game_of(said, SOURCE, Named.typed(player_function=f"{path}:SECOND"))
    with pytest.raises(TypeError, match=r"must store its argument as self\.rounds"):
        parse_player_function(f"{path}:FORGETFUL").to_config()
    with pytest.raises(TypeError, match=r"k=\{1, 2\} cannot be saved as JSON"):
        parse_player_function(f"{path}:UNWRITABLE").to_config()


def test_only_regular_files_are_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").write_bytes(b"text")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(OSError, match="pipe: expected a regular file, found a named pipe"):
        open_regular(tmp_path / "pipe")
    with pytest.raises(OSError, match="expected a regular file, found a folder"):
        open_regular(tmp_path)
    with pytest.raises(OSError, match="found a device"):
        open_regular(os.devnull)
    with pytest.raises(OSError, match="loop"):
        open_regular(tmp_path / "loop")
    with pytest.raises(FileNotFoundError):
        open_regular(tmp_path / "absent")
    assert read_regular(tmp_path / "file") == read_regular(tmp_path / "link") == b"text"
