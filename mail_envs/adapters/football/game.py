"""Google Research Football in its own engine, with any players controlled by agents.

```python
env = mail_envs.make("football_3_vs_1_with_keeper", player_function=mail_envs.Stochastic(0.5))
vec = mail_envs.make_vec("football_counterattack_easy", 8, observation="mat", reward="shaped")
```

`pip install 'mail-envs[football]'`; nothing is compiled. The engine is the one of gfootball 2.10.2: EnvPool ships it,
and this suite begins its episodes with line-ups and controlled players of its own. `backend="envpool"` and
`backend="gfootball"` (where that package has been built) name one; by default it is the first that works. Both play
equal episodes, bit for bit.

| id `football_...` | agents | players | ends with | rounds |
|---|---|---|---|---|
| `3_vs_1_with_keeper` | 3 | 4 : 2 | goal, out, possession | 401 |
| `pass_and_shoot_with_keeper`, `run_pass_and_shoot_with_keeper` | 2 | 3 : 2 | goal, out, possession | 401 |
| `counterattack_easy`, `counterattack_hard` | 4 | 11 : 11 | goal, out, possession | 401 |
| `corner` | 10 | 11 : 11 | goal, out | 401 |
| `empty_goal`, `empty_goal_close` | 1 | 2 : 1 | goal, out, possession | 401 |
| `run_to_score`, `run_to_score_with_keeper` | 1 | 2 : 6 | goal, out, possession | 401 |
| `single_goal_versus_lazy` | 11 | 11 : 11 | goal, out, possession | 3001 |
| `5_vs_5` | 4 | 5 : 5 | | 3001 |
| `11_vs_11_easy_stochastic`, `11_vs_11_stochastic`, `11_vs_11_hard_stochastic` | 11 | 11 : 11 | | 3001 |

**Agents** are the attackers; the engine's own AI plays the keeper, the other team-mates and the opponents.
`controlled="all"` or numbers of players, such as `(0, 1, 2)`, select others. A slot always is the same player:
gfootball itself moves slots from player to player when fewer are controlled than could be. `teams="both"` makes the
same players of the right team agents, too: `left_0`, ..., `right_0`, ... The right team must have them; `"all"` are those
that both teams have. They see the pitch turned, as if they attacked to the right, and their directions are turned back.

**Actions**: idle; left, top left, top, top right, right, bottom right, bottom, bottom left; long, high and short pass;
shot; sprint; release direction, release sprint; slide; dribble, release dribble. Directions, sprint and dribble last
until they are released. `action_set="v2"` adds builtin_ai, which lets the engine play for the agent. When the ball
has been out of play for 20 rounds, actions are replaced so that somebody plays it, as in gfootball.

**φ** is idle: the player goes on running in his last direction. `absent="builtin_ai"` lets the engine play for those
who are absent.

**Observation**: `observation="simple115v2"`, gfootball's 115 numbers: positions and motion of both teams, the ball's
position and motion, who owns it, the agent's own number and the game mode. `"mat"`: that of the code of MAT, from the
player's view, with his allowed actions (105, 98, 217 numbers for 3 vs 1, pass and shoot, counterattack).
`"smm"`: gfootball's minimap, uint8 (72, 96, 4). **State**: that of the code of HAPPO, the first agent's simple115v2 and
the other agents' numbers. **Masks**: MAT's, with `observation="mat"`; `mask_actions` turns them on or off.

**Reward**: `reward="scoring,checkpoints"`: 1 for a goal, -1 for the opponents'; and 0.1 for each of ten distances from the
goal that a player reaches with the ball. A goal pays every player those that he has not reached yet, so the first goal of
an episode is worth 2 in all, and later ones 1. `"scoring"`: only goals. `"shaped"`: that of the code of MAT, 5 per goal,
small terms for the ball's place, and at the time limit 5 more for each goal by which the team leads.
`team_reward` says what agents get from the team's rewards: `"mean"`, `"sum"` (the code of MAPPO), `"slot0"`, the first
agent's (the code of HAPPO), or each its `"own"`.

**End**: the table; a change of possession or a ball out of play is a failure. The time limit truncates one round later than
the engine's limit, as in gfootball. **Metrics**: `won`, whether the left team leads; `score`, its goal difference;
`end`: 1 goal, 2 out of play, 3 possession, 0 none of them.

**Seeds**: the engine's seed is the episode's modulo 2^31, and an odd one reverses the order in which the engine handles the
teams, as in gfootball; the next bit decides who has the kick-off in `5_vs_5` and matches. Equal seeds and actions give
equal episodes, in any order, process and Python version; demonstrations can be replayed. With `torch.set_flush_denormal(True)`
episodes differ.

The engine cannot be freed, 50 MB each: closed games leave theirs to the next ones of the process, and learners should be
given few copies (`--num-envs 8`). A fatal error of the engine ends its process; worker processes (`num_workers`)
contain it.
"""

from __future__ import annotations

import weakref
from typing import Any

import gymnasium
import numpy as np

from mail_envs.adapters.football import encoders, engines
from mail_envs.adapters.football.frame import Frame
from mail_envs.adapters.football.rules import BUILTIN_AI, IDLE, Checkpoints, Umpire, shaped
from mail_envs.adapters.football.scenarios import GOAL, OUT, POSSESSION, SCENARIOS
from mail_envs.counts import is_whole
from mail_envs.simulator import SimulatorGame

OBSERVATIONS = ("simple115v2", "mat", "smm")
REWARDS = ("scoring", "scoring,checkpoints", "shaped")
TEAM_REWARDS = ("mean", "sum", "slot0", "own")
ACTION_SETS = {"default": 19, "v2": 20}
ENDS = {"": 0, GOAL: 1, OUT: 2, POSSESSION: 3}
DIRECTIONS = 8  # actions 1 to 8, clockwise
SEEDS = 2**31


class Football(SimulatorGame):
    """A scenario of Google Research Football.

    Args:
        scenario: an id of this family.
        controlled: "attackers", "all", or numbers of players.
        teams: "left", or "both" for agents in both teams.
        observation: "simple115v2", "mat" or "smm".
        reward: "scoring", "scoring,checkpoints" or "shaped".
        team_reward: "mean", "sum", "slot0" or "own".
        action_set: "default" or "v2".
        absent: what absent players do, "idle" or "builtin_ai".
        mask_actions: whether there are MAT's action masks; None: with `observation="mat"`.

    Raises:
        ImportError: no engine is installed. ValueError: an argument is not one of these.
    """

    backend = "auto"
    metric_names = ("won", "score", "end")
    draws_state = True

    def __init__(
        self,
        scenario: str = "football_3_vs_1_with_keeper",
        controlled: str | tuple[int, ...] = "attackers",
        teams: str = "left",
        observation: str = "simple115v2",
        reward: str = "scoring,checkpoints",
        team_reward: str = "mean",
        action_set: str = "default",
        absent: str = "idle",
        mask_actions: bool | None = None,
    ):
        self.scenario = SCENARIOS[one_of("scenario", scenario, SCENARIOS)]
        self.observation = one_of("observation", observation, OBSERVATIONS)
        self.reward = one_of("reward", reward, REWARDS)
        self.team_reward = one_of("team_reward", team_reward, TEAM_REWARDS)
        self.num_actions = ACTION_SETS[one_of("action_set", action_set, ACTION_SETS)]
        self.absent = (
            BUILTIN_AI if one_of("absent", absent, ("idle", "builtin_ai")) != "idle" else IDLE
        )
        both = one_of("teams", teams, ("left", "both")) == "both"
        players = self._controlled(controlled, both)
        sizes = len(self.scenario.left), len(self.scenario.right)
        self.sides = [Side(True, players, sizes)]
        if both:
            self.sides.append(Side(False, players, (sizes[1], sizes[0])))
        if not (mask_actions is None or isinstance(mask_actions, (bool, np.bool_))):
            raise ValueError(f"mask_actions={mask_actions!r} is not None, True or False")
        self.has_action_mask = observation == "mat" if mask_actions is None else bool(mask_actions)
        self.umpire = Umpire(self.scenario)
        self.state_places = encoders.state(*sizes, [k for side in self.sides for k in side.players])
        self.kind = engines.choose(self.backend)
        self.engine: Any = None
        self._describe(f"reward {reward}, {team_reward} of the team, absent {absent}")

    def _controlled(self, controlled: str | tuple[int, ...], both: bool) -> tuple[int, ...]:
        """Numbers of the controlled players. ValueError: there are no such players."""
        left, right = len(self.scenario.left), len(self.scenario.right)
        most = min(left, right) if both else left
        known = {"attackers": self.scenario.attackers, "all": tuple(range(most))}
        numbers = known.get(controlled) if isinstance(controlled, str) else ascending(controlled)
        if not numbers or not 0 <= numbers[0] <= numbers[-1] < left:
            raise ValueError(
                f"controlled={controlled!r} is neither 'attackers', 'all' nor ascending numbers of players "
                f"from 0 to {most - 1}"
            )
        if numbers[-1] >= most:
            raise ValueError(
                f"controlled={controlled!r} with teams='both': the right team has only {right} players, "
                f"from 0 to {right - 1}"
            )
        return numbers

    def _describe(self, convention: str) -> None:
        """Agents, spaces and time limit."""
        sides = self.sides
        names = ["player"] if len(sides) == 1 else ["left", "right"]
        self.agents = [f"{name}_{k}" for name, side in zip(names, sides) for k in range(side.size)]
        rows, columns = len(self.scenario.left), len(self.scenario.right)
        if self.observation == "smm":
            space = gymnasium.spaces.Box(0, 255, encoders.MINIMAP, np.uint8)
        else:
            size = encoders.SIMPLE
            if self.observation == "mat":
                size = encoders.mat_size(rows, columns, self.num_actions)
            space = gymnasium.spaces.Box(-np.inf, np.inf, (size,), np.float32)
        self.observation_spaces = dict.fromkeys(self.agents, space)
        actions = gymnasium.spaces.Discrete(self.num_actions)
        self.action_spaces = dict.fromkeys(self.agents, actions)
        length = encoders.state_size(len(self.agents))
        self.state_space = gymnasium.spaces.Box(-np.inf, np.inf, (length,), np.float32)
        self.max_rounds = self.scenario.rounds + 1
        self.metadata = {
            "simulator": "the engine of gfootball 2.10.2",
            "convention": f"{convention}, observation {self.observation}",
        }

    def reset(self, seed):
        if self.engine is None:
            self.engine = engines.borrow(self.kind)
            self._release = weakref.finalize(self, engines.give_back, self.engine)
            self._release.atexit = False
        left, right = ([side.players for side in self.sides] + [()])[:2]
        swapped = bool(seed // 2 % 2)
        setup = engines.Setup(self.scenario, left, right, seed % SEEDS, bool(seed % 2), swapped)
        self.engine.reset(setup)
        self.umpire.begin()
        info = self.engine.info()
        for side in self.sides:
            side.begin(info)
        self._see(info)

    def _see(self, info: dict[str, Any]) -> None:
        left = Frame.read(info)
        for side in self.sides:
            side.frame = left if side.left else left.turned()

    def step(self, actions, acts, rewards, metrics):
        # Lists, and what can be left out is: after the engine's step a first array operation takes ten microseconds.
        acting = zip(actions.tolist(), acts.tolist())
        chosen = [action if acts else self.absent for action, acts in acting]
        before = [side.frame for side in self.sides]
        for side in self.sides:
            self._give(side, chosen[side.rows])
        self._play()
        frame = self.sides[0].frame
        over = self.umpire.see(frame)
        for side, then in zip(self.sides, before):
            own = self._rewards(side, then)
            if any(own):  # in most rounds nobody is paid
                rewards[side.rows] = self._shared(np.array(own))
        lead = frame.lead
        metrics[0], metrics[1], metrics[2] = lead > 0, lead, ENDS[self.umpire.why]
        return over, not over and frame.round >= self.scenario.rounds

    def _give(self, side: Side, actions: list[int]) -> None:
        """Send the actions of a team to the engine."""
        act, left, codes = self.engine.act, side.left, side.codes
        if self.umpire.replaces:
            holder = side.frame.holder if side.frame.owner == 0 else None
            actions = [self.umpire.instead(player == holder) for player in side.players]
        for slot, action in enumerate(actions):
            act(left, slot, codes[action])

    def _play(self) -> None:
        """Play a round; after a goal or a foul that is until the ball is in play again."""
        engine = self.engine
        while True:
            engine.step()
            info = engine.info()
            if info["is_in_play"]:
                break
        self._see(info)

    def _rewards(self, side: Side, before: Frame) -> list[float]:
        """What each of a team's agents earns himself, (n,)."""
        frame = side.frame
        if self.reward == "shaped":
            return [shaped(frame, before, frame.round >= self.scenario.rounds)] * side.size
        goals = frame.lead - before.lead
        if self.reward == "scoring":
            return [float(goals)] * side.size
        return [goals + reached for reached in side.checkpoints.rewards(frame, goals == 1)]

    def _shared(self, own: np.ndarray) -> np.ndarray:
        """What a team's agents get of what each of them earns, float64 (n,)."""
        if self.team_reward == "sum":
            own[:] = own.sum()
        elif self.team_reward == "mean":
            own[:] = own.sum() / own.size
        elif self.team_reward == "slot0":
            own[:] = own[0]
        return own

    def observe(self, observations, action_mask, alive, state):
        for side in self.sides:
            seen, masks = self._look(side)
            observations[side.rows] = seen
            alive[side.rows] = side.frame.here(side.players)
            if self.has_action_mask:
                action_mask[side.rows, : self.num_actions] = masks
        state[:] = self.sides[0].frame.numbers.take(self.state_places)

    def _look(self, side: Side) -> tuple[np.ndarray, np.ndarray | None]:
        """Observations (n, D), and action masks if there are any (n, A), of a team's agents."""
        frame, masks = side.frame, None
        if self.has_action_mask or self.observation == "mat":
            sticky = side.sticky(self.engine)
            masks = encoders.mat_masks(frame, side.numbers, sticky, self.num_actions)
            if self.observation == "mat":
                return encoders.mat(frame, side.numbers, sticky, masks), masks
        if self.observation == "smm":
            return encoders.smm(frame, side.numbers).reshape(side.size, -1), masks
        return frame.numbers.take(side.simple_places), masks

    def draw(self, canvas, state, participation):
        from mail_envs.adapters.football.picture import draw

        draw(canvas, state, self)

    def close(self):
        """Leave the engine to the next game."""
        if self.engine is not None:
            self._release()
            self.engine = None


class Side:
    """The controlled players of one team.

    Attributes:
        left: whether it is the left team. players: their numbers, by slot; numbers: the same as an array.
        rows: of its agents in arrays of all agents.
        codes: the engine's numbers of the actions.
        simple_places: where simple115v2 is in `Frame.numbers`, int64 (n, 115).
        frame: the present round from this team's view.
    """

    frame: Frame

    def __init__(self, left: bool, players: tuple[int, ...], sizes: tuple[int, int]):
        """`sizes`: how many players this team and the other one have."""
        self.left, self.players, self.size = left, players, len(players)
        self.rows = slice(self.size) if left else slice(self.size, 2 * self.size)
        self.numbers = np.array(players)
        self.codes = [engines.ACTIONS[self.turn(action)] for action in range(len(engines.ACTIONS))]
        self.simple_places = encoders.simple115v2(*sizes, players)
        self.checkpoints = Checkpoints(players)

    def begin(self, info: dict[str, Any]) -> None:
        """Begin an episode. RuntimeError: the engine has given the slots to other players."""
        given = info["left_controllers" if self.left else "right_controllers"][: self.size]
        if tuple(given) != self.players:
            raise RuntimeError(f"the engine controls the players {given} instead of {self.players}")
        self.checkpoints.begin()

    def turn(self, action: int) -> int:
        """Between the pitch as this team sees it and the engine's: the opposite direction for the right team."""
        if self.left or not 1 <= action <= DIRECTIONS:
            return action
        return (action + DIRECTIONS // 2 - 1) % DIRECTIONS + 1

    def sticky(self, engine: engines.Engine) -> np.ndarray:
        """The lasting actions of every player as the team sees them, bool (n, 10)."""
        flags = np.array([engine.sticky(self.left, slot) for slot in range(self.size)], bool)
        if not self.left:
            flags[:, :DIRECTIONS] = np.roll(flags[:, :DIRECTIONS], DIRECTIONS // 2, axis=1)
        return flags


class FootballInEnvPool(Football):
    __doc__ = Football.__doc__
    backend = "envpool"


class FootballInGfootball(Football):
    __doc__ = Football.__doc__
    backend = "gfootball"


def ascending(numbers: Any) -> tuple[int, ...]:
    """`numbers` as a tuple; () if they are anything but different whole numbers in ascending order."""
    try:
        found = tuple(numbers)
    except TypeError:
        return ()
    whole = all(map(is_whole, found)) and sorted(set(found)) == list(found)
    return tuple(map(int, found)) if whole else ()


def one_of(name: str, value: Any, known: Any) -> Any:
    """`value`; ValueError: it is none of the known ones."""
    if not isinstance(value, str) or value not in known:
        raise ValueError(f"{name}={value!r} is not one of {', '.join(map(repr, known))}")
    return value
