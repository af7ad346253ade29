"""`bench --learners`: what it measures, what it prints, and its errors."""

from __future__ import annotations

import json
import sys

import pytest

from mail_envs.__main__ import main
from mail_envs.commands import learner_bench, learner_phases
from mail_envs.commands.learner_phases import PHASES, Enough, Phases

SMALL = {"num_envs": 4, "rounds": 10, "epochs": 1, "minibatches": 2, "hidden": [8]}


def test_it_measures_training_and_phases_that_add_up(capsys, monkeypatch):
    monkeypatch.setattr(learner_bench, "PAIRS", learner_bench.PAIRS[:1])
    monkeypatch.setattr(learner_bench, "SETTINGS", learner_bench.SETTINGS | SMALL)
    words = ["bench", "--learners", "--against", "none", "--seconds", "0.05", "--json"]
    assert main(words) == 0
    found = json.loads(capsys.readouterr().out)["results"]
    assert list(found) == ["ippo coop_nav"]
    rate = found["ippo coop_nav"]["rate"]
    assert rate["cpu"] > 0 and rate["wall"] > 0 and list(rate["phases"]) == list(PHASES)
    assert sum(rate["phases"].values()) == pytest.approx(1)
    assert all(share > 0 for share in rate["phases"].values()), rate["phases"]


def test_nested_phases_count_for_the_inner_one(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(learner_phases.time, "process_time", lambda: now[0])
    monkeypatch.setattr(learner_phases.time, "perf_counter", lambda: 2 * now[0])

    def spend(seconds):
        now[0] += seconds

    phases = Phases(budget=10)
    backward = phases.measured("backward", lambda: spend(2))

    def step():
        spend(1)
        backward()
        spend(1)

    optimizer, updates = phases.measured("optimizer", step), 0
    with pytest.raises(Enough):
        while True:
            optimizer()
            spend(0.5)
            updates += 1
            phases.end_update(steps=90)
    assert updates == learner_phases.WARM_UP + 3  # 13.5 s
    report = phases.report()
    assert report["cpu"] == pytest.approx(90 / 4.5) and report["wall"] == pytest.approx(10)
    shares = {k: share for k, share in report["phases"].items() if share}
    assert shares == pytest.approx({"backward": 4 / 9, "optimizer": 4 / 9, "other": 1 / 9})


def test_the_tables_show_ratios_and_say_what_was_not_measured(capsys, monkeypatch):
    monkeypatch.setattr(learner_bench, "PAIRS", learner_bench.PAIRS[:2])
    shares = dict.fromkeys(PHASES, 1 / len(PHASES))
    results = {
        "ippo coop_nav": {"rate": {"cpu": 3000.0, "phases": shares}},
        "ippo smac_3m": {"rate": {"cpu": 1000.0, "phases": shares}},
        "jaxmarl simple_spread": {"rate": {"cpu": 2000.0}},
    }
    learner_bench.print_learners(results, compared=False)
    shown = capsys.readouterr().out
    assert "1.50×" in shown and "11%" in shown and "pip install jaxmarl optax" in shown
    learner_bench.print_learners(results, compared=True)
    assert "pip install" not in capsys.readouterr().out


@pytest.mark.parametrize(
    "words, message",
    [
        (["--learners", "--against", "vmas"], "with jaxmarl only"),
        (["--learners", "--jaxmarl-python", "/no/python"], "/no/python: No such file"),
        (["--jaxmarl-python", sys.executable], "needs --learners"),
        (["smac_3m", "--learners"], "measures its own games; leave out smac_3m"),
    ],
)
def test_errors_are_one_line(words, message, capsys):
    assert main(["bench", *words]) == 2
    shown = capsys.readouterr().err
    assert message in " ".join(shown.split()), shown


def test_a_missing_jaxmarl_is_named(monkeypatch):
    monkeypatch.setattr(learner_bench.importlib.util, "find_spec", lambda name: None)
    assert learner_bench.peer_interpreter("installed", None) is None
    with pytest.raises(learner_bench.CommandError, match="pip install jaxmarl optax"):
        learner_bench.peer_interpreter("jaxmarl", None)
    assert learner_bench.peer_interpreter("none", "/no/python") is None


def test_an_interpreter_without_jaxmarl_is_named(monkeypatch):
    monkeypatch.setattr(learner_bench, "NEEDED", ["json", "no_such_package"])
    with pytest.raises(learner_bench.CommandError, match="lacks jaxmarl or optax"):
        learner_bench.peer_interpreter("installed", sys.executable)
    monkeypatch.setattr(learner_bench, "NEEDED", ["json"])
    assert learner_bench.peer_interpreter("installed", sys.executable) == sys.executable


def test_the_peers_advantages_are_those_of_this_suite():
    jax = pytest.importorskip("jax")
    pytest.importorskip("optax")
    import torch

    from learners.lib.returns import generalized_advantages
    from mail_envs.commands.jaxmarl_ppo import Round, advantages_of

    torch.manual_seed(0)
    rewards, values = torch.randn(7, 4, 3), torch.randn(8, 4, 3)
    ended = torch.rand(7, 4) < 0.3
    none = torch.zeros_like(ended)
    expected = generalized_advantages(rewards, values, values[1:], ended, none, 0.9, 0.8)
    over = ended.unsqueeze(2).expand(7, 4, 3)
    arrays = [jax.numpy.asarray(x.numpy()) for x in (values[:-1], rewards, over)]
    rounds = Round(None, None, None, None, *arrays)
    found = advantages_of(rounds, jax.numpy.asarray(values[-1].numpy()), 0.9, 0.8)
    torch.testing.assert_close(torch.tensor(found.tolist()), expected)
