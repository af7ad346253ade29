"""Advantages against a plain loop."""

from __future__ import annotations

import pytest
import torch

from learners.lib.returns import generalized_advantages


@pytest.mark.parametrize("lam", [0.0, 0.7, 1.0])
def test_a_lost_round_has_no_advantage_and_earlier_rounds_bootstrap_from_its_observation(lam):
    rng = torch.Generator().manual_seed(5)
    T, gamma = 6, 0.9
    rewards, final = (torch.randn(T, 1, 2, generator=rng) for _ in range(2))
    values = torch.randn(T + 1, 1, 2, generator=rng)
    terminated, truncated = (torch.zeros(T, 1, dtype=torch.bool) for _ in range(2))
    truncated[3] = True  # as views report a dead worker
    found = generalized_advantages(
        rewards, values, final, terminated, truncated, gamma, lam, lost=truncated
    )
    assert (found[3] == 0).all()
    # Rounds 0 to 2 are those of a fragment that ends with the observation of round 3.
    never = torch.zeros(3, 1, dtype=torch.bool)
    until = generalized_advantages(rewards[:3], values[:4], final[:3], never, never, gamma, lam)
    assert torch.allclose(found[:3], until)
    after = generalized_advantages(
        rewards[4:], values[4:], final[4:], never[:2], never[:2], gamma, lam
    )
    assert torch.allclose(found[4:], after)


@pytest.mark.parametrize("lam", [0.0, 0.7, 1.0])
def test_advantages_equal_a_naive_loop_with_both_kinds_of_end(lam):
    rng = torch.Generator().manual_seed(3)
    T, E, N, gamma = 12, 4, 2, 0.9
    rewards = torch.randn(T, E, N, generator=rng)
    values = torch.randn(T + 1, E, N, generator=rng)
    final = torch.randn(T, E, N, generator=rng)
    terminated = torch.rand(T, E, generator=rng) < 0.15
    truncated = torch.rand(T, E, generator=rng) < 0.15
    found = generalized_advantages(rewards, values, final, terminated, truncated, gamma, lam)
    for e in range(E):
        for i in range(N):
            running = 0.0
            for t in reversed(range(T)):
                if terminated[t, e]:
                    following = 0.0
                elif truncated[t, e]:
                    following = final[t, e, i]
                else:
                    following = values[t + 1, e, i]
                delta = rewards[t, e, i] + gamma * following - values[t, e, i]
                running = delta + (
                    0.0 if terminated[t, e] or truncated[t, e] else gamma * lam * running
                )
                assert found[t, e, i] == pytest.approx(float(running), abs=1e-5)


def test_rounds_without_participation_still_discount_what_follows():
    rewards = torch.tensor([0.0, 0.0, 1.0]).view(3, 1, 1)
    none = torch.zeros(3, 1, dtype=torch.bool)
    zeros = torch.zeros(4, 1, 1)
    found = generalized_advantages(rewards, zeros, zeros[:3], none, none, 0.5)
    assert found.flatten().tolist() == [0.25, 0.5, 1.0]
