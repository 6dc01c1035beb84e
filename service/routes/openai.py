"""OpenAI's routes, at /v1 and, pinned to one model, at /models/{model}/v1.

Only these routes of vLLM and the fields listed here are reachable; unknown fields are dropped, as OpenAI
clients send many that a server may ignore.
"""

import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, aclosing
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from fastapi.sse import EventSourceResponse
from starlette.concurrency import run_in_threadpool

from service.addressing import Addressed, address
from service.engine_client import EngineClient
from service.errors import ProblemError, explain, openai_error
from service.generation import check_length
from service.parts import Parts, Wired

router = APIRouter(tags=["openai"])

MAX_BODY_BYTES = 8 * 1024 * 1024
_SAMPLING = {
    "max_tokens", "temperature", "top_p", "top_k", "min_p", "n", "seed", "stop", "stop_token_ids", "stream",
    "stream_options", "logprobs", "top_logprobs", "presence_penalty", "frequency_penalty",
    "repetition_penalty", "logit_bias", "ignore_eos", "min_tokens", "skip_special_tokens",
    "include_stop_str_in_output", "return_token_ids", "prompt_logprobs", "user",
}  # fmt: skip
_CHAT = _SAMPLING | {
    "messages", "max_completion_tokens", "response_format", "chat_template_kwargs",
    "add_generation_prompt", "continue_final_message",
}  # fmt: skip
_COMPLETION = _SAMPLING | {"prompt", "echo", "best_of", "suffix", "add_special_tokens"}


@router.get("/v1/models")
@router.get("/models/{model}/v1/models")
def list_models(parts: Wired, model: str | None = None) -> dict[str, Any]:
    """Every model, under its id and each alias."""
    models = [parts.registry.get(model)] if model else parts.registry.models()
    names = [(name, item) for item in models for name in [item.id, *item.aliases]]
    return {
        "object": "list",
        "data": [
            {
                "id": name,
                "object": "model",
                "created": int(item.created_at.timestamp()),
                "owned_by": "polymerge",
                "root": item.id,
                "max_model_len": parts.settings.max_model_len,
            }
            for name, item in names
        ],
    }


@router.post("/v1/chat/completions")
@router.post("/models/{model}/v1/chat/completions")
async def chat_completions(request: Request, parts: Wired, model: str | None = None) -> Response:
    """As OpenAI's; `model` is an id, an alias, or either with @language for that language's instruction."""
    body = await _read(request)
    found = await _address(parts, model, body)
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise ProblemError(400, "invalid-request", "`messages` must be a list with at least one message")
    if found.profile and not any(isinstance(m, dict) and m.get("role") == "system" for m in messages):
        body["messages"] = [{"role": "system", "content": found.profile.instruction}, *messages]
    return await _forward(parts, found.model, "/v1/chat/completions", _only(body, _CHAT))


@router.post("/v1/completions")
@router.post("/models/{model}/v1/completions")
async def completions(request: Request, parts: Wired, model: str | None = None) -> Response:
    """As OpenAI's legacy completions: the prompt is sent as it is."""
    body = await _read(request)
    found = await _address(parts, model, body)
    if body.get("prompt") in (None, "", []):
        raise ProblemError(400, "invalid-request", "`prompt` must not be empty")
    return await _forward(parts, found.model, "/v1/completions", _only(body, _COMPLETION))


async def _read(request: Request) -> dict[str, Any]:
    raw = b""
    async for chunk in request.stream():
        raw += chunk
        if len(raw) > MAX_BODY_BYTES:
            raise ProblemError(413, "invalid-request", f"a request has at most {MAX_BODY_BYTES} bytes")
    try:
        body = json.loads(raw, parse_constant=_refuse_constant)
        # Lone surrogates, in any of its texts, can be sent to nobody.
        json.dumps(body, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        raise ProblemError(400, "invalid-request", "the body is not JSON") from None
    if not isinstance(body, dict):
        raise ProblemError(400, "invalid-request", "the body must be a JSON object")
    return body


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


async def _address(parts: Parts, pinned: str | None, body: dict[str, Any]) -> Addressed:
    reference = pinned or body.get("model")
    if not isinstance(reference, str) or not reference:
        raise ProblemError(400, "invalid-request", "`model` is required: an id or alias from GET /v1/models")
    found = await run_in_threadpool(address, parts, reference)
    for field in ("max_tokens", "max_completion_tokens"):
        if isinstance(body.get(field), int):
            check_length(body[field], parts.settings.max_model_len, field)
    return found


def _only(body: dict[str, Any], fields: set[str]) -> dict[str, Any]:
    return {key: value for key, value in body.items() if key in fields and value is not None}


async def _forward(parts: Parts, model: str, route: str, body: dict[str, Any]) -> Response:
    async with AsyncExitStack() as stack:
        engine = EngineClient(parts.engine_http, await stack.enter_async_context(parts.router.lease(model)))
        if not body.get("stream"):
            return JSONResponse(await engine.post(route, body))
        payloads = engine.stream(route, body)
        # Wait for the first piece, so that a refusal has its own status instead of a broken stream.
        first = await anext(payloads, None)
        return EventSourceResponse(_relay(first, payloads, stack.pop_all()))


async def _relay(
    first: str | None, payloads: AsyncGenerator[str], stack: AsyncExitStack
) -> AsyncIterator[bytes]:
    """The stream holds the lease until the engine's own has been closed, however that comes."""
    async with stack, aclosing(payloads):
        try:
            if first is not None:
                yield _data(first)
            async for payload in payloads:
                yield _data(payload)
        except Exception as error:
            yield _data(json.dumps(openai_error(explain(error))))
        yield _data("[DONE]")


def _data(payload: str) -> bytes:
    return f"data: {payload}\n\n".encode()
