"""The OpenAPI document: FastAPI's, with every error as service/errors.py answers it."""

from http import HTTPStatus
from typing import Any

from fastapi import FastAPI

from service.contracts.openai import OpenAIProblem
from service.errors import is_openai

_REFERENCE = "#/components/schemas/{model}"
_PROBLEM = _REFERENCE.format(model="Problem")
_ALWAYS = {500, 503}
_WITH_BODY = {400, 413}
_WITH_KEY = {401, 403, 429}
"""Of routes that need a scope: no valid key, one without that scope, one that asks too often."""


class DescribedApi(FastAPI):
    def openapi(self) -> dict[str, Any]:
        if not self.openapi_schema:
            _describe_errors(super().openapi())
        return super().openapi()


def _describe_errors(document: dict[str, Any]) -> None:
    for path, operations in document["paths"].items():
        for operation in operations.values():
            responses = operation["responses"]
            for status in sorted(_refusals(operation)):
                _describe(responses, path, status)
    schemas = document["components"]["schemas"]
    for fastapis_own in ("HTTPValidationError", "ValidationError"):
        schemas.pop(fastapis_own, None)
    added = OpenAIProblem.model_json_schema(ref_template=_REFERENCE)
    schemas |= {**added.pop("$defs"), OpenAIProblem.__name__: added}


def _refusals(operation: dict[str, Any]) -> set[int]:
    """Statuses that the route declares, and those that it has for what FastAPI does; these are taken out."""
    responses = operation["responses"]
    statuses = _ALWAYS | (_WITH_BODY if "requestBody" in operation else set())
    if "security" in operation:
        statuses |= _WITH_KEY
    if "parameters" in operation or "requestBody" in operation:
        statuses.add(422)
    for status, response in list(responses.items()):
        schema = response.get("content", {}).get("application/json", {}).get("schema", {})
        if status == "422" or schema.get("$ref") == _PROBLEM:
            statuses.add(int(status))
            del responses[status]
    return statuses


def _describe(responses: dict[str, Any], path: str, status: int) -> None:
    media, name = "application/problem+json", "Problem"
    if is_openai(path):
        media, name = "application/json", OpenAIProblem.__name__
        status = 400 if status == 422 else status
    response = responses.setdefault(str(status), {"description": HTTPStatus(status).phrase})
    response.setdefault("content", {})[media] = {"schema": {"$ref": _REFERENCE.format(model=name)}}
