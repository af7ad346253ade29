"""Demonstrations: open, select and mix sets of episodes, and read them as arrays.

```python
d = Demonstrations.open("runs/demos/stochastic_coop_nav")   # lazy: memory-mapped
d.first(200), d.sample(200, seed=0), d[10:20]               # views: nothing is copied
d[0].observations                                           # one Episode
d.transitions().actions                                     # flat arrays over all selected episodes
```
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, overload

import numpy as np

from demos.description import describe
from demos.episode import Episode, EpisodeTable, Transitions, to_episode
from demos.layout import DemonstrationError, DemonstrationWarning, Layout
from demos.manifest import action_dims_of, read_manifest
from demos.store import Shard, open_shards


class Demonstrations(Sequence):
    """A selection of episodes from one or more sets on disk.

    Attributes:
        metadata: the manifest without its list of shards: `id, arguments, player_function, null_action,
            agents, observation_dims, action_dims, convention, demonstrator, versions, random_return, expert_return`,
            and the `statistics` of the whole set.
        layout: array sizes, the same in all episodes.
        notices: what was skipped when the set was opened (an unfinished last episode, damaged episodes).
    """

    def __init__(
        self,
        shards: list[Shard],
        index: np.ndarray,
        metadata: dict[str, Any],
        layout: Layout,
        notices: tuple[str, ...] = (),
    ) -> None:
        # index: int64 (K, 2), the shard of each episode and its number there
        self._shards, self._index = shards, index
        self.metadata, self.layout, self.notices = metadata, layout, notices

    # --- opening -----------------------------------------------------------------------------------------

    @classmethod
    def open(cls, path: str | Path, recover: bool = False, verify: bool = True) -> Demonstrations:
        """Open a set. Episodes are read from disk when they are first accessed.

        Args:
            path: the set's folder.
            recover: check every episode, and skip damaged episodes and missing shards with a notice
                instead of raising.
            verify: compare the SHA-256 of every closed shard (about half a second per gigabyte). Without
                it, opening takes milliseconds; damage is then found by an episode's own checksum when
                the episode is read.

        Raises:
            DemonstrationError: there is no set, or part of it is damaged.
        """
        folder = Path(path)
        manifest = read_manifest(folder)
        shards, index, notices, damage = [], [], [], []
        for number, shard in enumerate(open_shards(folder, manifest)):
            problem = shard.problem(verify or recover)
            if problem is not None or recover:
                shard, problem = _recovered(shard, problem)
            episodes = np.flatnonzero(shard.intact()) if problem else np.arange(len(shard))
            if problem is not None:
                damage.append(f"{shard.path}: {problem} ({len(episodes)} episodes readable)")
            elif shard.closed is None and shard.unfinished:
                notices.append(
                    f"{shard.path}: ignored {shard.unfinished} bytes of an unfinished episode; "
                    f"{len(shard)} episodes of this shard are complete"
                )
            shards.append(shard)
            index.append(np.stack([np.full(len(episodes), number), episodes], axis=1))
        together = np.concatenate(index) if index else np.zeros((0, 2), np.int64)
        if damage and not recover:
            raise DemonstrationError(
                f"{'; '.join(damage[:3])}{'; ...' * (len(damage) > 3)}. {len(together)} episodes of the set "
                f"are still readable: Demonstrations.open({str(path)!r}, recover=True), or repair the set: "
                f"python -m demos.inspect {path} --repair"
            )
        notices += [f"skipped damaged data in {part}" for part in damage]
        for notice in notices:
            warnings.warn(notice, DemonstrationWarning, stacklevel=2)
        metadata = {k: v for k, v in manifest.items() if k not in ("shards", "layout", "format")}
        metadata["action_dims"] = action_dims_of(manifest)
        return cls(shards, together, metadata, Layout(**manifest["layout"]), tuple(notices))

    # --- episodes ------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        """Number of episodes."""
        return len(self._index)

    @overload
    def __getitem__(self, key: int) -> Episode: ...
    @overload
    def __getitem__(self, key: slice | Sequence[int] | np.ndarray) -> Demonstrations: ...
    def __getitem__(self, key):
        if not isinstance(key, (int, np.integer)):
            picked = self._index[key if isinstance(key, slice) else np.asarray(key)]
            return Demonstrations(self._shards, picked, self.metadata, self.layout, self.notices)
        if not -len(self) <= key < len(self):
            raise IndexError(f"episode {key} of a set of {len(self)} episodes")
        shard, k = self._index[key]
        return to_episode(self._shards[shard].layout, self._shards[shard].rows([int(k)]))

    def __iter__(self) -> Iterator[Episode]:
        return (self[k] for k in range(len(self)))

    def __repr__(self) -> str:
        who = self.metadata.get("demonstrator")
        return f"Demonstrations({self.metadata['id']!r}, {len(self)} episodes by {who!r})"

    def first(self, n: int) -> Demonstrations:
        """The first n episodes."""
        self._check_count(n)
        return self[:n]

    def sample(self, n: int, seed: int = 0) -> Demonstrations:
        """Draw n different episodes with `seed`, in random order."""
        self._check_count(n)
        return self[np.random.default_rng(seed).permutation(len(self))[:n]]

    def _check_count(self, n: int) -> None:
        if not 0 < n <= len(self):
            raise DemonstrationError(f"asked for {n} episodes of a set that holds {len(self)}")

    @cached_property
    def lengths(self) -> np.ndarray:
        """T of every episode, int64 (K,)."""
        out = np.empty(len(self), np.int64)
        for shard, where, k in self.by_shard():
            out[where] = shard.lengths[k]
        return out

    def by_shard(self) -> Iterator[tuple[Shard, np.ndarray, np.ndarray]]:
        """For each shard in use: the shard, positions in this selection, positions in the shard."""
        for number in np.unique(self._index[:, 0]):
            where = np.flatnonzero(self._index[:, 0] == number)
            yield self._shards[number], where, self._index[where, 1]

    # --- flat arrays -----------------------------------------------------------------------------------------

    def transitions(self) -> Transitions:
        """Load all selected episodes into memory as flat arrays, each round with its true successor."""
        lengths = self.lengths
        total = int(lengths.sum())
        starts = np.cumsum(lengths) - lengths
        arrays = replace(self.layout, alive=True).arrays()
        names = ["round", *arrays]
        out: dict[str, Any] = {
            k: np.empty((total, *shape), dtype) for k, (dtype, shape) in arrays.items()
        }
        following = ("observations", "state", "alive", "action_mask", "participation")
        following = [name for name in following if name in arrays]
        for name in following:
            out[f"next_{name}"] = np.empty_like(out[name])
        out["round"] = np.empty(total, np.int32)
        ends = {k: np.zeros(total, bool) for k in ("terminated", "truncated")}
        for shard, where, k in self.by_shard():
            for columns, positions, sources in _gather(shard, where, k):
                length = lengths[positions]
                to = _ranges(starts[positions], length)
                source = _ranges(sources, length)
                for name in names:
                    _copy(out[name], to, columns[name], source)
                for name in following:
                    _copy(out[f"next_{name}"], to, columns[name], source + 1)
                for name, flags in ends.items():
                    flags[starts[positions] + length - 1] = columns[name][sources + length] != 0
        return Transitions(
            action_mask=out.pop("action_mask", None),
            next_action_mask=out.pop("next_action_mask", None),
            alive=out.pop("alive").view(np.bool_),
            next_alive=out.pop("next_alive").view(np.bool_),
            episode=np.repeat(np.arange(len(self)), lengths),
            **out,
            **ends,
        )

    def table(self) -> EpisodeTable:
        """Returns, lengths, participation, seeds and outcomes, one row per episode."""
        n = self.layout.num_agents
        metrics = [f"metric.{m}" for m in self.layout.metrics]
        out = {
            "returns": np.empty((len(self), n)),
            "participation": np.empty((len(self), n)),
            **{k: np.empty(len(self), np.int64) for k in ("seed", "terminated", "truncated")},
            **{k: np.empty(len(self), np.float32) for k in metrics},
        }
        last = ["seed", "terminated", "truncated", *metrics]
        for shard, where, k in self.by_shard():
            columns = shard.rows(k, ["rewards", "participation", *last])
            rows = shard.lengths[k] + 1
            stops = np.cumsum(rows)
            acted = (columns["participation"] > 0).astype(np.float64)
            acted[stops - 1] = 0  # who would have acted next
            out["returns"][where] = np.add.reduceat(
                columns["rewards"].astype(np.float64), stops - rows
            )
            out["participation"][where] = np.add.reduceat(acted, stops - rows) / (rows - 1)[:, None]
            for name in last:
                out[name][where] = columns[name][stops - 1]
        return EpisodeTable(
            returns=out["returns"],
            lengths=self.lengths,
            participation=out["participation"],
            seeds=out["seed"],
            terminated=out["terminated"] != 0,
            truncated=out["truncated"] != 0,
            metrics={m.removeprefix("metric."): out[m] for m in metrics},
        )

    def episode_returns(self, table: EpisodeTable | None = None) -> np.ndarray:
        """Return of each episode, float64 (K,): the mean over agents, or over the game's `return_agents`
        if it has any (the prey in predator-prey).
        """
        returns = (table or self.table()).returns
        agents = self.metadata["agents"]
        counted = self.metadata.get("return_agents") or agents
        return returns[:, [agents.index(a) for a in counted]].mean(axis=1)

    def statistics(self) -> dict[str, Any]:
        """Statistics of this selection as a JSON-compatible dictionary; see `episode_returns`."""
        if not len(self):
            return {"episodes": 0, "transitions": 0}
        table = self.table()
        returns = self.episode_returns(table)
        agents = self.metadata["agents"]
        out = {
            "episodes": len(self),
            "transitions": int(table.lengths.sum()),
            "return_mean": float(returns.mean()),
            "return_sd": float(returns.std(ddof=1)) if len(self) > 1 else 0.0,
            "agent_return_mean": dict(
                zip(agents, table.returns.mean(axis=0).tolist(), strict=True)
            ),
            "length_mean": float(table.lengths.mean()),
            "terminated": float(table.terminated.mean()),
            "participation": dict(
                zip(agents, table.participation.mean(axis=0).tolist(), strict=True)
            ),
            "metrics": {name: float(values.mean()) for name, values in table.metrics.items()},
        }
        low, high = self.metadata.get("random_return"), self.metadata.get("expert_return")
        if low is not None and high is not None and low != high:
            out["normalized_return"] = (out["return_mean"] - low) / (high - low)
        return out

    # --- compatibility -----------------------------------------------------------------------------------------

    def check_compatible(self, env: Any) -> None:
        """Raise a `DemonstrationError` unless these demonstrations can be used to train agents in `env`.

        The game, its agents, their observations and actions, and the player function must be the same;
        the horizon and reward options may differ. The extra action of `null_action="as_action"` is ignored.
        """
        other = describe(env)
        mine = {**self.metadata, **vars(self.layout)}
        theirs = json.loads(json.dumps({**other, **other["layout"]}))
        for key, word in _COMPARED.items():
            if mine.get(key) != theirs.get(key):
                raise DemonstrationError(
                    f"these demonstrations do not fit the environment: {word} {_shown(mine.get(key))} "
                    f"in the demonstrations of {self.metadata['id']!r}, {_shown(theirs.get(key))} in "
                    f"{env.id!r}"
                )


def _shown(value: Any) -> str:
    """A metadata value as text; player functions are shown as calls."""
    if not isinstance(value, dict) or "type" not in value:
        return repr(value)
    arguments = ", ".join(f"{k}={v!r}" for k, v in value.items() if k != "type")
    return f"{value['type']}({arguments})"


_COMPARED = {
    "id": "game",
    "agents": "agents",
    "observation_dims": "observation sizes",
    "discrete": "discrete actions:",
    "action_dims": "numbers of actions",
    "state_size": "state size",
    "player_function": "player function",
}


def mix(a: Demonstrations, b: Demonstrations, noise_ratio: float, seed: int = 0) -> Demonstrations:
    """Replace a fraction `noise_ratio` of the episodes of `a` by episodes of `b`.

    `seed` determines which episodes are kept, which are added, and their order.
    """
    if not 0.0 <= noise_ratio <= 1.0:
        raise DemonstrationError(f"noise_ratio={noise_ratio!r} is outside [0, 1]")
    keys = ("id", "agents", "observation_dims", "action_dims", "player_function")
    differing = [k for k in keys if a.metadata.get(k) != b.metadata.get(k)]
    alike = replace(a.layout, alive=True) == replace(b.layout, alive=True)
    if differing or not alike:
        named = "; ".join(
            f"{k}: {a.metadata.get(k)!r} and {b.metadata.get(k)!r}" for k in differing
        )
        raise DemonstrationError(
            f"mix: the two sets are not compatible ({named or f'{a.layout} and {b.layout}'})"
        )
    noisy = round(noise_ratio * len(a))
    if noisy > len(b):
        raise DemonstrationError(
            f"mix: noise_ratio={noise_ratio} of {len(a)} episodes needs {noisy}, but the second set has {len(b)}"
        )
    rng = np.random.default_rng(seed)
    kept = a._index[rng.permutation(len(a))[: len(a) - noisy]]
    added = b._index[rng.permutation(len(b))[:noisy]] + [len(a._shards), 0]
    together = rng.permutation(np.concatenate([kept, added]))
    metadata = {
        **a.metadata,
        "demonstrator": f"{a.metadata.get('demonstrator')} + {noise_ratio:g} {b.metadata.get('demonstrator')}",
        "mixed_with": {k: b.metadata.get(k) for k in ("id", "demonstrator", "arguments")},
        "noise_ratio": noise_ratio,
        "schema_version": min(a.metadata["schema_version"], b.metadata["schema_version"]),
    }
    layout = replace(a.layout, alive=a.layout.alive and b.layout.alive)
    return Demonstrations(a._shards + b._shards, together, metadata, layout, a.notices + b.notices)


def _recovered(shard: Shard, problem: str | None) -> tuple[Shard, str | None]:
    """The shard and what is wrong with it, or None; a damaged one without its manifest entry."""
    if problem is None and shard.intact().all():
        return shard, None
    return shard.unclosed(), problem or f"episode {np.argmin(shard.intact())} is damaged"


Piece = tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]
PIECE_ROWS = 100_000  # rows copied at a time


def _gather(shard: Shard, where: np.ndarray, k: np.ndarray) -> Iterator[Piece]:
    """Columns, positions in the selection, and first rows of the episodes k of a shard, in pieces."""
    rows = shard.lengths[k] + 1
    cuts = np.flatnonzero(np.diff(np.cumsum(rows) // PIECE_ROWS)) + 1
    for part in np.split(np.arange(len(k)), cuts):
        yield shard.rows(k[part]), where[part], np.cumsum(rows[part]) - rows[part]


def _ranges(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """start, start + 1, ..., start + length - 1 for each pair, in one array."""
    before = np.cumsum(lengths) - lengths
    return np.repeat(starts - before, lengths) + np.arange(int(lengths.sum()))


def _copy(out: np.ndarray, to: np.ndarray, column: np.ndarray, source: np.ndarray) -> None:
    if len(to) and to[-1] - to[0] + 1 == len(to) and np.all(np.diff(to) == 1):
        np.take(column, source, axis=0, out=out[to[0] : to[-1] + 1], mode="clip")
    else:
        out[to] = column[source]
