"""`python -m mail_envs play`: keys, mistakes and recordings of a person who plays."""

from __future__ import annotations

import numpy as np
import pytest

import mail_envs
from mail_envs.__main__ import main


@pytest.fixture
def pygame(monkeypatch):
    """pygame on a dummy display with an empty event queue."""
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    module = pytest.importorskip("pygame")
    module.display.quit()
    module.display.init()
    module.display.set_mode((10, 10))
    module.event.clear()
    yield module
    module.display.quit()


@pytest.fixture
def session(pygame):
    """A session of `stochastic_coop_nav` against random agents, and a function that presses keys."""
    from demos import load_policy
    from mail_envs.commands.play import Session
    from mail_envs.rendering import Canvas

    vector = mail_envs.make_vec("stochastic_coop_nav", max_rounds=12, autoreset=False)
    session = Session(vector, load_policy("random", vector), Canvas((120, 120)))

    def press(*names):
        for name in names:
            key = pygame.key.key_code(name)
            pygame.event.post(pygame.event.Event(pygame.KEYDOWN, key=key))

    session.post = press
    return session


def test_play_uses_the_keys_when_the_agent_participates(session, monkeypatch):
    played = []
    step = session.vector.step

    def spy(actions):
        played.append((session.vector.buffers.participation[0, 0] > 0, int(actions[0, 0])))
        return step(actions)

    monkeypatch.setattr(session.vector, "step", spy)
    session.post(*["right", "up", "a", "s", "space", "2"] * 2)
    assert session.play_episode(seed=3)
    moves = [action for acts, action in played if acts]
    assert len(played) == 12
    assert moves == [2, 4, 1, 3, 0, 2, 2, 4, 1, 3, 0, 2][: len(moves)] and moves


def test_play_waits_until_the_person_moves(session, monkeypatch):
    frames = []
    show = session.show

    def count(message):
        frames.append(message)
        if len(frames) == 200:
            session.post("escape")
        show(message)

    monkeypatch.setattr(session, "show", count)
    assert not session.play_episode(seed=3)
    assert frames.count("your move: agent_0") > 100
    assert session.vector.buffers.clock["rounds"][0] < 12


def test_tab_switches_to_the_next_agent_and_escape_quits(session):
    session.post("tab")
    session.show("")
    assert session.steered == 1
    session.post("tab", "tab", "escape")
    assert not session.play_episode(seed=0)
    assert session.left and session.steered == 0


def test_closing_the_window_ends_the_game(session, pygame):
    session.show("")
    pygame.event.post(pygame.event.Event(pygame.QUIT))
    assert not session.play_episode(seed=0)
    assert session.run(seed=0, episodes=3) == 0


def test_a_forbidden_move_is_refused(session):
    session.vector.reset(seed=0)
    mask = np.ones((1, 3, 5), np.int8)
    mask[0, 0, 2] = 0
    info = {
        "participation": np.ones((1, 3)), "alive": np.ones((1, 3), bool), "action_mask": mask
    }  # fmt: skip
    session.post("right", "left")
    assert session.choose(info) == 1


def test_digits_name_actions_in_games_without_keys_of_their_own(session):
    from mail_envs.commands.play import key_actions

    keys = key_actions(session.vector)
    assert keys["4"] == 4 and keys["up"] == keys["w"] == 4 and "5" not in keys


def test_play_records_demonstrations(pygame, tmp_path, monkeypatch, capsys):
    from demos import Demonstrations
    from mail_envs.commands import play

    held = {pygame.key.key_code("right")}
    monkeypatch.setattr("pygame.key.get_pressed", lambda: {k: k in held for k in _codes(pygame)})
    monkeypatch.setattr(play.Session, "wait_for_key", lambda self, message: None)
    folder = tmp_path / "set"
    arguments = ["stochastic_coop_nav", "--others", "random", "--speed", "0", "--max-rounds", "7"]
    more = ["--record", str(folder), "--seed", "4"]
    assert main(["play", *arguments, *more, "--episodes", "2"]) == 0
    assert main(["play", *arguments, *more, "--episodes", "1"]) == 0, "a set can be continued"
    demonstrations = Demonstrations.open(folder)
    assert len(demonstrations) == 3
    assert demonstrations[0].seed == demonstrations[2].seed == 4
    for episode in demonstrations:
        assert len(episode) == 7 and episode.truncated
        acts = episode.participation[:, 0] > 0
        assert (episode.actions[acts, 0] == 2).all() and not episode.actions[~acts, 0].any()
        _assert_simulates_again(episode)
    assert demonstrations.metadata["demonstrator"] == "person, others random"
    other = ["--others", "random", "--record", str(folder), "--episodes", "1"]
    assert main(["play", "coop_nav", *other]) == 2
    assert "another game" in capsys.readouterr().err
    assert main(["play", arguments[0], *other]) == 2, "a longer game"
    assert "with max_rounds 7 instead of 50" in capsys.readouterr().err


def _codes(pygame):
    from mail_envs.commands.play import FIVE_ACTIONS

    return [pygame.key.key_code(name) for name in (*FIVE_ACTIONS, *"0123456789")]


def _assert_simulates_again(episode):
    vector = mail_envs.make_vec("stochastic_coop_nav", max_rounds=7, autoreset=False)
    observations, _ = vector.reset(seed=episode.seed)
    for t, actions in enumerate(episode.actions):
        assert np.array_equal(observations[0], episode.observations[t])
        observations, rewards, *_ = vector.step(actions[None])
        assert np.array_equal(rewards[0], episode.rewards[t])
    assert np.array_equal(observations[0], episode.observations[-1])
