"""The losses of PPO, and the settings of the field's MAPPO."""

from __future__ import annotations

import json
import math

import pytest
import torch

from learners import ippo
from learners.lib.architectures import read_policy
from learners.lib.ppo import policy_change, surrogate, value_loss
from learners.lib.settings import parse


def test_value_losses_by_hand():
    values, targets = torch.tensor([1.0, 0.0, 5.0]), torch.tensor([0.0, 0.5, 0.0])
    assert value_loss(values, targets).tolist() == [0.5, 0.125, 12.5]
    assert value_loss(values, targets, huber=1.0).tolist() == [0.5, 0.125, 4.5]  # 1 * (5 - 0.5)
    assert value_loss(values, targets, old=torch.zeros(3), clip=None).tolist() == [0.5, 0.125, 12.5]


def test_clipped_values_get_no_gradient_that_moves_them_on():
    """Moved from 0 by more than 0.2: towards the target, the loss is that of the clipped value, which is flat."""
    values = torch.tensor([0.5, 0.5, 0.1, -0.5], requires_grad=True)
    targets = torch.tensor([1.0, -1.0, 1.0, -1.0])
    losses = value_loss(values, targets, torch.zeros(4), 0.2)
    assert losses.tolist() == pytest.approx([0.32, 1.125, 0.405, 0.32])  # (1 - 0.2)^2 / 2, ...
    losses.sum().backward()
    assert values.grad is not None
    assert values.grad.tolist() == pytest.approx([0.0, 1.5, -0.9, 0.0])


def test_clipped_ratios_by_hand():
    ratio = torch.tensor([1.5, 1.5, 0.5, 0.5, 1.1])
    advantages = torch.tensor([1.0, -1.0, 1.0, -1.0, 2.0])
    found = surrogate(ratio.log(), torch.zeros(5), advantages, 0.2)
    assert found.tolist() == pytest.approx([1.2, -1.5, 0.5, -0.8, 2.2])
    change = policy_change(ratio.log(), torch.zeros(5), 0.2)
    kl = [r - 1 - math.log(r) for r in ratio.tolist()]
    assert change == pytest.approx({"clipped": 0.8, "kl": sum(kl) / 5})


def test_the_papers_preset_is_mappo(tmp_path):
    words = [
        "--preset",
        "paper",
        "--env",
        "smac_3m",
        "--num-envs",
        "2",
        "--rounds",
        "20",
        "--steps",
        "80",
    ]
    more = ["--epochs", "2", "--eval-episodes", "0", "--no-progress", "--log-every", "1"]
    args = parse(ippo.Args, ippo.PRESETS, [*words, *more, "--run-dir", str(tmp_path)])
    assert (args.value_clip, args.huber, args.clip, args.lr) == (0.2, 10.0, 0.2, 5e-4)
    assert (args.critic, args.recurrent, args.chunk, args.layer_norm) == (
        "state",
        True,
        10,
        "after",
    )
    assert ippo.train(args)["steps"] == 80
    policy, metadata = read_policy(tmp_path / "policy.safetensors")
    assert metadata["layer_norm"] == "after" and policy.networks[0].input_norm is not None


@pytest.mark.parametrize("changes", [{"value_clip": 1e-3}, {"huber": 1e-3}])
def test_value_clipping_and_huber_reach_the_critics(changes, tmp_path):
    """Both keep the critics from changing much; nothing else depends on them in the first update of the actors."""
    runs = []
    for name, more in (("plain", {}), ("changed", changes)):
        args = ippo.Args(
            env="coop_nav", steps=300, num_envs=6, rounds=50, hidden=(16,), eval_episodes=0,
            progress=False, log_every=1, run_dir=str(tmp_path / name), **more,
        )  # fmt: skip
        ippo.train(args)
        runs.append(json.loads((tmp_path / name / "metrics.jsonl").read_text().splitlines()[0]))
    assert runs[0]["return"] == runs[1]["return"] and runs[0]["value_loss"] != runs[1]["value_loss"]
