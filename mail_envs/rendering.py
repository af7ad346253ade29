"""A canvas that games draw on: one drawing function for the window and for image arrays.

A game implements `draw(canvas, state, participation)` for the record of one environment, in world
coordinates (x to the right, y up), and need not know whether it draws to a window or an array:

    def draw(self, canvas, state, participation):
        canvas.begin((-1.0, 1.0, -1.0, 1.0), keep_visible=state["positions"])
        for xy in state["landmarks"]:
            canvas.circle(xy, 0.05, "gray")
        for i, xy in enumerate(state["positions"]):
            canvas.agent(i, xy, 0.05, "blue", label=str(i))

The view that owns the game passes the canvas what the game does not know (`annotate`: round, who
participates, returns), calls `draw` and then `present`:

    canvas = Canvas(title="stochastic_coop_nav")
    canvas.annotate(round=3, max_rounds=50, agents=names, participation=[1, 0, 1])
    game.draw(canvas, state, participation)     # both at once: draw_game(canvas, vector, env)
    frame = canvas.present("rgb_array")         # uint8 (H, W, 3); "human" shows it, returns None

`agent` marks participating agents with a halo and full color and dims the others. Positions outside
the world box stay visible: the canvas zooms out until all of `keep_visible` is in the frame.

pygame is imported when the first canvas draws, so `import mail_envs` does not need it. Arrays need no
display. The shapes are those of `mail_envs.drawing.Drawing`.

pygame's state is global to the process. Every canvas has its own window, closes no other, leaves the events
of other windows alone, and recovers when other code calls `pygame.quit()`.
"""

from __future__ import annotations

import itertools
import os
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mail_envs.drawing import (
    COLORS,
    PAPER,
    SUPERSAMPLING,
    Color,
    Drawing,
    Point,
    RenderingError,
    import_pygame,
    mix,
    rgb,
)

if TYPE_CHECKING:
    import pygame

HUD_PIXELS = 44  # height of the status line above the world
BODY_ALPHA = 0.86  # agents are slightly transparent
DIMMED = 0.62  # how far colors of agents that do not participate fade into the background

_CANVASES: weakref.WeakSet[Canvas] = weakref.WeakSet()  # those that have had a window
_NUMBERS = itertools.count()  # of windows
# Windows that somebody's `pygame.quit` or `pygame.display.quit` destroyed. Their objects still hold the old address,
# where SDL may have put a later window, and collecting them would destroy that one: they are never collected.
_LOST: list[pygame.Window] = []


def _mark(size: tuple[int, int]) -> tuple[int, int]:
    """A minimum size that no other window has: nobody sees it, as our windows cannot be resized."""
    number, (width, height) = next(_NUMBERS), size
    return 1 + number % width, 1 + number // width % height


def _is_ours(window: pygame.Window, mark: tuple[int, int]) -> bool:
    """Whether a window object still stands for the window that was marked, and for no later one at its address."""
    try:
        return window.id is not None and window.minimum_size == mark
    except import_pygame().error:
        return False


def _let_go(window: pygame.Window, mark: tuple[int, int]) -> None:
    """Destroy a window, or what is left of it."""
    if _is_ours(window, mark):
        window.destroy()
    else:
        _LOST.append(window)


class Canvas(Drawing):
    """The canvas that games draw on; the module's docstring shows how games and views use it."""

    def __init__(self, size: tuple[int, int] = (700, 700), title: str = "mail_envs") -> None:
        """Make a canvas of `size` (width, height) pixels; a window opens when the first frame is shown."""
        super().__init__(size, top_pixels=HUD_PIXELS)
        self.title = title
        self.closed = False  # the user has closed the window
        self.events: list[Any] = []  # pygame events since the last poll, for `play`
        self.focus: int | None = None  # the agent that the user controls, which is marked
        self.message = ""  # one line at the lower edge
        self._window: pygame.Window | None = None
        self._mark = (0, 0)  # tells the window from others
        self._release: Any = (
            None  # lets go of the window; called at the latest when the canvas goes
        )
        self._clock: Any = None
        self._inbox: list[Any] = []  # events that another canvas fetched
        self._notes: dict[str, Any] = {}

    def __getstate__(self) -> dict[str, Any]:
        """A copy opens its own window; pending events stay with the original."""
        fresh = {"_window": None, "_release": None, "_clock": None, "events": [], "_inbox": []}
        return {**super().__getstate__(), **fresh}

    # -- the frame --------------------------------------------------------------------------

    def annotate(
        self,
        *,
        round: int | None = None,
        max_rounds: int | None = None,
        agents: Sequence[str] = (),
        participation: Sequence[int] | np.ndarray | None = None,
        alive: Sequence[bool] | np.ndarray | None = None,
        returns: Sequence[float] | np.ndarray | None = None,
    ) -> None:
        """Set what the status line shows and which agents `agent` marks; kept until the next call.

        Args:
            round: number of rounds played.
            max_rounds: the time limit.
            agents: N names.
            participation: (N,), 0 for agents that do not act in the next round.
            alive: (N,), dead agents are drawn as small dots.
            returns: (N,), undiscounted sums of rewards so far.
        """
        self._notes = {
            "round": round,
            "max_rounds": max_rounds,
            "agents": list(agents),
            "participation": None if participation is None else np.asarray(participation),
            "alive": None if alive is None else np.asarray(alive),
            "returns": None if returns is None else np.asarray(returns),
        }

    def present(self, mode: str = "rgb_array", fps: float = 0.0) -> np.ndarray | None:
        """Finish the frame: return it as uint8 (H, W, 3), or show it in the window (None).

        The window shows at most `fps` frames per second (0: no limit). After the user has closed the
        window, `closed` is True and further frames are not shown.
        """
        if mode not in ("rgb_array", "human"):
            raise ValueError(f"render mode must be 'rgb_array' or 'human', got {mode!r}.")
        if mode == "human" and self.closed:
            return None
        self._draw_hud()
        if self.message:
            self._draw_message()
        if mode == "rgb_array":
            return self.pixels()
        picture = self._pygame.transform.smoothscale(self._surface, self.size)
        window = self._open_window()
        window.get_surface().blit(picture, (0, 0))
        self.poll()
        if not self.closed:
            window.flip()
            if fps > 0:
                self._clock.tick(fps)
        return None

    def poll(self) -> list[Any]:
        """Fetch the window's events (also kept in `events`); closing the window sets `closed`."""
        if not self._is_open():
            self.events = []
            return self.events
        self._fetch_events()
        self.events, self._inbox = self._inbox, []
        ends = (self._pygame.QUIT, self._pygame.WINDOWCLOSE)
        if any(event.type in ends for event in self.events):
            self.close()
        return self.events

    def _fetch_events(self) -> None:
        """Distribute pygame's event queue, which all windows of the process share, to the canvases."""
        pygame, others = self._pygame, []
        for event in pygame.event.get():
            if not hasattr(event, "window"):  # an event of the whole process, such as QUIT
                owners = list(_CANVASES)
            else:
                owners = [c for c in _CANVASES if c._window and c._window is event.window]
                others += [] if owners else [event]
            for canvas in owners:
                canvas._inbox.append(event)
        if pygame.display.get_surface() is not None:  # the program's main window: return its events
            for event in others:
                pygame.event.post(event)

    def _is_open(self) -> bool:
        """Whether the window exists; `pygame.quit` and `pygame.display.quit` destroy all windows."""
        if self._window is None:
            return False
        if not _is_ours(self._window, self._mark):
            self._release()
            self._window = None
        return self._window is not None

    def close(self) -> None:
        """Close the window if there is one; the canvas can still return arrays."""
        if self._is_open():
            self._release()
        self._window = None
        _CANVASES.discard(self)
        self.closed = True

    # -- agents -----------------------------------------------------------------------------

    def participates(self, agent: int) -> bool:
        """Whether agent number `agent` acts in the next round (True if `annotate` was not told)."""
        participation = self._notes.get("participation")
        return participation is None or bool(participation[agent] > 0)

    def agent(
        self,
        agent: int,
        xy: Point,
        radius: float,
        color: Color = "blue",
        label: str | None = None,
    ) -> None:
        """Draw agent number `agent`: halo and full color when it participates, dimmed when not."""
        alive = self._notes.get("alive")
        if alive is not None and not alive[agent]:
            self.circle(xy, 0.3 * radius, "gray", alpha=0.6)
            return
        acts = self.participates(agent)
        shown = rgb(color) if acts else mix(rgb(color), PAPER, DIMMED)
        if acts:
            self.circle(xy, radius + 11 * SUPERSAMPLING / self._scale, "gold", alpha=0.28)
            self.ring(xy, radius + 6 * SUPERSAMPLING / self._scale, "gold", width_pixels=3)
        outline = mix(shown, (0, 0, 0), 0.25 if acts else 0.1)
        self.circle(xy, radius, shown, BODY_ALPHA, outline)
        if label:
            size = int(min(max(radius * self._scale / SUPERSAMPLING, 11), 22))
            self.text(xy, label, size, "white" if acts else mix(COLORS["dark"], PAPER, 0.4))
        if self.focus == agent:
            self._draw_focus(xy, radius)

    def _draw_focus(self, xy: Point, radius: float) -> None:
        """Mark the agent that the user controls with an arrow above it."""
        pixel = SUPERSAMPLING / self._scale
        tip = np.asarray(xy, float)[:2] + (0.0, radius + 15 * pixel)
        corners = [tip, tip + (-9 * pixel, 14 * pixel), tip + (9 * pixel, 14 * pixel)]
        self.polygon(corners, "dark")

    # -- the status line above and the message below ---------------------------------------------------

    def _draw_hud(self) -> None:
        notes, middle = self._notes, HUD_PIXELS / 2
        width = self.size[0]
        strip = self._pygame.Rect(0, 0, width * SUPERSAMPLING, HUD_PIXELS * SUPERSAMPLING)
        self._pygame.draw.rect(self._surface, COLORS["white"], strip)
        self._pygame.draw.line(
            self._surface, COLORS["light"], strip.bottomleft, strip.bottomright, SUPERSAMPLING
        )
        line, size = "", 17 if width >= 450 else 13
        if notes.get("round") is not None:
            limit = f" / {notes['max_rounds']}" if notes.get("max_rounds") is not None else ""
            line = f"round {notes['round']}{limit}"
        left = self._write_screen((16, middle), line, size, "dark", "midleft")
        returns = self._returns_line()
        room = width - 48 - left.right / SUPERSAMPLING  # letters are about half as wide as high
        size = min(size, max(int(2 * room / max(len(returns), 1)), 8))
        right = self._write_screen((width - 16, middle), returns, size, "dark", "midright")
        self._draw_markers(left.right / SUPERSAMPLING, right.left / SUPERSAMPLING, middle)

    def _draw_markers(self, left: float, right: float, y: float) -> None:
        """Draw a disc per agent between two pixel columns, gold for participating agents."""
        participation = self._notes.get("participation")
        count = 0 if participation is None else len(participation)
        step = min(26.0, (right - left - 20) / max(count, 1))
        if step < 9:
            return
        margin = 10 + count * step / 2
        center = min(max(self.size[0] / 2, left + margin), right - margin)
        for i in range(count):
            spot = np.array([center + (i - (count - 1) / 2) * step, y])
            acts, radius = self.participates(i), 0.42 * step * SUPERSAMPLING
            color = COLORS["gold" if acts else "light"]
            pixels = spot * SUPERSAMPLING
            self._pygame.draw.circle(self._surface, color, pixels, radius)
            if i == self.focus:
                self._pygame.draw.circle(
                    self._surface, COLORS["dark"], pixels, radius + 4, 2 * SUPERSAMPLING
                )
            if step > 14:
                shade: Color = "dark" if acts else "gray"
                self._write_screen(spot, str(i), max(int(0.55 * step), 9), shade, "center")

    def _returns_line(self) -> str:
        """The mean return, or the mean of each role if there are several."""
        returns, agents = self._notes.get("returns"), self._notes.get("agents")
        if returns is None or not len(returns):
            return ""
        roles = [name.rpartition("_")[0] for name in agents or ()]
        if len(set(roles)) < 2:
            return f"return {float(np.mean(returns)):.1f}"
        means = {
            r: np.mean([x for x, role in zip(returns, roles, strict=True) if role == r])
            for r in dict.fromkeys(roles)
        }
        return "   ".join(f"{role} {float(mean):.1f}" for role, mean in means.items())

    def _draw_message(self) -> None:
        position = self.size[0] / 2, self.size[1] - 18
        self._write_screen(position, self.message, 16, "dark", "center")

    def _write_screen(
        self, xy: Point, string: str, size: int, color: Color, anchor: str
    ) -> pygame.Rect:
        return self._write(np.asarray(xy, dtype=float) * SUPERSAMPLING, string, size, color, anchor)

    def _open_window(self) -> pygame.Window:
        if self._is_open() and self._window is not None:
            return self._window
        try:
            self._pygame.display.init()
            driver = self._pygame.display.get_driver()
            if driver in ("offscreen", "dummy") and "SDL_VIDEODRIVER" not in os.environ:
                raise self._pygame.error("there is no display")
            window = self._pygame.Window(self.title, self.size)
            window.get_surface()
            window.minimum_size = self._mark = _mark(self.size)
        except self._pygame.error as error:
            raise RenderingError(
                f"No window can be opened ({error}). Without a display use "
                "render_mode='rgb_array' or `python -m mail_envs render ID --out x.gif`."
            ) from error
        self._clock = self._pygame.time.Clock()
        self._window = window
        self._release = weakref.finalize(self, _let_go, window, self._mark)
        self._release.atexit = False  # pygame is gone by then, and its windows with it
        _CANVASES.add(self)
        return window


def draw_game(canvas: Canvas, vector: Any, env: int = 0) -> None:
    """Draw environment `env` of a `VectorGame`, with its round, participation and returns."""
    buffers, get = vector.buffers, vector._device.get
    participation, clock = get(buffers.participation)[env], get(buffers.clock)[env]
    canvas.annotate(
        round=int(clock["rounds"]),
        max_rounds=vector.max_rounds,
        agents=vector.agents,
        participation=participation,
        alive=get(buffers.alive)[env],
        returns=clock["returns"],
    )
    game = vector.game
    # None: it is not a simulator that renders itself.
    picture = None if game.draws_state else vector.launches.picture(env)
    if picture is not None:
        canvas.picture(picture)
    else:
        record = buffers.state if game.draws_state else buffers.world
        game.draw(canvas, get(record)[env], participation)


def write_gif(path: str | Path, frames: Sequence[np.ndarray], fps: float = 10.0) -> Path:
    """Write frames uint8 (H, W, 3) as a looping GIF with one palette of 64 colors.

    A shared palette without dithering keeps flat drawings small (5 to 10 kB a frame).
    """
    from PIL import Image

    if not len(frames):
        raise ValueError(f"{path}: a GIF needs at least one frame.")
    sample = np.concatenate([frames[k] for k in np.linspace(0, len(frames) - 1, 5).astype(int)])
    palette = Image.fromarray(sample).quantize(64, dither=Image.Dither.NONE)
    images = [
        Image.fromarray(frame).quantize(palette=palette, dither=Image.Dither.NONE)
        for frame in frames
    ]
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    images[0].save(
        path,
        format="GIF",
        save_all=True,
        append_images=images[1:],
        duration=round(1000 / fps),
        loop=0,
        optimize=False,
    )
    return path


def write_png(path: str | Path, frame: np.ndarray) -> Path:
    """Write one frame uint8 (H, W, 3) as PNG."""
    from PIL import Image

    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(frame).save(path, format="PNG")
    return path
