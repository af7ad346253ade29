"""PPO as a single-file learner has it: B players in parallel, one policy, everything in one loop.

The players come from SuperSuit or straight from `make_vec`. The one line that asynchronous games ask for: rows
of players that do not act are left out of the loss, while their values run through all rounds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributions import Categorical

ROUNDS = 64  # per update
EPOCHS, MINIBATCHES = 4, 4
GAMMA, LAMBDA, CLIP = 0.99, 0.95, 0.2
LEARNING_RATE, ENTROPY_WEIGHT, VALUE_WEIGHT, MAX_NORM = 1e-3, 0.01, 0.5, 0.5


class Seen(NamedTuple):
    """What B players see after a round."""

    observations: np.ndarray  # float32 (B, D)
    acts: np.ndarray  # bool (B,)
    rewards: np.ndarray  # float32 (B,)
    done: np.ndarray  # bool (B,)


class GymnasiumPlayers:
    """A vector environment whose infos are a list with an entry per player, as SuperSuit makes them."""

    def __init__(self, envs: Any):
        self.envs, self.num_players = envs, envs.num_envs
        self.num_observations = envs.observation_space.shape[-1]
        self.num_actions = int(envs.action_space.n)

    def reset(self, seed: int) -> Seen:
        observations, infos = self.envs.reset(seed=seed)
        nothing = np.zeros(self.num_players, np.float32)
        return Seen(observations, self._acts(infos), nothing, nothing > 0)

    def step(self, actions: np.ndarray) -> Seen:
        observations, rewards, terminated, truncated, infos = self.envs.step(actions)
        return Seen(observations, self._acts(infos), rewards, (terminated | truncated) > 0)

    def _acts(self, infos: list[dict]) -> np.ndarray:
        return np.array([info["participates"] for info in infos])


class VectorPlayers:
    """The N agents of E copies of a game from `mail_envs.make_vec`: B = E N players."""

    def __init__(self, vector: Any):
        self.vector = vector
        self.num_players = vector.num_envs * vector.num_agents
        self.num_observations, self.num_actions = max(vector.observation_dims), vector.num_actions

    def reset(self, seed: int) -> Seen:
        observations, info = self.vector.reset(seed=seed)
        nothing = np.zeros(self.num_players, np.float32)
        return self._seen(observations, info, nothing, nothing > 0)

    def step(self, actions: np.ndarray) -> Seen:
        actions = actions.reshape(self.vector.num_envs, -1)
        observations, rewards, terminated, truncated, info = self.vector.step(actions)
        done = np.repeat(terminated | truncated, self.vector.num_agents)
        return self._seen(observations, info, rewards.reshape(-1).copy(), done)

    def _seen(self, observations, info, rewards, done) -> Seen:
        flat = observations.reshape(self.num_players, -1).copy()
        return Seen(flat, info["participation"].reshape(-1) > 0, rewards, done)


class Agent(nn.Module):
    def __init__(self, num_observations: int, num_actions: int, width: int = 64):
        super().__init__()
        self.actor = _network(num_observations, num_actions, width)
        self.critic = _network(num_observations, 1, width)

    def forward(self, observations: Tensor) -> tuple[Categorical, Tensor]:
        return Categorical(logits=self.actor(observations)), self.critic(observations)[..., 0]


def _network(inputs: int, outputs: int, width: int) -> nn.Module:
    return nn.Sequential(
        nn.Linear(inputs, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh(), nn.Linear(width, outputs)
    )  # fmt: skip


@dataclass
class Progress:
    """What training leaves behind: episode returns of players, losses per update, and the agent."""

    agent: Agent
    returns: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)


def train(players: Any, updates: int, seed: int = 0) -> Progress:
    torch.manual_seed(seed)
    agent = Agent(players.num_observations, players.num_actions)
    optimizer = torch.optim.Adam(agent.parameters(), lr=LEARNING_RATE)
    progress, seen = Progress(agent), players.reset(seed)
    running = np.zeros(players.num_players)
    for _ in range(updates):
        rows, seen = rollout(players, agent, seen, running, progress.returns)
        advantages = estimate_advantages(rows, agent, seen)
        progress.losses.append(update(agent, optimizer, rows, advantages))
    return progress


def rollout(players, agent, seen: Seen, running: np.ndarray, returns: list[float]):
    """Play ROUNDS rounds; columns of tensors (T, B), and what is seen after the last round."""
    rows = []
    for _ in range(ROUNDS):
        observations = torch.from_numpy(np.asarray(seen.observations, np.float32))
        with torch.no_grad():
            policy, values = agent(observations)
            actions = policy.sample()
        acts = torch.from_numpy(seen.acts)
        seen = players.step(actions.numpy())
        paid, done = (torch.from_numpy(np.asarray(x)) for x in (seen.rewards, seen.done))
        rows.append((observations, actions, policy.log_prob(actions), values, acts, paid, done))
        running += seen.rewards
        returns += running[seen.done].tolist()
        running[seen.done] = 0
    return [torch.stack(column) for column in zip(*rows, strict=True)], seen


def estimate_advantages(rows, agent, seen: Seen) -> Tensor:
    """Generalized advantage estimates through all rounds, (T, B)."""
    _, _, _, values, _, rewards, done = rows
    with torch.no_grad():
        following = agent(torch.from_numpy(np.asarray(seen.observations, np.float32)))[1]
    advantages, last = torch.zeros_like(values), torch.zeros_like(following)
    for t in reversed(range(ROUNDS)):
        goes_on = 1.0 - done[t].float()
        last = (
            rewards[t] + GAMMA * following * goes_on - values[t] + GAMMA * LAMBDA * goes_on * last
        )
        advantages[t], following = last, values[t]
    return advantages


def update(agent, optimizer, rows, advantages: Tensor) -> float:
    observations, actions, old, values, acts, _, _ = rows
    targets = advantages + values
    here = acts.bool()  # players that do not act chose nothing: their rows teach nothing
    columns = [x[here] for x in (observations, actions, old, advantages, targets)]
    total = 0.0
    for _ in range(EPOCHS):
        for chosen in torch.randperm(len(columns[0])).chunk(MINIBATCHES):
            loss = _loss(agent, *(x[chosen] for x in columns))
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(agent.parameters(), MAX_NORM)
            optimizer.step()
            total += loss.item() / (EPOCHS * MINIBATCHES)
    return total


def _loss(agent, observations, actions, old, advantages, targets) -> Tensor:
    policy, values = agent(observations)
    ratio = (policy.log_prob(actions) - old).exp()
    advantages = (advantages - advantages.mean()) / (advantages.std() + 1e-8)
    gain = torch.min(ratio * advantages, ratio.clamp(1 - CLIP, 1 + CLIP) * advantages).mean()
    error = (values - targets).square().mean()
    return -gain + VALUE_WEIGHT * error - ENTROPY_WEIGHT * policy.entropy().mean()
