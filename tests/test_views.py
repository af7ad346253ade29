"""Three views of one game: AEC, parallel and vector."""

from __future__ import annotations

import numpy as np
import pettingzoo
import pytest
from chosen_ids import IDS
from hypothesis import given, settings
from hypothesis import strategies as st
from pettingzoo.test import api_test, parallel_api_test
from sample_games import finish
from sample_players import ALL, COMPILED

import mail_envs
from mail_envs.conformance.subject import Subject
from mail_envs.conformance.views import check_aec_view, check_parallel_view

NOBODY_TWICE = mail_envs.TurnOrder([[], [0, 1, 2], [], [], [1], []])
FORBIDDEN = 5  # φ with null_action="as_action": masked for agents that participate


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
        {"num_agents": 4},
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


def test_only_the_last_turn_of_a_round_advances_the_game():
    env = mail_envs.make("coop_nav")
    env.reset(seed=0)
    before = env.state()
    env.step(2)
    env.step(2)
    assert np.array_equal(env.state(), before) and not any(env.rewards.values())
    env.step(2)
    assert not np.array_equal(env.state(), before) and all(env.rewards.values())


def test_after_a_round_that_failed_turns_are_refused_until_reset(monkeypatch):
    env = mail_envs.make("coop_nav")
    env.reset(seed=0)

    def fail():
        raise OSError("the simulator died")

    with monkeypatch.context() as broken, pytest.raises(OSError, match="died"):
        broken.setattr(env.vector, "advance", fail)
        for _ in env.possible_agents:
            env.step(0)
    with pytest.raises(RuntimeError, match=r"last round failed; reset\(\)"):
        env.step(0)
    env.reset(seed=0)
    finish(env)
    assert not env.agents


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


def test_views_return_copies():
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


@pytest.mark.filterwarnings("ignore:Observation:UserWarning")
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


@pytest.mark.parametrize("id", IDS)
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
