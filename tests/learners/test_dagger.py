"""DAgger: whose actions are played, whose are learned, and in which states."""

from __future__ import annotations

from pathlib import Path

import matrix_game
import numpy as np
import pytest
import torch

import mail_envs
from demos.policies import load_policy
from learners import dagger
from learners.lib.architectures import save_policy
from learners.lib.checkpoints import checkpoints, load_checkpoint
from learners.lib.game import make_game
from learners.lib.metrics_file import read_metrics
from learners.lib.networks import Policy
from learners.lib.optimizers import Adam
from learners.lib.replay import Replay
from learners.lib.rollout import Rollout
from learners.lib.settings import parse, resumed

CPU = torch.device("cpu")
TEACHERS = Path(__file__).resolve()
ROOT = TEACHERS.parents[2]
TINY = {
    "steps": 480, "num_envs": 6, "rounds": 20, "hidden": (16,), "capacity": 2000, "batch": 32, "updates": 2,
    "eval_episodes": 0, "checkpoint_every": 2, "log_every": 1, "progress": False,
}  # fmt: skip
BATTLE = {"env": "smac_3m", "player_function": "Stochastic(0.5)", "max_rounds": 9}


def solver(vec):
    """The teacher of the matrix game."""
    return matrix_game.solve


def lawless(vec):
    """A teacher of battles that always does nothing, which only the dead may."""
    return lambda observations, info, rng: np.zeros(observations.shape[:2], np.int32)


def lesson(beta: float, **changes):
    """A fragment played by an untrained learner and a teacher."""
    args = dagger.Args(**{**TINY, **changes})
    torch.manual_seed(0)
    vec = make_game(args, args.num_envs, CPU)
    policy = Policy.of(vec, "role", hidden=args.hidden)
    rollout = Rollout(vec, args.rounds, CPU)
    rollout.reset(0)
    taught = dagger.Lesson(policy, dagger.load_policy(args.teacher, vec), vec, rollout)
    taught.beta = beta
    rollout.collect(taught, torch.Generator().manual_seed(0))
    return args, policy, rollout, torch.stack(taught.answers)


def test_a_teacher_of_the_users_own_is_named_again_to_resume(tmp_path):
    teacher = f"{TEACHERS}:solver"
    settings = {**TINY, "env": "matrix_game", "teacher": teacher, "run_dir": str(tmp_path)}
    dagger.train(dagger.Args(**settings))
    with pytest.raises(
        ValueError, match=r"solver' is code of your own, .*: add --teacher .*solver"
    ):
        resumed(tmp_path, dagger.Args, progress=False, steps=600)
    with pytest.raises(ValueError, match="code of your own"):
        parse(dagger.Args, {}, ["--resume", str(tmp_path)])
    assert (
        parse(dagger.Args, {}, ["--resume", str(tmp_path), "--teacher", teacher]).teacher == teacher
    )
    again = resumed(tmp_path, dagger.Args, progress=False, steps=600, teacher=teacher)
    assert dagger.train(again)["steps"] == 600


def test_steps_that_are_not_finite_are_counted(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(
        dagger,
        "loss_of",
        lambda policy, batch: sum(p.sum() for p in policy.parameters()) * torch.nan,
    )
    dagger.train(
        dagger.Args(**TINY, env="matrix_game", teacher=f"{TEACHERS}:solver", run_dir=str(tmp_path))
    )
    assert read_metrics(tmp_path / "metrics.jsonl")[-1]["skipped_steps"] > 0


def test_copies_follow_the_teacher_with_probability_beta():
    teacher = f"{TEACHERS}:solver"
    for beta, least, most in ((0.0, 0.2, 0.5), (0.5, 0.55, 0.8), (1.0, 1.0, 1.0)):
        _, _, rollout, answers = lesson(beta, env="matrix_game", teacher=teacher, rounds=60)
        cues = rollout.observations[:-1, :, 0, :3].argmax(2)
        assert torch.equal(answers, torch.stack([cues, (cues + 1) % 3], 2))
        found = dagger.agreement(rollout, answers)["agreement"]
        assert least <= found <= most, (beta, found)
        if beta == 0.5:  # a copy follows with all its agents, or with none
            both = (rollout.actions == answers).all(2).float().mean()
            assert both > 0.5


def test_absent_and_dead_agents_teach_nothing():
    after = []
    for garbage in (False, True):
        args, policy, rollout, answers = lesson(1.0, **BATTLE, teacher="scripted")
        learned = rollout.learned_from()
        assert learned.any() and not learned.all()
        rollout.actions.copy_(answers)
        if garbage:
            rollout.actions[~learned] = 1
            rollout.observations[:-1][~learned] = 7.0
        replay = Replay(rollout.vec, args.capacity, CPU, state=False)
        replay.add(rollout)
        before = [p.detach().clone() for p in policy.parameters()]
        optimizer, rng = Adam(policy, 1e-2), torch.Generator().manual_seed(1)
        assert dagger.update(policy, optimizer, replay, args, rng)["loss"] > 0
        after.append([p.detach().clone() for p in policy.parameters()])
        assert any(not torch.equal(a, b) for a, b in zip(before, after[-1], strict=True))
    assert all(torch.equal(a, b) for a, b in zip(*after, strict=True))


def test_it_learns_what_the_teacher_does(tmp_path):
    args = dagger.Args(
        env="matrix_game", teacher=f"{TEACHERS}:solver", steps=20_000, num_envs=16, lr=3e-3, beta=0.0,
        hidden=(32,), capacity=10_000, eval_episodes=200, film="none", progress=False, run_dir=str(tmp_path / "run"),
    )  # fmt: skip
    assert dagger.train(args)["return"] > 0.95 * matrix_game.OPTIMUM
    lines = read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert lines[0]["agreement"] < 0.6 < 0.9 < lines[-1]["agreement"]


NAVIGATION = {"env": "coop_nav", "teacher": "scripted", "max_rounds": 7}
GAMES = {
    "battle": {**BATTLE, "teacher": "scripted"},
    "memory": {**BATTLE, "teacher": "scripted", "recurrent": True, "chunk": 5},
    "continuous": {**NAVIGATION, "set": ("continuous_actions=true",)},
}  # fmt: skip


def remembering(path: Path) -> str:
    """A policy file whose actions depend on what the agents saw before."""
    torch.manual_seed(1)
    vec = lesson(1.0, **NAVIGATION)[2].vec
    policy = Policy.of(vec, "role", hidden=(16,), recurrent=True)
    with torch.no_grad():
        for weights in policy.parameters():
            weights.mul_(8)
    save_policy(path, policy, {})
    return str(path)


@pytest.mark.parametrize("game", [*GAMES, "teacher's memory"])
def test_a_resumed_run_ends_like_an_uninterrupted_one(game, tmp_path):
    settings = {**TINY, **GAMES.get(game, NAVIGATION), "beta": 0.0, "anneal": False}
    if game not in GAMES:
        settings["teacher"] = remembering(tmp_path / "teacher.safetensors")
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    dagger.train(dagger.Args(**settings, run_dir=str(whole)))
    dagger.train(dagger.Args(**{**settings, "steps": 240}, run_dir=str(cut)))
    dagger.train(resumed(cut, dagger.Args, progress=False, steps=480))
    trees = [load_checkpoint(checkpoints(n)[-1])["parts"] for n in (whole, cut)]
    a, b = (t["policy"] for t in trees)
    assert a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def shown_once(vec):
    """A teacher that repeats what an agent's cue was in the first round of the episode."""
    cues = np.zeros((vec.num_envs, vec.num_agents), np.int32)

    def policy(observations, info, rng):
        begins = np.asarray(info["round"]) == 0
        cues[begins] = observations[begins][..., :3].argmax(2)
        return cues.copy()

    return policy


def test_a_memory_learns_what_was_seen_before(tmp_path):
    settings = {
        "env": "matrix_game", "teacher": f"{TEACHERS}:shown_once", "steps": 40_000, "num_envs": 16, "lr": 3e-3,
        "hidden": (32,), "capacity": 10_000, "rounds": 20, "chunk": 2, "eval_episodes": 0, "progress": False,
    }  # fmt: skip
    found = {}
    for recurrent in (False, True):
        folder = tmp_path / str(recurrent)
        dagger.train(dagger.Args(**settings, recurrent=recurrent, run_dir=str(folder)))
        found[recurrent] = read_metrics(folder / "metrics.jsonl")[-1]["agreement"]
    assert found[True] > 0.9 > 0.7 > found[False], found


def test_chunks_must_divide_the_rounds():
    with pytest.raises(ValueError, match="chunk=7 must divide rounds=20"):
        dagger.train(dagger.Args(**{**TINY, **BATTLE, "recurrent": True, "chunk": 7}))


def test_a_teacher_that_breaks_the_rules_is_refused():
    with pytest.raises(ValueError, match="forbidden"):
        lesson(0.0, env="smac_3m", teacher=f"{TEACHERS}:lawless")


def test_the_expert_of_six_joints_teaches_two_legs():
    pytest.importorskip("gymnasium_robotics")
    ids = ("mamujoco_halfcheetah_6x1", "mamujoco_halfcheetah_2x3")
    joints, legs = (mail_envs.make_vec(id, 2, num_workers=0) for id in ids)
    expert = load_policy("expert", joints, greedy=True)
    teacher = load_policy(f"{ROOT / 'docs/results/halfcheetah_teacher.py'}:legs", legs)
    seen = [vec.reset(seed=3) for vec in (joints, legs)]
    for _ in range(3):
        acts = [policy(*x, None) for policy, x in zip((expert, teacher), seen, strict=True)]
        assert np.array_equal(acts[0].reshape(acts[1].shape), acts[1]) and acts[1].std() > 0.1
        steps = [vec.step(a) for vec, a in zip((joints, legs), acts, strict=True)]
        seen = [(x[0], x[-1]) for x in steps]
