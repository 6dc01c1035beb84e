"""Between a job's work and its record: progress out, cancellation in, neither more often than useful."""

import threading
import time

from service.queue import JobQueue

_REPORT_SECONDS = 0.25
_CANCEL_SECONDS = 0.5


class JobCancelled(Exception):
    """Somebody asked for the end of this job."""


class Watch:
    """Called from any thread; talks to Redis a few times a second at most."""

    def __init__(self, queue: JobQueue, job_id: str) -> None:
        self._queue, self._job_id = queue, job_id
        self._lock = threading.Lock()
        self._done = self._total = 0
        self._reported = self._asked = 0.0

    def expect(self, total: int) -> None:
        """`total` bytes are to be done, none is yet."""
        self._done, self._total = 0, total
        self._queue.report(self._job_id, 0, total)

    def add(self, count: int) -> None:
        """`count` more bytes are done."""
        with self._lock:
            self._done += count
            now = time.monotonic()
            if now - self._reported < _REPORT_SECONDS:
                return
            self._reported, done = now, self._done
        self._queue.report(self._job_id, done, self._total)

    def check(self) -> None:
        """Raises JobCancelled once a cancel has been asked for."""
        with self._lock:
            if time.monotonic() - self._asked < _CANCEL_SECONDS:
                return
            self._asked = time.monotonic()
        if self._queue.cancelled(self._job_id):
            raise JobCancelled
