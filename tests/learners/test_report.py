"""learners.report: statistics against closed forms, and reports of made-up runs."""

from __future__ import annotations

import csv
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

from learners import bc
from learners.lib import references
from learners.lib.files import write_json
from learners.lib.records import RunRecord
from learners.lib.results import binned, cell_figures, gather
from learners.lib.statistics import (
    half_width,
    iqm,
    mean_interval,
    probability_of_improvement,
    stratified_bootstrap,
    wilson_interval,
)
from learners.report import Args, build, main, markdown, marl_eval, result_rows, slug, write

GAME = "stochastic_coop_nav"
REFERENCES = {"random": -60.0, "expert": -10.0}


@pytest.fixture(autouse=True)
def measured(tmp_path_factory, monkeypatch):
    """The shipped references of GAME are REFERENCES."""
    path = tmp_path_factory.mktemp("references") / "references.json"
    write_json(path, {GAME: {f"{k}_return": v for k, v in REFERENCES.items()}})
    monkeypatch.setattr(references, "SHIPPED", path)


def make_run(folder: Path, learner="amagail", seed=0, value: float | None = -20.0, **settings):
    """A run folder as a learner writes it; `value` None: before its evaluation."""
    folder.mkdir(parents=True)
    config = {"learner": learner, "env": GAME, "seed": seed, "num_demos": 200, **settings}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    if learner != "bc":
        lines = [{"step": 100 * k, "update": k, "return": -60.0 + k} for k in range(1, 31)]
        text = "".join(json.dumps(line) + "\n" for line in lines)
        # The last line is incomplete, as after a kill.
        (folder / "metrics.jsonl").write_text(text + '{"step": 31')
    if value is not None:
        result = {"return": value, "sd": 5.0, "episodes": 100, "references": REFERENCES}
        (folder / "evaluation.json").write_text(json.dumps(result))


@pytest.fixture
def runs(tmp_path) -> Path:
    folder = tmp_path / "runs"
    for seed, value in enumerate((-20.0, -21.0, -25.0)):
        make_run(folder / f"amagail_{seed}", seed=seed, value=value)
    make_run(folder / "amagail_1000", num_demos=1000, value=-12.0)
    make_run(folder / "bc", "bc", phi="filter", value=-30.0)
    make_run(folder / "bc_phi", "bc", phi="as_action", value=-40.0)
    make_run(folder / "magail", "magail", value=None)
    return folder


def rows(path: Path) -> list[dict]:
    with open(path) as file:
        return list(csv.DictReader(file))


# ----------------------------------------------------------------------------------------- statistics
def test_the_interval_of_a_mean_is_students():
    mean, sd, interval = mean_interval([1.0, 2.0, 3.0])
    assert (mean, sd) == (2.0, 1.0)
    assert interval == pytest.approx((2 - 4.302653 / 3**0.5, 2 + 4.302653 / 3**0.5), rel=1e-6)
    assert mean_interval([7.0]) == (7.0, 0.0, None)


def test_the_interval_of_a_share_is_wilsons():
    assert wilson_interval(0.8, 10) == pytest.approx((0.4901625, 0.9433178), abs=1e-6)
    assert wilson_interval(0.0, 20) == pytest.approx((0.0, 0.1611252), abs=1e-6)
    assert wilson_interval(1.0, 1000)[1] == 1.0


def test_iqm_drops_a_quarter_on_both_sides():
    assert iqm(np.array([-1000.0, 1, 2, 3, 4, 5, 6, 1000])) == pytest.approx(3.5)
    assert iqm(np.array([1.0, 2.0, 6.0])) == pytest.approx(3.0)  # fewer than four: the mean
    x = np.random.default_rng(0).normal(size=(4, 21))
    assert iqm(x)[2] == pytest.approx(np.sort(x[2])[5:16].mean())


def test_bootstrap_interval_of_a_mean_is_the_normal_one():
    x = np.random.default_rng(1).normal(size=400)
    value, (low, high) = stratified_bootstrap({"t": x.tolist()}, np.mean, resamples=4000)
    half = 1.96 * x.std() / 20
    assert value == pytest.approx(x.mean())
    assert (low, high) == pytest.approx((x.mean() - half, x.mean() + half), abs=0.01)


def test_the_bootstrap_is_stratified():
    """Tasks that differ widely, seeds that do not differ: no uncertainty."""
    scores = {"easy": [1.0, 1.0, 1.0], "hard": [0.0, 0.0]}
    assert stratified_bootstrap(scores, np.mean) == (pytest.approx(0.6), pytest.approx((0.6, 0.6)))
    with pytest.raises(ValueError, match="at least one"):
        stratified_bootstrap({"a": []})


def test_probability_of_improvement_counts_pairs():
    assert probability_of_improvement({"t": [1.0, 2.0]}, {"t": [0.0, 2.0]}) == pytest.approx(0.625)


def test_statistics_agree_with_rliable():
    metrics = pytest.importorskip("rliable.metrics")
    library = pytest.importorskip("rliable.library")
    scores = np.random.default_rng(2).normal(size=(5, 4))
    tasks = {str(t): scores[:, t].tolist() for t in range(4)}
    value, interval = stratified_bootstrap(tasks, resamples=20_000)
    points, bounds = library.get_interval_estimates(
        {"x": scores}, lambda s: np.array([metrics.aggregate_iqm(s)]), reps=20_000
    )
    assert value == pytest.approx(points["x"][0])
    assert interval == pytest.approx(bounds["x"][:, 0], abs=0.02)


def test_bins_hold_the_means_of_their_values():
    values = binned(
        np.array([1.0, 5, 10, 11]), np.array([1.0, 3, 5, 7]), np.array([0.0, 10, 20, 30])
    )
    assert values[:2].tolist() == [3.0, 7.0] and np.isnan(values[2])


# --------------------------------------------------------------------------------------------- reports
def test_win_rates_are_reported_where_a_game_has_them(runs, tmp_path, capsys):
    for seed, rate in enumerate((0.9, 0.96, 0.99)):
        folder = runs / f"ippo_{seed}"
        make_run(folder, "ippo", seed=seed, value=20.0, env="coop_nav", num_demos=None)
        lines = (folder / "metrics.jsonl").read_text().splitlines()[:-1]
        lines = [json.dumps({**json.loads(x), "win_rate": k / 30}) for k, x in enumerate(lines)]
        (folder / "metrics.jsonl").write_text("\n".join(lines))
        evaluation = json.loads((folder / "evaluation.json").read_text())
        (folder / "evaluation.json").write_text(json.dumps({**evaluation, "win_rate": rate}))
    assert main(Args((runs,), out=tmp_path / "out", resamples=200)) == 0
    table = {r["algorithm"]: r for r in rows(tmp_path / "out" / "results.csv") if r["mean"]}
    assert float(table["ippo"]["win_rate"]) == pytest.approx(0.95)
    spread = 4.302653 * np.std([0.9, 0.96, 0.99], ddof=1) / 3**0.5
    assert float(table["ippo"]["win_low"]) == pytest.approx(0.95 - spread, abs=1e-5)
    assert float(table["ippo"]["win_high"]) == 1.0
    assert table["amagail"]["win_rate"] == ""
    page, printed = (tmp_path / "out" / "report.md").read_text(), capsys.readouterr().out
    assert page.count("wins 95.0 % [") == 1 and "wins" in printed
    assert "wins_coop_nav.png" in page and f"wins_{GAME}.png" not in page
    assert (tmp_path / "out" / "wins_coop_nav.png").stat().st_size > 5000


def test_tables_hold_means_intervals_and_gaps(runs, tmp_path):
    write(build(Args((runs,), resamples=200)), tmp_path / "out")
    table = {(r["algorithm"], r["num_demos"]): r for r in rows(tmp_path / "out" / "results.csv")}
    cell = table["amagail", "200"]
    assert float(cell["mean"]) == pytest.approx(-22.0)
    assert float(cell["sd_seeds"]) == pytest.approx(np.std([-20, -21, -25], ddof=1))
    assert cell["interval"] == "seeds" and float(cell["low"]) == pytest.approx(
        -22 - 6.572, abs=1e-3
    )
    assert float(cell["normalized"]) == pytest.approx(0.76)
    single = table["amagail", "1000"]
    assert single["interval"] == "episodes" and float(single["low"]) == pytest.approx(
        -12 - 1.984217 * 0.5, abs=1e-5
    )
    assert table["bc (phi=as_action)", "200"]["seeds"] == "1"
    assert table["bc", "1000"]["state"] == "not run" and table["bc", "1000"]["mean"] == ""
    assert table["magail", "200"]["state"] == "not finished"
    page = (tmp_path / "out" / "report.md").read_text()
    assert "not run" in page and "**-22.00**" in page
    for picture in ("curves", "returns"):
        assert (tmp_path / "out" / f"{picture}_{GAME}.png").stat().st_size > 5000
        assert f"{picture}_{GAME}.png" in page


def test_aggregates_state_how_many_tasks_they_cover(runs, tmp_path):
    write(build(Args((runs,), resamples=200)), tmp_path / "out")
    table = {(r["algorithm"], r["num_demos"]): r for r in rows(tmp_path / "out" / "aggregate.csv")}
    assert float(table["amagail", "200"]["iqm"]) == pytest.approx(0.76)
    assert (table["bc", "all"]["tasks"], table["bc", "all"]["all_tasks"]) == ("1", "2")
    assert table["amagail", "all"]["runs"] == "4"


def test_aggregates_of_single_runs_have_no_interval(runs, tmp_path):
    """Resampling one run gives this run: an interval of width 0, which would claim certainty."""
    write(build(Args((runs,), resamples=200)), tmp_path / "out")
    table = {(r["algorithm"], r["num_demos"]): r for r in rows(tmp_path / "out" / "aggregate.csv")}
    assert float(table["amagail", "200"]["low"]) < 0.76 < float(table["amagail", "200"]["high"])
    for name, number in (("amagail", "1000"), ("amagail", "all"), ("bc", "200")):
        assert table[name, number]["low"] == table[name, number]["high"] == ""
        assert table[name, number]["iqm"] != ""
    assert "| bc | 200 | 0.600 | – | 1 of 1 | 1 |" in (tmp_path / "out" / "report.md").read_text()


def test_an_interval_over_episodes_counts_those_of_every_run():
    def cell(*runs):
        made = [{"return": r, "sd": s, "episodes": n, "win_rate": 0.5} for r, s, n in runs]
        none = np.zeros(0)
        return cell_figures([RunRecord(Path(), {}, e, none, none) for e in made], 0, {})

    long, short = half_width(5.0, 1000), half_width(5.0, 10)
    two = cell((1.0, 5.0, 1000), (1.0, 5.0, 10))
    assert two.high == pytest.approx(1.0 + ((long**2 + short**2) / 2) ** 0.5)
    assert (two.win_low, two.win_high) == wilson_interval(0.5, 10)
    equal = cell((1.0, 3.0, 50), (1.0, 4.0, 50))
    assert equal.high == pytest.approx(1.0 + half_width(12.5**0.5, 50))
    assert (cell((1.0, 0.0, 1)).low, cell((1.0, 0.0, 1)).interval) == (None, "")
    assert cell((1.0, 0.0, 1), (2.0, 0.0, 1), (3.0, 0.0, 1)).interval == "seeds"


def test_a_cell_without_an_interval_is_shown(tmp_path, capsys):
    make_run(tmp_path / "runs")
    path = tmp_path / "runs" / "evaluation.json"
    path.write_text(json.dumps({"return": -20.0, "sd": 0.0, "episodes": 1}))
    assert main(Args((tmp_path / "runs",), out=tmp_path / "out", resamples=10)) == 0
    assert "**-20.00** ± 0.00, normalized" in (tmp_path / "out" / "report.md").read_text()
    assert "-20.00 to" not in capsys.readouterr().out


def test_algorithms_are_compared_by_pairs_of_runs_with_equal_seeds(runs, tmp_path):
    make_run(runs / "bc_1", "bc", seed=1, value=-34.0, phi="filter")
    make_run(runs / "bc_7", "bc", seed=7, value=-99.0, phi="filter")  # no partner
    report = build(Args((runs,), compare="amagail"))
    write(report, tmp_path / "out")
    found = {r["other"]: r for r in rows(tmp_path / "out" / "differences.csv")}
    pair, single = found["bc"], found["bc (phi=as_action)"]
    assert len(found) == 2  # magail has no finished run
    assert (float(pair["difference"]), int(pair["pairs"])) == (11.5, 2)  # 10 and 13
    half = 12.7062 * np.std([10, 13], ddof=1) / 2**0.5
    assert float(pair["low"]) == pytest.approx(11.5 - half, abs=1e-3)
    assert (float(single["difference"]), single["low"]) == (20.0, "")
    assert "+11.50 [" in (tmp_path / "out" / "report.md").read_text()


def test_the_compared_algorithm_must_have_a_finished_run(runs):
    with pytest.raises(
        ValueError, match="--compare magail: no finished run of it; there are amagail"
    ):
        build(Args((runs,), compare="magail"))


def test_marl_eval_layout(runs, tmp_path):
    write(build(Args((runs,), resamples=10)), tmp_path / "out")
    tree = json.loads((tmp_path / "out" / "marl_eval.json").read_text())["mail_envs"]
    run = tree[f"{GAME}_200_demos"]["amagail"]["seed_0"]
    assert run["absolute_metrics"]["return"] == [-20.0]
    assert run["absolute_metrics"]["normalized_return"] == [pytest.approx(0.8)]
    assert run["step_0"]["step_count"] == 150 and run["step_0"]["return"] == [-59.0]
    assert len([k for k in run if k.startswith("step_")]) == 20


def test_marl_eval_has_the_same_steps_for_all_seeds(runs):
    """It averages step_k over seeds. Runs with --budget end at different steps."""
    path = runs / "amagail_1" / "metrics.jsonl"
    path.write_text("".join(line + "\n" for line in path.read_text().splitlines()[:20]))
    tree = marl_eval(build(Args((runs,), resamples=10)))["mail_envs"]
    steps = [
        [value["step_count"] for key, value in run.items() if key.startswith("step_")]
        for run in tree[f"{GAME}_200_demos"]["amagail"].values()
    ]
    assert steps == [list(range(100, 2001, 100))] * 3


def test_cells_of_the_spec_without_runs_are_reported(runs, tmp_path):
    spec = {"environments": [GAME, "mpe_simple"], "num_demos": [200], "seeds": 5, "algorithms": {"amagail": None, "mack": None}}  # fmt: skip
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(spec))
    report = build(Args((runs,), spec=tmp_path / "sweep.yaml", resamples=10))
    assert report.table[GAME, "amagail", 200].state == "3 of 5 seeds"
    assert report.table[GAME, "mack", None].state == "not run"
    names = {path.name for path in write(report, tmp_path / "out")}
    assert f"returns_{GAME}.png" in names and "returns_mpe_simple.png" not in names


def test_runs_that_are_not_those_of_the_spec_are_named(runs, tmp_path):
    """The cell would seem complete, with runs of other seeds and with another number of steps."""
    make_run(runs / "mack_0", "mack", seed=0, num_demos=None, steps=3_000_000)
    make_run(runs / "mack_7", "mack", seed=7, num_demos=None, steps=9)
    algorithms = {"amagail": {"seeds": 3}, "mack": {"seeds": 2, "steps": 3_000_000}}
    spec = {"environments": [GAME], "num_demos": [200], "algorithms": algorithms}
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(spec))
    report = build(Args((runs,), spec=tmp_path / "sweep.yaml", resamples=10))
    (remark,) = [r for r in report.remarks if "not as in the sweep file" in r]
    assert "mack_7" in remark and "its seed, 7, is not in it" in remark
    algorithms["mack"]["steps"] = 5
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(spec))
    remarks = build(Args((runs,), spec=tmp_path / "sweep.yaml", resamples=10)).remarks
    assert any("mack_0 is not as" in r and "steps is 3000000, not 5" in r for r in remarks)


def test_a_papers_figures_stand_beside_ours(runs, tmp_path):
    spec = {"environments": [GAME], "algorithms": {"amagail": None, "bc": None, "mack": None},
            "paper": {GAME: {"amagail": -16, "bc": "62.5 % won"}}}  # fmt: skip
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(spec))
    report = build(Args((runs,), spec=tmp_path / "sweep.yaml", resamples=10))
    page = markdown(report, set()).partition("## Over all tasks")[0]
    rows = {line.split("|")[1].strip(): line.split("|")[-2].strip() for line in page.splitlines()
            if line.startswith("| ")}  # fmt: skip
    assert rows["algorithm"] == "paper" and rows["amagail"] == "-16" and rows["mack"] == "–"
    assert rows["bc"] == "62.5 % won"
    assert {r["algorithm"]: r["paper"] for r in result_rows(report)}["amagail"] == -16
    (tmp_path / "sweep.yaml").write_text(
        yaml.safe_dump({**spec, "paper": {GAME: {"amagail": "high"}}})
    )
    with pytest.raises(ValueError, match="amagail='high' must be a number, or as in `63 % won`"):
        build(Args((runs,), spec=tmp_path / "sweep.yaml"))


def test_names_tell_runs_apart(tmp_path):
    same = {key: value for key, value in vars(bc.Args()).items() if key != "hidden"}
    make_run(tmp_path / "a", "bc", **same | {"lr": 0.05})
    make_run(tmp_path / "b", "bc", **same | {"lr": 0.1})
    make_run(tmp_path / "c", "bc", **same | {"control": "random"})
    make_run(tmp_path / "d", "bc", **same)
    (tmp_path / "d" / "cell.json").write_text('{"algorithm": "cloned"}')
    make_run(tmp_path / GAME / "slow_bc" / "200" / "seed_0", "bc", **same)  # a sweep's folder
    records, remarks = gather([tmp_path])
    names = {r.folder.name: r.algorithm for r in records}
    assert names == {
        "a": "bc", "b": "bc (lr=0.1)", "c": "bc (control: random)", "d": "cloned", "seed_0": "slow_bc",
    }  # fmt: skip
    assert remarks == []


def test_the_same_cell_counts_once(tmp_path):
    make_run(tmp_path / "a", value=None)
    make_run(tmp_path / "b", value=-20.0)
    records, remarks = gather([tmp_path, tmp_path / "a"])
    assert [r.folder.name for r in records] == ["b"] and "a is left out" in remarks[0]


def test_a_cell_of_runs_with_different_settings_is_named(tmp_path):
    """Steps and demonstrations are part of no name: such runs would be averaged without a word."""
    make_run(tmp_path / "a", seed=0, steps=100, demos="good", device="cpu")
    make_run(tmp_path / "b", seed=1, steps=9000, demos="bad", device="cuda")
    make_run(tmp_path / "c", seed=2, steps=100, demos="good", added_later=True)
    make_run(tmp_path / "d", seed=0, num_demos=400, steps=7)  # the only one of its cell
    (remark,) = gather([tmp_path])[1]
    assert 'demos is "good" or "bad"; steps is 100 or 9000' in remark
    assert "device" not in remark and "added_later" not in remark


def test_an_evaluation_that_is_older_than_the_policy_does_not_count(runs):
    """The run was continued with more steps, and killed."""
    for seed, steps in ((0, 3000), (1, 2000)):
        path = runs / f"amagail_{seed}" / "evaluation.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "steps": steps}))
    records, (remark,) = gather([runs])
    assert "amagail_1 is not finished: it was evaluated after 2,000 steps" in remark
    unfinished = {r.folder.name for r in records if r.evaluation is None}
    assert unfinished == {"amagail_1", "magail"}


def test_most_likely_actions_are_rows_of_their_own(runs, tmp_path):
    for seed, steps in ((0, 3000), (1, 3000), (2, 2000)):
        folder, best = runs / f"amagail_{seed}", {"sd": 5.0, "episodes": 100, "mode": "greedy"}
        result = json.loads((folder / "evaluation.json").read_text()) | {"steps": 3000}
        (folder / "evaluation.json").write_text(json.dumps(result))
        best |= {"return": -11.0 - seed, "steps": steps}  # the last one is of an older policy
        (folder / "evaluation_greedy.json").write_text(json.dumps(best))
    report = build(Args((runs,), resamples=100))
    cell = report.table[GAME, "amagail, best actions", 200]
    assert (cell.seeds, cell.mean) == (2, -11.5)
    assert report.table[GAME, "amagail", 200].mean == -22.0
    assert sum("best actions" in key[1] for key in report.table) == 1
    page = markdown(report, set())
    assert "| amagail, best actions | **-11.50** ± 5.00" in page
    assert {r["algorithm"] for r in report.aggregate} == {"amagail", "bc (phi=as_action)", "bc"}
    spec = tmp_path / "spec.yaml"
    spec.write_text(
        f"seeds: 3\nnum_demos: [200]\nenvironments: [{GAME}]\nalgorithms: {{amagail: {{}}}}"
    )
    table = build(Args((runs,), resamples=100, spec=spec)).table
    assert table[GAME, "amagail, best actions", 200].state == "2 of 3 seeds"
    write(report, tmp_path / "out")
    assert (tmp_path / "out" / f"returns_{GAME}.png").stat().st_size > 5000


def test_scores_stand_for_run_folders_that_are_elsewhere(runs, tmp_path):
    folder, best = runs / "amagail_0", {"return": -11.0, "sd": 5.0, "episodes": 50, "steps": 3000}
    result = json.loads((folder / "evaluation.json").read_text()) | {
        "steps": 3000,
        "win_rate": 0.25,
    }
    (folder / "evaluation.json").write_text(json.dumps(result))
    (folder / "evaluation_greedy.json").write_text(json.dumps(best))
    whole, early, late = (tmp_path / name for name in ("whole", "early", "late"))
    write(build(Args((runs,), resamples=100)), whole)
    (runs / "amagail_2").rename(tmp_path / "amagail_2")
    write(build(Args((runs,), resamples=100)), early)
    shutil.rmtree(runs)
    report = build(Args((tmp_path / "amagail_2", early / "runs.csv"), resamples=100))
    write(report, late)
    for name in ("runs.csv", "aggregate.csv"):
        assert (late / name).read_text() == (whole / name).read_text(), name
    old, new = (
        [r for r in rows(folder / "results.csv") if r["algorithm"] != "magail"]
        for folder in (whole, late)
    )
    assert new == old  # the run that is not finished has no score
    assert report.references == {GAME: REFERENCES}
    write(
        build(Args((late / "runs.csv",), resamples=100)), late
    )  # whose curves of before are still there
    assert f"(curves_{GAME}.png)" in (late / "report.md").read_text()


def test_a_run_folder_counts_before_its_score(runs, tmp_path):
    write(build(Args((runs,), resamples=100)), tmp_path / "early")
    result = {"return": -15.0, "sd": 5.0, "episodes": 100}
    (runs / "amagail_0" / "evaluation.json").write_text(json.dumps(result))
    report = build(Args((tmp_path / "early" / "runs.csv", runs), resamples=100))
    assert report.table[GAME, "amagail", 200].mean == pytest.approx((-15.0 - 21.0 - 25.0) / 3)
    assert sum("runs.csv is left out: it repeats" in text for text in report.remarks) == 1


@pytest.mark.parametrize(
    "old, new, message",
    [
        ("-20.0,", "x,", "line 2, is damaged: return is 'x', not a number"),
        ("-20.0,", "nan,", "line 2, is damaged: return is nan, not a number"),
        (",played,", ",lucky,", "line 2, is damaged: actions is 'lucky', not played or best"),
        ("amagail,200,1,", "amagail,200,0,", "line 3, is damaged: it repeats an evaluation"),
        ("environment,", "game,", "line 2, is damaged: it does not have the columns environment"),
        ("amagail,200,0,", "amagail,200,,", "line 2, is damaged: seed is None, not a whole number"),
    ],
)
def test_a_damaged_file_of_scores_is_named(runs, tmp_path, old, new, message):
    write(build(Args((runs,), resamples=100)), tmp_path)
    path = tmp_path / "runs.csv"
    text = path.read_text()
    lines = text.splitlines(keepends=True)
    head, rest = "".join(lines[:1]), "".join(sorted(lines[1:]))
    text = head + "".join(
        x for x in rest.splitlines(keepends=True) if ",200," in x and "amagail" in x
    )
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(ValueError, match=re.escape(f"runs.csv, {message}")):
        gather([path])


def test_games_with_other_arguments_are_other_tasks(tmp_path):
    make_run(tmp_path / "a", fixed_horizon=False)
    make_run(tmp_path / "b", fixed_horizon=True)
    tasks = {r.task for r in gather([tmp_path])[0]}
    assert tasks == {GAME, f"{GAME} (fixed_horizon=True)"}


def test_the_order_of_arguments_makes_no_task(tmp_path):
    make_run(tmp_path / "a", set=["num_agents=4", "penalty=none"])
    make_run(tmp_path / "b", set=["penalty=none", "num_agents=4"], seed=1)
    assert {r.task for r in gather([tmp_path])[0]} == {f"{GAME} (num_agents=4, penalty=none)"}


def test_tasks_do_not_share_files():
    assert len({slug(f"{GAME} (x={x})") for x in ("1", "-1", "1.5", "15", "1_5")}) == 5


def test_cross_play_becomes_a_table(runs, tmp_path):
    for seed, value in ((0, -50.0), (1, -60.0)):
        result = {
            "env": "stochastic_predator_prey", "return": value, "return_agents": ["prey_0"],
            "mode": "sample", "policy": {"name": "expert"},
            "against": {"name": "amagail", "num_demos": 200, "seed": seed},
        }  # fmt: skip
        path = runs / f"amagail_{seed}" / "cross_play_by_expert.json"
        path.write_text(json.dumps(result))
    report = build(Args((runs,), resamples=10))
    assert report.cross_play[0]["return"] == -55.0 and report.cross_play[0]["pairs"] == 2
    write(report, tmp_path / "out")
    page = (tmp_path / "out" / "report.md").read_text()
    assert "against amagail, 200 demonstrations" in page and "-55.00 (2)" in page


def test_cross_play_of_different_sides_is_not_averaged(runs, tmp_path):
    for k, (plays, mode, whose) in enumerate(
        (("prey_0", "sample", "prey_0"), ("adversary_0", "sample", "prey_0"),
         ("prey_0", "greedy", "prey_0"), ("prey_0", "sample", "prey_1"))
    ):  # fmt: skip
        result = {
            "env": "stochastic_predator_prey", "return": -10.0 * k + 0.0, "return_agents": [whose],
            "mode": mode, "policy": {"name": "amagail"}, "against": {"name": "expert"}, "against_plays": [plays],
        }  # fmt: skip
        (runs / "amagail_0" / f"cross_play_{k}.json").write_text(json.dumps(result))
    report = build(Args((runs,), resamples=10))
    assert sorted(r["return"] for r in report.cross_play) == [-30.0, -20.0, -10.0, 0.0]
    page = markdown(report, set()).partition("## Cross-play")[2]
    shown = {line.split("|")[2].strip() for line in page.splitlines() if line[:4] == "| am"}
    assert shown == {"-30.00 (1)", "-20.00 (1)", "-10.00 (1)", "0.00 (1)"}
    assert "The opponent plays adversary_0." in page and "(most likely actions)" in page


def test_user_errors_are_one_line(tmp_path, capsys):
    cases = [
        ((tmp_path / "nowhere",), "is neither a folder nor a CSV file"),
        ((tmp_path,), "no run folder"),
        ((), "one or more"),
    ]
    for runs, text in cases:
        assert main(Args(runs, out=tmp_path / "out")) == 2
        assert text in capsys.readouterr().err
