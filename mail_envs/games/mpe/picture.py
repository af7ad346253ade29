"""Drawing functions shared by these games."""

import string

import numpy as np

GOAL_COLORS = ("red", "green", "blue")  # colors of the first, second and third landmark


def begin(canvas, state):
    """Start a frame that shows [-1, 1]^2 and all agents outside it."""
    canvas.begin((-1.1, 1.1, -1.1, 1.1), keep_visible=state["pos"])


def agents(canvas, state, game, colors):
    """Draw the agents as discs with their numbers."""
    for i, xy in enumerate(state["pos"]):
        canvas.agent(i, xy, float(game.params[0]["radius"][i]), colors[i], label=str(i))


def goal_ring(canvas, xy, color="gold", radius=0.11):
    """Mark a goal."""
    canvas.ring(xy, radius, color, width_pixels=4)


def said(word):
    """A word as text: a letter for a one-hot vector, _ for silence, else the numbers."""
    word = np.asarray(word)
    if not word.any():
        return "_"
    if word.max() == 1.0 and np.count_nonzero(word) == 1:
        return string.ascii_uppercase[int(word.argmax())]
    return " ".join(f"{x:.1f}" for x in word)


def words(canvas, lines):
    """Write lines such as "speaker_0 says B" at the lower left."""
    for k, line in enumerate(reversed(lines)):
        canvas.text((-1.08, -1.04 + 0.075 * k), line, 15, "dark", anchor="midleft")
