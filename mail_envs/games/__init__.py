"""The native games, one file each (or a folder), and the registration of their ids."""

from mail_envs.games.hands.tasks import TASKS
from mail_envs.games.starcraft.maps import SCENARIOS
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

_COVER = "three agents cover three landmarks"
_GATHER = "three agents gather around one landmark"
_CHASE = "three adversaries chase a faster prey"
_ORDER = "rounds of three, two and one agent"

# fmt: off
for _id, _entry, _player, _summary in (
    ("coop_nav", _NAV, None, f"{_COVER}; all act in every round"),
    ("deterministic_coop_nav", _NAV, _turn_order, f"{_COVER}; {_ORDER}"),
    ("stochastic_coop_nav", _NAV, _half, f"{_COVER}; each acts with probability 0.5"),
    ("coop_reaching", _REACHING, None, f"{_GATHER}; all act in every round"),
    ("deterministic_coop_reaching", _REACHING, _turn_order, f"{_GATHER}; {_ORDER}"),
    ("predator_prey", _PREY, None, f"{_CHASE}; all act in every round"),
    ("stochastic_predator_prey", _PREY, _prey_always,
     f"{_CHASE}, which always acts first; they act with probability 0.5"),
):
    register(_id, _entry, player_function=_player, family="particle", summary=_summary)

for _name, _file, _class, _summary in (
    ("", "simple", "Simple", "one agent goes to one landmark"),
    ("_spread", "spread", "SimpleSpread", "agents cover landmarks; MPE2's rewards and rounds"),
    ("_reference", "reference", "SimpleReference", "two agents tell each other in words where to go"),
    ("_speaker_listener", "speaker_listener", "SimpleSpeakerListener",
     "a speaker that cannot move directs a listener that cannot speak"),
    ("_tag", "tag", "SimpleTag", "adversaries chase faster agents around obstacles"),
    ("_adversary", "adversary", "SimpleAdversary",
     "good agents hide from an adversary which landmark is the goal"),
    ("_push", "push", "SimplePush", "an adversary keeps an agent away from its goal"),
    ("_crypto", "crypto", "SimpleCrypto", "Alice tells Bob a secret, Eve listens"),
    ("_world_comm", "world_comm", "SimpleWorldComm", "tag with food, forests and a leader that speaks"),
):
    register(
        f"mpe_simple{_name}",
        f"mail_envs.games.mpe.{_file}:{_class}",
        family="mpe",
        summary=_summary,
        backends={"mpe2": f"mail_envs.adapters.mpe2:simple{_name}"},
    )
# fmt: on

for _difficulty, _enemies in (
    ("easy", "two Greedy bots"),
    ("medium", "Greedy and DeepMind"),
    ("hard", "DeepMind and BlackPanther"),
):
    register(
        f"gold_miner_{_difficulty}_2_vs_2",
        "mail_envs.games.gold_miner.game:GoldMiner",
        arguments={"difficulty": _difficulty},
        family="gold_miner",
        summary=f"two miners dig for more gold than {_enemies}",
    )

for _id, _scenario in SCENARIOS.items():
    register(
        _id,
        "mail_envs.games.starcraft.game:StarCraft",
        arguments={"battle": _id},
        family=_id.partition("_")[0],
        summary=_scenario.summary,
        backends={"starcraft2": "mail_envs.adapters.starcraft2:StarCraft2"},
    )

for _name, _task in TASKS.items():
    register(
        f"bidexhands_{_name}",
        "mail_envs.games.hands.game:Hands",
        arguments={"task": _name},
        family="bidexhands",
        summary=_task.summary,
        backends={
            "isaacgym": "mail_envs.adapters.isaacgym:IsaacGym",
            "mujoco_warp": "mail_envs.adapters.mujoco_warp:WarpHands",
        },
    )
