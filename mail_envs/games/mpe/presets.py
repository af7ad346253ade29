"""The rules of the different versions of the particle environments, as one table.

`mpe2`: MPE2 1.1.1. `pettingzoo122`: PettingZoo 1.22.4, the last release that updates velocities before
positions. `openai`: openai/multiagent-particle-envs. `magail`: the fork in ermongroup/multiagent-gail, used by
MAGAIL and AMAGAIL; it has no working `simple_reference`.

Actions are (none, left, right, down, up) in all of them, as in MPE2. The older versions encode the same actions with
other signs.
"""

from __future__ import annotations

from dataclasses import dataclass

from mail_envs.counts import check_kind
from mail_envs.games.particle.world import choice


@dataclass(frozen=True)
class Preset:
    """The rules of one version; each scenario uses those that apply to it.

    Attributes:
        integration: order of the physics step, see `mail_envs.games.particle.world`.
        max_rounds: default time limit.
        team_sum: cooperating agents all get the sum of their rewards. Otherwise spread and reference
            mix the team's reward with the agent's own (`local_ratio`).
        spread_penalty: penalty for overlaps: 1 per agent ("hard") or the depth of the overlap ("soft").
        spread_self: an agent also overlaps with itself, which adds a constant.
        spread_position: agents observe their own position.
        success_ends: spread ends when all landmarks are covered, speaker_listener at the goal.
        reference_square, listener_square, adversary_square: rewards use the squared distance.
        push_hard: the adversary is heavy, and is rewarded for driving the agent off instead of its own
            distance to the goal.
        crypto_words: length of the messages.
        food_reward: in world_comm, the reward per unit of distance to the nearest food.
    """

    integration: str = "position_first"
    max_rounds: int = 25
    team_sum: bool = False
    spread_penalty: str = "hard"
    spread_self: bool = False
    spread_position: bool = True
    success_ends: bool = False
    reference_square: bool = False
    listener_square: bool = True
    adversary_square: bool = False
    push_hard: bool = False
    crypto_words: int = 4
    food_reward: float = -0.05


_OPENAI = {
    "integration": "velocity_first",
    "team_sum": True,
    "spread_self": True,
    "adversary_square": True,
    "food_reward": 0.05,
}
PRESETS = {
    "mpe2": Preset(),
    "pettingzoo122": Preset(integration="velocity_first"),
    "openai": Preset(**_OPENAI, reference_square=True),
    "magail": Preset(
        **_OPENAI,
        max_rounds=50,
        spread_penalty="soft",
        spread_position=False,
        success_ends=True,
        listener_square=False,
        push_hard=True,
        crypto_words=3,
    ),
}


def preset_rules(name: str, missing: tuple[str, ...] = ()) -> Preset:
    """The rules of a preset; ValueError if it is unknown, or has no such scenario (`missing`)."""
    choice("preset", name, tuple(PRESETS))
    if name in missing:
        others = ", ".join(repr(p) for p in PRESETS if p not in missing)
        raise ValueError(f"preset={name!r} does not have this scenario; use one of {others}")
    return PRESETS[name]


def mixing(rules: Preset, local_ratio: float | None) -> dict[str, float | bool]:
    """Parameters for sharing rewards: weights of the team's and the agent's part, and whether they are summed."""
    check_kind("local_ratio", local_ratio, "float | None")
    if rules.team_sum:
        if local_ratio is not None:
            raise ValueError(
                f"local_ratio={local_ratio!r}: this preset sums the rewards of the team; only "
                "'mpe2' and 'pettingzoo122' mix them"
            )
        return {"team_weight": 1.0, "own_weight": 1.0, "team_sum": True}
    own = 0.5 if local_ratio is None else float(local_ratio)
    if not 0.0 <= own <= 1.0:
        raise ValueError(f"local_ratio={local_ratio!r} is not in [0, 1]")
    return {"team_weight": 1.0 - own, "own_weight": own, "team_sum": False}


def convention(name: str, rules: Preset) -> str:
    """The reward convention, as stored with demonstrations."""
    return f"preset {name}, {rules.integration}, {'team sum' if rules.team_sum else 'no team sum'}"
