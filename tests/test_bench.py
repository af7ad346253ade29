"""`python -m mail_envs bench`: what it measures, and what it compares with."""

from __future__ import annotations

import json

import numpy as np
import pytest

import mail_envs
from mail_envs import cores
from mail_envs.__main__ import main
from mail_envs.commands import bench, rates
from mail_envs.commands.peers import PEERS, installed


def test_bench_measures_everything_it_prints(capsys, monkeypatch):
    monkeypatch.setattr("mail_envs.commands.bench.SIZES", (1, 16))
    monkeypatch.setattr("mail_envs.commands.bench.MANY", 256)
    assert main(["bench", "coop_nav", "--against", "none", "--seconds", "0.05", "--json"]) == 0
    results = json.loads(capsys.readouterr().out)["results"]["coop_nav"]
    whats = {"vector 1", "vector 16", "aec", "import", "start", "compile", "memory"}
    assert set(results) == whats
    assert results["memory"]["num_envs"] == 256
    assert results["vector 16"]["cpu"] > results["vector 1"]["cpu"] > 0
    assert 0 < results["import"] < results["start"]


def test_bench_prints_a_table_with_ratios(capsys, monkeypatch):
    pytest.importorskip("mpe2")
    monkeypatch.setattr("mail_envs.commands.bench.SIZES", (1,))
    monkeypatch.setattr("mail_envs.commands.bench.run_python", lambda *arguments: 0.5)
    assert main(["bench", "coop_nav", "--against", "mpe2", "--seconds", "0.05"]) == 0
    shown = capsys.readouterr().out
    assert "coop_nav / mpe2" in shown and "×" in shown and "AEC turns" in shown


def test_bench_plays_random_actions_that_are_allowed():
    vector = mail_envs.make_vec("gold_miner_easy_2_vs_2", 32, seed=0)
    step, mask = bench.masked_steps(vector), vector.buffers.action_mask
    seen = np.zeros(mask.shape[-1], int)
    for k in range(60):
        allowed = mask.copy()
        step(k)
        assert np.take_along_axis(allowed, vector.buffers.actions[..., None], -1).all()
        np.add.at(seen, vector.buffers.actions.ravel(), 1)
    assert (seen > 0).all() and vector.clock["illegal_actions"].sum() == 0


def test_bench_draws_uniformly_and_nothing_where_nothing_is_allowed():
    mask = np.array([[[0, 1, 0, 1, 1], [0, 0, 0, 0, 0]]], np.int8).repeat(3000, axis=0)
    actions = np.full(mask.shape[:2], -1, np.int32)
    bench.compiled_draw()(mask, 7, actions)
    assert not actions[:, 1].any()
    assert np.bincount(actions[:, 0], minlength=5) == pytest.approx(
        [0, 1000, 0, 1000, 1000], abs=99
    )


def test_bench_measures_the_memory_of_fewer_copies_of_large_games(monkeypatch):
    monkeypatch.setattr(bench, "run_python", lambda code, *arguments: float(arguments[1]))
    assert bench.memory("coop_nav") == {"bytes": 65_536.0, "num_envs": 65_536}
    monkeypatch.setattr(bench, "MEMORY_LIMIT", 2**20)
    assert bench.memory("coop_nav") == {"bytes": 4_096.0, "num_envs": 4_096}


@pytest.mark.parametrize(
    ("id", "names"),
    [
        ("smac_3m", ["jaxmarl smax_3m", "smaclite 3m"]),
        ("smac_mmm2", ["jaxmarl smax_MMM2_without_medivacs", "smaclite MMM2"]),
        ("smac_corridor", ["smaclite corridor"]),
        ("smac_2m_vs_1z", []),
        ("smacv2_terran_5_vs_5", []),
        ("mpe_simple_spread", ["mpe2 simple_spread", "jaxmarl simple_spread"]),
        ("stochastic_coop_nav", ["mpe2 simple_spread", "jaxmarl simple_spread"]),
        ("stochastic_predator_prey", []),
        ("coop_reaching", []),
    ],
)
def test_bench_compares_with_the_same_scenario(id, names):
    assert [r.name for r in bench.rivals((id,), ["mpe2", "jaxmarl", "smaclite"])[id]] == names


def test_trials_of_the_compared_alternate(monkeypatch):
    played, clock = [], [0.0]
    monkeypatch.setattr(rates.time, "process_time", lambda: clock[0])
    monkeypatch.setattr(rates.time, "perf_counter", lambda: clock[0])

    def run(name, cost):
        def play(calls):
            played.append(name)
            # The machine is three times as slow in every other trial.
            clock[0] += calls * cost * (1 + 2 * (len(played) // 2 % 2))
            return 10 * calls

        return play

    found = rates.measure({"fast": run("fast", 0.01), "slow": run("slow", 0.02)}, 60.0)
    assert played[-12:] == ["fast", "slow"] * 6
    assert found["fast"].cpu == pytest.approx(1000) and found["slow"].cpu == pytest.approx(500)


def test_games_are_measured_on_one_core(monkeypatch):
    if not cores.AFFINITY:
        pytest.skip("no affinity of processes on this system")
    seen, before = [], cores.usable_cores()
    monkeypatch.setattr(bench, "run_jobs", lambda jobs, silent: seen.append(cores.usable_cores()))
    monkeypatch.setattr(bench, "print_json", lambda results, seconds: None)
    assert main(["bench", "coop_nav", "--against", "none", "--json"]) == 0
    assert seen == [1] and cores.usable_cores() == before


def test_a_peer_with_fewer_copies_is_compared_at_its_best():
    ours = {"vector 64": {"cpu": 100.0}, "aec": {"cpu": 7.0}}
    theirs = {"vector 1": {"cpu": 5.0}, "vector 8": {"cpu": 20.0}, "vector 64": None}
    assert bench.ratio(ours, theirs, "vector 64") == "5.00×"
    assert bench.ratio(ours, theirs, "aec") == "–"


def test_the_table_says_that_a_peer_has_fewer_copies(capsys, monkeypatch):
    monkeypatch.setattr(bench, "SIZES", (1, 64))
    pairs = {"coop_nav": [bench.Rival("mpe2", "simple_spread")]}
    rate = {"cpu": 100.0}
    results = {
        "coop_nav": {"vector 1": rate, "vector 64": rate},
        "mpe2 simple_spread": {"vector 1": rate},
    }
    bench.print_tables(results, pairs, start=False)
    assert "compared at its best rate" in capsys.readouterr().out
    results["mpe2 simple_spread"]["vector 64"] = rate
    bench.print_tables(results, pairs, start=False)
    assert "compared at its best rate" not in capsys.readouterr().out


@pytest.mark.parametrize("id", ["smac_3m", "smac_6h_vs_8z", "smac_mmm2"])
@pytest.mark.parametrize("peer", ["smaclite", "jaxmarl"])
def test_battles_of_peers_run(id, peer):
    pytest.importorskip(peer)
    (rival,) = bench.rivals((id,), [peer])[id]
    assert bench.vector_rates(id, [rival], 1, 0.01)[rival.name]["cpu"] > 0


def test_the_bare_engine_of_football_plays_the_episodes_of_the_view():
    """The same rounds, ends and seeds: otherwise one of them might be reset more often, or have less to do."""
    pytest.importorskip("envpool")
    from mail_envs.commands.football_peers import engine_rounds, next_seeds

    id = "football_empty_goal_close"
    vec, game = mail_envs.make_vec(id, 1), mail_envs.make_game(id)[0]
    seeds, actions = next_seeds(vec, 80), rates.drawn_rounds(vec)
    rounds = max(seeds)
    assert rounds >= 80 and seeds.pop(rounds) == 0 and len({*seeds.values(), 0}) == len(seeds) + 1
    play = engine_rounds(game, actions, {**seeds, rounds: 0})
    vec.reset(seed=0)
    for k in range(rounds + 20):
        if k == rounds:
            vec.reset(seed=0)
        vec.step(actions[k % rounds % len(actions)])
        play()
        ball = np.float32(game.engine.info()["ball_position"])
        np.testing.assert_array_equal(vec.buffers.state[0, 88:91], ball, err_msg=f"round {k}")


def test_football_is_compared_with_gfootball_and_with_the_bare_engine():
    id = "football_pass_and_shoot_with_keeper"
    found = bench.rivals((id, "coop_nav"), ["mpe2", "envpool", "gfootball", "engine"])
    assert [rival.peer for rival in found[id]] == ["gfootball", "engine"]
    assert [rival.peer for rival in found["coop_nav"]] == ["mpe2"]
    assert bench.sizes_of(id) == (1,)
    for rival in found[id]:
        if rival.peer in installed():
            assert bench.vector_rates(id, [rival], 1, 0.01)[rival.name]["cpu"] > 0
            assert PEERS[rival.peer](id, 64) is None
