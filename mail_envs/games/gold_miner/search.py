"""Rollout search for the allies: in every round they follow the plan under which simulated games end best.

A plan says how all allies play: each as BlackPanther, but away from the mine that the one before has chosen, in order
or in reverse; or each as BlackPanther by itself; or the same with one DeepMind. Plans that begin with different actions
are compared by games from the present state with random numbers of their own: `COMMITMENT` rounds by the plan, then in
order. Choosing again in every round improves on all of the plans (rollout: Tesauro and Galperin, 1997).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mail_envs.games.gold_miner.black_panther import choose_mine, work_at
from mail_envs.games.gold_miner.bots import DEEPMIND, decide
from mail_envs.games.gold_miner.game import step_env
from mail_envs.games.gold_miner.mask import any_of, available
from mail_envs.games.gold_miner.rules import REST, ZERO
from mail_envs.kernels import device_function, launch
from mail_envs.random import hash64
from mail_envs.rounds import clock_dtype

# Plans; those from ONE_DEEPMIND on, one per ally, have one DeepMind.
IN_ORDER, REVERSED, TOGETHER, ONE_DEEPMIND = range(4)
SAMPLES = 4  # simulated games per plan
HORIZON = 20  # rounds of a simulated game
COMMITMENT = 8  # of them by the plan
WIN = np.float32(300.0)  # worth of a win, in gold


@device_function
def play_plan(state, rng, params, plan, actions):
    """Write the allies' actions; masked ones are replaced by random legal ones."""
    turns = params.max_rounds - state.step
    taken = -1
    for k in range(params.num_allies):
        i = params.num_allies - 1 - k if plan == REVERSED else k
        actions[i] = REST
        if state.status[i] != 0:
            continue
        if plan == ONE_DEEPMIND + i:
            action = decide(state, i, DEEPMIND, rng, params, turns, turns)
        else:
            mine = choose_mine(state, i, params, turns, taken)
            action = work_at(state, i, params, turns, mine)
            if plan == IN_ORDER or plan == REVERSED:
                taken = mine
        if params.mask != 0:
            allowed = available(state, i, turns, -1)
            if (allowed >> action) & 1 == 0:
                action = any_of(allowed, rng)
        actions[i] = action


@device_function
def simulate(state, rng, params, plan, acts, actions, rewards, metrics):
    """Play on by a plan in the copy `state`; returns the gold by which the allies lead then, and wins, in gold.

    acts: who acts in the first round; later, all do.
    """
    for t in range(HORIZON):
        play_plan(state, rng, params, plan if t < COMMITMENT else IN_ORDER, actions)
        over = step_env(state, rng, actions, acts, params, rewards, metrics)
        for i in range(params.num_allies):
            acts[i] = 1
        if over or state.step >= params.max_rounds:
            return metrics[1] - metrics[2] + WIN * metrics[0]
    return metrics[1] - metrics[2] + WIN / 2


@device_function
def worth(e, plan, state, draws, noise, copies, p, participation, acts, actions, rewards, metrics):
    """Sum of the results of the games that are simulated for a plan; all plans meet the same chances."""
    total = ZERO
    for k in range(SAMPLES):
        copies[e] = state
        noise[e].key, noise[e].counter = hash64(draws[e].key + np.uint64(k + 1)), 0
        for i in range(p.num_allies):
            acts[e, i] = participation[e, i]
        total += simulate(
            copies[e], noise[e], p, plan, acts[e], actions[e], rewards[e], metrics[e]
        )
    return total


@device_function
def begins_alike(first, plan):
    """Whether an earlier plan begins with the same actions. `first`: (plans, N)."""
    for other in range(plan):
        same = True
        for i in range(first.shape[1]):
            same = same and first[plan, i] == first[other, i]
        if same:
            return True
    return False


@device_function
def search(
    e, world, envs, params, draws, noise, copies, first, acts, rewards, metrics, participation, actions
):  # fmt: skip
    """Write the actions of the best plan for environment `envs[e]`."""
    state, p = world[envs[e]], params[0]
    different = 1
    for plan in range(first.shape[1]):
        copies[e] = state
        noise[e].key, noise[e].counter = draws[e].key, 0
        play_plan(copies[e], noise[e], p, plan, first[e, plan])
        different += not begins_alike(first[e], plan)
    best, most = IN_ORDER, -np.float32(np.inf)
    if different > 1:
        for plan in range(first.shape[1]):
            if not begins_alike(first[e], plan):
                found = worth(
                    e, plan, state, draws, noise, copies, p, participation, acts, actions, rewards, metrics
                )  # fmt: skip
                if found > most:
                    best, most = plan, found
    play_plan(state, draws[e], p, best, actions[e])


class Search:
    """The searching allies of a `VectorGame` on the CPU; called like `advice.Advice`."""

    def __init__(self, env: Any):
        if not isinstance(env.buffers.world, np.ndarray):
            raise ValueError(
                f"search reads the game's records on the CPU: make {env.id} with device='cpu'"
            )
        self.world, self.params = env.buffers.world, env.game.params
        arguments = "world, envs, params, draws, noise, copies, first, acts, rewards, metrics, participation, actions"
        self.run = launch(search, arguments, "cpu")

    def __call__(self, envs: np.ndarray, participation: np.ndarray, keys: np.ndarray) -> np.ndarray:
        """Actions int32 (K, N) in the environments `envs` (K,); zero for allies that do not act.

        participation: uint8 (K, N). keys: uint64 (K,), one random stream per environment.
        """
        K, N = participation.shape
        draws = np.zeros(K, clock_dtype(N))
        draws["key"] = keys
        copies, first = np.zeros(K, self.world.dtype), np.zeros((K, ONE_DEEPMIND + N, N), np.int32)
        rewards, metrics = np.zeros((K, N), np.float32), np.zeros((K, 3), np.float32)
        acts, actions = np.ascontiguousarray(participation), np.zeros((K, N), np.int32)
        self.run(
            self.world, envs, self.params, draws, draws.copy(), copies, first, acts.copy(), rewards, metrics, acts,
            actions,
        )  # fmt: skip
        return np.where(participation != 0, actions, 0)
