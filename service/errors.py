"""Every error of the gateway: domain exceptions to problem details, and to OpenAI's shape under /v1."""

import logging
import re
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from redis.exceptions import RedisError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from service.bucket.away import BucketAway
from service.contracts.problem import FieldProblem, Problem, json_pointer
from service.engines.router import NoEngine
from service.jobs.queue import QueueFull, UnknownJob
from service.models.registry import DamagedModel, UnknownModel
from service.recipes.refusal import Refused

log = logging.getLogger("polymerge.gateway")

_QUEUE_RETRY_SECONDS = 30
_OPENAI = re.compile(r"(/models/[^/]+)?/(v1/.*|tokenize|detokenize|tokenizer_info)", re.DOTALL)


class ProblemError(Exception):
    """Raised by routes for what no domain exception says."""

    def __init__(
        self,
        status: int,
        slug: str,
        detail: str,
        *,
        errors: list[FieldProblem] | None = None,
        retry_after: int = 0,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status, self.slug, self.detail = status, slug, _encodable(detail)
        self.errors = [
            FieldProblem(pointer=_encodable(item.pointer), detail=_encodable(item.detail))
            for item in errors or []
        ]
        self.headers = dict(headers or {})
        if retry_after:
            self.headers["Retry-After"] = str(retry_after)

    def problem(self) -> Problem:
        return Problem(
            type=self.slug,
            title=_TITLES.get(self.slug, "Something failed in the service"),
            status=self.status,
            detail=self.detail,
            errors=self.errors,
        )


class BodyTooLarge(HTTPException):
    """An HTTPException, because FastAPI takes any other error while a body is read for bad JSON."""

    def __init__(self, limit: int, what: str = "the body of a request") -> None:
        super().__init__(413, f"{what} has at most {limit} bytes")


_TITLES = {
    "invalid-request": "The request is not valid",
    "too-large": "The request is too large",
    "invalid-recipe": "The recipe or source can't be used",
    "unknown-model": "No such model",
    "unknown-job": "No such job",
    "damaged-model": "The model is out of service",
    "model-in-use": "The model is in use",
    "not-written": "The model has no weights on disk",
    "not-enabled": "The service was not set up to do this",
    "unknown-language": "Not a language tag",
    "no-engine": "The model is not being served",
    "engine-error": "The engine failed",
    "context-length-exceeded": "The request does not fit the model's context",
    "no-space": "Not enough disk space",
    "overloaded": "The service is full",
    "invalid-api-key": "A valid API key is needed",
    "missing-scope": "The API key does not allow this",
    "foreign-origin": "Not from this page",
    "rate-limited": "The API key is used too much",
    "idempotency-conflict": "The Idempotency-Key belongs to another request",
    "client-gone": "The client hung up",
    "redis-away": "Redis can't be reached",
    "bucket-away": "The bucket with the models can't be reached",
    "stopping": "The service is stopping",
    "http-error": "The request can't be served",
}


def no_such_cursor(cursor: str) -> ProblemError:
    """A page can't be found: what its cursor stands for is gone, or never was."""
    detail = f"there is no '{cursor}' to go on from; start again without a cursor"
    return ProblemError(
        422, "invalid-request", detail, errors=[FieldProblem(pointer="/cursor", detail=detail)]
    )


def install_error_handlers(app: FastAPI) -> None:
    app.add_exception_handler(Exception, _answer)
    for kind in (
        ProblemError, Refused, UnknownModel, DamagedModel, UnknownJob, QueueFull, NoEngine, RedisError,
        BucketAway, RequestValidationError, HTTPException, ClientDisconnect,
    ):  # fmt: skip
        app.add_exception_handler(kind, _answer)


async def _answer(request: Request, error: Exception) -> JSONResponse:
    return respond(request.url.path, error)


def respond(path: str, error: Exception) -> JSONResponse:
    """The answer to a request for `path` that ended in `error`."""
    found = explain(error)
    if is_openai(path):
        # OpenAI's clients know 400 for a bad request.
        status = 400 if found.status == 422 else found.status
        return JSONResponse(openai_error(found), status_code=status, headers=found.headers)
    return JSONResponse(
        found.problem().model_dump(),
        status_code=found.status,
        headers=found.headers,
        media_type="application/problem+json",
    )


def is_openai(path: str) -> bool:
    """Whether clients of this path expect OpenAI's errors."""
    return _OPENAI.fullmatch(path) is not None


def explain(error: Exception) -> ProblemError:
    """Any exception as a ProblemError with the right status."""
    match error:
        case ProblemError():
            return error
        case Refused():
            return ProblemError(422, "invalid-recipe", str(error), errors=error.problems)
        case RequestValidationError():
            return _invalid_request(error)
        case UnknownModel():
            return ProblemError(404, "unknown-model", str(error))
        case DamagedModel():
            return ProblemError(409, "damaged-model", str(error))
        case UnknownJob():
            return ProblemError(404, "unknown-job", str(error))
        case QueueFull():
            return ProblemError(429, "overloaded", str(error), retry_after=_QUEUE_RETRY_SECONDS)
        case NoEngine():
            return ProblemError(503, "no-engine", str(error), retry_after=15)
        case BucketAway():
            return ProblemError(503, "bucket-away", str(error), retry_after=15)
        case RedisError():
            return ProblemError(503, "redis-away", f"Redis can't be reached: {error}", retry_after=5)
        case BodyTooLarge():
            return ProblemError(413, "too-large", error.detail)
        case HTTPException():
            return ProblemError(error.status_code, "http-error", str(error.detail))
        case ClientDisconnect():
            return ProblemError(499, "client-gone", "the client hung up before it had its answer")
    log.error("unexpected", exc_info=error)
    return ProblemError(500, "internal", f"{type(error).__name__}; the gateway's log has the details")


def openai_error(found: ProblemError) -> dict[str, Any]:
    """The body of an error under /v1, as OpenAI's clients expect it."""
    kind = "invalid_request_error" if found.status < 500 else "server_error"
    if found.status == 429:
        kind = "rate_limit_error"
    code = {
        "unknown-model": "model_not_found",
        "context-length-exceeded": "context_length_exceeded",
        "overloaded": "rate_limit_exceeded",
        "rate-limited": "rate_limit_exceeded",
        "invalid-api-key": "invalid_api_key",
        "missing-scope": "insufficient_scope",
    }
    param = found.errors[0].pointer.removeprefix("/") if found.errors else None
    return {
        "error": {
            "message": found.detail,
            "type": kind,
            "param": param or None,
            "code": code.get(found.slug, found.slug),
        }
    }


def _invalid_request(error: RequestValidationError) -> ProblemError:
    problems = [_field_problem(item) for item in error.errors()]
    detail = "; ".join(f"{problem.pointer or 'request'}: {problem.detail}" for problem in problems)
    return ProblemError(422, "invalid-request", detail, errors=problems)


def _field_problem(item: Any) -> FieldProblem:
    # The first part of `loc` says whether it is body, query, path or header; bad JSON has an offset after it.
    place = () if item["type"] == "json_invalid" else item["loc"][1:]
    return FieldProblem(pointer=json_pointer(*place), detail=_message(item))


def _message(item: Any) -> str:
    if item["type"] == "json_invalid":
        return f"the body is not JSON: {item['ctx']['error']}"
    if item["type"] == "extra_forbidden":
        return "unknown key"
    blank = not str(item.get("input", "")).strip()
    if blank and item["type"] in ("string_pattern_mismatch", "string_too_short"):
        return "must not be empty"
    return str(item["msg"]).removeprefix("Value error, ")


def _encodable(text: str) -> str:
    """Lone surrogates, which JSON can bring in and UTF-8 can't carry out, replaced."""
    return text.encode(errors="replace").decode()
