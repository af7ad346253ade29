"""GAIL: generative adversarial imitation of the whole team as if it were one agent (Ho & Ermon, 2016).

One discriminator sees the observations and actions of all agents and gives one score, which is the reward of all. One
policy sees all observations; given these, agents act independently. It is the policy of `learners.mat --decoder none`,
trained as in `learners.mild2`, whose settings it shares.

    python -m learners.gail --env coop_nav --demos scripted --num-demos 200
"""

from __future__ import annotations

import dataclasses
from typing import Literal

from learners import mild2
from learners.lib.run import main

PRESETS = {"paper": mild2.SMAC, "quick": mild2.PRESETS["quick"]}


@dataclasses.dataclass(frozen=True)
class Args(mild2.Args):
    """Imitate the team as one agent (GAIL)."""

    preset: Literal["default", "paper", "quick"] = "default"
    discriminator: mild2.Judge = "single"
    decoder: Literal["autoregressive", "none"] = "none"


def train(args: Args) -> dict:
    """Run GAIL; returns the evaluation of the trained policy."""
    return mild2.imitate("gail", args)


if __name__ == "__main__":
    main(Args, PRESETS, train)
