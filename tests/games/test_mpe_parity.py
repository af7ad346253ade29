"""The nine particle environments are those of MPE2 1.1.1: same state, same actions, same numbers."""

from __future__ import annotations

import numpy as np
import pytest
from mpe_originals import IDS, beside, copy_state, named, original, random_actions

import mail_envs

pytest.importorskip("mpe2", reason="the original, mpe2, is not installed: pip install mpe2")

CONTACTS = [f"mpe_simple_{name}" for name in ("spread", "tag", "push", "world_comm")]


@pytest.mark.parametrize("continuous", [False, True], ids=["discrete", "continuous"])
@pytest.mark.parametrize("id", IDS)
def test_games_are_those_of_mpe2(id, continuous):
    """MPE2 computes in float64. Contacts are so stiff that a rounding error grows in each of them."""
    worst = beside(id, 100, continuous=continuous)
    if id not in CONTACTS:
        assert worst.max() < 1e-5
    else:
        assert (worst < 1e-5).mean() >= 0.97 and worst.max() < 1e-4, np.sort(worst)[-5:]


@pytest.mark.parametrize("id", CONTACTS)
def test_in_double_precision_contacts_are_those_of_mpe2_without_exception(id):
    episodes = 30 if id == "mpe_simple_world_comm" else 100
    assert beside(id, episodes, double=True).max() < 2e-6


@pytest.mark.parametrize(
    ("id", "keywords"),
    [
        ("mpe_simple_spread", {"N": 4, "local_ratio": 0.2}),
        ("mpe_simple_spread", {"N": 4, "num_agent_neighbors": 2, "num_landmark_neighbors": 6}),
        ("mpe_simple_tag", {"num_good": 3, "num_adversaries": 2, "num_obstacles": 0}),
        ("mpe_simple_tag", {"num_good": 2, "num_agent_neighbors": 2, "num_landmark_neighbors": 1}),
        ("mpe_simple_adversary", {"N": 4, "num_agent_neighbors": 5, "num_landmark_neighbors": 2}),
        ("mpe_simple_world_comm", {"num_good": 3, "num_food": 3, "num_obstacles": 0}),
    ],
    ids=str,
)
def test_other_numbers_of_agents_and_neighbors(id, keywords):
    assert np.quantile(beside(id, 10, **keywords), 0.8) < 1e-5


@pytest.mark.parametrize("id", ["mpe_simple_tag", "mpe_simple_spread"])
def test_success_ends_the_same_episodes_in_the_same_round(id):
    """Bodies start close together, so that prey is caught and landmarks are covered."""
    episodes, keywords = 20, {"terminate_on_success": True}
    if id == "mpe_simple_spread":
        keywords["N"] = 1
    ours = mail_envs.make_vec(id, episodes, seed=0, autoreset=False, **keywords)
    theirs = original(id, **keywords)
    actions, ends = random_actions(ours), []
    for e in range(episodes):
        theirs.reset(seed=e)
        for entity in theirs.unwrapped.world.entities:
            entity.state.p_pos *= 0.3
        copy_state(id, theirs.unwrapped.world, ours.buffers.world[e])
        for t, chosen in enumerate(actions[:, e]):
            *_, terminations, _, _ = theirs.step(named(ours, chosen))
            if any(terminations.values()) or t + 1 == len(actions):
                ends.append(t)
                break
    for t, chosen in enumerate(actions):
        *_, terminated, _, _ = ours.step(chosen)
        for e in range(episodes):
            if ends[e] < len(actions) - 1:
                assert terminated[e] == (t >= ends[e])
    assert len(set(ends)) > 3, "the episodes end in different rounds"
