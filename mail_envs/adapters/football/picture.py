"""Rendering of the pitch from the global state: players with their numbers, the ball and where it flies.

The left team is blue and attacks to the right, the right team is red; players of the engine are paler. A ball in the
air is drawn above its shadow, larger the higher it is; an arrow shows where a ball that nobody owns will be in one
second. Scenarios that begin in the opponents' half show only that half.
"""

from __future__ import annotations

from typing import Any

import numpy as np

METRES = np.array([54.4, -83.6])  # per unit of x and y; negative y is at the top
LENGTH, WIDTH = 55.0, 36.0  # half of the pitch, in metres
GOAL_WIDTH, GOAL_DEPTH = 3.7, 2.0
BOXES = ((16.5, 20.15), (5.5, 9.15))  # depth and half the width of the boxes at the goals
CIRCLE = 9.15  # radius of the circle in the middle, and around the penalty spot
GRASS, LINE = (106, 158, 92), (226, 238, 222)
AGENT, OPPONENT = "blue", "red"
PALE = 0.55  # alpha of the engine's players
RADIUS, BALL = 1.5, 0.7
AHEAD = 10  # rounds that the arrow looks ahead
FAST = 0.004  # motion of a ball worth an arrow
BALL_AT, MOTION_AT, OWNER_AT = 88, 91, 94  # in the state


def draw(canvas: Any, state: np.ndarray, game: Any) -> None:
    """Draw the global state (S,) of `game`."""
    scenario = game.scenario
    half = scenario.ball[0] > 0
    ball = state[BALL_AT : BALL_AT + 2] * METRES
    left_edge = -10.0 if half else -LENGTH - 3
    canvas.begin((left_edge, LENGTH + 3, -WIDTH - 2, WIDTH + 2), keep_visible=[ball], margin=0.02)
    draw_pitch(canvas, left_edge)
    agents = {(side.left, player): k for k, (side, player) in enumerate(controlled(game))}
    for left, start, color in ((True, 0, AGENT), (False, 44, OPPONENT)):
        count = len(scenario.left if left else scenario.right)
        places = state[start : start + 2 * count].reshape(-1, 2) * METRES
        motions = state[start + 22 : start + 22 + 2 * count].reshape(-1, 2) * METRES
        for player, (place, motion) in enumerate(zip(places, motions)):
            if place[0] < left_edge:
                continue
            canvas.line(place, place + AHEAD / 2 * motion, color, width_pixels=2, alpha=0.6)
            agent = agents.get((left, player))
            if agent is not None:
                canvas.agent(agent, place, RADIUS, color, label=str(player))
            else:
                canvas.circle(place, RADIUS, color, PALE, outline="dark")
                canvas.text(place, str(player), 11, "white")
    draw_ball(canvas, state, ball)


def controlled(game: Any) -> list[tuple[Any, int]]:
    """The team and the number of every agent's player."""
    return [(side, player) for side in game.sides for player in side.players]


def draw_pitch(canvas: Any, left_edge: float) -> None:
    """Grass and lines."""
    left = max(left_edge, -LENGTH)
    canvas.rect((left_edge, LENGTH + 3, -WIDTH - 2, WIDTH + 2), GRASS)
    canvas.ring((0, 0), CIRCLE, LINE, width_pixels=1.5)
    edges = [
        ((0, -WIDTH), (0, WIDTH)),
        ((left, -WIDTH), (LENGTH, -WIDTH)),
        ((left, WIDTH), (LENGTH, WIDTH)),
    ]
    for end in (-LENGTH, LENGTH):
        if end < left:
            continue
        inward = -np.sign(end)
        edges.append(((end, -WIDTH), (end, WIDTH)))
        for depth, height in BOXES:
            front = end + inward * depth
            edges += [
                ((end, -height), (front, -height)),
                ((end, height), (front, height)),
                ((front, -height), (front, height)),
            ]
        low, high = sorted((end, end - inward * GOAL_DEPTH))
        canvas.rect((low, high, -GOAL_WIDTH, GOAL_WIDTH), "white", alpha=0.8, outline="dark")
    for start, end in edges:
        canvas.line(start, end, LINE, width_pixels=1.5)


def draw_ball(canvas: Any, state: np.ndarray, ball: np.ndarray) -> None:
    """The ball, its shadow, and where it flies."""
    height, motion = float(state[BALL_AT + 2]), state[MOTION_AT : MOTION_AT + 2]
    free = state[OWNER_AT] > 0
    if free and np.hypot(*motion) > FAST:
        canvas.arrow(ball, ball + AHEAD * motion * METRES, "gold", width_pixels=3, alpha=0.8)
    canvas.circle(ball, BALL, "black", alpha=0.35)
    raised = ball + (0, max(height, 0.0))
    canvas.circle(raised, BALL * (1 + max(height, 0.0) / 6), "white", outline="black")
