"""IPPO and MAPPO: training data of actors and critics, and recurrent policies."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import mail_envs
from demos.policies import NetworkPolicy
from demos.record import record
from learners import evaluate, ippo
from learners.lib import ppo
from learners.lib.actor_critic import ActorCritic
from learners.lib.architectures import read_policy, save_policy
from learners.lib.game import make_game
from learners.lib.mlp import MLP
from learners.lib.networks import Policy
from learners.lib.optimizers import Adam
from learners.lib.recurrent import GRU
from learners.lib.rewards import TEAM_RETURN, rewards_of
from learners.lib.rollout import Rollout
from learners.lib.settings import resumed
from learners.lib.value_norm import ValueNorm

UNEQUAL = str(Path(__file__).resolve().parents[1] / "unequal_game.py")
RECALL = str(Path(__file__).resolve().parent / "recall_game.py")
TINY = {
    "steps": 600, "num_envs": 6, "rounds": 20, "chunk": 5, "hidden": (16,), "epochs": 2,
    "minibatches": 2, "anneal": False, "eval_episodes": 20, "checkpoint_every": 2, "log_every": 1, "progress": False,
}  # fmt: skip
RECURRENT = [False, True]


def collected(**changes) -> tuple[ippo.Args, ActorCritic, Rollout, torch.Generator]:
    """An untrained agent and the second fragment that it played."""
    args = ippo.Args(**{**TINY, **changes})
    torch.manual_seed(0)
    rng = torch.Generator().manual_seed(0)
    vec = make_game(args, args.num_envs, torch.device("cpu"))
    agent = ippo.make_agent(vec, args, torch.device("cpu"))
    for network in agent.policy.networks:  # far from uniform
        torch.nn.init.normal_(network.layers[-1].weight)
    rollout = Rollout(vec, args.rounds, "cpu", agent.policy.memory_size, args.critic == "state")
    rollout.reset(0)
    for _ in range(2):
        rollout.collect(agent.policy, rng)
    return args, agent, rollout, rng


def actor_after_an_update(agent, rollout, advantages, args) -> list[torch.Tensor]:
    weights = [p.detach().clone() for p in agent.policy.parameters()]
    length = args.chunk if args.recurrent else 1
    batch = ppo.actor_batch(agent.policy, 0, rollout, advantages, length)
    ippo.update_actor(agent, 0, batch, args, torch.Generator().manual_seed(0))
    after = [p.detach().clone() for p in agent.policy.parameters()]
    with torch.no_grad():
        for p, w in zip(agent.policy.parameters(), weights, strict=True):
            p.copy_(w)
    agent.optimizers[0] = Adam(agent.policy.networks[0], args.lr, args.max_grad_norm)
    return after


def played_by_two(folder: Path, id: str, **arguments) -> tuple[list, list]:
    """One recurrent policy in training and from its file: the actions and memories of both in every round."""
    env = mail_envs.make_vec(id, num_envs=5, **arguments)
    policy = Policy(
        [0, 0, 0], list(env.observation_dims), list(env.action_dims), env.discrete, (16, 8),
        agent_id=True, recurrent=True,
    )  # fmt: skip
    metadata = {"id": id, "arguments": {}, "player_function": None, "null_action": "null"}
    save_policy(folder / "policy.safetensors", policy, metadata)
    loaded = NetworkPolicy.load(folder / "policy.safetensors", env, greedy=True)
    observations, info = env.reset(seed=0)
    memory = torch.zeros(5, 3, policy.memory_size)
    one, other = [], []
    for _ in range(12):
        memory[torch.as_tensor(info["round"]) == 0] = 0.0
        acts = torch.as_tensor(info["participation"]).bool()
        mask = torch.as_tensor(info["action_mask"]) if env.discrete else None
        with torch.inference_mode():
            chosen = policy.act(torch.as_tensor(observations), mask, None, memory, acts)
        actions = loaded(observations, info, None)
        one.append((chosen.numpy().copy(), memory.numpy().copy()))
        other.append((actions.copy(), loaded.memory.numpy().copy()))
        observations, _, _, _, info = env.step(actions)
    return one, other


# ---------------------------------------------------------------------------------------- what counts
@pytest.mark.parametrize("recurrent", RECURRENT)
def test_actors_learn_nothing_from_rounds_in_which_they_do_not_act(recurrent):
    args, agent, rollout, rng = collected(recurrent=recurrent)
    advantages = torch.randn(rollout.rewards.shape, generator=rng)
    before = actor_after_an_update(agent, rollout, advantages, args)
    absent = ~rollout.participation[:-1]
    assert 0.3 < absent.float().mean() < 0.7
    advantages[absent] = float("nan")
    rollout.actions[absent] = 4
    rollout.observations[:-1][absent] = 7.0
    for a, b in zip(before, actor_after_an_update(agent, rollout, advantages, args), strict=True):
        assert torch.equal(a, b)
    rollout.actions[~absent] = 4
    after = actor_after_an_update(agent, rollout, advantages, args)
    assert not torch.equal(before[0], after[0])


def test_an_actor_with_a_single_legal_action_does_not_change():
    args, agent, rollout, _ = collected(env=UNEQUAL, set=("masked=true",))
    for g, surely in ((0, False), (1, True)):  # the walker may make its first step only
        batch = ppo.actor_batch(agent.policy, g, rollout, rollout.rewards, 1)
        log_prob, entropy = ppo.log_probs(agent.policy, g, batch)
        assert torch.equal(log_prob == 0, torch.full_like(log_prob, surely, dtype=torch.bool))
        assert torch.equal(entropy > 0, torch.full_like(entropy, not surely, dtype=torch.bool))
    ippo.update(agent, rollout, *ippo.estimate_advantages(agent, rollout, rollout.rewards, 0.9, 0.9), args,
                torch.Generator())  # fmt: skip
    rollout.collect(agent.policy, torch.Generator())
    walked = rollout.actions[..., 1][rollout.participation[:-1, :, 1]]
    assert len(walked) and not walked.any()


def test_the_team_reward_is_the_mean_of_those_that_act():
    _, _, rollout, _ = collected()
    rollout.participation[0, 0] = torch.tensor([True, False, True])
    rollout.rewards[0, 0] = torch.tensor([1.0, 0.0, 3.0])
    rollout.participation[1, 0], rollout.rewards[1, 0] = False, 0.0
    team = rewards_of(rollout, "team")
    assert team[0, 0].tolist() == [2.0, 2.0, 2.0] and team[1, 0].tolist() == [0.0, 0.0, 0.0]
    assert torch.equal(rewards_of(rollout, "own"), rollout.rewards)
    assert torch.equal(rewards_of(rollout, "auto"), rollout.rewards)


@pytest.mark.parametrize("critic", ["own", "state"])
@pytest.mark.parametrize("recurrent", RECURRENT)
def test_a_truncated_episode_bootstraps_from_its_final_observation(critic, recurrent):
    changes = {"max_rounds": 7, "rounds": 21, "chunk": 7}
    _, agent, rollout, _ = collected(recurrent=recurrent, critic=critic, **changes)
    torch.nn.init.normal_(agent.critics[0].layers[-1].weight)
    assert rollout.truncated[6].all() and not rollout.terminated.any()
    memory = agent.memory
    _, targets, _ = ippo.estimate_advantages(agent, rollout, rollout.rewards, 0.9, 0.0)
    nobody = torch.zeros(1, 6, 3, dtype=torch.bool)
    with torch.no_grad():  # round by round, by hand
        for t in range(7):
            acts, fresh = rollout.participation[t : t + 1], nobody[..., 0]
            here = (rollout.observations[t : t + 1], rollout.states[t : t + 1])
            memory = agent.values(*here, memory, acts, fresh)[1][0]
        final = (rollout.final_observations[6:7], rollout.final_states[6:7])
        value = agent.values(*final, memory, nobody, nobody[..., 0])[0][0]
        following = agent.values(rollout.observations[7:8], rollout.states[7:8],
                                 torch.zeros_like(memory), nobody, nobody[..., 0])[0][0]  # fmt: skip
    assert torch.allclose(targets[6], rollout.rewards[6] + 0.9 * value, atol=1e-4)
    assert not torch.allclose(targets[6], rollout.rewards[6] + 0.9 * following, atol=1e-2)


def test_rescaled_critics_predict_the_same_returns():
    norm, critic, x = ValueNorm(decay=0.5), MLP([3, 8, 1]), torch.randn(50, 3)
    seen = [torch.randn(400) * 3 + 10, torch.randn(400) * 20 - 100]
    with torch.no_grad():
        for targets in seen:
            before = norm.restore(critic(x))
            norm.update(targets, critic.layers[-1])
            assert torch.allclose(norm.restore(critic(x)), before, atol=1e-3)
    mean, sd = norm.mean_sd()  # bias-corrected; weights 1/4 and 1/2 before that
    moments = [torch.stack([y.mean(), (y * y).mean()]) for y in seen]
    expected = (moments[0] + 2 * moments[1]) / 3
    assert mean == pytest.approx(float(expected[0]), rel=1e-4)
    assert sd == pytest.approx(float((expected[1] - expected[0] ** 2).sqrt()), rel=1e-4)
    standard = norm.standardize(torch.tensor([float(mean), float(mean + sd)]))
    assert standard.tolist() == pytest.approx([0.0, 1.0], abs=1e-5)


# ------------------------------------------------------------------------------------------- memories
def test_the_cell_is_torchs():
    gru, x, memory = GRU(5), torch.randn(1, 7, 5), torch.randn(7, 5)
    torch.nn.init.normal_(gru.bias_hh)
    output, after = gru(x, memory, torch.ones(1, 7, dtype=torch.bool))
    assert torch.allclose(output[0], torch.nn.GRUCell.forward(gru, x[0], memory), atol=1e-6)
    assert torch.equal(output, after)


def test_rounds_in_which_an_agent_does_not_act_do_not_change_its_memory():
    """The memory is the same whether the policy is called in every round or only when the agent acts."""
    gru, x, memory = GRU(4), torch.randn(6, 1, 4), torch.randn(1, 4)
    acts = torch.tensor([1, 0, 0, 1, 0, 1]).bool().unsqueeze(1)
    outputs, memories = gru(x, memory, acts)
    alone, _ = gru(x[acts[:, 0]], memory, torch.ones(3, 1, dtype=torch.bool))
    assert torch.allclose(outputs[acts], alone.squeeze(1), atol=1e-6)
    assert torch.equal(memories[1], memories[0]) and torch.equal(memories[-1], outputs[-1])
    fresh = torch.tensor([0, 0, 0, 1, 0, 0]).bool().unsqueeze(1)
    forgotten, _ = gru(x, memory, acts, fresh)
    begun, _ = gru(x[3:], torch.zeros(1, 4), acts[3:])
    assert torch.allclose(forgotten[3:], begun, atol=1e-6)


def test_training_reproduces_the_outputs_of_acting():
    """Chunks that start from stored memories give the outputs of acting round by round, across episode ends."""
    args, agent, rollout, _ = collected(recurrent=True, max_rounds=7, chunk=10)
    batch = ppo.actor_batch(agent.policy, 0, rollout, rollout.rewards, args.chunk)
    assert batch["inputs"].shape[:2] == (10, 2 * 6 * 3)
    begins = torch.zeros(20, 6, 3, dtype=torch.bool)
    begins[1:] = (rollout.terminated | rollout.truncated)[:-1].unsqueeze(2)
    assert 12 <= int(begins[..., 0].sum()) <= 18  # every seven rounds in six copies
    begins = torch.stack([begins[:10].flatten(1), begins[10:].flatten(1)], 1)
    assert torch.equal(batch["fresh"].bool(), begins.flatten(1))
    network = agent.policy.networks[0]
    with torch.no_grad():
        out = network.sequence(batch["inputs"], batch["memory"][0], batch["acts"], batch["fresh"])[
            0
        ].unflatten(1, (2, 6, 3))
        for t in range(args.rounds):
            memory, acts = rollout.memory[t].clone(), rollout.participation[t]
            alone = agent.policy._outputs(0, rollout.observations[t], memory, acts)
            assert torch.allclose(out[t % 10, t // 10][acts], alone.view(6, 3, -1)[acts], atol=1e-5)
            goes_on = ~(rollout.terminated | rollout.truncated)[t]
            assert torch.equal(rollout.memory[t + 1][goes_on], memory[goes_on])
            assert not rollout.memory[t + 1][~goes_on].any()


@pytest.mark.parametrize("continuous", [False, True])
def test_a_policy_from_a_file_has_the_memory_of_the_one_in_training(continuous, tmp_path):
    pair = played_by_two(
        tmp_path, "stochastic_coop_nav", max_rounds=5, continuous_actions=continuous
    )
    for (actions, memory), (others, their_memory) in zip(*pair, strict=True):
        assert np.allclose(memory, their_memory, atol=1e-5) and memory.any()
        assert np.allclose(others, actions.clip(0, 1) if continuous else actions, atol=1e-5)


def test_a_policy_file_keeps_the_memory_of_the_network(tmp_path):
    policy = Policy([0, 1], [3, 3], [2, 2], hidden=(8, 4), recurrent=True)
    metadata = {"id": "x", "arguments": {}, "player_function": None, "null_action": "null"}
    save_policy(tmp_path / "p.safetensors", policy, metadata)
    again, _ = read_policy(tmp_path / "p.safetensors")
    assert again.memory_size == 4
    for (name, a), (_, b) in zip(policy.named_parameters(), again.named_parameters(), strict=True):
        assert torch.equal(a, b), name


def test_recorded_episodes_of_a_recurrent_policy_do_not_depend_on_their_neighbors(tmp_path):
    """Episodes end at different times, and each keeps its own memory."""
    folder = tmp_path / "run"
    ippo.train(ippo.Args(**{**TINY, "recurrent": True, "eval_episodes": 0, "run_dir": str(folder)}))
    sets = [
        record(
            "stochastic_coop_nav", folder, 7, 5, tmp_path / str(n), num_envs=n, random_return=0.0
        )
        for n in (1, 4, 7)
    ]
    for episodes in zip(*sets, strict=True):
        for other in episodes[1:]:
            assert np.array_equal(episodes[0].actions, other.actions)
            assert np.array_equal(episodes[0].rewards, other.rewards)


def test_a_recurrent_policy_in_cross_play_with_itself_plays_as_in_self_play(tmp_path):
    changes = {"env": "stochastic_predator_prey", "recurrent": True, "eval_episodes": 0}
    ippo.train(ippo.Args(**{**TINY, **changes, "run_dir": str(tmp_path)}))
    alone = evaluate.Args(str(tmp_path), episodes=20, greedy=True, json=True)
    both = evaluate.Args(str(tmp_path), against=str(tmp_path), episodes=20, greedy=True, json=True)
    returns = [evaluate.evaluate(args)["episode_returns"] for args in (alone, both)]
    assert returns[0] == returns[1]


# --------------------------------------------------------------------------------------- whole runs
@pytest.mark.parametrize(
    "changes",
    [
        {"recurrent": True, "critic": "state"},
        {"critic": "state", "share": "all", "agent_id": True, "anneal": True},
        {"env": "stochastic_predator_prey", "recurrent": True, "reward": "team"},
        {"env": UNEQUAL, "set": ("continuous=true",), "share": "none", "recurrent": True},
    ],
    ids=lambda changes: "-".join(changes),
)
def test_options(changes, tmp_path):
    """A run that is interrupted and resumed also ends like an uninterrupted one."""
    args = ippo.Args(**{**TINY, **changes, "run_dir": str(tmp_path / "whole")})
    result = ippo.train(args)
    half = ippo.Args(**{**TINY, **changes, "steps": 240, "run_dir": str(tmp_path / "cut")})
    if not args.anneal:  # the rate depends on the number of steps
        ippo.train(half)
        ippo.train(resumed(tmp_path / "cut", ippo.Args, progress=False, steps=600))
        policies = [read_policy(tmp_path / n / "policy.safetensors")[0] for n in ("whole", "cut")]
        for a, b in zip(*(p.parameters() for p in policies), strict=True):
            assert torch.equal(a, b)
    again = evaluate.evaluate(evaluate.Args(str(tmp_path / "whole"), env=args.env, json=True))
    error = (result["sd"] ** 2 / 20 + again["sd"] ** 2 / 1000) ** 0.5
    assert again["return"] == pytest.approx(result["return"], abs=5 * error + 1e-3)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"recurrent": True, "chunk": 7}, "chunk=7 must divide rounds=20"),
        ({"reward": "theirs"}, "reward='theirs' is unknown"),
        ({"critic": "all"}, "critic='all' is unknown"),
        ({"env": UNEQUAL, "share": "all"}, "share='all' needs agents with equal spaces"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_inconsistent_settings_are_errors(changes, said, tmp_path):
    with pytest.raises(ValueError, match=said):
        ippo.train(ippo.Args(**{**TINY, **changes, "run_dir": str(tmp_path / "run")}))


def policy_file(folder: Path, game: tuple[str, ...] = (), **changes) -> str:
    """A random policy for stochastic_coop_nav with the arguments `game`."""
    vec = make_game(ippo.Args(**TINY, set=game), 2, torch.device("cpu"))
    torch.manual_seed(5)
    path = folder / "first.safetensors"
    save_policy(path, Policy.of(vec, "role", **changes), {"id": vec.id})
    return str(path)


def test_training_begins_with_the_policy_of_a_file(tmp_path):
    """Until the critics have had their updates, the actors stay what they are in the file; then they change."""
    first = policy_file(tmp_path, hidden=(7, 9))
    for steps, same in ((240, True), (480, False)):
        run = tmp_path / str(steps)
        ippo.train(
            ippo.Args(
                **{**TINY, "steps": steps, "init": first, "critic_first": 2}, run_dir=str(run)
            )
        )
        before, after = (
            read_policy(p)[0].state_dict() for p in (first, run / "policy.safetensors")
        )
        assert before.keys() == after.keys()
        assert all(torch.equal(before[k], after[k]) for k in before) == same
        lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        assert [("value_loss" in x, "entropy" in x) for x in lines] == [(True, False)] * 2 + [
            (True, True)
        ] * (len(lines) - 2)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"recurrent": True}, "recurrent=False, but .* has a memory"),
        ({"last_action": True}, "PPO trains policies of bc"),
        ({"distribution": "greedy"}, "PPO trains policies of bc"),
    ],
)
def test_policies_that_cannot_be_trained_are_errors(changes, said, tmp_path):
    first = policy_file(tmp_path, hidden=(8,), **changes)
    with pytest.raises(ValueError, match=said):
        ippo.train(ippo.Args(**TINY, init=first, run_dir=str(tmp_path / "run")))


def test_a_policy_without_likelihoods_cannot_be_trained(tmp_path):
    """That of td3bc, cql and omar in continuous games."""
    game = ("continuous_actions=true",)
    first = policy_file(tmp_path, game, hidden=(8,), distribution="tanh")
    with pytest.raises(ValueError, match="PPO trains policies of bc"):
        ippo.train(ippo.Args(**TINY, set=game, init=first, run_dir=str(tmp_path / "run")))


def test_ippo_learns(tmp_path):
    """The return after 60,000 steps is far above that of random play (about -59)."""
    args = ippo.Args(
        steps=60_000, num_envs=100, rounds=20, entropy=0.0, lr=2e-3, gamma=0.95,
        eval_episodes=100, run_dir=str(tmp_path), progress=False,
    )  # fmt: skip
    assert ippo.train(args)["return"] > -50


@pytest.mark.parametrize(("recurrent", "low", "high"), [(False, 0.1, 0.65), (True, 0.95, 1)])
def test_only_recurrent_policies_remember_a_word_that_was_said_once(recurrent, low, high, tmp_path):
    """In torch and in NumPy, although agents miss rounds and episodes end within chunks."""
    args = ippo.Args(
        env=RECALL, steps=25_600, num_envs=64, rounds=20, hidden=(16,), lr=5e-3, epochs=5,
        eval_episodes=400, recurrent=recurrent, run_dir=str(tmp_path), progress=False,
    )  # fmt: skip
    assert low <= ippo.train(args)["win_rate"] <= high
    again = evaluate.evaluate(evaluate.Args(str(tmp_path), env=RECALL, episodes=400, json=True))
    assert low <= again["win_rate"] <= high


def test_win_rates_of_battles_are_reported(tmp_path):
    folder = tmp_path / "run"
    result = ippo.train(
        ippo.Args(**{**TINY, "env": "smac_3m", "steps": 2400, "rounds": 40, "run_dir": str(folder)})
    )
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert all(x["win_rate"] == x["battle_won"] for x in lines if x["episodes"])
    assert result["win_rate"] == result["metrics"]["battle_won"] < 1
    again = evaluate.evaluate(evaluate.Args(str(folder), episodes=30))
    low, high = again["win_interval"]
    assert 0 <= low <= again["win_rate"] == again["metrics"]["battle_won"] <= high <= 1
    assert again["metrics"]["team_return"] > again["return"]  # dead agents get no reward
    beaten = evaluate.evaluate(evaluate.Args("random", env="smac_3m", episodes=20))
    assert beaten["win_rate"] == 0 and beaten["win_interval"] == pytest.approx(
        [0, 0.1611], abs=1e-4
    )


def test_the_team_reward_includes_rounds_in_which_nobody_acts():
    sums = torch.tensor([[3.0, 1.0], [5.0, 4.0], [2.0, 4.0]])  # (T, E); copy 0 ends after round 1
    ended = torch.tensor([[False, False], [True, False], [False, False]])
    rollout: Any = SimpleNamespace(
        metrics={TEAM_RETURN: sums}, before={TEAM_RETURN: torch.tensor([1.0, 0.0])},
        terminated=ended, truncated=torch.zeros_like(ended), rewards=torch.zeros(3, 2, 4),
    )  # fmt: skip
    paid = rewards_of(rollout, "auto")
    assert paid.shape == (3, 2, 4)
    assert paid[..., 0].tolist() == [[2.0, 1.0], [2.0, 3.0], [2.0, 0.0]]


def test_the_team_return_continues_across_fragments_and_checkpoints():
    vec = mail_envs.make_vec("smac_3m", 2, player_function=mail_envs.Stochastic(0.5))
    rollout, rng = Rollout(vec, 20), torch.Generator().manual_seed(0)
    rollout.reset(0)

    def act(observations, mask, rng, *_):
        return torch.multinomial(mask.flatten(0, 1).float(), 1, generator=rng).view(2, 3)

    policy = SimpleNamespace(act=act)
    total = torch.zeros(2)
    for _ in range(2):
        rollout.collect(policy, rng)
        total += rewards_of(rollout, "team")[..., 0].sum(0)
    other = Rollout(vec, 20)
    other.load_state_dict(rollout.state_dict())
    assert torch.equal(other.after["team_return"], rollout.after["team_return"])
    assert total.max() > 0
    now = torch.as_tensor(np.array(vec.buffers.world["team_return"]))
    finished = torch.as_tensor(np.array(vec.clock["last_length"])) > 0
    assert torch.allclose(total[~finished], now[~finished], atol=1e-5)
    assert (total >= now - 1e-5).all()


@pytest.mark.parametrize(
    "wrong", [{"chunk": 0}, {"minibatches": 0}, {"rounds": 0}, {"log_every": 0}, {"hidden": ()}]
)
def test_settings_out_of_range_are_errors(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        ippo.Args(**wrong)
