"""The tasks of Bi-DexHands: where hands and objects are, time limits, scales and thresholds.

Numbers are those of the configurations and of the code of Bi-DexHands (Chen et al. 2022, "Towards Human-Level Bimanual
Dexterous Manipulation with Reinforcement Learning"; github.com/PKU-MARL/DexterousHands, Apache 2.0). Positions are in
meters. Euler angles (x, y, z) mean Rz Ry Rx; without rotation, a hand points its fingers to -y, palm up.
"""

from __future__ import annotations

from dataclasses import dataclass

Triple = tuple[float, float, float]

# What is rewarded, for the compiled functions.
CATCH, DOOR, PUSH, STACK, TURN = range(5)

PI = 3.14159
UP, FACING = (0.0, 0.0, 0.0), (0.0, 0.0, PI)
NEAR_DOOR = ((0.55, 0.2, 0.6), (0.55, -0.2, 0.6))
FAR_FROM_DOOR = ((0.9, 0.5, 0.6), (0.9, -0.5, 0.6))
AT_DOOR = ((PI, 1.57, 1.57), (PI, -1.57, 1.57))  # fingers to -x, palms to each other


@dataclass(frozen=True)
class Task:
    """One task.

    Attributes:
        summary: one line.
        kind: what is rewarded. rounds: time limit; a round is 1/60 s.
        hands, turns: positions of both mounts, and their Euler angles.
        push, turn: scales of the force and the torque on a hand's base; 0, 0: the bases are fixed.
        objects: start positions. goals: of the objects. turned: Euler angles of the objects at the start.
        random_turns: whether objects begin with a random rotation.
        noise: largest displacement of objects at the start. joint_noise: of joints, as a share of their range.
        lowest: an object at or below this height ends the episode.
        scale: of the distance to the goal in the reward. leash: largest distance of a mount from its start.
        door: 1: opened, -1: closed, 0: there is none. outward: the leaves move away from the hands.
        constant: of a door's reward. reach: a hand whose fingers are farther away (sum of five distances) ends it.
        table: its sizes. hand_friction, object_friction, table_friction: the larger of two is that of a contact.
    """

    summary: str
    kind: int
    rounds: int
    hands: tuple[Triple, Triple]
    turns: tuple[Triple, Triple] = (UP, FACING)
    push: float = 0.0
    turn: float = 0.0
    objects: tuple[Triple, ...] = ()
    goals: tuple[Triple, ...] = ()
    turned: Triple = (0.0, 0.0, 0.0)
    random_turns: bool = False
    noise: float = 0.0
    joint_noise: float = 0.0
    lowest: float = -1e6
    scale: float = 0.0
    leash: float = 1e6
    door: int = 0
    outward: bool = False
    constant: float = 0.0
    reach: float = 1e6
    table: Triple | None = None
    hand_friction: float = 1.0
    object_friction: float = 1.0
    table_friction: float = 1.0

    @property
    def free(self) -> bool:
        """Whether the bases move."""
        return self.push > 0

    @property
    def actions(self) -> int:
        """Components of a hand's action: force, torque and 20 joint targets; or the targets alone."""
        return 26 if self.free else 20

    @property
    def block(self) -> int:
        """Length of what is observed of one hand."""
        return 199 if self.free else 187

    @property
    def tail(self) -> int:
        """Length of what is observed of the objects. Two tasks of the original end it with zeros."""
        return {CATCH: 24 * len(self.objects), DOOR: 19, PUSH: 30, STACK: 30, TURN: 48}[self.kind]


def door(summary: str, opens: bool, outward: bool, far: bool = False, **other) -> Task:
    """A double door, opened by or closed by both hands."""
    values = {
        "constant": 2.0, "reach": 1.5, "hand_friction": 0.55, "object_friction": 0.1, **other,
    }  # fmt: skip
    return Task(
        summary, DOOR, 250, FAR_FROM_DOOR if far else NEAR_DOOR, AT_DOOR, 0.5, 0.5,
        objects=((0.0, 0.0, 0.7),), turned=(0.0, 0.0 if outward else PI, 0.0),
        door=1 if opens else -1, outward=outward, **values,
    )  # fmt: skip


def catch(summary: str, hands, objects, goals, **other) -> Task:
    """Eggs are thrown from hand to hand."""
    values = {"rounds": 75, "scale": 50.0, **other}
    return Task(
        summary, CATCH, hands=hands, objects=objects, goals=goals, random_turns=True, **values
    )  # fmt: skip


def underarm(summary: str, objects, goals, **other) -> Task:
    """Palms up, hands 1.15 m apart."""
    noise = {"noise": 0.01, "joint_noise": 0.2, "push": 0.05, "turn": 0.5, "lowest": 0.1}
    return catch(
        summary, ((0.0, 0.0, 0.5), (0.0, -1.15, 0.5)), objects, goals, **{**noise, **other}
    )


EGG, FAR_EGG = (0.0, -0.39, 0.54), (0.0, -0.78, 0.54)
TASKS = {
    "catch_over2underarm": catch(
        "an upright hand throws an egg to a hand with its palm up",
        ((0.0, 0.0, 0.5), (0.0, -0.8, 0.5)), ((0.0, 0.05, 1.0),), ((0.0, -0.40, 0.55),),
        turns=((1.67, 3.14, 0.0), FACING), push=0.1, turn=2.0, scale=20.0, lowest=0.3, leash=0.1,
    ),
    "door_open_inward": door("two hands pull a double door open, towards them", True, False),
    "door_close_outward": door(
        "two hands pull a double door shut that is open to the far side", False, True,
        constant=6.0, reach=3.0,
    ),
    "door_close_inward": door(
        "two hands push a double door shut that is open towards them", False, False, far=True
    ),
    "door_open_outward": door("two hands push a double door open, away from them", True, True),
    "over": catch(
        "two fixed hands, palms up: one throws an egg to the other",
        ((0.0, 0.0, 0.5), (0.0, -1.0, 0.5)), (EGG,), ((0.0, -0.64, 0.54),),
        noise=0.01, joint_noise=0.2, lowest=0.2,
    ),
    "catch_underarm": underarm(
        "two hands, palms up: one throws an egg to the other", (EGG,), ((0.0, -0.79, 0.54),)
    ),
    "catch_abreast": catch(
        "two hands side by side: one throws an egg to the other",
        ((0.0, -0.55, 0.5), (0.0, -1.15, 0.5)), ((-0.39, -0.55, 0.54),), ((-0.39, -1.15, 0.54),),
        turns=((0.0, 0.3925, -1.57), (0.0, -0.3925, -1.57)), rounds=150, push=0.5, turn=1.0,
        lowest=0.2, leash=0.1,
    ),
    "two_catch_underarm": underarm(
        "two hands, palms up, throw an egg each and catch the other's",
        (EGG, FAR_EGG), ((0.0, -0.79, 0.54), (0.0, -0.38, 0.54)), lowest=0.2,
    ),
    "push_block": Task(
        "two hands push a block each over a table", PUSH, 125, ((0.55, 0.2, 0.8), (0.55, -0.2, 0.8)),
        ((PI, 0.0, 1.57), (PI, 0.0, 1.57)), 0.5, 0.1,
        # In the original, blocks begin 25 mm deep in the table.
        objects=((0.0, 0.2, 0.625), (0.0, -0.2, 0.625)), goals=((-0.2, 0.2, 0.625), (-0.2, -0.2, 0.625)),
        turned=(1.57, 1.57, 0.0), reach=1.2, table=(1.0, 1.0, 0.6),
        object_friction=0.75, table_friction=0.5,
    ),
    "block_stack": Task(
        "two hands stack two blocks on a table", STACK, 250, ((0.0, 0.6, 0.7), (0.0, -0.6, 0.7)),
        ((PI, 0.0, 3.14), (PI, 0.0, 0.0)), 0.2, 0.02,
        objects=((0.0, 0.1, 0.625), (0.0, -0.1, 0.625)), goals=((0.0, 0.0, 0.625), (0.0, 0.0, 0.675)),
        turned=(1.57, 1.57, 0.0), reach=0.75, table=(0.5, 1.0, 0.6),
        hand_friction=0.375, object_friction=0.25, table_friction=0.2,
    ),
    "re_orientation": Task(
        "two fixed hands, palms up, turn a block each to a goal rotation", TURN, 600,
        ((0.0, 0.0, 0.5), (0.0, -1.15, 0.5)),
        objects=((0.0, -0.39, 0.6), (0.0, -0.76, 0.6)), goals=((0.0, -0.39, 0.56), (0.0, -0.76, 0.56)),
        random_turns=True, noise=0.01, joint_noise=0.2, lowest=0.2,
    ),
}  # fmt: skip
