"""PPO in one file: B players in parallel, one policy, one loop.

The players come from SuperSuit or straight from `make_vec`. Asynchronous games change one line: rows of players that
do not act are left out of the loss, while values and advantages run through all rounds. An episode that the time limit
cuts short has not terminated: its last round bootstraps from the value of the final observation.
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
    terminated: np.ndarray  # bool (B,)
    truncated: np.ndarray  # bool (B,)
    final: np.ndarray  # float32 (B, D): an ended episode's last observation; zeros elsewhere


class GymnasiumPlayers:
    """A vector environment whose infos are a list with an entry per player, as SuperSuit makes them."""

    def __init__(self, envs: Any):
        self.envs, self.num_players = envs, envs.num_envs
        self.num_observations = envs.observation_space.shape[-1]
        self.num_actions = int(envs.action_space.n)

    def reset(self, seed: int) -> Seen:
        observations, infos = self.envs.reset(seed=seed)
        nothing = np.zeros(self.num_players, np.float32)
        nowhere = nothing > 0
        return Seen(
            observations, self._acts(infos), nothing, nowhere, nowhere, np.zeros_like(observations)
        )

    def step(self, actions: np.ndarray) -> Seen:
        observations, rewards, terminated, truncated, infos = self.envs.step(actions)
        nothing = np.zeros_like(observations[0])
        final = np.stack([info.get("terminal_observation", nothing) for info in infos])
        return Seen(observations, self._acts(infos), rewards, terminated > 0, truncated > 0, final)

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
        nothing = np.zeros((self.vector.num_envs, self.vector.num_agents), np.float32)
        nowhere = nothing[:, 0] > 0
        return self._seen(observations, nothing, nowhere, nowhere, info)

    def step(self, actions: np.ndarray) -> Seen:
        return self._seen(*self.vector.step(actions.reshape(self.vector.num_envs, -1)))

    def _seen(self, observations, rewards, terminated, truncated, info) -> Seen:
        """An environment's arrays, a row per player; the next step overwrites them, so they are copied."""
        done = np.repeat(terminated | truncated, self.vector.num_agents)
        final = info["final_observation"].reshape(self.num_players, -1) * done[:, None]
        return Seen(
            observations.reshape(self.num_players, -1).copy(),
            info["participation"].reshape(-1) > 0,
            rewards.reshape(-1).copy(),
            np.repeat(terminated, self.vector.num_agents),
            np.repeat(truncated, self.vector.num_agents),
            final,
        )


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
        paid, terminated, truncated, final = (torch.from_numpy(np.asarray(x)) for x in seen[2:])
        with torch.no_grad():
            beyond = agent.critic(final.float())[..., 0] * (truncated & ~terminated)
        done = terminated | truncated
        rows.append(
            (observations, actions, policy.log_prob(actions), values, acts, paid, done, beyond)
        )
        running += seen.rewards
        returns += running[done.numpy()].tolist()
        running[done.numpy()] = 0
    return [torch.stack(column) for column in zip(*rows, strict=True)], seen


def estimate_advantages(rows, agent, seen: Seen) -> Tensor:
    """Generalized advantage estimates through all rounds, (T, B).

    After an end the next row is another episode's. What counts there is `beyond`, the value of the final
    observation of an episode that was cut short, 0 of one that has terminated.
    """
    _, _, _, values, _, rewards, done, beyond = rows
    with torch.no_grad():
        following = agent(torch.from_numpy(np.asarray(seen.observations, np.float32)))[1]
    advantages, last = torch.zeros_like(values), torch.zeros_like(following)
    for t in reversed(range(ROUNDS)):
        following = torch.where(done[t], beyond[t], following)
        last = last.masked_fill(done[t], 0.0)
        last = rewards[t] + GAMMA * following - values[t] + GAMMA * LAMBDA * last
        advantages[t], following = last, values[t]
    return advantages


def update(agent, optimizer, rows, advantages: Tensor) -> float:
    observations, actions, old, values, acts, *_ = rows
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
