"""GET /healthz: the gateway lives. GET /readyz: what the service as a whole can do."""

from fastapi import APIRouter, Response

from service.contracts.engine import Readiness
from service.parts import Wired
from service.readiness import readiness

router = APIRouter(tags=["health"])


@router.get("/healthz")
def healthz() -> dict[str, str]:
    """200 as long as the gateway runs."""
    return {"status": "ok"}


@router.get("/readyz", responses={503: {"model": Readiness}})
def readyz(parts: Wired, response: Response) -> Readiness:
    """200 when the service can both merge and generate, else 503; the body says which is missing."""
    found = readiness(parts.redis)
    response.status_code = 200 if found.merge and found.generate else 503
    return found
