"""Copies in worker processes play like copies in this one; whatever fails disturbs nothing else."""

import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from sample_faults import (
    ALWAYS_RAISES,
    ENDS,
    FINE,
    KILLED,
    RAISES,
    RAISES_LATE,
    SLEEPS,
    Faulty,
)
from sample_simulator import Twin, assert_equal_rounds

from mail_envs.aec import AECGame
from mail_envs.parallel import ParallelGame
from mail_envs.player_functions import Stochastic, Synchronous
from mail_envs.random import next_seed
from mail_envs.simulator import SimulatorGame
from mail_envs.vector import VectorGame

ROOT = Path(__file__).parent.parent


@pytest.fixture
def faulty():
    """Makes a view of the sample's copies; closes it in the end."""
    opened = []

    def make(num_envs=5, num_workers=2, game=None, **view):
        game = game or Faulty()
        opened.append(VectorGame(game, Synchronous(), num_envs, num_workers=num_workers, **view))
        return opened[-1]

    yield make
    for vec in opened:
        vec.close()


def pids(vec):
    return [w.process.pid for w in vec.launches.copies.workers if w.process]


def running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def assert_gone(pids, seconds=10.0):
    limit = time.monotonic() + seconds
    while any(map(running, pids)):
        assert time.monotonic() < limit, "a process was left behind"
        time.sleep(0.02)


def actions(vec, **of_agent_0):
    """Everybody is fine, except agent_0 of the copies named, as `e3=KILLED`."""
    array = np.full((vec.num_envs, 2), FINE)
    for name, action in of_agent_0.items():
        array[int(name[1:]), 0] = action
    return array


def test_workers_play_the_same_bits():
    one, many = (VectorGame(Twin(), Stochastic(0.5), 5, num_workers=k) for k in (0, 2))
    np.testing.assert_array_equal(one.reset(seed=5)[0], many.reset(seed=5)[0])
    assert_equal_rounds(one, many, 70)
    saved = one.get_state()
    many.reset(seed=9)
    many.set_state(saved)
    assert_equal_rounds(one, many, 60, seed=1)
    many.close()


@pytest.mark.parametrize(
    ("fault", "lost", "reason"),
    [
        (KILLED, [2, 3, 4], "killed by SIGKILL"),
        (SLEEPS, [2, 3, 4], "no answer within 1 s"),
        (RAISES, [3], "the simulator is on fire"),
        (RAISES_LATE, [3], "the simulator is on fire"),
    ],
)
def test_a_failure_ends_only_the_episodes_it_touches(faulty, caplog, fault, lost, reason):
    vec, calm = faulty(worker_timeout=1.0), faulty(num_workers=0)
    vec.reset(seed=100)
    calm.reset(seed=100)
    for _ in range(3):
        vec.step(actions(vec))
        calm.step(actions(calm))
    before = vec.buffers.observations.copy()
    begin = time.monotonic()
    with caplog.at_level(logging.WARNING):
        observations, rewards, terminated, truncated, info = vec.step(actions(vec, e3=fault))
    assert time.monotonic() - begin < 30
    assert reason in caplog.text and str(lost[-1]) in caplog.text
    np.testing.assert_array_equal(info["worker_restarted"].nonzero()[0], lost)
    np.testing.assert_array_equal(truncated.nonzero()[0], lost)
    assert not terminated.any() and not rewards[lost].any()
    np.testing.assert_array_equal(info["final_observation"][lost], before[lost])
    for e in lost:  # the next episode has begun
        assert info["seed"][e] == next_seed(100 + e) and info["round"][e] == 0
        assert observations[e, 0, 0] == info["seed"][e] % 1000 and observations[e, 0, 1] == 0
        assert (info["episode_return"][e] == 0 + 1 + 2).all() and info["episode_length"][e] == 4
    others = [e for e in range(5) if e not in lost]
    for _ in range(3):
        expected = calm.step(actions(calm))
        np.testing.assert_array_equal(vec.buffers.observations[others], expected[0][others])
        np.testing.assert_array_equal(vec.buffers.rewards[others], expected[1][others])
        _, rewards, _, truncated, info = vec.step(actions(vec))
        assert not truncated.any() and not info["worker_restarted"].any()
    assert (rewards[lost] == 2).all()


@pytest.mark.parametrize("kind", [AECGame, ParallelGame])
def test_every_view_says_that_a_worker_died(faulty, kind):
    env = kind(faulty(num_envs=1, num_workers=1, autoreset=False))
    for fault in (ENDS, KILLED, FINE):
        env.reset(seed=0)
        while env.agents:
            if kind is ParallelGame:
                assert not any(infos["worker_restarted"] for infos in env._infos().values())
                _, _, ended, cut, infos = env.step({"agent_0": fault, "agent_1": FINE})
            else:
                assert not env.last()[-1]["worker_restarted"]
                for action in (fault, FINE):
                    env.step(action)
                ended, cut, infos = env.terminations, env.truncations, dict(env.infos)
                while env.agents and (any(ended.values()) or any(cut.values())):
                    env.step(None)
        assert [info["worker_restarted"] for info in infos.values()] == [fault == KILLED] * 2


def test_without_autoreset_a_lost_episode_waits_for_the_next_reset(faulty):
    vec = faulty(num_envs=2, autoreset=False)
    vec.reset(seed=0)
    vec.step(actions(vec))
    vec.step(actions(vec, e1=KILLED))
    for _ in range(2):
        assert vec.buffers.truncated.tolist() == [False, True]
        with pytest.raises(RuntimeError, match="copy 1 was lost with its worker; reset it first"):
            vec.launches.picture(1)
        vec.step(actions(vec))
    assert vec.buffers.observations[:, 0, 1].tolist() == [4, 1]
    _, info = vec.reset(seed=7)
    assert not info["worker_restarted"].any()
    _, rewards, *_ = vec.step(actions(vec))
    _, rewards, *_ = vec.step(actions(vec))
    assert (rewards == 1).all()


def test_a_worker_that_dies_in_a_reset_loses_its_other_episodes_with_the_next_round(
    faulty, tmp_path
):
    vec = faulty(num_envs=2, num_workers=1, game=Faulty(fragile=tmp_path / "once"))
    (tmp_path / "once").touch()
    vec.reset(seed=0)
    vec.step(actions(vec))
    (tmp_path / "once").unlink()
    _, _, terminated, truncated, info = vec.step(actions(vec, e0=ENDS))
    assert terminated.tolist() == [True, False] and not truncated.any()
    assert not info["worker_restarted"].any()
    _, _, _, truncated, info = vec.step(actions(vec))
    assert info["worker_restarted"].tolist() == truncated.tolist() == [False, True]
    vec.step(actions(vec))
    assert (vec.buffers.rewards == [[1, 1], [0, 0]]).all()


def test_an_idle_copy_that_is_killed_is_restarted(faulty):
    vec = faulty(num_envs=2, num_workers=1, fixed_horizon=True)
    vec.reset(seed=0)
    vec.step(actions(vec, e0=ENDS))
    os.kill(pids(vec)[0], signal.SIGKILL)
    _, _, _, truncated, info = vec.step(actions(vec))
    assert truncated.tolist() == info["worker_restarted"].tolist() == [False, True]
    for _ in range(18):
        _, _, _, truncated, info = vec.step(actions(vec))
    assert truncated.tolist() == [True, False] and not info["worker_restarted"].any()
    vec.step(actions(vec))
    assert vec.buffers.observations[0, 0, 1] == 1


@pytest.mark.parametrize("fault", [KILLED, RAISES])
def test_a_worker_that_never_finishes_an_episode_is_an_error(faulty, fault):
    vec = faulty()
    vec.reset(seed=0)
    left = pids(vec)
    message = r"worker 1 \(copies 2 to 4\) failed 3 times"
    message += ".*on fire" if fault == RAISES else ".*killed by SIGKILL"
    with pytest.raises(RuntimeError, match=f"(?s){message}"):
        for _ in range(3):
            vec.step(actions(vec, e3=fault))
            left += pids(vec)
    assert_gone(left)
    with pytest.raises(RuntimeError, match="before reset"):
        vec.step(actions(vec))
    with pytest.raises(RuntimeError, match="closed"):
        vec.reset(seed=0)


def test_a_seed_that_cannot_be_played_is_an_error(faulty):
    vec = faulty(num_envs=1, num_workers=1)
    with pytest.raises(RuntimeError, match=r"(?s)worker 0 \(copy 0\).*an unlucky number"):
        vec.reset(seed=ALWAYS_RAISES)


def test_a_simulator_that_cannot_be_made_is_an_error(faulty):
    with pytest.raises(RuntimeError, match=r"(?s)could not make its.*there is no such simulator"):
        faulty(game=Faulty(broken=True))


@pytest.mark.parametrize("seconds", [0.0, -1, np.inf, np.nan, "60"])
@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_timeout_must_be_positive_and_finite(faulty, seconds, num_workers):
    with pytest.raises(ValueError, match=f"worker_timeout={seconds!r} must be a finite number"):
        faulty(num_workers=num_workers, worker_timeout=seconds)


def test_a_timeout_may_be_longer_than_the_system_waits_at_once(faulty):
    vec = faulty(num_envs=1, num_workers=1, worker_timeout=1e9)
    vec.reset(seed=0)
    assert vec.step(actions(vec))[0][0, 0].tolist() == [0, 1]


def test_infos_that_raise_are_an_error_and_end_no_process(faulty):
    class Telling(Faulty):
        has_infos = True

        def infos(self):
            raise KeyError("nothing to tell")

    vec = faulty(num_envs=2, num_workers=1, game=Telling())
    vec.reset(seed=0)
    before = pids(vec)
    with pytest.raises(RuntimeError, match=r"(?s)copy 1 has no infos.*nothing to tell"):
        vec.own_infos(1)
    assert pids(vec) == before
    assert not vec.step(actions(vec))[-1]["worker_restarted"].any()


def test_a_locally_defined_game_is_sent_to_the_workers():
    class Here(SimulatorGame):
        agents = ["agent_0"]
        observation_spaces = {"agent_0": gymnasium.spaces.Box(-1, 1, (1,))}
        action_spaces = {"agent_0": gymnasium.spaces.Box(-1, 1, (2,))}
        state_space = gymnasium.spaces.Box(-1, 1, (1,))
        max_rounds = 5

        def reset(self, seed):
            pass

        def step(self, actions, acts, rewards, metrics):
            rewards[0] = actions[0].sum() * float(os.environ["OMP_NUM_THREADS"])
            return False, False

        def observe(self, observations, action_mask, alive, state):
            pass

    vec = VectorGame(Here(), Synchronous(), 2, num_workers=1)
    vec.reset(seed=0)
    vec.step(np.full((2, 1, 2), 0.25, np.float32))
    assert (vec.buffers.rewards == 0.5).all()
    vec.close()


def test_after_ctrl_c_in_a_round_a_reset_goes_on(faulty):
    vec = faulty(worker_timeout=1.0)
    vec.reset(seed=0)
    signal.signal(signal.SIGALRM, signal.default_int_handler)
    signal.setitimer(signal.ITIMER_REAL, 0.2)
    with pytest.raises(KeyboardInterrupt):
        vec.step(actions(vec, e0=SLEEPS))
    observations, _ = vec.reset(seed=50)
    assert observations[:, 0].tolist() == [[50 + e, 0] for e in range(5)]
    vec.step(actions(vec))
    assert (vec.buffers.observations[:, 0, 1] == 1).all()


def test_a_picture_comes_from_its_worker(faulty):
    vec = faulty()
    vec.reset(seed=0)
    with pytest.raises(RuntimeError, match=r"(?s)copy 4 cannot be rendered.*nothing to see yet"):
        vec.launches.picture(4)
    vec.step(actions(vec))
    vec.step(actions(vec, e4=ENDS))
    picture = vec.launches.picture(3)
    assert picture.shape == (4, 6, 3) and (picture == 2).all()


def test_closing_leaves_no_process_behind(faulty):
    others = children(os.getpid())  # of other tests' libraries, such as a resource tracker
    vec = faulty(game=Faulty(child=True))
    vec.reset(seed=0)
    left = pids(vec) + [child for pid in pids(vec) for child in children(pid)]
    assert len(left) == 2 + 5
    vec.close()
    vec.close()
    assert_gone(left, seconds=5)
    assert set(children(os.getpid())) <= set(others)
    vec = faulty()
    left = pids(vec)
    vec.launches.copies._finish()  # as when it is forgotten
    assert_gone(left, seconds=5)


def children(pid):
    out = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True)
    return [int(word) for word in out.stdout.split() if running(int(word))]


SCRIPT = """
import sys, time
sys.path.insert(0, "tests")
from mail_envs.player_functions import Synchronous
from mail_envs.vector import VectorGame
from sample_faults import Faulty

vec = VectorGame(Faulty(child=True), Synchronous(), 2, num_workers=2)
vec.reset(seed=0)
print(*(w.process.pid for w in vec.launches.copies.workers), flush=True)
if sys.argv[1] == "hang":
    vec.step([[3, 0], [0, 0]])
elif sys.argv[1] == "wait":
    time.sleep(600)
"""


@pytest.mark.parametrize(
    ("what", "how"),
    [("wait", "SIGINT"), ("hang", "SIGINT"), ("wait", "SIGTERM"), ("hang", "SIGKILL"), ("end", "")],
)
def test_whatever_ends_the_owner_ends_the_workers(what, how):
    owner = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, what],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    workers = [int(word) for word in owner.stdout.readline().split()]
    left = workers + [child for pid in workers for child in children(pid)]
    if how:
        time.sleep(0.2)
        assert all(map(running, workers)) and len(left) == 4
        os.kill(owner.pid, getattr(signal, how))
    owner.wait(timeout=15)
    owner.stdout.close()
    assert_gone(left)
