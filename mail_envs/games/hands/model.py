"""MuJoCo's model of a task: two Shadow Hands from the package gymnasium-robotics, and objects made of primitives.

The hands (Vikash Kumar's model of Shadow Robot's hand, Apache 2.0) are read from the package's files. The package itself is
not imported. Of its 44 tendons per hand the four that couple the last two joints of a finger are kept, as in Bi-DexHands.
"""

from __future__ import annotations

import functools
import importlib.util
from pathlib import Path
from typing import Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

import numpy as np

from mail_envs.games.hands.tasks import DOOR, PUSH, STACK, TURN, Task

ROUND = 1 / 60  # seconds
INSTALL = "pip install 'mail-envs[hands]'"
COUPLED = ("FFJ1c", "MFJ1c", "RFJ1c", "LFJ1c")
BODIES = 26  # of a hand: mount, forearm, wrist, palm, 4 x 4 fingers and the little finger's metacarpal, 5 of the thumb
RIGHT = np.array(
    [[-1.0, 0, 0], [0, 0, -1], [0, -1, 0]]
)  # the mount's axes in a hand without rotation
EGG_SIZE, EGG_DENSITY = (0.03, 0.03, 0.04), 500
BLOCK_SIZE, BLOCK_DENSITY = 0.025, 567
STIFF = {
    "solref": "0.005 1",
    "solimp": "0.95 0.99 0.001",
}  # light objects: as stiff as the time step allows

# The double door: local coordinates of its frame, x through the door, leaves swing to -x.
HINGES = ((-0.008, 0.4265), (-0.006, -0.4204))  # x, y of the leaves' axes
HINGE_HEIGHT = 0.4833
LEAF = (0.0088, 0.22025, 0.4625)  # half sizes
LEAF_HEIGHT, RAILS, RAIL_WIDTH = 0.0185, (-0.444, 0.481), 0.881
HANDLE = {"distance": 0.374, "height": -0.0167, "length": 0.15, "radius": 0.0175, "off": 0.062}
DOOR_DENSITY, DOOR_DAMPING, WIDE_OPEN = 500, 1.0, 1.5708


@functools.lru_cache(maxsize=32)
def build(task: Task, substeps: int, door_spring: float) -> Any:
    """The compiled model, shared by all copies. ImportError if a package is missing."""
    import mujoco

    text = ElementTree.tostring(describe(task, substeps, door_spring), encoding="unicode")
    return mujoco.MjModel.from_xml_string(text)


def assets() -> Path:
    """The folder `assets` of gymnasium-robotics, which is located without importing it."""
    for package in ("mujoco", "gymnasium_robotics"):
        if importlib.util.find_spec(package) is None:
            raise ImportError(f"bidexhands_* games need {package}: {INSTALL}")
    found = importlib.util.find_spec("gymnasium_robotics")
    folder = Path(found.origin).parent / "envs" / "assets"  # pyright: ignore
    if not (folder / "hand" / "robot.xml").is_file():
        raise ImportError(f"gymnasium-robotics has no hand in {folder}: {INSTALL}")
    return folder


def describe(task: Task, substeps: int, door_spring: float) -> Element:
    """The model's description in MJCF."""
    folder = assets()
    root = Element("mujoco", model="bidexhands")
    meshes = str(folder / "stls" / "hand")
    SubElement(root, "compiler", angle="radian", autolimits="true", meshdir=meshes)
    SubElement(
        root, "option", timestep=repr(ROUND / substeps), integrator="implicitfast", iterations="20"
    )
    SubElement(SubElement(root, "option"), "flag", autoreset="disable")
    scenery(root)
    world = SubElement(root, "worldbody")
    SubElement(
        world, "light", pos="1 0 3", dir="-0.3 0 -1", directional="true", diffuse="0.45 0.45 0.45"
    )
    SubElement(
        world, "geom", name="floor", type="plane", size="3 3 0.1", material="ground",
        contype="0", conaffinity="1",
    )  # fmt: skip
    for k in range(2):
        add_hand(root, world, task, k, folder / "hand")
    add_objects(world, task, door_spring)
    return root


def scenery(root: Element) -> None:
    """Materials, and the size of pictures."""
    visual = SubElement(root, "visual")
    SubElement(visual, "global", offwidth="480", offheight="480")
    SubElement(visual, "headlight", ambient="0.35 0.35 0.35", diffuse="0.35 0.35 0.35")
    asset = SubElement(root, "asset")
    sky = {"type": "skybox", "builtin": "gradient", "width": "64", "height": "64"}
    SubElement(asset, "texture", sky, rgb1="0.95 0.96 0.97", rgb2="0.8 0.84 0.88")
    colors = {
        "ground": "0.86 0.87 0.89 1", "hand0": "0.25 0.47 0.82 1", "hand1": "0.84 0.42 0.36 1",
        "object": "0.95 0.72 0.2 1", "wood": "0.72 0.56 0.4 1", "metal": "0.35 0.37 0.4 1",
    }  # fmt: skip
    for name, rgba in colors.items():
        SubElement(asset, "material", name=name, rgba=rgba)


def add_hand(root: Element, world: Element, task: Task, k: int, folder: Path) -> None:
    """Add hand k: its bodies, defaults, meshes (once), contact pairs, tendons and motors."""

    def read(name: str) -> Element:
        text = (folder / name).read_text().replace("robot0:", f"robot{k}:")
        return ElementTree.fromstring(text)

    shared = read("shared.xml")
    defaults = shared.find("default")
    assert defaults is not None
    for geom in defaults.iter("geom"):
        if "material" in geom.attrib:
            geom.set("material", f"hand{k}")
    part(root, "default").extend(defaults)
    if k == 0:
        part(root, "asset").extend(read("shared_asset.xml").findall("mesh"))
    pairs = {(p.get("geom1"), p.get("geom2")): p for p in shared.findall("contact/pair")}
    part(root, "contact").extend(pairs.values())
    tendons = shared.findall("tendon/fixed")
    kept = [t for t in tendons if t.get("name", "").endswith(COUPLED)]
    part(root, "tendon").extend(kept)
    part(root, "actuator").extend(shared.findall("actuator/position"))
    for element in root.iter():
        element.attrib.pop("user", None)
    mount = read("robot.xml").find("body")
    assert mount is not None
    dress(mount, task, k)
    mount.set("pos", numbers(task.hands[k]))
    mount.attrib.pop("euler")
    mount.set("quat", numbers(quaternion(rotation(task.turns[k]) @ RIGHT)))
    if task.free:
        mount.insert(0, Element("freejoint", name=f"robot{k}:base"))
    world.append(mount)


def dress(mount: Element, task: Task, k: int) -> None:
    """Hand k in one color, without gravity, and with the task's friction."""
    for body in mount.iter("body"):
        body.set("gravcomp", "1")
    for element in mount.iter():
        element.attrib.pop("user", None)
    for geom in mount.iter("geom"):
        if "mesh" in geom.attrib:  # both hands share their meshes
            geom.set("mesh", geom.get("mesh", "").replace(f"robot{k}:", "robot0:"))
        if "V_th" in geom.get("name", "") and geom.get("type") == "box":
            geom.set("contype", "0")  # a dot that marks a joint
            geom.set("conaffinity", "0")
            geom.set("mass", "0")
        if "DC_Hand" in geom.get("class", ""):
            geom.set("friction", f"{task.hand_friction} 0.005 0.001")
    for body in list(mount.iter("body")):
        for site in body.findall("site"):
            body.remove(site)


def add_objects(world: Element, task: Task, door_spring: float) -> None:
    if task.table:
        add_table(world, task)
    if task.kind == DOOR:
        add_door(world, task, door_spring)
        return
    block = task.kind in (PUSH, STACK, TURN)
    for k, place in enumerate(task.objects):
        body = SubElement(world, "body", name=f"object_{k}", pos=numbers(place))
        SubElement(body, "freejoint", name=f"object_{k}")
        shape = (
            {"type": "box", "size": numbers([BLOCK_SIZE] * 3), "density": str(BLOCK_DENSITY)}
            if block
            else {"type": "ellipsoid", "size": numbers(EGG_SIZE), "density": str(EGG_DENSITY)}
        )
        friction = f"{task.object_friction} 0.005 0.001"
        SubElement(
            body, "geom", {**shape, **STIFF}, name=f"object_{k}", material="object", condim="4",
            friction=friction,
        )  # fmt: skip


def add_table(world: Element, task: Task) -> None:
    assert task.table
    half = [size / 2 for size in task.table]
    SubElement(
        world, "geom", name="table", type="box", size=numbers(half), pos=numbers((0, 0, half[2])),
        material="wood", contype="0", conaffinity="1", friction=f"{task.table_friction} 0.005 0.001",
    )  # fmt: skip


def add_door(world: Element, task: Task, door_spring: float) -> None:
    """A frame with two leaves; leaf 0 belongs to hand 0."""
    frame = SubElement(
        world, "body", name="door", pos=numbers(task.objects[0]),
        quat=numbers(quaternion(rotation(task.turned))),
    )  # fmt: skip
    solid = {"contype": "0", "conaffinity": "1", "friction": f"{task.object_friction} 0.005 0.001"}
    solid["density"] = str(DOOR_DENSITY)
    for height in RAILS:
        size = numbers((0.02, RAIL_WIDTH, 0.015))
        place = numbers((0, 0, height + np.sign(height) * 0.015))
        SubElement(frame, "geom", solid, type="box", size=size, pos=place, material="wood")
    rest = 0.0 if task.door > 0 else 1.57
    for k, (x, y) in enumerate(HINGES):
        side = 1.0 if k == 0 else -1.0  # the leaf extends from its hinge to -side y
        leaf = SubElement(frame, "body", name=f"leaf_{k}", pos=numbers((x, y, HINGE_HEIGHT)))
        SubElement(
            leaf, "joint", name=f"leaf_{k}", type="hinge", axis=numbers((0, 0, -side)),
            range=numbers((0, WIDE_OPEN)), stiffness=str(door_spring), springref=str(rest),
            damping=str(DOOR_DAMPING), armature="0.01",
        )  # fmt: skip
        place = numbers((-x, -side * LEAF[1], LEAF_HEIGHT - HINGE_HEIGHT))
        SubElement(leaf, "geom", solid, type="box", size=numbers(LEAF), pos=place, material="wood")
        for face in (1.0, -1.0):
            add_handle(leaf, -x, side, face, solid)


def add_handle(leaf: Element, middle: float, side: float, face: float, solid: dict) -> None:
    """A vertical bar on one face of a leaf, held at both ends. `middle`: x of the leaf's middle plane."""
    h = HANDLE
    y, z = -side * h["distance"], h["height"] - HINGE_HEIGHT
    bar, near = middle + face * h["off"], middle + face * LEAF[0]
    ends = [z - h["length"] + h["radius"], z + h["length"] - h["radius"]]
    pieces = [((bar, y, ends[0]), (bar, y, ends[1]))]
    pieces += [((near, y, end), (bar, y, end)) for end in ends]
    for first, last in pieces:
        SubElement(
            leaf, "geom", solid, type="capsule", size=str(h["radius"]),
            fromto=numbers((*first, *last)), material="metal",
        )  # fmt: skip


def part(root: Element, name: str) -> Element:
    """The section `name`, which is added if there is none."""
    found = root.find(name)
    return SubElement(root, name) if found is None else found


def numbers(values: Any) -> str:
    return " ".join(f"{float(v):.10g}" for v in values)


def rotation(euler: tuple[float, float, float]) -> np.ndarray:
    """The matrix Rz Ry Rx, (3, 3)."""
    (cx, cy, cz), (sx, sy, sz) = np.cos(euler), np.sin(euler)
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return about_z @ about_y @ about_x


def quaternion(matrix: np.ndarray) -> np.ndarray:
    """A rotation as (w, x, y, z)."""
    import mujoco

    result = np.zeros(4)
    mujoco.mju_mat2Quat(result, matrix.ravel())
    return result
