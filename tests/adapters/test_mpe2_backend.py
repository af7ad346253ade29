"""`backend="mpe2"`: the original package behind the same contract as our own particle games."""

from __future__ import annotations

import dataclasses
import inspect
import sys

import numpy as np
import pytest
from mpe_originals import IDS, copy_state

import mail_envs
from mail_envs.conformance.subject import random_actions

pytest.importorskip("mpe2")


def spec_of(id):
    """The id with the backend, whether or not it is registered with one."""
    found = mail_envs.spec(id)
    entry_point = f"mail_envs.adapters.mpe2:{id.removeprefix('mpe_')}"
    assert found.backends.get("mpe2", entry_point) == entry_point
    return dataclasses.replace(found, backends={"mpe2": entry_point})


def original(id, **arguments):
    return mail_envs.make_vec(spec_of(id), backend="mpe2", **arguments)


@pytest.mark.parametrize("continuous", [False, True], ids=["discrete", "continuous"])
@pytest.mark.parametrize("id", IDS)
def test_both_backends_have_the_same_spaces(id, continuous):
    ours, theirs = (
        mail_envs.make_game(spec_of(id), backend=backend, continuous_actions=continuous)[0]
        for backend in (None, "mpe2")
    )
    for name in ("agents", "observation_spaces", "action_spaces", "state_space", "max_rounds"):
        assert getattr(ours, name) == getattr(theirs, name)
    assert ours.metadata.get("return_agents") == theirs.metadata.get("return_agents")


@pytest.mark.parametrize("id", IDS)
def test_both_backends_take_the_same_arguments(id):
    spec = spec_of(id)
    ours, theirs = (inspect.signature(spec.load(b)).parameters for b in (None, "mpe2"))
    defaults = {name: parameter.default for name, parameter in ours.items()}
    if id == "mpe_simple_speaker_listener":  # mpe2's never ends early
        del defaults["terminate_on_success"]
    assert {name: parameter.default for name, parameter in theirs.items()} == defaults


@pytest.mark.parametrize("continuous", [False, True], ids=["discrete", "continuous"])
@pytest.mark.parametrize("id", IDS)
def test_absent_agents_neither_push_nor_speak(id, continuous):
    """The same state, actions and participation in both: the same observations, rewards and state."""
    keywords = {"continuous_actions": continuous, "player_function": mail_envs.Stochastic(0.5)}
    ours, theirs = mail_envs.make_vec(id, **keywords), original(id, **keywords)
    ours.reset(seed=4)
    _, info = theirs.reset(seed=4)
    copy_state(id, theirs.game.env.world, ours.buffers.world[0])
    for _ in range(24):
        np.testing.assert_array_equal(ours.buffers.participation, theirs.buffers.participation)
        absent = info["participation"] == 0
        actions = random_actions(theirs, info)
        rows, rewards, _, _, _ = ours.step(actions)
        their_rows, their_rewards, _, _, info = theirs.step(actions)
        np.testing.assert_allclose(rows, their_rows, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(rewards, their_rewards, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(ours._info["state"], info["state"], rtol=1e-4, atol=1e-4)
        assert not np.any(their_rewards[absent])


def test_the_time_limit_is_the_views():
    vec = original("mpe_simple_spread", max_rounds=40, autoreset=False)
    _, info = vec.reset(seed=0)
    for _ in range(40):
        assert not vec.buffers.truncated[0]
        _, _, terminated, truncated, info = vec.step(random_actions(vec, info))
    assert (terminated[0], truncated[0]) == (False, True)


def test_an_early_end():
    vec = original("mpe_simple_spread", N=1, terminate_on_success=True, autoreset=False)
    vec.reset(seed=0)
    world = vec.game.env.world
    world.agents[0].state.p_pos = world.landmarks[0].state.p_pos.copy()
    _, _, terminated, _, _ = vec.step(np.zeros((1, 1), np.int32))
    assert terminated[0]


def test_arguments_reach_mpe2():
    assert len(original("mpe_simple_tag", num_good=2, num_adversaries=4).agents) == 6
    with pytest.raises(ValueError, match="preset='magail': backend='mpe2' supports only 'mpe2'"):
        original("mpe_simple_tag", preset="magail")
    with pytest.raises(
        ValueError, match="null_dynamics='hold': backend='mpe2' supports only 'coast'"
    ):
        original("mpe_simple_tag", null_dynamics="hold")


@pytest.mark.parametrize("name", ["continuous_actions", "terminate_on_success"])
def test_switches_are_true_or_false(name):
    with pytest.raises(TypeError, match=f"{name}='no' must be True or False"):
        mail_envs.make("mpe_simple_spread", backend="mpe2", **{name: "no"})


def test_seeds_repeat_episodes():
    first, second = (original("mpe_simple_world_comm") for _ in "ab")
    np.testing.assert_array_equal(first.reset(seed=9)[0], second.reset(seed=9)[0])
    second.reset(seed=10)
    assert np.any(first.buffers.observations != second.buffers.observations)


def test_pictures_are_mpe2s():
    pytest.importorskip("pygame")
    vec = original("mpe_simple_reference")
    vec.reset(seed=0)
    assert vec.render().shape == (700, 700, 3)


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.delitem(sys.modules, "mpe2.simple_push_v3", raising=False)
    monkeypatch.setitem(sys.modules, "mpe2", None)
    with pytest.raises(ImportError, match="pip install mpe2"):
        original("mpe_simple_push")
