"""Three views of one game: AEC, parallel and vector."""

from __future__ import annotations

import numpy as np
import pettingzoo
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pettingzoo.test import api_test, parallel_api_test, seed_test
from sample_games import HIT, LastStanding
from sample_players import ALL, COMPILED, PLAIN

import mail_envs
from mail_envs.aec import AECGame
from mail_envs.conformance.subject import Subject, random_actions
from mail_envs.conformance.views import check_aec_view, check_parallel_view
from mail_envs.parallel import ParallelGame
from mail_envs.vector import VectorGame

NOBODY_TWICE = mail_envs.TurnOrder([[], [0, 1, 2], [], [], [1], []])
FORBIDDEN = 5  # φ with null_action="as_action": masked for agents that participate


def duel(
    view=None, *, player_function=None, endless=False, max_rounds=30, num_agents=3, **keywords
):
    """The game in which agents die, in one of the single views or as a vector of one."""
    game = LastStanding(num_agents=num_agents, max_rounds=max_rounds, endless=endless)
    vector = VectorGame(game, player_function or mail_envs.Synchronous(), autoreset=False)
    return vector if view is None else view(vector, **keywords)


def finish(env, choose=lambda agent: 0):
    """Play an AEC episode to its end; turns (agent, cumulative reward, ended) in order."""
    turns = []
    for agent in env.agent_iter():
        _, reward, terminated, truncated, _ = env.last()
        turns.append((agent, reward, terminated or truncated))
        env.step(None if terminated or truncated else choose(agent))
    return turns


# -- the same trajectories ------------------------------------------------------------------------


@pytest.mark.parametrize("null_action", ["null", "as_action"])
@pytest.mark.parametrize("name", ALL)
def test_views_agree_under_every_player_function(name, null_action):
    keywords = {"player_function": ALL[name], "null_action": null_action, "max_rounds": 20}
    for check in (check_parallel_view, check_aec_view):
        check(Subject("coop_nav", keywords))


@pytest.mark.parametrize(
    "keywords",
    [
        {"null_dynamics": "brake"},
        {"null_dynamics": "hold"},
        {"continuous_actions": True},
        {"continuous_actions": True, "null_dynamics": "hold"},
        {"num_agents": 5, "num_landmarks": 2},
        {"player_function": NOBODY_TWICE},
    ],
    ids=str,
)
def test_views_agree_under_every_argument(keywords):
    for check in (check_parallel_view, check_aec_view):
        check(Subject("stochastic_coop_nav", {"max_rounds": 15, **keywords}))


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2**62),
    probabilities=st.lists(st.sampled_from([0.0, 0.1, 0.5, 1.0]), min_size=3, max_size=3).filter(
        any
    ),
    initial=st.sampled_from([None, 0.0, 1.0]),
    max_rounds=st.integers(1, 12),
    fixed_horizon=st.booleans(),
    as_action=st.booleans(),
    policy=st.randoms(use_true_random=False),
)
def test_views_agree_for_any_seed_and_actions(
    seed, probabilities, initial, max_rounds, fixed_horizon, as_action, policy
):
    """Also for actions that the mask forbids."""
    keywords = {
        "player_function": mail_envs.Stochastic(probabilities, initial=initial),
        "max_rounds": max_rounds,
        "fixed_horizon": fixed_horizon,
        "null_action": "as_action" if as_action else "null",
    }
    vector = mail_envs.make_vec("coop_nav", **keywords, autoreset=False)
    plan = [[policy.randrange(vector.num_actions) for _ in range(3)] for _ in range(max_rounds)]
    observations, info = vector.reset(seed=seed)
    parallel, aec = (mail_envs.make("coop_nav", api=api, **keywords) for api in ("parallel", "aec"))
    seen, infos = parallel.reset(seed=seed)
    total = np.zeros(3)
    for actions in plan:
        assert all(np.array_equal(seen[a], o) for a, o in zip(seen, observations[0], strict=True))
        assert [i["participates"] for i in infos.values()] == info["participation"][0].tolist()
        observations, rewards, terminated, truncated, info = vector.step(np.array([actions]))
        seen, paid, ended, cut, infos = parallel.step(
            dict(zip(parallel.agents, actions, strict=True))
        )
        assert list(paid.values()) == rewards[0].tolist()
        assert set(ended.values()) == {bool(terminated[0])} and set(cut.values()) == {
            bool(truncated[0])
        }
        total += rewards[0]
        if terminated[0] or truncated[0]:
            break
    aec.reset(seed=seed)
    for agent in aec.agent_iter():
        _, reward, terminated, truncated, info = aec.last()
        total[aec.possible_agents.index(agent)] -= reward
        k = aec.possible_agents.index(agent)
        aec.step(None if terminated or truncated else plan[info["round"]][k])
    assert np.allclose(total, 0, atol=1e-4)
    assert aec.vector.buffers.state.tobytes() == vector.buffers.state.tobytes()
    assert aec.vector.clock["illegal_actions"] == vector.clock["illegal_actions"]


# -- rounds and turns -----------------------------------------------------------------------------


def test_a_round_visits_exactly_the_participants_in_the_games_order():
    env = mail_envs.make("coop_nav", player_function=mail_envs.TurnOrder([[2, 0], [1], [1, 2]]))
    env.reset(seed=0)
    visited = []
    for _ in range(10):
        visited.append(env.agent_selection)
        env.step(0)
    expected = ["agent_0", "agent_2", "agent_1", "agent_1", "agent_2"]
    assert visited == expected * 2


def test_the_prey_takes_its_turn_first():
    env = mail_envs.make("stochastic_predator_prey")
    env.reset(seed=0)
    firsts = {}
    for _ in range(40):
        firsts.setdefault(env.infos[env.agent_selection]["round"], env.agent_selection)
        env.step(0)
    assert set(firsts.values()) == {"prey_0"} and list(firsts) == list(range(len(firsts)))


def test_rounds_in_which_nobody_participates_are_played_out():
    env = mail_envs.make("coop_nav", player_function=NOBODY_TWICE, max_rounds=20)
    env.reset(seed=0)
    rounds = []
    for agent in env.agent_iter():
        *_, terminated, truncated, info = env.last()
        ended = terminated or truncated
        if not ended:
            rounds.append((info["round"], agent))
        env.step(None if ended else 0)
    full = [(t, f"agent_{i}") for t in (1, 7, 13, 19) for i in range(3)]
    assert rounds == sorted(full + [(t, "agent_1") for t in (4, 10, 16)])


def test_an_episode_may_end_before_anybody_acts():
    player = mail_envs.Stochastic(1e-9)
    env = mail_envs.make("coop_nav", player_function=player, max_rounds=5)
    env.reset(seed=0)
    assert all(env.truncations.values()) and env.infos["agent_0"]["round"] == 5
    assert [turn[1:] for turn in finish(env)] == [(0.0, True)] * 3


def test_nothing_but_the_last_turn_of_a_round_moves_the_game():
    env = mail_envs.make("coop_nav")
    env.reset(seed=0)
    before = env.state()
    env.step(2)
    env.step(2)
    assert np.array_equal(env.state(), before) and not any(env.rewards.values())
    env.step(2)
    assert not np.array_equal(env.state(), before) and all(env.rewards.values())


def test_the_cumulative_reward_is_that_of_the_rounds_since_the_last_turn():
    keywords = {"player_function": mail_envs.TurnOrder([[0], [0, 1], [2], [], [0, 1]])}
    env, parallel = (mail_envs.make("coop_nav", api=api, **keywords) for api in ("aec", "parallel"))
    env.reset(seed=3)
    parallel.reset(seed=3)
    owed, played = np.zeros(3), 0
    for _ in range(25):
        agent = env.agent_selection
        reward, info = env.last()[1], env.infos[agent]
        while played < info["round"]:
            owed += list(parallel.step(dict.fromkeys(parallel.agents, 0))[1].values())
            played += 1
        i = env.possible_agents.index(agent)
        assert reward == pytest.approx(owed[i], abs=1e-5)
        owed[i] = 0
        env.step(0)


def test_non_participants_get_no_reward_in_any_view():
    player = mail_envs.TurnOrder([[0], [1, 2]])
    env = mail_envs.make("coop_nav", player_function=player)
    parallel = mail_envs.make("coop_nav", api="parallel", player_function=player)
    env.reset(seed=0)
    parallel.reset(seed=0)
    rewards = parallel.step(dict.fromkeys(parallel.agents, 1))[1]
    env.step(1)
    for paid in (rewards, env.rewards):
        assert paid["agent_0"] < 0 and paid["agent_1"] == paid["agent_2"] == 0


def test_infos_describe_the_round():
    player = mail_envs.TurnOrder([[0, 1], [2]])
    for api in ("aec", "parallel"):
        env = mail_envs.make("coop_nav", api=api, player_function=player)
        infos = env.reset(seed=0)[1] if api == "parallel" else (env.reset(seed=0), env.infos)[1]
        for i, (agent, info) in enumerate(infos.items()):
            assert agent == f"agent_{i}"
            assert info["round"] == 0 and info["illegal_actions"] == 0
            assert info["participation"].tolist() == [1, 1, 0]
            assert info["action_mask"].dtype == np.int8 and info["action_mask"].tolist() == [1] * 5
            if api == "parallel":
                assert info["participates"] is bool(i < 2)


def test_the_last_infos_hold_the_metrics():
    env = mail_envs.make("coop_nav", max_rounds=3)
    env.reset(seed=0)
    while not any(env.truncations.values()):
        env.step(0)
    assert all(0 <= info["landmarks_covered"] <= 3 for info in env.infos.values())
    parallel = mail_envs.make("coop_nav", api="parallel", max_rounds=1)
    parallel.reset(seed=0)
    infos = parallel.step(dict.fromkeys(parallel.agents, 0))[-1]
    assert all("landmarks_covered" in info for info in infos.values())


def test_what_a_view_hands_out_is_a_copy():
    env = mail_envs.make("coop_nav")
    env.reset(seed=0)
    observation, state = env.last()[0], env.state()
    mask = env.infos["agent_0"]["action_mask"]
    kept = observation.copy(), state.copy()
    for _ in range(3):
        env.step(2)
    assert np.array_equal(observation, kept[0]) and np.array_equal(state, kept[1])
    mask[:] = 0
    assert env.vector.buffers.action_mask.all()


# -- masks and null actions -----------------------------------------------------------------------


@pytest.mark.parametrize("api", ["aec", "parallel"])
def test_a_masked_action_becomes_null_and_is_counted(api):
    env, other = (mail_envs.make("coop_nav", api=api, null_action="as_action") for _ in range(2))
    for which, actions in ((env, [2, FORBIDDEN, 1]), (other, [2, 0, 1])):
        which.reset(seed=0)
        if api == "parallel":
            infos = which.step(dict(zip(which.agents, actions, strict=True)))[-1]
        else:
            for action in actions:
                which.step(action)
            infos = which.infos
        expected = int(FORBIDDEN in actions)
        assert all(info["illegal_actions"] == expected for info in infos.values())
    assert np.array_equal(env.state(), other.state())


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


def test_masks_can_lie_in_the_observation():
    env = mail_envs.make("stochastic_coop_nav", null_action="as_action", action_mask="observation")
    parallel = mail_envs.make(
        "stochastic_coop_nav", api="parallel", null_action="as_action", action_mask="observation"
    )
    env.reset(seed=0)
    observations, infos = parallel.reset(seed=0)
    assert "action_mask" not in env.last()[-1] and "action_mask" not in infos["agent_0"]
    for agent, observation in observations.items():
        assert parallel.observation_space(agent).contains(observation)
        participates = infos[agent]["participates"]
        assert observation["action_mask"].tolist() == (
            [1] * 5 + [0] if participates else [0] * 5 + [1]
        )
    assert env.observation_space("agent_0").contains(env.last()[0])
    api_test(env, num_cycles=30)
    parallel_api_test(parallel, num_cycles=30)


def test_the_null_action_can_be_an_action():
    parallel = mail_envs.make("stochastic_coop_nav", api="parallel", null_action="as_action")
    _, infos = parallel.reset(seed=0)
    assert parallel.action_space("agent_0").n == 6
    while parallel.agents:
        for info in infos.values():
            expected = [1] * 5 + [0] if info["participates"] else [0] * 5 + [1]
            assert info["action_mask"].tolist() == expected
        actions = {a: 3 if i["participates"] else FORBIDDEN for a, i in infos.items()}
        infos = parallel.step(actions)[-1]
        assert all(info["illegal_actions"] == 0 for info in infos.values())


# -- ends -----------------------------------------------------------------------------------------


def on_landmarks(env):
    """Put every agent onto its landmark, at rest: the next round covers all."""
    world = env.vector.buffers.world
    world["landmark"][0] = [[-0.8, -0.8], [0.0, 0.8], [0.8, -0.8]]
    world["pos"][0], world["vel"][0] = world["landmark"][0], 0


def test_a_game_that_ends_by_itself_terminates_and_the_limit_truncates():
    for covered in (True, False):
        env = mail_envs.make("coop_nav", api="parallel", max_rounds=1)
        env.reset(seed=0)
        if covered:
            on_landmarks(env)
        *_, terminations, truncations, _ = env.step(dict.fromkeys(env.agents, 0))
        assert set(terminations.values()) == {covered}
        assert set(truncations.values()) == {not covered}
        assert env.agents == []


@pytest.mark.parametrize("api", ["aec", "parallel"])
def test_a_fixed_horizon_hides_when_the_game_ended(api):
    env = mail_envs.make(
        "coop_nav", api=api, fixed_horizon=True, max_rounds=6, null_action="as_action"
    )
    env.reset(seed=0)
    on_landmarks(env)
    if api == "parallel":
        for t in range(6):
            played = env.step(dict.fromkeys(env.agents, 2 if t else 0))
            observations, rewards, terminations, truncations, infos = played
            assert not any(o.any() for o in observations.values()) and not env.state().any()
            assert all(r != 0 for r in rewards.values()) if t == 0 else not any(rewards.values())
            assert not any(terminations.values()) and all(truncations.values()) == (t == 5)
        assert infos["agent_0"]["landmarks_covered"] == 3
    else:
        turns = finish(env)
        assert len(turns) == 21 and all(ended for *_, ended in turns[18:])
        paid = [reward for _, reward, _ in turns]
        assert all(paid[3:6]) and not any(paid[:3]) and not any(paid[6:])
        assert env.vector.buffers.truncated[0] and not env.vector.buffers.terminated[0]


def test_a_fixed_horizon_lasts_one_episode():
    vector = mail_envs.make_vec("coop_nav", fixed_horizon=True, max_rounds=4, seed=0)
    world = vector.buffers.world
    world["pos"], world["vel"] = world["landmark"], 0
    world["pos"] = world["landmark"] = [[-0.8, -0.8], [0.0, 0.8], [0.8, -0.8]]
    for _ in range(4):
        observations, _, terminated, truncated, info = vector.step(np.zeros((1, 3), int))
    assert truncated[0] and not terminated[0] and not info["final_observation"].any()
    assert observations.any() and info["round"][0] == 0 and info["episode_length"][0] == 4
    _, rewards, *_ = vector.step(np.zeros((1, 3), int))
    assert rewards.all()


# -- agents that die ------------------------------------------------------------------------------


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


def test_several_deaths_in_a_round_are_buried_one_after_the_other():
    env = duel(AECGame, num_agents=5, endless=True)
    env.reset(seed=0)
    env.vector.buffers.world["lives"][0] = [3, 1, 3, 1, 3]
    for action in (HIT, 0, HIT, 0, 0):
        env.step(action)
    dead = []
    while env.terminations[env.agent_selection]:
        dead.append(env.agent_selection)
        env.step(None)
    assert dead == ["fighter_1", "fighter_3"]
    assert env.agents == ["fighter_0", "fighter_2", "fighter_4"]
    assert [env.last()[1], env.agent_selection] == [1, "fighter_0"]


def test_the_end_of_the_game_ends_it_for_all():
    for view in (AECGame, ParallelGame):
        env = duel(view, num_agents=2)
        env.reset(seed=0)
        env.vector.buffers.world["lives"][0] = [1, 1]
        if view is ParallelGame:
            *_, terminations, _, infos = env.step({"fighter_0": HIT, "fighter_1": 0})
        else:
            env.step(HIT)
            env.step(0)
            terminations, infos = env.terminations, env.infos
            assert [turn[2] for turn in finish(env)] == [True, True]
        assert all(terminations.values()) and infos["fighter_0"]["survivors"] == 1
        assert env.agents == []


def test_who_dies_in_the_last_round_has_terminated_not_been_cut_off():
    aec, parallel = (duel(view, endless=True, max_rounds=1) for view in (AECGame, ParallelGame))
    for env in (aec, parallel):
        env.reset(seed=0)
        env.vector.buffers.world["lives"][0] = [3, 1, 3]
    for action in (HIT, 0, 0):
        aec.step(action)
    _, _, terminations, truncations, _ = parallel.step(dict.fromkeys(parallel.agents, HIT))
    assert terminations["fighter_1"] and aec.terminations["fighter_1"]
    assert truncations["fighter_0"] and aec.truncations["fighter_0"]


def test_the_dead_never_participate_again():
    player = PLAIN["HistoryDependent"]
    vector = VectorGame(LastStanding(endless=True), player, num_envs=50, max_rounds=40)
    _, info = vector.reset(seed=0)
    deaths = 0
    for _ in range(80):
        assert not (info["participation"].astype(bool) & ~info["alive"]).any()
        _, rewards, *_, info = vector.step(random_actions(vector, info))
        deaths += (~info["alive"]).sum()
    assert deaths > 100


def test_views_agree_when_agents_die():
    for seed in range(6):
        vector, parallel, aec = (
            duel(view, player_function=mail_envs.Stochastic(0.7))
            for view in (None, ParallelGame, AECGame)
        )
        _, info = vector.reset(seed=seed)
        _, infos = parallel.reset(seed=seed)
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


# -- mistakes lose nothing ------------------------------------------------------------------------

WRONG = [
    (5, ValueError), (-1, ValueError), (2.5, TypeError), (None, TypeError), ("left", TypeError),
    ([1], TypeError), (np.array([1, 2]), TypeError), (np.float32(0.5), ValueError),
    (float("nan"), TypeError), (2**40, ValueError),
]  # fmt: skip
WRONG_CONTINUOUS = [
    (np.full(5, 1.5), ValueError), (np.full(5, np.nan), ValueError), (np.zeros(4), ValueError),
    (3, ValueError), ("left", TypeError), (None, (TypeError, ValueError)),
    ([0, 0, 0, 0, -0.1], ValueError),
]  # fmt: skip


@pytest.mark.parametrize(
    ("continuous", "action", "error"),
    [(False, *case) for case in WRONG] + [(True, *case) for case in WRONG_CONTINUOUS],
    ids=str,
)
def test_a_wrong_action_names_the_agent_and_loses_nothing(continuous, action, error):
    good = np.full(5, 0.25) if continuous else 2
    keywords = {"continuous_actions": continuous}
    for api in ("aec", "parallel"):
        env, twin = (mail_envs.make("coop_nav", api=api, **keywords) for _ in range(2))
        for which in (env, twin):
            which.reset(seed=0)
        for _ in range(4):
            if api == "parallel":
                with pytest.raises(error, match="agent_1"):
                    env.step({"agent_0": good, "agent_1": action, "agent_2": good})
            else:
                with pytest.raises(error, match=env.agent_selection):
                    env.step(action)
            assert np.array_equal(env.state(), twin.state())
            for which in (env, twin):
                which.step(dict.fromkeys(which.agents, good) if api == "parallel" else good)
        assert env.vector.clock["rounds"] == twin.vector.clock["rounds"]
        assert np.array_equal(env.state(), twin.state())


def test_a_missing_action_of_a_participant_is_named_and_loses_nothing():
    env = mail_envs.make(
        "coop_nav", api="parallel", player_function=mail_envs.TurnOrder([[0, 1], [2]])
    )
    env.reset(seed=0)
    before = env.state()
    with pytest.raises(KeyError, match="agent_1 participates"):
        env.step({"agent_0": 1, "agent_2": 1})
    assert np.array_equal(env.state(), before)
    env.step({"agent_0": 1, "agent_1": 1})


def test_an_action_of_an_unknown_agent_is_named():
    env = mail_envs.make("coop_nav", api="parallel")
    env.reset(seed=0)
    actions = dict.fromkeys(env.agents, 0)
    with pytest.raises((KeyError, ValueError), match="agent_7"):
        env.step({**actions, "agent_7": 0})
    env.step(actions)


def test_stepping_before_reset_and_after_the_end_raises():
    for api in ("aec", "parallel"):
        env = mail_envs.make("coop_nav", api=api, max_rounds=2)
        action = 0 if api == "aec" else dict.fromkeys(env.possible_agents, 0)
        with pytest.raises(RuntimeError, match="before reset"):
            env.step(action)
        for seed in range(2):
            env.reset(seed=seed)
            if api == "aec":
                finish(env)
            else:
                env.step(action)
                env.step(action)
            with pytest.raises(RuntimeError, match="after the end"):
                env.step(action)


def test_a_view_can_be_left_and_reset_at_any_time():
    for interrupted_after in (1, 2, 4):
        env, fresh = mail_envs.make("stochastic_coop_nav"), mail_envs.make("stochastic_coop_nav")
        env.reset(seed=9)
        for _ in range(interrupted_after):
            env.step(1)
        env.reset(seed=3)
        fresh.reset(seed=3)
        assert finish(env) == finish(fresh)


def test_a_failing_player_function_can_be_left_by_reset():
    probability = {"now": 1.0}
    player = mail_envs.HistoryDependent(
        lambda history, rounds: np.full((len(rounds), 3), probability["now"])
    )
    for api in ("aec", "parallel"):
        env = mail_envs.make("coop_nav", api=api, player_function=player)
        probability["now"] = 1.0
        env.reset(seed=0)
        probability["now"] = 7.0
        with pytest.raises(ValueError, match="probabilities"):
            for _ in range(3):
                env.step(0 if api == "aec" else dict.fromkeys(env.agents, 0))
        probability["now"] = 1.0
        env.reset(seed=0)
        env.step(0 if api == "aec" else dict.fromkeys(env.agents, 0))


# -- seeds, pictures, PettingZoo ------------------------------------------------------------------


def test_a_seed_repeats_an_episode_and_without_one_every_episode_differs():
    env = mail_envs.make("stochastic_coop_nav", api="parallel")
    starts = []
    for seed in (4, 4, None, None, 4):
        env.reset(seed=seed)
        starts.append(env.state().tobytes())
    assert starts[0] == starts[1] == starts[4] and len(set(starts)) == 3


@pytest.mark.parametrize("api", ["aec", "parallel"])
def test_two_unseeded_environments_differ(api):
    states = []
    for _ in range(2):
        env = mail_envs.make("coop_nav", api=api)
        env.reset()
        states.append(env.state().tobytes())
    assert states[0] != states[1]


@pytest.mark.parametrize("seed", [-1, 2**63, 1.5, "seven"])
@pytest.mark.parametrize("api", ["aec", "parallel"])
def test_a_seed_out_of_range_is_named(api, seed):
    with pytest.raises(ValueError, match=r"seed=.*\[0, 2\*\*63\)"):
        mail_envs.make("coop_nav", api=api).reset(seed=seed)


@pytest.mark.parametrize("api", ["aec", "parallel"])
def test_render_modes(api, monkeypatch):
    pytest.importorskip("pygame")
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    env = mail_envs.make("stochastic_coop_nav", api=api, render_mode="rgb_array")
    env.reset(seed=0)
    image = env.render()
    assert image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3
    assert image.std() > 0
    env.close()
    env = mail_envs.make("stochastic_coop_nav", api=api, render_mode="human")
    env.reset(seed=0)
    assert env.render() is None
    env.close()
    silent = mail_envs.make("stochastic_coop_nav", api=api)
    silent.reset(seed=0)
    with pytest.warns(UserWarning, match="render_mode"):
        assert silent.render() is None
    silent.close()


def test_pettingzoo_makes_our_games_too():
    for api in ("aec", "parallel"):
        ours, theirs = (
            mail_envs.make("stochastic_coop_nav", api=api),
            pettingzoo.make(api, "mail/stochastic_coop_nav-v0"),
        )
        assert type(theirs.unwrapped) is type(ours)
        for env in (ours, theirs):
            env.reset(seed=5)
        assert np.array_equal(ours.state(), theirs.state())
    longer = pettingzoo.make("parallel", "mail/coop_nav-v0", max_cycles=7, num_agents=4)
    assert longer.unwrapped.vector.max_rounds == 7 and len(longer.possible_agents) == 4


@pytest.mark.parametrize("id", sorted(mail_envs.specs()))
def test_every_id_is_in_pettingzoos_registries(id):
    for api in ("aec", "parallel"):
        assert pettingzoo.make(api, f"mail/{id}-v0").metadata["name"] == id


def test_a_view_steps_as_many_turns_as_agents_participate():
    env = mail_envs.make("coop_nav", player_function=COMPILED["HistoryDependent"], max_rounds=30)
    env.reset(seed=2)
    turns = [agent for agent, _, ended in finish(env) if not ended]
    vector = mail_envs.make_vec(
        "coop_nav", player_function=COMPILED["HistoryDependent"], max_rounds=30, autoreset=False
    )
    _, info = vector.reset(seed=2)
    acted = 0
    for _ in range(30):
        acted += int(info["participation"].sum())
        *_, info = vector.step(np.zeros((1, 3), int))
    assert len(turns) == acted
