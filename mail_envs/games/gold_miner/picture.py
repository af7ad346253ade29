"""Rendering: the score, the map, terrain costs, and a card for every player."""

from __future__ import annotations

from typing import Any

import numpy as np

from mail_envs.drawing import mix
from mail_envs.games.gold_miner import bots
from mail_envs.games.gold_miner.rules import (
    CELLS,
    DIG,
    DOWN,
    FOREST,
    FULL,
    HEIGHT,
    LAND,
    LEFT,
    LEFT_MAP,
    REST,
    RIGHT,
    SWAMP,
    TRAP,
    UP,
    WIDTH,
    swamp_price,
)

RGB = tuple[int, int, int]
BOX = (0.0, float(WIDTH), -9.3, 12.3)  # the map is in y from 0 to 9; prices and cards are below it
MARGIN = 0.03
PIXELS = 700  # the size of canvas for which text sizes are given

PAPER, FRAME, INK, FAINT = (243, 244, 246), (66, 56, 46), (44, 52, 64), (120, 127, 136)
CARD, WHITE, BLACK = (255, 255, 255), (255, 255, 255), (20, 24, 30)
SAND, SAND_DARK = (231, 218, 188), (226, 212, 180)
GRASS, LEAF, LEAF_DARK, TRUNK = (168, 195, 137), (70, 128, 76), (52, 104, 62), (110, 78, 52)
PIT, SPIKE = (187, 166, 146), (104, 74, 62)
WATER, DEEP, WAVE = (134, 176, 182), (38, 74, 92), (222, 238, 240)
ROCK, NUGGET, SHINE, GOLD_INK = (110, 92, 74), (245, 183, 30), (255, 224, 130), (92, 60, 6)
TEAMS: tuple[tuple[RGB, ...], tuple[RGB, ...]] = (
    ((47, 111, 214), (22, 150, 160), (132, 84, 190), (46, 120, 100)),
    ((206, 62, 58), (218, 120, 28), (170, 54, 110), (140, 70, 40)),
)
BOT_NAMES = {"greedy": "Greedy", "deepmind": "DeepMind", "black_panther": "BlackPanther"}
DID = {
    LEFT: "walks left",
    RIGHT: "walks right",
    UP: "walks up",
    DOWN: "walks down",
    REST: "rests",
    DIG: "digs",
}


def draw(canvas: Any, state: Any, game: Any) -> None:
    """Draw the record `state` of one environment of `game`."""
    canvas.begin(BOX, margin=MARGIN)
    canvas.rect((BOX[0] - 1, BOX[1] + 1, BOX[2] - 1, BOX[3] + 1), PAPER)
    size = min(canvas.size) / PIXELS
    draw_score(canvas, state, game, size)
    canvas.rect((-0.15, WIDTH + 0.15, -0.15, HEIGHT + 0.15), FRAME, corner_pixels=6 * size)
    for cell in range(CELLS):
        draw_cell(canvas, cell, int(state["terrain"][cell]), int(state["gold"][cell]), size)
    draw_players(canvas, state, game, size)
    draw_prices(canvas, size)
    for i in range(game.num_players):
        draw_card(canvas, state, game, i, size)


def color_of(i: int, game: Any) -> RGB:
    """A player's color: blue shades for allies, red ones for enemies."""
    enemy = i >= game.num_allies
    return TEAMS[enemy][i - game.num_allies * enemy]


def name_of(i: int, state: Any, game: Any) -> str:
    """The name of an ally, or of the bot of an enemy."""
    if i < game.num_allies:
        return game.agents[i]
    return BOT_NAMES[bots.NAMES[int(state["bot"][i])]]


def text(canvas: Any, xy, string: str, size: float, color: RGB = INK, anchor: str = "center"):
    canvas.text(xy, string, max(int(size), 5), color, anchor)


# -- score ------------------------------------------------------------------------------------------


def draw_score(canvas: Any, state: Any, game: Any, size: float) -> None:
    """Draw the mean gold of both sides, and a bar with their shares."""
    score, n = state["score"].astype(float), game.num_allies
    sides = [score[:n].mean(), score[n:].mean() if game.num_players > n else 0.0]
    ahead = sides[0] > sides[1]
    for side, (x, anchor, title) in enumerate(((0, "midleft", "ALLIES"), (21, "midright", "BOTS"))):
        shift = -1 if side else 1
        color = TEAMS[side][0]
        text(canvas, (x, 11.7), title, 13 * size, FAINT, anchor)
        text(canvas, (x, 10.75), f"{sides[side]:,.0f}", 25 * size, color, anchor)
        if (ahead if side == 0 else sides[1] > sides[0]) and sum(sides) > 0:
            text(canvas, (x + shift * 2.4, 11.72), "in the lead", 12 * size, color, anchor)
    left, right, low, high = 4.2, 16.8, 10.5, 11.05
    share = 0.5 if sum(sides) == 0 else sides[0] / sum(sides)
    middle = left + (right - left) * share
    canvas.rect((left, right, low, high), TEAMS[1][0], corner_pixels=8 * size)
    if share > 0:
        canvas.rect((left, middle, low, high), TEAMS[0][0], corner_pixels=8 * size)
        canvas.rect((max(left, middle - 0.4), middle, low, high), TEAMS[0][0])
    half = (left + right) / 2
    canvas.line((half, low - 0.12), (half, high + 0.12), WHITE, 2 * size)
    under = f"gold left {int(state['gold'].astype(int).sum()):,} in {int(state['num_mines'])} mines"
    text(canvas, (half, 11.7), under, 13 * size, FAINT)


# -- the map ----------------------------------------------------------------------------------------


def corner(cell: int) -> tuple[int, int]:
    """Lower left corner of a cell; the canvas counts y upward, the game downward."""
    return cell // HEIGHT, HEIGHT - 1 - cell % HEIGHT


def draw_cell(canvas: Any, cell: int, terrain: int, gold: int, size: float) -> None:
    x, y = corner(cell)
    box = (x, x + 1, y, y + 1)
    if gold > 0:
        canvas.rect(box, ROCK)
        draw_gold(canvas, x + 0.5, y + 0.5, gold, size)
    elif terrain == LAND:
        canvas.rect(box, SAND if (x + y) % 2 else SAND_DARK)
    elif terrain == FOREST:
        canvas.rect(box, GRASS)
        draw_tree(canvas, x + 0.36, y + 0.2, 0.46, LEAF)
        draw_tree(canvas, x + 0.68, y + 0.12, 0.36, LEAF_DARK)
    elif terrain == TRAP:
        canvas.rect(box, PIT)
        draw_spikes(canvas, x, y)
    else:
        draw_swamp(canvas, x, y, swamp_price(terrain), size)


def draw_gold(canvas: Any, x: float, y: float, gold: int, size: float) -> None:
    """Draw a heap that grows with the amount, and the amount."""
    radius = 0.3 + 0.17 * min(gold / 1000, 1.0) ** 0.5
    canvas.circle((x, y), radius, NUGGET)
    canvas.circle((x - 0.3 * radius, y + 0.42 * radius), 0.3 * radius, SHINE)
    text(canvas, (x, y - 0.02), str(gold), (11 if gold < 1000 else 9) * size, GOLD_INK)


def draw_tree(canvas: Any, x: float, y: float, height: float, color: RGB) -> None:
    canvas.rect((x - 0.04, x + 0.04, y, y + 0.15), TRUNK)
    for low, wide in ((0.12, 0.42), (0.4, 0.32)):
        base = y + 0.08 + low * height
        tip = base + 0.62 * height
        canvas.polygon(
            [(x - wide * height * 0.9, base), (x + wide * height * 0.9, base), (x, tip)], color
        )


def draw_spikes(canvas: Any, x: float, y: float) -> None:
    for row, offsets in ((0.52, (0.3, 0.7)), (0.16, (0.16, 0.5, 0.84))):
        for dx in offsets:
            low = y + row
            tip = (x + dx, low + 0.3)
            canvas.polygon([(x + dx - 0.11, low), (x + dx + 0.11, low), tip], SPIKE)


def draw_swamp(canvas: Any, x: float, y: float, price: int, size: float) -> None:
    """Draw water, darker for higher costs; waves while it is shallow, later its cost."""
    depth = {5: 0.0, 20: 0.4, 40: 0.7, 100: 1.0}[price]
    canvas.rect((x, x + 1, y, y + 1), mix(WATER, DEEP, depth))
    if price > 5:
        text(canvas, (x + 0.5, y + 0.5), str(price), 11 * size, WAVE)
        return
    for low, start in ((0.3, 0.14), (0.62, 0.3)):
        for k in range(2):
            left = x + start + 0.3 * k
            crest = (left + 0.14, y + low + 0.09)
            canvas.line((left, y + low), crest, WAVE, 1.3 * size)
            canvas.line(crest, (left + 0.28, y + low), WAVE, 1.3 * size)


# -- players ----------------------------------------------------------------------------------------


def draw_players(canvas: Any, state: Any, game: Any, size: float) -> None:
    """Draw all players; those in the same cell are drawn side by side."""
    places = list(zip(state["x"].tolist(), state["y"].tolist(), strict=True))
    for i in reversed(range(game.num_players)):
        together = [j for j, place in enumerate(places) if place == places[i]]
        k, count = together.index(i), len(together)
        x, y = places[i][0] + 0.5, HEIGHT - 0.5 - places[i][1]
        if count > 1:
            x += 0.3 * (1 if k % 2 else -1)
        if count > 2:
            y += 0.36 * (-1 if k // 2 else 1)
        draw_miner(canvas, state, game, i, (x, y), 0.34 if count == 1 else 0.26, size)
        if count == 1:
            draw_plate(canvas, state, i, (x, y + 0.64), size)


def draw_miner(canvas, state, game, i: int, xy, radius: float, size: float) -> None:
    """Draw a disc with the player's number, and its energy below."""
    x, y = xy
    color = color_of(i, game)
    if state["status"][i] != 0:
        for dx in (-0.25, 0.25):
            canvas.line((x - dx, y - 0.25), (x + dx, y + 0.25), BLACK, 4 * size)
        return
    canvas.circle((x, y), radius + 0.07, WHITE)
    if i < game.num_allies:
        canvas.agent(i, (x, y), radius, color)
    canvas.circle((x, y), radius, color)
    text(canvas, (x, y), str(i), (13 if radius > 0.3 else 10) * size, WHITE)
    energy = state["energy"][i] / FULL
    low = y - radius - 0.12
    canvas.rect((x - radius - 0.04, x + radius + 0.04, low - 0.11, low + 0.11), BLACK)
    canvas.bar((x, low), 2 * radius, 0.14, energy, energy_color(energy), (90, 90, 90))


def draw_plate(canvas, state, i: int, xy, size: float) -> None:
    """Draw the gold that a player just got, or that it rests."""
    if state["gain"][i] > 0:
        label(canvas, xy, f"+{state['gain'][i]}", size, NUGGET, GOLD_INK)
    elif state["action"][i] == REST and state["status"][i] == 0:
        label(canvas, xy, "z z", size, WHITE, FAINT)


def label(canvas, xy, string: str, size: float, paper: RGB, ink: RGB) -> None:
    """Draw text on a small background."""
    x, y = xy
    half = 0.13 + 0.12 * len(string)
    canvas.rect((x - half, x + half, y - 0.2, y + 0.2), paper, 0.92, corner_pixels=4 * size)
    text(canvas, xy, string, 10 * size, ink)


def energy_color(share: float) -> RGB:
    return (70, 178, 96) if share > 0.5 else (236, 170, 40) if share > 0.2 else (214, 69, 65)


def draw_card(canvas: Any, state: Any, game: Any, i: int, size: float) -> None:
    """Draw a player's name, gold, energy and last action."""
    enemy = i >= game.num_allies
    row = i - game.num_allies * enemy
    left = 10.75 if enemy else 0.0
    tall = 2.95 if max(game.num_allies, game.num_players - game.num_allies) < 3 else 1.5
    top = -1.75 - row * (tall + 0.25)
    right, low = left + 10.25, top - tall
    color = color_of(i, game)
    canvas.rect((left, right, low, top), CARD, corner_pixels=6 * size)
    canvas.rect((left, left + 0.18, low, top), color, corner_pixels=2 * size)
    high, middle = top - 0.25 * tall - 0.05, low + 0.3 * tall
    canvas.circle((left + 0.95, high), 0.4, color)
    text(canvas, (left + 0.95, high), str(i), 14 * size, WHITE)
    text(canvas, (left + 1.6, high), name_of(i, state, game), 15 * size, INK, "midleft")
    text(canvas, (right - 0.4, high), f"{state['score'][i]:,}", 19 * size, GOLD_INK, "midright")
    canvas.circle((right - 2.75, high), 0.2, NUGGET)
    energy = int(state["energy"][i])
    share = max(energy, 0) / FULL
    canvas.bar((left + 3.0, middle), 4.6, 0.42, share, energy_color(share))
    text(canvas, (left + 5.5, middle), f"{energy}", 13 * size, INK, "midleft")
    text(canvas, (right - 0.4, middle), doing(state, i), 13 * size, FAINT, "midright")


def doing(state: Any, i: int) -> str:
    """A player's last action, and the gold left in its cell."""
    if state["status"][i] != 0:
        return "left the map" if state["status"][i] == LEFT_MAP else "out of energy"
    if state["gain"][i] > 0:
        left = state["gold"][state["x"][i] * HEIGHT + state["y"][i]]
        return f"+{state['gain'][i]}, {left} left"
    return DID.get(int(state["action"][i]), "stands still" if state["step"] > 0 else "")


def draw_prices(canvas: Any, size: float) -> None:
    """Draw the costs of entering cells."""
    samples = ((LAND, 0, "1 energy"), (FOREST, 0, "5 to 20"), (TRAP, 0, "10, once"))
    samples = (*samples, (SWAMP, 0, "5, 20, 40, 100"), (LAND, 50, "4, a dig 5"))
    x = 0.0
    for terrain, gold, string in samples:
        scaled = Shifted(canvas, x, -1.35, 0.75)
        draw_cell(scaled, HEIGHT - 1, terrain, gold, 0.8 * size)
        text(canvas, (x + 0.95, -0.98), string, 13 * size, FAINT, "midleft")
        x += 1.85 + 0.29 * len(string)


class Shifted:
    """A canvas with an offset and a scale."""

    def __init__(self, canvas: Any, x: float, y: float, scale: float):
        self.canvas, self.offset, self.scale = canvas, np.array([x, y]), scale

    def _move(self, xy) -> np.ndarray:
        return self.offset + self.scale * np.asarray(xy, float)

    def rect(self, box, *rest, **more):
        (left, low), (right, high) = self._move((box[0], box[2])), self._move((box[1], box[3]))
        self.canvas.rect((left, right, low, high), *rest, **more)

    def circle(self, xy, radius, *rest, **more):
        self.canvas.circle(self._move(xy), radius * self.scale, *rest, **more)

    def line(self, start, end, *rest, **more):
        self.canvas.line(self._move(start), self._move(end), *rest, **more)

    def polygon(self, points, *rest, **more):
        self.canvas.polygon([self._move(xy) for xy in points], *rest, **more)

    def text(self, xy, *rest, **more):
        self.canvas.text(self._move(xy), *rest, **more)
