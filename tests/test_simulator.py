"""A game made of simulators is played like a kernel game."""

import numpy as np
import pytest
from sample_faults import ENDS, FINE, RAISES, Faulty
from sample_games import LastStanding
from sample_simulator import Twin, assert_equal_rounds

import mail_envs
from mail_envs.markov_game import KernelGame
from mail_envs.player_functions import HistoryDependent, OwnOrder, Stochastic, Synchronous
from mail_envs.vector import VectorGame

GAMES = {
    "coop_nav": {},
    "coop_nav continuous": {"continuous_actions": True},
    "predator_prey": {},
    "last_standing_of_simulators": {},
}


@pytest.fixture(scope="module", autouse=True)
def registered():
    mail_envs.register("last_standing_of_simulators", LastStanding)


def pair(name, num_envs, player=None, **view):
    """The kernel game and its twin, in equal views."""
    id, arguments = name.split()[0], GAMES[name]
    views = []
    for game in (mail_envs.make_game(id, **arguments)[0], Twin(id, **arguments)):
        workers = {} if isinstance(game, KernelGame) else {"num_workers": 0}
        views.append(VectorGame(game, player or Stochastic(0.5), num_envs, **view, **workers))
    return views


@pytest.mark.parametrize("name", GAMES)
@pytest.mark.parametrize(
    "view",
    [{}, {"fixed_horizon": True}, {"autoreset": False}, {"max_rounds": 7},
     {"fixed_horizon": True, "autoreset": False}],
    ids=str,
)  # fmt: skip
def test_a_simulator_is_played_like_the_kernel_game(name, view):
    kernel, twin = pair(name, 3, **view)
    np.testing.assert_array_equal(kernel.reset(seed=5)[0], twin.reset(seed=5)[0])
    assert_equal_rounds(kernel, twin, 70)


def test_a_copy_that_idled_until_the_limit_is_left_as_it_is():
    vec = VectorGame(
        Faulty(), Synchronous(), 2, num_workers=0, max_rounds=3, fixed_horizon=True, autoreset=False
    )
    vec.reset(seed=0)
    for t in range(8):
        first = ENDS if t == 0 else FINE
        *_, truncated, info = vec.step([[first, FINE], [FINE, FINE]])
        if t == 2:
            kept = {k: np.copy(v) for k, v in vars(vec.buffers).items()}
    assert truncated.all() and info["episode_length"].tolist() == [3, 3]
    for name in set(kept) - {"which", "rewards", "acts"}:  # of the round, not of the episode
        np.testing.assert_array_equal(getattr(vec.buffers, name), kept[name], err_msg=name)


def test_after_a_round_that_failed_a_reset_is_needed():
    vec = VectorGame(Faulty(), Synchronous(), 2, num_workers=0)
    vec.reset(seed=0)
    with pytest.raises(RuntimeError, match="on fire"):
        vec.step([[FINE, FINE], [RAISES, FINE]])
    before = vec.buffers.observations.copy()
    with pytest.raises(RuntimeError, match=r"before reset.*after a round that failed"):
        vec.step([[FINE, FINE], [FINE, FINE]])
    np.testing.assert_array_equal(vec.buffers.observations, before)
    vec.reset(seed=0)
    observations, *_ = vec.step([[FINE, FINE], [FINE, FINE]])
    assert observations[:, 0].tolist() == [[0, 1], [1, 1]]


def test_phi_as_an_action_and_history_dependent_players():
    def seldom_twice(history, rounds):
        last = history[np.arange(len(rounds)), np.maximum(rounds - 1, 0)]
        return np.where(last != 0, 0.2, 0.8)

    kernel, twin = pair("coop_nav", 2, HistoryDependent(seldom_twice), null_action="as_action")
    kernel.reset(seed=1)
    twin.reset(seed=1)
    np.testing.assert_array_equal(kernel.buffers.action_mask, twin.buffers.action_mask)
    assert_equal_rounds(kernel, twin, 60)


def test_a_simulator_whose_seeds_do_not_decide_cannot_go_back():
    game = Twin()
    game.replayable = False
    vector = VectorGame(game, mail_envs.Synchronous(), 1)
    vector.reset(seed=0)
    with pytest.raises(RuntimeError, match="Twin cannot go back to a saved state"):
        vector.set_state(vector.get_state())


@pytest.mark.parametrize("name", ["coop_nav", "coop_nav continuous"])
def test_a_saved_simulator_goes_on_where_it_was(name):
    kernel, twin = pair(name, 2)
    kernel.reset(seed=2)
    twin.reset(seed=2)
    assert_equal_rounds(kernel, twin, 30)
    saved = twin.get_state()
    other = pair(name, 2)[1]
    other.set_state(saved)
    assert_equal_rounds(kernel, other, 40, seed=1)


def test_an_action_outside_its_space_is_not_played():
    _, twin = pair("coop_nav", 2, Synchronous())
    before = twin.reset(seed=0)[0].copy()
    with pytest.raises(ValueError, match="action 9 of agent_1 in environment 1"):
        twin.step(np.array([[0, 0, 0], [0, 9, 0]]))
    np.testing.assert_array_equal(twin.buffers.observations, before)


def test_own_order_is_for_games_that_have_one():
    with pytest.raises(ValueError, match=r"OwnOrder\(\) is for games that say whose turn"):
        VectorGame(Twin(), OwnOrder())


def test_simulators_run_on_the_processor():
    with pytest.raises(ValueError, match="device='cuda'"):
        VectorGame(Twin(), Synchronous(), device="cuda")


@pytest.mark.parametrize("rounds", [10**8, 10**9])
@pytest.mark.parametrize("name", ["coop_nav", "coop_nav continuous"])
def test_an_episode_must_fit_into_memory(name, rounds):
    with pytest.raises(ValueError, match=f"max_rounds={rounds} must be at most [0-9]+: "):
        VectorGame(Twin(name.split()[0], **GAMES[name]), Synchronous(), max_rounds=rounds)


def test_one_environment_cannot_be_copied():
    game = Twin()
    game.factory = None
    with pytest.raises(ValueError, match="pass a function that makes the environment"):
        VectorGame(game, Synchronous(), 2)


def test_the_simulators_picture_fills_the_frame():
    pytest.importorskip("pygame")
    vec = VectorGame(Twin(), Stochastic(0.5))
    vec.reset(seed=0)
    frame = vec.render()
    assert frame.shape == (700, 700, 3)
    assert (frame[372] == 200).mean() > 0.9
