"""DM²: what discriminators see and pay, demonstrations of each agent, and its relation to IPPO."""

from __future__ import annotations

import json
import shutil
from contextlib import nullcontext

import line_game
import pytest
import torch

import mail_envs
from demos.dataset import Demonstrations
from demos.record import record
from learners import dm2, ippo
from learners.lib.adversarial import REWARDS
from learners.lib.architectures import read_policy
from learners.lib.checkpoints import checkpoints, load_checkpoint, save_checkpoint
from learners.lib.game import make_game
from learners.lib.metrics_file import read_metrics
from learners.lib.rollout import Rollout
from learners.lib.settings import parse, resumed
from learners.lib.sources import known_references
from mail_envs.streams import stream_seed

CPU = torch.device("cpu")
TINY = {
    "steps": 480, "num_envs": 6, "rounds": 20, "chunk": 5, "hidden": (16,), "epochs": 2, "minibatches": 2,
    "anneal": False,
    "eval_episodes": 0, "checkpoint_every": 2, "log_every": 1, "progress": False,
}  # fmt: skip
DISCRIMINATORS = {"num_demos": 4, "disc_hidden": (8,), "disc_steps": 2, "disc_batch": 16}


@pytest.fixture(scope="module")
def sets(tmp_path_factory) -> dict[str, str]:
    """Demonstrations of the line game: both walk right, both walk left."""
    folder = tmp_path_factory.mktemp("demos")
    for name, action in (("right", 2), ("left", 0)):
        policy = line_game.walking(action, action)
        record("line_game", policy, 12, 0, folder / name, random_return=0.0)
    return {name: str(folder / name) for name in ("right", "left")}


@pytest.fixture(scope="module")
def smac(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("demos") / "smac"
    record("smac_3m", "scripted", 4, 0, path, random_return=0.0)
    return str(path)


def parts(demos, **changes):
    """A run's settings, its discriminators and one fragment."""
    args = dm2.Args(**{**TINY, **DISCRIMINATORS, "demos": demos, **changes})
    torch.manual_seed(0)
    vec = make_game(args, args.num_envs, CPU)
    agent = ippo.make_agent(vec, args, CPU)
    rollout = Rollout(vec, args.rounds, CPU, agent.policy.memory_size)
    rollout.reset(3)
    rollout.collect(agent.policy, torch.Generator().manual_seed(0))
    shown = dm2.demonstrated(Fake(args), vec)  # pyright: ignore[reportArgumentType]
    return args, dm2.Discriminators(shown, args, CPU), rollout


class Fake:
    """What `demonstrated` needs of a run."""

    def __init__(self, args):
        self.args, self.device, self.references = args, CPU, {"random": 0.0}


@pytest.mark.parametrize("recurrent", [False, True])
def test_without_imitation_it_is_ippo_number_for_number(recurrent, smac, tmp_path):
    shared = {**TINY, "env": "smac_3m", "recurrent": recurrent}
    ippo.train(ippo.Args(**shared, share="none", run_dir=str(tmp_path / "ippo")))
    own = {**shared, **DISCRIMINATORS, "demos": (smac,)}
    dm2.train(dm2.Args(**own, gail_weight=0.0, run_dir=str(tmp_path / "dm2")))
    dm2.train(dm2.Args(**own, gail_weight=0.3, run_dir=str(tmp_path / "paid")))
    agents, returns = {}, {}
    for name in ("ippo", "dm2", "paid"):
        tree = load_checkpoint(checkpoints(tmp_path / name)[-1])
        agents[name] = [x for part in ("policy",) for x in tree["parts"][part].values()]
        agents[name] += list(tree["parts"]["agent"]["critics"].values())
        lines = read_metrics(tmp_path / name / "metrics.jsonl")
        returns[name] = [line.get("return") for line in lines]
    assert returns["ippo"] == returns["dm2"]
    same = [torch.equal(a, b) for a, b in zip(agents["ippo"], agents["dm2"], strict=True)]
    assert all(same) and len(same) > 20
    other = [torch.equal(a, b) for a, b in zip(agents["ippo"], agents["paid"], strict=True)]
    assert not all(other)


@pytest.mark.parametrize("form", ["logit", "sigmoid"])
def test_rewards_are_those_of_what_the_agent_saw_before_it_acted(form, sets):
    _, discriminators, rollout = parts((sets["right"],), env="line_game")
    found = discriminators.rewards(rollout, form)
    for i, network in enumerate(discriminators.networks):
        with torch.no_grad():
            expected = REWARDS[form](network(rollout.observations[:-1, :, i])).squeeze(-1)
        assert torch.allclose(found[:, :, i], expected.clamp(-10, 10), atol=1e-6)
    assert found.std() > 0


def test_agents_that_do_not_act_are_neither_judged_nor_learned_from(smac):
    settings = {"env": "smac_3m", "player_function": "Stochastic(0.5)", "rounds": 60}
    with pytest.raises(ValueError, match="player function"):
        parts((smac,), **settings)  # demonstrations of another player function
    args, discriminators, rollout = parts((smac,), env="smac_3m", rounds=60)
    acts = rollout.learned_from()
    assert not acts.all() and not rollout.alive[:-1].all()
    found = discriminators.rewards(rollout, "logit")
    assert not found[~acts].any() and found[acts].all()
    after = []
    for garbage in (0.0, 7.0):
        _, again, rollout = parts((smac,), env="smac_3m", rounds=60)
        rollout.observations[:-1][~acts] = garbage
        again.update(rollout, args)
        after.append([p.detach().clone() for p in again.networks.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*after, strict=True))
    before = discriminators.networks.parameters()
    assert not all(torch.equal(a, b) for a, b in zip(before, after[0], strict=True))


def test_every_agent_learns_from_its_own_observations_in_its_own_set(sets):
    both = (sets["right"], sets["left"])
    _, discriminators, _ = parts(both, env="line_game")
    for i, path in enumerate(both):
        expected = Demonstrations.open(path).first(4).transitions().observations[:, i]
        assert torch.equal(discriminators.shown[i], torch.as_tensor(expected))
    with pytest.raises(ValueError, match="3 sets for 2 agents; give one set, or one for each"):
        parts((*both, sets["left"]), env="line_game")
    with pytest.raises(ValueError, match=r"demos=.* must have at least one set"):
        dm2.Args(demos=())


def test_shuffled_agents_learn_from_different_episodes(sets):
    whole, first = Demonstrations.open(sets["right"]), stream_seed(0, "demonstrations")
    picked = [whole.sample(4, first + i) for i in range(2)]
    assert set(picked[0].table().seeds) != set(picked[1].table().seeds)
    _, discriminators, _ = parts((sets["right"],), env="line_game", shuffle_agents=True)
    for i, episodes in enumerate(picked):
        expected = torch.as_tensor(episodes.transitions().observations[:, i])
        assert torch.equal(discriminators.shown[i], expected)


def test_discriminators_learn_to_tell_agent_and_demonstrator_apart(sets):
    args, discriminators, rollout = parts(
        (sets["right"],), env="line_game", disc_steps=100, gradient_penalty=0.0
    )
    metrics = discriminators.update(rollout, args)
    assert metrics["disc_loss"] < 1.3  # 2 log 2 = 1.386 at chance level
    line = torch.eye(line_game.FIELDS)
    for network in discriminators.networks:
        logits = network(line).squeeze(1)
        assert logits[6] > logits[3] > logits[0]


def test_unlike_demonstrators_are_imitated_without_actions_and_rewards(sets, tmp_path):
    args = dm2.Args(
        env="line_game", demos=(sets["right"], sets["left"]), num_demos=12, steps=12_000, num_envs=32, rounds=16,
        hidden=(32,), gail_weight=1.0, gradient_penalty=1.0, disc_steps=10, eval_episodes=0, run_dir=str(tmp_path), progress=False,
    )  # fmt: skip
    dm2.train(args)
    policy, _ = read_policy(tmp_path / "policy.safetensors")
    vec = mail_envs.make_vec("line_game", 64, array="torch")
    rollout = Rollout(vec, line_game.ROUNDS)
    rollout.reset(5)
    rollout.collect(policy, torch.Generator().manual_seed(0))
    last = rollout.final_observations[-1].argmax(-1).float().mean(0)  # the fields, 0 to 6
    assert last[0] > 5 and last[1] < 1
    lines = read_metrics(tmp_path / "metrics.jsonl")
    assert {"disc_loss", "disc_accuracy_expert", "gail_reward", "gail_reward_1"} <= lines[-1].keys()


def test_a_resumed_run_ends_like_an_uninterrupted_one(sets, tmp_path):
    own = {**TINY, **DISCRIMINATORS, "env": "line_game", "demos": ("random",)}
    dm2.train(dm2.Args(**own, run_dir=str(tmp_path / "whole")))
    dm2.train(dm2.Args(**{**own, "steps": 240}, run_dir=str(tmp_path / "cut")))
    dm2.train(resumed(tmp_path / "cut", dm2.Args, progress=False, steps=480))
    trees = [load_checkpoint(checkpoints(tmp_path / n)[-1])["parts"] for n in ("whole", "cut")]
    for part in ("policy", "discriminators"):
        a, b = (tree[part].get("networks", tree[part]) for tree in trees)
        assert a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def test_a_run_continues_on_another_kind_of_device(sets, tmp_path):
    """The states of random generators on CUDA have 16 bytes; here, they are written into the checkpoint."""
    own = {**TINY, **DISCRIMINATORS, "env": "line_game", "demos": (sets["right"],)}
    dm2.train(dm2.Args(**{**own, "steps": 240}, run_dir=str(tmp_path)))
    newest = checkpoints(tmp_path)[-1]
    tree, policy = load_checkpoint(newest), (newest / "policy.safetensors").read_bytes()
    for size, error in ((17, "state size to be 17"), (16, None)):
        shutil.rmtree(newest)
        tree["rng"] = torch.arange(16, dtype=torch.uint8)
        tree["parts"]["discriminators"]["rng"] = torch.arange(size, dtype=torch.uint8)
        save_checkpoint(tmp_path, 240, tree, lambda path: path.write_bytes(policy))
        args = resumed(tmp_path, dm2.Args, progress=False, steps=480)
        with pytest.raises(ValueError, match=error) if error else nullcontext():
            assert dm2.train(args)["steps"] == 480


def test_demonstrators_of_each_agent_are_recorded_first(sets, tmp_path):
    own = {
        **TINY,
        **DISCRIMINATORS,
        "env": "line_game",
        "steps": 120,
        "demos": ("random", sets["left"]),
    }
    dm2.train(dm2.Args(**own, run_dir=str(tmp_path)))
    assert len(Demonstrations.open(tmp_path / "demonstrations" / "0")) == 4
    config = (tmp_path / "config.yaml").read_text()
    assert "gail_weight: 0.1" in config and sets["left"] in config
    assert known_references(tmp_path)["random"] == 0.0  # those of the recorded set


def test_presets_of_the_paper():
    args = parse(dm2.Args, dm2.PRESETS, ["--preset", "3s_vs_4z", "--demos", "a", "b", "c"])
    assert (args.gail_weight, args.epochs, args.clip, args.recurrent) == (0.05, 15, 0.2, True)
    assert args.demos == ("a", "b", "c") and args.share == "none"
    json.dumps([parse(dm2.Args, dm2.PRESETS, ["--preset", name]).steps for name in dm2.PRESETS])
