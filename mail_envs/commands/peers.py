"""Other people's environments, to be measured beside ours.

Each function returns environment steps per CPU-second, with random actions drawn beforehand. MPE2 has all
scenarios, in one copy; VMAS and JaxMARL are measured on simple_spread (cooperative navigation, N = 3). Those
of Multi-Agent MuJoCo are in `mail_envs.commands.mamujoco_peers`, those of StarCraft, SMAX of JaxMARL among them,
in `mail_envs.commands.starcraft_peers`.
"""

from __future__ import annotations

import importlib
import importlib.util
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

AGENTS = 3
ROUNDS = 50
DRAWN = 1024  # actions drawn beforehand
SPREAD = "simple_spread"


@dataclass(frozen=True)
class Rate:
    """Steps a second, by processor time and by the clock on the wall."""

    cpu: float
    wall: float


def measure(run: Callable[[int], int], seconds: float) -> Rate:
    """Rate of `run(n)`, which makes n calls and returns the steps made: best of three trials.

    The best one is what the machine can do; on a shared machine the others measure the neighbors.
    """
    run(2)  # compiles; JAX may compile once more for what the first call returned
    calls, spent = 1, 0.0
    while spent < seconds / 20:  # find out how many calls fill a trial
        calls *= 2
        begin = time.process_time()
        run(calls)
        spent = time.process_time() - begin
    calls = max(1, int(calls * seconds / 3 / max(spent, 1e-9)))
    best = Rate(0.0, 0.0)
    for _ in range(3):
        begin, clock = time.process_time(), time.perf_counter()
        steps = run(calls)
        cpu, wall = time.process_time() - begin, time.perf_counter() - clock
        best = Rate(max(best.cpu, steps / cpu), max(best.wall, steps / wall))
    return best


def mpe2_scenario(scenario: str):
    """MPE2's module of a scenario, the only version that is installed."""
    version = 4 if scenario == "simple_speaker_listener" else 3
    return importlib.import_module(f"mpe2.{scenario}_v{version}")


def mpe2_parallel(scenario: str, num_envs: int, seconds: float) -> Rate | None:
    """MPE2's parallel environment; it has one copy only."""
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

    return measure(run, seconds)


def mpe2_aec(scenario: str, seconds: float) -> Rate:
    """MPE2's AEC environment, in agent turns."""
    return aec_turns(mpe2_scenario(scenario).env(max_cycles=ROUNDS), seconds)


def drawn_actions(env) -> dict[str, list]:
    """DRAWN random actions for every agent of a PettingZoo environment."""
    rng = np.random.default_rng(0)
    drawn = {}
    for agent in env.possible_agents:
        space = env.action_space(agent)
        discrete = hasattr(space, "n")
        drawn[agent] = (
            rng.integers(0, space.n, DRAWN).tolist()
            if discrete
            else list(rng.uniform(space.low, space.high, (DRAWN, *space.shape)).astype(np.float32))
        )
    return drawn


def drawn_choices(env) -> Callable:
    """A function (agent, turn, info) of random actions drawn beforehand."""
    actions = drawn_actions(env)

    def choose(agent, turn, info):
        return actions[agent][turn % DRAWN]

    return choose


def aec_turns(env, seconds: float, choose: Callable | None = None) -> Rate:
    """Agent turns of an AEC environment, `last` and `step` included.

    `choose(agent, turn, info)` gives the actions; without it they are random ones drawn beforehand.
    """
    choose = choose or drawn_choices(env)
    env.reset(seed=0)

    def run(calls: int) -> int:
        turns = 0
        while turns < calls:
            for agent in env.agent_iter():
                _, _, terminated, truncated, info = env.last()
                env.step(None if terminated or truncated else choose(agent, turns, info))
                turns += 1
            env.reset()
        return turns

    return measure(run, seconds)


def vmas(scenario: str, num_envs: int, seconds: float) -> Rate:
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
            if done.any():  # all copies are as old as each other
                env.reset()
        return calls * num_envs

    return measure(run, seconds)


def jaxmarl(scenario: str, num_envs: int, seconds: float) -> Rate | None:
    """JaxMARL on the CPU: vmap over environments, jit over one step with autoreset."""
    from mail_envs.commands import starcraft_peers

    if scenario.startswith(starcraft_peers.SMAX):
        return starcraft_peers.smax(scenario, num_envs, seconds)
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

    return measure(run, seconds)


def mamujoco_peer(name: str, scenario: str, num_envs: int, seconds: float) -> Rate | None:
    from mail_envs.commands import mamujoco_peers

    return getattr(mamujoco_peers, name)(scenario, num_envs, seconds)


def smaclite(scenario: str, num_envs: int, seconds: float) -> Rate | None:
    from mail_envs.commands import starcraft_peers

    return starcraft_peers.smaclite(scenario, num_envs, seconds)


PEERS: dict[str, Callable[[str, int, float], Rate | None]] = {
    "mpe2": mpe2_parallel,
    "vmas": vmas,
    "jaxmarl": jaxmarl,
    "smaclite": smaclite,
    "gymnasium_robotics": partial(mamujoco_peer, "mamujoco_v1"),
    "envpool": partial(mamujoco_peer, "envpool"),
}
MAMUJOCO_PEERS = ("gymnasium_robotics", "envpool")
SOURCES = {"smaclite": "git+https://github.com/uoe-agents/smaclite"}  # of those that PyPI lacks
STARCRAFT = ("smac", "smacv2")  # families


def scenario_of(peer: str, id: str, family: str) -> str | None:
    """The peer's scenario that a game of ours is compared with; None when it has none."""
    if family == "mamujoco" or peer in MAMUJOCO_PEERS:
        return id if family == "mamujoco" and peer in MAMUJOCO_PEERS else None
    if family in STARCRAFT or peer == "smaclite":
        from mail_envs.commands import starcraft_peers

        return starcraft_peers.scenario_of(peer, id) if family in STARCRAFT else None
    if family == "mpe":
        scenario = id.removeprefix("mpe_")
        return scenario if peer == "mpe2" or scenario == SPREAD else None
    return SPREAD if family == "particle" else None


def installed() -> list[str]:
    """Names of the peers that can be measured here."""
    return [name for name in PEERS if importlib.util.find_spec(name) is not None]
