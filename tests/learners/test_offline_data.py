"""What offline learners read: rewards and actions from disk, groups without data, and the game that is not played."""

from __future__ import annotations

import dataclasses
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import gymnasium
import numpy as np
import pytest
import torch
from offline_worlds import CPU
from sample_games import HIT, LastStanding

import mail_envs
from demos.dataset import Demonstrations
from demos.description import describe
from demos.episode import Episode
from demos.layout import DemonstrationError
from demos.policies import random_policy
from demos.record import record
from demos.rollouts import rollouts
from demos.writer import DemonstrationWriter
from learners import bc, cql, icq, mafis, mifq, td3bc
from learners.lib import offline
from learners.lib.architectures import read_policy, save_policy
from learners.lib.demonstrated import Demonstrated, Loaded
from learners.lib.expert_data import to_torch
from learners.lib.mlp import standardizer
from learners.lib.networks import Policy
from learners.lib.offline import OfflineSettings, Rewarded
from learners.lib.replay import sample_episodes, sample_transitions
from mail_envs.vector import VectorGame

FILE = {"id": "x", "arguments": {}, "player_function": None, "null_action": "null", "learner": "test"}  # fmt: skip


@pytest.fixture(scope="module")
def vec() -> VectorGame:
    """Fights with deaths, absent agents and forbidden actions; they end after different numbers of rounds."""
    return VectorGame(LastStanding(), mail_envs.Stochastic(0.8), 8, replayable=True)


@pytest.fixture(scope="module")
def fights(vec) -> list[Episode]:
    return list(rollouts(vec, random_policy(vec), np.arange(30)))


def stored(vec: VectorGame, path: Path, episodes: list[Episode]) -> Demonstrations:
    with DemonstrationWriter.create(path, describe(vec, "random", 0.0)) as writer:
        for episode in episodes:
            writer.append(episode)
    return Demonstrations.open(path)


# --------------------------------------------------------------------------------------------- rewards
@pytest.mark.parametrize("kind", ["own", "team"])
def test_rewards_from_disk_are_those_in_memory(vec, fights, kind, tmp_path):
    """Also those of agents that die in the last round: what follows is padding, and pays them nothing."""
    paid = [dataclasses.replace(e, rewards=e.participation.astype(np.float32)) for e in fights]
    assert any((~e.alive[-1] & (e.rewards[-1] > 0)).any() for e in paid)
    disk = Demonstrated(stored(vec, tmp_path / "set", paid), vec)
    args = OfflineSettings(gamma=0.9)
    a, b = (Rewarded(source, kind, args) for source in (disk, Loaded(disk)))
    assert a.scale == b.scale and torch.equal(a.rewards, b.rewards)


def test_rewards_of_a_share_of_the_rounds_are_those_of_whole_episodes(vec, fights, tmp_path):
    demos = stored(vec, tmp_path / "set", fights)
    kept = np.random.default_rng(0).random(int(demos.lengths.sum())) < 0.3
    part, whole = Demonstrated(demos, vec, kept=kept), Demonstrated(demos, vec)
    args = OfflineSettings(gamma=0.9, reward_scale="none")
    rewards = Rewarded(Loaded(part), "team", args, part.whole()).rewards
    expected, alone = (Rewarded(source, "team", args).rewards for source in (whole, part))
    assert torch.equal(rewards[part.acted], expected[whole.acted][torch.from_numpy(kept)])
    assert (rewards != alone)[part.acted].any()  # what follows a death is in other pieces


@pytest.mark.parametrize("players, warned", [("Synchronous", False), ("Stochastic(0.4)", True)])
def test_rewards_that_the_demonstrations_do_not_hold_are_said(players, warned, tmp_path, capsys):
    demos = str(tmp_path / "demos")
    function = mail_envs.Stochastic(0.4) if warned else mail_envs.Synchronous()
    record("smac_3m", "random", 20, 0, demos, player_function=function)
    settings = {"steps": 2, "num_demos": 20, "hidden": (8,), "eval_episodes": 0, "progress": False}
    td3bc.train(
        td3bc.Args(
            **settings,
            env="smac_3m",
            demos=demos,
            player_function=players,
            run_dir=str(tmp_path / "run"),
        )
    )
    said = " ".join(capsys.readouterr().out.split())
    assert ("the rest was paid in rounds in which nobody acts" in said) == warned


def test_actions_without_bounds_are_refused(vec):
    endless = SimpleNamespace(
        agents=["a", "b"], num_agents=2, discrete=False, observation_dims=[3, 3], action_dims=[2, 2], num_actions=2,
        observation_spaces={k: gymnasium.spaces.Box(-1, 1, (3,)) for k in "ab"},
        action_spaces={"a": gymnasium.spaces.Box(-1, 1, (2,)), "b": gymnasium.spaces.Box(-np.inf, 1, (2,))},
    )  # fmt: skip
    with pytest.raises(
        ValueError, match=r"the actions of b range from -inf to 1: .* finite bounds"
    ):
        Policy.of(endless, "none", hidden=(4,), distribution="tanh")
    Policy.of(endless, "none", hidden=(4,), distribution="gaussian")


class Elsewhere(torch.Tensor):
    """Stands for a tensor on a GPU, whose masks cannot choose among what is on the CPU."""

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        if func is torch.Tensor.to:
            return args[0].as_subclass(torch.Tensor)
        if func is torch.Tensor.__getitem__ and not isinstance(args[0], cls):
            raise RuntimeError("indices should be either on cpu or on the same device")
        return super().__torch_function__(func, types, args, kwargs or {})


class OnGpu(Demonstrated):
    """Demonstrations whose batches are elsewhere than their rows."""

    def read(self, rows, filled):
        batch = super().read(rows, filled)
        parts = {n: getattr(batch, n).as_subclass(Elsewhere) for n in ("rewards", "filled")}
        return dataclasses.replace(batch, **parts)


def test_rewards_of_batches_on_another_device_find_their_rows(vec, fights, tmp_path):
    demos = stored(vec, tmp_path / "set", fights)
    found, expected = (
        Rewarded(kind(demos, vec), "own", OfflineSettings()).rewards
        for kind in (OnGpu, Demonstrated)
    )
    assert isinstance(found, Elsewhere) and np.array_equal(found.numpy(), expected.numpy())


# ------------------------------------------------------------------------------------------ actions
def with_forbidden(episode: Episode) -> tuple[Episode, int, int]:
    """The episode with a forbidden action, as older recordings have them; its round and its agent."""
    acts = (episode.participation != 0) & episode.alive[:-1]
    assert episode.action_masks is not None
    t, i = np.argwhere(acts & (episode.action_masks[:-1, :, HIT] == 0))[0]
    actions = episode.actions.copy()
    actions[t, i] = HIT
    return dataclasses.replace(episode, actions=actions), int(t), int(i)


def test_forbidden_actions_are_not_learned_from(vec, fights, tmp_path):
    wrong, t, i = with_forbidden(fights[4])
    demos = stored(vec, tmp_path / "set", [*fights[:4], wrong, *fights[5:]])
    said = f"episode 4, round {t}: fighter_{i} chose the action 1, which its mask forbids"
    with pytest.raises(DemonstrationError, match=said):
        to_torch(demos.transitions(), vec, CPU)
    with pytest.raises(DemonstrationError, match=said):
        Loaded(Demonstrated(demos, vec))
    disk, rng = Demonstrated(demos, vec), torch.Generator().manual_seed(0)
    with pytest.raises(DemonstrationError, match=said):
        sample_transitions(disk, 500, rng)
    sample_episodes(Demonstrated(demos[:4], vec), 20, rng)  # what is not read is not checked


def test_what_the_absent_are_not_allowed_does_not_matter(vec, fights, tmp_path):
    """Their actions are stored as 0, and who is allowed nothing has no choice."""
    changed = []
    for e in fights:
        acts = (e.participation != 0) & e.alive[:-1]
        masks = e.action_masks.copy()
        masks[:-1][~acts] = [0, 1, 1]
        t, i = np.argwhere(acts)[0]
        masks[t, i] = 0
        changed.append(dataclasses.replace(e, action_masks=masks))
    demos = stored(vec, tmp_path / "set", changed)
    assert len(to_torch(demos.transitions(), vec, CPU)) == demos.lengths.sum()
    Loaded(Demonstrated(demos, vec))


# -------------------------------------------------------------------------------- groups without data
@pytest.mark.parametrize("rows", [0, 1])
def test_inputs_of_no_or_one_row_are_as_they_are(rows):
    mean, std = standardizer(torch.full((rows, 3), 7.0))
    assert mean.tolist() == [0.0] * 3 and std.tolist() == [1.0] * 3


def test_a_policy_whose_agents_have_no_data_can_be_read_again(tmp_path):
    policy = Policy([0, 1, 2], [4, 4, 4], [3, 3, 3], hidden=(8,), agent_id=True)
    acts = torch.tensor([[[0, 0, 1], [0, 1, 1]]], dtype=torch.bool)
    offline.standardize(policy, torch.randn(1, 2, 3, 4), acts)
    save_policy(tmp_path / "policy.safetensors", policy, FILE)
    back = read_policy(tmp_path / "policy.safetensors")[0]
    seen = torch.randn(5, 3, 4)
    assert torch.equal(back.act(seen, None, None), policy.act(seen, None, None))
    assert policy.networks[2].std[:4].min() < 1  # it has two rows


# ------------------------------------------------------------------------------------------ the game
class Stop(Exception):
    pass


@pytest.mark.parametrize(("module", "args"), [
    (offline, td3bc.Args()), (bc, bc.Args()), (mafis, mafis.Args(offline=True)), (mifq, mifq.Args(offline=True)),
])  # fmt: skip
def test_a_game_that_is_not_played_is_on_the_cpu_also_where_networks_are_on_a_gpu(
    module, args, monkeypatch
):
    """Simulators run nowhere else."""

    @contextmanager
    def run(learner, args):
        yield SimpleNamespace(args=args, device=torch.device("cuda"), rng=None)

    asked = {}

    def make_vec(id, **arguments):
        asked.update(arguments)
        raise Stop

    monkeypatch.setattr(module, "Run", run)
    monkeypatch.setattr(mail_envs, "make_vec", make_vec)
    with pytest.raises(Stop):
        if module is offline:
            offline.learn("td3bc", args, td3bc.Learner)
        else:
            module.train(args)
    assert asked["device"] == "cpu" and asked["num_envs"] == 1


@pytest.mark.parametrize(("module", "changes"), [
    (icq, {}), (cql, {"variant": "qmix"}), (cql, {"variant": "counterfactual"}),
])  # fmt: skip
def test_own_rewards_are_refused_where_the_teams_values_are_learned(module, changes, tmp_path):
    args = module.Args(env="coop_nav", reward="own", run_dir=str(tmp_path / "run"), **changes)
    with pytest.raises(ValueError, match=r"--reward own: .* learns the value of the team"):
        module.train(args)
