"""Sweep files: YAML, read into the cells of a sweep.

    environments: [stochastic_coop_nav, deterministic_coop_nav]
    num_demos: [200, 1000]          # ignored by learners without demonstrations
    seeds: 3                        # 0, 1, 2; or a list
    settings: {eval_episodes: 1000} # for all algorithms that have them
    algorithms:
      amagail: {steps: 3000000}
      bc:                           # the learner's own settings
      bc_as_action: {learner: bc, phi: as_action}
      control: {learner: amagail, control: random, num_demos: [1000], seeds: [0]}
      magail:
        environments:               # the games it runs on, with settings for each
          stochastic_coop_nav: {steps: 3000000}
          deterministic_coop_nav: {}
    out: runs/tables                # --out replaces it
    paper:                          # returns or win rates that a paper reports, which reports show beside ours
      stochastic_coop_nav: {amagail: -16.0, bc: -26.1}
      smacv2_terran_5_vs_5: {mifq: 58 % won}

A cell is one run; its folder is OUT/environment/algorithm/demonstrations/seed_S. The name of an algorithm is
that of its learner, unless its entry has the key `learner`. All other keys of an entry are settings of the
learner, as on its command line (`set` may be a mapping: `set: {num_agents: 5}`). The top-level `environments`
may also be a mapping from id to settings of all algorithms there. An algorithm's own settings override these,
and its settings for an environment override both. `num_demos` and `seeds` may be given in all these places.

Treat sweep files as code: `environments` may name Python files of your own games, which are imported. Run other
people's sweep files only if you trust them.
"""

from __future__ import annotations

import dataclasses
import difflib
import importlib
import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from learners.lib.fields import field_types, fitting
from learners.lib.files import read_yaml
from learners.lib.settings import learner_names
from mail_envs.settings_text import game_id

NO_DEMOS = "no_demos"  # folder of learners that do not use demonstrations
KEYS = ("environments", "num_demos", "seeds", "settings", "algorithms", "out", "paper")
COUNTS = ("num_demos", "seeds")
WIN_RATE = re.compile(r"\d+(\.\d+)? % won")
RESERVED = ("env", "seed", "num_demos", "run_dir", "resume", "progress")


class SpecError(ValueError):
    """The sweep file is wrong, or the sweep cannot be run."""


@dataclasses.dataclass(frozen=True)
class Cell:
    """One run of a sweep; `algorithm` is the sweep's name for the learner with its settings.

    `env` is the id of the game; `game` is how the sweep names it, by its id or by the user's own file.
    """

    algorithm: str
    learner: str
    env: str
    num_demos: int | None
    seed: int
    settings: Mapping[str, Any]
    game: str

    @property
    def name(self) -> str:
        demos = NO_DEMOS if self.num_demos is None else self.num_demos
        return f"{self.env}/{self.algorithm}/{demos}/seed_{self.seed}"

    def record(self) -> dict[str, Any]:
        """The cell as JSON-able data, to be written into the run folder."""
        record = json.loads(json.dumps(dataclasses.asdict(self)))
        return {k: v for k, v in record.items() if k != "game"}

    def words(self) -> list[str]:
        """Command line of the learner, without the run folder."""
        words = ["--env", self.game, "--seed", str(self.seed)]
        if self.num_demos is not None:
            words += ["--num-demos", str(self.num_demos)]
        for key, value in self.settings.items():
            flag = key.replace("_", "-")
            if isinstance(value, bool):
                words.append(f"--{flag}" if value else f"--no-{flag}")
            elif isinstance(value, list):
                words += [f"--{flag}", *map(str, value)]
            else:
                words += [f"--{flag}", str(value)]
        return words


def read_spec(path: Path) -> dict[str, Any]:
    """The YAML file as a dictionary with all keys; `SpecError` when it is not a sweep."""
    try:
        spec = read_yaml(Path(path), aliases=True)
    except (OSError, ValueError) as error:
        raise SpecError(str(error)) from None
    if not {"environments", "algorithms"} <= spec.keys():
        raise SpecError(f"{path}: a sweep needs `environments` and `algorithms`")
    for key in spec:
        if key not in KEYS:
            raise SpecError(f"{path}: unknown key {key!r}; a sweep has {', '.join(KEYS)}")
    spec = {
        "num_demos": [200], "seeds": [0], "settings": {}, "out": "runs/sweep", "paper": {}, **spec,
    }  # fmt: skip
    spec["algorithms"] = _mapping(spec["algorithms"], "algorithms")
    spec["environments"] = _mapping(spec["environments"], "environments")
    spec["settings"] = _settings(spec["settings"], "settings")
    spec["paper"] = _mapping(spec["paper"], "paper") if spec["paper"] else {}
    for env, figures in spec["paper"].items():
        for name, value in figures.items():
            number = type(value) in (int, float) and math.isfinite(value)
            if not number and not (isinstance(value, str) and WIN_RATE.fullmatch(value)):
                raise SpecError(
                    f"{path}: paper: {env}: {name}={value!r} must be a number, or as in `63 % won`"
                )
    if not isinstance(spec["out"], str):
        raise SpecError(f"{path}: out={spec['out']!r} must be the path of a folder")
    for name in spec["algorithms"]:
        if not re.fullmatch(r"\w[^/\\]*", name):
            raise SpecError(f"{path}: the algorithm {name!r} cannot be the name of a folder")
    return spec


def cells(spec: dict[str, Any]) -> list[Cell]:
    """All runs, ordered by seed, so that all cells of a table fill up evenly."""
    learners = {a: str(own.get("learner", a)) for a, own in spec["algorithms"].items()}
    known = {name: settings_of(name) for name in set(learners.values())}
    shared = [spec["settings"], *spec["environments"].values()]
    for key in (k for settings in shared for k in settings):
        if key not in COUNTS and not any(key in k for k in known.values()):
            raise SpecError(f"setting {key!r} does not exist in {', '.join(sorted(known))}")
    found = []
    for algorithm, own in spec["algorithms"].items():
        learner = learners[algorithm]
        found += _cells_of(spec, algorithm, learner, dict(own), known[learner])
    for game, figures in spec["paper"].items():
        for name in figures:
            if not any((c.game, c.algorithm) == (game, name) for c in found):
                raise SpecError(f"paper: {game}: {name}: the sweep has no such cell")
    order = {id: k for k, id in enumerate(spec["environments"])}
    return sorted(found, key=lambda c: (c.seed, order.get(c.game, len(order))))


def _cells_of(
    spec, algorithm: str, learner: str, own: dict, known: Mapping[str, Any]
) -> list[Cell]:
    own.pop("learner", None)
    places = _mapping(own.pop("environments", list(spec["environments"])), algorithm)
    found = []
    for game, here in places.items():
        env = game_id(game)
        shared = {**spec["settings"], **spec["environments"].get(game, {})}
        shared = {k: v for k, v in shared.items() if k in known or k in COUNTS}
        settings = {**{k: spec[k] for k in COUNTS}, **shared, **own, **here}
        seeds = integers(settings.pop("seeds"), f"{algorithm}: seeds", 0)
        demos = settings.pop("num_demos")
        demos = integers(demos, f"{algorithm}: num_demos", 1) if "num_demos" in known else [None]
        if isinstance(settings.get("set"), dict):
            settings["set"] = [f"{name}={value}" for name, value in settings["set"].items()]
        for key, value in settings.items():
            _check(algorithm, learner, key, value, known)
        found += [Cell(algorithm, learner, env, n, s, settings, game) for s in seeds for n in demos]
    return found


def settings_of(learner: str) -> Mapping[str, Any]:
    """Names and types of the settings of a learner; `SpecError` when there is no such learner."""
    names = learner_names()
    if learner not in names:
        raise SpecError(f"learner {learner!r} is unknown; choose {', '.join(names)}")
    return field_types(importlib.import_module(f"learners.{learner}").Args)


def integers(value: Any, name: str, low: int) -> list[int]:
    """3 -> [3], or range(3) for seeds; a list of distinct integers of at least `low`."""
    if type(value) is int:
        value = list(range(value)) if name.endswith("seeds") else [value]
    good = isinstance(value, list) and bool(value) and len(set(map(str, value))) == len(value)
    if not good or not all(type(v) is int and v >= low for v in value):
        raise SpecError(f"{name}={value!r} must be a list of distinct integers of at least {low}")
    return list(value)


def _check(algorithm: str, learner: str, key: str, value: Any, known: Mapping[str, Any]) -> None:
    """`SpecError` when the learner has no such setting, or the value is invalid."""
    if key in RESERVED:
        raise SpecError(f"{algorithm}: {key!r} is set by the sweep, not by `settings`")
    if key not in known:
        near = difflib.get_close_matches(key, known, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise SpecError(f"{algorithm}: {learner} has no setting {key!r}{hint}")
    try:
        fitting(key, value, known[key])
    except (TypeError, ValueError) as error:
        raise SpecError(f"{algorithm}: {error}") from None
    if key == "eval_episodes" and not value:
        raise SpecError(f"{algorithm}: eval_episodes=0: a cell is finished by its evaluation")


def _mapping(value: Any, name: str) -> dict[str, dict]:
    """["a", "b"] or {"a": None, "b": {...}} -> name -> settings."""
    if isinstance(value, list):
        value = dict.fromkeys(value)
    if not isinstance(value, dict) or not value:
        raise SpecError(f"{name}={value!r} must be a list of names, or a mapping to settings")
    return {str(k): _settings(v, f"{name}: {k}") for k, v in value.items()}


def _settings(value: Any, name: str) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise SpecError(f"{name}={value!r} must be a mapping from settings to values")
    return dict(value)
