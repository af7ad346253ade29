"""The suite's own games, one file each (a folder where a game needs several), and their ids."""

from mail_envs.registry import register


def _turn_order(num_agents: int):
    """Rounds of all agents, all but the last, ..., the first alone (3, 2, 1 for three agents)."""
    from mail_envs.player_functions import TurnOrder

    return TurnOrder([list(range(k)) for k in range(num_agents, 0, -1)])


def _half(num_agents: int):
    from mail_envs.player_functions import Stochastic

    return Stochastic(0.5)


def _prey_always(num_agents: int):
    from mail_envs.player_functions import Stochastic

    return Stochastic([1.0] + [0.5] * (num_agents - 1))


_NAV = "mail_envs.games.particle.coop_nav:CoopNav"
_REACHING = "mail_envs.games.particle.coop_reaching:CoopReaching"
_PREY = "mail_envs.games.particle.predator_prey:PredatorPrey"

for _id, _entry, _player, _summary in (
    ("coop_nav", _NAV, None, "agents share out landmarks; all act every round"),
    ("deterministic_coop_nav", _NAV, _turn_order, "the same; rounds of three, two and one agent"),
    ("stochastic_coop_nav", _NAV, _half, "the same; each agent acts with probability 0.5"),
    ("coop_reaching", _REACHING, None, "agents gather at one landmark; all act every round"),
    ("deterministic_coop_reaching", _REACHING, _turn_order, "the same; rounds of three, two, one"),
    ("predator_prey", _PREY, None, "adversaries chase a faster prey; all act every round"),
    ("stochastic_predator_prey", _PREY, _prey_always, "the same; adversaries act half of the time"),
):
    register(_id, _entry, player_function=_player, family="particle", summary=_summary)
