"""Battles in which agents die, in libraries that do not handle deaths: `dead="stay"`, and TorchRL's options."""

from __future__ import annotations

import numpy as np
import pytest
from three_games import client, make

BATTLE = "smac_3m"
pytestmark = pytest.mark.filterwarnings("ignore")


def rounds_of(env) -> int:
    """Length of the last finished episode, as reported by the game."""
    return int(env.unwrapped.vector.clock["last_length"][0])


def battle(**keywords):
    env = make(BATTLE, "parallel", **keywords)
    env.reset(seed=3)
    return env


def first_death(env, rng) -> tuple[int, int]:
    """Round of the first death, and length, of a battle against marines that fight back."""
    died = 0
    while env.agents:
        actions = {
            a: int(rng.choice(np.flatnonzero(i["action_mask"]))) for a, i in env._infos().items()
        }
        env.step(actions)
        if not died and not env.vector.buffers.alive[0].all():
            died = rounds_of(env) if not env.agents else int(env.vector.clock["rounds"][0])
    return died, rounds_of(env)


def test_agents_die_before_the_battle_is_over():
    died, length = first_death(battle(), np.random.default_rng(0))
    assert died < length


@pytest.mark.parametrize(
    ("game", "wrapper"),
    [
        ({"dead": "stay"}, {}),
        ({"dead": "leave"}, {"done_on_any": False, "use_mask": True}),
    ],
    ids=["dead stay", "TorchRL's own way"],
)
def test_torchrl_plays_whole_battles(game, wrapper):
    client("torchrl")
    from torchrl.envs import PettingZooWrapper, check_env_specs

    ours = make(BATTLE, "parallel", **game)
    env = PettingZooWrapper(ours, **wrapper)
    check_env_specs(env)
    for seed in range(3):
        env.set_seed(seed)
        played = env.rollout(500)
        assert len(played) == rounds_of(ours)
        assert played["next", "done"][-1] and not played["next", "done"][:-1].any()


def test_torchrls_default_cuts_a_battle_at_the_first_death():
    """The reason for the recipe; when this fails, docs/clients.md can be shortened."""
    client("torchrl")
    from torchrl.envs import PettingZooWrapper

    ours = make(BATTLE, "parallel")
    env = PettingZooWrapper(ours)
    env.set_seed(0)
    assert not ours.vector.buffers.terminated[0] and len(env.rollout(500)) < 60
    assert not ours.vector.buffers.terminated[0] and ours.vector.buffers.alive[0].any()


def test_supersuits_black_death_never_reports_the_end():
    """The reason for `dead="stay"`; when this fails, docs/clients.md can be shortened."""
    ss = client("supersuit")
    ours = make(BATTLE, "parallel")
    env, rng = ss.black_death_v3(ours), np.random.default_rng(0)
    _, infos = env.reset(seed=3)
    while ours.agents:
        masks = {a: infos[a].get("action_mask", np.ones(1)) for a in env.agents}
        actions = {a: int(rng.choice(np.flatnonzero(mask))) for a, mask in masks.items()}
        _, _, terminations, truncations, infos = env.step(actions)
        assert not any(terminations.values()) and not any(truncations.values())
    assert ours.vector.buffers.terminated[0] and len(env.agents) == 3


def test_supersuit_and_stable_baselines_play_whole_battles():
    ss = client("supersuit")
    client("stable_baselines3")
    from stable_baselines3 import PPO
    from stable_baselines3.common.vec_env import VecMonitor

    ours = make(BATTLE, "parallel", dead="stay")
    vector = ss.pettingzoo_env_to_vec_env_v1(ours)
    rng, lengths = np.random.default_rng(0), []
    vector.reset(seed=0)
    for _ in range(2):
        length, done = 0, np.zeros(3)
        while not done.any():
            actions = rng.integers(ours.action_space("marine_0").n, size=3)
            dead = ~ours.vector.buffers.alive[0]
            _, rewards, terminated, truncated, _ = vector.step(actions)
            done, length = terminated | truncated, length + 1
            assert done.any() or not rewards[dead].any()
        assert done.all()
        lengths.append((length, rounds_of(ours)))
    assert all(a == b for a, b in lengths)
    players = ss.concat_vec_envs_v1(vector, 2, num_cpus=1, base_class="stable_baselines3")
    learner = PPO("MlpPolicy", VecMonitor(players), n_steps=64, batch_size=128, n_epochs=1)
    learner.learn(1500)
    assert len(learner.ep_info_buffer) >= 6


def test_the_dead_may_only_do_nothing():
    env, rng = battle(dead="stay"), np.random.default_rng(0)
    names, seen = list(env.agents), 0
    while env.agents:
        assert env.agents == names
        dead = ~env.vector.buffers.alive[0]
        actions = {
            a: int(rng.choice(np.flatnonzero(i["action_mask"]))) for a, i in env._infos().items()
        }
        observations, rewards, terminated, truncated, infos = env.step(actions)
        for i, agent in enumerate(names):
            if not env.vector.buffers.alive[0, i] and env.agents:
                seen += 1
                mask = infos[agent]["action_mask"]
                assert mask[0] == 1 and mask.sum() == 1 and not infos[agent]["participates"]
                assert not observations[agent].any()
                assert not (terminated[agent] or truncated[agent] or (dead[i] and rewards[agent]))
    assert seen and (all(terminated.values()) or all(truncated.values()))
