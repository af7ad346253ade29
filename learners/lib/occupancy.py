"""Occupancy measures of episodes that may end early.

Adversarial imitation compares the occupancy measures of expert and policy. These are *sums* over an episode;
their mass is the length of the episode. Batches with equally many rounds of both compare averages instead,
which is a different objective where episodes can end early. Example: an expert that reaches its goal after 20
of 50 rounds spends half of its rounds on the way, a policy that never reaches it only a fifth. The
discriminator then takes moving fast, far from everything, for expert behavior, and agents learn to flee.

Here both measures extend over the time limit H. The rounds of an episode are weighted by its length; after an
early end a game stays in an absorbing state for the remaining rounds (Kostrikov et al., 2019,
"Discriminator-Actor-Critic"). This state is the same for expert and policy, so the optimal discriminator's
logit is known: log (H - L_expert) / (H - L_policy) with the mean lengths L. Each remaining round gets the
reward of this logit. Games that always run to the limit are not affected.
"""

from __future__ import annotations

import torch
from torch import Tensor

LENGTH_DECAY = 0.95  # per update in which episodes ended
LEAST_MASS = 1e-3  # rounds


class Occupancy:
    """Mean episode lengths of expert and policy, and the weights and rewards that follow from them.

    Args:
        expert_length: mean length of the demonstrations.
        horizon: time limit H.
        rates: share of the rounds in which each agent is rewarded, (N,).
    """

    def __init__(self, expert_length: float, horizon: int, rates: Tensor):
        self.expert_length, self.horizon, self.rates = expert_length, horizon, rates
        self.policy_length: float | None = None

    def observe(self, rollout) -> None:
        """Update the policy's mean length with the episodes that ended in a fragment."""
        ended = rollout.finished()
        if not bool(ended.any()):
            return
        length = float(rollout.episode_length[ended].float().mean())
        old = length if self.policy_length is None else self.policy_length
        self.policy_length = LENGTH_DECAY * old + (1 - LENGTH_DECAY) * length

    def weights(self) -> tuple[float, float]:
        """Weights of the expert's and the policy's mean losses; their mean is 1."""
        policy = self.expert_length if self.policy_length is None else self.policy_length
        mean = (self.expert_length + policy) / 2
        return self.expert_length / mean, policy / mean

    def absorbing_logit(self) -> Tensor:
        """Logit of the optimal discriminator in the absorbing state."""
        policy = self.horizon if self.policy_length is None else self.policy_length
        masses = torch.tensor([self.horizon - self.expert_length, self.horizon - policy])
        expert_mass, policy_mass = masses.clamp(min=LEAST_MASS).log()
        return expert_mass - policy_mass

    def value_of_ending(self, rollout, reward: Tensor, gamma: float) -> Tensor:
        """Discounted rewards of the remaining rounds, at the last round of games that ended early, (T, E, N)."""
        remaining = (self.horizon - rollout.episode_length).float()
        rounds = gamma * (1 - gamma**remaining) / (1 - gamma)
        return reward * (rounds * rollout.terminated).unsqueeze(-1) * self.rates

    def state_dict(self) -> dict:
        return {"policy_length": self.policy_length}

    def load_state_dict(self, state: dict) -> None:
        self.policy_length = state["policy_length"]
