"""Every learner end to end on tiny settings: command line, run folder, resuming, and a return that rises."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import runpy
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

import mail_envs
from demos.episode import Transitions
from demos.layout import DemonstrationError
from learners import amagail, bc, evaluate, ippo, mack, magail
from learners.lib.architectures import read_policy
from learners.lib.checkpoints import checkpoints, load_checkpoint, save_checkpoint
from learners.lib.records import read_run
from learners.lib.settings import parse, read_config, resumed

ROOT = Path(__file__).resolve().parents[2]
TINY = {
    "steps": 600,
    "num_envs": 10,
    "rounds": 10,
    "hidden": (16,),
    "eval_episodes": 20,
    "log_every": 1,
    "checkpoint_every": 3,
    "progress": False,
}
IMITATION = {"num_demos": 5, "warm_start": 20}
LEARNERS = {
    "mack": (mack, TINY),
    "ippo": (ippo, TINY),
    "bc": (
        bc,
        {k: v for k, v in TINY.items() if k not in ("num_envs", "rounds")}
        | {"steps": 12, "num_demos": 5, "validate_every": 2},
    ),
    "magail": (magail, {**TINY, **IMITATION, "disc_first": 2}),
    "amagail": (amagail, {**TINY, **IMITATION, "disc_first": 2}),
}
FROM_REWARDS = ("mack", "ippo")  # they need no demonstrations


@pytest.fixture(scope="module")
def demonstrations(tmp_path_factory) -> str:
    from demos.record import record

    path = tmp_path_factory.mktemp("demos") / "random"
    record("stochastic_coop_nav", "random", 5, 0, path)
    return str(path)


def arguments(name: str, demonstrations: str, folder: Path, **changes):
    module, settings = LEARNERS[name]
    extra = {} if name in FROM_REWARDS else {"demos": demonstrations}
    return module.Args(**{**settings, **extra, "run_dir": str(folder), **changes})


def policy_of(folder: Path) -> list[torch.Tensor]:
    return list(read_policy(folder / "policy.safetensors")[0].parameters())


@pytest.mark.parametrize("name", LEARNERS)
def test_a_run_writes_a_complete_folder(name, demonstrations, tmp_path):
    folder = tmp_path / "run"
    result = LEARNERS[name][0].train(arguments(name, demonstrations, folder))
    for file in ("config.yaml", "metrics.jsonl", "policy.safetensors", "evaluation.json"):
        assert (folder / file).exists(), file
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["step"] == result["steps"]
    assert json.loads((folder / "evaluation.json").read_text())["return"] == result["return"] < 0
    newest = checkpoints(folder)[-1]
    assert {p.name for p in newest.iterdir()} == {
        "policy.safetensors",
        "training.safetensors",
        "state.json",
    }


def test_a_run_continues_on_another_kind_of_device(tmp_path):
    """The states of random generators on CUDA have 16 bytes; here, one is written into the checkpoint."""
    mack.train(arguments("mack", "", tmp_path / "run", steps=300, eval_episodes=0))
    newest = checkpoints(tmp_path / "run")[-1]
    tree = load_checkpoint(newest)
    policy = (newest / "policy.safetensors").read_bytes()
    for size, works in ((16, True), (17, False)):
        shutil.rmtree(newest, ignore_errors=True)
        tree["rng"] = torch.arange(size, dtype=torch.uint8)
        save_checkpoint(tmp_path / "run", 300, tree, lambda path: path.write_bytes(policy))
        shutil.copytree(tmp_path / "run", tmp_path / str(size))
        args = resumed(tmp_path / str(size), mack.Args, steps=600, progress=False)
        if works:
            assert mack.train(args)["steps"] == 600
            continue
        with pytest.raises(ValueError, match=r"does not fit this run: .*state size to be 17"):
            mack.train(args)


@pytest.mark.parametrize(
    ("name", "optimizer"),
    [*((n, o) for n in LEARNERS if n != "ippo" for o in ("kfac", "adam")), ("ippo", None)],
)
def test_a_resumed_run_ends_like_an_uninterrupted_one(
    name, optimizer, demonstrations, tmp_path, monkeypatch
):
    module = LEARNERS[name][0]
    changes = {"eval_episodes": 0, **({"optimizer": optimizer} if optimizer else {})}
    died_at = 5
    if optimizer == "kfac" and name != "bc":  # after the cold steps, between eigendecompositions
        changes |= {"steps": 1800, "hidden": (64,)}
        died_at = 17
    module.train(arguments(name, demonstrations, tmp_path / "whole", **changes))

    from learners.lib import run as runs

    original, calls = runs.Run.advance, []

    def dies(self, *args):
        calls.append(1)
        if len(calls) == died_at:
            raise KeyboardInterrupt
        return original(self, *args)

    monkeypatch.setattr(runs.Run, "advance", dies)
    with pytest.raises(KeyboardInterrupt):
        module.train(arguments(name, demonstrations, tmp_path / "cut", **changes))
    monkeypatch.setattr(runs.Run, "advance", original)
    module.train(resumed(tmp_path / "cut", module.Args, progress=False))

    for a, b in zip(policy_of(tmp_path / "whole"), policy_of(tmp_path / "cut"), strict=True):
        assert torch.equal(a, b)
    figures = []
    for folder in ("whole", "cut"):
        lines = [
            json.loads(line)
            for line in (tmp_path / folder / "metrics.jsonl").read_text().splitlines()
        ]
        figures.append(
            [
                {k: v for k, v in x.items() if k not in ("seconds", "steps_per_second")}
                for x in lines
            ]
        )
    assert figures[0] == figures[1]


def test_amagail_is_magail_when_everybody_always_participates(tmp_path):
    from demos.record import record

    record("coop_nav", "random", 5, 0, tmp_path / "demos")
    for name in ("magail", "amagail"):
        settings = {"env": "coop_nav", "eval_episodes": 0}
        LEARNERS[name][0].train(
            arguments(name, str(tmp_path / "demos"), tmp_path / name, **settings)
        )
    for a, b in zip(policy_of(tmp_path / "magail"), policy_of(tmp_path / "amagail"), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize(
    "changes",
    [
        {"discriminator": "centralized"},
        {"discriminator": "single", "reward": "logit"},
        {"gradient_penalty": 1.0, "input_noise": 0.1, "disc_optimizer": "adam", "disc_lr": 1e-3},
        {"weight_decay": 1e-3, "label_smoothing": 0.1, "logit_entropy": 1e-3, "reward": "softplus"},
        {"absorbing": False, "input_limit": None},
        {"pair_rewards": False},
        {"share": "none", "agent_id": True},
    ],
    ids=lambda changes: "-".join(changes),
)
def test_options_of_amagail_change_what_is_learned(changes, demonstrations, tmp_path):
    """Each leads to a different policy than the defaults, from the same cloned policy."""
    shared = {"warm_start": 5, "disc_first": 0, "keep": "last", "steps": 400, "eval_episodes": 0}
    policies = []
    for name, settings in (("usual", {}), ("changed", changes)):
        folder = tmp_path / name
        amagail.train(arguments("amagail", demonstrations, folder, **shared, **settings))
        policies.append(policy_of(folder))
    if changes.get("share") == "none":
        assert len(policies[1]) == 3 * len(policies[0])
    else:
        assert not all(torch.equal(a, b) for a, b in zip(*policies, strict=True))


@pytest.mark.parametrize(
    "changes",
    [
        {"env": "stochastic_predator_prey", "demos": "random"},
        {"fixed_horizon": True, "demos": "random", "max_rounds": 20},
        {"control": "random_lengths", "demos": "scripted"},
    ],
    ids=lambda changes: "-".join(changes),
)
def test_games_and_demonstrations_of_amagail(changes, demonstrations, tmp_path):
    changes = {"steps": 300, "warm_start": 5, **changes}
    result = amagail.train(arguments("amagail", demonstrations, tmp_path / "run", **changes))
    assert result["steps"] == 300 and -500 < result["return"] < 0
    if changes.get("fixed_horizon"):
        assert result["ended_early"] == 0 and result["length"] == 20
    if changes["demos"] == "scripted":
        assert sorted(p.name for p in (tmp_path / "run").iterdir() if p.is_dir()) == [
            "checkpoints", "demonstrations", "random_play",
        ]  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"demos": "random"}, "holds demonstrations with demonstrator 'scripted', not 'random'"),
        ({"set": ("penalty=hard",)}, "holds demonstrations with arguments"),
        ({"seed": 1}, "holds other episodes than those of --seed 1"),
        ({}, None),
    ],
    ids=["demonstrator", "game", "seed", "same"],
)
def test_a_run_that_starts_again_does_not_take_the_demonstrations_of_other_settings(
    changes, said, tmp_path, monkeypatch
):
    """The first start was stopped while cloning, before there was a checkpoint."""
    settings = {"demos": "scripted", "steps": 200, "eval_episodes": 0}

    def start(**changes):
        return amagail.train(arguments("amagail", "", tmp_path, **{**settings, **changes}))

    def stopped(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(bc, "fit", stopped)
        with pytest.raises(KeyboardInterrupt):
            start()
    if said is None:
        assert start(**changes)["steps"] == 200
        return
    with pytest.raises(ValueError, match=re.escape(said)):
        start(**changes)


def test_lengths_of_another_games_episodes_are_refused(demonstrations, tmp_path):
    settings = {"env": "coop_nav", "control": "random_lengths", "eval_episodes": 0}
    with pytest.raises(DemonstrationError, match="episodes are of 'stochastic_coop_nav', not of"):
        bc.train(arguments("bc", demonstrations, tmp_path, **settings))


@pytest.mark.parametrize("name", ["fixed_horizon", "max_rounds"])
def test_demonstrations_whose_episodes_end_differently_are_noted(
    name, demonstrations, tmp_path, capsys
):
    """Example: with --fixed-horizon the policy's episodes never end early, and those of a folder may."""
    for changes in ({}, {name: {"fixed_horizon": True, "max_rounds": 20}[name]}):
        settings = {"steps": 1, "eval_episodes": 0, **changes}
        bc.train(arguments("bc", demonstrations, tmp_path / str(len(changes)), **settings))
        assert (f"warning: {name} is" in capsys.readouterr().out) == bool(changes)


def test_random_play_with_the_lengths_of_the_demonstrations():
    from learners.lib.expert_data import with_lengths_of

    def episodes(lengths, early, value):
        count = sum(lengths)
        last = np.cumsum(lengths) - 1
        ended = np.isin(np.arange(count), last)
        early = np.isin(np.arange(count), last[early])
        rounds = np.concatenate([np.arange(x) for x in lengths]).astype(np.int32)
        shaped = np.full((count, 1, 1), value, np.float32)
        flat = np.zeros((count, 1), np.int32)
        return Transitions(
            observations=shaped, actions=flat, participation=flat, alive=flat, action_mask=None,
            rewards=flat, next_alive=flat, next_action_mask=None, next_participation=flat, state=flat, next_state=flat, next_observations=shaped + rounds[:, None, None], terminated=early,
            truncated=ended & ~early, episode=np.repeat(np.arange(len(lengths)), lengths),
            round=rounds,
        )  # fmt: skip

    expert = episodes([3, 5, 4], [0, 2], 0.0)
    cut = with_lengths_of(expert, episodes([6, 6, 2], [2], 1.0))
    assert cut.episode.tolist() == [0] * 3 + [1] * 5 + [2] * 2
    assert np.flatnonzero(cut.terminated).tolist() == [2, 9]
    assert np.flatnonzero(cut.truncated).tolist() == [7]
    by_itself = with_lengths_of(expert, episodes([6, 4, 6], [1], 1.0))
    assert np.flatnonzero(by_itself.terminated).tolist() == [2, 6, 10]
    assert not by_itself.truncated.any()
    assert cut.next_observations[2, 0, 0] == 1 + 2 and (cut.observations == 1).all()


UNEQUAL = str(ROOT / "tests" / "unequal_game.py")


@pytest.mark.parametrize("name", LEARNERS)
@pytest.mark.parametrize(
    ("env", "set"),
    [
        (UNEQUAL, ()),
        (UNEQUAL, ("continuous=true",)),
        (UNEQUAL, ("masked=true",)),
        ("mpe_simple_speaker_listener", ()),
        ("mpe_simple_speaker_listener", ("continuous_actions=true",)),
    ],
    ids=lambda value: Path(value).name if isinstance(value, str) else "".join(value),
)
def test_agents_may_have_different_actions(name, env, set, tmp_path):
    """Also, the networks' outputs depend on what the agents observe."""
    module, settings = LEARNERS[name]
    changes = {"steps": min(settings["steps"], 300), "env": env, "set": set, "eval_episodes": 400}
    if name not in FROM_REWARDS:
        changes["demos"] = "random"
    args = module.Args(**{**settings, **changes, "run_dir": str(tmp_path / "run")})
    result = module.train(args)
    again = evaluate.evaluate(
        evaluate.Args(str(tmp_path / "run"), env=env, episodes=400, json=True)
    )
    error = (result["sd"] ** 2 + again["sd"] ** 2) ** 0.5 / 400**0.5
    assert again["return"] == pytest.approx(result["return"], abs=5 * error + 1e-4)
    assert again["env"] == mail_envs.spec(env).id == read_config(tmp_path / "run")["env"]
    policy, _ = read_policy(tmp_path / "run" / "policy.safetensors")
    rng = torch.Generator().manual_seed(0)
    count = max(policy.observation_dims)
    observations = torch.randn(50, len(policy.groups), count, generator=rng)
    for g, network in enumerate(policy.networks):
        out = network(policy.inputs(g, observations)).detach()
        assert float(out.std(0).min()) > 1e-4


def test_bc_as_action_learns_each_agents_own_null_action(tmp_path):
    settings = {**LEARNERS["bc"][1], "env": UNEQUAL, "demos": "random", "phi": "as_action"}
    bc.train(bc.Args(**{**settings, "steps": 150, "num_demos": 60, "run_dir": str(tmp_path)}))
    policy, metadata = read_policy(tmp_path / "policy.safetensors")
    assert policy.action_dims == [3, 6] and metadata["null_action"] == "as_action"
    for network, size in zip(policy.networks, (1, 3)):  # agents are absent 40 % of the time
        assert 0.2 < torch.softmax(network(torch.zeros(1, size)).detach(), 1)[0, -1] < 0.6


def test_a_run_of_a_users_own_game_is_resumed_with_its_file(tmp_path):
    """Every command runs in a new process, in which the game is unknown until its file is named."""

    def run(*words):
        done = subprocess.run(
            [sys.executable, "-m", *words, "--no-progress"],
            cwd=tmp_path, capture_output=True, text=True,
        )  # fmt: skip
        return done.returncode, done.stderr

    sizes = ["--num-envs", "2", "--hidden", "8", "--eval-episodes", "3"]
    assert run("learners.mack", "--env", UNEQUAL, "--steps", "40", *sizes)[0] == 0
    folder = "runs/mack_guide_and_walker_0"
    status, error = run("learners.mack", "--resume", folder, "--steps", "80")
    assert status == 2 and "--env guide_and_walker.py" in error
    again = run("learners.mack", "--resume", folder, "--steps", "80", "--env", UNEQUAL)
    assert again == (0, again[1])
    assert json.loads((tmp_path / folder / "evaluation.json").read_text())["steps"] == 80


@pytest.mark.parametrize("name", LEARNERS)
def test_command_line(name, tmp_path):
    words = [
        "--run-dir",
        str(tmp_path / "run"),
        "--preset",
        "quick",
        "--no-progress",
        "--eval-episodes",
        "5",
    ]
    words += ["--steps", "20" if name == "bc" else "2000"]
    words += [] if name in FROM_REWARDS else ["--demos", "random", "--num-demos", "4"]
    words += ["--warm-start", "20"] if name in ("magail", "amagail") else []
    done = subprocess.run(
        [sys.executable, "-m", f"learners.{name}", *words], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert f"{name} on stochastic_coop_nav" in done.stdout


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_or_kill_saves_and_ends_with_130(tmp_path, kind):
    folder = tmp_path / "run"
    words = ["--run-dir", str(folder), "--steps", "100000000", "--log-every", "1", "--no-progress"]
    process = subprocess.Popen([sys.executable, "-m", "learners.mack", *words], cwd=ROOT)
    metrics = folder / "metrics.jsonl"
    for _ in range(600):
        if metrics.exists() and metrics.stat().st_size:
            break
        time.sleep(0.1)
    os.kill(process.pid, kind)
    assert process.wait(timeout=60) == 130
    assert len(checkpoints(folder)) == 1
    assert (folder / "policy.safetensors").exists()


def test_ctrl_c_during_the_evaluation_stops_at_once(tmp_path, monkeypatch):
    def interrupted(*args, **more):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(5)
        raise AssertionError("the evaluation went on")

    monkeypatch.setattr("learners.lib.run.evaluate_network", interrupted)
    folder = tmp_path / "run"
    settings = {
        "steps": 200,
        "num_envs": 4,
        "rounds": 10,
        "hidden": (8,),
        "eval_episodes": 4,
        "progress": False,
    }
    with pytest.raises(KeyboardInterrupt, match=r"saved at step 200; --resume .* evaluates it"):
        mack.train(mack.Args(**settings, run_dir=str(folder)))
    monkeypatch.undo()
    assert mack.train(resumed(folder, mack.Args, progress=False))["episodes"] == 4


def test_kill_9_leaves_complete_checkpoints_to_resume_from(tmp_path):
    folder = tmp_path / "run"
    words = ["--run-dir", str(folder), "--steps", "20000", "--checkpoint-every", "2"]
    words += ["--num-envs", "4", "--eval-episodes", "5", "--no-progress"]
    process = subprocess.Popen([sys.executable, "-m", "learners.mack", *words], cwd=ROOT)
    for _ in range(1200):
        if len(checkpoints(folder)) >= 2:
            break
        time.sleep(0.02)
    process.kill()
    process.wait(timeout=60)
    reached = int(checkpoints(folder)[-1].name.split("_")[1])
    assert 0 < reached < 20_000
    policy_of(folder)
    assert mack.train(resumed(folder, mack.Args, progress=False))["steps"] == 20_000
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["update"] for line in lines] == list(range(10, 501, 10))


def test_a_player_function_is_a_setting_of_the_run(demonstrations, tmp_path):
    folder = tmp_path / "run"
    changes = {"player_function": "Stochastic(0.9)", "demos": "random", "set": ("penalty=none",)}
    bc.train(arguments("bc", demonstrations, folder, **changes))
    config = read_config(folder)
    assert (config["player_function"], config["set"]) == ("Stochastic(0.9)", ["penalty=none"])
    manifest = json.loads((folder / "demonstrations" / "manifest.json").read_text())
    assert manifest["player_function"] == {"type": "Stochastic", "probability": 0.9}
    assert manifest["arguments"] == {"penalty": "none"}
    task = read_run(folder).task
    assert "player_function=Stochastic(probability=0.9)" in task and "penalty=none" in task
    file = evaluate.Args(str(folder / "policy.safetensors"), episodes=20, json=True)
    returns = [evaluate.evaluate(a)["episode_returns"] for a in (
        file,
        dataclasses.replace(file, policy=str(folder)),
        dataclasses.replace(file, policy=str(folder), player_function="Stochastic(0.1)"),
    )]  # fmt: skip
    assert returns[0] == returns[1] != returns[2]
    both = r"player function Stochastic\(probability=0.5\) .*, Stochastic\(probability=0.9\)"
    with pytest.raises(ValueError, match=both):
        changes = {"player_function": "Stochastic(0.9)"}
        bc.train(arguments("bc", demonstrations, tmp_path / "other", **changes))


def test_a_resumed_run_keeps_its_settings(tmp_path):
    folder = str(tmp_path / "run")
    mack.train(arguments("mack", "", tmp_path / "run", lr=0.05, set=("num_agents=2",)))

    def again(*words):
        return parse(mack.Args, mack.PRESETS, ["--resume", folder, *words])

    for words in (["--lr", "0.05"], ["--set", "num_agents=2"], ["--env", "stochastic_coop_nav"]):
        assert mack.train(again(*words, "--no-progress"))["steps"] == 600
    for words, said in (
        (["--lr", "0.1"], r"--lr 0.1: .* was started with 0.05"),  # the default, but not this run's
        (["--set", "num_agents=3"], "--set"),
        (
            ["--player-function", "Synchronous()"],
            r"--player-function Synchronous\(\): .* with None",
        ),
        (["--run-dir", "elsewhere"], "--run-dir elsewhere"),
        (["--steps", "500"], r"--steps may be raised \(from 600\) and --budget, --device"),
    ):
        with pytest.raises(ValueError, match=said):
            mack.train(again(*words))
    longer = ["--steps", "800", "--checkpoint-every", "1", "--device", "cpu", "--no-progress"]
    assert mack.train(again(*longer))["steps"] == 800
    assert read_config(tmp_path / "run")["steps"] == again().steps == 800


def test_resuming_a_finished_run_keeps_its_better_evaluation(tmp_path, capsys):
    mack.train(arguments("mack", "", tmp_path / "run"))
    evaluate.evaluate(evaluate.Args(str(tmp_path / "run"), episodes=30))
    better = (tmp_path / "run" / "evaluation.json").read_bytes()
    mack.train(resumed(tmp_path / "run", mack.Args, progress=False))
    assert (tmp_path / "run" / "evaluation.json").read_bytes() == better
    assert "evaluation.json is kept: it has 30 episodes" in capsys.readouterr().out
    mack.train(resumed(tmp_path / "run", mack.Args, progress=False, steps=700))
    newer = json.loads((tmp_path / "run" / "evaluation.json").read_text())
    assert (newer["steps"], newer["episodes"]) == (700, 20)


@pytest.mark.filterwarnings("ignore:.* found in sys.modules")
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["bc", "--demos", "nowhere"], "no such folder"),
        (["mack", "--preset", "wrong"], "preset 'wrong' is unknown"),
        (["mack", "--env", "coop_navi"], "unknown id 'coop_navi'"),
        (["magail", "--resume", "nowhere"], "nowhere is not a run folder"),
        (["evaluate", "nowhere"], "neither expert, scripted, random nor"),
        (["report", "nowhere"], "is neither a folder nor a CSV file"),
        (["sweep", "nowhere.yaml"], "nowhere.yaml is missing"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_a_user_error_prints_one_line_and_exits_with_2(words, said, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["learner", *words[1:]])
    with pytest.raises(SystemExit) as end:
        runpy.run_module(f"learners.{words[0]}", run_name="__main__", alter_sys=True)
    error = capsys.readouterr().err
    assert end.value.code == 2
    assert error.startswith("error: ") and said in error and error.count("\n") == 1


def test_user_errors_are_clear(demonstrations, tmp_path):
    mack.train(arguments("mack", "", tmp_path / "run", eval_episodes=0))
    with pytest.raises(ValueError, match="run of mack, not of bc"):
        bc.train(resumed(tmp_path / "run", bc.Args))
    with pytest.raises(ValueError, match="not a run folder"):
        mack.train(resumed(tmp_path, mack.Args))
    with pytest.raises(ValueError, match="already holds a run"):
        mack.train(arguments("mack", "", tmp_path / "run"))
    with pytest.raises(ValueError, match="made in the game 'stochastic_coop_nav', but --env names"):
        mack.train(resumed(tmp_path / "run", mack.Args, env="coop_reaching"))
    with pytest.raises(ValueError, match="5 episodes; --num-demos asks for 6"):
        bc.train(arguments("bc", demonstrations, tmp_path / "few", num_demos=6))
    with pytest.raises(FileNotFoundError, match="no such folder"):
        bc.train(arguments("bc", str(tmp_path / "nowhere"), tmp_path / "none"))
    with pytest.raises(ValueError, match="fit the environment"):
        bc.train(
            arguments("bc", demonstrations, tmp_path / "other", env="stochastic_predator_prey")
        )
    choices = {"reward": "log", "share": "some", "optimizer": "sgd", "discriminator": "joint"}
    for name, value in choices.items():  # before anything is recorded or written
        with pytest.raises(ValueError, match=f"{name}='{value}' is unknown; choose "):
            arguments("amagail", demonstrations, tmp_path / "form", **{name: value})


def test_mack_learns(tmp_path):
    """The return after 150,000 steps is far above that of random play (about -59)."""
    args = mack.Args(
        steps=150_000, kl_clip=0.004, eval_episodes=100, run_dir=str(tmp_path), progress=False
    )
    assert mack.train(args)["return"] > -50


def test_amagail_learns(tmp_path):
    """With 50 demonstrations, the return after 100,000 steps is far above random play (about -59)."""
    args = amagail.Args(
        num_demos=50,
        steps=100_000,
        eval_episodes=200,
        run_dir=str(tmp_path / "run"),
        progress=False,
    )
    result = amagail.train(args)
    assert result["return"] > -50
    assert result["cloned_return"] > -52
