"""Observations, global state and action masks, from frames."""

from __future__ import annotations

import numpy as np

from mail_envs.adapters.football.frame import (
    BALL,
    CORNER,
    DX,
    DY,
    FIELDS,
    GOAL_KICK,
    MINUS_ONE,
    MODE,
    MOTION,
    ONE,
    OWNER,
    PENALTY,
    PLAYERS,
    ZERO,
    Frame,
    X,
    Y,
)
from mail_envs.adapters.football.rules import BOX_X, BOX_Y, zone

MOST_PLAYERS = 11
SIMPLE = 115  # length of simple115v2
MINIMAP = (72, 96, 4)
MINIMAP_X, MINIMAP_Y = 1.0, 1.0 / 2.25  # half the size of its pitch
BYTE = 255
ROLES, ZONES, MODES = 10, 6, 7
REACH = 0.03  # distance at which a player can play the ball
LONG_PASS, HIGH_PASS, SHORT_PASS, SHOT, RELEASE_DIRECTION, RELEASE_SPRINT = 9, 10, 11, 12, 14, 15
SLIDE, DRIBBLE, RELEASE_DRIBBLE = 16, 17, 18
KICKS = [LONG_PASS, HIGH_PASS, SHORT_PASS, SHOT, DRIBBLE]
PASSES = [0, LONG_PASS, HIGH_PASS, SHORT_PASS]  # and idle
SPRINTS, DRIBBLES = 8, 9  # places among the sticky flags, after eight directions


def simple115v2(own: int, other: int, players: tuple[int, ...]) -> np.ndarray:
    """Where in `Frame.numbers` gfootball's 115 numbers are, for each of `players`: int64 (n, 115).

    Teams of `own` and `other` players: places of both teams and their motion, -1 for players that they do not have; the
    ball and its motion; who owns it; the player's own number; the game mode.
    """
    first = PLAYERS
    shared: list[int] = []
    for size in (own, other):
        for x, y in ((X, Y), (DX, DY)):
            rows = range(first, first + FIELDS * size, FIELDS)
            shared += [row + column for row in rows for column in (x, y)]
            shared += [MINUS_ONE] * 2 * (MOST_PLAYERS - size)
        first += FIELDS * size
    shared += [*range(BALL, MOTION), *range(MOTION, PLAYERS), *range(OWNER, MODE)]
    return np.array([shared + one_hot(player) + [*range(MODE, BALL)] for player in players])


def one_hot(player: int) -> list[int]:
    """Where the number of a player is as a one-hot vector."""
    return [ONE if k == player else ZERO for k in range(MOST_PLAYERS)]


def smm(frame: Frame, players: np.ndarray) -> np.ndarray:
    """Gfootball's minimap for each of `players`: uint8 (n, 72, 96, 4), planes of own team, others, ball, himself."""
    out = np.zeros((len(players), *MINIMAP), np.uint8)
    for plane, points in enumerate((frame.own, frame.other, frame.ball[None])):
        rows, columns = cells(points)
        out[:, rows, columns, plane] = BYTE
    rows, columns = cells(frame.own[players])
    out[np.arange(len(players)), rows, columns, 3] = BYTE
    return out


def cells(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of the minimap; what is outside is moved to its edge."""
    height, width, _ = MINIMAP
    column = ((points[:, X] + MINIMAP_X) / (2 * MINIMAP_X) * width).astype(int)
    row = ((points[:, Y] + MINIMAP_Y) / (2 * MINIMAP_Y) * height).astype(int)
    return row.clip(0, height - 1), column.clip(0, width - 1)


def mat_masks(frame: Frame, players: np.ndarray, sticky: np.ndarray, actions: int) -> np.ndarray:
    """Allowed actions in the code of MAT; `sticky` bool (n, 10). int8 (n, actions).

    A ball that is out of a player's reach cannot be kicked, only an opponent's can be slid for, shots are for the
    opponents' box, long passes for the rest of the pitch, and what does not last cannot be released.
    """
    x, height = frame.ball[X], abs(frame.ball[Y])
    far = np.hypot(*(frame.own[players, :2] - frame.ball[:2]).T) > REACH
    theirs = frame.owner == 1
    mask = np.ones((len(players), actions), np.int8)
    mask[:, KICKS] = (~far & (not theirs))[:, None]
    mask[:, SLIDE] = ~far & theirs & ~sticky[:, DRIBBLES]
    mask[:, RELEASE_DIRECTION] = sticky[:, :8].any(1)
    mask[:, RELEASE_SPRINT], mask[:, RELEASE_DRIBBLE] = sticky[:, SPRINTS], sticky[:, DRIBBLES]
    if x < BOX_X or height > BOX_Y:
        mask[:, SHOT] = 0
    elif x <= 1:
        mask[:, [LONG_PASS, HIGH_PASS]] = 0
    restart = {GOAL_KICK: x < -0.7, CORNER: x > 0.9, PENALTY: x > 0.6}
    if restart.get(frame.mode):
        mask[:] = 0
        mask[:, [0, SHOT] if frame.mode == PENALTY else PASSES] = 1
    return mask


def mat(frame: Frame, players: np.ndarray, sticky: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """The observation in the code of MAT: float64 (n, D).

    Allowed actions; the ball (18 numbers); the nearest team-mate (7); all team-mates (7 each); the player (19); the
    nearest opponent (7); all opponents (7 each).
    """
    n = len(players)
    me = frame.own[players]
    distance = np.hypot(*(frame.ball[:2] - me[:, :2]).T)
    ball = np.zeros((n, 18))
    ball[:, :3] = frame.ball
    ball[:, 3 + zone(frame)] = 1
    ball[:, 9:11] = frame.ball[:2] - me[:, :2]
    ball[:, 11:14] = 20 * frame.motion
    ball[:, 14] = 20 * np.hypot(*frame.motion[:2])
    ball[:, 15] = distance
    ball[:, 16:] = frame.owner != -1, frame.owner == 0
    self = np.zeros((n, 19))
    self[:, :2], self[:, 2:4] = me[:, :2], 100 * me[:, 2:4]
    self[:, 4] = 100 * np.hypot(*me[:, 2:4].T)
    self[np.arange(n), 5 + np.take(frame.roles, players)] = 1
    self[:, 15], self[:, 16] = distance > REACH, me[:, 4]
    self[:, 17], self[:, 18] = sticky[:, DRIBBLES], sticky[:, SPRINTS]
    mates = relative(me, frame.own)
    others = np.arange(len(frame.own)) != players[:, None]
    mates = mates[others].reshape(n, len(frame.own) - 1, 7)
    foes = relative(me, frame.other)
    parts = [masks, ball, *nearest_and_all(mates), self, *nearest_and_all(foes)]
    return np.concatenate(parts, axis=1)


def relative(me: np.ndarray, team: np.ndarray) -> np.ndarray:
    """Position, motion, speed, distance and tiredness of a team as MAT scales them: float64 (n, P, 7)."""
    rows = np.empty((len(me), len(team), 7))
    rows[..., :2], rows[..., 2:4] = 2 * team[:, :2], 100 * team[:, DX : DX + 2]
    rows[..., 4] = 100 * np.hypot(*team[:, DX : DX + 2].T)
    offsets = team[:, :2] - me[:, None, :2]
    rows[..., 5] = 2 * np.hypot(offsets[..., 0], offsets[..., 1])
    rows[..., 6] = team[:, 4]
    return rows


def nearest_and_all(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The nearest player's numbers (n, 7), zeros if there is nobody, and everybody's (n, 7 P)."""
    n = len(rows)
    if not rows.size:
        return np.zeros((n, 7)), np.zeros((n, 0))
    return rows[np.arange(n), rows[..., 5].argmin(1)], rows.reshape(n, -1)


def mat_size(own: int, other: int, actions: int) -> int:
    """Length of the observation for teams of this many players."""
    return actions + 18 + 19 + 7 * (own + 1) + 7 * other


def state(own: int, other: int, players: list[int]) -> np.ndarray:
    """Where in `Frame.numbers` the state is: simple115v2 of the first player, the others' numbers one-hot. int64 (S,)."""
    rest = [place for player in players[1:] for place in one_hot(player)]
    return np.array([*simple115v2(own, other, (players[0],))[0].tolist(), *rest])


def state_size(n: int) -> int:
    return SIMPLE + MOST_PLAYERS * (n - 1)
