"""Any PettingZoo environment works like a native game."""

from __future__ import annotations

import copy
import functools
import warnings

import numpy as np
import pettingzoo
import pytest
from gymnasium import spaces
from pettingzoo.test import api_test, parallel_api_test, seed_test
from sample_environments import Countdown, LateComer, Medley

import mail_envs
from mail_envs.adapters.null_actions import KNOWN
from mail_envs.conformance.subject import random_actions

PREFIX = "pettingzoo:"
UNIT = spaces.Box(0.0, 1.0, (3,), np.float32)
FLAT = spaces.Dict({"where": spaces.Discrete(3), "how": spaces.Box(-1, 1, (2,), np.float64)})


def medley(kinds, actions, **more):
    """A function that makes a medley with agents of the roles a, b, c, ..."""
    names = [f"{chr(97 + i)}_0" for i in range(len(kinds))]
    return functools.partial(
        Medley, dict(zip(names, kinds, strict=True)), dict(zip(names, actions, strict=True)), **more
    )


def box(*shape, low=-1.0, high=1.0, dtype=np.float32):
    return spaces.Box(low, high, shape, dtype)


SAMPLES = {
    "deaths": medley([UNIT] * 3, [spaces.Discrete(3)] * 3, lives={"a_0": 3, "c_0": 7}),
    "all die": medley([UNIT] * 2, [spaces.Discrete(3)] * 2, lives={"a_0": 2, "b_0": 5}),
    "unequal": medley(
        [FLAT, spaces.Discrete(4), box(2, 2, dtype=np.float64)],
        [spaces.Discrete(2, start=5), spaces.Discrete(7), spaces.Discrete(1)],
    ),
    "masks": medley(
        [box(2, 2, low=0, dtype=np.int8), UNIT],
        [spaces.Discrete(3), spaces.Discrete(4)],
        masks="observation",
    ),
    "masks in info": medley([UNIT], [spaces.Discrete(3)], masks="info", own_state=True),
    "images": medley(
        [box(5, 4, 3, low=0, high=255, dtype=np.uint8), box(2, 2, low=0, high=255, dtype=np.uint8)],
        [spaces.MultiDiscrete([2, 3]), spaces.MultiBinary(2)],
    ),
    "vectors": medley(
        [UNIT, FLAT],
        [box(2, 2, low=-0.1, high=0.1, dtype=np.float64), box(3, low=-5, high=np.inf)],
        own_state=True,
    ),
}
# Package that an id needs beyond ours, and arguments that make it small.
FOREIGN = {
    "butterfly/cooperative_pong-v6": (None, {}),
    "butterfly/knights_archers_zombies-v11": (None, {}),
    "butterfly/pistonball-v6": ("pymunk", {"n_pistons": 4}),
    "classic/rps-v2": (None, {}),
    "mpe2/simple_tag_v3": (None, {}),
    "mpe2/simple_adversary_v3": (None, {"continuous_actions": True}),
    "sisl/multiwalker-v9": ("Box2D", {"remove_on_fall": True, "terminate_on_fall": False}),
    "sisl/pursuit-v5": (None, {"n_pursuers": 3}),
}
TURNS = {
    "classic/chess-v6": "chess",
    "classic/connect_four-v3": None,
    "classic/go-v5": None,
    "classic/leduc_holdem-v4": "rlcard",
    "classic/tictactoe-v3": None,
}


def need(name, package):
    if package:
        pytest.importorskip(package, reason=f"{name} needs {package}")


def sample_of(name, **arguments):
    """One of the samples or foreign environments, as a game in some view."""
    if name in SAMPLES:
        return mail_envs.from_pettingzoo(SAMPLES[name], **arguments)
    package, env_args = FOREIGN[name]
    need(name, package)
    return mail_envs.from_pettingzoo(name, env_args=env_args, **arguments)


def original_of(name):
    if name in SAMPLES:
        return SAMPLES[name]()
    package, env_args = FOREIGN[name]
    need(name, package)
    if name.startswith("mpe2"):
        module = pytest.importorskip(name.replace("/", "."))
        return module.parallel_env(**env_args)
    return pettingzoo.make("parallel", name, render_mode="rgb_array", **env_args)


def random_choice(env, agent, rng):
    """An action in the adapted environment's space."""
    space = env.action_space(agent)
    if isinstance(space, spaces.Discrete):
        return int(rng.integers(space.n))
    return rng.uniform(np.maximum(space.low, -9), np.minimum(space.high, 9)).astype(np.float32)


def expected_row(env, agent, observation):
    """An observation of the original as a flat float array, as in our views."""
    space = env.observation_space(agent)
    if isinstance(space, spaces.Dict) and "action_mask" in space.spaces:
        return np.ravel(observation["observation"]).astype(np.float32)
    if isinstance(space, spaces.Box):
        return np.ravel(observation).astype(np.float32)
    return spaces.flatten(space, observation).astype(np.float32)


# -- the same game ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [n for n in (*SAMPLES, *FOREIGN) if "masks" not in n])
def test_a_synchronous_game_is_the_original(name):
    ours, theirs = sample_of(name, api="parallel"), original_of(name)
    rng = np.random.default_rng(0)
    seen, _ = ours.reset(seed=7)
    wanted, _ = theirs.reset(seed=7)
    for _ in range(40):
        for agent in theirs.agents:
            row = expected_row(theirs, agent, wanted[agent])
            np.testing.assert_array_equal(np.ravel(seen[agent]), row)
            assert ours.observation_space(agent).contains(seen[agent])
        assert ours.agents == theirs.agents
        if not ours.agents:
            break
        actions = {a: random_choice(ours, a, rng) for a in ours.agents}
        native = {a: ours.vector.game._actions[i].native_action(actions[a])
                  for i, a in enumerate(ours.possible_agents) if a in actions}  # fmt: skip
        seen, rewards, terminated, truncated, _ = ours.step(actions)
        wanted, original_rewards, original_ends, original_cuts, _ = theirs.step(native)
        for agent in actions:
            assert rewards[agent] == pytest.approx(original_rewards[agent], abs=1e-6)
            ended = original_ends[agent] or original_cuts[agent]
            assert (terminated[agent] or truncated[agent]) == ended
    ours.close()
    theirs.close()


@pytest.mark.parametrize("name", [*SAMPLES, "sisl/pursuit-v5"])
def test_pettingzoos_own_tests_pass(name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of spaces that differ, infinite bounds, ...
        api_test(sample_of(name), num_cycles=30)
        parallel_api_test(sample_of(name, api="parallel"), num_cycles=30)
        seed_test(lambda: sample_of(name), num_cycles=30)


def test_a_single_environment_is_its_copies():
    """Equal seeds and actions: alone, among copies, and after an autoreset."""
    one = sample_of("deaths", api="vector")
    many = sample_of("deaths", api="vector", num_envs=3, num_workers=0)
    _, info = many.reset(seed=4)
    one.reset(seed=5)
    for _ in range(30):
        np.testing.assert_array_equal(one.buffers.observations[0], many.buffers.observations[1])
        actions = random_actions(many, info)
        _, rewards, _, _, info = many.step(actions)
        np.testing.assert_array_equal(one.step(actions[1:2])[1][0], rewards[1])


def test_copies_in_workers():
    vec = mail_envs.make_vec(PREFIX + "classic/tictactoe-v3", 2, num_workers=1, seed=0)
    here = mail_envs.make_vec(PREFIX + "classic/tictactoe-v3", 2, num_workers=0, seed=0)
    info = here._info
    for _ in range(12):
        actions = random_actions(here, info)
        _, rewards, _, _, info = here.step(actions)
        np.testing.assert_array_equal(vec.step(actions)[1], rewards)
        np.testing.assert_array_equal(vec.buffers.observations, here.buffers.observations)
    vec.close()


@pytest.mark.parametrize("own", ["coop_nav", "stochastic_coop_nav"])
def test_our_own_environments_come_through(own):
    adapted = mail_envs.from_pettingzoo(
        mail_envs.make("coop_nav", api="parallel"), player_function=player_of(own), noop=0,
    ).vector  # fmt: skip
    ours = mail_envs.make_vec(own)
    _, info = ours.reset(seed=3)
    adapted.reset(seed=3)
    assert adapted.game.has_action_mask
    for _ in range(20):
        np.testing.assert_array_equal(adapted.buffers.observations, ours.buffers.observations)
        np.testing.assert_array_equal(adapted.buffers.participation, ours.buffers.participation)
        np.testing.assert_array_equal(adapted.buffers.state, ours.buffers.state)
        actions = random_actions(ours, info)
        _, rewards, _, _, info = ours.step(actions)
        np.testing.assert_array_equal(adapted.step(actions)[1], rewards)


def player_of(id):
    return mail_envs.make_game(id)[1]


def assert_equal_rounds(vec, other, info, rounds):
    for _ in range(rounds):
        actions = random_actions(vec, info)
        observations, rewards, *_, info = vec.step(actions)
        theirs, their_rewards, *_ = other.step(actions)
        np.testing.assert_array_equal(observations, theirs)
        np.testing.assert_array_equal(rewards, their_rewards)


@pytest.mark.parametrize("name", ["butterfly/knights_archers_zombies-v11", "deaths"])
def test_a_saved_game_goes_on_where_it_was(name):
    player = mail_envs.Stochastic(0.7)
    noop = {} if "/" in name else {"noop": 0}
    vec, other = (sample_of(name, api="vector", player_function=player, **noop) for _ in "ab")
    _, info = vec.reset(seed=2)
    for _ in range(5):
        info = vec.step(random_actions(vec, info))[4]
    other.set_state(vec.get_state())
    assert_equal_rounds(vec, other, info, 15)


# -- who acts, and φ -------------------------------------------------------------------------------


def test_absent_agents_send_zeros_and_get_no_reward():
    made = []

    def make():
        made.append(SAMPLES["vectors"]())
        return made[-1]

    vec = mail_envs.from_pettingzoo(make, api="vector", player_function=mail_envs.Stochastic(0.5))
    _, info = vec.reset(seed=0)
    rng = np.random.default_rng(0)
    for _ in range(11):
        acts = info["participation"][0].copy()
        actions = rng.uniform(-0.1, 0.1, vec.buffers.actions.shape).astype(np.float32)
        _, rewards, _, _, info = vec.step(actions)
        received = made[0].received[-1]
        for i, agent in enumerate(vec.agents):
            own = actions[0, i, : vec.action_dims[i]]
            sent = np.ravel(received[agent])
            np.testing.assert_allclose(sent, own if acts[i] else 0, atol=1e-7)
            assert (rewards[0, i] != 0) == bool(acts[i])


def test_masked_actions_become_the_named_null_action():
    made = []

    def make():
        made.append(SAMPLES["masks"]())
        return made[-1]

    vec = mail_envs.from_pettingzoo(make, api="vector", noop={"a_0": 2, "b_0": np.int64(3)})
    observations, info = vec.reset(seed=0)
    assert observations.shape == (1, 2, 4)
    np.testing.assert_array_equal(info["action_mask"][0], [[0, 1, 1, 0], [0, 1, 1, 1]])
    vec.step(np.array([[0, 1]]))  # round 0 forbids action 0
    assert made[0].received[-1] == {"a_0": 2, "b_0": 1}
    assert info["illegal_actions"][0] == 1
    np.testing.assert_array_equal(info["action_mask"][0], [[1, 0, 1, 0], [1, 0, 1, 1]])


def test_without_a_null_action_the_environment_judges_illegal_actions():
    made = []

    def make():
        made.append(SAMPLES["masks"]())
        return made[-1]

    vec = mail_envs.from_pettingzoo(make, api="vector")
    vec.reset(seed=0)
    vec.step(np.array([[0, 1]]))
    assert made[0].received[-1] == {"a_0": 0, "b_0": 1}
    assert vec._info["illegal_actions"][0] == 1


@pytest.mark.parametrize(
    "view", [{"player_function": mail_envs.Stochastic(0.5)}, {"null_action": "as_action"}], ids=str
)
def test_unknown_null_actions_must_be_named(view):
    with pytest.raises(ValueError, match=r"a_0, b_0, c_0 may be absent .* noop=0 or noop=\{'a_0'"):
        sample_of("deaths", **view)
    sample_of("deaths", noop=1, **view).reset(seed=0)


@pytest.mark.parametrize(
    ("noop", "message"),
    [
        (3, r"noop=3 of a_0 is not in its action space, Discrete\(3\)"),
        (0.5, r"noop=0.5 of a_0"),
        ("stay", r"noop='stay' of a_0"),
        ({"z_0": 0}, "noop names z_0; the agents are a_0, b_0, c_0"),
        ({"a_0": [0, 1]}, r"noop=\[0, 1\] of a_0"),
    ],
)
def test_named_null_actions_are_checked(noop, message):
    with pytest.raises(ValueError, match=message):
        sample_of("deaths", noop=noop)


def test_null_actions_of_some_agents_are_not_enough():
    with pytest.raises(ValueError, match="c_0 may be absent"):
        sample_of("deaths", noop={"a_0": 0, "b_0": 1}, player_function=mail_envs.Stochastic(0.5))


def test_null_actions_of_arrays():
    game = sample_of("images", api="vector", noop={"a_0": [1, 2], "b_0": [0, 0]}).game
    assert game._native_null["a_0"].tolist() == [1, 2]
    game = sample_of("vectors", api="vector", noop={"b_0": 1.5}).game
    np.testing.assert_array_equal(game._native_null["b_0"], np.float32([1.5, 1.5, 1.5]))
    assert not np.any(game._native_null["a_0"])


STILL = {
    "butterfly/cooperative_pong-v6": ({}, lambda env: [r.topleft for r in env.env.p0.rects]),
    "butterfly/knights_archers_zombies-v11": (
        {},
        lambda env: [(p.rect.topleft, *p.direction) for p in env.player_list],
    ),
    "butterfly/pistonball-v6": (
        {"n_pistons": 4, "continuous": False},
        lambda env: [p.position.y for p in env.pistonList],
    ),
    "sisl/pursuit-v5": (
        {},
        lambda env: [tuple(p.current_position()) for p in env.env.pursuer_layer.allies],
    ),
    "mpe2/simple_spread_v3": ({}, lambda env: [tuple(a.state.p_pos) for a in env.world.agents]),
}


@pytest.mark.parametrize("name", STILL)
def test_known_null_actions_leave_agents_where_they_are(name):
    need(name, FOREIGN.get(name, (None,))[0])
    env_args, where = STILL[name]
    never = mail_envs.TurnOrder([[], [0]])
    vec = mail_envs.from_pettingzoo(name, api="vector", env_args=env_args, player_function=never)
    vec.reset(seed=3)
    unwrapped = vec.game._play.env.unwrapped
    assert type(unwrapped).__module__ in KNOWN
    before = where(unwrapped)
    vec.step(np.ones_like(vec.buffers.actions))
    assert where(unwrapped) == before
    vec.close()


# -- deaths and ends -------------------------------------------------------------------------------


def test_agents_die_after_their_last_reward():
    vec = sample_of("deaths", api="vector", autoreset=False)
    _, info = vec.reset(seed=0)
    for t in range(1, 13):
        dead = ~info["alive"][0]
        observations, rewards, terminated, truncated, info = vec.step(np.ones((1, 3), np.int32))
        np.testing.assert_array_equal(rewards[0], np.where(dead, 0, 1 + t))
        np.testing.assert_array_equal(info["alive"][0], [t < 3, True, t < 7])
        assert not np.any(observations[0, dead])
        assert not np.any(info["participation"][0] & ~info["alive"][0])
    assert (terminated[0], truncated[0]) == (False, True)  # b_0 is cut short
    assert info["episode_length"][0] == 12


def test_a_game_that_everybody_leaves_has_terminated():
    vec = sample_of("all die", api="vector", autoreset=False)
    vec.reset(seed=0)
    for _ in range(5):
        _, _, terminated, truncated, _ = vec.step(np.zeros((1, 2), np.int32))
    assert (terminated[0], truncated[0]) == (True, False)


def test_agents_must_not_join_late():
    vec = mail_envs.from_pettingzoo(LateComer, api="vector")
    _, info = vec.reset(seed=0)
    assert info["alive"][0].tolist() == [True, False]
    vec.step(np.zeros((1, 2), np.int32))
    with pytest.raises(RuntimeError, match="late_0 is to act in medley_v0, but"):
        vec.step(np.zeros((1, 2), np.int32))


def test_time_limits():
    assert sample_of("deaths", api="vector").max_rounds == 12
    assert sample_of("deaths", api="vector", max_rounds=5).max_rounds == 5
    assert mail_envs.from_pettingzoo(Countdown(), api="vector").max_rounds == 1000


def test_users_say_whether_the_limit_is_part_of_the_task():
    assert sample_of("deaths", api="vector").limit_is_end is False
    vec = sample_of("deaths", api="vector", limit_is_end=True, num_envs=2, num_workers=1)
    assert vec.limit_is_end is True and copy.copy(vec).limit_is_end is True
    vec.close()
    with pytest.raises(TypeError, match=r"limit_is_end='no' of PettingZooGame is neither True nor"):
        sample_of("deaths", api="vector", limit_is_end="no")


# -- spaces ----------------------------------------------------------------------------------------


def test_images_stay_bytes():
    vec = sample_of("images", api="vector")
    observations, info = vec.reset(seed=0)
    assert observations.dtype == np.uint8
    assert observations.shape == (1, 2, 60)
    assert info["state"].shape == (1, 64)
    env = sample_of("images")
    env.reset(seed=0)
    assert env.observe("a_0").shape == (5, 4, 3)
    assert env.action_space("a_0") == spaces.Discrete(6)
    assert env.action_space("b_0") == spaces.Discrete(4)


def test_joint_actions_cover_all_combinations():
    made = []

    def make():
        made.append(SAMPLES["images"]())
        return made[-1]

    vec = mail_envs.from_pettingzoo(make, api="vector")
    vec.reset(seed=0)
    for a in range(6):
        vec.step(np.array([[a, a % 4]]))
    received = [tuple(r["a_0"]) for r in made[0].received]
    assert received == [(i, j) for i in range(2) for j in range(3)]


def test_the_state():
    _, info = sample_of("masks in info", api="vector").reset(seed=0)
    np.testing.assert_array_equal(info["state"], [range(6)])
    observations, info = sample_of("deaths", api="vector").reset(seed=0)
    np.testing.assert_array_equal(info["state"], observations.reshape(1, 9))
    vec = sample_of("deaths", api="vector", global_state=False)
    assert vec.reset(seed=0)[1]["state"].shape == (1, 0)
    vec.step(np.zeros((1, 3), np.int32))


@pytest.mark.parametrize(
    ("kinds", "actions", "message"),
    [
        ([UNIT] * 2, [spaces.Discrete(2), box(2)], "b_0 are continuous, those of a_0 discrete"),
        ([UNIT], [spaces.MultiDiscrete([50, 50, 50])], "125,000 combinations"),
        ([UNIT], [spaces.Text(3)], "actions of a_0 are neither discrete nor a vector"),
        ([spaces.Sequence(UNIT)], [spaces.Discrete(2)], "observations of a_0 have no fixed length"),
    ],
    ids=str,
)
def test_spaces_that_cannot_be_expressed(kinds, actions, message):
    with pytest.raises(ValueError, match=message):
        mail_envs.from_pettingzoo(medley(kinds, actions))


# -- turns -----------------------------------------------------------------------------------------


def test_the_games_own_order_is_the_participation():
    env = mail_envs.from_pettingzoo(Countdown(matches=4))
    env.reset(seed=0)
    turns = []
    for agent in env.agent_iter():
        _, reward, terminated, truncated, info = env.last()
        if terminated or truncated:
            turns.append((agent, reward, "leaves"))
            env.step(None)
            continue
        i = env.possible_agents.index(agent)
        assert info["participation"].tolist() == np.eye(3, dtype=int)[i].tolist()
        turns.append((agent, reward, ""))
        env.step(1)  # our action 1 is the game's 2: two matches, and another turn
    assert turns == [
        ("player_0", 0.0, ""),
        ("player_0", 0.0, ""),
        ("player_0", -3.0, "leaves"),
        ("player_1", 1.0, ""),
        ("player_1", 0.0, ""),
        ("player_1", -3.0, "leaves"),
        ("player_2", 2.0, "leaves"),
    ]


def test_turns_cannot_be_replaced():
    with pytest.raises(ValueError, match=r"its own order of turns, which Stochastic\(probability"):
        mail_envs.from_pettingzoo(Countdown(), player_function=mail_envs.Stochastic(0.5))


@pytest.mark.parametrize("null_action", ["null", "as_action"])
def test_pettingzoos_own_tests_pass_on_turns(null_action):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        make = functools.partial(
            mail_envs.from_pettingzoo, Countdown, null_action=null_action, max_rounds=40
        )
        api_test(make(), num_cycles=60)
        seed_test(make, num_cycles=60)
        parallel_api_test(make(api="parallel"), num_cycles=60)


@pytest.mark.parametrize("name", TURNS)
def test_classic_games_are_the_originals(name):
    need(name, TURNS[name])
    ours = mail_envs.make(PREFIX + name, max_rounds=60)
    theirs = pettingzoo.make("aec", name)
    ours.reset(seed=11)
    theirs.reset(seed=11)
    rng = np.random.default_rng(0)
    for agent in ours.agent_iter():
        seen, reward, terminated, truncated, info = ours.last()
        if terminated or truncated:
            break
        wanted, original_reward, ended, _, _ = theirs.last()
        assert theirs.agent_selection == agent
        assert (reward, terminated) == (original_reward, ended)
        np.testing.assert_array_equal(seen, wanted["observation"].astype(np.float32))
        np.testing.assert_array_equal(info["action_mask"], wanted["action_mask"])
        action = int(rng.choice(np.flatnonzero(info["action_mask"])))
        ours.step(action)
        theirs.step(action)
    if terminated:
        assert ours._cumulative_rewards == theirs._cumulative_rewards
        assert ours.terminations == theirs.terminations


def play_connect_four(env, columns):
    """Play these columns of connect four; returns the players' final rewards."""
    env.reset(seed=0)
    moves = iter(columns)
    final = {}
    for agent in env.agent_iter():
        _, reward, terminated, _, info = env.last()
        if terminated:
            final[agent] = (reward, info["illegal_actions"])
            env.step(None)
        else:
            env.step(next(moves))
    return final


def test_the_loser_of_connect_four_is_told():
    env = mail_envs.make(PREFIX + "classic/connect_four-v3")
    final = play_connect_four(env, [0, 1, 0, 1, 0, 1, 0])
    assert final == {"player_0": (1.0, 0), "player_1": (-1.0, 0)}
    assert env.vector._info["episode_return"][0].tolist() == [1.0, -1.0]


def test_an_illegal_move_loses_connect_four():
    env = mail_envs.make(PREFIX + "classic/connect_four-v3")
    final = play_connect_four(env, [3] * 7)
    assert final == {"player_0": (-1.0, 1), "player_1": (0.0, 1)}


def test_passing_on_ones_own_turn_is_an_illegal_move():
    env = mail_envs.make(PREFIX + "classic/connect_four-v3", null_action="as_action")
    assert env.action_space("player_0") == spaces.Discrete(8)
    final = play_connect_four(env, [*[3] * 6, 7])
    assert final == {"player_0": (-1.0, 1), "player_1": (0.0, 1)}


def test_a_saved_match_goes_on():
    first, second = (mail_envs.make_vec(PREFIX + "classic/connect_four-v3") for _ in "ab")
    _, info = first.reset(seed=0)
    for _ in range(10):
        info = first.step(random_actions(first, info))[4]
    second.set_state(first.get_state())
    assert_equal_rounds(first, second, info, 40)


# -- making ----------------------------------------------------------------------------------------


def test_seeds_of_any_size():
    env = mail_envs.make(PREFIX + "sisl/pursuit-v5")
    env.reset(seed=2**62 + 5)


def test_pictures_are_the_environments_own():
    pytest.importorskip("pygame")
    env = sample_of("deaths", render_mode="rgb_array")
    env.reset(seed=0)
    assert env.render().shape == (700, 700, 3)
    with pytest.raises(NotImplementedError, match="countdown_v0 gives no pictures"):
        mail_envs.from_pettingzoo(Countdown(), api="vector").game.picture()


def test_an_environment_is_one_copy():
    with pytest.raises(ValueError, match="pass a function that makes the environment"):
        mail_envs.from_pettingzoo(Countdown(), api="vector", num_envs=2)
    with pytest.raises(ValueError, match="num_envs=2 needs api='vector'"):
        mail_envs.from_pettingzoo(Countdown, num_envs=2)


@pytest.mark.parametrize(
    ("id", "message"),
    [
        ("butterfly/pistonbal-v6", "did you mean 'butterfly/pistonball-v6'"),
        ("connect_four-v3", "did you mean 'classic/connect_four-v3'"),
        ("sisl/pursuit-v4", "Available version: v5"),
        ("no_such_package/thing_v0", "install that first: pip install no_such_package"),
        ("not an id", "PettingZoo has no environment 'not an id'"),
    ],
)
def test_unknown_ids(id, message):
    with pytest.raises(ValueError, match=message):
        mail_envs.make(PREFIX + id)


def test_a_missing_package_is_named(monkeypatch):
    import sys

    for module in [m for m in sys.modules if m.startswith("pettingzoo.atari")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "multi_agent_ale_py", None)
    with pytest.raises(ImportError, match=r"pip install 'pettingzoo\[atari\]'"):
        mail_envs.make(PREFIX + "atari/pong-v3")


@pytest.mark.parametrize(
    ("env", "arguments", "message"),
    [
        (3, {}, "3 is neither"),
        (dict, {}, "gives {}, which is neither"),
        (Countdown(), {"env_args": {"matches": 3}}, "this one exists"),
        (Countdown, {"matches": 3}, "countdown_v0 has no argument 'matches'"),
    ],
    ids=str,
)
def test_objects_that_are_not_environments(env, arguments, message):
    with pytest.raises(TypeError, match=message):
        mail_envs.from_pettingzoo(env, **arguments)
