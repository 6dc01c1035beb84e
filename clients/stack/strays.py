"""Knows every process that descends from the parts, wherever it has gone in the process tree.

A part that is killed leaves children (a vLLM engine holds gigabytes), some in sessions of their own. As
sub-reaper this process becomes their parent; the marker in their environment tells them from bystanders.
"""

import os
from collections.abc import Collection
from contextlib import suppress

import psutil

from clients.stack.guardian import MARKER


class Strays:
    def __init__(self, token: str) -> None:
        self._token = token
        self._known: set[psutil.Process] = set()
        self._suspects: set[psutil.Process] = set()

    def tidy(self, parts: Collection[int]) -> None:
        """Kill orphans that were orphans at the last call too, and reap the dead ones."""
        orphans = {
            process for process in self._census() if process.pid not in parts and _is_our_child(process)
        }
        for process in orphans & self._suspects:
            _kill(process)
        self._suspects = orphans

    def remember(self) -> None:
        """Take note of who is there, before their parents go."""
        self._census()

    def sweep(self) -> None:
        """Kill whatever is left, until nothing is."""
        for _ in range(50):
            remaining = self._census()
            if not remaining:
                return
            for process in remaining:
                _kill(process)
            psutil.wait_procs(remaining, timeout=0.1)

    def _census(self) -> set[psutil.Process]:
        found: set[psutil.Process] = set()
        for process in psutil.Process().children(recursive=True):
            with suppress(psutil.Error):
                if process in self._known or process.parent() in found or self._is_marked(process):
                    found.add(process)
        self._known = found
        return found

    def _is_marked(self, process: psutil.Process) -> bool:
        return process.environ().get(MARKER) == self._token


def _is_our_child(process: psutil.Process) -> bool:
    with suppress(psutil.Error):
        return process.ppid() == os.getpid()
    return False


def _kill(process: psutil.Process) -> None:
    with suppress(psutil.Error):
        process.kill()
    with suppress(ChildProcessError):
        os.waitpid(process.pid, os.WNOHANG)
