"""Scripted demonstrators of Google Research Football.

`scripted:rules`: run, pass when an opponent is near, shoot from where it pays. `scripted:search`, the default, plays
each episode beforehand in an engine of its own, by the rules and by variations of them, until one scores; equal seeds
give equal episodes, so it knows what will happen. Both read positions from the global state, so they play with any
observation. Distances are in metres. `PLANS` were found by random search, among 50 or so
per scenario.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

import mail_envs
from demos.policies import environments
from mail_envs.adapters.football.encoders import HIGH_PASS, SHORT_PASS, SHOT
from mail_envs.adapters.football.picture import BALL_AT, METRES, MOTION_AT, OWNER_AT

STYLES = ("search", "rules")
ATTEMPTS = 12  # of the search, per episode
IDLE, SPRINT, RELEASE = 0, 13, 14
UP, DOWN = 4, 6  # to the right, and up or down
# Actions by direction, counter-clockwise from the opponents' goal.
RUNS = (5, 4, 3, 2, 1, 8, 7, 6)
GOAL = np.array([1.0, 0.0]) * METRES
GOAL_LINE = 0.93 * METRES[0]  # who is nearer to the goal is a keeper
CONTROL, BEHIND, THERE = 0.8, 1.6, 1.5
LONG_AGO = 99  # rounds since the last pass


@dataclasses.dataclass(frozen=True)
class Plan:
    """What the demonstrator does in a scenario.

    Attributes:
        shoot, wide: shoot from this distance, if no farther from the middle than this.
        pass_first: the first one with the ball passes at once.
        press: pass when a field opponent ahead is this near.
        gap: rounds between passes; passes: the most in an episode.
        free: how much a team-mate counts who has nobody near, against one nearer to the goal.
        cut_in: run at the goal's middle (0) or straight ahead (1).
        lead: rounds by which who runs for a loose ball looks ahead.
        kick: the pass that is played.
        aim: turn to the corner away from the keeper before a shot; he is compared with this share of the player's own
            distance from the middle. None: shoot at once.
        ahead, line, lane: where the others run: so far ahead of the ball, at most to this x, so far from the middle.
    """

    shoot: float
    wide: float
    press: float
    pass_first: bool
    gap: int
    passes: int
    free: float
    cut_in: float
    lead: float
    ahead: float
    line: float
    lane: float
    kick: int = SHORT_PASS
    aim: float | None = None


ATTACK = Plan(
    shoot=19.0, wide=10.6, press=4.5, pass_first=True, gap=7, passes=2, free=1.3, cut_in=0.34, lead=6.7,
    ahead=10.0, line=42.8, lane=3.0,
)  # fmt: skip
PLANS = {
    "football_3_vs_1_with_keeper": ATTACK,
    "football_counterattack_easy": ATTACK,
    "football_pass_and_shoot_with_keeper": Plan(
        shoot=22.2, wide=19.1, press=7.7, pass_first=True, gap=6, passes=1, free=1.6, cut_in=0.65, lead=9.1,
        ahead=-0.4, line=44.6, lane=8.2, kick=HIGH_PASS, aim=0.13,
    ),
}  # fmt: skip


def football(env: Any, style: str = "search"):
    """The demonstrator for `env`."""
    if style == "rules":
        rules = Rules(env, PLANS[env.id])
        return lambda observations, info, rng: rules(info)
    return Search(env)


class Rules:
    """Plays by a plan. `info` is that of a `VectorGame`, for any of its environments."""

    def __init__(self, env: Any, plan: Plan):
        self.plan, self.players = plan, list(env.game.sides[0].players)
        scenario = env.game.scenario
        self.counts = len(scenario.left), len(scenario.right)
        self.memories: dict[int, Memory] = {}

    def __call__(self, info: Mapping[str, Any]) -> np.ndarray:
        """Actions int32 (K, N)."""
        actions = np.zeros(np.shape(info["participation"]), np.int32)
        for k, e in enumerate(environments(info).tolist()):
            if info["round"][k] == 0 or e not in self.memories:
                self.memories[e] = Memory(self.players)
            memory = self.memories[e]
            pitch = Pitch(np.asarray(info["state"][k], np.float64), *self.counts)
            for i, player in enumerate(self.players):
                if info["participation"][k][i]:
                    action = choose(self.plan, pitch, memory, self.players, player)
                    actions[k, i] = action if info["action_mask"][k][i, action] else IDLE
            memory.since += 1
        return actions


class Search:
    """Plays what scored in a game of its own, with the episode's seed and the same player function.

    If the episode takes another course, because others play some of the agents, it may outlast what was played
    beforehand: the rest is played by the rules.
    """

    def __init__(self, env: Any):
        self.env, self.plan = env, PLANS[env.id]
        self.own: Any = None
        self.rules = Rules(env, self.plan)
        self.found: dict[int, list[np.ndarray]] = {}  # actions by environment

    def __call__(self, observations: np.ndarray, info: Mapping[str, Any], rng: Any) -> np.ndarray:
        rows = []
        for k, e in enumerate(environments(info).tolist()):
            t = int(info["round"][k])
            if t == 0 or e not in self.found:
                self.found[e] = self.search(int(info["seed"][k]))
                self.rules.memories.pop(e, None)
            rows.append(self.found[e][t] if t < len(self.found[e]) else self.late(info, k, e))
        actions = np.array(rows, np.int32)
        allowed = np.take_along_axis(np.asarray(info["action_mask"]), actions[..., None], -1)
        return np.where(allowed[..., 0] != 0, actions, IDLE)

    def late(self, info: Mapping[str, Any], k: int, e: int) -> np.ndarray:
        """Actions (N,) by the rules, for row k of `info`, which is environment e."""
        names = ("participation", "action_mask", "state", "round")
        row = {name: np.asarray(info[name])[k : k + 1] for name in names}
        return self.rules({**row, "environment": np.array([e])})[0]

    def search(self, seed: int) -> list[np.ndarray]:
        """The actions (N,) of every round of the first attempt that scores, or of the plan itself."""
        if self.own is None:
            env = self.env
            self.own = mail_envs.make_vec(
                env.id, 1, player_function=env.player_function, max_rounds=env.max_rounds, num_workers=0,
                autoreset=False, null_action=env.null_action, **env.arguments,
            )  # fmt: skip
        luck = np.random.default_rng(seed)
        first = None
        for attempt in range(ATTEMPTS):
            plan = vary(self.plan, luck) if attempt else self.plan
            actions, won = self.attempt(plan, seed)
            first = first or actions
            if won:
                return actions
        return first or []

    def attempt(self, plan: Plan, seed: int) -> tuple[list[np.ndarray], bool]:
        """Play the episode by a plan; returns its actions and whether it was won."""
        own, rules, actions = self.own, Rules(self.own, plan), []
        _, info = own.reset(seed=seed)
        over = False
        while not over:
            actions.append(rules(info)[0])
            _, _, terminated, truncated, info = own.step(actions[-1][None])
            over = bool(terminated[0] or truncated[0])
        return actions, bool(info["metrics"]["won"][0])


def vary(plan: Plan, luck: np.random.Generator) -> Plan:
    """Other distances, up to a fifth more or less, and another time of the first pass."""
    names = ("shoot", "wide", "press", "free", "lead", "ahead", "lane")
    scaled = {name: getattr(plan, name) * luck.uniform(0.8, 1.2) for name in names}
    gap = plan.gap + int(luck.integers(0, 4))
    return dataclasses.replace(plan, **scaled, gap=gap, passes=plan.passes + int(luck.integers(2)))


class Memory:
    """What the demonstrator remembers of an episode: who is about to pass or shoot, who sprints, the last actions."""

    def __init__(self, players: list[int]):
        self.passer: int | None = None
        self.passes, self.since = 0, LONG_AGO
        self.sprints: set[int] = set()
        self.aimed: set[int] = set()
        self.last = dict.fromkeys(players, IDLE)


class Pitch:
    """Positions in metres, y upwards, from the global state.

    Attributes:
        own, foes: (P, 2). ball, motion: (2,), motion per round. ours: whether we have the ball. holder: the own player
        nearest to it.
    """

    def __init__(self, state: np.ndarray, own: int, foes: int):
        self.own = state[: 2 * own].reshape(-1, 2) * METRES
        self.foes = state[44 : 44 + 2 * foes].reshape(-1, 2) * METRES
        self.ball = state[BALL_AT : BALL_AT + 2] * METRES
        self.motion = state[MOTION_AT : MOTION_AT + 2] * METRES
        self.ours = state[OWNER_AT + 1] > 0
        self.holder = int(distances(self.own, self.ball).argmin())

    def pressure(self, place: np.ndarray) -> float:
        """Distance of the nearest opponent who is ahead, the keeper in his goal not counted."""
        ahead = (self.foes[:, 0] < GOAL_LINE) & (self.foes[:, 0] > place[0] - BEHIND)
        return distances(self.foes[ahead], place).min(initial=np.inf)


def choose(plan: Plan, pitch: Pitch, memory: Memory, players: list[int], player: int) -> int:
    """A player's action."""
    me, coming = pitch.own[player], pitch.ball + plan.lead * pitch.motion
    if pitch.ours and pitch.holder == player:
        action = with_ball(plan, pitch, memory, players, player)
    elif not pitch.ours and players[distances(pitch.own[players], coming).argmin()] == player:
        near = np.hypot(*(pitch.ball - me)) <= CONTROL
        action = toward(me, GOAL if near else coming)
    else:
        action = without_ball(plan, pitch, memory, player)
    memory.last[player] = action
    return action


def with_ball(plan: Plan, pitch: Pitch, memory: Memory, players: list[int], player: int) -> int:
    """Shoot, turn to a team-mate and then pass to him, or run at the goal."""
    me = pitch.own[player]
    if memory.passer == player:
        memory.passer, memory.since = None, 0
        memory.passes += 1
        return plan.kick
    if np.hypot(*(GOAL - me)) < plan.shoot and abs(me[1]) < plan.wide:
        if plan.aim is None or player in memory.aimed:
            memory.aimed.discard(player)
            return SHOT
        memory.aimed.add(player)
        keeper = pitch.foes[pitch.foes[:, 0].argmax()]
        return UP if keeper[1] < plan.aim * me[1] else DOWN
    wanted = pitch.pressure(me) < plan.press or (plan.pass_first and memory.passes == 0)
    if wanted and memory.since > plan.gap and memory.passes < plan.passes and len(players) > 1:
        memory.passer = player
        return toward(me, pitch.own[best_mate(plan, pitch, players, player)])
    if player not in memory.sprints:
        memory.sprints.add(player)
        return SPRINT
    return toward(me, np.array([GOAL[0], plan.cut_in * me[1]]))


def best_mate(plan: Plan, pitch: Pitch, players: list[int], player: int) -> int:
    """The team-mate who is nearest to the goal and freest."""
    mates = [mate for mate in players if mate != player]
    free = [min(distances(pitch.foes, pitch.own[mate]).min(), 10.0) for mate in mates]
    worth = plan.free * np.array(free) - distances(pitch.own[mates], GOAL)
    return mates[int(worth.argmax())]


def without_ball(plan: Plan, pitch: Pitch, memory: Memory, player: int) -> int:
    """Run ahead of the ball on the own side of the pitch, and wait there."""
    me = pitch.own[player]
    side = np.sign(me[1]) if abs(me[1]) > 1.7 else (-1 if player % 2 else 1)
    there = np.array([min(plan.line, max(pitch.ball[0] + plan.ahead, me[0])), side * plan.lane])
    if np.hypot(*(there - me)) > THERE:
        return toward(me, there)
    return IDLE if memory.last[player] == RELEASE else RELEASE


def distances(places: np.ndarray, place: np.ndarray) -> np.ndarray:
    return np.hypot(places[:, 0] - place[0], places[:, 1] - place[1])


def toward(start: np.ndarray, end: np.ndarray) -> int:
    """The direction, of eight, from `start` to `end`."""
    angle = np.arctan2(end[1] - start[1], end[0] - start[0])
    return RUNS[round(angle / (np.pi / 4)) % 8]
