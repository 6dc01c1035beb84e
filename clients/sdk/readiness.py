"""GET /readyz without the SDK: for whoever waits for a gateway that may not be there yet."""

import httpx2
from pydantic import ValidationError

from service.contracts.engine import Readiness


def ask(url: str) -> Readiness | None:
    """What the gateway says of itself; None while it says nothing."""
    try:
        # No proxy stands between us and a gateway on this machine, whatever HTTP_PROXY says.
        answer = httpx2.get(f"{url}/readyz", timeout=5.0, trust_env=False)
        return Readiness.model_validate_json(answer.content)
    except (httpx2.HTTPError, ValidationError):
        return None
