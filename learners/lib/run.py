"""Run folders: settings, metrics, checkpoints that resume to the same result, and the final evaluation.

A run folder holds config.yaml, metrics.jsonl, TensorBoard events, checkpoints/step_<k>/ (policy.safetensors,
training.safetensors, state.json), policy.safetensors (the latest), evaluation.json and rollout.gif.
A checkpoint is written into a temporary folder and renamed, so that a kill at any moment leaves only whole
ones; it is taken between two updates and holds everything the next update depends on.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import sys
import threading
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
import yaml
from safetensors.torch import load_file, save_file
from tqdm import tqdm

from learners.lib.networks import Policy, save_policy

EPISODE_SHOWN = 1_000_000  # seed of the episode in rollout.gif, the first of the evaluation


@dataclasses.dataclass(frozen=True)
class Settings:
    """What every learner can be told."""

    env: str = "stochastic_coop_nav"
    """Id of the game."""
    env_args: str = "{}"
    """Further arguments of the game, as JSON."""
    max_rounds: int | None = None
    """Time limit of an episode; None takes the game's own."""
    fixed_horizon: bool = False
    """Let a finished game idle until the time limit, so that ending early carries no information."""
    steps: int = 2_000_000
    """Environment steps of training (gradient steps for bc)."""
    seed: int = 0
    """Seed of networks, actions and games."""
    device: str = "auto"
    """auto, cpu or cuda; auto takes cuda when there is one."""
    threads: int = 1
    """CPU threads; one is fastest for these small networks."""
    run_dir: str | None = None
    """Run folder; None makes runs/<learner>_<env>_<seed>."""
    resume: str | None = None
    """Run folder to continue; its own settings apply, only --steps may be raised."""
    checkpoint_every: int = 500
    """Updates between two checkpoints."""
    log_every: int = 10
    """Updates between two lines of metrics."""
    eval_episodes: int = 1000
    """Episodes of the final evaluation; 0 for none."""
    progress: bool = True
    """Show a progress bar."""
    preset: str = "default"
    """Named group of settings that the command line then changes: default, paper or quick."""


def parse(kind: type, presets: dict[str, dict]) -> Any:
    """Settings from the command line; `--preset NAME` replaces the defaults first."""
    words = [w for arg in sys.argv[1:] for w in arg.split("=", 1)]
    name = words[words.index("--preset") + 1] if "--preset" in words[:-1] else "default"
    presets = {"default": {}, **presets}
    if name not in presets:
        sys.exit(f"error: preset {name!r} is unknown; choose from {', '.join(presets)}")
    return tyro.cli(kind, default=kind(preset=name, **presets[name]), description=kind.__doc__)


def main(kind: type, presets: dict[str, dict], train) -> None:
    """Command line of a learner: user errors become one line, an interruption ends with status 130."""
    args = parse(kind, presets)
    try:
        train(args)
    except Interrupted as stop:
        print(stop)
        sys.exit(130)
    except (ValueError, TypeError, FileNotFoundError) as error:
        if os.environ.get("MAIL_ENVS_TRACEBACK"):
            raise
        sys.exit(f"error: {error}")


class Interrupted(Exception):
    """Training was stopped by the user after saving a checkpoint."""


class Run:
    """One training run and its folder; use as a context manager.

    Attributes:
        args: the learner's settings (those of the folder when resuming).
        fresh: whether training starts from the beginning, rather than from a checkpoint.
        folder: the run folder. device: torch device.
        steps, updates: done so far.
    """

    def __init__(self, learner: str, args: Any):
        self.learner, self.started = learner, time.perf_counter()
        self.resumed, self.fresh = args.resume is not None, True
        if self.resumed:
            self.folder = Path(args.resume)
            args = _settings_of(self.folder, learner, args)
            self.fresh = not checkpoints(self.folder)
        else:
            name = args.run_dir or f"runs/{learner}_{args.env}_{args.seed}"
            self.folder = Path(name)
            if checkpoints(self.folder):  # a start that failed leaves none
                raise ValueError(
                    f"{self.folder} already holds a run: give --resume {self.folder} or another --run-dir"
                )
            self.folder.mkdir(parents=True, exist_ok=True)
            _write(
                self.folder / "config.yaml",
                yaml.safe_dump({"learner": learner, **dataclasses.asdict(args)}),
            )
        self.args = args
        self.device = choose_device(args.device)
        torch.set_num_threads(args.threads)
        torch.manual_seed(args.seed)
        self.rng = torch.Generator(self.device).manual_seed(args.seed)
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
        self.bar = tqdm(
            total=self.args.steps,
            disable=not self.args.progress,
            unit="step",
            unit_scale=True,
            mininterval=0.5 if sys.stderr.isatty() else 30.0,
        )
        return self

    def __exit__(self, *error) -> None:
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
        shown = {
            "return": "return",
            "norm": "normalized_return",
            "loss": "loss",
            "disc": "disc_loss",
        }
        self.bar.set_postfix(
            {k: f"{line[v]:.2f}" for k, v in shown.items() if v in line}, refresh=False
        )

    # ----------------------------------------------------------------------------------- checkpoints
    def save(self) -> None:
        """Write checkpoints/step_<k> and the policy at the top of the folder."""
        target = self.folder / "checkpoints" / f"step_{self.steps}"
        if not target.exists():
            temporary = target.with_name(f".{target.name}.{os.getpid()}")
            temporary.mkdir(parents=True, exist_ok=True)
            self.write_policy(temporary / "policy.safetensors")
            tree = {name: part.state_dict() for name, part in self.parts.items()}
            tree |= {
                "rng": self.rng.get_state(),
                "pending": {k: list(v) for k, v in self._sums.items()},
            }
            tensors: dict[str, torch.Tensor] = {}
            skeleton = _flatten(tree, "", tensors)
            save_file(tensors, str(temporary / "training.safetensors"))
            state = {"steps": self.steps, "updates": self.updates, "state": skeleton}
            state["results"] = self.results
            _write(temporary / "state.json", json.dumps(state))
            os.replace(temporary, target)
        self.write_policy(self.folder / "policy.safetensors")
        for old in checkpoints(self.folder)[:-2]:
            shutil.rmtree(old, ignore_errors=True)

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
        saved = json.loads((found[-1] / "state.json").read_text())
        tree = _unflatten(saved["state"], load_file(str(found[-1] / "training.safetensors")))
        for name, part in self.parts.items():
            part.load_state_dict(tree[name])
        self.rng.set_state(tree["rng"])
        self._sums.update({k: list(v) for k, v in tree["pending"].items()})
        self.steps, self.updates = saved["steps"], saved["updates"]
        self.results = saved["results"]
        self._speed_mark = (time.perf_counter(), self.steps)
        _keep_lines(self.folder / "metrics.jsonl", self.updates)
        self.bar.update(self.steps)

    # ---------------------------------------------------------------------------------------- the end
    def finish(self) -> dict:
        """Save, evaluate the policy by sampled actions, and write evaluation.json."""
        from learners.lib.evaluation import evaluate

        if not self.parts or self.updates == 0 or self.steps < self.args.steps:
            self.save()
        self.write_policy(self.folder / "policy.safetensors")
        if self.args.eval_episodes == 0:
            return {"folder": str(self.folder), "steps": self.steps}
        result = evaluate(self.policy, self.args, self.policy_metadata["null_action"], self.device)
        result["normalized_return"] = normalized(result["return"], self.references)
        result |= {"learner": self.learner, "env": self.args.env, "steps": self.steps}
        result |= self.results
        _write(self.folder / "evaluation.json", json.dumps(result, indent=2))
        low, high = result["confidence_interval"]
        text = f"{self.learner} on {self.args.env}: return {result['return']:.2f} (95% CI {low:.2f} to {high:.2f})"
        if "cloned_return" in result:
            text += f", {result['cloned_return']:.2f} by cloning alone"
        if result["normalized_return"] is not None:
            text += f", normalized {result['normalized_return']:.3f}"
        self.say(f"{text} over {result['episodes']} episodes; {self.folder}")
        self._film()
        return {"folder": str(self.folder), **result}

    def _film(self) -> None:
        """Write rollout.gif, one episode of the trained policy, where pygame is installed."""
        import mail_envs
        from demos import load_policy
        from mail_envs.commands.render import play_episode
        from mail_envs.rendering import Canvas, RenderingError, write_gif

        null_action = self.policy_metadata["null_action"]
        arguments = game_arguments(self.args)
        vec = mail_envs.make_vec(
            self.args.env, null_action=null_action, autoreset=False, **arguments
        )
        policy = load_policy(str(self.folder), vec)
        try:
            frames, _ = play_episode(
                vec, policy, EPISODE_SHOWN, Canvas((400, 400), title=self.args.env)
            )
        except RenderingError as error:
            self.say(f"no rollout.gif: {error}")
            return
        write_gif(self.folder / "rollout.gif", frames)


def checkpoints(folder: Path) -> list[Path]:
    """Whole checkpoints of a run folder, oldest first."""
    found = [p for p in (folder / "checkpoints").glob("step_*") if (p / "state.json").exists()]
    return sorted(found, key=lambda p: int(p.name.split("_")[1]))


def choose_device(name: str) -> torch.device:
    if name not in ("auto", "cpu", "cuda"):
        raise ValueError(f"device {name!r} is unknown; choose auto, cpu or cuda")
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise ValueError("device 'cuda' was asked for, but torch sees no CUDA device")
    return torch.device("cuda" if available and name != "cpu" else "cpu")


def normalized(value: float, references: dict[str, float]) -> float | None:
    """0 for the random reference, 1 for the expert's; None when they are not known."""
    low, high = references.get("random"), references.get("expert")
    if low is None or high is None or high == low:
        return None
    return (value - low) / (high - low)


def game_arguments(args: Settings) -> dict:
    """Arguments of make_vec that the settings imply."""
    try:
        extra = json.loads(args.env_args)
    except json.JSONDecodeError as error:
        raise ValueError(f"env_args is not JSON: {args.env_args!r} ({error})") from None
    if args.fixed_horizon:
        extra["fixed_horizon"] = True
    if args.max_rounds is not None:
        extra["max_rounds"] = args.max_rounds
    return extra


def make_game(args: Settings, num_envs: int, device: torch.device, null_action: str = "null"):
    """The VectorGame of the settings, handing out torch tensors on `device`."""
    import mail_envs

    return mail_envs.make_vec(
        args.env,
        num_envs=num_envs,
        device=device.type,
        array="torch",
        null_action=null_action,
        **game_arguments(args),
    )


def describe(vec) -> dict:
    """Metadata of a policy file that concerns the game."""
    function = getattr(vec, "player_function", None)
    return {
        "id": vec.id,
        "arguments": vec.arguments,
        "player_function": function.to_config() if function is not None else None,
        "agents": list(vec.agents),
        "null_action": vec.null_action,
    }


# ------------------------------------------------------------------------------------------- internals
def _settings_of(folder: Path, learner: str, given: Any) -> Any:
    path = folder / "config.yaml"
    if not path.exists():
        raise ValueError(f"{folder} is not a run folder: config.yaml is missing")
    try:
        saved = yaml.safe_load(path.read_text())
        found = saved.pop("learner")
    except (yaml.YAMLError, AttributeError, KeyError):
        raise ValueError(
            f"{path} is damaged: it does not name a learner and its settings"
        ) from None
    if found != learner:
        raise ValueError(
            f"{folder} holds a run of {found}, not of {learner}: resume it with learners.{found}"
        )
    default = type(given)()
    if given.env not in (default.env, saved["env"]):
        raise ValueError(f"{folder} holds a run on {saved['env']}, not on {given.env}")
    known = {f.name for f in dataclasses.fields(given)}
    unknown = set(saved) - known
    if unknown:
        raise ValueError(
            f"{path} has settings that {learner} does not know: {', '.join(sorted(unknown))}"
        )
    saved = {k: tuple(v) if isinstance(v, list) else v for k, v in saved.items()}
    if given.steps != default.steps and given.steps > saved["steps"]:
        saved["steps"] = given.steps
    saved |= {"resume": str(folder), "progress": given.progress}
    return type(given)(**saved)


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


def _write(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text)
    os.replace(temporary, path)


def _flatten(tree: Any, key: str, tensors: dict[str, torch.Tensor]) -> Any:
    """JSON skeleton of nested dicts and lists; tensors and arrays move into `tensors`."""
    if isinstance(tree, dict):
        return {"dict": {k: _flatten(v, f"{key}/{k}", tensors) for k, v in tree.items()}}
    if isinstance(tree, list | tuple):
        return {"list": [_flatten(v, f"{key}/{k}", tensors) for k, v in enumerate(tree)]}
    if isinstance(tree, torch.Tensor):
        tensors[key] = tree.detach().cpu().clone().contiguous()
        return {"tensor": key}
    if isinstance(tree, np.ndarray):
        raw = np.frombuffer(np.ascontiguousarray(tree).tobytes(), np.uint8)
        tensors[key] = torch.from_numpy(raw.copy())
        return {"array": key, "dtype": tree.dtype.str, "shape": list(tree.shape)}
    return {"value": tree.item() if isinstance(tree, np.generic) else tree}


def _unflatten(node: dict, tensors: dict[str, torch.Tensor]) -> Any:
    if "dict" in node:
        return {k: _unflatten(v, tensors) for k, v in node["dict"].items()}
    if "list" in node:
        return [_unflatten(v, tensors) for v in node["list"]]
    if "tensor" in node:
        return tensors[node["tensor"]]
    if "array" in node:
        raw = tensors[node["array"]].numpy().tobytes()
        return np.frombuffer(raw, node["dtype"]).reshape(node["shape"]).copy()
    return node["value"]
