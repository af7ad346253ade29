"""Import of OG-MARL's recordings of StarCraft battles (SMAC), which were made in the real game (Formanek et al., 2023).

OG-MARL hands out "vaults" of the library Flashbax, folders that hold compressed arrays with one row per round of all
episodes after each other: observations, actions, rewards, terminals and truncations of every agent, and infos.state and
infos.legals, the allowed actions. They are read with tensorstore (`pip install 'mail-envs[og-marl]'`), without JAX.

What a vault does not say:
- the last observation. Where the battle ended, nothing is learned from what was seen after it, and the last row is repeated.
  Where the recording was cut, the last round is dropped, so that its observation is what was truly seen last.
- how an episode ended that the end of the vault cuts. It is left out, with a warning.
- who was alive: agents whose only allowed action is SMAC's no-op are dead. As in our recordings, they do not act and are not
  paid.
- who won: the only metric is `team_return`.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from demos.dataset import Demonstrations
from demos.description import describe
from demos.episode import Episode
from demos.layout import DemonstrationError, DemonstrationWarning
from demos.manifest import MAX_BYTES
from demos.writer import new_set
from mail_envs.plain_files import open_regular

NO_OP = 0  # SMAC's action of the dead
ROUNDS = 50_000  # read at a time
LEAVES = ("observations", "actions", "rewards", "terminals", "truncations", "infos.state", "infos.legals")  # fmt: skip


def from_og_marl(vault: str | Path, env: Any, out: str | Path) -> Demonstrations:
    """Import a vault of battles into a new set.

    Args:
        vault: the vault's folder with metadata.json, such as 3m.vlt/Good.
        env: the game that it is of, a `VectorGame` such as that of smac_3m.
        out: folder of the new set.

    Raises:
        DemonstrationError: it is no such vault, does not fit the game, or tensorstore is not installed.
    """
    vault = Path(vault)
    described = describe(env, f"OG-MARL {vault.parent.name}/{vault.name}")
    arrays = Vault(vault)
    arrays.check(env)
    described["convention"] = "recorded in the real game; last observations are repeated"
    with new_set(out, described) as writer:
        for number, rows in enumerate(arrays.episodes()):
            try:
                writer.append(_episode(rows, number, env))
            except DemonstrationError as error:
                raise DemonstrationError(f"{vault}: episode {number}: {error}") from None
        if not writer.episodes:
            raise DemonstrationError(f"{vault}: no episode has ended")
        if arrays.unfinished:
            notice = f"{vault}: left out {arrays.unfinished} rounds of an episode that did not end"
            warnings.warn(notice, DemonstrationWarning, stacklevel=2)
    return Demonstrations.open(out)


class Vault:
    """The arrays of a vault, by the names in `LEAVES`; rounds of all episodes are along their first axis.

    Attributes:
        length: number of rounds. unfinished: those after the last episode that ended, once `episodes` has come to them.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, names = folder, _leaves(folder)
        missing = [name for name in LEAVES if name not in names]
        if missing:
            raise DemonstrationError(
                f"{folder}: the vault has no {', '.join(missing)}; it has {', '.join(sorted(names)[:20])}"
            )
        self.stores = {name: _opened(folder, name + ".") for name in LEAVES}
        index = _opened(folder, "vault_index").read().result()
        self.length, self.unfinished = int(np.ravel(index)[0]), 0
        for name, store in self.stores.items():
            if len(store.shape) < 3 or store.shape[0] != 1 or not 0 < self.length <= store.shape[1]:
                raise DemonstrationError(
                    f"{folder}: {name} has the shape {tuple(store.shape)}, expected (1, rounds, ...) with at least "
                    f"{self.length} rounds"
                )

    def check(self, env: Any) -> None:
        """Raise a `DemonstrationError` unless the sizes are those of the game."""
        N, D, A = env.num_agents, max(env.observation_dims), env.num_actions
        if not env.discrete or min(env.observation_dims) != D or min(env.action_dims) != A:
            raise DemonstrationError(
                f"{env.id!r} is no battle: OG-MARL vaults of SMAC cannot be it"
            )
        expected = {
            "observations": (N, D), "actions": (N,), "rewards": (N,), "terminals": (N,), "truncations": (N,),
            "infos.state": (env.state_space.shape[0],), "infos.legals": (N, A),
        }  # fmt: skip
        for name, shape in expected.items():
            found = tuple(self.stores[name].shape[2:])
            if found != shape:
                raise DemonstrationError(
                    f"{self.folder}: {name} of one round has the shape {found}, that of {env.id!r} is {shape}"
                )

    def episodes(self) -> Iterator[dict[str, np.ndarray]]:
        """The rounds of every episode that ended, (T, ...) each."""
        kept: dict[str, np.ndarray] = {}
        for start in range(0, self.length, ROUNDS):
            part = slice(start, min(start + ROUNDS, self.length))
            read = {k: np.asarray(s[0, part].read().result()) for k, s in self.stores.items()}
            kept = {k: np.concatenate([kept[k], x]) if kept else x for k, x in read.items()}
            ended = kept["terminals"].any(1) | kept["truncations"].any(1)
            cuts = np.flatnonzero(ended) + 1
            before = 0
            for cut in cuts.tolist():
                yield {k: x[before:cut] for k, x in kept.items()}
                before = cut
            kept = {k: x[before:] for k, x in kept.items()}
        self.unfinished = len(kept["actions"])


def _episode(rows: dict[str, np.ndarray], number: int, env: Any) -> Episode:
    """One episode. DemonstrationError: it has actions that were not allowed, or is too short."""
    terminated = bool(rows["terminals"][-1].any())
    legal = rows["infos.legals"] != 0
    taken = rows["actions"].astype(np.int64)
    if ((taken < 0) | (taken >= legal.shape[-1])).any():
        raise DemonstrationError(f"actions must be 0 to {legal.shape[-1] - 1}")
    illegal = ~np.take_along_axis(legal, taken[..., None], -1)[..., 0]
    if illegal.any():
        t, i = np.argwhere(illegal)[0]
        raise DemonstrationError(
            f"agent {i} took the action {taken[t, i]} in round {t}, which was not allowed"
        )
    T = len(taken) if terminated else len(taken) - 1
    if T < 1:
        raise DemonstrationError("it has a single round, and how that ended is unknown")
    follows = np.minimum(np.arange(T + 1), len(taken) - 1)  # after the end, the last row again
    mask = legal[follows]
    alive = ~(mask[..., NO_OP] & (mask.sum(-1) == 1))
    acts = alive[:T]
    rewards = np.where(acts, rows["rewards"][:T], 0.0).astype(np.float32)
    return Episode(
        observations=rows["observations"][follows].astype(np.float32),
        actions=np.where(acts, taken[:T], 0).astype(np.int32),
        participation=acts.astype(np.uint8),
        rewards=rewards,
        states=rows["infos.state"][follows].astype(np.float32),
        alive=alive,
        action_masks=mask.astype(np.uint8),
        final_participation=alive[T].astype(np.uint8),
        terminated=terminated,
        truncated=not terminated,
        seed=number,
        metrics={"team_return": float(rows["rewards"][:T].max(-1).sum())},
    )


def _leaves(folder: Path) -> set[str]:
    """Names of the arrays that metadata.json lists."""
    path = folder / "metadata.json"
    try:
        with open_regular(path) as file:
            data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise ValueError("it is too large")
        structure = json.loads(data)["structure_shape"]
    except FileNotFoundError:
        raise DemonstrationError(
            f"{folder}: not a vault: it has no metadata.json (give the folder inside, such as 3m.vlt/Good)"
        ) from None
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        reason = str(error).removeprefix(f"{path}: ")
        raise DemonstrationError(f"{path}: not a vault's metadata: {reason}") from None
    if not isinstance(structure, dict):
        raise DemonstrationError(f"{path}: structure_shape must be a mapping")
    inner = {k: v for k, v in structure.items() if isinstance(v, dict)}
    flat = {k for k in structure if k not in inner}
    return flat | {f"{outer}.{name}" for outer, names in inner.items() for name in names}


def _opened(folder: Path, name: str) -> Any:
    """An array of a vault, not read yet."""
    try:
        import tensorstore
    except ImportError:
        raise DemonstrationError(
            "OG-MARL vaults are read with tensorstore: pip install 'mail-envs[og-marl]'"
        ) from None
    # Not as an address, where #, ? and %20 have a meaning of their own.
    base = {"driver": "file", "path": f"{folder.resolve()}/"}
    spec = {"driver": "zarr", "kvstore": {"driver": "ocdbt", "base": base, "path": name}}
    try:
        return tensorstore.open(spec, open=True, read=True, write=False).result()
    except ValueError as error:
        reason = " ".join(str(error).split())[:200]
        raise DemonstrationError(
            f"{folder}: the array {name.rstrip('.')} cannot be read: {reason}"
        ) from None
