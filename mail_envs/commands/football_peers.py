"""Speed of Google Research Football in gfootball's own environment, and of the bare engine.

`scenario` is an id of this suite, such as `football_3_vs_1_with_keeper`. Random actions are drawn beforehand; resets
are included.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import mail_envs
from mail_envs.commands.rates import DRAWN, Run

EPISODES = 20


def gfootball(scenario: str, num_envs: int) -> Run | None:
    """The package's environment with simple115v2 and checkpoints; it has no vectorized version."""
    if num_envs != 1:
        return None
    import gfootball.env as package

    actions = random_actions(scenario)
    env: Any = package.create_environment(
        env_name=mail_envs.make_game(scenario)[0].scenario.name,
        representation="simple115v2",
        rewards="scoring,checkpoints",
        number_of_left_players_agent_controls=actions.shape[1],
    )
    env.reset()
    return loop(lambda k: env.step(actions[k])[2], env.reset)


def bare_engine(scenario: str, num_envs: int) -> Run | None:
    """Actions, rounds and the engine's own record of its state, without observations, rewards and views."""
    if num_envs != 1:
        return None
    from mail_envs.adapters.football.engines import ACTIONS

    game, actions = mail_envs.make_game(scenario)[0], random_actions(scenario)
    ends = set(np.cumsum(lengths(scenario)).tolist())
    game.reset(0)
    rounds = 0

    def step(k: int) -> bool:
        nonlocal rounds
        for slot, action in enumerate(actions[k].tolist()):
            game.engine.act(True, slot, ACTIONS[action])
        game.engine.step()
        while not game.engine.info()["is_in_play"]:
            game.engine.step()
        rounds = rounds % max(ends) + 1
        return rounds in ends

    return loop(step, lambda: game.reset(rounds))


def lengths(scenario: str) -> list[int]:
    """Rounds of episodes with random actions, so that the bare engine is reset as often."""
    vec, actions = mail_envs.make_vec(scenario, 1, seed=0), random_actions(scenario)
    found: list[int] = []
    while len(found) < EPISODES:
        for k in range(DRAWN):
            _, _, terminated, truncated, info = vec.step(actions[k][None])
            if terminated[0] or truncated[0]:
                found.append(int(info["episode_length"][0]))
    vec.close()
    return found


def loop(step: Callable[[int], bool], reset: Callable[[], Any]) -> Run:
    """A function that plays so many rounds; `step(k)` returns whether the episode is over."""

    def run(calls: int) -> int:
        for k in range(calls):
            if step(k % DRAWN):
                reset()
        return calls

    return run


def random_actions(scenario: str) -> np.ndarray:
    """Random actions of the agents, int (DRAWN, N)."""
    game = mail_envs.make_game(scenario)[0]
    return np.random.default_rng(0).integers(0, game.num_actions, (DRAWN, len(game.agents)))
