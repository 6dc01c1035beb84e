"""Idempotency-Key: a request sent again with its key gets the first one's answer, and does nothing."""

import hashlib
import json
from collections.abc import Callable
from typing import Annotated, Any

from fastapi import Depends, Header, Request
from fastapi.responses import JSONResponse
from redis import Redis

from service.contracts.access import ApiKey
from service.contracts.problem import FieldProblem
from service.errors import ProblemError

_KEPT_SECONDS = 24 * 3600
_LOCK_SECONDS = 60

_Given = Annotated[
    str | None,
    Header(
        pattern=r"^[\x21-\x7e]{1,255}$",
        description="repeated within a day with the same request: the same answer, and no second job",
    ),
]


def _of_its_client(request: Request, idempotency_key: _Given = None) -> str | None:
    client: ApiKey | None = request.state.key
    return idempotency_key and f"{client.id if client else ''}:{idempotency_key}"


IdempotencyKey = Annotated[str | None, Depends(_of_its_client)]
"""The header, as a key that no other client can have."""


def once(
    redis: "Redis", key: str | None, request: tuple[object, ...], answer: Callable[[], JSONResponse]
) -> JSONResponse:
    """What `answer` returns, or returned when the key was new; errors are not kept.

    Raises ProblemError (422) when the key came with another request.
    """
    if key is None:
        return answer()
    name = f"polymerge:idempotency:{hashlib.sha256(key.encode()).hexdigest()}"
    digest = hashlib.sha256(repr(request).encode()).hexdigest()
    with redis.lock(f"{name}:lock", timeout=_LOCK_SECONDS):
        kept = redis.get(name)
        if kept is not None:
            return _again(json.loads(kept), digest)
        given = answer()
        headers = {"Location": given.headers["location"]} if "location" in given.headers else {}
        record = {
            "request": digest,
            "status": given.status_code,
            "headers": headers,
            "body": json.loads(bytes(given.body)),
        }
        redis.set(name, json.dumps(record), ex=_KEPT_SECONDS)
        return given


def _again(kept: dict[str, Any], digest: str) -> JSONResponse:
    if kept["request"] != digest:
        detail = "this key was sent with another request; a new request needs a new key"
        place = FieldProblem(pointer="/idempotency-key", detail=detail)
        raise ProblemError(422, "idempotency-conflict", detail, errors=[place])
    return JSONResponse(kept["body"], kept["status"], {**kept["headers"], "Idempotency-Replayed": "true"})
