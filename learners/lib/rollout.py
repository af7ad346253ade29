"""Collect T rounds of E copies of a game into preallocated tensors: the hot loop of every learner."""

from __future__ import annotations

import torch
from torch import Tensor

from demos.actions import action_bounds, own_actions


class Rollout:
    """T rounds of E copies; row T of the (T + 1)-row tensors is where the next fragment begins.

    observations (T+1, E, N, D) float32, participation (T+1, E, N) bool, action_mask (T+1, E, N, A) int8 or
    None, actions (T, E, N) int64 or (T, E, N, A) float32, rewards (T, E, N), terminated and truncated
    (T, E) bool; valid where an episode ended: final_observations (T, E, N, D), episode_return (T, E, N),
    episode_length (T, E).
    """

    def __init__(self, vec, rounds: int, device: torch.device | str = "cpu"):
        E, N, D = vec.num_envs, vec.num_agents, max(vec.observation_dims)
        self.own = torch.as_tensor(own_actions(vec.action_dims), device=device).bool()
        self.bounds = bounds_of(vec, device)
        self.vec, self.rounds, self.num_envs, self.discrete = vec, rounds, E, vec.discrete

        def empty(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
            return torch.zeros(shape, dtype=dtype, device=device)

        self.observations = empty(rounds + 1, E, N, D)
        self.participation = empty(rounds + 1, E, N, dtype=torch.bool)
        self.action_mask = (
            empty(rounds + 1, E, N, vec.num_actions, dtype=torch.int8) if vec.discrete else None
        )
        self.actions = (
            empty(rounds, E, N, dtype=torch.int64)
            if vec.discrete
            else empty(rounds, E, N, vec.num_actions)
        )
        self.rewards = empty(rounds, E, N)
        self.terminated = empty(rounds, E, dtype=torch.bool)
        self.truncated = empty(rounds, E, dtype=torch.bool)
        self.final_observations = empty(rounds, E, N, D)
        self.episode_return = empty(rounds, E, N)
        self.episode_length = empty(rounds, E, dtype=torch.int32)
        self.counted = [
            vec.agents.index(a) for a in vec.metadata.get("return_agents") or vec.agents
        ]

    @property
    def steps(self) -> int:
        """Environment steps in one fragment."""
        return self.rounds * self.num_envs

    def reset(self, seed: int) -> None:
        """Start the copies with seeds seed ... seed + E - 1."""
        observations, info = self.vec.reset(seed=seed)
        self._enter(self.rounds, observations, info)

    def _enter(self, t: int, observations, info) -> None:
        self.observations[t].copy_(torch.as_tensor(observations))
        self.participation[t].copy_(torch.as_tensor(info["participation"]))
        if self.action_mask is not None:
            self.action_mask[t].copy_(torch.as_tensor(info["action_mask"]))

    @torch.inference_mode()
    def collect(self, policy, rng: torch.Generator) -> Rollout:
        """Play T rounds with sampled actions, going on where the previous fragment stopped."""
        for x in (self.observations, self.participation, self.action_mask):
            if x is not None:
                x[0].copy_(x[self.rounds])
        for t in range(self.rounds):
            mask = None if self.action_mask is None else self.action_mask[t]
            actions = policy.act(self.observations[t], mask, rng)
            observations, rewards, terminated, truncated, info = self.vec.step(
                within(self.bounds, actions)
            )
            self.actions[t].copy_(actions)
            self.rewards[t].copy_(torch.as_tensor(rewards))
            self.terminated[t].copy_(torch.as_tensor(terminated))
            self.truncated[t].copy_(torch.as_tensor(truncated))
            self.final_observations[t].copy_(torch.as_tensor(info["final_observation"]))
            self.episode_return[t].copy_(torch.as_tensor(info["episode_return"]))
            self.episode_length[t].copy_(torch.as_tensor(info["episode_length"]))
            self._enter(t + 1, observations, info)
        return self

    def played(self) -> Tensor:
        """What the game made of the actions, (T, E, N[, A]): continuous ones within bounds, zero for φ."""
        if self.bounds is None:
            return self.actions
        return within(self.bounds, self.actions) * self.participation[:-1].unsqueeze(-1)

    def mask_rows(self) -> Tensor | None:
        """Action masks of the T rounds, flattened to (T * E, N, A); None when nothing is forbidden."""
        if self.action_mask is None or bool((self.action_mask[:-1].bool() | ~self.own).all()):
            return None
        return self.action_mask[:-1].flatten(0, 1)

    def episodes(self) -> dict[str, float]:
        """Number, mean true return (averaged over agents) and mean length of the episodes that ended."""
        ended = self.terminated | self.truncated
        count = int(ended.sum())
        if not count:
            return {"episodes": 0}
        return {
            "episodes": count,
            "return": float(self.episode_return[ended][:, self.counted].mean()),
            "length": float(self.episode_length[ended].float().mean()),
        }

    def state_dict(self) -> dict:
        """The row where the next fragment begins, and the state of the game."""
        names = ("observations", "participation", "action_mask")
        rows = {n: getattr(self, n)[self.rounds] for n in names if getattr(self, n) is not None}
        return {"rows": rows, "game": self.vec.get_state()}

    def load_state_dict(self, state: dict) -> None:
        for name, row in state["rows"].items():
            getattr(self, name)[self.rounds].copy_(torch.as_tensor(row))
        self.vec.set_state(state["game"])


def bounds_of(vec, device: torch.device | str) -> tuple[Tensor, Tensor] | None:
    """Lowest and highest continuous actions, (N, A) each; None in discrete games."""
    if vec.discrete:
        return None
    low, high = action_bounds(vec)
    return torch.as_tensor(low, device=device), torch.as_tensor(high, device=device)


def within(bounds: tuple[Tensor, Tensor] | None, actions: Tensor) -> Tensor:
    """What is played of a policy's actions: Gaussian policies know no bounds."""
    return actions if bounds is None else actions.clamp(*bounds)
