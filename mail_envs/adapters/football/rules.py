"""Rewards, ends and stalling, as in gfootball's Python code, and the reward of the code of MAT."""

from __future__ import annotations

import numpy as np

from mail_envs.adapters.football.frame import NORMAL, Frame, X, Y
from mail_envs.adapters.football.scenarios import GOAL, OUT, POSSESSION, Scenario

IDLE, LEFT, RIGHT, SHORT_PASS, BUILTIN_AI = 0, 1, 5, 11, 19
PATIENCE, LAST_PATIENCE = 20, 30  # rounds of a stopped game
CHECKPOINTS, CHECKPOINT_REWARD = 10, 0.1
BOX_X, BOX_Y, MIDDLE_X, TOUCH_LINE = 0.64, 0.27, 0.2, 0.42
# The zones of the pitch, from the own box to the other one; the last is everything else.
OWN_BOX, OWN_HALF, MIDDLE, OTHER_BOX, ATTACK, OUTSIDE = range(6)
ZONE_VALUES = {OWN_BOX: -2, OWN_HALF: -1, MIDDLE: 0, OTHER_BOX: 2, ATTACK: 1, OUTSIDE: 0}


class Umpire:
    """Decides what ends an episode. `why`: the scenario's name of the end, or ""."""

    def __init__(self, scenario: Scenario):
        self.ends = scenario.ends
        self.begin()

    def begin(self) -> None:
        self.mode = self.owner = -1
        self.waiting = 0  # rounds for which the game has been stopped
        self.why = ""

    def see(self, frame: Frame) -> bool:
        """Take note of a round; returns whether it ended the episode."""
        happened = {
            GOAL: any(frame.goals),
            OUT: frame.mode != NORMAL and self.mode == NORMAL,
            POSSESSION: frame.owner != -1 and self.owner not in (-1, frame.owner),
        }
        self.why = next((end for end in self.ends if happened[end]), "")
        self.mode = frame.mode
        self.owner = self.owner if frame.owner == -1 else frame.owner
        self.waiting = self.waiting + 1 if frame.mode != NORMAL else 0
        return bool(self.why)

    @property
    def replaces(self) -> bool:
        """Whether the game has been held up for so long that players may not choose their actions."""
        return self.waiting >= PATIENCE

    def instead(self, has_ball: bool) -> int:
        """The action that then replaces a player's."""
        if self.waiting == PATIENCE:
            return SHORT_PASS
        if not has_ball:
            return IDLE
        return RIGHT if self.waiting < LAST_PATIENCE else LEFT


class Checkpoints:
    """The reward for the first time that a player has the ball within each of ten distances from the goal."""

    def __init__(self, players: tuple[int, ...]):
        self.players = players
        self.begin()

    def begin(self) -> None:
        self.collected = [0] * len(self.players)

    def rewards(self, frame: Frame, scored: bool) -> list[float]:
        """Of every player (n,). A goal pays all of them what they have not collected yet."""
        paid = [0] * len(self.players)
        if scored:
            paid = [CHECKPOINTS - collected for collected in self.collected]
            self.collected = [CHECKPOINTS] * len(self.players)
        elif frame.owner == 0 and frame.holder in self.players:
            k = self.players.index(frame.holder)
            x, y, _ = frame.ball.tolist()
            distance = ((x - 1) ** 2 + y**2) ** 0.5
            while self.collected[k] < CHECKPOINTS and distance <= threshold(self.collected[k]):
                self.collected[k] += 1
                paid[k] += 1
        return [CHECKPOINT_REWARD * number for number in paid]


def threshold(k: int) -> float:
    """Distance of the k-th checkpoint from the middle of the goal."""
    return 0.99 - 0.8 / (CHECKPOINTS - 1) * k


def shaped(frame: Frame, before: Frame, last: bool) -> float:
    """The reward of a round in the code of MAT, for all players of a team. `last`: whether it is the time limit's.

    5 per goal, 0.003 times the value of the ball's zone, -0.003 times the distance of the nearest field player to the
    ball while the team does not have it (0 in a team without field players), and the difference of cards in this round. In
    the last round also 5 for each goal by which the team leads; who is behind loses nothing.
    """
    goals = frame.lead - before.lead
    near = 0.0
    if frame.owner != 0 and len(frame.own) > 1:
        near = np.hypot(*(frame.own[1:, :2] - frame.ball[:2]).T).min()
    own, other = (now - then for now, then in zip(frame.cards, before.cards))
    won = max(frame.lead, 0) if last else 0
    return 5 * (goals + won) + 0.003 * ZONE_VALUES[zone(frame)] - 0.003 * near + other - own


def zone(frame: Frame) -> int:
    """The zone in which the ball is."""
    x, height = frame.ball[X], abs(frame.ball[Y])
    box = height < BOX_Y
    if not (-1 <= x <= 1 and height < TOUCH_LINE):
        return OUTSIDE
    if x < -MIDDLE_X:
        return OWN_BOX if x < -BOX_X and box else OWN_HALF
    if x <= MIDDLE_X:
        return MIDDLE
    return OTHER_BOX if x > BOX_X and box else ATTACK
