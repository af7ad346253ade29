"""Speed of the environments of other libraries.

Each function returns another one that plays so many steps, with random actions drawn beforehand, or None where the peer does
not have so many copies. MPE2 is measured on all scenarios, with one copy; VMAS and JaxMARL on simple_spread (cooperative
navigation, N = 3), which no other game of the particle family is compared with. Multi-Agent MuJoCo is in
`mail_envs.commands.mamujoco_peers`, StarCraft, including JaxMARL's SMAX, in `mail_envs.commands.starcraft_peers`, and
football in `mail_envs.commands.football_peers`.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable

from mail_envs.commands import football_peers, hands_peers, mamujoco_peers, starcraft_peers
from mail_envs.commands.rates import DRAWN, Run, aec_turns, drawn_actions

AGENTS = 3
ROUNDS = 50
SPREAD = "simple_spread"


def mpe2_scenario(scenario: str):
    """MPE2's module of a scenario, which exists in one version."""
    version = 4 if scenario == "simple_speaker_listener" else 3
    return importlib.import_module(f"mpe2.{scenario}_v{version}")


def mpe2_parallel(scenario: str, num_envs: int) -> Run | None:
    """MPE2's parallel environment; it has no vectorized version."""
    if num_envs != 1:
        return None
    env = mpe2_scenario(scenario).parallel_env(max_cycles=ROUNDS)
    env.reset(seed=0)
    actions = drawn_actions(env)
    rounds = [{a: drawn[k] for a, drawn in actions.items()} for k in range(DRAWN)]

    def run(calls: int) -> int:
        for k in range(calls):
            env.step(rounds[k % DRAWN])
            if not env.agents:
                env.reset()
        return calls

    return run


def mpe2_aec(scenario: str) -> Run:
    """MPE2's AEC environment, in agent turns."""
    return aec_turns(mpe2_scenario(scenario).env(max_cycles=ROUNDS))


def vmas(scenario: str, num_envs: int) -> Run:
    """VMAS on one CPU thread."""
    import torch
    import vmas as package

    torch.set_num_threads(1)
    env = package.make_env(
        scenario,
        num_envs=num_envs,
        device="cpu",
        continuous_actions=False,
        seed=0,
        n_agents=AGENTS,
        max_steps=ROUNDS,
    )
    env.reset()
    drawn = torch.randint(0, 5, (16, AGENTS, num_envs))

    def run(calls: int) -> int:
        for k in range(calls):
            done = env.step(list(drawn[k % 16]))[2]
            if done.any():  # all copies end at the same time
                env.reset()
        return calls * num_envs

    return run


def jaxmarl(scenario: str, num_envs: int) -> Run | None:
    """JaxMARL on the CPU: vmap over environments, jit over one step with autoreset."""
    if scenario.startswith(starcraft_peers.SMAX):
        return starcraft_peers.smax(scenario, num_envs)
    import jax

    with starcraft_peers.without_greetings():
        import jaxmarl as package

        env = package.make(f"MPE_{scenario}_v3", num_agents=AGENTS, action_type="Discrete")
    key = jax.random.PRNGKey(0)
    keys = jax.random.split(key, num_envs)
    _, state = jax.vmap(env.reset)(keys)
    step = jax.jit(jax.vmap(env.step))
    drawn = [
        {a: jax.random.randint(k, (num_envs,), 0, 5) for a in env.agents}
        for k in jax.random.split(key, 16)
    ]

    def run(calls: int) -> int:
        current = state
        for k in range(calls):
            _, current, *_ = step(keys, current, drawn[k % 16])
        jax.block_until_ready(current)
        return calls * num_envs

    return run


PEERS: dict[str, Callable[[str, int], Run | None]] = {
    "mpe2": mpe2_parallel,
    "vmas": vmas,
    "jaxmarl": jaxmarl,
    "smaclite": starcraft_peers.smaclite,
    "gymnasium_robotics": mamujoco_peers.mamujoco_v1,
    "envpool": mamujoco_peers.envpool,
    "gfootball": football_peers.gfootball,
    "engine": football_peers.bare_engine,
    "mj_step": hands_peers.mj_step,
}
# Modules that a peer needs, where it is not the one of its name.
MODULES = {
    "gfootball": ("gfootball", "gym"),
    "engine": ("envpool",),
    "mj_step": ("mujoco", "gymnasium_robotics"),
}
MAMUJOCO_PEERS = ("gymnasium_robotics", "envpool")
FOOTBALL_PEERS = ("gfootball", "engine")
HANDS_PEERS = ("mj_step",)
SIMULATOR_PEERS = (*MAMUJOCO_PEERS, *FOOTBALL_PEERS, *HANDS_PEERS)
# Families that are compared only with their own peers, in all scenarios.
OWN_PEERS = {"football": FOOTBALL_PEERS, "mamujoco": MAMUJOCO_PEERS, "bidexhands": HANDS_PEERS}
SOURCES = {
    "smaclite": "git+https://github.com/uoe-agents/smaclite"
}  # of libraries that are not on PyPI
STARCRAFT = ("smac", "smacv2")  # families


def scenario_of(peer: str, id: str, family: str) -> str | None:
    """The peer's scenario with which a game is compared; None if there is none."""
    if family in OWN_PEERS or peer in SIMULATOR_PEERS:
        return id if peer in OWN_PEERS.get(family, ()) else None
    if family in STARCRAFT or peer == "smaclite":
        return starcraft_peers.scenario_of(peer, id) if family in STARCRAFT else None
    if family == "mpe":
        scenario = id.removeprefix("mpe_")
        return scenario if peer == "mpe2" or scenario == SPREAD else None
    return SPREAD if id.endswith("coop_nav") and family == "particle" else None


def installed() -> list[str]:
    """Names of the installed peers."""
    return [
        name for name in PEERS if all(map(importlib.util.find_spec, MODULES.get(name, (name,))))
    ]
