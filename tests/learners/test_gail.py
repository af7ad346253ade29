"""GAIL: one score for the team, one policy that sees everything."""

from __future__ import annotations

import matrix_game
import torch

from demos.record import record
from learners import gail
from learners.lib.architectures import read_policy
from learners.lib.joint_discriminator import PairInputs, SingleDiscriminator


def test_all_agents_have_the_score_of_the_team():
    torch.manual_seed(0)
    network = SingleDiscriminator(PairInputs([0, 1], [2, 1], [3, 2], True), 8)
    seen, done = torch.randn(5, 2, 2), torch.rand(5, 2, 3)
    counts = torch.ones(5, 2, dtype=torch.bool)
    before = network(seen, done, counts)
    assert torch.equal(before[:, 0], before[:, 1]) and before[:, 0].std() > 0
    for x in (seen, done):
        y = x.clone()
        y[:, 1] += 1
        other = network(y, done, counts) if x is seen else network(seen, y, counts)
        assert not torch.isclose(before, other).any()
    counts[:, 1] = False
    absent = network(seen, done, counts)
    seen[:, 1], done[:, 1] = 9.0, 9.0
    assert torch.equal(absent, network(seen, done, counts)) and not torch.equal(absent, before)


def test_it_imitates_on_a_matrix_game(tmp_path):
    record("matrix_game", matrix_game.solve, 50, 0, tmp_path / "demos", random_return=0.0)
    args = gail.Args(
        env="matrix_game", demos=str(tmp_path / "demos"), num_demos=50, steps=16_000, rounds=8, lr=1e-3, width=32,
        disc_lr=1e-3, warm_start=0, disc_first=0, cloning=0.0, eval_episodes=200, run_dir=str(tmp_path / "run"), progress=False,
    )  # fmt: skip
    assert gail.train(args)["return"] > 0.9 * matrix_game.OPTIMUM
    policy, metadata = read_policy(tmp_path / "run" / "policy.safetensors")
    assert metadata["learner"] == "gail" and not policy.has_decoder and policy.has_encoder
