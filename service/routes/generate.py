"""POST /generate: ask a model in a language."""

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing

from fastapi import APIRouter
from fastapi.responses import Response
from fastapi.sse import EventSourceResponse, format_sse_event
from starlette.concurrency import run_in_threadpool

from service.addressing import address
from service.contracts.generation import Delta, GenerateRequest, GenerateResponse
from service.engine_client import EngineClient
from service.errors import explain
from service.generation import Generation, check_length
from service.parts import Wired

router = APIRouter(tags=["generation"])


@router.post("/generate", response_model=GenerateResponse)
async def generate(request: GenerateRequest, parts: Wired) -> Response:
    """Answers in the language asked. A model that no engine has is loaded while the request waits.

    With `stream`: server-sent events `delta` (a Delta each), then `done` with the whole response.
    """
    found = await run_in_threadpool(address, parts, request.model, request.language)
    check_length(request.max_tokens, parts.settings.max_model_len)
    async with AsyncExitStack() as stack:
        lease = await stack.enter_async_context(parts.router.lease(found.model))
        engine = EngineClient(parts.engine_http, lease)
        generation = Generation(engine, found.model, request, found.profile)
        if not request.stream:
            try:
                answer = await generation.answer()
            except ExceptionGroup as group:
                raise group.exceptions[0] from None
            return Response(answer.model_dump_json(), media_type="application/json")
        return EventSourceResponse(_events(generation, stack.pop_all()))


async def _events(generation: Generation, stack: AsyncExitStack) -> AsyncIterator[bytes]:
    """The stream holds the lease until it ends, however it ends."""
    async with stack, aclosing(generation.stream()) as items:
        try:
            async for item in items:
                name = "delta" if isinstance(item, Delta) else "done"
                yield format_sse_event(data_str=json.dumps(item.model_dump(mode="json")), event=name)
        except Exception as error:
            problem = explain(error)
            data = json.dumps({"type": problem.slug, "status": problem.status, "detail": problem.detail})
            yield format_sse_event(data_str=data, event="error")
