"""Sets in which several demonstrators play: who plays which episode, and what the manifest says."""

from __future__ import annotations

import numpy as np
import pytest
from random_sets import assert_same

from demos.dataset import Demonstrations
from demos.manifest import read_manifest
from demos.record import record

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


@pytest.mark.parametrize(
    "parts", [("0.3:random", "0.6:scripted"), ("random", "1:scripted"), ("-1:random", "2:random")]
)
def test_shares_that_are_none_are_refused(parts, tmp_path):
    with pytest.raises(ValueError, match="SHARE:POLICY"):
        record(GAME, parts, 4, 7, tmp_path / "set")
