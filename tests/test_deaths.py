"""Games in which agents die and masks forbid actions, in all views."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from pettingzoo.test import api_test, parallel_api_test, seed_test
from sample_games import HIT, LastStanding, finish
from sample_players import ALL, PLAIN

import mail_envs
from mail_envs.aec import AECGame
from mail_envs.conformance.subject import random_actions
from mail_envs.parallel import ParallelGame
from mail_envs.vector import VectorGame


def duel(
    view=None, *, player_function=None, endless=False, max_rounds=30, num_agents=3, **keywords
):
    """The game in which agents die, in one of the single views or as a vector of one."""
    game = LastStanding(max_rounds=max_rounds, endless=endless)
    vector = VectorGame(game, player_function or mail_envs.Synchronous(), autoreset=False)
    return vector if view is None else view(vector)


def test_a_games_own_mask_is_respected():
    env = duel(AECGame)
    env.reset(seed=0)
    lives = env.state()
    assert env.last()[-1]["action_mask"].tolist() == [1, 1, 1]
    for action in (HIT, 0, 0):
        env.step(action)
    assert env.last()[-1]["action_mask"].tolist() == [1, 0, 1]
    after = env.state()
    assert after[1] == lives[1] - 1
    if env.agent_selection == "fighter_0":
        env.step(HIT)
    for _ in env.agents[1:]:
        env.step(0)
    assert np.array_equal(env.state(), after)
    assert env.infos["fighter_0"]["illegal_actions"] == 1


@pytest.mark.parametrize("player", ["Synchronous", "Stochastic", "HistoryDependent, compiled"])
def test_games_with_deaths_pass_pettingzoos_tests(player):
    def make(view):
        return duel(view, player_function=ALL[player])

    api_test(make(AECGame), num_cycles=100)
    parallel_api_test(make(ParallelGame), num_cycles=100)
    seed_test(lambda: make(AECGame), 50)


def test_the_dead_take_one_empty_turn_and_leave_in_the_aec_view():
    env = duel(AECGame, endless=True)
    env.reset(seed=0)
    env.vector.buffers.world["lives"][0] = [3, 1, 3]
    for action in (HIT, 0, 0):
        env.step(action)
    assert env.agents == ["fighter_0", "fighter_1", "fighter_2"]
    assert env.terminations == {"fighter_0": False, "fighter_1": True, "fighter_2": False}
    assert env.agent_selection == "fighter_1" and env.last()[2]
    with pytest.raises(ValueError, match="None"):
        env.step(0)
    env.step(None)
    assert env.agents == ["fighter_0", "fighter_2"] and env.agent_selection == "fighter_0"
    for kept in (
        env.rewards,
        env.terminations,
        env.truncations,
        env.infos,
        env._cumulative_rewards,
    ):
        assert list(kept) == env.agents
    assert env.last()[1] == 1, "the reward for the hit is paid after the burial"
    visited = []
    for _ in range(4):
        visited.append(env.agent_selection)
        env.step(0)
    assert visited == ["fighter_0", "fighter_2"] * 2


def test_the_dead_leave_the_parallel_view():
    env = duel(ParallelGame, endless=True)
    env.reset(seed=0)
    env.vector.buffers.world["lives"][0] = [3, 1, 3]
    played = env.step({"fighter_0": HIT, "fighter_1": 0, "fighter_2": 0})
    _, rewards, terminations, truncations, _ = played
    assert [list(part) for part in played] == [["fighter_0", "fighter_1", "fighter_2"]] * 5
    assert terminations == {"fighter_0": False, "fighter_1": True, "fighter_2": False}
    assert not any(truncations.values()) and rewards["fighter_0"] == 1
    assert env.agents == ["fighter_0", "fighter_2"]
    for part in env.step({"fighter_0": 0, "fighter_2": 0}):
        assert list(part) == env.agents


def test_the_dead_may_stay_in_the_parallel_view():
    env = duel(partial(ParallelGame, dead="stay"), endless=True, max_rounds=4)
    env.reset(seed=0)
    everybody = list(env.agents)
    env.vector.buffers.world["lives"][0] = [3, 1, 3]
    actions = {"fighter_0": HIT, "fighter_1": 0, "fighter_2": 0}
    for t in range(4):
        _, rewards, terminations, truncations, infos = env.step(actions)
        assert list(terminations.values()) == [False] * 3
        assert list(truncations.values()) == [t == 3] * 3
        assert infos["fighter_1"]["participates"] is False and rewards["fighter_1"] == 0
        assert env.agents == (everybody if t < 3 else [])


def test_the_dead_may_stay_in_the_aec_view_without_turns():
    env = duel(partial(AECGame, dead="stay"), endless=True, max_rounds=3)
    env.reset(seed=0)
    env.vector.buffers.world["lives"][0] = [3, 1, 3]
    for action in (HIT, 0, 0):
        env.step(action)
    turns = []
    for agent in env.agent_iter():
        ended = env.terminations[agent] or env.truncations[agent]
        turns.append((agent, ended))
        assert env.terminations.get("fighter_1", False) is False
        env.step(None if ended else 0)
    living = ["fighter_0", "fighter_2"] * 2
    assert turns == [(a, False) for a in living] + [(f"fighter_{i}", True) for i in range(3)]


@pytest.mark.parametrize("view", [AECGame, ParallelGame])
def test_the_dead_that_stay_pass_pettingzoos_tests(view):
    def make():
        return duel(partial(view, dead="stay"), player_function=mail_envs.Stochastic(0.7))

    if view is AECGame:
        api_test(make(), num_cycles=100)
        seed_test(make, 50)
    else:
        parallel_api_test(make(), num_cycles=100)


def test_what_the_dead_may_do_is_named():
    with pytest.raises(ValueError, match="dead='vanish' is not one of 'leave', 'stay'"):
        mail_envs.make("smac_3m", dead="vanish")


def test_several_deaths_in_a_round_are_handled_one_by_one():
    env = duel(AECGame, endless=True)
    env.reset(seed=0)
    env.vector.buffers.world["lives"][0] = [1, 1, 3]
    for action in (HIT, 0, HIT):
        env.step(action)
    dead = []
    while env.terminations[env.agent_selection]:
        dead.append(env.agent_selection)
        env.step(None)
    assert dead == ["fighter_0", "fighter_1"]
    assert env.agents == ["fighter_2"] and env.last()[1] == 1


def test_the_end_of_the_game_ends_it_for_all():
    for view in (AECGame, ParallelGame):
        env = duel(view)
        env.reset(seed=0)
        env.vector.buffers.world["lives"][0] = [1, 1, 3]
        if view is ParallelGame:
            actions = dict(zip(env.agents, (HIT, 0, HIT), strict=True))
            *_, terminations, _, infos = env.step(actions)
        else:
            for action in (HIT, 0, HIT):
                env.step(action)
            terminations, infos = dict(env.terminations), dict(env.infos)
            assert [turn[2] for turn in finish(env)] == [True] * 3
        assert list(terminations.values()) == [True] * 3 and env.agents == []
        assert infos["fighter_0"]["survivors"] == 1


def test_an_agent_that_dies_in_the_last_round_is_terminated_not_truncated():
    aec, parallel = (duel(view, endless=True, max_rounds=1) for view in (AECGame, ParallelGame))
    for env in (aec, parallel):
        env.reset(seed=0)
        env.vector.buffers.world["lives"][0] = [3, 1, 3]
    for action in (HIT, 0, 0):
        aec.step(action)
    _, _, terminations, truncations, _ = parallel.step(dict.fromkeys(parallel.agents, HIT))
    assert terminations["fighter_1"] and aec.terminations["fighter_1"]
    assert truncations["fighter_0"] and aec.truncations["fighter_0"]
    assert not (truncations["fighter_1"] or aec.truncations["fighter_1"])


def test_the_dead_never_participate_again():
    player = PLAIN["HistoryDependent"]
    vector = VectorGame(LastStanding(endless=True), player, num_envs=50, max_rounds=40)
    _, info = vector.reset(seed=0)
    deaths = 0
    for _ in range(80):
        assert not (info["participation"].astype(bool) & ~info["alive"]).any()
        *_, info = vector.step(random_actions(vector, info))
        deaths += (~info["alive"]).sum()
    assert deaths > 100


def test_views_agree_when_agents_die():
    for seed in range(6):
        vector, parallel, aec = (
            duel(view, player_function=mail_envs.Stochastic(0.7))
            for view in (None, ParallelGame, AECGame)
        )
        _, info = vector.reset(seed=seed)
        parallel.reset(seed=seed)
        total, plan, over = np.zeros(3), [], False
        while not over:
            assert parallel.agents == [
                a for a, alive in zip(vector.agents, info["alive"][0], strict=True) if alive
            ]
            plan.append(random_actions(vector, info)[0])
            _, rewards, terminated, truncated, info = vector.step(plan[-1][None])
            total += rewards[0]
            actions = {a: plan[-1][vector.agents.index(a)] for a in parallel.agents}
            _, paid, *_ = parallel.step(actions)
            assert all(paid[a] == rewards[0, vector.agents.index(a)] for a in paid)
            over = terminated[0] or truncated[0]
        assert parallel.agents == []
        aec.reset(seed=seed)
        for agent in aec.agent_iter():
            _, reward, ended, cut, known = aec.last()
            i = aec.possible_agents.index(agent)
            total[i] -= reward
            aec.step(None if ended or cut else plan[known["round"]][i])
        assert not total.any(), "deaths do not swallow rewards"
