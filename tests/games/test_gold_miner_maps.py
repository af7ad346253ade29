"""Gold Miner's maps: the generator, the numbered set, reading files."""

from __future__ import annotations

import json

import numpy as np
import pytest
from gold_miner_world import OFFICIAL, grid

import mail_envs
from mail_envs.games.gold_miner import maps

needs_official_maps = pytest.mark.skipif(
    not OFFICIAL.is_file(), reason="the official maps are not here (shared/golden/goldminer)"
)


def counts(grids) -> np.ndarray:
    """Cells of gold, land, forest, trap, swamp of every map: int (M, 5)."""
    return np.array([[(g > 0).sum(), *((g == -k).sum() for k in range(4))] for g in grids])


def likeness(grids) -> np.ndarray:
    """How much oftener than by chance neighbors are alike, mean over maps: land, forest, trap, swamp."""
    found = []
    for g in grids:
        pairs = [(g[1:], g[:-1]), (g[:, 1:], g[:, :-1])]
        for k in range(4):
            alike = sum(((a == -k) & (b == -k)).sum() for a, b in pairs) * 2
            ends = sum((a == -k).sum() + (b == -k).sum() for a, b in pairs)
            found.append(alike / ends / (g == -k).mean())
    return np.reshape(found, (-1, 4)).mean(axis=0)


def spacing(g) -> float:
    """Mean distance of a mine to the nearest other one."""
    mines = np.argwhere(g > 0)
    distance = abs(mines[:, None] - mines).sum(-1) + 99 * np.eye(len(mines))
    return float(distance.min(axis=1).mean())


def beside_land(g) -> float:
    """Share of mines with land next to them."""
    land = np.pad(g == 0, 1)
    around = land[:-2, 1:-1] | land[2:, 1:-1] | land[1:-1, :-2] | land[1:-1, 2:]
    return float(around[g > 0].mean())


def test_a_seed_always_makes_the_same_map():
    assert np.array_equal(maps.generate(7), maps.generate(7))
    assert not np.array_equal(maps.generate(7), maps.generate(8))
    first = maps.generate(maps.FIRST_SEED)
    assert first.shape == (9, 21) and first.sum() == FINGERPRINT


FINGERPRINT = 7355


def test_generated_maps_have_counts_within_those_of_the_official_ones():
    found = counts([maps.generate(k) for k in range(200)])
    least, most = [17, 38, 24, 23, 27], [24, 80, 45, 48, 50]
    assert (found >= least).all() and (found <= most).all()
    assert np.allclose(found.mean(axis=0), [20.8, 55.2, 35.9, 38.2, 38.9], rtol=0.05)


def test_the_numbered_set_is_like_the_official_maps_on_average():
    """Figures of the twelve official maps, see docs/gold_miner.md."""
    grids = list(maps.numbered().values())
    assert len(grids) == 24
    assert np.allclose(counts(grids).mean(axis=0), [20.8, 55.2, 35.9, 38.2, 38.9], rtol=0.03)
    assert np.allclose(likeness(grids), [1.21, 1.12, 1.12, 1.17], atol=0.25)
    assert np.mean([spacing(g) for g in grids]) == pytest.approx(2.76, abs=0.4)
    assert np.mean([beside_land(g) for g in grids]) == pytest.approx(0.51, abs=0.15)
    amounts = np.concatenate([g[g > 0] for g in grids])
    assert (amounts % 50 == 0).all() and amounts.min() == 50 and 800 < amounts.max() <= 1500


def play_on(path) -> list[str]:
    vector = mail_envs.make_vec("gold_miner_easy_2_vs_2", 200, maps=str(path), seed=0)
    names = vector.game.map_names
    assert set(vector.buffers.world["map"].tolist()) == set(range(len(names)))
    return names


def test_maps_are_read_in_the_competitions_format_and_others(tmp_path):
    first, second = grid(["f"]), grid(["ts"], {(4, 4): 150})
    (tmp_path / "map1").write_text(json.dumps(first).replace(" ", ""))
    (tmp_path / "map2").write_text("\n".join(" ".join(map(str, row)) for row in second))
    assert play_on(tmp_path / "map1") == ["map1"]
    assert play_on(tmp_path / "map2") == ["map2"]
    assert play_on(tmp_path) == ["map1", "map2"]
    found = maps.load(tmp_path)
    assert np.array_equal(found["map1"], first) and np.array_equal(found["map2"], second)
    for content, names in (
        ({"a": first, "b": second}, ["a", "b"]),
        (
            {"_about": "two groups", "x": {"by": "us", "maps": {"a": first}}, "y": {"b": second}},
            ["a"],
        ),
        ([first, second], ["many_0", "many_1"]),
    ):
        (tmp_path / "many.json").write_text(json.dumps(content))
        assert play_on(tmp_path / "many.json") == names


@pytest.mark.parametrize(
    "text, message",
    [
        ("[[1, 2], [3, 4]]", "shape"),
        ("hello", "hello|shape"),
        ("{}", "0 maps"),
        (json.dumps(grid(["f"], {(0, 0): -4})), "-4"),
        (json.dumps(np.zeros((9, 21), int).tolist()), "no gold"),
        (json.dumps([grid([])] * 65), "65 maps"),
    ],
)
def test_files_that_hold_no_maps_are_refused_by_name(tmp_path, text, message):
    path = tmp_path / "broken.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=message) as caught:
        mail_envs.make_vec("gold_miner_easy_2_vs_2", maps=str(path))
    assert "broken.json" in str(caught.value)


@needs_official_maps
def test_the_official_maps_can_be_played():
    names = play_on(OFFICIAL)
    assert names == [f"map{k}" for k in range(1, 13)]
    found = counts(maps.load(OFFICIAL).values())
    assert found[0].tolist() == [20, 53, 34, 45, 37] and found[11].tolist() == [22, 55, 29, 40, 43]
