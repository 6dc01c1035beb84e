"""Jobs that wait for others: queued for workers when those have succeeded, failed when one has not.

Whoever ends a job settles those that wait for it. Settling may be repeated at any time, and reconcile() does
so: what a crash has left waiting is settled then.
"""

from collections.abc import Callable
from contextlib import suppress

from redis import Redis
from redis.client import Pipeline

from service.connection import text
from service.contracts.job import Job, JobError
from service.jobs.records import RECORD_SECONDS, Change, JobRecords, UnknownJob, end, record_key


class Dependencies:
    """`enqueue` has a pipeline give a job to the workers."""

    def __init__(
        self, redis: "Redis", records: JobRecords, enqueue: Callable[["Pipeline", Job], None]
    ) -> None:
        self._redis, self._records, self._enqueue = redis, records, enqueue

    def add(self, pipe: "Pipeline", job: Job) -> None:
        """Have `pipe` remember that the job waits."""
        for other in job.waiting_for:
            pipe.sadd(_waiting(other), job.id)
            pipe.expire(_waiting(other), RECORD_SECONDS)

    def settle_after(self, job: Job) -> None:
        """Settle those that waited for a job that is finished."""
        for waiting in map(text, self._redis.smembers(_waiting(job.id))):
            # Its record may have expired.
            with suppress(UnknownJob):
                self.settle(waiting)

    def settle(self, job_id: str) -> None:
        """Queue the job if all that it waits for is there; fail it, with all that wait for it, if not."""
        unsettled, settled = [job_id], set[str]()
        while unsettled:
            job = self._records.update(unsettled.pop(), self._decide, also=self._start)
            if job.finished and job.id not in settled:
                settled.add(job.id)
                unsettled += map(text, self._redis.smembers(_waiting(job.id)))

    def _decide(self, job: Job) -> Change | None:
        left = []
        for other in job.waiting_for:
            try:
                now = self._records.get(other)
            except UnknownJob as error:
                return end(job, "failed", error=_failed(other, str(error)))
            if now.finished and now.state != "succeeded":
                return end(job, "failed", error=_blame(now))
            left += [] if now.finished else [other]
        if left == job.waiting_for:
            return None
        return Change("state", {"state": job.state, "waiting_for": left}, {"waiting_for": left})

    def _start(self, pipe: "Pipeline", job: Job) -> None:
        if not job.waiting_for and not job.finished:
            self._enqueue(pipe, job)


def _blame(other: Job) -> JobError:
    """The error of whatever waited for it: down a chain, everywhere that of the job where it began."""
    if other.error and other.error.job:
        return other.error
    made = f", which was to make {other.model or other.name or 'a model'}, {other.state}"
    return _failed(other.id, f"{other.id}{made}" + (f": {other.error.detail}" if other.error else ""))


def _failed(job_id: str, detail: str) -> JobError:
    return JobError(type="dependency-failed", detail=detail, job=job_id)


def _waiting(job_id: str) -> str:
    """Set: ids of jobs that wait for this one, or did."""
    return f"{record_key(job_id)}:waiting"
