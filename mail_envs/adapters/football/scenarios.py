"""The scenarios of gfootball 2.10.2: line-ups, who is controlled, and how an episode ends.

x is in [-1, 1] and y in [-0.42, 0.42], negative y at the top. Both teams are given in their own view: they attack to
the right.
"""

from __future__ import annotations

from dataclasses import dataclass

GK, CB, LB, RB, DM, CM, LM, RM, AM, CF = range(10)  # roles, as the engine numbers them

Player = tuple[float, float, int]  # x, y, role
GOAL, OUT, POSSESSION = "goal", "out", "possession"


@dataclass(frozen=True)
class Scenario:
    """A scenario.

    Attributes:
        name: gfootball's.
        summary: one line.
        left, right: players of both teams.
        attackers: numbers of the players that agents control by default.
        ball: its position.
        ends: what ends an episode early.
        rounds: the engine's time limit; the episode is truncated one round later, as in gfootball.
        skill: of the engine's players, left and right, in [0, 1].
        offside: whether the rule applies.
        lazy: players on the right do not move, except the keeper.
        swaps: the teams swap their line-ups, and so the kick-off, in half of the episodes.
    """

    name: str
    summary: str
    left: tuple[Player, ...]
    right: tuple[Player, ...]
    attackers: tuple[int, ...]
    ball: tuple[float, float] = (0.0, 0.0)
    ends: tuple[str, ...] = (GOAL, OUT, POSSESSION)
    rounds: int = 400
    skill: tuple[float, float] = (1.0, 0.6)
    offside: bool = False
    lazy: bool = False
    swaps: bool = False

    def teams(self, swapped: bool) -> tuple[tuple[Player, ...], tuple[Player, ...]]:
        """The line-ups of the left and the right team."""
        return (self.right, self.left) if swapped and self.swaps else (self.left, self.right)


KEEPER: Player = (-1.0, 0.0, GK)
AWAY: Player = (1.0, 0.0, GK)  # a keeper who is not in his goal
CHASERS = (
    (0.12, 0.2, LB), (0.12, 0.1, CB), (0.12, 0.0, CM), (0.12, -0.1, CB), (0.12, -0.2, RB),
)  # fmt: skip
RUNNER = (KEEPER, (0.0, 0.0, CB))
PAIR = (KEEPER, (0.7, 0.0, CB), (0.7, -0.3, CB))
COUNTERATTACK = (
    KEEPER, (-0.672, -0.19576, LB), (-0.75, -0.06356, CB), (-0.75, 0.063559, CB), (-0.672, 0.19576, RB),
    (-0.434, -0.10568, CM), (-0.434, 0.10568, CM), (0.5, -0.3161, CM), (0.25, -0.1, LM), (0.25, 0.1, RM),
    (0.35, 0.316102, CF),
)  # fmt: skip
CORNER = (
    KEEPER, (1.0, 0.42, LB), (0.7, 0.15, CB), (0.7, 0.05, CB), (0.7, -0.05, RB), (0.0, 0.0, CM), (0.6, 0.35, CM),
    (0.8, 0.07, CM), (0.8, -0.03, LM), (0.8, -0.13, RM), (0.7, -0.3, CF),
)  # fmt: skip
CORNER_DEFENCE = (
    KEEPER, (-0.75, -0.18, LB), (-0.75, -0.08, CB), (-0.75, 0.02, CB), (-1.0, -0.1, RB), (-0.8, -0.25, CM),
    (-0.88, -0.07, CM), (-0.88, 0.03, CM), (-0.88, 0.13, LM), (-0.75, 0.25, RM), (-0.2, 0.0, CF),
)  # fmt: skip
BACKS_OF_ELEVEN = (
    (-0.422, -0.19576, LB), (-0.5, -0.06356, CB), (-0.5, 0.063559, CB), (-0.422, 0.19576, RB),
    (-0.184212, -0.10568, CM), (-0.267574, 0.0, CM), (-0.184212, 0.10568, CM), (-0.01, -0.2161, LM),
)  # fmt: skip
ELEVEN_AT_BALL = (KEEPER, (0.0, 0.02, RM), (0.0, -0.02, CF), *BACKS_OF_ELEVEN)
ELEVEN = (KEEPER, (-0.05, 0.0, RM), (-0.01, 0.216102, CF), *BACKS_OF_ELEVEN)
BACKS_OF_FIVE = ((-0.1, -0.1, LB), (-0.1, 0.1, CB))
FIVE_AT_BALL = (KEEPER, (0.0, 0.02, RM), (0.0, -0.02, CF), *BACKS_OF_FIVE)
FIVE = (KEEPER, (-0.04, 0.04, RM), (-0.04, -0.04, CF), *BACKS_OF_FIVE)


def counterattack(name: str, summary: str, second_defender_x: float) -> Scenario:
    """The two counterattacks differ in where one centre back stands."""
    defence = (
        KEEPER, (0.128, -0.19576, LB), (second_defender_x, -0.06356, CB), (-0.4, 0.063559, CB),
        (0.128, -0.19576, RB), (0.365, -0.10568, CM), (0.282, 0.0, CM), (0.365, 0.10568, CM),
        (0.54, -0.3161, LM), (0.51, 0.0, RM), (0.54, 0.316102, CF),
    )  # fmt: skip
    return Scenario(name, summary, COUNTERATTACK, defence, (7, 8, 9, 10), (0.26, -0.11))


def match(name: str, summary: str, skill: float) -> Scenario:
    """A whole match; `skill`: of the opponents."""
    return Scenario(
        name, summary, ELEVEN_AT_BALL, ELEVEN, tuple(range(11)),
        ends=(), rounds=3000, skill=(1.0, skill), offside=True, swaps=True,
    )  # fmt: skip


SCENARIOS = {
    f"football_{scenario.name.removeprefix('academy_')}": scenario
    for scenario in (
        Scenario(
            "academy_3_vs_1_with_keeper", "three attackers against a defender and the keeper",
            (KEEPER, (0.6, 0.0, CM), (0.7, 0.2, CM), (0.7, -0.2, CM)), (KEEPER, (-0.75, 0.0, CB)),
            (1, 2, 3), (0.62, 0.0),
        ),
        Scenario(
            "academy_pass_and_shoot_with_keeper", "two attackers; the defender is near the one with the ball",
            PAIR, (KEEPER, (-0.75, 0.3, CB)), (1, 2), (0.7, -0.28),
        ),
        Scenario(
            "academy_run_pass_and_shoot_with_keeper", "two attackers; the defender is between them",
            PAIR, (KEEPER, (-0.75, 0.1, CB)), (1, 2), (0.7, -0.28),
        ),
        counterattack("academy_counterattack_easy", "four attackers run at one defender and the keeper", 0.4),
        counterattack("academy_counterattack_hard", "four attackers run at two defenders and the keeper", -0.4),
        Scenario(
            "academy_corner", "ten players and a corner kick", CORNER, CORNER_DEFENCE, tuple(range(1, 11)),
            (0.99, 0.41), ends=(GOAL, OUT),
        ),
        Scenario(
            "academy_empty_goal_close", "a player with the ball near an empty goal",
            (KEEPER, (0.75, 0.0, CB)), (AWAY,), (1,), (0.77, 0.0),
        ),
        Scenario(
            "academy_empty_goal", "a player with the ball in midfield, and an empty goal",
            RUNNER, (AWAY,), (1,), (0.02, 0.0),
        ),
        Scenario(
            "academy_run_to_score", "a player runs at an empty goal, five opponents behind him",
            RUNNER, (AWAY, *CHASERS), (1,), (0.02, 0.0),
        ),
        Scenario(
            "academy_run_to_score_with_keeper", "a player runs at the keeper, five opponents behind him",
            RUNNER, (KEEPER, *CHASERS), (1,), (0.02, 0.0),
        ),
        Scenario(
            "academy_single_goal_versus_lazy", "eleven players against opponents that do not move",
            ELEVEN_AT_BALL, ELEVEN, tuple(range(11)), (-0.48, -0.06356), rounds=3000, lazy=True,
        ),
        Scenario(
            "5_vs_5", "four players and a keeper against five", FIVE_AT_BALL, FIVE, (1, 2, 3, 4),
            ends=(), rounds=3000, skill=(0.05, 0.05), offside=True, swaps=True,
        ),
        match("11_vs_11_easy_stochastic", "a match against weak opponents", 0.05),
        match("11_vs_11_stochastic", "a match against medium opponents", 0.6),
        match("11_vs_11_hard_stochastic", "a match against strong opponents", 0.95),
    )
}  # fmt: skip
