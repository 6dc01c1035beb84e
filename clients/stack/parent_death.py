"""Linux process control: children that die with their parent, and orphans that come back to it."""

import ctypes
import os
import signal
import sys
from collections.abc import Callable

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_LIBC = ctypes.CDLL(None, use_errno=True)


def adopt_orphans(adopt: bool) -> None:
    """Whether orphaned descendants become children of this process, so that none is lost from sight."""
    if sys.platform == "linux":
        _LIBC.prctl(_PR_SET_CHILD_SUBREAPER, int(adopt), 0, 0, 0)


def die_with(parent: int) -> Callable[[], None]:
    """A preexec_fn: SIGTERM for the new process as soon as the thread that started it is gone.

    The kernel counts the thread, not the process, as the parent: start children from one that lives on.
    """

    def before_exec() -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if sys.platform == "linux":
            _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)

    return before_exec
