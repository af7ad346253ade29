"""learners.evaluate: reproducible results, cross-play, normalized returns and user errors."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import mail_envs
from demos.policies import EXPERTS, load_policy
from learners import bc, ippo
from learners.evaluate import Args, evaluate, joint, others
from learners.lib import evaluation
from learners.lib.evaluation import make_copies, play
from learners.lib.files import read_json
from learners.lib.references import SHIPPED
from mail_envs.streams import stream_seed

ROOT = Path(__file__).resolve().parents[2]
GAME = "stochastic_coop_nav"
SMALL: dict[str, Any] = {
    "steps": 20, "num_demos": 5, "demos": "scripted", "hidden": (16,), "eval_episodes": 10, "batch": 64,
    "progress": False,
}  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "bc"
    bc.train(bc.Args(**SMALL, run_dir=str(folder)))
    return folder


@pytest.fixture
def run(trained, tmp_path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "run"))


def command(*words) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "learners.evaluate", *map(str, words)],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip


def test_a_run_folder_gets_its_evaluation(run):
    result = evaluate(Args(str(run), episodes=30))
    written = json.loads((run / "evaluation.json").read_text())
    assert written["return"] == result["return"]
    assert result["return"] == pytest.approx(np.mean(result["episode_returns"]), abs=1e-3)
    low, high = written["confidence_interval"]
    assert low < written["return"] < high
    assert written["episodes"] == 30 and written["seed"] == stream_seed(0, "evaluation")
    assert written["learner"] == "bc" and written["steps"] == 20
    assert set(written["metrics"]) == {"landmarks_covered"}
    known = written["references"]
    score = (written["return"] - known["random"]) / (known["expert"] - known["random"])
    assert written["normalized_return"] == pytest.approx(score)


def test_a_policy_file_of_the_game_as_it_is_has_its_references(tmp_path):
    file = str(EXPERTS / "deterministic_coop_nav.safetensors")
    found = evaluate(Args(file, episodes=3, json=True))
    named = evaluate(Args("expert", env="deterministic_coop_nav", episodes=3, json=True))
    assert found["references"] == named["references"] != {}
    assert found["normalized_return"] == named["normalized_return"] is not None
    shorter = evaluate(Args(file, episodes=3, json=True, set=("max_rounds=20",)))
    together = evaluate(Args(file, episodes=3, json=True, player_function="Synchronous"))
    assert shorter["references"] == together["references"] == {}


def test_kept_copies_of_a_run_are_evaluated_on_its_episodes(tmp_path):
    settings = {
        "steps": 400,
        "num_envs": 4,
        "rounds": 10,
        "hidden": (8,),
        "progress": False,
        "eval_episodes": 0,
    }
    folder = tmp_path / "run"
    ippo.train(ippo.Args(**settings, seed=3, env="coop_nav", policy_every=5, run_dir=str(folder)))
    found = [evaluate(Args(p, episodes=4, json=True)) for p in (str(folder), f"{folder}@400")]
    assert found[0]["seed"] == found[1]["seed"] == stream_seed(3, "evaluation")
    assert found[0]["episode_returns"] == found[1]["episode_returns"]


def test_evaluations_are_reproducible_and_do_not_depend_on_the_number_of_copies(run, monkeypatch):
    first = evaluate(Args(str(run), episodes=30, json=True))
    monkeypatch.setattr(evaluation, "MOST_COPIES", 7)
    again = evaluate(Args(str(run), episodes=30, json=True))
    assert again == first
    fewer = evaluate(Args(str(run), episodes=10, json=True))
    assert fewer["episode_returns"] == first["episode_returns"][:10]


def test_fewer_episodes_do_not_replace_more(run):
    evaluate(Args(str(run), episodes=12))
    evaluate(Args(str(run), episodes=4))
    assert json.loads((run / "evaluation.json").read_text())["episodes"] == 12
    evaluate(Args(str(run), episodes=4, greedy=True))
    greedy = json.loads((run / "evaluation_greedy.json").read_text())
    assert (greedy["episodes"], greedy["mode"]) == (4, "greedy")


def test_a_run_evaluates_its_most_likely_actions_if_asked(trained, tmp_path):
    assert not (trained / "evaluation_greedy.json").exists()
    folder = tmp_path / "greedy"
    bc.train(bc.Args(**SMALL, eval_greedy=True, run_dir=str(folder)))
    found = [read_json(folder / f"evaluation{x}.json") for x in ("", "_greedy")]
    assert found[0]["episode_returns"] == read_json(trained / "evaluation.json")["episode_returns"]
    again = evaluate(Args(str(folder), episodes=10, greedy=True, json=True))
    assert found[1]["episode_returns"] == again["episode_returns"] != found[0]["episode_returns"]
    assert [x["mode"] for x in found] == ["sample", "greedy"]
    assert found[1]["normalized_return"] == pytest.approx(again["normalized_return"])


def test_a_run_in_training_does_not_get_its_evaluation(run):
    """Reports would take it for the run's result, and a sweep would never continue the run."""
    config = yaml.safe_load((run / "config.yaml").read_text())
    del config["crc32"]
    (run / "config.yaml").write_text(yaml.safe_dump({**config, "steps": 50}))
    assert evaluate(Args(str(run), episodes=30))["file"].endswith(
        "evaluation.json"
    )  # stopped early
    (run / "evaluation.json").unlink()
    assert "20 of 50 steps, --resume" in evaluate(Args(str(run), episodes=5))["file"]
    assert not (run / "evaluation.json").exists()
    evaluate(Args(str(run), episodes=5, greedy=True))
    assert (run / "evaluation_greedy.json").exists()


def test_json_is_printed_and_no_file_is_written(run):
    before = (run / "evaluation.json").read_bytes()
    done = command(run, "--episodes", 20, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["episodes"] == 20
    assert (run / "evaluation.json").read_bytes() == before


def test_references_put_random_at_zero_and_the_expert_at_one():
    for policy, score in (("random", 0.0), ("expert", 1.0)):
        result = evaluate(Args(policy, env=GAME, episodes=20, references=True))
        assert result["normalized_return"] == pytest.approx(score)
    usual = evaluate(Args("random", env=GAME, episodes=2))
    known = read_json(SHIPPED)[GAME]
    score = (usual["return"] - known["random_return"]) / (
        known["expert_return"] - known["random_return"]
    )
    assert usual["normalized_return"] == pytest.approx(score)
    changed = Args("random", env=GAME, episodes=2, set=("penalty=none",))
    assert evaluate(changed)["normalized_return"] is None


def test_references_without_an_expert_are_an_error_before_anything_is_played(monkeypatch):
    monkeypatch.setattr("learners.evaluate.play", lambda *_: pytest.fail("it was played"))
    with pytest.raises(ValueError, match="no scripted demonstrator for 'mpe_simple_adversary'"):
        evaluate(Args("random", env="mpe_simple_adversary", episodes=2, references=True))


def test_in_cross_play_each_policy_controls_its_own_agents():
    vec = mail_envs.make_vec("stochastic_predator_prey", 3)
    theirs = others(vec, ())
    assert theirs.tolist() == [1, 2, 3]
    policy = joint(lambda o, i, r: np.full((3, 4), 1), lambda o, i, r: np.full((3, 4), 2), theirs)
    observations, info = vec.reset(seed=0)
    assert policy(observations, info, None).tolist() == [[1, 2, 2, 2]] * 3
    with pytest.raises(ValueError, match="role 'wolf' is unknown"):
        others(vec, ("wolf",))
    with pytest.raises(ValueError, match="two sides"):
        others(vec, ("prey", "adversary"))


def test_cross_play_of_a_policy_with_itself_equals_self_play():
    alone = evaluate(Args("scripted", env="stochastic_predator_prey", episodes=20))
    both = evaluate(
        Args("scripted", env="stochastic_predator_prey", against="scripted", episodes=20)
    )
    assert both["episode_returns"] == alone["episode_returns"]
    assert both["against_plays"] == ["adversary_0", "adversary_1", "adversary_2"]
    weak = evaluate(Args("scripted", env="stochastic_predator_prey", against="random", episodes=20))
    assert weak["return"] > both["return"]  # the prey's


def test_cross_play_is_written_into_the_run_folder(trained, tmp_path):
    folder = tmp_path / "run"
    bc.train(
        bc.Args(
            env="stochastic_predator_prey", steps=5, num_demos=2, demos="random", hidden=(8,),
            eval_episodes=0, run_dir=str(folder), progress=False, max_rounds=20,
        )
    )  # fmt: skip
    usual = Args("random", env="stochastic_predator_prey", against=str(folder), episodes=3)
    assert evaluate(usual)["length"] == 50 and not list(folder.glob("cross_play_*.json"))
    evaluate(Args(str(folder), against="random", episodes=3))
    result = evaluate(Args("random", against=str(folder), episodes=3))
    assert result["length"] == 20 and result["env"] == "stochastic_predator_prey"
    names = {p.name for p in folder.glob("cross_play_*.json")}
    assert names == {"cross_play_random.json", "cross_play_by_random.json"}
    evaluate(Args(str(folder), against="random", roles=("prey",), episodes=2))
    assert (folder / "cross_play_random_against_prey.json").exists()  # other sides, another file
    evaluate(
        Args(str(folder), against="random", roles=("adversary",), episodes=2)
    )  # the usual ones
    assert read_json(folder / "cross_play_random.json")["episodes"] == 3
    changed = Args(str(folder), against="random", episodes=9, player_function="Stochastic(0.3)")
    assert "file" not in evaluate(changed)  # trained on another game
    assert len(list(folder.glob("cross_play_*.json"))) == 3
    with pytest.raises(ValueError, match="another game than stochastic_predator_prey"):
        evaluate(Args(str(folder), against=str(trained), episodes=3))


def test_the_same_game_under_another_player_function(run):
    before = (run / "evaluation.json").read_bytes()
    assert evaluate(Args(str(run), env="deterministic_coop_nav", episodes=3))["return"] < 0
    assert (run / "evaluation.json").read_bytes() == before


def test_a_policy_file_determines_the_game(run, tmp_path):
    file = Path(shutil.copy(run / "policy.safetensors", tmp_path / "alone.safetensors"))
    result = evaluate(Args(str(file), episodes=10))
    assert result["env"] == GAME
    own = evaluate(Args(str(run), episodes=10, json=True))
    assert result["episode_returns"] == own["episode_returns"]


def test_the_seeds_determine_the_episodes():
    vec = make_copies(GAME, 4, {})
    played = play(vec, load_policy("random", vec), np.arange(6))
    assert played.returns.shape == (6, 3) and (played.lengths <= 50).all()


def test_user_errors_are_one_line(run, tmp_path):
    done = command(run, "--env", "coop_reaching")
    assert done.returncode == 2
    assert done.stderr.strip().count("\n") == 0
    assert "was trained on stochastic_coop_nav, which is another game" in done.stderr
    (tmp_path / "empty").mkdir()
    cases = [
        (Args("expert"), "--env is needed"),
        (Args("nowhere"), "neither expert, scripted, random nor"),
        (Args(str(tmp_path / "empty")), "not a run folder"),
        (Args("random", env="stochastic_nav"), "unknown id"),
        (
            Args("random", env=GAME, greedy=True),
            "--greedy needs a learned policy, which random is not",
        ),
        (Args(str(run), episodes=0), "at least 1"),
        (Args(str(run), roles=("agent",)), "--against"),
        (Args(str(run), against="random"), "two sides"),
        (Args(str(run), set=("num_agents",)), "NAME=VALUE"),
    ]
    for args, text in cases:
        with pytest.raises(ValueError, match=text):
            evaluate(args)
    (run / "policy.safetensors").unlink()
    with pytest.raises(ValueError, match="not reached a checkpoint"):
        evaluate(Args(str(run)))
    (run / "config.yaml").write_text("- 1")
    with pytest.raises(ValueError, match="damaged"):
        evaluate(Args(str(run)))
