"""Processes that kill themselves at a given line."""

import os
import signal
import sys
from collections.abc import Callable, Collection
from types import FrameType
from typing import Any


def dies_at(line: int, files: Collection[str | None], work: Callable[[], object]) -> bool:
    """Do `work` in a process that kills itself before its nth line in `files`; False if it has fewer."""
    child = os.fork()
    if child == 0:
        try:
            sys.settrace(_killer(line, files))
            work()
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


def _killer(line: int, files: Collection[str | None]) -> Any:
    count = 0

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal count
        if frame.f_code.co_filename not in files:
            return None
        if event == "line":
            count += 1
            if count == line:
                os.kill(os.getpid(), signal.SIGKILL)
        return trace

    return trace
