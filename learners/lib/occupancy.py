"""The occupancy measures that adversarial imitation compares.

An occupancy measure is a *sum* over an episode (Ho & Ermon, 2016, section 2); its mass is the episode's length.
Batches with equally many rounds from both sources compare averages instead, which is a different objective where
episodes can end early. Example: an expert that reaches its goal after 20 of 50 rounds spends half of its rounds on
the way, a policy that never reaches it only a fifth. The discriminator then mistakes fast motion far from the goal
for expert behavior, and agents learn to run away.

With `absorbing`, both measures extend to the time limit, as in Discriminator-Actor-Critic (Kostrikov et al., 2019):
a dead agent, and every agent after an early end, is in an absorbing state for the remaining rounds. The
discriminator learns this state like any other. Its input is the agent's last observation (zeros for dead agents in
most games), no action, and a flag; so it can tell lost from won episodes if the observation does. In an absorbing
state, a round has the weight of an average round before: the rate at which the agent acts in the demonstrations.
Games without deaths that always run to the limit have no absorbing states.

Every pair has a weight. A source's weights sum to its mean number of pairs per episode, so that pairs that occur
equally often per episode get a logit of 0, even if the sources differ in episode length or participation rate.
"""

from __future__ import annotations

import dataclasses
import math

import torch
from torch import Tensor

from learners.lib.discriminators import Discriminator
from learners.lib.expert_data import ExpertData
from learners.lib.rollout import Rollout

LENGTH_DECAY = 0.95  # per update in which episodes ended


@dataclasses.dataclass(frozen=True)
class Pairs:
    """Rounds of one source: observations (B, N, D), actions (B, N[, A]), participation bool (B, N).

    absorbing: bool (B, N), whether the agent is in an absorbing state. weights: (B, N), 0 for pairs that do not
    count. participation: agents whose actions the centralized and single discriminators see.
    """

    observations: Tensor
    actions: Tensor
    participation: Tensor
    absorbing: Tensor
    weights: Tensor

    def inputs(self, discriminator: Discriminator, g: int) -> tuple[Tensor, Tensor]:
        """Input rows of network g with nonzero weight, and the weights of their logits, (rows, outputs)."""
        weights = discriminator.weights(g, self.weights)
        rows = (weights > 0).any(1).nonzero().squeeze(1)
        x = (self.observations, self.actions, self.participation, self.absorbing)
        return discriminator.inputs(g, *x)[rows], weights[rows]

    def with_endings(self, observations: Tensor, weights: Tensor) -> Pairs:
        """These pairs and F absorbing states: observations (F, N, D), weights (F, N)."""
        count = len(observations)
        nothing = self.actions.new_zeros(count, *self.actions.shape[1:])
        ended = torch.ones_like(weights, dtype=torch.bool)
        return Pairs(
            torch.cat([self.observations, observations]),
            torch.cat([self.actions, nothing]),
            torch.cat([self.participation, ~ended]),
            torch.cat([self.absorbing, ended]),
            torch.cat([self.weights, weights]),
        )


class Occupancy:
    """Weighted pairs from both sources, and the value of an early end.

    Args:
        data: the demonstrations.
        valid: which of their entries count, bool (M, N).
        horizon: time limit H in rounds.
        absorbing: extend the measures to the time limit; otherwise only the pairs in `valid` count, and
            the weights of each source sum to 1 per batch, as in the papers.
    """

    def __init__(self, data: ExpertData, valid: Tensor, horizon: int, absorbing: bool):
        self.data, self.valid, self.horizon, self.absorbing = data, valid, horizon, absorbing
        self.rates = valid.sum(0) / data.alive.sum(0).clamp(min=1)
        self.expert_length = data.endings.length or len(data) / max(len(data.endings), 1)
        # Number and rounds of the policy's past episodes, discounted. Weights by episodes, not by updates: where
        # episodes begin together, many updates see only the few that end early.
        self.policy_episodes = self.policy_rounds = 0.0

    def counts(self, valid: Tensor, alive: Tensor) -> Tensor:
        """Weight of each pair within its round, shaped like `valid`: 1 if valid, else 0; `rates` for dead agents."""
        if not self.absorbing:
            return valid.float()
        return torch.where(alive, valid.float(), self.rates)

    @property
    def policy_length(self) -> float:
        """Mean length of the policy's episodes; before the first has ended, that of the expert's."""
        if not self.policy_episodes:
            return self.expert_length
        return self.policy_rounds / self.policy_episodes

    @property
    def expert_mass(self) -> Tensor:
        """Total weight of an expert episode, (N,)."""
        mass = self.counts(self.valid, self.data.alive).mean(0) * self.expert_length
        if self.absorbing and len(self.data.endings):
            mass = mass + self.rates * self.data.endings.remaining.mean()
        return mass

    def of_expert(self, count: int, rng: torch.Generator) -> tuple[ExpertData, Tensor, Pairs]:
        """`count` demonstrated rounds, their valid entries, and the pairs for the discriminators."""
        rows = torch.randint(len(self.data), (count,), generator=rng, device=rng.device)
        sample, valid = self.data.take(rows), self.valid[rows]
        weights = self.counts(valid, sample.alive) * (self.expert_length / count)
        seen = sample.participation | valid
        pairs = Pairs(sample.observations, sample.actions, seen, ~sample.alive, weights)
        endings = self.data.endings
        if self.absorbing and bool((endings.remaining > 0).any()):
            number = math.ceil(count / self.expert_length)
            few = torch.randint(len(endings), (number,), generator=rng, device=rng.device)
            share = endings.remaining[few].unsqueeze(1) * self.rates / number
            pairs = pairs.with_endings(endings.observations[few], share)
        return sample, valid, pairs

    def of_policy(self, rollout: Rollout, valid: Tensor) -> tuple[Pairs, Tensor]:
        """The pairs of a fragment; `valid`, bool (T, E, N), says which entries count.

        The second result, (T, E, N), is each pair's weight within its round; the first T * E pairs are in this order.
        """
        self._observe(rollout)
        alive = rollout.alive[:-1]
        counts = self.counts(valid, alive) * ~rollout.lost.unsqueeze(-1)
        scale = self.policy_length / rollout.steps
        pairs = Pairs(
            rollout.observations[:-1].flatten(0, 1),
            rollout.played().flatten(0, 1),
            (rollout.participation[:-1] | valid).flatten(0, 1),
            ~alive.flatten(0, 1),
            counts.flatten(0, 1) * scale,
        )
        early = rollout.terminated & ~rollout.lost
        if self.absorbing and bool(early.any()):
            weights = self.remaining(rollout)[early].unsqueeze(1) * self.rates * scale
            pairs = pairs.with_endings(rollout.final_observations[early], weights)
        return pairs, counts

    def remaining(self, rollout: Rollout) -> Tensor:
        """Rounds between an early end and the time limit, float (T, E); 0 elsewhere."""
        return (self.horizon - rollout.episode_length).float() * rollout.terminated

    def value_of_ending(self, rollout: Rollout, rewards: Tensor, gamma: float) -> Tensor:
        """Discounted rewards of the rounds after an early end, at the episode's last round, (T, E, N).

        `rewards`: of one round in the final absorbing states, (T, E, N).
        """
        left = self.remaining(rollout)
        rounds = left if gamma == 1 else gamma * (1 - gamma**left) / (1 - gamma)
        return rewards * rounds.unsqueeze(-1) * self.rates

    def _observe(self, rollout: Rollout) -> None:
        """Update the policy's mean length with the episodes that ended in a fragment."""
        ended = rollout.finished()
        if not bool(ended.any()):
            return
        lengths = rollout.episode_length[ended]
        self.policy_episodes = LENGTH_DECAY * self.policy_episodes + len(lengths)
        self.policy_rounds = LENGTH_DECAY * self.policy_rounds + int(lengths.sum())

    def state_dict(self) -> dict:
        return {"episodes": self.policy_episodes, "rounds": self.policy_rounds}

    def load_state_dict(self, state: dict) -> None:
        if "policy_length" in state:
            raise ValueError(
                "an earlier version wrote it, with another average of episode lengths: restart the run"
            )
        self.policy_episodes, self.policy_rounds = state["episodes"], state["rounds"]
