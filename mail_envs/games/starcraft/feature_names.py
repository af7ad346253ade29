"""Names of all numbers in observations and the state."""

from __future__ import annotations

from mail_envs.games.starcraft.layout import num_actions
from mail_envs.games.starcraft.maps import Scenario, scenario
from mail_envs.games.starcraft.options import Options, make_options

MOVES = ("north", "south", "east", "west")
POINTS = (*(f"far_{move}" for move in MOVES), "northeast", "southwest", "southeast", "northwest")


def observation_names(id: str, variant: str | None = "standard", **options) -> list[str]:
    """Names of the numbers in an observation, such as "enemy_2.distance" or "own.health"."""
    of = scenario(id)
    chosen = make_options(of, variant, **options)
    if not chosen.obs_starcraft:
        return ["time"]
    names = [f"can_move.{move}" for move in MOVES]
    names += [f"path.{point}" for point in POINTS] * chosen.obs_pathing_grid
    names += [f"height.{point}" for point in (*POINTS, "own")] * chosen.obs_terrain_height
    for k in range(of.num_enemies):
        names += [f"enemy_{k}.{x}" for x in _seen("attackable", of.enemy_race, of, chosen, False)]
    for k in range(of.num_agents - 1):
        names += [f"ally_{k}.{x}" for x in _seen("visible", of.ally_race, of, chosen, True)]
    names += [f"own.{x}" for x in _own(of, chosen)]
    return names + ["time"] * chosen.obs_timestep_number


def state_names(id: str, variant: str | None = "standard", **options) -> list[str]:
    """Names of the numbers in the state, such as "ally_0.cooldown"."""
    of = scenario(id)
    chosen = make_options(of, variant, **options)
    if chosen.obs_instead_of_state:
        own = observation_names(id, variant, **options)
        return [f"agent_{i}.{name}" for i in range(of.num_agents) for name in own]
    ally = ["health", "cooldown_or_energy", "x", "y", *_shield(of.ally_race)]
    ally += ["look_x", "look_y"] * chosen.conic_fov + _types(of, True, chosen)
    enemy = ["health", "x", "y", *_shield(of.enemy_race), *_types(of, False, chosen)]
    names = [f"ally_{i}.{x}" for i in range(of.num_agents) for x in ally]
    names += [f"enemy_{k}.{x}" for k in range(of.num_enemies) for x in enemy]
    if chosen.state_last_action:
        names += [f"ally_{i}.{x}" for i in range(of.num_agents) for x in _last(of, chosen)]
    return names + ["time"] * chosen.state_timestep_number


def _shield(race: str) -> list[str]:
    return ["shield"] * (race == "P")


def _types(of: Scenario, ally: bool, chosen: Options) -> list[str]:
    types = of.ally_types if ally or not chosen.faithful else of.enemy_types
    return [f"is_{t}" for t in types] if of.type_bits else []


def _last(of: Scenario, chosen: Options) -> list[str]:
    return [f"last_action_{a}" for a in range(num_actions(of, chosen))]


def _seen(first: str, race: str, of: Scenario, chosen: Options, ally: bool) -> list[str]:
    health = ["health", *_shield(race)] if chosen.obs_all_health else []
    last = _last(of, chosen) if ally and chosen.obs_last_action else []
    return [first, "distance", "dx", "dy", *health, *_types(of, ally, chosen), *last]


def _own(of: Scenario, chosen: Options) -> list[str]:
    names = ["health", *_shield(of.ally_race)] if chosen.sees_own_health else []
    names += ["x", "y"] * chosen.obs_own_pos + ["look_x", "look_y"] * chosen.conic_fov
    names += _types(of, True, chosen)
    padding = chosen.faithful and of.version == 1 and chosen.obs_timestep_number
    return names + ["nothing"] * padding
