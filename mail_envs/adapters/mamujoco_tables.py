"""Which joints agents move and observe in Multi-Agent MuJoCo: graphs of joints, and tables of indices.

Joints, their neighbors and their order follow gymnasium-robotics' `mamujoco_v1` (Apache 2.0,
`envs/multiagent_mujoco/obsk.py`). The original builds lists in every step; here indices are computed once.

An entry of an observation is a pair: a field of MuJoCo's data (flattened), or "extra" for quantities that are
computed for a body, and an index into it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

Entry = tuple[str, int]
BODY_FIELDS = {"cinert": 10, "cvel": 6, "cfrc_ext": 6}  # numbers per body of MuJoCo's model


@dataclass(frozen=True, eq=False)
class Node:
    """A joint, or a quantity that all agents observe.

    Attributes:
        label: joints are observed in alphabetical order.
        actuator: index of its motor; None: it has none.
        sees: its entries by category; qfrc_actuator has the indices of qvel.
        bodies: bodies of MuJoCo's model whose fields are observed with it.
    """

    label: str
    actuator: int | None = None
    sees: dict[str, tuple[Entry, ...]] = field(default_factory=dict)
    bodies: tuple[int, ...] = ()


@dataclass(frozen=True)
class Body:
    """A robot whose joints are divided among agents.

    Attributes:
        gymnasium: id of the environment.
        parts: joints of each agent.
        edges: groups of joints that are neighbors of each other.
        globals: nodes that every agent observes.
        categories: the quantities observed of an agent's own joints; of neighbors, `qpos` is observed.
        clip: largest absolute value of a field.
    """

    gymnasium: str
    parts: tuple[tuple[Node, ...], ...]
    edges: tuple[tuple[Node, ...], ...]
    globals: tuple[Node, ...]
    categories: tuple[str, ...] = ("qpos", "qvel")
    clip: dict[str, float] = field(default_factory=dict)


def entries(field: str, *indices: int) -> tuple[Entry, ...]:
    return tuple((field, k) for k in indices)


def joint(label: str, index: int, actuator: int | None, bodies: tuple[int, ...] = ()) -> Node:
    """A hinge with one position and one velocity, both counted from the end if `index` is negative."""
    sees = {name: entries(name, index) for name in ("qpos", "qvel", "qfrc_actuator")}
    return Node(label, actuator, sees, bodies)


def seen(label: str, qpos: Iterable[int] = (), qvel: Iterable[int] = ()) -> Node:
    """A node that all agents observe."""
    return Node(label, sees={"qpos": entries("qpos", *qpos), "qvel": entries("qvel", *qvel)})


def observation_table(body: Body, agent: int, agent_obsk: int) -> list[Entry]:
    """The observation of `agent`: its joints, joints up to `agent_obsk` edges away, and global nodes."""
    table: list[Entry] = []
    told: set[tuple[str, int]] = set()
    for k, ring in enumerate(rings(body.parts[agent], body.edges, agent_obsk)):
        for node in ring:
            for category in body.categories if k == 0 else ("qpos",):
                table += node_entries(node, category, told)
    for category in ("qpos", "qvel"):
        for node in body.globals:
            table += node_entries(node, category, set())
    return table


def rings(own: tuple[Node, ...], edges, agent_obsk: int) -> list[list[Node]]:
    """An agent's joints, their neighbors, the neighbors' neighbors, ..., each in alphabetical order."""
    ring, found = list(own), set(own)
    result = [ring]
    for _ in range(agent_obsk):
        near = [n for edge in edges if any(m in ring for m in edge) for n in edge]
        ring = [n for n in dict.fromkeys(near) if n not in found]
        found.update(ring)
        result.append(ring)
    return [sorted(ring, key=lambda node: node.label) for ring in result]


def node_entries(node: Node, category: str, told: set[tuple[str, int]]) -> tuple[Entry, ...]:
    """A node's entries of a category; the entries of a body that two nodes share belong to the first one."""
    if category not in BODY_FIELDS:
        return node.sees.get(category, ())
    size = BODY_FIELDS[category]
    bodies = [b for b in node.bodies if (category, b) not in told]
    told.update((category, b) for b in bodies)
    return tuple((category, b * size + k) for b in bodies for k in range(size))


def body(scenario: str, conf: str) -> Body:
    """The robot `scenario`, divided as `conf` says; ValueError if there is no such robot or division."""
    make = BODIES.get(scenario)
    if make is None:
        raise ValueError(f"scenario={scenario!r} is not one of {', '.join(BODIES)}")
    return make(conf)


def choose(scenario: str, conf: str, parts: dict[str, tuple[tuple[Node, ...], ...]]):
    if conf not in parts:
        raise ValueError(f"conf={conf!r}: {scenario} can be divided as {', '.join(parts)}")
    return parts[conf]


def half_cheetah(conf: str) -> Body:
    names = ("bthigh", "bshin", "bfoot", "fthigh", "fshin", "ffoot")
    b1, b2, b3, f1, f2, f3 = joints = [joint(n, k - 6, k) for k, n in enumerate(names)]
    parts = {"6x1": tuple((n,) for n in joints), "2x3": ((b1, b2, b3), (f1, f2, f3))}
    return Body(
        "HalfCheetah-v5",
        choose("HalfCheetah", conf, parts),
        ((b3, b2), (b2, b1), (b1, f1), (f1, f2), (f2, f3)),
        (seen("root_x", (), (0,)), seen("root_z", (1,), (1,)), seen("root_y", (2,), (2,))),
    )


def ant(conf: str) -> Body:
    """Legs: front left 1, front right 2, back left 3, back right 4."""
    hip = {k: joint(f"hip{k}", 2 * k - 10, 2 * k % 8, (1, 3 * k - 1)) for k in range(1, 5)}
    ankle = {
        k: joint(f"ankle{k}", 2 * k - 9, 2 * k % 8 + 1, (3 * k - 1, 3 * k, 3 * k + 1))
        for k in range(1, 5)
    }
    leg = {k: (hip[k], ankle[k]) for k in hip}
    parts = {
        "4x2": tuple(leg.values()),
        "2x4": (leg[1] + leg[2], leg[3] + leg[4]),
        "2x4d": (leg[1] + leg[4], leg[2] + leg[3]),
    }
    return Body(
        "Ant-v5",
        choose("Ant", conf, parts),
        (*leg.values(), tuple(hip.values())),
        (seen("root", range(2, 7), range(6)),),
        ("qpos", "qvel", "cfrc_ext"),
        {"cfrc_ext": 1.0},
    )


def hopper(conf: str) -> Body:
    joints = [joint(n, k - 3, k) for k, n in enumerate(("thigh_joint", "leg_joint", "foot_joint"))]
    return Body(
        "Hopper-v5",
        choose("Hopper", conf, {"3x1": tuple((n,) for n in joints)}),
        tuple(itertools.pairwise(joints)),
        (seen("root_x", (), (0,)), seen("root_z", (1,), (1,)), seen("root_y", (2,), (2,))),
        clip={"qvel": 10.0},
    )


def walker(conf: str) -> Body:
    names = ("thigh_joint", "leg_joint", "foot_joint")
    names += ("thigh_left_joint", "leg_left_joint", "foot_left_joint")
    r1, r2, r3, l1, l2, l3 = (joint(n, k - 6, k) for k, n in enumerate(names))
    return Body(
        "Walker2d-v5",
        choose("Walker2d", conf, {"2x3": ((r3, r2, r1), (l3, l2, l1))}),
        ((r3, r2), (r2, r1), (l3, l2), (l2, l1), (r1, l1)),
        (seen("root_x", (), (0,)), seen("root_z", (1,), (1,)), seen("root_y", (2,), (2,))),
    )


# Bodies of the humanoid's model
TORSO, WAIST, PELVIS, R_THIGH, R_SHIN, R_FOOT, L_THIGH, L_SHIN, L_FOOT = range(1, 10)
R_UPPER_ARM, R_LOWER_ARM, L_UPPER_ARM, L_LOWER_ARM = range(10, 14)
HUMANOID = {
    "abdomen_y": (TORSO, WAIST, PELVIS),
    "abdomen_z": (TORSO, WAIST, PELVIS),
    "abdomen_x": (PELVIS, R_THIGH, L_THIGH),
    "right_hip_x": (R_THIGH, R_SHIN),
    "right_hip_z": (R_THIGH, R_SHIN),
    "right_hip_y": (R_THIGH, R_SHIN),
    "right_knee": (R_SHIN, R_FOOT),
    "left_hip_x": (L_THIGH, L_SHIN),
    "left_hip_z": (L_THIGH, L_SHIN),
    "left_hip_y": (L_THIGH, L_SHIN),
    "left_knee": (L_SHIN, L_FOOT),
    "right_shoulder1": (TORSO, R_UPPER_ARM, R_LOWER_ARM),
    "right_shoulder2": (TORSO, R_UPPER_ARM, R_LOWER_ARM),
    "right_elbow": (R_LOWER_ARM,),
    "left_shoulder1": (TORSO, L_UPPER_ARM, L_LOWER_ARM),
    "left_shoulder2": (TORSO, L_UPPER_ARM, L_LOWER_ARM),
    "left_elbow": (L_LOWER_ARM,),
}


def humanoid(conf: str, gymnasium: str = "Humanoid-v5") -> Body:
    nodes = {n: joint(n, k - 17, k, b) for k, (n, b) in enumerate(HUMANOID.items())}

    def named(*prefixes: str) -> tuple[Node, ...]:
        return tuple(nodes[n] for p in prefixes for n in sorted(nodes) if n.startswith(p))

    belly = named("abdomen")
    edges = [belly]
    for side in ("left", "right"):
        hip, shoulder = named(f"{side}_hip"), named(f"{side}_shoulder")
        edges += [hip, named(f"{side}_elbow") + shoulder, named(f"{side}_knee") + hip]
        edges += [shoulder + belly, hip + belly]
    lower = ("right_hip", "right_knee", "left_hip", "left_knee")
    upper = ("abdomen", "right_shoulder", "right_elbow", "left_shoulder", "left_elbow")
    return Body(
        gymnasium,
        choose("Humanoid", conf, {"9|8": (named(*upper), named(*lower))}),
        tuple(edges),
        (seen("root", range(2, 7), range(6)),),
        ("qpos", "qvel", "cinert", "cvel", "qfrc_actuator", "cfrc_ext"),
    )


def humanoid_standup(conf: str) -> Body:
    return humanoid(conf, "HumanoidStandup-v5")


def reacher(conf: str) -> Body:
    """`extra`: sine and cosine of both angles, and the vector from the target to the fingertip (3)."""
    nodes = []
    for k in range(2):
        sees = {"qpos": entries("extra", 2 * k, 2 * k + 1), "qvel": entries("qvel", k)}
        nodes.append(Node(f"joint{k}", k, sees))
    nodes[1].sees["fingertip_dist"] = entries("extra", 4, 5, 6)
    return Body(
        "Reacher-v5",
        choose("Reacher", conf, {"2x1": ((nodes[0],), (nodes[1],))}),
        (tuple(nodes),),
        (seen("target_x", (2,)), seen("target_y", (3,))),
        ("qpos", "qvel", "fingertip_dist"),
    )


def pusher(conf: str) -> Body:
    """`extra`: positions of the arm's tip, the object and the goal (3 each)."""
    # As in the original, two joints of the shoulder have the label of a wrist joint.
    names = ["r_wrist_roll_joint"] * 2
    names += ["r_upper_arm_roll_joint", "r_elbow_flex_joint", "r_forearm_roll_joint"]
    names += ["r_wrist_flex_joint", "r_wrist_roll_joint"]
    joints = [joint(n, k, k) for k, n in enumerate(names)]
    things = [
        Node(n, sees={"qpos": entries("extra", *range(3 * k, 3 * k + 3))})
        for k, n in enumerate(("tips_arm", "object", "goal"))
    ]
    parts = (tuple(joints[:3]), (joints[3],), tuple(joints[4:]))
    return Body(
        "Pusher-v5",
        choose("Pusher", conf, {"3p": parts}),
        tuple(itertools.pairwise(joints)),
        tuple(things),
    )


def swimmer(conf: str) -> Body:
    nodes = []
    for k in range(2):
        sees = {"qpos": entries("qpos", 3 + k), "qvel": entries("qvel", k, 3 + k)}
        nodes.append(Node(f"rot{k + 2}", k, sees))
    return Body(
        "Swimmer-v5",
        choose("Swimmer", conf, {"2x1": ((nodes[0],), (nodes[1],))}),
        (tuple(nodes),),
        (seen("free_body_rot", (2,), (2,)),),
    )


def many_segment_swimmer(conf: str) -> Body:
    agents, each = segments("ManySegmentSwimmer", conf)
    n = agents * each
    joints = [joint(f"rot{k}", k - n, k) for k in range(n)]
    return Body(
        "Swimmer-v5",
        tuple(tuple(joints[each * i : each * (i + 1)]) for i in range(agents)),
        tuple(itertools.pairwise(joints)),
        (),
    )


def many_segment_ant(conf: str) -> Body:
    """The ants, with two oddities of the original that keep results comparable.

    Only joints of the last segment have correct indices. Indices of earlier segments are not negative, so they count
    from the front (with two segments, they point to the position of the torso). And a segment observes the hips of
    the one in front, but not vice versa.
    """
    agents, each = segments("ManySegmentAnt", conf)
    n = agents * each
    legs: list[tuple[Node, ...]] = []
    edges: list[tuple[Node, ...]] = []
    before: tuple[Node, ...] = ()
    for s in range(n):
        first, at = 1 + 7 * s, 4 * (n - 1 - s) - 4
        hip1 = joint(f"hip1_{s}", at, 4 * s + 2, (first, first + 1))
        ankle1 = joint(f"ankle1_{s}", at + 1, 4 * s + 3, (first + 1, first + 2, first + 3))
        hip2 = joint(f"hip2_{s}", at + 2, 4 * s, (first, first + 4))
        ankle2 = joint(f"ankle2_{s}", at + 3, 4 * s + 1, (first + 4, first + 5, first + 6))
        legs.append((hip1, ankle1, hip2, ankle2))
        edges += [(ankle1, hip1), (ankle2, hip2), (hip1, hip2)]
        if before:
            edges.append((*before, hip1, hip2))
        before = (replace(hip1), replace(hip2))  # copies, not the joints themselves
    return Body(
        "Ant-v5",
        tuple(sum(legs[each * i : each * (i + 1)], ()) for i in range(agents)),
        tuple(edges),
        (seen("free", range(2, 7), range(6)),),
        ("qpos", "qvel", "cfrc_ext"),
        {"cfrc_ext": 1.0},
    )


def segments(scenario: str, conf: str) -> tuple[int, int]:
    """`10x2`: ten agents with two segments each."""
    agents, _, each = conf.partition("x")
    if not (agents.isdecimal() and each.isdecimal() and int(agents) * int(each) > 1):
        raise ValueError(f"conf={conf!r}: {scenario} is divided as AGENTSxSEGMENTS, such as 10x2")
    return int(agents), int(each)


BODIES = {
    "HalfCheetah": half_cheetah,
    "Ant": ant,
    "Hopper": hopper,
    "Walker2d": walker,
    "Humanoid": humanoid,
    "HumanoidStandup": humanoid_standup,
    "Reacher": reacher,
    "Pusher": pusher,
    "Swimmer": swimmer,
    "ManySegmentSwimmer": many_segment_swimmer,
    "ManySegmentAnt": many_segment_ant,
}
