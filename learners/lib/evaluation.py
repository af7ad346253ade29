"""Evaluate a torch policy on many episodes at once, and keep the better one of two evaluations."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import torch

from learners.lib.files import write_json
from learners.lib.game import make_game
from learners.lib.networks import Policy
from learners.lib.outcomes import winning
from learners.lib.rollout import bounds_of, within
from learners.lib.settings import Settings
from mail_envs.streams import stream_seed


@torch.inference_mode()
def evaluate(
    policy: Policy,
    args: Settings,
    null_action: str = "null",
    device: torch.device | str = "cpu",
    episodes: int | None = None,
    greedy: bool = False,
) -> dict:
    """Play the first episode of as many copies as there are episodes, from the run's evaluation stream.

    Returns:
        `return`: undiscounted true return averaged over the agents that the game counts, its `sd` over episodes and its 95 %
        `confidence_interval`; `agent_returns`, mean per agent; `length`, mean rounds; `metrics`, means of the
        game's own figures, and `win_rate` with `win_interval` where the game says who won.
    """
    episodes = episodes or args.eval_episodes
    device = torch.device(device)
    vec = make_game(args, episodes, device, null_action)
    first_seed = stream_seed(args.seed, "evaluation")
    rng = None if greedy else torch.Generator(device).manual_seed(first_seed)
    observations, info = vec.reset(seed=first_seed)
    returns = torch.zeros(episodes, vec.num_agents)
    lengths = torch.zeros(episodes)
    metrics = {name: torch.zeros(episodes) for name in vec.metrics}
    memory = torch.zeros(episodes, vec.num_agents, policy.memory_size, device=device)
    bounds = bounds_of(vec, device)
    running = torch.ones(episodes, dtype=torch.bool)
    while bool(running.any()):
        mask = torch.as_tensor(info["action_mask"]) if vec.discrete else None
        recalled = (
            (memory, torch.as_tensor(info["participation"]).bool()) if policy.memory_size else ()
        )
        actions = policy.act(torch.as_tensor(observations), mask, rng, *recalled)
        observations, _, terminated, truncated, info = vec.step(within(bounds, actions))
        ended = torch.as_tensor(terminated).cpu() | torch.as_tensor(truncated).cpu()
        first = ended & running
        if bool(first.any()):
            returns[first] = torch.as_tensor(info["episode_return"]).cpu()[first]
            lengths[first] = torch.as_tensor(info["episode_length"]).cpu()[first].float()
            for name, values in metrics.items():
                values[first] = torch.as_tensor(info["metrics"][name]).cpu()[first]
            running &= ~ended
    vec.close()
    counted = vec.metadata.get("return_agents")
    return {
        **summary(returns, lengths, vec.agents, counted),
        "metrics": {name: float(values.mean()) for name, values in metrics.items()},
        **winning(metrics),
        "mode": "greedy" if greedy else "sample",
        "seed": first_seed,
    }


def summary(
    returns: torch.Tensor,
    lengths: torch.Tensor,
    agents: list[str],
    counted: list[str] | None = None,
) -> dict:
    """Statistics of returns (episodes, N) and lengths (episodes,); the return is that of `counted` agents."""
    columns = [agents.index(a) for a in counted or agents]
    per_episode = returns[:, columns].double().mean(1)
    mean, count = float(per_episode.mean()), len(per_episode)
    sd = float(per_episode.std()) if count > 1 else 0.0
    half = 1.96 * sd / math.sqrt(count)
    return {
        "return": mean,
        "sd": sd,
        "confidence_interval": [mean - half, mean + half],
        "agent_returns": dict(zip(agents, returns.double().mean(0).tolist(), strict=True)),
        "length": float(lengths.mean()),
        "episodes": count,
    }


def normalized(value: float, references: dict[str, float]) -> float | None:
    """0 for the random reference, 1 for the expert's; None when they are not known."""
    low, high = references.get("random"), references.get("expert")
    if low is None or high is None or high == low:
        return None
    return (value - low) / (high - low)


def keep_better(path: Path, result: dict[str, Any]) -> str | None:
    """Write an evaluation, unless the file holds more episodes of the same policy, and say so then."""
    try:
        old = json.loads(path.read_text())
        keys = [k for k in ("steps", "mode", "policy", "against") if k in old and k in result]
        if all(old[k] == result[k] for k in keys) and old["episodes"] > result["episodes"]:
            return f"{path} is kept: it has {old['episodes']:,} episodes of the same policy"
    except (OSError, ValueError, AttributeError, KeyError):
        pass  # nothing worth keeping
    write_json(path, result)
    return None
