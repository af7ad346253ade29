"""HAPPO: actors one after the other with the factor M, shared critics, agents that do not act."""

from __future__ import annotations

import matrix_game
import pytest
import torch

from learners import happo
from learners.lib.actor_critic import estimate_advantages
from learners.lib.architectures import read_policy
from learners.lib.game import make_game
from learners.lib.rewards import rewards_of
from learners.lib.rollout import Rollout
from learners.lib.settings import resumed

CPU = torch.device("cpu")
TINY = {
    "steps": 480, "num_envs": 6, "rounds": 20, "chunk": 20, "hidden": (16,), "epochs": 2, "lr": 5e-3,
    "eval_episodes": 0, "checkpoint_every": 2, "log_every": 1, "progress": False,
}  # fmt: skip
GAMES = {
    "battle": {"env": "smac_3m", "player_function": "Stochastic(0.5)"},
    "navigation": {"env": "coop_nav", "player_function": "Stochastic(0.5)", "max_rounds": 7},
    "continuous": {"env": "stochastic_coop_nav", "set": ("continuous_actions=true",), "max_rounds": 7},
    "recurrent": {"env": "stochastic_coop_nav", "recurrent": True, "max_rounds": 7},
}  # fmt: skip


def collected(**changes):
    """Settings, an untrained agent, the fragment that it played, its advantages, targets and critics' memories."""
    args = happo.Args(**{**TINY, **changes})
    torch.manual_seed(0)
    vec = make_game(args, args.num_envs, CPU)
    agent = happo.make_agent(vec, args, CPU)
    rollout = Rollout(vec, args.rounds, CPU, agent.policy.memory_size, args.critic == "state")
    rollout.reset(0)
    rollout.collect(agent.policy, torch.Generator().manual_seed(0))
    rewards = rewards_of(rollout, "team")
    return args, agent, rollout, estimate_advantages(agent, rollout, rewards, 0.9, 0.9)


@torch.no_grad()
def log_probs(agent, rollout) -> torch.Tensor:
    """Log-likelihoods of all actions, (T, E, N)."""
    policy, r = agent.policy, rollout
    ended = r.terminated | r.truncated
    fresh = torch.cat([torch.zeros_like(ended[:1]), ended[:-1]])
    outs, _ = policy.unroll(
        r.observations[:-1], r.memory[0], r.participation[:-1], fresh, r.actions
    )
    found = torch.zeros_like(r.rewards)
    for i in range(found.shape[2]):
        rows = [x[:, :, i].flatten(0, 1) for x in (outs, r.actions)]
        allowed = None if r.action_mask is None else r.action_mask[:-1, :, i].flatten(0, 1)
        found[:, :, i] = policy.likelihood(i, *rows, allowed)[0].view(found.shape[:2])
    return found


@pytest.mark.parametrize("game", GAMES)
def test_the_factor_is_the_joint_ratio_of_all_agents_that_act(game):
    args, agent, rollout, (advantages, _, _) = collected(**GAMES[game])
    before = log_probs(agent, rollout)
    rng = torch.Generator().manual_seed(1)
    _, factor = happo.update_actors(agent, rollout, advantages, args, rng)
    acts = rollout.learned_from()
    change = (log_probs(agent, rollout) - before).masked_fill(~acts, 0.0)
    assert torch.allclose(factor, change.sum(2).exp(), rtol=1e-3, atol=1e-4)
    nobody = ~acts.any(2)
    assert nobody.any() and (factor[nobody] == 1).all()
    assert (factor[~nobody] - 1).abs().max() > 0.01


def test_the_order_is_random_and_each_agent_sees_the_factor_of_those_before(monkeypatch):
    args, agent, rollout, (advantages, _, _) = collected(env="coop_nav")
    orders, seen = set(), []
    real = happo.update_actor

    def noted(agent, i, batch, args, rng):
        seen.append((i, batch["factor"].clone()))
        return real(agent, i, batch, args, rng)

    monkeypatch.setattr(happo, "update_actor", noted)
    rng = torch.Generator().manual_seed(0)
    for _ in range(6):
        seen.clear()
        happo.update_actors(agent, rollout, advantages, args, rng)
        order = tuple(i for i, _ in seen)
        orders.add(order)
        assert sorted(order) == [0, 1, 2]
        assert (seen[0][1] == 1).all() and (seen[1][1] != 1).any()
        assert not torch.equal(seen[1][1], seen[2][1])
    assert len(orders) > 2


@pytest.mark.parametrize("game", ["battle", "navigation"])
def test_what_absent_agents_would_have_done_changes_nothing(game):
    weights = []
    for garbage in (False, True):
        args, agent, rollout, (advantages, *_) = collected(**GAMES[game])
        absent = ~rollout.learned_from()
        if garbage:
            rollout.actions[absent] = 0
            advantages = advantages.masked_fill(absent, 1e3)
        rng = torch.Generator().manual_seed(0)
        happo.update_actors(agent, rollout, advantages, args, rng)
        weights.append([p.detach().clone() for p in agent.policy.parameters()])
    assert absent.any()
    for a, b in zip(*weights, strict=True):
        assert torch.equal(a, b)


def test_the_team_has_one_value_and_own_critics_are_shared_by_a_role():
    _, agent, rollout, (advantages, targets, _) = collected(env="coop_nav")
    values = (targets - advantages)[..., :1]
    assert len(agent.critics) == 1 and len(agent.policy.networks) == 3
    assert agent.critics[0].layers[0].in_features == rollout.states.shape[2] > 0
    assert torch.allclose(targets - advantages, values.expand(-1, -1, 3), atol=1e-5)
    _, agent, rollout, (advantages, targets, _) = collected(env="coop_nav", critic="own")
    assert len(agent.critics) == 1
    assert agent.critics[0].layers[0].in_features == rollout.observations.shape[3] + 3
    assert (targets - advantages).std(2).max() > 1e-3


@pytest.mark.parametrize(
    "changes",
    [
        {**GAMES["battle"], "recurrent": True, "chunk": 5},
        {**GAMES["continuous"], "critic": "own", "continuous": "tanh_gaussian"},
    ],
    ids=["battle", "continuous"],
)  # fmt: skip
def test_a_resumed_run_ends_like_an_uninterrupted_one(changes, tmp_path):
    changes = {**TINY, **changes}
    happo.train(happo.Args(**changes, run_dir=str(tmp_path / "whole")))
    happo.train(happo.Args(**{**changes, "steps": 240}, run_dir=str(tmp_path / "cut")))
    happo.train(resumed(tmp_path / "cut", happo.Args, progress=False, steps=480))
    policies = [read_policy(tmp_path / n / "policy.safetensors")[0] for n in ("whole", "cut")]
    for a, b in zip(*(p.parameters() for p in policies), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("critic", ["state", "own"])
def test_it_learns_a_matrix_game(critic, tmp_path):
    args = happo.Args(
        env="matrix_game", steps=25_600, num_envs=64, rounds=8, hidden=(32,), lr=5e-3, critic=critic,
        eval_episodes=200, progress=False, run_dir=str(tmp_path),
    )  # fmt: skip
    assert happo.train(args)["return"] > 0.9 * matrix_game.OPTIMUM
