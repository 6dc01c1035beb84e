"""Jobs on rq: rq runs the work, records and event logs are ours, and what the API shows.

rq may run a job twice (a worker lost at a bad moment). Every run is an attempt with a number: a record takes
changes from its latest attempt only, and a result's name follows from its request, so that an earlier attempt
that comes back to life does no harm. rq may also lose sight of a job: reconcile() compares our records with
rq's and repairs either side. rq knows nothing of jobs that wait for others.
"""

import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from redis import Redis
from redis.client import Pipeline
from rq import Queue as RqQueue
from rq import Retry
from rq.exceptions import NoSuchJobError
from rq.job import Job as RqJob
from rq.job import JobStatus

from service.connection import text
from service.contracts.job import Job, JobError, JobEvent, JobKind, JobPriority, JobState, Progress
from service.contracts.problem import FieldProblem
from service.jobs.dependencies import Dependencies
from service.jobs.records import RECORD_SECONDS, Change, JobRecords, UnknownJob, end, record_key, transact
from service.telemetry.request import current_request_id, current_traceparent

__all__ = ["QUEUE", "JobQueue", "QueueFull", "UnknownJob"]

QUEUE = "polymerge-jobs"
ENTRY_POINT = "workers.merge_worker.run_job"
MAX_ATTEMPTS = 3
_TAIL = 20
_GRACE_SECONDS = 60
"""A job that has not ended itself at its timeout is ended by rq so much later."""
_OVERTAKE = """
for _, other in ipairs(redis.call('LRANGE', KEYS[1], 0, -1)) do
    if redis.call('SISMEMBER', KEYS[2], other) == 1 then
        redis.call('LREM', KEYS[1], -1, ARGV[1])
        return redis.call('LINSERT', KEYS[1], 'BEFORE', other, ARGV[1])
    end
end
"""
"""Moves a job from the end of the queue before the first one of a sweep. One queue for all, because rq takes
jobs safely (so that none is lost with a worker that has just taken it) from a single queue only."""
_SWEPT = "polymerge:jobs:swept"
"""Set: ids of jobs of sweeps. It expires with the last one's record."""


class QueueFull(Exception):
    """As many jobs as are allowed are queued or running."""


class JobQueue:
    """Submit, cancel and watch from the gateway; start, report and finish from the worker."""

    def __init__(self, redis: "Redis", limit: int | None = None) -> None:
        self._redis = redis
        self._limit = limit
        self._records = JobRecords(redis)
        self._rq = RqQueue(QUEUE, connection=redis, serializer="json")
        self._dependencies = Dependencies(redis, self._records, self._enqueue)

    def submit(
        self,
        kind: JobKind,
        request: dict[str, Any],
        *,
        model: str | None = None,
        name: str | None = None,
        warnings: Sequence[FieldProblem] = (),
        priority: JobPriority = "interactive",
        timeout: float | None = None,
        waiting_for: Sequence[str] = (),
    ) -> Job:
        """Record the job and queue it. One that makes the same model and is under way is joined instead.

        `timeout` in seconds, of one attempt. No worker takes it before the jobs in `waiting_for` have
        succeeded. Raises QueueFull.
        """
        job = Job(
            id=f"j_{secrets.token_hex(8)}",
            kind=kind,
            state="queued",
            model=model,
            name=name,
            priority=priority,
            timeout_seconds=timeout,
            waiting_for=list(waiting_for),
            warnings=list(warnings),
            request_id=current_request_id(),
            traceparent=current_traceparent(),
            created_at=datetime.now(UTC),
            request=request,
        )

        def claim(pipe: Any) -> Job:
            other = self.making(model, watching=pipe) if model else None
            if other is None:
                self.check_room(1)
            pipe.multi()
            if other is None:
                self._add(pipe, job)
            elif name:
                pipe.sadd(_names(other.id), name)
                pipe.expire(_names(other.id), RECORD_SECONDS)
            return other or job

        queued = transact(self._redis, claim)
        if not queued.waiting_for:
            return queued
        # What it waits for may have ended just now.
        self._dependencies.settle(queued.id)
        return self.get(queued.id)

    def making(self, model: str, watching: Any = None) -> Job | None:
        """The job under way that makes this model.

        With `watching`, that pipeline will fail if there comes another, or if this one changes.
        """
        if watching is not None:
            watching.watch(_making(model))
        other = (self._redis if watching is None else watching).get(_making(model))
        try:
            job = self._records.get(text(other), watching) if other else None
        except UnknownJob:
            return None
        return job if job and not job.finished and not job.cancel_requested else None

    def naming(self, name: str) -> list[Job]:
        """The jobs under way whose model will have this alias."""
        return [job for job in self.active() if not job.cancel_requested and name in self.names(job)]

    def check_room(self, count: int) -> None:
        """Raises QueueFull when there is no room for so many jobs more."""
        if self._limit is None:
            return
        active = self._records.count_active()
        if active + count > self._limit:
            raise QueueFull(
                f"{active} jobs are queued or running; {count} more would exceed the limit of {self._limit}"
            )

    def get(self, job_id: str) -> Job:
        """Raises UnknownJob."""
        return self._records.get(job_id)

    def page(
        self, wanted: Callable[[Job], bool], cursor: str | None, limit: int
    ) -> tuple[list[Job], str | None]:
        """Newest first; the cursor is the id of the last job seen. Raises UnknownJob for another cursor."""
        jobs: list[Job] = []
        for job in self._records.newest(cursor):
            if wanted(job):
                if len(jobs) == limit:
                    return jobs, jobs[-1].id
                jobs.append(job)
        return jobs, None

    def active(self) -> Iterator[Job]:
        """Jobs that are not finished."""
        return self._records.active()

    def events(self, job_id: str, after: str = "0") -> list[JobEvent]:
        """The event log after the given event id. Raises UnknownJob."""
        self.get(job_id)
        return self._records.events(job_id, after)

    def write_log(self, job: Job, level: str, message: str) -> None:
        """A line for the job's log, from the attempt that `job` is."""
        moment = datetime.now(UTC).isoformat(timespec="milliseconds")
        self._records.write_log(job.id, f"{moment} {level} attempt {job.attempt}: {message}")

    def log(self, job_id: str) -> list[str]:
        """The last lines that workers have written about the job. Raises UnknownJob."""
        self.get(job_id)
        return self._records.log(job_id)

    def get_with_log(self, job_id: str) -> Job:
        """The job with the end of its log. Raises UnknownJob."""
        return self.get(job_id).model_copy(update={"log_tail": self._records.log(job_id, _TAIL)})

    def cancel(self, job_id: str) -> Job:
        """Ask for the end of a job: a queued one ends here, a running one within a second or two."""

        def ask(job: Job) -> Change:
            if job.state == "queued":
                return end(job, "cancelled")
            return Change("message", {"message": "cancel requested"}, {"cancel_requested": True})

        return self._settled(self._records.update(job_id, ask))

    def start(self, job_id: str, worker: str) -> Job:
        """Begin an attempt. A job that is finished is returned as it is."""

        def begin(job: Job) -> Change:
            state = {"state": "running", "attempt": job.attempt + 1, "worker": worker}
            started_at = job.started_at or datetime.now(UTC)
            return Change("state", state, state | {"progress": Progress(), "started_at": started_at})

        return self._records.update(job_id, begin)

    def wanted(self, job: Job) -> bool:
        """Whether this attempt should go on: nobody asked for the job's end, and no later attempt began."""
        now = self.get(job.id)
        return now.attempt == job.attempt and not now.cancel_requested and not now.finished

    def report(self, job: Job, progress: Progress) -> None:
        """Record this attempt's progress."""
        change = Change("progress", progress.model_dump(), {"progress": progress})
        self._records.update(job.id, lambda _: change, job.attempt)

    def names(self, job: Job) -> set[str]:
        """The aliases that the result gets: of the request that made the job, and of those that joined it."""
        joined = {text(name) for name in self._redis.smembers(_names(job.id))}
        return joined | ({job.name} if job.name else set())

    def give_back(self, job: Job) -> Job:
        """This attempt was ended by no fault of the job, which rq has queued again."""

        def back(now: Job) -> Change:
            if now.cancel_requested:
                return end(now, "cancelled")
            state = {"state": "queued", "worker": None}
            return Change("state", state, state | {"progress": Progress()})

        return self._settled(self._records.update(job.id, back, job.attempt))

    def finish(
        self,
        job: Job,
        state: JobState,
        *,
        model: str | None = None,
        url: str | None = None,
        error: JobError | None = None,
        remarks: dict[str, str] | None = None,
    ) -> Job:
        """Give the job its final state, which it keeps."""
        ended = self._records.update(
            job.id, lambda now: end(now, state, model, url, error, remarks), job.attempt
        )
        return self._settled(ended)

    def reconcile(self) -> None:
        """Repair what a crash left between our records and rq's: queue what it lost, fail what it gave up."""
        for job in self._records.active():
            if job.waiting_for:
                self._dependencies.settle(job.id)
                continue
            try:
                status = RqJob.fetch(job.id, connection=self._redis, serializer="json").get_status()
            except NoSuchJobError:
                with self._redis.pipeline() as pipe:
                    self._enqueue(pipe, job)
                    pipe.execute()
                continue
            if status == JobStatus.QUEUED and job.state == "running":
                self.give_back(job)
            elif status in (JobStatus.FAILED, JobStatus.STOPPED, JobStatus.CANCELED):
                self._give_up(job)
        self._forget_taken()

    def _forget_taken(self) -> None:
        """Take finished jobs off rq's list of those that a worker is just taking.

        They stay there when Redis or a worker dies at the wrong moment, until rq looks, which is rarely.
        """
        taken = self._rq.intermediate_queue
        for job_id in taken.get_job_ids():
            with suppress(UnknownJob):
                if self.get(job_id).finished:
                    taken.remove(job_id)

    def _settled(self, job: Job) -> Job:
        """The job, after what waited for it has been told if it is finished."""
        if job.finished:
            self._dependencies.settle_after(job)
        return job

    def _give_up(self, job: Job) -> None:
        if job.cancel_requested:
            self.finish(job, "cancelled")
            return
        detail = f"the worker was lost {job.attempt} times while it ran this job; see the worker's log"
        self.finish(job, "failed", error=JobError(type="worker-lost", detail=detail))

    def _add(self, pipe: "Pipeline", job: Job) -> None:
        if job.model:
            pipe.set(_making(job.model), job.id, ex=RECORD_SECONDS)
        self._records.add(pipe, job)
        self._dependencies.add(pipe, job)
        if not job.waiting_for:
            self._enqueue(pipe, job)

    def _enqueue(self, pipe: "Pipeline", job: Job) -> None:
        self._rq.enqueue_call(
            ENTRY_POINT,
            args=(job.id,),
            job_id=job.id,
            timeout=int(job.timeout_seconds) + _GRACE_SECONDS if job.timeout_seconds else -1,
            result_ttl=60,
            failure_ttl=3600,
            retry=Retry(max=MAX_ATTEMPTS - 1),
            pipeline=pipe,
        )
        if job.priority == "sweep":
            pipe.sadd(_SWEPT, job.id)
            pipe.expire(_SWEPT, RECORD_SECONDS)
        else:
            pipe.eval(_OVERTAKE, 2, self._rq.key, _SWEPT, job.id)


def _names(job_id: str) -> str:
    """Set: aliases that requests which joined the job have asked for."""
    return f"{record_key(job_id)}:names"


def _making(model: str) -> str:
    """The id of the last job that was to make this model."""
    return f"polymerge:making:{model}"
