"""POST /generate: ask a model in a language."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from functools import partial

from fastapi import APIRouter, Request
from fastapi.responses import Response, StreamingResponse
from fastapi.sse import EventSourceResponse, format_sse_event
from starlette.concurrency import run_in_threadpool

from service.access.scopes import GENERATE
from service.answering.addressing import Addressed, address, profile_of
from service.answering.disconnect import while_connected
from service.contracts.generation import (
    Delta,
    Failure,
    GenerateRequest,
    GenerateResponse,
    GenerateSummary,
    Output,
)
from service.errors import explain
from service.generation.asks import asks
from service.generation.run import Generation
from service.parts import Parts, Wired
from service.routes.admitted import ADMITTED
from service.routes.refusals import NEEDS_ENGINE, refusals

router = APIRouter(tags=["generation"])

_NDJSON = "application/x-ndjson"
_EVENTS = "text/event-stream"
_STREAMS = {media: {"schema": {"type": "string"}} for media in (_NDJSON, _EVENTS)}
_ANSWERS = refusals(*NEEDS_ENGINE) | {200: {"content": _STREAMS}}


@router.post(
    "/generate", response_model=GenerateResponse, dependencies=[GENERATE, ADMITTED], responses=_ANSWERS
)
async def generate(asked: GenerateRequest, request: Request, parts: Wired) -> Response:
    """Answers in the language asked. A model that no engine has is loaded while the request waits.

    With `stream`, or `Accept: application/x-ndjson`: a line of JSON for each answer as it finishes (an
    Output, or a Failure), and a GenerateSummary at last. With `stream` and `Accept: text/event-stream`:
    events `delta` (a Delta each) with the text as it comes, then `done` with the whole response.
    """
    found = await address(parts, asked.model, asked.language)
    generation = await run_in_threadpool(_accept, parts, asked, found)
    accepted = request.headers.get("accept", "")
    if asked.stream and _EVENTS in accepted:
        return EventSourceResponse(_events(generation.pieces()))
    if asked.stream or _NDJSON in accepted:
        return StreamingResponse(_lines(generation.lines()), media_type=_NDJSON)
    answer = await while_connected(request, generation.answer())
    return Response(answer.model_dump_json(), media_type="application/json")


def _accept(parts: Parts, asked: GenerateRequest, found: Addressed) -> Generation:
    """Raises ProblemError for what can be refused before a model is loaded."""
    found.check_length(asked.max_tokens)
    prompts = asks(asked, found.profile, partial(profile_of, parts))
    return Generation(parts.models, found.model, found.profile, prompts)


async def _lines(items: AsyncGenerator[Output | Failure | GenerateSummary]) -> AsyncIterator[bytes]:
    async with aclosing(items):
        async for item in items:
            yield item.model_dump_json().encode() + b"\n"


async def _events(items: AsyncGenerator[Delta | GenerateResponse]) -> AsyncIterator[bytes]:
    async with aclosing(items):
        try:
            async for item in items:
                name = "delta" if isinstance(item, Delta) else "done"
                yield format_sse_event(data_str=item.model_dump_json(), event=name)
        except Exception as error:
            yield format_sse_event(data_str=explain(error).problem().model_dump_json(), event="error")
