"""Checks that every game must pass, for tests and for `python -m mail_envs check`.

Each check takes a `Subject` (an id with arguments). It returns nothing, or raises `ConformanceError` with the problem
and the usual fix, or `NotApplicable` with the reason.
"""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from mail_envs.compile_errors import compile_error
from mail_envs.conformance.cuda import check_cuda, compile_to_ptx
from mail_envs.conformance.episodes import (
    check_autoreset,
    check_independence,
    check_repeatability,
    check_save_and_restore,
)
from mail_envs.conformance.participation import (
    check_masks,
    check_non_participants,
    check_participation_frequencies,
)
from mail_envs.conformance.spaces import (
    check_agents_and_spaces,
    check_observations_in_spaces,
    check_page,
    check_pettingzoo_aec,
    check_pettingzoo_parallel,
    check_pettingzoo_render,
    check_pettingzoo_seeds,
    check_play,
)
from mail_envs.conformance.subject import ConformanceError, NotApplicable, Subject
from mail_envs.conformance.views import check_aec_view, check_errors, check_parallel_view

__all__ = [
    "CHECKS",
    "ConformanceError",
    "NotApplicable",
    "Result",
    "Subject",
    "compile_to_ptx",
    "run_checks",
]

CHECKS: dict[str, Callable[[Subject], None]] = {
    "compiles and plays": check_play,
    "page": check_page,
    "agents and spaces": check_agents_and_spaces,
    "observations lie in their spaces": check_observations_in_spaces,
    "PettingZoo api_test": check_pettingzoo_aec,
    "PettingZoo parallel_api_test": check_pettingzoo_parallel,
    "PettingZoo seed_test": check_pettingzoo_seeds,
    "PettingZoo render_test": check_pettingzoo_render,
    "parallel view = vector view": check_parallel_view,
    "AEC view = vector view": check_aec_view,
    "independent of num_envs": check_independence,
    "a seed repeats its episode": check_repeatability,
    "saved and restored": check_save_and_restore,
    "autoreset and final observations": check_autoreset,
    "agents that do not participate": check_non_participants,
    "participation frequencies": check_participation_frequencies,
    "action masks": check_masks,
    "clear errors": check_errors,
    "compiles for CUDA": check_cuda,
}
COMPILE_FIX = (
    "use only scalars, fields of the record and other @device_function functions in the three "
    "functions; MAIL_ENVS_TRACEBACK=1 shows numba's full message"
)


@dataclass(frozen=True)
class Result:
    """Outcome of one check: PASS, FAIL (with message and fix) or SKIP (with the reason)."""

    name: str
    status: str
    message: str = ""
    fix: str = ""


def run_checks(
    subject: Subject, starting: Callable[[str], None] = lambda name: None
) -> Iterator[Result]:
    """Run all checks in order, each after `starting(its name)`; stop if the game does not compile.

    With MAIL_ENVS_TRACEBACK set, errors other than ConformanceError include the full traceback.
    """
    for name, check in CHECKS.items():
        starting(name)
        try:
            check(subject)
        except NotApplicable as reason:
            yield Result(name, "SKIP", str(reason))
        except ConformanceError as error:
            yield Result(name, "FAIL", error.message, error.fix)
        except Exception as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            line = compile_error(error)
            message = line or f"{type(error).__name__}: {error}"
            fix = COMPILE_FIX if line else f"it was raised at {where.filename}:{where.lineno}"
            if os.environ.get("MAIL_ENVS_TRACEBACK"):
                message += "\n" + traceback.format_exc()
            yield Result(name, "FAIL", message, fix)
            if line:
                return
        else:
            yield Result(name, "PASS")
