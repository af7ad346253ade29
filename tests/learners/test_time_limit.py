"""Time limits that are part of the task, and those that are not: bootstrapping and the critics' time input."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from sample_games import LastStanding

import mail_envs
from learners import ippo, mack
from learners.lib.actor_critic import extra_inputs
from learners.lib.architectures import read_policy
from learners.lib.game import make_game
from learners.lib.rollout import Rollout
from learners.lib.settings import resumed
from learners.lib.time_limit import bootstraps, time_inputs, time_left
from mail_envs.player_functions import Synchronous
from mail_envs.vector import VectorGame

LIMIT = 7  # nobody has won by then
SMALL = {
    "num_envs": 6, "rounds": 20, "hidden": (16,), "max_rounds": LIMIT, "eval_episodes": 20,
    "log_every": 1, "checkpoint_every": 2, "progress": False,
}  # fmt: skip
IS_END = {"smac_3m": True, "coop_nav": False}
SEEDS = (0, 1, 2, 3, 4, 5, 6, 7, 101, 102)


def made(learner, vec, args) -> Any:
    """The networks of a learner."""
    make = ippo.make_agent if learner is ippo else mack.ActorCritic
    return make(vec, args, torch.device("cpu"))


def collected(learner, env: str, **changes):
    """An untrained agent, whose critics are far from 0, and the second fragment that it played."""
    if learner is ippo:
        changes = {"critic": "state", **changes}
    args = learner.Args(env=env, **{**SMALL, **changes})
    torch.manual_seed(0)
    vec = make_game(args, args.num_envs, torch.device("cpu"))
    agent = made(learner, vec, args)
    critics = agent.critics if learner is ippo else agent.critic.networks
    for critic in critics:
        torch.nn.init.constant_(critic.layers[-1].bias, 5.0)
    rollout = Rollout(vec, args.rounds, "cpu", agent.policy.memory_size, learner is ippo)
    rollout.reset(0)
    rng = torch.Generator().manual_seed(0)
    for _ in range(2):
        rollout.collect(agent.policy, rng)
    return args, agent, rollout, rng


def targets_of(learner, agent, rollout, rng, lam: float = 0.0) -> torch.Tensor:
    """Value targets (T, E, N) with a discount of 0.9."""
    more = () if learner is ippo else (rng,)
    return learner.estimate_advantages(agent, rollout, rollout.rewards, 0.9, lam, *more)[1]


def test_truncated_episodes_bootstrap_unless_the_limit_is_part_of_the_task():
    ends = {"terminated": [0, 1, 0, 1], "truncated": [0, 0, 1, 1]}
    ends = {name: torch.tensor([x], dtype=torch.bool) for name, x in ends.items()}
    for is_end, expected in ((False, [0, 0, 1, 0]), (True, [0, 0, 0, 0])):
        rollout: Any = SimpleNamespace(vec=SimpleNamespace(limit_is_end=is_end), **ends)
        assert bootstraps(rollout).int().tolist() == [expected]


@pytest.mark.parametrize("lam", [0.0, 0.9])
@pytest.mark.parametrize("env", IS_END)
@pytest.mark.parametrize("learner", [ippo, mack], ids=["ippo", "mack"])
def test_a_round_at_the_limit_is_worth_its_reward_where_the_limit_is_the_end(learner, env, lam):
    _, agent, rollout, rng = collected(learner, env)
    at_limit = rollout.truncated
    assert int(at_limit.sum()) >= 6 and not rollout.terminated.any()
    beyond = targets_of(learner, agent, rollout, rng, lam)[at_limit] - rollout.rewards[at_limit]
    if IS_END[env]:
        assert torch.allclose(beyond, torch.zeros_like(beyond), atol=1e-5)
    else:
        assert (beyond > 0.9 * 3).all()  # critics say about 5


def test_truncated_episodes_bootstrap_with_the_final_participation_and_mask():
    """Not with those of the copy's next episode."""
    _, agent, rollout, rng = collected(mack, "stochastic_coop_nav")
    cut, moves = rollout.truncated, torch.eye(rollout.vec.num_actions, dtype=torch.int8)
    assert rollout.final_action_mask is not None and rollout.action_mask is not None
    assert not torch.equal(rollout.final_participation[cut], rollout.participation[1:][cut])
    rollout.final_action_mask[cut], rollout.action_mask[1:][cut] = moves[2], moves[3]
    actions = torch.full_like(rollout.actions[cut], 2)
    seen = (rollout.final_observations[cut], actions, rollout.final_participation[cut])
    with torch.no_grad():
        value = agent.critic(*seen, torch.zeros(len(actions), 0))
    found = targets_of(mack, agent, rollout, rng)[cut]
    assert torch.allclose(found, rollout.rewards[cut] + 0.9 * value, atol=1e-4)


@pytest.mark.parametrize("learner", [ippo, mack], ids=["ippo", "mack"])
def test_critics_see_the_remaining_time_and_actors_do_not(learner):
    _, agent, rollout, _ = collected(learner, "smac_3m")
    left = time_left(rollout)
    second = range(20, 41)  # rounds of the second fragment
    expected = torch.tensor([(LIMIT - t % LIMIT) / LIMIT for t in second])
    assert torch.allclose(left, expected.view(-1, 1, 1).expand(21, 6, 1))
    observations = rollout.observations[:-1]
    if learner is ippo:
        rows = agent.critic_inputs(0, observations, extra_inputs(rollout)[:-1])
        networks = agent.critics
    else:
        seen = (observations, rollout.actions, rollout.participation[:-1], left[:-1])
        rows = agent.critic.inputs(0, *(x.flatten(0, 1) for x in seen)).unflatten(0, (20, -1))
        networks = agent.critic.networks
    assert rows.shape[2] == networks[0].layers[0].in_features
    assert torch.allclose(rows[..., -1], expected[:-1].view(-1, 1).expand(20, 18))
    assert agent.policy.networks[0].layers[0].in_features == observations.shape[3]


@pytest.mark.parametrize("learner", [ippo, mack], ids=["ippo", "mack"])
def test_the_remaining_time_is_no_input_where_the_limit_only_truncates(learner):
    _, agent, rollout, _ = collected(learner, "coop_nav")
    assert time_inputs(rollout.vec) == 0 and time_left(rollout).shape == (21, 6, 0)
    D, S = rollout.observations.shape[3], rollout.states.shape[2]
    networks = agent.critics if learner is ippo else agent.critic.networks
    expected = D + S if learner is ippo else 3 * D + 2 * rollout.vec.num_actions
    assert [n.layers[0].in_features for n in networks] == [expected]


@pytest.mark.parametrize("learner", [ippo, mack], ids=["ippo", "mack"])
def test_critics_learn_what_a_limit_costs(learner):
    """With a reward of 1 per round, the value is the number of remaining rounds, which coop_nav does not show."""
    changes = {"num_envs": 40, "rounds": 35}
    changes |= {"lr": 5e-3, "minibatches": 4} if learner is ippo else {}
    args = learner.Args(env="coop_nav", **{**SMALL, **changes})
    torch.manual_seed(0)
    vec = make_game(args, args.num_envs, torch.device("cpu"))
    vec.limit_is_end = True
    agent = made(learner, vec, args)
    rollout, rng = Rollout(vec, args.rounds), torch.Generator().manual_seed(0)
    rollout.reset(0)
    for _ in range(16 if learner is ippo else 60):
        rollout.collect(agent.policy, rng)
        rollout.rewards[:] = 1.0
        more = () if learner is ippo else (rng,)
        found = learner.estimate_advantages(agent, rollout, rollout.rewards, 1.0, 1.0, *more)
        if learner is ippo:
            learner.update(agent, rollout, *found, args, rng)
        else:
            learner.update(agent, rollout, *found, rollout.learned_from(), args, rng)
    rounds_left = torch.tensor([LIMIT - t % LIMIT for t in range(35)]).float()
    error = (found[1] - found[0]).mean((1, 2)) - rounds_left  # values: targets minus advantages
    assert error.abs().max() < 0.7


@pytest.mark.parametrize("learner", [ippo, mack], ids=["ippo", "mack"])
def test_a_resumed_run_ends_like_an_uninterrupted_one(learner, tmp_path):
    changes = {"env": "smac_3m", "anneal": False, **SMALL}  # the rate depends on the steps
    whole, cut = str(tmp_path / "whole"), str(tmp_path / "cut")
    learner.train(learner.Args(**changes, steps=600, run_dir=whole))
    learner.train(learner.Args(**changes, steps=240, run_dir=cut))
    learner.train(resumed(tmp_path / "cut", learner.Args, progress=False, steps=600))
    policies = [read_policy(tmp_path / n / "policy.safetensors")[0] for n in ("whole", "cut")]
    for a, b in zip(*(p.parameters() for p in policies), strict=True):
        assert torch.equal(a, b)


def test_the_round_count_continues_after_a_checkpoint():
    _, _, rollout, _ = collected(ippo, "smac_3m")
    again = Rollout(rollout.vec, rollout.rounds, state=True)
    again.load_state_dict(rollout.state_dict())
    assert torch.equal(again.round[-1], rollout.round[-1]) and again.round[-1].tolist() == [5] * 6


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_ippo_wins_3m_whatever_the_seed(seed, tmp_path):
    """Short form: the tests of the value at the limit, above. With bootstrapping there, seeds 1, 2 and 101 learn to
    run away.
    """
    args = ippo.Args(
        env="smac_3m", steps=1_200_000, seed=seed, run_dir=str(tmp_path), progress=False
    )
    assert ippo.train(args)["win_rate"] >= 0.95


# ------------------------------------------------------------------------------------------ who says so
@pytest.mark.parametrize(
    ("id", "is_end"),
    [
        ("smac_3m", True), ("smacv2_terran_5_vs_5", True), ("gold_miner_easy_2_vs_2", True),
        ("coop_nav", False), ("mpe_simple_spread", False), ("stochastic_predator_prey", False),
    ],
)  # fmt: skip
def test_games_declare_whether_their_limit_is_part_of_the_task(id, is_end):
    assert mail_envs.make_vec(id).limit_is_end is is_end


def test_a_users_own_game_declares_it_in_one_line(monkeypatch):
    monkeypatch.setattr(LastStanding, "limit_is_end", True)
    assert VectorGame(LastStanding(), Synchronous()).limit_is_end is True
    monkeypatch.setattr(LastStanding, "limit_is_end", 1)
    with pytest.raises(TypeError, match="limit_is_end=1 of LastStanding is neither True nor False"):
        VectorGame(LastStanding(), Synchronous())
