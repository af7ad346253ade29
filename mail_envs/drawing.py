"""Drawing of shapes in world coordinates on a pygame surface, for `mail_envs.rendering.Canvas`.

Everything is drawn at twice the size and scaled down, so that edges are smooth. Lengths are in world
units unless the name says pixels.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pygame

Color = str | tuple[int, int, int]
Point = Sequence[float] | np.ndarray

COLORS: dict[str, tuple[int, int, int]] = {
    "blue": (47, 111, 214),
    "red": (214, 69, 65),
    "green": (46, 158, 91),
    "orange": (232, 137, 36),
    "purple": (132, 84, 190),
    "teal": (22, 150, 160),
    "gray": (140, 147, 156),
    "light": (222, 225, 229),
    "dark": (44, 52, 64),
    "black": (20, 24, 30),
    "white": (255, 255, 255),
    "gold": (245, 183, 30),
}
PAPER = (243, 244, 246)  # around the world box
FIELD = (255, 255, 255)  # inside the world box
GRID = (236, 238, 241)
SUPERSAMPLING = 2  # draw at this multiple of the size, then scale down
MIN_RADIUS_PIXELS = 2.5  # so that a dot remains visible when zoomed out


class RenderingError(RuntimeError):
    """Rendering is impossible: pygame is missing, or there is no display."""


class Drawing:
    """A surface with a world box; shapes are given in world coordinates (x right, y up)."""

    def __init__(self, size: tuple[int, int], top_pixels: int = 0) -> None:
        """Make a surface of `size` (width, height) pixels; the world starts `top_pixels` down."""
        self.size = (int(size[0]), int(size[1]))
        self._top = top_pixels
        self._fonts: dict[int, Any] = {}
        self.begin()

    @cached_property
    def _pygame(self) -> Any:
        return import_pygame()

    @cached_property
    def _surface(self) -> pygame.Surface:
        width, height = self.size
        surface = self._pygame.Surface((width * SUPERSAMPLING, height * SUPERSAMPLING), depth=32)
        surface.fill(PAPER)
        return surface

    def __getstate__(self) -> dict[str, Any]:
        """Everything except the frame and pygame's objects, which a copy makes when it is drawn on."""
        state = {k: v for k, v in vars(self).items() if k not in ("_pygame", "_surface")}
        return {**state, "_fonts": {}}

    def begin(
        self,
        world_box: tuple[float, float, float, float] = (-1.0, 1.0, -1.0, 1.0),
        keep_visible: Iterable[Point] | np.ndarray | None = None,
        margin: float = 0.12,
    ) -> None:
        """Start a frame that shows `world_box` (xmin, xmax, ymin, ymax) and all of `keep_visible`.

        The zoom depends only on the positions: it follows entities that leave the box without jumps,
        and equal states give equal images.
        """
        xmin, xmax, ymin, ymax = (float(bound) for bound in world_box)
        if not (xmax > xmin and ymax > ymin):
            raise ValueError(f"world_box must be (xmin, xmax, ymin, ymax), got {world_box}.")
        self._center = np.array([(xmin + xmax) / 2, (ymin + ymax) / 2])
        half = np.array([xmax - xmin, ymax - ymin]) / 2 * (1 + margin)
        if keep_visible is not None:
            points = np.asarray(
                keep_visible if isinstance(keep_visible, np.ndarray) else list(keep_visible), float
            ).reshape(-1, 2)
            points = points[np.isfinite(points).all(axis=1)]
            if len(points):
                reach = np.abs(points - self._center).max(axis=0) + margin * half
                half = half * max(1.0, float((reach / half).max()))
        width, height = self.size[0], self.size[1] - self._top
        self._scale = float(min(width / (2 * half[0]), height / (2 * half[1]))) * SUPERSAMPLING
        self._origin = np.array([width / 2, self._top + height / 2]) * SUPERSAMPLING
        self._surface.fill(PAPER)
        self._draw_field(xmin, xmax, ymin, ymax)

    def picture(self, pixels: np.ndarray) -> None:
        """Fill the frame with an image uint8 (H, W, 3), as large as fits."""
        self._surface.fill(PAPER)
        room = np.array([self.size[0], self.size[1] - self._top]) * SUPERSAMPLING
        size = np.array([pixels.shape[1], pixels.shape[0]])
        size = (size * (room / size).min()).astype(int)
        image = self._pygame.surfarray.make_surface(np.asarray(pixels).swapaxes(0, 1))
        corner = (room - size) // 2 + (0, self._top * SUPERSAMPLING)
        self._surface.blit(self._pygame.transform.smoothscale(image, size), corner)

    def pixels(self) -> np.ndarray:
        """The frame as uint8 (H, W, 3)."""
        picture = self._pygame.transform.smoothscale(self._surface, self.size)
        array = self._pygame.surfarray.array3d(picture)  # (W, H, 3)
        return np.ascontiguousarray(array.transpose(1, 0, 2))

    # -- shapes -----------------------------------------------------------------------------

    def circle(
        self,
        xy: Point,
        radius: float,
        color: Color = "blue",
        alpha: float = 1.0,
        outline: Color | None = None,
    ) -> None:
        """Draw a filled disc, with a thin rim of another color if `outline` is given."""
        pixels = max(radius * self._scale, MIN_RADIUS_PIXELS * SUPERSAMPLING)

        def paint(surface: pygame.Surface, offset: np.ndarray) -> None:
            center = self._pixels(xy) - offset
            self._pygame.draw.circle(surface, rgb(color), center, pixels)
            if outline is not None:
                rim = max(2, round(0.08 * pixels))
                self._pygame.draw.circle(surface, rgb(outline), center, pixels, rim)

        self._paint(paint, self._around(xy, pixels), alpha)

    def ring(
        self,
        xy: Point,
        radius: float,
        color: Color = "gold",
        width_pixels: float = 3.0,
        alpha: float = 1.0,
    ) -> None:
        """Draw a circle line whose outer edge has `radius`."""
        width = max(1, round(width_pixels * SUPERSAMPLING))
        pixels = max(radius * self._scale, MIN_RADIUS_PIXELS * SUPERSAMPLING + width)

        def paint(surface: pygame.Surface, offset: np.ndarray) -> None:
            center = self._pixels(xy) - offset
            self._pygame.draw.circle(surface, rgb(color), center, pixels, width)

        self._paint(paint, self._around(xy, pixels), alpha)

    def line(
        self,
        start: Point,
        end: Point,
        color: Color = "gray",
        width_pixels: float = 2.0,
        alpha: float = 1.0,
    ) -> None:
        """Draw a straight line with round ends."""
        a, b = self._pixels(start), self._pixels(end)
        width = max(1, round(width_pixels * SUPERSAMPLING))

        def paint(surface: pygame.Surface, offset: np.ndarray) -> None:
            self._pygame.draw.line(surface, rgb(color), a - offset, b - offset, width)
            for tip in (a, b) if width > 2 else ():
                self._pygame.draw.circle(surface, rgb(color), tip - offset, width / 2)

        self._paint(paint, self._bounds(np.stack([a, b]), width), alpha)

    def arrow(
        self,
        start: Point,
        end: Point,
        color: Color = "dark",
        width_pixels: float = 2.0,
        alpha: float = 1.0,
    ) -> None:
        """Draw a line with a head at `end`; draws nothing if the two points coincide."""
        a, b = self._pixels(start), self._pixels(end)
        length = float(np.hypot(*(b - a)))
        head = min(4.5 * width_pixels * SUPERSAMPLING, length)
        if length < 1.0:
            return
        along = (b - a) / length
        across = np.array([-along[1], along[0]])
        neck = b - along * head
        width = max(1, round(width_pixels * SUPERSAMPLING))
        tip = np.stack([b, neck + across * head * 0.5, neck - across * head * 0.5])

        def paint(surface: pygame.Surface, offset: np.ndarray) -> None:
            self._pygame.draw.line(surface, rgb(color), a - offset, neck - offset, width)
            self._pygame.draw.polygon(surface, rgb(color), tip - offset)

        self._paint(paint, self._bounds(np.vstack([tip, a]), width), alpha)

    def rect(
        self,
        box: tuple[float, float, float, float],
        color: Color = "gray",
        alpha: float = 1.0,
        outline: Color | None = None,
        corner_pixels: float = 0.0,
    ) -> None:
        """Draw the filled rectangle `box` = (xmin, xmax, ymin, ymax)."""
        rectangle = self._rectangle(*box)
        corner = round(corner_pixels * SUPERSAMPLING)

        def paint(surface: pygame.Surface, offset: np.ndarray) -> None:
            moved = rectangle.move(-int(offset[0]), -int(offset[1]))
            self._pygame.draw.rect(surface, rgb(color), moved, border_radius=corner)
            if outline is not None:
                self._pygame.draw.rect(
                    surface, rgb(outline), moved, SUPERSAMPLING, border_radius=corner
                )

        self._paint(paint, rectangle, alpha)

    def polygon(self, points: Iterable[Point], color: Color = "gray", alpha: float = 1.0) -> None:
        """Draw a filled polygon through `points`."""
        corners = np.stack([self._pixels(xy) for xy in points])

        def paint(surface: pygame.Surface, offset: np.ndarray) -> None:
            self._pygame.draw.polygon(surface, rgb(color), corners - offset)

        self._paint(paint, self._bounds(corners, 1), alpha)

    def bar(
        self,
        xy: Point,
        width: float,
        height: float,
        fraction: float,
        color: Color = "green",
        background: Color = "light",
    ) -> None:
        """Draw a bar (health, charge) centered at `xy`, filled from the left to `fraction`."""
        x, y = float(xy[0]), float(xy[1])
        left, low, high = x - width / 2, y - height / 2, y + height / 2
        self.rect((left, left + width, low, high), background)
        filled = min(max(float(fraction), 0.0), 1.0) * width
        if filled > 0:
            self.rect((left, left + filled, low, high), color)

    def text(
        self,
        xy: Point,
        string: str,
        size_pixels: int = 15,
        color: Color = "dark",
        anchor: str = "center",
    ) -> None:
        """Write one line; `anchor` (center, midleft, midright, …) says which point of it is at `xy`."""
        self._write(self._pixels(xy), string, size_pixels, color, anchor)

    def _draw_field(self, xmin: float, xmax: float, ymin: float, ymax: float) -> None:
        """Draw the world box with a light grid of 10 by 10 cells."""
        field = self._rectangle(xmin, xmax, ymin, ymax)
        self._pygame.draw.rect(self._surface, FIELD, field)
        for k in range(1, 10):
            x, y = xmin + k * (xmax - xmin) / 10, ymin + k * (ymax - ymin) / 10
            for start, end in (((x, ymin), (x, ymax)), ((xmin, y), (xmax, y))):
                self._pygame.draw.line(
                    self._surface, GRID, self._pixels(start), self._pixels(end), SUPERSAMPLING // 2
                )
        self._pygame.draw.rect(self._surface, COLORS["light"], field, SUPERSAMPLING)

    # -- from the world to pixels -------------------------------------------------------------

    def _pixels(self, xy: Point) -> np.ndarray:
        """Pixel position on the drawing surface, clipped to the range of pygame's integers."""
        offset = (np.asarray(xy, dtype=float)[:2] - self._center) * self._scale
        return np.clip(np.nan_to_num(self._origin + offset * (1.0, -1.0)), -30_000, 30_000)

    def _rectangle(self, xmin: float, xmax: float, ymin: float, ymax: float) -> pygame.Rect:
        left, top = self._pixels((xmin, ymax))
        right, bottom = self._pixels((xmax, ymin))
        return self._pygame.Rect(
            round(left), round(top), max(1, round(right - left)), max(1, round(bottom - top))
        )

    def _around(self, xy: Point, pixels: float) -> pygame.Rect:
        return self._bounds(self._pixels(xy)[None], pixels)

    def _bounds(self, points: np.ndarray, pad: float) -> pygame.Rect:
        low, high = points.min(axis=0) - pad - 2, points.max(axis=0) + pad + 2
        return self._pygame.Rect(*low.astype(int), *np.ceil(high - low).astype(int))

    def _paint(
        self,
        paint: Callable[[pygame.Surface, np.ndarray], None],
        area: pygame.Rect,
        alpha: float,
    ) -> None:
        """Run `paint` on the surface, or through a transparent layer when alpha < 1."""
        if alpha >= 1.0:
            paint(self._surface, np.zeros(2))
            return
        area = area.clip(self._surface.get_rect())
        if alpha <= 0.0 or area.width == 0 or area.height == 0:
            return
        layer = self._pygame.Surface(area.size, self._pygame.SRCALPHA, 32)
        paint(layer, np.array(area.topleft, dtype=float))
        layer.set_alpha(round(255 * alpha))
        self._surface.blit(layer, area.topleft)

    def _write(
        self, pixels: np.ndarray, string: str, size: int, color: Color, anchor: str
    ) -> pygame.Rect:
        """Write one line at a pixel position of the surface; returns its rectangle."""
        try:
            image = self._font(size).render(string, True, rgb(color))
        except self._pygame.error:  # other code called pygame.quit(), which invalidates all fonts
            self._fonts.clear()
            image = self._font(size).render(string, True, rgb(color))
        place = image.get_rect()
        setattr(place, anchor, (round(pixels[0]), round(pixels[1])))
        self._surface.blit(image, place)
        return place

    def _font(self, size: int) -> Any:
        if size not in self._fonts:
            self._pygame.font.init()
            self._fonts[size] = self._pygame.font.Font(None, round(size * 1.3 * SUPERSAMPLING))
        return self._fonts[size]


def import_pygame() -> Any:
    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
    try:
        import pygame
    except ImportError as error:
        raise RenderingError(
            "Rendering needs pygame: pip install 'mail-envs[render]' (pygame-ce)."
        ) from error
    return pygame


def rgb(color: Color) -> tuple[int, int, int]:
    if isinstance(color, str):
        if color not in COLORS:
            raise ValueError(f"unknown color {color!r}; use one of {sorted(COLORS)} or (r, g, b).")
        return COLORS[color]
    return color


def mix(
    color: tuple[int, int, int], other: tuple[int, int, int], share: float
) -> tuple[int, int, int]:
    """Move `color` toward `other` by `share` in [0, 1]."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(color, other, strict=True))
    return red, green, blue
