"""The particle environments' rules, presets, words, demonstrators and player functions."""

from __future__ import annotations

import numpy as np
import pytest
from mpe_originals import IDS
from sample_players import COMPILED

import mail_envs
from demos.policies import load_policy
from mail_envs.conformance import CHECKS, Subject
from mail_envs.games.mpe.presets import PRESETS

NONE, LEFT, RIGHT, DOWN, UP = range(5)
MISSING = ("mpe_simple_reference", "magail")
PLACES = [(i, p) for i in IDS for p in PRESETS if i != "mpe_simple_crypto" and (i, p) != MISSING]
OLD = ("pettingzoo122", "openai", "magail")


def start(name, num_envs=1, **keywords):
    """Copies of `mpe_simple{name}` that stay as they end."""
    return mail_envs.make_vec(f"mpe_simple{name}", num_envs, seed=0, autoreset=False, **keywords)


def set_world(vector, **fields):
    for name, value in fields.items():
        vector.buffers.world[name] = value
    return vector.buffers.world


def still(vector):
    """Everybody does nothing; discrete speakers say their first word."""
    return np.zeros_like(vector.buffers.actions)


def random_rounds(vector, rounds=3):
    """Rewards of random rounds, each with the records after it."""
    rng = np.random.default_rng(0)
    for _ in range(rounds):
        actions = rng.integers(vector.action_dims, size=vector.buffers.actions.shape)
        _, rewards, *_ = vector.step(actions.astype(np.int32))
        yield vector.buffers.world, rewards


def gaps(a, b):
    """Distances (E,) between points (E, 2)."""
    return np.linalg.norm(a.astype(float) - b.astype(float), axis=-1)


def distances(a, b):
    """Distances (E, N, M) of points (E, N, 2) and (E, M, 2)."""
    return np.linalg.norm(a[:, :, None].astype(float) - b[:, None].astype(float), axis=-1)


# -- what presets switch --------------------------------------------------------------------------


@pytest.mark.parametrize(("id", "preset"), PLACES)
def test_presets_move_bodies_with_the_old_or_the_new_velocity(id, preset):
    vector = start(id.removeprefix("mpe_simple"), preset=preset)
    n, mover = vector.num_agents, vector.num_agents - 1
    world = set_world(vector, vel=0, landmark=90.0)
    world["pos"][0] = [[10.0 * i, 0.0] for i in range(n)]
    force = 4.0 if id in ("mpe_simple_tag", "mpe_simple_world_comm") else 5.0
    actions = still(vector)
    actions[0, mover] = RIGHT
    vector.step(actions)
    moved = 0.0 if preset == "mpe2" else 0.01 * force
    assert world["pos"][0, mover, 0] - 10.0 * mover == pytest.approx(moved, abs=1e-5)
    assert world["vel"][0, mover, 0] == pytest.approx(0.1 * force, abs=1e-6)
    assert vector.max_rounds == (50 if preset == "magail" else 25)


@pytest.mark.parametrize("preset", PRESETS)
def test_spread_shares_and_punishes_by_preset(preset):
    vector = start("_spread", 200, preset=preset, terminate_on_success=False)
    vector.buffers.world["pos"] *= np.float32(0.4)
    for world, rewards in random_rounds(vector):
        team = -distances(world["pos"], world["landmark"]).min(1).sum(1)
        depth = np.maximum(0.3 - distances(world["pos"], world["pos"]), 0)
        overlaps = (depth > 0).sum(2)
        if preset in ("mpe2", "pettingzoo122"):
            expected = 0.5 * team[:, None] - 0.5 * (overlaps - 1)
        else:
            own = depth.sum(2) if preset == "magail" else overlaps
            expected = np.repeat((3 * team - own.sum(1))[:, None], 3, axis=1)
        assert np.allclose(rewards, expected, atol=1e-4)
        assert preset == "magail" or overlaps.max() > 1


def test_magails_spread_is_cooperative_navigation_with_shared_rewards():
    spread = mail_envs.make_vec("mpe_simple_spread", 50, preset="magail", seed=3)
    nav = mail_envs.make_vec("coop_nav", 50, seed=3)
    rng = np.random.default_rng(0)
    for _ in range(60):
        actions = rng.integers(5, size=(50, 3))
        a, shared, ended, *_ = spread.step(actions)
        b, own, also_ended, *_ = nav.step(actions)
        assert np.array_equal(a, b) and np.array_equal(ended, also_ended)
        assert np.allclose(shared, own.sum(1, keepdims=True), rtol=1e-5)


def test_local_ratio_mixes_where_a_preset_mixes():
    far = {"pos": [[0.0, 0.0], [0.1, 0.0], [9.0, 9.0]], "vel": 0, "landmark": 0.0}
    rewards = {}
    for ratio in (0.0, 0.25, 1.0):
        vector = start("_spread", local_ratio=ratio)
        set_world(vector, **far)
        rewards[ratio] = vector.step(still(vector))[1][0].copy()
    assert np.allclose(rewards[1.0], [-1, -1, 0])
    assert np.allclose(rewards[0.25], 0.75 * rewards[0.0] + 0.25 * rewards[1.0], atol=1e-6)
    for name, keywords, said in (
        ("_spread", {"local_ratio": 0.3, "preset": "openai"}, "sums the rewards"),
        ("_spread", {"local_ratio": 1.5}, r"\[0, 1\]"),
        ("_reference", {"preset": "magail"}, "does not have this scenario.*'openai'"),
        ("_tag", {"preset": "mpe3"}, "'mpe2', 'pettingzoo122', 'openai', 'magail'"),
        ("_tag", {"num_good": 0}, "num_good=0"),
        ("_world_comm", {"num_food": 0}, "num_food=0"),
        ("_adversary", {"num_agent_neighbors": 0}, "num_agent_neighbors=0"),
    ):
        with pytest.raises(ValueError, match=said):
            start(name, **keywords)


@pytest.mark.parametrize("preset", ["mpe2", "openai"])
def test_reference_pays_for_where_the_other_is(preset):
    vector = start("_reference", 200, preset=preset)
    for world, rewards in random_rounds(vector):
        e = np.arange(200)
        own = np.stack(
            [gaps(world["pos"][:, 1 - i], world["landmark"][e, world["goal"][:, i]]) for i in (0, 1)], 1
        )  # fmt: skip
        if preset == "openai":
            expected = np.repeat(-(own**2).sum(1)[:, None], 2, axis=1)
        else:
            expected = -0.5 * own - 0.5 * own.mean(1, keepdims=True)
        assert np.allclose(rewards, expected, atol=1e-5)


@pytest.mark.parametrize("preset", PRESETS)
def test_the_listener_is_paid_by_preset_and_the_speaker_alike(preset):
    vector = start("_speaker_listener", 100, preset=preset)
    begin = vector.buffers.world["pos"][:, 0].copy()
    for world, rewards in random_rounds(vector):
        gap = gaps(world["pos"][:, 1], world["landmark"][np.arange(100), world["goal"]])
        expected = {"openai": -2 * gap**2, "magail": -2 * gap}.get(preset, -(gap**2))
        assert np.allclose(rewards, expected[:, None], atol=1e-5)
    assert np.array_equal(vector.buffers.world["pos"][:, 0], begin), "the speaker stays"


@pytest.mark.parametrize("preset", PRESETS)
def test_the_adversary_is_paid_for_its_distance_or_the_square(preset):
    vector = start("_adversary", 100, preset=preset)
    for world, rewards in random_rounds(vector):
        goal = world["landmark"][np.arange(100), world["goal"]]
        adversary, *good = (gaps(world["pos"][:, i], goal) for i in range(3))
        power = 2 if preset in ("openai", "magail") else 1
        assert np.allclose(rewards[:, 0], -(adversary**power), atol=1e-5)
        assert np.allclose(rewards[:, 1:], (adversary - np.minimum(*good))[:, None], atol=1e-5)


@pytest.mark.parametrize("preset", PRESETS)
def test_push_is_another_game_for_magail(preset):
    hard = preset == "magail"
    vector = start("_push", 200, preset=preset)
    assert vector.observation_dims == [10 if hard else 8, 19]
    assert np.abs(vector.buffers.world["landmark"]).max() < (0.8 if hard else 1.0)
    for world, rewards in random_rounds(vector):
        goal = world["landmark"][np.arange(200), world["goal"]]
        adversary, agent = (gaps(world["pos"][:, i], goal) for i in (0, 1))
        between = gaps(world["pos"][:, 0], world["pos"][:, 1])
        expected = 5 * agent - 0.5 * between if hard else agent - adversary
        assert np.allclose(rewards, np.stack([expected, -agent], 1), atol=1e-5)
    world = set_world(vector, pos=[[0.0, 0.0], [0.05, 0.0]], vel=0)
    vector.step(still(vector))
    speed = -world["vel"][0, :, 0] / world["vel"][0, 1, 0]
    assert speed[0] == pytest.approx(0.2 if hard else 1.0, abs=1e-4), "a mass of 5, or of 1"


@pytest.mark.parametrize("preset", PRESETS)
def test_food_far_away_costs_or_pays_by_preset(preset):
    vector = start("_world_comm", preset=preset)
    pos = [[-50.0 - i, 0.0] for i in range(4)] + [[0.0, 0.0], [0.0, 0.5]]
    set_world(vector, pos=pos, vel=0, food=[[0.6, 0.0], [0.0, 0.8]], forest=9.0, landmark=9.0)
    rewards = vector.step(still(vector))[1][0]
    sign = 1 if preset in ("openai", "magail") else -1
    assert np.allclose(rewards[4:], [sign * 0.05 * 0.6, sign * 0.05 * 0.3], atol=1e-5)


@pytest.mark.parametrize(("preset", "words"), [("mpe2", 4), ("magail", 3)])
def test_crypto_counts_errors_of_the_words(preset, words):
    vector = start("_crypto", preset=preset)
    assert vector.observation_dims == [words, 2 * words, 2 * words]
    assert vector.action_dims == [words] * 3
    set_world(vector, message=1, key=0)
    for (eve, bob), expected in {(1, 1): (0, 0), (0, 1): (-2, 2), (1, 2): (0, -2)}.items():
        rewards = vector.step(np.array([[eve, bob, 0]]))[1][0]
        assert np.array_equal(rewards, [expected[0], expected[1], expected[1]])


# -- ends -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("preset", PRESETS)
def test_only_magail_ends_with_success_unless_asked_to(preset):
    for asked in (None, True, False):
        spread = start("_spread", preset=preset, terminate_on_success=asked)
        set_world(spread, pos=[[-1, 0], [0, 0], [1, 0]], vel=0, landmark=[[0, 0], [1, 0], [-1, 0]])
        listener = start("_speaker_listener", preset=preset, terminate_on_success=asked)
        set_world(listener, pos=0, vel=0, landmark=0.02)
        expected = preset == "magail" if asked is None else asked
        for vector in (spread, listener):
            assert vector.step(still(vector))[2][0] == expected
    set_world(listener, landmark=0.03)  # 0.042 away
    assert not listener.step(still(listener))[2][0]


# -- words and waiting ----------------------------------------------------------------------------


def test_a_word_is_heard_in_the_next_observation_and_waiting_is_silence():
    player = mail_envs.TurnOrder([[0, 1], [1]])
    for null_dynamics in ("coast", "hold"):
        vector = start("_speaker_listener", player_function=player, null_dynamics=null_dynamics)
        assert not vector.buffers.observations[0, 1, 8:].any(), "nothing was said yet"
        observations, *_ = vector.step(np.array([[2, NONE]]))
        assert observations[0, 1, 8:].tolist() == [0, 0, 1]
        observations, *_ = vector.step(np.array([[1, NONE]]))
        expected = [0, 0, 1] if null_dynamics == "hold" else [0, 0, 0]
        assert observations[0, 1, 8:11].tolist() == expected


def test_discrete_actions_of_movers_who_talk_are_move_plus_five_times_word():
    vector = start("_reference")
    world = set_world(vector, pos=0, vel=0)
    observations, *_ = vector.step(np.array([[UP + 5 * 7, LEFT + 5 * 3]]))
    assert np.allclose(world["vel"][0], [[0, 0.5], [-0.5, 0]])
    assert observations[0, 1, 11:].argmax() == 7 and observations[0, 0, 11:].argmax() == 3
    vector = start("_world_comm", continuous_actions=True)
    world = set_world(vector, vel=0, pos=[[10.0 * i, 0.0] for i in range(6)])
    actions = still(vector)
    actions[0, 0] = [0, 0, 1, 0.5, 0, 0.1, 0.2, 0.3, 0.4]
    observations, *_ = vector.step(actions)
    assert np.allclose(world["vel"][0, 0], [0.3, -0.15])
    assert np.allclose(observations[0, 3, 30:34], [0.1, 0.2, 0.3, 0.4])


# -- play -----------------------------------------------------------------------------------------

# Per agent and role, 1,000 episodes of random play in MPE2 1.1.1, with the standard error.
RANDOM = {
    "mpe_simple": {"agent": (-39.9, 1.1)},
    "mpe_simple_spread": {"agent": (-26.4, 0.25)},
    "mpe_simple_reference": {"agent": (-28.4, 0.3)},
    "mpe_simple_speaker_listener": {"listener": (-40.8, 1.1)},
    "mpe_simple_tag": {"adversary": (4.4, 0.35), "agent": (-16.8, 0.7)},
    "mpe_simple_adversary": {"adversary": (-29.0, 0.4), "agent": (8.3, 0.5)},
    "mpe_simple_push": {"adversary": (0.6, 0.6), "agent": (-28.7, 0.45)},
    "mpe_simple_crypto": {"eve": (-37.5, 0.15), "bob": (0.0, 0.2)},
    "mpe_simple_world_comm": {"adversary": (2.8, 0.3), "agent": (-25.7, 0.85)},
}


def returns(id, policy, num_envs, interfere=None, **keywords):
    """Mean return by role."""
    vector = mail_envs.make_vec(id, num_envs, **keywords)
    chosen = load_policy(policy, vector)
    observations, info = vector.reset(seed=1_000_000)
    rng = np.random.default_rng(0)
    for _ in range(vector.max_rounds):
        actions = chosen(observations, info, rng)
        if interfere is not None:
            interfere(observations, actions)
        observations, *_, info = vector.step(actions)
    means = info["episode_return"].mean(0)
    roles = [agent.rpartition("_")[0] for agent in vector.agents]
    return {r: np.mean([m for m, role in zip(means, roles) if role == r]) for r in roles}


@pytest.mark.parametrize("id", IDS)
def test_random_play_returns_what_it_returns_in_mpe2(id):
    found = returns(id, "random", 8000)
    for role, (mean, error) in RANDOM[id].items():
        assert found[role] == pytest.approx(mean, abs=3.5 * error)


@pytest.mark.parametrize("continuous", [False, True], ids=["discrete", "continuous"])
@pytest.mark.parametrize("name", ["spread", "reference", "speaker_listener"])
def test_scripted_demonstrators_reach_their_goals(name, continuous):
    found = returns(f"mpe_simple_{name}", "scripted", 150, continuous_actions=continuous)
    assert all(mean > -8.5 for mean in found.values()), found


def run_away(observations, actions):
    """The prey pushes away from the nearest adversary, and back when it is about to leave the box."""
    place, adversaries = observations[:, 3, 2:4], observations[:, 3, 8:14].reshape(-1, 3, 2)
    nearest = np.linalg.norm(adversaries, axis=-1).argmin(1)
    wish = -adversaries[np.arange(len(place)), nearest]
    wish = np.where(np.abs(place) > 0.8, -10 * np.sign(place), wish)
    axis = np.abs(wish).argmax(1)
    actions[:, 3] = 1 + 2 * axis + (wish[np.arange(len(wish)), axis] > 0)


def test_scripted_chasers_catch_prey_that_flees():
    assert returns("mpe_simple_tag", "scripted", 150, run_away)["adversary"] > 31
    both = returns("mpe_simple_tag", "scripted", 150)
    assert 10 < both["adversary"] < 40, "the scripted prey looks ahead"


@pytest.mark.parametrize("name", ["", "_push", "_crypto"])
def test_other_demonstrators_beat_random_play(name):
    id, role = f"mpe_simple{name}", "bob" if name == "_crypto" else "agent"
    assert returns(id, "scripted", 100)[role] > returns(id, "random", 100)[role] + 10


@pytest.mark.parametrize("preset", OLD)
def test_demonstrators_know_all_presets(preset):
    for name in ("_spread", "_speaker_listener", "_tag", "_push"):
        id = f"mpe_simple{name}"
        role = {"_tag": "adversary", "_speaker_listener": "listener"}.get(name, "agent")
        scripted, random = (
            returns(id, policy, 50, preset=preset)[role] for policy in ("scripted", "random")
        )
        assert scripted > random + 3, id


# -- player functions -----------------------------------------------------------------------------

PLAYERS = {
    "Stochastic": mail_envs.Stochastic(0.5),
    "TurnOrder": mail_envs.TurnOrder([[0], [], [0]]),
    "HistoryDependent": COMPILED["HistoryDependent"],
    "StateDependent": COMPILED["StateDependent"],
}


@pytest.mark.parametrize("player", PLAYERS)
@pytest.mark.parametrize("id", IDS)
def test_any_player_function_works_and_the_views_agree(id, player):
    subject = Subject(id, {"player_function": PLAYERS[player]})
    for name in (
        "parallel view = vector view",
        "AEC view = vector view",
        "agents that do not participate",
    ):
        CHECKS[name](subject)


@pytest.mark.parametrize(
    "id", [i for i in IDS if i not in ("mpe_simple_adversary", "mpe_simple_world_comm")]
)
def test_demonstrators_play_under_any_player_function(id):
    for player in PLAYERS.values():
        returns(id, "scripted", 4, player_function=player)


# -- speed ----------------------------------------------------------------------------------------


def test_bench_puts_every_scenario_beside_its_original():
    from mail_envs.commands.bench import expand, rivals

    assert list(expand(("mpe", "mpe_simple_tag"))) == IDS
    pairs = rivals((*IDS, "coop_nav"), ["mpe2", "vmas"])
    for id in IDS:
        names = [rival.name for rival in pairs[id]]
        assert names[0] == f"mpe2 {id.removeprefix('mpe_')}"
        assert ("vmas simple_spread" in names) == (id == "mpe_simple_spread")
    assert [rival.scenario for rival in pairs["coop_nav"]] == ["simple_spread"] * 2


@pytest.mark.parametrize("id", IDS)
def test_a_thousand_games_run_a_hundred_times_faster_than_mpe2(id):
    pytest.importorskip("mpe2", reason="the original, mpe2, is not installed: pip install mpe2")
    from mail_envs.commands.bench import Rival, vector_rates

    peer = Rival("mpe2", id.removeprefix("mpe_"))
    theirs = vector_rates(id, [peer], 1, 0.1)[peer.name]
    assert vector_rates(id, [], 1024, 0.1)[id]["cpu"] > 100 * theirs["cpu"]
