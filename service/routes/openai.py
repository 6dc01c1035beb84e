"""OpenAI's routes, at /v1 and, pinned to one model, at /models/{model}/v1."""

import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from fastapi.sse import EventSourceResponse
from starlette.concurrency import run_in_threadpool

from service.access.scopes import GENERATE, READ
from service.answering.addressing import address, address_body, context_of
from service.answering.disconnect import while_connected
from service.answering.judges import PREFIX
from service.answering.openai_request import (
    CHAT,
    COMPLETION,
    check_messages,
    check_prompt,
    check_sampling,
    documented,
    keep_alive_of,
    known_fields,
    read_body,
)
from service.contracts.model import Model
from service.contracts.openai import ChatBody, CompletionBody
from service.errors import explain, openai_error
from service.generation.asks import with_instruction
from service.parts import Parts, Wired
from service.routes.admitted import ADMITTED
from service.routes.refusals import NEEDS_ENGINE, refusals

router = APIRouter(tags=["openai"])

_ASKS: dict[str, Any] = {
    "dependencies": [GENERATE, ADMITTED],
    "responses": refusals(*NEEDS_ENGINE) | {200: {"content": {"text/event-stream": {}}}},
}
_CHAT = _ASKS | {"openapi_extra": documented(ChatBody)}
_COMPLETION = _ASKS | {"openapi_extra": documented(CompletionBody)}


@router.get("/v1/models", dependencies=[READ], responses=refusals(404))
@router.get("/models/{model}/v1/models", dependencies=[READ], responses=refusals(404))
def list_models(parts: Wired, model: str | None = None) -> dict[str, Any]:
    """Every model that can be asked, under its id and each alias; without a pinned model the judges too."""
    models = [parts.registry.get(model)] if model else _ready(parts)
    listed = [_card(parts, item, name) for item in models for name in [item.id, *item.aliases]]
    judges = [] if model else [_judge_card(name) for name in parts.models.judges]
    return {"object": "list", "data": listed + judges}


@router.get("/v1/models/{name}", dependencies=[READ], responses=refusals(404, 409))
@router.get("/models/{model}/v1/models/{name}", dependencies=[READ], responses=refusals(404, 409))
async def retrieve_model(parts: Wired, name: str, model: str | None = None) -> dict[str, Any]:
    """What stands behind a name that requests may use, with a language or without."""
    found = await address(parts, model or name)
    return _card(parts, await run_in_threadpool(parts.registry.get, found.model), name)


@router.get("/v1/models/judge/{name}", dependencies=[READ], responses=refusals(404))
async def retrieve_judge(parts: Wired, name: str) -> dict[str, Any]:
    """A judge, as it is listed."""
    return _judge_card((await address(parts, PREFIX + name)).model)


@router.post("/v1/chat/completions", **_CHAT)
@router.post("/models/{model}/v1/chat/completions", **_CHAT)
async def chat_completions(request: Request, parts: Wired, model: str | None = None) -> Response:
    """As OpenAI's; `alias@fr` adds that language's instruction to a conversation without a system message."""
    body = await read_body(request, ChatBody)
    messages = check_messages(body["messages"])
    found = await address_body(parts, model, body)
    check_sampling(body, found)
    body["messages"] = with_instruction(messages, found.profile)
    return await _forward(request, parts, found.model, "/v1/chat/completions", body, CHAT)


@router.post("/v1/completions", **_COMPLETION)
@router.post("/models/{model}/v1/completions", **_COMPLETION)
async def completions(request: Request, parts: Wired, model: str | None = None) -> Response:
    """As OpenAI's legacy completions: text or token ids, one or a batch, are sent as they are."""
    body = await read_body(request, CompletionBody)
    check_prompt(body["prompt"])
    found = await address_body(parts, model, body)
    check_sampling(body, found)
    return await _forward(request, parts, found.model, "/v1/completions", body, COMPLETION)


async def _forward(
    request: Request, parts: Parts, model: str, route: str, body: dict[str, Any], fields: set[str]
) -> Response:
    keep_alive, known = keep_alive_of(body), known_fields(body, fields)
    if not body.get("stream"):
        return JSONResponse(await while_connected(request, parts.models.ask(model, route, known, keep_alive)))
    payloads = parts.models.follow(model, route, known, keep_alive)
    # Wait for the first piece, so that a refusal has its own status instead of a broken stream.
    first = await while_connected(request, _first(payloads))
    return EventSourceResponse(_relay(first, payloads))


async def _first(payloads: AsyncGenerator[str]) -> str | None:
    return await anext(payloads, None)


async def _relay(first: str | None, payloads: AsyncGenerator[str]) -> AsyncIterator[bytes]:
    async with aclosing(payloads):
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


def _ready(parts: Parts) -> list[Model]:
    return [model for model in parts.registry.models() if model.state == "ready"]


def _card(parts: Parts, model: Model, name: str) -> dict[str, Any]:
    return {
        "id": name,
        "object": "model",
        "created": int(model.created_at.timestamp()),
        "owned_by": "polymerge",
        "root": model.id,
        "max_model_len": context_of(parts, model.id),
    }


def _judge_card(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "judge", "root": name}
