"""Selecting, mixing and flattening demonstrations."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from random_sets import assert_same, metadata, random_episode, write

import mail_envs
from demos.dataset import Demonstrations, mix
from demos.episode import Episode
from demos.layout import DemonstrationError
from demos.record import record
from demos.writer import DemonstrationWriter


def seeds(demonstrations):
    return [e.seed for e in demonstrations]


def test_first_and_slices(demos_path):
    d = Demonstrations.open(demos_path)
    assert seeds(d.first(7)) == list(range(7))
    assert seeds(d[10:30:5]) == [10, 15, 20, 25]
    assert seeds(d[[3, 1]]) == [3, 1]
    assert d[-1].seed == 39
    with pytest.raises(IndexError):
        d[40]


def test_sample_is_without_repetition_and_repeatable(demos_path):
    d = Demonstrations.open(demos_path)
    one = seeds(d.sample(15, seed=4))
    assert one == seeds(d.sample(15, seed=4)) != seeds(d.sample(15, seed=5))
    assert len(set(one)) == 15
    with pytest.raises(DemonstrationError, match="asked for 41 episodes of a set that holds 40"):
        d.sample(41)
    with pytest.raises(DemonstrationError):
        d.first(0)


@pytest.mark.parametrize("ratio", [0.0, 0.25, 0.5, 1.0])
def test_mix_has_the_requested_fraction_of_noise(tmp_path, demos_path, ratio):
    write(tmp_path / "noise", 40, start=1000)
    a, b = Demonstrations.open(demos_path), Demonstrations.open(tmp_path / "noise")
    mixed = mix(a, b, ratio, seed=0)
    noisy = np.array(seeds(mixed)) >= 1000
    assert len(mixed) == 40 and noisy.sum() == 40 * ratio
    assert len(set(seeds(mixed))) == 40
    assert mixed.metadata["noise_ratio"] == ratio
    assert len(mixed.transitions()) == mixed.lengths.sum()


def test_mix_rejects_incompatible_sets(tmp_path, demos_path):
    write(tmp_path / "few", 3)
    write(tmp_path / "other", 3, n=2)
    d = Demonstrations.open(demos_path)
    with pytest.raises(DemonstrationError, match="needs 20, but the second set has 3"):
        mix(d, Demonstrations.open(tmp_path / "few"), 0.5)
    with pytest.raises(DemonstrationError, match="agents"):
        mix(d, Demonstrations.open(tmp_path / "other"), 0.5)
    with pytest.raises(DemonstrationError, match="outside"):
        mix(d, d, 1.5)
    stochastic = {"type": "Stochastic", "probability": 0.5}
    with DemonstrationWriter.create(
        tmp_path / "players", metadata(player_function=stochastic)
    ) as writer:
        writer.append(d[0])
    with pytest.raises(DemonstrationError, match=r"player_function: .*Synchronous.*Stochastic"):
        mix(d, Demonstrations.open(tmp_path / "players"), 0.02)


@pytest.mark.parametrize(
    "select", [slice(None), slice(5, 33), [7, 2, 39, 11], slice(None, None, -1)]
)
@pytest.mark.parametrize("discrete", [True, False])
def test_transitions_are_those_of_the_episodes(tmp_path, select, discrete):
    write(tmp_path / "set", 40, shard_bytes=20_000, discrete=discrete)
    d = Demonstrations.open(tmp_path / "set")[select]
    t = d.transitions()
    start = 0
    for k, e in enumerate(d):
        rows = slice(start, start + len(e))
        for name in ("actions", "participation", "rewards"):
            assert np.array_equal(getattr(t, name)[rows], getattr(e, name))
        assert np.array_equal(t.observations[rows], e.observations[:-1])
        assert np.array_equal(t.next_observations[rows], e.observations[1:])
        assert np.array_equal(t.state[rows], e.states[:-1])
        assert np.array_equal(t.next_state[rows], e.states[1:])
        assert np.array_equal(t.alive[rows], e.alive[:-1])
        assert np.array_equal(t.next_alive[rows], e.alive[1:])
        acting = np.concatenate([e.participation, e.final_participation[None]])
        assert np.array_equal(t.next_participation[rows], acting[1:])
        if discrete:
            assert np.array_equal(t.action_mask[rows], e.action_masks[:-1])
            assert np.array_equal(t.next_action_mask[rows], e.action_masks[1:])
        else:
            assert t.action_mask is None and t.next_action_mask is None
        ends = np.arange(len(e)) == len(e) - 1
        assert np.array_equal(t.terminated[rows], ends & e.terminated)
        assert np.array_equal(t.truncated[rows], ends & e.truncated)
        assert np.array_equal(t.round[rows], np.arange(len(e)))
        assert np.all(t.episode[rows] == k)
        start += len(e)
    assert start == len(t)


def test_no_transition_looks_into_the_next_episode(tmp_path):
    """All that is seen in the k-th episode of the set is k."""
    order = np.array([4, 0, 5, 2, 1, 3])
    with DemonstrationWriter.create(tmp_path / "set", metadata(), shard_bytes=2000) as writer:
        for k in range(6):
            e = random_episode(np.random.default_rng(k), t=1 + k % 3, seed=k, metrics=())
            same = {name: np.full_like(getattr(e, name), k) for name in ("observations", "states")}
            writer.append(replace(e, **same))
    t = Demonstrations.open(tmp_path / "set")[order].transitions()
    for name in ("observations", "next_observations", "state", "next_state"):
        values = getattr(t, name).reshape(len(t), -1)
        assert np.array_equal(values, np.broadcast_to(order[t.episode, None], values.shape)), name
    assert (t.terminated | t.truncated).sum() == 6


def test_table_and_statistics(demos_path):
    d = Demonstrations.open(demos_path).sample(20, seed=1)
    table = d.table()
    for k, e in enumerate(d):
        assert np.allclose(table.returns[k], e.returns)
        assert np.allclose(table.participation[k], e.participation.mean(axis=0))
        assert table.seeds[k] == e.seed and table.lengths[k] == len(e)
        assert table.metrics["score"][k] == np.float32(e.metrics["score"])
    s = d.statistics()
    assert s["return_mean"] == pytest.approx(np.mean([e.returns.mean() for e in d]))
    assert s["normalized_return"] == pytest.approx((s["return_mean"] + 10) / 10)


def test_episodes_are_checked_when_made():
    good = random_episode(np.random.default_rng(0), t=6)
    with pytest.raises(ValueError, match=r"observations has shape \(6, 3, 4\)"):
        Episode(**{**vars(good), "observations": good.observations[:-1]})
    with pytest.raises(ValueError, match="rewards has shape"):
        Episode(**{**vars(good), "rewards": good.rewards[:, :2]})
    assert_same(good, Episode(**vars(good)))


def test_episodes_and_transitions_show_their_shapes_in_one_line(demos_path):
    d = Demonstrations.open(demos_path)
    shown = repr(d[0])
    assert shown.startswith(f"Episode(T={len(d[0])}, N=3, D=4, seed=0, ") and "\n" not in shown
    assert repr(d.transitions()) == f"Transitions(M={d.lengths.sum()}, N=3, D=4)"


def test_sets_without_action_dims_are_read(demos_path):
    manifest = json.loads((demos_path / "manifest.json").read_text())
    assert "action_dims" not in manifest, "as written before games could differ"
    assert Demonstrations.open(demos_path).metadata["action_dims"] == [5, 5, 5]


def test_demonstrations_of_another_game_do_not_fit(tmp_path):
    d = record("stochastic_coop_nav", "random", 3, 0, tmp_path / "nav")
    d.check_compatible(
        mail_envs.make_vec("stochastic_coop_nav", num_envs=2, null_action="as_action")
    )
    d.check_compatible(mail_envs.make_vec("stochastic_coop_nav", max_rounds=9, fixed_horizon=True))
    with pytest.raises(DemonstrationError, match=r"Stochastic\(.*0.5\) .*, Synchronous\(\)"):
        d.check_compatible(
            mail_envs.make_vec("stochastic_coop_nav", player_function=mail_envs.Synchronous())
        )
    with pytest.raises(DemonstrationError, match=r"stochastic_coop_nav.*stochastic_predator_prey"):
        d.check_compatible(mail_envs.make_vec("stochastic_predator_prey"))
    with pytest.raises(
        DemonstrationError, match=r"observation sizes \[16, 16, 16\].*\[18, 18, 18\]"
    ):
        d.check_compatible(mail_envs.make_vec("stochastic_coop_nav", observation="absolute"))
