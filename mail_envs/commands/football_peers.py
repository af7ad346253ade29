"""Speed of Google Research Football in gfootball's own environment, and of the bare engine.

`scenario` is an id of this suite, such as `football_3_vs_1_with_keeper`. All play the random actions of the view that
they are compared with; resets are included.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import mail_envs
from mail_envs.commands.rates import DRAWN, Run, drawn_rounds


def gfootball(scenario: str, num_envs: int) -> Run | None:
    """The package's environment with simple115v2 and checkpoints; it has no vectorized version."""
    if num_envs != 1:
        return None
    import gfootball.env as package

    vec = mail_envs.make_vec(scenario, 1)
    game: Any = vec.game
    actions = drawn_rounds(vec)[:, 0]
    vec.close()
    env: Any = package.create_environment(
        env_name=game.scenario.name,
        representation="simple115v2",
        rewards="scoring,checkpoints",
        number_of_left_players_agent_controls=actions.shape[1],
    )
    env.reset()

    def run(calls: int) -> int:
        for k in range(calls):
            if env.step(actions[k % len(actions)])[2]:
                env.reset()
        return calls

    return run


def bare_engine(scenario: str, num_envs: int) -> Run | None:
    """Actions, rounds, resets and the engine's own record of its state, without observations, rewards and views."""
    if num_envs != 1:
        return None
    vec = mail_envs.make_vec(scenario, 1)
    actions, seeds = drawn_rounds(vec), next_seeds(vec, DRAWN)
    vec.close()
    play = engine_rounds(mail_envs.make_game(scenario)[0], actions, seeds)

    def run(calls: int) -> int:
        for _ in range(calls):
            play()
        return calls

    return run


def next_seeds(vec: Any, least: int) -> dict[int, int]:
    """Whole episodes of a view of one copy, `least` rounds or more: the seed of what follows the rounds that end them.

    With the same actions and seeds the bare engine plays the same episodes, so it is as often reset and as busy. After the
    last one the first one follows, with seed 0.
    """
    actions, rounds, found = drawn_rounds(vec), 0, {}
    vec.reset(seed=0)
    while not (rounds in found and rounds >= least):
        _, _, terminated, truncated, info = vec.step(actions[rounds % len(actions)])
        rounds += 1
        if terminated[0] or truncated[0]:
            found[rounds] = int(info["seed"][0])
    found[rounds] = 0
    return found


def engine_rounds(game: Any, actions: np.ndarray, seeds: dict[int, int]) -> Callable[[], None]:
    """A function that plays a round of the episodes of `next_seeds` in the engine of `game`."""
    from mail_envs.adapters.football.engines import ACTIONS

    game.reset(0)
    act, step, info = game.engine.act, game.engine.step, game.engine.info
    codes = [[ACTIONS[action] for action in joint] for joint in actions[:, 0].tolist()]
    last, rounds = max(seeds), 0

    def play() -> None:
        nonlocal rounds
        for slot, code in enumerate(codes[rounds % len(actions)]):
            act(True, slot, code)
        step()
        while not info()["is_in_play"]:
            step()
        rounds += 1
        if rounds in seeds:
            game.reset(seeds[rounds])
            rounds %= last

    return play
