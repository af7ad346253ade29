"""MILD²: the joint discriminator, its objectives and rewards, masks, ablations, and whole runs."""

from __future__ import annotations

import json
import math
from pathlib import Path

import matrix_game
import numpy as np
import pytest
import torch

import mail_envs
from demos.dataset import Demonstrations
from demos.record import record
from learners import evaluate, ippo, mild2, report
from learners.lib import adversarial, agent_figures, generators
from learners.lib.actor_critic import ActorCritic
from learners.lib.architectures import read_policy
from learners.lib.checkpoints import checkpoints, load_checkpoint
from learners.lib.expert_data import to_torch
from learners.lib.game import make_game
from learners.lib.joint_discriminator import (
    Attention,
    IndependentDiscriminator,
    JointDiscriminator,
    PairInputs,
    bounded,
)
from learners.lib.metrics_file import read_metrics
from learners.lib.rollout import Rollout
from learners.lib.settings import parse, resumed

CPU = torch.device("cpu")
UNEQUAL = str(Path(__file__).resolve().parents[1] / "unequal_game.py")
TINY = {
    "steps": 480, "num_envs": 6, "rounds": 20, "width": 16, "heads": 2, "epochs": 2, "minibatches": 2,
    "eval_episodes": 0, "checkpoint_every": 2, "log_every": 1, "progress": False, "num_demos": 4,
    "disc_batch": 32, "disc_warmup": 1, "disc_warmup_epochs": 2, "warm_start": 20, "disc_first": 1,
}  # fmt: skip
BOTH = ["joint", "independent"]


@pytest.fixture(scope="module")
def half(tmp_path_factory) -> str:
    """Demonstrations of smac_3m in which each agent acts in half of the rounds."""
    path = tmp_path_factory.mktemp("demos") / "half"
    player = mail_envs.Stochastic(0.5)
    record("smac_3m", "scripted", 4, 0, path, random_return=0.0, player_function=player)
    return str(path)


def pairs(discrete=True) -> PairInputs:
    """Three agents of one role."""
    return PairInputs([0, 0, 0], [4, 4, 4], [3, 3, 3], discrete)


def rounds(count=20) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(1)
    observations = torch.randn(count, 3, 4, generator=rng)
    actions = torch.randint(3, (count, 3), generator=rng)
    return *pairs()(observations, actions), torch.rand(count, 3, generator=rng) < 0.6


def judge(**form) -> JointDiscriminator:
    torch.manual_seed(0)
    return JointDiscriminator(pairs(), 16, heads=2, **form).eval()


# ------------------------------------------------------------------------------------- the networks
def test_spectral_norms_stay_at_their_initial_values():
    for spectral in (True, False):
        network = judge(spectral=spectral).train()
        layers = [x for x in network.modules() if isinstance(x, torch.nn.Linear)]
        before = [float(torch.linalg.matrix_norm(x.weight.detach(), 2)) for x in layers]
        optimizer = torch.optim.Adam(network.parameters(), 0.03)
        for _ in range(20):
            optimizer.zero_grad()
            network(*rounds()).square().sum().backward()
            optimizer.step()
        for _ in range(30 * spectral):  # power iteration catches up
            network(*rounds())
        after = [float(torch.linalg.matrix_norm(x.weight.detach(), 2)) for x in layers]
        same = [math.isclose(a, b, rel_tol=0.03) for a, b in zip(after, before)]
        assert len(layers) > 10 and all(same) is spectral, (before, after)


def test_a_bounded_layer_begins_unchanged_and_is_saved_with_its_norm():
    torch.manual_seed(0)
    layer = torch.nn.Linear(5, 7)
    before = layer.weight.detach().clone()
    bounded(layer)
    assert torch.allclose(layer.eval().weight, before, rtol=1e-2)
    other = torch.nn.Linear(5, 7)
    bounded(other)
    other.load_state_dict(layer.state_dict())
    assert torch.equal(other.eval().weight, layer.weight)


def test_l2_attention_prefers_the_nearest():
    torch.manual_seed(0)
    x = torch.randn(50, 4, 16)
    everybody = torch.ones(50, 4, 4, dtype=torch.bool)
    for kind in ("l2", "dot"):
        weights = Attention(16, 1, kind).weights(x, x, everybody)[:, 0]
        assert torch.allclose(weights.sum(-1), torch.ones(50, 4))
        apart = torch.cdist(x, x)
        order = weights.argsort(-1, descending=True)
        assert torch.equal(order, apart.argsort(-1)) is (kind == "l2")


@pytest.mark.parametrize("agent_id", [False, True])
def test_without_an_agent_index_agents_are_interchangeable(agent_id):
    network, (seen, done, counts) = judge(agent_id=agent_id), rounds()
    order = [2, 0, 1]
    before = network(seen, done, counts)
    after = network(seen[:, order], done[:, order], counts[:, order])
    assert torch.allclose(before[:, order], after, atol=1e-5) is not agent_id


def test_every_agent_s_action_matters_to_all_in_the_joint_discriminator_only():
    seen, done, counts = rounds()
    counts[:] = True
    other = done.clone()
    other[:, 2] = other[:, 2].roll(1, -1)
    for network in (judge(), judge(attention="dot"), IndependentDiscriminator(pairs(), 16)):
        change = (network(seen, done, counts) - network(seen, other, counts)).abs().amax(0)
        joint = isinstance(network, JointDiscriminator)
        assert change[2] > 1e-4 and bool((change[:2] > 1e-4).all()) is joint


@pytest.mark.parametrize("attention", ["l2", "dot"])
def test_it_matters_which_agent_did_which_action(attention):
    network, (seen, done, counts) = judge(attention=attention), rounds()
    counts[:] = True
    done[:, 0], done[:, 1] = torch.eye(3)[0], torch.eye(3)[1]
    swapped = done[:, [1, 0, 2]]
    change = (network(seen, done, counts) - network(seen, swapped, counts)).abs()
    assert (change[:, :2] > 1e-3).float().mean() > 0.95


@pytest.mark.parametrize("attention", ["l2", "dot"])
def test_agents_that_do_not_count_change_nothing_for_the_others(attention):
    network, (seen, done, counts) = judge(attention=attention), rounds()
    before = network(seen, done, counts)
    after = network(
        seen.masked_fill(~counts.unsqueeze(2), 9), done.masked_fill(~counts.unsqueeze(2), 1), counts
    )
    assert torch.equal(before[counts], after[counts]) and after.isfinite().all()
    assert not torch.allclose(before[counts], network(seen, done, torch.ones_like(counts))[counts])


def test_inputs_are_standardized_by_what_counts():
    inputs = PairInputs([0, 1], [2, 1], [3, 2], True)
    observations = torch.tensor([[[1.0, 5], [2, 0]], [[3.0, 5], [6, 0]], [[99.0, 9], [99, 0]]])
    inputs.normalize_with(observations, torch.tensor([[True, True], [True, True], [False, False]]))
    seen, done = inputs(observations[:2], torch.tensor([[2, 1], [0, 0]]))
    half = math.sqrt(0.5)
    assert torch.allclose(seen, torch.tensor([[[-half, 5], [-half, 0]], [[half, 5], [half, 0]]]))
    assert done.tolist() == [[[0, 0, 1], [0, 1, 0]], [[1, 0, 0], [1, 0, 0]]]


# ------------------------------------------------------------------------------ objectives and rewards
class OnGpu(torch.Tensor):
    """Stands for a tensor on a GPU, which cannot be written into one on the CPU."""

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        if func is torch.Tensor.to:
            return args[0].as_subclass(torch.Tensor)
        if func is torch.Tensor.__setitem__:
            raise RuntimeError("expected all tensors to be on the same device")
        return super().__torch_function__(func, types, args, kwargs or {})


def test_inputs_on_the_cpu_are_standardized_by_data_on_a_gpu():
    inputs, rows, counts = (
        PairInputs([0, 0, 1], [4, 4, 3], [2, 2, 2], True),
        torch.rand(8, 3, 4),
        torch.ones(8, 3) > 0,
    )
    inputs.normalize_with(rows.as_subclass(OnGpu), counts)
    assert torch.allclose(inputs.mean[2], rows[:, 2].mean(0))


def test_the_wasserstein_objective_is_its_formula():
    expert, policy = torch.tensor([[1.0, 4.0], [2.0, 7.0]]), torch.tensor([[0.0, 5.0], [5.0, 0.0]])
    counts = (
        torch.tensor([[True, True], [True, False]]),
        torch.tensor([[True, True], [False, True]]),
    )
    found = adversarial.wasserstein(expert, policy, counts, torch.tensor([0.5, 1.0]), slack=0.1)
    # In the first round one agent's scores differ by 0.5 too much, the other's may; in the second, none counts in both.
    excess = (0.5**2 + 0) / 2
    assert float(found) == pytest.approx(7 / 3 - 5 / 3 - excess / 0.4)


def test_the_wasserstein_objective_grows_with_the_distance_of_two_gaussians():
    values = []
    for shift in (0.5, 1.0, 2.0):
        torch.manual_seed(0)
        network = JointDiscriminator(pairs(), 16, spectral=False)
        optimizer, rng = (
            torch.optim.Adam(network.parameters(), 3e-3),
            torch.Generator().manual_seed(0),
        )
        counts, action = torch.ones(64, 3, dtype=torch.bool), torch.zeros(64, 3, 3)
        last = []
        for _ in range(120):
            x = torch.randn(2, 64, 3, 4, generator=rng)
            y = x[0] + shift
            apart = (y - x[1]).flatten(1).norm(dim=1)
            scores = [network(rows, action, counts) for rows in (y, x[1])]
            objective = adversarial.wasserstein(scores[0], scores[1], (counts, counts), apart, 0.01)
            optimizer.zero_grad()
            (-objective).backward()
            optimizer.step()
            last.append(float(objective.detach()))
        values.append(np.mean(last[-20:]))
    assert 0 < values[0] < 0.7 * values[1] < 0.5 * values[2], values


def made(folder: str, **changes):
    """An adversary for smac_3m, in which agents are dead or absent, and one fragment."""
    args = mild2.Args(
        **{**TINY, "env": "smac_3m", "player_function": "Stochastic(0.5)", "rounds": 60, **changes}
    )
    torch.manual_seed(0)
    vec = make_game(
        args, args.num_envs, CPU, "as_action" if args.participation == "as_action" else "null"
    )
    generator = generators.make_generator(vec, args, CPU)
    adversary = mild2.Adversary(
        vec, to_torch(Demonstrations.open(folder).transitions(), vec, CPU), args, CPU
    )
    rollout = Rollout(vec, args.rounds)
    rollout.reset(0)
    rollout.collect(generator.policy, torch.Generator().manual_seed(0))
    return args, adversary, rollout, rollout.learned_from(absent=args.participation == "as_action")


@pytest.mark.parametrize("discriminator", BOTH)
def test_rewards_are_those_of_the_same_round_s_pairs(discriminator, half):
    _, adversary, rollout, valid = made(half, discriminator=discriminator, reward="softplus")
    rng = torch.Generator().manual_seed(0)
    adversary.update(rollout, valid, 2, rng)
    found = adversary.rewards(rollout, valid, rng)
    assert torch.equal(found, adversary.rewards(rollout, valid, rng))  # nothing moves in evaluation
    assert not found[~valid].any() and (found[valid] > 0).all() and not valid.all()
    for t in (0, 7, 30):
        inputs = adversary.inputs(rollout.observations[t], rollout.actions[t])
        with torch.no_grad():
            scores = adversary.network(*inputs, valid[t])
        expected = torch.nn.functional.softplus(scores) * valid[t]
        assert torch.allclose(found[t], expected, atol=1e-6)


@pytest.mark.parametrize("distance", ["kl", "wasserstein"])
def test_the_discriminator_learns_only_from_what_counts(distance, half):
    after = []
    for garbage in (False, True):
        _, adversary, rollout, valid = made(half, distance=distance, gradient_penalty=0.1)
        if garbage:
            rollout.observations[:-1][~valid] = 7.0
            rollout.actions[~valid] = 1
            out = ~adversary.expert[2]
            adversary.expert[0][out], adversary.expert[1][out] = 7.0, 1
        before = [p.detach().clone() for p in adversary.network.parameters()]
        adversary.update(rollout, valid, 1, torch.Generator().manual_seed(0))
        after.append([p.detach().clone() for p in adversary.network.parameters()])
        assert any(not torch.equal(a, b) for a, b in zip(before, after[-1]))
    assert all(torch.allclose(a, b, atol=1e-4) for a, b in zip(*after, strict=True))


def test_absent_agents_are_paid_only_where_null_is_an_action(half):
    for participation in ("filter", "as_action"):
        _, adversary, rollout, valid = made(half, participation=participation)
        rewards = adversary.rewards(rollout, valid, torch.Generator())
        alive, acts = rollout.alive[:-1], rollout.participation[:-1]
        absent = alive & ~acts
        assert absent.any() and not rewards[~alive].any()
        assert bool(rewards[absent].all()) is (participation == "as_action")


def test_wasserstein_rewards_do_not_depend_on_the_scores_constant(half):
    _, adversary, rollout, valid = made(half, distance="wasserstein")
    found = []
    for shift in (0.0, 5.0):
        adversary.network.head[-1].bias.data += shift
        found.append(adversary.rewards(rollout, valid, torch.Generator().manual_seed(0)))
    assert torch.allclose(*found, atol=1e-4) and found[0][valid].std() > 0


def test_the_gradient_penalty_of_a_linear_discriminator(half):
    _, adversary, rollout, valid = made(half)
    few = tuple(x[:30] for x in mild2.rounds_of(rollout, valid))
    encoded = adversary._encoded(few)

    def linear(seen, done, counts):
        return 3 * seen[..., 0] + 4 * done[..., 0]

    adversary.network = linear  # pyright: ignore[reportAttributeAccessIssue]
    found = adversary._gradient_penalty(encoded, encoded, torch.Generator().manual_seed(0))
    expected = (5 * few[2].sum(1).float().sqrt() - 1).square().mean()
    assert float(found) == pytest.approx(float(expected), rel=1e-5)


# ------------------------------------------------------------------------------------------ whole runs
CASES = {
    "filter": {"player_function": "Stochastic(0.5)", "env": "smac_3m"},
    "as_action": {"player_function": "Stochastic(0.5)", "env": "smac_3m", "participation": "as_action"},
    "independent": {"env": "matrix_game", "generator": "independent", "discriminator": "independent"},
    "continuous": {"env": UNEQUAL, "set": ("continuous=true",), "distance": "wasserstein", "attention": "dot"},
    "encoder": {"env": "matrix_game", "generator": "joint", "encoder": "none", "discriminator": "independent"},
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_resumed_run_ends_like_an_uninterrupted_one(name, half, tmp_path):
    asynchronous = name in ("filter", "as_action")
    settings = {**TINY, **CASES[name], "demos": half if asynchronous else "random"}
    mild2.train(mild2.Args(**settings, run_dir=str(tmp_path / "whole")))
    mild2.train(mild2.Args(**{**settings, "steps": 240}, run_dir=str(tmp_path / "cut")))
    mild2.train(resumed(tmp_path / "cut", mild2.Args, progress=False, steps=480))
    trees = [load_checkpoint(checkpoints(tmp_path / n)[-1])["parts"] for n in ("whole", "cut")]
    for a, b in ([t["policy"] for t in trees], [t["adversary"]["network"] for t in trees]):
        assert a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)
    policy, metadata = read_policy(tmp_path / "whole" / "policy.safetensors")
    assert policy.joint is (CASES[name].get("generator", "joint") == "joint")
    assert metadata["null_action"] == ("as_action" if name == "as_action" else "null")
    last = read_metrics(tmp_path / "whole" / "metrics.jsonl")[-1]
    assert all(
        np.isfinite(last[k])
        for k in ("disc_loss", "value_loss" if policy.joint else "value_loss_0")
    )


@pytest.mark.parametrize("structure", BOTH)
def test_it_imitates_on_a_matrix_game_and_logs_every_agent(structure, tmp_path):
    record("matrix_game", matrix_game.solve, 50, 0, tmp_path / "demos", random_return=0.0)
    folder = tmp_path / "run"
    args = mild2.Args(
        env="matrix_game", demos=str(tmp_path / "demos"), num_demos=50, steps=16_000, rounds=8, lr=1e-3, width=32,
        disc_lr=1e-3, discriminator=structure, generator=structure, eval_episodes=200, log_every=5, warm_start=0,
        disc_first=0, cloning=0.0,
        run_dir=str(folder), progress=False,
    )  # fmt: skip
    assert mild2.train(args)["return"] > 0.9 * matrix_game.OPTIMUM
    again = evaluate.Args(str(folder), env="matrix_game", episodes=50, greedy=True, json=True)
    assert evaluate.evaluate(again)["return"] > 0.95 * matrix_game.OPTIMUM
    lines = read_metrics(folder / "metrics.jsonl")
    assert agent_figures.agents_in(lines) == 2
    for name in agent_figures.NAMES:
        assert agent_figures.histogram(lines, name, 1).sum() == pytest.approx(1.0)
    report.command(report.Args((folder,), tmp_path / "report", resamples=10, figures=True))
    (picture,) = (tmp_path / "report").glob("agents_*.png")
    assert picture.stat().st_size > 20_000


def test_metrics_of_agents_are_their_means_variances_and_histograms():
    values, valid = torch.zeros(2, 2, 2), torch.ones(2, 2, 2, dtype=torch.bool)
    values[..., 0], values[0, :, 1], values[1, 0, 1] = 1.0, 3.0, 5.0
    valid[1, 1, 1] = False
    found = agent_figures.by_agent("reward", values, valid)
    own = np.array([1, 1, 1, 1, 3, 3, 5.0])
    assert found["reward"] == pytest.approx(own.mean()) and found["reward_sd"] == pytest.approx(
        own.std(ddof=1)
    )
    assert found["reward_0"] == 1 and found["reward_var_0"] == 0
    assert found["reward_1"] == pytest.approx(11 / 3) and found["reward_var_1"] == pytest.approx(
        8 / 9
    )
    for i, x in enumerate((own[:4], own[4:])):
        z = (x - own.mean()) / own.std(ddof=1)
        expected = np.histogram(z, [-np.inf, *agent_figures.EDGES, np.inf])[0] / len(x)
        shares = [found[f"reward_share_{i}_{b}"] for b in range(len(expected))]
        assert np.allclose(shares, expected)
    assert agent_figures.by_agent("reward", values, torch.zeros_like(valid)) == {}
    assert agent_figures.agents_in([{"step": 1, "return": 2.0}]) == 0


def test_independent_generators_have_the_settings_of_the_transformer():
    args = mild2.Args(**{**TINY, "env": "matrix_game", "generator": "independent", "clip": 0.07})
    vec = make_game(args, 2, CPU)
    generator = generators.make_generator(vec, args, CPU)
    assert isinstance(generator, ActorCritic) and len(generator.critics) == 2
    settings = generators.separate(args)
    assert isinstance(settings, ippo.Args)
    assert (settings.clip, settings.value_clip, settings.hidden) == (0.07, 0.07, (16, 16))


@pytest.mark.parametrize("setting", [{"encoder": "none"}, {"decoder": "none"}, {"ratio": "action"}])
def test_settings_of_the_transformer_are_refused_without_one(setting):
    name = next(iter(setting))
    with pytest.raises(ValueError, match=f"{name}=.*generator=independent"):
        mild2.train(mild2.Args(env="smac_3m", generator="independent", **setting))


def test_presets_of_the_paper():
    found = {n: parse(mild2.Args, mild2.PRESETS, ["--preset", n]) for n in mild2.PRESETS}
    table = {
        "smac_3m": (15, 0.2, 500_000), "smac_3s5z": (10, 0.05, 3_000_000), "smac_6h_vs_8z": (15, 0.05, 10_000_000),
        "smac_MMM2": (5, 0.05, 10_000_000), "football": (10, 0.05, 10_000_000), "bidexhands": (5, 0.2, 50_000_000),
        "mamujoco": (10, 0.05, 10_000_000),
    }  # fmt: skip
    for name, figures in table.items():
        a = found[name]
        assert (a.epochs, a.clip, a.steps) == figures
        assert (a.disc_lr, a.disc_epochs, a.disc_warmup, a.disc_warmup_epochs) == (5e-6, 5, 10, 100)
        both = ("wasserstein", "dot") if name in ("bidexhands", "mamujoco") else ("kl", "l2")
        assert (a.distance, a.attention) == both
        assert a.disc_max_grad_norm == (10.0 if name.startswith("smac") else 0.5)
    assert found["bidexhands"].gamma == 0.96 and found["mamujoco"].minibatches == 40
    json.dumps([vars(a) for a in found.values()])


def test_the_discriminator_s_learning_rate_falls_in_steps(half):
    _, adversary, *_ = made(half, disc_lr=1.0, disc_lr_step=10, disc_lr_gamma=0.5)
    rates = []
    for update in (0, 9, 10, 25):
        adversary.set_rate(update)
        rates.append(adversary.optimizer.lr)
    assert rates == [1.0, 1.0, 0.5, 0.25]
