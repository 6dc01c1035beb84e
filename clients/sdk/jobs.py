"""Jobs as the SDK shows them: get, cancel, wait, follow."""

import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime

from clients.sdk.connection import Connection, Query
from clients.sdk.errors import JobFailed, Unreachable
from service.contracts.job import Job, JobEvent, JobKind, JobLog, JobPage, JobState

_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 1.0


class Jobs:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def get(self, job_id: str) -> Job:
        return Job.model_validate_json(self._connection.get(f"/jobs/{job_id}").content)

    def page(
        self,
        cursor: str | None = None,
        limit: int | None = None,
        *,
        state: Sequence[JobState] = (),
        kind: JobKind | None = None,
        name: str | None = None,
        created_after: datetime | None = None,
    ) -> JobPage:
        """Jobs for which all that is given holds, newest first; of several states, one."""
        query: Query = {
            "cursor": cursor,
            "limit": limit,
            "state": list(state) or None,
            "kind": kind,
            "name": name,
            "created_after": created_after.astimezone().isoformat() if created_after else None,
        }
        return JobPage.model_validate_json(self._connection.get("/jobs", query).content)

    def log(self, job_id: str) -> list[str]:
        """The last lines that workers have written about the job."""
        return JobLog.model_validate_json(self._connection.get(f"/jobs/{job_id}/log").content).lines

    def cancel(self, job_id: str) -> Job:
        return Job.model_validate_json(self._connection.send("POST", f"/jobs/{job_id}/cancel").content)

    def wait(
        self,
        job_id: str,
        on_progress: Callable[[Job], None] | None = None,
        timeout: float | None = None,
    ) -> Job:
        """The job once it has succeeded. Raises JobFailed otherwise, TimeoutError when time is up.

        It asks again and again instead of following events: that also survives a restart of the gateway.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        pause = _FIRST_PAUSE
        while True:
            job = self.get(job_id)
            if on_progress:
                on_progress(job)
            if job.state == "succeeded":
                return job
            if job.finished:
                raise JobFailed(job)
            if deadline is not None and time.monotonic() + pause > deadline:
                raise TimeoutError(f"{job.kind} {job.id} is still {job.state} after {timeout:.0f} s")
            time.sleep(pause)
            pause = min(1.5 * pause, _LONGEST_PAUSE)

    def events(self, job_id: str, after: str | None = None) -> Iterator[JobEvent]:
        """The job's event log from its beginning (or after an event id), followed live to its end.

        A broken connection is resumed where it broke, so no event is lost or repeated.
        """
        while True:
            try:
                with self._connection.events("GET", f"/jobs/{job_id}/events", last_event_id=after) as events:
                    for event in events:
                        after = event.id or after
                        yield JobEvent.model_validate_json(event.data)
            except Unreachable:
                # get() below is patient, and raises when the gateway stays away.
                time.sleep(_FIRST_PAUSE)
            if self.get(job_id).finished and not self._unseen(job_id, after):
                return

    def _unseen(self, job_id: str, after: str | None) -> bool:
        """Whether events came between the end of the stream and the end of the job."""
        answer = self._connection.get(f"/jobs/{job_id}/events")
        items = answer.json()["items"]
        return bool(items) and items[-1]["id"] != after
