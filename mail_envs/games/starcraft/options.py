"""The original's options for observations, actions and rewards.

Names and defaults are those of `StarCraft2Env` in oxwhirl/smac and oxwhirl/smacv2, except `mask_targets`, which is
called `action_mask` there.
"""

from __future__ import annotations

import dataclasses
import difflib
from dataclasses import dataclass

import numpy as np

from mail_envs.counts import check_kind
from mail_envs.games.particle.world import choice
from mail_envs.games.starcraft.maps import Scenario

VARIANTS = ("standard", "epo", "conic")


@dataclass(frozen=True)
class Options:
    """Observation, action and reward options of a scenario.

    Attributes:
        faithful: reproduce the original's quirks, which the pages of smac_* and smacv2_* ids list.
        move_amount: distance of a move order; the mask tests half of it.
        obs_all_health: health and shield of all units; obs_own_health: the agent's own, if the others' are hidden.
        obs_last_action: the last actions of visible allies.
        obs_pathing_grid, obs_terrain_height: walkability of 8 and height of 9 points around the agent.
        obs_instead_of_state: the state is the concatenation of all observations.
        obs_timestep_number, state_timestep_number: rounds played, as a fraction of the limit.
        state_last_action: the agents' last actions.
        reward_sparse: 1 for a victory, -1 for a defeat, otherwise 0.
        reward_only_positive: do not subtract the allies' losses, scaled by `reward_negative_scale`.
        reward_death_value, reward_win, reward_defeat: per enemy killed, for a victory, for a defeat.
        reward_scale: scale rewards so that the largest possible sum is `reward_scale_rate`.
        max_rounds: the episode limit; None: the scenario's.

    SMACv2 only:
        obs_own_pos: the agent's own position on the map.
        obs_starcraft: False leaves only the time step.
        conic_fov, num_fov_actions: agents see and shoot within a cone, and have actions to turn it.
        use_unit_ranges, min_attack_range: sight and range of the unit's type instead of 9 and 6.
        fully_observable: unlimited sight.
        prob_obs_enemy: probability that an agent is shown an enemy that another agent saw first.
        mask_targets: False allows every living target; orders out of range do nothing.
    """

    faithful: bool = False
    move_amount: float = 2
    obs_all_health: bool = True
    obs_own_health: bool = True
    obs_last_action: bool = False
    obs_pathing_grid: bool = False
    obs_terrain_height: bool = False
    obs_instead_of_state: bool = False
    obs_timestep_number: bool = False
    state_last_action: bool = True
    state_timestep_number: bool = False
    reward_sparse: bool = False
    reward_only_positive: bool = True
    reward_death_value: float = 10
    reward_win: float = 200
    reward_defeat: float = 0
    reward_negative_scale: float = 0.5
    reward_scale: bool = True
    reward_scale_rate: float = 20
    max_rounds: int | None = None
    obs_own_pos: bool = False
    obs_starcraft: bool = True
    conic_fov: bool = False
    num_fov_actions: int = 12
    use_unit_ranges: bool = False
    min_attack_range: float = 2
    fully_observable: bool = False
    prob_obs_enemy: float = 1.0
    mask_targets: bool = True

    @property
    def num_looks(self) -> int:
        """Actions that turn the cone."""
        return self.num_fov_actions if self.conic_fov else 0

    @property
    def sees_own_health(self) -> bool:
        return self.obs_own_health or self.obs_all_health


V2_ONLY = (
    "obs_own_pos", "obs_starcraft", "conic_fov", "num_fov_actions", "use_unit_ranges",
    "min_attack_range", "fully_observable", "prob_obs_enemy", "mask_targets",
)  # fmt: skip

# Options of the published SMACv2 scenarios and of their variants.
PUBLISHED = {"obs_own_pos": True, "use_unit_ranges": True}
VARIANT_OPTIONS = {
    "standard": {},
    "epo": {"prob_obs_enemy": 0.0, "mask_targets": False},
    "conic": {"conic_fov": True},
}


def make_options(scenario: Scenario, variant: str | None = "standard", **options) -> Options:
    """The options of a scenario: the published ones, the variant's, then `options`.

    variant: "standard", "epo" (extended partial observability: only the agent that saw an enemy first sees it) or
    "conic". options: fields of `Options`; `action_mask`, the original's name of `mask_targets`, also works.
    """
    variant = variant or "standard"
    if "action_mask" in options:
        options["mask_targets"] = options.pop("action_mask")
    choice("variant", variant, VARIANTS)
    names = [field.name for field in dataclasses.fields(Options)]
    for name in options:
        if name not in names:
            close = difflib.get_close_matches(name, names, n=3, cutoff=0.3)
            raise TypeError(f"{scenario.id} has no option {name!r}; the closest are {close}")
        if scenario.version == 1 and name in V2_ONLY:
            raise TypeError(f"{name}= is an option of smacv2_* ids, not of {scenario.id}")
    if scenario.version == 2:
        options = {**PUBLISHED, **VARIANT_OPTIONS[variant], **options}
    elif variant != "standard":
        raise ValueError(f"variant={variant!r}: only smacv2_* ids have variants, not {scenario.id}")
    made = Options(**options)
    _check(made)
    return made


def _check(options: Options) -> None:
    for field in dataclasses.fields(options):
        value = getattr(options, field.name)
        check_kind(field.name, value, str(field.type))
        if value is not None and not np.isfinite(value):
            raise ValueError(f"{field.name}={value!r} must be finite")
    if not 0 < options.move_amount <= 8:
        raise ValueError(
            f"move_amount={options.move_amount!r} must be greater than 0 and at most 8"
        )
    if options.reward_scale_rate <= 0:
        raise ValueError(f"reward_scale_rate={options.reward_scale_rate!r} must be more than 0")
    if not 0.0 <= options.prob_obs_enemy <= 1.0:
        raise ValueError(f"prob_obs_enemy={options.prob_obs_enemy!r} is not in [0, 1]")
    if options.conic_fov and options.num_fov_actions < 3:
        raise ValueError(f"num_fov_actions={options.num_fov_actions!r} must be at least 3")
    if not options.obs_starcraft and not options.obs_timestep_number:
        raise ValueError(
            "obs_starcraft=False leaves an empty observation; add obs_timestep_number=True"
        )
    if options.max_rounds is not None and options.max_rounds < 1:
        raise ValueError(f"max_rounds={options.max_rounds!r} must be at least 1")
