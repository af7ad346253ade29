"""No two runs and no two purposes share an episode."""

from __future__ import annotations

from itertools import combinations
from typing import get_args

import numpy as np
import pytest

from learners import amagail
from learners.evaluate import Args as EvaluateArgs
from learners.evaluate import evaluate
from mail_envs.streams import Purpose, stream_seed
from mail_envs.vector import VectorGame

SEEDS = (0, 1, 1_000_000, 10_000_000)  # the last two once coincided with other streams


class Played:
    """The seeds of the episodes that every `VectorGame` plays from now on."""

    def __init__(self, monkeypatch):
        # Holding the games keeps their ids unique.
        self.games: dict[int, tuple[VectorGame, set[int]]] = {}
        for name in ("reset", "reset_to", "step"):
            monkeypatch.setattr(VectorGame, name, self._noting(getattr(VectorGame, name)))

    def _noting(self, method):
        def call(game, *args, **keywords):
            result = method(game, *args, **keywords)
            seeds = self.games.setdefault(id(game), (game, set()))[1]
            seeds.update(np.asarray(result[-1]["seed"]).tolist())
            return result

        return call

    def take(self) -> list[set[int]]:
        sets = [seeds for _, seeds in self.games.values()]
        self.games.clear()
        return sets


def test_runs_share_no_episode_with_each_other_nor_with_their_own_evaluation(tmp_path, monkeypatch):
    played, runs = Played(monkeypatch), []
    for seed in SEEDS:
        folder = tmp_path / str(seed)
        amagail.train(
            amagail.Args(
                steps=4000, num_envs=20, num_demos=15, demos="scripted", hidden=(16,), warm_start=5,
                eval_episodes=30, seed=seed, run_dir=str(folder), progress=False,
            )
        )  # fmt: skip
        evaluate(EvaluateArgs(str(folder), episodes=30, json=True))
        sets = [s for s in played.take() if len(s) >= 15]  # not the single rendered episode
        training = next(s for s in sets if stream_seed(seed, "games") in s)
        assert len(training) > 80  # four episodes in each of the 20 copies
        for other in sets:
            assert other is training or not training & other
        runs.append(set.union(*sets))
    references = set.intersection(*runs)  # random play is measured on the same episodes in all runs
    for one, other in combinations(runs, 2):
        assert (one & other) == references
    assert stream_seed(0, "references") in references


def test_streams_differ_in_seed_and_purpose():
    firsts = {stream_seed(seed, purpose) for seed in range(500) for purpose in get_args(Purpose)}
    assert len(firsts) == 500 * len(get_args(Purpose))
    ordered = np.sort(np.array(list(firsts), np.int64))
    assert ordered.min() >= 0 and ordered.max() < 2**62 and np.diff(ordered).min() > 1_000_000


@pytest.mark.parametrize(
    ("seed", "purpose", "match"),
    [(-1, "games", "seed=-1"), (1.5, "games", "seed=1.5"), (0, "game", "purpose='game'")],
)
def test_bad_streams_are_errors(seed, purpose, match):
    with pytest.raises(ValueError, match=match):
        stream_seed(seed, purpose)
