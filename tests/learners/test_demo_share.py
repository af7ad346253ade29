"""--demo-share: which rounds of the demonstrations are learned from, and that their successors are the true ones."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import line_game
import numpy as np
import pytest
import torch

from demos.dataset import Demonstrations
from demos.description import describe
from demos.episode import Episode
from demos.writer import DemonstrationWriter
from learners import bc
from learners.lib.demonstrated import Demonstrated, Loaded, pieces
from learners.lib.expert_data import DemoSettings, kept_rounds, to_torch, transitions_of
from learners.lib.occupancy import Occupancy
from learners.lib.replay import sample_chunks, sample_episodes
from mail_envs import Synchronous
from mail_envs.vector import VectorGame

LENGTHS = [5, 1, 8, 3, 7]


@pytest.fixture(scope="module")
def vec() -> VectorGame:
    return VectorGame(line_game.LineGame(), Synchronous(), 1, array="torch")


@pytest.fixture(scope="module")
def demos(vec, tmp_path_factory) -> Demonstrations:
    """Episodes in which 10 k + t is seen in round t of the k-th; all but the last end by themselves."""
    folder: Path = tmp_path_factory.mktemp("sets") / "set"
    with DemonstrationWriter.create(folder, describe(vec, "nobody", 0.0)) as writer:
        for k, T in enumerate(LENGTHS):
            seen = (10 * k + np.arange(T + 1, dtype=np.float32))[:, None]
            writer.append(
                Episode(
                    observations=np.broadcast_to(seen[:, :, None], (T + 1, 2, 7)),
                    actions=np.ones((T, 2), np.int32), participation=np.ones((T, 2), np.uint8),
                    rewards=np.ones((T, 2), np.float32), states=np.broadcast_to(seen, (T + 1, 2)),
                    alive=np.ones((T + 1, 2), bool), action_masks=np.ones((T + 1, 2, 3), np.uint8),
                    final_participation=np.ones(2, np.uint8), terminated=k < 4, truncated=k == 4, seed=k,
                )
            )  # fmt: skip
    return Demonstrations.open(folder)


def numbers(kept: np.ndarray) -> set[int]:
    """What is seen in the rounds that are kept."""
    seen = np.concatenate([10 * k + np.arange(T) for k, T in enumerate(LENGTHS)])
    return set(seen[kept].tolist())


@pytest.mark.parametrize("share", [0.01, 0.2, 0.5, 1.0])
def test_rounds_nearest_to_the_end_are_kept_or_any(share):
    lengths = np.array(LENGTHS)
    left = np.repeat(np.cumsum(lengths), lengths) - np.arange(24)
    end = kept_rounds(lengths, DemoSettings(demo_share=share, demo_choice="end"))
    any_ = [kept_rounds(lengths, DemoSettings(demo_share=share, seed=s)) for s in (0, 0, 1)]
    assert {int(kept.sum()) for kept in (end, *any_)} == {max(1, round(24 * share))}
    assert share == 1.0 or left[end].max() <= left[~end].min()
    assert np.array_equal(any_[0], any_[1])
    if share in (0.2, 0.5):
        assert not np.array_equal(any_[0], any_[2]) and not np.array_equal(any_[0], end)


@pytest.mark.parametrize("choice", ["random", "end"])
def test_learners_of_single_rounds_see_those_that_are_kept(choice, demos, vec):
    args = DemoSettings(num_demos=5, demo_share=0.4, demo_choice=choice)
    found = transitions_of(SimpleNamespace(args=args), demos)  # pyright: ignore[reportArgumentType]
    assert set(found.observations[:, 0, 0].astype(int)) == numbers(kept_rounds(demos.lengths, args))
    assert np.array_equal(found.next_observations, found.observations + 1)
    data = to_torch(found, vec, "cpu")
    assert len(data) == round(0.4 * 24)
    assert len(data.endings) == int((found.terminated | found.truncated).sum())


@pytest.mark.parametrize("choice", ["random", "end"])
@pytest.mark.parametrize("memory", [False, True])
def test_sequences_are_successive_kept_rounds_and_what_truly_followed(choice, memory, demos, vec):
    args = DemoSettings(demo_share=0.5, demo_choice=choice)
    kept = kept_rounds(demos.lengths, args)
    source = Demonstrated(demos, vec, kept=kept)
    source = Loaded(source) if memory else source
    rng = torch.Generator().manual_seed(0)
    chunks = [sample_chunks(source, 400, length, rng) for length in (1, 3)]
    for batch in (*chunks, sample_episodes(source, 200, rng)):
        seen, real = batch.rows.observations[..., 0, 0], batch.filled
        assert set(seen[:-1][real].int().tolist()) == numbers(kept)
        assert torch.equal(seen[1:][real], seen[:-1][real] + 1)
        assert torch.equal(batch.rows.round[:-1][real], seen[:-1][real].int() % 10)
        episode, following = (seen[:-1] // 10).long(), seen[1:] % 10
        ends = real & (following == torch.tensor(LENGTHS)[episode])
        assert torch.equal(batch.terminated, ends & (episode < 4))
        assert torch.equal(batch.truncated, ends & (episode == 4))
        assert ends.any()


def test_pieces_do_not_run_into_the_next_episode():
    kept = np.array([0, 1, 1, 1, 0, 1], bool)  # of episodes of 3, 1 and 2 rounds
    found = pieces(np.array([3, 1, 2]), kept)
    assert [x.tolist() for x in found] == [[0, 1, 2], [1, 0, 1], [2, 1, 1]]


def test_rounds_without_an_end_are_one_episode_to_occupancy_measures(demos, vec):
    flat = demos.transitions()
    data = to_torch(flat[~(flat.terminated | flat.truncated)], vec, "cpu")
    found = Occupancy(data, data.participation, vec.max_rounds, True)
    assert len(data.endings) == 0 and found.expert_length == len(data) == float(
        found.expert_mass[0]
    )
    found.of_expert(4, torch.Generator().manual_seed(0))


def test_a_share_is_a_setting_of_learners():
    assert bc.Args(demo_share=0.05, demo_choice="end").demo_share == 0.05
    for share in (0.0, 1.5):
        with pytest.raises(ValueError, match="demo_share"):
            bc.Args(demo_share=share)
