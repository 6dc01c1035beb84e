"""Every error of the gateway: domain exceptions to problem details, and to OpenAI's shape under /v1."""

from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from redis.exceptions import RedisError
from starlette.exceptions import HTTPException

from service.contracts.problem import FieldProblem, Problem, json_pointer
from service.engines.router import NoEngine
from service.languages.profile import NotALanguage
from service.queue import UnknownJob
from service.recipes.refusal import Refused
from service.registry import UnknownModel


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
    ) -> None:
        super().__init__(detail)
        self.status, self.slug, self.detail = status, slug, detail
        self.errors = errors or []
        self.retry_after = retry_after


_TITLES = {
    "invalid-request": "The request is not valid",
    "invalid-recipe": "The recipe or source can't be used",
    "unknown-model": "No such model",
    "unknown-job": "No such job",
    "unknown-language": "Not a language tag",
    "no-engine": "The model is not being served",
    "engine-error": "The engine failed",
    "context-length-exceeded": "The request does not fit the model's context",
    "no-space": "Not enough disk space",
    "redis-away": "Redis can't be reached",
    "conflict": "In conflict with what exists",
    "http-error": "The request can't be served",
}


def install_error_handlers(app: FastAPI) -> None:
    app.add_exception_handler(Exception, _answer)
    for kind in (
        ProblemError, Refused, UnknownModel, UnknownJob, NotALanguage, NoEngine, RedisError,
        RequestValidationError, HTTPException,
    ):  # fmt: skip
        app.add_exception_handler(kind, _answer)


async def _answer(request: Request, error: Exception) -> JSONResponse:
    found = explain(error)
    headers = {"Retry-After": str(found.retry_after)} if found.retry_after else None
    if is_openai(request.url.path):
        return JSONResponse(_openai_shape(found), status_code=found.status, headers=headers)
    problem = Problem(
        type=found.slug,
        title=_TITLES.get(found.slug, "Something failed in the service"),
        status=found.status,
        detail=found.detail,
        errors=found.errors,
    )
    return JSONResponse(
        problem.model_dump(), status_code=found.status, headers=headers, media_type="application/problem+json"
    )


def is_openai(path: str) -> bool:
    return path.startswith("/v1/") or "/v1/" in path


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
        case UnknownJob():
            return ProblemError(404, "unknown-job", str(error))
        case NotALanguage():
            problem = FieldProblem(pointer="/language", detail=str(error))
            return ProblemError(422, "unknown-language", str(error), errors=[problem])
        case NoEngine():
            return ProblemError(503, "no-engine", str(error), retry_after=15)
        case RedisError():
            return ProblemError(503, "redis-away", f"Redis can't be reached: {error}", retry_after=5)
        case HTTPException():
            return ProblemError(error.status_code, "http-error", str(error.detail))
    return ProblemError(500, "internal", f"{type(error).__name__}; the gateway's log has the details")


def _invalid_request(error: RequestValidationError) -> ProblemError:
    problems = [
        FieldProblem(pointer=json_pointer(*item["loc"][1:]), detail=_message(item)) for item in error.errors()
    ]
    detail = "; ".join(f"{problem.pointer or 'request'}: {problem.detail}" for problem in problems)
    return ProblemError(422, "invalid-request", detail, errors=problems)


def _message(item: Any) -> str:
    if item["type"] == "extra_forbidden":
        return "unknown key"
    if item["type"] == "string_pattern_mismatch" and not str(item.get("input", "")).strip():
        return "must not be empty"
    return str(item["msg"]).removeprefix("Value error, ")


def _openai_shape(found: ProblemError) -> dict[str, Any]:
    kind = "invalid_request_error" if found.status < 500 else "server_error"
    code = {"unknown-model": "model_not_found", "context-length-exceeded": "context_length_exceeded"}
    error = {"message": found.detail, "type": kind, "param": None, "code": code.get(found.slug, found.slug)}
    if found.slug == "unknown-model":
        error["param"] = "model"
    return {"error": error}
