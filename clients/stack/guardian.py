"""Outlives a stack that is killed, and then ends every process that the stack has left behind.

A script of its own, with the standard library alone: `python -I -S guardian.py TOKEN SECONDS`. Its standard
input is a pipe whose other end the stack holds; when that closes, the stack is gone, however it went.
"""

import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

MARKER = "POLYMERGE_STACK"
"""The variable in the environment of every process of a stack; its value names the stack."""
_KILL_FOR_SECONDS = 30.0


def main(token: str, grace: float) -> None:
    while os.read(0, 1):
        pass
    kill_at = time.monotonic() + grace
    while pids := _marked(token):
        if time.monotonic() > kill_at + _KILL_FOR_SECONDS:
            return
        if time.monotonic() > kill_at:
            for pid in pids:
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
        time.sleep(0.1)


def _marked(token: str) -> list[int]:
    """Processes with the marker; one that has ended, or is not ours to read, has no environment."""
    entry = f"{MARKER}={token}".encode()
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if entry in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
    return found


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
