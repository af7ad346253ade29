"""The table of ids: what is in it, and what it says to mistakes."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys

import pettingzoo
import pytest
from chosen_ids import IDS
from sample_games import LastStanding

import mail_envs
from mail_envs import registry as registry_module


def test_the_papers_four_games_and_their_synchronous_forms_are_registered():
    assert {
        "coop_nav", "deterministic_coop_nav", "stochastic_coop_nav", "coop_reaching",
        "deterministic_coop_reaching", "predator_prey", "stochastic_predator_prey",
    } <= set(IDS)  # fmt: skip


@pytest.mark.parametrize("id", IDS)
def test_every_spec_is_complete(id):
    spec = mail_envs.spec(id)
    assert spec.id == id and spec.family and spec.summary
    assert spec.load().__doc__ and sys.modules[spec.load().__module__].__doc__
    game, player = mail_envs.make_game(id)
    assert game.agents and game.max_rounds >= 1 and "convention" in game.metadata
    assert player == mail_envs.make_vec(id).player_function


@pytest.mark.parametrize(
    ("id", "player"),
    [
        ("coop_nav", mail_envs.Synchronous()),
        ("stochastic_coop_nav", mail_envs.Stochastic(0.5)),
        ("deterministic_coop_nav", mail_envs.TurnOrder([[0, 1, 2], [0, 1], [0]])),
        ("deterministic_coop_reaching", mail_envs.TurnOrder([[0, 1, 2], [0, 1], [0]])),
        ("stochastic_predator_prey", mail_envs.Stochastic([1.0, 0.5, 0.5, 0.5])),
    ],
)
def test_ids_have_the_papers_player_functions(id, player):
    assert mail_envs.make_vec(id).player_function == player


def test_the_default_player_function_fits_any_number_of_agents():
    vector = mail_envs.make_vec("deterministic_coop_nav", num_agents=4)
    assert vector.player_function.groups == [[0, 1, 2, 3], [0, 1, 2], [0, 1], [0]]
    prey = mail_envs.make_vec("stochastic_predator_prey", num_adversaries=2)
    assert prey.player_function == mail_envs.Stochastic([1.0, 0.5, 0.5])


@pytest.mark.parametrize("wrong", ["stochastic_coop_naw", "StochasticCoopNav", "stochastic_nav"])
def test_an_unknown_id_names_the_nearest(wrong):
    for call in (mail_envs.spec, mail_envs.make, mail_envs.make_vec, mail_envs.make_game):
        with pytest.raises(ValueError, match=rf"{wrong}.*stochastic_coop_nav"):
            call(wrong)


def test_an_id_without_similar_ones_points_to_the_list():
    with pytest.raises(ValueError, match=r"qqqq.*mail_envs\.specs\(\)"):
        mail_envs.make("qqqq")


@pytest.mark.parametrize(
    ("wrong", "nearest"),
    [("num_agent", "num_agents"), ("penalti", "penalty"), ("continuous", "continuous_actions")],
)
def test_an_unknown_argument_names_the_nearest(wrong, nearest):
    for call in (mail_envs.make, mail_envs.make_vec):
        with pytest.raises(TypeError, match=f"coop_nav has no argument '{wrong}'.*'{nearest}'"):
            call("coop_nav", **{wrong: 1})


def test_a_game_may_take_arguments_of_any_name():
    class Open(LastStanding):
        def __init__(self, max_rounds: int = 5, **options):
            super().__init__(max_rounds=max_rounds)
            self.options = options

    mail_envs.register("open_game", Open)
    game, _ = mail_envs.make_game("open_game", max_rounds=3, colour="red")
    assert game.options == {"colour": "red"}


def test_a_misspelt_argument_of_make_itself_is_named_too():
    with pytest.raises(TypeError, match="player_function"):
        mail_envs.make("coop_nav", player_functoin=mail_envs.Synchronous())


def test_an_argument_without_similar_ones_lists_the_arguments():
    with pytest.raises(TypeError, match=r"num_agents.*null_dynamics"):
        mail_envs.make("coop_nav", qqqq=1)


@pytest.mark.parametrize(
    ("keywords", "error"),
    [
        ({"api": "gym"}, "'aec', 'parallel'"),
        ({"null_action": "skip"}, "'null', 'as_action'"),
        ({"action_mask": "nowhere"}, "'info', 'observation'"),
        ({"render_mode": "ascii"}, "'human', 'rgb_array'"),
        ({"max_rounds": 0}, "max_rounds=0"),
        ({"penalty": "severe"}, "'none', 'soft', 'hard'"),
        ({"integration": "euler"}, "'velocity_first', 'position_first'"),
        ({"null_dynamics": "stop"}, "'coast', 'brake', 'hold'"),
        ({"observation": "pixels"}, "'relative', 'absolute'"),
    ],
)
def test_a_value_that_is_no_choice_names_the_choices(keywords, error):
    with pytest.raises(ValueError, match=error):
        mail_envs.make("coop_nav", **keywords)


@pytest.mark.parametrize(
    ("id", "keywords"),
    [
        ("coop_nav", {"num_agents": 0}),
        ("coop_nav", {"num_agents": -1}),
        ("coop_nav", {"num_landmarks": 0}),
    ],
)
def test_a_game_without_bodies_names_the_argument(id, keywords):
    with pytest.raises(ValueError, match=next(iter(keywords))):
        mail_envs.make(id, **keywords)


def test_something_else_than_a_player_function_is_named():
    with pytest.raises(TypeError, match=r"player_function=0\.5"):
        mail_envs.make("coop_nav", player_function=0.5)
    with pytest.raises(TypeError, match="Stochastic"):
        mail_envs.make("coop_nav", player_function=mail_envs.Stochastic)


def test_continuous_actions_have_no_null_action_and_no_mask():
    with pytest.raises(ValueError, match=r"as_action.*continuous"):
        mail_envs.make("coop_nav", continuous_actions=True, null_action="as_action")
    with pytest.raises(ValueError, match=r"action_mask.*continuous"):
        mail_envs.make("coop_nav", continuous_actions=True, action_mask="observation")


def test_a_registered_game_is_made_by_its_id():
    mail_envs.register(
        "last_standing",
        "sample_games:LastStanding",
        player_function=lambda n: mail_envs.TurnOrder([[i] for i in range(n)]),
        arguments={"num_agents": 4},
        summary="a test",
    )
    vector = mail_envs.make_vec("last_standing", 2)
    assert vector.id == "last_standing" and vector.num_agents == 4
    assert vector.player_function == mail_envs.TurnOrder([[0], [1], [2], [3]])
    assert mail_envs.spec("last_standing").family == "user"
    assert pettingzoo.make("aec", "mail/last_standing-v0").possible_agents == vector.agents


def test_an_id_is_registered_once():
    mail_envs.register("last_standing", LastStanding)
    with pytest.raises(ValueError, match="'last_standing' is already registered"):
        mail_envs.register("last_standing", LastStanding)
    assert mail_envs.make("last_standing").vector.player_function == mail_envs.Synchronous()


def test_specs_is_a_copy():
    mail_envs.specs().clear()
    assert set(mail_envs.specs()) >= set(IDS)


def test_import_is_light():
    code = (
        "import sys, mail_envs; mail_envs.specs();"
        "print([m for m in ('numba', 'torch', 'pygame', 'minari', 'mpe2') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_unknown_names_in_the_package_raise_attribute_error():
    with pytest.raises(AttributeError, match="Stochastik"):
        mail_envs.Stochastik  # noqa: B018


def test_a_file_that_names_a_users_game_is_not_imported(tmp_path, monkeypatch):
    ran = tmp_path / "ran"
    (tmp_path / "planted_game.py").write_text(f"open({str(ran)!r}, 'w').close()\nraise SystemExit")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    names = (
        "planted_game.py",
        "planted_game:Game",
        "planted_game.py:id",
        "pettingzoo:planted_game/x-v0",
    )
    for name in names:
        with pytest.raises(ValueError, match=re.escape(f"unknown id {name!r}")):
            registry_module.registered(name)
    assert not ran.exists() and "planted_game" not in sys.modules
    with pytest.raises(SystemExit):  # a user who names it means it
        mail_envs.spec("planted_game.py")
    assert ran.exists()


def test_the_registry_returns_an_id_for_every_caller():
    assert registry_module.registered("coop_nav") is mail_envs.spec("coop_nav")
    with pytest.raises(ValueError, match=r"unknown id 'coop_naw'.*'coop_nav'"):
        registry_module.registered("coop_naw")
    with pytest.raises(TypeError, match="id=5 is not a string"):
        registry_module.registered(5)


def test_the_table_stands_below_what_makes_environments():
    source = inspect.getsource(registry_module)
    imports = [
        node
        for node in ast.walk(ast.parse(source))
        if isinstance(node, (ast.Import, ast.ImportFrom))
    ]
    names = {getattr(node, "module", None) or node.names[0].name for node in imports}
    assert not any(name.startswith("mail_envs") for name in names)


@pytest.mark.parametrize("backend", [None, "native", "own"])
def test_the_native_backend_may_be_named_also_as_old_recordings_do(backend):
    kind = mail_envs.spec("mpe_simple").load()
    assert mail_envs.spec("mpe_simple").load(backend) is kind
    vector = mail_envs.make_vec("mpe_simple", backend=backend)
    assert type(vector.game) is kind


def test_an_unknown_backend_names_those_that_there_are():
    with pytest.raises(
        ValueError, match="mpe_simple has no backend='mpe3'; it has 'native', 'mpe2'"
    ):
        mail_envs.make("mpe_simple", backend="mpe3")
    with pytest.raises(ValueError, match="coop_nav has no backend='mpe2'; it has 'native'"):
        mail_envs.make("coop_nav", backend="mpe2")
