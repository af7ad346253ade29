"""The real packages smac and smacv2 behind `backend="starcraft2"`, driven by a fake game that serves recorded frames.

On the same frames, the adapter and our own layer must give the same numbers.
"""

from __future__ import annotations

import importlib.util
import random
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from fake_sc2 import check_views, drive, look, play

import mail_envs
from mail_envs.adapters import starcraft2_original
from mail_envs.adapters.starcraft2 import StarCraft2
from mail_envs.adapters.starcraft2_original import GameLost
from mail_envs.conformance.subject import random_actions
from mail_envs.games.starcraft.maps import scenario
from mail_envs.player_functions import Stochastic

GOLDEN = Path(__file__).parents[2].parent / "shared" / "golden" / "smac"
pytestmark = pytest.mark.filterwarnings("ignore:Call to deprecated create:DeprecationWarning")

CASES = [
    "v1_3m", "v1_MMM", "v1_2s3z", "v1_1c3s5z", "v1_3s_vs_5z", "v1_corridor", "v1_bane_vs_bane", "v1_2m_vs_1z",
    "v2_terran_5v5_std", "v2_terran_5v5_epo", "v2_protoss_5v5_conic", "v2_protoss_10v11_conic",
    "v2_zerg_10v11_epo", "v2_zerg_5v5_std",
]  # fmt: skip


def real(version: int):
    """The class that launches games, of the real package."""
    for name in ("smac", "smacv2", "pysc2"):
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"{name} is not installed; docs/starcraft2.md says how")
    starcraft2_original.load(version)
    return sys.modules[f"{starcraft2_original.PACKAGES[version]}.env.starcraft2.starcraft2"]


def recorded(name: str, seed: str = "s0"):
    """Id, variant, frames and the rest of a golden file."""
    path = GOLDEN / f"{name}.npz"
    if not path.exists():
        pytest.skip(f"there is no golden file {name}.npz in ../shared/golden/smac")
    with np.load(path) as file:
        data = {k[len(seed) + 1 :]: v for k, v in file.items() if k.startswith(f"{seed}_")}
    id, variant = f"smac_{name[3:].lower()}", "standard"
    if name.startswith("v2"):
        _, race, size, variant = name.split("_")
        id = f"smacv2_{race}_{size.replace('v', '_vs_')}"
        variant = "standard" if variant == "std" else variant
    return id, variant, {k[2:]: v for k, v in data.items() if k.startswith("u_")}, data


def open_driven(monkeypatch, name, **arguments):
    """The adapter over the real package with a fake game, the games launched, and the recording."""
    id, variant, frames, data = recorded(name)
    of = scenario(id)
    module = real(of.version)
    launched = drive(monkeypatch, module.StarCraft2Env, of, frames)
    if "order" in data:  # SMACv2: agents look in the recorded orders
        orders = iter([data["first_order"], *data["order"]])
        shuffle = SimpleNamespace(
            shuffle=lambda agents: agents.__setitem__(slice(None), next(orders))
        )
        monkeypatch.setattr(module, "random", shuffle)
    return StarCraft2(id, variant, **arguments), launched, frames, data


def collect(game, data, acts):
    """The recorded actions; columns as `encode_episode` has them. acts: uint8 (T - 1, N)."""
    game.reset(5)
    rows = [look(game)]
    for actions, act in zip(data["act"], acts):
        rows.append(play(game, actions, act))
    found = {
        k: np.stack([getattr(r, k) for r in rows])
        for k in ("observations", "state", "action_mask", "alive")
    }
    found["rewards"] = np.stack([r.rewards for r in rows[1:]])
    found["terminated"] = np.array([r.terminated for r in rows[1:]])
    metrics = np.stack([r.metrics for r in rows[1:]])
    return found | dict(zip(("won", "dead_allies", "dead_enemies", "team_return"), metrics.T))


def encoded(game, frames, data, actions, **options):
    from mail_envs.games.starcraft import encode_episode

    if "order" in data:
        options |= {
            "names": data["names"], "agent_order": data["order"], "first_order": data["first_order"],
        }  # fmt: skip
    variant = game.metadata["convention"].split(", ")[1]
    return encode_episode(game.scenario.id, frames, actions, variant=variant, **options)


def assert_agree(found, ours):
    for name in ("observations", "state"):
        assert found[name].shape == ours[name].shape, name
        np.testing.assert_allclose(found[name], ours[name], atol=1e-6, err_msg=name)
    for name in ("action_mask", "alive", "won", "dead_allies", "dead_enemies"):
        np.testing.assert_array_equal(found[name], ours[name], err_msg=name)
    np.testing.assert_array_equal(found["terminated"], ours["terminated"] & ~ours["truncated"])
    for i in range(found["rewards"].shape[1]):
        np.testing.assert_allclose(found["rewards"][:, i], ours["rewards"], atol=1e-6)
    np.testing.assert_allclose(found["team_return"], np.cumsum(ours["rewards"]), atol=1e-4)


class TestAgainstTheRealPackages:
    @pytest.mark.parametrize("name", CASES)
    def test_the_adapter_and_our_own_layer_agree(self, monkeypatch, name):
        game, launched, frames, data = open_driven(monkeypatch, name)
        found = collect(game, data, np.ones_like(data["act"], np.uint8))
        assert_agree(found, encoded(game, frames, data, data["act"]))
        np.testing.assert_allclose(found["observations"], data["obs"], atol=1e-6)
        assert game.core.max_reward == data["max_reward"] and len(launched) == 1

    @pytest.mark.parametrize("name", CASES)
    def test_they_agree_on_agents_that_do_not_participate(self, monkeypatch, name):
        game, launched, frames, data = open_driven(monkeypatch, name, obs_last_action=True)
        acts = np.random.default_rng(0).integers(0, 2, data["act"].shape).astype(np.uint8)
        alive = data["avail"][:-1, :, 0] == 0
        noted = np.where(alive, np.where(acts, data["act"], -1), 0)
        found = collect(game, data, acts)
        assert_agree(found, encoded(game, frames, data, noted, obs_last_action=True))
        silent = 0
        for t, orders in enumerate(launched[0].orders):
            told = np.isin(data["ally_tags"], list(orders))
            assert not told[(acts[t] == 0) | ~alive[t]].any()
            silent += (alive[t] & ~told).sum()
        assert silent

    def test_phi_may_stop(self, monkeypatch):
        game, launched, _, data = open_driven(monkeypatch, "v1_3m", null_orders="stop")
        found = collect(game, data, np.zeros_like(data["act"], np.uint8))
        stop = 4  # the game's number for it
        assert launched[0].orders[0] == {int(tag): stop for tag in data["ally_tags"]}
        assert not found["state"][1, -27:].any()

    @pytest.mark.parametrize("name", ["v1_3m", "v1_2s3z", "v2_terran_5v5_std"])
    @pytest.mark.parametrize(
        "options",
        [
            {"obs_timestep_number": True, "state_timestep_number": True},
            {"obs_pathing_grid": True, "obs_terrain_height": True, "obs_all_health": False},
            {"obs_instead_of_state": True, "reward_only_positive": False},
            {"reward_sparse": True, "max_rounds": 4},
        ],
        ids=lambda o: next(iter(o)),
    )
    def test_they_agree_on_options(self, monkeypatch, name, options):
        game, _, frames, data = open_driven(monkeypatch, name, **options)
        found = collect(game, data, np.ones_like(data["act"], np.uint8))
        assert_agree(found, encoded(game, frames, data, data["act"], **options))

    @pytest.mark.parametrize("name", ["v1_3m", "v2_zerg_5v5_std"])
    def test_resets_at_any_time(self, monkeypatch, name):
        game, launched, _, data = open_driven(monkeypatch, name)
        if "order" in data:
            monkeypatch.setattr(real(2), "random", random)
        for seed in range(3):
            game.reset(seed)
            begin = look(game)
            play(game, data["act"][0])
            assert len(launched) == 1 and game.core.max_reward == data["max_reward"]
            assert launched[0].battles == seed + 1
            np.testing.assert_allclose(begin.state, data["state"][0], atol=1e-6)

    def test_a_connection_that_breaks(self, monkeypatch):
        game, launched, _, data = open_driven(monkeypatch, "v1_3m")
        game.reset(0)
        launched[0].broken, process = True, game.core._sc2_proc
        with pytest.raises(GameLost):
            play(game, data["act"][0])
        assert process.closed and len(launched) == 1
        game.reset(1)
        np.testing.assert_allclose(play(game, data["act"][0]).state, data["state"][1], atol=1e-6)
        assert len(launched) == 2 and game.core.max_reward == 365

    def test_the_limit_truncates_in_every_view(self, monkeypatch):
        # Frames of a battle that does not end: the last one is repeated until the limit.
        game, *_ = open_driven(monkeypatch, "v1_MMM")
        spec = mail_envs.spec(game.scenario.id)
        vec = mail_envs.make_vec(
            spec, backend="starcraft2", max_rounds=20, player_function=Stochastic(0.5)
        )
        _, info = vec.reset(seed=0)
        for _ in range(20):
            assert not vec.buffers.truncated[0]
            _, _, terminated, truncated, info = vec.step(random_actions(vec, info))
        assert (terminated[0], truncated[0]) == (False, True)

    def test_views(self, monkeypatch):
        open_driven(monkeypatch, "v1_3m")
        check_views()
        check_views(null_orders="stop")

    def test_teams_follow_from_the_seed(self, monkeypatch):
        game, *_ = open_driven(monkeypatch, "v2_terran_5v5_std")
        monkeypatch.setattr(real(2), "random", random)
        drawn = []
        for seed in (1, 1, 2):
            game.reset(seed)
            team = game.core.episode_config["team_gen"]["ally_team"]
            places = game.core.episode_config["ally_start_positions"]["item"]
            drawn.append(([str(unit) for unit in team], places.tolist()))
        assert drawn[0] == drawn[1] != drawn[2]

    def test_both_packages_find_their_maps_in_one_process(self):
        for version, name, file in ((1, "3m", "3m"), (2, "10gen_terran", "32x32_flat")):
            real(3 - version)
            assert real(version).maps.get(name).path == f"SMAC_Maps/{file}.SC2Map"

    def test_pictures(self, monkeypatch):
        game, *_ = open_driven(monkeypatch, "v1_3m")
        game.reset(0)
        image = game.picture()
        assert image.shape[0] > 100 and len(np.unique(image.reshape(-1, 3), axis=0)) > 3

    @pytest.mark.parametrize("id", ["smac_3m", "smacv2_zerg_5_vs_5"])
    def test_without_the_game(self, monkeypatch, tmp_path, id):
        real(scenario(id).version)
        monkeypatch.setenv("SC2PATH", str(tmp_path))
        game = StarCraft2(id)
        with pytest.raises(RuntimeError, match=r"did not start \(FileNotFoundError.*SC2PATH"):
            game.reset(0)
        (tmp_path / "Versions" / "Base75689").mkdir(parents=True)
        with pytest.raises(RuntimeError, match=r"did not start \(SC2LaunchError: No SC2 binary"):
            game.reset(0)
