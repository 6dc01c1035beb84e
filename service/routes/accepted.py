"""The answer to work that a job will do: 202, where to look, and when."""

from fastapi.responses import JSONResponse

from service.contracts.job import Job
from service.contracts.model import Model


def accepted(job: Job) -> JSONResponse:
    return JSONResponse(
        job.model_dump(mode="json"),
        status_code=202,
        headers={"Location": f"/jobs/{job.id}", "Retry-After": "1"},
    )


def done_or_accepted(result: Job | Model) -> JSONResponse:
    """200 with the model that is there, else 202 with the job that makes it."""
    return accepted(result) if isinstance(result, Job) else JSONResponse(result.model_dump(mode="json"))
