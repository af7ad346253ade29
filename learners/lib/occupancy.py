"""Occupancy measures of episodes that may end early.

Adversarial imitation compares the occupancy measures of expert and policy: *sums* over an episode, whose mass
is its length. Batches with equally many rounds of both compare averages instead, and where episodes can end
early that is another objective: an expert that is done after 20 of 50 rounds spends half of its rounds on the
way, a policy that never gets done only a fifth, so the discriminator takes being on the way, moving fast and
far from everything, for expert behavior, and agents learn to flee for good.

Here both are measures over the same time limit H. The rounds of an episode are weighted by its length; after
an early end a game rests in an absorbing state for the rounds that remain (Kostrikov et al., 2019,
"Discriminator-Actor-Critic"). That state looks the same for everybody, so the best discriminator's logit there
is known: log (H - L_expert) / (H - L_policy) with the mean lengths L. It is worth its reward for as many
rounds as remain. Games that always run to the limit are left as they are.
"""

from __future__ import annotations

import torch
from torch import Tensor

LENGTH_DECAY = 0.95  # per update in which episodes ended
LEAST_MASS = 1e-3  # rounds


class Occupancy:
    """Lengths of the expert's and the policy's episodes, and what follows from them.

    Args:
        expert_length: mean length of the demonstrations.
        horizon: time limit H.
        rates: share of the rounds in which each agent is rewarded, (N,).
    """

    def __init__(self, expert_length: float, horizon: int, rates: Tensor):
        self.expert_length, self.horizon, self.rates = expert_length, horizon, rates
        self.policy_length: float | None = None

    def observe(self, rollout) -> None:
        """Note the lengths of the episodes that ended in a fragment."""
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
        """The best discriminator's logit of the absorbing state."""
        policy = self.horizon if self.policy_length is None else self.policy_length
        masses = torch.tensor([self.horizon - self.expert_length, self.horizon - policy])
        expert_mass, policy_mass = masses.clamp(min=LEAST_MASS).log()
        return expert_mass - policy_mass

    def value_of_ending(self, rollout, reward: Tensor, gamma: float) -> Tensor:
        """What the remaining rounds are worth where a game ended early, seen from its last round: (T, E, N)."""
        remaining = (self.horizon - rollout.episode_length).float()
        rounds = gamma * (1 - gamma**remaining) / (1 - gamma)
        return reward * (rounds * rollout.terminated).unsqueeze(-1) * self.rates

    def state_dict(self) -> dict:
        return {"policy_length": self.policy_length}

    def load_state_dict(self, state: dict) -> None:
        self.policy_length = state["policy_length"]
