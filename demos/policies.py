"""Demonstrator policies: trained networks, scripted experts, random play, and your own. NumPy only.

A policy is a callable `policy(observations, info, rng) -> actions` over K environments at once:
observations float32 (K, N, D); info the dictionary of `VectorGame` (`participation`, `action_mask`, `state`,
`round`, ...); actions int (K, N), or float32 (K, N, A) in continuous games. Actions of agents that do not
participate are ignored. Random numbers come from `rng.random(size)`, `rng.standard_normal(size)` or
`rng.integers(low, high, size)`, where `size[0]` is K.

`info["environment"]`, int (K,), holds the indices of these environments; by default the first K. Call recurrent
policies exactly once per round of every environment: an agent's memory is updated in rounds in which it acts,
and reset when an episode begins (`info["round"]` is 0).

For a policy of your own, write a function that makes it for an environment: `--policy my_policy.py:make`.

```python
import numpy as np

def make(vec):                        # a VectorGame: vec.agents, vec.action_dims, vec.max_rounds, ...
    def policy(observations, info, rng):
        first = info["action_mask"].argmax(-1)                         # (K, N), the first action allowed
        chance = rng.random(first.shape)
        return np.where((chance < 0.1) & (info["action_mask"][..., 1] != 0), 1, first)
    return policy
```
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np

from demos.actions import action_bounds, own_actions
from demos.policy_file import observed_numbers, read_policy_file
from mail_envs.own_games import import_attribute

Policy = Callable[[np.ndarray, Mapping[str, Any], Any], np.ndarray]

EXPERTS = Path(__file__).parent / "experts"


def load_policy(spec: str | Path, env: Any, greedy: bool = False) -> Policy:
    """The policy that `spec` names, for `env` (a `VectorGame`).

    Args:
        spec: "random"; "scripted", or "scripted:NAME" where there are several; "expert", the shipped
            network of this game; the path of a run folder or of a policy file (`.safetensors`);
            `my_policy.py:make` or `my_module:make`, the user's own function that makes one. The latter
            is imported: pass only what a user typed, never what a file says.
        env: the environment to play.
        greedy: learned policies take their most likely action instead of sampling.

    Raises:
        ValueError: no such policy, not a policy file, or a policy for other observations or actions.
        TypeError: the user's function does not make a policy.
    """
    if spec == "random":
        return random_policy(env)
    kind, _, style = str(spec).partition(":")
    if kind == "scripted":
        from demos.experts import scripted_expert

        return scripted_expert(env, style)
    if is_own_policy(spec):
        return _own_policy(str(spec), env)
    if spec == "expert":
        path = EXPERTS / f"{env.id}.safetensors"
        if not path.is_file():
            from demos.experts import SCRIPTED

            others = "scripted, random" if env.id in SCRIPTED else "random"
            raise ValueError(
                f"no trained expert is shipped for {env.id!r}; available: {others}, or a run folder "
                "(python -m learners.mack trains an expert)"
            )
        return MLPPolicy.load(path, env, greedy)
    path = Path(spec)
    if path.is_dir():
        path = path / "policy.safetensors"
    if not path.is_file():
        raise ValueError(
            f"policy {str(spec)!r} is neither 'random', 'scripted', 'expert', nor a policy file, a run "
            f"folder (no file {path}) or a function of your own such as my_policy.py:make"
        )
    return MLPPolicy.load(path, env, greedy)


def is_own_policy(spec: str | Path) -> bool:
    """Whether `spec` names the user's own function, `my_policy.py:make` or `my_module:make`."""
    where, colon, name = str(spec).rpartition(":")
    return bool(colon) and where != "scripted" and name.isidentifier() and not Path(spec).exists()


def _own_policy(spec: str, env: Any) -> Policy:
    where, _, name = spec.rpartition(":")
    make = import_attribute(where, name)
    if not callable(make):
        raise TypeError(f"{spec} is {make!r}, not a function make(vec) that returns a policy")
    policy = make(env)
    if not callable(policy):
        raise TypeError(
            f"{spec}(vec) returned {policy!r}, not a policy(observations, info, rng) -> actions"
        )
    return cast(Policy, policy)


def best_policy(env: Any) -> str:
    """The best available demonstrator: expert or scripted where there is one that fits, else random."""
    for name in ("expert", "scripted"):
        try:
            load_policy(name, env)
        except ValueError:
            continue
        break
    else:
        name = "random"
    print(f"policy: {name}")
    return name


def random_policy(env: Any) -> Policy:
    """Uniform over the allowed actions, or over the action space in continuous games."""
    if not env.discrete:
        low, high = action_bounds(env)

        def uniform(observations, info, rng):
            draw = rng.random((len(observations), *low.shape))
            return (low + draw * (high - low)).astype(np.float32)

        return uniform

    def uniform_legal(observations, info, rng):
        legal = info["action_mask"] != 0
        return inverse_cdf(legal.astype(np.float64), rng.random(legal.shape[:2]))

    return uniform_legal


def environments(info: Mapping[str, Any]) -> np.ndarray:
    """Index of the environment of each row of `info`, int (K,)."""
    return np.asarray(info.get("environment", np.arange(len(info["participation"]))))


def inverse_cdf(weights: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """Sample categories: weights float64 (..., A) >= 0, draws (...) in [0, 1) -> int32 (...)."""
    cumulative = np.cumsum(weights, axis=-1)
    threshold = draws[..., None] * cumulative[..., -1:]
    chosen = (cumulative <= threshold).sum(axis=-1)
    return np.minimum(chosen, weights.shape[-1] - 1).astype(np.int32)


class MLPPolicy:
    """One policy network per group of agents, read from a `policy.safetensors` file.

    Computes in float64, so that an episode does not depend on the number of environments: the order of
    summation in a float32 matrix product does.

    Attributes:
        metadata: the file's metadata, decoded: `id, arguments, player_function, agents, groups, learner, steps, ...`.
        greedy: take the most likely action instead of sampling.
        memory: hidden states of a recurrent policy, (environments, N, H); H = 0 otherwise.
    """

    def __init__(
        self, tensors: Mapping[str, np.ndarray], metadata: Mapping[str, Any], greedy: bool = False
    ) -> None:
        self.metadata, self.greedy = dict(metadata), greedy
        self.groups = np.array(metadata["groups"])
        self.networks = [_Network(tensors, g, metadata) for g in range(self.groups.max() + 1)]
        self.gaussian = metadata["distribution"] == "gaussian"
        self.null_output = metadata.get("null_action") == "as_action"
        outputs = np.array([self.networks[g].outputs for g in self.groups])
        self.action_dims = outputs - self.null_output  # the game's own actions of every agent
        self.bounds: tuple[np.ndarray, np.ndarray] | None = None
        self.memory = np.zeros((0, len(self.groups), self.networks[0].memory_size))

    @classmethod
    def load(cls, path: str | Path, env: Any | None = None, greedy: bool = False) -> MLPPolicy:
        """Read a file, and check that it fits `env` if given."""
        policy = cls(*read_policy_file(path), greedy)
        if env is not None:
            policy.check(env, path)
        return policy

    def check(self, env: Any, source: Any = "policy") -> None:
        """Raise ValueError if the networks do not fit the agents of `env`."""
        if len(self.groups) != env.num_agents:
            raise ValueError(
                f"{source}: made for {len(self.groups)} agents ({self.metadata.get('id')}), "
                f"{env.id!r} has {env.num_agents}"
            )
        if self.gaussian == env.discrete:
            kinds = {True: "continuous", False: "discrete"}
            raise ValueError(
                f"{source}: chooses {kinds[self.gaussian]} actions, those of {env.id!r} are "
                f"{kinds[not env.discrete]}"
            )
        for i, dims in enumerate(env.observation_dims):
            network = self.networks[self.groups[i]]
            actions = env.action_dims[i] - (env.null_action == "as_action") + self.null_output
            if network.inputs != dims:
                raise ValueError(
                    f"{source}: made for {network.inputs} observed numbers, {env.agents[i]} of {env.id!r} "
                    f"observes {dims}"
                )
            if network.outputs != actions:
                raise ValueError(
                    f"{source}: has {network.outputs} action outputs, {env.agents[i]} of {env.id!r} "
                    f"needs {actions}"
                )
        if self.gaussian:
            self.bounds = action_bounds(env)

    def outputs(self, observations: np.ndarray, memory: np.ndarray | None = None) -> np.ndarray:
        """Logits, or means of Gaussian policies: float64 (K, N, outputs), padded with zeros.

        `memory`: hidden states of recurrent policies, (K, N, H), updated in place.
        """
        widest = max(network.outputs for network in self.networks)
        out = np.zeros((*observations.shape[:2], widest))
        if memory is None:
            memory = np.zeros((*observations.shape[:2], self.memory.shape[2]))
        for g, network in enumerate(self.networks):
            members = np.flatnonzero(self.groups == g)
            values, after = network(observations[:, members, : network.inputs], memory[:, members])
            out[:, members, : network.outputs], memory[:, members] = values, after
        return out

    def _recurrent_outputs(self, observations: np.ndarray, info: Mapping[str, Any]) -> np.ndarray:
        """`outputs` with the hidden states of these environments, which are updated."""
        rows = environments(info)
        if len(self.memory) <= rows.max(initial=0):
            grown = np.zeros((rows.max() + 1, *self.memory.shape[1:]))
            grown[: len(self.memory)] = self.memory
            self.memory = grown
        before = np.where(np.asarray(info["round"])[:, None, None] == 0, 0.0, self.memory[rows])
        after = before.copy()
        out = self.outputs(observations, after)
        acts = np.asarray(info["participation"])[..., None] != 0
        self.memory[rows] = np.where(acts, after, before)
        return out

    def __call__(self, observations: np.ndarray, info: Mapping[str, Any], rng: Any) -> np.ndarray:
        observations = np.asarray(observations)
        if self.memory.shape[2] > 0:
            out = self._recurrent_outputs(observations, info)
        else:
            out = self.outputs(observations)
        if self.gaussian:
            return self._gaussian(out, rng)
        mask = np.asarray(info["action_mask"]) != 0
        own = own_actions(self.action_dims) != 0  # participants never take the null action
        legal = mask[..., : own.shape[-1]] & own
        weights = np.where(legal, out[..., : own.shape[-1]], -np.inf)
        top = weights.max(axis=-1, keepdims=True)
        weights = np.exp(weights - np.where(np.isfinite(top), top, 0.0))
        if self.greedy:
            actions = weights.argmax(axis=-1).astype(np.int32)
        else:
            actions = inverse_cdf(weights, rng.random(weights.shape[:2]))
        if mask.shape[-1] > own.shape[-1]:  # φ is every agent's last action
            absent = np.asarray(info["participation"]) == 0
            actions = np.where(absent, self.action_dims, actions).astype(np.int32)
        return actions

    def _gaussian(self, mean: np.ndarray, rng: Any) -> np.ndarray:
        if not self.greedy:
            sd = np.zeros(mean.shape[1:])
            for row, g in zip(sd, self.groups, strict=True):
                row[: self.networks[g].outputs] = np.exp(self.networks[g].log_std)
            mean = mean + sd * rng.standard_normal(mean.shape)
        return (mean if self.bounds is None else mean.clip(*self.bounds)).astype(np.float32)


class _Network:
    """One group's multi-layer perceptron, with a GRU after the hidden layers if the file has one."""

    def __init__(
        self, tensors: Mapping[str, np.ndarray], group: int, metadata: Mapping[str, Any]
    ) -> None:
        prefix = f"group{group}."
        count = sum(k.startswith(prefix) and k[len(prefix)].isdigit() for k in tensors) // 2
        self.layers = [
            (
                tensors[f"{prefix}{k}.weight"].astype(np.float64).T,
                tensors[f"{prefix}{k}.bias"].astype(np.float64),
            )
            for k in range(count)
        ]
        self.members = metadata["groups"].count(group)
        self.agent_id = metadata.get("agent_id", False) is True
        self.mean, self.std = tensors.get(prefix + "mean"), tensors.get(prefix + "std")
        self.log_std = tensors.get(prefix + "log_std", np.zeros(0)).astype(np.float64)
        self.activate = {"relu": lambda x: np.maximum(x, 0.0, out=x), "tanh": np.tanh}[
            metadata["activation"]
        ]
        self.gru = [
            tensors[f"{prefix}gru.{name}"].astype(np.float64).T
            for name in ("weight_ih", "bias_ih", "weight_hh", "bias_hh")
            if metadata.get("recurrent")
        ]
        self.memory_size = len(self.gru[2]) if self.gru else 0
        self.inputs = observed_numbers(tensors, metadata, group)
        self.outputs = self.layers[-1][0].shape[1]

    def __call__(
        self, observations: np.ndarray, memory: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """(K, members, D) and (K, members, H) -> float64 (K, members, outputs) and the new memory."""
        x = observations.astype(np.float64)
        if self.mean is not None and self.std is not None:
            x = (x - self.mean) / self.std
        if self.agent_id:
            identity = np.broadcast_to(np.eye(self.members), (len(x), self.members, self.members))
            x = np.concatenate([x, identity], axis=-1)
        x = x.reshape(-1, x.shape[-1])
        for weight, bias in self.layers[:-1]:
            x = self.activate(x @ weight + bias)
        if self.gru:
            x = self._gru_step(x, memory.reshape(len(x), -1))
            memory = x.reshape(memory.shape)
        weight, bias = self.layers[-1]
        return (x @ weight + bias).reshape(len(observations), -1, self.outputs), memory

    def _gru_step(self, x: np.ndarray, memory: np.ndarray) -> np.ndarray:
        """One step of torch's GRU: input (rows, H) and memory (rows, H) -> new memory (rows, H)."""
        weight_ih, bias_ih, weight_hh, bias_hh = self.gru
        given = np.split(x @ weight_ih + bias_ih, 3, axis=1)
        recalled = np.split(memory @ weight_hh + bias_hh, 3, axis=1)
        reset, keep = (sigmoid(a + b) for a, b in zip(given[:2], recalled[:2], strict=True))
        new = np.tanh(given[2] + reset * recalled[2])
        return new + keep * (memory - new)


def sigmoid(x: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-x)) without overflow."""
    return 0.5 * (1 + np.tanh(0.5 * x))
