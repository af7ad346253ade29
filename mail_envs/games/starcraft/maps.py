"""The SMAC maps and the SMACv2 scenarios: who fights whom, where, and for how long.

Armies are listed in the order in which the maps create them, which is the order of the enemies' ids; agents' ids
are sorted by type and position instead. Points are (x, y) on a map of 32 x 32. An army without one point per
group is created at a single point, and the game spreads it out.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass

Point = tuple[float, float]
Army = tuple[tuple[str, int], ...]  # (type, count) in order of creation


@dataclass(frozen=True)
class Scenario:
    """A SMAC map, or a SMACv2 scenario.

    Attributes:
        id: of the environment. name: of the original's map.
        allies, enemies: armies; empty in SMACv2, which draws them.
        max_rounds: the original's episode limit.
        type_bits: length of the one-hot unit type, 0 if there is only one type.
        ally_types, enemy_types: order of the types in the one-hot code. In `stalkers_and_zealots` maps, SMAC
            reverses it for enemies, as `enemy_types` does; used only if `faithful`.
        terrain: a name of `terrain.ROWS`.
        ally_points, enemy_points: where the groups of an army are created.
        enemy_order: the enemies' order at the start: "attack_move", "attack" (the allies), "none", or
            in SMACv2 "closest" (each idle enemy, every half second).
        enemy_goal: target of an attack move; with two points, somewhere between them.
    """

    id: str
    name: str
    num_agents: int
    num_enemies: int
    max_rounds: int
    ally_race: str
    enemy_race: str
    ally_types: tuple[str, ...]
    enemy_types: tuple[str, ...]
    allies: Army = ()
    enemies: Army = ()
    terrain: str = "strip"
    ally_points: tuple[Point, ...] = ((9, 16),)
    enemy_points: tuple[Point, ...] = ((23, 16),)
    enemy_order: str = "attack_move"
    enemy_goal: tuple[Point, ...] = ((9, 16),)

    @property
    def version(self) -> int:
        return 1 if self.allies else 2

    @property
    def type_bits(self) -> int:
        return len(self.ally_types) if len(self.ally_types) > 1 else 0

    @property
    def summary(self) -> str:
        if self.version == 2:
            sides = f"{self.num_agents} against {self.num_enemies} units"
            return f"{sides}, drawn anew from {', '.join(self.ally_types)}"
        return " against ".join(_army_text(army) for army in (self.allies, self.enemies))

    @property
    def medics(self) -> bool:
        """Whether there are medivacs, which heal; an army of medivacs alone has lost."""
        return "medivac" in self.ally_types


def _army_text(army: Army) -> str:
    """`(("stalker", 1), ("stalker", 1))` -> "2 stalkers"."""
    counts: dict[str, int] = {}
    for name, count in army:
        counts[name] = counts.get(name, 0) + count
    plural = {"colossus": "colossi"}
    return ", ".join(
        f"{n} {(plural.get(name, name + 's') if n > 1 else name).replace('_', ' ')}"
        for name, n in counts.items()
    )


_M, _SZ, _CSZ = ("marine",), ("stalker", "zealot"), ("colossus", "stalker", "zealot")
_MMM = ("marauder", "marine", "medivac")
_ARENA = {"terrain": "flat"}
_FAR_CORNER = {"enemy_points": ((27.91, 28.24),), "enemy_goal": ((4.47, 4.3298),)}


def _army(text: str) -> Army:
    """`"2 stalker, 3 zealot"` -> (("stalker", 2), ("zealot", 3))."""
    return tuple((name, int(count)) for count, name in (g.split() for g in text.split(", ")))


def _smac(name, max_rounds, races, allies, enemies, ally_types, enemy_types=None, **places):
    ally_army, enemy_army = _army(allies), _army(enemies)
    return Scenario(
        id=f"smac_{name.lower()}",
        name=name,
        num_agents=sum(n for _, n in ally_army),
        num_enemies=sum(n for _, n in enemy_army),
        max_rounds=max_rounds,
        ally_race=races[0],
        enemy_race=races[1],
        ally_types=ally_types,
        enemy_types=enemy_types or ally_types,
        allies=ally_army,
        enemies=enemy_army,
        **places,
    )


_MARINES = [
    ("3m", 60, 3, 3), ("8m", 120, 8, 8), ("25m", 150, 25, 25), ("5m_vs_6m", 70, 5, 6),
    ("8m_vs_9m", 120, 8, 9), ("10m_vs_11m", 150, 10, 11), ("27m_vs_30m", 180, 27, 30),
]  # fmt: skip
_KITING = [("3s_vs_3z", 150, 3), ("3s_vs_4z", 200, 4), ("3s_vs_5z", 250, 5)]

_SMAC = [
    *(_smac(m, t, "TT", f"{n} marine", f"{k} marine", _M) for m, t, n, k in _MARINES),
    _smac(
        "MMM", 150, "TT",
        "7 marine, 2 marauder, 1 medivac", "7 marine, 2 marauder, 1 medivac", _MMM,
    ),
    _smac(
        "MMM2", 180, "TT",
        "7 marine, 2 marauder, 1 medivac", "8 marine, 3 marauder, 1 medivac", _MMM,
    ),
    _smac("2s3z", 120, "PP", "2 stalker, 3 zealot", "2 stalker, 3 zealot", _SZ, _SZ[::-1]),
    _smac("3s5z", 150, "PP", "3 stalker, 5 zealot", "3 stalker, 5 zealot", _SZ, _SZ[::-1]),
    _smac("3s5z_vs_3s6z", 170, "PP", "3 stalker, 5 zealot", "3 stalker, 6 zealot", _SZ, _SZ[::-1]),
    *(_smac(m, t, "PP", "3 stalker", f"{k} zealot", _SZ[:1], **_ARENA) for m, t, k in _KITING),
    _smac(
        "1c3s5z", 180, "PP",
        "1 colossus, 3 stalker, 5 zealot", "1 colossus, 3 stalker, 5 zealot", _CSZ,
    ),
    _smac(
        "2m_vs_1z", 150, "TP", "1 marine, 1 marine", "1 zealot", _M, terrain="octagon",
        ally_points=((13, 12), (19, 12)), enemy_points=((16, 19),), enemy_goal=((13, 12), (19, 12)),
    ),
    _smac(
        "corridor", 400, "PZ", "6 zealot", "24 zergling", ("zealot",), terrain="corridor",
        ally_points=((19.0397, 19.1198),), **_FAR_CORNER,
    ),
    _smac(
        "6h_vs_8z", 150, "ZP", "6 hydralisk", "8 zealot", ("hydralisk",), terrain="den",
        ally_points=((14.5998, 9.49),), enemy_points=((14.41, 16.7597),), enemy_goal=((14.5998, 9.49),),
    ),
    _smac(
        "2s_vs_1sc", 300, "PZ", "1 stalker, 1 stalker", "1 spine_crawler", ("stalker",), terrain="spine",
        ally_points=((11.1208, 10.338), (16.976, 10.3662)), enemy_points=((13.92, 20.0397),),
        enemy_order="none", enemy_goal=(),
    ),
    _smac(
        "so_many_baneling", 100, "PZ", "7 zealot", "32 baneling", ("zealot",), terrain="ravine",
        ally_points=((11.469, 12.0234),), **_FAR_CORNER,
    ),
    _smac(
        "bane_vs_bane", 200, "ZZ", "20 zergling, 4 baneling", "20 zergling, 4 baneling",
        ("baneling", "zergling"), terrain="octagon",
        ally_points=((16, 11), (16, 8)), enemy_points=((16, 21), (16, 24)), enemy_goal=((16, 8),),
    ),
    _smac(
        "2c_vs_64zg", 400, "PZ", "2 colossus", "64 zergling", ("colossus",), terrain="plateau",
        ally_points=((16, 16),), enemy_points=((16, 9),), enemy_order="attack", enemy_goal=(),
    ),
]  # fmt: skip

# Probabilities of the types in a team; a team of exceptions alone is drawn again.
SMACV2_TYPES = {
    "protoss": {"stalker": 0.45, "zealot": 0.45, "colossus": 0.1},
    "terran": {"marine": 0.45, "marauder": 0.45, "medivac": 0.1},
    "zerg": {"zergling": 0.45, "hydralisk": 0.45, "baneling": 0.1},
}
SMACV2_EXCEPTIONS = {"protoss": (), "terran": ("medivac",), "zerg": ("baneling",)}
SMACV2_SIZES = ((5, 5), (10, 10), (20, 20), (10, 11), (20, 23))
SMACV2_MAX_ROUNDS = 200


def _smacv2(race: str, allies: int, enemies: int) -> Scenario:
    types, letter = tuple(SMACV2_TYPES[race]), race[0].upper()
    return Scenario(
        f"smacv2_{race}_{allies}_vs_{enemies}", f"10gen_{race}", allies, enemies,
        SMACV2_MAX_ROUNDS, letter, letter, types, types, terrain="flat",
        ally_points=((8, 16),), enemy_points=((24, 16),), enemy_order="closest", enemy_goal=(),
    )  # fmt: skip


_SMACV2 = [_smacv2(race, *sizes) for race in SMACV2_TYPES for sizes in SMACV2_SIZES]

SCENARIOS = {s.id: s for s in [*_SMAC, *_SMACV2]}


def scenario(id: str) -> Scenario:
    """The scenario of an id; ValueError naming the closest ids."""
    if id in SCENARIOS:
        return SCENARIOS[id]
    close = difflib.get_close_matches(id, SCENARIOS, n=3, cutoff=0.0)
    raise ValueError(f"{id!r} is not a StarCraft scenario; the closest are {', '.join(close)}")
