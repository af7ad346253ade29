"""Rollouts of every game, to be compared between plain Python, compiled code and CUDA.

`python tests/reference_rollouts.py OUT.npz DEVICE` writes them; the environment variables
NUMBA_DISABLE_JIT=1 and NUMBA_ENABLE_CUDASIM=1 decide what runs them.
"""

from __future__ import annotations

import sys

import numpy as np
from numba import config
from sample_games import LastStanding
from sample_players import COMPILED

import mail_envs
from mail_envs import devices
from mail_envs.vector import VectorGame

ENVS, ROUNDS, STEPS = 3, 6, 9
POSITION_FIRST = {"integration": "position_first", "penalty": "hard", "observation": "absolute"}
CASES = {
    "nav": ("stochastic_coop_nav", {}),
    "nav, position first, hold": ("coop_nav", {**POSITION_FIRST, "null_dynamics": "hold"}),
    "nav, continuous, brake": (
        "stochastic_coop_nav", {"continuous_actions": True, "null_dynamics": "brake"}
    ),
    "nav, fixed horizon, no penalty": (
        "deterministic_coop_nav", {"fixed_horizon": True, "penalty": "none"}
    ),
    "reaching": ("deterministic_coop_reaching", {}),
    "predator-prey": ("stochastic_predator_prey", {}),
    "history": ("coop_nav", {"player_function": COMPILED["HistoryDependent"]}),
    "state": ("coop_nav", {"player_function": COMPILED["StateDependent"]}),
    "sets": ("coop_nav", {"player_function": COMPILED["ActionSets"]}),
    "as action": ("stochastic_coop_nav", {"null_action": "as_action"}),
    "forests and a leader who speaks": (
        "mpe_simple_world_comm", {"player_function": mail_envs.Stochastic(0.7)}
    ),
    "two who move and speak": (
        "mpe_simple_reference",
        {
            "player_function": mail_envs.Stochastic(0.7), "continuous_actions": True,
            "null_dynamics": "hold",
        },
    ),
    "neighbors": (
        "mpe_simple_tag",
        {"num_good": 2, "num_agent_neighbors": 2, "num_landmark_neighbors": 3, "preset": "magail"},
    ),
}  # fmt: skip
DEATHS = "deaths and masks"


def make(case: str, device: str) -> VectorGame:
    """The game of a case. Without the compiler nobody can tell which functions are for it."""
    if case == DEATHS:
        return VectorGame(
            LastStanding(), mail_envs.Stochastic(0.6), ENVS, max_rounds=ROUNDS, device=device
        )
    id, keywords = CASES[case]
    if "player_function" in keywords and config.DISABLE_JIT:
        keywords["player_function"].compiled = True
    return mail_envs.make_vec(id, ENVS, max_rounds=ROUNDS, device=device, **keywords)


def crowd(vector: VectorGame) -> None:
    """Move all bodies of a particle game close together, so that they push each other."""
    world = vector.buffers.world
    host = vector._device.get(world)
    if "pos" in host.dtype.names:
        host["pos"] *= np.float32(0.2)
        host["landmark"] *= np.float32(0.3)
        if host is not world:
            world.copy_to_device(host)


def rollout(case: str, device: str = "cpu") -> dict[str, np.ndarray]:
    """Data of STEPS rounds of fixed actions, over more than one episode, as arrays by name."""
    vector = make(case, device)
    get = vector._device.get
    vector.reset(seed=11)
    crowd(vector)
    rng, shown = np.random.default_rng(0), []
    for _ in range(STEPS):
        if vector.discrete:
            actions = rng.integers(vector.action_dims, size=(ENVS, vector.num_agents))
        else:
            actions = rng.random((ENVS, vector.num_agents, vector.num_actions), np.float32)
        *_, info = vector.step(actions)
        b = vector.buffers
        ended = get(b.terminated) | get(b.truncated)
        arrays = {
            "observations": b.observations, "rewards": b.rewards, "terminated": b.terminated,
            "truncated": b.truncated, "participation": b.participation, "acts": b.acts,
            "alive": b.alive, "state": b.state, "seed": info["seed"], "round": info["round"],
            "action_mask": b.action_mask, "illegal": info["illegal_actions"],
            "episode_return": info["episode_return"], "episode_length": info["episode_length"],
        }  # fmt: skip
        row = {k: np.array(get(v)) for k, v in arrays.items()}
        finals = {"final_observations": b.final_observations}
        for name in ("final_action_mask", "final_alive", "final_participation"):
            if name in info:
                finals[name] = info[name]
        for name, array in finals.items():
            host = np.array(get(array))
            row[name] = host * ended.reshape(-1, *[1] * (host.ndim - 1))
        shown.append(row)
    return {k: np.stack([row[k] for row in shown]) for k in shown[0]}


def all_rollouts(device: str = "cpu") -> dict[str, np.ndarray]:
    """Arrays of all cases by "case/name"."""
    return {f"{case}/{k}": v for case in (*CASES, DEATHS) for k, v in rollout(case, device).items()}


if __name__ == "__main__":
    devices.THREADS_PER_BLOCK = 2  # two blocks, and the simulator starts a thread for each of these
    np.savez(sys.argv[1], **all_rollouts(sys.argv[2]))
