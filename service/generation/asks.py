"""From a GenerateRequest to what a model's server is asked: one request per prompt and sample."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from service.contracts.generation import Asked, GenerateRequest, Message, Prompt
from service.contracts.language import LanguageProfile

CHAT = "/v1/chat/completions"
COMPLETIONS = "/v1/completions"


@dataclass(frozen=True)
class Ask:
    about: Asked
    route: str
    body: dict[str, Any]
    keep_alive: float | None


def asks(
    request: GenerateRequest,
    profile: LanguageProfile | None,
    profile_at: Callable[[str, str], LanguageProfile],
) -> list[Ask]:
    """In the order of prompts and samples.

    `profile_at` finds the profile of a prompt's own tag; what it raises points at the pointer beside it.
    """
    found = []
    for index, (prompt, messages) in enumerate(_conversations(request)):
        own = profile_at(prompt.language, f"/prompts/{index}/language") if prompt.language else profile
        route, body = _raw(request, messages) if request.raw else _chat(request, messages, own)
        for sample in range(request.n):
            about = Asked(index=index, id=prompt.id, sample=sample, language=own.tag if own else None)
            seed = {} if request.seed is None else {"seed": request.seed + sample}
            found.append(Ask(about, route, body | _sampling(request) | seed, request.keep_alive))
    return found


def with_instruction(
    messages: Sequence[dict[str, Any]], profile: LanguageProfile | None
) -> list[dict[str, Any]]:
    """The conversation with the language's instruction before it, unless it has a system message itself."""
    if profile is None or any(message.get("role") == "system" for message in messages):
        return list(messages)
    return [{"role": "system", "content": profile.instruction}, *messages]


def _conversations(request: GenerateRequest) -> Iterator[tuple[Prompt, list[Message]]]:
    if request.messages is not None:
        yield Prompt(prompt=request.messages[-1].content), request.messages
        return
    for prompt in request.prompts or [Prompt(prompt=str(request.prompt))]:
        yield prompt, [Message(role="user", content=prompt.prompt)]


def _chat(
    request: GenerateRequest, messages: list[Message], profile: LanguageProfile | None
) -> tuple[str, dict[str, Any]]:
    plain = [message.model_dump() for message in messages]
    body: dict[str, Any] = {"messages": with_instruction(plain, profile)}
    if request.logprobs is not None:
        body |= {"logprobs": True, "top_logprobs": request.logprobs}
    return CHAT, body


def _raw(request: GenerateRequest, messages: list[Message]) -> tuple[str, dict[str, Any]]:
    body: dict[str, Any] = {"prompt": messages[0].content}
    if request.logprobs is not None:
        body["logprobs"] = request.logprobs
    return COMPLETIONS, body


def _sampling(request: GenerateRequest) -> dict[str, Any]:
    body: dict[str, Any] = request.model_dump(include={"max_tokens", "temperature", "top_p"})
    return body | {"stop": request.stop} if request.stop else body
