"""Policy files: the same numbers as the network that wrote them, and errors that say what does not fit."""

from __future__ import annotations

import inspect
import json
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from chosen_ids import IDS
from safetensors.numpy import save_file

import mail_envs
from demos import inspect as show
from demos.actions import inverse_cdf
from demos.keyed_random import KeyedRandom
from demos.layout import DemonstrationError
from demos.policies import EXPERTS, NetworkPolicy, best_policy, load_policy, policy_path
from demos.policy_file import read_policy_file, write_policy_file
from demos.record import record
from learners.lib import expert_data, sources

UNEQUAL = str(Path(__file__).parents[1] / "unequal_game.py")


def write_policy(path, dims=16, outputs=5, groups=(0, 0, 0), seed=0, **entries):
    """`dims` and `outputs`: of all groups, or one for each."""
    rng = np.random.default_rng(seed)
    identity = groups.count(0) if entries.get("agent_id") == "true" else 0
    tensors = {}
    for g in range(max(groups) + 1):
        d, n = (x if isinstance(x, int) else x[g] for x in (dims, outputs))
        for k, (i, o) in enumerate([(d + identity, 8), (8, n)]):
            tensors[f"group{g}.{k}.weight"] = rng.standard_normal((o, i)).astype(np.float32)
            tensors[f"group{g}.{k}.bias"] = rng.standard_normal(o).astype(np.float32)
        if entries.get("distribution") == "gaussian":
            tensors[f"group{g}.log_std"] = np.full(n, 2, np.float32)
    metadata = {"format": "mail_envs policy 1", "id": "stochastic_coop_nav", "groups": json.dumps(groups),
                "activation": "relu", "distribution": "categorical", "null_action": "null",
                "agent_id": "false", "learner": "mack", **entries}  # fmt: skip
    save_file(tensors, path, metadata=metadata)
    return tensors


def play(env, policy, rng=None):
    observations, info = env.reset(seed=0)
    rng = rng or np.random.default_rng(0)
    for _ in range(5):
        actions = policy(observations, info, rng)
        observations, _, _, _, info = env.step(actions)
        assert np.all(info["illegal_actions"] == 0)
    return actions


def test_outputs_are_those_of_the_network(tmp_path):
    t = write_policy(tmp_path / "p.safetensors", agent_id="true")
    policy = NetworkPolicy.load(tmp_path / "p.safetensors").policy
    x = np.random.default_rng(0).standard_normal((4, 3, 16))
    inputs = np.concatenate([x, np.broadcast_to(np.eye(3), (4, 3, 3))], axis=-1)
    hidden = np.maximum(inputs @ t["group0.0.weight"].T + t["group0.0.bias"], 0)
    expected = hidden @ t["group0.1.weight"].T + t["group0.1.bias"]
    out = policy.networks[0](policy.inputs(0, torch.from_numpy(x))).detach()
    assert out.dtype == torch.float64 and np.allclose(out, expected.reshape(12, 5), rtol=1e-12)


@pytest.mark.parametrize("null_action", ["null", "as_action"])
@pytest.mark.parametrize("outputs", [5, 6])
def test_policies_with_and_without_a_null_output_play_both_kinds(tmp_path, null_action, outputs):
    kind = "as_action" if outputs == 6 else "null"
    write_policy(tmp_path / "policy.safetensors", outputs=outputs, null_action=kind)
    env = mail_envs.make_vec("stochastic_coop_nav", num_envs=30, null_action=null_action)
    play(env, load_policy(tmp_path, env))
    play(env, load_policy(tmp_path, env, greedy=True))


@pytest.mark.parametrize("greedy", [False, True])
def test_gaussian_policies_stay_within_the_bounds(tmp_path, greedy):
    write_policy(tmp_path / "p.safetensors", distribution="gaussian")
    env = mail_envs.make_vec("stochastic_coop_nav", num_envs=3, continuous_actions=True)
    actions = play(env, load_policy(tmp_path / "p.safetensors", env, greedy))
    assert actions.shape == (3, 3, 5) and actions.min() == 0 and actions.max() == 1


@pytest.mark.parametrize("null_action", ["null", "as_action"])
@pytest.mark.parametrize("phi", [0, 1])
@pytest.mark.parametrize("greedy", [False, True])
def test_agents_with_fewer_actions_use_only_their_own(tmp_path, null_action, phi, greedy):
    kind = "as_action" if phi else "null"
    sizes = {"dims": (1, 3), "outputs": (2 + phi, 5 + phi), "groups": (0, 1)}
    write_policy(tmp_path / "p.safetensors", null_action=kind, **sizes)
    env = mail_envs.make_vec(UNEQUAL, num_envs=40, null_action=null_action)
    policy = load_policy(tmp_path / "p.safetensors", env, greedy)
    play(env, policy)
    observations, info = env.reset(seed=3)
    actions = policy(observations, info, np.random.default_rng(0))
    absent = info["participation"] == 0
    for i, n in enumerate((2, 5)):
        assert (actions[~absent[:, i], i] < n).all()
        if null_action == "as_action":
            assert (actions[absent[:, i], i] == n).all()
    with pytest.raises(
        ValueError, match="has 5 action outputs, guide_0 of 'guide_and_walker' needs 2"
    ):
        write_policy(tmp_path / "q.safetensors", **{**sizes, "outputs": 5})
        load_policy(tmp_path / "q.safetensors", mail_envs.make_vec(UNEQUAL))


def test_continuous_actions_beyond_an_agents_own_are_zero(tmp_path):
    entries = {"dims": (1, 3), "outputs": (1, 3), "groups": (0, 1), "distribution": "gaussian"}
    write_policy(tmp_path / "p.safetensors", **entries)
    env = mail_envs.make_vec(UNEQUAL, num_envs=20, continuous=True)
    for policy in (load_policy(tmp_path / "p.safetensors", env), load_policy("random", env)):
        actions = play(env, policy)
        assert not actions[:, 0, 1:].any() and (actions[:, 1, 2] >= 0).all()


def test_actions_do_not_depend_on_the_batch(tmp_path):
    write_policy(tmp_path / "p.safetensors")
    write_policy(tmp_path / "p.safetensors", distribution="gaussian")
    policy = NetworkPolicy.load(tmp_path / "p.safetensors")
    x = np.random.default_rng(0).standard_normal((50, 3, 16)).astype(np.float32)
    info = {"participation": np.ones((50, 3)), "round": np.ones(50)}
    alone = {name: values[:1] for name, values in info.items()}
    draws = [KeyedRandom(np.arange(n), np.ones(n)) for n in (50, 1)]
    assert np.array_equal(policy(x, info, draws[0])[:1], policy(x[:1], alone, draws[1]))


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"dims": 18}, "made for 18 observed numbers"),
        ({"outputs": 7}, "has 7 action outputs"),
        ({"groups": (0, 0)}, "made for 2 agents"),
        ({"distribution": "gaussian"}, "continuous"),
        ({"format": "other"}, "expected a 'mail_envs policy 3' file"),
        ({"activation": "gelu"}, "incomplete or inconsistent"),
    ],
)
def test_policies_that_do_not_fit(tmp_path, entries, message):
    write_policy(tmp_path / "p.safetensors", **entries)
    env = mail_envs.make_vec("stochastic_coop_nav")
    with pytest.raises(ValueError, match=message):
        load_policy(tmp_path / "p.safetensors", env)


def test_inspect_says_who_decides_and_needs_no_torch(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "torch", None)
    expert = EXPERTS / "stochastic_coop_nav.safetensors"
    shutil.copy(expert, tmp_path / "policy.safetensors")
    for path in (expert, tmp_path):
        assert show.main(show.Args(path)) == 0
        text = capsys.readouterr().out
        assert "decentralized: every agent acts from its own observation" in text
        assert "mlp" in text and "128, 128" in text
    write_policy_file(
        tmp_path / "policy.safetensors", {"x": np.ones((2, 3))}, {"groups": [0], "joint": True}
    )
    assert show.main(show.Args(tmp_path)) == 0
    assert "joint: one policy acts for the whole team" in capsys.readouterr().out
    assert show.main(show.Args(expert, json=True)) == 0
    about = json.loads(capsys.readouterr().out)
    assert about["joint"] is False and about["parameters"] == 16 * 128 + 128 * 129 + 128 + 5 * 129
    assert show.main(show.Args(expert, repair=True)) == 2


def test_shipped_policies_have_names():
    """expert is the best one; expert:NAME another one of the same game; all fit their games."""
    env = mail_envs.make_vec("smac_5m_vs_6m")
    policies = [load_policy(f"expert{name}", env) for name in ("", ":30", ":50", ":30_other")]
    assert [p.metadata["steps"] for p in policies] == [3001600, 256000, 512000, 256000]
    assert policies[3].metadata["seed"] != policies[1].metadata["seed"]
    with pytest.raises(
        ValueError,
        match=r"no trained expert '60'.*: expert, expert:30, expert:30_other, expert:50, ",
    ):
        load_policy("expert:60", env)
    with pytest.raises(
        ValueError, match=r"no trained expert is shipped .*available: scripted, random"
    ):
        load_policy("expert", mail_envs.make_vec("smac_8m"))
    for path in EXPERTS.glob("*.safetensors"):
        id, arguments = path.name.partition(".")[0], read_policy_file(path)[1]["arguments"]
        NetworkPolicy.load(path, mail_envs.make_vec(id, **arguments))
        assert path.stat().st_size < 1_000_000


def test_a_trained_policy_without_torch_is_one_clear_error(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    env = mail_envs.make_vec("stochastic_coop_nav")
    with pytest.raises(ImportError, match=r"needs torch: pip install 'mail-envs\[learners\]'"):
        load_policy("expert", env)
    assert best_policy(env) == "scripted"


def test_foreign_files(tmp_path):
    env = mail_envs.make_vec("stochastic_coop_nav")
    (tmp_path / "p.safetensors").write_bytes(b"\x80\x04 not a policy")
    with pytest.raises(ValueError, match="not a readable safetensors file"):
        load_policy(tmp_path / "p.safetensors", env)
    with pytest.raises(ValueError, match="neither"):
        load_policy("exprt", env)


@pytest.mark.parametrize("id", IDS)
@pytest.mark.parametrize(
    "options", [{}, {"null_action": "as_action"}, {"continuous_actions": True}]
)
def test_random_policy_is_always_legal(id, options):
    if not {"null_action", *inspect.signature(mail_envs.spec(id).load()).parameters} >= set(
        options
    ):
        pytest.skip("the game has no such option")
    try:
        env = mail_envs.make_vec(id, num_envs=4, **options)
    except (ImportError, ValueError) as error:  # no simulator, or only continuous actions
        pytest.skip(str(error))
    play(env, load_policy("random", env))
    env.close()


def test_inverse_cdf_follows_the_weights():
    draws = np.random.default_rng(0).random(20_000)
    chosen = inverse_cdf(np.tile([1.0, 0.0, 3.0, 0.0], (20_000, 1)), draws)
    assert np.bincount(chosen, minlength=4)[[1, 3]].sum() == 0
    assert (chosen == 2).mean() == pytest.approx(0.75, abs=0.02)


def test_keyed_numbers_depend_on_the_episode_and_the_round():
    all_three = KeyedRandom(np.array([5, 6, 7]), np.array([2, 0, 9])).random((3, 4))
    assert np.array_equal(KeyedRandom(np.array([6]), np.array([0])).random((1, 4)), all_three[1:2])
    many = KeyedRandom(np.arange(1000), np.arange(1000) % 50)
    uniform, normal = many.random((1000, 20)), many.standard_normal((1000, 20))
    assert (
        uniform.mean() == pytest.approx(0.5, abs=0.01) and uniform.min() >= 0 and uniform.max() < 1
    )
    assert normal.std() == pytest.approx(1.0, abs=0.02)
    assert len(np.unique(uniform)) == 20_000
    with pytest.raises(AttributeError, match=r"rng\.choice is not available"):
        many.choice([1, 2])


def test_a_policy_for_each_agent(tmp_path):
    env = mail_envs.make_vec("stochastic_coop_nav", 4)
    paths = []
    for seed in range(2):
        paths.append(str(tmp_path / f"p{seed}.safetensors"))
        write_policy(paths[-1], seed=seed)
    a, b = paths
    observations, info = env.reset(seed=0)
    greedy = [np.asarray(load_policy(p, env, True)(observations, info, None)) for p in paths]
    assert (greedy[0] != greedy[1]).any(0).all()
    mixed = load_policy(f"{a},{b},{a}", env, True)(observations, info, None)
    for i, k in enumerate((0, 1, 0)):
        assert np.array_equal(mixed[:, i], greedy[k][:, i])
    one, alone = (load_policy(x, env) for x in (f"{a},{a},{a}", a))
    rngs = [KeyedRandom(np.arange(4), np.zeros(4)) for _ in range(2)]
    assert np.array_equal(one(observations, info, rngs[0]), alone(observations, info, rngs[1]))
    play(env, load_policy(f"scripted,{b},random", env))
    with pytest.raises(ValueError, match=r"2 policies for the 3 agents .* give one for each"):
        load_policy(f"{a},{b}", env)
    demos = record("stochastic_coop_nav", f"{a},{b},{a}", 2, 0, tmp_path / "set", random_return=0.0)
    expected = ", ".join(f"p{k}.safetensors (mack steps)" for k in (0, 1, 0))
    assert demos.metadata["demonstrator"] == expected
    with pytest.raises(ValueError, match="greedy needs a learned policy"):
        record("stochastic_coop_nav", f"{a},{b},random", 2, 0, tmp_path / "no", greedy=True)


def test_copies_of_a_run_may_have_other_files_beside_them(tmp_path):
    folder = tmp_path / "run" / "policies"
    folder.mkdir(parents=True)
    for name in ("step_80", "step_80 (copy)", "step_best"):
        (folder / f"{name}.safetensors").touch()
    assert policy_path(f"{tmp_path}/run@80") == folder / "step_80.safetensors"
    with pytest.raises(ValueError, match="no copy of step 'best'; steps kept: 80"):
        policy_path(f"{tmp_path}/run@best")


def test_a_set_is_not_continued_by_another_policy_of_the_same_name(tmp_path):
    for seed in range(2):
        (tmp_path / str(seed)).mkdir()
        write_policy(tmp_path / str(seed) / "policy.safetensors", seed=seed, steps="5")
    game, out = "stochastic_coop_nav", tmp_path / "set"
    record(game, tmp_path / "0", 2, 0, out, demonstrator="run", random_return=0.0)
    with pytest.raises(DemonstrationError, match="other trained policies that have the same name"):
        record(game, tmp_path / "1", 4, 0, out, demonstrator="run")
    assert len(record(game, tmp_path / "0", 4, 0, out, demonstrator="run")) == 4


def test_one_policy_for_each_of_many_agents_is_no_file_name(monkeypatch):
    env, many = mail_envs.make_vec("smac_27m_vs_30m", 1), ",".join(["scripted:focus_fire"] * 27)
    assert len(load_policy(many, env).policies) == 27
    assert sources.find(many).spec == many
    recorded = []
    monkeypatch.setattr(expert_data, "_record", lambda run, source, *_: recorded.append(source))
    with pytest.raises(TypeError):  # nothing was recorded
        expert_data.opened(SimpleNamespace(args=SimpleNamespace(num_demos=1)), many)
    assert recorded == [many]
