"""Run folders are untrusted: faults are one-line errors, and nothing that they name is imported."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from mutated_runs import mutant

import mail_envs
from demos.policies import load_policy
from demos.policy_file import read_policy_file
from demos.record import record
from demos.writer import DemonstrationWriter
from learners import bc, ippo, mack, report
from learners.evaluate import Args, evaluate
from learners.lib import sources
from learners.lib.checkpoints import checkpoints, same_form
from learners.lib.files import checksum, read_json, read_yaml, write_json, write_yaml
from learners.lib.game import describe
from learners.lib.run import Run
from learners.lib.settings import (
    COMMANDS,
    learner_names,
    parse,
    read_config,
    read_versions,
    resumed,
)
from mail_envs.commands.errors import MISTAKES

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 60  # a command that takes longer hangs


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    mack.train(
        mack.Args(
            steps=40, num_envs=4, rounds=5, hidden=(8,), eval_episodes=2, log_every=1,
            checkpoint_every=1, progress=False, run_dir=str(folder),
        )
    )  # fmt: skip
    return folder


@pytest.fixture
def run(finished, tmp_path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "run"))


@pytest.fixture
def evil(tmp_path, monkeypatch) -> Path:
    """A module that leaves a file behind when it is imported; the test runs in its folder."""
    (tmp_path / "evil.py").write_text("open('imported', 'w').close()\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path / "imported"


# ------------------------------------------------------------------------------------- the commands
def evaluated(folder: Path) -> dict:
    result = evaluate(Args(str(folder), episodes=2))
    return {k: v for k, v in result.items() if k not in ("file", "policy")}


def reported(folder: Path) -> None:
    report.show(report.build(report.Args((folder,), resamples=5)), report.Console())


def continued(folder: Path) -> dict:
    mack.train(resumed(folder, mack.Args, progress=False, steps=60))
    tensors = read_policy_file(folder / "policy.safetensors")[0]
    return {name: x.tobytes() for name, x in tensors.items()}


USES = (evaluated, reported, continued)


def outcome(use, folder: Path):
    """The result of using a run folder, or the error that it reports as one line."""

    def too_long(*_):
        raise AssertionError(f"{use.__name__} hangs")

    signal.signal(signal.SIGALRM, too_long)
    signal.alarm(SECONDS)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            return use(folder)
    except MISTAKES as error:
        return error
    finally:
        signal.alarm(0)


def contents(folder: Path) -> dict:
    """Kind, size and time of everything in a folder but its subfolders."""
    found = [p for p in folder.rglob("*") if not (p.is_dir() and not p.is_symlink())]
    return {p: (p.lstat().st_mode, p.lstat().st_size, p.lstat().st_mtime_ns) for p in found}


def check_mutants(finished: Path, place: Path, evil: Path, seeds) -> None:
    """Every use of a mutant gives what the intact run gives, or names the file and touches nothing."""
    intact = {}
    for use in USES:
        shutil.copytree(finished, place / "intact" / "run")
        intact[use] = outcome(use, place / "intact" / "run")
        shutil.rmtree(place / "intact")
    for seed in seeds:
        for use in USES:
            folder = place / "mutant" / "run"
            what, accident = mutant(finished, folder, seed)
            before = contents(folder)
            found = outcome(use, folder)
            where = f"mutant {seed}, {what}, {use.__name__}: {found}"
            if isinstance(found, Exception):
                assert str(folder) in str(found), where
                assert contents(folder) == before, where
            elif accident and not what.endswith("metrics.jsonl"):  # lines have no checksum
                assert found == intact[use], where
            shutil.rmtree(folder.parent)
    assert not evil.exists()


def test_mutated_run_folders(finished, tmp_path, evil):
    check_mutants(finished, tmp_path, evil, range(25))


@pytest.mark.slow
def test_many_mutated_run_folders(finished, tmp_path, evil):
    check_mutants(finished, tmp_path, evil, range(25, 325))


# ------------------------------------------------------------------------------------ particular faults
def changed(path: Path, **changes) -> None:
    """Change a JSON or YAML file, its checksum included."""
    mapping = yaml.safe_load(path.read_text())
    mapping.pop("crc32", None)
    write = write_yaml if path.suffix == ".yaml" else write_json
    write(path, {**mapping, **changes})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"env": 5}, "does not name a learner"),
        ({"learner": ["mack"]}, "does not name a learner"),
        ({"seed": "0"}, "seed='0' must be a whole number"),
        ({"seed": -1}, "seed=-1 must be at least 0"),
        ({"num_envs": 10**12}, "num_envs=1000000000000 must be at most"),
        ({"steps": 1.5}, "steps=1.5 must be a whole number"),
        ({"lr": True}, "lr=True must be a number"),
        ({"lr": float("nan")}, "lr must be a number"),
        ({"optimizer": "sgd"}, "optimizer='sgd' is unknown; choose kfac, adam"),
        ({"device": "gpu"}, "device='gpu' is unknown"),
        ({"hidden": [8, "x"]}, "hidden='x' must be a whole number"),
        ({"hidden": 8}, "hidden=8 must be a list"),
        ({"set": ["num_agents"]}, "num_agents: write NAME=VALUE"),
        ({"set": "num_agents=2"}, "must be a list"),
        ({"fixed_horizon": "yes"}, "fixed_horizon='yes' must be true or false"),
        ({"max_rounds": 0}, "max_rounds=0 must be at least 1"),
        ({"player_function": 3}, "player_function=3 must be a string"),
        ({"player_function": "Stochastic(2)"}, "must lie in"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)  # fmt: skip
def test_settings_of_a_wrong_type_are_errors(changes, said, run):
    changed(run / "config.yaml", **changes)
    before = contents(run)
    for use in (evaluated, continued):
        error = outcome(use, run)
        assert isinstance(error, MISTAKES) and said in str(error), error
        assert str(run / "config.yaml") in str(error) or "NAME=VALUE" in said, error
    assert contents(run) == before


def test_yaml_bombs_and_repeated_keys(run):
    text = (run / "config.yaml").read_text()
    bomb = "a: &a [x, x]\n" + "".join(
        f"{c}: &{c} [{', '.join([f'*{p}'] * 9)}]\n"
        for p, c in zip("abcdefg", "bcdefgh", strict=True)
    )
    cases = (
        (bomb + text, "aliases"),
        (text + "env: coop_nav\n", "given twice"),
        ("x: " + "[" * 9000, "deep"),
    )
    for content, said in cases:
        (run / "config.yaml").write_text(content)
        for use in USES:
            error = outcome(use, run)
            assert isinstance(error, ValueError) and said in str(error), error
            assert str(run / "config.yaml") in str(error)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"return": "high"}, "return is 'high', not a number"),
        ({"return": float("nan")}, "return is nan"),
        ({"sd": -1}, "sd is -1"),
        ({"episodes": 2.5}, "episodes is 2.5, not a whole number of at least 1"),
        ({"win_rate": 7}, "win_rate is 7, not a share"),
        ({"references": [1, 2]}, "references is [1, 2], not a mapping"),
        ({"references": {"random": "x"}}, "random is 'x'"),
        ({"confidence_interval": [1]}, "confidence_interval is [1], not a list of 2 numbers"),
        ({"episode_returns": [1.0, "x"]}, "episode_returns[1] is 'x'"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_malformed_evaluations_are_errors(changes, said, run):
    changed(run / "evaluation.json", **changes)
    before = contents(run)
    for use in USES:
        error = outcome(use, run)
        assert isinstance(error, ValueError) and said in str(error), error
        assert str(run / "evaluation.json") in str(error)
    assert contents(run) == before


def test_malformed_cross_play_is_an_error(run):
    path = run / "cross_play_random.json"
    write_json(path, {**read_json(run / "evaluation.json"), "against": {"name": ["x"]}})
    error = outcome(reported, run)
    assert isinstance(error, ValueError) and f"{path} is damaged: against: name" in str(error)


def test_a_changed_file_is_detected_and_an_old_one_can_be_read(run):
    """Files of earlier versions have no checksum."""
    for name in ("config.yaml", "evaluation.json"):
        text = (run / name).read_text()
        old, new = (
            ("seed: 0", "seed: 1") if name == "config.yaml" else ('"steps": 40', '"steps": 41')
        )
        (run / name).write_text(text.replace(old, new))
        error = outcome(reported, run)
        assert f"{run / name} was changed after it was written" in str(error)
        without = [line for line in text.splitlines() if "crc32" not in line]
        (run / name).write_text("\n".join(without).replace("],\n}", "]\n}").removesuffix(",\n}"))
        if name == "evaluation.json":
            mapping = json.loads(text)
            mapping.pop("crc32")
            (run / name).write_text(json.dumps(mapping))
    newest = checkpoints(run)[-1]
    state = read_json(newest / "state.json")
    (newest / "state.json").write_text(json.dumps(state["tree"]))
    assert not isinstance(outcome(reported, run), Exception)
    assert isinstance(outcome(continued, run), dict)


def test_a_damaged_evaluation_stops_a_run_before_it_is_continued(run):
    for name in ("evaluation_greedy.json", "evaluation.json"):
        (run / name).write_text("{")
        before = contents(run)
        error = outcome(continued, run)
        assert isinstance(error, ValueError) and str(run / name) in str(error), error
        assert contents(run) == before


def test_a_checkpoint_of_another_run_is_an_error(run, tmp_path):
    """Other settings, other shapes, another learner, other parts: all with valid checksums."""
    newest = checkpoints(run)[-1]
    state = read_json(newest / "state.json")

    def refused(said: str) -> None:
        before = contents(run)
        error = outcome(continued, run)
        assert isinstance(error, ValueError) and said in str(error), error
        assert str(newest) in str(error)
        assert contents(run) == before

    tree = json.loads(json.dumps(state["tree"]))
    tree["dict"]["settings"]["dict"]["lr"] = {"value": 0.7}
    write_json(newest / "state.json", {**state, "tree": tree})
    refused("config.yaml says lr: 0.1, but")
    tree = json.loads(json.dumps(state["tree"]))
    tree["dict"]["parts"]["dict"]["other"] = tree["dict"]["parts"]["dict"].pop("agent")
    write_json(newest / "state.json", {**state, "tree": tree})
    refused("does not fit this run")
    tree["dict"]["steps"] = {"value": 39}
    write_json(newest / "state.json", {**state, "tree": tree})
    refused("steps is 39, not step_40")
    shutil.rmtree(newest)
    args = mack.Args(
        steps=40, num_envs=4, rounds=5, hidden=(9,), eval_episodes=0, progress=False,
        run_dir=str(tmp_path / "wider"),
    )  # fmt: skip
    mack.train(args)
    shutil.copytree(checkpoints(tmp_path / "wider")[-1], newest)
    refused("config.yaml says hidden: [8], but")


@pytest.mark.parametrize("name", ["training.safetensors", "policy.safetensors"])
def test_one_flipped_bit_of_a_checkpoint_is_detected(name, run):
    path = checkpoints(run)[-1] / name
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    error = outcome(continued, run)
    assert f"{path} was changed after it was written, or is damaged" in str(error)


@pytest.mark.parametrize("use", USES)
def test_a_pipe_instead_of_a_file_is_an_error(use, run):
    (run / "config.yaml").unlink()
    os.mkfifo(run / "config.yaml")
    error = outcome(use, run)
    assert isinstance(error, OSError | ValueError) and "a named pipe" in str(error), error
    assert str(run / "config.yaml") in str(error)


def test_versions_are_recorded_once_and_a_resumed_run_says_what_has_changed(
    run, capsys, monkeypatch
):
    described = mack.describe
    monkeypatch.setattr(mack, "describe", lambda vec: {**described(vec), "simulator": "mujoco 9"})
    first = read_versions(run)
    assert first.keys() == {"python", "mail_envs", "torch", "numpy", "numba"}
    assert first["torch"] == torch.__version__
    others = {**first, "numpy": "1.0", "simulator": "mujoco 3"}
    write_yaml(run / "config.yaml", {**read_yaml(run / "config.yaml"), "versions": others})
    continued(run)
    text = f"begun with other versions: numpy 1.0 (now {np.__version__}), simulator mujoco 3 (now mujoco 9)\n"
    assert text in capsys.readouterr().out
    assert read_versions(run) == others and "versions" not in read_config(run)


def test_runs_of_earlier_versions_do_not_say_with_what_they_were_made(run, capsys):
    config = read_yaml(run / "config.yaml")
    del config["versions"]
    write_yaml(run / "config.yaml", config)
    continued(run)
    assert "other versions" not in capsys.readouterr().out and read_versions(run) == {}
    write_yaml(run / "config.yaml", {**config, "versions": {"numpy": 2}})
    assert "versions is {'numpy': 2}, not a mapping to text" in str(outcome(continued, run))


def test_the_description_of_a_game_says_what_simulates_it():
    vec = mail_envs.make_vec("coop_nav", 1)
    assert "simulator" not in describe(vec)
    vec.metadata["simulator"] = "mujoco 3.3"
    assert describe(vec)["simulator"] == "mujoco 3.3"


def test_a_run_does_not_start_in_a_set_that_is_being_recorded(tmp_path):
    record("stochastic_coop_nav", "random", 1, 0, tmp_path, random_return=0.0)
    args = mack.Args(run_dir=str(tmp_path), progress=False)
    with (
        DemonstrationWriter.extend(tmp_path),
        pytest.raises(ValueError, match="another process is recording into this set"),
    ):
        Run("mack", args)


def test_two_processes_do_not_train_in_one_folder(tmp_path):
    """Before its first checkpoint a run can be started again: the second would replace the first one's settings."""
    args = mack.Args(run_dir=str(tmp_path / "run"), progress=False)
    with Run("mack", args):
        for second in (dataclasses.replace(args, lr=0.2), args):
            with pytest.raises(ValueError, match="another process is training in this folder"):
                Run("mack", second)
        with pytest.raises(ValueError, match="another process is training in this folder"):
            DemonstrationWriter.extend(tmp_path / "run")
        assert read_config(tmp_path / "run")["lr"] == args.lr
    with Run("mack", dataclasses.replace(args, lr=0.2)):
        assert read_config(tmp_path / "run")["lr"] == 0.2


def test_parts_of_a_checkpoint_have_the_shapes_of_the_learners_parts():
    """Contents may differ: copying a game's state record does not copy the padding between fields."""
    tree = {"x": torch.zeros(2, 3), "n": [1, None], "a": np.zeros(4, np.uint8)}
    assert same_form(tree, {**tree, "x": torch.ones(2, 3), "a": np.ones(4, np.uint8)})
    for changes in (
        {"x": torch.zeros(3, 2)}, {"x": torch.zeros(1, 3)}, {"x": torch.zeros(2, 3).double()},
        {"a": np.zeros(5, np.uint8)}, {"n": [2, None]}, {"y": 1},
    ):  # fmt: skip
        assert not same_form(tree, {**tree, **changes})


def test_a_policy_of_another_run_is_an_error(run, tmp_path):
    mack.train(
        mack.Args(
            steps=20, num_envs=4, rounds=5, hidden=(8,), eval_episodes=0, seed=5, progress=False,
            run_dir=str(tmp_path / "other"),
        )
    )  # fmt: skip
    shutil.copy(tmp_path / "other" / "policy.safetensors", run)
    error = outcome(evaluated, run)
    assert "policy.safetensors is from another run: its seed is 5" in str(error)


def test_nothing_is_written_through_links(run, tmp_path):
    precious = tmp_path / "precious"
    for name in ("metrics.jsonl", "rollout.gif", "policy.safetensors"):
        precious.write_text("mine")
        (run / name).unlink()
        (run / name).symlink_to(precious)
        assert f"{run / name} is a link" in str(outcome(continued, run))
        assert precious.read_text() == "mine"
        (run / name).unlink()
        shutil.copy(ROOT / "LICENSE", run / name)


def test_temporary_files_of_a_killed_run_are_removed_at_the_next_start(run):
    left = run / "checkpoints" / ".step_60.12345"
    left.mkdir()
    (left / "policy.safetensors").write_text("half")
    (run / ".config.yaml.12345").write_text("half")
    assert isinstance(outcome(continued, run), dict)
    assert not left.exists() and not (run / ".config.yaml.12345").exists()
    assert [p.name for p in (run / "checkpoints").iterdir() if p.name.startswith(".")] == []


# ------------------------------------------------------------------------------- nothing is imported
@pytest.mark.parametrize(
    "changes",
    [
        {"env": "evil.py"},
        {"env": "evil:GAME"},
        {"env": "pettingzoo:evil/game-v0"},
        {"player_function": "evil.py:PLAYERS"},
        {"player_function": "evil:PLAYERS"},
        {"player_function": "HistoryDependent('evil:players')"},
        {"player_function": '{"type": "HistoryDependent", "function": "evil:players"}'},
        {"env": "pettingzoo:classic/connect_four_v3", "set": ["env=evil:GAME"]},
        {"set": ["backend=evil:GAME"]},
    ],
    ids=lambda changes: " ".join(map(str, changes.values())),
)
def test_what_a_config_names_is_not_imported(changes, run, evil):
    changed(run / "config.yaml", **changes)
    before = contents(run)
    for use in (evaluated, continued):
        error = outcome(use, run)
        assert isinstance(error, ValueError) and str(run / "config.yaml") in str(error), error
    outcome(reported, run)
    with contextlib.redirect_stdout(io.StringIO()):
        report.build(report.Args((run,), resamples=5, references=True))
    assert contents(run) == before
    assert not evil.exists()


def test_a_users_own_player_function_must_be_named_again(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "whose_turn.py").write_text(
        "from mail_envs import TurnOrder\nTURNS = TurnOrder([[0], [1, 2]])\n"
    )
    settings = ["--player-function", "whose_turn.py:TURNS", "--run-dir", "run", "--no-progress"]
    sizes = ["--num-envs", "2", "--rounds", "5", "--hidden", "8", "--eval-episodes", "2"]
    mack.train(parse(mack.Args, mack.PRESETS, [*settings, *sizes, "--steps", "20"]))
    with pytest.raises(ValueError, match=r"add --player-function whose_turn.py:TURNS"):
        evaluate(Args("run", episodes=2))
    with pytest.raises(ValueError, match=r"add --player-function whose_turn.py:TURNS"):
        parse(mack.Args, mack.PRESETS, ["--resume", "run"])
    own = evaluate(Args("run", episodes=3, player_function="whose_turn.py:TURNS"))
    assert read_json(Path("run/evaluation.json"))["episodes"] == own["episodes"] == 3
    other = evaluate(Args("run", episodes=3, player_function="Synchronous()"))
    assert other["episode_returns"] != own["episode_returns"] and "file" not in other
    again = ["--resume", "run", "--player-function", "whose_turn.py:TURNS", "--steps", "30"]
    assert mack.train(parse(mack.Args, mack.PRESETS, [*again, "--no-progress"]))["steps"] == 30
    assert "player_function=whose_turn.py:TURNS" in report.gather([Path("run")])[0][0].task


# ------------------------------------------------------------------------------------ the command line
def test_learners_and_commands_are_listed():
    done = subprocess.run(
        [sys.executable, "-m", "learners"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for name in (*learner_names(), *COMMANDS):
        (line,) = [x for x in done.stdout.splitlines() if f"learners.{name} " in x]
        assert len(line.split(maxsplit=3)[3]) > 20
    table = (ROOT / "README.md").read_text().split("| learner |")[1].split("\n\n")[0]
    assert learner_names() == sorted(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE))


@pytest.mark.parametrize("kind", [mack.Args, bc.Args])
def test_usage_names_the_command(kind, capsys):
    with pytest.raises(SystemExit):
        parse(kind, {}, ["--help"])
    name = Path(sys.modules[kind.__module__].__file__ or "").stem
    assert f"usage: python -m learners.{name} " in capsys.readouterr().out


def test_settings_are_checked_wherever_they_come_from(run):
    for changes in ({"steps": "5"}, {"hidden": 3}, {"device": "tpu"}, {"num_envs": 0}):
        with pytest.raises((TypeError, ValueError), match=next(iter(changes))):
            mack.Args(**changes)
    assert mack.Args(hidden=[3, 4], lr=1).hidden == (3, 4)
    assert type(mack.Args(lr=1).lr) is float
    assert read_config(run)["hidden"] == [8]
    assert checksum({"a": 1, "b": 2}) == checksum({"b": 2, "a": 1}) != checksum({"a": 1, "b": 3})
    assert os.path.exists(run / "config.yaml")


def test_copies_of_the_policy_are_kept_and_named_by_their_step(tmp_path):
    run = tmp_path / "run"
    settings = {"num_envs": 4, "rounds": 10, "eval_episodes": 0, "progress": False, "hidden": (8,)}
    args = ippo.Args(steps=200, policy_every=2, run_dir=str(run), **settings)
    ippo.train(args)
    env = mail_envs.make_vec("stochastic_coop_nav", 2)
    copies = [load_policy(f"{run}@{step}", env) for step in (80, 160)]
    assert [p.metadata["steps"] for p in copies] == [80, 160]
    first, second = (p.policy.networks[0].layers[0].weight for p in copies)
    assert not torch.equal(first, second)
    with pytest.raises(ValueError, match=r"no copy of step '120'; steps kept: 80, 160"):
        load_policy(f"{run}@120", env)
    found = sources.find(f"{run}@160")
    assert (found.env, found.identity["steps"]) == ("stochastic_coop_nav", 160)
