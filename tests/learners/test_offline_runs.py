"""Runs of the offline learners: every kind of game, resuming, and what their files note."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from demos.policies import NetworkPolicy
from learners import cql, icq, omar, td3bc

TINY: dict[str, Any] = {
    "hidden": (16,), "steps": 24, "batch": 20, "episodes": 3, "chunk": 4, "eval_episodes": 10, "log_every": 1,
    "checkpoint_every": 8, "progress": False, "film": "none", "num_demos": 6, "demos": "random",
}  # fmt: skip
CONTINUOUS = {"env": "coop_nav", "set": ("continuous_actions=true",)}
ABSENT = {"env": "stochastic_coop_nav"}


def figures_of(folder: Path) -> list[dict]:
    lines = [json.loads(x) for x in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in x.items() if k not in ("seconds", "steps_per_second")} for x in lines]


@pytest.mark.parametrize(("module", "changes"), [
    (td3bc, ABSENT), (td3bc, CONTINUOUS), (td3bc, {**ABSENT, "recurrent": True, "critic": "state"}),
    (td3bc, {**CONTINUOUS, "recurrent": True}), (cql, ABSENT), (cql, CONTINUOUS),
    (cql, {**ABSENT, "variant": "qmix", "recurrent": True}), (cql, {**ABSENT, "variant": "counterfactual", "lam": 0.6}),
    (icq, ABSENT), (icq, {**CONTINUOUS, "recurrent": True}), (omar, {**ABSENT, "recurrent": True}), (omar, CONTINUOUS),
])  # fmt: skip
def test_runs(module, changes, tmp_path):
    result = module.train(module.Args(**{**TINY, **changes, "run_dir": str(tmp_path)}))
    last = figures_of(tmp_path)[-1]
    assert result["episodes"] == 10 and math.isfinite(last["loss"]) and last["step"] == 24
    file = NetworkPolicy.load(tmp_path / "policy.safetensors")
    assert file.metadata["reward_scale"] > 0 and file.metadata["normalized"]
    assert file.policy.networks[0].std.min() > 0  # the observations' statistics come with the file


@pytest.mark.parametrize(
    ("module", "changes"), [(td3bc, ABSENT), (cql, CONTINUOUS), (icq, ABSENT), (omar, ABSENT)]
)
def test_a_resumed_run_ends_like_an_uninterrupted_one(module, changes, tmp_path):
    settings = {**TINY, **changes, "eval_episodes": 0}
    module.train(module.Args(**settings, run_dir=str(tmp_path / "whole")))
    module.train(module.Args(**{**settings, "steps": 9}, run_dir=str(tmp_path / "cut")))
    folder = str(tmp_path / "cut")
    module.train(module.Args(**{**settings, "run_dir": folder, "resume": folder}))
    assert figures_of(tmp_path / "whole") == figures_of(tmp_path / "cut")


@pytest.mark.parametrize(("module", "changes", "said"), [
    (cql, {**CONTINUOUS, "variant": "qmix"}, "--variant qmix needs discrete actions; those of coop_nav are continuous"),
    (cql, {**ABSENT, "critic": "state"}, "--critic state needs continuous actions"),
])  # fmt: skip
def test_settings_that_do_not_fit_are_refused(module, changes, said, tmp_path):
    with pytest.raises(ValueError, match=said):
        module.train(module.Args(**{**TINY, **changes, "run_dir": str(tmp_path)}))
