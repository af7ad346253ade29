"""Mistakes of the user's: one line and one exit status, the same in all commands.

With MAIL_ENVS_TRACEBACK=1 they come with a traceback; whatever else goes wrong always does.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

MISTAKE, INTERRUPTED = 2, 130
MISTAKES = (ValueError, TypeError, OSError, ImportError, NotImplementedError)


class CommandError(ValueError):
    """A mistake in what the user typed."""


def exit_status(command: Callable[[], int | None]) -> int:
    """Run a command; its own status, 2 after a mistake of the user's, 130 after Ctrl-C."""
    try:
        return int(command() or 0)
    except KeyboardInterrupt as stop:
        print(str(stop) or "interrupted", file=sys.stderr)
        return INTERRUPTED
    except Exception as error:
        # Imported only now: numba takes a while.
        from mail_envs.compile_errors import compile_error
        from mail_envs.drawing import RenderingError

        line = compile_error(error)
        expected = line or isinstance(error, (*MISTAKES, RenderingError))
        if os.environ.get("MAIL_ENVS_TRACEBACK") or not expected:
            raise
        print(f"error: {line or ' '.join(str(error).split())}", file=sys.stderr)
        return MISTAKE
