"""Bodies as OpenAI's clients send them: read, checked, cut to the fields that a model's server may see."""

import json
from typing import Any

from fastapi import Request
from pydantic import BaseModel, ValidationError

from service.answering.addressing import Addressed
from service.contracts.keep_alive import parse_duration
from service.contracts.problem import FieldProblem, json_pointer
from service.errors import ProblemError

# What vLLM 0.32 knows, but for `model` (ours), what reaches into the engine or fetches from elsewhere
# (templates, media, tensors, transfers between engines, request ids, priorities).
_SAMPLING = {
    "add_special_tokens", "allowed_token_ids", "bad_words", "cache_salt", "echo", "frequency_penalty",
    "ignore_eos", "include_stop_str_in_output", "length_penalty", "logit_bias", "logprob_token_ids",
    "logprobs", "max_tokens", "min_p", "min_tokens", "n", "presence_penalty", "prompt_logprobs",
    "repetition_detection", "repetition_penalty", "response_format", "return_token_ids",
    "return_token_offsets", "return_tokens_as_token_ids", "seed", "skip_special_tokens",
    "spaces_between_special_tokens", "stop", "stop_token_ids", "stream", "stream_interval", "stream_options",
    "structured_outputs", "temperature", "thinking_token_budget", "top_k", "top_p", "truncate_prompt_tokens",
    "truncation_side", "use_beam_search", "user",
}  # fmt: skip
CHAT = _SAMPLING | {
    "add_generation_prompt", "chat_template_kwargs", "continue_final_message", "documents",
    "include_reasoning", "max_completion_tokens", "messages", "parallel_tool_calls", "reasoning_effort",
    "return_prompt_text", "tool_choice", "tools", "top_logprobs",
}  # fmt: skip
COMPLETION = _SAMPLING | {"prompt", "suffix"}
TOKENIZE = {
    "add_generation_prompt", "add_special_tokens", "chat_template_kwargs", "continue_final_message",
    "messages", "prompt", "return_token_strs", "tools",
}  # fmt: skip
DETOKENIZE = {"tokens"}


def documented(shape: type[BaseModel]) -> dict[str, Any]:
    """For a route's `openapi_extra`: it reads a body of this shape by hand."""
    content = {"application/json": {"schema": shape.model_json_schema()}}
    return {"requestBody": {"required": True, "content": content}}


async def read_body(request: Request, shape: type[BaseModel]) -> dict[str, Any]:
    """The body as it was sent, a JSON object of this shape. Raises ProblemError."""
    body = await _read_object(request)
    try:
        shape.model_validate(body)
    except ValidationError as error:
        first = error.errors()[0]
        raise _refused(str(first["msg"]).removeprefix("Value error, "), *first["loc"]) from None
    return body


def known_fields(body: dict[str, Any], fields: set[str]) -> dict[str, Any]:
    """Clients send many fields that a server may ignore; null is a field that is absent."""
    return {key: value for key, value in body.items() if key in fields and value is not None}


def check_sampling(body: dict[str, Any], found: Addressed) -> None:
    """Raises ProblemError for what can be refused before a model is loaded."""
    for name in ("max_tokens", "max_completion_tokens"):
        if isinstance(body.get(name), int):
            found.check_length(body[name], name)


def keep_alive_of(body: dict[str, Any]) -> float | None:
    """Seconds for which the model shall stay loaded; None where nothing is said."""
    value = body.get("keep_alive")
    return None if value is None else parse_duration(value)


def check_messages(messages: list[Any]) -> list[dict[str, Any]]:
    """Messages with roles, texts only, and something said by the user. Raises ProblemError."""
    if not messages:
        raise _refused("`messages` must be a list with at least one message", "messages")
    for index, message in enumerate(messages):
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise _refused("a message is an object with `role` and `content`", "messages", index)
        text = _text(message.get("content"), index)
        if message["role"] == "user" and not text.strip():
            raise _refused("the content of a user's message must not be empty", "messages", index, "content")
    return messages


def check_prompt(prompt: object) -> None:
    """A text, texts, token ids, or lists of them. Raises ProblemError."""
    if prompt in (None, "", []):
        raise _refused("`prompt` must not be empty", "prompt")
    for index, item in enumerate(prompt if isinstance(prompt, list) else []):
        if item in ("", []):
            raise _refused("a prompt must not be empty", "prompt", index)


async def _read_object(request: Request) -> dict[str, Any]:
    try:
        body = json.loads(await request.body(), parse_constant=_refuse_constant)
        # Lone surrogates, in any of its texts, can be sent to nobody.
        json.dumps(body, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        raise ProblemError(400, "invalid-request", "the body is not JSON") from None
    if not isinstance(body, dict):
        raise ProblemError(400, "invalid-request", "the body must be a JSON object")
    return body


def _text(content: Any, index: int) -> str:
    """All of a message's text, whether it came as a string or in parts."""
    if content is None or isinstance(content, str):
        return content or ""
    parts = content if isinstance(content, list) else [content]
    for number, part in enumerate(parts):
        if not isinstance(part, dict) or part.get("type") != "text" or not isinstance(part.get("text"), str):
            detail = "models here read text: content is a string or a list of {type: text, text: …}"
            raise _refused(detail, "messages", index, "content", number)
    return "".join(part["text"] for part in parts)


def _refused(detail: str, *place: str | int) -> ProblemError:
    return ProblemError(
        400, "invalid-request", detail, errors=[FieldProblem(pointer=json_pointer(*place), detail=detail)]
    )


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
