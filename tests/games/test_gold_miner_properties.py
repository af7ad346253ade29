"""What holds in every game of Gold Miner, whoever plays."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mail_envs

IDS = [f"gold_miner_{d}_2_vs_2" for d in ("easy", "medium", "hard")]
seeds = st.integers(0, 2**40)


def random_legal(vector, info, rng) -> np.ndarray:
    mask = info["action_mask"]
    return (rng.random(mask.shape) * mask).argmax(-1)


def payable(before: np.ndarray, after: np.ndarray) -> None:
    """Gold was paid to diggers only, min(ceil(g / c), 50) each, and no mine pays more than that.

    Where a digger was eliminated is not looked at: the game is over.
    """
    for old, new in zip(before, after, strict=True):
        if (new["status"] != 0).any():
            continue
        digs = new["action"] == 5
        cells = old["x"] * 9 + old["y"]
        paid = new["score"] - old["score"]
        expected_gold = old["gold"].astype(int)
        for cell in set(cells[digs].tolist()):
            gold, here = int(old["gold"][cell]), digs & (cells == cell)
            each = min(-(-gold // int(here.sum())), 50)
            assert (paid[here] == each).all()
            assert gold <= each * here.sum() or each == 50
            expected_gold[cell] = max(gold - each * here.sum(), 0)
            assert each * here.sum() - (gold - expected_gold[cell]) < here.sum(), "rounding only"
        assert (paid[~digs] == 0).all()
        assert (new["gold"] == expected_gold).all()


@settings(max_examples=15, deadline=None)
@given(seed=seeds, id=st.sampled_from(IDS), masked=st.booleans())
def test_gold_is_paid_as_the_sharing_rule_says(seed, id, masked):
    vector = mail_envs.make_vec(id, 8, seed=seed, mask=masked, autoreset=False)
    info, rng = vector.reset(seed=seed)[1], np.random.default_rng(seed)
    for _ in range(60):
        before = vector.buffers.world.copy()
        over = vector.buffers.terminated.copy()
        *_, info = vector.step(random_legal(vector, info, rng))
        payable(before[~over], vector.buffers.world[~over])


@settings(max_examples=15, deadline=None)
@given(seed=seeds, id=st.sampled_from(IDS))
def test_masked_play_eliminates_no_ally_and_energy_stays_within_50(seed, id):
    vector = mail_envs.make_vec(id, 16)
    info, rng = vector.reset(seed=seed)[1], np.random.default_rng(seed)
    for _ in range(100):
        *_, info = vector.step(random_legal(vector, info, rng))
        world = vector.buffers.world
        assert info["alive"].all() and (world["status"][:, :2] == 0).all()
        assert (world["energy"][:, :2] > 0).all() and (world["energy"] <= 50).all()
    assert not info["illegal_actions"].any()


@settings(max_examples=10, deadline=None)
@given(seed=seeds)
def test_greedy_and_deepmind_are_never_eliminated(seed):
    vector = mail_envs.make_vec(IDS[1], 32)
    info, rng = vector.reset(seed=seed)[1], np.random.default_rng(seed)
    for _ in range(99):
        *_, info = vector.step(random_legal(vector, info, rng))
        assert (vector.buffers.world["status"] == 0).all()


@settings(max_examples=10, deadline=None)
@given(seed=seeds, id=st.sampled_from(IDS), moves=st.integers(0, 2**32))
def test_unmasked_play_keeps_energy_gold_and_places_in_range(seed, id, moves):
    vector = mail_envs.make_vec(id, 8, mask=False, end_on_elimination=False, autoreset=False)
    vector.reset(seed=seed)
    rng = np.random.default_rng(moves)
    total = vector.buffers.world["gold"].sum(axis=1, dtype=int)
    for _ in range(60):
        vector.step(rng.integers(6, size=(8, 2)))
        world = vector.buffers.world
        inside = world["status"] != 1
        assert (world["energy"] <= 50).all() and (world["gold"] >= 0).all()
        assert ((world["x"] >= -1) & (world["x"] <= 21) & (world["y"] >= -1)).all()
        assert ((world["x"] >= 0) & (world["x"] <= 20))[inside].all()
        assert (world["energy"][world["status"] == 2] <= 0).all()
        now = world["gold"].sum(axis=1, dtype=int) + world["score"].sum(axis=1)
        assert (now >= total).all(), "gold is not lost; rounding may add some"
        mines = [set(np.flatnonzero(w["gold"])) for w in world]
        assert mines == [set(w["mines"][: w["num_mines"]].tolist()) for w in world]


@settings(max_examples=8, deadline=None)
@given(seed=seeds, id=st.sampled_from(IDS))
def test_results_do_not_depend_on_the_number_of_copies(seed, id):
    together, alone = mail_envs.make_vec(id, 5), mail_envs.make_vec(id, 1)
    actions = np.random.default_rng(seed).integers(6, size=(110, 5, 2))
    together.reset(seed=seed)
    seen = []
    for row in actions:
        observations, rewards, *_, info = together.step(row)
        seen.append((observations[3].copy(), rewards[3].copy(), info["state"][3].copy()))
    alone.reset(seed=seed + 3)
    for row, (observation, reward, state) in zip(actions, seen, strict=True):
        observations, rewards, *_, info = alone.step(row[3:4])
        assert np.array_equal(observations[0], observation) and np.array_equal(rewards[0], reward)
        assert np.array_equal(info["state"][0], state)


ROLLOUT = """
import sys
import numpy as np
import mail_envs
seen = []
for id in ("gold_miner_medium_2_vs_2", "gold_miner_hard_2_vs_2"):
    vector = mail_envs.make_vec(id, 2, seed=5, max_rounds=12, state="compact", stale_obstacles=False)
    rng = np.random.default_rng(0)
    for _ in range(15):
        observations, rewards, *_, info = vector.step(rng.integers(6, size=(2, 2)))
        seen += [observations.ravel(), rewards.ravel(), info["state"].ravel(), info["action_mask"].ravel()]
np.save(sys.argv[1], np.concatenate(seen))
"""


def test_compiled_games_are_those_of_plain_python(tmp_path):
    found = []
    for name, switch in (("compiled", "0"), ("python", "1")):
        path = tmp_path / f"{name}.npy"
        subprocess.run(
            [sys.executable, "-c", ROLLOUT, path],
            env={**os.environ, "NUMBA_DISABLE_JIT": switch}, check=True, cwd=Path(__file__).parents[2],
        )  # fmt: skip
        found.append(np.load(path))
    assert np.allclose(*found, atol=1e-6)


@pytest.mark.parametrize("id", IDS)
def test_a_saved_game_goes_on_as_it_would_have(id):
    first, second = mail_envs.make_vec(id, 3, seed=1), mail_envs.make_vec(id, 3, seed=9)
    rng = np.random.default_rng(0)
    for _ in range(20):
        first.step(rng.integers(6, size=(3, 2)))
    second.set_state(first.get_state())
    for _ in range(20):
        actions = rng.integers(6, size=(3, 2))
        assert np.array_equal(first.step(actions)[0], second.step(actions)[0])
