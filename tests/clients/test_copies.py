"""Clients copy and pickle environments; copies play on independently, from where the original was."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from three_games import ASYNCHRONOUS, SIMULATOR, make

import mail_envs

WAYS = {"deepcopy": copy.deepcopy, "pickle": lambda env: pickle.loads(pickle.dumps(env))}


def play(env, turns: int) -> list:
    """What an AEC or parallel environment returns over some steps and episodes."""
    seen = []
    for k in range(turns):
        if not env.agents:
            env.reset()
        if hasattr(env, "agent_iter"):
            observation, reward, terminated, truncated, info = env.last()
            seen.append((observation.tolist(), reward, info.get("landmarks_covered")))
            env.step(None if terminated or truncated else k % 5)
        else:
            observations, rewards, _, _, infos = env.step(dict.fromkeys(env.agents, k % 5))
            seen.append([o.tolist() for o in observations.values()])
            seen.append([*rewards.values(), *map(str, infos.values())])
    return seen


@pytest.mark.parametrize("api", ["aec", "parallel"])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("id", [ASYNCHRONOUS, SIMULATOR])
def test_a_copy_plays_on_as_the_original_would(id, way, api):
    env = make(id, api, max_rounds=15)
    env.reset(seed=3)
    play(env, 17)
    other = WAYS[way](env)
    before = other.state()
    expected = play(env, 120)
    assert np.array_equal(other.state(), before)  # its own memory
    assert play(other, 120) == expected


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("array", ["numpy", "torch"])
def test_a_copied_vector_hands_out_its_own_buffers(way, array):
    vector = mail_envs.make_vec(ASYNCHRONOUS, 4, array=array, seed=1)
    other = WAYS[way](vector)
    for _ in range(60):
        one, two = (v.step(np.ones((4, 3), np.int64)) for v in (vector, other))
    assert all(np.array_equal(a, b) for a, b in zip(one[:4], two[:4], strict=True))
    for name in ("round", "seed", "episode_return", "participation"):
        assert np.array_equal(one[-1][name], two[-1][name])


@pytest.mark.parametrize("api", ["aec", "parallel"])
def test_copies_of_a_fresh_environment_play_different_episodes(api):
    env = make(ASYNCHRONOUS, api)
    copies = [copy.deepcopy(env) for _ in range(3)]
    for one in copies:
        one.reset()
    assert len({one.state().tobytes() for one in copies}) == 3
