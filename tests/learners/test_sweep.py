"""learners.sweep: sweep files, and sweeps that are interrupted, continued or partly fail."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from learners.lib.sweep_spec import SpecError, cells, read_spec
from learners.sweep import Args, RayJobs, command_of, main, progress_of, state_of

ROOT = Path(__file__).resolve().parents[2]
GAME = "stochastic_coop_nav"
TINY = {"eval_episodes": 5, "demos": "random", "hidden": [8]}


def spec_file(folder: Path, **spec) -> Path:
    path = folder / "sweep.yaml"
    spec = {"environments": [GAME], "algorithms": {"bc": None}, **spec}
    path.write_text(yaml.safe_dump(spec, sort_keys=False))
    return path


def cells_of(folder: Path, **spec):
    return cells(read_spec(spec_file(folder, **spec)))


def test_a_spec_is_a_product(tmp_path):
    found = cells_of(
        tmp_path,
        environments=[GAME, "deterministic_coop_nav"],
        num_demos=[200, 1000],
        seeds=2,
        algorithms={"amagail": None, "mack": None},
    )
    names = [c.name for c in found]
    assert len(names) == len(set(names)) == 2 * 2 * (2 + 1)
    assert names[0] == f"{GAME}/amagail/200/seed_0"
    assert f"{GAME}/mack/no_demos/seed_1" in names
    assert [c.seed for c in found] == sorted(c.seed for c in found)


def test_the_most_specific_setting_wins(tmp_path):
    found = cells_of(
        tmp_path,
        environments={GAME: {"lr": 2, "seeds": [0, 1]}, "coop_nav": {"lr": 3}},
        settings={"lr": 1, "num_envs": 7, "batch": 9},
        algorithms={
            "bc": None,
            "mack": {"lr": 4},
            "mine": {"learner": "bc", "phi": "as_action", "environments": {GAME: {"lr": 5, "seeds": [3]}}},
        },
    )  # fmt: skip
    lr = {(c.algorithm, c.env, c.seed): c.settings["lr"] for c in found}
    assert lr == {
        ("bc", GAME, 0): 2, ("bc", GAME, 1): 2, ("bc", "coop_nav", 0): 3,
        ("mack", GAME, 0): 4, ("mack", GAME, 1): 4, ("mack", "coop_nav", 0): 4,
        ("mine", GAME, 3): 5,
    }  # fmt: skip
    by_name = {c.algorithm: c for c in found}
    assert "num_envs" not in by_name["bc"].settings and "batch" not in by_name["mack"].settings
    assert by_name["mine"].learner == "bc"


def test_numbers_with_an_exponent_are_numbers(tmp_path):
    """1e-3 is text to YAML 1.1; a run that was made with 0.001 would seem to have other settings."""
    (cell,) = cells_of(tmp_path, algorithms={"bc": {"lr": "1e-3"}})
    assert cell.settings["lr"] == 0.001 and cell.words()[-2:] == ["--lr", "0.001"]


def test_settings_become_a_command_line(tmp_path):
    settings = {
        "control": "random",
        "fixed_horizon": False,
        "hidden": [8, 8],
        "set": {"num_agents": 5},
    }
    (cell,) = cells_of(tmp_path, num_demos=[4], algorithms={"bc": settings})
    assert cell.words()[:6] == ["--env", GAME, "--seed", "0", "--num-demos", "4"]
    assert cell.words()[6:] == [
        "--control", "random", "--no-fixed-horizon", "--hidden", "8", "8", "--set", "num_agents=5",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"algorithms": {"ppo": None}}, "learner 'ppo' is unknown; choose"),
        ({"algorithms": {"bc": {"learning_rate": 1}}}, "no setting 'learning_rate'"),
        ({"algorithms": {"bc": {"run_dir": "x"}}}, "set by the sweep"),
        ({"algorithms": []}, "list of names"),
        ({"environments": ["coop_navi"]}, "unknown id"),
        ({"settings": {"speed": 1}}, "does not exist in"),
        ({"seeds": [0, 0]}, "distinct integers"),
        ({"num_demos": [0]}, "distinct integers of at least 1"),
        ({"seed": 3}, "unknown key 'seed'"),
        (
            {"algorithms": {"bc": {"phi": "wrong"}}},
            "bc: phi='wrong' is unknown; choose filter, as_action",
        ),
        ({"algorithms": {"bc": {"lr": "fast"}}}, "bc: lr='fast' must be a number"),
        ({"settings": {"checkpoint_every": 0}}, "bc: checkpoint_every=0 must be at least 1"),
        ({"algorithms": {"../bc": {"learner": "bc"}}}, "cannot be the name of a folder"),
        ({"out": ["runs"]}, "must be the path of a folder"),
        ({"settings": {"eval_episodes": 0}}, "bc: eval_episodes=0: a cell is finished by its"),
        ({"paper": {GAME: {"bcc": -26.1}}}, f"paper: {GAME}: bcc: the sweep has no such cell"),
        ({"paper": {"coop_nav": {"bc": -26.1}}}, "paper: coop_nav: bc: the sweep has no such cell"),
    ],
)
def test_a_wrong_spec_is_an_error_before_anything_runs(changes, text, tmp_path, capsys):
    assert main(Args(spec_file(tmp_path, **changes), out=tmp_path / "out")) == 2
    assert text in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_spec_must_be_a_regular_readable_file(tmp_path, capsys):
    os.mkfifo(tmp_path / "pipe.yaml")
    (tmp_path / "deep.yaml").write_text("environments: " + "[" * 50_000)
    for name, text in (("pipe", "a named pipe"), ("deep", "nested too deeply")):
        assert main(Args(tmp_path / f"{name}.yaml", out=tmp_path / "out")) == 2
        assert text in capsys.readouterr().err


def test_dry_run_prints_the_commands(tmp_path, capsys):
    spec = spec_file(tmp_path, seeds=2, num_demos=[4], settings=TINY)
    assert main(Args(spec, out=tmp_path / "out", dry_run=True)) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 and not (tmp_path / "out").exists()
    assert lines[0].startswith(f"python -m learners.bc --env {GAME} --seed 0 --num-demos 4")
    assert "--threads 1" in lines[0]


def test_a_resumed_cell_names_code_of_the_users_again(tmp_path):
    players = tmp_path / "my_players.py"
    players.write_text("def half(history, agents):\n    return [0.5] * len(agents)\n")
    code = {
        "learner": "dagger",
        "player_function": f"{players}:half",
        "teacher": f"{players}:half",
        "lr": 1e-3,
    }
    (cell,) = cells_of(tmp_path, algorithms={"mine": code})
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "config.yaml").write_text("learner: dagger\n")
    words = command_of(cell, folder)
    assert words[words.index("--resume") + 1] == str(folder) and "--lr" not in words
    for flag in ("--player-function", "--teacher"):
        assert words[words.index(flag) + 1] == f"{players}:half"


def test_a_failing_cell_does_not_stop_the_others_and_finished_ones_are_skipped(tmp_path, capsys):
    algorithms = {"bad": {"learner": "bc", "demos": "nowhere"}, "bc": {"steps": 5}}
    spec = spec_file(tmp_path, num_demos=[2], settings=TINY, algorithms=algorithms)
    out = tmp_path / "out"
    assert main(Args(spec, out=out, jobs=1)) == 1
    text = capsys.readouterr().out
    assert "1 finished, 1 failed of 2 cells" in text and "'nowhere': no such folder" in text
    folder = out / GAME / "bc" / "2" / "seed_0"
    before = (folder / "evaluation.json").stat().st_mtime_ns
    spec = spec_file(tmp_path, num_demos=[2], settings=TINY, algorithms={"bc": {"steps": 5}})
    assert main(Args(spec, out=out)) == 0
    assert "1 skipped of 1 cells" in capsys.readouterr().out
    assert (folder / "evaluation.json").stat().st_mtime_ns == before


def test_a_cell_with_other_settings_is_not_continued(tmp_path):
    (cell,) = cells_of(tmp_path, num_demos=[2], algorithms={"bc": {"lr": 0.1}})
    folder = tmp_path / "run"
    folder.mkdir()
    assert state_of(cell, folder) == "new"
    config = {"learner": "bc", "env": GAME, "seed": 0, "num_demos": 2, "lr": 0.1, "steps": 9}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    assert state_of(cell, folder) == "interrupted"
    (folder / "config.yaml").write_text(yaml.safe_dump({**config, "lr": 0.2}))
    with pytest.raises(SpecError, match=r"lr was 0\.2, is 0\.1"):
        state_of(cell, folder)
    (folder / "cell.json").write_text(json.dumps(cell.record()))
    assert state_of(cell, folder) == "interrupted"
    (other,) = cells_of(tmp_path, num_demos=[2], algorithms={"bc": {"lr": 0.1, "batch": 5}})
    with pytest.raises(SpecError, match="batch was None, is 5"):
        state_of(other, folder)


def test_the_steps_of_a_cell_are_read_from_long_lines(tmp_path):
    """mild2 logs a histogram for every agent: five kilobytes with four of them."""
    long = {"step": 700, "return": -3.5, **{f"advantage_share_{k}": 1 / 3 for k in range(300)}}
    lines = [json.dumps({"step": 600}), json.dumps(long)]
    (tmp_path / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    assert len(lines[1]) > 4096 and progress_of(tmp_path) == (700, -3.5)


def test_ctrl_c_saves_and_the_same_command_continues(tmp_path):
    """The second time in the background, where shells let SIGINT be ignored, by `kill`."""
    settings = {"steps": 100_000_000, "num_envs": 4, "hidden": [8], "log_every": 1}
    spec = spec_file(tmp_path, algorithms={"mack": settings})
    out = tmp_path / "out"
    folder = out / GAME / "mack" / "no_demos" / "seed_0"
    words = [sys.executable, "-m", "learners.sweep", str(spec), "--out", str(out)]

    def interrupted_after(count: int, kind: signal.Signals, background: bool) -> str:
        ignored = (lambda: signal.signal(signal.SIGINT, signal.SIG_IGN)) if background else None
        process = subprocess.Popen(
            words, cwd=ROOT, stdout=subprocess.PIPE, text=True, preexec_fn=ignored
        )
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            metrics = folder / "metrics.jsonl"
            if metrics.exists() and len(metrics.read_text().splitlines()) > count:
                break
            time.sleep(0.1)
        try:
            os.kill(process.pid, kind)
            text, _ = process.communicate(timeout=60)
        finally:
            process.terminate()  # has an effect only after a timeout
        assert process.returncode == 130
        return text

    assert "1 stopped of 1 cells" in interrupted_after(0, signal.SIGINT, background=False)
    saved = [json.loads(x)["update"] for x in (folder / "metrics.jsonl").read_text().splitlines()]
    interrupted_after(len(saved), signal.SIGTERM, background=True)
    again = [json.loads(x)["update"] for x in (folder / "metrics.jsonl").read_text().splitlines()]
    assert again == list(range(1, len(again) + 1)) and len(again) > len(saved)
    assert "saved at step" in folder.with_name("seed_0.log").read_text()


def test_ray_is_needed_only_with_a_ray_address(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(SpecError, match="pip install ray"):
        RayJobs("auto", tmp_path)
