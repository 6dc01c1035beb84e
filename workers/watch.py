"""Between a job's work and its record: progress out, cancellation in, neither more often than useful."""

import threading
import time

from service.contracts.job import Job
from service.queue import JobQueue

_REPORT_SECONDS = 0.25
_CANCEL_SECONDS = 0.5


class JobCancelled(Exception):
    """Nobody wants this attempt any more: the job was cancelled, or given to another worker."""


class Watch:
    """Called from any thread; talks to Redis a few times a second at most."""

    def __init__(self, queue: JobQueue, job: Job) -> None:
        self._queue, self._job = queue, job
        self._lock = threading.Lock()
        self._done = self._total = 0
        self._reported = self._asked = 0.0

    def expect(self, total: int) -> None:
        """`total` bytes are to be done, none is yet."""
        self._done, self._total = 0, total
        self._queue.report(self._job, 0, total)

    def add(self, count: int) -> None:
        """`count` more bytes are done."""
        # Reported under the lock, so that what is written never goes back.
        with self._lock:
            self._done += count
            now = time.monotonic()
            if now - self._reported >= _REPORT_SECONDS or self._done == self._total:
                self._reported = now
                self._queue.report(self._job, self._done, self._total)

    def check(self) -> None:
        """Raises JobCancelled once this attempt is not wanted any more."""
        with self._lock:
            if time.monotonic() - self._asked < _CANCEL_SECONDS:
                return
            self._asked = time.monotonic()
        if not self._queue.wanted(self._job):
            raise JobCancelled
