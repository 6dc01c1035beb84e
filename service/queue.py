"""Jobs on rq: one record and one event stream per job are ours, and what the API shows; rq runs the work.

rq may run a job twice (a worker lost at a bad moment); a result's name follows from its request and it is
published by rename, so the second run finds the first one's result. rq may also lose sight of a job (Redis
killed between two writes): reconcile() compares our records with rq's and repairs either side.
"""

import json
import secrets
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Literal

from redis import Redis
from rq import Queue as RqQueue
from rq import Retry
from rq.exceptions import NoSuchJobError
from rq.job import Job as RqJob
from rq.job import JobStatus

from service.connection import text
from service.contracts.job import Job, JobError, JobEvent, JobKind, JobState, Progress

QUEUE = "polymerge-jobs"
ENTRY_POINT = "workers.merge_worker.run_job"
MAX_ATTEMPTS = 3
RECORD_SECONDS = 30 * 24 * 3600
EVENTS_KEPT = 1000
_ACTIVE = "polymerge:jobs:active"
_ALL = "polymerge:jobs"
_ORPHAN_SECONDS = 15.0


class UnknownJob(Exception):
    """No job has this id (finished jobs are kept for 30 days)."""


class JobQueue:
    """Submit, cancel and watch from the gateway; start, report and finish from the worker."""

    def __init__(self, redis: "Redis") -> None:
        self._redis = redis
        self.rq = RqQueue(QUEUE, connection=redis, serializer="json")

    def submit(
        self, kind: JobKind, request: dict[str, Any], *, model: str | None = None, name: str | None = None
    ) -> Job:
        """Record the job and queue it. One that makes the same model and is under way is joined instead."""
        job = Job(
            id=f"j_{secrets.token_hex(8)}",
            kind=kind,
            state="queued",
            model=model,
            name=name,
            created_at=datetime.now(UTC),
            request=request,
        )
        if model and not self._redis.set(_making(model), job.id, nx=True, ex=RECORD_SECONDS):
            under_way = self._under_way(model)
            if under_way:
                return under_way
            self._redis.set(_making(model), job.id, ex=RECORD_SECONDS)
        self._save(job)
        with self._redis.pipeline() as pipe:
            pipe.zadd(_ALL, {job.id: job.created_at.timestamp()})
            pipe.sadd(_ACTIVE, job.id)
            pipe.execute()
        self._event(job, "state", {"state": "queued"})
        self._enqueue(job.id)
        return job

    def get(self, job_id: str) -> Job:
        """Raises UnknownJob."""
        raw = self._redis.get(_record(job_id))
        if raw is None:
            raise UnknownJob(f"no job '{job_id}'; finished jobs are kept for 30 days")
        job = Job.model_validate_json(raw)
        cancelled = bool(self._redis.exists(_cancel(job_id)))
        return job.model_copy(update={"cancel_requested": cancelled or job.cancel_requested})

    def page(self, kind: JobKind | None, cursor: str | None, limit: int) -> tuple[list[Job], str | None]:
        """Newest first; the cursor is the id of the last job seen."""
        start = 0
        if cursor is not None:
            rank = self._redis.zrevrank(_ALL, cursor)
            start = rank + 1 if isinstance(rank, int) else 0
        jobs: list[Job] = []
        for job_id in self._ids_from(start):
            try:
                job = self.get(job_id)
            except UnknownJob:
                self._redis.zrem(_ALL, job_id)
                continue
            if kind is None or job.kind == kind:
                if len(jobs) == limit:
                    return jobs, jobs[-1].id
                jobs.append(job)
        return jobs, None

    def cancel(self, job_id: str) -> Job:
        """Ask for the end of a job: a queued one ends here, a running one within a second or two."""
        job = self.get(job_id)
        if job.finished:
            return job
        self._redis.set(_cancel(job_id), 1, ex=RECORD_SECONDS)
        if job.state == "queued":
            return self.finish(job_id, "cancelled")
        self._event(job, "message", {"message": "cancel requested"})
        return self.get(job_id)

    def events(self, job_id: str, after: str = "0") -> list[JobEvent]:
        """The event log after the given event id. Raises UnknownJob."""
        self.get(job_id)
        return [_read_event(item) for item in self._redis.xrange(_events(job_id), min=f"({after}") or []]

    def cancelled(self, job_id: str) -> bool:
        return bool(self._redis.exists(_cancel(job_id)))

    def start(self, job_id: str, worker: str) -> Job:
        """Called by the worker as it begins an attempt."""
        job = self.get(job_id)
        if job.finished:
            return job
        job = job.model_copy(
            update={
                "state": "running",
                "attempt": job.attempt + 1,
                "worker": worker,
                "progress": Progress(),
                "started_at": job.started_at or datetime.now(UTC),
            }
        )
        self._save(job)
        self._event(job, "state", {"state": "running", "attempt": job.attempt, "worker": worker})
        return job

    def report(self, job_id: str, done: int, total: int) -> None:
        """Record progress in bytes."""
        job = self.get(job_id)
        self._save(job.model_copy(update={"progress": Progress(bytes_done=done, bytes_total=total)}))
        self._event(job, "progress", {"bytes_done": done, "bytes_total": total})

    def finish(
        self, job_id: str, state: JobState, *, model: str | None = None, error: JobError | None = None
    ) -> Job:
        """Give the job its final state; a job that has one keeps it."""
        job = self.get(job_id)
        if job.finished:
            return job
        progress = job.progress
        if state == "succeeded":
            progress = progress.model_copy(update={"bytes_done": progress.bytes_total})
        job = job.model_copy(
            update={
                "state": state,
                "model": model or job.model,
                "error": error,
                "progress": progress,
                "finished_at": datetime.now(UTC),
            }
        )
        detail = {"error": error.model_dump()} if error else {}
        # Before the record: who sees a finished job has all of its events.
        self._event(job, "state", {"state": state, "model": job.model, **detail})
        self._save(job)
        with self._redis.pipeline() as pipe:
            pipe.srem(_ACTIVE, job_id)
            pipe.expire(_events(job_id), RECORD_SECONDS)
            if job.model:
                pipe.delete(_making(job.model))
            pipe.execute()
        return job

    def reconcile(self) -> None:
        """Repair what a crash left between our records and rq's: queue what it lost, fail what it gave up."""
        for raw in self._redis.smembers(_ACTIVE):
            job_id = text(raw)
            try:
                self._reconcile(self.get(job_id))
            except UnknownJob:
                self._redis.srem(_ACTIVE, job_id)

    def _reconcile(self, job: Job) -> None:
        age = datetime.now(UTC).timestamp() - job.created_at.timestamp()
        try:
            status = RqJob.fetch(job.id, connection=self._redis, serializer="json").get_status()
        except NoSuchJobError:
            if job.finished or age < _ORPHAN_SECONDS:
                return
            self._enqueue(job.id)
            return
        if status in (JobStatus.FAILED, JobStatus.STOPPED, JobStatus.CANCELED):
            detail = f"the worker was lost {job.attempt} times while it ran this job; see the worker's log"
            self.finish(job.id, "failed", error=JobError(type="worker-lost", detail=detail))

    def _enqueue(self, job_id: str) -> None:
        self.rq.enqueue_call(
            ENTRY_POINT,
            args=(job_id,),
            job_id=job_id,
            timeout=-1,
            result_ttl=60,
            failure_ttl=3600,
            retry=Retry(max=MAX_ATTEMPTS - 1),
        )

    def _under_way(self, model: str) -> Job | None:
        other = self._redis.get(_making(model))
        try:
            job = self.get(text(other)) if other else None
        except UnknownJob:
            return None
        return job if job and not job.finished and not job.cancel_requested else None

    def _ids_from(self, start: int) -> Iterator[str]:
        while True:
            batch = self._redis.zrevrange(_ALL, start, start + 99)
            yield from map(text, batch)
            if len(batch) < 100:
                return
            start += 100

    def _save(self, job: Job) -> None:
        self._redis.set(_record(job.id), job.model_dump_json(), ex=RECORD_SECONDS)

    def _event(self, job: Job, kind: Literal["state", "progress", "message"], data: dict[str, Any]) -> None:
        event = JobEvent(id="", at=datetime.now(UTC), type=kind, data=data)
        body = event.model_dump_json(exclude={"id"})
        self._redis.xadd(_events(job.id), {"event": body}, maxlen=EVENTS_KEPT, approximate=True)


def _read_event(item: Any) -> JobEvent:
    event_id, fields = item
    return JobEvent.model_validate({**json.loads(fields[b"event"]), "id": text(event_id)})


def _record(job_id: str) -> str:
    return f"polymerge:job:{job_id}"


def _events(job_id: str) -> str:
    return f"polymerge:job:{job_id}:events"


def _cancel(job_id: str) -> str:
    return f"polymerge:job:{job_id}:cancel"


def _making(model: str) -> str:
    return f"polymerge:making:{model}"
