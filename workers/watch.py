"""Between a job's work and its record: progress out, cancellation in, neither more often than useful."""

import threading
import time

from service.contracts.job import Job, Progress
from service.jobs.queue import JobQueue

_REPORT_SECONDS = 0.25
_CANCEL_SECONDS = 0.5


class JobCancelled(Exception):
    """Nobody wants this attempt any more: the job was cancelled, or given to another worker."""


class JobTimedOut(Exception):
    """This attempt has taken longer than the job may."""


class Watch:
    """Called from any thread; talks to Redis a few times a second at most."""

    def __init__(self, queue: JobQueue, job: Job) -> None:
        self._queue, self._job = queue, job
        self._lock = threading.Lock()
        self._done = self._total = 0
        self._tensor: str | None = None
        self._reported = self._asked = 0.0
        self._began = time.monotonic()

    def expect(self, total: int) -> None:
        """`total` bytes are to be done, none is yet."""
        self._done, self._total = 0, total
        self._expected = time.monotonic()
        self._queue.report(self._job, Progress(bytes_total=total))

    def begin(self, tensor: str) -> None:
        """This one of the result's is under way from now on."""
        self._tensor = tensor

    def add(self, count: int) -> None:
        """`count` more bytes are done."""
        # Reported under the lock, so that what is written never goes back.
        with self._lock:
            self._done += count
            now = time.monotonic()
            if now - self._reported >= _REPORT_SECONDS or self._done == self._total:
                self._reported = now
                self._queue.report(self._job, self._progress(now))

    def pause(self, seconds: float) -> None:
        """Wait; raises what check() raises."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.check()
            time.sleep(0.1)

    def check(self) -> None:
        """Raises JobCancelled once this attempt is not wanted any more, JobTimedOut when its time is up."""
        with self._lock:
            if time.monotonic() - self._asked < _CANCEL_SECONDS:
                return
            self._asked = time.monotonic()
        if not self._queue.wanted(self._job):
            raise JobCancelled
        limit = self._job.timeout_seconds
        if limit is not None and time.monotonic() - self._began > limit:
            raise JobTimedOut(f"it was not done after {limit:g} s, the job's timeout")

    def _progress(self, now: float) -> Progress:
        rate = self._done / max(now - self._expected, 1e-3)
        return Progress(
            bytes_done=self._done,
            bytes_total=self._total,
            bytes_per_second=round(rate, 1),
            tensor=self._tensor,
            seconds_left=round((self._total - self._done) / rate, 1) if rate else None,
        )
