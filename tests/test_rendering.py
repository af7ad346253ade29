"""The canvas: arrays without a screen, a window on SDL's dummy driver, marks, zoom and files."""

from __future__ import annotations

import copy
import gc
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest

import mail_envs
from mail_envs.rendering import COLORS, Canvas, RenderingError, draw_game, write_gif, write_png

pygame = pytest.importorskip("pygame")


@pytest.fixture
def window(monkeypatch):
    """A display that nobody sees."""
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    yield
    pygame.display.quit()


def close_to(frame, color, tolerance=12):
    return np.abs(frame.astype(int) - COLORS[color]).max(axis=2) <= tolerance


def centroid(mask):
    """Mean (x, y) pixel of a mask (H, W)."""
    rows, columns = np.nonzero(mask)
    return columns.mean(), rows.mean()


def test_arrays_need_no_screen():
    code = (
        "from mail_envs.rendering import Canvas; c = Canvas((80, 60)); c.begin();"
        "c.circle((0, 0), 0.5); print(c.present().shape)"
    )
    hidden = ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER")
    environment = {k: v for k, v in os.environ.items() if k not in hidden}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "(60, 80, 3)"


def test_shapes_are_drawn_at_their_world_positions():
    canvas = Canvas((300, 300))
    canvas.begin((-1, 1, -1, 1))
    canvas.circle((0.5, 0.5), 0.1, "red")
    canvas.rect((-0.6, -0.4, -0.6, -0.4), "green")
    frame = canvas.present()
    assert frame is not None and frame.dtype == np.uint8 and frame.shape == (300, 300, 3)
    red, green = centroid(close_to(frame, "red")), centroid(close_to(frame, "green"))
    assert red[0] > 150 and red[1] < green[1], "x points right and y up"
    assert green[0] < 150


def test_equal_states_give_equal_pictures():
    vector = mail_envs.make_vec("stochastic_coop_nav", 2, seed=5)
    first = vector.render(1)
    vector.render(0)
    assert np.array_equal(first, vector.render(1))


def test_the_view_zooms_out_for_agents_outside_the_box():
    areas = []
    for far in (0.0, 3.0, 30.0):
        canvas = Canvas((300, 300))
        canvas.begin((-1, 1, -1, 1), keep_visible=[(0.0, 0.0), (far, -far)])
        canvas.circle((far, -far), 0.1, "red")
        areas.append(int(close_to(canvas.present(), "red", 60).sum()))
    assert areas[0] > areas[1] > 0 and areas[2] > 0


def test_positions_that_are_not_finite_do_not_break_a_frame():
    canvas = Canvas((100, 100))
    canvas.begin(keep_visible=np.array([[np.nan, 0.0], [np.inf, 1.0], [1e30, 0.0]]))
    canvas.circle((np.nan, np.inf), 0.1)
    canvas.line((0, 0), (1e30, 1.0), alpha=0.5)
    canvas.arrow((0, 0), (0, 0))
    assert canvas.present().shape == (100, 100, 3)


def test_every_shape_leaves_a_mark():
    shapes = {
        "circle": lambda c: c.circle((0, 0), 0.3, alpha=0.5, outline="dark"),
        "ring": lambda c: c.ring((0, 0), 0.3),
        "line": lambda c: c.line((-0.5, 0), (0.5, 0)),
        "arrow": lambda c: c.arrow((-0.5, 0), (0.5, 0), alpha=0.5),
        "rect": lambda c: c.rect((-0.2, 0.2, -0.1, 0.1), outline="dark", corner_pixels=3),
        "polygon": lambda c: c.polygon([(0, 0), (0.5, 0), (0, 0.5)]),
        "bar": lambda c: c.bar((0, 0), 0.5, 0.1, 0.5),
        "text": lambda c: c.text((0, 0), "hello"),
    }
    canvas = Canvas((120, 120))
    empty = canvas.present()
    for name, draw in shapes.items():
        canvas.begin()
        draw(canvas)
        assert not np.array_equal(canvas.present(), empty), name


@pytest.mark.parametrize("participation", ([1, 0], [0, 1], [0, 0], [1, 1]))
def test_participants_have_a_halo_and_other_agents_are_dimmed(participation):
    canvas = Canvas((400, 400))
    canvas.annotate(participation=participation)
    canvas.begin()
    for i, x in enumerate((-0.5, 0.5)):
        canvas.agent(i, (x, 0), 0.15, "blue")
    frame = canvas.present()[60:]  # below the strip, which shows participation, too
    for half, acts in zip((frame[:, :200], frame[:, 200:]), participation, strict=True):
        assert close_to(half, "gold").any() == bool(acts)


def test_the_strip_shows_the_return_of_every_role():
    canvas = Canvas((400, 200))
    canvas.annotate(agents=["prey_0", "adversary_0", "adversary_1"], returns=[-3.0, 1.0, 2.0])
    assert canvas._returns_line() == "prey -3.0   adversary 1.5"
    canvas.annotate(agents=["agent_0", "agent_1"], returns=[-3.0, -1.0])
    assert canvas._returns_line() == "return -2.0"


def test_a_closed_window_stays_closed_and_arrays_go_on(window):
    canvas = Canvas((60, 60))
    assert canvas.present("human") is None and not canvas.closed
    pygame.event.post(pygame.event.Event(pygame.QUIT))
    canvas.present("human")
    assert canvas.closed
    assert canvas.present("human") is None
    assert canvas.present("rgb_array").shape == (60, 60, 3)


def picture_of(canvas):
    canvas.begin()
    canvas.text((0, 0), "text", 20)
    canvas.agent(0, (0.5, 0.5), 0.1, label="0")
    return canvas.present()


@pytest.mark.parametrize("end", [pygame.quit, pygame.display.quit, pygame.font.quit])
@pytest.mark.parametrize("begin", [lambda: None, pygame.init])
def test_pictures_and_windows_survive_the_end_of_pygame(window, end, begin):
    canvas = Canvas((60, 60))
    before = picture_of(canvas)
    canvas.present("human", fps=1000)
    end()
    begin()  # or not
    assert np.array_equal(picture_of(canvas), before)
    canvas.present("human", fps=1000)
    assert canvas._is_open() and not canvas.closed


# Whether a window lands at the address of one that is gone is up to the heap: hence the repetitions.
@pytest.mark.parametrize("kept", [True, False], ids=["goes on", "is collected"])
def test_a_window_opened_after_the_end_of_pygame_is_not_taken_for_the_old_one(window, kept):
    for k in range(100):
        canvas = Canvas((60, 60))
        canvas.present("human")
        heap = [bytearray(7 * k) for _ in range(k)]
        pygame.display.quit()
        pygame.display.init()
        theirs = pygame.Window("theirs", (60, 60))
        theirs.get_surface()
        if kept:
            canvas.present("human")
            assert canvas._is_open() and canvas._window.id != theirs.id
            canvas.close()
        del canvas, heap
        gc.collect(0)
        theirs.flip()
        theirs.destroy()


def test_a_canvas_that_is_collected_closes_its_window(window):
    canvas = Canvas((60, 60))
    canvas.present("human")
    shown = canvas._window
    del canvas
    gc.collect()
    with pytest.raises(pygame.error):
        shown.flip()


def test_two_windows_are_closed_one_by_one(window):
    first, second = Canvas((60, 60)), Canvas((80, 80))
    for canvas in (first, second):
        canvas.present("human")
    pygame.event.clear()
    pygame.event.post(pygame.event.Event(pygame.KEYDOWN, key=pygame.K_a, window=second._window))
    pygame.event.post(pygame.event.Event(pygame.WINDOWCLOSE, window=first._window))
    ours, theirs = pygame.WINDOWCLOSE, pygame.KEYDOWN
    seen = [event.type for event in first.poll()]
    assert ours in seen and theirs not in seen
    assert first.closed and not second.closed
    seen = [event.type for event in second.poll()]
    assert theirs in seen and ours not in seen
    second.present("human")
    assert second._is_open()


def test_a_window_of_the_program_itself_keeps_its_events_and_its_picture(window):
    screen = pygame.display.set_mode((50, 50))
    canvas = Canvas((60, 60))
    canvas.present("human")
    pygame.event.clear()
    pygame.event.post(pygame.event.Event(pygame.KEYDOWN, key=pygame.K_b, window=None))
    canvas.present("human")
    assert [event.key for event in pygame.event.get(pygame.KEYDOWN)] == [pygame.K_b]
    canvas.close()
    assert pygame.display.get_surface() is screen


def test_another_environment_that_quits_pygame_does_not_end_our_pictures(window):
    pytest.importorskip("pettingzoo.classic")
    ours = mail_envs.make("coop_nav", api="parallel", render_mode="human")
    theirs = mail_envs.make("pettingzoo:classic/connect_four_v3", render_mode="rgb_array")
    ours.reset(seed=0)
    theirs.reset(seed=0)
    ours.render()
    theirs.render()
    theirs.close()  # calls pygame.quit()
    ours.step(dict.fromkeys(ours.agents, 2))
    ours.render()
    ours.close()


def pickled(thing):
    return pickle.loads(pickle.dumps(thing))


@pytest.mark.parametrize("twin", [copy.deepcopy, pickled])
@pytest.mark.parametrize(
    "id", ["stochastic_coop_nav", "mpe_simple_tag", "gold_miner_easy_2_vs_2", "smac_3m"]
)
def test_games_that_have_been_drawn_are_copied(id, twin):
    env = mail_envs.make(id, api="parallel", render_mode="rgb_array")
    env.reset(seed=3)
    first = env.render()
    other = twin(env)
    assert np.array_equal(other.render(), first)
    for _ in range(3):
        masks = env.vector.buffers.action_mask[0]
        actions = {a: int(np.flatnonzero(masks[i])[-1]) for i, a in enumerate(env.agents)}
        env.step(actions)
        played = env.render()
        assert not np.array_equal(played, first)
        assert np.array_equal(other.render(), first), "the copy stays where it is"
        other.step(actions)
        first = other.render()
        assert np.array_equal(first, played)


@pytest.mark.parametrize("twin", [copy.deepcopy, pickled])
def test_a_copy_opens_a_window_of_its_own(window, twin):
    canvas = Canvas((60, 60))
    before = picture_of(canvas)
    canvas.present("human", fps=1000)
    pygame.event.post(pygame.event.Event(pygame.KEYDOWN, key=pygame.K_a, window=canvas._window))
    canvas.poll()
    other = twin(canvas)
    assert other.events == [] and [e.key for e in canvas.events] == [pygame.K_a]
    assert np.array_equal(picture_of(other), before)
    other.present("human", fps=1000)
    assert other._window is not canvas._window and other._is_open()
    other.close()
    assert canvas._is_open() and not canvas.closed


def test_a_copy_shows_what_is_drawn_on_it_without_a_beginning():
    canvas = pickled(Canvas((60, 60)))
    canvas.circle((0, 0), 0.5, "red")
    assert close_to(canvas.present(), "red").any()


def test_no_screen_is_one_clear_error(monkeypatch):
    pygame.display.quit()
    monkeypatch.setenv("SDL_VIDEODRIVER", "no_such_driver")
    with pytest.raises(RenderingError, match="rgb_array"):
        Canvas((60, 60)).present("human")


def test_bad_input_is_named():
    canvas = Canvas((60, 60))
    with pytest.raises(ValueError, match="mauve"):
        canvas.circle((0, 0), 1, "mauve")
    with pytest.raises(ValueError, match="'ansi'"):
        canvas.present("ansi")
    with pytest.raises(ValueError, match="world_box"):
        canvas.begin((1, -1, 0, 1))
    with pytest.raises(ValueError, match="at least one frame"):
        write_gif("empty.gif", [])


def test_a_game_is_drawn_with_its_round_and_returns():
    vector = mail_envs.make_vec("coop_nav", 1, seed=0)
    canvas = Canvas((200, 200))
    draw_game(canvas, vector)
    before = canvas.present()
    vector.step(np.full((1, 3), 2))
    draw_game(canvas, vector)
    assert not np.array_equal(before, canvas.present())


def test_gif_and_png_hold_what_was_drawn(tmp_path):
    from PIL import Image

    vector = mail_envs.make_vec("coop_nav", 1, seed=0)
    frames = []
    for _ in range(6):
        frames.append(vector.render())
        vector.step(np.full((1, 3), 2))
    film = write_gif(tmp_path / "deep" / "x.gif", frames, fps=10)
    with Image.open(film) as image:
        assert image.n_frames == 6 and image.size == frames[0].shape[1::-1]
        assert image.info["duration"] == 100 and image.info["loop"] == 0
        shown = np.asarray(image.convert("RGB")).astype(int)
    assert np.abs(shown - frames[0]).mean() < 2
    assert film.stat().st_size < 20_000 * len(frames)
    write_png(tmp_path / "x.png", frames[0])
    with Image.open(tmp_path / "x.png") as image:
        assert np.array_equal(np.asarray(image), frames[0])
