"""PQN: lambda-returns of the team, agents that do not act, exploration."""

from __future__ import annotations

import matrix_game
import pytest
import torch

from learners import pqn
from learners.lib.architectures import read_policy
from learners.lib.game import make_game
from learners.lib.rewards import rewards_of
from learners.lib.rollout import Rollout
from learners.lib.settings import parse, resumed

CPU = torch.device("cpu")
TINY = {
    "steps": 480, "num_envs": 6, "rounds": 20, "chunk": 10, "hidden": (16,), "minibatches": 2,
    "anneal": False, "exploration": 0.0, "eval_episodes": 0, "checkpoint_every": 2, "log_every": 1,
    "progress": False,
}  # fmt: skip
GAMES = {
    "battle": {"env": "smac_3m", "player_function": "Stochastic(0.5)", "max_rounds": 9},
    "navigation": {"env": "coop_nav", "player_function": "Stochastic(0.5)", "max_rounds": 7},
    "recurrent": {
        "env": "stochastic_coop_nav", "max_rounds": 7, "recurrent": True, "last_action": True,
    },
}  # fmt: skip


def collected(**changes):
    """Settings, an untrained agent with exploration, and the second fragment that it played."""
    args = pqn.Args(**{**TINY, **changes})
    torch.manual_seed(0)
    vec = make_game(args, args.num_envs, CPU)
    agent = pqn.Agent(vec, args, CPU)
    agent.policy.distribution.epsilon = 0.5
    rollout = Rollout(vec, args.rounds, CPU, agent.policy.memory_size)
    rollout.reset(0)
    rng = torch.Generator().manual_seed(0)
    for _ in range(2):
        rollout.collect(agent.policy, rng)
    return args, agent, rollout


def best(policy, observations, mask, memory, acts, alive) -> float:
    """The team's value in one round of one copy, with plain loops."""
    memory = memory.clone().unsqueeze(0)
    actions = torch.zeros(1, len(acts), dtype=torch.int64)
    outs, _ = policy.unroll(observations.view(1, 1, *observations.shape), memory, acts.view(1, 1, -1),
                            None, actions.unsqueeze(0))  # fmt: skip
    who = acts if acts.any() else alive
    return sum(
        max(float(q) for q, m in zip(outs[0, 0, i], mask[i], strict=True) if m)
        for i in range(len(acts))
        if who[i]
    )


@torch.no_grad()
def naive_targets(agent, r, rewards, gamma: float, lam: float) -> torch.Tensor:
    """Lambda-returns by the definition, from the last round back."""
    T, E = r.terminated.shape
    found = torch.zeros(T, E)
    for e in range(E):
        following = 0.0  # the return of the next round
        for t in reversed(range(T)):
            end = bool(r.terminated[t, e] or r.truncated[t, e])
            if end:
                ahead = 0.0
                if not r.terminated[t, e] and not r.vec.limit_is_end:
                    after = r.memory[t, e].clone().unsqueeze(0)  # the memory after round t
                    policy = agent.policy
                    policy.act(r.observations[t, e].unsqueeze(0), r.action_mask[t, e].unsqueeze(0), None,
                               after, r.participation[t, e].unsqueeze(0))  # fmt: skip
                    if policy.last_action:
                        acted = r.participation[t, e].unsqueeze(-1)
                        taken = policy.encoded(r.actions[t, e], after)
                        before = r.memory[t, e][:, policy.gru_size :]
                        after[0, :, policy.gru_size :] = torch.where(acted, taken, before)
                    ahead = best(policy, r.final_observations[t, e], r.final_action_mask[t, e], after[0],
                                 r.final_participation[t, e], r.final_alive[t, e])  # fmt: skip
            else:
                value = best(agent.policy, r.observations[t + 1, e], r.action_mask[t + 1, e],
                             r.memory[t + 1, e], r.participation[t + 1, e], r.alive[t + 1, e])  # fmt: skip
                ahead = value
                if t + 1 < T:
                    decides = bool(r.participation[t + 1, e].any())
                    ahead = (1 - lam) * value + lam * following if decides else following
            following = found[t, e] = float(rewards[t, e, 0]) + gamma * ahead
    return found


@pytest.mark.parametrize("game", GAMES)
def test_targets_are_the_lambda_returns_of_the_team(game):
    _, agent, rollout = collected(**GAMES[game])
    rewards = rewards_of(rollout, "team")
    found = pqn.targets_of(agent.policy, rollout, rewards, 0.9, 0.7)
    assert (rollout.terminated | rollout.truncated).any()
    assert not rollout.participation[1:].any(2).all()  # rounds in which nobody acts
    assert torch.allclose(found, naive_targets(agent, rollout, rewards, 0.9, 0.7), atol=1e-3)


@pytest.mark.parametrize("game", GAMES)
def test_what_absent_agents_would_have_done_changes_nothing(game):
    args, agent, rollout = collected(**GAMES[game])
    length = args.chunk if args.recurrent else 1
    gradients = []
    for garbage in (False, True):
        targets = torch.arange(120.0).view(20, 6)
        if garbage:
            absent = ~rollout.learned_from()
            assert absent.any()
            rollout.actions[absent] = 0
            targets[absent.all(2)] = 1e6
        loss, _ = pqn.loss_of(agent.policy, pqn.training_data(rollout, targets, length))
        agent.policy.zero_grad()
        loss.backward()
        gradients.append([p.grad.clone() for p in agent.policy.parameters() if p.grad is not None])
    assert any(g.any() for g in gradients[0])
    for a, b in zip(*gradients, strict=True):
        assert torch.equal(a, b)


def test_the_teams_value_is_the_sum_over_agents_that_act():
    values = torch.tensor([[[1.0, 5.0], [2.0, 0.0], [7.0, 9.0]]])
    mask = torch.tensor([[[1, 1], [1, 1], [1, 0]]], dtype=torch.int8)
    alive = torch.tensor([[True, True, False]])
    for acts, expected in (([1, 1, 0], 7.0), ([0, 1, 0], 2.0), ([0, 0, 0], 7.0), ([0, 0, 1], 7.0)):
        found = pqn.team_values(values, mask, torch.tensor([acts]).bool(), alive)
        assert found.tolist() == [expected]
    assert pqn.team_values(values, None, torch.tensor([[False, False, True]]), alive).item() == 9.0


def test_exploration_ends_and_forbidden_actions_are_never_explored():
    args, agent, rollout = collected(env="smac_3m", epsilon=1.0, last_epsilon=0.1, exploration=0.5)
    found = []
    for done in (0.0, 0.25, 0.5, 0.9):
        agent.schedule(args, done)
        found.append(agent.policy.distribution.epsilon)
    assert found == pytest.approx([1.0, 0.55, 0.1, 0.1])
    agent.policy.distribution.epsilon = 1.0
    rollout.collect(agent.policy, torch.Generator().manual_seed(0))
    assert rollout.action_mask is not None
    allowed = rollout.action_mask[:-1].gather(-1, rollout.actions.unsqueeze(-1)).squeeze(-1).bool()
    assert allowed[rollout.participation[:-1]].all() and not rollout.action_mask.all()
    assert len(rollout.actions.unique()) > 4


def test_the_papers_preset_explores_and_clips_as_there():
    args = parse(pqn.Args, pqn.PRESETS, ["--preset", "paper"])
    assert (args.epsilon, args.last_epsilon, args.exploration) == (1.0, 0.01, 0.1)
    batch = args.num_envs * args.rounds // args.minibatches
    assert (batch, args.epochs, args.lam, args.lr, args.anneal) == (1024, 4, 0.85, 2.5e-4, True)
    assert args.max_grad_norm == 0.5  # the loss is half the squared error; there it is all of it


def test_continuous_games_are_refused(tmp_path):
    changes = {**TINY, "set": ("continuous_actions=true",), "run_dir": str(tmp_path / "run")}
    with pytest.raises(ValueError, match="pqn needs discrete actions"):
        pqn.train(pqn.Args(**changes))


@pytest.mark.parametrize("game", ["battle", "recurrent"])
def test_a_resumed_run_ends_like_an_uninterrupted_one(game, tmp_path):
    changes = {**TINY, **GAMES[game]}
    pqn.train(pqn.Args(**changes, run_dir=str(tmp_path / "whole")))
    pqn.train(pqn.Args(**{**changes, "steps": 240}, run_dir=str(tmp_path / "cut")))
    pqn.train(resumed(tmp_path / "cut", pqn.Args, progress=False, steps=480))
    policies = [read_policy(tmp_path / n / "policy.safetensors")[0] for n in ("whole", "cut")]
    for a, b in zip(*(p.parameters() for p in policies), strict=True):
        assert torch.equal(a, b)


def test_it_learns_a_matrix_game(tmp_path):
    args = pqn.Args(
        env="matrix_game", steps=25_600, num_envs=64, rounds=8, hidden=(32,), lr=5e-3, gamma=0.5,
        eval_episodes=200, progress=False, run_dir=str(tmp_path),
    )  # fmt: skip
    assert pqn.train(args)["return"] > 0.9 * matrix_game.OPTIMUM
