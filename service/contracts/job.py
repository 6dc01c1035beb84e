"""Jobs: long work (a merge, an import, a push) that a worker does and a client watches."""

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel

from service.contracts.names import JobId, ModelId
from service.contracts.problem import FieldProblem

JobState = Literal["queued", "running", "succeeded", "failed", "cancelled"]
JobKind = Literal["merge", "import", "push"]
JobPriority = Literal["interactive", "sweep"]
"""What somebody waits for goes before what was sent by the dozen."""
TERMINAL_STATES: frozenset[JobState] = frozenset({"succeeded", "failed", "cancelled"})


class Progress(BaseModel):
    """Bytes of the result that are done, out of all of them."""

    bytes_done: int = 0
    bytes_total: int = 0
    bytes_per_second: float | None = None
    """Of this attempt, on average; None at its beginning."""
    seconds_left: float | None = None
    tensor: str | None = None
    """The one of the result that was begun last."""


class JobError(BaseModel):
    """Why a job failed: `type` as in a Problem, `detail` for people."""

    type: str
    detail: str
    job: JobId | None = None
    """With `dependency-failed`: the job that failed or was cancelled, and took this one with it."""


class Job(BaseModel):
    id: JobId
    kind: JobKind
    state: JobState
    priority: JobPriority = "interactive"
    waiting_for: list[JobId] = []
    """Jobs that make models which this one is merged from. It is queued, and no worker takes it before they
    have succeeded; when one of them fails or is cancelled, it fails too."""
    timeout_seconds: float | None = None
    """Of one attempt; after that the job fails. None: no limit."""
    name: str | None = None
    """The alias that the finished model gets."""
    model: ModelId | None = None
    """The model that the job makes or pushes: known from the start for a merge, else at the end."""
    url: str | None = None
    """Where a push has put the model."""
    progress: Progress = Progress()
    error: JobError | None = None
    log_tail: list[str] = []
    """The end of its log, where the job is asked for by its id."""
    remarks: dict[str, str] = {}
    """What a merge's method had to say about tensors of the result, by their names."""
    warnings: list[FieldProblem] = []
    """What was passed over in the request."""
    attempt: int = 0
    worker: str | None = None
    cancel_requested: bool = False
    request_id: str | None = None
    """Of the request that made the job: gateway and worker write it into their logs."""
    traceparent: str | None = None
    """Of that request's span, below which the worker's has its place."""
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    request: dict[str, Any]
    """What was asked, with every model reference pinned to an id."""

    @property
    def finished(self) -> bool:
        return self.state in TERMINAL_STATES

    @property
    def staging(self) -> str:
        """What the folder that this attempt works in is called; no two attempts share one."""
        return self.staging_of(self.attempt)

    def staging_of(self, attempt: int) -> str:
        """The same of another attempt."""
        return f"{self.id}.{attempt}"


class JobLog(BaseModel):
    """The last lines that workers have written about a job: time, level, attempt, text."""

    lines: list[str]


class JobEvent(BaseModel):
    """One line of a job's event log. `id` is the id in the Redis stream, hence usable as Last-Event-ID."""

    id: str
    at: datetime
    type: Literal["state", "progress", "message"]
    data: dict[str, Any]


class JobPage(BaseModel):
    items: list[Job]
    next_cursor: str | None = None


class JobEvents(BaseModel):
    items: list[JobEvent]
