"""Keeps the guardian of a stack running: the process that cleans up if this one is killed."""

import os
import subprocess
import sys
from pathlib import Path

from clients.stack import guardian

_GRACE_SECONDS = 5.0
_LEAVE_SECONDS = 5.0


class Guard:
    """Where there is no /proc there is no guardian."""

    def __init__(self, token: str, inherit: tuple[int, ...]) -> None:
        script = str(Path(guardian.__file__).resolve())
        self._command = (sys.executable, "-I", "-S", script, token, str(_GRACE_SECONDS))
        self._inherit = inherit
        self._process: subprocess.Popen[bytes] | None = None

    def keep(self) -> None:
        """Start it, or start it again if it is gone."""
        if sys.platform != "linux" or (self._process and self._process.poll() is None):
            return
        self._close()
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            # A Ctrl-C in the terminal is not for it.
            start_new_session=True,
            pass_fds=self._inherit,
            cwd=os.sep,
        )

    def dismiss(self) -> None:
        """Let it look once more for anything left, and go."""
        self._close()
        if self._process:
            try:
                self._process.wait(_LEAVE_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def _close(self) -> None:
        if self._process and self._process.stdin:
            self._process.stdin.close()
