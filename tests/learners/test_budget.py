"""A run with --budget ends when its time is over; films can be switched off."""

from __future__ import annotations

import importlib
import json
import types

import numpy as np
import pytest
import torch

from learners import amagail, bc, ippo, masqil, pqn, qmix
from learners.lib import run as runs
from learners.lib.architectures import read_policy
from learners.lib.fields import seconds_of
from learners.lib.files import read_json
from learners.lib.settings import learner_names, resumed

TINY = {
    "steps": 400, "num_envs": 4, "rounds": 10, "hidden": (8,), "eval_episodes": 0, "log_every": 1,
    "progress": False,
}  # fmt: skip


@pytest.fixture
def clock(monkeypatch) -> list[float]:
    """The time that runs see: it passes only where a test says so."""
    now = [1000.0]
    monkeypatch.setattr(runs, "time", types.SimpleNamespace(perf_counter=lambda: now[0]))
    return now


@pytest.fixture
def slow(clock, monkeypatch) -> list[float]:
    """Every update takes a second; returns the shares of the run that were done before each."""
    original, shares = runs.Run.advance, []

    def advance(self, *args):
        shares.append(self.progress)
        clock[0] += 1.0
        return original(self, *args)

    monkeypatch.setattr(runs.Run, "advance", advance)
    return shares


def weights(folder) -> list[torch.Tensor]:
    return list(read_policy(folder / "policy.safetensors")[0].parameters())


def test_times():
    assert [seconds_of(t) for t in ("90s", "10m", "1.5h")] == [90.0, 600.0, 5400.0]
    for text in ("10", "m", "-3m", "0s", "10 m", "1e3s", "nan", "10d", "9" * 400 + "s"):
        with pytest.raises(ValueError, match=r"budget=.* must be a time such as 90s, 10m or 1\.5h"):
            ippo.Args(budget=text)


def test_training_stops_when_the_time_is_over(tmp_path, slow, capsys):
    args = ippo.Args(**TINY | {"eval_episodes": 4}, budget="3s", run_dir=str(tmp_path / "run"))
    result = ippo.train(args)
    assert result["steps"] == 120
    said = " ".join(capsys.readouterr().out.split())
    assert "the budget of 3s is used up after 120 of 400 steps" in said
    assert (tmp_path / "run" / "checkpoints" / "step_120").is_dir()
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert json.loads(lines[-1])["step"] == 120
    assert read_json(tmp_path / "run" / "evaluation.json")["steps"] == 120
    assert slow == pytest.approx([0, 1 / 3, 2 / 3])


def test_what_is_annealed_follows_the_larger_share(tmp_path, slow, monkeypatch):
    rates, update = [], ippo.update

    def spy(agent, *rest, **more):
        rates.append(agent.optimizers[0].lr)
        return update(agent, *rest, **more)

    monkeypatch.setattr(ippo, "update", spy)
    ippo.train(ippo.Args(**TINY, lr=1.0, anneal=True, budget="4s", run_dir=str(tmp_path / "time")))
    assert rates == pytest.approx([1, 0.75, 0.5, 0.25])
    rates.clear()
    ippo.train(
        ippo.Args(
            **TINY | {"steps": 80}, lr=1.0, anneal=True, budget="10s", run_dir=str(tmp_path / "s")
        )
    )
    assert rates == pytest.approx([1, 0.5])


def test_exploration_follows_the_time(tmp_path, slow):
    small = {k: v for k, v in TINY.items() if k != "hidden"}
    run = {"env": "smac_3m", "budget": "4s"}
    args = qmix.Args(**small, **run, explore=200, epsilon=0.0, run_dir=str(tmp_path / "qmix"))
    qmix.train(args)
    lines = (tmp_path / "qmix" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(x)["epsilon"] for x in lines] == pytest.approx([1, 0.5, 0, 0])


def test_exploration_of_inverse_learners_follows_the_time(tmp_path, slow, monkeypatch):
    explored = []
    monkeypatch.setattr(masqil.Learner, "explore", lambda self, steps: explored.append(steps))
    more = {"env": "coop_nav", "demos": "random", "num_demos": 3, "budget": "4s"}
    masqil.train(masqil.Args(**TINY, **more, run_dir=str(tmp_path / "masqil")))
    assert explored == [0, 100, 200, 300, None]


def test_a_budget_that_is_not_used_up_changes_nothing(tmp_path, clock):
    for name, budget in (("without", None), ("with", "100h")):
        ippo.train(ippo.Args(**TINY, budget=budget, run_dir=str(tmp_path / name)))
    for a, b in zip(weights(tmp_path / "without"), weights(tmp_path / "with"), strict=True):
        assert torch.equal(a, b)


def test_a_run_continues_with_a_larger_budget(tmp_path, slow):
    ippo.train(ippo.Args(**TINY, budget="3s", run_dir=str(tmp_path / "run")))
    same = ippo.train(resumed(tmp_path / "run", ippo.Args, progress=False))
    assert same["steps"] == 120  # the time before counts
    more = ippo.train(resumed(tmp_path / "run", ippo.Args, progress=False, budget="5s"))
    assert more["steps"] == 200
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(x)["seconds"] for x in lines] == pytest.approx([1, 2, 3, 4, 5])
    whole = ippo.train(resumed(tmp_path / "run", ippo.Args, progress=False, budget=None))
    assert whole["steps"] == 400


def test_the_time_may_be_over_when_a_checkpoint_has_been_written(tmp_path, clock, monkeypatch):
    """The next update is the last; the discriminators' learning rate is zero in it."""
    save = runs.Run.save

    def slowly(self):
        save(self)
        clock[0] += 100.0

    monkeypatch.setattr(runs.Run, "save", slowly)
    settings = {"demos": "random", "num_demos": 4, "warm_start": 0, "budget": "50s"}
    settings |= {"steps": 10_000, "checkpoint_every": 12}
    result = amagail.train(amagail.Args(**TINY | settings, run_dir=str(tmp_path / "run")))
    assert result["steps"] == 13 * 40


def test_cloning_without_training_after_it_is_not_cut_short(tmp_path, capsys):
    settings = {"demos": "random", "num_demos": 4, "warm_start": 60, "steps": 0}
    amagail.train(amagail.Args(**TINY | settings, run_dir=str(tmp_path / "run")))
    assert "behavioral cloning: 60 steps" in capsys.readouterr().out


def test_cloning_leaves_half_of_the_time(tmp_path, clock, monkeypatch, capsys):
    validate = bc.Cloning.validate

    def slowly(self):
        clock[0] += 1.0
        return validate(self)

    monkeypatch.setattr(bc.Cloning, "validate", slowly)
    settings = {"demos": "random", "num_demos": 4, "warm_start": 10_000, "budget": "8s"}
    args = amagail.Args(**TINY | {"steps": 40}, **settings, run_dir=str(tmp_path / "run"))
    amagail.train(args)
    assert "behavioral cloning: 250 steps" in capsys.readouterr().out


@pytest.mark.parametrize("name", learner_names())
def test_every_learner_obeys_its_budget(name, tmp_path, clock, monkeypatch):
    """One update takes all the time; the learner would go on for ever."""
    module = importlib.import_module(f"learners.{name}")
    advance = runs.Run.advance

    def endless(self, *args):
        assert self.updates == 0
        clock[0] += 100.0
        return advance(self, *args)

    monkeypatch.setattr(runs.Run, "advance", endless)
    kind = module.Args
    known = set(kind.__dataclass_fields__)
    wanted = {
        **TINY, "steps": 10**9, "demos": "random", "num_demos": 2, "warm_start": 2, "capacity": 400,
        "batch": 2, "env": "smac_3m", "budget": "50s", "run_dir": str(tmp_path / "run"),
    }  # fmt: skip
    if isinstance(kind().__dict__.get("demos"), tuple):  # one set per agent, or one for all
        wanted["demos"] = ("random",)
    module.train(kind(**{k: v for k, v in wanted.items() if k in known}))
    assert (tmp_path / "run" / "checkpoints").is_dir()


@pytest.mark.parametrize("film", ["gif", "none"])
def test_films_can_be_switched_off(film, tmp_path, monkeypatch):
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    args = pqn.Args(
        env="coop_nav", film=film, run_dir=str(tmp_path / "run"), **TINY | {"eval_episodes": 2}
    )
    pqn.train(args)
    assert (tmp_path / "run" / "rollout.gif").exists() == (film == "gif")


def test_a_film_of_a_slow_game_is_cut(tmp_path, monkeypatch):
    """A round takes a minute: the run draws what was played so far."""
    from mail_envs.commands import render

    now = [0.0]

    def minute() -> float:
        now[0] += 60.0
        return now[0]

    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    monkeypatch.setattr(render, "time", types.SimpleNamespace(perf_counter=minute))
    played = []
    original = render.play_episode

    def spy(*args):
        played.append(original(*args)[1])
        return np.zeros(3), played[-1]

    monkeypatch.setattr(render, "play_episode", spy)
    ippo.train(ippo.Args(run_dir=str(tmp_path / "run"), **TINY | {"eval_episodes": 2}))
    assert played == [1] and (tmp_path / "run" / "rollout.gif").exists()
