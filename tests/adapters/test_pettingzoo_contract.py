"""Options and infos of PettingZoo environments are passed through, and violations of the API are reported."""

from __future__ import annotations

import copy
import functools
import pickle
import threading

import numpy as np
import pytest
from gymnasium import spaces
from sample_environments import Countdown, Leveled, Medley, Spoiled

import mail_envs

PLAY = np.ones((1, 2), np.int32)


# -- options ---------------------------------------------------------------------------------------


def test_options_reach_the_environment_in_every_view():
    for api in ("aec", "parallel"):
        env = mail_envs.from_pettingzoo(Leveled, api=api)
        env.reset(seed=0, options={"level": 7})
        assert env.state()[0] == 7
        env.reset(seed=0)
        assert env.state()[0] == 0, "options hold until the next reset"
    env = mail_envs.from_pettingzoo(Countdown())
    env.reset(options={"matches": 2})
    assert env.observe("player_0").tolist() == [2, 3]


@pytest.mark.parametrize("num_workers", [0, 1])
def test_options_reach_all_copies_until_the_next_reset(num_workers):
    vec = mail_envs.from_pettingzoo(Leveled, api="vector", num_envs=2, num_workers=num_workers)
    observations, _ = vec.reset(seed=0, options={"level": 7})
    assert np.all(observations[..., 0] == 7)
    for t in range(1, 7):
        _, _, _, truncated, _ = vec.step(np.ones((2, 2), np.int32))
        assert np.all(truncated == (t == 6))
    assert np.all(observations == [7, 0]), "begun by autoreset"
    observations, _ = vec.reset()
    assert np.all(observations == [0, 0])
    vec.close()


@pytest.mark.parametrize("num_workers", [0, 1])
def test_copies_and_saved_states_keep_the_options(num_workers):
    vec = mail_envs.from_pettingzoo(Leveled, api="vector", num_workers=num_workers)
    vec.reset(seed=0, options={"level": 7})
    vec.step(PLAY)
    other = mail_envs.from_pettingzoo(Leveled, api="vector", num_workers=num_workers)
    other.reset(seed=5, options={"level": 7})
    other.set_state(vec.get_state())
    for twin in (copy.deepcopy(vec), pickle.loads(pickle.dumps(vec)), other):
        twin.step(PLAY)
        assert twin.buffers.observations[0, 0].tolist() == [7, 2]
        twin.close()
    assert vec.buffers.observations[0, 0].tolist() == [7, 1]
    vec.close()


def test_games_without_options_say_so():
    for env in (mail_envs.make("coop_nav"), mail_envs.make_vec("coop_nav")):
        with pytest.warns(
            UserWarning, match=r"coop_nav takes no options; reset ignores options=\{'a'"
        ):
            env.reset(seed=0, options={"a": 1})
        env.reset(seed=0, options={})


def test_options_that_cannot_be_sent_to_workers_are_named():
    vec = mail_envs.from_pettingzoo(Leveled, api="vector", num_workers=1)
    with pytest.raises(TypeError, match=r"options=\{'level': <unlocked.* cannot be sent to worker"):
        vec.reset(options={"level": threading.Lock()})
    vec.reset(options={"level": 2})
    assert vec.buffers.observations[0, 0, 0] == 2
    vec.close()


# -- infos -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("num_workers", [0, 1])
def test_infos_of_the_environment_come_through_and_ours_win(num_workers):
    env = mail_envs.from_pettingzoo(Leveled, api="parallel", num_workers=num_workers)
    _, infos = env.reset(seed=0, options={"level": 7})
    told = ["a_0", "b_0"]
    for t in range(1, 7):
        assert list(infos) == told
        mask = infos["a_0"]["action_mask"].tolist()
        assert mask == [k != (t - 1) % 3 for k in range(3)]
        for info in infos.values():
            assert (info["level"], info["moves"], info["round"]) == (7, [t - 1], t - 1)
            assert info["participation"].tolist() == [1, t <= 4]
        told = env.agents
        _, _, _, _, infos = env.step(dict.fromkeys(told, t % 3))
    assert infos["a_0"]["moves"] == [6], "the last round's"
    env.close()


def test_infos_come_through_turns():
    env = mail_envs.from_pettingzoo(Countdown(matches=4))
    env.reset(seed=0)
    left = []
    for _ in env.agent_iter():
        _, _, terminated, _, info = env.last()
        left.append(info["left"])
        env.step(None if terminated else 0)
        if len(left) == 5:
            break
    assert left == [4, 3, 2, 1, 4], "player_0 leaves with a new pile on the table"


def test_the_environments_mask_is_no_info_when_it_is_the_observations():
    env = mail_envs.from_pettingzoo(
        Leveled, action_mask="observation", null_action="as_action", noop=0
    )
    env.reset(seed=0)
    info = env.last()[4]
    assert info["level"] == 0 and "action_mask" not in info


def test_a_vector_tells_the_infos_of_its_copies():
    vec = mail_envs.from_pettingzoo(Leveled, api="vector", num_envs=2, num_workers=0)
    vec.reset(seed=0, options={"level": 3})
    assert vec.own_infos(1)["b_0"]["level"] == 3
    assert mail_envs.make_vec("coop_nav").own_infos(0) == {}


def spoiled(spoil, **more):
    vec = mail_envs.from_pettingzoo(functools.partial(Spoiled, spoil), api="vector", **more)
    vec.reset(seed=0)
    return vec


def put(k, agent, value):
    """Change what `step` returns: 0 observations, 1 rewards, 2 terminated, 3 truncated, 4 infos."""

    def spoil(*result):
        result[k][agent] = value

    return spoil


def drop(k, agent):
    def spoil(*result):
        del result[k][agent]

    return spoil


def test_infos_that_cannot_be_sent_are_named():
    def lock(*result):
        result[4]["b_0"]["lock"] = threading.Lock()

    here = spoiled(lock)
    here.step(PLAY)
    assert "lock" in here.own_infos()["b_0"]
    there = spoiled(lock, num_workers=1)
    there.step(PLAY)
    with pytest.raises(RuntimeError, match=r"infos of b_0 in copy 0 hold lock=<.*num_workers=0"):
        there.own_infos()
    there.step(PLAY)
    there.close()


# -- what environments must not do -----------------------------------------------------------------


@pytest.mark.parametrize("reward", [np.float64(2.5), [2.5], np.array([[2.5]]), np.array(2.5)])
def test_rewards_are_numbers_or_arrays_of_one(reward):
    vec = spoiled(put(1, "b_0", reward))
    assert vec.step(PLAY)[1].tolist() == [[2.0, 2.5]]


def test_ends_may_be_arrays_of_one():
    vec = spoiled(put(2, "b_0", np.array([True])))
    _, _, _, _, info = vec.step(PLAY)
    assert info["alive"].tolist() == [[True, False]]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            put(1, "b_0", np.ones(2)),
            r"medley_v0 gives b_0 the reward array\(\[1., 1.\]\); allowed is one",
        ),
        (put(1, "b_0", None), "gives b_0 the reward None"),
        (put(1, "b_0", "3"), "gives b_0 the reward '3'"),
        (put(1, "b_0", 1j), "gives b_0 the reward 1j"),
        (put(1, "z_0", 1.0), r"gives 'z_0' a reward, but has no such agent; .*\['a_0', 'b_0'\]"),
        (drop(1, "b_0"), "gives b_0 no reward, although it is still in the episode"),
        (put(2, "__all__", False), "gives '__all__' a termination, but has no such agent"),
        (put(3, "b_0", "no"), "gives b_0 the truncation 'no'"),
        (drop(0, "b_0"), "gives b_0 no observation, although"),
        (put(0, "b_0", np.ones(2)), r"shows b_0 something .* the shape is \(2,\), not \(3,\)"),
        (put(0, "b_0", np.float32(1)), r"the shape is \(\), not \(3,\)"),
        (put(0, "b_0", np.array(list("abc"))), "the dtype is <U1"),
        (
            put(4, "b_0", "well"),
            "the info of b_0 in medley_v0 is 'well'; PettingZoo asks for a dict",
        ),
        (
            lambda *r: r[:4],
            r"step\(\) of medley_v0 returns a tuple of 4; PettingZoo asks for a tuple",
        ),
        (
            lambda *r: (r[0], 1.0, *r[2:]),
            r"rewards from step\(\) of medley_v0 are 1.0; .* dict by agent",
        ),
    ],
)
def test_what_breaks_the_contract_is_named(spoil, message):
    vec = spoiled(spoil)
    with pytest.raises(ValueError, match=message):
        vec.step(PLAY)


@pytest.mark.parametrize("spoil", [drop(4, "b_0"), put(4, "b_0", None), put(0, "common", 3)])
def test_what_pettingzoo_tolerates_is_tolerated(spoil):
    vec = spoiled(spoil)
    vec.step(PLAY)
    assert vec.own_infos() == {"a_0": {}, "b_0": {}}


@pytest.mark.parametrize(
    ("space", "wrong", "message"),
    [
        (spaces.Discrete(3), -1, r"-1 is not in Discrete\(3\)"),
        (spaces.Discrete(3), 3, r"3 is not in Discrete\(3\)"),
        (spaces.Dict(x=spaces.Discrete(2)), {"y": 0}, r"\['y'\] are not the keys \['x'\]"),
        (spaces.Dict(x=spaces.Box(0, 1, (2,))), {"x": np.zeros((1, 2))}, r"shape is \(1, 2\), not"),
        (spaces.Tuple([spaces.Discrete(2)] * 2), (1,), "does not consist of 2 parts"),
        (
            spaces.Box(0, 255, (2, 2), np.uint8),
            np.full((2, 2), 256),
            "other numbers than 0, 1, ..., 255",
        ),
        (
            spaces.Box(0, 255, (2, 2), np.uint8),
            np.full((2, 2), 0.5),
            "other numbers than 0, 1, ..., 255",
        ),
    ],
    ids=str,
)
def test_observations_of_another_kind_are_named(space, wrong, message):
    class Changed(Medley):
        def look(self, agents):
            return super().look(agents) if self.round == 0 else dict.fromkeys(agents, wrong)

    vec = mail_envs.from_pettingzoo(
        lambda: Changed({"a_0": space}, {"a_0": spaces.Discrete(2)}), api="vector"
    )
    vec.reset(seed=0)
    with pytest.raises(
        ValueError, match=f"medley_v0 shows a_0 something that is not in .*{message}"
    ):
        vec.step(PLAY[:, :1])


def test_a_mask_that_is_missing_is_named():
    class Maskless(Medley):
        def look(self, agents):
            seen = super().look(agents)
            for observation in seen.values() if self.round else ():
                del observation["action_mask"]
            return seen

    kinds = {"a_0": spaces.Box(0, 1, (2,), np.float32)}, {"a_0": spaces.Discrete(2)}
    vec = mail_envs.from_pettingzoo(lambda: Maskless(*kinds, masks="observation"), api="vector")
    vec.reset(seed=0)
    with pytest.raises(ValueError, match=r"shows a_0 something .* it has no action_mask"):
        vec.step(PLAY[:, :1])


def test_undeclared_agents_are_named():
    class Stranger(Spoiled):
        def reset(self, seed=None, options=None):
            result = super().reset(seed, options)
            self.agents = ["a_0", "c_0"]
            return result

    vec = mail_envs.from_pettingzoo(lambda: Stranger(lambda *_: None), api="vector")
    with pytest.raises(
        ValueError, match=r"begins with 'c_0', which is not one of its possible_agents"
    ):
        vec.reset(seed=0)


def test_a_state_that_fails_is_a_warning_and_all_observations():
    class Broken(Spoiled):
        def state(self):
            return self.no_such_field

    with pytest.warns(UserWarning, match=r"state\(\) of medley_v0 does not work .*no_such_field"):
        vec = mail_envs.from_pettingzoo(lambda: Broken(lambda *_: None), api="vector")
    observations, info = vec.reset(seed=0)
    np.testing.assert_array_equal(info["state"][0], observations.ravel())


@pytest.mark.parametrize(
    "image", [np.zeros((4, 5)), np.zeros((4, 5, 3)), np.zeros((4, 5, 2), np.uint8)]
)
def test_pictures_of_another_form_are_named(image):
    class Painter(Spoiled):
        def render(self):
            return image

    game = mail_envs.from_pettingzoo(lambda: Painter(lambda *_: None), api="vector").game
    with pytest.raises(
        ValueError, match=r"render\(\) of medley_v0 gives an array of .* uint8 \(height"
    ):
        game.picture()


def test_environments_are_closed_with_their_views():
    closed = []

    class Closing(Spoiled):
        def close(self):
            closed.append(self)

    for api in ("aec", "parallel"):
        mail_envs.from_pettingzoo(Closing(lambda *_: None), api=api).close()
    mail_envs.from_pettingzoo(
        lambda: Closing(lambda *_: None), api="vector", num_envs=3, num_workers=0
    ).close()
    assert len(set(map(id, closed))) == 5


def test_an_environment_that_knows_no_options_is_reset_without():
    class Plain(Spoiled):
        def reset(self, seed=None):  # type: ignore[override]
            return super().reset(seed)

    mail_envs.from_pettingzoo(lambda: Plain(lambda *_: None), api="parallel").reset(seed=0)
