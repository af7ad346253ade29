"""Run folders: settings, metrics, checkpoints that resume to the same result, and the final evaluation.

A run folder holds config.yaml, metrics.jsonl, TensorBoard events, checkpoints/step_<k>/ (see
`learners.lib.checkpoints`), policy.safetensors (the latest), evaluation.json and rollout.gif.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import signal
import sys
import threading
import time
from collections import defaultdict
from pathlib import Path
from typing import Any, NoReturn

import torch
import yaml
from tqdm import tqdm

from learners.lib.checkpoints import checkpoints, load_checkpoint, save_checkpoint
from learners.lib.evaluation import evaluate, keep_better, normalized
from learners.lib.files import write_text
from learners.lib.game import game_arguments
from learners.lib.networks import Policy, save_policy
from learners.lib.outcomes import wins_text
from learners.lib.settings import check_changes, parse
from mail_envs.commands.errors import exit_status
from mail_envs.settings_text import game_id
from mail_envs.streams import stream_seed


def main(kind: type, presets: dict[str, dict], train) -> NoReturn:
    """Command line of a learner; the exit status is that of all commands."""

    def command() -> None:
        train(parse(kind, presets))

    sys.exit(exit_status(command))


class Interrupted(KeyboardInterrupt):
    """Training was stopped by the user after saving a checkpoint."""


class Run:
    """One training run and its folder; use as a context manager.

    Attributes:
        args: the learner's settings.
        fresh: whether training starts from the beginning, rather than from a checkpoint.
        folder: the run folder. device: torch device.
        steps, updates: done so far.
    """

    def __init__(self, learner: str, args: Any):
        self.learner, self.started = learner, time.perf_counter()
        self.resumed = args.resume is not None
        if self.resumed:
            check_changes(args)
        self.args = args = dataclasses.replace(args, env=game_id(args.env))
        self.device = choose_device(args.device)
        name = re.sub(r"[^\w.-]+", "_", f"{learner}_{args.env}_{args.seed}")
        self.folder = Path(args.resume or args.run_dir or f"runs/{name}")
        self.fresh = not checkpoints(self.folder)  # a start that failed leaves none
        if not (self.fresh or self.resumed):
            raise ValueError(
                f"{self.folder} already holds a run: give --resume {self.folder} or another --run-dir"
            )
        self.folder.mkdir(parents=True, exist_ok=True)
        config = {"learner": learner, **dataclasses.asdict(args), "resume": None}
        write_text(self.folder / "config.yaml", yaml.safe_dump(config))
        torch.set_num_threads(args.threads)
        torch.manual_seed(stream_seed(args.seed, "networks"))
        self.rng = torch.Generator(self.device).manual_seed(stream_seed(args.seed, "updates"))
        self.steps = self.updates = 0
        self.parts: dict[str, Any] = {}
        self.policy_metadata: dict = {}
        self.references: dict[str, float] = {}
        self.results: dict[str, float] = {}
        self._sums: dict[str, list[float]] = defaultdict(list)
        self._stop = False
        self._speed_mark = (time.perf_counter(), 0)

    # ------------------------------------------------------------------------------------- lifetime
    def __enter__(self) -> Run:
        self._old_handler = None
        if threading.current_thread() is threading.main_thread():
            self._old_handler = signal.signal(signal.SIGINT, self._on_interrupt)
        self._metrics = open(self.folder / "metrics.jsonl", "a")
        self._board = _tensorboard(self.folder)
        self.bar: Any = None  # from `begin` on
        return self

    def __exit__(self, *error) -> None:
        if self.bar is not None:
            self.bar.close()
        self._metrics.close()
        if self._board:
            self._board.close()
        if self._old_handler is not None:
            signal.signal(signal.SIGINT, self._old_handler)

    def _on_interrupt(self, *_) -> None:
        if self._stop:
            raise KeyboardInterrupt
        self._stop = True
        tqdm.write("stopping after this update (once more to stop at once)")

    def say(self, text: str) -> None:
        """Print a line without breaking the progress bar."""
        tqdm.write(text)
        sys.stdout.flush()

    # -------------------------------------------------------------------------------------- training
    def begin(self, policy: Policy, metadata: dict, parts: dict[str, Any]) -> None:
        """Name what a checkpoint consists of; restores all of it when the run is a resumed one.

        Every part has state_dict/load_state_dict; the run's own generator is always included.
        """
        self.policy, self.parts = policy, {"policy": policy, **parts}
        self.policy_metadata = {"learner": self.learner, **metadata}
        if self.resumed:
            self._restore()
        self.bar = tqdm(
            total=self.args.steps,
            initial=self.steps,
            disable=not self.args.progress,
            unit="step",
            unit_scale=True,
            mininterval=0.5 if sys.stderr.isatty() else 30.0,
        )

    def advance(self, steps: int, metrics: dict[str, float]) -> None:
        """Note one finished update; logs, saves and stops when it is time to."""
        self.steps += steps
        self.updates += 1
        self.bar.update(steps)
        for key, value in metrics.items():
            self._sums[key].append(value)
        if self.updates % self.args.log_every == 0 or self.steps >= self.args.steps:
            self._log()
        if self._stop:
            self.save()
            raise Interrupted(f"saved at step {self.steps}; continue with --resume {self.folder}")
        if self.updates % self.args.checkpoint_every == 0 or self.steps >= self.args.steps:
            self.save()

    def _log(self) -> None:
        counts = self._sums.pop("episodes", None)
        means = {key: sum(values) / len(values) for key, values in self._sums.items()}
        if counts:
            means["episodes"] = sum(counts)
        self._sums.clear()
        score = normalized(means["return"], self.references) if "return" in means else None
        if score is not None:
            means["normalized_return"] = score
        now = time.perf_counter()
        before, at = self._speed_mark
        speed = (self.steps - at) / max(now - before, 1e-9)
        self._speed_mark = (now, self.steps)
        line = {"step": self.steps, "update": self.updates, **means}
        record = {**line, "steps_per_second": speed, "seconds": now - self.started}
        self._metrics.write(json.dumps(record) + "\n")
        self._metrics.flush()
        if self._board:
            for key, value in record.items():
                self._board.add_scalar(key, value, self.steps)
        whose = "team_return" if "team_return" in line else "return"
        shown = {
            "return": whose,
            "norm": "normalized_return",
            "wins": "win_rate",
            "loss": "loss",
            "disc": "disc_loss",
        }
        self.bar.set_postfix(
            {k: f"{line[v]:.2f}" for k, v in shown.items() if v in line}, refresh=False
        )

    # ----------------------------------------------------------------------------------- checkpoints
    def save(self) -> None:
        """Write checkpoints/step_<k> and the policy at the top of the folder."""
        tree = {
            "parts": {name: part.state_dict() for name, part in self.parts.items()},
            "rng": self.rng.get_state(),
            "pending": dict(self._sums),
            "results": self.results,
            "steps": self.steps,
            "updates": self.updates,
        }
        save_checkpoint(self.folder, self.steps, tree, self.write_policy)
        self.write_policy(self.folder / "policy.safetensors")

    def write_policy(self, path: Path) -> None:
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        save_policy(temporary, self.policy, {**self.policy_metadata, "steps": self.steps})
        os.replace(temporary, path)

    def _restore(self) -> None:
        found = checkpoints(self.folder)
        if not found:
            self.say(f"{self.folder} has no checkpoint yet: starting from the beginning")
            _keep_lines(self.folder / "metrics.jsonl", 0)
            return
        tree = load_checkpoint(found[-1])
        for name, part in self.parts.items():
            part.load_state_dict(tree["parts"][name])
        self.rng.set_state(tree["rng"])
        self._sums.update(tree["pending"])
        self.steps, self.updates, self.results = tree["steps"], tree["updates"], tree["results"]
        self._speed_mark = (time.perf_counter(), self.steps)
        _keep_lines(self.folder / "metrics.jsonl", self.updates)

    # ---------------------------------------------------------------------------------------- the end
    def finish(self) -> dict:
        """Save, evaluate the policy by sampled actions, and write evaluation.json."""
        if not self.parts or self.updates == 0 or self.steps < self.args.steps:
            self.save()
        self.write_policy(self.folder / "policy.safetensors")
        if self.args.eval_episodes == 0:
            return {"folder": str(self.folder), "steps": self.steps}
        result = evaluate(self.policy, self.args, self.policy_metadata["null_action"], self.device)
        result["normalized_return"] = normalized(result["return"], self.references)
        result |= {"learner": self.learner, "env": self.args.env, "steps": self.steps}
        result |= self.results
        kept = keep_better(self.folder / "evaluation.json", result)
        low, high = result["confidence_interval"]
        text = f"{self.learner} on {self.args.env}: return {result['return']:.2f} (95% CI {low:.2f} to {high:.2f})"
        if "team_return" in result["metrics"]:
            text += f", of the team {result['metrics']['team_return']:.2f}"
        if "cloned_return" in result:
            text += f", {result['cloned_return']:.2f} by cloning alone"
        if result["normalized_return"] is not None:
            text += f", normalized {result['normalized_return']:.3f}"
        if "win_rate" in result:
            text += f", wins {wins_text(result)}"
        self.say(f"{text} over {result['episodes']} episodes; {self.folder}")
        if kept:
            self.say(kept)
        self._film()
        return {"folder": str(self.folder), **result}

    def _film(self) -> None:
        """Write rollout.gif, one episode of the trained policy, where pygame is installed."""
        import mail_envs
        from demos import load_policy
        from mail_envs.commands.render import play_episode
        from mail_envs.rendering import Canvas, RenderingError, write_gif

        null_action = self.policy_metadata["null_action"]
        arguments = game_arguments(vars(self.args))
        vec = mail_envs.make_vec(
            self.args.env, null_action=null_action, autoreset=False, **arguments
        )
        policy = load_policy(str(self.folder), vec)
        try:
            first = stream_seed(self.args.seed, "evaluation")
            frames, _ = play_episode(vec, policy, first, Canvas((400, 400), title=self.args.env))
        except (RenderingError, NotImplementedError) as error:
            self.say(f"no rollout.gif: {error}")
        else:
            write_gif(self.folder / "rollout.gif", frames)
        finally:
            vec.close()


def choose_device(name: str) -> torch.device:
    if name not in ("auto", "cpu", "cuda"):
        raise ValueError(f"device {name!r} is unknown; choose auto, cpu or cuda")
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise ValueError("device 'cuda' was asked for, but torch sees no CUDA device")
    return torch.device("cuda" if available and name != "cpu" else "cpu")


def _tensorboard(folder: Path):
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder))


def _keep_lines(path: Path, updates: int) -> None:
    """Drop metrics of updates after the checkpoint: the resumed run writes them again."""
    kept = []
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            if json.loads(line)["update"] <= updates:
                kept.append(line + "\n")
        except (json.JSONDecodeError, KeyError):
            continue  # the line a kill cut short
    with open(path, "r+") as file:  # in place: the run holds the same file open for appending
        file.truncate(0)
        file.write("".join(kept))
