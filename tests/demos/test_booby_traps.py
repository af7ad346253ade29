"""Sets and policy files that name code: every command refuses them in one line, and imports nothing."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import tyro
from test_policy_file import METADATA, forge

from demos import inspect, record, replay
from learners import bc, evaluate
from learners.lib.settings import parse
from mail_envs.__main__ import main as mail_envs_command
from mail_envs.commands.errors import exit_status

TRAPS = {
    "path": {"id": "trap.py"},
    "path of an id": {"id": "trap.py:trap"},
    "module": {"id": "trap:parallel_env"},
    "PettingZoo": {"id": "pettingzoo:trap/env-v0"},
    "env": {"id": "pettingzoo:sisl/pursuit-v5", "arguments": {"env": "trap/env-v0"}},
    "function": {"player_function": {"type": "HistoryDependent", "function": "trap:act"}},
    "class": {"player_function": {"type": "trap:PLAYER", "k": 3}},
}


def run(command: ModuleType, words: list[str], capsys) -> tuple[int, str]:
    """Exit status and stderr of a command, in this process."""
    if hasattr(command, "PRESETS"):  # a learner
        settings = parse(command.Args, command.PRESETS, words)
        status = exit_status(lambda: command.train(settings))
    else:
        status = command.main(tyro.cli(command.Args, args=words))
    return status, capsys.readouterr().err


def one_error(status: int, stderr: str, *names: str) -> None:
    lines = [line for line in stderr.splitlines() if line.startswith("error: ")]
    assert status == 2 and len(lines) == 1, stderr
    assert "Traceback" not in stderr
    for name in names:
        assert name in lines[0]


@pytest.fixture(scope="module")
def honest(tmp_path_factory) -> Path:
    """A set of two episodes."""
    folder = tmp_path_factory.mktemp("honest") / "set"
    record.record("stochastic_coop_nav", "scripted", 2, 0, folder, random_return=0.0)
    return folder


@pytest.fixture(params=TRAPS)
def trapped(request, honest, tmp_path, trap) -> Path:
    """The set with metadata that name the trap; the set's folder also contains a copy of the trap."""
    folder = tmp_path / "set"
    shutil.copytree(honest, folder)
    shutil.copy(tmp_path / "trap.py", folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, **TRAPS[request.param]}))
    return folder


def test_no_set_makes_a_command_import_anything(trapped, capsys):
    status, stderr = run(replay, ["set", "--verify"], capsys)
    one_error(status, stderr, "set")
    status, stderr = run(replay, ["set", "--out", "x.gif"], capsys)
    one_error(status, stderr, "set")
    status, stderr = run(inspect, ["set"], capsys)
    assert "Traceback" not in stderr and status in (0, 2)
    words = [
        "--env",
        "stochastic_coop_nav",
        "--policy",
        "scripted",
        "--episodes",
        "3",
        "--out",
        "set",
    ]
    status, stderr = run(record, words, capsys)
    one_error(status, stderr, "set")
    words = [
        "--env",
        "stochastic_coop_nav",
        "--demos",
        "set",
        "--num-demos",
        "2",
        "--run-dir",
        "run",
    ]
    status, stderr = run(bc, words, capsys)
    one_error(status, stderr)


@pytest.fixture(params=TRAPS)
def trapped_policy(request, tmp_path, trap) -> Path:
    """A policy file with a correct checksum whose metadata name the trap."""
    rng = np.random.default_rng(0)
    shapes = {"0.weight": (8, 16), "0.bias": (8,), "1.weight": (5, 8), "1.bias": (5,)}
    tensors = {
        f"networks.0.layers.{k}": rng.random(s).astype(np.float32) for k, s in shapes.items()
    }
    said: dict = dict.fromkeys(METADATA) | {
        "id": "stochastic_coop_nav", "groups": [0, 0, 0], "activation": "relu", "arguments": {},
        "distribution": "categorical", "null_action": "null", "agents": ["agent_0", "agent_1", "agent_2"],
        "architecture": "mlp", "joint": False, "observation_dims": [16] * 3, "action_dims": [5] * 3,
        "hidden": [8], "layer_norm": "none", "agent_id": False, "last_action": False, "normalized": False,
    }  # fmt: skip
    forge(tmp_path / "p.safetensors", tensors, **{**said, **TRAPS[request.param]})
    return tmp_path / "p.safetensors"


def test_no_policy_file_makes_a_command_import_anything(trapped_policy, capsys):
    status, stderr = run(evaluate, ["p.safetensors", "--episodes", "2"], capsys)
    one_error(status, stderr, "p.safetensors")
    words = ["render", "stochastic_coop_nav", "--policy", "p.safetensors", "--out", "x.png"]
    assert (
        mail_envs_command(words) == 0
    )  # the user names the game; what the file says of it does not count
    words = [
        "--env",
        "stochastic_coop_nav",
        "--policy",
        "p.safetensors",
        "--episodes",
        "2",
        "--out",
        "new",
    ]
    status, stderr = run(record, words, capsys)
    assert status == 0, stderr
