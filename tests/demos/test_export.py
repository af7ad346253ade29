"""Policies in half precision, and exported ones: they play, and what they play replays bit for bit."""

from __future__ import annotations

import json

import numpy as np
import pytest
from safetensors.numpy import load_file
from test_policy_file import METADATA, forge, networks

import mail_envs
from demos import export, inspect, replay
from demos.keyed_random import KeyedRandom
from demos.policies import load_policy
from demos.policy_file import read_policy_file, write_policy_file
from demos.record import record
from learners import ippo

GAME = "stochastic_coop_nav"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of IPPO with memory and input statistics."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    settings = {"num_envs": 4, "rounds": 10, "eval_episodes": 0, "progress": False, "hidden": (16,)}
    ippo.train(
        ippo.Args(
            env=GAME, steps=160, policy_every=2, recurrent=True, run_dir=str(folder), **settings
        )
    )
    return folder


def test_half_precision_rounds_parameters_and_keeps_statistics(tmp_path):
    tensors = networks()
    tensors["networks.0.std"][0] = 1e-9  # 0 in float16
    write_policy_file(tmp_path / "whole", tensors, METADATA)
    write_policy_file(tmp_path / "half", tensors, METADATA, float16=True)
    stored = load_file(tmp_path / "half")
    read, metadata = read_policy_file(tmp_path / "half")
    assert metadata == read_policy_file(tmp_path / "whole")[1]
    for name, tensor in tensors.items():
        kept = name.endswith((".mean", ".std"))
        assert stored[name].dtype == (np.float32 if kept else np.float16)
        assert read[name].dtype == np.float32
        expected = tensor if kept else tensor.astype(np.float16).astype(np.float32)
        assert np.array_equal(read[name], expected)
    assert not np.array_equal(read["networks.0.gru.weight_hh"], tensors["networks.0.gru.weight_hh"])


def test_a_parameter_beyond_half_precision_is_named(tmp_path):
    tensors = {**networks(), "networks.1.layers.0.bias": np.full(4, -1e6, np.float32)}
    forge(tmp_path / "p.safetensors", tensors)
    (tmp_path / "out.safetensors").write_bytes(b"earlier")
    message = r"networks\.1\.layers\.0\.bias has the number 1e\+06, beyond float16"
    with pytest.raises(ValueError, match=message):
        export.export(tmp_path / "p.safetensors", tmp_path / "out.safetensors", float16=True)
    assert (tmp_path / "out.safetensors").read_bytes() == b"earlier"
    assert len(list(tmp_path.iterdir())) == 2


def test_half_precision_numbers_that_are_not_finite_are_rejected(tmp_path):
    tensors = {k: x.astype(np.float16) for k, x in networks().items()}
    forge(tmp_path / "p.safetensors", tensors)
    read_policy_file(tmp_path / "p.safetensors")
    tensors["networks.0.layers.0.bias"][1] = np.inf
    forge(tmp_path / "p.safetensors", tensors)
    with pytest.raises(ValueError, match="numbers that are not finite"):
        read_policy_file(tmp_path / "p.safetensors")


@pytest.mark.parametrize("float16", [False, True])
def test_an_exported_policy_plays_and_replays_bit_for_bit(tmp_path, run, float16):
    out = tmp_path / "expert" / f"{GAME}.safetensors"
    count = export.export(run, out, float16)
    sizes = [path.stat().st_size for path in (run / "policy.safetensors", out)]
    saved = (
        2 * (count - 2 * 19) * float16
    )  # statistics of 16 observed numbers and 3 agents are kept
    assert sizes[0] - sizes[1] == pytest.approx(saved, abs=100)  # the header differs, too
    sets = [
        record(GAME, str(out), 5, 0, tmp_path / str(n), num_envs=n, random_return=0.0)
        for n in (1, 5)
    ]
    assert sets[0].metadata["demonstrator"] == f"{GAME}.safetensors (ippo, 160 steps)"
    assert replay.verify(sets[0]) == []
    for one, many in zip(*sets, strict=True):
        assert np.array_equal(one.actions, many.actions)
    whole = record(GAME, str(run), 5, 0, tmp_path / "run", random_return=0.0)
    same = all(np.array_equal(a.actions, b.actions) for a, b in zip(whole, sets[0], strict=True))
    assert same or float16


def test_a_greedy_copy_takes_the_most_likely_actions(tmp_path, run):
    out = tmp_path / "greedy.safetensors"
    export.export(run, out, greedy=True)
    vec = mail_envs.make_vec(GAME, 16)
    observations, info = vec.reset(seed=0)
    rng = KeyedRandom(info["seed"], info["round"])
    likely = load_policy(run, vec, greedy=True)(observations, info, rng)
    assert np.array_equal(load_policy(out, vec)(observations, info, rng), likely)
    sampled = load_policy(run, vec)(observations, info, rng)
    assert not np.array_equal(sampled, likely)


def test_a_greedy_copy_needs_separate_discrete_actions(tmp_path):
    out = tmp_path / "out.safetensors"
    for form in ({"distribution": "gaussian"}, {"joint": True, "distribution": "categorical"}):
        write_policy_file(tmp_path / "p.safetensors", networks(), {**METADATA, **form})
        with pytest.raises(ValueError, match="--greedy needs"):
            export.export(tmp_path / "p.safetensors", out, greedy=True)
    assert not out.exists()


def test_other_users_may_read_a_policy_file_as_they_may_any(tmp_path):
    (tmp_path / "any").touch()
    write_policy_file(tmp_path / "policy", networks(), METADATA)
    assert (tmp_path / "policy").stat().st_mode == (tmp_path / "any").stat().st_mode


def test_the_policy_of_a_step_is_exported_and_inspected(tmp_path, run, capsys):
    out = tmp_path / "p.safetensors"
    assert export.main(export.Args(f"{run}@80", out, float16=True)) == 0
    assert capsys.readouterr().out.startswith(f"wrote {out}: ")
    assert load_policy(out, mail_envs.make_vec(GAME, 1)).metadata["steps"] == 80
    for path in (out, f"{run}@80"):
        assert inspect.main(inspect.Args(inspect.Path(path), json=True)) == 0
        assert json.loads(capsys.readouterr().out)["steps"] == 80


@pytest.mark.parametrize(
    ("policy", "out", "message"),
    [
        ("{run}", "p.gif", "p.gif: the file name must end in .safetensors"),
        ("{tmp}/nothing", "p.safetensors", "nothing: no policy file, and no run folder with one"),
        ("{tmp}", "p.safetensors", "no file {tmp}/policy.safetensors"),
        ("{run}@7", "p.safetensors", "no copy of step '7'; steps kept: 80, 160"),
    ],
)
def test_user_errors_are_one_line(tmp_path, run, policy, out, message, capsys):
    places = {"run": run, "tmp": tmp_path}
    args = export.Args(policy.format(**places), tmp_path / out)
    assert export.main(args) == 2
    error = capsys.readouterr().err
    assert message.format(**places) in error and error.count("\n") == 1
    assert not (tmp_path / out).exists()
