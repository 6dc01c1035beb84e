"""A record and an event log for each job in Redis, always changed together.

A change is made to the record as it is at that moment (WATCH), so that gateway and workers never overwrite
each other. The log is a Redis stream, whose ids serve as SSE ids.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal, cast

from redis import Redis
from redis.client import Pipeline

from service.connection import text
from service.contracts.job import Job, JobError, JobEvent, JobState, Progress
from service.telemetry.counts import count_job

RECORD_SECONDS = 30 * 24 * 3600
EVENTS_KEPT = 1000
_LINES_KEPT = 500
_LINE_LENGTH = 2000
_ALL = "polymerge:jobs"
"""Sorted set: job ids by the time of their creation."""
_ACTIVE = "polymerge:jobs:active"
"""Set: ids of jobs that are not finished."""


class UnknownJob(Exception):
    """No job has this id (finished jobs are kept for 30 days)."""


@dataclass(frozen=True)
class Change:
    """An event, and the new values for fields of the record that it tells of."""

    event: Literal["state", "progress", "message"]
    data: dict[str, Any]
    fields: dict[str, Any] = field(default_factory=dict)


class JobRecords:
    def __init__(self, redis: "Redis") -> None:
        self._redis = redis

    def add(self, pipe: "Pipeline", job: Job) -> None:
        """Have `pipe` write the first record of a queued job."""
        pipe.zadd(_ALL, {job.id: job.created_at.timestamp()})
        pipe.sadd(_ACTIVE, job.id)
        self._write(pipe, job, Change("state", {"state": job.state}))

    def get(self, job_id: str, watching: Any = None) -> Job:
        """Raises UnknownJob. With `watching`, that pipeline will fail if the job changes after this."""
        if watching is not None:
            watching.watch(record_key(job_id))
        raw = (self._redis if watching is None else watching).get(record_key(job_id))
        if raw is None:
            raise UnknownJob(f"no job '{job_id}'; finished jobs are kept for 30 days")
        return Job.model_validate_json(raw)

    def update(
        self,
        job_id: str,
        change: Callable[[Job], Change | None],
        attempt: int | None = None,
        also: Callable[["Pipeline", Job], None] = lambda pipe, job: None,
    ) -> Job:
        """Change record and log in one step, unless the job is finished, or in another attempt than given.

        `also` is done in that step too. Returns the record as it is then. Raises UnknownJob.
        """

        def step(pipe: Any) -> Job:
            job = self.get(job_id, watching=pipe)
            pipe.multi()
            if job.finished or attempt not in (None, job.attempt):
                return job
            wanted = change(job)
            if wanted is None:
                return job
            changed = job.model_copy(update=wanted.fields)
            self._write(pipe, changed, wanted)
            count_job(pipe, job, changed)
            if changed.finished:
                pipe.srem(_ACTIVE, job_id)
            also(pipe, changed)
            return changed

        return transact(self._redis, step)

    def events(self, job_id: str, after: str = "0") -> list[JobEvent]:
        """The event log after the given event id."""
        # An exclusive start, "(id", is newer than Redis 5.
        milliseconds, _, number = after.partition("-")
        first = f"{milliseconds}-{int(number or 0) + 1}"
        return [_read_event(item) for item in self._redis.xrange(_events_key(job_id), min=first) or []]

    def write_log(self, job_id: str, line: str) -> None:
        """Add a line to the job's log, which keeps the last ones."""
        with self._redis.pipeline() as pipe:
            pipe.rpush(_log_key(job_id), line[:_LINE_LENGTH])
            pipe.ltrim(_log_key(job_id), -_LINES_KEPT, -1)
            pipe.expire(_log_key(job_id), RECORD_SECONDS)
            pipe.execute()

    def log(self, job_id: str, lines: int = 0) -> list[str]:
        """The last lines of the job's log, or (0) all that are kept."""
        return [text(line) for line in self._redis.lrange(_log_key(job_id), -lines, -1)]

    def newest(self, after: str | None = None) -> Iterator[Job]:
        """All jobs, newest first, from the one after the given id on. Raises UnknownJob."""
        rank: object = -1 if after is None else self._redis.zrevrank(_ALL, after)
        if not isinstance(rank, int):
            raise UnknownJob(f"no job '{after}' to go on from")
        while batch := self._redis.zrevrange(_ALL, rank + 1, rank + 100):
            yield from self._existing(_ALL, batch)
            rank += len(batch)

    def active(self) -> Iterator[Job]:
        """Jobs that are not finished."""
        return self._existing(_ACTIVE, self._redis.smembers(_ACTIVE))

    def count_active(self) -> int:
        """How many jobs are not finished."""
        return int(self._redis.scard(_ACTIVE))

    def _existing(self, index: str, ids: Any) -> Iterator[Job]:
        """Records by id; an id whose record has expired leaves the index."""
        for job_id in map(text, ids):
            try:
                yield self.get(job_id)
            except UnknownJob:
                if index == _ALL:
                    self._redis.zrem(index, job_id)
                else:
                    self._redis.srem(index, job_id)

    def _write(self, pipe: "Pipeline", job: Job, change: Change) -> None:
        event = {"at": datetime.now(UTC).isoformat(), "type": change.event, "data": change.data}
        pipe.set(record_key(job.id), job.model_dump_json(), ex=RECORD_SECONDS)
        pipe.xadd(_events_key(job.id), {"event": json.dumps(event)}, maxlen=EVENTS_KEPT, approximate=True)
        pipe.expire(_events_key(job.id), RECORD_SECONDS)


def transact(redis: "Redis", step: Callable[[Any], Job]) -> Job:
    """What `step` returns: it is given a pipeline, and again whenever a key that it watched has changed."""
    return cast(Job, redis.transaction(cast(Any, step), value_from_callable=True))


def end(
    job: Job,
    state: JobState,
    model: str | None = None,
    url: str | None = None,
    error: JobError | None = None,
    remarks: dict[str, str] | None = None,
) -> Change:
    """The change that finishes the job."""
    made = model or job.model
    total = job.progress.bytes_total
    done = total if state == "succeeded" else job.progress.bytes_done
    fields: dict[str, Any] = {
        "state": state,
        "model": made,
        "url": url,
        "error": error,
        "remarks": remarks or {},
        "progress": Progress(bytes_done=done, bytes_total=total),
        "waiting_for": [],
        "finished_at": datetime.now(UTC),
    }
    return Change(
        "state", {"state": state, "model": made} | ({"error": error.model_dump()} if error else {}), fields
    )


def record_key(job_id: str) -> str:
    return f"polymerge:job:{job_id}"


def _log_key(job_id: str) -> str:
    return f"{record_key(job_id)}:log"


def _events_key(job_id: str) -> str:
    return f"polymerge:job:{job_id}:events"


def _read_event(item: Any) -> JobEvent:
    event_id, fields = item
    return JobEvent.model_validate({**json.loads(fields[b"event"]), "id": text(event_id)})
