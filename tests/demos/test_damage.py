"""Damaged and hostile sets give one clear line or what was recorded: no signal, traceback, hang, or wrong data."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from mutants import abandon, flip, forge, shards
from random_sets import assert_same, metadata, random_episode, write

from demos import inspect
from demos.dataset import Demonstrations
from demos.layout import DemonstrationError, DemonstrationWarning
from demos.minari import _buffers
from demos.writer import DemonstrationWriter

HERE = Path(__file__).parent


def run_mutants(folder: Path, first: int, count: int) -> None:
    environment = {**os.environ, "NUMBA_DISABLE_JIT": "1", "PYTHONPATH": str(HERE.parents[1])}
    command = [sys.executable, "-W", "ignore", str(HERE / "mutants.py"), str(folder)]
    done = subprocess.run(
        [*command, str(first), str(count)], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    results = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(results) == count
    faults = [f"{r['mutant']} ({r['mutation']}): {r['fault']}" for r in results if "fault" in r]
    assert not faults, "\n\n".join(faults)


def test_one_mutant_of_each_kind(tmp_path):
    run_mutants(tmp_path, 0, 26)


@pytest.mark.slow
def test_three_hundred_mutants(tmp_path):
    run_mutants(tmp_path, 0, 300)


def damage(path: Path, shard: int, byte: int) -> None:
    data = bytearray(shards(path)[shard].read_bytes())
    data[byte] ^= 0x10
    shards(path)[shard].write_bytes(data)


def test_a_damaged_episode_is_left_out_everywhere_with_one_notice(tmp_path):
    written = write(tmp_path / "set", 40, shard_bytes=20_000)
    damage(tmp_path / "set", 1, -500)
    with warnings.catch_warnings(record=True) as notices:
        warnings.simplefilter("always")
        demonstrations = Demonstrations.open(tmp_path / "set", recover=True)
        transitions = demonstrations.transitions()
        table = demonstrations.table()
        buffers = list(_buffers_of(demonstrations))
        counts = inspect.action_counts(demonstrations)
    assert len(notices) == len(demonstrations.notices) == 1
    assert "shard-00001.arrow" in demonstrations.notices[0]
    left = [e for e in written if e.seed in set(table.seeds.tolist())]
    assert len(left) == len(demonstrations) == len(buffers) == 39
    for a, b in zip(demonstrations, left, strict=True):
        assert_same(a, b)
    assert np.array_equal(transitions.rewards, np.concatenate([e.rewards for e in left]))
    assert counts.sum() == sum(int(e.participation.sum()) for e in left)


def _buffers_of(demonstrations):
    pytest.importorskip("minari")
    return _buffers(demonstrations)


@pytest.mark.parametrize("mend", ["record", "repair"])
@pytest.mark.parametrize("place", ["header", "length", "values"])
def test_a_flipped_bit_affects_only_its_episode_and_nothing_is_deleted(tmp_path, mend, place):
    path = tmp_path / "set"
    written = write(path, 12)
    abandon(path)
    shard = shards(path)[0]
    at = shard.read_bytes().find(b"\xff\xff\xff\xff", 2000)  # the second message or a later one
    damage(path, 0, at + {"header": 8, "length": 5, "values": 900}[place])
    damaged = shard.read_bytes()
    with pytest.raises(DemonstrationError, match=r"shard-00000.*damaged.*readable"):
        Demonstrations.open(path)
    if mend == "repair":
        assert "the damaged file is kept as shard-00000.arrow.damaged" in inspect.repair(path)
    else:
        with pytest.warns(
            DemonstrationWarning, match=r"the damaged file is kept as shard-00000.arrow.damaged"
        ):
            writer = DemonstrationWriter.extend(path)
        writer.append(random_episode(np.random.default_rng(0), seed=99))
        writer.close()
        written = [*written, Demonstrations.open(path)[-1]]
    demonstrations = Demonstrations.open(path)
    assert not demonstrations.notices
    seeds = [e.seed for e in demonstrations]
    assert len(seeds) == len(written) - 1
    for episode in demonstrations:
        assert_same(episode, next(e for e in written if e.seed == episode.seed))
    assert (path / "shard-00000.arrow.damaged").read_bytes() == damaged


def test_damaged_files_never_replace_earlier_ones(tmp_path):
    write(tmp_path / "set", 40, shard_bytes=20_000)
    for _ in range(2):
        damage(tmp_path / "set", 1, -500)
        inspect.repair(tmp_path / "set")
    names = sorted(p.name for p in (tmp_path / "set").glob("*.damaged*"))
    assert names == ["shard-00001.arrow.damaged", "shard-00001.arrow.damaged-2"]
    assert len(Demonstrations.open(tmp_path / "set")) == 38


def test_an_unfinished_last_episode_is_no_damage(tmp_path):
    write(tmp_path / "set", 12)
    abandon(tmp_path / "set")
    shard = shards(tmp_path / "set")[0]
    shard.write_bytes(shard.read_bytes()[:-100])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        DemonstrationWriter.extend(tmp_path / "set").close()
    assert len(Demonstrations.open(tmp_path / "set")) == 11
    assert not list((tmp_path / "set").glob("*.damaged"))


def test_a_changed_number_in_the_manifest_is_detected(tmp_path):
    write(tmp_path / "set", 3)
    manifest = tmp_path / "set" / "manifest.json"
    manifest.write_text(
        manifest.read_text().replace('"random_return": -10.0', '"random_return": -18.0')
    )
    with pytest.raises(DemonstrationError, match=r"manifest.json.*checksum does not match.*remove"):
        Demonstrations.open(tmp_path / "set")
    forge(tmp_path / "set", lambda manifest: None)  # removes the checksum
    assert Demonstrations.open(tmp_path / "set").metadata["random_return"] == -18.0


IMPOSSIBLE = {
    "actions": (np.full((6, 3), 5, np.int32), "an action that its agent does not have"),
    "rewards": (np.full((6, 3), np.nan, np.float32), "rewards is not finite"),
    "participation": (np.full((6, 3), 2, np.uint8), "participation is above 1"),
    "action_masks": (np.full((7, 3, 5), 2, np.uint8), "action_mask"),
    "observations": (np.full((7, 3, 4), np.inf, np.float32), "observations is not finite"),
    "seed": (-1, "seed is negative"),
}


@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_impossible_values_are_never_written(tmp_path, name):
    value, message = IMPOSSIBLE[name]
    episode = random_episode(np.random.default_rng(0))
    acting = {}
    if name == "actions":
        acting = {"participation": np.ones((6, 3), np.uint8), "alive": np.ones((7, 3), bool)}
    write(tmp_path / "set", 2)
    with DemonstrationWriter.extend(tmp_path / "set") as writer:
        with pytest.raises(DemonstrationError, match=message):
            writer.append(type(episode)(**{**vars(episode), **acting, name: value}))
        writer.append(episode)
    assert len(Demonstrations.open(tmp_path / "set")) == 3


def test_links_are_never_followed_for_writing(tmp_path):
    write(tmp_path / "set", 12)
    abandon(tmp_path / "set")
    outside = tmp_path / "outside"
    shards(tmp_path / "set")[0].rename(outside)
    (tmp_path / "set" / "shard-00000.arrow").symlink_to(outside)
    before = outside.read_bytes()
    with pytest.warns(DemonstrationWarning, match="12 episodes are readable"):
        DemonstrationWriter.extend(tmp_path / "set").close()
    assert outside.read_bytes() == before
    assert len(Demonstrations.open(tmp_path / "set")) == 12


def test_any_damage_to_metadata_is_an_error_or_changes_nothing(tmp_path):
    """Two thousand flips in the metadata of one shard that no checksum covers."""
    write(tmp_path / "set", 2)
    abandon(tmp_path / "set")
    shard = shards(tmp_path / "set")[0]
    sound, rng = shard.read_bytes(), np.random.default_rng(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        known = [e.observations.tobytes() for e in Demonstrations.open(tmp_path / "set")]
        for _ in range(2000):
            data = bytearray(sound)
            for _ in range(rng.integers(1, 4)):
                flip(data, rng)
            shard.unlink()  # earlier ones stay mapped
            shard.write_bytes(data)
            for episode in Demonstrations.open(tmp_path / "set", recover=True):
                assert episode.observations.tobytes() in known


def test_inspect_escapes_strings_from_files(tmp_path, capsys):
    write(tmp_path / "set", 2)
    forge(
        tmp_path / "set",
        lambda manifest: manifest.update(demonstrator="\x1b[2J[/bold]", versions=None),
    )
    assert inspect.main(inspect.Args(tmp_path / "set")) == 0
    said = capsys.readouterr().out
    assert "\\x1b[2J[/bold]" in said and "\x1b" not in said


def test_a_set_without_episodes_has_no_plots(tmp_path, capsys):
    DemonstrationWriter.create(tmp_path / "set", metadata()).close()
    assert inspect.main(inspect.Args(tmp_path / "set", plots=tmp_path / "plots")) == 2
    assert "has no episodes to plot" in capsys.readouterr().err
    assert not (tmp_path / "plots").exists()
