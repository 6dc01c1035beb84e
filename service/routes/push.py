"""Models to the Hugging Face hub."""

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from service.access.scopes import ADMIN
from service.contracts.job import Job
from service.contracts.push import Push, PushRequest
from service.errors import ProblemError
from service.jobs.idempotency import IdempotencyKey, once
from service.parts import Parts, Wired
from service.routes.accepted import accepted
from service.routes.refusals import refusals
from service.routes.written import written

router = APIRouter(tags=["models"])


@router.post(
    "/models/{reference}/push",
    dependencies=[ADMIN],
    status_code=202,
    responses=refusals(403, 404, 409, 429) | {202: {"model": Job}},
)
def push_model(
    reference: str, request: PushRequest, parts: Wired, idempotency_key: IdempotencyKey
) -> JSONResponse:
    """Have a worker push the model's files, as an export has them, to a repository on the hub.

    403 unless the service was started with POLYMERGE_HUB_PUSH=1; 409 for a virtual or damaged model.
    """
    asked = (f"/models/{reference}/push", request.model_dump_json())
    return once(parts.redis, idempotency_key, asked, lambda: _push(reference, request, parts))


def _push(reference: str, request: PushRequest, parts: Parts) -> JSONResponse:
    if not parts.settings.hub_push:
        raise ProblemError(403, "not-enabled", "pushing to a hub is off; POLYMERGE_HUB_PUSH=1 turns it on")
    push = Push(**request.model_dump(), model=written(parts, reference).id)
    return accepted(parts.jobs.submit("push", push.model_dump(), timeout=parts.settings.job_timeout_seconds))
