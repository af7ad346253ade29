"""Run algorithms x environments x numbers of demonstrations x seeds, each cell in its own process.

    python -m learners.sweep docs/results/navigation.yaml --jobs 2
    python -m learners.sweep docs/results/navigation.yaml --dry-run

`learners/lib/sweep_spec.py` describes the file. Treat it as code: `environments` may name Python
files of your own games, which are imported. Finished cells (with `evaluation.json`) are skipped and interrupted
ones are resumed, so the same command continues a sweep. The output of a cell goes to `seed_S.log` next to its
folder. A failing cell does not stop the others. With `--ray-address` cells are tasks of a Ray cluster whose
machines share the output folder and this installation.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections import deque
from pathlib import Path
from typing import Any

import tyro
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from learners.lib.evaluation_file import interval_text, read_evaluation
from learners.lib.files import read_end, read_json, write_json, wrong
from learners.lib.settings import NAMING_POLICIES, read_config
from learners.lib.sources import CELL
from learners.lib.sweep_spec import Cell, SpecError, cells, read_spec
from mail_envs.commands.errors import exit_status

POLL = 0.2  # seconds between two polls of the running cells
GRACE = 120.0  # seconds that interrupted cells have to save
INTERRUPTED = 130
LONGEST_LINE = 1 << 16  # bytes of metrics.jsonl; some learners log figures of every agent


@dataclasses.dataclass(frozen=True)
class Args:
    """Run a sweep, or continue it."""

    spec: tyro.conf.Positional[Path]
    """YAML file of the sweep. Python files of your own games that it names are imported."""
    jobs: int = 2
    """Number of cells that run at a time on this machine."""
    out: Path | None = None
    """Folder of all runs; replaces `out` of the file."""
    ray_address: str | None = None
    """Run cells as tasks of this Ray cluster instead (auto: the one running on this machine)."""
    dry_run: bool = False
    """Only print the commands."""


@dataclasses.dataclass
class Outcome:
    """How a cell ended: state is finished, skipped, failed, stopped or not run."""

    cell: Cell
    state: str
    text: str = ""


def state_of(cell: Cell, folder: Path) -> str:
    """State "new", "interrupted" or "finished"; `SpecError` when the folder holds other settings."""
    if not (folder / "config.yaml").exists():
        return "new"
    now = cell.record()
    now |= now.pop("settings")
    if (folder / CELL).exists():
        before = read_json(folder / CELL)
        settings = before.pop("settings", None)
        if not isinstance(settings, dict):
            raise wrong(folder / CELL, "settings", settings, "a mapping")
        before |= settings
        keys = [*before, *now]
    else:  # not made by a sweep: compare the settings in its config.yaml
        before = read_config(folder)
        keys = [k for k in now if k != "algorithm" and now[k] is not None]
    changed = sorted({k for k in keys if before.get(k) != now.get(k)})
    if changed:
        text = ", ".join(f"{k} was {before.get(k)}, is {now.get(k)}" for k in changed)
        raise SpecError(
            f"{folder} was made with different settings ({text}): remove it, or change --out"
        )
    return "finished" if (folder / "evaluation.json").exists() else "interrupted"


def command_of(cell: Cell, folder: Path) -> list[str]:
    """Command line that starts or resumes a cell."""
    words = [sys.executable, "-m", f"learners.{cell.learner}"]
    if (folder / "config.yaml").exists():
        # What may be the user's own code is named again: nothing that a file in the folder names is imported.
        names = ("player_function", *NAMING_POLICIES)
        naming = {k: x for k, x in cell.settings.items() if k in names}
        again = dataclasses.replace(cell, num_demos=None, settings=naming).words()
        return [*words, "--resume", str(folder), *again, "--no-progress"]
    threads = [] if "threads" in cell.settings else ["--threads", "1"]
    return [*words, *cell.words(), *threads, "--run-dir", str(folder), "--no-progress"]


def log_of(folder: Path) -> Path:
    return folder.with_name(folder.name + ".log")


def prepare(cell: Cell, folder: Path) -> None:
    """Create the folder and write its cell into it."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / CELL, cell.record())


def outcome(cell: Cell, folder: Path, status: int) -> Outcome:
    """Outcome of a cell whose process ended with this exit status."""
    if status == INTERRUPTED:
        return Outcome(cell, "stopped", "saved; the same command continues it")
    if status != 0 or not (folder / "evaluation.json").exists():
        lines = [x for x in log_of(folder).read_text(errors="replace").splitlines() if x.strip()]
        last = lines[-1].strip() if lines else "it printed nothing"
        return Outcome(cell, "failed", f"status {status}: {last} (see {log_of(folder)})")
    return Outcome(cell, "finished", figures(folder))


def figures(folder: Path) -> str:
    """Return and interval of a finished run."""
    try:
        result = read_evaluation(folder / "evaluation.json")
    except ValueError as error:
        return str(error)
    return "" if result is None else f"return {interval_text(result)}"


def progress_of(folder: Path) -> tuple[int, float | None]:
    """Steps so far and the last return, from the end of metrics.jsonl."""
    try:
        end = read_end(folder / "metrics.jsonl", LONGEST_LINE)
        line = json.loads(end.splitlines()[-1])
        value = line.get("return")
        return int(line["step"]), None if value is None else float(value)
    except (OSError, ValueError, IndexError, KeyError, TypeError, AttributeError, RecursionError):
        return 0, None  # the file does not exist yet, or is being written


# ------------------------------------------------------------------------------------ on this machine
class LocalJobs:
    """Runs at most `jobs` processes at a time, each in its own session, so that Ctrl-C reaches only the sweep."""

    def __init__(self, jobs: int):
        self.jobs = jobs
        self.running: list[tuple[Cell, Path, subprocess.Popen]] = []

    def free(self) -> bool:
        return len(self.running) < self.jobs

    def start(self, cell: Cell, folder: Path) -> None:
        with open(log_of(folder), "a") as log:
            process = subprocess.Popen(
                command_of(cell, folder),
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        self.running.append((cell, folder, process))

    def wait(self) -> list[Outcome]:
        """Wait for a moment; returns the outcomes of the cells that have ended."""
        time.sleep(POLL)
        ended = [job for job in self.running if job[2].poll() is not None]
        self.running = [job for job in self.running if job not in ended]
        return [outcome(cell, folder, p.returncode) for cell, folder, p in ended]

    def stop(self) -> list[Outcome]:
        """Tell all cells to save and exit; those still running after GRACE seconds are killed."""
        for *_, process in self.running:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGINT)
        deadline, ended = time.monotonic() + GRACE, []
        try:
            while self.running and time.monotonic() < deadline:
                ended += self.wait()
        finally:
            for *_, process in self.running:
                process.kill()
        for cell, _, process in self.running:
            process.wait()
            ended.append(Outcome(cell, "stopped", "killed; its last checkpoint is kept"))
        for one in ended:  # a cell that the signal ended before it could save has not failed
            one.state = "stopped" if one.state == "failed" else one.state
        return ended


# ------------------------------------------------------------------------------------- on a Ray cluster
def run_remotely(words: list[str], log: str, stop: str) -> int:
    """Body of a Ray task: run the command; interrupt it, so that it saves, once the file `stop` exists."""
    if os.path.exists(stop):
        return INTERRUPTED
    with open(log, "a") as file:
        # Ray's workers block SIGINT, and children inherit that; unblock it so that the command can save.
        mask = signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        process = subprocess.Popen(
            words, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
        )
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    while process.poll() is None:
        time.sleep(POLL)
        if os.path.exists(stop):
            process.send_signal(signal.SIGINT)
            try:
                process.wait(GRACE)
            except subprocess.TimeoutExpired:
                process.kill()
            return INTERRUPTED
    return process.returncode


class RayJobs:
    """Runs cells as Ray tasks of `threads` CPUs each (1 unless set); Ray decides how many run at a time."""

    def __init__(self, address: str, out: Path):
        try:
            import ray
        except ImportError:
            raise SpecError(
                "--ray-address needs Ray, which is not installed: pip install ray"
            ) from None
        try:
            ray.init(address=address, log_to_driver=False)
        except ConnectionError as error:
            raise SpecError(f"--ray-address {address}: {' '.join(str(error).split())}") from None
        self.ray, self.task = ray, ray.remote(max_retries=0)(run_remotely)
        self.running: list[tuple[Cell, Path, Any]] = []
        self.stop_file = out.resolve() / ".stop"
        self.stop_file.unlink(missing_ok=True)

    def free(self) -> bool:
        return True

    def start(self, cell: Cell, folder: Path) -> None:
        task = self.task.options(num_cpus=cell.settings.get("threads", 1))
        folder = folder.resolve()
        future = task.remote(command_of(cell, folder), str(log_of(folder)), str(self.stop_file))
        self.running.append((cell, folder, future))

    def wait(self) -> list[Outcome]:
        """Wait for a moment; returns the outcomes of the cells that have ended."""
        futures = [job[2] for job in self.running]
        ready, _ = self.ray.wait(futures, num_returns=len(futures), timeout=POLL)
        ended = [job for job in self.running if job[2] in ready]
        self.running = [job for job in self.running if job not in ended]
        return [self._outcome(*job) for job in ended]

    def _outcome(self, cell: Cell, folder: Path, future: Any) -> Outcome:
        try:
            return outcome(cell, folder, self.ray.get(future))
        except self.ray.exceptions.RayError as error:
            return Outcome(cell, "failed", " ".join(str(error).split())[:300])

    def stop(self) -> list[Outcome]:
        self.stop_file.touch()
        deadline, ended = time.monotonic() + GRACE, []
        while self.running and time.monotonic() < deadline:
            ended += self.wait()
        return ended + [Outcome(cell, "stopped") for cell, *_ in self.running]


# ------------------------------------------------------------------------------------------- the sweep
def sweep(
    todo: list[Cell], out: Path, workers: LocalJobs | RayJobs, console: Console
) -> list[Outcome]:
    """Run all unfinished cells; after Ctrl-C the running ones save and exit."""
    results, waiting = [], deque(todo)
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[text]}"))
    with Progress(*columns, TimeElapsedColumn(), console=console) as progress:
        total = progress.add_task("sweep", total=len(todo), text="")
        bars: dict[str, Any] = {}
        try:
            while waiting or workers.running:
                while waiting and workers.free():
                    cell = waiting.popleft()
                    done = begin(cell, out, workers)
                    if done is None:
                        steps = cell.settings.get("steps")
                        bars[cell.name] = progress.add_task(cell.name, total=steps, text="")
                    else:
                        note(done, results, progress, total, bars)
                for done in workers.wait() if workers.running else []:
                    note(done, results, progress, total, bars)
                for cell, folder, _ in workers.running:
                    step, value = progress_of(folder)
                    text = f"{step:,} steps" + ("" if value is None else f", return {value:.2f}")
                    progress.update(bars[cell.name], completed=step, text=text)
        except KeyboardInterrupt:
            progress.console.print("stopping: running cells save first", highlight=False)
            results += workers.stop()
            results += [Outcome(cell, "not run") for cell in waiting]
    return results


def begin(cell: Cell, out: Path, workers: LocalJobs | RayJobs) -> Outcome | None:
    """Start a cell; returns its outcome if there is nothing to run or it cannot be started, else None."""
    folder = out / cell.name
    try:
        finished = state_of(cell, folder) == "finished"
        prepare(cell, folder)
        if finished:
            return Outcome(cell, "skipped", figures(folder))
        workers.start(cell, folder)
    except (ValueError, OSError) as error:
        return Outcome(cell, "failed", str(error))
    return None


def note(done: Outcome, results: list[Outcome], progress: Progress, total, bars: dict) -> None:
    """Append an outcome to the results and print a line about it."""
    results.append(done)
    if done.cell.name in bars:
        progress.remove_task(bars.pop(done.cell.name))
    progress.update(total, completed=len(results), text=f"{len(results)} cells")
    if done.state != "skipped":
        text = f"{done.state}: {done.cell.name}, {done.text}"
        progress.console.print(text, highlight=False, markup=False, soft_wrap=True)


def summarize(results: list[Outcome], out: Path) -> tuple[str, int]:
    """Summary line and exit status: 0 when all cells are finished, 1 after failures, 130 when stopped."""
    states = [r.state for r in results]
    names = ("finished", "skipped", "failed", "stopped", "not run")
    counts = ", ".join(f"{states.count(n)} {n}" for n in names if n in states)
    text = f"{counts} of {len(results)} cells; runs are in {out}"
    if "stopped" in states or "not run" in states:
        return text, INTERRUPTED
    return text, int("failed" in states)


def show_commands(todo: list[Cell], out: Path) -> None:
    """Print the commands that would be run, one per line, and finished cells as comments."""
    for cell in todo:
        folder = out / cell.name
        line = shlex.join(["python", *command_of(cell, folder)[1:]])
        print(f"# finished: {cell.name}" if state_of(cell, folder) == "finished" else line)


def main(args: Args) -> int:
    """The command; returns its exit status, see `mail_envs.commands.errors`."""
    return exit_status(lambda: command(args))


def command(args: Args) -> int:
    """Run the unfinished cells of the sweep; returns the exit status."""
    for name in (signal.SIGINT, signal.SIGTERM):  # shells start background jobs with SIGINT ignored
        signal.signal(name, signal.default_int_handler)
    if args.jobs < 1:
        raise SpecError(f"jobs={args.jobs} must be at least 1")
    spec = read_spec(args.spec)
    out = args.out or Path(spec["out"])
    todo = cells(spec)
    if args.dry_run:
        show_commands(todo, out)
        return 0
    address = args.ray_address
    workers = LocalJobs(args.jobs) if address is None else RayJobs(address, out)
    text, status = summarize(sweep(todo, out, workers, Console()), out)
    print(text)
    return status


if __name__ == "__main__":
    prog = "python -m learners.sweep"
    sys.exit(main(tyro.cli(Args, prog=prog, description=Args.__doc__)))
