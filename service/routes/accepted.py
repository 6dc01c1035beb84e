"""The answer to work that a job will do: 202, where to look, and when."""

from fastapi.responses import JSONResponse

from service.contracts.job import Job


def accepted(job: Job) -> JSONResponse:
    return JSONResponse(
        job.model_dump(mode="json"),
        status_code=202,
        headers={"Location": f"/jobs/{job.id}", "Retry-After": "1"},
    )
