"""Where units can walk, and where they begin."""

from __future__ import annotations

import numpy as np
import pytest

from mail_envs.games.starcraft.maps import SCENARIOS, SMACV2_EXCEPTIONS, SMACV2_TYPES
from mail_envs.games.starcraft.terrain import ROWS, SIZE, WALLED, height, pathing
from mail_envs.games.starcraft.units import TYPES, UNITS


def reachable(cells, x, y):
    """How many open cells can be reached from (x, y) by steps to the four sides."""
    seen, queue = {(x, y)}, [(x, y)]
    while queue:
        x, y = queue.pop()
        for nx, ny in ((x + 1, y), (x - 1, y), (x, y + 1), (x, y - 1)):
            if 0 <= nx < SIZE and 0 <= ny < SIZE and cells[nx, ny] and (nx, ny) not in seen:
                seen.add((nx, ny))
                queue.append((nx, ny))
    return len(seen)


def test_flags_of_the_map_files():
    counts = {name: int(pathing(name, diagonals=False).sum()) for name in ROWS}
    assert counts["flat"] == 1024 and counts["strip"] == 512
    assert counts["octagon"] == 352 and counts["plateau"] == 336
    strip = pathing("strip", diagonals=False)
    assert strip[:, 8:24].all() and not strip[:, :8].any() and not strip[:, 24:].any()


@pytest.mark.parametrize("name", WALLED)
def test_a_wall_two_cells_thick_surrounds_some_arenas(name):
    cells = pathing(name, diagonals=False)
    inside = reachable(cells, 14, 12)
    assert inside == {"spine": 168, "den": 152}[name]
    assert cells[0].all() and cells[:, 31].all()


def test_open_diagonals_join_the_rooms_of_the_corridor():
    assert reachable(pathing("corridor"), 19, 19) == 343
    assert reachable(pathing("corridor", diagonals=False), 19, 19) < 250


@pytest.mark.parametrize("diagonals", [False, True])
@pytest.mark.parametrize("id", SCENARIOS)
def test_armies_begin_on_open_ground(id, diagonals):
    of = SCENARIOS[id]
    cells = pathing(of.terrain, diagonals)
    for x, y in (*of.ally_points, *of.enemy_points, *of.enemy_goal):
        assert cells[int(x), int(y)]
    for army, points in ((of.allies, of.ally_points), (of.enemies, of.enemy_points)):
        assert len(points) in (1, len(army))


def test_the_plateau_is_higher_than_the_low_ground():
    heights = height("plateau") * 255
    assert heights[16, 16] == 207 and heights[16, 9] == 191 and heights[0, 0] == 175
    ramp = heights[3:8, 15]
    assert (np.diff(ramp) > 0).all()


def test_unit_types_are_in_the_order_of_the_games_numbers():
    assert list(TYPES[:9]) == sorted(TYPES[:9]) and len(TYPES) == 10
    assert len({unit.raw_id for unit in UNITS.values()}) == 10


@pytest.mark.parametrize("race", SMACV2_TYPES)
def test_weights_of_smacv2_teams(race):
    assert sum(SMACV2_TYPES[race].values()) == pytest.approx(1.0)
    assert set(SMACV2_EXCEPTIONS[race]) <= set(SMACV2_TYPES[race])
    assert all(UNITS[name].race == race[0].upper() for name in SMACV2_TYPES[race])


def test_cooldowns_by_which_the_default_state_divides():
    assert UNITS["marine"].longest_cooldown == pytest.approx(15.77, abs=0.01)
    assert UNITS["colossus"].longest_cooldown == pytest.approx(37.2)
