"""The warm start of MILD²: cloning of joint and separate policies, the first updates, and the cloning term."""

from __future__ import annotations

import dataclasses
from typing import Any

import matrix_game
import pytest
import torch

import mail_envs
from demos.dataset import Demonstrations
from demos.record import record
from learners import bc, mild2
from learners.lib import generators, team_cloning
from learners.lib.expert_data import to_torch, training_rounds
from learners.lib.game import make_game
from learners.lib.rollout import Rollout

CPU = torch.device("cpu")
TINY = {
    "steps": 480, "num_envs": 6, "rounds": 20, "width": 16, "heads": 2, "epochs": 2, "minibatches": 2,
    "eval_episodes": 0, "progress": False, "num_demos": 50, "disc_batch": 32,
}  # fmt: skip
BOTH = ["joint", "independent"]


def cloned(tmp_path, structure: str, **changes) -> Any:
    """Settings, a generator of the matrix game, and its demonstrator's actions."""
    record("matrix_game", matrix_game.solve, 50, 0, tmp_path / "demos", random_return=0.0)
    args = mild2.Args(**{**TINY, "env": "matrix_game", "generator": structure, **changes})
    torch.manual_seed(0)
    vec = make_game(args, args.num_envs, CPU)
    generator = generators.make_generator(vec, args, CPU)
    data = to_torch(Demonstrations.open(tmp_path / "demos").transitions(), vec, CPU)
    clone = generators.CloningTerm(data, torch.ones_like(data.participation), args.cloning, 64)
    rollout = Rollout(vec, args.rounds)
    rollout.reset(0)
    rollout.collect(generator.policy, torch.Generator().manual_seed(0))
    return args, generator, clone, rollout


def test_cloning_of_the_team_s_policy(tmp_path):
    _, generator, clone, _ = cloned(tmp_path, "joint")
    policy, data, counts = generator.policy, clone.data, clone.counts
    rng = torch.Generator().manual_seed(0)
    before = float(team_cloning.nll(policy, data, counts).detach())
    steps, loss = team_cloning.fit(policy, data, counts, 400, 64, rng, lr=3e-3)
    assert steps == 400 and loss < 0.1 < 1.0 < before


def test_cloning_stops_when_held_out_rounds_get_less_likely(tmp_path):
    _, generator, clone, _ = cloned(tmp_path, "joint")
    rng, data = torch.Generator().manual_seed(0), clone.data
    noise = torch.randint(3, data.actions.shape, generator=rng)
    noisy = dataclasses.replace(data, actions=noise)
    steps, loss = team_cloning.fit(generator.policy, noisy, clone.counts, 5000, 64, rng, lr=1e-2)
    assert steps < 5000 and loss < 1.3  # log 3 is 1.1
    held = training_rounds(noisy, team_cloning.HELD_OUT)
    last = noisy.take(torch.arange(held, len(noisy)))
    found = float(team_cloning.nll(generator.policy, last, clone.counts[held:]).detach())
    assert found == pytest.approx(loss, rel=1e-4)  # the best weights are kept


def test_cloning_ignores_what_does_not_count(tmp_path):
    player = mail_envs.Stochastic(0.5)
    record(
        "smac_3m", "scripted", 4, 0, tmp_path / "half", random_return=0.0, player_function=player
    )
    args = mild2.Args(**{**TINY, "env": "smac_3m", "player_function": "Stochastic(0.5)"})
    vec = make_game(args, 1, CPU)
    policy: Any = generators.make_generator(vec, args, CPU).policy
    data = to_torch(Demonstrations.open(tmp_path / "half").transitions(), vec, CPU)
    counts, found = bc.valid_entries("filter", data), []
    for action in (0, 1):
        actions = torch.where(counts, data.actions, action)
        found.append(team_cloning.nll(policy, dataclasses.replace(data, actions=actions), counts))
    assert torch.equal(*found)


@pytest.mark.parametrize("structure", BOTH)
def test_the_first_updates_leave_the_clone_as_it_is(structure, tmp_path):
    args, generator, clone, rollout = cloned(tmp_path, structure)
    for actors in (False, True):
        before = {k: x.clone() for k, x in generator.policy.state_dict().items()}
        rng = torch.Generator().manual_seed(0)
        generators.train_generator(generator, rollout, rollout.rewards, clone, actors, args, rng)
        after = generator.policy.state_dict()
        changed = {k for k in after if not torch.equal(after[k], before[k])}
        assert bool(changed) if actors or structure == "joint" else not changed
        assert actors or all(k.startswith("value_head") for k in changed)


@pytest.mark.parametrize("structure", BOTH)
def test_the_cloning_term_pulls_towards_the_demonstrations(structure, tmp_path):
    likely = []
    for weight in (0.0, 1.0):
        args, generator, clone, rollout = cloned(
            tmp_path / str(weight), structure, cloning=weight, epochs=20, lr=3e-3
        )
        rng, nothing = torch.Generator().manual_seed(0), torch.zeros_like(rollout.rewards)
        generators.train_generator(generator, rollout, nothing, clone, True, args, rng)
        policy, data = generator.policy, clone.data
        if structure == "joint":
            likely.append(float(team_cloning.nll(policy, data, clone.counts).detach()))
        else:
            groups = bc.group_rows(policy, data, clone.counts)
            terms = [bc.nll(policy, g, rows) for g, rows in enumerate(groups)]
            likely.append(float(torch.stack(terms).sum().detach()))
    assert likely[1] < 0.6 * likely[0]


@pytest.mark.parametrize("structure", BOTH)
def test_a_run_begins_with_a_clone(structure, tmp_path, capsys):
    record("matrix_game", matrix_game.solve, 50, 0, tmp_path / "demos", random_return=0.0)
    settings = {
        **TINY,
        "num_envs": 4,
        "rounds": 8,
        "num_demos": 50,
        "steps": 32,
        "eval_episodes": 100,
    }
    args = mild2.Args(
        **{**settings, "warm_start": 1500}, env="matrix_game", demos=str(tmp_path / "demos"), generator=structure,
        discriminator=structure, run_dir=str(tmp_path / "run"),
    )  # fmt: skip
    assert mild2.train(args)["return"] > 0.9 * matrix_game.OPTIMUM
    assert "behavioral cloning" in capsys.readouterr().out
