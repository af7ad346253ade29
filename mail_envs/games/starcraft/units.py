"""The units of the SMAC maps, with values from the game data.

All SMAC and SMACv2 maps depend on `Liberty.SC2Mod` alone, so these are the values of the Wings of Liberty campaign
(SC2Mapster/SC2GameData, equal in 4.6.2 and 4.10.4), not those of the Legacy of the Void tables. Times are *normal*
seconds of 16 game loops; a SMAC step is 8 loops. The agents' `_RL` copies of the units have the same values.

A type's number is its place in `TYPES`. The first nine are in alphabetical order, in which the game numbers the
agents' copies, too: sorting agents by type number sorts them as SMAC does.
"""

from __future__ import annotations

from dataclasses import dataclass

LOOPS_PER_SECOND = 16
LOOPS_PER_STEP = 8
COOLDOWN_JITTER = (-1.0, 2.0)  # loops, uniform, added to every cooldown

SHIELD_DELAY = 160  # loops without damage before shields regenerate
SHIELD_REGENERATION = 2.0  # per second
ZERG_REGENERATION = 0.2734  # life per second
ENERGY_REGENERATION = 0.5625  # per second
START_ENERGY, MAX_ENERGY = 50.0, 200.0
HEAL = 9.0  # life per second
ENERGY_PER_LIFE = 0.33
RANGE_SLOP = 1.0  # a shot that was begun reaches this much farther; not colossus and spine crawler
MIN_SCAN_RANGE = 5.0
MIN_DAMAGE = 0.5


@dataclass(frozen=True)
class Unit:
    """One unit type.

    Attributes:
        raw_id: the stock unit's number in the game's API.
        race: "T", "P" or "Z".
        health, shield, armor: full values; armor counts for life only, and per hit.
        attributes: of "light", "armored", "biological", "mechanical", "massive", "structure".
        speed: units of distance per second; `acceleration` per second squared, None: at once.
        radius: for ranges, which are measured from edge to edge; `separation`: for pushing.
        sight: distance at which the game itself lifts the fog of war.
        damage, hits, bonus, bonus_against: of one attack: `hits` times damage (+ bonus against an attribute).
        period: seconds from attack to attack. `damage_point`: seconds from the order to the first hit or launch.
        hit_gap: seconds between hits.
        range: of the weapon; heal range of a medivac. `targets`: of "ground", "air".
        missile_speed: units of distance per second, None: hits at once.
        flies: whether it is in the air; a colossus stands on the ground and can be hit from both.
    """

    raw_id: int
    race: str
    health: float
    sight: float
    radius: float
    shield: float = 0.0
    armor: float = 0.0
    attributes: tuple[str, ...] = ()
    speed: float = 2.25
    acceleration: float | None = None
    separation: float = 0.375
    damage: float = 0.0
    hits: int = 1
    bonus: float = 0.0
    bonus_against: str = ""
    period: float = 0.0
    damage_point: float = 0.0
    hit_gap: float = 0.0
    range: float = 0.0
    targets: tuple[str, ...] = ("ground",)
    missile_speed: float | None = None
    flies: bool = False

    @property
    def longest_cooldown(self) -> float:
        """In loops, jitter included."""
        return self.period * LOOPS_PER_SECOND + COOLDOWN_JITTER[1]


UNITS = {
    "baneling": Unit(  # explodes: 20 (+ 15 light) to enemies on the ground within 2.2, 80 to structures
        9, "Z", 30, sight=8, radius=0.375, attributes=("biological",), speed=2.5,
        damage=20, bonus=15, bonus_against="light", period=0.833, range=0.25,
    ),
    "colossus": Unit(  # two beams along a line of 2.5 across the shot, 20 each
        4, "P", 200, sight=10, radius=1.0, shield=150, armor=1,
        attributes=("armored", "mechanical", "massive"), separation=0.75,
        damage=20, hits=2, period=2.2, damage_point=0.0832, range=6,
    ),
    "hydralisk": Unit(
        107, "Z", 80, sight=9, radius=0.625, attributes=("light", "biological"), separation=0.5,
        damage=12, period=0.83, damage_point=0.208, range=5, targets=("ground", "air"), missile_speed=40,
    ),
    "marauder": Unit(
        51, "T", 125, sight=10, radius=0.5625, armor=1, attributes=("armored", "biological"), separation=0.5,
        damage=10, bonus=10, bonus_against="armored", period=1.5, range=6, missile_speed=20,
    ),
    "marine": Unit(
        48, "T", 45, sight=9, radius=0.375, attributes=("light", "biological"),
        damage=6, period=0.8608, damage_point=0.05, range=5, targets=("ground", "air"),
    ),
    "medivac": Unit(  # heals biological friends
        54, "T", 150, sight=11, radius=0.75, armor=1, attributes=("armored", "mechanical"),
        speed=2.75, acceleration=2.3125, separation=0.75, range=4, targets=(), flies=True,
    ),
    "stalker": Unit(
        74, "P", 80, sight=10, radius=0.625, shield=80, armor=1, attributes=("armored", "mechanical"),
        speed=2.9531, separation=0.625, damage=10, bonus=4, bonus_against="armored",
        period=1.44, damage_point=0.167, range=6, targets=("ground", "air"), missile_speed=18.75,
    ),
    "zealot": Unit(
        73, "P", 100, sight=9, radius=0.5, shield=50, armor=1, attributes=("light", "biological"),
        damage=8, hits=2, hit_gap=0.28, period=1.2, range=0.1,
    ),
    "zergling": Unit(
        105, "Z", 35, sight=8, radius=0.375, attributes=("light", "biological"), speed=2.9531,
        damage=5, period=0.696, damage_point=0.167, range=0.1,
    ),
    "spine_crawler": Unit(  # missile: at least this speed, it accelerates
        98, "Z", 300, sight=11, radius=0.875, armor=2, attributes=("armored", "biological", "structure"),
        speed=0.0, separation=0.875, damage=25, bonus=5, bonus_against="armored",
        period=1.6, damage_point=0.3332, range=7, missile_speed=12,
    ),
}  # fmt: skip

TYPES = tuple(UNITS)
BANELING, COLOSSUS, HYDRALISK, MARAUDER, MARINE, MEDIVAC, STALKER, ZEALOT, ZERGLING = range(9)
SPINE_CRAWLER = 9

# Values in SMAC and SMACv2, by which the state is scaled. The cooldowns of stalker and colossus are swapped there.
SMAC_COOLDOWN = {
    "marine": 15, "marauder": 25, "stalker": 35, "zealot": 22, "colossus": 24,
    "hydralisk": 10, "zergling": 11, "baneling": 1,
}  # fmt: skip
SMAC_OTHER_COOLDOWN = 15
SMAC_SIGHT, SMAC_RANGE = 9, 6  # of every unit, between centers

# With `use_unit_ranges`, as in all published SMACv2 scenarios; ranges below `min_attack_range` are raised to it.
SMACV2_RANGE = {
    "stalker": 6, "zealot": 0.1, "colossus": 7, "zergling": 0.1, "baneling": 0.25, "hydralisk": 5,
    "marine": 5, "marauder": 6, "medivac": 4,
}  # fmt: skip
SMACV2_SIGHT = {
    "stalker": 10, "zealot": 9, "colossus": 10, "zergling": 8, "baneling": 8, "hydralisk": 9,
    "marine": 9, "marauder": 10, "medivac": 11,
}  # fmt: skip
