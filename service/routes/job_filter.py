"""The query parameters that choose jobs from a list."""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import Depends, Query
from pydantic import AwareDatetime, BaseModel

from service.contracts.job import Job, JobKind, JobPage, JobState
from service.errors import no_such_cursor
from service.jobs.queue import UnknownJob
from service.parts import Wired


class JobFilter(BaseModel):
    """Whatever is given must hold."""

    state: list[JobState] | None = None
    kind: JobKind | None = None
    name: str | None = None
    model: str | None = None
    created_after: datetime = datetime.min.replace(tzinfo=UTC)
    created_before: datetime = datetime.max.replace(tzinfo=UTC)

    def __call__(self, job: Job) -> bool:
        return (
            (self.state is None or job.state in self.state)
            and self.kind in (None, job.kind)
            and self.name in (None, job.name)
            and self.model in (None, job.model)
            and self.created_after < job.created_at < self.created_before
        )


def _filter(
    state: Annotated[list[JobState] | None, Query(description="one or several")] = None,
    name: Annotated[str | None, Query(description="the alias that the model gets")] = None,
    model: Annotated[str | None, Query(description="id of the model that is made")] = None,
    created_after: Annotated[AwareDatetime | None, Query()] = None,
    created_before: Annotated[AwareDatetime | None, Query()] = None,
) -> JobFilter:
    given = {"created_after": created_after, "created_before": created_before}
    times = {key: moment for key, moment in given.items() if moment is not None}
    return JobFilter(state=state, name=name, model=model).model_copy(update=times)


Filtered = Annotated[JobFilter, Depends(_filter)]


def page_of(parts: Wired, chosen: JobFilter, cursor: str | None, limit: int) -> JobPage:
    """Newest first. Raises ProblemError for a cursor that is none."""
    try:
        jobs, following = parts.jobs.page(chosen, cursor, limit)
    except UnknownJob:
        raise no_such_cursor(str(cursor)) from None
    return JobPage(items=jobs, next_cursor=following)
