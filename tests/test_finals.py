"""What was truly seen where an episode ended: masks, who is alive and who would have acted next."""

from __future__ import annotations

import numpy as np
import pytest
from sample_games import LastStanding
from sample_players import (
    ALL,
    BY_ROUND,
    horizontal_or_vertical,
    horizontal_or_vertical_python,
)
from sample_simulator import Twin

import mail_envs
from mail_envs.conformance.subject import random_actions
from mail_envs.random import PLAYERS, stream_key, uniform_at
from mail_envs.vector import VectorGame

FINALS = {
    "final_action_mask": "action_mask", "final_alive": "alive", "final_participation": "participation",
    "final_state": "state", "final_observation": "observation",
}  # fmt: skip

# Those of the samples that are not about navigation, and ones with sets of its three actions.
PLAYERS_OF_DUELS = {
    **{k: v for k, v in ALL.items() if "State" not in k and "Sets" not in k},
    "ActionSets, compiled": mail_envs.ActionSets(horizontal_or_vertical, [[1, 2], [0, 2]]),
    "ActionSets, plain": mail_envs.ActionSets(horizontal_or_vertical_python, [[1, 2], [0, 2]]),
}


def play_alone(make, seed: int, length: int) -> dict:
    """What the end of the same episode shows in a view that leaves it there."""
    alone = make(1, autoreset=False)
    observations, info = alone.reset_to(np.array([seed]))
    for _ in range(length):
        observations, *_, info = alone.step(random_actions(alone, info))
    return {**info, "observation": observations}


def check_finals(make, rounds: int = 20, num_envs: int = 5, names: dict = FINALS) -> int:
    """Play at random and compare all ends; the number of ends. `names`: in the vector view, and alone."""
    vector, ends = make(num_envs), 0
    _, info = vector.reset(seed=3)
    for _ in range(rounds):
        observations, _, terminated, truncated, info = vector.step(random_actions(vector, info))
        shown = {**info, "observation": observations}
        for e in np.flatnonzero(terminated | truncated):
            ends += 1
            known = play_alone(make, int(info["episode_seed"][e]), int(info["episode_length"][e]))
            for final, name in names.items():
                if name in known:
                    np.testing.assert_array_equal(shown[final][e], known[name][0], err_msg=final)
    return ends


def duels(player, **options):
    """A maker of views of the game in which agents die and masks forbid actions."""

    def make(num_envs, **more):
        return VectorGame(LastStanding(max_rounds=6), player, num_envs, **options, **more)

    return make


@pytest.mark.parametrize("null_action", ["null", "as_action"])
@pytest.mark.parametrize("name", PLAYERS_OF_DUELS)
def test_final_values_are_those_of_the_same_episode_left_at_its_end(name, null_action):
    assert check_finals(duels(PLAYERS_OF_DUELS[name], null_action=null_action)) >= 10


def navigation(player, **options):
    def make(num_envs, **more):
        keywords = {"player_function": player, "max_rounds": 4, **options}
        return mail_envs.make_vec("coop_nav", num_envs, **keywords, **more)

    return make


@pytest.mark.parametrize(
    "name", ["ActionSets, compiled", "StateDependent, compiled", "StateDependent, plain"]
)
@pytest.mark.parametrize("options", [{}, {"fixed_horizon": True}, {"num_threads": 2}])
def test_final_values_with_a_fixed_horizon_and_on_threads(name, options):
    assert check_finals(navigation(ALL[name], **options)) == 25


def test_final_values_of_continuous_actions():
    make = navigation(BY_ROUND["Stochastic"], continuous_actions=True)
    assert "final_action_mask" not in make(1).reset(seed=0)[1]
    assert check_finals(make) == 25


@pytest.mark.parametrize("num_workers", [0, 2])
def test_final_values_of_simulators(num_workers):
    for name in ("Stochastic", "ActionSets, plain"):
        vectors = []

        def make(num_envs, player=ALL[name], made=vectors, **more):
            workers = num_workers if num_envs > 1 else 0
            made.append(
                VectorGame(Twin(max_rounds=4), player, num_envs, num_workers=workers, **more)
            )
            return made[-1]

        assert check_finals(make, rounds=9, num_envs=3) == 6
        for vector in vectors:
            vector.close()


def test_final_values_of_a_game_with_turns():
    def make(num_envs, **more):
        keywords = {"max_rounds": 5, "num_workers": 0}
        return mail_envs.make_vec("pettingzoo:classic/tictactoe-v3", num_envs, **keywords, **more)

    assert check_finals(make, num_envs=2) >= 4


@pytest.mark.parametrize("name", FINALS.values())
def test_the_next_episodes_values_do_not_pass(name):
    with pytest.raises(AssertionError, match=name):
        check_finals(duels(BY_ROUND["Stochastic"]), names={name: name})


def test_who_would_have_acted_is_the_next_draw_of_the_episodes_own_stream():
    """u < 0.5 of number t N + i of the player stream, by hand; and the dead never."""
    vector = duels(mail_envs.Stochastic(0.5))(6)
    _, info = vector.reset(seed=0)
    seen = set()
    for _ in range(30):
        *_, terminated, truncated, info = vector.step(random_actions(vector, info))
        for e in np.flatnonzero(terminated | truncated):
            n = vector.num_agents
            key = np.uint64(stream_key(info["episode_seed"][e], PLAYERS))
            first = int(info["episode_length"][e]) * n
            lives = info["final_state"][e]
            for i in range(n):
                acts = lives[i] > 0 and uniform_at(key, first + i) < 0.5
                assert info["final_alive"][e, i] == (lives[i] > 0)
                assert info["final_participation"][e, i] == acts
                seen.add((bool(lives[i] > 0), bool(acts)))
    assert seen == {(False, False), (True, False), (True, True)}


def test_turns_go_on_where_the_time_limit_cuts_an_episode_short():
    order = mail_envs.TurnOrder([[0], [1], [2]])
    for limit in (2, 3, 4):
        vector = mail_envs.make_vec("coop_nav", 2, player_function=order, max_rounds=limit)
        vector.reset(seed=0)
        for _ in range(limit):
            *_, truncated, info = vector.step(np.zeros((2, 3), int))
        assert truncated.all()
        expected = np.arange(3) == limit % 3
        assert (info["final_participation"] == expected).all()
        assert (info["participation"] == (np.arange(3) == 0)).all()


def test_a_reset_in_between_begins_without_drawing_for_the_last_end():
    """A Python function is asked once per reset, and once more only where an episode ended."""
    asked = []

    def always(history, rounds):
        asked.append(rounds.tolist())
        return np.ones((len(rounds), history.shape[2]))

    player = mail_envs.HistoryDependent(always)
    vector = mail_envs.make_vec("coop_nav", 2, player_function=player, max_rounds=2)
    vector.reset(seed=0)
    for _ in range(2):
        vector.step(np.zeros((2, 3), int))
    vector.reset(seed=0)
    assert asked == [[0, 0], [1, 1], [2, 2], [0, 0], [0, 0]]


def test_final_values_survive_copies_and_saved_states():
    vector, other = (duels(BY_ROUND["Stochastic"])(4) for _ in range(2))
    _, info = vector.reset(seed=5)
    ended = np.zeros(4, bool)
    while not ended.any():
        *_, terminated, truncated, info = vector.step(random_actions(vector, info))
        ended = terminated | truncated
    other.reset(seed=77)
    other.set_state(vector.get_state())
    for again in (other, vector.__deepcopy__({})):
        for name in ("final_action_mask", "final_alive", "final_participation"):
            np.testing.assert_array_equal(again._info[name][ended], info[name][ended], err_msg=name)
