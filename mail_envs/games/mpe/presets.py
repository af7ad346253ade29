"""The versions of the particle environments, as one table: which rules of which ancestor.

`mpe2`: MPE2 1.1.1. `pettingzoo122`: PettingZoo 1.22.4, the last release that moved bodies with their new
velocity. `openai`: openai/multiagent-particle-envs. `magail`: the fork in ermongroup/multiagent-gail, on
which MAGAIL's and AMAGAIL's figures rest; it cannot build `simple_reference`, which has no end there.

Actions mean the same in all of them: (none, left, right, down, up), as in MPE2. The ancestors' codings
differ in signs, not in what can be done.
"""

from __future__ import annotations

from dataclasses import dataclass

from mail_envs.games.particle.world import choice


@dataclass(frozen=True)
class Preset:
    """The rules of one version; scenarios read what concerns them.

    Attributes:
        integration: order of the physics step, see `mail_envs.games.particle.world`.
        max_rounds: default time limit.
        team_sum: cooperating agents all get the sum of their rewards. Otherwise spread and reference
            mix the team's reward with the agent's own (`local_ratio`).
        spread_penalty: for overlapping: 1 for each agent ("hard") or the depth ("soft").
        spread_self: an agent overlaps with itself, too: a constant.
        spread_position: agents observe their own position.
        success_ends: spread ends when all landmarks are covered, speaker_listener at the goal.
        reference_square, listener_square, adversary_square: the squared distance counts.
        push_hard: the adversary is heavy and paid for driving the agent off, not for the goal.
        crypto_words: length of the messages.
        food_reward: world_comm: for every unit of distance to the nearest food.
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
    """The rules called `name`; ValueError when there are none, or none of this scenario (`missing`)."""
    choice("preset", name, tuple(PRESETS))
    if name in missing:
        others = ", ".join(repr(p) for p in PRESETS if p not in missing)
        raise ValueError(f"preset={name!r} does not have this scenario; take one of {others}")
    return PRESETS[name]


def mixing(rules: Preset, local_ratio: float | None) -> dict[str, float | bool]:
    """Parameters by which agents share rewards: weights of the team's and the own part, and whether summed."""
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
    """What is stored with demonstrations."""
    return f"preset {name}, {rules.integration}, {'team sum' if rules.team_sum else 'no team sum'}"
