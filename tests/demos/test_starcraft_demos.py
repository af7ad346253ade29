"""Scripted players of StarCraft battles: they obey the mask, heal, turn, retreat, and differ in strength."""

from __future__ import annotations

import numpy as np
import pytest

import mail_envs
from demos.experts.starcraft import STYLES
from demos.policies import load_policy
from mail_envs.games.starcraft.units import MEDIVAC


def battles(id, copies, **options):
    vector = mail_envs.make_vec(id, copies, autoreset=False, **options)
    return vector, *vector.reset(seed=0)


def play(id, spec, copies=64, rounds=10**6, **options):
    vector, observations, info = battles(id, copies, **options)
    policy, rng = load_policy(spec, vector), np.random.default_rng(0)
    for _ in range(min(rounds, vector.max_rounds)):
        actions = policy(observations, info, rng)
        observations, _, terminated, truncated, info = vector.step(actions)
        if (terminated | truncated).all():
            break
    return vector, info


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize(
    ("id", "options"),
    [
        ("smac_3m", {}),
        ("smac_mmm", {}),
        ("smacv2_terran_5_vs_5", {}),
        ("smacv2_terran_5_vs_5", {"variant": "epo"}),
        ("smacv2_terran_5_vs_5", {"variant": "conic"}),
        ("smac_3m", {"player_function": mail_envs.Stochastic(0.5)}),
    ],
)
def test_players_obey_the_mask(id, options, style):
    _, info = play(id, f"scripted:{style}", 16, rounds=30, **options)
    assert not info["illegal_actions"].any()


def test_focus_fire_beats_attacking_the_nearest():
    won = {
        style: play("smac_3m", f"scripted:{style}")[1]["metrics"]["battle_won"] for style in STYLES
    }
    assert won["focus_fire"].mean() > 0.4 > 0.2 > won["nearest"].mean()


def test_kiting_wins_without_losses():
    info = play("smac_3s_vs_5z", "scripted", 16)[1]
    assert info["metrics"]["battle_won"].mean() > 0.9
    assert (info["metrics"]["dead_allies"] < 3).all()


def test_medivacs_heal_the_most_damaged_ally():
    vector, observations, info = battles("smac_mmm", 1)
    world, policy = vector.buffers.world, load_policy("scripted", vector)
    medic = int(np.flatnonzero(world["type"][0, :10] == MEDIVAC)[0])
    world["health"][0, [3, 5]] = 30, 20
    assert policy(observations, info, None)[0, medic] == 6 + 5
    world["health"][0, [3, 5]] = world["max_health"][0, [3, 5]]
    assert policy(observations, info, None)[0, medic] < 6, "nobody is hurt"


def test_agents_with_cones_of_sight_turn_to_unseen_targets():
    vector, observations, info = battles("smacv2_terran_5_vs_5", 8, variant="conic")
    world, policy = vector.buffers.world, load_policy("scripted", vector)
    world["type"] = 4  # marines
    world["pos"][:, :5], world["pos"][:, 5:] = (10, 10), (10, 13)
    actions = policy(observations, info, None)
    looks = vector.game.params[0]["looks"]
    assert np.allclose(looks[actions - 6], (0, 1), atol=1e-6)


def test_an_unknown_style_is_named():
    vector = battles("smac_3m", 1)[0]
    with pytest.raises(ValueError, match=r"scripted:rush.*focus_fire, nearest, kite"):
        load_policy("scripted:rush", vector)
