"""Bi-DexHands in Isaac Gym, with a stand-in for it under a second interpreter (3.8 where there is one)."""

from __future__ import annotations

import dataclasses
import os
import stat
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import mail_envs
from mail_envs.adapters import isaacgym, isaacgym_probe, isaacgym_worker
from mail_envs.games.hands.rules import HIGH, LOW, MOTORIZED
from mail_envs.games.hands.tasks import TASKS

FAKES = Path(__file__).parent / "fake_isaacgym"
OLD = sorted(Path("~/.pyenv/versions").expanduser().glob("3.[78].*/bin/python"))


@pytest.fixture
def python(tmp_path, monkeypatch):
    """An interpreter that finds the stand-in; it is no child of ours that could import from here."""
    script = tmp_path / "python"
    own = OLD[-1] if OLD else sys.executable
    script.write_text(f'#!/bin/sh\nPYTHONPATH={FAKES} exec {own} -B "$@"\n')
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv(isaacgym.INTERPRETER, str(script))
    return script


def make(num_envs=1, task="door_open_inward", **arguments):
    return mail_envs.make_vec(f"bidexhands_{task}", num_envs, backend="isaacgym", **arguments)


def actions_of(vec, value=0.25):
    return np.full_like(vec.buffers.actions, value)


@pytest.mark.parametrize("task", ["door_open_inward", "over"])
def test_spaces_are_those_of_the_native_game(task, python):
    ours, theirs = mail_envs.make_vec(f"bidexhands_{task}"), make(task=task)
    for name in ("agents", "observation_spaces", "action_spaces", "state_space", "max_rounds"):
        assert getattr(ours, name) == getattr(theirs, name)
    assert ours.game.metric_names == theirs.game.metric_names
    theirs.close()


def test_rounds_of_all_copies_come_from_one_process(python):
    vec = make(3)
    observations, info = vec.reset(seed=0)
    # All begin with the round of small actions of the original.
    np.testing.assert_array_equal(observations[:, 0, :3], [[1, 1, 0]] * 3)
    np.testing.assert_array_equal(observations[:, 1, :3], [[1, 1, 1]] * 3)
    np.testing.assert_array_equal(info["state"][:, 0], [0, 1, 2])
    actions = actions_of(vec)
    actions[1, 1] = -0.5
    observations, rewards, terminated, truncated, _ = vec.step(actions)
    np.testing.assert_allclose(rewards[0], 2 + 52 * 0.25)
    np.testing.assert_allclose(rewards[1], 2 + 26 * (0.25 - 0.5))
    np.testing.assert_array_equal(observations[..., -26:], actions)
    assert not terminated.any() and not truncated.any()
    vec.close()


def test_an_episode_that_ended_begins_anew_with_the_next_round(python):
    vec = make(2)
    vec.reset(seed=0)
    for _ in range(3):
        *_, terminated, _, info = vec.step(actions_of(vec))
    observations, _, terminated, truncated, info = vec.step(actions_of(vec))
    # Environment 0 ended in its fifth round; its first one was the reset's.
    assert terminated.tolist() == [True, False] and not truncated.any()
    assert info["metrics"]["success"].tolist() == [1, 0]
    assert info["final_observation"][0, 0, :2].tolist() == [1, 5]
    assert observations[0, 0, :2].tolist() == [1, 5]  # the original has no other first observation
    observations, *_ = vec.step(actions_of(vec))
    assert observations[:, 0, :2].tolist() == [[2, 1], [1, 6]]
    vec.close()


def test_the_time_limit_of_the_view_resets_the_simulation_too(python):
    vec = make(2, max_rounds=2)
    vec.reset(seed=0)
    vec.step(actions_of(vec))
    *_, terminated, truncated, _ = vec.step(actions_of(vec))
    assert truncated.all() and not terminated.any()
    observations, *_ = vec.step(actions_of(vec))
    assert (observations[:, 0, 0] >= 2).all() and (observations[:, 0, 1] <= 2).all()
    vec.close()


@pytest.fixture
def limit_of_5(monkeypatch):
    """The native task with the time limit of the stand-in's environment 0."""
    monkeypatch.setitem(
        TASKS, "door_open_inward", dataclasses.replace(TASKS["door_open_inward"], rounds=5)
    )


def ends(vec, rounds):
    """Round, and whether it terminated and truncated, of each end of the first copy."""
    found = []
    for t in range(1, rounds + 1):
        *_, terminated, truncated, _ = vec.step(actions_of(vec))
        if terminated[0] or truncated[0]:
            found.append((t, bool(terminated[0]), bool(truncated[0])))
    return found


def test_the_originals_own_limit_truncates(python, limit_of_5):
    """The reset plays the first of its five rounds; later episodes have all five."""
    vec = make(1, max_rounds=1000)
    vec.reset(seed=0)
    assert ends(vec, 4) == [(4, False, True)]
    vec.reset(seed=0)
    assert ends(vec, 4) == [(4, False, True)]
    vec.close()


def test_an_end_before_the_originals_limit_terminates(python, monkeypatch, limit_of_5):
    monkeypatch.setenv("FAKE_ISAACGYM_FAULT", "end:4")
    vec = make(1, max_rounds=1000)
    vec.reset(seed=0)
    assert ends(vec, 3) == [(3, True, False)]
    vec.close()


def test_the_limit_of_episodes_that_begin_alone_truncates_too(python, limit_of_5):
    vec = make(2, max_rounds=1000)
    vec.reset(seed=0)
    assert ends(vec, 9) == [(4, False, True), (9, False, True)]
    vec.close()


def test_absent_hands_are_not_pushed_and_hold_their_targets(python):
    vec = make(1, player_function=mail_envs.TurnOrder([[1], [0, 1], [1]]))
    vec.reset(seed=0)
    rest = -(HIGH + LOW)[MOTORIZED] / (HIGH - LOW)[MOTORIZED]
    observations, rewards, *_ = vec.step(actions_of(vec))
    np.testing.assert_allclose(observations[0, 0, -26:], [0] * 6 + rest.tolist(), atol=1e-6)
    assert rewards[0, 0] == 0 and rewards[0, 1] != 0
    vec.step(actions_of(vec, 0.75))
    observations, *_ = vec.step(actions_of(vec, -1))
    np.testing.assert_allclose(observations[0, 0, -26:], [0] * 6 + [0.75] * 20)
    np.testing.assert_allclose(observations[0, 1, -26:], [-1] * 26)
    vec.close()


def test_settings_are_flags_of_the_original(python):
    vec = make(1, settings={"offset": 100})
    vec.reset(seed=0)
    _, rewards, *_ = vec.step(actions_of(vec, 0))
    assert rewards[0, 0] == 102
    vec.close()


def test_switches_among_the_settings_are_flags_without_a_value(python):
    vec = make(1, settings={"seed": 1, "randomize": True, "metadata": np.False_, "test": False})
    flags = vec.launches.copies.process.setup["flags"]
    assert flags == ["--headless", "--num_envs=1", "--seed=1", "--randomize"]
    vec.close()


@pytest.mark.parametrize("name", ["num_envs", "num_env", "episode_length", "headless", "cfg_env"])
def test_settings_that_contradict_the_view_are_refused(name, python):
    with pytest.raises(ValueError, match=f"settings=.* must not have '{name}': the view sets algo"):
        make(1, settings={"seed": 1, name: False})


def test_the_originals_names_of_the_tasks():
    assert {isaacgym.original_name(task) for task in TASKS} == {
        "ShadowHandBlockStack", "ShadowHandCatchAbreast", "ShadowHandCatchOver2Underarm",
        "ShadowHandCatchUnderarm", "ShadowHandDoorCloseInward", "ShadowHandDoorCloseOutward",
        "ShadowHandDoorOpenInward", "ShadowHandDoorOpenOutward", "ShadowHandOver",
        "ShadowHandPushBlock", "ShadowHandReOrientation", "ShadowHandTwoCatchUnderarm",
    }  # fmt: skip


def test_nan_truncates_and_is_not_observed(python, monkeypatch):
    monkeypatch.setenv("FAKE_ISAACGYM_FAULT", "nan:3")
    vec = make(2)
    vec.reset(seed=0)
    before = vec.step(actions_of(vec))[0].copy()
    observations, rewards, terminated, truncated, info = vec.step(actions_of(vec))
    assert truncated.tolist() == [True, False] and not terminated.any()
    assert info["metrics"]["simulation_errors"].tolist() == [1, 0] and rewards[0].tolist() == [0, 0]
    np.testing.assert_array_equal(info["final_observation"][0], before[0])
    observations, *_ = vec.step(actions_of(vec))
    assert observations[:, 0, :2].tolist() == [[2, 1], [1, 4]]
    vec.close()


@pytest.mark.parametrize("fault", ["die", "hang"])
def test_a_process_that_dies_or_is_silent_is_restarted(fault, python, monkeypatch, caplog):
    monkeypatch.setenv("FAKE_ISAACGYM_FAULT", f"{fault}:4")
    vec = make(2, timeout=1.0)
    vec.reset(seed=0)
    first = vec.launches.copies.process._process
    for _ in range(2):
        vec.step(actions_of(vec))
    _, rewards, terminated, truncated, info = vec.step(actions_of(vec))
    assert info["worker_restarted"].all() and truncated.all() and not terminated.any()
    assert not rewards.any() and first.poll() is not None
    assert ("SIGKILL" if fault == "die" else "no answer within 1 s") in caplog.text
    observations, *_, info = vec.step(actions_of(vec))
    assert not info["worker_restarted"].any()
    np.testing.assert_array_equal(observations[:, 0, :2], [[1, 2]] * 2)
    vec.close()


def test_a_process_that_always_dies_is_an_error(python, monkeypatch):
    monkeypatch.setenv("FAKE_ISAACGYM_FAULT", "die:2")
    vec = make(1)
    vec.reset(seed=0)
    with pytest.raises(RuntimeError, match=r"failed 3 times .* killed by SIGKILL"):
        for _ in range(9):
            vec.step(actions_of(vec))


def test_a_process_that_fails_in_every_reset_is_an_error(python, monkeypatch):
    monkeypatch.setenv("FAKE_ISAACGYM_FAULT", "hang:1")
    vec = make(1, timeout=0.5)
    with pytest.raises(RuntimeError, match=r"failed 3 times .* no answer within 0\.5 s"):
        vec.reset(seed=0)
    assert vec.launches.copies.process._process.poll() is not None


def test_a_reset_in_which_the_process_dies_is_repeated(python, monkeypatch):
    monkeypatch.setenv("FAKE_ISAACGYM_FAULT", "die:1")
    vec = make(2)
    monkeypatch.delenv("FAKE_ISAACGYM_FAULT")
    observations, _ = vec.reset(seed=0)
    assert observations[:, 0, :2].tolist() == [[1, 1]] * 2
    observations, *_ = vec.step(actions_of(vec))
    assert observations[:, 0, :2].tolist() == [[1, 2]] * 2
    vec.close()


@pytest.mark.parametrize("fault", ["quit", "start"])
def test_a_restart_that_fails_says_why_and_leaves_no_process(fault, python, monkeypatch):
    monkeypatch.setenv("FAKE_ISAACGYM_FAULT", "die:2")
    vec = make(1)
    vec.reset(seed=0)
    monkeypatch.setenv("FAKE_ISAACGYM_FAULT", fault)
    if fault == "start":
        python.write_text("#!/bin/sh\nexec sleep 600\n")
        monkeypatch.setattr(isaacgym, "START_SECONDS", 0.5)
    reason = "SystemExit: no simulation" if fault == "quit" else r"no answer within 0\.5 s"
    with pytest.raises(RuntimeError, match=rf"could not be restarted: [\s\S]*{reason}"):
        vec.step(actions_of(vec))
    assert vec.launches.copies.process._process.poll() is not None


def test_after_ctrl_c_an_answer_is_not_taken_for_the_next_one(python, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    process = isaacgym.IsaacProcess(isaacgym.IsaacGym(isaacgym_probe.TASK), 1)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(isaacgym.select, "select", interrupted)
        process.reset()
    assert process.probe()["hand_speed"] > 0
    process.close()


def test_a_failure_at_the_start_shows_its_traceback(python):
    with pytest.raises(
        RuntimeError, match=r"could not make its environments: Traceback[\s\S]*KeyError"
    ):
        make(task="push_block")  # the stand-in does not know it


def test_the_process_ends_with_the_environment(python):
    vec = make(1, seed=0)
    process = vec.launches.copies.process._process
    assert process.poll() is None
    vec.close()
    assert process.poll() is not None
    with pytest.raises(RuntimeError, match="before reset"):
        vec.step(actions_of(vec))


def test_a_closed_environment_writes_into_no_other_file(python, tmp_path):
    vec = make(1, seed=0)
    process = vec.launches.copies.process
    first, pipe = process._process, process._commands
    vec.close()
    with open(tmp_path / "other", "wb") as other:
        os.dup2(other.fileno(), pipe)
    with pytest.raises(RuntimeError, match="the environment is closed"):
        vec.reset(seed=0)
    os.close(pipe)
    assert not (tmp_path / "other").read_bytes() and process._process is first


def test_without_an_interpreter_the_error_says_what_to_install(monkeypatch):
    monkeypatch.delenv(isaacgym.INTERPRETER, raising=False)
    with pytest.raises(ImportError, match=r"PYTHON is not set\. They cannot be installed here"):
        make()
    monkeypatch.setenv(isaacgym.INTERPRETER, "/nowhere/python")
    with pytest.raises(ImportError, match="'/nowhere/python' is no file"):
        make()


def test_workers_and_bad_arguments_are_refused(python):
    with pytest.raises(ValueError, match="num_workers=2: IsaacGym plays all copies in one process"):
        make(2, num_workers=2)
    for timeout in (0, "60", None, float("inf"), float("nan")):
        with pytest.raises(ValueError, match=f"timeout={timeout!r} must be a finite number"):
            make(1, timeout=timeout)


@pytest.mark.parametrize("fault", ["", "end:1", "end:8"])  # in the round that a reset plays
def test_the_probe_finds_the_spring_and_the_share_of_the_force(fault, python, monkeypatch, capsys):
    monkeypatch.setenv("FAKE_ISAACGYM_FAULT", fault)
    isaacgym_probe.main()
    shown = capsys.readouterr().out
    assert "door_spring: 5.0" in shown
    assert "wrench_scale: 0.250 (the native game assumes 0.167)" in shown


@pytest.mark.parametrize("when", [4, 10])  # while a leaf falls, while a hand is pushed
def test_the_probe_fails_if_its_episode_ends(when, python, monkeypatch):
    monkeypatch.setenv("FAKE_ISAACGYM_FAULT", f"end:{when}")
    with pytest.raises(isaacgym.Silent, match="the probe's episode has ended"):
        isaacgym_probe.main()


class NativeWorker(isaacgym_worker.Worker):
    """The probe's procedure in the native game, which has no process and no tensors."""

    def __init__(self, **physics):
        task = isaacgym_probe.TASK
        self.vec = mail_envs.make_vec(f"bidexhands_{task}", 1, seed=0, **physics)
        worlds = self.vec.launches.copies.games[0].worlds
        self.model, self.data = worlds.model, worlds.datas[0]
        self.shared, self.places = np.zeros(self.vec.buffers.actions.size, "f4").data.cast("B"), {}
        self.places["actions"] = 0, len(self.shared)
        self.gymtorch = SimpleNamespace(unwrap_tensor=lambda tensor: tensor)
        self.task = SimpleNamespace(
            object_dof_pos=self.data.qpos[None, -2:], object_dof_vel=self.data.qvel[None, -2:],
            hand_linvels=self.data.qvel[None, :3], hand_indices=[0], reset_buf=[0], sim=None, dof_state=None,
            gym=SimpleNamespace(set_dof_state_tensor=self.place),
        )  # fmt: skip

    def place(self, sim, state):
        import mujoco

        mujoco.mj_step1(self.model, self.data)

    def reset(self):
        self.vec.reset()
        self.step([])

    def step(self, reset):
        self.vec.step(np.frombuffer(self.shared, "f4").reshape(1, 2, -1))
        self.task.reset_buf[0] = int(self.vec.buffers.terminated[0])


@pytest.mark.parametrize(("spring", "share"), [(0.0, 1 / 6), (5.0, 0.5), (2.0, 1.0)])
def test_the_probes_procedure_finds_what_the_native_model_has(spring, share):
    pytest.importorskip("mujoco")
    pytest.importorskip("gymnasium_robotics")
    found = NativeWorker(door_spring=spring, wrench_scale=share).probe()
    assert isaacgym_probe.stiffness(found["angles"], found["leaf_speed"]) == pytest.approx(
        spring, rel=0.02, abs=1e-3
    )
    assert isaacgym_probe.share_of(found["hand_speed"]) == pytest.approx(share, rel=0.03)


def test_the_worker_imports_nothing_of_this_suite():
    source = Path(isaacgym.__file__).with_name("isaacgym_worker.py").read_text()
    assert "mail_envs" not in source and "numpy" not in source.replace(".numpy()", "")
