"""Import of OG-MARL's vaults, written here as Flashbax writes them: tensorstore's zarr arrays in one key-value store."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import numpy as np
import pytest

import mail_envs
from demos import convert
from demos.dataset import Demonstrations
from demos.layout import DemonstrationError, DemonstrationWarning
from demos.og_marl import Vault, from_og_marl
from demos.record import record
from mail_envs.vector import VectorGame

tensorstore = pytest.importorskip("tensorstore")
LONGEST = 10**13  # Flashbax's time axis


@pytest.fixture(scope="module")
def game() -> VectorGame:
    return mail_envs.make_vec("smac_3m", 1)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory) -> Demonstrations:
    """Battles that are lost, in which agents die at different times."""
    return record("smac_3m", "random", 4, 0, tmp_path_factory.mktemp("battles") / "set")


def columns_of(demos: Demonstrations) -> dict[str, np.ndarray]:
    """Rounds as OG-MARL's recorder of SMAC stores them: the team's reward for all agents, no last observation."""
    found: dict[str, list] = {}
    for e in demos:
        T, N = e.participation.shape
        team = np.repeat((e.rewards * (e.participation != 0)).max(1)[:, None], N, 1)
        end = np.repeat((np.arange(T) == T - 1)[:, None], N, 1)
        rows = {
            "observations": e.observations[:-1], "actions": e.actions.astype(np.int64), "rewards": team,
            "terminals": end & e.terminated, "truncations": end & e.truncated,
            "infos.state": e.states[:-1], "infos.legals": e.action_masks[:-1].astype(np.int64),
        }  # fmt: skip
        for name, x in rows.items():
            found.setdefault(name, []).append(x)
    return {name: np.concatenate(parts) for name, parts in found.items()}


def write_vault(folder: Path, columns: dict[str, np.ndarray]) -> Path:
    folder.mkdir(parents=True)
    structure: dict = {}
    for name, x in columns.items():
        outer, _, inner = name.rpartition(".")
        (structure.setdefault(outer, {}) if outer else structure)[inner] = str((1, *x.shape))
    metadata = {"version": 1.2, "structure_shape": structure}
    (folder / "metadata.json").write_text(json.dumps(metadata))
    length = len(columns["actions"])
    stored = {f"{k}.": (x[None], (1, LONGEST, *x.shape[1:])) for k, x in columns.items()}
    stored["vault_index"] = (np.array([length], np.int32), (1,))
    for name, (x, shape) in stored.items():
        kvstore = {"driver": "ocdbt", "base": f"file://{folder}/", "path": name}
        spec = {
            "driver": "zarr",
            "kvstore": kvstore,
            "metadata": {"compressor": {"id": "gzip", "level": 5}},
        }
        store = tensorstore.open(spec, shape=shape, dtype=x.dtype, create=True).result()
        (store if name == "vault_index" else store[:, :length]).write(x).result()
    return folder


def test_battles_come_back(recorded, game, tmp_path):
    vault = write_vault(tmp_path / "3m.vlt" / "Poor", columns_of(recorded))
    back = from_og_marl(vault, game, tmp_path / "back")
    back.check_compatible(game)
    assert back.metadata["demonstrator"] == "OG-MARL 3m.vlt/Poor"
    dead = 0
    for a, b in zip(recorded, back, strict=True):
        for name in ("actions", "participation", "rewards", "terminated", "truncated"):
            assert np.array_equal(getattr(a, name), getattr(b, name)), name
        for name in ("observations", "states", "alive", "action_masks"):
            assert np.array_equal(getattr(a, name)[:-1], getattr(b, name)[:-1]), name
            assert np.array_equal(getattr(b, name)[-1], getattr(b, name)[-2])
        assert b.metrics["team_return"] == pytest.approx(a.metrics["team_return"], abs=1e-4)
        dead += (~b.alive).sum()
    assert dead > 0


def test_folders_may_have_any_name(recorded, game, tmp_path):
    vault = write_vault(tmp_path / "vault", columns_of(recorded))
    moved = vault.rename(tmp_path / "3m#1?%20 good")
    assert len(from_og_marl(moved, game, tmp_path / "back")) == len(recorded)


def test_a_cut_episode_ends_with_what_was_truly_seen_last(recorded, game, tmp_path):
    columns = columns_of(recorded[:1])
    columns["truncations"] |= columns["terminals"]
    columns["terminals"][:] = False
    back = from_og_marl(write_vault(tmp_path / "vault", columns), game, tmp_path / "back")[0]
    assert back.truncated and not back.terminated and len(back) == len(recorded[0]) - 1
    assert np.array_equal(back.observations[-1], recorded[0].observations[-2])


@pytest.mark.parametrize("rounds", [1, 7])
def test_an_episode_that_the_end_of_the_vault_cuts_is_left_out(recorded, game, tmp_path, rounds):
    columns = columns_of(recorded)
    kept = int(recorded.lengths[:3].sum())
    vault = write_vault(tmp_path / "vault", {k: x[: kept + rounds] for k, x in columns.items()})
    with pytest.warns(DemonstrationWarning, match=f"left out {rounds} rounds of an episode"):
        back = from_og_marl(vault, game, tmp_path / "back")
    assert back.lengths.tolist() == recorded.lengths[:3].tolist()
    short = write_vault(tmp_path / "short", {k: x[:rounds] for k, x in columns.items()})
    with pytest.raises(DemonstrationError, match="no episode has ended"):
        from_og_marl(short, game, tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_a_failed_import_leaves_nothing(recorded, game, tmp_path):
    columns = columns_of(recorded)
    columns["actions"][-1, 0] = 9  # in the last episode
    vault, home = write_vault(tmp_path / "vault", columns), tmp_path / "home"
    (home / "back").mkdir(parents=True)
    with pytest.raises(DemonstrationError, match="episode 3"):
        from_og_marl(vault, game, home / "back")
    assert [p.name for p in home.iterdir()] == ["back"] and not any((home / "back").iterdir())
    assert (
        len(from_og_marl(write_vault(tmp_path / "fine", columns_of(recorded)), game, home / "back"))
        == 4
    )
    assert [p.name for p in home.iterdir()] == ["back"]


@pytest.mark.parametrize(("change", "said"), [
    (lambda c: c.update(observations=c["observations"][..., :-1]), r"observations of one round has the shape \(3, 29\)"),
    (lambda c: c.update({"infos.legals": c["infos.legals"][..., :-1]}), r"infos.legals .* \(3, 8\), that of 'smac_3m' is \(3, 9\)"),
    (lambda c: c.pop("infos.state"), "the vault has no infos.state"),
    (lambda c: c["actions"].__setitem__((0, 0), 8), "agent 0 took the action 8 in round 0, which was not allowed"),
    (lambda c: c["actions"].__setitem__((0, 0), 9), "actions must be 0 to 8"),
])  # fmt: skip
def test_vaults_that_do_not_fit_are_refused(recorded, game, tmp_path, change, said):
    columns = columns_of(recorded[:1])
    change(columns)
    vault = write_vault(tmp_path / "vault", columns)
    with pytest.raises(DemonstrationError, match=said):
        from_og_marl(vault, game, tmp_path / "back")


def test_a_pipe_in_place_of_the_metadata_is_not_waited_for(tmp_path):
    def late(*_):
        raise TimeoutError

    os.mkfifo(tmp_path / "metadata.json")
    earlier = signal.signal(signal.SIGALRM, late)
    signal.alarm(20)
    try:
        with pytest.raises(DemonstrationError, match="metadata: expected a regular file, found a"):
            Vault(tmp_path)
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, earlier)


def test_the_command(recorded, tmp_path, capsys):
    vault = write_vault(tmp_path / "vault", columns_of(recorded))
    args = convert.Args(str(vault), tmp_path / "back", "og-marl", env="smac_3m")
    assert convert.main(args) == 0 and "4 episodes" in capsys.readouterr().out
    assert convert.main(convert.Args(str(vault), tmp_path / "b", "og-marl")) != 0
    assert "--from og-marl needs the game" in capsys.readouterr().err


def test_the_command_refuses_a_game_for_minari_data_sets(tmp_path, capsys):
    args = convert.Args("x", tmp_path / "b", "minari", env="smac_3m", set=("max_rounds=3",))
    assert convert.main(args) != 0
    assert "--env and --set: only for --from og-marl" in capsys.readouterr().err


def test_without_tensorstore_one_sentence_says_what_to_install(
    recorded, game, tmp_path, monkeypatch
):
    vault = write_vault(tmp_path / "vault", columns_of(recorded[:1]))
    monkeypatch.setitem(sys.modules, "tensorstore", None)
    with pytest.raises(DemonstrationError, match=r"pip install 'mail-envs\[og-marl\]'"):
        from_og_marl(vault, game, tmp_path / "back")
