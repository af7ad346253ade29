"""The actions of bots in place of allies, for demonstrations, tournaments and hints for human players.

The style `team` is one that enemies do not have: all allies play as BlackPanther, but each away from the mine that the
one before has chosen, if another one is in reach. Two BlackPanthers that do not know of each other often share a mine.

Bots store their plans, such as the mine they walk to, in the game's record, for every player. A bot's decision is
therefore a function of the record and a random stream. DeepMind and BlackPanther decide the same if they are asked twice
in a round; Greedy, which draws its steps, may draw another one once it has chosen a mine.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mail_envs.games.gold_miner.black_panther import choose_mine, work_at
from mail_envs.games.gold_miner.bots import NAMES, decide
from mail_envs.games.gold_miner.mask import any_of, available
from mail_envs.kernels import device_function, launch
from mail_envs.rounds import clock_dtype

STYLES = (*NAMES, "team")
TEAM = len(NAMES)


@device_function
def advise(e, world, envs, params, draws, style, participation, actions):
    """The actions of a style (an index in STYLES) for the allies that act in environment `envs[e]`.

    If the game uses the mask, a masked action is replaced by a random legal one.
    """
    state = world[envs[e]]
    turns = params[0].max_rounds - state.step
    mine = -1
    for i in range(participation.shape[1]):
        if participation[e, i] == 0 or state.status[i] != 0:
            continue
        if style[0] == TEAM:
            mine = choose_mine(state, i, params[0], turns, mine)
            action = work_at(state, i, params[0], turns, mine)
        else:
            action = decide(state, i, style[0], draws[e], params[0], turns, turns)
        if params[0].mask != 0:
            allowed = available(state, i, turns, -1)
            if (allowed >> action) & 1 == 0:
                action = any_of(allowed, draws[e])
        actions[e, i] = action


class Advice:
    """The decisions of one style for the allies of a `VectorGame` on the CPU."""

    def __init__(self, env: Any, style: str):
        if style not in STYLES:
            raise ValueError(f"style {style!r} is not one of {', '.join(STYLES)}")
        if not isinstance(env.buffers.world, np.ndarray):
            raise ValueError(
                f"{style} reads the game's records on the CPU: make {env.id} with device='cpu'"
            )
        self.world, self.params = env.buffers.world, env.game.params
        self.style = np.array([STYLES.index(style)])
        self.run = launch(
            advise, "world, envs, params, draws, style, participation, actions", "cpu"
        )

    def __call__(self, envs: np.ndarray, participation: np.ndarray, keys: np.ndarray) -> np.ndarray:
        """Actions int32 (K, N) in the environments `envs` (K,); zero for allies that do not act.

        participation: uint8 (K, N). keys: uint64 (K,), one random stream per environment.
        """
        draws = np.zeros(len(envs), clock_dtype(participation.shape[1]))
        draws["key"] = keys
        actions = np.zeros(participation.shape, np.int32)
        acts = np.ascontiguousarray(participation)
        self.run(self.world, envs, self.params, draws, self.style, acts, actions)
        return actions
