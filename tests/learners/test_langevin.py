"""Langevin sampling of continuous actions: moments, integrals and gradients against numerical integration; and the
policy files of critics whose best actions are taken."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from demos.inspect import show_policy
from demos.policies import NetworkPolicy
from learners.lib.architectures import build, read_policy, save_policy
from learners.lib.energy import EnergyPolicy
from learners.lib.langevin import annealed
from learners.lib.soft_values import SoftEnergy

GRID = torch.linspace(-1, 1, 2001)
METADATA = {"id": "x", "arguments": {}, "null_action": "null", "learner": "mafis"}


def moments(log_density: Tensor) -> tuple[float, float, float]:
    """Mean, standard deviation and log of the integral of a density on GRID."""
    density = log_density.double().exp()
    integral = float(torch.trapezoid(density, GRID.double()))
    shares = density / density.sum()
    average = float((shares * GRID).sum())
    return average, float((shares * (GRID - average) ** 2).sum().sqrt()), math.log(integral)


# -------------------------------------------------------------------------------------- the sampler
@pytest.mark.parametrize(("center", "sd"), [(0.2, 0.3), (0.9, 0.4), (-1.3, 0.5), (0.0, 9.0)])
def test_chains_have_the_moments_of_the_truncated_gaussian(center, sd):
    """Of a quadratic f in two components, beside one that the agent does not have."""
    own, K = torch.tensor([True, True, False]), 20_000
    actions, logs = annealed(
        lambda a: -0.5 * ((a - center) / sd).square()[..., :2].sum(-1), own, (K,), 30,
        torch.Generator().manual_seed(0),
    )  # fmt: skip
    average, deviation, log_integral = moments(-0.5 * ((GRID - center) / sd).square())
    weights = torch.softmax(logs, 0).unsqueeze(-1)
    found = (weights * actions).sum(0)
    spread = (weights * (actions - found).square()).sum(0).sqrt()
    assert not actions[:, 2].any() and actions.abs().max() <= 1
    assert found[:2].tolist() == pytest.approx([average] * 2, abs=0.012)
    assert spread[:2].tolist() == pytest.approx([deviation] * 2, abs=0.012)
    estimate = float(torch.logsumexp(logs, 0)) - math.log(K) + 2 * math.log(2)
    assert estimate == pytest.approx(2 * log_integral, abs=0.03)


def test_steps_leave_the_density_as_it_is():
    """That of a constant f, uniform, after many steps."""
    actions, logs = annealed(
        lambda a: 0 * a.squeeze(-1), torch.tensor([True]), (20_000,), 50,
        torch.Generator().manual_seed(0),
    )  # fmt: skip
    shares = torch.histc(actions, 10, -1, 1) / 20_000
    assert not logs.any() and (shares - 0.1).abs().max() < 0.01


def test_chains_follow_the_gradient():
    """In eight components, few chains would find the density by chance."""
    actions, _ = annealed(
        lambda a: -0.5 * ((a - 0.6) / 0.3).square().sum(-1), torch.ones(8, dtype=torch.bool), (2000,), 30,
        torch.Generator().manual_seed(0),
    )  # fmt: skip
    assert actions.mean() > 0.5  # 0.4 without


# ------------------------------------------------------------------------------------- soft values
def agent(samples: int = 20_000) -> tuple[SoftEnergy, Tensor, Tensor]:
    """One agent whose critic is a random network, two observations (2, 1, 3), and weights (2, 1)."""
    torch.manual_seed(3)
    policy = EnergyPolicy([0], [3], [1], (16,), False, (np.array([[-2.0]]), np.array([[3.0]])))
    energy = SoftEnergy(policy.float(), 0.3, samples, 12)
    return energy, torch.randn(2, 1, 3), torch.tensor([[0.9], [0.4]], requires_grad=True)


def integrated(energy: SoftEnergy, observations: Tensor, weights: Tensor) -> Tensor:
    """V (B, N) by numerical integration, differentiable."""
    grid = GRID.view(-1, 1, 1, 1).expand(-1, *observations.shape[:2], 1)
    logs = weights * energy.policy.values(observations, grid) / energy.temperature
    return energy.temperature * (torch.logsumexp(logs, 0) + math.log(2 / len(GRID)))


def test_soft_values_and_their_gradients_are_those_of_the_integral():
    energy, observations, weights = agent()
    rng = torch.Generator().manual_seed(0)
    inputs = [weights, *energy.policy.parameters()]
    found, expected = (
        f(energy, observations, weights)
        for f in (lambda e, o, w: e.soft_values(o, w, rng), integrated)
    )
    assert torch.allclose(found, expected, atol=0.01) and (found - found.mean()).abs().max() > 0.05
    for b in range(2):
        pairs = zip(
            *(torch.autograd.grad(v[b, 0], inputs, retain_graph=True) for v in (found, expected)),
            strict=True,
        )
        for mine, true in pairs:
            assert (mine - true).norm() <= 0.03 * true.norm() + 0.003
    assert any((torch.autograd.grad(found.sum(), inputs)[1]).flatten().abs() > 0.05)


def test_the_gradient_of_v_is_the_mean_gradient_of_q_over_the_samples():
    energy, observations, weights = agent(50)
    parameters = list(energy.policy.parameters())
    value = energy.soft_values(observations, weights, torch.Generator().manual_seed(0)).sum()
    units, logs = energy.chains(observations, weights, torch.Generator().manual_seed(0))
    average = torch.zeros(())
    for k in range(50):
        q = energy.policy.values(observations, units[k : k + 1])[0]
        average = average + (torch.softmax(logs, 0)[k] * weights.detach() * q).sum()
    pairs = zip(
        *(torch.autograd.grad(x, parameters, allow_unused=True) for x in (value, average)),
        strict=True,
    )
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in pairs)


def test_actions_in_training_follow_the_weighted_values():
    energy, observations, weights = agent(8)
    B = 6000
    for b in range(2):
        seen, factor = observations[b : b + 1].expand(B, -1, -1), weights[b : b + 1].expand(B, -1)
        played = energy.draw(seen, factor.detach(), torch.Generator().manual_seed(1))
        grid = GRID.view(-1, 1, 1, 1)
        q = energy.policy.values(observations[b : b + 1], grid).flatten()
        average, deviation, _ = moments((weights[b] * q / energy.temperature).detach())
        assert played.min() >= -2 and played.max() <= 3
        assert float(played.mean()) == pytest.approx(0.5 + 2.5 * average, abs=0.08)
        assert float(played.std()) == pytest.approx(2.5 * deviation, abs=0.08)


# ------------------------------------------------------------------------------------ policy files
def team() -> EnergyPolicy:
    """Two agents that share a critic, with three components, and one with a single component."""
    torch.manual_seed(0)
    low = np.array([[-1, -2, -3], [-1, -2, -3], [0, 0, 0]], np.float32)
    high = np.array([[1, 2, 4], [1, 2, 4], [5, 0, 0]], np.float32)
    return EnergyPolicy([0, 0, 1], [4, 4, 2], [3, 3, 1], (32, 32), True, (low, high))


def test_a_policy_file_holds_the_policy(tmp_path, capsys):
    policy, path = team(), tmp_path / "policy.safetensors"
    save_policy(path, policy, METADATA)
    again, metadata = read_policy(path)
    assert metadata["architecture"] == "energy" and metadata["joint"] is False
    observations = torch.randn(20, 3, 4)
    assert torch.equal(
        policy.act(observations, None, None), again.act(observations, None, torch.Generator())
    )
    from rich.console import Console

    show_policy(path, Console(width=120))
    assert "energy" in capsys.readouterr().out


def test_best_actions_are_within_bounds_and_as_good_as_a_search_finds():
    policy, observations = team(), torch.randn(30, 3, 4)
    units = policy.units(policy.act(observations, None, None))
    assert units.abs().max() <= 1 + 1e-5 and not units[:, 2, 1:].any()
    axes = torch.cartesian_prod(*[torch.linspace(-1, 1, 21)] * 3)
    grid = axes.view(-1, 1, 1, 3) * policy.own
    with torch.no_grad():
        searched = policy.values(observations, grid.expand(-1, 30, -1, -1))
        found = policy.values(observations, units.unsqueeze(0))[0]
    spread = searched.amax(0) - searched.amin(0)
    assert ((searched.amax(0) - found) < 0.01 * spread).float().mean() > 0.9
    assert ((searched.amax(0) - found) < 0.1 * spread).all()


def test_actions_do_not_depend_on_the_number_of_environments_or_on_chance(tmp_path):
    save_policy(tmp_path / "policy.safetensors", team(), METADATA)
    rng = np.random.default_rng(0)
    observations = rng.standard_normal((9, 3, 4)).astype(np.float32)
    played = []
    for rows in ([range(9)], [range(4), range(4, 9)], [[k] for k in range(9)]):
        policy = NetworkPolicy.load(tmp_path / "policy.safetensors")
        parts = []
        for part in rows:
            there = {"participation": np.ones((len(part), 3)), "round": np.zeros(len(part))}
            parts.append(policy(observations[list(part)], there, rng))
        played.append(np.concatenate(parts))
    assert np.array_equal(played[0], played[1]) and np.array_equal(played[0], played[2])


def test_files_whose_tensors_do_not_fit_are_refused(tmp_path: Path):
    policy = team()
    tensors = {k: x.numpy() for k, x in policy.state_dict().items()}
    form = {"joint": False, **policy.form(), **METADATA}
    build(tensors, form)
    for changes, message in (
        ({"hidden": [32, 31]}, "has the shape"),
        ({"hidden": []}, "at least one layer"),
        ({"action_dims": [3, 2, 1]}, "differ between agents of one group"),
        ({"joint": True}, "joint cannot be True"),
    ):
        with pytest.raises(ValueError, match=message):
            build(tensors, {**form, **changes})
