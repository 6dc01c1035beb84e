"""One `polymerge up` per data folder.

The lock is a flock on DATA/up.lock. Every part inherits the open file, so the folder counts as in use until
the last part of a killed run is gone: two Redis servers never write one append-only file.
"""

import fcntl
import os
import time
from pathlib import Path

import psutil

from clients.stack.start_error import StartError

# The guardian of a killed run needs some of it.
_PATIENCE_SECONDS = 15.0


class DataLock:
    def __init__(self, data: Path) -> None:
        self._path = data / "up.lock"
        self._file: int | None = None

    @property
    def descriptor(self) -> int:
        """The open lock file, for the parts to inherit."""
        if self._file is None:
            raise RuntimeError("the lock is not held")
        return self._file

    def acquire(self) -> None:
        """Raises StartError, naming the process that holds the folder."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            self._lock(file)
        except BaseException:
            os.close(file)
            raise
        os.ftruncate(file, 0)
        os.pwrite(file, str(os.getpid()).encode(), 0)
        self._file = file

    def release(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _lock(self, file: int) -> None:
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while True:
            try:
                return fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self._refuse_if_running(file)
            if time.monotonic() > deadline:
                raise StartError(self._leftovers())
            time.sleep(0.1)

    def _refuse_if_running(self, file: int) -> None:
        recorded = os.pread(file, 20, 0).decode()
        if recorded.isdigit() and psutil.pid_exists(int(recorded)):
            raise StartError(
                f"{self._path.parent} is in use by another `polymerge up` (pid {recorded}): "
                f"stop that one, or choose another folder with --data"
            )

    def _leftovers(self) -> str:
        pids = ", ".join(str(pid) for pid in self._holders())
        return f"parts of an earlier run still hold {self._path.parent} (pids {pids}): end them with kill -9"

    def _holders(self) -> list[int]:
        holders = []
        for process in psutil.process_iter():
            try:
                if any(file.path == str(self._path) for file in process.open_files()):
                    holders.append(process.pid)
            except psutil.Error:
                continue
        return [pid for pid in holders if pid != os.getpid()]
