"""Demonstrator policies: trained networks, scripted experts, random play, and your own.

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

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np

from demos.actions import action_bounds, inverse_cdf, own_actions
from mail_envs.own_games import import_attribute

Policy = Callable[[np.ndarray, Mapping[str, Any], Any], np.ndarray]

EXPERTS = Path(__file__).parent / "experts"


def load_policy(spec: str | Path, env: Any, greedy: bool = False) -> Policy:
    """The policy that `spec` names, for `env` (a `VectorGame`).

    Args:
        spec: "random"; "scripted", or "scripted:NAME" where there are several; "expert", the shipped
            network of this game, or "expert:NAME", another one that is shipped; the path of a run folder, or `RUN@STEP`, the policy that the run had at that step
            (`--policy-every`); the path of a policy file (`.safetensors`);
            `my_policy.py:make` or `my_module:make`, the user's own function that makes one. The latter
            is imported: pass only what a user typed, never what a file says. Several of these with commas between them:
            one for each agent.
        env: the environment to play.
        greedy: learned policies take their most likely action instead of sampling.

    Raises:
        ValueError: no such policy, not a policy file, or a policy for other observations or actions.
        TypeError: the user's function does not make a policy.
    """
    if "," in str(spec) and not os.path.exists(spec):  # which may be too long for a path
        return OnePerAgent(str(spec).split(","), env, greedy)
    if spec == "random":
        return random_policy(env)
    kind, _, style = str(spec).partition(":")
    if kind == "scripted":
        from demos.experts import scripted_expert

        return scripted_expert(env, style)
    if is_own_policy(spec):
        return _own_policy(str(spec), env)
    if kind == "expert":
        return NetworkPolicy.load(expert_path(env.id, style), env, greedy)
    path = policy_path(spec)
    if not path.is_file():
        raise ValueError(
            f"policy {str(spec)!r} is neither 'random', 'scripted', 'expert', nor a policy file, a run "
            f"folder (no file {path}) or a function of your own such as my_policy.py:make"
        )
    return NetworkPolicy.load(path, env, greedy)


def expert_path(id: str, name: str = "") -> Path:
    """The file of a game's shipped network, or of its network called `name`. ValueError: there is none."""
    path = EXPERTS / (f"{id}.{name}.safetensors" if name else f"{id}.safetensors")
    shipped = {p.name.removesuffix(".safetensors") for p in EXPERTS.glob("*.safetensors")}
    if path.name.removesuffix(".safetensors") in shipped:
        return path
    from demos.experts import SCRIPTED

    names = sorted(n for n in shipped if n == id or n.startswith(id + "."))
    known = ["expert" + n.removeprefix(id).replace(".", ":", 1) for n in names]
    known += ["scripted"] * (id in SCRIPTED) + ["random"]
    raise ValueError(
        f"no trained expert{' ' + repr(name) if name else ''} is shipped for {id!r}; available: "
        f"{', '.join(known)}, or a run folder (python -m learners.mack trains an expert)"
    )


def policy_path(spec: str | Path) -> Path:
    """The policy file that `spec` names: a file, a run folder, or `RUN@STEP`. ValueError: no copy of that step."""
    path = Path(spec)
    run, at, step = str(spec).rpartition("@")
    if at and not os.path.exists(path) and os.path.isdir(run):
        found = {
            p.stem.removeprefix("step_"): p for p in Path(run).glob("policies/step_*.safetensors")
        }
        kept = {int(number): p for number, p in found.items() if number.isdecimal()}
        if not step.isdecimal() or int(step) not in kept:
            known = ", ".join(map(str, sorted(kept))) or "none: train with --policy-every"
            raise ValueError(
                f"policy {str(spec)!r}: {run} has no copy of step {step!r}; steps kept: {known}"
            )
        return kept[int(step)]
    return path / "policy.safetensors" if os.path.isdir(path) else path


def is_own_policy(spec: str | Path) -> bool:
    """Whether `spec` names the user's own function, `my_policy.py:make` or `my_module:make`."""
    where, colon, name = str(spec).rpartition(":")
    return (
        bool(colon)
        and where not in ("scripted", "expert")
        and name.isidentifier()
        and not os.path.exists(spec)
    )


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
        except (ValueError, ImportError):  # trained ones need torch
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


class OnePerAgent:
    """A policy for each agent: agent i takes the actions that the i-th policy chooses for it.

    Attributes:
        specs: what `load_policy` made them from, one for each agent.
        policies: one for each agent; equal specs share one.
    """

    def __init__(self, specs: list[str], env: Any, greedy: bool = False) -> None:
        if len(specs) != env.num_agents:
            raise ValueError(
                f"policy {','.join(specs)!r}: {len(specs)} policies for the {env.num_agents} agents of {env.id!r}; "
                "give one for each"
            )
        made = {spec: load_policy(spec, env, greedy) for spec in dict.fromkeys(specs)}
        self.specs, self.policies = specs, [made[spec] for spec in specs]

    def __call__(self, observations: np.ndarray, info: Mapping[str, Any], rng: Any) -> np.ndarray:
        chosen = {
            id(p): np.asarray(p(observations, info, rng)) for p in dict.fromkeys(self.policies)
        }
        return np.stack([chosen[id(p)][:, i] for i, p in enumerate(self.policies)], 1)


def environments(info: Mapping[str, Any]) -> np.ndarray:
    """Index of the environment of each row of `info`, int (K,)."""
    return np.asarray(info.get("environment", np.arange(len(info["participation"]))))


class NetworkPolicy:
    """A trained policy, from a policy file; needs torch.

    Computes in float64, so that an episode does not depend on the number of environments: the order of
    summation in a float32 matrix product does.

    Attributes:
        policy: the networks, see `learners.lib.architectures`.
        metadata: the file's metadata, decoded: `id, arguments, player_function, agents, groups, learner, steps, ...`.
        greedy: take the most likely action instead of sampling.
        action_dims: the game's own actions of every agent.
        memory: of policies that have one, a tensor (environments, N, M); M = 0 otherwise.
        path: of the file, if it is from one.
    """

    def __init__(self, policy: Any, metadata: Mapping[str, Any], greedy: bool = False) -> None:
        self.policy, self.metadata, self.greedy = policy, dict(metadata), greedy
        self.null_output = metadata.get("null_action") == "as_action"
        self.action_dims = np.array(policy.action_dims) - self.null_output
        self.bounds: tuple[np.ndarray, np.ndarray] | None = None
        self.path: Path | None = None
        weights = next(policy.parameters())
        self.memory = weights.new_zeros((0, len(self.action_dims), policy.memory_size))

    @classmethod
    def load(cls, path: str | Path, env: Any | None = None, greedy: bool = False) -> NetworkPolicy:
        """Read a file, and check that it fits `env` if given. ImportError: torch is not installed."""
        try:
            import torch
        except ImportError:
            raise ImportError(
                f"{path} is a trained policy, which needs torch: pip install 'mail-envs[learners]'"
            ) from None
        from learners.lib.architectures import read_policy

        policy = cls(*read_policy(path, torch.float64), greedy)
        policy.path = Path(path)
        if env is not None:
            policy.check(env, path)
        return policy

    def check(self, env: Any, source: Any = "policy") -> None:
        """Raise ValueError if the policy does not fit the agents of `env`."""
        policy = self.policy
        if len(self.action_dims) != env.num_agents:
            raise ValueError(
                f"{source}: made for {len(self.action_dims)} agents ({self.metadata.get('id')}), "
                f"{env.id!r} has {env.num_agents}"
            )
        if policy.discrete != env.discrete:
            kinds = {True: "discrete", False: "continuous"}
            raise ValueError(
                f"{source}: chooses {kinds[policy.discrete]} actions, those of {env.id!r} are "
                f"{kinds[env.discrete]}"
            )
        for i, dims in enumerate(env.observation_dims):
            actions = env.action_dims[i] - (env.null_action == "as_action") + self.null_output
            if policy.observation_dims[i] != dims:
                raise ValueError(
                    f"{source}: made for {policy.observation_dims[i]} observed numbers, {env.agents[i]} of "
                    f"{env.id!r} observes {dims}"
                )
            if policy.action_dims[i] != actions:
                raise ValueError(
                    f"{source}: has {policy.action_dims[i]} action outputs, {env.agents[i]} of {env.id!r} "
                    f"needs {actions}"
                )
        if not policy.discrete:
            self.bounds = action_bounds(env)

    def __call__(self, observations: np.ndarray, info: Mapping[str, Any], rng: Any) -> np.ndarray:
        import torch

        policy = self.policy
        acts = np.asarray(info["participation"]) != 0
        shape = acts.shape if policy.discrete else (*acts.shape, max(policy.action_dims))
        draws, mask = None, None
        if not self.greedy:
            draw = rng.random if policy.discrete else rng.standard_normal
            draws = torch.from_numpy(draw(shape))
        if policy.discrete:
            mask = torch.from_numpy(self._allowed(np.asarray(info["action_mask"])))
        rows = environments(info)
        seen = torch.from_numpy(np.asarray(observations, np.float64))
        with torch.inference_mode():
            memory = self._recall(rows, np.asarray(info["round"]))
            actions = policy.act(seen, mask, draws, memory, torch.from_numpy(acts)).numpy()
            self.memory[rows] = memory
        if not policy.discrete:
            return (actions if self.bounds is None else actions.clip(*self.bounds)).astype(
                np.float32
            )
        if np.asarray(info["action_mask"]).shape[-1] > self.action_dims.max():
            actions = np.where(acts, actions, self.action_dims)  # φ is every agent's last action
        return actions.astype(np.int32)

    def _allowed(self, mask: np.ndarray) -> np.ndarray:
        """The game's mask over the policy's outputs, bool (K, N, A); participants never take the null action."""
        own = own_actions(self.action_dims) != 0
        allowed = np.zeros((*mask.shape[:2], max(self.policy.action_dims)), bool)
        allowed[..., : own.shape[-1]] = (mask[..., : own.shape[-1]] != 0) & own
        return allowed

    def _recall(self, rows: np.ndarray, rounds: np.ndarray) -> Any:
        """The memories of environments `rows`, zero where an episode begins: a tensor (K, N, M)."""
        missing = int(rows.max(initial=-1)) + 1 - len(self.memory)
        if missing > 0:
            import torch

            more = self.memory.new_zeros((missing, *self.memory.shape[1:]))
            self.memory = torch.cat([self.memory, more])
        memory = self.memory[rows]
        memory[np.flatnonzero(rounds == 0)] = 0.0
        return memory
