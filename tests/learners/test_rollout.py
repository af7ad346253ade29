"""The data of a fragment, in every round and at the ends of episodes."""

from __future__ import annotations

import numpy as np
import torch
from sample_games import LastStanding

import mail_envs
from learners.lib.rollout import Rollout
from mail_envs.vector import VectorGame

ENVS, ROUNDS = 4, 12


class Anything:
    """Plays allowed actions at random."""

    memory_size = 0

    def act(self, observations, mask, rng, *_):
        return torch.multinomial(mask.flatten(0, 1).float(), 1, generator=rng).view(mask.shape[:2])


def duels(array: str = "torch") -> VectorGame:
    player = mail_envs.Stochastic(0.6)
    return VectorGame(LastStanding(max_rounds=5), player, ENVS, array=array)


def test_a_fragment_holds_the_alive_flags_and_the_final_observations():
    rollout, rng, again = Rollout(duels(), ROUNDS), torch.Generator().manual_seed(0), duels("numpy")
    rollout.reset(0)
    _, info = again.reset(seed=0)
    differs = set()
    for _ in range(2):
        rollout.collect(Anything(), rng)
        for t in range(ROUNDS):
            assert np.array_equal(rollout.alive[t], info["alive"])
            *_, terminated, truncated, info = again.step(rollout.actions[t].numpy())
            over = terminated | truncated
            for name in ("final_action_mask", "final_alive", "final_participation"):
                found, known = getattr(rollout, name)[t].numpy()[over], info[name][over]
                assert np.array_equal(found, known), name
                if (known != info[name.removeprefix("final_")][over]).any():
                    differs.add(name)  # it is not the next episode's value
        assert np.array_equal(rollout.alive[ROUNDS], info["alive"])
    assert not rollout.alive.all() and len(differs) == 3
    assert not (rollout.participation & ~rollout.alive).any()


def test_a_resumed_fragment_begins_with_the_same_alive_flags():
    rollout, rng = Rollout(duels(), ROUNDS), torch.Generator().manual_seed(1)
    rollout.reset(0)
    rollout.collect(Anything(), rng)
    while rollout.alive[ROUNDS].all():
        rollout.collect(Anything(), rng)
    other = Rollout(duels(), ROUNDS)
    other.load_state_dict(rollout.state_dict())
    saved = rng.get_state()
    rollout.collect(Anything(), rng)
    other.collect(Anything(), rng.set_state(saved))
    assert not other.alive[0].all()
    names = ("alive", "final_action_mask", "final_alive", "final_participation", "actions")
    ended = rollout.terminated | rollout.truncated
    for name in names:
        a, b = (getattr(r, name) for r in (rollout, other))
        if name.startswith("final"):
            a, b = a[ended], b[ended]
        assert torch.equal(a, b), name


def test_continuous_games_have_no_final_mask():
    vec = mail_envs.make_vec("coop_nav", 2, continuous_actions=True, array="torch")
    rollout = Rollout(vec, 3)
    assert rollout.action_mask is None and rollout.final_action_mask is None
