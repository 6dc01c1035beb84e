"""What a worker logs while it does a job goes into that job's own log too, for its clients to read."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from redis.exceptions import RedisError

from service.contracts.job import Job
from service.jobs.queue import JobQueue

_OURS = "polymerge"


@contextmanager
def logged(queue: JobQueue, job: Job) -> Iterator[None]:
    """Our lines from INFO on, other libraries' warnings; no tracebacks, which are for the worker's log."""
    handler = _JobLog(queue, job)
    handler.addFilter(lambda record: record.name.startswith(_OURS) or record.levelno >= logging.WARNING)
    logging.getLogger(_OURS).setLevel(logging.INFO)
    logging.getLogger().addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(handler)


class _JobLog(logging.Handler):
    def __init__(self, queue: JobQueue, job: Job) -> None:
        super().__init__()
        self._queue, self._job = queue, job

    def emit(self, record: logging.LogRecord) -> None:
        # A line that is lost is no reason to end a job.
        with suppress(RedisError):
            self._queue.write_log(self._job, record.levelname, record.getMessage())
