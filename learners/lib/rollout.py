"""Collect T rounds of E copies of a game into preallocated tensors: the hot loop of every learner."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from demos.actions import action_bounds, own_actions
from demos.description import counted_agents
from learners.lib.batch import counted
from learners.lib.outcomes import won
from learners.lib.running_episodes import RunningEpisodes, check_form


class Rollout:
    """T rounds of E copies; row T of the (T + 1)-row tensors is where the next fragment begins.

    Attributes:
        observations: (T + 1, E, N, D) float32.
        participation: bool (T + 1, E, N), who acts.
        alive: bool (T + 1, E, N); an agent that does not participate may still be alive.
        action_mask: int8 (T + 1, E, N, A), or None.
        round: int32 (T + 1, E), rounds since the episode began.
        actions: int64 (T, E, N), or float32 (T, E, N, A).
        rewards: (T, E, N).
        terminated, truncated: bool (T, E).
        lost: bool (T, E), the copy's worker died in this round: its outcome is unknown, its episode discarded.
        memory: (T + 1, E, N, H), of a recurrent policy before each round; H = 0 without one.
        states: (T + 1, E, S), global states; S = 0 unless `state` is set.

    Valid where an episode ended: final_observations (T, E, N, D), final_action_mask (T, E, N, A) or None,
    final_alive and final_participation (T, E, N), final_states (T, E, S), episode_return (T, E, N),
    episode_length (T, E), and metrics, (T, E) by name.
    """

    def __init__(
        self,
        vec,
        rounds: int,
        device: torch.device | str = "cpu",
        memory: int = 0,
        state: bool = False,
    ):
        E, N, D = vec.num_envs, vec.num_agents, max(vec.observation_dims)
        self.own = torch.as_tensor(own_actions(vec.action_dims), device=device).bool()
        self.bounds = bounds_of(vec, device)
        self.vec, self.rounds, self.num_envs, self.discrete = vec, rounds, E, vec.discrete

        def empty(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
            return torch.zeros(shape, dtype=dtype, device=device)

        self.observations = empty(rounds + 1, E, N, D)
        self.participation = empty(rounds + 1, E, N, dtype=torch.bool)
        self.alive = empty(rounds + 1, E, N, dtype=torch.bool)
        self.round = empty(rounds + 1, E, dtype=torch.int32)
        self.action_mask = self.final_action_mask = None
        if vec.discrete:
            self.action_mask = empty(rounds + 1, E, N, vec.num_actions, dtype=torch.int8)
            self.final_action_mask = empty(rounds, E, N, vec.num_actions, dtype=torch.int8)
        self.actions = (
            empty(rounds, E, N, dtype=torch.int64)
            if vec.discrete
            else empty(rounds, E, N, vec.num_actions)
        )
        self.rewards = empty(rounds, E, N)
        self.terminated = empty(rounds, E, dtype=torch.bool)
        self.truncated = empty(rounds, E, dtype=torch.bool)
        self.lost = empty(rounds, E, dtype=torch.bool)
        self.final_observations = empty(rounds, E, N, D)
        self.final_alive = empty(rounds, E, N, dtype=torch.bool)
        self.final_participation = empty(rounds, E, N, dtype=torch.bool)
        self.episode_return = empty(rounds, E, N)
        self.episode_length = empty(rounds, E, dtype=torch.int32)
        self.metrics = {name: empty(rounds, E) for name in vec.metrics}
        # Metrics of the running episodes before and after the fragment; 0 where an episode begins.
        self.before = {name: empty(E) for name in vec.metrics}
        self.after = {name: empty(E) for name in vec.metrics}
        self.memory = empty(rounds + 1, E, N, memory)
        self.running = RunningEpisodes(vec, device)
        S = math.prod(vec.state_space.shape) if state else 0
        self.states, self.final_states = empty(rounds + 1, E, S), empty(rounds, E, S)
        self.counted = counted_agents(vec)

    @property
    def steps(self) -> int:
        """Environment steps in one fragment."""
        return self.rounds * self.num_envs

    def reset(self, seed: int) -> None:
        """Start the copies with seeds seed ... seed + E - 1."""
        observations, info = self.vec.reset(seed=seed)
        self._enter(self.rounds, observations, info)
        self.memory[self.rounds] = 0.0
        for x in self.after.values():
            x.zero_()

    def _enter(self, t: int, observations, info) -> None:
        self.running.enter(info)
        self.observations[t].copy_(torch.as_tensor(observations))
        self.participation[t].copy_(torch.as_tensor(info["participation"]))
        self.alive[t].copy_(torch.as_tensor(info["alive"]))
        self.round[t].copy_(torch.as_tensor(info["round"]))
        if self.action_mask is not None:
            self.action_mask[t].copy_(torch.as_tensor(info["action_mask"]))
        if self.states.numel():
            self.states[t].copy_(torch.as_tensor(info["state"]))

    @torch.inference_mode()
    def collect(self, policy, rng: torch.Generator) -> Rollout:
        """Play T rounds with sampled actions, from where the previous fragment stopped."""
        for x in self._rows().values():
            x[0].copy_(x[self.rounds])
        for name, x in self.before.items():
            x.copy_(self.after[name])
        self.running.make_room(self.rounds)
        for t in range(self.rounds):
            mask = None if self.action_mask is None else self.action_mask[t]
            memory = self.memory[t + 1].copy_(self.memory[t])
            actions = policy.act(self.observations[t], mask, rng, memory, self.participation[t])
            played = within(self.bounds, actions)
            self.running.note(played)
            observations, rewards, terminated, truncated, info = self.vec.step(played)
            self.actions[t].copy_(actions)
            self.rewards[t].copy_(torch.as_tensor(rewards))
            self.terminated[t].copy_(torch.as_tensor(terminated))
            self.truncated[t].copy_(torch.as_tensor(truncated))
            self.lost[t].copy_(torch.as_tensor(info["worker_restarted"]))
            self.final_observations[t].copy_(torch.as_tensor(info["final_observation"]))
            self.final_alive[t].copy_(torch.as_tensor(info["final_alive"]))
            self.final_participation[t].copy_(torch.as_tensor(info["final_participation"]))
            if self.final_action_mask is not None:
                self.final_action_mask[t].copy_(torch.as_tensor(info["final_action_mask"]))
            self.episode_return[t].copy_(torch.as_tensor(info["episode_return"]))
            self.episode_length[t].copy_(torch.as_tensor(info["episode_length"]))
            for name, values in self.metrics.items():
                values[t].copy_(torch.as_tensor(info["metrics"][name]))
            if self.states.numel():
                self.final_states[t].copy_(torch.as_tensor(info["final_state"]))
            if self.memory.numel():
                self.memory[t + 1][self.terminated[t] | self.truncated[t]] = 0.0
            self._enter(t + 1, observations, info)
        ended = self.terminated[-1] | self.truncated[-1]
        for name, x in self.after.items():
            x.copy_(self.metrics[name][-1].masked_fill(ended, 0.0))
        return self

    def played(self) -> Tensor:
        """Actions as the game played them, (T, E, N[, A]): continuous ones clipped to their bounds, zero for φ."""
        if self.bounds is None:
            return self.actions
        return within(self.bounds, self.actions) * self.participation[:-1].unsqueeze(-1)

    def mask_rows(self) -> Tensor | None:
        """Action masks of the T rounds, flattened to (T * E, N, A); None when nothing is forbidden."""
        if self.action_mask is None or bool((self.action_mask[:-1].bool() | ~self.own).all()):
            return None
        return self.action_mask[:-1].flatten(0, 1)

    def finished(self) -> Tensor:
        """Rounds in which an episode ended, other than by a dead worker, bool (T, E)."""
        return (self.terminated | self.truncated) & ~self.lost

    def learned_from(self, absent: bool = False) -> Tensor:
        """Entries that count in a loss, bool (T, E, N); see `counted`. The outcome of a lost round is unknown."""
        return counted(self.alive[:-1], self.participation[:-1], ~self.lost, absent)

    def episodes(self) -> dict[str, float]:
        """Statistics of finished episodes: their number, mean and standard deviation of the true return, mean
        length, mean metrics and win rate.
        """
        ended = self.finished()
        count = int(ended.sum())
        if not count:
            return {"episodes": 0}
        returns = self.episode_return[ended][:, self.counted].mean(1)
        metrics = {name: float(x[ended].mean()) for name, x in self.metrics.items()}
        wins = won(metrics)
        return {
            **metrics,
            **({} if wins is None else {"win_rate": wins}),
            "episodes": count,
            "return": float(returns.mean()),
            "return_sd": float(returns.std(correction=0)),
            "length": float(self.episode_length[ended].float().mean()),
        }

    @property
    def episode_figures(self) -> set[str]:
        """Names of the means over finished episodes that `episodes` may return."""
        return {"return", "return_sd", "length", "win_rate", *self.metrics}

    def state_dict(self) -> dict:
        """The row where the next fragment begins, and what is needed to replay the running episodes."""
        rows = {name: getattr(self, name)[self.rounds] for name in ("observations", "memory")}
        return {"rows": rows, "metrics": dict(self.after), "episodes": self.running.state_dict()}

    def _rows(self) -> dict[str, Tensor]:
        """The tensors whose last row is where the next fragment begins."""
        names = "observations participation alive action_mask round memory states"
        found = {n: getattr(self, n) for n in names.split()}
        return {n: x for n, x in found.items() if x is not None and x.numel()}

    def load_state_dict(self, state: dict) -> None:
        """Replay the running episodes and continue from there. ValueError: they are from another game."""
        if "game" in state:
            raise ValueError(
                "an earlier version wrote it, with raw game memory, which is no longer read: restart the run"
            )
        row = self.rounds
        for kept, here in (
            (state["rows"], {n: getattr(self, n)[row] for n in ("observations", "memory")}),
            (state["metrics"], self.after),
        ):
            for name, x in here.items():
                check_form(name, kept[name], x.dtype, x.shape)
        idle = torch.zeros_like(self.actions[0])
        seen = self.running.replay(state["episodes"], within(self.bounds, idle))
        self._enter(row, *seen)
        saved = state["rows"]["observations"].to(self.observations.device)
        # Another processor may round differently.
        if not torch.allclose(self.observations[row], saved, 1e-4, 1e-4, equal_nan=True):
            raise ValueError("its episodes lead to other observations when they are replayed")
        self.memory[row].copy_(state["rows"]["memory"])
        for name, x in self.after.items():
            x.copy_(state["metrics"][name])


def bounds_of(vec, device: torch.device | str) -> tuple[Tensor, Tensor] | None:
    """Lowest and highest continuous actions, (N, A) each; None in discrete games."""
    if vec.discrete:
        return None
    low, high = action_bounds(vec)
    return torch.as_tensor(low, device=device), torch.as_tensor(high, device=device)


def within(bounds: tuple[Tensor, Tensor] | None, actions: Tensor) -> Tensor:
    """Actions clipped to the bounds, which Gaussian policies exceed; `bounds` None: unchanged."""
    return actions if bounds is None else actions.clamp(*bounds)
