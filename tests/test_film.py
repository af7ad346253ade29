"""Films: how many rounds are drawn, and which."""

from __future__ import annotations

import types

import numpy as np
import pytest

from mail_envs import film
from mail_envs.bars import bar
from mail_envs.film import MOST_SECONDS, Film


def filmed(length: int, cost: float, monkeypatch, limit: int | None = None, **options):
    """A film of an episode of `length` rounds, and the seconds it takes: `cost` for a picture, the first one 9 more."""
    clock = [0.0]
    monkeypatch.setattr(film, "time", types.SimpleNamespace(perf_counter=lambda: clock[0]))
    made, drawn = Film(limit or length, **options), []

    def draw() -> np.ndarray:
        clock[0] += cost + 9.0 * (not drawn)
        drawn.append(clock[0])
        return np.full(1, len(drawn))

    for t in range(length + 1):
        made.see(t, draw, last=t == length)
    return made, clock[0]


@pytest.mark.parametrize("length", [1, 150, 199, 200, 1000, 12_345])
def test_a_film_is_short_and_spread_evenly_over_the_episode(length, monkeypatch):
    made, _ = filmed(length, 0.0, monkeypatch)
    rounds = sorted(made.pictures)
    assert rounds[0] == 0 and rounds[-1] == length
    assert set(np.diff(rounds[:-1])) <= {made.every}
    assert len(made.frames) <= 201
    assert made.every == 1 if length < 200 else len(made.frames) > 100


def test_a_short_episode_of_a_game_with_a_long_limit_is_drawn_whole(monkeypatch):
    assert len(filmed(80, 0.0, monkeypatch, limit=10_000)[0].frames) == 81


@pytest.mark.parametrize("cost", [0.02, 0.3, 2.0])
def test_slow_pictures_are_fewer(cost, monkeypatch):
    made, seconds = filmed(1000, cost, monkeypatch)
    assert seconds <= 9 + MOST_SECONDS + 3 * cost  # the first, second and last one
    assert made.every > 1 and len(made.frames) * cost > MOST_SECONDS / 10


def test_every_is_obeyed(monkeypatch):
    made, _ = filmed(1000, 1.0, monkeypatch, every=3)
    assert sorted(made.pictures) == [*range(0, 1000, 3), 1000]
    assert str(made) == "one round in 3"


def test_the_number_of_frames_can_be_chosen(monkeypatch):
    assert len(filmed(1000, 0.0, monkeypatch, most_frames=10)[0].frames) <= 11


def test_bars_show_only_on_terminals(monkeypatch, capsys):
    for terminal in (False, True):
        monkeypatch.setattr("sys.stderr.isatty", lambda terminal=terminal: terminal)
        with bar("evaluating", 4) as show:
            show(2.5)
        shown = capsys.readouterr()
        assert not shown.out and ("evaluating" in shown.err) == terminal
    with bar("evaluating", 4, shown=False) as show:
        show(4)
    assert not capsys.readouterr().err
