"""Player functions: who acts when, in the words of the paper, and what they say to nonsense."""

from __future__ import annotations

import json

import numpy as np
import pytest
import sample_players
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit
from sample_games import LastStanding
from sample_players import ALL, COMPILED, PLAIN

import mail_envs
from mail_envs.conformance.subject import random_actions
from mail_envs.player_functions import from_config
from mail_envs.vector import VectorGame

ROUNDS = 24
QUICK = settings(max_examples=25, deadline=None)
ZERO, HALF, ONE = np.float32(0.0), np.float32(0.5), np.float32(1.0)


def participation(player, *, num_envs=1, rounds=ROUNDS, seed=0, id="coop_nav", **arguments):
    """Participation vectors (T, E, N) of random play that never ends before the limit."""
    vector = mail_envs.make_vec(
        id, num_envs, player_function=player, max_rounds=rounds, fixed_horizon=True,
        autoreset=False, **arguments,
    )  # fmt: skip
    _, info = vector.reset(seed=seed)
    drawn = []
    for _ in range(rounds):
        drawn.append(info["participation"].copy())
        *_, info = vector.step(random_actions(vector, info))
    return np.array(drawn)


def within_chance(drawn, probability, errors=5.0):
    """Whether the mean over the first axis is a plausible one of 0/1 numbers of `probability`."""
    sd = np.sqrt(np.asarray(probability) * (1 - np.asarray(probability)) / len(drawn))
    return np.all(np.abs(np.mean(drawn, axis=0) - probability) <= errors * sd + 1e-12)


# -- by the round alone ---------------------------------------------------------------------------


def test_synchronous_lets_everybody_act_in_every_round():
    assert participation(mail_envs.Synchronous(), num_envs=3).all()


def test_turn_order_cycles_through_its_groups_and_an_empty_group_lets_nobody_act():
    groups = [[0, 1, 2], [], [2]]
    drawn = participation(mail_envs.TurnOrder(groups), num_envs=2, rounds=8)
    for t, row in enumerate(drawn):
        expected = np.isin(np.arange(3), groups[t % 3])
        assert (row == expected).all(), t


@QUICK
@given(
    st.lists(st.lists(st.integers(0, 3), max_size=4), min_size=1, max_size=5).filter(any),
    st.integers(0, 2**40),
)
def test_turn_order_depends_on_nothing_but_the_round(groups, seed):
    drawn = participation(mail_envs.TurnOrder(groups), rounds=12, seed=seed, num_agents=4)
    expected = [np.isin(np.arange(4), groups[t % len(groups)]) for t in range(12)]
    assert (drawn[:, 0] == expected).all()


@QUICK
@given(
    st.lists(st.floats(0, 1), min_size=3, max_size=3).filter(any),
    st.integers(0, 2**62),
)
def test_each_agent_acts_as_often_as_its_own_probability_says(probabilities, seed):
    drawn = participation(
        mail_envs.Stochastic(probabilities), num_envs=400, rounds=4, seed=seed
    ).reshape(-1, 3)
    assert within_chance(drawn, np.float32(probabilities).astype(float), errors=6.5)


def test_agents_and_rounds_are_drawn_independently():
    drawn = participation(mail_envs.Stochastic(0.5), num_envs=2000).astype(float)
    flat = drawn.transpose(1, 0, 2).reshape(2000, -1)
    correlations = np.corrcoef(flat, rowvar=False) - np.eye(flat.shape[1])
    assert np.abs(correlations).max() < 5.5 / np.sqrt(2000)


def test_probability_zero_and_one_are_certain():
    drawn = participation(mail_envs.Stochastic([0.0, 1.0, 0.5]), num_envs=500)
    assert not drawn[..., 0].any() and drawn[..., 1].all()


def test_the_first_round_has_a_distribution_of_its_own():
    player = mail_envs.Stochastic(0.2, initial=[1.0, 0.0, 0.7])
    drawn = participation(player, num_envs=2000, rounds=3)
    assert within_chance(drawn[0], [1.0, 0.0, 0.7])
    assert within_chance(drawn[1:].reshape(-1, 3), [0.2] * 3)


def test_every_episode_begins_with_the_initial_distribution_again():
    player = mail_envs.Stochastic([0.0, 0.5, 0.0], initial=[1.0, 0.0, 0.0])
    vector = mail_envs.make_vec("coop_nav", 4, player_function=player, max_rounds=3, seed=0)
    for _ in range(10):
        *_, info = vector.step(np.zeros((4, 3), int))
        first = info["round"] == 0
        assert (info["participation"][:, 0] == first).all()


def test_a_shared_coin_lets_all_act_or_none():
    player = mail_envs.Stochastic(0.4, shared_coin=True)
    drawn = participation(player, num_envs=500)
    assert (drawn == drawn[..., :1]).all()
    assert within_chance(drawn[..., 0].ravel(), 0.4)


def test_a_shared_coin_nests_unequal_probabilities():
    drawn = participation(mail_envs.Stochastic([0.2, 0.6, 0.9], shared_coin=True), num_envs=500)
    assert (np.diff(drawn.astype(int), axis=-1) >= 0).all()
    assert within_chance(drawn.reshape(-1, 3), [0.2, 0.6, 0.9])


@pytest.mark.parametrize("name", ALL)
def test_participation_follows_from_the_seed_alone(name):
    together = participation(ALL[name], num_envs=3, rounds=10, seed=5)
    for e in range(3):
        assert np.array_equal(together[:, e], participation(ALL[name], rounds=10, seed=5 + e)[:, 0])


def test_participation_does_not_depend_on_the_game():
    a = participation(mail_envs.Stochastic(0.5), id="coop_nav", num_envs=5)
    b = participation(mail_envs.Stochastic(0.5), id="coop_reaching", num_envs=5)
    assert np.array_equal(a, b)


# -- by the history and the state -----------------------------------------------------------------


@pytest.mark.parametrize("kind", COMPILED)
@pytest.mark.parametrize("id", ["coop_nav", "coop_reaching"])
def test_plain_python_and_numba_draw_the_same_bits(kind, id):
    a = participation(COMPILED[kind], num_envs=40, seed=3, id=id)
    b = participation(PLAIN[kind], num_envs=40, seed=3, id=id)
    assert np.array_equal(a, b) and a.any() and not a.all()


def test_a_rule_about_the_history_holds_in_every_round():
    drawn = participation(COMPILED["HistoryDependent"], num_envs=300)
    assert not (drawn[1:] & drawn[:-1]).any()
    rested = drawn[:-1] == 0
    assert within_chance(drawn[1:][rested], 0.5)


def test_the_history_is_that_of_the_running_episode():
    seen = []

    def spy(history, rounds):
        seen.append((history.copy(), rounds.copy()))
        return np.full((len(rounds), 3), 0.5)

    vector = mail_envs.make_vec(
        "coop_nav", 2, player_function=mail_envs.HistoryDependent(spy), max_rounds=4
    )
    _, info = vector.reset(seed=0)
    drawn = [info["participation"].copy()]
    for _ in range(9):
        *_, info = vector.step(np.zeros((2, 3), int))
        drawn.append(info["participation"].copy())
        history, rounds = seen[-1]
        assert np.array_equal(rounds, info["round"])
        for e, t in enumerate(rounds):
            expected = np.array(drawn)[len(drawn) - 1 - t : -1, e]
            assert np.array_equal(history[e, :t], expected)
            assert not history[e, t:].any()


def test_state_and_actions_are_those_of_the_running_episode():
    seen = []

    def spy(state, history, actions, rounds):
        seen.append((state.copy(), actions.copy(), rounds.copy()))
        return np.full((len(rounds), 3), 0.5)

    vector = mail_envs.make_vec(
        "coop_nav", 2, player_function=mail_envs.StateDependent(spy), max_rounds=5
    )
    _, info = vector.reset(seed=1)
    played = []
    for _ in range(12):
        acts, actions = info["participation"] > 0, random_actions(vector, info)
        played.append(np.where(acts, actions, -1))
        *_, info = vector.step(actions)
        state, past, rounds = seen[-1]
        assert np.array_equal(state, info["state"])
        for e, t in enumerate(rounds):
            assert np.array_equal(past[e, :t], np.array(played)[len(played) - t :, e])
            assert (past[e, t:] == -1).all()


def test_continuous_action_histories_hold_zeros_for_null_actions():
    seen = []

    def spy(state, history, actions, rounds):
        seen.append(actions[0, : rounds[0]].copy())
        return np.full((1, 3), 0.5)

    player = mail_envs.StateDependent(spy)
    vector = mail_envs.make_vec("coop_nav", player_function=player, continuous_actions=True)
    _, info = vector.reset(seed=1)
    played = []
    for _ in range(8):
        actions = random_actions(vector, info)
        played.append(np.where(info["participation"][..., None] > 0, actions, 0)[0])
        *_, info = vector.step(actions)
        assert np.array_equal(seen[-1], played)


def test_an_illegal_action_is_a_null_action_in_the_history():
    seen = []

    def spy(state, history, actions, rounds):
        seen.append(actions[0, : rounds[0]].copy())
        return np.ones((1, 3))

    vector = mail_envs.make_vec(
        "coop_nav", player_function=mail_envs.StateDependent(spy), null_action="as_action", seed=0
    )
    *_, info = vector.step(np.array([[2, 5, 0]]))  # agent_1 participates, but sends φ
    assert info["illegal_actions"][0] == 1
    assert np.array_equal(seen[-1], [[2, -1, 0]])


def test_a_rule_about_state_and_actions_holds_in_every_round():
    player = COMPILED["StateDependent"]
    vector = mail_envs.make_vec("coop_nav", 200, player_function=player, autoreset=False)
    _, info = vector.reset(seed=0)
    chances, moved = [], np.zeros((200, 3), bool)
    for _ in range(20):
        sure = (info["state"][:, 0:12:4] < 0) | moved
        acts = info["participation"] > 0
        assert acts[sure].all()
        chances.append(acts[~sure])
        actions = random_actions(vector, info)
        moved = acts & (actions == 1)
        *_, info = vector.step(actions)
    assert within_chance(np.concatenate(chances), 0.3)


def test_functions_that_no_module_can_import_work_too():
    """As in a notebook: closures, lambdas and functions of `__main__`."""
    closures = 1

    @njit
    def every_other_round(i, history):
        return ONE if history.shape[0] % 2 == closures else ZERO

    namespace = {"njit": njit, "np": np, "__name__": "__main__"}
    text = "@njit\ndef third(i, history):\n    return np.float32(history.shape[0] % 3 == 0)"
    exec(text, namespace)
    for function, expected in (
        (every_other_round, np.arange(9) % 2 == 1),
        (namespace["third"], np.arange(9) % 3 == 0),
        (njit(lambda i, history: ONE), np.ones(9, bool)),
        (lambda history, rounds: np.ones((len(rounds), 3)), np.ones(9, bool)),
    ):
        drawn = participation(mail_envs.HistoryDependent(function), rounds=9)
        assert (drawn[:, 0] == expected[:, None]).all()


def test_ordinary_numba_functions_may_use_arrays():
    @njit
    def rarer_with_practice(i, history):
        return 1.0 / (1.0 + np.sum(history[:, i]))

    drawn = participation(mail_envs.HistoryDependent(rarer_with_practice), num_envs=400)
    assert drawn[0].all() and within_chance(drawn[1].ravel(), 0.5)


# -- action sets ----------------------------------------------------------------------------------


@pytest.mark.parametrize("players", [COMPILED, PLAIN])
def test_action_sets_are_drawn_with_their_probabilities(players):
    drawn = participation(players["ActionSets"], num_envs=500)
    assert set(np.unique(drawn)) == {0, 1, 2}
    for m, probability in ((0, 0.2), (1, 0.5), (2, 0.3)):
        assert within_chance((drawn == m).ravel(), probability)


def test_masks_are_narrowed_to_the_action_set():
    vector = mail_envs.make_vec("coop_nav", 50, player_function=PLAIN["ActionSets"], seed=0)
    rows = np.array([[1, 1, 1, 1, 1], [0, 1, 1, 0, 0], [1, 0, 0, 1, 1]])
    _, info = vector.reset(seed=0)
    for _ in range(5):
        assert np.array_equal(info["action_mask"], rows[info["participation"]])
        *_, info = vector.step(random_actions(vector, info))
        assert not info["illegal_actions"].any()


def test_actions_outside_the_set_are_null_and_counted():
    keywords = {"player_function": PLAIN["ActionSets"], "seed": 7}
    vector = mail_envs.make_vec("coop_nav", 20, **keywords)
    twin = mail_envs.make_vec("coop_nav", 20, **keywords)
    _, info = vector.reset(seed=7)
    illegal = np.zeros(20, int)
    for _ in range(10):
        actions = np.full((20, 3), 2)  # "right", which the second set lacks
        illegal += (info["participation"] == 2).sum(1)
        null = np.where(info["participation"] == 2, 0, actions)  # "none": no force either
        observations, *_, info = vector.step(actions)
        assert np.array_equal(observations, twin.step(null)[0])
    assert np.array_equal(info["illegal_actions"], illegal) and illegal.any()


def test_components_outside_the_set_are_zero():
    player = mail_envs.ActionSets(sample_players.horizontal_or_vertical, [[1, 2], [3, 4]])
    keywords = {"player_function": player, "continuous_actions": True}
    vector = mail_envs.make_vec("coop_nav", 30, **keywords)
    twin = mail_envs.make_vec("coop_nav", 30, **keywords)
    _, info = vector.reset(seed=0)
    twin.reset(seed=0)
    members = np.array([[0, 0, 0, 0, 0], [0, 1, 1, 0, 0], [0, 0, 0, 1, 1]], np.float32)
    for _ in range(8):
        actions = random_actions(vector, info)
        given = actions.copy()
        kept = actions * members[info["participation"]]
        observations, *_, info = vector.step(actions)
        assert np.array_equal(actions, given), "the caller's array stays as it is"
        assert np.array_equal(observations, twin.step(kept)[0])


def test_action_sets_with_the_null_action_as_action():
    vector = mail_envs.make_vec(
        "coop_nav", 50, player_function=PLAIN["ActionSets"], null_action="as_action"
    )
    _, info = vector.reset(seed=0)
    rows = np.array([[0, 0, 0, 0, 0, 1], [0, 1, 1, 0, 0, 0], [1, 0, 0, 1, 1, 0]])
    assert np.array_equal(info["action_mask"], rows[info["participation"]])


# -- mistakes -------------------------------------------------------------------------------------

NAN = float("nan")


@pytest.mark.parametrize("value", [-0.1, 1.1, NAN, [0.5, 2.0], [0.5, NAN], [[0.5]], "half", None])
@pytest.mark.parametrize("name", ["probability", "initial"])
def test_probabilities_outside_0_to_1_are_named(name, value):
    if name == "initial" and value is None:
        pytest.skip("None stands for the same as in other rounds")
    with pytest.raises(ValueError, match=rf"{name}=.*\[0, 1\]"):
        mail_envs.Stochastic(**{"probability": 0.5, name: value})


def test_a_wrong_number_of_probabilities_is_named():
    with pytest.raises(ValueError, match=r"probability has 2 entries.*3 agents"):
        mail_envs.make("coop_nav", player_function=mail_envs.Stochastic([0.5, 0.5]))
    with pytest.raises(ValueError, match=r"initial has 4 entries.*3 agents"):
        mail_envs.make("coop_nav", player_function=mail_envs.Stochastic(0.5, initial=[1.0] * 4))


@pytest.mark.parametrize("probability", [0, 0.0, [0, 0, 0]])
def test_a_player_function_that_never_lets_anybody_act_is_refused(probability):
    with pytest.raises(ValueError, match="never lets anybody act"):
        mail_envs.Stochastic(probability, initial=1.0)
    for groups in ([], [[]], [[], []]):
        with pytest.raises(ValueError, match="never lets anybody act"):
            mail_envs.TurnOrder(groups)


@pytest.mark.parametrize("agent", [-1, 3, 10])
def test_an_agent_that_the_game_lacks_is_named(agent):
    with pytest.raises(ValueError, match=f"names agent {agent}.*agents 0 to 2"):
        mail_envs.make("coop_nav", player_function=mail_envs.TurnOrder([[0], [agent]]))


@pytest.mark.parametrize("groups", [[0, 1, 2], 5, [["agent_0"]]])
def test_turn_order_needs_groups(groups):
    with pytest.raises((TypeError, ValueError), match="groups"):
        mail_envs.TurnOrder(groups)


def test_action_sets_with_unknown_or_without_actions_are_refused():
    function = sample_players.horizontal_or_vertical
    for sets in ([], [[1], []]):
        with pytest.raises(ValueError, match="every action set needs an action"):
            mail_envs.ActionSets(function, sets)
    for action in (5, -1):
        player = mail_envs.ActionSets(function, [[0], [action]])
        with pytest.raises(ValueError, match=f"action {action} in set .* outside 0 to 4"):
            mail_envs.make("coop_nav", player_function=player)


@pytest.mark.parametrize("kind", ["HistoryDependent", "StateDependent"])
def test_a_function_is_needed(kind):
    with pytest.raises(TypeError, match=f"{kind} needs a function, got 0.5"):
        getattr(mail_envs, kind)(0.5)


@pytest.mark.parametrize("value", [-0.2, 1.2, NAN])
@pytest.mark.parametrize("compiled", [True, False])
def test_a_users_function_must_give_probabilities(value, compiled):
    number = np.float32(value)

    def plain(history, rounds):
        return np.where(rounds[:, None] == 2, number, np.full((1, 3), HALF))

    @njit
    def scalar(i, history):
        return number if history.shape[0] == 2 else HALF

    player = mail_envs.HistoryDependent(scalar if compiled else plain)
    vector = mail_envs.make_vec("coop_nav", player_function=player, seed=0)
    vector.step(np.zeros((1, 3), int))
    with pytest.raises(ValueError, match=r"HistoryDependent.*probabilit"):
        vector.step(np.zeros((1, 3), int))
    _, info = vector.reset(seed=0)
    assert info["round"][0] == 0, "a fresh episode can be played"


def test_probabilities_of_action_sets_add_up_to_at_most_1():
    for number in (0.4, 0.5):
        player = mail_envs.ActionSets(
            lambda history, rounds, p=number: np.full((len(rounds), 3, 2), p), [[1], [2]]
        )
        mail_envs.make_vec("coop_nav", player_function=player, seed=0)
    player = mail_envs.ActionSets(
        lambda history, rounds: np.full((len(rounds), 3, 2), 0.6), [[1], [2]]
    )
    with pytest.raises(ValueError, match="at most 1"):
        mail_envs.make_vec("coop_nav", player_function=player, seed=0)


class ByTable(mail_envs.player_functions.PlayerFunction):
    def __init__(self, rows, following=0):
        self.rows, self.following = rows, following

    def table(self, num_agents):
        return np.array(self.rows, np.float32), self.following


@pytest.mark.parametrize(
    ("rows", "following", "message"),
    [
        ([[1, 1]], 0, "rows of 3 probabilities"),
        ([[1, 1, 1, 1]], 0, "rows of 3 probabilities"),
        ([1, 1, 1], 0, "rows of 3 probabilities"),
        ([[1, 1, 1], [0, 1, 0]], 2, "the row after the last"),
        ([[1, 1, 1], [0, 1, 0]], -1, "the row after the last"),
        ([[1, 1, 1.5]], 0, r"outside \[0, 1\]"),
        ([[1, 1, NAN]], 0, r"outside \[0, 1\]"),
    ],
)
def test_a_users_table_that_kernels_cannot_read_is_refused(rows, following, message):
    with pytest.raises(ValueError, match=message):
        mail_envs.make("coop_nav", player_function=ByTable(rows, following))


def test_a_users_class_says_who_acts_and_a_coin_is_shared_only_in_tables():
    with pytest.raises(ValueError, match="neither a table nor a function"):
        mail_envs.make("coop_nav", player_function=mail_envs.player_functions.PlayerFunction())
    player = mail_envs.HistoryDependent(sample_players.not_twice_in_a_row)
    player.shared_coin = True
    with pytest.raises(ValueError, match="only with a table"):
        mail_envs.make("coop_nav", player_function=player)


def test_a_users_function_must_give_the_right_shape():
    player = mail_envs.HistoryDependent(lambda history, rounds: np.full(3, 0.5))
    with pytest.raises(ValueError, match=r"shape \(3,\); expected \(4, 3\)"):
        mail_envs.make_vec("coop_nav", 4, player_function=player, seed=0)


# -- descriptions ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALL)
def test_to_config_is_json_and_from_config_gives_an_equal_player_function(name):
    player = ALL[name]
    config = json.loads(json.dumps(player.to_config()))
    if "function" in config:  # its name: nobody imports it for a description
        config["function"] = player.function
    again = from_config(config)
    assert again == player and type(again) is type(player)
    assert np.array_equal(participation(again, rounds=8), participation(player, rounds=8))


@pytest.mark.parametrize("name", sample_players.BY_ROUND)
def test_repr_recreates_the_plain_ones(name):
    player = ALL[name]
    assert (
        eval(repr(player), vars(mail_envs) | {k: getattr(mail_envs, k) for k in mail_envs.__all__})
        == player
    )


def test_different_player_functions_are_not_equal():
    players = list(ALL.values())
    for i, a in enumerate(players):
        assert [a == b for b in players] == [i == j for j in range(len(players))]


@pytest.mark.parametrize(
    ("config", "error"),
    [
        ({"type": "Alternating"}, "'Alternating' is not one of Synchronous, OwnOrder"),
        ({}, "None is not one of"),
        ({"type": ["Stochastic"]}, "is not one of"),
        ({"type": "HistoryDependent", "function": "sample_players:SELDOM"}, "is not imported"),
        ({"type": "HistoryDependent"}, "HistoryDependent: .*missing"),
        ({"type": "Stochastic", "probability": 3}, r"\[0, 1\]"),
        ({"type": "TurnOrder", "groups": [[0.5]]}, "needs lists of agents"),
    ],
)
def test_a_description_of_something_unknown_is_refused(config, error):
    with pytest.raises(ValueError, match=error):
        from_config(config)


def test_functions_without_a_module_say_that_they_cannot_be_found_again():
    config = mail_envs.HistoryDependent(lambda history, rounds: None).to_config()
    with pytest.raises(ValueError, match="pass player_function="):
        from_config(config)


def test_an_action_set_without_allowed_actions_gives_way_to_the_mask():
    sets = mail_envs.ActionSets(lambda h, t: np.tile([0.0, 1.0], (len(h), 2, 1)), [[0, 2], [1]])
    vector = VectorGame(LastStanding(num_agents=2), sets)
    _, info = vector.reset(seed=0)
    assert info["action_mask"][0].tolist() == [[0, 1, 0], [0, 1, 0]]
    *_, info = vector.step(np.ones((1, 2), np.int32))  # both hit, and must not hit again
    assert info["action_mask"][0].tolist() == [[1, 0, 1], [1, 0, 1]]
