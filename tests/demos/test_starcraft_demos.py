"""Scripted players of StarCraft battles: they obey the mask, heal, turn, retreat, and differ in strength."""

from __future__ import annotations

import numpy as np
import pytest

import mail_envs
from demos.experts.starcraft import STYLES, Battle
from demos.experts.starcraft_micro import micro
from demos.policies import load_policy
from mail_envs.games.starcraft.layout import FIRST_LOOK, NORTH, STOP
from mail_envs.games.starcraft.units import MEDIVAC, STALKER, ZEALOT


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


@pytest.mark.parametrize("variant", ["standard", "epo", "conic"])
def test_micro_beats_focus_fire(variant):
    won = {}
    for style in ("micro", "focus_fire"):
        info = play("smacv2_protoss_5_vs_5", f"scripted:{style}", 128, variant=variant)[1]
        won[style] = info["metrics"]["battle_won"].mean()
    assert won["micro"] > won["focus_fire"] + 0.2, won


def stalkers():
    """Five stalkers in a row, against five zealots, of which only the first is near: 1.4 from the first two agents."""
    vector, _, info = battles("smacv2_protoss_5_vs_5", 1)
    world = vector.buffers.world
    world["type"][:, :5], world["type"][:, 5:] = STALKER, ZEALOT
    world["health"][:], world["shield"][:], world["cooldown"][:], world["target"][:] = 80, 0, 0, -1
    world["pos"][:, :5] = [(8, 16), (9.5, 16), (11, 16), (12.5, 16), (14, 16)]
    world["pos"][:, 5:] = [(8.75, 17.2), (28, 28), (28, 27), (28, 26), (28, 25)]
    mask = info["action_mask"]
    mask[:] = 0
    mask[:, :, STOP : FIRST_LOOK + 1] = 1  # the moves, and the first zealot
    return vector, world, mask


def micro_actions(vector, world, mask):
    return micro(Battle(vector, world, mask))[0].tolist()


def test_who_is_chased_runs_while_its_weapon_loads():
    vector, world, mask = stalkers()
    for chased in (0, 1):
        world["target"][:, 5] = chased
        world["cooldown"][:, :5] = 0
        assert micro_actions(vector, world, mask) == [FIRST_LOOK] * 5
        world["cooldown"][:, :5] = 20
        actions = micro_actions(vector, world, mask)
        assert [i for i, action in enumerate(actions) if action != FIRST_LOOK] == [chased], actions
        assert NORTH < actions[chased] < FIRST_LOOK, "not toward it"


def test_who_is_chased_and_nearly_dead_runs_anyway():
    vector, world, mask = stalkers()
    world["target"][:, 5] = 1
    world["health"][:, 1] = 5
    assert NORTH < micro_actions(vector, world, mask)[1] < FIRST_LOOK
    world["target"][:, 5] = 0
    assert micro_actions(vector, world, mask)[1] == FIRST_LOOK


def test_no_more_agents_shoot_at_a_target_than_kill_it():
    vector, world, mask = stalkers()
    world["pos"][:, 6] = (12, 18)  # a second zealot
    mask[:, :, FIRST_LOOK + 1] = 1
    world["health"][:, 5] = 8  # a stalker does 10
    assert micro_actions(vector, world, mask).count(FIRST_LOOK) == 1
    world["health"][:, 5] = 18
    assert micro_actions(vector, world, mask).count(FIRST_LOOK) == 2


def test_agents_wait_for_distant_enemies():
    vector, world, mask = stalkers()
    world["pos"][:, :5, 0] = (8, 10, 12, 14, 16)
    world["pos"][:, 5] = (28, 24)
    mask[:, :, FIRST_LOOK] = 0
    gathering = micro_actions(vector, world, mask)
    assert gathering == [NORTH + 2, NORTH + 2, STOP, NORTH + 3, NORTH + 3], "east, east, west, west"
    world["rounds"] = 90
    assert micro_actions(vector, world, mask) != gathering


def test_an_unknown_style_is_named():
    vector = battles("smac_3m", 1)[0]
    with pytest.raises(ValueError, match=r"scripted:rush.*focus_fire, nearest, kite, micro"):
        load_policy("scripted:rush", vector)
