"""Jobs on rq: one record and one event stream per job are ours, and what the API shows; rq runs the work.

rq may run a job twice (a worker lost at a bad moment). Every run is an attempt with a number: a record takes
changes from its latest attempt only, and a result's name follows from its request, so that an earlier attempt
that comes back to life does no harm. rq may also lose sight of a job: reconcile() compares our records with
rq's and repairs either side.
"""

import json
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from redis import Redis
from redis.client import Pipeline
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


@dataclass(frozen=True)
class _Change:
    """New values for fields of a record, and the event that tells of them."""

    event: Literal["state", "progress", "message"]
    data: dict[str, Any]
    fields: dict[str, Any] = field(default_factory=dict)


class JobQueue:
    """Submit, cancel and watch from the gateway; start, report and finish from the worker."""

    def __init__(self, redis: "Redis") -> None:
        self._redis = redis
        self._rq = RqQueue(QUEUE, connection=redis, serializer="json")

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
        if model is None:
            with self._redis.pipeline() as pipe:
                self._add(pipe, job)
                pipe.execute()
            return job

        def claim(pipe: "Pipeline") -> Job:
            other = self._under_way(pipe, model)
            pipe.multi()
            if other is None:
                pipe.set(_making(model), job.id, ex=RECORD_SECONDS)
                self._add(pipe, job)
            elif name:
                pipe.sadd(_names(other.id), name)
                pipe.expire(_names(other.id), RECORD_SECONDS)
            return other or job

        claimed: Job = self._redis.transaction(claim, _making(model), value_from_callable=True)
        return claimed

    def get(self, job_id: str) -> Job:
        """Raises UnknownJob."""
        return _read(self._redis, job_id)

    def page(self, kind: JobKind | None, cursor: str | None, limit: int) -> tuple[list[Job], str | None]:
        """Newest first; the cursor is the id of the last job seen. Raises UnknownJob for another cursor."""
        rank = -1 if cursor is None else self._redis.zrevrank(_ALL, cursor)
        if not isinstance(rank, int):
            raise UnknownJob(f"no job '{cursor}' to go on from")
        jobs: list[Job] = []
        for job_id in self._ids_from(rank + 1):
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

        def ask(job: Job) -> _Change:
            if job.state == "queued":
                return _end(job, "cancelled", cancel_requested=True)
            return _Change("message", {"message": "cancel requested"}, {"cancel_requested": True})

        return self._update(job_id, ask)

    def events(self, job_id: str, after: str = "0") -> list[JobEvent]:
        """The event log after the given event id. Raises UnknownJob."""
        self.get(job_id)
        # An exclusive start, "(id", is newer than Redis 5.
        milliseconds, _, number = after.partition("-")
        first = f"{milliseconds}-{int(number or 0) + 1}"
        return [_read_event(item) for item in self._redis.xrange(_events(job_id), min=first) or []]

    def start(self, job_id: str, worker: str) -> Job:
        """Begin an attempt. A job that is finished is returned as it is."""

        def begin(job: Job) -> _Change:
            state = {"state": "running", "attempt": job.attempt + 1, "worker": worker}
            started_at = job.started_at or datetime.now(UTC)
            return _Change("state", state, state | {"progress": Progress(), "started_at": started_at})

        return self._update(job_id, begin)

    def wanted(self, job: Job) -> bool:
        """Whether this attempt should go on: nobody asked for the job's end, and no later attempt began."""
        now = self.get(job.id)
        return now.attempt == job.attempt and not now.cancel_requested and not now.finished

    def report(self, job: Job, done: int, total: int) -> None:
        """Record this attempt's progress in bytes."""
        progress = Progress(bytes_done=done, bytes_total=total)
        change = _Change("progress", progress.model_dump(), {"progress": progress})
        self._update(job.id, lambda _: change, job.attempt)

    def names(self, job: Job) -> set[str]:
        """The aliases that the result gets: of the request that made the job, and of those that joined it."""
        joined = {text(name) for name in self._redis.smembers(_names(job.id))}
        return joined | ({job.name} if job.name else set())

    def give_back(self, job: Job) -> Job:
        """This attempt was ended by no fault of the job, which rq has queued again."""

        def back(now: Job) -> _Change:
            if now.cancel_requested:
                return _end(now, "cancelled")
            state = {"state": "queued"}
            return _Change("state", state, state | {"progress": Progress(), "worker": None})

        return self._update(job.id, back, job.attempt)

    def finish(
        self, job: Job, state: JobState, *, model: str | None = None, error: JobError | None = None
    ) -> Job:
        """Give the job its final state, which it keeps."""
        return self._update(job.id, lambda now: _end(now, state, model=model, error=error), job.attempt)

    def reconcile(self) -> None:
        """Repair what a crash left between our records and rq's: queue what it lost, fail what it gave up."""
        for raw in self._redis.smembers(_ACTIVE):
            try:
                self._reconcile(self.get(text(raw)))
            except UnknownJob:
                self._redis.srem(_ACTIVE, text(raw))

    def _reconcile(self, job: Job) -> None:
        try:
            status = RqJob.fetch(job.id, connection=self._redis, serializer="json").get_status()
        except NoSuchJobError:
            if not job.finished and datetime.now(UTC).timestamp() - _last_sign(job) > _ORPHAN_SECONDS:
                self._enqueue(self._redis.pipeline(), job).execute()
            return
        if status == JobStatus.QUEUED and job.state == "running":
            self.give_back(job)
        if status in (JobStatus.FAILED, JobStatus.STOPPED, JobStatus.CANCELED):
            detail = f"the worker was lost {job.attempt} times while it ran this job; see the worker's log"
            lost = JobError(type="worker-lost", detail=detail)
            self.finish(job, "cancelled" if job.cancel_requested else "failed", error=lost)

    def _add(self, pipe: "Pipeline", job: Job) -> None:
        pipe.zadd(_ALL, {job.id: job.created_at.timestamp()})
        pipe.sadd(_ACTIVE, job.id)
        _save(pipe, job)
        _tell(pipe, job.id, "state", {"state": "queued"})
        self._enqueue(pipe, job)

    def _enqueue(self, pipe: "Pipeline", job: Job) -> "Pipeline":
        self._rq.enqueue_call(
            ENTRY_POINT,
            args=(job.id,),
            job_id=job.id,
            timeout=-1,
            result_ttl=60,
            failure_ttl=3600,
            retry=Retry(max=MAX_ATTEMPTS - 1),
            pipeline=pipe,
        )
        return pipe

    def _update(self, job_id: str, change: Callable[[Job], _Change], attempt: int | None = None) -> Job:
        """Change record and log in one step, unless the job is finished, or in another attempt than given.

        Returns the record as it is then. Raises UnknownJob.
        """

        def step(pipe: "Pipeline") -> Job:
            job = _read(pipe, job_id)
            pipe.multi()
            if job.finished or attempt not in (None, job.attempt):
                return job
            wanted = change(job)
            changed = job.model_copy(update=wanted.fields)
            _save(pipe, changed)
            _tell(pipe, job_id, wanted.event, wanted.data)
            if changed.finished:
                pipe.srem(_ACTIVE, job_id)
            return changed

        updated: Job = self._redis.transaction(step, _record(job_id), value_from_callable=True)
        return updated

    def _under_way(self, pipe: "Pipeline", model: str) -> Job | None:
        """The job that makes this model; from now on `pipe` fails if that job changes."""
        other = pipe.get(_making(model))
        if other is None:
            return None
        try:
            pipe.watch(_record(text(other)))
            job = _read(pipe, text(other))
        except UnknownJob:
            return None
        return None if job.finished or job.cancel_requested else job

    def _ids_from(self, start: int) -> Iterator[str]:
        while True:
            batch = self._redis.zrevrange(_ALL, start, start + 99)
            yield from map(text, batch)
            if len(batch) < 100:
                return
            start += 100


def _end(job: Job, state: JobState, **fields: Any) -> _Change:
    model, error = fields.pop("model", None) or job.model, fields.pop("error", None)
    total = job.progress.bytes_total
    done = total if state == "succeeded" else job.progress.bytes_done
    fields |= {
        "state": state,
        "model": model,
        "error": error,
        "progress": Progress(bytes_done=done, bytes_total=total),
        "finished_at": datetime.now(UTC),
    }
    data = {"state": state, "model": model} | ({"error": error.model_dump()} if error else {})
    return _Change("state", data, fields)


def _read(redis: Any, job_id: str) -> Job:
    raw = redis.get(_record(job_id))
    if raw is None:
        raise UnknownJob(f"no job '{job_id}'; finished jobs are kept for 30 days")
    return Job.model_validate_json(raw)


def _save(pipe: "Pipeline", job: Job) -> None:
    pipe.set(_record(job.id), job.model_dump_json(), ex=RECORD_SECONDS)


def _tell(pipe: "Pipeline", job_id: str, kind: str, data: dict[str, Any]) -> None:
    event = {"at": datetime.now(UTC).isoformat(), "type": kind, "data": data}
    pipe.xadd(_events(job_id), {"event": json.dumps(event)}, maxlen=EVENTS_KEPT, approximate=True)
    pipe.expire(_events(job_id), RECORD_SECONDS)


def _read_event(item: Any) -> JobEvent:
    event_id, fields = item
    return JobEvent.model_validate({**json.loads(fields[b"event"]), "id": text(event_id)})


def _last_sign(job: Job) -> float:
    return (job.started_at or job.created_at).timestamp()


def _record(job_id: str) -> str:
    return f"polymerge:job:{job_id}"


def _events(job_id: str) -> str:
    return f"polymerge:job:{job_id}:events"


def _names(job_id: str) -> str:
    return f"polymerge:job:{job_id}:names"


def _making(model: str) -> str:
    return f"polymerge:making:{model}"
