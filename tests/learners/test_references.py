"""References of normalized returns: one pair per game, independent of a run's demonstrations."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from demos.experts import SCRIPTED
from demos.record import record
from learners import bc, evaluate
from learners import references as command
from learners.lib import references
from learners.lib.files import read_json, write_json
from learners.lib.results import gather, references_of
from learners.lib.sources import known_references
from mail_envs.streams import stream_seed

GAME = "stochastic_coop_nav"
PAIRS = [(-50.0, -20.0), (-70.0, 5.0)]  # in the metadata of two sets of demonstrations


def cloned(folder: Path, pair: tuple, **settings) -> dict:
    """A finished run on demonstrations with this random and expert return in their metadata."""
    arguments = {"max_rounds": settings["max_rounds"]} if "max_rounds" in settings else {}
    random, expert = pair
    record(
        GAME,
        "random",
        2,
        0,
        folder / "set",
        random_return=random,
        expert_return=expert,
        **arguments,
    )
    return bc.train(
        bc.Args(
            demos=str(folder / "set"),
            num_demos=2,
            hidden=(8,),
            steps=2,
            eval_episodes=2,
            progress=False,
            run_dir=str(folder / "run"),
            **settings,
        )
    )


def test_runs_of_one_task_have_the_same_references(tmp_path):
    results = [cloned(tmp_path / str(k), pair) for k, pair in enumerate(PAIRS)]
    expected = references.shipped(GAME)
    assert [r["references"] for r in results] == [expected, expected]
    for k, result in enumerate(results):
        run = tmp_path / str(k) / "run"
        again = evaluate.evaluate(evaluate.Args(str(run), episodes=2, json=True))
        assert again["references"] == expected == known_references(run)
        low, high = expected["random"], expected["expert"]
        assert result["normalized_return"] == pytest.approx((result["return"] - low) / (high - low))


def test_reports_do_not_use_the_references_in_older_evaluations(tmp_path):
    cloned(tmp_path, PAIRS[0])
    path = tmp_path / "run" / "evaluation.json"
    write_json(path, {**read_json(path), "references": {"random": 1.0, "expert": 2.0}})
    (found,) = references_of(gather([tmp_path])[0]).values()
    assert found == references.shipped(GAME)


def test_another_game_has_the_references_of_its_demonstrations(tmp_path):
    result = cloned(tmp_path, PAIRS[0], max_rounds=20)
    assert result["references"] == {"random": -50.0, "expert": -20.0}
    assert known_references(tmp_path / "run") == result["references"]
    (found,) = references_of(gather([tmp_path])[0]).values()
    assert found == result["references"]


@pytest.mark.parametrize("change", [{"max_rounds": 20}, {"set": ("penalty=hard",)}])
def test_demonstrations_of_another_game_give_no_references(change, tmp_path):
    """They fit (horizon and rewards may differ), but returns over 50 rounds do not normalize those over 20."""
    record(GAME, "random", 2, 0, tmp_path / "set", random_return=-50.0, expert_return=-20.0)
    result = bc.train(
        bc.Args(
            demos=str(tmp_path / "set"), num_demos=2, hidden=(8,), steps=2, eval_episodes=2, progress=False,
            run_dir=str(tmp_path / "run"), **change,
        )
    )  # fmt: skip
    assert result["references"] == {} and result["normalized_return"] is None
    assert known_references(tmp_path / "run") == {}


@pytest.mark.parametrize(
    "change", [{"set": ("num_agents=5",)}, {"player_function": "Stochastic(0.3)"}, {"max_rounds": 9},
               {"fixed_horizon": True}]
)  # fmt: skip
def test_settings_that_change_the_game_change_its_references(change):
    default = {"env": GAME, "set": (), "player_function": None, "max_rounds": None}
    assert references.of_settings(default) == references.shipped(GAME) != {}
    assert references.of_settings(default | change) == {}
    assert references.of_settings({"env": "my_game"}) == {}


def test_evaluations_of_the_expert_use_the_measured_references():
    result = evaluate.evaluate(evaluate.Args("expert", env=GAME, episodes=2, json=True))
    assert result["references"] == references.shipped(GAME)
    changed = evaluate.Args(
        "expert", env=GAME, episodes=2, json=True, player_function="Stochastic(0.3)"
    )
    assert evaluate.evaluate(changed)["references"] == {}


def test_the_shipped_references_are_complete():
    shipped, games = read_json(references.SHIPPED), command.games_with_experts()
    assert set(SCRIPTED) <= set(games) and len(set(games)) == len(games)
    assert {
        path.name.partition(".")[0] for path in references.EXPERTS.glob("*.safetensors")
    } <= set(shipped)
    for id, figures in shipped.items():
        assert id in games and figures["episodes"] >= 1000 and figures["seed"] == 0, id
        assert figures["expert_return"] > figures["random_return"], id
        trained = (references.EXPERTS / f"{id}.safetensors").is_file()
        assert figures["expert"] == ("expert" if trained else "scripted"), id


def test_an_expert_that_is_no_better_than_random_play_is_not_a_reference(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(command, "SHIPPED", tmp_path / "references.json")
    monkeypatch.setattr(command, "best_expert", lambda id: "random")
    monkeypatch.setattr(command, "games_with_experts", lambda: [GAME])
    assert command.main(command.Args((GAME,), episodes=3)) != 0
    assert "stochastic_coop_nav: the random policy returns" in capsys.readouterr().err
    assert command.main(command.Args(episodes=3)) == 0
    assert "left out: stochastic_coop_nav: the random policy" in capsys.readouterr().out
    assert not (tmp_path / "references.json").exists()


def test_the_command_measures_games_one_by_one_and_keeps_the_others(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(command, "SHIPPED", tmp_path / "references.json")
    write_json(tmp_path / "references.json", {"other": {"random_return": 1.0}})
    assert command.main(command.Args((GAME,), episodes=3)) == 0
    written = read_json(tmp_path / "references.json")
    assert written["other"] == {"random_return": 1.0} and GAME in capsys.readouterr().out
    vec = evaluate.make_copies(GAME, 3, {})
    for name, policy in (("random", "random"), ("expert", "expert")):
        seeds = stream_seed(0, "references") + np.arange(3)
        found = evaluate.evaluation.evaluate(vec, evaluate.load_policy(policy, vec), seeds)
        assert written[GAME][f"{name}_return"] == pytest.approx(found["return"], abs=1e-4)


def test_fewer_episodes_do_not_replace_a_measurement_unless_forced(tmp_path, monkeypatch, capsys):
    path = tmp_path / "references.json"
    monkeypatch.setattr(command, "SHIPPED", path)
    stored = {GAME: {"episodes": 5, "random_return": -7.0, "expert_return": 7.0}}
    write_json(path, stored)
    assert command.main(command.Args((GAME,), episodes=4)) != 0
    text = capsys.readouterr().err
    for part in (f"{GAME}: 4 episodes", "measurement over 5", "--force"):
        assert part in text
    assert read_json(path) == stored
    assert command.main(command.Args((GAME,), episodes=4, force=True)) == 0
    assert read_json(path)[GAME]["episodes"] == 4
    assert command.main(command.Args((GAME,), episodes=4)) == 0  # as many are no loss
