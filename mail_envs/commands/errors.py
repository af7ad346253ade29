"""User errors print one line and have the same exit status in all commands.

With MAIL_ENVS_TRACEBACK=1 they also show the traceback, as all other errors do.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from mail_envs import compile_notice

MISTAKE, INTERRUPTED = 2, 130
MISTAKES = (ValueError, TypeError, OSError, ImportError, NotImplementedError, MemoryError)


class CommandError(ValueError):
    """An error in what the user typed."""


def exit_status(command: Callable[[], int | None]) -> int:
    """Run a command; returns its exit status, 2 after a user error, 130 after Ctrl-C."""
    compile_notice.in_command = True
    try:
        status = int(command() or 0)
        sys.stdout.flush()
        return status
    except KeyboardInterrupt as stop:
        print(str(stop) or "interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is still buffered
        return 0
    except Exception as error:
        # Imported here because importing numba is slow.
        from mail_envs.compile_errors import compile_error
        from mail_envs.drawing import RenderingError

        line = compile_error(error)
        expected = line or isinstance(error, (*MISTAKES, RenderingError))
        if os.environ.get("MAIL_ENVS_TRACEBACK") or not expected:
            raise
        text = line or " ".join(str(error).split()) or type(error).__name__
        print(f"error: {text}", file=sys.stderr)
        return MISTAKE
