"""The tokenizer of a model, beside /v1 as vLLM has it: what lm-eval calls a remote tokenizer."""

from typing import Any

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool

from service.access.scopes import GENERATE
from service.answering.addressing import Addressed, address_body
from service.answering.disconnect import while_connected
from service.answering.openai_request import (
    DETOKENIZE,
    TOKENIZE,
    check_messages,
    documented,
    known_fields,
    read_body,
)
from service.contracts.openai import DetokenizeBody, TokenizeBody
from service.errors import ProblemError
from service.generation.asks import with_instruction
from service.models.tokenizer import read_tokenizer_info, token_ids
from service.parts import Parts, Wired
from service.routes.admitted import ADMITTED
from service.routes.refusals import NEEDS_ENGINE, refusals

router = APIRouter(tags=["openai"], dependencies=[GENERATE, ADMITTED], responses=refusals(*NEEDS_ENGINE))

_TOKENIZE = documented(TokenizeBody)
_DETOKENIZE = documented(DetokenizeBody)


@router.post("/tokenize", openapi_extra=_TOKENIZE)
@router.post("/models/{model}/tokenize", openapi_extra=_TOKENIZE)
async def tokenize(request: Request, parts: Wired, model: str | None = None) -> dict[str, Any]:
    """Token ids of `prompt`, or of `messages` as the model's chat template writes them."""
    body = await read_body(request, TokenizeBody)
    found = await _find(parts, model, body)
    if _is_plain(body):
        tokens = await run_in_threadpool(token_ids, parts.store.path(found.model), body["prompt"])
        if tokens is not None:
            return {"count": len(tokens), "max_model_len": found.context, "tokens": tokens}
    if body.get("messages") is not None:
        body["messages"] = with_instruction(check_messages(body["messages"]), found.profile)
    asking = parts.models.ask(found.model, "/tokenize", known_fields(body, TOKENIZE))
    return await while_connected(request, asking)


@router.post("/detokenize", openapi_extra=_DETOKENIZE)
@router.post("/models/{model}/detokenize", openapi_extra=_DETOKENIZE)
async def detokenize(request: Request, parts: Wired, model: str | None = None) -> dict[str, Any]:
    """The text of `tokens`."""
    body = await read_body(request, DetokenizeBody)
    found = await _find(parts, model, body)
    asking = parts.models.ask(found.model, "/detokenize", known_fields(body, DETOKENIZE))
    return await while_connected(request, asking)


@router.get("/tokenizer_info")
@router.get("/models/{model}/tokenizer_info")
async def tokenizer_info(request: Request, parts: Wired, model: str | None = None) -> dict[str, Any]:
    """The tokenizer's configuration: special tokens, chat template."""
    found = await _find(parts, model, {})
    info = await run_in_threadpool(read_tokenizer_info, parts.store.path(found.model))
    if info is not None:
        return info
    return await while_connected(request, parts.models.ask(found.model, "/tokenizer_info"))


async def _find(parts: Parts, pinned: str | None, body: dict[str, Any]) -> Addressed:
    found = await address_body(parts, pinned, body)
    if found.model in parts.models.judges:
        raise ProblemError(400, "invalid-request", f"the tokenizer of {found.model} is not here")
    return found


def _is_plain(body: dict[str, Any]) -> bool:
    """Only an engine knows which special tokens are added, or what it makes of a conversation."""
    text = isinstance(body.get("prompt"), str)
    return text and body.get("add_special_tokens") is False and not body.get("return_token_strs")
