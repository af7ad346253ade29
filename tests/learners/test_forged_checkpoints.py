"""Forged checkpoints with valid checksums never reach compiled code: resuming from them is a one-line error."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from sample_faults import FINE, KILLED, Faulty

from learners import mack
from learners.lib.checkpoints import TENSORS, checkpoints
from learners.lib.files import read_json, write_json
from learners.lib.rollout import Rollout
from mail_envs.player_functions import Synchronous
from mail_envs.vector import VectorGame

GAMES = ("gold_miner_easy_2_vs_2", "stochastic_coop_nav")
EPISODES = "/parts/rollout/episodes/"
# Resumes every given folder and prints the outcome; an interpreter that is killed by a signal prints less.
RESUME = """
import sys
from pathlib import Path
from learners import mack
from learners.lib.settings import resumed

for folder in sys.argv[1:]:
    try:
        mack.train(resumed(Path(folder), mack.Args, progress=False, steps=60))
    except ValueError as error:
        print("outcome:", str(error).replace("\\n", "|"))
    else:
        print("outcome: resumed")
"""


def forge(folder: Path, change) -> None:
    """Change the tensors of the newest checkpoint and its state.json, and update all checksums."""
    newest = checkpoints(folder)[-1]
    tensors, state = load_file(newest / TENSORS), read_json(newest / "state.json")
    change(tensors, state["tree"]["dict"]["parts"]["dict"])
    save_file(tensors, newest / TENSORS)
    state["files"][TENSORS] = zlib.crc32((newest / TENSORS).read_bytes())
    write_json(newest / "state.json", state)


def filled(name: str, value: float, last_only: bool = False):
    """Write `value` into a tensor of the running episodes."""

    def change(tensors, _):
        tensor = tensors[EPISODES + name]
        (tensor[-1:] if last_only else tensor).fill_(value)

    return change


def another_seed(tensors, _):
    tensors[EPISODES + "seeds"] += 1


def shorter(tensors, _):
    tensors[EPISODES + "actions"] = tensors[EPISODES + "actions"][:-1].clone()


def other_type(tensors, _):
    tensors[EPISODES + "rounds"] = tensors[EPISODES + "rounds"].double()


def raw_memory(_, parts):
    """As written by earlier versions."""
    parts["rollout"]["dict"]["game"] = {"value": None}


FORGED = {
    "rounds": (filled("rounds", 10**9), "its rounds range from 1000000000 to 1000000000, not from 0 to"),
    "negative rounds": (filled("rounds", -1, True), "its rounds range from -1 to"),
    "seeds": (filled("seeds", -(2**63)), "its seeds range from -9223372036854775808 to"),
    "illegal actions": (filled("illegal_actions", 2**40), "its illegal_actions range from"),
    "actions": (filled("actions", 2**31 - 1, True), "its actions hold 2147483647"),
    "negative actions": (filled("actions", -(2**31)), "its actions hold -2147483648"),
    "another seed": (another_seed, "its episodes lead to other observations"),
    "shorter": (shorter, "its actions are torch.int32"),
    "other type": (other_type, "its rounds are torch.float64"),
    "raw memory": (raw_memory, "restart the run"),
}  # fmt: skip


@pytest.mark.parametrize("game", GAMES)
def test_forged_running_episodes_are_refused(game, tmp_path):
    mack.train(
        mack.Args(
            env=game, steps=40, num_envs=4, rounds=5, hidden=(8,), eval_episodes=0,
            progress=False, run_dir=str(tmp_path / "run"),
        )
    )  # fmt: skip
    folders = []
    for name, (change, _) in FORGED.items():
        folders.append(Path(shutil.copytree(tmp_path / "run", tmp_path / name)))
        forge(folders[-1], change)
    done = subprocess.run(
        [sys.executable, "-c", RESUME, *map(str, folders), str(tmp_path / "run")],
        capture_output=True, text=True, timeout=300, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    *lines, intact = [x for x in done.stdout.splitlines() if x.startswith("outcome: ")]
    assert intact == "outcome: resumed"
    for folder, line, (_, said) in zip(folders, lines, FORGED.values(), strict=True):
        assert f"{checkpoints(folder)[-1]} does not fit this run: " in line and said in line, line


def test_continuous_actions_out_of_bounds_are_refused(tmp_path):
    args = mack.Args(
        env="mpe_simple_spread", set=("continuous_actions=true",), steps=40, num_envs=4, rounds=5,
        hidden=(8,), eval_episodes=0, progress=False, run_dir=str(tmp_path / "run"),
    )  # fmt: skip
    mack.train(args)
    for value, said in ((7.0, "is not in"), (float("nan"), "not all finite")):
        forge(tmp_path / "run", filled("actions", value))
        with pytest.raises(ValueError, match=said):
            mack.train(mack.Args(**{**vars(args), "resume": str(tmp_path / "run"), "steps": 60}))


class Fine:
    """Plays FINE."""

    def act(self, observations, mask, rng, *_):
        return torch.full(observations.shape[:2], FINE)


def test_a_rollout_of_simulators_resumes_where_another_stopped():
    """Episodes of 6 rounds, after 8 and 16 rounds; the copies are out of step because one loses an episode."""
    rollouts = []
    for _ in range(2):
        vec = VectorGame(Faulty(), Synchronous(), 2, num_workers=2, max_rounds=6, array="torch")
        rollouts.append(Rollout(vec, 8))
    first, second = rollouts
    first.reset(0)
    first.vec.step(torch.tensor([[KILLED, FINE], [FINE, FINE]]))
    first.collect(Fine(), torch.Generator())
    state = first.state_dict()
    assert state["episodes"]["rounds"].tolist() == [2, 3]
    second.load_state_dict(state)
    for rollout in rollouts:
        rollout.collect(Fine(), torch.Generator())
        rollout.vec.close()
    for name in ("observations", "rewards", "truncated"):
        assert torch.equal(getattr(first, name), getattr(second, name)), name
    assert first.finished().sum() == 2 and first.episodes() == second.episodes()
