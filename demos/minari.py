"""Exchange with Minari: `to_minari(demonstrations)` and `from_minari(dataset_id, out)`.

Minari does not support several agents. The following layout works with Minari's own reader and with
TorchRL's `MinariExperienceReplay` (HDF5; every leaf a Box or Discrete of float32, int64 or uint8):

```
observation   agents / <agent> / observation   float32 (D,), of the agent's own size
              agents / <agent> / action_mask   uint8 (A + 1,): the agent's A actions, then the null action φ
              agents / <agent> / acting        uint8 (1,): participation on this observation, m of M action sets
              agents / <agent> / alive         uint8 (1,): 0 for the dead
              state                            float32 (S,)
action        <agent>                          Discrete(A + 1), φ where the agent did not act
rewards       mean over the game's return agents
infos         reward / <agent>                 float32 (1,): reward of the previous round, 0 in the first
```

Continuous actions are Boxes, zero where the agent did not act, and have no masks. Our metadata are stored in
the dataset's metadata under `mail_envs`, the reference returns under Minari's names, and seeds and metrics in
the episodes' metadata. `EpisodeBuffer` is filled with whole arrays, which needs neither the extra
`minari[create]` nor jax.
"""

from __future__ import annotations

import re
import shutil
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from demos.dataset import Demonstrations
from demos.episode import Episode
from demos.layout import DemonstrationError
from demos.manifest import FORMAT, action_dims_of, checked, shown
from demos.writer import new_set


def to_minari(demonstrations: Demonstrations, dataset_id: str | None = None) -> Any:
    """Write a Minari dataset into the local Minari folder, and return it.

    `dataset_id` is `mail/<game>/<demonstrator>-v0` unless given.
    """
    minari = _minari()
    from gymnasium.spaces import Box, Dict, Discrete
    from minari.storage.datasets_root_dir import get_dataset_path

    meta, layout = demonstrations.metadata, demonstrations.layout
    demonstrator = meta.get("demonstrator") or "unknown"
    version = (meta.get("versions") or {}).get("mail_envs")
    dataset_id = dataset_id or f"mail/{_slug(meta['id'])}/{_slug(demonstrator)}-v0"
    path = Path(get_dataset_path(dataset_id))
    if path.exists():
        raise DemonstrationError(f"the Minari dataset {dataset_id!r} exists already at {path}")
    per_agent = {}
    actions = {}
    for agent, dims, n in _agents(meta):
        leaves = {
            "observation": Box(-np.inf, np.inf, (dims,), np.float32),
            "acting": Box(0, 255, (1,), np.uint8),
            "alive": Box(0, 1, (1,), np.uint8),
        }
        if layout.discrete:
            leaves["action_mask"] = Box(0, 1, (n + 1,), np.uint8)
        per_agent[agent] = Dict(leaves)
        box = Box(-np.inf, np.inf, (n,), np.float32)
        actions[agent] = Discrete(n + 1) if layout.discrete else box
    state = Box(-np.inf, np.inf, (layout.state_size,), np.float32)
    try:
        with warnings.catch_warnings():
            # Minari warns about optional metadata that we do not have.
            warnings.simplefilter("ignore", UserWarning)
            dataset = minari.create_dataset_from_buffers(
                dataset_id,
                _buffers(demonstrations),
                observation_space=Dict({"agents": Dict(per_agent), "state": state}),
                action_space=Dict(actions),
                algorithm_name=demonstrator,
                description=f"{meta['id']}: {len(demonstrations)} episodes recorded with mail_envs",
                requirements=[f"mail-envs=={version}" if version else "mail-envs"],
                data_format="hdf5",
                jpeg_encoding=False,
            )
        references = {
            "ref_min_score": meta.get("random_return"),
            "ref_max_score": meta.get("expert_return"),
        }
        dataset.storage.update_metadata(
            {
                "mail_envs": {**meta, "layout": {**vars(layout)}},
                **{k: v for k, v in references.items() if v is not None},
            }
        )
    except BaseException:
        shutil.rmtree(path, ignore_errors=True)
        raise
    return minari.load_dataset(dataset_id)


def _agents(meta: dict[str, Any]) -> Iterator[tuple[str, int, int]]:
    """Name, length of the observation and number of actions of every agent."""
    return zip(meta["agents"], meta["observation_dims"], action_dims_of(meta), strict=True)


def _buffers(demonstrations: Demonstrations) -> Iterator[Any]:
    """One `EpisodeBuffer` per episode."""
    from minari.data_collector import EpisodeBuffer

    meta, layout = demonstrations.metadata, demonstrations.layout
    agents = meta["agents"]
    counted = [agents.index(a) for a in meta.get("return_agents") or agents]
    for number, episode in enumerate(demonstrations):
        t = len(episode)
        acting = np.concatenate([episode.participation, episode.final_participation[None]])
        observations, actions, rewards = {}, {}, {}
        for i, (agent, dims, n) in enumerate(_agents(meta)):
            leaves = {
                "observation": episode.observations[:, i, :dims],
                "acting": acting[:, i, None],
                "alive": episode.alive[:, i, None].astype(np.uint8),
            }
            if layout.discrete:
                absent = acting[:, i, None] == 0
                waits = absent & (episode.derived | episode.alive[:, i, None])
                mask = np.where(waits, 0, episode.action_masks[:, i, :n])
                leaves["action_mask"] = np.concatenate([mask, absent], axis=1).astype(np.uint8)
                chosen = np.where(absent[:-1, 0], n, episode.actions[:, i])
                actions[agent] = chosen.astype(np.int64)
            else:
                actions[agent] = episode.actions[:, i, :n]
            observations[agent] = leaves
            column = np.concatenate([[0], episode.rewards[:, i]]).astype(np.float32)
            rewards[agent] = column[:, None]
        end = np.arange(t) == t - 1
        yield EpisodeBuffer(
            id=number,
            seed=episode.seed,
            options={"metrics": dict(episode.metrics)} if episode.metrics else None,
            observations={"agents": observations, "state": episode.states},
            actions=actions,
            rewards=list(episode.rewards[:, counted].mean(axis=1)),
            terminations=list(end & episode.terminated),
            truncations=list(end & episode.truncated),
            infos={"reward": rewards},
        )


def from_minari(dataset: Any, out: str | Path) -> Demonstrations:
    """Import a dataset that `to_minari` wrote, given by its id or as a `MinariDataset`, into a new set.

    DemonstrationError: another program wrote it, or it is damaged.
    """
    minari = _minari()
    if isinstance(dataset, str):
        dataset = minari.load_dataset(dataset)
    meta = dataset.storage.metadata.get("mail_envs")
    if meta is None:
        raise DemonstrationError(
            f"the Minari dataset {dataset.spec.dataset_id!r} was not written by to_minari: it has no data "
            f"on agents and participation"
        )
    source = f"the Minari dataset {dataset.spec.dataset_id!r}"
    if not isinstance(meta, dict):
        raise DemonstrationError(f"{source}: mail_envs cannot be {shown(meta)}")
    meta = checked(source, {"format": FORMAT, "schema_version": 1, **meta, "shards": []})
    with new_set(out, meta) as writer:
        attributes = dataset.storage.get_episode_metadata(dataset.episode_indices)
        for data, entries in zip(dataset.iterate_episodes(), attributes, strict=True):
            try:
                episode = _episode(data, entries, meta, writer.layout.metrics)
            except (KeyError, IndexError, TypeError, ValueError) as error:
                raise DemonstrationError(
                    f"{source}: an episode does not fit the metadata ({type(error).__name__}: {error})"
                ) from None
            writer.append(episode)
    return Demonstrations.open(out)


def _episode(
    data: Any, attributes: dict[str, Any], meta: dict[str, Any], names: Sequence[str]
) -> Episode:
    agents, layout = meta["agents"], meta["layout"]
    leaves = [data.observations["agents"][a] for a in agents]
    t = len(data.rewards)
    for leaf, (agent, dims, n) in zip(leaves, _agents(meta), strict=True):
        _check_shape(f"observation of {agent}", leaf["observation"], t + 1, dims)
        if layout["discrete"]:
            _check_shape(f"action_mask of {agent}", leaf["action_mask"], t + 1, n + 1)
        _check_shape(f"action of {agent}", data.actions[agent], t, *[n] * (not layout["discrete"]))
    observations = np.zeros((t + 1, len(agents), layout["observation_size"]), np.float32)
    acting = np.stack([leaf["acting"][:, 0] for leaf in leaves], axis=1)
    derived = meta.get("schema_version", 1) == 1  # such sets keep nothing of who is alive
    alive = np.ones((t + 1, len(agents)), bool)
    if not derived:
        alive = np.stack([leaf["alive"][:, 0] != 0 for leaf in leaves], axis=1)
    padded = (len(agents), layout["num_actions"])
    masks = np.zeros((t + 1, *padded), np.uint8) if layout["discrete"] else None
    actions = np.zeros((t, *padded[: 1 if layout["discrete"] else 2]), np.float32)
    for i, (agent, dims, n) in enumerate(_agents(meta)):
        observations[:, i, :dims] = leaves[i]["observation"]
        if masks is None:
            actions[:, i, :n] = data.actions[agent]
            continue
        absent = acting[:, i] == 0
        actions[:, i] = np.where(absent[:-1], 0, data.actions[agent])
        masks[:, i, :n] = leaves[i]["action_mask"][:, :-1]
        # With "null", a mask allows everything to an agent that waits.
        if meta.get("null_action", "null") == "null":
            masks[absent & alive[:, i], i, :n] = 1
    if masks is not None:
        actions = actions.astype(np.int32)
    metrics = attributes.get("options", {}).get("metrics", {})
    return Episode(
        observations=observations,
        actions=actions,
        participation=acting[:-1],
        rewards=np.concatenate([data.infos["reward"][a][1:] for a in agents], axis=1),
        states=data.observations["state"],
        alive=alive,
        action_masks=masks,
        final_participation=acting[-1],
        terminated=bool(data.terminations[-1]),
        truncated=bool(data.truncations[-1]),
        seed=int(attributes["seed"]),
        metrics={k: float(metrics[k]) for k in names},
        derived=derived,
    )


def _check_shape(name: str, leaf: Any, *shape: int) -> None:
    """ValueError unless a leaf has this shape: NumPy would repeat a shorter one, and the metadata may lie."""
    if np.shape(leaf) != shape:
        raise ValueError(f"{name} has the shape {np.shape(leaf)}, expected {shape}")


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9_]+", "_", text).strip("_").lower() or "unknown"


def _minari() -> Any:
    try:
        import minari
        import minari.dataset._storages  # needs h5py and Pillow, which Minari does not require by itself
    except ImportError as error:
        raise DemonstrationError(
            f"Minari's HDF5 storage is not available ({error}): pip install 'minari[hdf5]' pillow"
        ) from None
    return minari
