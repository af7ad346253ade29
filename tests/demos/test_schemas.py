"""Sets say who is alive and what would have come next; sets of schema 1, which do not, still open everywhere."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from random_sets import assert_same, metadata, random_episode, write
from sample_games import LastStanding

import mail_envs
from demos import inspect
from demos.dataset import Demonstrations, mix
from demos.layout import DemonstrationError
from demos.policies import random_policy
from demos.record import record
from demos.replay import simulate, verify
from demos.rollouts import rollouts
from demos.writer import DemonstrationWriter
from mail_envs.vector import VectorGame

OLD = Path(__file__).parent / "data" / "schema_one"  # written by an earlier version
ROUNDS, SEED = 7, 1645606736464176184  # of the first episode of OLD


@pytest.fixture
def old(tmp_path) -> Path:
    return Path(shutil.copytree(OLD, tmp_path / "old"))


def manifest_of(folder: Path) -> dict:
    return json.loads((folder / "manifest.json").read_text())


def duels(num_envs: int, null_action: str = "null", **more) -> VectorGame:
    """Agents die here, masks forbid actions, and not everybody acts."""
    player = mail_envs.Stochastic(0.6)
    return VectorGame(LastStanding(max_rounds=5), player, num_envs, null_action=null_action, **more)


# -- schema 2 -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("null_action", ["null", "as_action"])
def test_recorded_ends_are_those_of_the_game_left_at_its_end(null_action):
    """Also with fewer copies than episodes; the values of the next episode do not pass."""
    env = duels(4, null_action)
    episodes = list(rollouts(env, random_policy(env), range(20)))
    alone, differs = duels(1, null_action, autoreset=False), set()
    for episode in episodes:
        _, info = alone.reset_to(np.array([episode.seed]))
        first = {k: np.array(info[k][0]) for k in ("alive", "participation", "action_mask")}
        for t, actions in enumerate(episode.actions):
            assert np.array_equal(episode.alive[t], info["alive"][0])
            *_, info = alone.step(
                np.where(episode.participation[t] > 0, actions, 3 * (null_action != "null"))[None]
            )
        found = {
            "alive": episode.alive[-1],
            "participation": episode.final_participation,
            "action_mask": episode.action_masks[-1],
        }
        for name, values in found.items():
            known = info[name][0][..., :3]
            assert np.array_equal(values, known), name
            if not np.array_equal(known, first[name][..., :3]):
                differs.add(name)
        assert not simulate(duels(1, null_action), episode)
    assert differs == {"alive", "participation", "action_mask"}


@pytest.mark.parametrize("part", ["alive", "final_participation", "action_masks"])
def test_verification_finds_what_is_wrong_at_the_end(part):
    env = duels(2)
    episode = next(rollouts(env, random_policy(env), [3]))
    wrong = np.array(getattr(episode, part))
    wrong[-1] = ~wrong[-1] if wrong.dtype == bool else 1 - wrong[-1]
    name = {"final_participation": "participation", "action_masks": "action_mask"}.get(part, part)
    found = simulate(env, replace(episode, **{part: wrong}))
    assert found == (f"{name} from round {len(episode)}",)


def test_the_ends_count_as_no_round(tmp_path):
    """Participation shares and numbers of actions are those of rounds that were played."""
    episodes = write(tmp_path / "set", 12)
    d = Demonstrations.open(tmp_path / "set")
    shares = [e.participation.mean(axis=0) for e in episodes]
    assert np.allclose(d.table().participation, shares)
    counts = inspect.action_counts(d)
    assert counts.sum() == sum(int((e.participation > 0).sum()) for e in episodes)
    for before, after in zip(episodes, d, strict=True):
        assert_same(before, after)


@pytest.mark.parametrize(
    ("part", "said"),
    [("alive", "an agent acts that is dead"), ("final_participation", "participation is above 1")],
)
def test_impossible_values_are_not_kept(tmp_path, part, said):
    episode = random_episode(np.random.default_rng(0))
    values = np.zeros_like(episode.alive) if part == "alive" else np.full(3, 2, np.uint8)
    episode.participation[0, 0] = 1
    with DemonstrationWriter.create(tmp_path / "set", metadata()) as writer:
        with pytest.raises(DemonstrationError, match=said):
            writer.append(replace(episode, **{part: values}))


def test_a_manifest_must_agree_with_its_schema(tmp_path):
    write(tmp_path / "set", 2)
    manifest = manifest_of(tmp_path / "set")
    manifest.pop("checksum")
    assert manifest["schema_version"] == 2
    for change in ({"schema_version": 1}, {"layout": {**manifest["layout"], "alive": False}}):
        (tmp_path / "set" / "manifest.json").write_text(json.dumps({**manifest, **change}))
        with pytest.raises(DemonstrationError, match="schema version"):
            Demonstrations.open(tmp_path / "set")


# -- schema 1 -----------------------------------------------------------------------------------------


def test_sets_of_schema_1_are_filled_in(old):
    d = Demonstrations.open(old)
    assert len(d) == 3 and d.metadata["schema_version"] == 1 and not d.layout.alive
    for e in d:
        acts_later = [[e.participation[t:, i].any() for i in range(3)] for t in range(ROUNDS)]
        assert e.derived and np.array_equal(e.alive[:-1], acts_later)
        assert np.array_equal(e.alive[-1], e.alive[-2])
        assert (e.action_masks[-1] == 1).all() and not e.final_participation.any()
    t, last = d.transitions(), np.arange(3 * ROUNDS) % ROUNDS == ROUNDS - 1
    assert np.array_equal(t.alive, np.concatenate([e.alive[:-1] for e in d]))
    assert np.array_equal(t.next_alive, np.concatenate([e.alive[1:] for e in d]))
    assert (t.next_action_mask[last] == 1).all() and not t.next_participation[last].any()
    assert t.next_participation[~last].any()
    assert np.array_equal(t.next_observations, np.concatenate([e.observations[1:] for e in d]))
    assert np.array_equal(t.next_state, np.concatenate([e.states[1:] for e in d]))


def test_the_same_command_still_records_the_same_episodes(old, tmp_path):
    """What schema 1 holds has not changed by a bit, or by rounding on other processors."""
    new = record("stochastic_coop_nav", "random", 3, SEED, tmp_path / "new", max_rounds=ROUNDS)
    for a, b in zip(Demonstrations.open(old), new, strict=True):
        for name in ("seed", "actions", "participation", "terminated", "truncated"):
            assert np.array_equal(getattr(a, name), getattr(b, name)), name
        assert np.array_equal(a.action_masks[:-1], b.action_masks[:-1])
        for name in ("observations", "states", "rewards"):
            assert np.allclose(getattr(a, name), getattr(b, name), 1e-5, 1e-5), name
        assert b.alive.all() and not b.derived


def test_sets_of_schema_1_are_extended_repaired_and_inspected(old):
    record("stochastic_coop_nav", "random", 5, SEED, old, max_rounds=ROUNDS)
    d = Demonstrations.open(old)
    assert len(d) == 5 and all(e.derived for e in d) and manifest_of(old)["schema_version"] == 1
    assert not verify(d)
    assert inspect.report(d)["statistics"]["episodes"] == 5
    first = min(old.glob("shard-*.arrow"))
    with pa.ipc.open_stream(first) as reader:
        assert not any(b.column("participation")[-1].as_py() != [0, 0, 0] for b in reader)
    data = bytearray(first.read_bytes())
    data[len(data) // 2] ^= 1
    first.write_bytes(data)
    assert len(Demonstrations.open(old, recover=True)) == 4
    inspect.repair(old)
    assert len(Demonstrations.open(old)) == 4 and not verify(Demonstrations.open(old))


def test_sets_of_both_schemas_mix(old, tmp_path):
    new = record("stochastic_coop_nav", "random", 4, 1, tmp_path / "new", max_rounds=ROUNDS)
    for a, b in ((Demonstrations.open(old), new), (new, Demonstrations.open(old))):
        both = mix(a, b, 0.5)
        assert sum(e.derived for e in both) == (len(both) - round(len(both) / 2) if b is new else 2)
        assert np.array_equal(
            both.transitions().alive, np.concatenate([e.alive[:-1] for e in both])
        )
        assert both.statistics()["episodes"] == len(both)


def test_derived_values_are_not_recorded_as_true_ones(old, tmp_path):
    episode = Demonstrations.open(old)[0]
    new = record("stochastic_coop_nav", "random", 1, 1, tmp_path / "new", max_rounds=ROUNDS)
    assert not new[0].derived
    with DemonstrationWriter.extend(tmp_path / "new") as writer:
        with pytest.raises(DemonstrationError, match="comes from a set of schema 1"):
            writer.append(episode)


def test_sets_of_schema_1_go_through_minari(old, tmp_path, monkeypatch):
    pytest.importorskip("minari")
    from demos.minari import from_minari, to_minari

    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    d = Demonstrations.open(old)
    to_minari(d, "mail/old/random-v0")
    back = from_minari("mail/old/random-v0", tmp_path / "back")
    for a, b in zip(d, back, strict=True):
        assert_same(a, b)
    assert manifest_of(tmp_path / "back")["schema_version"] == 1
