"""Damaged and hostile sets of demonstrations, made from a sound one; each follows from its number.

As a script, it uses every mutant in a process of its own in all the ways there are, and prints what happened:
`python mutants.py FOLDER FIRST COUNT`, one JSON line a mutant.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import signal
import struct
import sys
import traceback
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

SECONDS = 30  # after which a mutant counts as one that hangs
HUGE = (-1, -(2**63), 2**62, 2**31 - 1, 2**31, 0xFFFFFFFF, 2**40)

Mutation = Callable[[Path, np.random.Generator], None]


def shards(folder: Path) -> list[Path]:
    return sorted(folder.glob("shard-*.arrow"))


def a_shard(folder: Path, rng: np.random.Generator) -> Path:
    return shards(folder)[rng.integers(len(shards(folder)))]


def forge(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the manifest as somebody who knows the format would."""
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest.pop("checksum", None)
    change(manifest)
    path.write_text(json.dumps(manifest))


def resign(folder: Path) -> None:
    """Make the manifest agree with the sizes and checksums of the shards."""
    import hashlib

    def change(manifest: dict[str, Any]) -> None:
        for entry in manifest["shards"]:
            data = (folder / entry["file"]).read_bytes()
            entry["bytes"], entry["sha256"] = len(data), hashlib.sha256(data).hexdigest()

    forge(folder, change)


def abandon(folder: Path) -> None:
    """As a kill would leave it: the last shard is not in the manifest and has no end."""
    last = shards(folder)[-1]
    last.write_bytes(last.read_bytes()[:-8])
    forge(folder, lambda manifest: manifest["shards"].pop())


def edit(path: Path, change: Callable[[bytearray], Any]) -> None:
    data = bytearray(path.read_bytes())
    change(data)
    path.write_bytes(data)


def flip(
    data: bytearray, rng: np.random.Generator, start: int = 0, stop: int | None = None
) -> None:
    position = int(rng.integers(start, len(data) if stop is None else stop))
    data[position] ^= 1 << int(rng.integers(8))


def metadata_of(data: bytes) -> list[tuple[int, int]]:
    """Where the metadata of the messages in an Arrow stream lie."""
    found, position = [], 0
    reader = pa.BufferReader(data)
    while True:
        try:
            pa.ipc.read_message(reader)
        except EOFError:
            return found
        size = struct.unpack_from("<i", data, position + 4)[0]
        found.append((position, position + 8 + size))
        position = reader.tell()


def flip_anywhere(folder: Path, rng: np.random.Generator) -> None:
    edit(a_shard(folder, rng), lambda data: flip(data, rng))


def flip_anywhere_resigned(folder: Path, rng: np.random.Generator) -> None:
    flip_anywhere(folder, rng)
    resign(folder)


def flip_in_metadata(folder: Path, rng: np.random.Generator) -> None:
    def change(data: bytearray) -> None:
        places = metadata_of(bytes(data))
        for _ in range(rng.integers(1, 4)):
            flip(data, rng, *places[rng.integers(len(places))])

    edit(a_shard(folder, rng), change)
    resign(folder)


def numbers_in_metadata(folder: Path, rng: np.random.Generator) -> None:
    def change(data: bytearray) -> None:
        places = metadata_of(bytes(data))
        start, stop = places[rng.integers(1, len(places))]
        for _ in range(rng.integers(1, 4)):
            position = int(rng.integers(start // 4, stop // 4 - 1)) * 4
            value = int(HUGE[rng.integers(len(HUGE))])
            struct.pack_into("<Q", data, position, value % 2**64)

    edit(a_shard(folder, rng), change)
    resign(folder)


def cut_short(folder: Path, rng: np.random.Generator) -> None:
    edit(
        a_shard(folder, rng),
        lambda data: data.__delitem__(slice(int(rng.integers(len(data))), None)),
    )
    if rng.integers(2):
        resign(folder)


def zeros(folder: Path, rng: np.random.Generator) -> None:
    def change(data: bytearray) -> None:
        start = int(rng.integers(len(data)))
        data[start : start + 512] = bytes(len(data[start : start + 512]))

    edit(a_shard(folder, rng), change)
    if rng.integers(2):
        resign(folder)


def inserted(folder: Path, rng: np.random.Generator) -> None:
    def change(data: bytearray) -> None:
        start = int(rng.integers(len(data) // 8)) * 8
        data[start:start] = rng.bytes(8 * int(rng.integers(1, 9)))

    edit(a_shard(folder, rng), change)
    if rng.integers(2):
        resign(folder)


def swapped(folder: Path, rng: np.random.Generator) -> None:
    one, other = (shards(folder)[k] for k in rng.permutation(len(shards(folder)))[:2])
    a, b = one.read_bytes(), other.read_bytes()
    one.write_bytes(b)
    other.write_bytes(a)
    if rng.integers(2):
        resign(folder)


def untrue_counts(folder: Path, rng: np.random.Generator) -> None:
    def change(manifest: dict[str, Any]) -> None:
        entry = manifest["shards"][rng.integers(len(manifest["shards"]))]
        key = ("episodes", "transitions", "bytes")[rng.integers(3)]
        entry[key] = int([entry[key] + 1, entry[key] - 1, 0, 10**18, -3][rng.integers(5)])

    forge(folder, change)


def untrue_values(folder: Path, rng: np.random.Generator) -> None:
    """Impossible values with correct checksums."""
    from demos.layout import Layout, checksum, decode, encode

    layout = Layout(**json.loads((folder / "manifest.json").read_text())["layout"])
    path = a_shard(folder, rng)
    with pa.ipc.open_stream(path.read_bytes()) as reader:
        batches = list(reader)
    chosen = int(rng.integers(len(batches)))
    columns = {k: v.copy() for k, v in decode(layout, batches[chosen]).items()}
    name, row, value = UNTRUE[rng.integers(len(UNTRUE))]
    columns[name][row] = value
    if len(columns["round"]) == 2 and (name, row) == ("terminated", 0):
        columns["terminated"][:] = 2
    columns["crc32"][:] = checksum(layout, columns)
    with pa.ipc.new_stream(path, layout.schema()) as writer:
        for k, batch in enumerate(batches):
            writer.write(encode(layout.schema(), columns) if k == chosen else batch)
    resign(folder)


UNTRUE = [
    ("actions", 0, 17),
    ("actions", 0, -1),
    ("actions", -1, 1),
    ("participation", 0, 2),
    ("participation", -1, 2),
    ("alive", 0, 2),
    ("alive", -1, 3),
    ("observations", 0, np.nan),
    ("observations", -1, np.inf),
    ("rewards", 0, np.nan),
    ("rewards", -1, 1.0),
    ("state", 0, -np.inf),
    ("action_mask", 0, 2),
    ("action_mask", -1, 2),
    ("terminated", 0, 1),
    ("truncated", -1, 2),
    ("round", 0, 1),
    ("round", -1, 2**31 - 1),
    ("seed", 0, 12345),
    ("seed", slice(None), -7),
    ("episode", 0, 99),
    ("episode", slice(None), -1),
]


def flip_in_manifest(folder: Path, rng: np.random.Generator) -> None:
    edit(folder / "manifest.json", lambda data: flip(data, rng))


def cut_manifest(folder: Path, rng: np.random.Generator) -> None:
    edit(
        folder / "manifest.json",
        lambda data: data.__delitem__(slice(int(rng.integers(len(data))), None)),
    )


STRANGE: tuple[Any, ...] = (
    None, True, -1, 0, 10**18, 10**30, 1.5, float("nan"), float("inf"), "", "x", "a:b", [], {}, [[]],
    [-1], {"x": [1]}, "\x1b[2J[/bold]", "x" * 10_000,
)  # fmt: skip


def strange_entry(folder: Path, rng: np.random.Generator) -> None:
    def change(manifest: dict[str, Any]) -> None:
        part: Any = manifest
        while True:
            keys = list(part) if isinstance(part, dict) else list(range(len(part)))
            key = keys[rng.integers(len(keys))]
            if not isinstance(part[key], (dict, list)) or not part[key] or rng.integers(3) == 0:
                break
            part = part[key]
        part[key] = STRANGE[rng.integers(len(STRANGE))]

    forge(folder, change)


def absent_entry(folder: Path, rng: np.random.Generator) -> None:
    def change(manifest: dict[str, Any]) -> None:
        part = manifest["layout"] if rng.integers(3) == 0 else manifest
        part = manifest["shards"][0] if rng.integers(3) == 0 else part
        part.pop(list(part)[rng.integers(len(part))])

    forge(folder, change)


def deep_nesting(folder: Path, rng: np.random.Generator) -> None:
    depth = int((20, 400, 2000, 200_000)[rng.integers(4)])
    forge(folder, lambda manifest: manifest.update(arguments="HERE"))
    path = folder / "manifest.json"
    path.write_text(path.read_text().replace('"HERE"', '{"a":' * depth + "1" + "}" * depth))


def endless_number(folder: Path, rng: np.random.Generator) -> None:
    forge(folder, lambda manifest: manifest.update(max_rounds="HERE"))
    path = folder / "manifest.json"
    path.write_text(path.read_text().replace('"HERE"', "9" * 10_000))


def elsewhere(folder: Path, rng: np.random.Generator) -> None:
    """Shard names that point out of the folder, to an intact shard."""
    name = shards(folder)[0].name
    shutil.copy(folder / name, folder.parent / name)
    names = (f"../{name}", str((folder.parent / name).resolve()), f"./{name}", "/dev/zero", "", ".",
             "shard-00000.arrow\0", "manifest.json", "shard-٠٠٠٠٠.arrow")  # fmt: skip
    forge(folder, lambda m: m["shards"][0].update(file=names[rng.integers(len(names))]))


def no_file(folder: Path, rng: np.random.Generator) -> None:
    """Replace a file by something else."""
    path = [*shards(folder), folder / "manifest.json"][rng.integers(len(shards(folder)) + 1)]
    path.unlink()
    kind = rng.integers(6)
    if kind == 0:
        os.mkfifo(path)
    elif kind == 1:
        path.mkdir()
    elif kind == 2:
        path.symlink_to("/dev/zero")
    elif kind == 3:
        path.symlink_to("/etc/passwd")
    elif kind == 4:
        path.symlink_to(path)
    else:
        path.symlink_to(folder / "absent")


def pipe_beside(folder: Path, rng: np.random.Generator) -> None:
    name = ("shard-00099.arrow", "manifest.json.tmp", "shard-00000.arrow.damaged")[rng.integers(3)]
    os.mkfifo(folder / name)


def link_beside(folder: Path, rng: np.random.Generator) -> None:
    """Names that are written to lead to a file elsewhere, which must stay as it is."""
    abandon(folder)
    outside = folder.parent / "outside"
    last = shards(folder)[-1]
    kind = rng.integers(3)
    if kind == 0:
        outside.write_text("stay")
        (folder / "manifest.json.tmp").symlink_to(outside)
    elif kind == 1:
        outside.write_text("stay")
        (folder / f"{last.name}.damaged").symlink_to(outside)
        edit(last, lambda data: flip(data, rng, len(data) - 200))
    else:
        last.rename(outside)
        last.symlink_to(outside)


def abandoned(folder: Path, rng: np.random.Generator) -> None:
    """Damage in the last shard, which a kill left open."""
    abandon(folder)
    last = shards(folder)[-1]
    if rng.integers(2):
        edit(last, lambda data: data.__delitem__(slice(int(rng.integers(len(data))), None)))
    if rng.integers(2) and last.stat().st_size:
        edit(last, lambda data: flip(data, rng))


MUTATIONS: list[Mutation] = [
    flip_anywhere,
    flip_anywhere_resigned,
    flip_in_metadata,
    numbers_in_metadata,
    cut_short,
    zeros,
    inserted,
    swapped,
    untrue_counts,
    untrue_values,
    flip_in_manifest,
    cut_manifest,
    strange_entry,
    absent_entry,
    deep_nesting,
    endless_number,
    elsewhere,
    no_file,
    pipe_beside,
    link_beside,
    abandoned,
    # again, because this has the most failure modes
    flip_in_metadata,
    numbers_in_metadata,
    untrue_values,
    strange_entry,
    abandoned,
]


def mutant(sound: Path, folder: Path, number: int) -> str:
    """Write mutant `number` into `folder / "set"`; returns the mutation's name."""
    shutil.copytree(sound, folder / "set")
    mutation = MUTATIONS[number % len(MUTATIONS)]
    mutation(folder / "set", np.random.default_rng(number))
    return mutation.__name__


# --- what is done with them ------------------------------------------------------------------------------------


def fingerprint(episode: Any) -> int:
    """Hash of all data of an episode."""
    arrays = (
        episode.observations, episode.actions, episode.participation, episode.rewards, episode.states,
        episode.action_masks, episode.alive, episode.final_participation,
    )  # fmt: skip
    told = repr([(None if a is None else (a.dtype, a.shape)) for a in arrays])
    told += repr((episode.terminated, episode.truncated, episode.seed, dict(episode.metrics)))
    return zlib.crc32(told.encode() + b"".join(b"" if a is None else a.tobytes() for a in arrays))


def attempt(path: Path, use: Callable[[], Any]) -> Any:
    """What `use` returns, or its one-line error as a string; other exceptions are raised."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return use()
        except (ValueError, OSError) as error:
            text = str(error)
            assert "\n" not in text, f"more than one line: {text!r}"
            assert str(path) in text, f"names no file: {text!r}"
            assert len(text) < 2000 and text.isprintable(), f"unreadable: {text!r}"
            return text


def command(module: Any, path: Path, **arguments: Any) -> int:
    """The exit status of a command; its error must be one line that names the set."""
    said, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(errors):
        status = module.main(module.Args(path, **arguments))
    if status == 2:
        lines = [x for x in errors.getvalue().splitlines() if x.startswith("error")]
        assert len(lines) == 1 and str(path) in lines[0], errors.getvalue()
    return status


def copy(folder: Path, name: str) -> Path:
    shutil.copytree(folder / "set", folder / name, symlinks=True, copy_function=_copy)
    return folder / name


def _copy(source: str, target: str) -> None:
    if os.path.islink(source):
        os.symlink(os.readlink(source), target)
    elif os.path.isfile(source):
        shutil.copy(source, target)
    else:
        os.mkfifo(target)


def use(folder: Path, sound: list[int]) -> str:
    """Use a mutant in all ways; returns the result of reading it. AssertionError on forbidden behavior."""
    from random_sets import random_episode

    from demos import inspect, replay
    from demos.dataset import Demonstrations
    from demos.writer import DemonstrationWriter

    path = folder / "set"
    outside = folder / "outside"
    before = outside.read_bytes() if outside.exists() else b""
    torn = "abandon" in (folder / "name").read_text() or "link" in (folder / "name").read_text()

    def prints(**options: Any) -> list[int]:
        return [fingerprint(e) for e in Demonstrations.open(path, **options)]

    def among(found: Any, what: str) -> None:
        assert isinstance(found, str) or set(found) <= set(sound), (
            f"{what}: episodes that nobody recorded"
        )

    read = attempt(path, prints)
    if isinstance(read, list):
        known = sorted(sound)
        assert (torn and set(read) <= set(sound)) or sorted(read) == known, (
            f"accepted {len(read)} episodes"
        )
    among(attempt(path, lambda: prints(verify=False)), "verify=False")
    flat = attempt(path, lambda: len(Demonstrations.open(path, verify=False).transitions()))
    assert isinstance(flat, str) or flat > 0 or torn
    recovered = attempt(path, lambda: prints(recover=True))
    among(recovered, "recover")
    if isinstance(recovered, list):
        rest = attempt(path, lambda: Demonstrations.open(path, recover=True).transitions())
        assert not isinstance(rest, str), f"recovered, but {rest}"
    assert command(inspect, path) in (0, 2)
    status = command(replay, path, verify=True, all=True)
    assert status == (0 if isinstance(read, list) and read else 2) or status == 2, status
    mended = copy(folder, "mended")
    if command(inspect, mended, repair=True) == 0:
        after = [fingerprint(e) for e in Demonstrations.open(mended)]
        among(after, "repair")
        assert isinstance(recovered, str) or set(recovered) <= set(after), "repair lost episodes"
    longer = copy(folder, "longer")

    def extend() -> list[int]:
        with DemonstrationWriter.extend(longer) as writer:
            like = {
                "n": 3,
                "d": 16,
                "a": 5,
                "s": writer.layout.state_size,
                "metrics": writer.layout.metrics,
            }
            writer.append(random_episode(np.random.default_rng(0), seed=777, **like))
        return [fingerprint(e) for e in Demonstrations.open(longer)][:-1]

    extended = attempt(longer, extend)
    among(extended, "extend")
    if isinstance(extended, list) and isinstance(recovered, list):
        assert set(recovered) <= set(extended), "extend lost episodes"
    if outside.exists():
        assert outside.read_bytes() == before, "wrote outside the set"
    return read if isinstance(read, str) else f"{len(read)} episodes"


def in_a_child(work: Callable[[], str]) -> dict[str, Any]:
    """The result of `work` in a forked process, or how the process ended."""
    back, to = os.pipe()
    child = os.fork()
    if child == 0:
        signal.alarm(SECONDS)
        try:
            result = {"read": work()}
        except BaseException as error:
            result = {"fault": "".join(traceback.format_exception(error, limit=-4))}
        os.write(to, json.dumps(result).encode()[:60_000])
        os._exit(0)
    os.close(to)
    with open(back, "rb") as file:
        data = file.read()
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        return {"fault": "it hangs" if number == signal.SIGALRM else f"signal {number}"}
    return json.loads(data)


def record_sound(path: Path) -> None:
    """A set of 12 short episodes in three shards, of a real game, so that it can be replayed."""
    import mail_envs
    from demos.description import describe
    from demos.policies import load_policy
    from demos.rollouts import rollouts
    from demos.writer import DemonstrationWriter

    env = mail_envs.make_vec("stochastic_coop_nav", 12, max_rounds=6)
    metadata = describe(env, "random")
    with DemonstrationWriter.create(path, metadata, shard_bytes=12_000) as writer:
        for episode in rollouts(env, load_policy("random", env), range(12)):
            writer.append(episode)


def main(folder: Path, first: int, count: int) -> None:
    from demos import replay
    from demos.dataset import Demonstrations

    sound = folder / "sound"
    record_sound(sound)
    assert len(shards(sound)) == 3
    demonstrations = Demonstrations.open(sound)
    known = [fingerprint(e) for e in demonstrations]
    assert replay.verify(demonstrations) == [], "the sound set is not sound"
    for number in range(first, first + count):
        place = folder / str(number)
        place.mkdir()
        name = mutant(sound, place, number)
        (place / "name").write_text(name)
        result = in_a_child(lambda place=place: use(place, known))
        print(json.dumps({"mutant": number, "mutation": name, **result}), flush=True)
        if "fault" not in result:
            shutil.rmtree(place)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
