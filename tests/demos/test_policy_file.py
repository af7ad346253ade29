"""Policy files are untrusted: damaged or forged ones give one error that names the file."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from demos.policies import EXPERTS, NetworkPolicy
from demos.policy_file import FORMAT, checksum, read_policy_file, write_policy_file
from learners.lib.architectures import read_policy

METADATA = {
    "id": "stochastic_coop_nav", "groups": [0, 0, 1], "activation": "tanh", "agent_id": True,
    "distribution": "gaussian", "null_action": "null", "learner": "ippo", "steps": 9,
    "agents": ["agent_0", "agent_1", "agent_2"], "observation_dims": [3, 3, 2], "arguments": {},
    "player_function": {"type": "Stochastic", "probability": 0.5}, "joint": False, "architecture": "gru",
    "action_dims": [2, 2, 2], "hidden": [4], "layer_norm": "after", "last_action": False, "normalized": True,
}  # fmt: skip
NEW = ("joint", "architecture", "action_dims", "hidden", "layer_norm", "last_action", "normalized")
OLD_METADATA = {k: v for k, v in METADATA.items() if k not in NEW} | {"recurrent": True}
OLD_FORMATS = ("mail_envs policy 1", "mail_envs policy 2")


def networks() -> dict[str, np.ndarray]:
    """Tensors of every kind: two groups, GRU, normalized inputs, layer norms."""
    shapes = {}
    for g, inputs in enumerate([5, 3]):
        at = f"networks.{g}."
        shapes |= {
            f"{at}layers.0.weight": (4, inputs), f"{at}layers.0.bias": (4,),
            f"{at}layers.1.weight": (2, 4), f"{at}layers.1.bias": (2,), f"{at}log_std": (2,),
            f"{at}mean": (inputs,), f"{at}std": (inputs,),
            f"{at}gru.weight_ih": (12, 4), f"{at}gru.weight_hh": (12, 4),
            f"{at}gru.bias_ih": (12,), f"{at}gru.bias_hh": (12,),
            f"{at}input_norm.weight": (inputs,), f"{at}input_norm.bias": (inputs,),
            f"{at}norms.0.weight": (4,), f"{at}norms.0.bias": (4,),
            f"{at}gru_norm.weight": (4,), f"{at}gru_norm.bias": (4,),
        }  # fmt: skip
    return drawn(shapes)


def old_networks() -> dict[str, np.ndarray]:
    """The same without layer norms, as earlier formats store them."""
    shapes = {}
    for g, (inputs, observed) in enumerate([(5, 3), (3, 2)]):
        shapes |= {
            f"group{g}.0.weight": (4, inputs), f"group{g}.0.bias": (4,),
            f"group{g}.1.weight": (2, 4), f"group{g}.1.bias": (2,), f"group{g}.log_std": (2,),
            f"group{g}.mean": (observed,), f"group{g}.std": (observed,),
            f"group{g}.gru.weight_ih": (12, 4), f"group{g}.gru.weight_hh": (12, 4),
            f"group{g}.gru.bias_ih": (12,), f"group{g}.gru.bias_hh": (12,),
        }  # fmt: skip
    return drawn(shapes)


def drawn(shapes: dict) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {k: rng.uniform(0.1, 1.0, shape).astype(np.float32) for k, shape in shapes.items()}


def forge(path: Path, tensors: dict, **changes) -> None:
    """A file with changed metadata and a correct checksum; None removes an entry."""
    entries = {**METADATA, "format": FORMAT, **changes}
    texts = {
        k: v if isinstance(v, str) else json.dumps(v) for k, v in entries.items() if v is not None
    }
    save_file(tensors, path, metadata={**texts, "checksum": checksum(tensors, texts)})


def forge_old(path: Path, tensors: dict, format: str, **changes) -> None:
    """The same in an earlier format; the first one has no checksum."""
    entries = {**dict.fromkeys(NEW), **OLD_METADATA, "format": format, **changes}
    if format == OLD_FORMATS[1]:
        return forge(path, tensors, **entries)
    texts = {
        k: v if isinstance(v, str) else json.dumps(v) for k, v in entries.items() if v is not None
    }
    return save_file(tensors, path, metadata=texts)


def act(path: Path) -> list[str]:
    """What the policy of a file does, as texts that show every bit, and what it says."""
    policy = NetworkPolicy.load(path, greedy=True)
    rng = np.random.default_rng(1)
    observations = rng.standard_normal((7, 3, 3)).astype(np.float32)
    info = {"round": np.zeros(7), "participation": np.ones((7, 3), np.uint8)}
    chosen = policy(observations, info, None)
    return [chosen.tobytes().hex(), json.dumps(policy.metadata, sort_keys=True)]


def test_a_written_file_is_read_again(tmp_path):
    write_policy_file(tmp_path / "p.safetensors", networks(), METADATA)
    tensors, metadata = read_policy_file(tmp_path / "p.safetensors")
    assert metadata == {**METADATA, "format": FORMAT}
    assert {k: v.tolist() for k, v in tensors.items()} == {
        k: v.tolist() for k, v in networks().items()
    }


def test_files_of_earlier_formats_play_like_those_of_today(tmp_path):
    """A file without layer norms in all formats; the agents' indices are not standardized."""
    tensors = old_networks()
    today = {
        re.sub(r"^group(\d)\.", r"networks.\1.", re.sub(r"\.(\d)\.", r".layers.\1.", name)): x
        for name, x in tensors.items()
    }
    for g, agents in enumerate((2, 1)):
        for name, fill in (("mean", 0), ("std", 1)):
            x = tensors[f"group{g}.{name}"]
            today[f"networks.{g}.{name}"] = np.append(x, np.full(agents, fill, np.float32))
    forge(tmp_path / "today", today, layer_norm="none")
    actions, _ = act(tmp_path / "today")
    for format in OLD_FORMATS:
        forge_old(tmp_path / "old", tensors, format)
        found, metadata = act(tmp_path / "old")
        assert found == actions
        said = {**METADATA, "layer_norm": "none", "format": format}
        assert json.loads(metadata) == said
    for path in EXPERTS.glob("*.safetensors"):
        read_policy(path)


def test_files_without_a_checksum_are_read_only_when_they_are_of_format_1(tmp_path):
    texts = {k: v if isinstance(v, str) else json.dumps(v) for k, v in METADATA.items()}
    for format, tensors in ((FORMAT, networks()), (OLD_FORMATS[1], old_networks())):
        save_file(tensors, tmp_path / "p.safetensors", metadata={**texts, "format": format})
        with pytest.raises(ValueError, match=r"p\.safetensors: the policy file is damaged"):
            read_policy(tmp_path / "p.safetensors")


def test_a_file_is_small_but_claims_huge_networks(tmp_path):
    """Nothing of the claimed size is allocated."""
    for said in ({"hidden": [2**31 - 1] * 3}, {"groups": list(range(3)), "hidden": [4] * 10_000}):
        forge(tmp_path / "p.safetensors", networks(), **said)
        with pytest.raises(ValueError, match=r"p\.safetensors: "):
            read_policy(tmp_path / "p.safetensors")


FORGED_METADATA = [
    ("groups", None), ("groups", []), ("groups", [0, 0, -1]), ("groups", [0, 0, 2]),
    ("groups", [1, 1, 1]), ("groups", [0, 0, 10**9]), ("groups", [0, 0, 1.0]), ("groups", "0"),
    ("groups", [[0], 0, 1]), ("groups", {"0": 1}), ("groups", [0, 0, True]), ("groups", [0, 0, 1, 1]),
    ("activation", None), ("activation", "gelu"), ("activation", "__import__"), ("activation", [1]),
    ("distribution", None), ("distribution", "categorical"), ("distribution", "normal"),
    ("agent_id", "yes"), ("agent_id", 1), ("agent_id", False), ("null_action", "skip"),
    ("null_action", {}), ("agents", ["a", "a", "b"]), ("agents", ["a"]), ("agents", [1, 2, 3]),
    ("agents", "abc"), ("observation_dims", [3, 3, 3]), ("observation_dims", [3]),
    ("observation_dims", "x"), ("observation_dims", [3, 3, -2]), ("observation_dims", [[3], 3, 2]),
    ("steps", -1), ("steps", "many"), ("steps", [1]), ("arguments", [1]), ("arguments", 5),
    ("player_function", [1]), ("player_function", "Stochastic"), ("format", "mail_envs policy 4"),
    ("steps", "[" * 100_000 + "]" * 100_000),
]  # fmt: skip
FORGED_FORM = [
    ("architecture", None), ("architecture", "mlp"), ("architecture", "os.system"), ("architecture", [1]),
    ("joint", None), ("joint", True), ("joint", 0), ("action_dims", [2, 2, 3]), ("action_dims", [2, 2]),
    ("action_dims", [2, 3, 2]), ("hidden", []), ("hidden", [4, 4]), ("hidden", [0]), ("hidden", "4"),
    ("hidden", [4.0]), ("layer_norm", "before"), ("layer_norm", None), ("last_action", True),
    ("last_action", None), ("normalized", False), ("normalized", 1), ("distribution", "greedy"),
    ("distribution", "tanh_gaussian"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "value"), FORGED_METADATA + FORGED_FORM, ids=lambda v: str(v)[:40]
)
def test_metadata_of_wrong_types_are_refused(tmp_path, name, value):
    forge(tmp_path / "p.safetensors", networks(), **{name: value})
    with pytest.raises(ValueError, match=r"p\.safetensors: "):
        read_policy(tmp_path / "p.safetensors")


OLD_RECURRENT = [("recurrent", None), ("recurrent", "false"), ("recurrent", 1)]


@pytest.mark.parametrize("format", OLD_FORMATS)
def test_metadata_of_wrong_types_are_refused_in_files_of_earlier_formats(tmp_path, format):
    forge_old(tmp_path / "p.safetensors", old_networks(), format)
    read_policy(tmp_path / "p.safetensors")
    for name, value in FORGED_METADATA + OLD_RECURRENT:
        forge_old(tmp_path / "p.safetensors", old_networks(), **{"format": format, name: value})
        with pytest.raises(ValueError, match=r"p\.safetensors: "):
            read_policy(tmp_path / "p.safetensors")


def changes_of(tensors: dict[str, np.ndarray], extra: tuple[str, ...]) -> Iterator[dict]:
    """Sets of tensors that are no networks: one is missing or changed, or there is another, of a name in `extra`."""
    everywhere = [
        lambda t: np.full_like(t, np.nan), lambda t: np.full_like(t, -np.inf), lambda t: t[:-1],
        lambda t: t[None], lambda t: t[:0], lambda t: t.astype(np.int32),
    ]  # fmt: skip
    for name, tensor in tensors.items():
        yield {k: x for k, x in tensors.items() if k != name}
        for change in everywhere:
            yield {**tensors, name: change(tensor)}
        if name.endswith(("0.weight", "1.weight")) and tensor.ndim == 2:
            yield {**tensors, name: tensor.T.copy()}
        if name.endswith(".std"):
            yield {**tensors, name: np.zeros_like(tensor)}
            yield {**tensors, name: -tensor}
    for name in extra:
        yield {**tensors, name: np.ones((4, 4), np.float32)}


def test_tensors_that_do_not_form_networks_are_rejected(tmp_path):
    path = tmp_path / "p.safetensors"
    extra = ("networks.2.layers.0.weight", "networks.0.layers.3.weight", "networks.0.layers.00.weight",
             "networks.0.low", "../escape")  # fmt: skip
    for tensors in changes_of(networks(), extra):
        forge(path, tensors)
        with pytest.raises(ValueError, match=r"p\.safetensors: "):
            read_policy(path)


@pytest.mark.parametrize("format", OLD_FORMATS)
def test_tensors_of_earlier_formats_that_do_not_form_networks_are_rejected(tmp_path, format):
    path = tmp_path / "p.safetensors"
    extra = (
        "group2.0.weight",
        "group0.3.weight",
        "group0.2.weight",
        "group0.00.weight",
        "../escape",
    )
    for tensors in changes_of(old_networks(), extra):
        forge_old(path, tensors, format)
        with pytest.raises(ValueError, match=r"p\.safetensors: "):
            read_policy(path)


def test_only_regular_files_are_read(tmp_path):
    os.mkfifo(tmp_path / "pipe.safetensors")
    (tmp_path / "folder.safetensors").mkdir()
    (tmp_path / "loop.safetensors").symlink_to(tmp_path / "loop.safetensors")
    (tmp_path / "lost.safetensors").symlink_to(tmp_path / "nowhere")
    (tmp_path / "empty.safetensors").touch()
    for path in sorted(tmp_path.iterdir()):
        with pytest.raises(ValueError, match=f"{path.name}: not a readable safetensors file"):
            read_policy_file(path)


# -- mutants --------------------------------------------------------------------------------------


def mutants(original: bytes, count: int, seed: int):
    """Damaged copies of a file: flipped bits, cut, longer, overwritten, another header."""
    rng = np.random.default_rng(seed)
    size = int.from_bytes(original[:8], "little")
    header = json.loads(original[8 : 8 + size])
    names = [name for name in header if name != "__metadata__"]
    for k in range(count):
        data = bytearray(original)
        kind = k % 6
        if kind == 0:  # flipped bits, anywhere and in the header
            for at in rng.integers(0, len(data) if k % 4 else 8 + size, 1 + k % 3):
                data[at] ^= 1 << rng.integers(8)
        elif kind == 1:  # cut, or longer
            at = int(rng.integers(0, len(data)))
            data = data[:at] if k % 4 else data + bytes(rng.integers(0, 256, 1 + k, np.uint8))
        elif kind == 2:  # a stretch overwritten
            at = int(rng.integers(0, len(data) - 8))
            data[at : at + 8] = bytes(8) if k % 4 else b"\xff" * 8
        elif kind == 3:  # another length of the header
            data[:8] = int(rng.choice([0, 1, size - 1, size + 1, 2**31, 2**63])).to_bytes(
                8, "little"
            )
        else:  # a header that says something else
            said = json.loads(json.dumps(header))
            entry = said[names[int(rng.integers(len(names)))]]
            values = [-1, 0, 2**31, 2**64, 1e300, None, "x", [1], float("nan")]
            value = values[int(rng.integers(len(values)))]
            if kind == 4:
                place = ("shape", "data_offsets")[k // 6 % 2]
                entry[place][int(rng.integers(len(entry[place])))] = value
            else:
                other = said[names[int(rng.integers(len(names)))]]
                entry["data_offsets"], other["data_offsets"] = (
                    other["data_offsets"], entry["data_offsets"])  # fmt: skip
                said["__metadata__"]["steps"] = str(k)
            text = json.dumps(said).encode()
            data = len(text).to_bytes(8, "little") + text + original[8 + size :]
        yield bytes(data)


LOAD = """
import json, sys
sys.path.insert(0, {tests!r})
from pathlib import Path
from test_policy_file import act
for path in sorted(Path({folder!r}).glob("*.safetensors")):
    try:
        said = act(path)
    except ValueError as error:
        said = str(error)
    print(json.dumps([path.name, said]), flush=True)
"""


@pytest.mark.parametrize("format", [FORMAT, "mail_envs policy 1"])
def test_mutants_of_a_policy_file_are_rejected(tmp_path, format):
    """With a checksum a mutant acts like the original or is refused; without one it does no harm."""
    forge(tmp_path / "original", networks())
    original = (tmp_path / "original").read_bytes()
    expected = act(tmp_path / "original")
    if format != FORMAT:
        forge_old(tmp_path / "original", old_networks(), format)
        original = (tmp_path / "original").read_bytes()
    for k, mutant in enumerate(mutants(original, 300, seed=len(format))):
        (tmp_path / f"{k:03}.safetensors").write_bytes(mutant)
    code = LOAD.format(tests=str(Path(__file__).parent), folder=str(tmp_path))
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=300, cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip
    assert run.returncode == 0, run.stderr[-2000:]
    outcomes = [json.loads(line) for line in run.stdout.splitlines()]
    assert len(outcomes) == 300
    believed = [name for name, said in outcomes if isinstance(said, list)]
    for name, said in outcomes:
        if isinstance(said, str):
            assert said.startswith(f"{tmp_path / name}: ") and "\n" not in said
        elif format == FORMAT:
            assert said == expected
    assert len(believed) < 100
    assert not (tmp_path / "escape").exists()
