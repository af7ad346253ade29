"""`backend="starcraft2"`: the contract of our own battles, the guards and the messages, without the packages.

A fake of their interface stands in for them; test_starcraft2_originals.py runs the real ones.
"""

from __future__ import annotations

import inspect
import logging
import random
import sys
from typing import Any

import numpy as np
import pytest
from fake_sc2 import check_views, look, play
from fake_smac import FAULT, write_packages

import mail_envs
from mail_envs.adapters import starcraft2_original
from mail_envs.adapters.starcraft2 import StarCraft2
from mail_envs.adapters.starcraft2_original import GameLost
from mail_envs.games.starcraft.maps import SCENARIOS
from mail_envs.player_functions import TurnOrder

ATTACK = 6  # enemy 0


def package_modules():
    return [m for m in sys.modules if m.split(".")[0] in ("smac", "smacv2", "pysc2")]


def forget_packages(monkeypatch):
    for name in package_modules():
        monkeypatch.delitem(sys.modules, name)


@pytest.fixture
def packages(tmp_path, monkeypatch):
    """Fake packages smac, smacv2 and pysc2, for this process and its workers."""
    write_packages(tmp_path)
    forget_packages(monkeypatch)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in package_modules():
        del sys.modules[name]  # not by monkeypatch, which would bring them back


def last_actions(game, row):
    size = (len(game.agents), game.action_spaces[game.agents[0]].n)
    return row.state[-size[0] * size[1] :].reshape(size)


class TestPromises:
    @pytest.mark.parametrize("variant", ["standard", "conic"])
    @pytest.mark.parametrize("id", SCENARIOS)
    def test_both_backends_have_the_same_spaces(self, packages, id, variant):
        if variant != "standard" and id.startswith("smac_"):
            return
        arguments = {"variant": variant, "obs_last_action": True, "obs_timestep_number": True}
        ours = mail_envs.make_game(id, faithful=True, **arguments)[0]
        theirs = mail_envs.make_game(id, backend="starcraft2", **arguments)[0]
        for name in (
            "agents", "observation_spaces", "action_spaces", "state_space", "max_rounds", "metric_names",
            "limit_is_end", "has_action_mask", "key_actions",
        ):  # fmt: skip
            assert getattr(ours, name) == getattr(theirs, name), name
        assert theirs.metadata == {**ours.metadata, "backend": "starcraft2"}
        assert not theirs.replayable and theirs.factory is not None

    def test_both_backends_take_the_same_arguments(self):
        spec = mail_envs.spec("smac_3m")
        ours, theirs = (inspect.signature(spec.load(b)).parameters for b in (None, "starcraft2"))
        assert [n for n in theirs if n != "settings"] == list(ours)
        changed = [n for n in ours if theirs[n].default != ours[n].default]
        assert changed == ["faithful"] and theirs["faithful"].default is True

    def test_options_reach_the_original_by_its_own_names(self, packages):
        game = StarCraft2(
            "smacv2_terran_5_vs_5", "epo", obs_instead_of_state=True, settings={"step_mul": 4}
        )
        given = game.core.given
        assert (given["map_name"], given["step_mul"]) == ("10gen_terran", 4)
        assert (given["prob_obs_enemy"], given["action_mask"]) == (0.0, False)
        assert given["obs_own_pos"] and given["use_unit_ranges"] and given["continuing_episode"]
        for name in ("mask_targets", "faithful", "max_rounds", "obs_instead_of_state"):
            assert name not in given
        given = StarCraft2("smac_mmm", reward_sparse=True).core.given
        assert (given["map_name"], given["reward_sparse"]) == ("MMM", True)
        assert "capability_config" not in given and "conic_fov" not in given

    def test_teams_are_those_of_the_published_scenarios(self, packages):
        config = StarCraft2("smacv2_terran_10_vs_11").core.given["capability_config"]
        assert (config["n_units"], config["n_enemies"]) == (10, 11)
        assert config["team_gen"]["unit_types"] == ["marine", "marauder", "medivac"]
        assert config["team_gen"]["weights"] == [0.45, 0.45, 0.1]
        assert config["team_gen"]["exception_unit_types"] == ["medivac"]
        assert config["start_positions"]["dist_type"] == "surrounded_and_reflect"

    def test_what_only_our_own_game_has_is_refused(self, packages):
        with pytest.raises(
            ValueError, match="faithful=False: backend='starcraft2' is the original"
        ):
            StarCraft2(faithful=False)
        assert StarCraft2(faithful=True).options.faithful
        with pytest.raises(ValueError, match=r"start_noise=0\.1: .* the maps say where"):
            StarCraft2(start_noise=0.1)
        with pytest.raises(
            ValueError, match=r"scale_seed=3: .* the first battle of a copy decides"
        ):
            StarCraft2(scale_seed=3)
        with pytest.raises(TypeError, match="settings has no 'heuristic_ai'; it takes step_mul"):
            StarCraft2(settings={"heuristic_ai": True})

    def test_other_peoples_smac_is_recognized(self, packages, monkeypatch):
        from smac.env.starcraft2.starcraft2 import StarCraft2Env  # pyright: ignore

        monkeypatch.setattr(StarCraft2Env, "get_obs_size", lambda env: 42)
        with pytest.raises(RuntimeError, match=r"installed smac is not oxwhirl's.*42.*30"):
            StarCraft2()


class TestBeginnings:
    def test_one_game_is_launched_however_often_it_is_reset(self, packages):
        game = StarCraft2()
        for seed in range(3):
            game.reset(seed)
        play(game, [1, 1, 1])
        game.reset(9)  # within an episode
        assert len(game.core.processes) == 1
        assert game.core.max_reward == 200 + 3 * 10 + 3 * 50
        assert not last_actions(game, look(game)).any()

    def test_late_units_are_counted_once(self, packages):
        game = StarCraft2()
        game.core.late = 2
        game.reset(0)
        assert game.core.max_reward == 380

    def test_rewards_are_scaled_by_the_first_battle_for_ever(self, packages):
        game = StarCraft2("smacv2_zerg_5_vs_5")
        game.reset(0)
        game.core.health = 145
        for _ in range(2):
            game.reset(1)
            assert game.core.max_reward == 500
            game.close()

    def test_a_reset_that_gives_nothing(self, packages):
        game = StarCraft2("smacv2_zerg_5_vs_5")
        game.env.failures = 2
        game.reset(0)
        assert look(game).observations[:, 0].tolist() == [1.0] * 5
        assert game.core.max_reward == 200 + 5 * 10 + 5 * 50
        first, second, third = game.core.processes
        assert (first.closed, second.closed, third.closed) == (1, 1, 0)  # none is left behind

    def test_seeds_start_the_game_and_draw_teams(self, packages):
        def draw(seed, **arguments):
            game = StarCraft2("smacv2_zerg_5_vs_5", **arguments)
            game.reset(seed)
            drawn = game.env.env_key_to_distribution_map["team_gen"].drawn
            orders = [look(game).observations[:, 1].tolist() for _ in range(4)]
            return drawn, orders, game.core._seed

        random.seed(1)
        np.random.seed(1)
        before = random.getstate(), np.random.get_state()[1].tolist()  # pyright: ignore
        drawn, orders, started_with = draw(7)
        assert (random.getstate(), np.random.get_state()[1].tolist()) == before  # pyright: ignore
        assert draw(7) == (drawn, orders, started_with) and started_with == 7
        assert draw(7, settings={"seed": 3})[2] == 3
        others = draw(8)
        assert all(a != b for a, b in zip(drawn, others[0]))
        assert orders != others[1] and len({tuple(o) for o in orders}) > 1

    def test_close_ends_the_game_and_a_reset_starts_another(self, packages):
        game = StarCraft2()
        game.close()  # nothing has been launched
        game.reset(0)
        game.close()
        game.close()
        assert game.core.processes[0].closed
        game.reset(0)
        assert len(game.core.processes) == 2 and not game.core.processes[1].closed


class TestRounds:
    @pytest.mark.parametrize("null_orders, sent", [("keep", {1: 3}), ("stop", {0: 1, 1: 3, 2: 1})])
    def test_phi_sends_no_order_or_stop(self, packages, null_orders, sent):
        game = StarCraft2(null_orders=null_orders)
        game.reset(0)
        row = play(game, [ATTACK, 3, 2], acts=[0, 1, 0])
        assert game.core.sent == [sent]
        expected = np.zeros((3, 9))
        expected[1, 3] = 1
        np.testing.assert_array_equal(last_actions(game, row), expected)
        play(game, [4, 4, 4])
        assert game.core.sent[1] == {0: 4, 1: 4, 2: 4}

    def test_the_dead_have_done_nothing_and_can_do_nothing_else(self, packages):
        game = StarCraft2(null_orders="stop")
        game.reset(0)
        for _ in range(5):
            row = play(game, [1, 1, 1])
        assert row.alive.tolist() == [False, True, True] and row.metrics[1] == 1
        assert row.action_mask[0].tolist() == [1] + [0] * 8
        row = play(game, [0, 1, 1], acts=[0, 1, 1])
        assert last_actions(game, row)[0].tolist() == [1] + [0] * 8
        assert sorted(game.core.sent[-1]) == [1, 2]

    def test_a_victory_terminates(self, packages):
        game = StarCraft2()
        game.reset(0)
        row = play(game, [ATTACK, ATTACK, ATTACK + 1])
        assert not row.terminated
        assert row.metrics.tolist() == pytest.approx([0, 0, 2, 120 / 19])
        row = play(game, [ATTACK + 2, 1, 1])
        assert row.terminated and row.metrics.tolist() == [1, 0, 3, 20]
        assert row.rewards.tolist() == pytest.approx([260 / 19] * 3)
        game.reset(1)
        assert play(game, [1, 1, 1]).metrics.tolist() == [0, 0, 0, 0]

    @pytest.mark.parametrize("max_rounds, length", [(None, 60), (7, 7), (70, 70)])
    def test_the_limit_truncates(self, packages, max_rounds, length):
        vec = mail_envs.make_vec(
            "smac_3m", backend="starcraft2", max_rounds=max_rounds, autoreset=False
        )
        vec.reset(seed=0)
        for t in range(length):
            assert not vec.buffers.truncated[0], t
            _, _, terminated, truncated, _ = vec.step(np.ones((1, 3), np.int32))
        assert (terminated[0], truncated[0]) == (False, True)

    def test_the_original_knows_the_limit(self, packages):
        assert StarCraft2(max_rounds=4).core.episode_limit == 4
        assert StarCraft2("smac_mmm").core.episode_limit == 150

    def test_observations_are_the_state_where_asked(self, packages):
        game = StarCraft2("smacv2_terran_5_vs_5", obs_instead_of_state=True)
        game.reset(0)
        row = look(game)
        np.testing.assert_array_equal(row.state, row.observations.ravel())


class TestLostGames:
    def test_a_game_that_dies_is_an_error_and_the_next_reset_starts_another(self, packages):
        env = mail_envs.make("smac_3m", api="parallel", backend="starcraft2")
        core = env.unwrapped.vector.game.core
        env.reset(seed=0)
        core.broken = True
        with pytest.raises(GameLost, match=r"a reset starts another game.*num_workers=1"):
            env.step(dict.fromkeys(env.agents, 1))
        assert core.processes[0].closed
        env.reset()
        env.step(dict.fromkeys(env.agents, 1))
        assert len(core.processes) == 2 and core.max_reward == 380

    def test_a_game_that_has_died_between_episodes(self, packages, caplog):
        game = StarCraft2()
        game.reset(0)
        game.core.broken = True
        with caplog.at_level(logging.WARNING):
            game.reset(1)
        assert "StarCraft II has died" in caplog.text and len(game.core.processes) == 2
        assert not play(game, [1, 1, 1]).terminated

    def test_a_worker_starts_another_game_by_itself(self, packages, monkeypatch):
        monkeypatch.setenv(FAULT, "step:3")
        vec = mail_envs.make_vec("smac_3m", 2, backend="starcraft2", num_workers=1)
        try:
            vec.reset(seed=0)
            restarted = []
            for _ in range(5):
                _, _, terminated, truncated, info = vec.step(np.ones((2, 3), np.int32))
                restarted.append(info["worker_restarted"].tolist())
                assert not terminated.any()
                assert truncated.tolist() == restarted[-1]
            assert restarted == [[False] * 2] * 2 + [[True] * 2] + [[False] * 2] * 2
        finally:
            vec.close()


class TestPictures:
    def test_pictures_are_the_originals_and_pygame_survives(self, packages):
        vec: Any = mail_envs.make_vec("smac_3m", backend="starcraft2")
        with pytest.raises(RuntimeError, match="reset first"):
            vec.game.picture()
        vec.reset(seed=0)
        shuffle = random.shuffle
        assert vec.game.picture().shape == (24, 32, 3)
        assert random.shuffle == shuffle
        assert vec.render().ndim == 3
        vec.close()

    def test_a_renderer_that_fails(self, packages):
        game = StarCraft2(obs_last_action=True)
        game.reset(0)
        with pytest.raises(RuntimeError, match=r"renderer .* failed \(ImportError: no pygame\)"):
            game.picture()


def test_every_view_under_a_random_player_function(packages):
    check_views()
    check_views(null_action="as_action")


def test_a_turn_order_reaches_the_game(packages):
    vec: Any = mail_envs.make_vec(
        "smac_3m", backend="starcraft2", player_function=TurnOrder([[1], [0, 2]])
    )
    vec.reset(seed=0)
    for _ in range(4):
        vec.step(np.full((1, 3), 2, np.int32))
    assert vec.game.core.sent == [{1: 2}, {0: 2, 2: 2}] * 2


class TestMissing:
    @pytest.mark.parametrize("id, package", [("smac_3m", "smac"), ("smacv2_zerg_5_vs_5", "smacv2")])
    def test_packages(self, monkeypatch, id, package):
        forget_packages(monkeypatch)
        monkeypatch.setitem(sys.modules, package, None)
        url = f"pip install git+https://github.com/oxwhirl/{package}.git"
        with pytest.raises(ImportError, match=url.replace("+", r"\+")):
            mail_envs.make(id, backend="starcraft2")

    def test_protobuf(self, packages):
        module = packages / "smac" / "env" / "starcraft2" / "starcraft2.py"
        module.write_text("raise TypeError('Descriptors cannot be created directly.')")
        expected = r"needs protobuf<3\.21(.|\n)*PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION=python"
        with pytest.raises(ImportError, match=expected):
            StarCraft2()
        module.write_text("raise TypeError('something else')  #")
        with pytest.raises(TypeError, match="something else"):
            StarCraft2()

    def test_the_game(self, packages, monkeypatch):
        monkeypatch.setenv(FAULT, "launch")
        monkeypatch.setenv("SC2PATH", "/nowhere")
        env = mail_envs.make("smac_3m", backend="starcraft2")
        expected = (
            r"did not start \(FileNotFoundError.*4\.10.*SC2PATH.*'/nowhere'.*smac's SMAC_Maps"
        )
        with pytest.raises(RuntimeError, match=expected):
            env.reset(seed=0)
        monkeypatch.delenv("SC2PATH")
        with pytest.raises(RuntimeError, match="not set, which is '~/StarCraftII'"):
            env.reset(seed=0)
        monkeypatch.delenv(FAULT)
        env.reset(seed=0)

    def test_maps_of_the_same_name_are_each_packages_own(self, packages):
        for version, package in ((1, "smac"), (2, "smacv2")):
            starcraft2_original.load(version)
            found = sys.modules[f"{package}.env.starcraft2.starcraft2"].maps.get("3m")
            assert found.of == package
