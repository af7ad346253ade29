"""Stored episodes survive kills and damage to other episodes; damaged episodes are never read."""

from __future__ import annotations

import errno
import json
import os
import pickle
import signal
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_sets import assert_same, metadata, random_episode, write

from demos import store
from demos.dataset import Demonstrations
from demos.inspect import repair
from demos.layout import DemonstrationError, DemonstrationWarning
from demos.manifest import read_manifest
from demos.messages import _field, _target, header_at
from demos.writer import DemonstrationWriter

small = st.integers(1, 5)


@settings(max_examples=25, deadline=None)
@given(
    small,
    small,
    small,
    small,
    st.booleans(),
    st.integers(1, 12),
    st.sampled_from([(), ("a", "b.c")]),
)
def test_episodes_of_any_shape_are_read_back_bit_for_bit(n, d, a, s, discrete, count, metrics):
    sizes = {"n": n, "d": d, "a": a, "s": s, "discrete": discrete, "metrics": metrics}
    with tempfile.TemporaryDirectory() as folder:
        written = write(Path(folder) / "set", count, shard_bytes=6000, **sizes)
        demonstrations = Demonstrations.open(Path(folder) / "set")
        assert len(demonstrations) == count
        for k, episode in enumerate(written):
            assert_same(demonstrations[k], episode)


def test_any_arrow_reader_opens_a_shard(demos_path):
    with pa.ipc.open_stream(str(demos_path / "shard-00000.arrow")) as reader:
        batches = list(reader)
    assert batches[0].column("round").to_pylist() == list(range(batches[0].num_rows))
    assert batches[0].column("seed").to_pylist() == [0] * batches[0].num_rows


def test_manifest_counts_episodes_and_transitions(demos_path):
    manifest = json.loads((demos_path / "manifest.json").read_text())
    demonstrations = Demonstrations.open(demos_path)
    assert len(manifest["shards"]) > 1
    assert (
        sum(s["episodes"] for s in manifest["shards"]) == manifest["statistics"]["episodes"] == 40
    )
    assert sum(s["transitions"] for s in manifest["shards"]) == demonstrations.lengths.sum()


def test_extending_continues_the_set(demos_path):
    rng = np.random.default_rng(1)
    extra = random_episode(rng, seed=99)
    with DemonstrationWriter.extend(demos_path) as writer:
        writer.append(extra)
    demonstrations = Demonstrations.open(demos_path)
    assert len(demonstrations) == 41
    assert_same(demonstrations[40], extra)


KILLED = """
import sys, numpy as np
sys.path.insert(0, {tests!r})
from demos.writer import DemonstrationWriter
from random_sets import metadata, random_episode
rng = np.random.default_rng(0)
writer = DemonstrationWriter.create({path!r}, metadata(), shard_bytes=30_000)
for k in range(1_000_000):
    writer.append(random_episode(rng, seed=k))
    print(k, flush=True)
"""


def test_kill_loses_nothing_that_was_finished(tmp_path):
    path = tmp_path / "set"
    root, here = Path(__file__).parents[2], Path(__file__).parent
    code = KILLED.format(tests=str(here), path=str(path))
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=root
    )
    assert process.stdout is not None
    for _ in range(200):
        process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    acknowledged = 199 + len(process.stdout.read().splitlines())
    process.wait()
    demonstrations = Demonstrations.open(path)
    assert len(demonstrations) >= acknowledged
    assert [e.seed for e in demonstrations] == list(range(len(demonstrations)))
    with DemonstrationWriter.extend(path) as writer:
        writer.append(random_episode(np.random.default_rng(0), seed=77))
    again = Demonstrations.open(path)
    assert len(again) == len(demonstrations) + 1 and again[-1].seed == 77 and not again.notices


def test_a_kill_before_the_first_episode_does_not_block_the_folder(tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "manifest.json.tmp").write_text('{"format": "mail')
    write(tmp_path / "set", 2)
    assert len(Demonstrations.open(tmp_path / "set")) == 2
    assert not (tmp_path / "set" / "manifest.json.tmp").exists()


def unclosed(path: Path, count: int) -> bytes:
    """A set as a killed process leaves it; returns the open shard's bytes."""
    rng = np.random.default_rng(3)
    writer = DemonstrationWriter.create(path, metadata())
    for k in range(count):
        writer.append(random_episode(rng, seed=k))
    data = (path / "shard-00000.arrow").read_bytes()
    writer._writer.release()
    return data


@pytest.mark.parametrize("cut", [1, 7, 100, 800])
def test_unfinished_last_episode_is_skipped_with_a_notice(tmp_path, cut):
    data = unclosed(tmp_path / "set", 5)
    (tmp_path / "set" / "shard-00000.arrow").write_bytes(data[:-cut])
    with pytest.warns(DemonstrationWarning, match="unfinished episode"):
        demonstrations = Demonstrations.open(tmp_path / "set")
    assert [e.seed for e in demonstrations] == [0, 1, 2, 3]
    assert demonstrations.notices
    DemonstrationWriter.extend(tmp_path / "set").close()
    assert not Demonstrations.open(tmp_path / "set").notices


def test_last_write_that_never_reached_the_disk_is_ignored(tmp_path):
    data = bytearray(unclosed(tmp_path / "set", 5))
    data[-300:-100] = bytes(200)  # a page of zeros after a power failure
    (tmp_path / "set" / "shard-00000.arrow").write_bytes(data)
    with pytest.warns(DemonstrationWarning):
        assert len(Demonstrations.open(tmp_path / "set")) == 4


class Broken:
    """`os` for the shards' writer: call number `call` of `name` fails, after writing `part` of its data."""

    def __init__(self, name: str, call: int, error: BaseException, part: float = 1.0) -> None:
        self.name, self.left, self.error, self.part = name, call, error, part

    def __getattr__(self, name: str):
        return self.fail if name == self.name else getattr(os, name)

    def fail(self, number: int, *data: bytes) -> int:
        self.left -= 1
        if self.left:
            return getattr(os, self.name)(number, *data)
        getattr(os, self.name)(number, *(x[: int(self.part * len(x))] for x in data))
        raise self.error


INTERRUPTED = {
    "Ctrl-C just after an episode was written": ("write", 4, KeyboardInterrupt(), 1.0),
    "Ctrl-C after the columns' names": ("write", 1, KeyboardInterrupt(), 1.0),
    "Ctrl-C while a shard is closed": ("fsync", 1, KeyboardInterrupt(), 1.0),
    "full disk": ("write", 4, OSError(errno.ENOSPC, "No space left on device"), 0.6),
    "full disk at the first write": ("write", 1, OSError(errno.ENOSPC, "No space left"), 0.6),
}


@pytest.mark.parametrize("case", INTERRUPTED, ids=str)
def test_an_interrupted_write_neither_damages_the_set_nor_hides_the_reason(
    tmp_path, case, monkeypatch
):
    broken = Broken(*INTERRUPTED[case])
    monkeypatch.setattr(store, "os", broken)
    rng, finished = np.random.default_rng(0), 0
    with (
        pytest.raises(type(broken.error)),
        DemonstrationWriter.create(tmp_path / "set", metadata(), shard_bytes=30_000) as writer,
    ):
        for k in range(50):
            writer.append(random_episode(rng, seed=k))
            finished += 1
    with DemonstrationWriter.extend(tmp_path / "set") as writer:
        assert not writer.notices and writer.episodes in (finished, finished + 1)
        writer.append(random_episode(rng, seed=writer.episodes))
    demonstrations = Demonstrations.open(tmp_path / "set")
    assert [e.seed for e in demonstrations] == list(range(writer.episodes))


def test_an_episode_whose_writing_failed_can_be_written_again(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "os", Broken("write", 3, OSError(errno.ENOSPC, "full"), 0.6))
    rng = np.random.default_rng(0)
    episodes = [random_episode(rng, t, seed=t) for t in (6, 6, 2)]
    with DemonstrationWriter.create(tmp_path / "set", metadata()) as writer:
        writer.append(episodes[0])
        with pytest.raises(OSError, match="full"):
            writer.append(episodes[1])
        writer.append(episodes[2])
    assert [e.seed for e in Demonstrations.open(tmp_path / "set")] == [6, 2]


def test_a_set_whose_last_shard_is_empty_is_continued(demos_path):
    manifest = json.loads((demos_path / "manifest.json").read_text())
    schema = Demonstrations.open(demos_path).layout.schema()
    empty = demos_path / "shard-00090.arrow"
    with pa.OSFile(str(empty), "wb") as file, pa.ipc.new_stream(file, schema):
        pass
    manifest["shards"].append(store.shard_entry(empty, 0, 0))
    del manifest["checksum"]
    (demos_path / "manifest.json").write_text(json.dumps(manifest))
    with DemonstrationWriter.extend(demos_path) as writer:
        writer.append(random_episode(np.random.default_rng(0), seed=40))
    assert [e.seed for e in Demonstrations.open(demos_path)] == list(range(41))


@pytest.mark.parametrize("size", [0, 3, 50])
def test_shard_without_episodes(tmp_path, size):
    data = unclosed(tmp_path / "set", 1)
    (tmp_path / "set" / "shard-00000.arrow").write_bytes(data[:size])
    writer = DemonstrationWriter.extend(tmp_path / "set")
    writer.append(random_episode(np.random.default_rng(0)))
    writer.close()
    assert len(Demonstrations.open(tmp_path / "set")) == 1


def flip_a_byte(path: Path, position: int) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 0x10
    path.write_bytes(data)


def test_flipped_bit_is_found_and_the_rest_recovered(demos_path):
    shard = demos_path / "shard-00001.arrow"
    flip_a_byte(shard, shard.stat().st_size - 500)
    with pytest.raises(DemonstrationError, match=r"shard-00001.*sha256.*39 episodes.*recover=True"):
        Demonstrations.open(demos_path)
    assert len(Demonstrations.open(demos_path, recover=True)) == 39


def test_flipped_bit_is_found_when_reading_without_verification(demos_path):
    shard = demos_path / "shard-00001.arrow"
    flip_a_byte(shard, shard.stat().st_size - 500)
    demonstrations = Demonstrations.open(demos_path, verify=False)
    with pytest.raises(DemonstrationError, match="damaged"):
        list(demonstrations)
    with pytest.raises(DemonstrationError, match="damaged"):
        demonstrations.transitions()


def endless(episode: bytes, length: int) -> bytes:
    """The header of an episode's message, changed to say that the message is `length` bytes long."""
    header = bytearray(episode[: header_at(memoryview(episode), 0).body])
    view = memoryview(header)
    message = _target(view, 8)
    batch, body = _target(view, _field(view, message, 2)), length - len(header)
    buffers = _target(view, _field(view, batch, 2))
    last = buffers + 4 + 16 * (struct.unpack_from("<I", view, buffers)[0] - 1)
    struct.pack_into("<q", header, _field(view, message, 3), body)
    struct.pack_into("<qq", header, last, 0, body)
    return bytes(header)


@pytest.mark.parametrize("gap", [b"", bytes(8)], ids=["at once", "after a gap"])
def test_a_file_of_false_starts_is_not_searched_for_ever(tmp_path, monkeypatch, gap):
    data, count = unclosed(tmp_path / "set", 1), 60
    values = store.values_of(read_manifest(tmp_path / "set"))
    path = tmp_path / "set" / "shard-00000.arrow"
    first = header_at(memoryview(data), 0).end
    episode = data[first:]
    step = len(gap + endless(episode, 2**20) + episode)
    size = first + count * step + 8
    parts = [data[:first]]
    for k in range(count):
        false = endless(episode, size - 8 - first - k * step - len(gap))
        parts += [gap, false, episode]
    path.write_bytes(b"".join([*parts, bytes(8)]))
    read, reads = [], store.Shard._reads

    def counted(self, start, end, rows):
        read.append(end - start)
        return reads(self, start, end, rows)

    monkeypatch.setattr(store.Shard, "_reads", counted)
    shard = store.Shard(path, values)
    assert 0 < len(shard.found.starts) < count
    assert sum(read) <= (store.SEARCH + 2) * size


def test_truncated_and_missing_shards_are_named(demos_path):
    shard = demos_path / "shard-00000.arrow"
    data = shard.read_bytes()
    shard.write_bytes(data[:-700])
    with pytest.raises(
        DemonstrationError, match=rf"shard-00000.*expected {len(data)} bytes, found"
    ):
        Demonstrations.open(demos_path)
    left = len(Demonstrations.open(demos_path, recover=True))
    assert 38 <= left < 40
    assert f"it holds {left} episodes" in repair(demos_path)
    assert len(Demonstrations.open(demos_path)) == left
    (demos_path / "shard-00001.arrow").unlink()
    with pytest.raises(DemonstrationError, match=r"shard-00001.*missing"):
        Demonstrations.open(demos_path)


def test_foreign_folders_and_files(tmp_path, demos_path):
    with pytest.raises(DemonstrationError, match="found nothing"):
        Demonstrations.open(tmp_path / "absent")
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "photo.png").write_bytes(b"png")
    with pytest.raises(DemonstrationError, match=r"photo.png"):
        Demonstrations.open(tmp_path / "foreign")
    with pytest.raises(DemonstrationError, match="not an empty folder"):
        DemonstrationWriter.create(tmp_path / "foreign", metadata())
    (tmp_path / "foreign" / "manifest.json").write_text('{"name": "my-web-app"}')
    with pytest.raises(DemonstrationError, match="expected the format"):
        Demonstrations.open(tmp_path / "foreign")
    (tmp_path / "foreign" / "manifest.json").write_text("{")
    with pytest.raises(DemonstrationError, match="not valid JSON"):
        Demonstrations.open(tmp_path / "foreign")
    (demos_path / "shard-00099.arrow").write_bytes(b"GIF89a this is a picture")
    with pytest.raises(DemonstrationError, match=r"shard-00099.*not an Arrow stream"):
        Demonstrations.open(demos_path)


def test_other_schema_version(demos_path):
    manifest = json.loads((demos_path / "manifest.json").read_text())
    manifest["schema_version"] = 3
    (demos_path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(DemonstrationError, match="schema version 3"):
        Demonstrations.open(demos_path)


def test_shard_of_another_set(tmp_path, demos_path):
    write(tmp_path / "other", 3, n=2)
    os.replace(tmp_path / "other" / "shard-00000.arrow", demos_path / "shard-00099.arrow")
    with pytest.raises(
        DemonstrationError, match=r"columns are not those of the manifest.*observations"
    ):
        Demonstrations.open(demos_path)


class Bomb:
    def __reduce__(self):
        return (os.mkdir, ("unpickled",))


def test_nothing_is_unpickled(tmp_path, demos_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (demos_path / "shard-00099.arrow").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(DemonstrationError):
        Demonstrations.open(demos_path)
    assert not (tmp_path / "unpickled").exists()


def test_one_writer_at_a_time(demos_path):
    with (
        DemonstrationWriter.extend(demos_path),
        pytest.raises(DemonstrationError, match="another process is recording into this set"),
    ):
        DemonstrationWriter.extend(demos_path)


def test_metadata_that_cannot_be_written_do_not_block_the_folder(tmp_path):
    with pytest.raises(TypeError, match="not JSON"):
        DemonstrationWriter.create(
            tmp_path / "set", metadata(arguments={"num_agents": np.int64(3)})
        )
    write(tmp_path / "set", 2)
    assert len(Demonstrations.open(tmp_path / "set")) == 2


def test_a_file_system_without_locks_holds_sets_too(demos_path, monkeypatch):
    def flock(number, kind):
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(store.fcntl, "flock", flock)
    with DemonstrationWriter.extend(demos_path) as writer:
        writer.append(random_episode(np.random.default_rng(0), seed=40))
    assert len(Demonstrations.open(demos_path)) == 41


def test_episodes_of_another_shape_are_refused(demos_path):
    with DemonstrationWriter.extend(demos_path) as writer:
        with pytest.raises(DemonstrationError, match=r"observations .* \(3, 9\).*\(3, 4\)"):
            writer.append(random_episode(np.random.default_rng(0), d=9))
    assert len(Demonstrations.open(demos_path)) == 40


def test_opening_many_episodes_is_quick(tmp_path):
    rng = np.random.default_rng(0)
    episode = random_episode(rng, t=20)
    with DemonstrationWriter.create(tmp_path / "set", metadata()) as writer:
        for _ in range(5000):
            writer.append(episode)
    start = time.perf_counter()
    demonstrations = Demonstrations.open(tmp_path / "set")
    assert demonstrations[4999].seed == 0
    assert time.perf_counter() - start < 2.0
