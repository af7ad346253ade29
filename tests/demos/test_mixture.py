"""Sets in which several demonstrators play: who plays which episode, and what the manifest says."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from random_sets import assert_same

from demos.dataset import Demonstrations
from demos.layout import DemonstrationError
from demos.manifest import read_manifest
from demos.mixture import Mixture
from demos.record import Args, main, record
from demos.writer import DemonstrationWriter

GAME, PARTS = "stochastic_coop_nav", ("0.3:random", "0.7:scripted")


@pytest.fixture(scope="module")
def sets(tmp_path_factory) -> tuple[Demonstrations, ...]:
    """Twenty episodes of the mixture, and the same ones by each demonstrator alone."""
    folder = tmp_path_factory.mktemp("sets")
    policies = {"mixed": PARTS, "random": "random", "scripted": "scripted"}
    return tuple(record(GAME, p, 20, 7, folder / name) for name, p in policies.items())


def test_every_episode_is_that_of_one_demonstrator_alone(sets):
    mixed, *alone = sets
    counts = [0, 0]
    for k, episode in enumerate(mixed):
        same = [np.array_equal(episode.observations, d[k].observations) for d in alone]
        assert sum(same) == 1
        counts[same.index(True)] += 1
        assert_same(episode, alone[same.index(True)][k])
    assert counts == [6, 14]
    parts = mixed.metadata["mixture"]
    assert [(p["demonstrator"], p["share"], p["episodes"]) for p in parts] == [
        ("random", 0.3, 6), ("scripted", 0.7, 14),
    ]  # fmt: skip
    assert mixed.metadata["demonstrator"] == "0.3 random + 0.7 scripted"


def test_a_continued_set_is_that_of_one_recording(sets, tmp_path):
    record(GAME, PARTS, 8, 7, tmp_path / "set", num_envs=3)
    again = record(GAME, PARTS, 20, 7, tmp_path / "set", num_envs=5)
    for a, b in zip(sets[0], again, strict=True):
        assert_same(a, b)
    assert [p["episodes"] for p in read_manifest(tmp_path / "set")["mixture"]] == [6, 14]
    record(GAME, PARTS, 3, 7, tmp_path / "set")
    assert [p["episodes"] for p in read_manifest(tmp_path / "set")["mixture"]] == [6, 14]
    with pytest.raises(DemonstrationError, match="begins with another seed"):
        record(GAME, PARTS, 3, 99, tmp_path / "set")


def test_an_interrupted_set_says_who_played_the_episodes_that_it_holds(sets, tmp_path, monkeypatch):
    append, left = DemonstrationWriter.append, [7]

    def stop_after_seven(self, episode):
        if not left[0]:
            raise KeyboardInterrupt
        append(self, episode)
        left[0] -= 1

    monkeypatch.setattr(DemonstrationWriter, "append", stop_after_seven)
    with pytest.raises(KeyboardInterrupt):
        record(GAME, PARTS, 20, 7, tmp_path / "set", random_return=0.0)
    assert [p["episodes"] for p in read_manifest(tmp_path / "set")["mixture"]] == [2, 5]
    mixed, random, _ = sets
    same = [np.array_equal(mixed[k].observations, random[k].observations) for k in range(7)]
    assert sum(same) == 2


def test_greedy_mixtures_of_one_policy_for_each_agent(tmp_path):
    parts = ("0.5:expert,expert,expert", "0.5:expert")
    assert len(record(GAME, parts, 2, 0, tmp_path / "set", greedy=True, random_return=0.0)) == 2
    with pytest.raises(ValueError, match="greedy needs a learned policy"):
        record(GAME, ("0.5:expert,expert,random", parts[1]), 2, 0, tmp_path / "no", greedy=True)


def test_the_command_takes_a_policy_or_a_mixture(tmp_path, capsys):
    assert main(Args(GAME, tmp_path / "set", policy="random", mixture=PARTS, episodes=2)) == 2
    assert "--policy and --mixture: give one of them" in capsys.readouterr().err


@pytest.mark.parametrize(
    "parts",
    [
        ("0.3:random", "0.6:scripted"), ("random", "1:scripted"), ("-1:random", "2:random"),
        ("nan:random", "0.5:random"), ("0.5:random", "nan:random"),
    ],
)  # fmt: skip
def test_shares_that_are_none_are_refused(parts, tmp_path):
    with pytest.raises(ValueError, match="SHARE:POLICY"):
        record(GAME, parts, 4, 7, tmp_path / "set")


SHAPES = """
import numpy as np
WHOLE = lambda vec: lambda observations, info, rng: np.ones((len(observations), 2, *COMPONENTS), np.int32)
HALF = lambda vec: lambda observations, info, rng: np.full((len(observations), 2, *COMPONENTS), 0.5)
TRUE = lambda vec: lambda observations, info, rng: np.ones((len(observations), 2, *COMPONENTS), bool)
NARROW = lambda vec: lambda observations, info, rng: np.ones((len(observations), 1, *COMPONENTS), np.int32)
"""


def chosen_by(names: tuple[str, str], discrete: bool, folder) -> np.ndarray:
    """Actions of a mixture of two of `SHAPES` in ten episodes."""
    file = folder / f"shapes_{discrete}.py"
    file.write_text(SHAPES.replace("COMPONENTS", "()" if discrete else "(3,)"))
    env = SimpleNamespace(id="x", discrete=discrete, num_agents=2, num_actions=3)
    mixture = Mixture([f"0.5:{file}:{name}" for name in names], env, 0)
    info = {"seed": np.arange(10), "round": np.zeros(10, np.int64)}
    return mixture(np.zeros((10, 2, 4)), info, None)


@pytest.mark.parametrize("order", [("WHOLE", "HALF"), ("HALF", "WHOLE")])
def test_whole_numbers_of_one_part_do_not_truncate_those_of_another(order, tmp_path):
    found = chosen_by(order, False, tmp_path)
    assert found.shape == (10, 2, 3) and sorted(set(found.flat)) == [0.5, 1.0]


@pytest.mark.parametrize(
    ("second", "kind", "said"),
    [
        ("HALF", TypeError, "type float64, expected whole numbers"),
        ("TRUE", TypeError, "type bool, expected whole numbers"),
        ("NARROW", ValueError, r"shape \(5, 1\), expected \(5, 2\)"),
    ],
)
def test_every_parts_actions_are_checked(second, kind, said, tmp_path):
    for order in (("WHOLE", second), (second, "WHOLE")):
        with pytest.raises(kind, match=said):
            chosen_by(order, True, tmp_path)
