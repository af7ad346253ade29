"""Evaluation files of run folders: `evaluation.json` and `cross_play_*.json`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from learners.lib.files import number, read_json, whole, write_json, wrong

NAMES = {False: "evaluation.json", True: "evaluation_greedy.json"}  # sampled, most likely actions
# Keys that identify the evaluated policies, and what they played.
IDENTITY = ("steps", "mode", "policy", "against", "against_plays")


def read_evaluation(path: Path) -> dict[str, Any] | None:
    """An evaluation, with its values checked; None when there is no file yet.

    ValueError naming the file and the damaged key.
    """
    try:
        result = read_json(path)
    except FileNotFoundError:
        return None
    return check_evaluation(path, result)


def check_evaluation(path: Path, result: dict[str, Any]) -> dict[str, Any]:
    """`result`, if its values are those of an evaluation; else ValueError naming the file and the key."""
    number(path, result, "return")
    if number(path, {"sd": 0.0, **result}, "sd") < 0:
        raise wrong(path, "sd", result["sd"], "a number of at least 0")
    whole(path, {"episodes": 1, **result}, "episodes", 1)
    whole(path, {"steps": 0, **result}, "steps")
    if result.get("win_rate") is not None and not 0 <= number(path, result, "win_rate") <= 1:
        raise wrong(path, "win_rate", result["win_rate"], "a share from 0 to 1")
    for key in ("references", "policy", "against"):
        if not isinstance(result.get(key, {}), dict):
            raise wrong(path, key, result[key], "a mapping")
    for key in result.get("references", {}):
        number(path, result["references"], key)
    for key in ("confidence_interval", "win_interval"):
        _numbers(path, result, key, 2)
    _numbers(path, result, "episode_returns", None)
    return result


def read_cross_play(path: Path) -> dict[str, Any]:
    """An evaluation of one policy against another; ValueError naming the file and the key."""
    result = read_evaluation(path)
    if result is None:
        raise ValueError(f"{path} is missing")
    for key in ("env", "mode"):
        if not isinstance(result.get(key), str):
            raise wrong(path, key, result.get(key), "a string")
    for key in ("return_agents", "against_plays"):
        agents = result.get(key, [] if key == "against_plays" else None)
        if not isinstance(agents, list) or not all(isinstance(a, str) for a in agents):
            raise wrong(path, key, agents, "a list of names")
    for key in ("policy", "against"):
        side = result.get(key, {})
        if not isinstance(side.get("name"), str):
            raise wrong(path, f"{key}: name", side.get("name"), "a string")
        if side.get("num_demos") is not None:
            whole(path, side, "num_demos")
    return result


def _numbers(path: Path, result: dict[str, Any], key: str, count: int | None) -> None:
    """Check a list of `count` numbers (None: any count but 0), which may be missing."""
    values = result.get(key)
    if values is None:
        return
    if not isinstance(values, list) or not values or len(values) != (count or len(values)):
        raise wrong(path, key, values, f"a list of {count or ''} numbers".replace("  ", " "))
    for k, value in enumerate(values):
        number(path, {f"{key}[{k}]": value}, f"{key}[{k}]")


def keep_larger(path: Path, result: dict[str, Any]) -> str | None:
    """Write an evaluation, unless the file holds more episodes of the same policy.

    The `cloned_return` that training added is kept as long as the policy is the same. Returns a message when the
    file is kept, else None.
    """
    old = read_evaluation(path) or {}
    same = [old[k] == result[k] for k in IDENTITY if k in old and k in result]
    if all(same) and old.get("episodes", 0) > result["episodes"]:
        return f"{path} is kept: it has {old['episodes']:,} episodes of the same policy"
    noted = {k: v for k, v in old.items() if k == "cloned_return" and all(same)}
    write_json(path, {**noted, **result})
    return None


def interval_text(result: dict[str, Any]) -> str:
    """`-13.42 (95 % interval -13.80 to -13.04)`."""
    text, interval = f"{result['return']:.2f}", result.get("confidence_interval")
    if interval is None:
        return text
    return f"{text} (95 % interval {interval[0]:.2f} to {interval[1]:.2f})"
