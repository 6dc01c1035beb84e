"""What a route may answer but its result, for the OpenAPI document."""

from typing import Any

from service.contracts.problem import Problem

NEEDS_ENGINE = (404, 409, 415, 429, 501, 502)
"""Of routes that ask a model: it is unknown, out of service, the gateway is full, or what engines answer."""


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """For `responses`; service/openapi.py adds those that every route has, and gives them their shape."""
    return {status: {"model": Problem} for status in statuses}
