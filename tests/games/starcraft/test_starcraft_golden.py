"""Recordings of the original packages, which ran on random unit states, go through the layer.

`../shared/golden/smac` (not part of the repository) has all kinds; `recorded.npz` has a few frames of each, made in
the same way: smac at d6aab33 and smacv2 at 577ab5a with a fake game behind them.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from mail_envs.games.starcraft import encode_episode
from mail_envs.games.starcraft.maps import SCENARIOS

HERE = Path(__file__).parent
GOLDEN = HERE.parents[2].parent / "shared" / "golden" / "smac"
TOLERANCE = 1e-6

V1 = [f"v1_{s.name}" for s in SCENARIOS.values() if s.version == 1]
V2 = [
    f"v2_{race}_{size}_{variant}"
    for race in ("protoss", "terran", "zerg")
    for size in ("5v5", "10v11")
    for variant in ("std", "epo", "conic")
]


def check(id, data, **options):
    """The layer's episode equals the recorded one: features to 1e-6, all else exactly."""
    frames = {name[2:]: column for name, column in data.items() if name.startswith("u_")}
    if "names" in data:
        frames["names"] = data["names"]
        options |= {"agent_order": data["order"], "first_order": data["first_order"]}
    found = encode_episode(id, frames, data["act"], faithful=True, **options)
    for name, recorded in (("observations", data["obs"]), ("state", data["state"])):
        assert found[name].shape == recorded.shape, name
        assert np.abs(found[name] - recorded).max() <= TOLERANCE, name
    exact = {
        "action_mask": "avail",
        "rewards": "rew",
        "terminated": "term",
        "won": "won",
        "ally_tags": "ally_tags",
        "enemy_tags": "enemy_tags",
        "visibility": "vis",
        "dead_allies": "dead_a",
        "dead_enemies": "dead_e",
    }
    for name, key in exact.items():
        if key in data:
            assert np.array_equal(found[name], data[key]), name


@pytest.mark.parametrize("name", V1 + V2)
def test_the_golden_episodes_come_out_as_the_originals_did(name):
    path = GOLDEN / f"{name}.npz"
    if not path.exists():
        pytest.skip(f"there is no golden file {name}.npz in ../shared/golden/smac")
    id, options = f"smac_{name[3:].lower()}", {}
    if name.startswith("v2"):
        _, race, size, variant = name.split("_")
        id = f"smacv2_{race}_{size.replace('v', '_vs_')}"
        options = {"variant": "standard" if variant == "std" else variant}
    with np.load(path) as file:
        data = dict(file)
    for seed in sorted({key.split("_")[0] for key in data}):
        own = {k.removeprefix(f"{seed}_"): v for k, v in data.items() if k.startswith(f"{seed}_")}
        check(id, own, **options)


with np.load(HERE / "recorded.npz") as _file:
    RECORDED = dict(_file)


@pytest.mark.parametrize("case", sorted({key.split("/")[0] for key in RECORDED}))
def test_the_recorded_episodes_come_out_as_the_originals_did(case):
    data = {k.split("/")[1]: v for k, v in RECORDED.items() if k.startswith(f"{case}/")}
    options = json.loads(str(data.pop("options")))
    id, _, variant = case.partition(":")
    check(id, data, variant=variant or None, **options)
