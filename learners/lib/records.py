"""Runs as reports see them: what a run folder holds, the name of its game and of its algorithm."""

from __future__ import annotations

import dataclasses
import importlib
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from learners.lib.evaluation_file import NAMES, read_evaluation
from learners.lib.metrics_file import read_metrics
from learners.lib.settings import OPERATIONAL, learner_names, read_config
from learners.lib.sources import sweep_name
from mail_envs.recorded import shown_player_function
from mail_envs.settings_text import parse_settings, player_function_config

# Settings in which the runs of one cell may differ; the last two are part of the task.
FREE = {*OPERATIONAL, "seed", "run_dir", "resume", "set", "player_function"}
INCIDENTAL = {
    *FREE, "learner", "env", "max_rounds", "fixed_horizon", "steps", "demos", "num_demos", "budget", "control",
}  # fmt: skip
Key = tuple[str, str, int | None]  # task, algorithm, number of demonstrations


@dataclasses.dataclass(frozen=True)
class RunRecord:
    """One run folder, or a run in `runs.csv` (`folder` is that file, and `config` holds little).

    `steps` and `returns` are its learning curve, `wins` the win rates at the same steps, NaN where the game does not
    report who won. `evaluation` is None before the end. `greedy`: the evaluation of the same policy's most likely
    actions, or None. `trained`: steps in the last line of the metrics.
    """

    folder: Path
    config: dict[str, Any]
    evaluation: dict[str, Any] | None
    steps: np.ndarray
    returns: np.ndarray
    algorithm: str = ""
    wins: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0))
    trained: int = 0
    greedy: dict[str, Any] | None = None
    task: str = ""

    @property
    def key(self) -> Key:
        return self.task, self.algorithm, self.config.get("num_demos")

    @property
    def has_folder(self) -> bool:
        """Whether the run's folder is here, with its settings."""
        return "env" in self.config

    @property
    def seed(self) -> int:
        return int(self.config.get("seed", 0))


def task_of(config: dict[str, Any]) -> str:
    """Name of the game of a run with these settings, with the arguments that are not its defaults."""
    arguments = dict(sorted(parse_settings(config.get("set") or ()).items()))
    text = config.get("player_function")
    if text is not None:  # the user's own function is only named, not imported
        plain = player_function_config(text)
        arguments["player_function"] = text if plain is None else shown_player_function(plain)
    if config.get("max_rounds") is not None:
        arguments["max_rounds"] = config["max_rounds"]
    if config.get("fixed_horizon"):
        arguments["fixed_horizon"] = True
    details = [f"{k}={v}" for k, v in arguments.items()]
    return config["env"] + (f" ({', '.join(details)})" if details else "")


def read_run(folder: Path) -> RunRecord:
    """Read a run folder; ValueError naming the file in it that is damaged."""
    config = read_config(folder)
    evaluation, greedy = (read_evaluation(folder / NAMES[best]) for best in (False, True))
    lines = read_metrics(folder / "metrics.jsonl")
    trained = lines[-1]["step"] if lines else 0
    points = [(x["step"], x["return"], x.get("win_rate", np.nan)) for x in lines if "return" in x]
    steps, returns, wins = np.array(points, np.float64).reshape(-1, 3).T
    if evaluation is None or (greedy or {}).get("steps") != evaluation.get("steps"):
        greedy = None
    curve = {"wins": wins, "trained": trained}
    task = task_of(config)
    return RunRecord(folder, config, evaluation, steps, returns, **curve, greedy=greedy, task=task)


def with_names(records: list[RunRecord]) -> list[RunRecord]:
    """Name the algorithms: the sweep's name, else the learner and the settings in which runs differ."""
    groups: dict[tuple, list[RunRecord]] = defaultdict(list)
    for record in records:
        groups[record.task, record.config["learner"]].append(record)
    varying: dict[str, set[str]] = defaultdict(set)
    for (_, learner), members in groups.items():
        for key in set().union(*(m.config for m in members)) - INCIDENTAL:
            if len({json.dumps(m.config.get(key)) for m in members}) > 1:
                varying[learner].add(key)
    return [dataclasses.replace(r, algorithm=_name(r, varying)) for r in records]


def _name(record: RunRecord, varying: dict[str, set[str]]) -> str:
    own = sweep_name(record.folder, record.config)
    if own is not None:
        return own
    config, learner = record.config, record.config["learner"]
    usual = _defaults(learner, str(config.get("preset", "default")))
    control = config.get("control", "none")
    details = [] if control == "none" else [f"control: {control}"]
    unusual = [k for k in sorted(varying[learner]) if config.get(k) != usual.get(k)]
    details += [str(config[k]) if k == "preset" else f"{k}={config.get(k)}" for k in unusual]
    return learner + (f" ({', '.join(details)})" if details else "")


def _defaults(learner: str, preset: str) -> dict[str, Any]:
    """The learner's settings under a preset, as in config.yaml, without the preset's name."""
    if learner not in learner_names():
        return {}
    module = importlib.import_module(f"learners.{learner}")
    settings = dataclasses.asdict(module.Args(**module.PRESETS.get(preset, {})))
    return json.loads(json.dumps(settings))
