"""What a round means, written once for kernel games and simulators, on the processor and on CUDA.

Who may act, when an action counts, what is paid, when an episode is over, and what a game that has ended shows while
it idles until a fixed horizon. All functions are compiled and are about one environment, number `e` of its arrays.
"""

from __future__ import annotations

import numpy as np

from mail_envs.kernels import device_function
from mail_envs.random import DYNAMICS, PLAYERS, stream_key

# How the game itself says that a round came out. LOST: the worker process that played it died.
RUNNING, TERMINATED, TRUNCATED, LOST = 0, 1, 2, 3
ZERO = np.float32(0.0)


def clock_dtype(num_agents: int) -> np.dtype:
    """One environment's bookkeeping; `key` and `counter` make the record the game's random stream.

    The `last_*` fields describe the episode of this environment that ended most recently; `last_alive` and
    `last_participation` where it ended and another one began in its place.
    """
    return np.dtype(
        [
            ("key", "u8"),
            ("counter", "i8"),
            ("players_key", "u8"),
            ("seed", "i8"),
            ("last_seed", "i8"),
            ("rounds", "i4"),
            ("last_length", "i4"),
            ("illegal_actions", "i4"),  # since the last call of reset()
            ("idle", "i4"),  # fixed horizon: the game is over, the environment waits for the limit
            ("begun", "i4"),  # an episode ended in the last round, and this one began in its place
            ("returns", "f4", (num_agents,)),
            ("last_returns", "f4", (num_agents,)),
            ("last_alive", "u1", (num_agents,)),
            ("last_participation", "u1", (num_agents,)),  # who would have acted next
        ],
        align=True,
    )


def settings_dtype(num_agents: int, num_components: int) -> np.dtype:
    """What a launch knows of the view: the time limit, what follows an end, the legal numbers.

    `num_components`: of continuous actions, the largest agent's; 0 for discrete ones.
    """
    return np.dtype(
        [
            ("max_rounds", "i4"),
            ("autoreset", "i4"),
            ("fixed_horizon", "i4"),
            ("num_actions", "i4", (num_agents,)),  # discrete; φ as an action counts
            ("low", "f4", (num_agents, num_components)),  # bounds of continuous actions
            ("high", "f4", (num_agents, num_components)),
        ],
        align=True,
    )


@device_function
def begin_clock(seed, clock):
    """The clock at the beginning of the episode of `seed`."""
    clock.seed = seed
    clock.key = stream_key(seed, DYNAMICS)
    clock.players_key = stream_key(seed, PLAYERS)
    clock.counter = 0
    clock.rounds = 0
    clock.idle = 0
    for i in range(clock.returns.shape[0]):
        clock.returns[i] = ZERO


@device_function
def is_left_ended(e, settings, terminated, truncated):
    """Whether the episode has ended and the view does not begin another one by itself."""
    return settings.autoreset == 0 and (terminated[e] or truncated[e])


@device_function
def in_space(actions, e, i, settings):
    """Whether agent i's action lies in its space. NaN does not."""
    if actions.ndim == 2:
        return 0 <= actions[e, i] < settings.num_actions[i]
    for k in range(actions.shape[2]):
        if not (settings.low[i, k] <= actions[e, i, k] <= settings.high[i, k]):
            return False
    return True


@device_function
def count_invalid(actions, participation, settings):
    """How many participating agents hold an action outside their space."""
    count = 0
    for e in range(participation.shape[0]):
        for i in range(participation.shape[1]):
            count += (participation[e, i] != 0) & (not in_space(actions, e, i, settings))
    return count


@device_function
def chosen(actions, participation, alive, action_mask, e, i):
    """Agent i's action set, or 0 if it does not act or if its mask forbids its discrete action.

    Who participates is a coin toss, which no branch predictor can learn: hence arithmetic, no `if`.
    """
    acts = participation[e, i] * alive[e, i]
    if actions.ndim == 2:
        return acts * action_mask[e, i, actions[e, i] * (acts != 0)]
    return acts


@device_function
def account(e, i, participation, acts, paid, rewards, now):
    """Count agent i's illegal action, and its reward if it is paid. Only participants act illegally."""
    now.illegal_actions += (participation[e, i] != 0) & (acts[e, i] == 0)
    rewards[e, i] = rewards[e, i] + ZERO if paid else ZERO  # + 0: no -0
    now.returns[i] += rewards[e, i]


@device_function
def conclude(e, outcome, settings, now, terminated, truncated):
    """Count the round, and say whether the episode is over; its figures are then the clock's `last_*`.

    `clock.begun` then says whether another one begins in its place.

    With a fixed horizon a game that ends idles until the time limit, unless its worker died.
    """
    now.rounds += 1
    if settings.fixed_horizon != 0 and (outcome == TERMINATED or outcome == TRUNCATED):
        now.idle = 1
        outcome = RUNNING
    terminated[e] = outcome == TERMINATED
    over = outcome != RUNNING or now.rounds >= settings.max_rounds
    truncated[e] = over and not terminated[e]
    if over:
        now.last_seed = now.seed
        now.last_length = now.rounds
        for i in range(now.returns.shape[0]):
            now.last_returns[i] = now.returns[i]
    now.begun = over and settings.autoreset != 0
    return over


@device_function
def show_idle(settings, observations, action_mask, state):
    """What one environment shows while it idles: zeros, and every action allowed."""
    for i in range(observations.shape[0]):
        for k in range(observations.shape[1]):
            observations[i, k] = 0
        for a in range(min(settings.num_actions[i], action_mask.shape[1])):
            action_mask[i, a] = 1
    for k in range(state.shape[0]):
        state[k] = 0
