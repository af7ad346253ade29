"""User-defined policies: a function `make(vec)` in a file, accepted wherever a policy is."""

from __future__ import annotations

import json
from itertools import count
from pathlib import Path

import numpy as np
import pytest

import mail_envs
from demos import load_policy, replay
from demos.policies import __doc__ as policies_page
from demos.record import Args, main, record
from demos.rollouts import rollouts
from learners import evaluate
from mail_envs.__main__ import main as mail_envs_command

OWN = """
import numpy as np

def make(vec):
    assert vec.id == "stochastic_coop_nav"
    def policy(observations, info, rng):
        return rng.integers(0, 5, observations.shape[:2])
    return policy

def still(vec):
    return lambda observations, info, rng: np.zeros(observations.shape[:2], np.int64)

WRONG = {wrong}
def nothing(vec): return None
def halves(vec): return lambda observations, info, rng: np.full(observations.shape[:2], 1.7)
def narrow(vec): return lambda observations, info, rng: np.zeros((len(observations), 2), int)
def forbidden(vec): return lambda observations, info, rng: np.ones(observations.shape[:2], int)
def beyond(vec): return lambda observations, info, rng: np.full(observations.shape[:2], 2**32 + 1)
"""


NUMBERS = count()


@pytest.fixture
def own(tmp_path, monkeypatch) -> str:
    """The name of a file with policies, alone in the current folder; a module is imported once, so a new one."""
    monkeypatch.chdir(tmp_path)
    file = f"own_policies_{next(NUMBERS)}.py"
    (tmp_path / file).write_text(OWN.format(wrong=7))
    return file


def test_an_own_policy_records_and_renders(own, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    for envs in (1, 4):
        words = Args(
            "stochastic_coop_nav", tmp_path / f"set{envs}", f"{own}:make", episodes=4, num_envs=envs
        )
        assert main(words) == 0
    sets = [replay.Demonstrations.open(tmp_path / f"set{envs}") for envs in (1, 4)]
    assert sets[0].metadata["demonstrator"] == f"{own}:make"
    for one, many in zip(*sets, strict=True):  # the draws belong to the episodes
        assert np.array_equal(one.actions, many.actions)
    assert len({e.actions.tobytes() for e in sets[0]}) == 4
    words = ["render", "stochastic_coop_nav", "--policy", f"{own}:make", "--out", "x.png"]
    assert mail_envs_command(words) == 0 and (tmp_path / "x.png").exists()


def test_an_own_policy_is_evaluated(own, capsys):
    args = {"env": "stochastic_coop_nav", "episodes": 5, "json": True}
    assert evaluate.main(evaluate.Args(f"{own}:still", **args)) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["episodes"] == 5 and result["policy"]["name"] == f"{own}:still"
    vec = mail_envs.make_vec("stochastic_coop_nav", 5)
    played = rollouts(vec, load_policy(f"{own}:still", vec), result["seed"] + np.arange(5))
    expected = np.mean([episode.returns.mean() for episode in played])
    assert result["return"] == pytest.approx(expected, rel=1e-6)


def test_an_own_policy_may_come_from_a_module_and_is_like_others(own, monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(tmp_path)
    vec = mail_envs.make_vec("stochastic_coop_nav", 2)
    observations, info = vec.reset(seed=0)
    policy = load_policy(f"{Path(own).stem}:still", vec)
    assert policy(observations, info, None).tolist() == [[0, 0, 0], [0, 0, 0]]


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("absent", ".py has no 'absent'"),
        ("WRONG", "is 7, not a function make(vec) that returns a policy"),
        ("nothing", "returned None, not a policy(observations, info, rng) -> actions"),
        ("halves", "returned actions of the type float64, expected whole numbers"),
        ("narrow", "returned actions of shape (4, 2), expected (4, 3)"),
        ("beyond", "action 4294967297"),
    ],
)
def test_a_wrong_policy_gives_one_line_and_leaves_no_set(own, tmp_path, capsys, name, error):
    args = Args("stochastic_coop_nav", tmp_path / "set", f"{own}:{name}", episodes=4, num_envs=4)
    assert main(args) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1 and error in lines[0]
    assert not (tmp_path / "set").exists()


def test_a_forbidden_action_is_refused(own, tmp_path, capsys):
    """The game would play the null action instead, and the set would not say so."""
    id = mail_envs.spec(str(Path(__file__).parents[1] / "unequal_game.py")).id
    args = Args(id, tmp_path / "set", f"{own}:forbidden", episodes=4, set=("masked=true",))
    assert main(args) == 2
    said = capsys.readouterr().err
    assert "the policy chose the action 1 for" in said and "info['action_mask'] says" in said
    assert not (tmp_path / "set").exists()


def test_a_missing_file_is_named(capsys, tmp_path):
    args = Args("stochastic_coop_nav", tmp_path / "set", "no_such_file.py:make", episodes=1)
    assert main(args) == 2
    assert "no_such_file.py: there is no such file" in capsys.readouterr().err
    assert not (tmp_path / "set").exists()


def test_the_example_in_the_docstring_runs(tmp_path):
    code = str(policies_page).split("```python\n")[1].split("```")[0]
    (tmp_path / "documented_policy.py").write_text(code)
    policy = f"{tmp_path / 'documented_policy.py'}:make"
    demos = record("coop_nav", policy, 2, 0, tmp_path / "set", random_return=0.0)
    moves = np.concatenate([e.actions.ravel() for e in demos])
    assert set(moves) == {0, 1} and 0.05 < moves.mean() < 0.2
