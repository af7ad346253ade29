"""Small worlds without a simulator: what a learner needs to know of a game, and episodes as a source of sequences.

`TABULAR` is a game of 24 states and two agents with four actions each, whose soft-optimal policies are known exactly.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import gymnasium
import numpy as np
import torch
from torch import Tensor

from learners.lib.batch import Batch
from learners.lib.replay import PLAYED, SEEN, picked
from mail_envs import Stochastic, Synchronous

Box: Any = gymnasium.spaces.Box
Discrete: Any = gymnasium.spaces.Discrete


def world(
    agents: int, size: int, actions: int, state: int, discrete=True, synchronous=True, **more
):
    """What learners ask of a `VectorGame`; `actions`: their number, or that of the components of an action."""
    names = [f"agent_{i}" for i in range(agents)]
    space = Discrete(actions) if discrete else Box(-1, 1, (actions,))
    return SimpleNamespace(
        agents=names, num_agents=agents, observation_dims=[size] * agents, action_dims=[actions] * agents,
        num_actions=actions, discrete=discrete, observation_spaces=dict.fromkeys(names, Box(-9, 9, (size,))),
        action_spaces=dict.fromkeys(names, space), state_space=Box(-9, 9, (state,)), max_rounds=1000,
        limit_is_end=False, player_function=Synchronous() if synchronous else Stochastic(0.5), **more,
    )  # fmt: skip


class Episodes:
    """Episodes as a source; columns (K, T + 1, ...) of what was seen, (K, T, ...) of what was done."""

    def __init__(self, **columns: Tensor):
        K, T = columns["actions"].shape[:2]
        acted = torch.ones(K, T + 1, dtype=torch.bool)
        acted[:, T] = False
        self.first, self.length = torch.arange(K) * (T + 1), torch.full((K,), T)
        N = columns["observations"].shape[2]
        everybody = torch.ones(K, T + 1, N, dtype=torch.bool)
        nothing = torch.zeros(K, T, dtype=torch.bool)
        columns = {
            "states": torch.zeros(K, T + 1, 0), "alive": everybody, "participation": everybody,
            "round": torch.arange(T + 1, dtype=torch.int32).expand(K, -1), "rewards": torch.zeros(K, T, N),
            "terminated": nothing, "truncated": nothing, **columns,
        }  # fmt: skip
        self.tensors = {"memory": torch.zeros(K * (T + 1), N, 0)}
        for name in (*SEEN, *PLAYED):
            if (x := columns.get(name)) is not None:
                full = x if x.shape[1] == T + 1 else torch.cat([x, torch.zeros_like(x[:, :1])], 1)
                self.tensors[name] = full.flatten(0, 1)
        self.begins: dict[tuple[int, int], Tensor] = {}
        self.acted, self.round = acted.flatten(), self.tensors["round"]

    def after(self, rows: Tensor, steps: Tensor) -> Tensor:
        return (rows + steps).clamp(max=len(self.acted) - 1)

    def episodes(self) -> tuple[Tensor, Tensor]:
        return self.first, self.length

    def read(self, rows: Tensor, filled: Tensor) -> Batch:
        return picked(self.tensors, rows, filled)


class Tabular:
    """S states, two agents that see the state, A actions each. Where an agent plays the right action of the state it
    earns a reward and helps to move on to the next state; else the state is drawn anew.
    """

    S, A, GAMMA, T = 24, 4, 0.95, 30

    def __init__(self, seed: int = 0):
        rng = np.random.default_rng(seed)
        S, A = self.S, self.A
        self.right = rng.integers(A, size=(S, 2))
        good = np.arange(A) == self.right[..., None]  # (S, 2, A)
        both = good[:, 0, :, None].astype(float) + good[:, 1, None, :]  # (S, A, A)
        self.reward = both * rng.uniform(0.2, 0.8, (S, 1, 1))
        stay = 0.45 * both[..., None]  # probability of the next state
        self.moves = stay * np.eye(S)[(np.arange(S) + 1) % S][:, None, None] + (1 - stay) / S

    def values_of(self, policies: np.ndarray) -> float:
        """Mean return of T rounds from a random state, with policies (S, 2, A)."""
        joint = policies[:, 0, :, None] * policies[:, 1, None, :]
        reward = (joint * self.reward).sum((1, 2))
        moves = np.einsum("sab,sabn->sn", joint, self.moves)
        value = np.zeros(self.S)
        for _ in range(self.T):
            value = reward + moves @ value
        return float(value.mean())

    def expert(self, temperature: float = 0.3) -> np.ndarray:
        """Soft-optimal policies (S, 2, A), each agent's given the other's."""
        policies = np.full((self.S, 2, self.A), 1 / self.A)
        value = np.zeros((2, self.S))
        for _ in range(300):
            for i in range(2):
                other = policies[:, 1 - i]
                pick = "sab,sb->sa" if i == 0 else "sab,sa->sb"
                q = np.einsum(pick, self.reward + self.GAMMA * self.moves @ value[i], other)
                best = q.max(1, keepdims=True)
                weights = np.exp((q - best) / temperature)
                value[i] = best[:, 0] + temperature * np.log(weights.sum(1))
                policies[:, i] = weights / weights.sum(1, keepdims=True)
        return policies

    def play(self, policies: np.ndarray, count: int, seed: int) -> Episodes:
        """`count` episodes of T rounds."""
        rng, S = np.random.default_rng(seed), self.S
        state, seen, done = rng.integers(S, size=count), [], []
        for _ in range(self.T):
            draws = rng.random((count, 2, 1))
            actions = (draws > policies[state].cumsum(-1)).sum(-1).clip(max=self.A - 1)
            seen.append(state)
            done.append(actions)
            chances = self.moves[state, actions[:, 0], actions[:, 1]].cumsum(-1)
            state = (rng.random((count, 1)) > chances).sum(-1).clip(max=S - 1)
        states = torch.from_numpy(np.stack([*seen, state], 1))
        shown = torch.nn.functional.one_hot(states, S).float()
        mask = torch.ones(count, self.T + 1, 2, self.A, dtype=torch.int8)
        return Episodes(
            observations=shown.unsqueeze(2).expand(-1, -1, 2, -1), states=shown, action_mask=mask,
            actions=torch.from_numpy(np.stack(done, 1)).long(),
        )  # fmt: skip

    def world(self):
        return world(2, self.S, self.A, self.S)


def policies_of(policy, size: int, agents: int) -> np.ndarray:
    """Probabilities (S, N, A) of actions in every state of a tabular game whose agents see the state one-hot."""
    seen = torch.eye(size).unsqueeze(1).expand(-1, agents, -1)
    with torch.no_grad():
        out, _ = policy.unroll(
            seen.unsqueeze(0), torch.zeros(size, agents, 0), torch.ones(1, size, agents).bool()
        )
    return torch.softmax(out[0], -1).double().numpy()


class PointMass:
    """A mass on a line, pushed with a force in [-1, 1]; the expert brings it to 0. Episodes of T rounds."""

    T, DT = 20, 0.3

    def world(self):
        return world(1, 2, 1, 2, discrete=False)

    def expert(self, seen: Tensor) -> Tensor:
        return (-1.5 * seen[:, 0] - 1.8 * seen[:, 1]).clamp(-1, 1)

    def play(
        self, policy: Callable[[Tensor], Tensor], count: int, seed: int
    ) -> tuple[Episodes, float]:
        """`count` episodes of a policy, from (count, 2) to forces (count,), and its mean cost x^2 per round."""
        rng = torch.Generator().manual_seed(seed)
        x, v = torch.rand(count, generator=rng) * 2 - 1, torch.zeros(count)
        seen, done, cost = [torch.stack([x, v], 1)], [], 0.0
        for _ in range(self.T):
            force = policy(seen[-1]).clamp(-1, 1)
            done.append(force)
            v = v + self.DT * force
            x = x + self.DT * v
            seen.append(torch.stack([x, v], 1))
            cost += float(x.square().mean()) / self.T
        observations = torch.stack(seen, 1)
        actions = torch.stack(done, 1).view(count, self.T, 1, 1)
        return Episodes(
            observations=observations.unsqueeze(2), states=observations, actions=actions
        ), cost
