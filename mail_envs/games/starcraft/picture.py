"""Rendering of a battle: the map, units by type, their health and shields, shots and explosions.

Agents are blue, enemies red. A unit's letter says its type, an enemy's number its id; the bars above it are its
shield and its health. Lines are shots of the last round, dots are missiles in flight, green lines heal, orange discs
are where banelings went off. Around an agent that acts next, a thin circle shows how far its weapon reaches; with
cones, lines bound what it sees.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from mail_envs.games.starcraft.units import (
    BANELING,
    COLOSSUS,
    MEDIVAC,
    TYPES,
    UNITS,
)
from mail_envs.games.starcraft.weapons import BEAM_LENGTH, BLAST

Box = tuple[float, float, float, float]  # left, right, bottom, top

LETTERS = {
    "baneling": "B", "colossus": "C", "hydralisk": "H", "marauder": "D", "marine": "M",
    "medivac": "+", "stalker": "S", "zealot": "Z", "zergling": "L", "spine_crawler": "K",
}  # fmt: skip
AGENT, ENEMY = "blue", "red"
WALL, GROUND, CLIFF = (196, 200, 206), (250, 249, 245), (222, 206, 180)
SHIELD_COLOR, HEALTH_COLOR, LOW_COLOR = "teal", "green", "orange"
MARGIN = 1.5  # around the open ground
BAR = 0.16  # height
AROUND, STEP, LEAST_VIEW = (
    3.0,
    2.0,
    8.0,
)  # of the view: beyond the living, its steps, half its least width


def draw(canvas: Any, state: Any, game: Any) -> None:
    """Draw the record `state` of one environment of `game`."""
    params = game.params[0]
    draw_ground(canvas, params, view_of(state, params))
    living = np.flatnonzero(state["health"] > 0)
    for j in np.flatnonzero((state["health"] <= 0) & (state["before"] > 0)):
        draw_fallen(canvas, state, j)
    for j in living:
        draw_reach(canvas, state, params, j)
    for j in living[np.argsort(params["flies"][state["type"][living]], kind="stable")]:
        draw_unit(canvas, state, params, j)
    for j in range(params["num_units"]):
        draw_shot(canvas, state, params, j)


def draw_ground(canvas: Any, params: Any, view: Box) -> None:
    """Open cells on a gray map, and cliffs that colossi climb; what of them is in view."""
    walk, climb = params["ground"].astype(bool)
    canvas.begin(view, margin=0.02)
    canvas.rect(view, WALL)
    left, right, bottom, top = view
    for row in range(climb.shape[1]):
        low, high = max(row - 0.02, bottom), min(row + 1.02, top)
        for cells, color in ((climb & ~walk, CLIFF), (walk, GROUND)):
            for first, last in runs(cells[:, row]):
                first, last = max(first, left), min(last, right)
                if first < last and low < high:
                    canvas.rect((first, last, low, high), color)


def view_of(state: Any, params: Any) -> Box:
    """A square around the living, in steps of whole units so that it does not tremble; within the ground's."""
    climb = params["ground"][1].astype(bool)
    ground = [(c.min() - MARGIN, c.max() + 1 + MARGIN) for c in np.nonzero(climb)]
    whole = max(high - low for low, high in ground) / 2
    places = state["pos"][state["health"] > 0]
    if len(places) == 0:
        places = state["pos"]
    spread = (places.max(0) - places.min(0)).max() / 2 + AROUND
    half = min(max(math.ceil(spread / STEP) * STEP, LEAST_VIEW), whole)
    view: list[float] = []
    for axis, (low, high) in enumerate(ground):
        middle = (places[:, axis].max() + places[:, axis].min()) / 2
        middle = round(float(middle) / STEP) * STEP
        if high - low > 2 * half:
            middle = min(max(middle, low + half), high - half)
        else:
            middle = (low + high) / 2
        view += [middle - half, middle + half]
    return view[0], view[1], view[2], view[3]


def runs(cells: np.ndarray) -> list[tuple[int, int]]:
    """Begin and end of the stretches of true values."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], cells.astype(int), [0]])))
    return [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2])]


def draw_fallen(canvas: Any, state: Any, j: Any) -> None:
    """What died in the last round: an explosion, or a mark."""
    if state["type"][j] == BANELING:
        canvas.circle(state["pos"][j], float(BLAST), "orange", alpha=0.35)
    canvas.ring(state["pos"][j], 0.35, "gray", width_pixels=2, alpha=0.6)


def draw_reach(canvas: Any, state: Any, params: Any, j: Any) -> None:
    """How far an agent's weapon reaches, from its center to the edge of a target."""
    if j < params["num_agents"] and canvas.participates(j):
        kind = state["type"][j]
        reach = float(params["range"][kind] + params["radius"][kind])
        canvas.ring(state["pos"][j], reach, AGENT, width_pixels=1, alpha=0.18)
    if j < params["num_agents"] and params["conic_fov"]:
        look, half = state["look"][j], float(params["half_angle"])
        for turn in (-half, half):
            c, s = math.cos(turn), math.sin(turn)
            edge = np.array([c * look[0] - s * look[1], s * look[0] + c * look[1]])
            canvas.line(state["pos"][j], state["pos"][j] + 6 * edge, AGENT, alpha=0.35)


def draw_unit(canvas: Any, state: Any, params: Any, j: Any) -> None:
    kind, pos = int(state["type"][j]), state["pos"][j]
    radius, letter = float(params["radius"][kind]), LETTERS[TYPES[kind]]
    if j < params["num_agents"]:
        canvas.agent(j, pos, radius, AGENT, label=letter)
    else:
        canvas.circle(pos, radius, ENEMY, alpha=0.9, outline="dark")
        canvas.text(pos, f"{letter}{j - params['num_agents']}", 11, "white")
    width, top = max(2 * radius, 0.9), float(pos[1]) + radius + 0.2
    share = float(state["health"][j] / state["max_health"][j])
    color = HEALTH_COLOR if share > 0.35 else LOW_COLOR
    canvas.bar((pos[0], top), width, BAR, share, color)
    if params["max_shield"][kind] > 0:
        shield = float(state["shield"][j] / params["max_shield"][kind])
        canvas.bar((pos[0], top + BAR + 0.05), width, BAR, shield, SHIELD_COLOR)


def draw_shot(canvas: Any, state: Any, params: Any, j: Any) -> None:
    """Missiles in flight; shots, beams and healing of the last round."""
    if state["missile_target"][j] >= 0:
        canvas.circle(state["missile"][j], 0.12, "dark")
    kind, pos = int(state["type"][j]), state["pos"][j]
    target, shot = int(state["target"][j]), int(state["shot"][j])
    if kind == MEDIVAC and target >= 0 and state["health"][j] > 0:
        there = state["pos"][target]
        if np.linalg.norm(there - pos) <= heal_reach(params, state["type"][target]):
            canvas.line(pos, there, "green", width_pixels=3, alpha=0.6)
    if shot >= 0 and kind != BANELING:
        there, color = state["pos"][shot], AGENT if j < params["num_agents"] else ENEMY
        canvas.line(pos, there, color, width_pixels=2, alpha=0.55)
        if kind == COLOSSUS:
            along = (there - pos) / max(float(np.linalg.norm(there - pos)), 1e-6)
            across = np.array([-along[1], along[0]]) * float(BEAM_LENGTH)
            canvas.line(there - across, there + across, "orange", width_pixels=5, alpha=0.7)


def heal_reach(params: Any, kind: int) -> float:
    """Between centers."""
    return UNITS["medivac"].range + float(params["radius"][MEDIVAC] + params["radius"][kind])
