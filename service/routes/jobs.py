"""Jobs of every kind: state, cancel, event log. /merges/{id} shows a merge's job under that name too."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import Response
from fastapi.sse import KEEPALIVE_COMMENT, EventSourceResponse, format_sse_event
from starlette.concurrency import run_in_threadpool

from service.access.scopes import MERGE, READ
from service.contracts.job import Job, JobEvents, JobKind, JobLog, JobPage
from service.contracts.names import JobId
from service.parts import Parts, Wired
from service.routes.job_filter import Filtered, page_of
from service.routes.refusals import refusals

router = APIRouter(tags=["jobs"])

_EVENTS = refusals(404) | {200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}}
_PING_EVERY = 20
"""In quiet rounds of half a second each."""


@router.get("/jobs", dependencies=[READ])
def list_jobs(
    parts: Wired,
    chosen: Filtered,
    kind: JobKind | None = None,
    cursor: str | None = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> JobPage:
    """Jobs of every kind, newest first."""
    return page_of(parts, chosen.model_copy(update={"kind": kind}), cursor, limit)


@router.get("/jobs/{job_id}", dependencies=[READ], responses=refusals(404))
@router.get("/merges/{job_id}", dependencies=[READ], responses=refusals(404))
def get_job(job_id: JobId, parts: Wired, response: Response) -> Job:
    """A job; while it is not finished, Retry-After says when to look again."""
    job = parts.jobs.get_with_log(job_id)
    if not job.finished:
        response.headers["Retry-After"] = "1"
    return job


@router.post("/jobs/{job_id}/cancel", dependencies=[MERGE], responses=refusals(404))
@router.post("/merges/{job_id}/cancel", dependencies=[MERGE], responses=refusals(404))
def cancel_job(job_id: JobId, parts: Wired) -> Job:
    """Ask for the end of a job; a finished job is returned as it is."""
    return parts.jobs.cancel(job_id)


@router.get("/jobs/{job_id}/log", dependencies=[READ], responses=refusals(404))
@router.get("/merges/{job_id}/log", dependencies=[READ], responses=refusals(404))
def job_log(job_id: JobId, parts: Wired) -> JobLog:
    """What workers have logged about a job: its last 500 lines."""
    return JobLog(lines=parts.jobs.log(job_id))


@router.get("/jobs/{job_id}/events", dependencies=[READ], response_model=JobEvents, responses=_EVENTS)
@router.get("/merges/{job_id}/events", dependencies=[READ], response_model=JobEvents, responses=_EVENTS)
async def job_events(
    job_id: JobId,
    request: Request,
    parts: Wired,
    accept: Annotated[str, Header()] = "application/json",
    last_event_id: Annotated[str, Header(pattern=r"^\d{1,19}(-\d{1,19})?$")] = "0",
) -> Response:
    """The event log; with `Accept: text/event-stream` followed live, from Last-Event-ID on."""
    events = await run_in_threadpool(parts.jobs.events, job_id, last_event_id)
    if "text/event-stream" not in accept:
        return Response(JobEvents(items=events).model_dump_json(), media_type="application/json")
    return EventSourceResponse(
        _follow(parts, job_id, last_event_id, request),
        headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"},
    )


async def _follow(parts: Parts, job_id: str, after: str, request: Request) -> AsyncIterator[bytes]:
    """Events until the job is finished or the client is gone."""
    silent = 0
    while not await request.is_disconnected():
        finished = (await run_in_threadpool(parts.jobs.get, job_id)).finished
        events = await run_in_threadpool(parts.jobs.events, job_id, after)
        for event in events:
            after = event.id
            data = json.dumps(event.model_dump(mode="json"))
            yield format_sse_event(data_str=data, event=event.type, id=event.id)
        if finished:
            return
        silent = 0 if events else silent + 1
        if silent and silent % _PING_EVERY == 0:
            yield KEEPALIVE_COMMENT
        await asyncio.sleep(0.2 if events else 0.5)
