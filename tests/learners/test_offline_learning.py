"""What the offline learners learn: on a tabular game the best policy within the data; and no values that are too high."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from offline_worlds import CPU, with_rewards
from small_worlds import Episodes, PointMass, Tabular, policies_of, world

from learners import cql, icq, omar, td3bc
from learners.lib import offline
from learners.lib.offline import Rewarded

FORM: dict[str, Any] = {"hidden": (64,), "gamma": Tabular.GAMMA, "lr": 5e-3, "target_rate": 0.05}
SMALL_MIXER: dict[str, Any] = {"alpha": 1.0, "hyper_hidden": 16, "embed": 8}


def trained(make: Any, vec: Any, args: Any, episodes: Episodes, steps: int) -> Any:
    """The learner after some gradient steps, and the figures of the last one."""
    torch.manual_seed(0)
    source = Rewarded(episodes, "team" if args.team else "own", args)
    learner, rng, found = make(vec, args, source, CPU), torch.Generator().manual_seed(0), {}
    for _ in range(steps):
        found |= learner.update(offline.sample(source, vec, args, rng), rng)
    return learner, found


def best_within(game: Tabular, allowed: np.ndarray) -> np.ndarray:
    """The best policies (S, 2, A) of the team that only take allowed actions, bool (S, 2, A)."""
    joint = allowed[:, 0, :, None] & allowed[:, 1, None, :]
    value = np.zeros(game.S)
    for _ in range(300):
        q = np.where(joint, game.reward + game.GAMMA * game.moves @ value, -np.inf)
        value = q.max((1, 2))
    best = np.unravel_index(q.reshape(game.S, -1).argmax(1), (game.A, game.A))
    return np.stack([np.eye(game.A)[b] for b in best], 1)


@pytest.mark.parametrize(("make", "args"), [
    (td3bc.Learner, td3bc.Args(**FORM, alpha=7.0)),
    (cql.make, cql.Args(**FORM, alpha=1.0)), (cql.make, cql.Args(**FORM, **SMALL_MIXER, variant="qmix")),
    (cql.make, cql.Args(**FORM, **SMALL_MIXER, variant="counterfactual")),
    (icq.Learner, icq.Args(**FORM, lam=0.0, temperature=1.0)), (omar.make, omar.Args(**FORM, alpha=1.0)),
])  # fmt: skip
def test_learners_find_the_best_policy_within_the_data(make, args):
    """In a third of the states agent 0's best action was never taken. All choices there but two must be recorded ones."""
    game = Tabular()
    allowed = np.ones((game.S, 2, game.A), bool)
    allowed[np.arange(0, game.S, 3), 0, game.right[::3, 0]] = False
    behavior = allowed / allowed.sum(-1, keepdims=True)
    episodes = with_rewards(game, game.play(behavior, 100, 1))
    learner, _ = trained(make, game.world(), args, episodes, 300)
    chosen = policies_of(learner.policy, game.S, 2).argmax(-1)
    best, low = game.values_of(best_within(game, allowed)), game.values_of(behavior)
    found = game.values_of(np.eye(game.A)[chosen])
    assert (found - low) / (best - low) > 0.8
    assert (~np.take_along_axis(allowed, chosen[..., None], -1)).sum() <= 2


def narrow() -> tuple[Any, Episodes]:
    """A poor and narrow data set: random observations, one action that is always taken, and rewards between 0 and 1."""
    rng = torch.Generator().manual_seed(0)
    K, T, N, D = 30, 12, 2, 6
    seen = torch.randn(K, T + 1, N, D, generator=rng)
    rewards = torch.rand(K, T, 1, generator=rng).expand(-1, -1, N).clone()
    actions = torch.full((K, T, N, 2), -0.3)
    episodes = Episodes(observations=seen, states=seen[:, :, 0], rewards=rewards, actions=actions)
    return world(N, D, 2, D, discrete=False), episodes


def value_of_play(learner: Any, episodes: Episodes) -> float:
    """Mean value that the learner gives to what its policy would do, in the rounds of the data."""
    rows, _ = offline.some_rounds(episodes)
    critics = learner.nets.online["critics"]
    critic = (critics.critics if hasattr(critics, "critics") else critics)[0]
    with torch.no_grad():
        out = offline.outputs_of(learner.policy, rows)
        return float(critic(rows, offline.actions_of(learner.policy, out)).mean())


OVER: dict[str, Any] = {
    "hidden": (32,), "gamma": 0.95, "lr": 3e-3, "target_rate": 0.05, "batch": 32, "reward_scale": "none",
}  # fmt: skip


@pytest.mark.parametrize(("make", "args", "sound"), [
    (cql.make, cql.Args(**OVER, samples=4, alpha=0.0), False), (cql.make, cql.Args(**OVER, samples=4), True),
    (td3bc.Learner, td3bc.Args(**OVER, alpha=1e6), False), (td3bc.Learner, td3bc.Args(**OVER, alpha=0.5), True),
    (omar.make, omar.Args(**OVER, samples=4, candidates=8), True), (icq.Learner, icq.Args(**OVER), True),
])  # fmt: skip
def test_values_of_actions_that_were_not_taken_are_not_too_high(make, args, sound):
    """No return is above 20. Without CQL's excess and without TD3-BC's distance from the data, values are."""
    vec, episodes = narrow()
    learner, _ = trained(make, vec, args, episodes, 300)
    found = value_of_play(learner, episodes)
    assert 0 < found < 12 if sound else found > 20


@pytest.mark.parametrize(("make", "args"), [
    (td3bc.Learner, td3bc.Args), (cql.make, cql.Args), (icq.Learner, icq.Args), (omar.make, omar.Args),
])  # fmt: skip
def test_continuous_policies_are_better_than_the_data(make, args):
    game = PointMass()
    rng = torch.Generator().manual_seed(3)
    episodes, cost = game.play(
        lambda seen: 0.4 * game.expert(seen) + torch.randn(len(seen), generator=rng) * 0.5, 60, 0
    )
    position = episodes.tensors["observations"][:, 0, 0]
    episodes.tensors["rewards"] = -torch.cat([position[1:], position[:1]]).square().unsqueeze(1)
    form: dict[str, Any] = {**FORM, "gamma": 0.9, "batch": 128, "lr": 3e-3}
    more = {"alpha": 0.3, "samples": 4} if make in (cql.make, omar.make) else {}
    learner, _ = trained(make, game.world(), args(**form, **more), episodes, 300)

    def play(seen: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return learner.policy.act(seen.unsqueeze(1), None, None)[:, 0, 0]

    assert game.play(play, 60, 1)[1] < 0.7 * cost
