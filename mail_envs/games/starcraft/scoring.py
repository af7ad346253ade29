"""Rewards, and the end of a battle.

A battle starts with its units in place (`pos`, `type`, `health`, `max_health`, `shield`) and `begin_battle`. A
round goes: `actions.note_action` of every agent, `note_strength`, the fight, one more in `rounds`, `outcome`,
`shared_reward`, `sight.update_sightings`. All agents get the same reward.
"""

import numpy as np

from mail_envs.games.starcraft.actions import is_medic
from mail_envs.games.starcraft.layout import DRAWN, LOST, ONGOING, WON
from mail_envs.games.starcraft.sight import clear_sightings, lives
from mail_envs.kernels import device_function

ZERO = np.float32(0.0)
ONE = np.float32(1.0)


@device_function
def begin_battle(state, params):
    """Reset actions and sightings, and turn all agents east; rewards are scaled by this battle's enemies."""
    state.rounds = 0
    for i in range(params.num_agents):
        state.last_action[i] = -1
        state.look[i, 0] = ONE
        state.look[i, 1] = ZERO
    if params.shares_sightings != 0:
        clear_sightings(state, params)
    state.max_reward = largest_reward(state, params)
    note_strength(state, params)


@device_function
def note_strength(state, params):
    """Store the health and shield of living units, before a round is played."""
    for j in range(params.num_units):
        state.before[j] = state.health[j] + state.shield[j] if lives(state, j) else ZERO


@device_function
def largest_reward(state, params):
    """The maximum reward, by which rewards are scaled: all kills, and the victory. For `begin_battle`."""
    n = params.num_agents
    total = np.float32(params.num_enemies) * params.death_value + params.win
    for j in range(n, params.num_units):
        total += state.max_health[j] + params.max_shield[state.type[j]]
    return total


@device_function
def count_living(state, params, first, last, fighters):
    """Units of the rows from `first` to before `last` that live; with `fighters`, without medivacs."""
    count = 0
    for j in range(first, last):
        count += lives(state, j) and not (fighters and is_medic(state, params, j))
    return count


@device_function
def outcome(state, params):
    """ONGOING, WON, LOST or DRAWN. Where there are medivacs, a side of nothing else has lost."""
    n = params.num_agents
    end = params.num_units
    allies = count_living(state, params, 0, n, False)
    enemies = count_living(state, params, n, end, False)
    if allies == 0 and enemies > 0:
        return LOST
    if params.medics != 0 and count_living(state, params, 0, n, True) == 0:
        return LOST
    if allies > 0 and enemies == 0:
        return WON
    if params.medics != 0 and count_living(state, params, n, end, True) == 0:
        return WON
    return DRAWN if allies == 0 else ONGOING


@device_function
def losses(state, params, first, last):
    """What the rows from `first` to before `last` have lost in this round: strength and the value of the dead."""
    lost = ZERO
    dead = 0
    for j in range(first, last):
        if state.before[j] > ZERO:
            if lives(state, j):
                lost += state.before[j] - state.health[j] - state.shield[j]
            else:
                lost += state.before[j]
                dead += 1
    return lost + np.float32(dead) * params.death_value


@device_function
def shared_reward(state, params, result):
    """The reward of a round that ended with `result`.

    Enemies that regenerate more than they lose cost nothing; in the original SMAC that pays.
    """
    n = params.num_agents
    end = params.num_units
    if params.reward_sparse != 0:
        reward = np.float32(result == WON) - np.float32(result == LOST)
    else:
        reward = losses(state, params, n, end)
        if params.reward_only_positive == 0:
            reward -= params.negative_scale * losses(state, params, 0, n)
        elif params.regeneration_pays != 0:
            reward = abs(reward)
        else:
            reward = max(reward, ZERO)
        if result == WON:
            reward += params.win
        elif result == LOST:
            reward += params.defeat
    if params.reward_scale != 0:
        reward /= state.max_reward / params.scale_rate
    return reward
