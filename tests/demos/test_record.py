"""Record, replay and inspect demonstrations of the shipped games."""

from __future__ import annotations

import dataclasses
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from random_sets import assert_same
from sample_faults import FINE, Faulty

import mail_envs
from demos import inspect, replay
from demos.dataset import Demonstrations
from demos.layout import DemonstrationError
from demos.policies import load_policy
from demos.record import Args, main, mean_return, record
from demos.rollouts import rollouts
from demos.writer import DemonstrationWriter
from mail_envs.player_functions import Synchronous
from mail_envs.streams import stream_seed
from mail_envs.vector import VectorGame

GAMES = [
    "stochastic_coop_nav",
    "deterministic_coop_nav",
    "deterministic_coop_reaching",
    "stochastic_predator_prey",
]


@pytest.mark.parametrize("id", GAMES)
@pytest.mark.parametrize("policy", ["random", "scripted"])
def test_recording_does_not_depend_on_the_number_of_environments(tmp_path, id, policy):
    one = record(id, policy, 7, 5, tmp_path / "one", num_envs=1, random_return=0.0)
    many = record(id, policy, 7, 5, tmp_path / "many", num_envs=4, random_return=0.0)
    for a, b in zip(one, many, strict=True):
        assert_same(a, b)
    assert [e.seed for e in one] == list(range(5, 12))


@pytest.mark.parametrize("id", GAMES)
@pytest.mark.parametrize(
    "options",
    [{}, {"null_action": "as_action"}, {"continuous_actions": True}, {"fixed_horizon": True}],
)
def test_simulating_again_gives_the_same_bits(tmp_path, id, options):
    d = record(id, "scripted", 6, 0, tmp_path / "set", random_return=0.0, **options)
    assert replay.verify(d) == []


class Images(Faulty):
    observation_spaces = dict.fromkeys(Faulty.agents, gymnasium.spaces.Box(0, 255, (2,), np.uint8))

    def observe(self, observations, action_mask, alive, state):
        observations[:] = self.seed % 256, self.rounds


def test_episodes_of_images_are_simulated_again():
    env = VectorGame(Images(), Synchronous(), 2, num_workers=0)

    def still(observations, info, rng):
        return np.full((len(observations), 2), FINE)

    for episode in rollouts(env, still, range(4)):
        assert replay.simulate(env, episode) == ()
    assert env.buffers.observations.dtype == np.uint8
    forged = dataclasses.replace(episode, observations=episode.observations + np.float32(0.5))
    assert replay.simulate(env, forged) == ("observations from round 0",)


def test_verify_reports_differences(tmp_path):
    d = record("stochastic_coop_nav", "scripted", 2, 0, tmp_path / "set", random_return=0.0)
    episode = d[1]
    forged = type(episode)(**{**vars(episode), "rewards": episode.rewards + np.float32(1)})
    assert replay.simulate(replay.make_env(d.metadata), forged) == ("rewards from round 0",)


@pytest.mark.parametrize(
    ("id", "expected"),
    [
        ("coop_nav", -12.6),
        ("stochastic_coop_nav", -11.6),
        ("deterministic_coop_nav", -13.7),
        ("deterministic_coop_reaching", -71.0),
    ],
)
def test_scripted_demonstrators_reach_their_level(id, expected):
    env = mail_envs.make_vec(id, num_envs=300)
    assert mean_return(env, load_policy("scripted", env), 300) == pytest.approx(expected, abs=1.5)


def test_episodes_are_played_where_another_one_follows():
    env = mail_envs.make_vec("coop_nav", 2, autoreset=False)
    with pytest.raises(ValueError, match="coop_nav was made with autoreset=False"):
        next(rollouts(env, load_policy("random", env), [0]))


def test_scripted_chasers_and_prey_beat_random_ones():
    env = mail_envs.make_vec("stochastic_predator_prey", num_envs=200)
    scripted, random = load_policy("scripted", env), load_policy("random", env)

    def prey_return(prey, adversaries):
        def both(observations, info, rng):
            actions = adversaries(observations, info, rng).copy()
            actions[:, 0] = prey(observations, info, rng)[:, 0]
            return actions

        return np.mean([e.returns[0] for e in rollouts(env, both, np.arange(200))])

    assert prey_return(random, scripted) < -100 < -60 < prey_return(random, random)
    assert prey_return(scripted, scripted) > -15


@pytest.mark.parametrize(
    ("id", "arguments"),
    [
        ("coop_nav", {"num_agents": 5, "num_landmarks": 4, "integration": "position_first"}),
        ("coop_nav", {"num_agents": 1, "num_landmarks": 3, "penalty": "none"}),
        ("coop_reaching", {"num_agents": 6}),
        ("predator_prey", {"num_adversaries": 1, "num_obstacles": 0}),
    ],
)
def test_scripted_demonstrators_support_other_numbers_of_agents(id, arguments):
    env = mail_envs.make_vec(id, num_envs=20, **arguments)
    scripted, random = load_policy("scripted", env), load_policy("random", env)
    agent = 0 if id == "predator_prey" else slice(None)
    better, worse = (
        np.mean([e.returns[agent].mean() for e in rollouts(env, p, range(20))])
        for p in (scripted, random)
    )
    assert better > worse


UNEQUAL = str(Path(__file__).parents[1] / "unequal_game.py")


@pytest.mark.parametrize(
    "options",
    [{}, {"null_action": "as_action"}, {"continuous": True}, {"masked": True}],
    ids=str,
)
def test_agents_keep_their_own_numbers_of_actions(tmp_path, options, capsys):
    id = mail_envs.spec(UNEQUAL).id
    d = record(id, "random", 8, 0, tmp_path / "set", random_return=0.0, **options)
    assert d.metadata["id"] == "guide_and_walker"
    assert d.metadata["action_dims"] == ([1, 3] if "continuous" in options else [2, 5])
    assert replay.verify(d) == []
    t = d.transitions()
    if "continuous" in options:
        assert not t.actions[:, 0, 1:].any() and t.actions[:, 1, 1:].any()
        return
    assert t.actions[:, 0].max() == 1 and t.actions[:, 1].max() == (0 if "masked" in options else 4)
    assert not t.action_mask[:, 0, 2:].any() and t.action_mask.shape[-1] == 5
    assert [len(c) for c in inspect.report(d)["statistics"]["actions"].values()] == [2, 5]
    assert inspect.main(inspect.Args(tmp_path / "set", plots=tmp_path / "plots")) == 0


def test_a_set_of_a_user_defined_game_is_replayed_with_its_file(tmp_path, capsys):
    words = ["--env", UNEQUAL, "--policy", "random", "--episodes", "2", "--out", "set"]
    python = [sys.executable, "-m"]
    at = {"cwd": tmp_path, "capture_output": True, "text": True}
    assert subprocess.run([*python, "demos.record", *words], **at).returncode == 0
    verify = [*python, "demos.replay", "set", "--verify"]
    lost = subprocess.run(verify, **at)
    assert lost.returncode == 2 and "--env guide_and_walker.py" in lost.stderr
    assert subprocess.run([*verify, "--env", UNEQUAL], **at).returncode == 0


OWN_PLAYERS = """
import numba, numpy as np
import mail_envs
from mail_envs.player_functions import HistoryDependent, PlayerFunction

class Every(PlayerFunction):
    def __init__(self, k):
        self.k = k

    def table(self, num_agents):
        rounds = np.arange(self.k)[:, None]
        return (rounds == np.arange(num_agents) % self.k).astype(np.float32), 0

@numba.njit
def rested(i, history):
    t = history.shape[0]
    return np.float32(0.0) if t > 0 and history[t - 1, i] else np.float32(0.5)

class Rested(HistoryDependent):
    def __init__(self):
        super().__init__(rested)

MINE, OTHER, RESTED, FUNCTION = Every(3), Every(2), Rested(), mail_envs.HistoryDependent(rested)
"""


@pytest.mark.parametrize("name", ["MINE", "RESTED", "FUNCTION"])
def test_a_user_defined_player_function_records_and_replays(tmp_path, name, capsys, monkeypatch):
    """Its file must be named for recording and for replay; the set alone does not import it."""
    monkeypatch.chdir(tmp_path)
    mine = f"mine_{name.lower()}.py"
    (tmp_path / mine).write_text(OWN_PLAYERS)
    given = {"player_function": f"{mine}:{name}"}
    assert main(Args(env="coop_nav", out=tmp_path / "set", episodes=3, num_envs=2, **given)) == 0
    config = Demonstrations.open("set").metadata["player_function"]
    assert (
        config
        == {
            "MINE": {"type": "mine_mine:Every", "k": 3},
            "RESTED": {"type": "mine_rested:Rested", "function": "mine_rested:rested"},
            "FUNCTION": {"type": "HistoryDependent", "function": "mine_function:rested"},
        }[name]
    )
    verify = {"path": Path("set"), "verify": True, "all": True}
    assert replay.main(replay.Args(**verify)) == 2
    assert f"add --player-function {mine}:NAME" in capsys.readouterr().err
    assert replay.main(replay.Args(**verify, player_function=f"{mine}:OTHER")) == 2
    assert "but --player-function" in capsys.readouterr().err
    assert replay.main(replay.Args(**verify, **given)) == 0
    assert "3 of 3" in capsys.readouterr().out


def test_existing_set_is_completed_and_others_refused(tmp_path):
    out = tmp_path / "set"
    record("stochastic_coop_nav", "scripted", 5, 0, out, num_envs=2)
    d = record("stochastic_coop_nav", "scripted", 8, 0, out)
    assert [e.seed for e in d] == list(range(8))
    assert d.metadata["statistics"]["episodes"] == 8
    assert d.metadata["random_return"] == pytest.approx(-59.6, abs=2.5)
    with pytest.raises(DemonstrationError, match="demonstrator 'scripted', not 'random'"):
        record("stochastic_coop_nav", "random", 8, 0, out)
    with pytest.raises(DemonstrationError, match="player_function"):
        record(
            "stochastic_coop_nav", "scripted", 9, 0, out, player_function=mail_envs.Stochastic(0.4)
        )
    assert len(Demonstrations.open(out)) == 8


def test_the_return_of_the_expert_is_that_of_the_whole_set(tmp_path):
    for episodes in (2, 6):
        d = record("coop_nav", "scripted", episodes, 0, tmp_path / "set", random_return=-90.0)
        assert d.metadata["expert_return"] == pytest.approx(d.episode_returns().mean())
    given = {"random_return": -90.0, "expert_return": -1.0}
    record("coop_nav", "scripted", 2, 0, tmp_path / "given", **given)
    d = record("coop_nav", "scripted", 6, 0, tmp_path / "given")
    assert d.metadata["expert_return"] == -1.0


def start_recording(out: Path, episodes: int = 1_000_000) -> subprocess.Popen:
    command = [sys.executable, "-m", "demos.record", "--env", "stochastic_coop_nav", "--policy", "scripted",
               "--episodes", str(episodes), "--out", str(out), "--num-envs", "16"]  # fmt: skip
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, cwd=Path(__file__).parents[2])
    deadline = time.time() + 120
    while not any(p.stat().st_size > 100_000 for p in out.glob("shard-*")):
        assert time.time() < deadline and process.poll() is None
        time.sleep(0.05)
    return process


@pytest.mark.parametrize("kind", [signal.SIGKILL, signal.SIGINT])
def test_stopped_recording_keeps_finished_episodes_and_continues(tmp_path, kind):
    process = start_recording(tmp_path / "set")
    try:
        process.send_signal(kind)
        process.wait(60)
    finally:
        process.kill()
    d, first = Demonstrations.open(tmp_path / "set"), stream_seed(0, "demonstrations")
    assert len(d) > 10 and [e.seed - first for e in d] == list(range(len(d)))
    assert replay.verify(d.first(5)) == []
    count = len(d)
    again = record("stochastic_coop_nav", "scripted", count + 3, first, tmp_path / "set")
    assert [e.seed - first for e in again] == list(range(count + 3))


def test_stopping_before_the_first_episode_leaves_nothing_and_says_so(
    tmp_path, monkeypatch, capsys
):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("demos.rollouts.act", stop)  # while the return of random play is measured
    assert main(Args(env="coop_nav", out=tmp_path / "set")) == 130
    assert "stopped; no episode was recorded" in capsys.readouterr().err
    assert not (tmp_path / "set").exists()


def test_sets_of_neighboring_seeds_share_no_episode(tmp_path):
    seeds = []
    for seed in (0, 1):
        out = tmp_path / str(seed)
        assert main(Args(env="coop_nav", out=out, policy="random", episodes=20, seed=seed)) == 0
        seeds.append({e.seed for e in Demonstrations.open(out)})
    assert len(seeds[0] | seeds[1]) == 40


def test_commands(tmp_path, capsys):
    out = tmp_path / "set"
    assert (
        main(
            Args(
                env="stochastic_predator_prey",
                out=out,
                episodes=4,
                set=("num_obstacles=1",),
                player_function="Stochastic([1, 0.3, 0.3, 0.3])",
            )
        )
        == 0
    )
    assert inspect.main(inspect.Args(out)) == 0
    assert "stochastic_predator_prey" in capsys.readouterr().out
    assert inspect.main(inspect.Args(out, json=True, plots=tmp_path / "plots")) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["arguments"] == {"num_obstacles": 1} and figures["statistics"]["episodes"] == 4
    assert figures["player_function"]["probability"] == [1, 0.3, 0.3, 0.3]
    assert figures["statistics"]["participation"]["prey_0"] == 1.0
    assert len(list((tmp_path / "plots").glob("*.png"))) == 4
    assert replay.main(replay.Args(out, verify=True, all=True)) == 0
    assert "4 of 4" in capsys.readouterr().out


def test_commands_report_errors_in_one_line(tmp_path, capsys):
    assert main(Args(env="stochastic_cop_nav", out=tmp_path / "a")) == 2
    assert "stochastic_coop_nav" in capsys.readouterr().err
    assert main(Args(env="coop_nav", out=tmp_path / "a", policy="no/such/run")) == 2
    assert "no/such/run" in capsys.readouterr().err
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "notes").touch()
    for given, error in (
        ({"episodes": 0}, "episodes=0 must be at least 1"),
        ({"num_envs": 0}, "num_envs=0 must be at least 1"),
        ({"seed": -1}, "seed=-1 is not an integer in"),
        ({"seed": 2**63}, "is not an integer in"),
        ({"policy": "random", "greedy": True}, "greedy needs a learned policy"),
        ({"out": tmp_path / "b"}, "b: already exists and is not an empty folder"),
        ({"set": ("null_action=skip",)}, "null_action='skip'"),
        ({"set": ("array=torch",)}, "are recorded on the CPU, in NumPy arrays"),
        ({"set": ("autoreset=false",)}, "are recorded with autoreset=True"),
        ({"set": ("device=cuda",)}, "are recorded on the CPU, in NumPy arrays"),
    ):
        assert main(Args(**{"env": "coop_nav", "out": tmp_path / "a", **given})) == 2
        assert error in capsys.readouterr().err
    assert inspect.main(inspect.Args(tmp_path / "a")) == 2
    assert replay.main(replay.Args(tmp_path / "a")) == 2
    assert not (tmp_path / "a").exists()


def test_the_last_seed_of_a_set_must_be_valid(tmp_path):
    with pytest.raises(ValueError, match=r"seed=\d+ is not an integer in"):
        record("coop_nav", "random", 10, 2**63 - 5, tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_replay_writes_an_animation(tmp_path, monkeypatch):
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    record("stochastic_coop_nav", "scripted", 1, 0, tmp_path / "set", random_return=0.0)
    assert replay.main(replay.Args(tmp_path / "set", out=tmp_path / "x.gif")) == 0
    assert (tmp_path / "x.gif").read_bytes()[:6] == b"GIF89a"


def test_replay_says_if_what_it_draws_is_not_what_was_recorded(tmp_path, capsys):
    d = record("coop_nav", "random", 1, 0, tmp_path / "set", random_return=0.0, max_rounds=9)
    film = replay.Args(tmp_path / "set", out=tmp_path / "x.gif")
    assert replay.main(film) == 0 and "recording" not in capsys.readouterr().err
    with DemonstrationWriter.create(
        tmp_path / "foreign", {**d.metadata, "layout": vars(d.layout)}
    ) as writer:
        writer.append(dataclasses.replace(d[0], seed=5))
    film.path = tmp_path / "foreign"
    assert replay.main(film) == 0
    assert "differs from the recording: observations from round 0" in capsys.readouterr().err


@pytest.mark.parametrize(("option", "frames"), [({"every": 20}, 3), ({"max_frames": 10}, 7)])
def test_replay_draws_some_rounds(tmp_path, monkeypatch, capsys, option, frames):
    from PIL import Image

    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    record("coop_reaching", "random", 1, 0, tmp_path / "set", random_return=0.0, max_rounds=50)
    assert replay.main(replay.Args(tmp_path / "set", out=tmp_path / "x.gif", **option)) == 0
    every = option.get("every", 8)
    assert f"50 rounds, one round in {every} drawn" in capsys.readouterr().out
    with Image.open(tmp_path / "x.gif") as film:
        durations = []
        for k in range(film.n_frames):
            film.seek(k)
            durations.append(film.info["duration"])
    assert sum(durations) == 100 * (frames + 10)  # the last one stays for a second
    assert replay.main(replay.Args(tmp_path / "set", out=tmp_path / "x.gif", every=0)) == 2
    assert "every=0 must be at least 1" in capsys.readouterr().err
    assert replay.main(replay.Args(tmp_path / "set", verify=True, **option)) == 2
    assert "--every and --max-frames need --out" in capsys.readouterr().err


def test_random_play_is_measured_over_about_as_many_episodes_as_are_recorded(tmp_path):
    def random_return(episodes):
        made = record("coop_nav", "random", episodes, 0, tmp_path / str(episodes), max_rounds=5)
        return made.metadata["random_return"]

    env = mail_envs.make_vec("coop_nav", 1, max_rounds=5)
    means = [mean_return(env, load_policy("random", env), n) for n in (50, 60, 500)]
    assert [random_return(n) for n in (3, 60, 600)] == pytest.approx(means, rel=1e-6)
