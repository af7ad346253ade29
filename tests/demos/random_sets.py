"""Sets of random demonstrations, for tests that need no game."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from demos.episode import Episode
from demos.layout import Layout
from demos.writer import DemonstrationWriter


def metadata(n=3, d=4, a=5, s=7, discrete=True, **entries):
    """Metadata like that of `describe(env)`."""
    layout = Layout(n, d, a, s, discrete, masked=discrete)
    return {
        "id": "some_game",
        "arguments": {},
        "player_function": {"type": "Synchronous"},
        "null_action": "null",
        "max_rounds": 50,
        "fixed_horizon": False,
        "agents": [f"agent_{i}" for i in range(n)],
        "observation_dims": [d] * n,
        "convention": None,
        "demonstrator": "nobody",
        "versions": {"mail_envs": "0"},
        "random_return": -10.0,
        "expert_return": 0.0,
        "layout": vars(layout),
        **entries,
    }


def random_episode(
    rng, t=6, n=3, d=4, a=5, s=7, discrete=True, seed=0, metrics=("score",)
) -> Episode:
    participation = rng.integers(0, 2, (t, n)).astype(np.uint8)
    if discrete:
        actions = rng.integers(0, a, (t, n)).astype(np.int32) * participation
    else:
        actions = rng.standard_normal((t, n, a)).astype(np.float32) * participation[..., None]
    masks = rng.integers(0, 2, (t + 1, n, a)).astype(np.uint8)
    masks[..., 0] = 1
    final = rng.integers(0, 2, n).astype(np.uint8)
    alive = rng.integers(0, 2, (t + 1, n)).astype(bool)
    alive |= np.concatenate([participation, final[None]]) > 0
    terminated = bool(rng.integers(2))
    return Episode(
        observations=rng.standard_normal((t + 1, n, d)).astype(np.float32),
        actions=actions,
        participation=participation,
        rewards=(rng.standard_normal((t, n)) * participation).astype(np.float32),
        states=rng.standard_normal((t + 1, s)).astype(np.float32),
        alive=alive,
        action_masks=masks if discrete else None,
        final_participation=final,
        terminated=terminated,
        truncated=not terminated,
        seed=seed,
        metrics={m: float(np.float32(rng.random())) for m in metrics},
    )


def write(
    path: Path, count: int, shard_bytes: int = 1 << 20, start: int = 0, **sizes
) -> list[Episode]:
    """A set of `count` random episodes with seeds start, start + 1, ...; returns the episodes."""
    rng = np.random.default_rng(start)
    episodes = [
        random_episode(rng, t=int(rng.integers(1, 12)), seed=start + k, **sizes)
        for k in range(count)
    ]
    meta = {k: v for k, v in sizes.items() if k != "metrics"}
    with DemonstrationWriter.create(path, metadata(**meta), shard_bytes=shard_bytes) as writer:
        for episode in episodes:
            writer.append(episode)
    return episodes


def assert_same(a: Episode, b: Episode) -> None:
    for name in ("observations", "actions", "participation", "rewards", "states", "action_masks", "alive",
                 "final_participation"):  # fmt: skip
        one, other = getattr(a, name), getattr(b, name)
        if one is None or other is None:
            assert one is other, name
        else:
            assert one.dtype == other.dtype and np.array_equal(one, other), name
    assert (a.terminated, a.truncated, a.seed) == (b.terminated, b.truncated, b.seed)
    assert a.metrics == b.metrics and a.derived == b.derived
