"""External simulators with the interface of `mail_envs.simulator`, one file each.

A simulator is imported only when a game is made.
"""

from mail_envs.adapters.football.scenarios import SCENARIOS
from mail_envs.registry import register

_CHEETAH = "a two-legged cheetah runs"
_ANT = "a four-legged ant walks"

# fmt: off
for _id, _scenario, _conf, _summary in (
    ("halfcheetah_6x1", "HalfCheetah", "6x1", f"{_CHEETAH}; six agents with a joint each"),
    ("halfcheetah_2x3", "HalfCheetah", "2x3", f"{_CHEETAH}; an agent for each leg"),
    ("ant_4x2", "Ant", "4x2", f"{_ANT}; an agent for each leg"),
    ("ant_2x4", "Ant", "2x4", f"{_ANT}; agents for the front and the back legs"),
    ("ant_2x4d", "Ant", "2x4d", f"{_ANT}; agents for two diagonal legs each"),
    ("hopper_3x1", "Hopper", "3x1", "a one-legged robot hops; three agents with a joint each"),
    ("walker2d_2x3", "Walker2d", "2x3", "a two-legged robot walks; an agent for each leg"),
    ("humanoid_9p8", "Humanoid", "9|8", "a humanoid walks; agents for its upper and lower half"),
    ("humanoid_standup_9p8", "HumanoidStandup", "9|8", "a humanoid gets up; the same agents"),
    ("reacher_2x1", "Reacher", "2x1", "an arm reaches for a target; two agents with a joint each"),
    ("pusher_3p", "Pusher", "3p", "an arm pushes a cylinder; agents for shoulder, elbow and wrist"),
    ("swimmer_2x1", "Swimmer", "2x1", "a worm swims; two agents with a joint each"),
    ("many_segment_swimmer_10x2", "ManySegmentSwimmer", "10x2",
     "a worm of twenty joints swims; ten agents with two joints each"),
    ("many_segment_swimmer_6x1", "ManySegmentSwimmer", "6x1",
     "a worm of six joints swims; six agents with a joint each"),
    ("many_segment_ant_2x1", "ManySegmentAnt", "2x1", "two ants in a row walk; an agent for each"),
    ("many_segment_ant_3x1", "ManySegmentAnt", "3x1", "three ants in a row; an agent for each"),
    ("many_segment_ant_2x3", "ManySegmentAnt", "2x3", "six ants in a row; two agents with three"),
):
    register(
        f"mamujoco_{_id}",
        "mail_envs.adapters.mamujoco:MaMujoco",
        arguments={"scenario": _scenario, "conf": _conf},
        family="mamujoco",
        summary=_summary,
        backends={"mamujoco_v1": "mail_envs.adapters.mamujoco:MaMujocoV1"},
    )
# fmt: on

register(
    "mamujoco_coupled_halfcheetah_1p1",
    "mail_envs.adapters.mamujoco:MaMujocoV1",
    arguments={"scenario": "CoupledHalfCheetah", "conf": "1p1"},
    family="mamujoco",
    summary="two cheetahs tied together run, an agent for each; needs MuJoCo 3.5.0 or older",
)

for _id, _scenario in SCENARIOS.items():
    register(
        _id,
        "mail_envs.adapters.football.game:Football",
        arguments={"scenario": _id},
        family="football",
        summary=_scenario.summary,
        backends={
            "envpool": "mail_envs.adapters.football.game:FootballInEnvPool",
            "gfootball": "mail_envs.adapters.football.game:FootballInGfootball",
        },
    )
