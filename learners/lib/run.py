"""Run folders: settings, metrics, checkpoints that resume to the same result, and the final evaluation.

A run folder holds config.yaml (the settings, and the versions of the code it was begun with), metrics.jsonl, TensorBoard
events, checkpoints/step_<k>/ (see `learners.lib.checkpoints`), policy.safetensors (the latest), policies/ (--policy-every),
evaluation.json and rollout.gif.
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
from pathlib import Path
from typing import Any, NoReturn

import torch
from tqdm import tqdm

from demos.description import versions
from demos.policies import load_policy
from demos.store import lock, unlock
from learners.lib import references
from learners.lib.architectures import save_policy
from learners.lib.checkpoints import (
    checkpoints,
    read_saved,
    restore_random,
    same_form,
    save_checkpoint,
)
from learners.lib.evaluation import evaluate_network, evaluation_seeds, make_copies, normalized
from learners.lib.evaluation_file import NAMES, interval_text, keep_larger, read_evaluation
from learners.lib.fields import seconds_of
from learners.lib.files import check_plain, remove_temporary, temporary_of, write_yaml
from learners.lib.game import SIMULATOR, game_arguments
from learners.lib.metrics_file import MetricsLog, read_metrics
from learners.lib.optimizers import KFAC, Adam, optimizers_in
from learners.lib.outcomes import wins_text
from learners.lib.processor import keep_memory
from learners.lib.settings import OPERATIONAL, check_changes, parse, read_config, read_versions
from learners.lib.sources import identify
from mail_envs.commands.errors import exit_status
from mail_envs.settings_text import game_id
from mail_envs.streams import stream_seed

# What a run writes into its folder, apart from TensorBoard's files.
FILES = ("config.yaml", "metrics.jsonl", "policy.safetensors", *NAMES.values(), "rollout.gif")
FOLDERS = ("checkpoints", "policies", "demonstrations", "random_play")

# Settings that may differ between a checkpoint and the run that resumes from it.
MAY_DIFFER = (*OPERATIONAL, "steps", "budget", "resume", "run_dir")
FILM_SECONDS = 20.0  # of playing and drawing; a longer episode is cut


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
        fresh: whether training starts from scratch rather than from a checkpoint.
        folder: the run folder. device: torch device.
        steps, updates: done so far.
        done: whether all steps are done, or the time is over (--budget).
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
        self._lock = -1
        try:
            self._enter_folder()
        except BaseException:
            self._unlock()
            raise
        torch.set_num_threads(args.threads)
        keep_memory()
        torch.manual_seed(stream_seed(args.seed, "networks"))
        self.rng = torch.Generator(self.device).manual_seed(stream_seed(args.seed, "updates"))
        self.steps = self.updates = 0
        self.done = False
        self.parts: dict[str, Any] = {}
        self._optimizers: list[KFAC | Adam] = []  # of the parts
        self.policy_metadata: dict = {}
        self.references = references.of_settings(vars(args))
        self.results: dict[str, float] = {}
        self._stop = self._finishing = False
        self._seconds_before = 0.0  # of training, before this run was resumed
        self._log: Any = None  # this and the next are set by `begin`
        self.bar: Any = None

    def _enter_folder(self) -> None:
        """Create the folder, or check its content before anything is replaced."""
        found = checkpoints(self.folder)
        self.fresh = not found  # a run that failed to start has none
        if not (self.fresh or self.resumed):
            raise ValueError(
                f"{self.folder} already holds a run: give --resume {self.folder} or another --run-dir"
            )
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = lock(self.folder)  # until this run ends, however it ends
        if os.path.lexists(self.folder / "config.yaml"):
            read_config(self.folder, type(self.args))
        check_plain(self.folder, FILES, FOLDERS)
        for name in NAMES.values():
            read_evaluation(self.folder / name)
        self._saved = None if self.fresh else read_saved(found[-1])
        if self._saved is not None:
            self._check_settings(*self._saved)
        self._lines = [] if self.fresh else read_metrics(self.folder / "metrics.jsonl")
        for place in (self.folder, self.folder / "checkpoints", self.folder / "policies"):
            remove_temporary(place)  # left by a killed run
        if self.fresh:
            write_yaml(self.folder / "config.yaml", self.config())

    def config(self) -> dict[str, Any]:
        """What config.yaml holds: the learner and its settings."""
        return {"learner": self.learner, **dataclasses.asdict(self.args), "resume": None}

    def _note_versions(self, metadata: dict[str, Any]) -> None:
        """Add to config.yaml the versions that the run is begun with; a resumed run says which are others now."""
        now = versions("mail_envs", "torch", "numpy", "numba")
        now |= {name: metadata[name] for name in SIMULATOR if name in metadata}
        first = now if self.fresh else read_versions(self.folder)
        others = [
            f"{k} {v} (now {now.get(k, 'none')})" for k, v in first.items() if v != now.get(k)
        ]
        if others:
            self.say(f"{self.folder} was begun with other versions: {', '.join(others)}")
        write_yaml(self.folder / "config.yaml", {**self.config(), "versions": first})

    # ------------------------------------------------------------------------------------- lifetime
    def __enter__(self) -> Run:
        self._old_handlers: dict[signal.Signals, Any] = {}
        if threading.current_thread() is threading.main_thread():
            for kind in (signal.SIGINT, signal.SIGTERM):
                self._old_handlers[kind] = signal.signal(kind, self._on_interrupt)
        return self

    def _unlock(self) -> None:
        unlock(self._lock)
        self._lock = -1

    def __exit__(self, *error) -> None:
        for opened in (self.bar, self._log):
            if opened is not None:
                opened.close()
        self._unlock()
        for kind, handler in self._old_handlers.items():
            signal.signal(kind, handler)

    def _on_interrupt(self, *_) -> None:
        if self._finishing:
            raise Interrupted(f"saved at step {self.steps}; --resume {self.folder} evaluates it")
        if self._stop:
            raise KeyboardInterrupt
        self._stop = True
        tqdm.write("stopping after this update (Ctrl-C again stops at once)")

    def say(self, text: str) -> None:
        """Print a line without breaking the progress bar."""
        tqdm.write(text)
        sys.stdout.flush()

    # -------------------------------------------------------------------------------------- training
    def begin(self, policy: Any, metadata: dict, parts: dict[str, Any]) -> None:
        """Register the parts of a checkpoint; when resuming, restore them.

        Every part has state_dict/load_state_dict; the run's random generator is always included.
        """
        self.policy, self.parts = policy, {"policy": policy, **parts}
        inside = [part if isinstance(part, (Adam, KFAC)) else vars(part) for part in parts.values()]
        self._optimizers = list(optimizers_in(inside))
        self.policy_metadata = {"learner": self.learner, "seed": self.args.seed, **metadata}
        pending = {} if self._saved is None else self._restore(*self._saved)
        self._note_versions(metadata)
        self.done = self.steps >= self.args.steps or (self.updates > 0 and self._time_is_over())
        if self.fresh and self.resumed:
            self.say(f"{self.folder} has no checkpoint yet: starting from the beginning")
        kept = [x for x in self._lines if x["update"] <= self.updates]
        per_episode = parts["rollout"].episode_figures if "rollout" in parts else ()
        self._log = MetricsLog(self.folder, kept, per_episode, self.steps)
        self._log.pending.update(pending)
        self.bar = tqdm(
            total=self.args.steps,
            initial=self.steps,
            disable=not self.args.progress,
            unit="step",
            unit_scale=True,
            mininterval=0.5 if sys.stderr.isatty() else 30.0,
        )

    def advance(self, steps: int, metrics: dict[str, float]) -> None:
        """Record one finished update; log, save and stop when due."""
        self.steps += steps
        self.updates += 1
        self.done = self.steps >= self.args.steps or self._time_is_over()
        self._count_skipped()
        self.bar.update(steps)
        self._log.add(metrics)
        if self.updates % self.args.log_every == 0 or self.done:
            self._write_metrics()
        if self.args.policy_every and self.updates % self.args.policy_every == 0:
            self.write_policy(self.folder / "policies" / f"step_{self.steps}.safetensors")
        if self._stop:
            self.save()
            raise Interrupted(f"saved at step {self.steps}; continue with --resume {self.folder}")
        if self.updates % self.args.checkpoint_every == 0 or self.done:
            self.save()

    def _count_skipped(self) -> None:
        """Count the gradient steps that were not made because something was not finite; warn of the first."""
        skipped = sum(optimizer.skipped for optimizer in self._optimizers)
        if not skipped:
            return
        if "skipped_steps" not in self.results:
            self.say(
                f"warning: step {self.steps}: a gradient was not finite, and its step was not made (metrics count "
                "such steps: skipped_steps); try a smaller learning rate"
            )
        self.results["skipped_steps"] = skipped

    @property
    def seconds(self) -> float:
        """Time of training so far, that before resuming included."""
        return self._seconds_before + time.perf_counter() - self.started

    @property
    def progress(self) -> float:
        """Share of the run that is done, from 0 to 1: of its steps or, if larger, of its time."""
        share = self.steps / self.args.steps if self.args.steps else 1.0
        return min(max(share, self.time_used), 1.0)

    @property
    def time_used(self) -> float:
        """Share of the time (--budget) that is used up; 0 without a budget."""
        return 0.0 if self.args.budget is None else self.seconds / seconds_of(self.args.budget)

    def _time_is_over(self) -> bool:
        return self.time_used >= 1.0

    def _write_metrics(self) -> None:
        """Write a line of metrics, and show some of them beside the progress bar."""
        means = self._log.means()
        score = normalized(means["return"], self.references) if "return" in means else None
        if score is not None:
            means["normalized_return"] = score
        means |= {k: x for k, x in self.results.items() if k == "skipped_steps"}
        line = {"step": self.steps, "update": self.updates, **means}
        self._log.write(line, self.seconds)
        whose = "team_return" if "team_return" in line else "return"
        shown = {"return": whose, "norm": "normalized_return", "wins": "win_rate"}
        shown |= {"loss": "loss", "disc": "disc_loss"}
        texts = {k: f"{line[v]:.2f}" for k, v in shown.items() if v in line}
        self.bar.set_postfix(texts, refresh=False)

    # ----------------------------------------------------------------------------------- checkpoints
    def save(self) -> None:
        """Write checkpoints/step_<k> and the policy in the run folder."""
        tree = {
            "settings": self.config(),
            "parts": {name: part.state_dict() for name, part in self.parts.items()},
            "rng": self.rng.get_state(),
            "pending": dict(self._log.pending),
            "results": self.results,
            "steps": self.steps,
            "updates": self.updates,
            "seconds": self.seconds,
        }
        save_checkpoint(self.folder, self.steps, tree, self.write_policy)
        self.write_policy(self.folder / "policy.safetensors")

    def write_policy(self, path: Path) -> None:
        path.parent.mkdir(exist_ok=True)
        temporary = temporary_of(path)
        save_policy(temporary, self.policy, {**self.policy_metadata, "steps": self.steps})
        os.replace(temporary, path)

    def _check_settings(self, path: Path, tree: dict[str, Any]) -> None:
        """ValueError when a checkpoint was written with different settings, if it holds any."""
        now = json.loads(json.dumps(self.config()))
        for name, old in tree.get("settings", {}).items():
            if name not in MAY_DIFFER and now.get(name) != old:
                raise ValueError(
                    f"{self.folder}/config.yaml says {name}: {now.get(name)}, but {path} was written "
                    f"with {old}"
                )

    def _restore(self, path: Path, tree: dict[str, Any]) -> dict[str, list[float]]:
        """Restore a checkpoint, and return its pending metrics; ValueError when it does not fit this run exactly."""
        states = tree["parts"]
        try:
            if states.keys() != self.parts.keys():
                raise ValueError(f"it holds {', '.join(states)}, not {', '.join(self.parts)}")
            for name, part in self.parts.items():
                part.load_state_dict(states[name])
                if not same_form(part.state_dict(), states[name]):
                    raise ValueError(f"its {name} has other shapes")
            restore_random(self.rng, tree["rng"])
        except Exception as error:  # anything that a part raises: the file is untrusted
            reason = " ".join(str(error).split())[:300]
            raise ValueError(f"{path} does not fit this run: {reason}") from error
        self.steps, self.updates, self.results = tree["steps"], tree["updates"], tree["results"]
        self._seconds_before = tree.get("seconds", 0.0)  # earlier versions did not store it
        return tree["pending"]

    # ---------------------------------------------------------------------------------------- the end
    def finish(self) -> dict:
        """Save, evaluate the policy with sampled actions, and write evaluation.json."""
        if not self.parts or self.updates == 0 or self.steps < self.args.steps:
            self.save()
        self.write_policy(self.folder / "policy.safetensors")
        self._finishing = True  # all is saved, nothing more is trained: Ctrl-C stops at once
        if self.bar is not None:
            self.bar.close()
        if self._time_is_over() and self.steps < self.args.steps:
            self.say(
                f"the budget of {self.args.budget} is used up after {self.steps:,} of {self.args.steps:,} steps; "
                f"to continue: --resume {self.folder} with a larger --budget"
            )
        if self.args.eval_episodes == 0:
            return {"folder": str(self.folder), "steps": self.steps}
        self.say(f"evaluating over {self.args.eval_episodes:,} episodes")
        result = self._evaluation()
        kept = keep_larger(self.folder / "evaluation.json", result)
        text = f"{self.learner} on {self.args.env}: return {interval_text(result)}"
        if "team_return" in result["metrics"]:
            text += f", team return {result['metrics']['team_return']:.2f}"
        if "cloned_return" in result:
            text += f", {result['cloned_return']:.2f} by cloning alone"
        if result["normalized_return"] is not None:
            text += f", normalized {result['normalized_return']:.3f}"
        if "win_rate" in result:
            text += f", wins {wins_text(result)}"
        self.say(f"{text} over {result['episodes']} episodes; {self.folder}")
        if kept:
            self.say(kept)
        if self.args.eval_greedy:
            best = self._evaluation(greedy=True)
            keep_larger(self.folder / NAMES[True], best)
            wins = f", wins {wins_text(best)}" if "win_rate" in best else ""
            self.say(f"with the most likely actions: return {interval_text(best)}{wins}")
        if self.args.film != "none":
            self._film()
        return {"folder": str(self.folder), **result}

    def measure(
        self, policy: Any, metadata: dict[str, Any], greedy: bool = False
    ) -> dict[str, Any]:
        """Evaluate a network over --eval-episodes episodes; `metadata` of its policy file: `null_action`."""
        args = self.args
        vec = make_copies(args.env, args.eval_episodes, game_arguments(vars(args)))
        try:
            seeds = evaluation_seeds(args.seed, args.eval_episodes)
            label = "evaluating" if args.progress else ""
            return evaluate_network(policy, metadata, vec, seeds, label, greedy)
        finally:
            vec.close()

    def _evaluation(self, greedy: bool = False) -> dict[str, Any]:
        """The result of `learners.evaluate` for this run, and the results of training."""
        found = self.measure(self.policy, self.policy_metadata, greedy)
        return {
            "env": self.args.env,
            "policy": identify(self.folder, self.config()),
            **found,
            "mode": "greedy" if greedy else "sample",
            "references": self.references,
            "normalized_return": normalized(found["return"], self.references),
            "learner": self.learner,
            "steps": self.steps,
            **self.results,
        }

    def _film(self) -> None:
        """Write rollout.gif, one episode of the trained policy, where pygame is installed."""
        import mail_envs
        from mail_envs.commands.render import play_episode
        from mail_envs.film import Film
        from mail_envs.rendering import Canvas, RenderingError, write_gif

        null_action = self.policy_metadata["null_action"]
        arguments = game_arguments(vars(self.args))
        vec = mail_envs.make_vec(
            self.args.env, null_action=null_action, autoreset=False, **arguments
        )
        policy = load_policy(str(self.folder), vec)
        try:
            first = stream_seed(self.args.seed, "evaluation")
            canvas, film = Canvas((400, 400), title=self.args.env), Film(vec.max_rounds)
            label = "drawing an episode" if self.args.progress else ""
            play_episode(vec, policy, first, canvas, film, label, FILM_SECONDS)
        except (RenderingError, NotImplementedError) as error:
            self.say(f"no rollout.gif: {error}")
        else:
            write_gif(self.folder / "rollout.gif", film.frames)
        finally:
            vec.close()


def choose_device(name: str) -> torch.device:
    """The torch device for `--device`; ValueError when it is not available."""
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise ValueError("device 'cuda' was requested, but torch finds no CUDA device")
    return torch.device("cuda" if available and name != "cpu" else "cpu")
